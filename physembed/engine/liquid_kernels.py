"""Time steps of `physembed.engine.liquid_steps` on a CPU, where launching a tensor operation takes longer than it does.

A step works in place and in two parts, before and after the evaluation of the model. Each system is advanced only if
the result is sound (`physembed.engine.liquid_batch.WatchedModel`), so a failed one stays at its last valid geometry.
Sums are made in float64. Random numbers are drawn in the same order as with tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from physembed.engine.kinetic import UNBIASED
from physembed.engine.liquid_steps import FULL_STEP_SHARE, Conditions
from physembed.numba_kernels import Array, compiled, inlined
from physembed.units import KB

HOTTEST = 10.0
"""A system fails if its temperature exceeds the set temperature by this factor."""
WIDEST = 3.0
"""A system fails if its volume exceeds its initial volume by this factor, or falls below it by the same factor."""
CAUSES = ("", "volume", "temperature", "energy", "forces", "stress")
"""Quantity by which a system failed."""
VOLUME, TEMPERATURE, ENERGY, FORCES, STRESS = (CAUSES.index(name) for name in CAUSES[1:])


@inlined
def squares(momenta: Array, forces: Array, masses: Array, first: int, end: int, factor: float) -> float:
    """Sum of (p^2 + factor F^2) / m over some atoms."""
    total = 0.0
    for atom in range(first, end):
        p, f = momenta[atom], forces[atom]
        square = p[0] * p[0] + p[1] * p[1] + p[2] * p[2]
        total += (square + factor * (f[0] * f[0] + f[1] * f[1] + f[2] * f[2])) / masses[atom]
    return total


@inlined
def velocity_factor(twice_kinetic: float, kT: float, kept: float, normal: float, others: float) -> float:
    """Factor on the momenta according to eq. A7 of Bussi et al.; others is the sum of the other squared normals."""
    drawn = (1.0 - kept) * kT / twice_kinetic
    return np.sqrt(kept + drawn * (normal * normal + others) + 2.0 * normal * np.sqrt(kept * drawn))


@inlined
def exchange_heat(momenta: Array, masses: Array, noise: Array, first: int, end: int, kT: float, kept: float) -> None:
    """Friction and noise, (n_atoms, 3) normal numbers, on the momenta of some atoms, whose total momentum stays 0."""
    total, mass = np.zeros(3), 0.0
    for atom in range(first, end):
        mass += masses[atom]
        for k in range(3):
            total[k] += np.sqrt(masses[atom] * kT) * noise[atom, k]
    strength = np.sqrt(1.0 - kept * kept)
    for atom in range(first, end):
        for k in range(3):
            drawn = np.sqrt(masses[atom] * kT) * noise[atom, k] - masses[atom] * total[k] / mass
            momenta[atom, k] = kept * momenta[atom, k] + strength * drawn


@inlined
def volume_of(cell: Array) -> float:
    """Volume of a cell (3, 3)."""
    a, b, c = cell[0], cell[1], cell[2]
    x = a[0] * (b[1] * c[2] - b[2] * c[1])
    y = a[1] * (b[2] * c[0] - b[0] * c[2])
    z = a[2] * (b[0] * c[1] - b[1] * c[0])
    return abs(x + y + z)


@compiled
def move(
    positions: Array,
    momenta: Array,
    forces: Array,
    masses: Array,
    cells: Array,
    stress: Array,
    cause: Array,
    value: Array,
    start_volumes: Array,
    kT: Array,
    pressures: Array,
    compressibility: Array,
    relaxation: Array,
    thermal_noise: Array,
    cell_noise: Array,
    full_step_noise: Array,
    half_step_noise: Array,
    step: float,
    kept: float,
    kept_full_step: float,
    kept_half_step: float,
    degrees_of_freedom: int,
    estimator: float,
) -> None:
    """Thermostat, half a kick, and the drift with the rescaling of the cell, in each system that stays sound.

    Args:
        positions, momenta, forces, masses, cells, stress: the state, changed in place.
        cause, value, start_volumes: of `WatchedModel`.
        kT, pressures: (n_systems,).
        compressibility, relaxation: (n_systems,) of stochastic cell rescaling; empty at constant volume.
        thermal_noise: (n_systems, 2) for velocity rescaling, a normal number and the sum of the other squared ones;
            empty for none.
        cell_noise: (n_systems,) normal numbers; not used at constant volume.
        full_step_noise, half_step_noise: (n_atoms, 3) normal numbers for noise on each atom; empty for none.
        step: time step.
        kept: exp(-time / relaxation time of velocity rescaling).
        kept_full_step, kept_half_step: what friction leaves of the momenta.
        degrees_of_freedom: per system.
        estimator: factor of F^2 in the kinetic energy that is thermostatted.
    """
    n_atoms = len(positions) // len(cells)
    half = 0.5 * step
    for s in range(len(cells)):
        if cause[s]:
            continue
        first, end = s * n_atoms, (s + 1) * n_atoms
        factor = 1.0
        if len(thermal_noise):
            twice_kinetic = squares(momenta, forces, masses, first, end, estimator)
            factor = velocity_factor(twice_kinetic, kT[s], kept, thermal_noise[s, 0], thermal_noise[s, 1])
        if len(full_step_noise):
            exchange_heat(momenta, masses, full_step_noise, first, end, kT[s], kept_full_step)
        twice_kinetic = 0.0
        for atom in range(first, end):
            square = 0.0
            for k in range(3):
                momentum = factor * momenta[atom, k] + half * forces[atom, k]
                square += momentum * momentum
            twice_kinetic += square / masses[atom]
        scale, volume = 1.0, volume_of(cells[s])
        if len(compressibility):
            root = np.sqrt(volume)
            pressure = (twice_kinetic / volume - (stress[s, 0, 0] + stress[s, 1, 1] + stress[s, 2, 2])) / 3.0
            rate = compressibility[s] * root / (2.0 * relaxation[s])
            width = np.sqrt(kT[s] * compressibility[s] * step / (2.0 * relaxation[s]))
            excess = pressures[s] - pressure - kT[s] / (2.0 * volume)
            scale = ((root - rate * excess * step + width * cell_noise[s]) / root) ** (2.0 / 3.0)
        volume *= scale**3
        temperature = twice_kinetic / (scale * scale * degrees_of_freedom * KB)
        widening = volume / start_volumes[s]
        if not (widening < WIDEST and widening > 1.0 / WIDEST):
            cause[s], value[s] = VOLUME, volume
            continue
        if not temperature < HOTTEST * kT[s] / KB:
            cause[s], value[s] = TEMPERATURE, temperature
            continue
        for atom in range(first, end):
            for k in range(3):
                momentum = factor * momenta[atom, k] + half * forces[atom, k]
                positions[atom, k] = scale * (positions[atom, k] + half * momentum / masses[atom])
                momenta[atom, k] = momentum / scale
        if len(half_step_noise):
            exchange_heat(momenta, masses, half_step_noise, first, end, kT[s], kept_half_step)
        for atom in range(first, end):
            for k in range(3):
                positions[atom, k] += half * momenta[atom, k] / masses[atom]
        for i in range(3):
            for j in range(3):
                cells[s, i, j] *= scale


@compiled
def finish(
    momenta: Array,
    forces: Array,
    masses: Array,
    new_energy: Array,
    new_forces: Array,
    new_stress: Array,
    cause: Array,
    step: float,
) -> None:
    """Take over the new forces and take half a kick; arguments as in `move`."""
    n_systems = len(new_energy)
    n_atoms = len(momenta) // n_systems
    half = 0.5 * step
    for s in range(n_systems):
        first, end = s * n_atoms, (s + 1) * n_atoms
        forces_finite = True
        for atom in range(first, end):
            for k in range(3):
                forces[atom, k] = new_forces[atom, k]
                forces_finite = forces_finite and abs(new_forces[atom, k]) < np.inf
        if cause[s]:
            continue
        stress_finite = True
        for i in range(3):
            for j in range(3):
                stress_finite = stress_finite and abs(new_stress[s, i, j]) < np.inf
        if not abs(new_energy[s]) < np.inf:
            cause[s] = ENERGY
        elif not forces_finite:
            cause[s] = FORCES
        elif not stress_finite:
            cause[s] = STRESS
        if cause[s]:
            continue
        for atom in range(first, end):
            for k in range(3):
                momenta[atom, k] += half * forces[atom, k]


@compiled
def add_averages(
    momenta: Array,
    forces: Array,
    masses: Array,
    cells: Array,
    stress: Array,
    estimator: float,
    half_steps: float,
    degrees_of_freedom: int,
    pressures: Array,
    temperatures: Array,
) -> None:
    """Add the pressure tensors (n_systems, 3, 3) and temperatures (n_systems,) of a step to those of others.

    Args:
        estimator: factor of F^2 in the kinetic energy, for the temperature.
        half_steps: the same for the pressure.
    """
    n_systems = len(cells)
    n_atoms = len(momenta) // n_systems
    for s in range(n_systems):
        first, end = s * n_atoms, (s + 1) * n_atoms
        temperatures[s] += squares(momenta, forces, masses, first, end, estimator) / (degrees_of_freedom * KB)
        volume = volume_of(cells[s])
        for i in range(3):
            for j in range(i + 1):
                kinetic = 0.0
                for atom in range(first, end):
                    of_half_steps = half_steps * forces[atom, i] * forces[atom, j]
                    kinetic += (momenta[atom, i] * momenta[atom, j] + of_half_steps) / masses[atom]
                pressures[s, i, j] += kinetic / volume - stress[s, i, j]
                if i != j:
                    pressures[s, j, i] += kinetic / volume - stress[s, j, i]


class CompiledSteps:
    """Steps of a batch of liquids on a CPU: `nve`, `nvt`, `nvt-langevin` and `npt-crescale`.

    Args:
        state: the batch, with contiguous tensors, which are changed in place.
        watched: the model, with what it knows of failed systems.
        conditions: temperatures, pressures and time step.
    """

    ENSEMBLES = ("nve", "nvt", "nvt-langevin", "npt-crescale")
    NONE = np.empty((0, 3))

    def __init__(self, state: Any, watched: Any, conditions: Conditions) -> None:
        self._state, self._watched, self._conditions = state, watched, conditions

        def values(tensor: Tensor) -> Array:
            return tensor.expand_as(conditions.kT).double().numpy()

        self._kT, self._pressures = values(conditions.kT), values(conditions.pressures)
        self._constant_volume = np.empty(0), np.empty(0)
        self._piston = self._constant_volume
        if hasattr(state, "tau_p"):
            self._piston = values(state.isothermal_compressibility), values(state.tau_p)
        self._step = float(conditions.timestep)
        shares = np.array([1, FULL_STEP_SHARE, 1 - FULL_STEP_SHARE])
        self._kept = np.exp(-shares * self._step / float(conditions.thermostat)).tolist()
        """What the thermostat leaves of the momenta in a step: all of it, and its shares at full and at half steps."""
        self._estimator, self._half_steps = UNBIASED * self._step**2 / 4, self._step**2 / 4
        self._shape = torch.full_like(conditions.kT, (conditions.degrees_of_freedom - 1) / 2)
        tensors = state.positions, state.momenta, state.forces, state.masses, state.cell
        self._positions, self._momenta, self._forces, self._masses, self._cells = (each.numpy() for each in tensors)
        self._cause, self._value, self._start_volumes = (
            each.numpy() for each in (watched.cause, watched.value, watched.start_volumes)
        )

    def take(self, ensemble: str) -> None:
        """Take a step."""
        watched, npt = self._watched, ensemble == "npt-crescale"
        noisy = npt or ensemble == "nvt-langevin"
        # in the order of `physembed.engine.liquid_steps`
        thermal = self._thermal_noise() if ensemble == "nvt" else np.empty((0, 2))
        full_step = self._normal(self._state.momenta) if noisy else self.NONE
        of_cells = self._normal(self._shape) if npt else np.empty(0)
        half_step = self._normal(self._state.momenta) if noisy else self.NONE
        move(
            self._positions, self._momenta, self._forces, self._masses, self._cells, self._stress, self._cause,
            self._value, self._start_volumes, self._kT, self._pressures,
            *(self._piston if npt else self._constant_volume), thermal, of_cells, full_step, half_step, self._step,
            *self._kept, self._conditions.degrees_of_freedom, self._estimator,
        )  # fmt: skip
        output = watched.model(self._state)
        for name, tensor in watched.outputs.items():
            tensor.copy_(output[name])
        new = (output[name].detach().contiguous().numpy() for name in ("energy", "forces", "stress"))
        finish(self._momenta, self._forces, self._masses, *new, self._cause, self._step)
        self._state.energy.copy_(output["energy"])
        if hasattr(self._state, "stress"):
            self._state.stress.copy_(output["stress"])

    def add_averages(self, pressures: Tensor, temperatures: Tensor) -> None:
        """Add the present pressure tensors (n_systems, 3, 3) and temperatures (n_systems,)."""
        add_averages(
            self._momenta, self._forces, self._masses, self._cells, self._stress, self._estimator, self._half_steps,
            self._conditions.degrees_of_freedom, pressures.numpy(), temperatures.numpy(),
        )  # fmt: skip

    @property
    def _stress(self) -> Array:
        return self._watched.outputs["stress"].numpy()

    def _normal(self, like: Tensor) -> Array:
        return torch.randn(like.shape, dtype=like.dtype, generator=self._state.rng).numpy()

    def _thermal_noise(self) -> Array:
        first = self._normal(self._shape)
        others = torch._standard_gamma(self._shape, generator=self._state.rng) * 2
        return np.stack([first, others.numpy()], axis=1)
