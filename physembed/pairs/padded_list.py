"""Pairs in a fixed number of slots, for CUDA graphs, and what models on either kind of list share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from physembed.pairs.cells import inverse
from physembed.pairs.neighbors import SkinList, transform

SPARE = 1.1
"""Number of slots for pairs relative to the number of pairs at allocation."""


class PaddedList:
    """Pairs of a list with a skin, in a fixed number of slots, for use in a CUDA graph.

    For systems whose atoms are never wrapped, so that the shifts of the pairs stay valid. All pairs of the list
    are returned, including those of the skin, followed by pairs of an atom with itself that are too long to contribute.

    The proof of `SkinList` applies with n = 0: the list is complete while `used` is below 1,

        used = (cutoff + 2 max |u|) / (sigma (cutoff + skin)),

    in every system, with 1 / sqrt(|F^-1|_1 |F^-1|_inf) for sigma, which does not exceed the smallest singular value of
    F, and equals it if a cell is scaled.

    An attended list is checked in each call and rebuilt when necessary. Otherwise it only records the largest `used` of
    all calls, and the caller has to check it.

    Args:
        cutoff_A: cutoff of the pairs in Å.
        skin_A: width of the skin in Å.
        half: return each pair in one direction only, that of `unique_pairs`.

    Attributes:
        attended: see above.
        used: () largest `used` since the list was built; NaN if a position is NaN.
        allocations: number of times slots were allocated, which invalidates captures made with others.
        rebuilds: number of times the list was built.
    """

    def __init__(self, cutoff_A: float, skin_A: float = 1.0, *, half: bool = False) -> None:
        self.cutoff_A, self.reach_A = cutoff_A, cutoff_A + skin_A
        self._list = SkinList(skin_A, half=half)
        self._system: Tensor | None = None
        self.attended = True
        self.allocations = 0
        self._places = 0

    @property
    def rebuilds(self) -> int:
        """Number of times the list was built."""
        return self._list.rebuilds

    def edges(self, positions: Tensor, cell: Tensor, pbc: Tensor, system_idx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First and second atoms of the pairs (n_slots,) and the vectors between them, (n_slots, 3) in Å."""
        if not self.attended:
            torch.maximum(self.used, self._use(positions, cell), out=self.used)
        else:
            if self._system is system_idx:
                self.used.copy_(self._use(positions, cell))
            if self._system is not system_idx or not bool(self.used < 1.0):
                self.make(positions, cell, pbc, system_idx)
        vectors = positions.index_select(0, self._second) - positions.index_select(0, self._first) + self._beyond
        cells = cell.index_select(0, system_idx).index_select(0, self._first)
        return self._first, self._second, vectors + (self._shifts[:, :, None] * cells).sum(dim=1)

    def make(self, positions: Tensor, cell: Tensor, pbc: Tensor, system_idx: Tensor) -> None:
        """Search the pairs of this structure."""
        found = self._list.made(positions, cell, pbc, self.cutoff_A, system_idx)
        if self._system is not system_idx or len(found.first) > self._places:
            self._allocate(len(found.first), len(positions), cell, system_idx)
        n = len(found.first)
        for place, values in ((self._first, found.first), (self._second, found.second), (self._shifts, found.shifts)):
            place[:n].copy_(values)
            place[n:].zero_()
        self._beyond[:n].zero_()
        self._beyond[n:] = 2 * self.cutoff_A
        self._frame.copy_(found.frame)
        self._fractional.copy_(found.fractional)
        self._periodic.copy_(pbc.to(torch.bool).reshape(-1, 3).expand(len(cell), 3).any(1))
        self.used.copy_(self._use(positions, cell))

    def _allocate(self, pairs: int, n_atoms: int, cell: Tensor, system_idx: Tensor) -> None:
        places = int(SPARE * pairs) + 1
        self._first, self._second = system_idx.new_zeros(places), system_idx.new_zeros(places)
        self._shifts, self._beyond = cell.new_zeros(places, 3), cell.new_zeros(places, 3)
        self._frame, self._fractional = torch.zeros_like(cell), cell.new_zeros(n_atoms, 3)
        self._periodic = torch.zeros(len(cell), dtype=torch.bool, device=cell.device)
        self.used = cell.new_zeros(())
        self._system, self._places = system_idx, places
        self.allocations += 1

    def _use(self, positions: Tensor, cell: Tensor) -> Tensor:
        """`used` of this structure alone, ()."""
        assert self._system is not None
        frame = torch.where(self._periodic[:, None, None], cell, self._frame)
        moved = positions - transform(self._fractional, frame, self._system)
        furthest = moved.new_zeros(len(frame)).scatter_reduce(
            0, self._system, torch.linalg.vector_norm(moved, dim=1), "amax"
        )
        backward = (inverse(frame) @ self._frame).abs()
        inverse_sigma = torch.sqrt(backward.sum(1).amax(1) * backward.sum(2).amax(1))
        return ((self.cutoff_A + 2 * furthest) * inverse_sigma / self.reach_A).amax()


class OnPairs:
    """Mixin for models on a pair list: a `SkinList`, or a `PaddedList`, which the caller has to verify."""

    list: SkinList | PaddedList

    @property
    def reach(self) -> float:
        """Distance in Å beyond which a pair contributes nothing."""
        raise NotImplementedError

    @property
    def lists(self) -> tuple[PaddedList, ...]:
        """Pair lists that the caller has to verify; empty if the lists verify themselves."""
        return (self.list,) if isinstance(self.list, PaddedList) else ()

    def make_lists(self, state: Any) -> None:
        """Build the lists for a state."""
        for pairs in self.lists:
            pairs.make(state.positions, state.row_vector_cell, state.pbc, state.system_idx)

    def edges(self, state: Any) -> tuple[Tensor, Tensor, Tensor]:
        """First and second atoms of the pairs of a state (n_pairs,) and the vectors between them, (n_pairs, 3) in Å."""
        structure = state.positions, state.row_vector_cell, state.pbc
        if isinstance(self.list, PaddedList):
            return self.list.edges(*structure, state.system_idx)
        return self.list.pairs(*structure, self.reach, state.system_idx)
