"""Structures that a user gives: read by ASE, and refused where they cannot be meant."""

from __future__ import annotations

import logging
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list

from physembed.errors import PhysEmbedError

log = logging.getLogger(__name__)
NEAREST_A = 0.5
"""Atoms nearer than this are none: the bond of H2 is 0.74 Å."""
BONDED = 1.4
"""Two atoms further apart than so many sums of their covalent radii are not bonded."""


def read_structures(path: str | Path) -> list[Atoms]:
    """All structures in a file, each checked (`check_structure`).

    Raises:
        PhysEmbedError: ASE cannot read it, or it holds no structure, or one that cannot be meant.
    """
    try:
        frames = ase.io.read(path, ":")
    except Exception as error:  # a file that is no structure can end ASE's readers in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PhysEmbedError(f"{path}: no structure that ASE can read ({reason})") from error
    if not isinstance(frames, list) or not any(len(frame) for frame in frames):
        raise PhysEmbedError(f"{path}: holds no structure")
    for number, frame in enumerate(frames):
        check_structure(frame, f"{path}: structure {number + 1}" if len(frames) > 1 else str(path))
    return frames


def check_structure(atoms: Atoms, what: str) -> None:
    """Refuse a structure with positions that are no numbers, or in another unit than Å.

    Args:
        atoms: a box or a molecule.
        what: begins messages.

    Raises:
        PhysEmbedError: a position is not finite, or two atoms are nearer than any two are.
    """
    if not len(atoms):
        raise PhysEmbedError(f"{what}: holds no atoms")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise PhysEmbedError(f"{what}: a position or a lattice vector is not a finite number")
    first, second, distances = neighbor_list("ijd", atoms, NEAREST_A)
    if len(distances):
        worst = int(distances.argmin())
        raise PhysEmbedError(
            f"{what}: atoms {first[worst] + 1} and {second[worst] + 1} are {distances[worst]:.3g} Å apart; give "
            "positions and cell in Å, without overlapping atoms"
        )
    if len(atoms) > 1 and not len(neighbor_list("i", atoms, natural_cutoffs(atoms, mult=BONDED))):
        log.warning("%s: no two atoms are as near as a bond; positions are taken in Å", what)
