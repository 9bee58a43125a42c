"""Functions of fixed shapes, called directly on a CPU and replayed as CUDA graphs on a GPU.

On a GPU, most of the time of a step goes into launching its kernels: see docs/development/performance.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

log = logging.getLogger(__name__)

WARM_UP_CALLS = 3
"""Calls before a capture, so that kernels are compiled and libraries have allocated their workspaces."""


class Replayed:
    """Repeats a step.

    If the step is to be captured, this happens on first use. It must then satisfy the constraints of CUDA graphs: it
    reads and writes the same tensors every time, with shapes that do not depend on values, and never synchronises with
    the device. If the capture fails nevertheless, the step is called directly, with a warning.

    Args:
        step: the function to repeat.
        captured: whether to capture it; it must then run on a GPU.
        state: all tensors that the step both changes and reads.
        generator: random number generator used by the step, if any.
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
        """Repeat the step the given number of times; if it is captured, this only queues the work.

        Raises:
            torch.cuda.OutOfMemoryError: the memory is too small for the step.
        """
        if self._captured and self._graph is None:
            self._graph = self._captured_or_not()
        for _ in range(times):
            if self._graph is None:
                self._step()
            else:
                self._graph.replay()

    def _captured_or_not(self) -> torch.cuda.CUDAGraph | None:
        """Return the graph, or None with a warning if the step cannot be captured. The state is restored afterwards.

        Raises:
            torch.cuda.OutOfMemoryError: the memory is too small for the step.
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
            log.warning("the step cannot be captured as a CUDA graph, which makes the run slower: %s", reason)
            return None
        finally:
            for tensor, value in zip(self._state, before, strict=True):
                tensor.copy_(value)
            if self._generator and drawn is not None:
                self._generator.set_state(drawn)

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Run a few warm-up steps and capture the graph."""
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
