"""The loop of every MD run: advance to the next record or check, report, save now and then, end at a time limit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from physembed.md.clock import Clock
from physembed.progress import Progress


class ResumableRun(ABC):
    """A run that can be killed at any time and resumes from its last saved state."""

    name: ClassVar[str]
    """In messages."""
    unit: ClassVar[str]
    """Of `done` and `total`."""
    clock: Clock
    """Says when to save and when time is up."""
    total: float
    """How much there is to do, at most."""

    @property
    @abstractmethod
    def done(self) -> float:
        """How much is done."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether nothing is left to advance."""

    @abstractmethod
    def note(self) -> str:
        """Remark for the log."""

    @abstractmethod
    def advance(self) -> None:
        """Go on to the next record or check, and take out what has failed or ended."""

    @abstractmethod
    def save(self) -> None:
        """Save everything that the next step depends on."""

    def close(self) -> None:
        """Finish what was advanced to its end."""
        self.save()

    def to_end(self, *, on_cpu: bool) -> None:
        """Advance to the end; a long run on a CPU is warned of.

        Raises:
            PhysEmbedError: the time limit of the clock is reached; the state is saved.
        """
        progress = Progress(self.name, self.total, self.unit, start=self.done, warn_if_long=on_cpu)
        while not self.ended:
            self.advance()
            progress.total = self.total
            progress.update(self.done, self.note())
            if self.ended:
                break
            over = self.clock.over
            if over or self.clock.save_due():
                self.save()
            if over:
                raise self.clock.end(self.name, f"{self.done:g} of {self.total:g} {self.unit}")
        self.close()
        progress.finish(self.note(), done=self.done)
