"""Functions of fixed shapes, called on a CPU and replayed as CUDA graphs on a GPU.

Launching its kernels one by one takes most of the time of a step on a GPU: see docs/development/performance.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

log = logging.getLogger(__name__)

WARM_UP_CALLS = 3
"""Before a capture, so that kernels are compiled and libraries have their workspaces."""


class Replayed:
    """Repeats a step.

    If it is to be captured, it is so at its first use. It must then keep to what a CUDA graph can hold: it reads and
    writes the same tensors every time, of shapes that do not depend on their values, and never waits for the device.
    A step that cannot be captured nevertheless is called, with a warning.

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
        """Repeat the step so many times; if it is captured, this only queues them.

        Raises:
            torch.cuda.OutOfMemoryError: the memory does not hold the step.
        """
        if self._captured and self._graph is None:
            self._graph = self._captured_or_not()
        for _ in range(times):
            if self._graph is None:
                self._step()
            else:
                self._graph.replay()

    def _captured_or_not(self) -> torch.cuda.CUDAGraph | None:
        """The graph, or None, with a warning, if there is none of this step; what it changed is as it was.

        Raises:
            torch.cuda.OutOfMemoryError: the memory does not hold it.
        """
        before = [tensor.clone() for tensor in self._state]
        drawn = self._generator.get_state() if self._generator else None
        try:
            return self._capture()
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._captured = False
            reason = str(error).partition("\n")[0]
            log.warning("the step cannot be captured as a CUDA graph, so that the run is slower: %s", reason)
            return None
        finally:
            for tensor, value in zip(self._state, before, strict=True):
                tensor.copy_(value)
            if self._generator and drawn is not None:
                self._generator.set_state(drawn)

    def _capture(self) -> torch.cuda.CUDAGraph:
        """The graph, after some steps."""
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
        return graph
