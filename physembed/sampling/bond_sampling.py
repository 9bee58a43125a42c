"""Self-adaptive bond-length sampling: frames with single bonds compressed or stretched.

Ranges and probabilities follow from the force constants of a classical topology: a soft bond is chosen more often
and stretched further. Source: Hu, Hou, Jiang, CCS Chemistry 2026, 10.31635/ccschem.026.202506780.

The paper also rotates terminal groups by 15 to 30 degrees "about the bond axis". An atom rotated about its own bond
does not move, so we read the group as the centre with all its terminal atoms (CH3, NH2, OH, CF3), rotated about
the bond to its only other neighbour. Without such an axis (aromatic CH, CH2 or CF2 in a chain) nothing is rotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from physembed.config import Sampling
from physembed.errors import PhysEmbedError
from physembed.molecules.bonds import bond_graph, bond_types
from physembed.sampling.geometry import BondMove, ClashCheck, TerminalGroup, bond_moves, terminal_atoms
from physembed.sampling.modifier import Modifier, drawn_turn
from physembed.sampling.ranges import effective_force_constants


@dataclass(frozen=True)
class BondModification:
    """One modification of one bond."""

    row: int
    """Row of the bond table."""
    segment: str
    """`compression` or `stretching`."""
    length_A: float
    """The new length."""
    turn_degrees: float
    """Rotation of the terminal group, right-handed about its axis pointing to the group; 0 for none."""


class BondSampler(Modifier[BondModification]):
    """Draws and applies modifications of bonds of one molecule with fixed ranges."""

    kind, limits = "bond", "stretch_A or clash_margin_A"

    def __init__(
        self, atomic_numbers: np.ndarray, bonds: pd.DataFrame, settings: Sampling, ranges: pd.DataFrame
    ) -> None:
        """Set up the sampler for a molecule.

        Args:
            atomic_numbers: (n_atoms,).
            bonds: the bond table.
            settings: the arm.
            ranges: one row per bond type (`bond_ranges`).

        Raises:
            PhysEmbedError: there are fewer bonds than requested, or neither segment can be drawn.
        """
        compression, stretching = settings.compression_to_stretching
        if compression + stretching == 0:
            raise PhysEmbedError(
                "bond_sampling: arms.<arm>.compression_to_stretching: [0, 0] draws no segment; set one above 0"
            )
        if settings.bonds_per_frame > len(bonds):
            raise PhysEmbedError(
                f"bond_sampling: arms.<arm>.bonds_per_frame: {settings.bonds_per_frame} distinct bonds wanted, "
                f"but the molecule has {len(bonds)}; lower bonds_per_frame"
            )
        check = ClashCheck(bonds, atomic_numbers, settings.clash_margin_A)
        super().__init__(bond_types(bonds), atomic_numbers, check, settings.bonds_per_frame, settings)
        self.settings = settings
        self.softness = 1 / effective_force_constants(bonds, settings)
        self.compression_probability = compression / (compression + stretching)
        of_bond = ranges.set_index("types").loc[self.types]
        self.compression = of_bond[["compression_low_A", "r_min_A"]].to_numpy()
        self.stretching = of_bond[["r_max_A", "stretch_high_A"]].to_numpy()
        self.stretch_empty = of_bond["stretch_empty"].to_numpy()
        graph = bond_graph(bonds)
        terminal = terminal_atoms(graph, bonds)
        pairs = bonds[["i", "j"]].to_numpy().tolist()
        self.moves = bond_moves(bonds, atomic_numbers)
        self.groups = [TerminalGroup.of(graph, terminal, i, j) for i, j in pairs]

    def draw(self, generator: np.random.Generator, modified: Sequence[int] = ()) -> BondModification:
        """Draw a bond with probability proportional to 1/k, a segment, a length and a rotation.

        With `draws: even` types that have been modified less often come first.

        Args:
            generator: random number generator.
            modified: rows of the bond table that must not be drawn again.
        """
        weights = self.softness.copy()
        weights[list(modified)] = 0
        row = int(generator.choice(len(weights), p=self.favour(weights, range(len(weights)))))
        probability = self.chance(row, ("compression", "stretching"), self.compression_probability)
        compress = bool(generator.random() < probability) or bool(self.stretch_empty[row])
        low, high = (self.compression if compress else self.stretching)[row]
        length = float(generator.uniform(low, high))
        turn = 0.0
        if self.groups[row] is not None and generator.random() < self.settings.turn_probability:
            turn = drawn_turn(generator, self.settings)
        return BondModification(row, "compression" if compress else "stretching", length, turn)

    def apply(self, positions: np.ndarray, modification: BondModification) -> np.ndarray:
        """(n_atoms, 3) Å after one modification; positions: (n_atoms, 3) Å before it."""
        moved = self.moves[modification.row].set_length(positions, modification.length_A)
        group = self.groups[modification.row]
        return group.turn(moved, modification.turn_degrees) if group and modification.turn_degrees else moved

    def record(self, positions: np.ndarray, modification: BondModification) -> dict[str, Any]:
        """The modification as written to a frame; positions: (n_atoms, 3) Å before it."""
        m = modification
        return bond_record(self.moves[m.row], positions, self.types[m.row], m.segment, m.length_A, m.turn_degrees)


def bond_record(
    move: BondMove, positions: np.ndarray, types: str, segment: str, length_A: float, turn_degrees: float
) -> dict[str, Any]:
    """A modification of a bond as written to a frame; positions: (n_atoms, 3) Å before it."""
    return {
        "bond": [move.i, move.j],
        "types": types,
        "segment": segment,
        "from_A": round(move.length(positions), 6),
        "to_A": round(length_A, 6),
        "turn_degrees": round(turn_degrees, 4),
    }
