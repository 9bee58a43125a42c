"""Code of the messages: sums over the neighbours of an atom, and their backward pass.

Every atom reads from its neighbours and writes only to itself, as the receiver of messages in the forward pass and as
their sender in the backward pass, so the atoms can be divided among threads. The receiver sees a sender along its own
vector r; the sender sees the receiver along -r. The sign of this, (-1)^l2, is included in the matrices that produce the
gradient with respect to the messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from physembed.engine.compiled.emit import Kernel
from physembed.engine.compiled.geometry import Layout
from physembed.engine.compiled.radial import DEGREE
from physembed.engine.compiled.shape import LayerShape, Path, Shape, components

REGISTERS = 20
"""Number of sums over neighbours that are kept in registers together."""


@dataclass
class Edge:
    """One edge in the innermost loop."""

    place: Any
    """Pointer to its lane in its group."""
    index: Any
    """Index of its slot among all groups."""
    lane: Any
    group: Any
    neighbour: Any
    interval: Any


class Couplings:
    """Matrices from m1 to m3 of each path at an edge: shared by all channels, computed before the loop over them.

    Entries that equal a spherical harmonic or 1 are not stored.
    """

    def __init__(self, layer: LayerShape) -> None:
        self.stored: list[list[tuple[int, float]]] = []
        self._of: dict[tuple[int, int, int], tuple[str, int]] = {}
        for index, path in enumerate(layer.paths):
            if not path.l1:
                continue
            for m1 in range(2 * path.l1 + 1):
                for m3 in range(2 * path.l3 + 1):
                    row = path.row(m1, m3)
                    if not row:
                        continue
                    if len(row) == 1 and row[0][1] == 1.0:
                        self._of[index, m1, m3] = ("harmonic" if row[0][0] else "one", row[0][0])
                    else:
                        self._of[index, m1, m3] = ("stored", len(self.stored))
                        self.stored.append(row)

    def emit(self, k: Kernel, shape: Shape, atom: Any) -> None:
        """Compute the matrices of all edges of an atom."""
        if not self.stored:
            return
        layout = Layout(shape)
        first, last = k.index("first_group", atom), k.index("first_group", k.sum(atom, 1))
        with k.loop(first, last) as group:
            place = k.at(k.pointer("geometry"), (group, layout.width * k.lanes))
            target = k.at(k.scratch, (k.sum(group, (first, -1)), len(self.stored) * k.lanes))
            for index, row in enumerate(self.stored):
                total = None
                for component, value in row:
                    total = k.scaled(k.vload(place, (layout.harmonics + component) * k.lanes), value, total)
                k.vstore(total, target, index * k.lanes)

    def at(self, k: Kernel, edge: Edge, harmonic: Any, path: int, m1: int, m3: int) -> Any:
        """One entry in all lanes; None for 1, and False for 0."""
        found = self._of.get((path, m1, m3))
        if found is None:
            return False
        kind, index = found
        if kind == "one":
            return None
        if kind == "harmonic":
            return harmonic(index)
        place = k.sum((edge.group, len(self.stored) * k.lanes), index * k.lanes, edge.lane)
        return k.broadcast(k.scratch, place)


@contextmanager
def over_edges(k: Kernel, shape: Shape, atom: Any) -> Iterator[Edge]:
    """The innermost loop; `group` counts from the first group of the atom."""
    layout = Layout(shape)
    first, last = k.index("first_group", atom), k.index("first_group", k.sum(atom, 1))
    count = k.index("n_edges", atom)
    with k.loop(0, k.b.sub(last, first)) as group:
        number = k.minimum(k.sum(count, (group, -k.lanes)), k.lanes)
        start = k.sum((k.b.add(first, group), k.lanes))
        base = k.at(k.pointer("geometry"), (k.b.add(first, group), layout.width * k.lanes))
        with k.loop(0, number) as lane:
            index = k.b.add(start, lane)
            yield Edge(
                place=k.at(base, lane),
                index=index,
                lane=lane,
                group=group,
                neighbour=k.index("neighbour", index),
                interval=k.index("interval", index),
            )


def _harmonic(k: Kernel, shape: Shape, edge: Edge) -> Any:
    layout, loaded = Layout(shape), dict[int, Any]()

    def harmonic(component: int) -> Any:
        if component not in loaded:
            loaded[component] = k.broadcast(edge.place, (layout.harmonics + component) * k.lanes)
        return loaded[component]

    return harmonic


def _weights(k: Kernel, shape: Shape, edge: Edge, slopes: bool) -> list[Any]:
    layout = Layout(shape)
    first = layout.slopes if slopes else layout.weights
    return [k.broadcast(edge.place, (first + row) * k.lanes) for row in range(DEGREE + 1)]


def _rows(k: Kernel, shape: Shape, t: int, edge: Edge, block: Any, table: Any) -> Any:
    """Pointer to the coefficients of the radial functions of a block of channels, from the interval of an edge on."""
    n_paths = len(shape.layers[t].paths)
    row = k.sum((k.sum((table, shape.blocks), block), k.slot("table_rows")), edge.interval)
    return k.at(k.pointer(f"table{t}"), (row, n_paths * k.lanes))


def _function(k: Kernel, rows: Any, n_paths: int, path: int, *weights: Sequence[Any]) -> list[Any]:
    """A radial function, evaluated with each of the given sets of weights."""
    loaded = [k.vload(rows, (row * n_paths + path) * k.lanes) for row in range(DEGREE + 1)]
    return [k.dot(list(zip(loaded, some, strict=True))) for some in weights]


def _pair(k: Kernel, species: Any, edge: Edge) -> Any:
    """Index of the table of the first layer: one per sender, or one per receiver and sender."""
    return k.sum((species, k.slot("receiver_stride")), k.index("species", edge.neighbour))


def emit_first(k: Kernel, shape: Shape, atom: Any) -> None:
    """A of the first layer, whose matrices and features are included in its tables."""
    harmonics, channels = shape.harmonics, shape.channels
    layer = shape.layers[0]
    species = k.index("species", atom)
    target = k.at(k.pointer("a0"), (atom, harmonics * channels))
    with k.loop(0, shape.blocks) as block:
        sums = [k.variable(k.zero) for _ in range(harmonics)]
        with over_edges(k, shape, atom) as edge:
            harmonic, weights = _harmonic(k, shape, edge), _weights(k, shape, edge, False)
            rows = _rows(k, shape, 0, edge, block, _pair(k, species, edge))
            for order in range(shape.order + 1):
                (R,) = _function(k, rows, len(layer.paths), order, weights)
                for m in range(2 * order + 1):
                    component = order**2 + m
                    total = k.get(sums[component])
                    k.set(sums[component], k.fma(R, harmonic(component), total) if component else k.add(total, R))
        for component, place in enumerate(sums):
            k.vstore(k.get(place), k.at(target, (block, k.lanes), component * channels))


def emit_first_back(k: Kernel, shape: Shape, atom: Any) -> None:
    """Gradient with respect to the receiver's edges, from that with respect to A of the first layer."""
    harmonics, channels = shape.harmonics, shape.channels
    layer = shape.layers[0]
    species = k.index("species", atom)
    source = k.at(k.pointer("a0"), (atom, harmonics * channels))
    with k.loop(0, shape.blocks) as block:
        by = [k.vload(k.at(source, (block, k.lanes), component * channels)) for component in range(harmonics)]
        with over_edges(k, shape, atom) as edge:
            harmonic = _harmonic(k, shape, edge)
            weights, slopes = _weights(k, shape, edge, False), _weights(k, shape, edge, True)
            rows = _rows(k, shape, 0, edge, block, _pair(k, species, edge))
            by_distance, by_harmonics = None, []
            for order in range(shape.order + 1):
                R, slope = _function(k, rows, len(layer.paths), order, weights, slopes)
                along = None
                for m in range(2 * order + 1):
                    component = order**2 + m
                    if component:
                        along = k.fma(by[component], harmonic(component), along)
                        by_harmonics.append(k.mul(R, by[component]))
                    else:
                        along = by[0]
                by_distance = k.fma(along, slope, by_distance)
            _add_gradient(k, shape, edge, [by_distance, *by_harmonics])


