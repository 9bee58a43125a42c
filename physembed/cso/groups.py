"""Groups of atoms that are bonded to each other, for the compiled loops of the CSO correction."""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii

from physembed.cso.kernels import LARGEST, Groups
from physembed.numba_kernels import Array
from physembed.pairs.neighbors import Kept, Rows, near_pairs

STRETCH = 1.3
"""Longest bond over the sum of the covalent radii."""


def bonded_groups(numbers: Array, kind: Array, system: Array, rows: Rows, kept: Kept, chunks: int) -> Groups:
    """Groups of at most `LARGEST` atoms, neighbours in the network of bonds, dealt out to chunks.

    They depend on the bonds alone: structures with the same bonds have the same groups. The atoms of a group can be
    anywhere, but the further they are from each other the fewer partners they have in common.

    Args:
        numbers: (n_atoms,) atomic numbers.
        kind, system: see `Groups`.
        rows: a list of pairs that contains all bonds.
        kept: where the atoms are.
        chunks: number of chunks, among which the groups of each system are shared evenly.
    """
    radii, n_pairs = STRETCH * covalent_radii[numbers], len(rows.second)
    first, second = np.empty(n_pairs, np.int64), np.empty(n_pairs, np.int64)
    vectors = np.empty((n_pairs, 3), kept.positions.numpy().dtype)
    places = kept.positions.numpy(), kept.lattice.numpy(), kept.left.numpy(), system
    longest2 = vectors.dtype.type((2 * radii.max(initial=0)) ** 2)
    n = near_pairs(rows.starts, rows.second, rows.image, *places, longest2, first, second, vectors)
    first, second, vectors = first[:n], second[:n], vectors[:n]
    bonded = (np.square(vectors).sum(1) < (radii[first] + radii[second]) ** 2) & (first != second)
    neighbors: list[list[int]] = [[] for _ in numbers]
    for i, j in zip(first[bonded].tolist(), second[bonded].tolist(), strict=True):
        neighbors[i].append(j)
        neighbors[j].append(i)

    of_atom = np.empty(len(numbers), np.int64)
    members, starts, n_of_system = [], [0], np.zeros(system.max(initial=0) + 1, np.int64)
    chunk: list[int] = []
    for molecule in _molecules(neighbors):
        for part in np.array_split(molecule, -(-len(molecule) // LARGEST)):
            of_atom[part] = len(chunk)
            members += part.tolist()
            starts.append(len(members))
            chunk.append(n_of_system[system[part[0]]] % chunks)
            n_of_system[system[part[0]]] += 1
    return Groups(
        of_atom=of_atom,
        members=np.array(members, np.int64),
        starts=np.array(starts),
        dealt=np.argsort(chunk, kind="stable"),
        chunks=np.append(0, np.cumsum(np.bincount(chunk, minlength=chunks))),
        kind=kind,
        system=system,
    )


def _molecules(neighbors: list[list[int]]) -> list[list[int]]:
    """The atoms of each molecule along its bonds, depth first; atoms with one neighbour directly follow it."""
    seen, molecules = [False] * len(neighbors), []
    for root in range(len(neighbors)):
        order, stack = [], [root]
        while stack:
            atom = stack.pop()
            if not seen[atom]:
                seen[atom] = True
                order.append(atom)
                stack += sorted(set(neighbors[atom]), key=lambda other: (-len(neighbors[other]), -other))
        if order:
            molecules.append(order)
    return molecules
