"""When a long run saves its state, and when its time is over."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from physembed.errors import PhysEmbedError

SAVE_EVERY_SECONDS = 60.0


class Clock:
    """Counts the wall time of a job from when it is made.

    Args:
        max_walltime_hours: after which the job is to end by itself; None for no limit.
    """

    def __init__(self, max_walltime_hours: float | None = None) -> None:
        self.max_walltime_hours = max_walltime_hours
        self._began = self._saved = monotonic()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Clock:
        """With the limit of a configuration, as Snakemake hands it to a script."""
        return cls(config.get("jobs", {}).get("max_walltime_hours"))

    def save_due(self) -> bool:
        """Whether a minute has passed since this was last true."""
        if monotonic() - self._saved <= SAVE_EVERY_SECONDS:
            return False
        self._saved = monotonic()
        return True

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self.max_walltime_hours is not None and self._hours >= self.max_walltime_hours

    def end(self, what: str, done: str) -> PhysEmbedError:
        """What a run raises once it has saved its state; `done` says how far it came."""
        return PhysEmbedError(
            f"{what}: ended after {self._hours:.3g} h (jobs.max_walltime_hours is {self.max_walltime_hours:g}) with "
            f"{done} done; the state is saved, run again to go on"
        )

    @property
    def _hours(self) -> float:
        return (monotonic() - self._began) / 3600
