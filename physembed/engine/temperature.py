"""Kinetic temperature of a batch of systems of the same atoms, as a CUDA graph can hold it."""

from __future__ import annotations

from torch import Tensor

from physembed.units import KB


def kinetic_temperatures(momenta: Tensor, masses: Tensor, n_systems: int, freedom: int) -> Tensor:
    """Kinetic temperatures (n_systems,) in K of systems with `freedom` degrees of freedom each.

    Args:
        momenta: (n_atoms, 3) of all systems, one after the other, in ASE's unit, sqrt(eV u).
        masses: (n_atoms,) u.
        n_systems: of the same number of atoms.
        freedom: degrees of freedom of a system.
    """
    doubled = (momenta.square().sum(dim=1) / masses).view(n_systems, -1).sum(dim=1)
    return doubled / (freedom * KB)
