"""Time steps of a batch of periodic systems with the same atoms.

Velocity Verlet, velocity rescaling and the Langevin piston are torch-sim's, with the same random numbers, except for
the temperature that velocity rescaling controls (`physembed.engine.kinetic`). Stochastic cell rescaling is torch-sim's
except for its thermostat, which acts on each atom. They can be captured in a CUDA graph: they never synchronise with
the device, copy from the host or derive a shape from values. Each takes a state of torch-sim's corresponding integrator
and assigns new tensors to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from physembed.engine.kinetic import UNBIASED, kinetic_temperatures, kinetic_tensors
from physembed.pairs.cells import volumes
from physembed.units import KB

Model = Callable[[Any], dict[str, Tensor]]

FULL_STEP_SHARE = 1 - UNBIASED
"""Share of friction and noise that acts on full-step momenta. With the rest at half steps, they control the kinetic
energy (K_full + 2 K_half) / 3 of each mode, which is what equipartition of the shadow Hamiltonian gives it: the mean
temperature does not depend on how fast modes exchange energy (docs/background/npt.md)."""


@dataclass(frozen=True)
class Conditions:
    """Everything that a step needs besides the state. Times are in torch-sim's unit, sqrt(u Å^2/eV)."""

    n_atoms: int
    """Atoms per system."""
    degrees_of_freedom: int
    """Degrees of freedom per system."""
    timestep: Tensor
    """Time step ()."""
    kT: Tensor
    """(n_systems,) eV."""
    thermostat: Tensor
    """Relaxation time () of velocity rescaling; otherwise the inverse of the friction."""
    pressures: Tensor
    """(n_systems,) eV/Å^3, for constant pressure."""

    def of(self, systems: Tensor) -> Conditions:
        """The conditions of a subset of the systems."""
        return replace(self, kT=self.kT[systems], pressures=self.pressures[systems])


def pressure_tensors(state: Any, stress: Tensor, timestep: Tensor) -> Tensor:
    """Pressure tensors (n_systems, 3, 3) in eV/Å^3 at a full step; positive under compression.

    The kinetic part is the mean over the half steps before and after, sum p p / m + h^2 / 4 sum F F / m: in discrete
    time its average cancels the virial of bounded motion, such as bond vibrations.
    """
    n_systems = len(state.cell)
    kinetic = kinetic_tensors(state.momenta, state.masses, n_systems)
    kinetic = kinetic + timestep.square() / 4 * kinetic_tensors(state.forces, state.masses, n_systems)
    return kinetic / volumes(state.cell)[:, None, None] - stress


def nve(state: Any, model: Model, conditions: Conditions) -> None:
    """Velocity Verlet."""
    half = conditions.timestep / 2
    _kick(state, half)
    _drift(state, conditions.timestep)
    _evaluate(state, model)
    _kick(state, half)


def nvt(state: Any, model: Model, conditions: Conditions) -> None:
    """Velocity rescaling (G. Bussi, D. Donadio, M. Parrinello, J. Chem. Phys. 2007, 126, 014101), then `nve`."""
    _rescale_velocities(state, conditions, conditions.timestep)
    nve(state, model, conditions)


def nvt_langevin(state: Any, model: Model, conditions: Conditions) -> None:
    """Velocity Verlet with friction and noise on each atom, `FULL_STEP_SHARE` of them at full steps, the rest at half
    steps.
    """
    _langevin(state, model, conditions, lambda: None)


def npt_crescale(state: Any, model: Model, conditions: Conditions) -> None:
    """Stochastic cell rescaling, isotropic (M. Bernetti, G. Bussi, J. Chem. Phys. 2020, 153, 114107), with the
    thermostat of `nvt_langevin`.
    """
    _langevin(state, model, conditions, lambda: _rescale_cell(state, conditions))


def npt_langevin(state: Any, model: Model, conditions: Conditions) -> None:
    """Langevin piston on the logarithm of the cell length, with a Langevin thermostat.

    N. Grønbech-Jensen and O. Farago, J. Chem. Phys. 2014, 141, 194108.
    """
    dt, kT, masses = conditions.timestep, conditions.kT, state.masses[:, None]
    state.cell_masses = (conditions.n_atoms + 1) * kT * state.b_tau.square()
    strain_force = _strain_force(state, conditions)
    strain_noise = _normal(state, kT) * torch.sqrt(2.0 * state.cell_alpha * kT * dt)
    friction = state.alpha[state.system_idx, None]
    noise = _normal(state, state.momenta) * torch.sqrt(2.0 * friction * kT[state.system_idx, None] * dt)

    damping = 1 / (1 + state.cell_alpha * dt / (2 * state.cell_masses))
    drift = state.cell_velocities + (dt * strain_force + strain_noise) / (2 * state.cell_masses)
    before = state.cell_positions
    state.cell_positions = before + damping * dt * drift
    state.cell = torch.exp(state.cell_positions)[:, None, None] * state.reference_cell

    scale = torch.exp(state.cell_positions - before)[state.system_idx, None]
    particle_damping = 1 / (1 + friction * dt / (2 * masses))
    velocities, forces = state.momenta / masses, state.forces
    moved = velocities + (dt * forces + noise) / (2 * masses)
    state.positions = scale * state.positions + 2 * scale / (scale + 1) * particle_damping * dt * moved
    _evaluate(state, model)

    kept = (1 - state.cell_alpha * dt / (2 * state.cell_masses)) * damping
    pushed = dt * (kept * strain_force + _strain_force(state, conditions)) / (2 * state.cell_masses)
    state.cell_velocities = kept * state.cell_velocities + pushed + damping * strain_noise / state.cell_masses
    kept = (1 - friction * dt / (2 * masses)) * particle_damping
    pushed = dt * (kept * forces + state.forces) / 2
    state.momenta = kept * state.momenta + pushed + particle_damping * noise


