"""Radial functions of a MACE model and their tables: splines of degree 5 on a uniform grid.

The functions are R(r) = N(b(r) f(r)) with Bessel functions b, a polynomial cutoff f (neither is singular at r = 0)
and a network N without biases. A table contains the coefficients of B-splines, which are four times continuously
differentiable, on a grid from 0 to the cutoff; there is no lower limit of the distance. The number of intervals is
doubled until the errors of value and derivative between the nodes are below a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.interpolate import make_interp_spline

DEGREE = 5
"""Degree of the splines: the error is of sixth order, and the tables fit in the cache."""

FEWEST, MOST = 32, 8192
"""Smallest and largest number of intervals of a table."""

MARGIN = 24
"""Nodes beyond the ends, where the functions are continued, so that spline end conditions have no effect."""


@dataclass(frozen=True)
class NetworkLayer:
    """x -> factor silu(x W), or x W."""

    weight: np.ndarray
    factor: float | None
    """None without a gate."""


@dataclass(frozen=True)
class Radial:
    """Radial functions of one interaction."""

    r_max_A: float
    power: int
    frequencies: np.ndarray
    prefactor: float
    layers: Sequence[NetworkLayer]
    n_paths: int

    def __call__(self, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and derivatives at distances (n,) in Å: (n, n_paths, channels) each.

        Beyond the ends of the table the functions are continued, not truncated.
        """
        r = np.asarray(distances, dtype=float)[:, None]
        basis, basis_slope = _bessel(r, self.frequencies)
        p, x = self.power, r / self.r_max_A
        first, second, third = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
        cut = 1 - first * x**p + second * x ** (p + 1) - third * x ** (p + 2)
        cut_slope = (
            -first * p * x ** (p - 1) + second * (p + 1) * x**p - third * (p + 2) * x ** (p + 1)
        ) / self.r_max_A
        value = self.prefactor * basis * cut
        slope = self.prefactor * (basis_slope * cut + basis * cut_slope)
        for layer in self.layers:
            value, slope = value @ layer.weight, slope @ layer.weight
            if layer.factor is not None:
                sigmoid = 1 / (1 + np.exp(-value))
                slope = layer.factor * sigmoid * (1 + value * (1 - sigmoid)) * slope
                value = layer.factor * value * sigmoid
        shape = (len(r), self.n_paths, -1)
        return value.reshape(shape), slope.reshape(shape)


def _bessel(r: np.ndarray, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sin(w r) / r and its derivative, (n, n_frequencies)."""
    phase = frequencies * r
    near = np.abs(phase) < 1e-2
    safe = np.where(near, 1.0, r)
    square = phase**2
    value = np.where(near, frequencies * (1 - square / 6 * (1 - square / 20)), np.sin(phase) / safe)
    series = -(frequencies**3) * r / 3 * (1 - square / 10 * (1 - square / 28))
    slope = np.where(near, series, (frequencies * np.cos(phase) - np.sin(phase) / safe) / safe)
    return value, slope


def network(module: Any) -> list[NetworkLayer]:
    """Layers of e3nn's `FullyConnectedNet` with SiLU.

    Raises:
        ValueError: it is something else; the message completes a sentence.
    """
    if type(module).__name__ != "FullyConnectedNet":
        raise ValueError(f"its radial network is a {type(module).__name__}")
    layers = []
    for layer in module:
        weight = layer.weight.detach().cpu().double().numpy()
        if layer.act is None:
            layers.append(NetworkLayer(weight / np.sqrt(layer.h_in * layer.var_in / layer.var_out), None))
            continue
        function = layer.act.f
        if function is not torch.nn.functional.silu and type(function).__name__ != "SiLU":
            raise ValueError("the gate of its radial network is not SiLU")
        factor = (1.0 if layer.act._is_id else layer.act.cst) * np.sqrt(layer.var_out)
        layers.append(NetworkLayer(weight / np.sqrt(layer.h_in * layer.var_in), float(factor)))
    return layers


def basis(t: np.ndarray) -> np.ndarray:
    """The six B-splines that are non-zero at a fraction t (n,) of an interval, (6, n)."""
    return np.stack([np.polynomial.polynomial.polyval(t, row) for row in BASIS])


BASIS = (
    np.array(
        [
            [1, -5, 10, -10, 5, -1],
            [26, -50, 20, 20, -20, 5],
            [66, 0, -60, 0, 30, -10],
            [26, 50, 20, -20, -20, 10],
            [1, 5, 10, 10, 5, -5],
            [0, 0, 0, 0, 0, 1],
        ]
    )
    / 120.0
)
"""Coefficients of t^0 to t^5 of these B-splines (L. L. Schumaker, Spline Functions: Basic Theory, 4.4)."""


def coefficients(radial: Radial, intervals: int) -> np.ndarray:
    """Coefficients (intervals + 5, n_paths, channels): interval i from i h to (i + 1) h uses those from i to i + 5."""
    nodes = np.arange(-MARGIN, intervals + MARGIN + 1) * (radial.r_max_A / intervals)
    values, _ = radial(nodes)
    spline = make_interp_spline(nodes, values.reshape(len(nodes), -1), k=DEGREE)
    # make_interp_spline omits the nodes next to the ends; the interval that begins at node i uses i - 2 to i + 3.
    return spline.c[MARGIN - 2 : MARGIN + intervals + 3].reshape(-1, *values.shape[1:])


def intervals_for(radial: Radial, value_bound: float, slope_bound: float) -> int:
    """Number of intervals for which the error is below a bound.

    Args:
        radial: the functions.
        value_bound: error of the value of a function relative to the largest value of all functions of its path.
        slope_bound: the same for the derivative.

    Raises:
        ValueError: the largest table is not sufficient; the message completes a sentence.
    """
    count = FEWEST
    while count <= MOST:
        if _within(radial, count, value_bound, slope_bound):
            return count
        count *= 2
    raise ValueError(f"a table of {MOST} intervals does not resolve its radial functions")


def _within(radial: Radial, count: int, value_bound: float, slope_bound: float) -> bool:
    table = coefficients(radial, count)
    h = radial.r_max_A / count
    first = np.arange(count)
    slopes = np.stack([np.polynomial.polynomial.polyder(row) for row in BASIS])
    largest, largest_slope = (np.abs(values).max((0, 2)) for values in radial(first * h))
    for t in (0.15, 0.5, 0.85):
        value, slope = radial((first + t) * h)
        weights = basis(np.array([t]))[:, 0]
        weights_slope = np.array([np.polynomial.polynomial.polyval(t, row) for row in slopes]) / h
        found = sum(weights[k] * table[first + k] for k in range(DEGREE + 1))
        found_slope = sum(weights_slope[k] * table[first + k] for k in range(DEGREE + 1))
        if (np.abs(found - value).max((0, 2)) > value_bound * largest).any():
            return False
        if (np.abs(found_slope - slope).max((0, 2)) > slope_bound * largest_slope).any():
            return False
    return True
