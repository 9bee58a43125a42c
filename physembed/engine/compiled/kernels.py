"""The kernels for a model shape, assembled from the code of their parts.

All work on one system whose arrays are in the table: `stage<t>` is the forward pass through layer t; for the last layer
it also includes the backward pass to the gradient with respect to its own messages. `back<t>` is the backward pass
through layer t to that of the previous layer. All atoms have to be finished between two stages; within a stage they are
independent. `molecules` runs all stages for isolated systems, one after another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from physembed.engine.compiled import contraction, edges, geometry, library, linear, repulsion
from physembed.engine.compiled.emit import I1, I32, I64, Kernel
from physembed.engine.compiled.library import Library
from physembed.engine.compiled.shape import LayerShape, Shape, components

FIXED_SLOTS = (
    "atoms",
    "species",
    "first_group",
    "n_edges",
    "neighbour",
    "interval",
    "vectors",
    "geometry",
    "by_harmonics",
    "gradient",
    "energy",
    "hidden",
    "products",
    "by_products",
    "intervals_per_A",
    "last_interval",
    "table_rows",
    "receiver_stride",
    "energy_constant",
    "hidden_constant",
    "second",
    "atomic_energy",
    "cutoff_square",
    # for functions that call the stages for several systems
    "starts",
    "positions",
    "all_species",
    "forces",
    "energies",
    "edge_starts",
    "first_atom",
    "seconds",
    "given",
    "elements",
    "repulsion_cutoff",
    "repulsion_length",
    "repulsion_charge",
    "repulsion_weights",
)


def load(shape: Shape) -> Library:
    """The kernels for a shape."""
    return library.load(f"mace-{shape.key}", lambda: module(shape), ["molecules", "fill", "forces", *stages(shape)])


def slots(shape: Shape) -> list[str]:
    """Names of the entries of the table."""
    names = list(FIXED_SLOTS)
    for t, layer in enumerate(shape.layers):
        names += [f"table{t}", f"a{t}", f"coefficients{t}", f"dot{t}"]
        if t:
            names += [f"x{t}", f"dx{t}", f"m{t}", f"constant{t}"]
            names += [f"{kind}{t}_{order}" for kind in ("mix", "mixback") for order in range(shape.order + 1)]
            for before in range(t):
                for order in range(shape.layers[before].output_order + 1):
                    names += [f"{kind}{t}_{before}_{order}" for kind in ("feature", "featureback")]
        if shape.hidden:
            names += [f"{kind}{t}" for kind in ("tohidden", "tohiddenback")]
        del layer
    return names


def block(shape: Shape) -> int:
    """Number of atoms processed together in a stage, so that their data stay in the cache."""
    return 8 if shape.channels * shape.size >= 256 else 4


def stages(shape: Shape) -> list[str]:
    """Names of the stages, in order."""
    last = len(shape.layers) - 1
    return [f"stage{t}" for t in range(last + 1)] + [f"back{t}" for t in range(last, 0, -1)]


def module(shape: Shape) -> ir.Module:
    """All kernels."""
    result = ir.Module("mace")
    names = slots(shape)

    def new(name: str) -> Kernel:
        return Kernel(result, name, shape.double, shape.lanes, names)

    made = []
    for t in range(len(shape.layers)):
        made.append(_stage(new(f"stage{t}"), shape, t))
    for t in range(len(shape.layers) - 1, 0, -1):
        made.append(_back(new(f"back{t}"), shape, t))
    forces = _forces(new("forces"))
    _fill(new("fill"))
    search = _search(new("search"))
    _molecules(new("molecules"), [search, *made, forces])
    return result


def _blocks(k: Kernel, shape: Shape) -> Any:
    """Loop over blocks of atoms; use with `_block_end`."""
    return k.loop(k.begin, k.end, block(shape))


def _stage(k: Kernel, shape: Shape, t: int) -> Kernel:
    with _blocks(k, shape) as lo:
        hi = k.minimum(k.sum(lo, block(shape)), k.end)
        with k.loop(lo, hi) as atom:
            if t == 0:
                geometry.emit_geometry(k, shape, atom)
                edges.emit_clear(k, shape, atom)
                edges.emit_first(k, shape, atom)
                _start(k, shape, atom)
            else:
                edges.emit_messages(k, shape, t, atom)
        if t:
            _mix(k, shape, t, lo, hi)
        with k.loop(lo, hi) as atom:
            _product(k, shape, t, atom)
        _push(k, shape, t, lo, hi)
        if t == len(shape.layers) - 1:
            if shape.hidden:
                with k.loop(lo, hi) as atom:
                    _readout(k, shape, atom)
            _back_to_messages(k, shape, t, lo, hi)
            if t == 0:
                _back_to_edges(k, shape, lo, hi)
    k.done()
    return k


def _back(k: Kernel, shape: Shape, t: int) -> Kernel:
    with _blocks(k, shape) as lo:
        hi = k.minimum(k.sum(lo, block(shape)), k.end)
        with k.loop(lo, hi) as atom:
            edges.emit_messages_back(k, shape, t, atom)
        _back_to_messages(k, shape, t - 1, lo, hi)
        if t == 1:
            _back_to_edges(k, shape, lo, hi)
    k.done()
    return k


def _row(k: Kernel, name: str, atom: Any, size: int) -> Any:
    return k.at(k.pointer(name), (atom, size))


def _start(k: Kernel, shape: Shape, atom: Any) -> None:
    """Initialise everything to which layers add with its constant part."""
    species, C = k.index("species", atom), shape.channels
    for t, layer in enumerate(shape.layers[1:], start=1):
        width = components(layer.input_order)
        row = _row(k, f"x{t}", atom, width * C)
        linear.copied(k, _row(k, f"constant{t}", species, C), row, shape.blocks)
        if width > 1:
            linear.filled(k, k.at(row, C), (width - 1) * shape.blocks)
    k.store(k.load(k.pointer("energy_constant"), species), k.pointer("energy"), atom)
    if shape.hidden:
        width = shape.hidden // shape.lanes
        row = _row(k, "hidden", atom, shape.hidden)
        linear.copied(k, _row(k, "hidden_constant", species, shape.hidden), row, width)


def _mix(k: Kernel, shape: Shape, t: int, lo: Any, hi: Any) -> None:
    """A from messages."""
    layer, C, width = shape.layers[t], shape.channels, shape.harmonics * shape.channels
    source, target = k.pointer(f"m{t}"), k.pointer(f"a{t}")
    for order in range(shape.order + 1):
        paths, count = len(layer.paths_to(order)), 2 * order + 1
        read, write = k.at(source, layer.offset(order) * C), k.at(target, order**2 * C)
        matrix, depth = k.pointer(f"mix{t}_{order}"), paths * C
        if not layer.mix_by_element:
            linear.multiply(
                k,
                rows=(lo, hi),
                source=(read, layer.messages * C),
                target=(write, width),
                matrix=matrix,
                depth=depth,
                vectors=shape.blocks,
                components=(count, paths * C, C),
            )
            continue
        with k.loop(lo, hi) as atom:
            linear.multiply_one(
                k,
                source=(k.at(read, (atom, layer.messages * C)), paths * C),
                target=(k.at(write, (atom, width)), C),
                count=count,
                matrix=k.at(matrix, (k.index("species", atom), depth * C)),
                depth=depth,
                vectors=shape.blocks,
            )


def _mix_back(k: Kernel, shape: Shape, t: int, lo: Any, hi: Any) -> None:
    """Replace the messages by the gradient with respect to them, computed from that with respect to A."""
    layer, C, width = shape.layers[t], shape.channels, shape.harmonics * shape.channels
    source, target = k.pointer(f"a{t}"), k.pointer(f"m{t}")
    for order in range(shape.order + 1):
        paths, count = len(layer.paths_to(order)), 2 * order + 1
        read, write = k.at(source, order**2 * C), k.at(target, layer.offset(order) * C)
        matrix, vectors = k.pointer(f"mixback{t}_{order}"), paths * shape.blocks
        if not layer.mix_by_element:
            linear.multiply(
                k,
                rows=(lo, hi),
                source=(read, width),
                target=(write, layer.messages * C),
                matrix=matrix,
                depth=C,
                vectors=vectors,
                components=(count, C, paths * C),
            )
            continue
        with k.loop(lo, hi) as atom:
            linear.multiply_one(
                k,
                source=(k.at(read, (atom, width)), C),
                target=(k.at(write, (atom, layer.messages * C)), paths * C),
                count=count,
                matrix=k.at(matrix, (k.index("species", atom), paths * C * C)),
                depth=C,
                vectors=vectors,
            )


def _coefficients(k: Kernel, shape: Shape, t: int, atom: Any, channel_block: Any) -> Any:
    count = len(contraction.terms(shape.layers[t]))
    row = k.sum((k.index("species", atom), shape.blocks), channel_block)
    place = k.at(k.pointer(f"coefficients{t}"), (row, count * k.lanes))
    return lambda index: k.vload(place, index * k.lanes)


def _scalar(layer: LayerShape) -> bool:
    return len(layer.monomials) == 1


def _product(k: Kernel, shape: Shape, t: int, atom: Any) -> None:
    """Products of A; if there is only a scalar, A is replaced by its gradient."""
    layer, C = shape.layers[t], shape.channels
    row = _row(k, f"a{t}", atom, shape.harmonics * C)
    out = _row(k, "products", atom, len(layer.monomials) * C)
    with k.loop(0, shape.blocks) as channel_block:
        start = k.at(row, (channel_block, k.lanes))
        A = [k.vload(start, component * C) for component in range(shape.harmonics)]
        coefficient = _coefficients(k, shape, t, atom, channel_block)
        target = k.at(out, (channel_block, k.lanes))
        if _scalar(layer):
            value, gradient = contraction.value_and_gradient(k, layer, A, coefficient, None)
            k.vstore(value, target)
            for component, by in enumerate(gradient):
                k.vstore(by, start, component * C)
        else:
            for component, value in enumerate(contraction.values(k, layer, A, coefficient)):
                k.vstore(value, target, component * C)


def _product_back(k: Kernel, shape: Shape, t: int, atom: Any) -> None:
    """Replace A by the gradient with respect to it."""
    layer, C = shape.layers[t], shape.channels
    row = _row(k, f"a{t}", atom, shape.harmonics * C)
    by_products = _row(k, "by_products", atom, len(layer.monomials) * C)
    with k.loop(0, shape.blocks) as channel_block:
        start = k.at(row, (channel_block, k.lanes))
        by = k.at(by_products, (channel_block, k.lanes))
        A = [k.vload(start, component * C) for component in range(shape.harmonics)]
        if _scalar(layer):
            weight = k.vload(by)
            gradient = [k.mul(value, weight) for value in A]
        else:
            weights = [k.vload(by, component * C) for component in range(len(layer.monomials))]
            coefficient = _coefficients(k, shape, t, atom, channel_block)
            _, gradient = contraction.value_and_gradient(k, layer, A, coefficient, weights)
        for component, value in enumerate(gradient):
            k.vstore(value, start, component * C)


def _push(k: Kernel, shape: Shape, t: int, lo: Any, hi: Any) -> None:
    """Add the contributions of the products to the features of later layers, the energy and the last readout."""
    layer, C = shape.layers[t], shape.channels
    width = len(layer.monomials) * C
    products = k.pointer("products")
    for later in range(t + 1, len(shape.layers)):
        into = components(shape.layers[later].input_order) * C
        for order in range(min(layer.output_order, shape.layers[later].input_order) + 1):
            read, write = k.at(products, order**2 * C), k.at(k.pointer(f"x{later}"), order**2 * C)
            matrix, count = k.pointer(f"feature{later}_{t}_{order}"), 2 * order + 1
            _apply(k, (lo, hi), (read, width), (write, into), matrix, (count, C, C), (C, C), later == t + 1)
    if shape.hidden:
        matrix, last = k.pointer(f"tohidden{t}"), t == len(shape.layers) - 1
        target = (k.pointer("hidden"), shape.hidden)
        _apply(k, (lo, hi), (products, width), target, matrix, (1, 0, 0), (C, shape.hidden), last)
    with k.loop(lo, hi) as atom:
        dot = _row(k, f"dot{t}", k.index("species", atom), C)
        value = linear.dotted(k, [(k.at(products, (atom, width)), dot)], shape.blocks)
        place = k.at(k.pointer("energy"), atom)
        k.store(k.b.fadd(k.load(place), value), place)


def _apply(
    k: Kernel,
    rows: tuple[Any, Any],
    source: tuple[Any, int],
    target: tuple[Any, int],
    matrix: Any,
    count: tuple[int, int, int],
    size: tuple[int, int],
    shared: bool,
) -> None:
    """Add rows times a matrix, either shared by all elements or that of each atom's element."""
    depth, vectors = size[0], size[1] // k.lanes
    if shared:
        linear.multiply(
            k,
            rows=rows,
            source=source,
            target=target,
            matrix=matrix,
            depth=depth,
            vectors=vectors,
            components=count,
            add=True,
        )
        return
    with k.loop(*rows) as atom:
        linear.multiply_one(
            k,
            source=(k.at(source[0], (atom, source[1])), count[1]),
            target=(k.at(target[0], (atom, target[1])), count[2]),
            count=count[0],
            matrix=k.at(matrix, (k.index("species", atom), size[0] * size[1])),
            depth=depth,
            vectors=vectors,
            add=True,
        )


