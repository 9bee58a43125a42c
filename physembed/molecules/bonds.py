"""The bonds of a molecule: their table with types and force constants, and their lengths.

The bond table has one row per bond, sorted by `i` and `j`:

| column | meaning |
| --- | --- |
| `i`, `j` | atoms, 0-based, i < j |
| `type_i`, `type_j` | atom types by which the topology assigns bonds (GAFF `c3`, OPLS `CT`) |
| `k_kcal_mol_A2` | force constant in AMBER's sense, E = k (r - r_eq)^2 |
| `r_eq_A` | equilibrium length |
| `in_ring` | the bond lies in a ring |
| `terminal` | one end is hydrogen or a halogen with this bond only (a double-bonded oxygen is not terminal) |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import networkx  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
from ase.data import covalent_radii

from physembed.errors import PhysEmbedError
from physembed.tables import read_typed, write_typed

if TYPE_CHECKING:
    import parmed  # imports OpenMM and RDKit, which jobs with a model do not need

COLUMNS = {
    "i": int,
    "j": int,
    "type_i": str,
    "type_j": str,
    "k_kcal_mol_A2": float,
    "r_eq_A": float,
    "in_ring": bool,
    "terminal": bool,
}
"""Columns of the bond table and their types."""

TERMINAL_ELEMENTS = frozenset({1, 9, 17, 35, 53, 85})
"""Atomic numbers of hydrogen and the halogens."""


def bond_type(type_a: str, type_b: str) -> str:
    """The name of a bond type: the two atom types, sorted, as in `c-o`."""
    return "-".join(sorted((type_a, type_b)))


def bond_types(table: pd.DataFrame) -> list[str]:
    """The bond type of each row of a bond table."""
    return [bond_type(*types) for types in zip(table["type_i"], table["type_j"], strict=True)]


def bond_graph(table: pd.DataFrame) -> networkx.Graph:
    """The graph with the atoms as nodes and the bonds as edges."""
    graph = networkx.Graph()
    graph.add_edges_from(zip(table["i"].tolist(), table["j"].tolist(), strict=True))
    return graph


def bond_table(structure: parmed.Structure) -> pd.DataFrame:
    """The bond table of a topology.

    ParmEd stores force constants in AMBER's sense (kcal/mol/Å^2, without the factor 1/2) for every format.

    Raises:
        PhysEmbedError: a bond has no parameters, or none that are suitable for sampling, or ends in an atom
            without an element.
    """
    rows = []
    for bond in structure.bonds:
        first, second = sorted((bond.atom1, bond.atom2), key=lambda atom: atom.idx)
        name = f"topology: bond {first.name}-{second.name} (atoms {first.idx} and {second.idx})"
        if bond.type is None or not (bond.type.k > 0 and bond.type.req > 0):
            raise PhysEmbedError(f"{name} has the parameters {bond.type}; give a positive force constant and length")
        if min(first.atomic_number, second.atomic_number) < 1:
            raise PhysEmbedError(f"{name} has an end without an element; give a topology without extra points")
        terminal = is_terminal(first) or is_terminal(second)
        types = bonded_type(first), bonded_type(second)
        rows.append((first.idx, second.idx, *types, bond.type.k, bond.type.req, False, terminal))
    table = pd.DataFrame(sorted(rows), columns=list(COLUMNS)).astype(COLUMNS)
    # A bond is in a ring if the molecule stays connected without it.
    bridges = {tuple(sorted(edge)) for edge in networkx.bridges(bond_graph(table))} if rows else set()
    table["in_ring"] = [edge not in bridges for edge in zip(table["i"], table["j"], strict=True)]
    return table.astype(COLUMNS)


def is_terminal(atom: parmed.Atom) -> bool:
    """Whether an atom is a hydrogen or halogen at the end of the molecule; the chlorine of a perchlorate is not."""
    return atom.atomic_number in TERMINAL_ELEMENTS and len(atom.bonds) == 1


def bonded_type(atom: parmed.Atom) -> str:
    """The type that determines bond parameters: in OPLS it is coarser than the atom type (`CT`, not `opls_135`)."""
    return str(getattr(atom.atom_type, "bond_type", atom.type))


def write_bond_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a bond table as CSV."""
    write_typed(path, table, COLUMNS)


def read_bond_table(path: str | Path) -> pd.DataFrame:
    """Read a bond table from CSV.

    Raises:
        PhysEmbedError: a column is missing or holds a value of another type.
    """
    return read_typed(path, COLUMNS, "bonds", "a bond table")


def bond_lengths(positions: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Bond lengths of frames.

    Args:
        positions: (n_frames, n_atoms, 3) Å.
        table: the bond table; columns `i` and `j` are used.

    Returns:
        (n_frames, n_bonds) Å, in the order of the table.
    """
    vectors = positions[:, table["j"].to_numpy()] - positions[:, table["i"].to_numpy()]
    lengths: np.ndarray = np.linalg.norm(vectors, axis=2)
    return lengths


def bond_length_statistics(positions: np.ndarray, table: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation (population), minimum and maximum of each bond length over frames.

    Args:
        positions: (n_frames, n_atoms, 3) Å, at least one frame.
        table: the bond table.

    Returns:
        Columns i, j, types, mean_A, sd_A, min_A, max_A; rows in the order of the table.
    """
    lengths = bond_lengths(positions, table)
    return pd.DataFrame(
        {
            "i": table["i"].to_numpy(),
            "j": table["j"].to_numpy(),
            "types": bond_types(table),
            "mean_A": lengths.mean(axis=0),
            "sd_A": lengths.std(axis=0),
            "min_A": lengths.min(axis=0),
            "max_A": lengths.max(axis=0),
        }
    )


def equilibrium_length_matrix(table: pd.DataFrame, atomic_numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    """For each pair of atoms, the equilibrium length of a bond between their elements, bonded or not.

    It is the mean `r_eq_A` of the bonds between these elements in the molecule, or the sum of the covalent radii
    (Cordero et al., Dalton Trans. 2008, 2832; `ase.data.covalent_radii`) where the molecule has no such bond.

    Args:
        table: the bond table.
        atomic_numbers: (n_atoms,).

    Returns:
        (n_atoms, n_atoms) Å, symmetric; the diagonal belongs to two atoms of the same element.
    """
    numbers = np.asarray(atomic_numbers)
    radii = covalent_radii[numbers]
    lengths: np.ndarray = radii[:, None] + radii[None, :]
    ends = np.sort(numbers[table[["i", "j"]].to_numpy(dtype=int)], axis=1)
    for first, second in np.unique(ends, axis=0):
        mean = table["r_eq_A"].to_numpy()[(ends == (first, second)).all(axis=1)].mean()
        lengths[np.ix_(numbers == first, numbers == second)] = mean
        lengths[np.ix_(numbers == second, numbers == first)] = mean
    return lengths
