"""Molecular dynamics of a batch of periodic liquids, based on torch-sim's integrators.

All systems have the same atoms, each with its own start, temperature and pressure. docs/background/npt.md describes
which ensemble each integrator samples and how this was tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch_sim as ts
from ase import Atoms, units
from torch_sim.integrators import npt_crescale_init, npt_langevin_isotropic_init, nvt_vrescale_init

from physembed.engine.kinetic import HALF_STEPS, UNBIASED, kinetic_temperatures, thermal_momenta
from physembed.engine.liquid_kernels import CAUSES, HOTTEST, WIDEST, CompiledSteps
from physembed.engine.liquid_steps import STEPS, Conditions, pressure_tensors
from physembed.engine.speculative_steps import ListedSteps
from physembed.errors import PhysEmbedError
from physembed.pairs.cells import volumes
from physembed.units import FS, G_CM3, KB

Ensemble = Literal["npt-crescale", "npt-langevin", "nvt", "nvt-langevin", "nve"]

MOVING = ("positions", "momenta", "cell", "energy", "forces")
"""Tensors that change in the state of every integrator."""
PISTON = ("cell_positions", "cell_velocities", "cell_masses", "cell_alpha", "reference_cell")
"""Additional tensors of the Langevin piston: its variables, and constants determined by the start."""
KEPT = ("stress", "base_energy", "cso_S0", "cso_S1")
"""Model outputs that are stored in addition to those of the integrators; each has one row per system."""


class WatchedModel:
    """A model that stores its last outputs (`KEPT`) and freezes failed systems.

    A system fails permanently once its energy, a force, its temperature or its volume is not finite or far out of
    range. Its last valid geometry then replaces the broken one before the model is evaluated, because one atom with a
    non-finite position, or a vanishing cell, would break the neighbour list of the whole batch. All of this happens on
    the device without synchronisation.
    """

    def __init__(self, model: Any, state: Any, temperatures_K: torch.Tensor, degrees_of_freedom: int) -> None:
        self.model, self.device, self.dtype = model, model.device, model.dtype
        self.outputs: dict[str, torch.Tensor] = {}
        self.positions, self.cell = state.positions, state.cell
        self.temperatures_K, self.degrees_of_freedom = temperatures_K, degrees_of_freedom
        self.start_volumes = volumes(state.cell)
        self.cause = torch.zeros(len(temperatures_K), dtype=torch.int64, device=self.device)
        """Index in `CAUSES`."""
        self.value = torch.zeros(len(temperatures_K), dtype=self.dtype, device=self.device)
        """Volume (Å^3) or temperature (K) at which the system failed."""

    def __call__(self, state: Any, **_: Any) -> dict[str, torch.Tensor]:
        """Evaluate the model, after resetting failed systems to their last valid geometry."""
        n_systems = len(self.cause)
        now = volumes(state.cell)
        widening = now / self.start_volumes
        self._lose("volume", (widening < WIDEST) & (widening > 1 / WIDEST), now)
        if hasattr(state, "momenta"):
            temperatures = kinetic_temperatures(state.momenta, state.masses, n_systems, self.degrees_of_freedom)
            self._lose("temperature", temperatures < HOTTEST * self.temperatures_K, temperatures)
        sound = self.cause == 0
        state.positions = torch.where(sound[state.system_idx, None], state.positions, self.positions)
        state.cell = torch.where(sound[:, None, None], state.cell, self.cell)
        self.positions, self.cell = state.positions, state.cell
        output = self.model(state)
        self.outputs = {name: output[name] for name in KEPT if name in output}
        for name in ("energy", "forces", "stress"):
            finite = torch.isfinite(output[name]).reshape(n_systems, -1).all(dim=1)
            self._lose(name, finite, self.value)
        return {name: output[name] for name in ("energy", "forces", "stress")}

    def _lose(self, name: str, sound: torch.Tensor, values: torch.Tensor) -> None:
        newly = ~sound & (self.cause == 0)
        self.cause = self.cause.masked_fill(newly, CAUSES.index(name))
        self.value = torch.where(newly, values, self.value)


class LiquidBatch:
    """Periodic systems with the same atoms that advance together, each from its own start.

    Positions are never wrapped, so whole molecules stay whole. A failed system (`lost` gives the reasons) is frozen
    and does not affect the others. After `save` and `load`, a batch on a CPU continues bit for bit with the same build
    of torch.

    Args:
        model: torch-sim model with energies (eV), forces (eV/Å) and stress (eV/Å^3). Its additional outputs
            `cso_S0`, `cso_S1` and `base_energy`, (n_systems,) in eV, are stored.
        starts: a structure with cell for each system, with the same atoms in the same order. Starts with momenta
            keep them, the others draw new ones (Maxwell-Boltzmann, centre of mass at rest).
        temperatures_K: temperature of each system.
        pressures_bar: pressure of each system; not used at constant volume.
        ensemble: `npt-crescale`: stochastic cell rescaling, with friction and noise on each atom; `npt-langevin`:
            Langevin piston and thermostat; `nvt`: velocity rescaling (G. Bussi, D. Donadio, M. Parrinello, J. Chem.
            Phys. 2007, 126, 014101); `nvt-langevin`: friction and noise on each atom; `nve`.
        timestep_fs: time step.
        thermostat_ps: relaxation time of velocity rescaling; otherwise the inverse of the friction.
        barostat_ps: relaxation time of the barostat.
        compressibility_per_bar: assumed compressibility; it sets the time scale of the barostat, not the ensemble.
        seed: seed of momenta and noise.
        hydrogen_mass_u: mass of hydrogen in the dynamics, for longer time steps; None for the masses of the starts.
            Densities are always those of the starts' masses.
        fixed_shapes: whether a step uses tensors of fixed shapes, so that it can be captured in a CUDA graph; by
            default on a GPU or if the model has fixed shapes. Otherwise, on a CPU, the step is compiled.

    Raises:
        PhysEmbedError: starts with different atoms or without a cell, a number of temperatures or pressures that does
            not match, or a model without stress.
    """

    def __init__(
        self,
        model: Any,
        starts: Sequence[Atoms],
        *,
        temperatures_K: Sequence[float],
        pressures_bar: Sequence[float] | None = None,
        ensemble: Ensemble,
        timestep_fs: float,
        thermostat_ps: float,
        barostat_ps: float = 1.0,
        compressibility_per_bar: float = 8.0e-5,
        seed: int,
        hydrogen_mass_u: float | None = None,
        fixed_shapes: bool | None = None,
    ) -> None:
        pressures_bar = [0.0] * len(starts) if pressures_bar is None else pressures_bar
        _check(starts, temperatures_K, pressures_bar)
        self.ensemble: Ensemble = ensemble
        """Those of constant volume may be exchanged while a batch runs."""
        self.n_atoms = len(starts[0])
        # The noise of the Langevin piston also moves the centre of mass; the other thermostats leave it at rest.
        self._degrees_of_freedom = 3 * self.n_atoms - (0 if ensemble == "npt-langevin" else 3)
        self._mass_u = float(starts[0].get_masses().sum())

        def tensor(values: Any) -> torch.Tensor:
            return torch.tensor(values, dtype=model.dtype, device=model.device)

        self._conditions = Conditions(
            n_atoms=self.n_atoms,
            degrees_of_freedom=self._degrees_of_freedom,
            timestep=tensor(timestep_fs * FS),
            kT=tensor(temperatures_K) * KB,
            thermostat=tensor(thermostat_ps * 1000 * FS),
            pressures=tensor(pressures_bar) * units.bar,
        )

        bare = [Atoms(start.numbers, start.positions, cell=start.cell, pbc=True) for start in starts]
        for atoms, start in zip(bare, starts, strict=True):
            masses = start.get_masses()
            if hydrogen_mass_u is not None:
                masses[start.numbers == 1] = hydrogen_mass_u
            atoms.set_masses(masses)
        state = ts.io.atoms_to_state(bare, device=model.device, dtype=model.dtype)
        state.rng = seed
        centre_at_rest = ensemble != "npt-langevin"
        state.momenta = thermal_momenta(state.masses, self._conditions.kT, state.rng, centre_at_rest=centre_at_rest)
        for row, start in enumerate(starts):
            if start.has("momenta"):
                state.momenta[row * self.n_atoms : (row + 1) * self.n_atoms] = tensor(start.get_momenta())
        self._watched = WatchedModel(model, state, self._conditions.kT / KB, self._degrees_of_freedom)
        self.state = self._first_state(state, barostat_ps * 1000 * FS, compressibility_per_bar / units.bar)
        if fixed_shapes is None:
            fixed_shapes = model.device.type == "cuda" or getattr(model, "fixed_shapes", False)
        self._is_compiled = not fixed_shapes and ensemble in CompiledSteps.ENSEMBLES
        self._forget()

    def _forget(self) -> None:
        """Drop what refers to tensors that have been replaced."""
        self._sums: dict[str, torch.Tensor] = {}
        self._steps: dict[str, ListedSteps] = {}
        self._compiled: CompiledSteps | None = None

    def _first_state(self, state: Any, barostat: float, compressibility: float) -> Any:
        """Initial state of the integrator; times in torch-sim's unit, compressibility in Å^3/eV."""
        conditions = self._conditions
        if self.ensemble == "npt-crescale":
            return npt_crescale_init(
                state,
                self._watched,
                kT=conditions.kT,
                dt=conditions.timestep,
                tau_p=barostat,
                isothermal_compressibility=compressibility,
            )
        if self.ensemble == "npt-langevin":
            # torch-sim expects friction coefficients (mass / time), one for all atoms of a system, and gives the strain
            # of the cell the mass (N + 1) kT barostat^2. Critical damping for the resulting frequency in the liquid.
            masses = (self.n_atoms + 1) * conditions.kT * barostat**2
            stiffness = 9 * volumes(state.cell) / compressibility
            return npt_langevin_isotropic_init(
                state,
                self._watched,
                kT=conditions.kT,
                dt=conditions.timestep,
                alpha=state.masses[: self.n_atoms].mean() / conditions.thermostat.expand_as(conditions.kT),
                cell_alpha=2 * torch.sqrt(stiffness * masses),
                b_tau=torch.full_like(conditions.kT, barostat),
            )
        return nvt_vrescale_init(state, self._watched, kT=conditions.kT)

    def advance(self, steps: int) -> None:
        """Take the given number of time steps."""
        self._take(steps, self._step, self.ensemble)

    def averages(self, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the given number of time steps and average over them.

        Returns:
            Pressure tensors (n_systems, 3, 3) in eV/Å^3 and kinetic temperatures (n_systems,) in K, averaged over the
            steps.
        """
        if not self._sums:
            self._sums = {"pressure": torch.zeros_like(self.state.cell), "temperature": torch.zeros_like(self.volumes)}
        for total in self._sums.values():
            total.zero_()
        self._take(steps, self._counted_step, f"{self.ensemble}, counted")
        return self._sums["pressure"] / steps, self._sums["temperature"] / steps

    def _take(self, steps: int, step: Callable[[], None], name: str) -> None:
        if name not in self._steps:
            changed = {id(tensor): tensor for _, _, tensor in self._changing()}
            changed |= {id(tensor): tensor for tensor in self._sums.values()}
            self._steps[name] = ListedSteps(step, [*changed.values()], self._watched.model, self.state)
        self._steps[name](steps)

    def _step(self) -> None:
        """Take one step in place; if it fails, the state keeps its original tensors."""
        if self._is_compiled:
            self._compiled_steps.take(self.ensemble)
            return
        before, outputs = self._changing(), self._watched.outputs
        try:
            STEPS[self.ensemble](self.state, self._watched, self._conditions)
        except RuntimeError:
            self._watched.outputs = outputs
            for holder, name, tensor in before:
                holder[name] = tensor
            raise
        after = self._changing()
        for (_, _, tensor), (holder, name, value) in zip(before, after, strict=True):
            tensor.copy_(value)
            holder[name] = tensor

    @property
    def _compiled_steps(self) -> CompiledSteps:
        if self._compiled is None:
            self._compiled = CompiledSteps(self.state, self._watched, self._conditions)
        return self._compiled

    def _counted_step(self) -> None:
        self._step()
        if self._is_compiled:
            self._compiled_steps.add_averages(self._sums["pressure"], self._sums["temperature"])
            return
        self._sums["pressure"] += self.pressure_tensors
        self._sums["temperature"] += self.temperatures

    def _changing(self) -> list[tuple[dict[str, Any], str, torch.Tensor]]:
        """Tensors that a step changes: the dictionary that contains each, its name there, and the tensor."""
        watched = self._watched
        held = [(vars(self.state), name) for name in self._names()]
        held += [(vars(watched), name) for name in ("positions", "cell", "cause", "value")]
        held += [(watched.outputs, name) for name in watched.outputs]
        return [(holder, name, holder[name]) for holder, name in held]

    def keep(self, mask: torch.Tensor, model: Any) -> None:
        """Continue with the systems for which `mask` (n_systems,) is true, and with a model created for these."""
        generator, kept, watched = self.state.rng, torch.nonzero(mask).flatten(), self._watched
        self.state = self.state[kept]
        self.state.rng = generator
        self._conditions = self._conditions.of(kept)
        watched.model = model
        watched.positions, watched.cell = self.state.positions, self.state.cell
        for name in ("temperatures_K", "start_volumes", "cause", "value"):
            setattr(watched, name, getattr(watched, name)[kept])
        watched.outputs = {name: value[kept] for name, value in watched.outputs.items()}
        self._forget()

    def lost(self) -> list[str]:
        """For each system, a few words on why it failed; empty for a system that has not failed."""
        watched = self._watched
        expected = {"volume": watched.start_volumes.tolist(), "temperature": watched.temperatures_K.tolist()}
        reasons = []
        for row, (cause, value) in enumerate(zip(watched.cause.tolist(), watched.value.tolist(), strict=True)):
            name = CAUSES[cause]
            if name in expected and math.isfinite(value):
                unit = "Å^3, {:.3g} times that of the start" if name == "volume" else "K, {:.3g} times the thermostat's"
                reasons.append(f"{name} {value:.4g} {unit.format(value / expected[name][row])}")
            else:
                reasons.append(f"{name} is not finite" if name else "")
        return reasons

    @property
    def n_systems(self) -> int:
        """Systems still in the batch."""
        return len(self._conditions.kT)

    @property
    def positions(self) -> torch.Tensor:
        """Positions (n_systems, n_atoms, 3) in Å, not wrapped."""
        return self.state.positions.view(-1, self.n_atoms, 3)

    @property
    def momenta(self) -> torch.Tensor:
        """Momenta (n_systems, n_atoms, 3) in ASE's unit, sqrt(eV u)."""
        return self.state.momenta.view(-1, self.n_atoms, 3)

    @property
    def cells(self) -> torch.Tensor:
        """Cells (n_systems, 3, 3) in Å, vectors as rows."""
        return self.state.row_vector_cell

    @property
    def volumes(self) -> torch.Tensor:
        """Volumes (n_systems,) in Å^3."""
        return volumes(self.state.cell)

    @property
    def densities_g_cm3(self) -> torch.Tensor:
        """Densities (n_systems,) in g/cm^3."""
        return self._mass_u / self.volumes / G_CM3

    @property
    def energies(self) -> torch.Tensor:
        """Potential energies (n_systems,) in eV, including any correction."""
        return self.state.energy

    @property
    def base_energies(self) -> torch.Tensor:
        """Potential energies (n_systems,) in eV without the CSO correction."""
        return self._watched.outputs.get("base_energy", self.energies)

    @property
    def cso_S0(self) -> torch.Tensor:
        """S0 of the CSO correction (n_systems,) in eV; NaN if the model does not evaluate it."""
        return self._watched.outputs.get("cso_S0", torch.full_like(self.energies, torch.nan))

    @property
    def cso_S1(self) -> torch.Tensor:
        """S1 of the CSO correction (n_systems,) in eV; NaN if the model does not evaluate it."""
        return self._watched.outputs.get("cso_S1", torch.full_like(self.energies, torch.nan))

    @property
    def temperatures(self) -> torch.Tensor:
        """Kinetic temperatures (n_systems,) in K.

        From (K_full + 2 K_half) / 3, or from K_half with the Langevin piston, whose thermostat controls K_half.
        """
        state = self.state
        return kinetic_temperatures(
            state.momenta,
            state.masses,
            self.n_systems,
            self._degrees_of_freedom,
            forces=state.forces,
            timestep=self._conditions.timestep,
            weight=HALF_STEPS if self.ensemble == "npt-langevin" else UNBIASED,
        )

    @property
    def stresses(self) -> torch.Tensor:
        """Stresses (n_systems, 3, 3) in eV/Å^3, without the kinetic part; positive under tension."""
        return self._watched.outputs["stress"]

    @property
    def pressure_tensors(self) -> torch.Tensor:
        """Pressure tensors (n_systems, 3, 3) in eV/Å^3: kinetic part minus stress, positive under compression."""
        return pressure_tensors(self.state, self.stresses, self._conditions.timestep)

    def save(self) -> dict[str, Any]:
        """Return everything that the next step and the properties depend on."""
        watched = self._watched
        return {
            "state": {name: getattr(self.state, name).cpu().clone() for name in self._names()},
            "outputs": {name: value.cpu().clone() for name, value in watched.outputs.items()},
            "cause": watched.cause.cpu().clone(),
            "value": watched.value.cpu().clone(),
            "start_volumes": watched.start_volumes.cpu().clone(),
            "rng": self.state.rng.get_state(),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from `save` of a batch with the same systems in the same ensemble."""
        watched, device = self._watched, self._watched.device
        for name in self._names():
            setattr(self.state, name, saved["state"][name].to(device))
        watched.outputs = {name: value.to(device) for name, value in saved["outputs"].items()}
        for name in ("cause", "value", "start_volumes"):
            setattr(watched, name, saved[name].to(device))
        watched.positions, watched.cell = self.state.positions, self.state.cell
        self.state.rng.set_state(saved["rng"])
        self._forget()

    def _names(self) -> tuple[str, ...]:
        stress = ("stress",) if self.ensemble.startswith("npt") else ()
        return MOVING + stress + (PISTON if self.ensemble == "npt-langevin" else ())


def _check(starts: Sequence[Atoms], temperatures_K: Sequence[float], pressures_bar: Sequence[float]) -> None:
    if not len(starts) == len(temperatures_K) == len(pressures_bar) > 0:
        raise PhysEmbedError(
            f"md: {len(starts)} starts, {len(temperatures_K)} temperatures and {len(pressures_bar)} pressures; "
            "give one of each for every system"
        )
    for row, start in enumerate(starts):
        if not np.array_equal(start.numbers, starts[0].numbers):
            raise PhysEmbedError(
                f"md: start {row} ({start.get_chemical_formula()}) has other atoms, or in another order, than "
                f"start 0 ({starts[0].get_chemical_formula()}); give starts of the same liquid"
            )
        if not start.cell.volume > 0:
            raise PhysEmbedError(f"md: start {row} has no cell ({start.cell.cellpar()}); give a periodic box")
    for name, values in (("temperature_K", temperatures_K), ("pressure_bar", pressures_bar)):
        for row, value in enumerate(values):
            if not math.isfinite(value) or (name == "temperature_K" and value <= 0):
                raise PhysEmbedError(f"md: {name} of system {row} is {value}; give a number (a temperature above 0)")
