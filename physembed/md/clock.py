"""Timing of a long run: when to save its state, and when its time limit is reached."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from physembed.errors import PhysEmbedError

SAVE_EVERY_SECONDS = 60.0


class Clock:
    """Measures the wall time of a job from the creation of this object.

    Args:
        max_walltime_hours: time after which the job should end by itself; None for no limit.
    """

    def __init__(self, max_walltime_hours: float | None = None) -> None:
        self.max_walltime_hours = max_walltime_hours
        self._began = self._saved = monotonic()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Clock:
        """A clock with the limit of a configuration, as passed by Snakemake to a script."""
        return cls(config.get("jobs", {}).get("max_walltime_hours"))

    def save_due(self) -> bool:
        """Whether a minute has passed since the last time this was true."""
        if monotonic() - self._saved <= SAVE_EVERY_SECONDS:
            return False
        self._saved = monotonic()
        return True

    @property
    def over(self) -> bool:
        """Whether the time limit is reached."""
        return self.max_walltime_hours is not None and self._hours >= self.max_walltime_hours

    def end(self, what: str, done: str) -> PhysEmbedError:
        """The error that a run raises after saving its state; `done` states its progress."""
        return PhysEmbedError(
            f"{what}: ended after {self._hours:.3g} h (jobs.max_walltime_hours is {self.max_walltime_hours:g}) with "
            f"{done} done; the state is saved, run again to resume"
        )

    @property
    def _hours(self) -> float:
        return (monotonic() - self._began) / 3600
