"""Progress of long work: one log line every few seconds with done/total, rate and time left."""

from __future__ import annotations

import logging
import time
from collections import deque

log = logging.getLogger(__name__)


def format_duration(seconds: float) -> str:
    """Seconds as `1 h 02 min`, `3 min 20 s` or `4.2 s`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, secs = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {secs:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


WINDOW_S = 600.0
"""The rate is measured over the last ten minutes, or over the later half of the time if that is shorter."""
SETTLED_S = 30.0
"""An estimate is considered reliable after this time and `SETTLED_UPDATES` updates since start-up."""
SETTLED_UPDATES = 3


class Progress:
    """Logs `what: done/total unit, rate, time left`, at most once in `every` seconds.

    The time before the first update, in which code is compiled and memory is allocated, is excluded from the rate. The
    rate is that of the later half of the time, so slow steps at the beginning lose their influence. `start` is the
    amount already done before this process (a resumed job). With `warn_if_long`, one warning is logged if more than an
    hour is left when the estimate has become reliable.
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
        self.what, self.total, self.unit, self.every = what, total, unit, every
        self._warn = warn_if_long
        self._began = self._last = time.monotonic()
        self._done = start
        self._advances = 0
        self._seen: deque[tuple[float, float]] = deque()
        """Times of updates, at least a second apart, with the amount done; used to compute the rate."""
        self._first = self._began
        if start:
            log.info("%s: resuming at %g/%g %s", what, start, total, unit)

    def update(self, done: float, note: str = "") -> None:
        """Report that `done` units are finished in total."""
        now = time.monotonic()
        if done > self._done:
            self._advance(now, done)
        if now - self._last < self.every:
            return
        self._last = now
        rate = self._rate()
        seconds = (self.total - done) / rate if rate else 0.0
        if self._warn and rate and self._settled:
            self._warn = False
            if seconds > 3600:
                left = format_duration(seconds)
                log.warning("%s will take about %s on this CPU; a GPU is much faster", self.what, left)
        time_left = f"{rate:.3g} {self.unit}/s, {format_duration(seconds)} left" if rate else "time left not yet known"
        log.info("%s: %g/%g %s, %s%s", self.what, done, self.total, self.unit, time_left, f", {note}" if note else "")

    def _advance(self, now: float, done: float) -> None:
        self._done, self._advances = done, self._advances + 1
        if not self._seen:
            self._first = now
        elif now - self._seen[-1][0] < 1.0:
            return
        self._seen.append((now, done))
        begin = max(now - WINDOW_S, (self._first + now) / 2)
        while len(self._seen) > 2 and self._seen[1][0] <= begin:
            self._seen.popleft()

    def _rate(self) -> float | None:
        """Units per second; None if not yet known."""
        if len(self._seen) < 2:
            return None
        (then, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - then)

    @property
    def _settled(self) -> bool:
        return self._advances > SETTLED_UPDATES and self._seen[-1][0] - self._first >= SETTLED_S

    def finish(self, note: str = "", done: float | None = None) -> None:
        """Report the end and the elapsed time; `done` if the work ended before its total."""
        took = format_duration(time.monotonic() - self._began)
        amount = self.total if done is None else done
        log.info("%s: %g %s done in %s%s", self.what, amount, self.unit, took, f", {note}" if note else "")