def _add_gradient(k: Kernel, shape: Shape, edge: Edge, vectors: list[Any]) -> None:
    """Add the sums over the channels to the gradient of an edge."""
    target = k.at(k.pointer("by_harmonics"), (edge.index, shape.gradient_width))
    for part, total in enumerate(k.sums(vectors)):
        k.vstore(k.add(k.vload(target, part * k.lanes), total), target, part * k.lanes)


def emit_clear(k: Kernel, shape: Shape, atom: Any) -> None:
    """Set the gradients of the edges of an atom to 0."""
    first, last = k.index("first_group", atom), k.index("first_group", k.sum(atom, 1))
    start = k.sum((first, k.lanes * shape.gradient_width))
    with k.loop(0, k.sum((k.b.sub(last, first), shape.gradient_width))) as vector:
        k.vstore(k.zero, k.at(k.pointer("by_harmonics"), start, (vector, k.lanes)))


def _together(paths: Sequence[Path]) -> list[list[int]]:
    """Group paths by l1 so that the sums of a group fit in the registers."""
    groups: list[list[int]] = [[]]
    size = 0
    for index in sorted(range(len(paths)), key=lambda index: (paths[index].l1, index)):
        width = 2 * paths[index].l3 + 1
        if size + width > REGISTERS and groups[-1]:
            groups.append([])
            size = 0
        groups[-1].append(index)
        size += width
    return groups


