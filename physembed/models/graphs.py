"""Functions of fixed shapes, called on a CPU and replayed as CUDA graphs on a GPU.

Launching its kernels one by one takes most of the time of a step on a GPU: see docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP_CALLS = 3
"""Before a capture, so that kernels are compiled and libraries have their workspaces."""
SPARE = 1.1
"""Room for edges, over what there is when it is made."""


class Replayed:
    """Repeats a step.

    On a GPU the step is captured at its first use. It must then keep to what a CUDA graph can hold: it reads and writes
    the same tensors every time, of shapes that do not depend on their values, and never waits for the device.

    Args:
        step: what is repeated.
        device: where it runs.
        state: tensors that the step changes and reads again, all of them.
        generator: of the random numbers that the step draws, if it does.
    """

    def __init__(
        self,
        step: Callable[[], None],
        device: torch.device,
        state: Sequence[Tensor] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        self._step, self._device, self._state, self._generator = step, device, list(state), generator
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, times: int) -> None:
        """Repeat the step so many times; on a GPU this only queues them."""
        if self._device.type == "cpu":
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


class ReplayedOnEdges:
    """A function of edges whose number changes, as one of fixed shapes.

    The edges are copied to places of their own, more of them than edges; the rest is filled with edges to which the
    function must give exactly nothing. When the places are not enough there are new ones, and a new capture, before
    anything is computed.

    Args:
        function: takes first and second atoms (n_edges,) and vectors (n_edges, 3) in Å; gives tensors by name.
        beyond_A: length of an edge that counts for nothing.
    """

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]], beyond_A: float) -> None:
        self._function, self._beyond_A = function, beyond_A
        self._output: dict[str, Tensor] = {}
        self._places: tuple[Tensor, Tensor, Tensor] | None = None
        self.captures = 0
        """How often places were made."""

    def __call__(self, first: Tensor, second: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        """What the function gives for these edges."""
        if self._places is None or len(self._places[0]) < len(first):
            length = int(SPARE * len(first)) + 1
            self._places = first.new_zeros(length), second.new_zeros(length), vectors.new_zeros(length, 3)
            self._replayed = Replayed(self._call, vectors.device)
            self.captures += 1
        for place, values in zip(self._places, (first, second, vectors), strict=True):
            place[: len(first)].copy_(values)
            place[len(first) :].fill_(self._beyond_A if place is self._places[2] else 0)
        self._replayed(1)
        return {name: value.clone() for name, value in self._output.items()}

    def _call(self) -> None:
        assert self._places is not None
        self._output = self._function(*self._places)
