"""Rigid molecules in a periodic box: making them whole, their centres of mass, and scaling of the box."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from physembed.errors import PhysEmbedError
from physembed.units import G_CM3


def molecule_numbers(atoms: Atoms) -> NDArray[np.int64]:
    """Molecule index of each atom, (n_atoms,), from the array `molecule`.

    Raises:
        PhysEmbedError: the atoms have no periodic cell, no such array, or one that does not number the molecules
            0, 1, 2, ... without a gap.
    """
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise PhysEmbedError(
            "rigid: the atoms have no cell that is periodic in three directions; give frames of a liquid"
        )
    if "molecule" not in atoms.arrays:
        raise PhysEmbedError("rigid: a frame has no array `molecule`; give the 0-based molecule index of each atom")
    molecules = np.asarray(atoms.arrays["molecule"])
    present = np.unique(molecules)
    if molecules.dtype.kind != "i" or not np.array_equal(present, np.arange(len(present))):
        raise PhysEmbedError(
            f"rigid: the array `molecule` has {len(present)} values from {present[0]} to {present[-1]}; "
            "number the molecules 0, 1, 2, ... without a gap"
        )
    return molecules.astype(np.int64)


def between_molecules(atoms: Atoms, range_A: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of atoms of different molecules, or of a molecule and its own image, within a range.

    Args:
        atoms: periodic, with the array `molecule`.
        range_A: largest distance.

    Returns:
        Both atoms and the distance in Å of each pair, (n_pairs,) each; every pair in both directions.
    """
    molecules = molecule_numbers(atoms)
    first, second, shifts, distances = neighbor_list("ijSd", atoms, range_A)
    apart = (molecules[first] != molecules[second]) | shifts.any(axis=1)
    return first[apart], second[apart], distances[apart]


def whole_positions(atoms: Atoms) -> NDArray[np.float64]:
    """Positions, (n_atoms, 3) Å, with whole molecules; molecules that are already whole do not move.

    A molecule that may be broken is joined along the minimum spanning tree of its minimum-image distances: this needs
    no bonds, and works for molecules longer than half of the box.

    Raises:
        PhysEmbedError: as `molecule_numbers`; a molecule touches its own periodic image and so has no centre.
    """
    molecules = molecule_numbers(atoms)
    positions = np.array(atoms.positions, dtype=float)
    fractional = atoms.cell.scaled_positions(positions)
    shape = (molecules.max() + 1, 3)
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    np.minimum.at(low, molecules, fractional)
    np.maximum.at(high, molecules, fractional)
    # Within half of the box no atom has a nearer image, so the molecule is whole.
    for molecule in np.flatnonzero((high - low).max(axis=1) >= 0.5):
        members = np.flatnonzero(molecules == molecule)
        positions[members] = _joined(atoms, members, int(molecule))
    return positions


def _joined(atoms: Atoms, members: NDArray[np.int64], molecule: int) -> NDArray[np.float64]:
    """Positions of the atoms of one molecule, joined to its first atom."""
    positions = np.array(atoms.positions[members], dtype=float)
    vectors, distances = get_distances(positions, cell=atoms.cell, pbc=True)
    tree = minimum_spanning_tree(distances)
    order, before = breadth_first_order(tree, 0, directed=False)
    for atom in order[1:]:
        positions[atom] = positions[before[atom]] + vectors[before[atom], atom]
    linked = distances <= tree.data.max()
    if not np.allclose((positions[None] - positions[:, None])[linked], vectors[linked], atol=1e-6):
        lengths = " x ".join(f"{length:.1f}" for length in atoms.cell.lengths())
        raise PhysEmbedError(
            f"rigid: molecule {molecule} ({len(members)} atoms) touches its own image in a box of {lengths} Å; "
            "use a larger box, or fix the array `molecule`"
        )
    return positions


def _centres(atoms: Atoms, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centres of mass, (n_molecules, 3) Å, of whole molecules."""
    molecules, masses = molecule_numbers(atoms), atoms.get_masses()
    moments = np.zeros((molecules.max() + 1, 3))
    np.add.at(moments, molecules, masses[:, None] * positions)
    return moments / np.bincount(molecules, masses)[:, None]


def centres_of_mass(atoms: Atoms) -> NDArray[np.float64]:
    """Centres of mass of the molecules, (n_molecules, 3) Å, in the order of the array `molecule`.

    Molecules may be broken across the boundary; centres may lie outside the box.

    Raises:
        PhysEmbedError: as `whole_positions`.
    """
    return _centres(atoms, whole_positions(atoms))


def scale_rigid(atoms: Atoms, scale: float) -> Atoms:
    """The frame in a box with lengths scaled by `scale`, with molecules moved but not deformed.

    Each centre of mass keeps its fractional coordinates; each molecule keeps its internal geometry and orientation.
    Molecules are returned whole, info `density_g_cm3` is that of the new box, and data of the old geometry
    (calculator, momenta, `REF_` labels) are removed.

    Raises:
        PhysEmbedError: a scale that is not positive; as `whole_positions`.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise PhysEmbedError(f"rigid: scale {scale} of the box length; give a positive number")
    positions = whole_positions(atoms)
    scaled = atoms.copy()
    for stored in (scaled.info, scaled.arrays):
        for name in [name for name in stored if name.startswith("REF_") or name == "momenta"]:
            del stored[name]
    scaled.positions = positions + (scale - 1) * _centres(atoms, positions)[molecule_numbers(atoms)]
    scaled.cell = atoms.cell * scale
    scaled.info["density_g_cm3"] = float(scaled.get_masses().sum() / scaled.get_volume() / G_CM3)
    return scaled


def at_density(atoms: Atoms, density_g_cm3: float) -> Atoms:
    """The frame at another density, by `scale_rigid`.

    Raises:
        PhysEmbedError: as `scale_rigid`.
    """
    present = atoms.get_masses().sum() / atoms.get_volume() / G_CM3
    return scale_rigid(atoms, (present / density_g_cm3) ** (1 / 3))