def message(layer: LayerShape, path: int, m3: int) -> int:
    """Index of a message component of a path."""
    same = layer.paths_to(layer.paths[path].l3)
    return layer.offset(layer.paths[path].l3) + m3 * len(same) + same.index(path)


def emit_messages(k: Kernel, shape: Shape, t: int, atom: Any) -> None:
    """Messages of a later layer, summed over the neighbours."""
    layer, channels = shape.layers[t], shape.channels
    couplings = Couplings(layer)
    couplings.emit(k, shape, atom)
    n_in = components(layer.input_order)
    target = k.at(k.pointer(f"m{t}"), (atom, layer.messages * channels))
    with k.loop(0, shape.blocks) as block:
        for group in _together(layer.paths):
            sums = {(path, m3): k.variable(k.zero) for path in group for m3 in range(2 * layer.paths[path].l3 + 1)}
            with over_edges(k, shape, atom) as edge:
                harmonic, weights = _harmonic(k, shape, edge), _weights(k, shape, edge, False)
                rows = _rows(k, shape, t, edge, block, 0)
                x = k.at(k.pointer(f"x{t}"), (edge.neighbour, n_in * channels), (block, k.lanes))
                features: dict[int, Any] = {}
                for index in group:
                    path = layer.paths[index]
                    (R,) = _function(k, rows, len(layer.paths), index, weights)
                    for m1 in range(2 * path.l1 + 1):
                        component = path.l1**2 + m1
                        if component not in features:
                            features[component] = k.vload(x, component * channels)
                    if not path.l1:
                        R = k.mul(R, features[0])
                    for m3 in range(2 * path.l3 + 1):
                        place = sums[index, m3]
                        total = k.get(place)
                        if not path.l1:
                            component = path.l3**2 + m3
                            k.set(place, k.fma(R, harmonic(component), total) if component else k.add(total, R))
                            continue
                        inner = None
                        for m1 in range(2 * path.l1 + 1):
                            coupling = couplings.at(k, edge, harmonic, index, m1, m3)
                            if coupling is False:
                                continue
                            value = features[path.l1**2 + m1]
                            inner = k.add(inner, value) if coupling is None else k.fma(value, coupling, inner)
                        if inner is not None:
                            k.set(place, k.fma(R, inner, total))
            for (index, m3), place in sums.items():
                k.vstore(k.get(place), k.at(target, (block, k.lanes), message(layer, index, m3) * channels))


