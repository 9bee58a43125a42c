"""Edges for models: all pairs of isolated molecules, and a list with a skin for periodic liquids.

The list replaces a neighbour list of torch-sim. It is called with positions (n_atoms, 3) in Å, cells
(n_systems, 3, 3) in Å with the lattice vectors as rows, periodicity (3,) or (n_systems, 3), a cutoff in Å and the
system of each atom (n_atoms,). It returns edges (2, n_edges) in both directions, the system of each edge (n_edges,)
and its shifts (n_edges, 3) in lattice vectors: the edge is positions[second] - positions[first] + shifts @ cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physembed.numba_kernels import Array, compiled
from physembed.pairs.search import fractional_reach, search, shift_ranges
from physembed.pairs.unique import unique_pairs


def all_pairs(sizes: Sequence[int]) -> Tensor:
    """Every ordered pair of atoms of the same system, (2, n_pairs), for systems of these sizes, concatenated."""
    pairs, start = [torch.empty(2, 0, dtype=torch.long)], 0
    for size in sizes:
        first, second = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        pairs.append(torch.stack([first[first != second], second[first != second]]) + start)
        start += size
    return torch.cat(pairs, dim=1)


@dataclass(frozen=True)
class Pairs:
    """The pairs of a list, and the structure from which it was built."""

    first: Tensor
    """(n_pairs,) atoms."""
    second: Tensor
    """(n_pairs,) atoms."""
    shifts: Tensor
    """(n_pairs, 3) lattice vectors to add to the second atom, at its given position."""
    frame: Tensor
    """(n_systems, 3, 3) cells."""
    fractional: Tensor
    """(n_atoms, 3) fractional coordinates, not wrapped."""


@dataclass(frozen=True)
class Rows:
    """The pairs of a list sorted by their first atoms, for compiled code."""

    starts: Array
    """(n_atoms + 1,) index of the first pair of each atom, and the number of pairs."""
    second: Array
    """(n_pairs,) second atoms."""
    image: Array
    """(n_pairs,) shift numbers at the time the list was built."""
    ranges: Array
    """(3,) shifts along each lattice vector are numbered from -ranges to ranges."""


@dataclass(frozen=True)
class Kept:
    """Present positions of the atoms of a list.

    The pair of atoms i and j with shift number k has the vector
    positions[j] + lattice[system, k + left[i] - left[j]] - positions[i].
    """

    positions: Tensor
    """(n_atoms, 3) Å, wrapped into the cell."""
    lattice: Tensor
    """(n_systems, n_shifts, 3) Å."""
    left: Tensor
    """(n_atoms,) offset of the shift numbers because the atom has left its cell."""


@compiled
def near_pairs(
    starts: Array,
    seconds: Array,
    images: Array,
    positions: Array,
    lattice: Array,
    left: Array,
    system: Array,
    square: float,
    first: Array,
    second: Array,
    vectors: Array,
) -> int:
    """Write the pairs of a list whose squared distance is below `square`; return their number. See `Rows`, `Kept`."""
    found = 0
    for atom in range(len(starts) - 1):
        x, y, z = positions[atom, 0], positions[atom, 1], positions[atom, 2]
        shifts = lattice[system[atom]]
        for pair in range(starts[atom], starts[atom + 1]):
            other = seconds[pair]
            shift = shifts[images[pair] + left[atom] - left[other]]
            dx = positions[other, 0] + shift[0] - x
            dy = positions[other, 1] + shift[1] - y
            dz = positions[other, 2] + shift[2] - z
            first[found], second[found] = atom, other
            vectors[found, 0], vectors[found, 1], vectors[found, 2] = dx, dy, dz
            found += dx * dx + dy * dy + dz * dz < square
    return found


@compiled
def place(
    positions: Array,
    cell: Array,
    pbc: Array,
    system: Array,
    shifts: Array,
    strides: Array,
    made_fractional: Array,
    made_frame: Array,
    cutoff: float,
    reach: float,
    inside: Array,
    frame: Array,
    placed: Array,
    lattice: Array,
    left: Array,
) -> bool:
    """`SkinList.kept` on a CPU: place atoms and images, and say whether the list is complete.

    The smallest singular value of F is bounded from below by 1 / sqrt(|F^-1|_1 |F^-1|_inf), which is equal to it where
    a cell is scaled.

    Args:
        positions: (n_atoms, 3) Å.
        cell: (n_systems, 3, 3) Å.
        pbc: (n_systems, 3).
        system: (n_atoms,).
        shifts: (n_images, 3) of the list.
        strides: (3,) what the number of a shift changes by with each of its components.
        made_fractional: (n_atoms, 3) coordinates when the list was made, in the unit cell; empty without a list.
        made_frame: (n_systems, 3, 3) cells then.
        cutoff: Å.
        reach: cutoff and skin, Å.
        inside: (n_atoms, 3) fractional coordinates in the unit cell, set.
        frame: (n_systems, 3, 3) cells, or unit cubes for systems that are not periodic, set.
        placed, lattice, left: as in `Kept`, set.
    """
    n_systems = len(cell)
    inverse, moved = np.empty((n_systems, 3, 3)), np.zeros(n_systems)
    stretch = np.ones(n_systems)
    for s in range(n_systems):
        h, g = frame[s], inverse[s]
        is_periodic = pbc[s, 0] or pbc[s, 1] or pbc[s, 2]
        for i in range(3):
            for j in range(3):
                h[i, j] = cell[s, i, j] if is_periodic else 1.0 * (i == j)
        for i in range(3):
            a, b = h[(i + 1) % 3], h[(i + 2) % 3]
            g[0, i] = a[1] * b[2] - a[2] * b[1]
            g[1, i] = a[2] * b[0] - a[0] * b[2]
            g[2, i] = a[0] * b[1] - a[1] * b[0]
        volume = h[0, 0] * g[0, 0] + h[0, 1] * g[1, 0] + h[0, 2] * g[2, 0]
        for i in range(3):
            for j in range(3):
                g[i, j] /= volume
        for image in range(len(shifts)):
            x, y, z = shifts[image]
            for j in range(3):
                lattice[s, image, j] = x * h[0, j] + y * h[1, j] + z * h[2, j]
        if len(made_fractional):
            of_rows, of_columns = np.zeros(3), np.zeros(3)
            for i in range(3):
                for j in range(3):
                    then = made_frame[s]
                    entry = abs(g[i, 0] * then[0, j] + g[i, 1] * then[1, j] + g[i, 2] * then[2, j])
                    of_rows[i] += entry
                    of_columns[j] += entry
            stretch[s] = np.sqrt(
                max(of_rows[0], of_rows[1], of_rows[2]) * max(of_columns[0], of_columns[1], of_columns[2])
            )
    complete = len(made_fractional) > 0
    n = np.zeros(3)
    for atom in range(len(positions)):
        s = system[atom]
        h, g = frame[s], inverse[s]
        number = 0
        for k in range(3):
            f = positions[atom, 0] * g[0, k] + positions[atom, 1] * g[1, k] + positions[atom, 2] * g[2, k]
            cells = np.floor(f) if pbc[s, k] else 0.0
            inside[atom, k] = f - cells
            if complete:
                change = f - made_fractional[atom, k]
                wraps = np.rint(change) if pbc[s, k] else 0.0
                n[k] = change - wraps
                if wraps != cells and abs(f) < np.inf:
                    # An atom that has left the cell that it was in comes back on its other side. It has not moved by
                    # half a cell since the list was made, or is lost.
                    number += strides[k] * (1 if wraps > cells else -1)
        left[atom] = number
        square = 0.0
        for j in range(3):
            placed[atom, j] = inside[atom, 0] * h[0, j] + inside[atom, 1] * h[1, j] + inside[atom, 2] * h[2, j]
            square += (n[0] * h[0, j] + n[1] * h[1, j] + n[2] * h[2, j]) ** 2
        # What is not a number is further away than anything.
        if not square <= moved[s]:
            moved[s] = square if square == square else np.inf
    if complete:
        for s in range(n_systems):
            complete = complete and (cutoff + 2.0 * np.sqrt(moved[s])) * stretch[s] < reach
    return complete


class SkinList:
    """Pairs within the cutoff, selected in each call from a list that is reused until a pair could be missing.

    The list contains all pairs (with their images) closer than cutoff + skin in the structure from which it was built.
    Let h0 be the cell of a system at that time and h the present cell (lattice vectors as rows), s0 and s the
    fractional coordinates of its atoms, with s0 in the unit cell, and n the lattice vectors by which an atom is
    displaced (by wrapping or not), s - s0 rounded to the nearest integer. The pair of atoms i and j with shift S has

        d0 = (s0_j - s0_i + S) h0            then,
        d  = (s_j - n_j - s_i + n_i + S) h   now, which is  d0 F + u_j - u_i,

    with F = h0^-1 h, the affine motion of the cell, and u = (s - n - s0) h, the motion of an atom beyond it. So
    |d0| <= (|d| + |u_i| + |u_j|) / sigma, where sigma is the smallest singular value of F, and the list is reused
    while

        cutoff + 2 max |u| < sigma (cutoff + skin)

    is true in every system: then |d| <= cutoff implies |d0| < cutoff + skin, and the pair is in the list. (With a
    fixed cell sigma is 1, and no atom may move by half the skin.) The proof uses no property of n except that the
    pairs' shifts follow it, so an atom that moves further than half a cell, or a cell that is replaced by another
    of the same lattice, only triggers a new search.

    The result, including the order of the edges, depends only on the structure and not on when the list was built, so
    a run that is resumed without its list is reproduced bit for bit.

    Without periodicity F is 1. Boxes may be shorter than the cutoff: the images are separate pairs.

    Args:
        skin_A: width of the skin in Å.
        half: return each pair in one direction only, that of `unique_pairs`.

    Attributes:
        rebuilds: number of times the list was built.
    """

    def __init__(self, skin_A: float = 1.0, *, half: bool = False) -> None:
        self.skin_A, self.half = skin_A, half
        self.rebuilds = 0
        self._made_for: tuple[Any, ...] | None = None
        self._max_neighbors = 0
        self._rows: Rows | None = None

    def pairs(
        self, positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: Any, system_idx: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """First and second atoms of the edges (n_edges,) and the vectors between them, (n_edges, 3) in Å."""
        kept = self.kept(positions, cell, pbc, float(cutoff), system_idx)
        if positions.device.type == "cpu":
            return self._compiled_pairs(kept, float(cutoff), system_idx)
        image = self._image + kept.left.index_select(0, self._first) - kept.left.index_select(0, self._second)
        image += system_idx.index_select(0, self._first) * len(self._shifts)
        vectors = kept.positions.index_select(0, self._second) + kept.lattice.view(-1, 3).index_select(0, image)
        vectors -= kept.positions.index_select(0, self._first)
        near = (vectors.square().sum(1) < cutoff**2).nonzero()[:, 0]
        first, second = self._first.index_select(0, near), self._second.index_select(0, near)
        return first, second, vectors.index_select(0, near)

    def _compiled_pairs(self, kept: Kept, cutoff: float, system_idx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, n_pairs = self.rows, len(self._first)
        first, second = np.empty(n_pairs, np.int64), np.empty(n_pairs, np.int64)
        vectors = np.empty((n_pairs, 3), kept.positions.numpy().dtype)
        places = kept.positions.numpy(), kept.lattice.numpy(), kept.left.numpy(), system_idx.numpy()
        n = near_pairs(
            rows.starts, rows.second, rows.image, *places, vectors.dtype.type(cutoff**2), first, second, vectors
        )
        return torch.from_numpy(first[:n]), torch.from_numpy(second[:n]), torch.from_numpy(vectors[:n])

    @property
    def rows(self) -> Rows:
        """The list as last built, on a CPU."""
        assert self._rows is not None
        return self._rows

    def kept(self, positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float, system_idx: Tensor) -> Kept:
        """Present positions of the atoms of the list and their images; rebuilds the list if necessary."""
        if positions.device.type == "cpu":
            return self._placed(positions, cell, pbc, cutoff, system_idx)
        frame, pbc = _frame(cell, pbc)
        fractional = transform(positions, torch.linalg.inv(frame), system_idx)
        cells = torch.where(pbc.index_select(0, system_idx), fractional.floor(), 0.0)
        wraps = self._wraps(fractional, frame, pbc, cutoff, system_idx)
        if wraps is None:
            wraps = cells
            self._make(fractional - cells, frame, pbc, cutoff, system_idx)
        # An atom that has left its cell re-enters on the opposite side. It has not moved by half a cell since the list
        # was built, or its system has failed.
        left = torch.nan_to_num(wraps - cells).clamp(-1.0, 1.0).long()
        return Kept(
            positions=transform(fractional - cells, frame, system_idx),
            lattice=_lattice(self._shifts, frame[:, None]),
            left=(left * left.new_tensor(self._strides)).sum(1),
        )

    def _placed(self, positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float, system_idx: Tensor) -> Kept:
        """`kept` on a CPU."""
        cells = cell.detach().reshape(-1, 3, 3).numpy()
        periodic = pbc.to(torch.bool).reshape(-1, 3).expand(len(cells), 3).contiguous()
        n_atoms = len(positions)
        inside, frame = np.empty((n_atoms, 3)), np.empty((len(cells), 3, 3))
        placed, left = torch.empty_like(positions), torch.empty(n_atoms, dtype=torch.long)
        known = self._made_for is not None and all(map(_same, (cutoff, system_idx, periodic), self._made_for))

        def look(known: bool) -> tuple[bool, Kept]:
            shifts = self._shifts.numpy() if known else np.empty((0, 3), cells.dtype)
            lattice = positions.new_empty((len(cells), len(shifts), 3))
            complete = place(
                positions.detach().numpy(), cells, periodic.numpy(), system_idx.numpy(), shifts,
                np.array(self._strides if known else (0, 0, 0)),
                self._fractional.double().numpy() if known else inside[:0],
                self._frame.double().numpy() if known else frame[:0],
                cutoff, cutoff + self.skin_A, inside, frame, placed.numpy(), lattice.numpy(), left.numpy(),
            )  # fmt: skip
            return complete, Kept(placed, lattice, left)

        complete, kept = look(known)
        if not complete:
            made = torch.from_numpy(inside.copy()), torch.from_numpy(frame).to(positions.dtype)
            self._make(*made, periodic, cutoff, system_idx)
            _, kept = look(known=True)
        return kept

    def made(self, positions: Tensor, cell: Tensor, pbc: Tensor, cutoff: float, system_idx: Tensor) -> Pairs:
        """Build a list from this structure and return all its pairs, in their order."""
        frame, pbc = _frame(cell, pbc)
        fractional = transform(positions, torch.linalg.inv(frame), system_idx)
        cells = torch.where(pbc.index_select(0, system_idx), fractional.floor(), 0.0)
        self._make(fractional - cells, frame, pbc, cutoff, system_idx)
        shifts = self._shifts.index_select(0, self._image)
        shifts = shifts + cells.index_select(0, self._first) - cells.index_select(0, self._second)
        return Pairs(self._first, self._second, shifts, frame, fractional)

    def _wraps(
        self, fractional: Tensor, frame: Tensor, pbc: Tensor, cutoff: float, system_idx: Tensor
    ) -> Tensor | None:
        """n of each atom, (n_atoms, 3), or None if a pair could be missing in the list."""
        made_for = (cutoff, system_idx, pbc)
        if self._made_for is None or not all(map(_same, made_for, self._made_for)):
            return None
        change = fractional - self._fractional
        wraps = torch.where(pbc[system_idx], change.round(), 0.0)
        moved = torch.linalg.vector_norm(transform(change - wraps, frame, system_idx), dim=1)
        furthest = moved.new_zeros(len(frame)).scatter_reduce(0, system_idx, moved, "amax")
        sigma = torch.linalg.svdvals(torch.linalg.solve(self._frame, frame))[:, -1]
        complete = cutoff + 2.0 * furthest < sigma * (cutoff + self.skin_A)
        return wraps if bool(complete.all()) else None

    def _make(self, fractional: Tensor, frame: Tensor, pbc: Tensor, cutoff: float, system_idx: Tensor) -> None:
        """Search the pairs within cutoff + skin and store them with everything their use depends on."""
        reach = cutoff + self.skin_A
        if fractional.device.type == "cpu":
            ranges = self._compiled_search(fractional, frame, pbc, reach, system_idx)
        else:
            ranges = self._search(transform(fractional, frame, system_idx), frame, pbc, reach, system_idx)
        self._shifts = torch.cartesian_prod(*[torch.arange(-n, n + 1, device=frame.device) for n in ranges]).to(frame)
        self._strides = (2 * ranges[1] + 1) * (2 * ranges[2] + 1), 2 * ranges[2] + 1, 1
        self._made_for = (cutoff, system_idx.clone(), pbc.clone())
        self._fractional, self._frame = fractional, frame.clone()
        self.rebuilds += 1

    # Pairs are sorted by first atom, second atom and shift. Wrapping of atoms does not change this order because it
    # moves all images of a pair alike. Shifts are numbered; those of a pair change by up to 2 in each direction when
    # its atoms leave their cells, and the numbering allows for this.

    def _compiled_search(
        self, fractional: Tensor, frame: Tensor, pbc: Tensor, reach: float, system_idx: Tensor
    ) -> list[int]:
        """Set the pairs and return the ranges of their shifts."""
        frames, periodic = frame.double().numpy().copy(), pbc.numpy()
        # In the cell of a failed system no coordinate is finite, so there are no pairs.
        frames[~np.isfinite(frames).all((1, 2))] = np.eye(3)
        # Two, see above, and one for an atom that is seen from its neighbour in a molecule (`cso.kernels`).
        across = fractional_reach(frames, reach)
        ranges = shift_ranges(across, periodic) + 3
        ends = np.cumsum(np.bincount(system_idx.numpy(), minlength=len(frames)))
        coordinates, starts, found, n_pairs = fractional.double().numpy(), [np.zeros(1, np.int64)], [], 0
        for system, (begin, end) in enumerate(pairwise([0, *ends.tolist()])):
            mine = coordinates[begin:end]
            own = np.empty(len(mine) + 1, np.int64)
            cell = frames[system], periodic[system], ranges, across[system]
            second, image = search(mine, *cell, reach, self.half, own)
            found.append((second + begin, image))
            starts.append(own[1:] + n_pairs)
            n_pairs += len(second)
        second, image = (np.concatenate(parts) for parts in zip(*found, strict=True))
        self._rows = Rows(np.concatenate(starts), second.astype(np.int32), image.astype(np.int32), ranges)
        self._first = torch.from_numpy(np.repeat(np.arange(len(fractional)), np.diff(self._rows.starts)))
        self._second, self._image = torch.from_numpy(second), torch.from_numpy(image)
        return ranges.tolist()

    def _search(self, positions: Tensor, frame: Tensor, pbc: Tensor, reach: float, system_idx: Tensor) -> list[int]:
        """Like `_compiled_search`, on any device."""
        pairs, shifts = self._all_pairs(positions, frame, pbc, reach, system_idx)
        if self.half:
            once = unique_pairs(pairs, shifts).nonzero()[:, 0]
            pairs, shifts = pairs.index_select(1, once), shifts.index_select(0, once)
        ranges = (torch.cat([shifts, shifts.new_zeros(1, 3)]).abs().amax(0) + 2).tolist()
        y, z = 2 * ranges[1] + 1, 2 * ranges[2] + 1
        n_shifts = (2 * ranges[0] + 1) * y * z
        number = ((shifts + shifts.new_tensor(ranges)) * shifts.new_tensor([y * z, z, 1])).sum(1)
        code, _ = ((pairs[0] * len(positions) + pairs[1]) * n_shifts + number).sort()
        both = code // n_shifts
        self._first, self._second, self._image = both // len(positions), both % len(positions), code % n_shifts
        return ranges

    def _all_pairs(
        self, positions: Tensor, frame: Tensor, pbc: Tensor, reach: float, system_idx: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All pairs within `reach` in both directions, (2, n), and their shifts (n, 3), as integers.

        This is torch-sim's `alchemiops_nl_cell_list` without its limit on the number of neighbours: a box
        that a model contracts would exceed that limit and end the run.
        """
        # Imported here: on a CPU it is not needed, and takes as long to import as torch.
        from nvalchemiops.neighbors.neighbor_utils import (  # type: ignore[import-untyped]
            NeighborOverflowError,
            estimate_max_neighbors,
        )
        from nvalchemiops.torch.neighbors import batch_cell_list  # type: ignore[import-untyped]

        self._max_neighbors = max(self._max_neighbors, estimate_max_neighbors(reach))
        while True:
            try:
                pairs, _, shifts = batch_cell_list(
                    positions,
                    reach,
                    frame.contiguous(),
                    pbc.contiguous(),
                    system_idx.to(torch.int32),
                    max_neighbors=self._max_neighbors,
                    return_neighbor_list=True,
                )
            except NeighborOverflowError:
                self._max_neighbors *= 2
            else:
                return pairs.long(), shifts.long()


def _frame(cell: Tensor, pbc: Tensor) -> tuple[Tensor, Tensor]:
    """Cells and periodicity (n_systems, 3); a non-periodic system needs no cell, and gets a unit cube."""
    cell = cell.reshape(-1, 3, 3)
    pbc = pbc.to(torch.bool).reshape(-1, 3).expand(len(cell), 3)
    # The given cell may be singular.
    return torch.where(pbc.any(1)[:, None, None], cell, torch.eye(3, dtype=cell.dtype, device=cell.device)), pbc


def transform(rows: Tensor, matrices: Tensor, system: Tensor) -> Tensor:
    """Each row (n, 3) times the matrix of its system (n_systems, 3, 3)."""
    if len(matrices) == 1:
        return rows @ matrices[0]
    return torch.bmm(rows[:, None], matrices.index_select(0, system))[:, 0]


def _lattice(shifts: Tensor, cells: Tensor) -> Tensor:
    """Lattice vectors (..., n, 3) of shifts (n, 3) in cells (..., 3, 3), by the same operations for any shape."""
    x, y, z = shifts.split(1, dim=-1)
    return x * cells[..., 0, :] + y * cells[..., 1, :] + z * cells[..., 2, :]


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other
