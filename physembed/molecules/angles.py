"""The angles of a molecule: their table with types and force constants, and their values in frames.

The angle table has one row per angle term of the topology, sorted by `j`, `i` and `k`:

| column | meaning |
| --- | --- |
| `i`, `j`, `k` | atoms, 0-based, the apex in the middle, i < k |
| `type_i`, `type_j`, `type_k` | atom types by which the topology assigns angles |
| `k_kcal_mol_rad2` | force constant in AMBER's sense, E = k (theta - theta_eq)^2 |
| `theta_eq_degrees` | equilibrium angle |
| `in_ring` | both bonds are in rings, so neither end can move about the apex without breaking a ring |
| `terminal` | one end is hydrogen or a halogen with no other bond |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from physembed.errors import PhysEmbedError
from physembed.molecules.bonds import bonded_type, is_terminal
from physembed.tables import read_typed, write_typed

if TYPE_CHECKING:
    import parmed  # imports OpenMM and RDKit, which jobs with a model do not need

COLUMNS = {
    "i": int,
    "j": int,
    "k": int,
    "type_i": str,
    "type_j": str,
    "type_k": str,
    "k_kcal_mol_rad2": float,
    "theta_eq_degrees": float,
    "in_ring": bool,
    "terminal": bool,
}
"""Columns of the angle table and their types."""


def angle_type(type_i: str, type_j: str, type_k: str) -> str:
    """The name of an angle type: the apex between the two ends, which are sorted, as in `ca-oh-ho`."""
    first, last = sorted((type_i, type_k))
    return f"{first}-{type_j}-{last}"


def angle_types(table: pd.DataFrame) -> list[str]:
    """The angle type of each row of an angle table."""
    return [angle_type(*types) for types in zip(table["type_i"], table["type_j"], table["type_k"], strict=True)]


def angle_table(structure: parmed.Structure, bonds: pd.DataFrame) -> pd.DataFrame:
    """The angle table of a topology.

    Args:
        structure: the topology; ParmEd stores force constants in AMBER's sense (kcal/mol/rad^2, without the factor
            1/2) for every format.
        bonds: its bond table, which identifies bonds in rings.

    Raises:
        PhysEmbedError: an angle has no parameters, or joins atoms that are not bonded.
    """
    ring = {(i, j): bool(in_ring) for i, j, in_ring in zip(bonds["i"], bonds["j"], bonds["in_ring"], strict=True)}
    rows = []
    for angle in structure.angles:
        ends = sorted((angle.atom1, angle.atom3), key=lambda atom: atom.idx)
        first, apex, last = ends[0], angle.atom2, ends[1]
        atoms = f"atoms {first.idx}, {apex.idx} and {last.idx}"
        name = f"topology: angle {first.name}-{apex.name}-{last.name} ({atoms})"
        if angle.type is None:
            raise PhysEmbedError(f"{name} has no parameters; give its force constant and equilibrium angle")
        pairs = [(min(apex.idx, end.idx), max(apex.idx, end.idx)) for end in ends]
        if not set(pairs) <= set(ring):
            raise PhysEmbedError(f"{name} has an end that is not bonded to its apex; give the bonds of the molecule")
        types = bonded_type(first), bonded_type(apex), bonded_type(last)
        in_ring, terminal = all(ring[pair] for pair in pairs), any(map(is_terminal, ends))
        parameters = angle.type.k, angle.type.theteq
        rows.append((first.idx, apex.idx, last.idx, *types, *parameters, in_ring, terminal))
    rows.sort(key=lambda row: (row[1], row[0], row[2]))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def write_angle_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write an angle table as CSV."""
    write_typed(path, table, COLUMNS)


def read_angle_table(path: str | Path) -> pd.DataFrame:
    """Read an angle table from CSV; it may have no rows.

    Raises:
        PhysEmbedError: a column is missing or holds a value of another type.
    """
    return read_typed(path, COLUMNS, "angles", "an angle table")


def angle_values(positions: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Angles in frames.

    Args:
        positions: (n_frames, n_atoms, 3) Å.
        table: the angle table; columns `i`, `j` and `k` are used.

    Returns:
        (n_frames, n_angles) degrees, 0 to 180, in the order of the table.
    """
    i, j, k = (table[name].to_numpy(dtype=int) for name in "ijk")
    first, second = positions[:, i] - positions[:, j], positions[:, k] - positions[:, j]
    # The arc tangent, unlike the arc cosine, is exact near 0 and 180 degrees.
    sines = np.linalg.norm(np.cross(first, second), axis=2)
    angles: np.ndarray = np.degrees(np.arctan2(sines, (first * second).sum(axis=2)))
    return angles
