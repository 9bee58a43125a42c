"""A small MACE with random weights and boxes of atoms, for the tests of models of liquids."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from mace import modules

R_MAX = 4.0
ELEMENTS = (1, 6, 8)


def made_once[**P](make: Callable[P, torch.nn.Module]) -> Callable[P, torch.nn.Module]:
    """A function that makes a model once for the same arguments and default precision, and gives copies of it, at a
    tenth of the time.

    Torch's random numbers go on as if each were made anew.
    """
    made: dict[str, tuple[torch.nn.Module, torch.Tensor]] = {}

    @wraps(make)
    def copied(*args: P.args, **options: P.kwargs) -> torch.nn.Module:
        key = repr((args, sorted(options.items()), torch.get_default_dtype()))
        if key not in made:
            made[key] = make(*args, **options), torch.get_rng_state()
        model, random = made[key]
        torch.set_rng_state(random)
        return copy.deepcopy(model)

    return copied


@made_once
def random_mace(
    elements: tuple[int, ...] = ELEMENTS,
    *,
    channels: int = 4,
    max_L: int = 1,
    r_max: float = R_MAX,
    dtype: torch.dtype = torch.float64,
    heads: list[str] | None = None,
    seed: int = 7,
) -> torch.nn.Module:
    """A MACE of two layers with random weights."""
    from e3nn import o3  # only after mace, which lets it read its constants

    torch.manual_seed(seed)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    energies = -0.1 * np.arange(1, len(elements) + 1)
    several = len(heads or []) > 1
    try:
        return modules.ScaleShiftMACE(
            r_max=r_max,
            num_bessel=6,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            num_interactions=2,
            num_elements=len(elements),
            hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o" if max_L else f"{channels}x0e"),
            MLP_irreps=o3.Irreps("4x0e"),
            atomic_energies=np.array([energies] * len(heads)) if heads and several else energies,
            avg_num_neighbors=10.0,
            atomic_numbers=list(elements),
            correlation=2,
            gate=torch.nn.functional.silu,
            atomic_inter_scale=[0.9] * len(heads) if heads and several else 0.9,
            atomic_inter_shift=[0.1] * len(heads) if heads and several else 0.1,
            heads=heads,
        )
    finally:
        torch.set_default_dtype(default)


def box(
    n_atoms: int, lengths: tuple[float, float, float], seed: int, *, skew: float = 0.0, elements: str = "HCO"
) -> Atoms:
    """A periodic box of atoms no two of which come nearer than 0.9 Å; `skew` tilts the cell (Å)."""
    rng = np.random.default_rng(seed)
    cell = np.diag(lengths) + skew * np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-0.6, 0.8, 0.0]])
    atoms = Atoms(cell=cell, pbc=True)
    while len(atoms) < n_atoms:
        candidate = atoms + Atoms(str(rng.choice(list(elements))), rng.random((1, 3)) @ cell)
        vectors = candidate.get_distances(-1, range(len(candidate) - 1), mic=True) if len(atoms) else np.array([9.0])
        if vectors.min() > 0.9:
            atoms = candidate
    # Not wrapped: an MD run does not wrap its atoms.
    atoms.positions += rng.integers(-2, 3, (n_atoms, 3)) @ cell
    return atoms


def box_of_molecules(seed: int, spacing: tuple[float, float, float] = (6.5, 6.7, 7.0)) -> Atoms:
    """A box of eight molecules of twelve atoms, no two of which are as near as a bond is long."""
    rng, atoms = np.random.default_rng(seed), Atoms(cell=2.0 * np.array(spacing), pbc=True)
    for place in np.ndindex(2, 2, 2):
        one = molecule("CH3CH2OCH3")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
        one.positions += np.array(place) * spacing - one.positions.mean(0)
        atoms += one
    return atoms
