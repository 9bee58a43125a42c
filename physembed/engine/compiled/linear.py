"""Code of the linear layers: rows of channels times matrices.

A matrix is stored in panels of a few column vectors, row by row, so that it is read sequentially once while a panel
times a few rows is kept in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from physembed.engine.compiled.emit import Kernel

ROWS = 4
"""Number of rows (atoms) that are multiplied together."""

PANEL = 4
"""Column vectors per panel; up to `WIDEST` there is a single panel."""

WIDEST = 6


def panels(vectors: int) -> list[int]:
    """Widths of the panels of a matrix with this number of column vectors."""
    if vectors <= WIDEST:
        return [vectors]
    return [PANEL] * (vectors // PANEL) + ([vectors % PANEL] if vectors % PANEL else [])


def packed(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """Matrices (..., depth, columns) in storage order, (..., depth * columns)."""
    pieces, start = [], 0
    for width in panels(matrix.shape[-1] // lanes):
        piece = matrix[..., start : start + width * lanes]
        pieces.append(piece.reshape(*matrix.shape[:-2], -1))
        start += width * lanes
    return np.concatenate(pieces, axis=-1)


def multiply(
    k: Kernel,
    *,
    rows: tuple[Any, Any],
    source: tuple[Any, int],
    target: tuple[Any, int],
    matrix: Any,
    depth: int,
    vectors: int,
    components: tuple[int, int, int] = (1, 0, 0),
    add: bool = False,
) -> None:
    """target[row] = source[row] @ matrix for a range of rows, for a given number of components per row.

    Rows are processed in fours: the range is rounded up to a multiple of four.

    Args:
        k: kernel to which the code is added.
        rows: first row and end.
        source: pointer to row 0, and number of reals between rows.
        target: likewise.
        matrix: pointer.
        depth: number of matrix rows.
        vectors: number of column vectors of the matrix.
        components: number of components, and number of reals between them in source and target.
        add: add to the existing values.
    """
    count, source_step, target_step = components

    def panel(matrix: Any, width: int, column: Any) -> None:
        with k.loop(0, count) as component, k.loop(rows[0], rows[1], ROWS) as row:
            read = k.at(source[0], (row, source[1]), (component, source_step))
            write = k.at(target[0], (row, target[1]), (component, target_step), column)
            _tile(k, (read, source[1]), (write, target[1]), ROWS, matrix, depth, width, add)

    _over_panels(k, matrix, depth, vectors, panel)


def multiply_one(
    k: Kernel,
    *,
    source: tuple[Any, int],
    target: tuple[Any, int],
    count: int,
    matrix: Any,
    depth: int,
    vectors: int,
    add: bool = False,
) -> None:
    """target = source @ matrix for `count` rows of one atom at a constant distance."""

    def panel(matrix: Any, width: int, column: Any) -> None:
        write = k.at(target[0], column)
        _tile(k, source, (write, target[1]), count, matrix, depth, width, add)

    _over_panels(k, matrix, depth, vectors, panel)


def _over_panels(k: Kernel, matrix: Any, depth: int, vectors: int, body: Any) -> None:
    widths = panels(vectors)
    alike = sum(width == widths[0] for width in widths)
    step = widths[0] * k.lanes
    if alike == 1:
        body(matrix, widths[0], 0)
    else:
        with k.loop(0, alike) as panel:
            body(k.at(matrix, (panel, depth * step)), widths[0], k.sum((panel, step)))
    if alike < len(widths):
        body(k.at(matrix, alike * depth * step), widths[-1], alike * step)


def _tile(
    k: Kernel,
    source: tuple[Any, int],
    target: tuple[Any, int],
    rows: int,
    matrix: Any,
    depth: int,
    width: int,
    add: bool,
) -> None:
    """Some rows times a panel, kept in registers."""
    places = [k.at(target[0], row * target[1] + vector * k.lanes) for row in range(rows) for vector in range(width)]
    # With a single chain, each addition would wait for the previous one.
    chains = max(1, 4 // len(places))
    start = [k.vload(place) if add else k.zero for place in places]
    start += [k.zero] * (len(places) * (chains - 1))
    totals = [k.variable(value) for value in start]
    together = max(chains, 16 // len(places), 1)
    while depth % together:
        together -= 1
    with k.loop(0, depth, together) as at:
        for inner in range(together):
            columns = [
                k.vload(matrix, k.sum((at, width * k.lanes), (inner * width + v) * k.lanes)) for v in range(width)
            ]
            chain = (inner % chains) * len(places)
            for row in range(rows):
                value = k.broadcast(source[0], k.sum(at, row * source[1] + inner))
                for vector in range(width):
                    place = totals[chain + row * width + vector]
                    k.set(place, k.fma(value, columns[vector], k.get(place)))
    for index, place in enumerate(places):
        total = k.get(totals[index])
        for chain in range(1, chains):
            total = k.add(total, k.get(totals[chain * len(places) + index]))
        k.vstore(total, place)


def copied(k: Kernel, source: Any, target: Any, vectors: int) -> None:
    """Copy vectors."""
    for vector in range(vectors):
        k.vstore(k.vload(source, vector * k.lanes), target, vector * k.lanes)


def filled(k: Kernel, target: Any, vectors: Any) -> None:
    """Set vectors to 0."""
    with k.loop(0, vectors) as vector:
        k.vstore(k.zero, k.at(target, (vector, k.lanes)))


def dotted(k: Kernel, pairs: Sequence[tuple[Any, Any]], vectors: int) -> Any:
    """Sum of the dot products of rows, as a scalar."""
    total = None
    for one, other in pairs:
        for vector in range(vectors):
            total = k.fma(k.vload(one, vector * k.lanes), k.vload(other, vector * k.lanes), total)
    return k.total(total)
