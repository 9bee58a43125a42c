"""Models for MD of batches of liquids that may not fit in the memory of a GPU at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch_sim.models.interface import ModelInterface

from physembed.engine.compiled.models import CompiledLiquid
from physembed.engine.device import half_as_many, resolve_device, systems_that_fit
from physembed.engine.liquid_model import LiquidModel, load_liquid
from physembed.engine.mace import LiquidMace
from physembed.pairs.padded_list import PaddedList

Uncorrected = LiquidMace | CompiledLiquid


@dataclass(frozen=True)
class _Part:
    """Systems that are evaluated together."""

    model: LiquidModel | Uncorrected
    atoms: slice
    systems: slice
    numbers: Tensor
    system_idx: Tensor

    def of(self, state: Any) -> SimpleNamespace:
        """This part of a state; in a replayed step it reads the same memory each time."""
        return SimpleNamespace(
            positions=state.positions[self.atoms],
            row_vector_cell=state.row_vector_cell[self.systems],
            pbc=state.pbc,
            atomic_numbers=self.numbers,
            system_idx=self.system_idx,
            n_systems=self.systems.stop - self.systems.start,
        )


class LiquidParts(ModelInterface):
    """A model of systems with the same number of atoms each, evaluated in parts that fit in memory.

    The size of the parts is determined from the memory of a few systems. If memory runs out nevertheless, it is
    halved. The results are those of `LiquidModel` for the whole batch.

    Args:
        model_of: returns the model of a subset of the systems; called again when parts are created.
        n_systems: number of systems.
        systems_at_once: initial size of the parts; by default as many systems as fit.
    """

    def __init__(
        self,
        model_of: Callable[[slice], LiquidModel | Uncorrected],
        n_systems: int,
        systems_at_once: int | None = None,
    ) -> None:
        super().__init__()
        self._model_of, self._n_systems = model_of, n_systems
        whole = model_of(slice(0, n_systems))
        self._device, self._dtype, self.fixed_shapes = whole.device, whole.dtype, whole.fixed_shapes
        self._compute_forces = self._compute_stress = True
        self.systems_at_once = systems_at_once
        self._parts: list[_Part] = []
        self._made_for: tuple[Tensor, Tensor] | None = None

    @property
    def lists(self) -> tuple[PaddedList, ...]:
        """Pair lists that the caller has to verify."""
        return tuple(pairs for part in self._parts for pairs in part.model.lists)

    def make_lists(self, state: Any) -> None:
        """Build all pair lists for a state."""
        self._prepare(state)
        for part in self._parts:
            part.model.make_lists(part.of(state))

    def forward(self, state: Any, **_: object) -> dict[str, Tensor]:
        """Evaluate a batch; see `LiquidModel`.

        Raises:
            PhysEmbedError: the memory is too small for one system; as `LiquidModel`.
            torch.cuda.OutOfMemoryError: the memory is too small for the parts, and the lists are not attended.
        """
        self._prepare(state)
        while True:
            try:
                outputs = [part.model(part.of(state)) for part in self._parts]
                return {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}
            except torch.cuda.OutOfMemoryError as error:
                if not all(pairs.attended for pairs in self.lists):
                    raise  # within steps or their capture, which would need other lists
                self.fewer_at_once(error)
                self._prepare(state)

    def fewer_at_once(self, error: torch.cuda.OutOfMemoryError) -> None:
        """Halve the size of the parts.

        Raises:
            PhysEmbedError: each part already has only one system.
        """
        self.systems_at_once = half_as_many(self.systems_at_once or 1, error)
        self._parts, self._made_for = [], None
        torch.cuda.empty_cache()

    def _prepare(self, state: Any) -> None:
        """Create the parts, unless they exist for the atoms of this state."""
        made_for = self._made_for
        if made_for is not None and made_for[0] is state.atomic_numbers and made_for[1] is state.system_idx:
            return
        self._made_for = state.atomic_numbers, state.system_idx
        if self.systems_at_once is None:

            def evaluate(systems: int) -> object:
                part = self._part(state, 0, systems)
                return part.model(part.of(state))

            self.systems_at_once = systems_that_fit(evaluate, self._n_systems, self.device)
        firsts = range(0, self._n_systems, self.systems_at_once)
        self._parts = [self._part(state, first, min(first + self.systems_at_once, self._n_systems)) for first in firsts]

    def _part(self, state: Any, first: int, end: int) -> _Part:
        """Systems from `first` up to `end`."""
        each = len(state.positions) // self._n_systems
        atoms, systems = slice(first * each, end * each), slice(first, end)
        return _Part(
            self._model_of(systems), atoms, systems, state.atomic_numbers[atoms], state.system_idx[atoms] - first
        )


class Point(Protocol):
    """A run with the parameters of its correction."""

    @property
    def alpha(self) -> float: ...
    @property
    def a1(self) -> float: ...


def models_of_points(
    model_file: str | Path, device: str, dtype: str, convention: str, *, sums: bool = False
) -> Callable[[Sequence[Point]], LiquidModel | Uncorrected | LiquidParts]:
    """Return a function that creates the model of a batch of runs, each with its alpha and a1; the file is loaded once.

    On a GPU the model can be captured in a CUDA graph and requires systems with the same number of atoms.

    Args:
        model_file: a MACE model.
        device: `auto`, `cpu` or `cuda`.
        dtype: `float32` or `float64`.
        convention: convention of the correction.
        sums: evaluate S0 and S1 also where no run of a batch is corrected.

    Raises:
        PhysEmbedError: as `load_liquid`.
    """
    device = resolve_device(device)
    graphs = device == "cuda"
    model = load_liquid(model_file, device, dtype, convention=convention, alpha=0.0, a1=0.0, fixed_shapes=graphs)

    def make(points: Sequence[Point]) -> LiquidModel | Uncorrected | LiquidParts:
        corrected = sums or any(point.alpha for point in points)

        def of(some: slice) -> LiquidModel | Uncorrected:
            if not corrected:
                return model.base.again()
            return model.with_parameters([p.alpha for p in points[some]], [p.a1 for p in points[some]])

        return LiquidParts(of, len(points)) if graphs else of(slice(None))

    return make
