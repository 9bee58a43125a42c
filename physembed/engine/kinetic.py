"""Momenta, temperatures and the kinetic pressure of a batch of systems of the same atoms.

Velocity Verlet at a time step h gives the momentum p of each atom at full steps, together with its force F; the
momenta of the half steps before and after are p - F h / 2 and p + F h / 2. In a vibration of angular frequency w the
kinetic energy of full steps is too low by a factor 1 - (w h)^2 / 6 and that of half steps too high by
1 + (w h)^2 / 12, to leading order: docs/background/npt.md derives this and says which quantity needs which. Everything
here is of fixed shapes and waits for nothing, so a CUDA graph can hold it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physembed.units import KB

HALF_STEPS = 1.0
"""Weight of the mean kinetic energy of both half steps: what the virial and Langevin noise balance."""
UNBIASED = 2 / 3
"""Weight of the half steps in (K_full + 2 K_half) / 3, which is right to fourth order of the time step."""


def thermal_momenta(masses: Tensor, kT: Tensor, generator: torch.Generator, *, centre_at_rest: bool) -> Tensor:
    """Momenta drawn from the Maxwell-Boltzmann distribution, in ASE's unit, sqrt(eV u).

    With the centre of mass at rest each atom loses the velocity of the centre, p_i - m_i V: what is left is the
    Maxwell-Boltzmann distribution at zero total momentum, of 3 N - 3 degrees of freedom. Nothing is rescaled.

    Args:
        masses: (n_atoms,) u, of all systems, one after the other.
        kT: (n_systems,) eV; each system has the same number of atoms.
        generator: of the random numbers, on the device of the masses.
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

    Without forces it is that of the momenta as they are. With forces, the momenta are those of full steps, and the
    kinetic energy is (1 - weight) K_full + weight K_half, which is K_full + weight h^2 / 8 sum F^2 / m.

    Args:
        momenta: (n_atoms, 3) of all systems, one after the other, in ASE's unit, sqrt(eV u).
        masses: (n_atoms,) u.
        n_systems: of the same number of atoms.
        degrees_of_freedom: of a system.
        forces: (n_atoms, 3) eV/Å, at the same time as the momenta.
        timestep: () in torch-sim's unit, sqrt(u Å^2/eV); needed with forces.
        weight: of the half steps, `UNBIASED` or `HALF_STEPS`.
    """
    squares = momenta.square().sum(dim=1)
    if forces is not None and timestep is not None:
        squares = squares + weight * timestep.square() / 4 * forces.square().sum(dim=1)
    return (squares / masses).view(n_systems, -1).sum(dim=1) / (degrees_of_freedom * KB)


def kinetic_tensors(momenta: Tensor, masses: Tensor, n_systems: int) -> Tensor:
    """Sums over the atoms of each system of p p / m, (n_systems, 3, 3) in eV.

    Args:
        momenta: (n_atoms, 3) of all systems, one after the other, in ASE's unit, sqrt(eV u).
        masses: (n_atoms,) u.
        n_systems: of the same number of atoms.
    """
    per_system = momenta.view(n_systems, -1, 3)
    return torch.einsum("nai,naj->nij", per_system / masses.view(n_systems, -1, 1), per_system)