def emit_messages_back(k: Kernel, shape: Shape, t: int, atom: Any) -> None:
    """Gradient with respect to the sender's features and edges, from that with respect to the receivers' messages."""
    layer, channels = shape.layers[t], shape.channels
    couplings = Couplings(layer)
    couplings.emit(k, shape, atom)
    n_in = components(layer.input_order)
    source = k.at(k.pointer(f"x{t}"), (atom, n_in * channels))
    target = k.at(k.pointer(f"dx{t}"), (atom, n_in * channels))
    with k.loop(0, shape.blocks) as block:
        x = [k.vload(k.at(source, (block, k.lanes), component * channels)) for component in range(n_in)]
        turned = _Turned(k, layer, x)
        sums = [k.variable(k.zero) for _ in range(n_in)]
        with over_edges(k, shape, atom) as edge:
            harmonic = _harmonic(k, shape, edge)
            weights, slopes = _weights(k, shape, edge, False), _weights(k, shape, edge, True)
            rows = _rows(k, shape, t, edge, block, 0)
            by_message = k.at(k.pointer(f"m{t}"), (edge.neighbour, layer.messages * channels), (block, k.lanes))
            by_distance: Any = None
            by_harmonics: list[Any] = [None] * shape.harmonics
            for index in sorted(range(len(layer.paths)), key=lambda index: (layer.paths[index].l1, index)):
                path = layer.paths[index]
                R, slope = _function(k, rows, len(layer.paths), index, weights, slopes)
                by = [k.vload(by_message, message(layer, index, m3) * channels) for m3 in range(2 * path.l3 + 1)]
                if not path.l1:
                    along = None
                    through = k.mul(R, x[0])
                    for m, value in enumerate(by):
                        component = path.l3**2 + m
                        if component:
                            along = k.fma(value, harmonic(component), along)
                            by_harmonics[component] = k.fma(through, value, by_harmonics[component])
                        else:
                            along = value
                    k.set(sums[0], k.fma(R, along, k.get(sums[0])))
                    by_distance = k.fma(k.mul(along, x[0]), slope, by_distance)
                    continue
                by_function = None
                for m1 in range(2 * path.l1 + 1):
                    inner = None
                    for m3, value in enumerate(by):
                        coupling = couplings.at(k, edge, harmonic, index, m1, m3)
                        if coupling is False:
                            continue
                        inner = k.add(inner, value) if coupling is None else k.fma(value, coupling, inner)
                    if inner is None:
                        continue
                    component = path.l1**2 + m1
                    k.set(sums[component], k.fma(R, inner, k.get(sums[component])))
                    by_function = k.fma(inner, x[component], by_function)
                by_distance = k.fma(by_function, slope, by_distance)
                for m2 in range(2 * path.l2 + 1) if path.l2 else ():
                    inner = turned.times(index, m2, by)
                    component = path.l2**2 + m2
                    by_harmonics[component] = k.fma(R, inner, by_harmonics[component])
            rest = [k.zero if value is None else value for value in by_harmonics[1:]]
            _add_gradient(k, shape, edge, [by_distance, *rest])
        for component, place in enumerate(sums):
            k.vstore(k.get(place), k.at(target, (block, k.lanes), component * channels))


class _Turned:
    """Features of the sender times Clebsch-Gordan coefficients, from m3 to m2: the same for all its edges."""

    def __init__(self, k: Kernel, layer: LayerShape, x: Sequence[Any]) -> None:
        self._k = k
        self._of: dict[tuple[int, int, int], Any] = {}
        for index, path in enumerate(layer.paths):
            if not path.l1 or not path.l2:
                continue
            for m2 in range(2 * path.l2 + 1):
                for m3 in range(2 * path.l3 + 1):
                    total = None
                    for a, b, c, value in path.entries:
                        if (b, c) == (m2, m3):
                            total = k.scaled(x[path.l1**2 + a], value, total)
                    if total is not None:
                        self._of[index, m2, m3] = k.variable(total)

    def times(self, path: int, m2: int, by: Sequence[Any]) -> Any:
        """Sum over m3."""
        total = None
        for m3, value in enumerate(by):
            place = self._of.get((path, m2, m3))
            if place is not None:
                total = self._k.fma(value, self._k.get(place), total)
        return total
