"""Changes of one bond of a molecule: which atoms move when it is stretched or turned, and what clashes then."""

from __future__ import annotations

from dataclasses import dataclass

import networkx  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
from ase.data import atomic_masses
from scipy.spatial.transform import Rotation

from physembed.molecules.bonds import equilibrium_length_matrix


def side(graph: networkx.Graph, atom: int, partner: int) -> set[int]:
    """`atom` and all that hangs on it alone when seen from its bond to `partner`.

    These are the parts into which the molecule falls without `atom`, except the one with `partner`. For a bond
    outside rings that is the whole side of the bond; in a ring it is the atom and its substituents.
    """
    rest = graph.subgraph(networkx.node_connected_component(graph, atom) - {atom})
    return {atom}.union(*(part for part in networkx.connected_components(rest) if partner not in part))


def terminal_atoms(graph: networkx.Graph, bonds: pd.DataFrame) -> set[int]:
    """The atoms at the outer ends of the terminal bonds: hydrogens and halogens with one bond."""
    ends = bonds.loc[bonds["terminal"], ["i", "j"]].to_numpy().ravel().tolist()
    return {atom for atom in ends if graph.degree(atom) == 1}


@dataclass(frozen=True)
class BondMove:
    """How the atoms follow when one bond changes its length."""

    i: int
    j: int
    shares: np.ndarray
    """(n_atoms,) displacement of each atom along the unit vector from i to j, per Å of added length."""

    @classmethod
    def of(cls, graph: networkx.Graph, i: int, j: int, in_ring: bool, atomic_numbers: np.ndarray) -> BondMove:
        """In a ring both sides move by half; elsewhere the smaller side moves.

        Smaller means fewer atoms, then the lighter side, then that of atom i.
        """
        side_i, side_j = sorted(side(graph, i, j)), sorted(side(graph, j, i))
        shares = np.zeros(len(atomic_numbers))
        size_i, size_j = ((len(atoms), atomic_masses[atomic_numbers[atoms]].sum()) for atoms in (side_i, side_j))
        if in_ring:
            shares[side_i], shares[side_j] = -0.5, 0.5
        elif size_i <= size_j:
            shares[side_i] = -1.0
        else:
            shares[side_j] = 1.0
        return cls(i, j, shares)

    def length(self, positions: np.ndarray) -> float:
        """Length of the bond in Å; positions: (n_atoms, 3) Å."""
        return float(np.linalg.norm(positions[self.j] - positions[self.i]))

    def set_length(self, positions: np.ndarray, length_A: float) -> np.ndarray:
        """(n_atoms, 3) Å, with the bond of the given length; positions: (n_atoms, 3) Å."""
        bond = positions[self.j] - positions[self.i]
        current = np.linalg.norm(bond)
        moved: np.ndarray = positions + np.outer(self.shares, bond * (length_A / current - 1))
        return moved


@dataclass(frozen=True)
class TerminalGroup:
    """A centre with terminal atoms (CH3, NH2, OH, CF3) on one other neighbour, about which it can turn."""

    neighbour: int
    centre: int
    atoms: list[int]
    """The terminal atoms of the centre; only they move when the group turns."""

    @classmethod
    def of(cls, graph: networkx.Graph, terminal: set[int], i: int, j: int) -> TerminalGroup | None:
        """The group that holds the bond i-j, or None where that bond is not terminal or no axis exists.

        An axis exists where the centre has exactly one neighbour that is not terminal; it then is in no ring.
        """
        if terminal.isdisjoint((i, j)):
            return None
        centre = j if i in terminal else i
        others = sorted(set(graph[centre]) - terminal)
        return cls(others[0], centre, sorted(set(graph[centre]) & terminal)) if len(others) == 1 else None

    def turn(self, positions: np.ndarray, degrees: float) -> np.ndarray:
        """(n_atoms, 3) Å, right-handed about the axis neighbour to centre; positions: (n_atoms, 3) Å."""
        axis = positions[self.centre] - positions[self.neighbour]
        rotation = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.radians(degrees))
        turned = positions.copy()
        turned[self.atoms] = rotation.apply(positions[self.atoms] - positions[self.centre]) + positions[self.centre]
        return turned


@dataclass(frozen=True)
class Clash:
    """Two atoms that are not bonded and too near to each other."""

    i: int
    j: int
    distance_A: float
    limit_A: float


class ClashCheck:
    """Whether two atoms that are not bonded are nearer than a bond between their elements plus a margin."""

    def __init__(self, bonds: pd.DataFrame, atomic_numbers: np.ndarray, margin_A: float) -> None:
        n_atoms = len(atomic_numbers)
        apart = np.triu(np.ones((n_atoms, n_atoms), dtype=bool), 1)
        apart[bonds["i"], bonds["j"]] = False
        self._first, self._second = np.nonzero(apart)
        self._limits = equilibrium_length_matrix(bonds, atomic_numbers)[apart] + margin_A

    def worst(self, positions: np.ndarray) -> Clash | None:
        """The pair furthest below its limit, or None where there is none; positions: (n_atoms, 3) Å."""
        distances = np.linalg.norm(positions[self._second] - positions[self._first], axis=1)
        if (distances >= self._limits).all():  # false for NaN, which must not pass
            return None
        pair = int((self._limits - distances).argmax())
        return Clash(int(self._first[pair]), int(self._second[pair]), float(distances[pair]), float(self._limits[pair]))
