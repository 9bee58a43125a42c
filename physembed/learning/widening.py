"""Failure-driven learning: training frames in which the bond or angle that failed goes as far as where it failed.

What failed in a run that ended early is judged by its last frame: the bond or angle that stores most energy beyond the
values that the training set covers, k (x - edge)^2 with the force constant of the topology. So a broken bond, a contact
of two atoms (mostly a bent angle) and a stop by the spread of a committee are judged in the same way.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms

from physembed.config import Stability
from physembed.learning.hot_md import HotRuns
from physembed.molecules.angles import angle_types, angle_values
from physembed.molecules.bonds import bond_lengths, bond_types
from physembed.sampling.angle_sampling import angle_record
from physembed.sampling.bond_sampling import bond_record
from physembed.sampling.geometry import ClashCheck, angle_moves, bond_moves

log = logging.getLogger(__name__)
SEGMENTS = {"bond": ("compression", "stretching"), "angle": ("closing", "opening")}
"""Towards smaller and towards larger values."""
TRIES = 200
"""Draws for one frame before its kind of failure is given up."""


@dataclass(frozen=True)
class Failure:
    """What failed in one run."""

    kind: str
    """`bond` or `angle`."""
    types: str
    segment: str
    """`compression` or `stretching`, `closing` or `opening`."""
    edge: float
    """Where the training set ends, Å or degrees."""
    value: float
    """At the end of the run, but no further than where frames are still the molecule."""
    replica: int


class Widening:
    """Makes frames of a molecule whose bonds and angles go where they failed.

    Args:
        numbers: (n_atoms,) atomic numbers.
        bonds: the bond table.
        angles: the angle table.
        mean_lengths_A: (n_bonds,) mean lengths in the GAFF run.
        settings: section `stability`: frames stay within the limits beyond which a run has collapsed.
    """

    def __init__(
        self,
        numbers: np.ndarray,
        bonds: pd.DataFrame,
        angles: pd.DataFrame,
        mean_lengths_A: np.ndarray,
        settings: Stability,
    ) -> None:
        self.numbers, self.bonds, self.angles = numbers, bonds, angles
        self.check = ClashCheck(bonds, numbers, settings.overlap_margin_A)
        self.types = {"bond": bond_types(bonds), "angle": angle_types(angles)}
        self.bond_moves = bond_moves(bonds, numbers)
        self.angle_moves = angle_moves(bonds, angles, numbers)
        self.constants = {
            "bond": bonds["k_kcal_mol_A2"].to_numpy(),
            "angle": angles["k_kcal_mol_rad2"].to_numpy() * np.radians(1) ** 2,
        }
        """Force constants in kcal/mol/Å^2 and kcal/mol/degree^2."""
        mean, tolerance = pd.Series(mean_lengths_A).groupby(self.types["bond"]).mean(), settings.bond_tolerance_A
        self.bond_limits = {types: (value - tolerance, value + tolerance) for types, value in mean.items()}
        """Lengths in Å between which bonds of a type are not broken."""

    def failures(self, runs: HotRuns, before: Sequence[Atoms]) -> list[Failure]:
        """What failed in each run that ended early, where that is a bond or an angle that can be changed.

        Args:
            runs: the hot MD.
            before: frames of the training set.
        """
        edges = self._edges(before)
        found = []
        for replica in runs.ended:
            finite = [frame for frame in runs.trajectories[replica] if np.isfinite(frame.positions).all()]
            worst = self._worst(self._values(finite[-1:]), edges, replica)
            if worst is None:
                log.info("replica %d: no bond or angle is beyond those of the training set at its end", replica)
            else:
                found.append(worst)
        return found

    def frames(self, runs: HotRuns, before: Sequence[Atoms], count: int, seed: int, name: str) -> list[Atoms]:
        """Unmodified start frames in each of which one failed bond or angle is changed.

        Each type takes its turn, those that failed in more runs first; the new value is uniform between the edge of
        the training set and the farthest value of its failures.

        Args:
            runs: the hot MD.
            before: frames of the training set.
            count: how many frames; there are fewer if nothing failed or no change is possible without a clash.
            seed: of the draws.
            name: of the round, for `info`.
        """
        groups: defaultdict[tuple[str, str, str], list[Failure]] = defaultdict(list)
        for failure in self.failures(runs, before):
            groups[failure.kind, failure.types, failure.segment].append(failure)
        order = sorted(groups.values(), key=len, reverse=True)
        generator = np.random.default_rng(seed)
        made: list[Atoms] = []
        while order and len(made) < count:
            group = order.pop(0)
            replica = int(generator.integers(len(runs.trajectories)))
            done = self._changed(runs.trajectories[replica][0].positions, group, generator)
            if done is None:
                log.warning("%s: %s %s: every change leads to a clash", name, group[0].types, group[0].segment)
                continue
            order.append(group)
            positions, record = done
            source = int(runs.replicas["start_frame"].iloc[replica])
            info = {"source_frame": source, "modifications": json.dumps([record]), "round": name}
            made.append(Atoms(self.numbers, positions, info=info))
        return made

    def _values(self, frames: Sequence[Atoms]) -> dict[str, np.ndarray]:
        """(n_frames, n_rows) Å of bonds and degrees of angles."""
        positions = np.array([frame.positions for frame in frames])
        return {"bond": bond_lengths(positions, self.bonds), "angle": angle_values(positions, self.angles)}

    def _edges(self, frames: Sequence[Atoms]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Smallest and largest value that frames have of the type of each bond and angle, (n_rows,) Å or degrees."""
        edges = {}
        for kind, values in self._values(frames).items():
            types = self.types[kind]
            low, high = (pd.Series(ends).groupby(types) for ends in (values.min(axis=0), values.max(axis=0)))
            edges[kind] = low.transform("min").to_numpy(), high.transform("max").to_numpy()
        return edges

    def _worst(
        self, at_end: dict[str, np.ndarray], edges: dict[str, tuple[np.ndarray, np.ndarray]], replica: int
    ) -> Failure | None:
        """The bond or angle with most energy beyond the training set."""
        found = []
        for kind, names in SEGMENTS.items():
            for row, types in enumerate(self.types[kind]):
                if kind == "angle" and not self.angle_moves[row]:
                    continue
                value, low, high = float(at_end[kind][0, row]), float(edges[kind][0][row]), float(edges[kind][1][row])
                lowest, highest = self.bond_limits[types] if kind == "bond" else (0.0, 180.0)
                far = min(max(value, lowest), highest)
                if low <= far <= high:
                    continue
                segment, edge = (names[0], low) if far < low else (names[1], high)
                energy = self.constants[kind][row] * (value - edge) ** 2
                found.append((energy, Failure(kind, types, segment, edge, far, replica)))
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def _changed(
        self, positions: np.ndarray, group: Sequence[Failure], generator: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, Any]] | None:
        """Positions with one bond or angle of a type changed, and the change; None if each try leads to a clash."""
        first = group[0]
        far = max((failure.value for failure in group), key=lambda value: abs(value - first.edge))
        rows = [row for row, types in enumerate(self.types[first.kind]) if types == first.types]
        for _ in range(TRIES):
            row, value = (
                int(generator.choice(rows)),
                float(generator.uniform(min(first.edge, far), max(first.edge, far))),
            )
            if first.kind == "bond":
                bond = self.bond_moves[row]
                moved = bond.set_length(positions, value)
                record = bond_record(bond, positions, first.types, first.segment, value, 0.0)
            elif self.angle_moves[row]:
                moves = self.angle_moves[row]
                angle = moves[int(generator.integers(len(moves)))]
                moved = angle.bend(positions, value, 0.0)
                record = angle_record(angle, positions, first.types, first.segment, value, 0.0)
            else:
                continue
            if self.check.worst(moved) is None:
                return moved, record
        return None
