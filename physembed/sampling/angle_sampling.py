"""Self-adaptive angle sampling: frames with closed or opened angles.

This extends bond-length sampling (Hu, Hou, Jiang, CCS Chemistry 2026, 10.31635/ccschem.026.202506780) to angles, which
the paper does not do: the atoms attached through a bond outside rings rotate rigidly about the bond's other end.
docs/background/angle_sampling.md explains the rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from physembed.config import Sampling
from physembed.errors import PhysEmbedError
from physembed.molecules.angles import angle_types
from physembed.sampling.angle_ranges import effective_angle_constants
from physembed.sampling.geometry import AngleMove, ClashCheck, angle_moves
from physembed.sampling.modifier import Modifier, drawn_turn


@dataclass(frozen=True)
class AngleModification:
    """One modification of one angle."""

    row: int
    """Row of the angle table."""
    move: AngleMove
    """The end that moves."""
    segment: str
    """`closing` or `opening`."""
    degrees: float
    """The new angle."""
    turn_degrees: float
    """Rotation of the moving side, right-handed about the axis from the resting end to the apex; 0 for none."""


class AngleSampler(Modifier[AngleModification]):
    """Draws and applies modifications of angles of one molecule with fixed ranges."""

    kind, limits = "angle", "bend_degrees or bend_clash_margin_A"

    def __init__(
        self,
        atomic_numbers: np.ndarray,
        bonds: pd.DataFrame,
        angles: pd.DataFrame,
        settings: Sampling,
        ranges: pd.DataFrame,
    ) -> None:
        """Set up the sampler for a molecule.

        Args:
            atomic_numbers: (n_atoms,).
            bonds: the bond table.
            angles: the angle table.
            settings: the arm.
            ranges: one row per angle type (`angle_ranges`).

        Raises:
            PhysEmbedError: angles can be bent at fewer atoms than requested, or neither segment can be drawn.
        """
        closing, opening = settings.closing_to_opening
        if closing + opening == 0:
            raise PhysEmbedError(
                "bond_sampling: arms.<arm>.closing_to_opening: [0, 0] draws no segment; set one above 0"
            )
        check = ClashCheck(bonds, atomic_numbers, settings.clash_margin_A, settings.bend_clash_margin_A)
        super().__init__(angle_types(angles), atomic_numbers, check, settings.angles_per_frame, settings)
        self.settings = settings
        self.closing_probability = closing / (closing + opening)
        of_angle = ranges.set_index("types").loc[self.types]
        self.closing = of_angle[["closing_low_degrees", "theta_min_degrees"]].to_numpy()
        self.opening = of_angle[["theta_max_degrees", "opening_high_degrees"]].to_numpy()
        self.closing_empty = of_angle["closing_empty"].to_numpy(dtype=bool) | (closing == 0)
        self.opening_empty = of_angle["opening_empty"].to_numpy(dtype=bool) | (opening == 0)
        self.moves: list[tuple[int, AngleMove]] = [
            (row, move)
            for row, moves in enumerate(angle_moves(bonds, angles, atomic_numbers))
            if not (self.closing_empty[row] and self.opening_empty[row])
            for move in moves
        ]
        """Row of the angle table and a possible move of that angle."""
        self.apexes = np.array([move.apex for _, move in self.moves], dtype=int)
        self.weights = self._weights(angles, effective_angle_constants(angles, settings))
        """(n_moves,) probabilities."""
        if (places := len(set(self.apexes.tolist()))) < self.wanted:
            raise PhysEmbedError(
                f"bond_sampling: arms.<arm>.angles_per_frame: {self.wanted} angles at distinct atoms wanted, but the "
                f"molecule can be bent at {places} (never within a ring); lower angles_per_frame"
            )

    def _weights(self, angles: pd.DataFrame, k: np.ndarray) -> np.ndarray:
        """(n_moves,) probability of each move: of its bond by the angles that contain it, times that of its angle.

        k: (n_angles,) effective force constants.
        """
        stiffness: dict[tuple[int, int], float] = defaultdict(float)
        for i, apex, end, value in zip(angles["i"], angles["j"], angles["k"], k, strict=True):
            stiffness[apex, i] += value
            stiffness[apex, end] += value
        within: dict[tuple[int, int], float] = defaultdict(float)
        for row, move in self.moves:
            within[move.apex, move.moving] += 1 / k[row]
        weights = np.array(
            [
                1 / stiffness[move.apex, move.moving] / k[row] / within[move.apex, move.moving]
                for row, move in self.moves
            ]
        )
        return weights / weights.sum()

    def draw(self, generator: np.random.Generator, modified: Sequence[int] = ()) -> AngleModification:
        """Draw a bond to be bent, one of the angles that contain it, a segment, a value and a rotation.

        The bond is drawn with probability proportional to 1/K, where K is the sum of the force constants of all angles
        at the apex that contain it; the angle, among those in which its end can move, proportionally to 1/k. With
        `draws: even`, types that have been bent less often are preferred.

        Args:
            generator: random number generator.
            modified: rows of the angle table; no other angle at their apexes is drawn, so that each keeps its value.
        """
        taken = [move.apex for row, move in self.moves if row in modified]
        weights = np.where(np.isin(self.apexes, taken), 0, self.weights)
        favoured = self.favour(weights, [row for row, _ in self.moves])
        row, move = self.moves[int(generator.choice(len(weights), p=favoured))]
        close = bool(generator.random() < self.chance(row, ("closing", "opening"), self.closing_probability))
        close = bool(self.opening_empty[row]) or (close and not self.closing_empty[row])
        low, high = (self.closing if close else self.opening)[row]
        degrees = float(generator.uniform(low, high))
        turns = generator.random() < self.settings.bend_turn_probability
        turn = drawn_turn(generator, self.settings) if turns else 0.0
        return AngleModification(row, move, "closing" if close else "opening", degrees, turn)

    def apply(self, positions: np.ndarray, modification: AngleModification) -> np.ndarray:
        """(n_atoms, 3) Å after one modification; positions: (n_atoms, 3) Å before it."""
        return modification.move.bend(positions, modification.degrees, modification.turn_degrees)

    def record(self, positions: np.ndarray, modification: AngleModification) -> dict[str, Any]:
        """The modification as written to a frame; positions: (n_atoms, 3) Å before it."""
        m = modification
        return angle_record(m.move, positions, self.types[m.row], m.segment, m.degrees, m.turn_degrees)


def angle_record(
    move: AngleMove, positions: np.ndarray, types: str, segment: str, degrees: float, turn_degrees: float
) -> dict[str, Any]:
    """A modification of an angle as written to a frame; positions: (n_atoms, 3) Å before it."""
    return {
        "angle": [move.resting, move.apex, move.moving],
        "types": types,
        "segment": segment,
        "from_degrees": round(move.angle(positions), 4),
        "to_degrees": round(degrees, 4),
        "turn_degrees": round(turn_degrees, 4),
    }
