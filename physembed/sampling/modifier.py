"""Common part of bond and angle sampling: draw a modification, apply it, check for clashes, and repeat."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from physembed.config import Sampling
from physembed.errors import PhysEmbedError
from physembed.sampling.geometry import ClashCheck

EVEN = 10.0
"""Factor by which the weight of a type falls with each modification that it has had, with `draws: even`."""


def modifications_of(frame: Atoms, kind: Literal["bond", "angle"]) -> list[dict[str, Any]]:
    """The modifications of one kind in `info["modifications"]` of a frame; empty if there is no such entry."""
    return [item for item in json.loads(frame.info.get("modifications", "[]")) if kind in item]


def drawn_turn(generator: np.random.Generator, settings: Sampling) -> float:
    """A rotation in degrees, uniform between the two `turn_degrees` of an arm, in either direction."""
    smallest, largest = settings.turn_degrees
    return float(generator.choice([-1, 1]) * generator.uniform(smallest, largest))


class Modification(Protocol):
    """One modification of one bond or angle."""

    @property
    def row(self) -> int:
        """Row of the bond or angle table."""

    @property
    def segment(self) -> str:
        """Towards shorter or longer, smaller or larger."""


class Modifier[M: Modification](ABC):
    """Draws and applies modifications of one kind to one molecule, with fixed ranges."""

    kind: str
    """`bond` or `angle`."""
    limits: str
    """The keys of an arm that determine the size of a modification and what counts as a clash."""

    def __init__(
        self, types: list[str], atomic_numbers: np.ndarray, check: ClashCheck, wanted: int, settings: Sampling
    ) -> None:
        """Set up.

        Args:
            types: the type of each row of the table.
            atomic_numbers: (n_atoms,).
            check: check for short contacts.
            wanted: number of modifications per frame.
            settings: the arm.
        """
        self.types, self.atomic_numbers, self.check = types, atomic_numbers, check
        self.wanted, self.tries, self.even = wanted, settings.tries, settings.draws == "even"
        self.draws, self.rejected = 0, 0
        self.made: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Modifications so far, by type and segment."""

    def favour(self, weights: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """Weights of draws, with `draws: even` ten times smaller for each change that the type of a row has had.

        Args:
            weights: (n_draws,).
            rows: (n_draws,) rows of the table.
        """
        if self.even:
            weights = weights * EVEN ** -np.array([self.made[self.types[row]].total() for row in rows], float)
        return weights / weights.sum()

    def chance(self, row: int, segments: tuple[str, str], probability: float) -> float:
        """Probability of the first of two segments; with `draws: even` it keeps their shares even.

        Args:
            row: of the table.
            segments: their names.
            probability: that of the first.
        """
        if not self.even:
            return probability
        made = self.made[self.types[row]]
        shares = np.array([probability, 1 - probability])
        excess = np.array([made[segment] for segment in segments]) - shares * made.total()
        weights = shares * EVEN**-excess
        return float(weights[0] / weights.sum())

    @abstractmethod
    def draw(self, generator: np.random.Generator, modified: Sequence[int] = ()) -> M:
        """Draw a modification; `modified` are the rows that were already modified in this frame."""

    @abstractmethod
    def apply(self, positions: np.ndarray, modification: M) -> np.ndarray:
        """(n_atoms, 3) Å after one modification; positions: (n_atoms, 3) Å before it."""

    @abstractmethod
    def record(self, positions: np.ndarray, modification: M) -> dict[str, Any]:
        """The modification as written to a frame; positions: (n_atoms, 3) Å before it."""

    def modify(
        self, positions: np.ndarray, generator: np.random.Generator, name: str
    ) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Apply the requested number of modifications, one after the other, drawing again after each clash.

        Args:
            positions: (n_atoms, 3) Å.
            generator: random number generator.
            name: name of the frame in an error message.

        Returns:
            The new positions, (n_atoms, 3) Å, and the modifications as written to a frame.

        Raises:
            PhysEmbedError: `tries` draws do not give the requested number of valid modifications.
        """
        current = positions
        done: list[int] = []
        tried: list[int] = []
        records: list[dict[str, Any]] = []
        while len(done) < self.wanted and len(tried) < self.tries:
            modification = self.draw(generator, done)
            tried.append(modification.row)
            proposed = self.apply(current, modification)
            if self.check.worst(proposed) is None:
                records.append(self.record(current, modification))
                done.append(modification.row)
                self.made[self.types[modification.row]][modification.segment] += 1
                current = proposed
        if len(done) < self.wanted:
            raise PhysEmbedError(self._complaint(positions, name, done, tried))
        self.draws += len(tried)
        self.rejected += len(tried) - len(done)
        return current, records

    def _complaint(self, positions: np.ndarray, name: str, done: list[int], tried: list[int]) -> str:
        counts = Counter(self.types[row] for row in tried).most_common()
        listed = ", ".join(f"{types} {count}" for types, count in counts[:6]) + (", ..." if counts[6:] else "")
        found = f"only {len(done)} of {self.wanted} valid modifications" if done else "no valid modification"
        complaint = f"bond_sampling: {name}: {found} in {len(tried)} tries ({self.kind}s tried: {listed}); "
        clash = self.check.worst(positions)
        if clash is None:
            remedy = f"lower {self.limits} of the arm"
            return complaint + (remedy + f", or {self.kind}s_per_frame, or raise tries" if done else remedy)
        first, second = (chemical_symbols[self.atomic_numbers[atom]] for atom in (clash.i, clash.j))
        return complaint + (
            f"before it atoms {clash.i} and {clash.j} ({first} and {second}, not bonded) are {clash.distance_A:.3f} Å "
            f"apart already, the limit is {clash.limit_A:.3f} Å; lower clash_margin_A of the arm"
        )
