"""Rearrangements of a molecule that are not a collapse: inverted stereocentres, cis/trans changes, new contacts.

They are detected in recorded frames by geometry alone, from the bond table and the elements, so any topology is
supported: bond orders are not needed. Each frame is compared with the start frame of its replica.

- A *stereocentre* is an atom with four bonded neighbours, or a sulfur or phosphorus atom with three, no two of
  which are equivalent in the graph of bonds. It is inverted if the signed volume spanned by its neighbours has the
  opposite sign from that at the start.
- A *double bond* is a bond outside rings that is too short for a single bond (`r_eq_A` of the bond table), or the
  C-N bond of an amide, if the substituents on each end differ. It has changed from cis to trans if the torsion of
  the two highest-ranked substituents went from below 90 degrees to beyond 120, and from trans to cis if it
  went from beyond 90 to below 60.
- A *new contact* is a non-bonded pair of atoms that comes as close as a bond between these elements
  plus `CONTACT_MARGIN_A`, and was not that close at the start.

At 800 K none of these happens thermally within about 100 ps: barriers of amides are about 0.8 eV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from ase import Atoms
from numpy.typing import NDArray

from physembed.errors import PhysEmbedError
from physembed.molecules.bonds import bond_graph

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

CONTACT_MARGIN_A = 0.4
"""A pair closer than a bond between its elements plus this is a contact of bond length."""
DOUBLE_BOND_BELOW_A = {(6, 6): 1.40, (6, 7): 1.32, (7, 7): 1.32}
"""By the elements of its ends, the equilibrium length below which a bond does not rotate freely."""
LINEAR_BELOW_A = 1.32
"""An atom with two neighbours is linear if both of its bonds are shorter than this."""
AMIDE_BELOW_A = 1.40
"""The same for a C-N bond whose carbon atom has a terminal oxygen or sulfur atom."""
TERMINAL_DOUBLE_BOND_BELOW_A = {8: 1.30, 16: 1.72}
"""Equilibrium length below which a bond of carbon to an oxygen or sulfur atom with no other neighbour is double."""
INVERTED_BEYOND = 0.3
"""A centre is inverted once its signed volume exceeds this fraction of the initial value, with the opposite sign."""
TO_TRANS_BEYOND, TO_CIS_BELOW = 120.0, 60.0
"""Torsions in degrees at which a double bond counts as changed; between them it is in transition."""
COLUMNS = ("inverted_stereocentres", "cis_trans_changes", "new_contacts", "rearrangements")
"""Columns that `Rearrangements.of` adds to the row of a replica: three counts, and the first event of each in words."""


@dataclass(frozen=True)
class Stereocentre:
    """An atom and its neighbours, ordered by rank."""

    atom: int
    neighbours: tuple[int, ...]


@dataclass(frozen=True)
class DoubleBond:
    """Ends of a bond that does not rotate freely, and the highest-ranked substituent on each."""

    first: int
    i: int
    j: int
    last: int


class Rearrangements:
    """Detects rearrangements of one molecule.

    Args:
        bonds: the bond table (columns i, j, r_eq_A, in_ring).
        numbers: (n_atoms,) atomic numbers.
        equilibrium_lengths_A: (n_atoms, n_atoms) length of a bond between the elements of each pair of atoms
            (`physembed.molecules.bonds.equilibrium_length_matrix`).

    Raises:
        PhysEmbedError: the three do not belong to one molecule.
    """

    def __init__(self, bonds: pd.DataFrame, numbers: NDArray[np.int64], equilibrium_lengths_A: Floats):
        n_atoms = len(numbers)
        highest = int(bonds[["i", "j"]].to_numpy().max(initial=-1))
        if highest >= n_atoms or equilibrium_lengths_A.shape != (n_atoms, n_atoms):
            raise PhysEmbedError(
                f"rearrangements: {n_atoms} atoms, equilibrium lengths of shape {equilibrium_lengths_A.shape} and "
                f"bonds up to atom {highest} do not belong together; give those of one molecule"
            )
        self.numbers = np.asarray(numbers)
        graph = bond_graph(bonds)
        graph.add_nodes_from(range(n_atoms))
        self._neighbours = {atom: sorted(graph[atom]) for atom in range(n_atoms)}
        ends = zip(bonds["i"].tolist(), bonds["j"].tolist(), strict=True)
        self._lengths = dict(zip(ends, bonds["r_eq_A"].tolist(), strict=True))
        self._ranks = _ranks(self.numbers, self._neighbours)
        self.stereocentres = [centre for atom in range(n_atoms) if (centre := self._stereocentre(atom))]
        in_ring = zip(self._lengths, bonds["in_ring"].tolist(), strict=True)
        self.double_bonds = [found for (i, j), ring in in_ring if not ring and (found := self._double_bond(i, j))]
        apart = np.triu(np.ones((n_atoms, n_atoms), dtype=bool), 1)
        apart[bonds["i"], bonds["j"]] = False
        self._pairs = np.stack(np.nonzero(apart))
        self._limits = equilibrium_lengths_A[self._pairs[0], self._pairs[1]] + CONTACT_MARGIN_A

    def _by_rank(self, atoms: Sequence[int]) -> tuple[int, ...] | None:
        """The atoms from the highest rank down; None if two are equivalent."""
        ranks = [self._ranks[atom] for atom in atoms]
        if len(set(ranks)) < len(ranks):
            return None
        return tuple(atom for _, atom in sorted(zip(ranks, atoms, strict=True), reverse=True))

    def _stereocentre(self, atom: int) -> Stereocentre | None:
        neighbours = self._neighbours[atom]
        pyramidal = len(neighbours) == 3 and self.numbers[atom] in (15, 16)
        ordered = self._by_rank(neighbours) if len(neighbours) == 4 or pyramidal else None
        return Stereocentre(atom, ordered) if ordered else None

    def _double_bond(self, i: int, j: int) -> DoubleBond | None:
        outer = [[atom for atom in self._neighbours[a] if atom != b] for a, b in ((i, j), (j, i))]
        first, last = (self._by_rank(atoms) if 1 <= len(atoms) <= 2 else None for atoms in outer)
        if first is None or last is None or self._is_linear(i) or self._is_linear(j) or not self._is_stiff(i, j):
            return None
        return DoubleBond(first[0], i, j, last[0])

    def _is_linear(self, atom: int) -> bool:
        """Two neighbours only, at a carbon atom (alkynes, allenes, cyanates) or both by double bonds (azides)."""
        neighbours = self._neighbours[atom]
        short = all(self._length(atom, other) < LINEAR_BELOW_A for other in neighbours)
        return len(neighbours) == 2 and (self.numbers[atom] == 6 or short)

    def _is_stiff(self, i: int, j: int) -> bool:
        low, high = sorted((i, j), key=lambda atom: self.numbers[atom])
        elements = int(self.numbers[low]), int(self.numbers[high])
        length = self._length(i, j)
        if length < DOUBLE_BOND_BELOW_A.get(elements, 0.0):
            return True
        amide = any(self._is_carbonyl(low, atom) for atom in self._neighbours[low])
        return elements == (6, 7) and length < AMIDE_BELOW_A and amide

    def _is_carbonyl(self, carbon: int, atom: int) -> bool:
        shortest = TERMINAL_DOUBLE_BOND_BELOW_A.get(int(self.numbers[atom]), 0.0)
        return len(self._neighbours[atom]) == 1 and self._length(carbon, atom) < shortest

    def _length(self, i: int, j: int) -> float:
        return self._lengths[min(i, j), max(i, j)]

    def of(self, start: Atoms, frames: Sequence[Atoms]) -> dict[str, int | str]:
        """Differences between the frames and the start, by `COLUMNS`.

        Args:
            start: start frame of the replica.
            frames: recorded frames with `time_fs` in info, excluding that of a collapse.
        """
        kinds = (self._inversions, self._cis_trans_changes, self._contacts)
        if not frames:
            return dict(zip(COLUMNS, (*[0] * len(kinds), ""), strict=True))
        positions = np.array([frame.positions for frame in frames])
        times = [frame.info["time_fs"] for frame in frames]
        counts, words = [], []
        for kind in kinds:
            seen, names = kind(start.positions[None], positions)
            counts.append(int(seen.any(axis=0).sum()))
            if counts[-1]:
                frame = int(seen.any(axis=1).argmax())
                words.append(f"{names[int(seen[frame].argmax())]} at {times[frame]:g} fs")
        return dict(zip(COLUMNS, (*counts, "; ".join(words)), strict=True))

    def _inversions(self, start: Floats, positions: Floats) -> tuple[Mask, list[str]]:
        """Whether each stereocentre is inverted, (n_frames, n_stereocentres), and its description."""
        columns = [
            _signed_volumes(positions, centre) / _signed_volumes(start, centre) < -INVERTED_BEYOND
            for centre in self.stereocentres
        ]
        names = [f"centre {centre.atom} inverted" for centre in self.stereocentres]
        return _stacked(columns, len(positions)), names

    def _cis_trans_changes(self, start: Floats, positions: Floats) -> tuple[Mask, list[str]]:
        """Whether each double bond has changed, (n_frames, n_double_bonds), and its description."""
        columns, names = [], []
        for bond in self.double_bonds:
            trans = bool(_torsions(start, bond)[0] > 90)
            torsions = _torsions(positions, bond)
            columns.append(torsions < TO_CIS_BELOW if trans else torsions > TO_TRANS_BEYOND)
            names.append(f"bond {bond.i}-{bond.j} {'trans to cis' if trans else 'cis to trans'}")
        return _stacked(columns, len(positions)), names

    def _contacts(self, start: Floats, positions: Floats) -> tuple[Mask, list[str]]:
        """Whether each pair is in contact and was not at the start, (n_frames, n_pairs), and its description."""
        first, second = self._pairs
        at_start = np.linalg.norm(start[:, second] - start[:, first], axis=2)[0] < self._limits
        near = np.linalg.norm(positions[:, second] - positions[:, first], axis=2) < self._limits
        return near & ~at_start, [f"contact {i}-{j}" for i, j in zip(first.tolist(), second.tolist(), strict=True)]


def _ranks(numbers: NDArray[np.int64], neighbours: dict[int, list[int]]) -> list[int]:
    """Rank of each atom; atoms with equivalent surroundings in the graph have the same rank.

    Colour refinement (B. Weisfeiler, A. Leman, 1968), which distinguishes all atoms that bonds and elements
    distinguish, except in highly symmetric cages.
    """
    ranks = [int(number) for number in numbers]
    while True:
        surroundings = [
            (rank, tuple(sorted(ranks[other] for other in neighbours[atom]))) for atom, rank in enumerate(ranks)
        ]
        # The previous rank is compared first, so distinguished atoms stay distinct, and heavier elements rank higher.
        places = {each: place for place, each in enumerate(sorted(set(surroundings)))}
        if len(places) == len(set(ranks)):
            return ranks
        ranks = [places[each] for each in surroundings]


def _signed_volumes(positions: Floats, centre: Stereocentre) -> Floats:
    """Signed volumes (n_frames,) of the parallelepiped spanned by unit vectors from the centre to its neighbours.

    For four neighbours, by the differences from the last one: 16 / (3 sqrt(3)) for a tetrahedron, 0 if planar.
    """
    vectors = positions[:, centre.neighbours] - positions[:, [centre.atom]]
    vectors = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    if len(centre.neighbours) == 4:
        vectors = vectors[:, :3] - vectors[:, 3:]
    return np.linalg.det(vectors)


def _torsions(positions: Floats, bond: DoubleBond) -> Floats:
    """Absolute torsions (n_frames,) in degrees, 0 for cis."""
    axis = positions[:, bond.j] - positions[:, bond.i]
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    arms = [positions[:, a] - positions[:, b] for a, b in ((bond.first, bond.i), (bond.last, bond.j))]
    arms = [arm - np.einsum("fx,fx->f", arm, axis)[:, None] * axis for arm in arms]
    cosines = np.einsum("fx,fx->f", *arms) / np.prod([np.linalg.norm(arm, axis=1) for arm in arms], axis=0)
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def _stacked(columns: list[Mask], n_frames: int) -> Mask:
    return np.stack(columns, axis=1) if columns else np.zeros((n_frames, 0), dtype=bool)
