"""Changes of one bond or angle of a molecule: which atoms move, and which clash afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import networkx  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
from ase.data import atomic_masses
from scipy.spatial.transform import Rotation

from physembed.molecules.bonds import bond_graph, equilibrium_length_matrix


def side(graph: networkx.Graph, atom: int, partner: int) -> set[int]:
    """`atom` and all atoms attached to it alone, as seen from its bond to `partner`.

    These are the fragments of the molecule without `atom`, except the one that contains `partner`. For a bond
    outside rings this is the whole side of the bond; in a ring it is the atom and its substituents.
    """
    rest = graph.subgraph(networkx.node_connected_component(graph, atom) - {atom})
    return {atom}.union(*(part for part in networkx.connected_components(rest) if partner not in part))


def terminal_atoms(graph: networkx.Graph, bonds: pd.DataFrame) -> set[int]:
    """The atoms at the outer ends of the terminal bonds: hydrogens and halogens with one bond."""
    ends = bonds.loc[bonds["terminal"], ["i", "j"]].to_numpy().ravel().tolist()
    return {atom for atom in ends if graph.degree(atom) == 1}


@dataclass(frozen=True)
class BondMove:
    """How the atoms move when one bond changes its length."""

    i: int
    j: int
    shares: np.ndarray
    """(n_atoms,) displacement of each atom along the unit vector from i to j, per Å of added length."""

    @classmethod
    def of(cls, graph: networkx.Graph, i: int, j: int, in_ring: bool, atomic_numbers: np.ndarray) -> BondMove:
        """In a ring both sides move by half; otherwise the smaller side moves.

        The smaller side has fewer atoms; if equal, it is the lighter one, then that of atom i.
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
    """A centre with terminal atoms (CH3, NH2, OH, CF3) and one other neighbour, about which it can rotate."""

    neighbour: int
    centre: int
    atoms: list[int]
    """The terminal atoms of the centre; only they move when the group rotates."""

    @classmethod
    def of(cls, graph: networkx.Graph, terminal: set[int], i: int, j: int) -> TerminalGroup | None:
        """The group that contains the bond i-j, or None if that bond is not terminal or there is no axis.

        There is an axis if the centre has exactly one non-terminal neighbour; it is then not in a ring.
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
class AngleMove:
    """How the atoms move when one angle changes: one end rotates rigidly about the apex with its side."""

    resting: int
    """The end that does not move."""
    apex: int
    moving: int
    """The end that moves."""
    atoms: list[int]
    """The atoms that move: the moving end and all atoms attached to it, without the apex."""

    @classmethod
    def candidates(
        cls, graph: networkx.Graph, i: int, j: int, k: int, ring: set[tuple[int, int]], atomic_numbers: np.ndarray
    ) -> list[AngleMove]:
        """The moves of the smaller side, among the sides that are attached to the apex by a bond outside rings.

        The smaller side has fewer atoms; if equal, it is the lighter one. Either of two hydrogens on a carbon may move.

        Args:
            graph: graph of the bonds.
            i: an end.
            j: the apex.
            k: the other end.
            ring: the bonds in rings, lower index first.
            atomic_numbers: (n_atoms,).

        Returns:
            One move, two if both sides are equal in size and mass, none if both bonds are in rings.
        """
        moves, sizes = [], []
        for moving, resting in ((i, k), (k, i)):
            if (min(j, moving), max(j, moving)) not in ring:
                atoms = sorted(side(graph, moving, j))
                moves.append(cls(resting, j, moving, atoms))
                sizes.append((len(atoms), round(atomic_masses[atomic_numbers[atoms]].sum(), 6)))
        return [move for move, size in zip(moves, sizes, strict=True) if size == min(sizes)]

    def angle(self, positions: np.ndarray) -> float:
        """The angle in degrees; positions: (n_atoms, 3) Å."""
        first, second = self._arms(positions)
        return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(first, second)), first @ second)))

    def bend(self, positions: np.ndarray, degrees: float, turn_degrees: float) -> np.ndarray:
        """Set the angle, and rotate the moving side about the other bond.

        The first rotation is in the plane of the angle, the second about the axis from the resting end to the apex,
        right-handed; the second keeps the angle and moves its end out of the plane of the other
        neighbours of the apex. Both are rigid rotations about the apex.

        Args:
            positions: (n_atoms, 3) Å.
            degrees: the new angle, 0 to 180.
            turn_degrees: angle of the second rotation.

        Returns:
            (n_atoms, 3) Å.
        """
        resting, moving = self._arms(positions)
        normal = np.cross(resting, moving)
        if np.linalg.norm(normal) < 1e-6 * np.linalg.norm(resting) * np.linalg.norm(moving):
            # A linear angle has no plane: use any plane through the bond, here the one nearest to a coordinate axis.
            normal = np.cross(resting, np.eye(3)[np.abs(resting).argmin()])
        opening = np.radians(degrees - self.angle(positions))
        rotation = Rotation.from_rotvec(opening * normal / np.linalg.norm(normal))
        axis = -resting / np.linalg.norm(resting)
        rotation = Rotation.from_rotvec(np.radians(turn_degrees) * axis) * rotation
        bent = positions.copy()
        bent[self.atoms] = rotation.apply(positions[self.atoms] - positions[self.apex]) + positions[self.apex]
        return bent

    def _arms(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(3,) Å each: from the apex to the resting and to the moving end."""
        return positions[self.resting] - positions[self.apex], positions[self.moving] - positions[self.apex]