STEPS: dict[str, Callable[[Any, Model, Conditions], None]] = {
    "nve": nve,
    "nvt": nvt,
    "nvt-langevin": nvt_langevin,
    "npt-crescale": npt_crescale,
    "npt-langevin": npt_langevin,
}


def _normal(state: Any, like: Tensor) -> Tensor:
    return torch.randn(like.shape, device=like.device, dtype=like.dtype, generator=state.rng)


def _kick(state: Any, time: Tensor) -> None:
    state.momenta = state.momenta + state.forces * time


def _drift(state: Any, time: Tensor) -> None:
    state.positions = state.positions + state.momenta / state.masses[:, None] * time


def _evaluate(state: Any, model: Model) -> None:
    output = model(state)
    state.forces, state.energy = output["forces"], output["energy"]
    if hasattr(state, "stress"):
        state.stress = output["stress"]


def _rescale_velocities(state: Any, conditions: Conditions, time: Tensor) -> None:
    """Scale the momenta of each system to a kinetic energy drawn according to eq. A7 of Bussi et al.

    The kinetic energy is the estimator (K_full + 2 K_half) / 3 at the full step.
    """
    n_degrees, kT = conditions.degrees_of_freedom, conditions.kT
    temperatures = kinetic_temperatures(
        state.momenta, state.masses, len(kT), n_degrees, forces=state.forces, timestep=conditions.timestep
    )
    first = _normal(state, kT)
    # The sum of the squares of the other n_degrees - 1 normal numbers.
    others = torch._standard_gamma(torch.full_like(kT, (n_degrees - 1) / 2), generator=state.rng) * 2
    kept = torch.exp(-time / conditions.thermostat)
    drawn = (1 - kept) * kT / (KB * temperatures) / n_degrees
    factor = kept + drawn * (first.square() + others) + 2 * first * torch.sqrt(kept * drawn)
    state.momenta = state.momenta * torch.sqrt(factor)[state.system_idx, None]


def _langevin(state: Any, model: Model, conditions: Conditions, halfway: Callable[[], None]) -> None:
    """Velocity Verlet with friction and noise on each atom; `halfway` acts between the two halves of the drift."""
    half, time = conditions.timestep / 2, conditions.timestep
    _exchange_heat(state, conditions, time * FULL_STEP_SHARE)
    _kick(state, half)
    _drift(state, half)
    halfway()
    _exchange_heat(state, conditions, time * (1 - FULL_STEP_SHARE))
    _drift(state, half)
    _evaluate(state, model)
    _kick(state, half)


def _exchange_heat(state: Any, conditions: Conditions, time: Tensor) -> None:
    """Friction and noise on each atom for a time; the centre of mass stays at rest.

    Noise is drawn from the Maxwell-Boltzmann distribution at zero total momentum, as in `thermal_momenta`.
    """
    masses, kT = state.masses.view(len(conditions.kT), -1, 1), conditions.kT[:, None, None]
    noise = _normal(state, state.momenta).view(len(masses), -1, 3) * (masses * kT).sqrt()
    noise = noise - masses * (noise.sum(dim=1, keepdim=True) / masses.sum(dim=1, keepdim=True))
    kept = torch.exp(-time / conditions.thermostat)
    state.momenta = kept * state.momenta + torch.sqrt(1 - kept.square()) * noise.view(-1, 3)


def _rescale_cell(state: Any, conditions: Conditions) -> None:
    """Propagate the square root of the volume for a step, and scale cell, positions and momenta with it.

    The momenta are those of a half step, as required by the virial.
    """
    dt, kT = conditions.timestep, conditions.kT
    volume = volumes(state.cell)
    root = volume.sqrt()
    kinetic = kinetic_tensors(state.momenta, state.masses, len(kT)) / volume[:, None, None]
    pressure = torch.einsum("bii->b", kinetic - state.stress) / 3
    rate = state.isothermal_compressibility * root / (2 * state.tau_p)
    width = torch.sqrt(kT * state.isothermal_compressibility * dt / (2 * state.tau_p))
    excess = conditions.pressures - pressure - kT / (2 * volume)
    scale = torch.pow((root - rate * excess * dt + width * _normal(state, root)) / root, 2 / 3)
    of_atoms = scale[state.system_idx, None]
    state.positions = of_atoms * state.positions
    state.momenta = state.momenta / of_atoms
    state.cell = scale[:, None, None] * state.cell


def _strain_force(state: Any, conditions: Conditions) -> Tensor:
    """Force (n_systems,) in eV on the logarithm of the cell length."""
    volume = volumes(state.reference_cell) * torch.exp(3 * state.cell_positions)
    pressure = conditions.n_atoms * conditions.kT / volume - torch.einsum("nii->n", state.stress) / 3
    return 3 * volume * (pressure - conditions.pressures)
