"""Code of the geometry of edges that messages need, for as many edges at once as a vector has lanes.

For each edge: the spherical harmonics of its direction, its interval in the radial tables, and the weights of the
coefficients there for value and derivative. Groups of edges are stored component by component.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from physembed.engine.compiled.emit import I32, Kernel
from physembed.engine.compiled.radial import BASIS, DEGREE
from physembed.engine.compiled.shape import Shape

Polynomial = dict[tuple[int, int, int], float]
"""Coefficients by powers of x, y and z."""


def _product(*factors: Polynomial) -> Polynomial:
    total: Polynomial = {(0, 0, 0): 1.0}
    for factor in factors:
        new: Polynomial = {}
        for (a, b, c), one in total.items():
            for (d, e, f), other in factor.items():
                power = (a + d, b + e, c + f)
                new[power] = new.get(power, 0.0) + one * other
        total = new
    return total


def _sum(*terms: tuple[float, Polynomial]) -> Polynomial:
    total: Polynomial = {}
    for factor, polynomial in terms:
        for power, value in polynomial.items():
            total[power] = total.get(power, 0.0) + factor * value
    return {power: value for power, value in total.items() if value}


def harmonics(order: int) -> list[Polynomial]:
    """Real spherical harmonics up to l = 3 in the order and sign of e3nn, normalised so that squares sum to 2 l + 1."""
    x, y, z = ({(1, 0, 0): 1.0}, {(0, 1, 0): 1.0}, {(0, 0, 1): 1.0})
    yy, rest = _product(y, y), _sum((1.0, _product(x, x)), (1.0, _product(z, z)))
    s3 = np.sqrt(3.0)
    d0, d1, d3 = (_sum((s3, _product(*pair))) for pair in ((x, z), (x, y), (y, z)))
    d2 = _sum((1.0, yy), (-0.5, rest))
    d4 = _sum((s3 / 2, _product(z, z)), (-s3 / 2, _product(x, x)))
    ring, s56, s5, s38 = _sum((4.0, yy), (-1.0, rest)), np.sqrt(5 / 6), np.sqrt(5.0), np.sqrt(3 / 8)
    f = [
        _sum((s56, _product(d0, z)), (s56, _product(d4, x))),
        _sum((s5, _product(d0, y))),
        _sum((s38, _product(ring, x))),
        _sum((0.5, _product(y, _sum((2.0, yy), (-3.0, rest))))),
        _sum((s38, _product(z, ring))),
        _sum((s5, _product(d4, y))),
        _sum((s56, _product(d4, z)), (-s56, _product(d0, x))),
    ]
    by_order = [[{(0, 0, 0): 1.0}], [x, y, z], [d0, d1, d2, d3, d4], f]
    return [
        _sum((np.sqrt(2 * degree + 1), polynomial))
        for degree, polynomials in enumerate(by_order[: order + 1])
        for polynomial in polynomials
    ]


class Layout:
    """Positions of the reals of a group of edges, as multiples of the lanes."""

    def __init__(self, shape: Shape) -> None:
        self.harmonics = 0
        self.weights = shape.harmonics
        self.slopes = self.weights + DEGREE + 1
        self.direction = self.slopes + DEGREE + 1
        self.inverse = self.direction + 3
        self.width = self.inverse + 1


def _powers(k: Kernel, unit: tuple[Any, Any, Any], order: int) -> dict[tuple[int, int, int], Any]:
    powers: dict[tuple[int, int, int], Any] = {}
    for degree in range(1, order + 1):
        for a in range(degree, -1, -1):
            for b in range(degree - a, -1, -1):
                power = (a, b, degree - a - b)
                axis = next(axis for axis in range(3) if power[axis])
                lower = tuple(value - (at == axis) for at, value in enumerate(power))
                powers[power] = k.mul(powers[lower], unit[axis]) if sum(lower) else unit[axis]  # type: ignore[index]
    return powers


def _evaluated(k: Kernel, polynomial: Polynomial, powers: dict[tuple[int, int, int], Any]) -> Any:
    total = None
    for power, value in sorted(polynomial.items(), reverse=True):
        total = k.scaled(powers[power], value, total) if sum(power) else k.add(total, k.constant(value))
    return total


def emit_geometry(k: Kernel, shape: Shape, atom: Any) -> None:
    """Geometry of all groups of an atom."""
    layout = Layout(shape)
    first, last = k.index("first_group", atom), k.index("first_group", k.sum(atom, 1))
    with k.loop(first, last) as group:
        vector = k.at(k.pointer("vectors"), (group, 3 * k.lanes))
        x, y, z = (k.vload(vector, axis * k.lanes) for axis in range(3))
        square = k.fma(x, x, k.fma(y, y, k.mul(z, z)))
        r = k.sqrt(square)
        inverse = k.div(k.constant(1.0), r)
        unit = (k.mul(x, inverse), k.mul(y, inverse), k.mul(z, inverse))
        place = k.at(k.pointer("geometry"), (group, layout.width * k.lanes))
        powers = _powers(k, unit, shape.order)
        for index, polynomial in enumerate(harmonics(shape.order)):
            k.vstore(_evaluated(k, polynomial, powers), place, (layout.harmonics + index) * k.lanes)
        position = k.mul(r, k.splat(k.number("intervals_per_A")))
        # NaN is assigned to the first interval, where it makes the weights NaN.
        limit = k.splat(k.number("last_interval"))
        inside = k.b.select(k.b.fcmp_ordered(">=", position, k.zero), position, k.zero)
        inside = k.b.select(k.b.fcmp_ordered("<", inside, limit), inside, limit)
        interval = k.b.fptosi(inside, k.ivector)
        k.vstore(interval, k.pointer("interval", I32), k.sum((group, k.lanes)))
        t = k.sub(position, k.b.sitofp(interval, k.vector))
        for row, weights in enumerate(BASIS):
            value = _horner(k, weights, t)
            k.vstore(value, place, (layout.weights + row) * k.lanes)
            slope = _horner(k, np.polynomial.polynomial.polyder(weights), t)
            slope = k.mul(slope, k.splat(k.number("intervals_per_A")))
            k.vstore(slope, place, (layout.slopes + row) * k.lanes)
        for axis in range(3):
            k.vstore(unit[axis], place, (layout.direction + axis) * k.lanes)
        k.vstore(inverse, place, layout.inverse * k.lanes)


def _horner(k: Kernel, coefficients: np.ndarray, t: Any) -> Any:
    total = k.constant(float(coefficients[-1]))
    for value in coefficients[-2::-1]:
        total = k.fma(total, t, k.constant(float(value)))
    return total


def emit_gradient(k: Kernel, shape: Shape, atom: Any) -> None:
    """Gradient with respect to the edge vectors of an atom, from that with respect to distances and harmonics.

    With u = r / |r|: dE/dr = E_r u + (1 - u u^T) sum_lm E_lm grad Y_lm(u) / |r|.
    """
    layout, width = Layout(shape), shape.gradient_width
    first, last = k.index("first_group", atom), k.index("first_group", k.sum(atom, 1))
    with k.loop(first, last) as group:
        place = k.at(k.pointer("geometry"), (group, layout.width * k.lanes))
        rows = k.at(k.pointer("by_harmonics"), (group, k.lanes * width))
        by: list[Any] = []
        for part in range(width // k.lanes):
            by += k.transposed([k.vload(rows, edge * width + part * k.lanes) for edge in range(k.lanes)])
        unit = tuple(k.vload(place, (layout.direction + axis) * k.lanes) for axis in range(3))
        powers = _powers(k, unit, max(shape.order - 1, 0))
        gradient = [_gradient(k, shape, by, powers, axis) for axis in range(3)]
        along = k.dot(list(zip(gradient, unit, strict=True)))
        inverse = k.vload(place, layout.inverse * k.lanes)
        target = k.at(k.pointer("gradient"), (group, 3 * k.lanes))
        radial = k.sub(by[0], k.mul(along, inverse))
        for axis in range(3):
            value = k.fma(gradient[axis], inverse, k.mul(radial, unit[axis]))
            k.vstore(value, target, axis * k.lanes)


def _gradient(k: Kernel, shape: Shape, by: list[Any], powers: dict[tuple[int, int, int], Any], axis: int) -> Any:
    """One component of sum_lm E_lm grad Y_lm(u)."""
    factors: dict[tuple[int, int, int], Any] = {}
    for index, polynomial in enumerate(harmonics(shape.order)):
        for power, value in polynomial.items():
            if power[axis]:
                lower = tuple(one - (at == axis) for at, one in enumerate(power))
                factors[lower] = k.scaled(by[index], value * power[axis], factors.get(lower))  # type: ignore[index,arg-type]
    total = factors.pop((0, 0, 0), k.zero)
    for power in sorted(factors):
        total = k.fma(factors[power], powers[power], total)
    return total