def bond_moves(bonds: pd.DataFrame, atomic_numbers: np.ndarray) -> list[BondMove]:
    """The move of each row of a bond table."""
    graph = bond_graph(bonds)
    rows = zip(bonds["i"], bonds["j"], bonds["in_ring"], strict=True)
    return [BondMove.of(graph, int(i), int(j), bool(in_ring), atomic_numbers) for i, j, in_ring in rows]


def angle_moves(bonds: pd.DataFrame, angles: pd.DataFrame, atomic_numbers: np.ndarray) -> list[list[AngleMove]]:
    """The possible moves of each row of an angle table."""
    graph = bond_graph(bonds)
    ring = {(i, j) for i, j, in_ring in zip(bonds["i"], bonds["j"], bonds["in_ring"], strict=True) if in_ring}
    ends = angles[["i", "j", "k"]].to_numpy().tolist()
    return [AngleMove.candidates(graph, i, j, k, ring, atomic_numbers) for i, j, k in ends]


@dataclass(frozen=True)
class Clash:
    """Two non-bonded atoms that are too close to each other."""

    i: int
    j: int
    distance_A: float
    limit_A: float


class ClashCheck:
    """Checks whether two non-bonded atoms are closer than a bond between their elements plus a margin."""

    def __init__(
        self,
        bonds: pd.DataFrame,
        atomic_numbers: np.ndarray,
        margin_A: float,
        margin_across_angles_A: float | None = None,
    ) -> None:
        """Set up the limits.

        Args:
            bonds: the bond table.
            atomic_numbers: (n_atoms,).
            margin_A: added to the bond length.
            margin_across_angles_A: used instead for two atoms with a common neighbour; None for the same margin.
        """
        n_atoms = len(atomic_numbers)
        apart = np.triu(np.ones((n_atoms, n_atoms), dtype=bool), 1)
        apart[bonds["i"], bonds["j"]] = False
        self._first, self._second = np.nonzero(apart)
        margins = np.full((n_atoms, n_atoms), margin_A)
        if margin_across_angles_A is not None:
            graph = bond_graph(bonds)
            for neighbours in (list(graph[atom]) for atom in graph):
                margins[np.ix_(neighbours, neighbours)] = margin_across_angles_A
        self._limits = (equilibrium_length_matrix(bonds, atomic_numbers) + margins)[apart]

    def worst(self, positions: np.ndarray) -> Clash | None:
        """The pair furthest below its limit, or None if there is none; positions: (n_atoms, 3) Å."""
        distances = np.linalg.norm(positions[self._second] - positions[self._first], axis=1)
        if (distances >= self._limits).all():  # false for NaN, which must not pass
            return None
        pair = int((self._limits - distances).argmax())
        return Clash(int(self._first[pair]), int(self._second[pair]), float(distances[pair]), float(self._limits[pair]))
