"""The parameters of a model in the layout of its kernels, for the elements that are present."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from physembed.engine.compiled import contraction, linear
from physembed.engine.compiled.radial import coefficients, intervals_for
from physembed.engine.compiled.shape import LayerShape, Path, Shape
from physembed.engine.compiled.tables import Repulsion, Tables, UnsupportedModelError

BOUNDS = {False: (2e-7, 1e-6), True: (1e-11, 1e-10)}
"""Error bounds of the radial tables for value and derivative, in float32 and in float64."""


def shape_of(tables: Tables, double: bool, vector_bytes: int) -> Shape:
    """The shape of a model, on which its code depends."""
    lanes = vector_bytes // (8 if double else 4)
    # Models with few channels do not fill a wide register.
    while lanes > 4 and lanes // 2 >= tables.channels:
        lanes //= 2
    layers = []
    for t, layer in enumerate(tables.layers):
        paths = layer.paths if t else [Path(0, path.l2, path.l3, ()) for path in layer.paths]
        layers.append(
            LayerShape(
                paths=tuple(paths),
                input_order=len(layer.up) - 1,
                output_order=layer.output_order,
                monomials=tuple(tuple(monomials) for monomials in layer.monomials),
                mix_by_element=layer.mix_by_element and t > 0,
            )
        )
    last = [readout for readout in tables.readouts if readout.second is not None]
    return Shape(
        double=double,
        lanes=lanes,
        channels=_padded(tables.channels, lanes),
        order=tables.order,
        layers=tuple(layers),
        hidden=_padded(last[0].first.shape[1], lanes) if last else 0,
        gate=last[0].gate if last else "none",
        repulsion=tables.repulsion.power if tables.repulsion else 0,
    )


def _padded(size: int, lanes: int) -> int:
    return -(-size // lanes) * lanes


class Packed:
    """Arrays of the kernels, by the names of their slots.

    Args:
        tables: the model.
        shape: its shape.
        present: indices of the elements for which the arrays are created.
    """

    def __init__(self, tables: Tables, shape: Shape, present: Sequence[int]) -> None:
        self._tables, self._shape, self._present = tables, shape, list(present)
        self._real = np.float64 if shape.double else np.float32
        self.arrays: dict[str, np.ndarray] = {}
        try:
            self.intervals = max(intervals_for(layer.radial, *BOUNDS[shape.double]) for layer in tables.layers)
        except ValueError as error:
            raise UnsupportedModelError(str(error)) from error
        self.receiver_stride = 0
        self._first_table()
        for t in range(1, len(tables.layers)):
            self._table(t)
            self._mix(t)
        for t, layer in enumerate(shape.layers):
            self._coefficients(t, layer)
        self._features()
        if tables.repulsion:
            self._repulsion(tables.repulsion)
        energies = tables.atomic_energies_eV[self._present]
        self.arrays["atomic_energy"] = aligned(energies.astype(np.float64))

    def _store(self, name: str, values: np.ndarray) -> None:
        self.arrays[name] = aligned(np.ascontiguousarray(values, dtype=self._real))

    def _wide(self, values: np.ndarray, *axes: int) -> np.ndarray:
        """Pad with zeros for the channels that complete the last vector."""
        width = [(0, 0)] * values.ndim
        for axis in axes:
            width[axis] = (0, self._shape.channels - values.shape[axis])
        return np.pad(values, width)

    def _blocks(self, values: np.ndarray) -> np.ndarray:
        """(..., n, channels) as (..., blocks, n, lanes)."""
        shape = self._shape
        values = self._wide(values, values.ndim - 1)
        return np.moveaxis(values.reshape(*values.shape[:-1], shape.blocks, shape.lanes), -2, -3)

    def _first_table(self) -> None:
        """Tables of the first layer, including the features of the sender and the matrices after the sum."""
        layer = self._tables.layers[0]
        table = coefficients(layer.radial, self.intervals) * layer.factors[:, None]
        senders = (self._tables.embedding @ layer.up[0])[self._present]
        merged = []
        for receiver in self._present if layer.mix_by_element else [None]:
            for sender in senders:
                parts = []
                for order, matrix in enumerate(layer.mix):
                    matrix = matrix if receiver is None else matrix[receiver]
                    parts.append((table[:, order] * sender) @ matrix[0])
                merged.append(np.stack(parts, 1))
        self.receiver_stride = len(senders) if layer.mix_by_element else 0
        self._store_table(0, np.stack(merged))

    def _table(self, t: int) -> None:
        layer = self._tables.layers[t]
        self._store_table(t, (coefficients(layer.radial, self.intervals) * layer.factors[:, None])[None])

    def _store_table(self, t: int, table: np.ndarray) -> None:
        """(tables, rows, paths, channels) as (tables, blocks, rows, paths, lanes)."""
        shape = self._shape
        table = self._wide(table, 3)
        split = table.reshape(*table.shape[:3], shape.blocks, shape.lanes)
        self._store(f"table{t}", np.moveaxis(split, 3, 1))

    def _mix(self, t: int) -> None:
        layer, shape = self._tables.layers[t], self._shape.layers[t]
        for order, matrix in enumerate(layer.mix):
            # (elements, paths, in, out)
            matrix = matrix[self._present] if layer.mix_by_element else matrix[None]
            matrix = self._wide(matrix, 2, 3)
            count, paths, width, _ = matrix.shape
            self._store(
                f"mix{t}_{order}", linear.packed(matrix.reshape(count, paths * width, width), self._shape.lanes)
            )
            signs = np.array([(-1.0) ** shape.paths[path].l2 for path in shape.paths_to(order)])
            back = (matrix * signs[:, None, None]).transpose(0, 3, 1, 2).reshape(count, width, paths * width)
            self._store(f"mixback{t}_{order}", linear.packed(back, self._shape.lanes))

    def _coefficients(self, t: int, layer: LayerShape) -> None:
        given = self._tables.layers[t]
        places = {
            (monomial, at): (at, index)
            for at, monomials in enumerate(layer.monomials)
            for index, monomial in enumerate(monomials)
        }
        ordered = [places[term] for term in contraction.terms(layer)]
        rows = [given.coefficients[at][self._present, index] for at, index in ordered]
        self._store(f"coefficients{t}", self._blocks(np.stack(rows, 1)))

    def _features(self) -> None:
        """Matrices from the products of each layer to the inputs of later layers and of the readouts.

        The features after layer t are h[t + 1] = B[t] linear[t] + h[t] skip[t]. Hence h is a sum over earlier
        products, with matrices that depend on the element if they include a skip, plus an element-dependent constant.
        """
        tables, present = self._tables, self._present
        scale, count = tables.scale, len(present)
        constant = tables.embedding[present]
        matrices: dict[tuple[int, int], np.ndarray] = {}
        """By earlier layer and L: (elements or 1, channels, channels)."""
        dots = [np.zeros((count, tables.channels)) for _ in tables.layers]
        energy = np.full(count, tables.shift)
        readouts = {readout.layer: readout for readout in tables.readouts}
        for t, layer in enumerate(tables.layers):
            orders = range(layer.output_order + 1)
            skip = layer.skip
            matrices = {
                (before, order): matrix @ skip[order][present]
                for (before, order), matrix in matrices.items()
                if skip is not None and order < len(skip)
            }
            constant = np.zeros_like(constant) if skip is None else np.einsum("ec,ecd->ed", constant, skip[0][present])
            matrices |= {(t, order): layer.linear[order][None] for order in orders}
            if t + 1 < len(tables.layers):
                self._into_layer(t + 1, matrices, constant)
            readout = readouts.get(t)
            if readout is None:
                continue
            if readout.second is None:
                weight = scale * readout.first[:, 0]
                for before in range(t + 1):
                    if (before, 0) in matrices:
                        dots[before] += np.broadcast_to(matrices[before, 0] @ weight, dots[before].shape)
                energy += constant @ weight
            else:
                self._into_readout(matrices, constant, readout.first, scale * readout.factor * readout.second)
        for t, dot in enumerate(dots):
            self._store(f"dot{t}", self._wide(dot, 1))
        self._store("energy_constant", energy)

    def _into_layer(self, t: int, matrices: dict[tuple[int, int], np.ndarray], constant: np.ndarray) -> None:
        up, lanes = self._tables.layers[t].up, self._shape.lanes
        zero = np.zeros((len(self._present), self._tables.channels, self._tables.channels))
        for before in range(t):
            for order in range(self._shape.layers[before].output_order + 1):
                if order >= len(up):
                    continue
                matrix = matrices.get((before, order), zero) @ up[order]
                if before < t - 1:
                    matrix = np.broadcast_to(matrix, zero.shape)
                matrix = self._wide(matrix, 1, 2)
                self._store(f"feature{t}_{before}_{order}", linear.packed(matrix, lanes))
                self._store(f"featureback{t}_{before}_{order}", linear.packed(matrix.transpose(0, 2, 1), lanes))
        self._store(f"constant{t}", self._wide(constant @ up[0], 1))

    def _into_readout(
        self, matrices: dict[tuple[int, int], np.ndarray], constant: np.ndarray, first: np.ndarray, second: np.ndarray
    ) -> None:
        shape, last = self._shape, len(self._tables.layers) - 1
        missing = shape.hidden - first.shape[1]
        first, second = np.pad(first, ((0, 0), (0, missing))), np.pad(second, (0, missing))
        zero = np.zeros((len(self._present), self._tables.channels, shape.hidden))
        for before in range(last + 1):
            found = matrices.get((before, 0))
            matrix = zero if found is None else found @ first
            if before < last:
                matrix = np.broadcast_to(matrix, zero.shape)
            matrix = self._wide(matrix, 1)
            self._store(f"tohidden{before}", linear.packed(matrix, shape.lanes))
            self._store(f"tohiddenback{before}", linear.packed(matrix.transpose(0, 2, 1), shape.lanes))
        self._store("hidden_constant", constant @ first)
        self._store("second", second)

    def _repulsion(self, zbl: Repulsion) -> None:
        """Parameters of each pair of elements; the charges include the scale of the model."""
        charges = np.array(self._tables.numbers, dtype=float)[self._present]
        radii = zbl.radii_A[self._present]
        powers = charges**zbl.a_exp
        self._store("repulsion_cutoff", 1 / np.add.outer(radii, radii))
        self._store("repulsion_length", np.add.outer(powers, powers) / (zbl.a_prefactor * 0.529))
        self._store("repulsion_charge", 0.5 * 14.3996 * self._tables.scale * np.outer(charges, charges))
        self._store("repulsion_weights", np.pad(zbl.c, (0, self._shape.lanes - len(zbl.c))))


def address(array: np.ndarray) -> int:
    """Address of an array. (`array.ctypes` creates a reference cycle at each use.)"""
    return int(array.__array_interface__["data"][0])


def aligned(values: np.ndarray) -> np.ndarray:
    """A copy aligned to 64 bytes."""
    result = empty(values.size, values.dtype).reshape(values.shape)
    result[...] = values
    return result


def empty(size: int, dtype: np.dtype | type) -> np.ndarray:
    """An array of zeros aligned to 64 bytes."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + 64, dtype=np.uint8)
    start = -address(raw) % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)
