"""Momenta, temperatures and kinetic pressure of a batch of systems with the same atoms.

Velocity Verlet with time step h gives the momentum p of each atom at full steps, together with its force F; the
momenta of the half steps before and after are p - F h / 2 and p + F h / 2. For a vibration of angular frequency w the
full-step kinetic energy is too low by a factor 1 - (w h)^2 / 6 and the half-step kinetic energy too high by
1 + (w h)^2 / 12, to leading order: docs/background/npt.md derives this and states which quantity needs which. All
functions have fixed shapes and do not synchronise with the device, so they can be captured in a CUDA graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physembed.units import KB

HALF_STEPS = 1.0
"""Weight of the mean kinetic energy of both half steps, which balances the virial and Langevin noise."""
UNBIASED = 2 / 3
"""Weight of the half steps in (K_full + 2 K_half) / 3, whose error is of fourth order in the time step."""


def thermal_momenta(masses: Tensor, kT: Tensor, generator: torch.Generator, *, centre_at_rest: bool) -> Tensor:
    """Momenta drawn from the Maxwell-Boltzmann distribution, in ASE's unit, sqrt(eV u).

    With the centre of mass at rest, its velocity is removed from each atom, p_i - m_i V. The result has the
    Maxwell-Boltzmann distribution at zero total momentum, with 3 N - 3 degrees of freedom. Nothing is rescaled.

    Args:
        masses: (n_atoms,) u, of all systems, concatenated.
        kT: (n_systems,) eV; each system has the same number of atoms.
        generator: random number generator on the device of the masses.
        centre_at_rest: whether the motion of the centre of mass is removed.

    Returns:
        (n_atoms, 3)
    """
    masses = masses.view(len(kT), -1, 1)
    shape = (masses.shape[0], masses.shape[1], 3)
    noise = torch.randn(shape, dtype=masses.dtype, device=masses.device, generator=generator)
    momenta = noise * (masses * kT[:, None, None]).sqrt()
    if centre_at_rest:
        momenta = momenta - masses * (momenta.sum(dim=1, keepdim=True) / masses.sum(dim=1, keepdim=True))
    return momenta.view(-1, 3)


def kinetic_temperatures(
    momenta: Tensor,
    masses: Tensor,
    n_systems: int,
    degrees_of_freedom: int,
    *,
    forces: Tensor | None = None,
    timestep: Tensor | None = None,
    weight: float = UNBIASED,
) -> Tensor:
    """Kinetic temperatures (n_systems,) in K.

    Without forces, the temperature is that of the given momenta. With forces, the momenta are those of full steps, and
    the kinetic energy is (1 - weight) K_full + weight K_half = K_full + weight h^2 / 8 sum F^2 / m.

    Args:
        momenta: (n_atoms, 3) of all systems, concatenated, in ASE's unit, sqrt(eV u).
        masses: (n_atoms,) u.
        n_systems: number of systems, all with the same number of atoms.
        degrees_of_freedom: degrees of freedom per system.
        forces: (n_atoms, 3) eV/Å, at the same time as the momenta.
        timestep: () in torch-sim's unit, sqrt(u Å^2/eV); required with forces.
        weight: weight of the half steps, `UNBIASED` or `HALF_STEPS`.
    """
    squares = momenta.square().sum(dim=1)
    if forces is not None and timestep is not None:
        squares = squares + weight * timestep.square() / 4 * forces.square().sum(dim=1)
    return (squares / masses).view(n_systems, -1).sum(dim=1) / (degrees_of_freedom * KB)


def kinetic_tensors(momenta: Tensor, masses: Tensor, n_systems: int) -> Tensor:
    """Sum of p p / m over the atoms of each system, (n_systems, 3, 3) in eV.

    Args:
        momenta: (n_atoms, 3) of all systems, concatenated, in ASE's unit, sqrt(eV u).
        masses: (n_atoms,) u.
        n_systems: number of systems, all with the same number of atoms.
    """
    per_system = momenta.view(n_systems, -1, 3)
    return torch.einsum("nai,naj->nij", per_system / masses.view(n_systems, -1, 1), per_system)
