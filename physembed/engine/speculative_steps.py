"""Speculative stepping: pair lists are verified once in many steps, and the steps are rolled back if a list was stale.

Verifying a list before each step would synchronise host and device in every step. Instead the device records how much
of the skin is used, and the host reads this after a chunk of steps. If a list became stale in between, the chunk is
rolled back, so no step is accepted in which a pair could have been missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from physembed.engine.graphs import Replayed

CHUNK = 25
"""Maximum number of steps between two verifications of the lists."""


class List(Protocol):
    """What the steps require of a pair list (`physembed.engine.neighbors.PaddedList`)."""

    attended: bool
    used: Tensor
    allocations: int


class ListedSteps:
    """Repeats an in-place step that uses pair lists.

    Args:
        step: takes a step: it changes the tensors in `changed`, and no others, in place.
        changed: tensors that the step changes.
        model: model that the step evaluates. If its `fixed_shapes` is true, it can be captured in a CUDA graph; if it
            has `lists`, its `make_lists` builds them for a state, and `fewer_at_once` reduces its memory.
        state: torch-sim state on which the step works.

    Attributes:
        taken_back: number of chunks that were rolled back.
    """

    def __init__(self, step: Callable[[], None], changed: Sequence[Tensor], model: Any, state: Any) -> None:
        self._step, self._changed, self._model, self._state = step, list(changed), model, state
        self._captured = state.device.type == "cuda" and getattr(model, "fixed_shapes", False)
        self._generator: torch.Generator = state.rng
        self._replayed: Replayed | None = None
        self._replayed_on: list[tuple[int, int]] = []
        self._chunk = CHUNK
        self._used = 0.0
        self.taken_back = 0
        self._renew()

    def __call__(self, steps: int) -> None:
        """Take the given number of steps."""
        if not self._lists:
            self._repeat(steps)
            return
        fresh = False
        while steps:
            if self._used >= 1.0:
                self._renew()
                fresh = True
            chunk = min(steps, self._chunk)
            before, drawn = [tensor.clone() for tensor in self._changed], self._generator.get_state()
            try:
                self._repeat(chunk)
            except torch.cuda.OutOfMemoryError as error:
                self._put_back(before, drawn)
                self._replayed = None
                if not hasattr(self._model, "fewer_at_once"):
                    raise
                self._model.fewer_at_once(error)
                self._used = 1.0
                continue
            used = self._used_fraction()
            if used < 1.0:
                steps, fresh = steps - chunk, False
                self._chunk = min(2 * self._chunk, CHUNK)
                # Rebuild now if the lists would probably not last another chunk.
                growth = max(used - self._used, 0.0) / chunk
                self._used = 1.0 if used + growth * self._chunk >= 1.0 else used
                continue
            self.taken_back += 1
            self._put_back(before, drawn)
            if not fresh:
                self._used = 1.0
            elif chunk > 1:
                self._chunk = chunk // 2
            else:
                self._attended_step()
                steps -= 1

    def _put_back(self, before: list[Tensor], drawn: Tensor) -> None:
        for tensor, value in zip(self._changed, before, strict=True):
            tensor.copy_(value)
        self._generator.set_state(drawn)

    def _repeat(self, steps: int) -> None:
        lists = self._lists
        used_on = [(id(held), held.allocations) for held in lists]
        if self._replayed is None or self._replayed_on != used_on:
            state = [*self._changed, *(held.used for held in lists)]
            self._replayed = Replayed(self._step, self._captured, state, self._generator)
            self._replayed_on = used_on
        for held in lists:
            held.attended = False
        try:
            self._replayed(steps)
        finally:
            for held in lists:
                held.attended = True

    def _attended_step(self) -> None:
        """Take one step, verifying the lists and rebuilding them if necessary: for motion too fast for any list."""
        self._step()
        self._used = self._used_fraction()

    @property
    def _lists(self) -> Sequence[List]:
        lists: Sequence[List] = getattr(self._model, "lists", ())
        return lists

    def _renew(self) -> None:
        if hasattr(self._model, "make_lists"):
            self._model.make_lists(self._state)
        self._used = self._used_fraction()

    def _used_fraction(self) -> float:
        """Largest fraction of a skin in use; NaN counts as stale. The host synchronises with the device only here."""
        lists = self._lists
        used = float(torch.stack([held.used for held in lists]).amax()) if lists else 0.0
        return used if used < 1.0 else 1.0
