"""Progress of long work: one log line every few seconds with done/total, rate and time left."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)


def format_duration(seconds: float) -> str:
    """Seconds as `1 h 02 min`, `3 min 20 s` or `4.2 s`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, secs = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {secs:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Logs `what: done/total unit, rate, time left`, at most once in `every` seconds.

    `start` is the amount already done before this process (a resumed job), so that the rate is
    that of this process alone. With `warn_if_long`, the first line is a warning if more than an hour is left.
    """

    def __init__(
        self,
        what: str,
        total: float,
        unit: str,
        *,
        start: float = 0,
        every: float = 5.0,
        warn_if_long: bool = False,
    ) -> None:
        self.what, self.total, self.unit, self.start, self.every = what, total, unit, start, every
        self._warn = warn_if_long
        self._began = time.monotonic()
        self._last = self._began
        if start:
            log.info("%s: resumes at %g/%g %s", what, start, total, unit)

    def update(self, done: float, note: str = "") -> None:
        """Report that `done` units are finished in all."""
        now = time.monotonic()
        if now - self._last < self.every:
            return
        self._last = now
        rate = (done - self.start) / (now - self._began)
        seconds = (self.total - done) / rate if rate > 0 else float("inf")
        left = format_duration(seconds) if rate > 0 else "unknown time"
        if self._warn and rate > 0:
            self._warn = False
            if seconds > 3600:
                log.warning("%s will take about %s on this CPU; a GPU is far faster", self.what, left)
        log.info(
            "%s: %g/%g %s, %.3g %s/s, %s left%s",
            self.what, done, self.total, self.unit, rate, self.unit, left, f", {note}" if note else "",
        )  # fmt: skip

    def finish(self, note: str = "", done: float | None = None) -> None:
        """Report the end and the time it took; `done` where the work ended before its total."""
        took = format_duration(time.monotonic() - self._began)
        amount = self.total if done is None else done
        log.info("%s: %g %s done in %s%s", self.what, amount, self.unit, took, f", {note}" if note else "")
