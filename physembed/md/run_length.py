"""When a run ends: after a fixed number of records, or once its mean is known as precisely as asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Row = tuple[float, ...]
GROWTH = 1.1
"""Length of a run at a check over that at the one before."""


class RunLength:
    """Finds the number of records after which one run ends.

    The run is checked at `least` records and whenever it is a tenth longer than at the last check, and ends when two
    checks in a row are passed (the first pair: `least` records and a tenth less), or at `most`. The estimate of an
    error scatters, and a run that ended at the first check that is passed would end where it happens to be too low
    (docs/background/scan.md). The checks depend on the records alone, so a run that was killed ends where it would have
    ended.

    Args:
        least: records of the shortest run.
        most: records of the longest; as many as `least` for a run of fixed length.
        precise: whether the mean of these records is known as precisely as asked; called only if `most` is larger.
    """

    def __init__(self, least: int, most: int, precise: Callable[[Sequence[Row]], bool]) -> None:
        self._least, self._most, self._precise = least, most, precise
        self._next, self._passed = math.ceil(least / GROWTH), False
        self.end: int | None = most if most <= least else None
        """Records after which the run ends; None if not yet known."""

    @property
    def latest(self) -> int:
        """Records after which the run ends, at most."""
        return self._most if self.end is None else self.end

    @property
    def cut_off(self) -> bool:
        """Whether the run ends at its longest, which is not fixed, because it was not known as precisely as asked."""
        return self._least < self._most == self.end

    def see(self, rows: Sequence[Row]) -> None:
        """Make the checks that are due.

        Args:
            rows: all records so far.
        """
        while self.end is None and len(rows) >= min(self._next, self._most):
            if self._next >= self._most:
                self.end = self._most
                return
            passed = self._precise(rows[: self._next])
            if passed and self._passed:
                self.end = self._next
            self._passed = passed
            self._next = self._least if self._next < self._least else math.ceil(self._next * GROWTH)
