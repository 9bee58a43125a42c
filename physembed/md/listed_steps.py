"""Steps on lists of pairs that may be used up on the way: looked at once in many steps, and then taken back.

To look at a list before each step, the host would have to wait for the device each time. Here the device itself notes
how far the lists are used up, and the host asks after a chunk of steps. If a list was used up in between, the chunk is
undone, so that no step is kept for which a pair could have been missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from physembed.models.graphs import Replayed

CHUNK = 25
"""Steps between two looks at the lists, at most."""


class List(Protocol):
    """What the steps need of a list of pairs (`physembed.models.neighbors.PaddedList`)."""

    attended: bool
    used: Tensor
    allocations: int


class ListedSteps:
    """Repeats a step that works in place, on lists.

    Args:
        step: takes a step: it changes the tensors of `state`, and no others, in place.
        state: tensors that the step changes.
        lists: that the step uses; none for a step that needs none.
        make_lists: makes all of them anew for the state as it is.
        device: where the step runs.
        generator: of the random numbers that it draws.

    Attributes:
        taken_back: how many chunks were undone.
    """

    def __init__(
        self,
        step: Callable[[], None],
        state: Sequence[Tensor],
        lists: Sequence[List],
        make_lists: Callable[[], None],
        device: torch.device,
        generator: torch.Generator,
    ) -> None:
        self._step, self._state, self._lists, self._make_lists = step, list(state), list(lists), make_lists
        self._device, self._generator = device, generator
        self._used = 1.0
        self._replayed: Replayed | None = None
        self._replayed_in = -1
        self.taken_back = 0

    def __call__(self, steps: int) -> None:
        """Take so many steps."""
        if not self._lists:
            self._repeat(steps)
            return
        fresh = False
        while steps:
            if self._used >= 1.0:
                self._renew()
                fresh = True
            chunk = min(steps, CHUNK)
            before, drawn = [tensor.clone() for tensor in self._state], self._generator.get_state()
            self._repeat(chunk)
            used = self._look()
            if used < 1.0:
                # Made anew now if another chunk like this one would use them up.
                grown, fresh = used - self._used, False
                self._used = 1.0 if used + max(grown, 0.0) >= 1.0 else used
                steps -= chunk
                continue
            self.taken_back += 1
            for tensor, value in zip(self._state, before, strict=True):
                tensor.copy_(value)
            self._generator.set_state(drawn)
            if fresh:
                self._attended_step()
                steps -= 1
            else:
                self._used = 1.0

    def _repeat(self, steps: int) -> None:
        allocations = sum(held.allocations for held in self._lists)
        if self._replayed is None or self._replayed_in != allocations:
            state = [*self._state, *(held.used for held in self._lists)]
            self._replayed = Replayed(self._step, self._device, state, self._generator)
            self._replayed_in = allocations
        for held in self._lists:
            held.attended = False
        self._replayed(steps)
        for held in self._lists:
            held.attended = True

    def _attended_step(self) -> None:
        """One step for which the lists are looked at, and made, when it needs them: for motion that no list lasts."""
        self._step()
        self._used = self._look()

    def _renew(self) -> None:
        self._make_lists()
        self._used = self._look()

    def _look(self) -> float:
        """How far the lists are used up; the one moment at which the host waits. No number counts as all."""
        used = float(torch.stack([held.used for held in self._lists]).amax())
        return used if used < 1.0 else 1.0
