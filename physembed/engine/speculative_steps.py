"""Speculative stepping: pair lists are verified once in many steps, and the steps are rolled back if a list was stale.

Verifying a list before each step would synchronise host and device in every step. Instead the device records how much
of the skin is used, and the host reads this after a chunk of steps. If a list became stale in between, the chunk is
rolled back, so no step is accepted in which a pair could have been missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from physembed.engine.graphs import Replayed

CHUNK = 25
"""Maximum number of steps between two verifications of the lists."""
MARGIN = 0.8
"""Fraction of what is left of a skin that the next steps may be expected to use."""
FORGOTTEN = 0.8
"""Factor per chunk by which an earlier, faster use of the skin is forgotten."""


class List(Protocol):
    """What the steps require of a pair list (`physembed.pairs.padded_list.PaddedList`)."""

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
        self._used = self._growth = 0.0
        self._fresh = False
        self.taken_back = 0
        self._renew()

    def __call__(self, steps: int) -> None:
        """Take the given number of steps."""
        if not self._lists:
            self._repeat(steps)
            return
        while steps:
            chunk = min(steps, CHUNK)
            if self._expected_to_last() < chunk and not self._fresh:
                self._renew()
            chunk = max(min(chunk, self._expected_to_last()), 1)
            state = self._state_of_steps()
            before, drawn = [tensor.clone() for tensor in state], self._generator.get_state()
            try:
                self._repeat(chunk)
                used = self._used_fraction()
            except torch.cuda.OutOfMemoryError as error:
                self._put_back(state, before, drawn)
                self._replayed = None
                if not hasattr(self._model, "fewer_at_once"):
                    raise
                self._model.fewer_at_once(error)
                self._renew()
                continue
            growth = (used - self._used) / chunk
            if used < 1.0:
                self._growth, self._used, self._fresh = max(growth, FORGOTTEN * self._growth), used, False
                steps -= chunk
                continue
            self.taken_back += 1
            self._put_back(state, before, drawn)
            if not self._fresh:
                self._growth = max(self._growth, min(growth, 1.0))
                self._renew()
            elif chunk == 1:
                self._attended_step()
                steps -= 1
            else:  # at most half as many steps with these lists
                self._growth = min(max(growth, 2 * MARGIN * (1 - self._used) / chunk), 1.0)

    def _expected_to_last(self) -> int:
        """Number of steps for which the lists will probably last."""
        left = MARGIN * (1 - self._used)
        return int(left / self._growth) if CHUNK * self._growth > left else CHUNK * (left > 0)

    def _state_of_steps(self) -> list[Tensor]:
        """All tensors that a step changes."""
        return [*self._changed, *(held.used for held in self._lists)]

    def _put_back(self, state: list[Tensor], before: list[Tensor], drawn: Tensor) -> None:
        for tensor, value in zip(state, before, strict=True):
            tensor.copy_(value)
        self._generator.set_state(drawn)

    def _repeat(self, steps: int) -> None:
        lists = self._lists
        used_on = [(id(held), held.allocations) for held in lists]
        if self._replayed is None or self._replayed_on != used_on:
            self._replayed = Replayed(self._step, self._captured, self._state_of_steps(), self._generator)
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
        self._used = min(self._used_fraction(), 1.0)

    @property
    def _lists(self) -> Sequence[List]:
        lists: Sequence[List] = getattr(self._model, "lists", ())
        return lists

    def _renew(self) -> None:
        if hasattr(self._model, "make_lists"):
            self._model.make_lists(self._state)
        self._used, self._fresh = min(self._used_fraction(), 1.0), True

    def _used_fraction(self) -> float:
        """Largest fraction of a skin in use; infinite for NaN. The host synchronises with the device only here."""
        lists = self._lists
        used = float(torch.stack([held.used for held in lists]).amax()) if lists else 0.0
        return math.inf if math.isnan(used) else used
