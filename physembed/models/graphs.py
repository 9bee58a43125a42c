"""Functions of fixed shapes, called on a CPU and replayed as CUDA graphs on a GPU.

Launching its kernels one by one takes most of the time of a step on a GPU: see docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP_CALLS = 3
"""Before a capture, so that kernels are compiled and libraries have their workspaces."""


class Replayed:
    """Repeats a step.

    If it is to be captured, it is so at its first use. It must then keep to what a CUDA graph can hold: it reads and
    writes the same tensors every time, of shapes that do not depend on their values, and never waits for the device.

    Args:
        step: what is repeated.
        captured: whether it is captured; it must run on a GPU then.
        state: tensors that the step changes and reads again, all of them.
        generator: of the random numbers that the step draws, if it does.
    """

    def __init__(
        self,
        step: Callable[[], None],
        captured: bool,
        state: Sequence[Tensor] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        self._step, self._captured, self._state, self._generator = step, captured, list(state), generator
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, times: int) -> None:
        """Repeat the step so many times; if it is captured, this only queues them."""
        if not self._captured:
            for _ in range(times):
                self._step()
            return
        if self._graph is None:
            self._graph = self._capture()
        for _ in range(times):
            self._graph.replay()

    def _capture(self) -> torch.cuda.CUDAGraph:
        """The graph; state and generator are left as they were."""
        before = [tensor.clone() for tensor in self._state]
        drawn = self._generator.get_state() if self._generator else None
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        if self._generator:
            graph.register_generator_state(self._generator)
        with torch.cuda.graph(graph):
            self._step()
        for tensor, value in zip(self._state, before, strict=True):
            tensor.copy_(value)
        if self._generator and drawn is not None:
            self._generator.set_state(drawn)
        return graph