def _readout(k: Kernel, shape: Shape, atom: Any) -> None:
    """Energy of the last readout; its input is replaced by the gradient."""
    total = k.zero
    row = _row(k, "hidden", atom, shape.hidden)
    for part in range(shape.hidden // shape.lanes):
        value = k.vload(row, part * k.lanes)
        weight = k.vload(k.pointer("second"), part * k.lanes)
        if shape.gate == "none":
            total = k.fma(value, weight, total)
            k.vstore(weight, row, part * k.lanes)
            continue
        one = k.constant(1.0)
        if shape.gate == "silu":
            sigmoid = k.div(one, k.add(one, k.exp(k.sub(k.zero, value))))
            gate = k.mul(value, sigmoid)
            slope = k.mul(sigmoid, k.fma(value, k.sub(one, sigmoid), one))
        else:
            # tanh(x) = 2 / (1 + exp(-2 x)) - 1
            double = k.div(k.constant(2.0), k.add(one, k.exp(k.mul(value, k.constant(-2.0)))))
            gate = k.sub(double, one)
            slope = k.sub(one, k.mul(gate, gate))
        total = k.fma(gate, weight, total)
        k.vstore(k.mul(slope, weight), row, part * k.lanes)
    place = k.at(k.pointer("energy"), atom)
    k.store(k.b.fadd(k.load(place), k.total(total)), place)


def _back_to_messages(k: Kernel, shape: Shape, t: int, lo: Any, hi: Any) -> None:
    """Gradient with respect to the products of a layer, then A, and its messages unless it is the first layer."""
    layer, C = shape.layers[t], shape.channels
    width = len(layer.monomials) * C
    target = k.pointer("by_products")
    with k.loop(lo, hi) as atom:
        row = k.at(target, (atom, width))
        linear.copied(k, _row(k, f"dot{t}", k.index("species", atom), C), row, shape.blocks)
        if width > C:
            linear.filled(k, k.at(row, C), (width // C - 1) * shape.blocks)
    for later in range(t + 1, len(shape.layers)):
        into = components(shape.layers[later].input_order) * C
        for order in range(min(layer.output_order, shape.layers[later].input_order) + 1):
            read, write = k.at(k.pointer(f"dx{later}"), order**2 * C), k.at(target, order**2 * C)
            matrix, count = k.pointer(f"featureback{later}_{t}_{order}"), 2 * order + 1
            _apply(k, (lo, hi), (read, into), (write, width), matrix, (count, C, C), (C, C), later == t + 1)
    if shape.hidden:
        matrix, last = k.pointer(f"tohiddenback{t}"), t == len(shape.layers) - 1
        source = (k.pointer("hidden"), shape.hidden)
        _apply(k, (lo, hi), source, (target, width), matrix, (1, 0, 0), (shape.hidden, C), last)
    with k.loop(lo, hi) as atom:
        _product_back(k, shape, t, atom)
    if t:
        _mix_back(k, shape, t, lo, hi)


def _back_to_edges(k: Kernel, shape: Shape, lo: Any, hi: Any) -> None:
    with k.loop(lo, hi) as atom:
        edges.emit_first_back(k, shape, atom)
        if shape.repulsion:
            repulsion.emit(k, shape, atom)
        geometry.emit_gradient(k, shape, atom)


def _component(k: Kernel, name: str, index: Any, axis: int) -> Any:
    """Pointer to a component of an edge vector, in groups."""
    group, lane = k.b.sdiv(index, I64(k.lanes)), k.b.srem(index, I64(k.lanes))
    return k.at(k.pointer(name), (group, 3 * k.lanes), axis * k.lanes, lane)


def _forces(k: Kernel) -> Kernel:
    """Forces on atoms from the edge gradients, and the virial, sum of r g^T, written to scratch memory."""
    double = ir.DoubleType()
    forces = k.pointer("forces")
    with k.loop(0, k.sum((k.slot("atoms"), 3))) as index:
        k.store(ir.Constant(k.real, 0.0), forces, index)
    virial = [k.variable(ir.Constant(double, 0.0)) for _ in range(9)]
    with k.loop(0, k.slot("atoms")) as atom:
        first = k.sum((k.index("first_group", atom), k.lanes))
        own = [k.variable(ir.Constant(k.real, 0.0)) for _ in range(3)]
        with k.loop(first, k.sum(first, k.index("n_edges", atom))) as index:
            neighbour = k.index("neighbour", index)
            gradient = [k.load(_component(k, "gradient", index, axis)) for axis in range(3)]
            vector = [k.load(_component(k, "vectors", index, axis)) for axis in range(3)]
            for axis in range(3):
                k.set(own[axis], k.b.fadd(k.get(own[axis]), gradient[axis]))
                place = k.at(forces, (neighbour, 3), axis)
                k.store(k.b.fsub(k.load(place), gradient[axis]), place)
                for other in range(3):
                    product = k.b.fmul(vector[axis], gradient[other])
                    if not k.double:
                        product = k.b.fpext(product, double)
                    place = virial[3 * axis + other]
                    k.set(place, k.b.fadd(k.get(place), product))
        for axis in range(3):
            place = k.at(forces, (atom, 3), axis)
            k.store(k.b.fadd(k.load(place), k.get(own[axis])), place)
    target = k.b.inttoptr(k.scratch_address, double.as_pointer())
    for index in range(9):
        k.store(k.get(virial[index]), target, index)
    k.done()
    return k


def _put(k: Kernel, index: Any, vector: list[Any], neighbour: Any) -> None:
    """Write an edge to its slot in the groups."""
    for axis in range(3):
        k.store(vector[axis], _component(k, "vectors", index, axis))
    place = k.b.gep(k.pointer("neighbour", I32), [index])
    k.b.store(k.b.trunc(neighbour, I32), place)


def _is_near(k: Kernel, vector: list[Any]) -> Any:
    """Whether an edge is included: if shorter than the cutoff, or if its length is infinite or NaN."""
    x, y, z = vector
    square = k.b.fadd(k.b.fadd(k.b.fmul(x, x), k.b.fmul(y, y)), k.b.fmul(z, z))
    far = k.b.fcmp_ordered(">=", square, k.number("cutoff_square"))
    finite = k.b.fcmp_ordered("<", square, ir.Constant(k.real, float("inf")))
    return k.b.xor(k.b.and_(far, finite), ir.Constant(I1, 1))


def _fill(k: Kernel) -> Kernel:
    """Sort the given edges of some atoms into groups, without those beyond the cutoff."""
    given = k.pointer("given")
    with k.loop(k.begin, k.end) as atom:
        start = k.sum((k.index("first_group", atom), k.lanes))
        count = k.variable(I64(0))
        first = k.load(k.pointer("edge_starts", I64), atom)
        last = k.load(k.pointer("edge_starts", I64), k.sum(atom, 1))
        with k.loop(first, last) as edge:
            vector = [k.load(given, k.sum((edge, 3), axis)) for axis in range(3)]
            neighbour = k.b.sub(k.load(k.pointer("seconds", I64), edge), k.slot("first_atom"))
            _put(k, k.sum(start, k.get(count)), vector, neighbour)
            k.set(count, k.b.add(k.get(count), k.b.zext(_is_near(k, vector), I64)))
        k.b.store(k.b.trunc(k.get(count), I32), k.b.gep(k.pointer("n_edges", I32), [atom]))
    k.done()
    return k


def _search(k: Kernel) -> Kernel:
    """Find the edges of a system from the positions of its atoms, by checking all pairs."""
    positions, n = k.pointer("positions"), k.slot("atoms")
    starts = k.pointer("first_group", I32)
    next_group = k.variable(I64(0))
    with k.loop(0, n) as atom:
        k.b.store(k.b.trunc(k.get(next_group), I32), k.b.gep(starts, [atom]))
        start = k.sum((k.get(next_group), k.lanes))
        own = [k.load(positions, k.sum((atom, 3), axis)) for axis in range(3)]
        count = k.variable(I64(0))
        for bounds in ((I64(0), atom), (k.sum(atom, 1), n)):
            with k.loop(*bounds) as other:
                vector = [k.b.fsub(k.load(positions, k.sum((other, 3), axis)), own[axis]) for axis in range(3)]
                _put(k, k.sum(start, k.get(count)), vector, other)
                k.set(count, k.b.add(k.get(count), k.b.zext(_is_near(k, vector), I64)))
        k.b.store(k.b.trunc(k.get(count), I32), k.b.gep(k.pointer("n_edges", I32), [atom]))
        groups = k.b.sdiv(k.sum(k.get(count), k.lanes - 1), I64(k.lanes))
        k.set(next_group, k.b.add(k.get(next_group), groups))
    k.b.store(k.b.trunc(k.get(next_group), I32), k.b.gep(starts, [n]))
    k.done()
    return k


def _molecules(k: Kernel, parts: list[Kernel]) -> Kernel:
    """Energies and forces of systems `begin` to `end`, each with all its pairs."""
    positions, forces, species = (k.slot(name) for name in ("positions", "forces", "all_species"))
    double = ir.DoubleType()
    with k.loop(k.begin, k.end) as system:
        first = k.load(k.pointer("starts", I64), system)
        count = k.b.sub(k.load(k.pointer("starts", I64), k.sum(system, 1)), first)
        k.set_slot("atoms", count)
        k.set_slot("species", k.sum(species, (first, 4)))
        k.set_slot("positions", k.sum(positions, (first, 3 * k.size)))
        k.set_slot("forces", k.sum(forces, (first, 3 * k.size)))
        for part in parts:
            k.call(part, 0, count)
        total = k.variable(ir.Constant(double, 0.0))
        own = k.b.inttoptr(k.sum(species, (first, 4)), I32.as_pointer())
        with k.loop(0, count) as atom:
            element = k.b.sext(k.b.load(k.b.gep(own, [atom])), I64)
            energy = k.load(k.pointer("energy"), atom)
            if not k.double:
                energy = k.b.fpext(energy, double)
            energy = k.b.fadd(energy, k.load(k.pointer("atomic_energy", double), element))
            k.set(total, k.b.fadd(k.get(total), energy))
        k.store(k.get(total), k.pointer("energies", double), system)
    for name, value in (("positions", positions), ("forces", forces)):
        k.set_slot(name, value)
    k.done()
    return k


def sizes(shape: Shape) -> dict[str, int]:
    """Number of reals per atom of each array."""
    C = shape.channels
    result = {"energy": 1, "hidden": shape.hidden or 1}
    widest = max(len(layer.monomials) for layer in shape.layers)
    result |= {"products": widest * C, "by_products": widest * C}
    for t, layer in enumerate(shape.layers):
        result[f"a{t}"] = shape.harmonics * C
        if t:
            width = components(layer.input_order) * C
            result |= {f"x{t}": width, f"dx{t}": width, f"m{t}": layer.messages * C}
    return result


def bits(value: float) -> int:
    """The bits of a double, for a slot."""
    return int(np.array(value, dtype=np.float64).view(np.int64))
