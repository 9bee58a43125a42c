"""Compiled sweeps over the pairs of a batch and over its atoms: MACE's convolution and its product of features.

Every array of floats is a matrix with the channels in its columns, so that the innermost loops fill vector registers:

- features: row `component * n_atoms + atom`;
- messages: for one order l after the other, row `(k * n_atoms + atom) * n_paths + path` of the paths to that order;
- radial functions: row `pair * n_paths + path`.

`_tangent` means the derivative of a quantity along a given change of the geometry. `_gradient` is the gradient of the
sum of the energies, `_total` that of the quantity whose gradient by the weights is wanted; see `sweeps`. Each has the
shape of the quantity itself.
"""

from __future__ import annotations

import numpy as np

from physembed.numba_kernels import Array, compiled


@compiled
def convolve(
    features: Array,
    mixing: Array,
    radial: Array,
    first: Array,
    second: Array,
    n_atoms: int,
    paths: Array,
    signs: Array,
    out: Array,
) -> None:
    """Add the messages of all pairs, in both directions.

    Args:
        features: see above.
        mixing: (n_pairs, n_slots) Clebsch-Gordan coefficients times spherical harmonics, from the first atom to the
            second.
        radial: see above.
        first: (n_pairs,) atom.
        second: (n_pairs,) atom.
        n_atoms: number of atoms.
        paths: (n_paths, 7) see `plan.Convolution`.
        signs: (2, n_paths) factors on the harmonics of the two directions.
        out: messages.
    """
    n_paths, n_channels = len(paths), features.shape[1]
    part = np.empty(n_channels, features.dtype)
    for pair in range(len(first)):
        for way in range(2):
            sender, receiver = (first[pair], second[pair]) if way == 0 else (second[pair], first[pair])
            for path in range(n_paths):
                slot, d_in, d_out = paths[path, 0], paths[path, 1], paths[path, 2]
                component, base, n_beside, place = paths[path, 3], paths[path, 4], paths[path, 5], paths[path, 6]
                sign, r = signs[way, path], radial[pair * n_paths + path]
                for k in range(d_out):
                    o = out[(base + k * n_beside) * n_atoms + receiver * n_beside + place]
                    f = features[component * n_atoms + sender]
                    weight = sign * mixing[pair, slot + k * d_in]
                    if d_in == 1:
                        for c in range(n_channels):
                            o[c] += r[c] * (weight * f[c])
                        continue
                    for c in range(n_channels):
                        part[c] = weight * f[c]
                    for i in range(1, d_in):
                        weight = sign * mixing[pair, slot + k * d_in + i]
                        f = features[(component + i) * n_atoms + sender]
                        for c in range(n_channels):
                            part[c] += weight * f[c]
                    for c in range(n_channels):
                        o[c] += r[c] * part[c]


@compiled
def convolve_gradient(
    features: Array,
    mixing: Array,
    radial: Array,
    first: Array,
    second: Array,
    n_atoms: int,
    paths: Array,
    signs: Array,
    out_gradient: Array,
    features_gradient: Array,
    mixing_gradient: Array,
    radial_gradient: Array,
) -> None:
    """Gradients by the features (added to), the mixing (set) and the radial functions (set), from that by `out`."""
    n_paths, n_channels = len(paths), features.shape[1]
    part, pull = np.empty(n_channels, features.dtype), np.empty(n_channels, features.dtype)
    radial_gradient[:] = 0
    mixing_gradient[:] = 0
    for pair in range(len(first)):
        for way in range(2):
            sender, receiver = (first[pair], second[pair]) if way == 0 else (second[pair], first[pair])
            for path in range(n_paths):
                slot, d_in, d_out = paths[path, 0], paths[path, 1], paths[path, 2]
                component, base, n_beside, place = paths[path, 3], paths[path, 4], paths[path, 5], paths[path, 6]
                sign, r = signs[way, path], radial[pair * n_paths + path]
                r_gradient = radial_gradient[pair * n_paths + path]
                for k in range(d_out):
                    o_gradient = out_gradient[(base + k * n_beside) * n_atoms + receiver * n_beside + place]
                    for c in range(n_channels):
                        pull[c] = o_gradient[c] * r[c]
                        part[c] = 0
                    for i in range(d_in):
                        f = features[(component + i) * n_atoms + sender]
                        f_gradient = features_gradient[(component + i) * n_atoms + sender]
                        weight = sign * mixing[pair, slot + k * d_in + i]
                        total = features.dtype.type(0)
                        for c in range(n_channels):
                            total += pull[c] * f[c]
                        mixing_gradient[pair, slot + k * d_in + i] += sign * total
                        for c in range(n_channels):
                            part[c] += weight * f[c]
                        for c in range(n_channels):
                            f_gradient[c] += weight * pull[c]
                    for c in range(n_channels):
                        r_gradient[c] += o_gradient[c] * part[c]


@compiled
def convolve_tangent(
    features: Array,
    mixing: Array,
    radial: Array,
    features_tangent: Array,
    mixing_tangent: Array,
    radial_tangent: Array,
    first: Array,
    second: Array,
    n_atoms: int,
    paths: Array,
    signs: Array,
    out: Array,
) -> None:
    """Add the tangents of the messages."""
    n_paths, n_channels = len(paths), features.shape[1]
    part, change = np.empty(n_channels, features.dtype), np.empty(n_channels, features.dtype)
    for pair in range(len(first)):
        for way in range(2):
            sender, receiver = (first[pair], second[pair]) if way == 0 else (second[pair], first[pair])
            for path in range(n_paths):
                slot, d_in, d_out = paths[path, 0], paths[path, 1], paths[path, 2]
                component, base, n_beside, place = paths[path, 3], paths[path, 4], paths[path, 5], paths[path, 6]
                sign, r = signs[way, path], radial[pair * n_paths + path]
                r_tangent = radial_tangent[pair * n_paths + path]
                for k in range(d_out):
                    o = out[(base + k * n_beside) * n_atoms + receiver * n_beside + place]
                    for c in range(n_channels):
                        part[c] = 0
                        change[c] = 0
                    for i in range(d_in):
                        f = features[(component + i) * n_atoms + sender]
                        f_tangent = features_tangent[(component + i) * n_atoms + sender]
                        weight = sign * mixing[pair, slot + k * d_in + i]
                        weight_tangent = sign * mixing_tangent[pair, slot + k * d_in + i]
                        for c in range(n_channels):
                            part[c] += weight * f[c]
                            change[c] += weight * f_tangent[c] + weight_tangent * f[c]
                    for c in range(n_channels):
                        o[c] += r[c] * change[c] + r_tangent[c] * part[c]


@compiled
def convolve_total(
    features: Array,
    mixing: Array,
    radial: Array,
    features_tangent: Array,
    mixing_tangent: Array,
    radial_tangent: Array,
    first: Array,
    second: Array,
    n_atoms: int,
    paths: Array,
    signs: Array,
    out_gradient: Array,
    out_total: Array,
    features_total: Array,
    radial_total: Array,
) -> None:
    """Totals by the features (added to) and by the radial functions (set)."""
    n_paths, n_channels = len(paths), features.shape[1]
    part, change = np.empty(n_channels, features.dtype), np.empty(n_channels, features.dtype)
    pull, pull_total = np.empty(n_channels, features.dtype), np.empty(n_channels, features.dtype)
    radial_total[:] = 0
    for pair in range(len(first)):
        for way in range(2):
            sender, receiver = (first[pair], second[pair]) if way == 0 else (second[pair], first[pair])
            for path in range(n_paths):
                slot, d_in, d_out = paths[path, 0], paths[path, 1], paths[path, 2]
                component, base, n_beside, place = paths[path, 3], paths[path, 4], paths[path, 5], paths[path, 6]
                sign, r = signs[way, path], radial[pair * n_paths + path]
                r_tangent, r_total = radial_tangent[pair * n_paths + path], radial_total[pair * n_paths + path]
                for k in range(d_out):
                    row = (base + k * n_beside) * n_atoms + receiver * n_beside + place
                    o_gradient, o_total = out_gradient[row], out_total[row]
                    for c in range(n_channels):
                        pull[c] = o_gradient[c] * r[c]
                        pull_total[c] = o_total[c] * r[c] + o_gradient[c] * r_tangent[c]
                        part[c] = 0
                        change[c] = 0
                    for i in range(d_in):
                        f = features[(component + i) * n_atoms + sender]
                        f_tangent = features_tangent[(component + i) * n_atoms + sender]
                        f_total = features_total[(component + i) * n_atoms + sender]
                        weight = sign * mixing[pair, slot + k * d_in + i]
                        weight_tangent = sign * mixing_tangent[pair, slot + k * d_in + i]
                        for c in range(n_channels):
                            part[c] += weight * f[c]
                            change[c] += weight * f_tangent[c] + weight_tangent * f[c]
                        for c in range(n_channels):
                            f_total[c] += weight * pull_total[c] + weight_tangent * pull[c]
                    for c in range(n_channels):
                        r_total[c] += o_total[c] * part[c] + o_gradient[c] * change[c]


@compiled
def _take(rows: Array, n_atoms: int, atom: int, out: Array) -> None:
    """The components of one atom."""
    for i in range(len(rows) // n_atoms):
        row = rows[i * n_atoms + atom]
        for c in range(rows.shape[1]):
            out[i, c] = row[c]


@compiled
def _give(values: Array, n_atoms: int, atom: int, rows: Array) -> None:
    """Set the components of one atom."""
    for i in range(len(rows) // n_atoms):
        row = rows[i * n_atoms + atom]
        for c in range(rows.shape[1]):
            row[c] = values[i, c]


@compiled
def contract(features: Array, coefficients: Array, element: Array, terms: Array, out: Array) -> None:
    """Products of features: out = sum over its terms of a coefficient times up to three components of an atom.

    Args:
        features: see above.
        coefficients: (n_elements, n_terms, n_channels).
        element: (n_atoms,).
        terms: (n_terms, 4) component of the result and those of the three factors; n_components for the factor 1.
        out: like features, set.
    """
    n_atoms, n_channels = len(element), features.shape[1]
    a = np.ones((len(features) // n_atoms + 1, n_channels), features.dtype)
    result = np.empty((len(out) // n_atoms, n_channels), features.dtype)
    for atom in range(n_atoms):
        _take(features, n_atoms, atom, a)
        result[:] = 0
        for term in range(len(terms)):
            o, factor = result[terms[term, 0]], coefficients[element[atom], term]
            x, y, z = a[terms[term, 1]], a[terms[term, 2]], a[terms[term, 3]]
            for c in range(n_channels):
                o[c] += factor[c] * x[c] * y[c] * z[c]
        _give(result, n_atoms, atom, out)


@compiled
def contract_gradient(
    features: Array, coefficients: Array, element: Array, terms: Array, out_gradient: Array, features_gradient: Array
) -> None:
    """Gradient by the features (set) from that by the products."""
    n_atoms, n_channels = len(element), features.shape[1]
    one = len(features) // n_atoms
    a = np.ones((one + 1, n_channels), features.dtype)
    a_gradient, pull = np.empty_like(a), np.empty(n_channels, features.dtype)
    result = np.empty((len(out_gradient) // n_atoms, n_channels), features.dtype)
    for atom in range(n_atoms):
        _take(features, n_atoms, atom, a)
        _take(out_gradient, n_atoms, atom, result)
        a_gradient[:] = 0
        for term in range(len(terms)):
            i, j, k = terms[term, 1], terms[term, 2], terms[term, 3]
            o, factor, x, y, z = result[terms[term, 0]], coefficients[element[atom], term], a[i], a[j], a[k]
            # One row is written at a time, so that loops fill vector registers where two factors are the same too.
            row = a_gradient[i]
            for c in range(n_channels):
                pull[c] = factor[c] * o[c]
            for c in range(n_channels):
                row[c] += pull[c] * (y[c] * z[c])
            if j != one:
                row = a_gradient[j]
                for c in range(n_channels):
                    row[c] += pull[c] * (x[c] * z[c])
            if k != one:
                row = a_gradient[k]
                for c in range(n_channels):
                    row[c] += pull[c] * (x[c] * y[c])
        _give(a_gradient, n_atoms, atom, features_gradient)


@compiled
def contract_tangent(
    features: Array, features_tangent: Array, coefficients: Array, element: Array, terms: Array, out: Array
) -> None:
    """Tangents of the products (set)."""
    n_atoms, n_channels = len(element), features.shape[1]
    a = np.ones((len(features) // n_atoms + 1, n_channels), features.dtype)
    b = np.zeros_like(a)
    result = np.empty((len(out) // n_atoms, n_channels), features.dtype)
    for atom in range(n_atoms):
        _take(features, n_atoms, atom, a)
        _take(features_tangent, n_atoms, atom, b)
        result[:] = 0
        for term in range(len(terms)):
            i, j, k = terms[term, 1], terms[term, 2], terms[term, 3]
            o, factor = result[terms[term, 0]], coefficients[element[atom], term]
            x, y, z, dx, dy, dz = a[i], a[j], a[k], b[i], b[j], b[k]
            for c in range(n_channels):
                o[c] += factor[c] * (dx[c] * y[c] * z[c] + x[c] * (dy[c] * z[c] + y[c] * dz[c]))
        _give(result, n_atoms, atom, out)


@compiled
def contract_total(
    features: Array,
    features_tangent: Array,
    coefficients: Array,
    element: Array,
    terms: Array,
    out_gradient: Array,
    out_total: Array,
    features_total: Array,
    coefficients_total: Array,
) -> None:
    """Totals by the features (set) and by the coefficients (added to)."""
    n_atoms, n_channels = len(element), features.shape[1]
    one = len(features) // n_atoms
    a = np.ones((one + 1, n_channels), features.dtype)
    b, a_total = np.zeros_like(a), np.empty_like(a)
    pull, pull_total = np.empty(n_channels, features.dtype), np.empty(n_channels, features.dtype)
    gradient = np.empty((len(out_total) // n_atoms, n_channels), features.dtype)
    total = np.empty_like(gradient)
    for atom in range(n_atoms):
        _take(features, n_atoms, atom, a)
        _take(features_tangent, n_atoms, atom, b)
        _take(out_gradient, n_atoms, atom, gradient)
        _take(out_total, n_atoms, atom, total)
        a_total[:] = 0
        for term in range(len(terms)):
            i, j, k = terms[term, 1], terms[term, 2], terms[term, 3]
            g, t, factor = gradient[terms[term, 0]], total[terms[term, 0]], coefficients[element[atom], term]
            x, y, z, dx, dy, dz = a[i], a[j], a[k], b[i], b[j], b[k]
            factor_total = coefficients_total[element[atom], term]
            for c in range(n_channels):
                change = dx[c] * y[c] * z[c] + x[c] * (dy[c] * z[c] + y[c] * dz[c])
                factor_total[c] += t[c] * (x[c] * y[c] * z[c]) + g[c] * change
            for c in range(n_channels):
                pull[c] = factor[c] * g[c]
                pull_total[c] = factor[c] * t[c]
            row = a_total[i]
            for c in range(n_channels):
                row[c] += pull_total[c] * (y[c] * z[c]) + pull[c] * (dy[c] * z[c] + y[c] * dz[c])
            if j != one:
                row = a_total[j]
                for c in range(n_channels):
                    row[c] += pull_total[c] * (x[c] * z[c]) + pull[c] * (dx[c] * z[c] + x[c] * dz[c])
            if k != one:
                row = a_total[k]
                for c in range(n_channels):
                    row[c] += pull_total[c] * (x[c] * y[c]) + pull[c] * (dx[c] * y[c] + x[c] * dy[c])
        _give(a_total, n_atoms, atom, features_total)


@compiled
def activate(x: Array, sigmoid: Array, factor: float, value: Array, slope: Array) -> None:
    """SiLU times `factor` and its slope at flat `x`, given the sigmoid of it."""
    f, one = x.dtype.type(factor), x.dtype.type(1)
    for i in range(len(x)):
        s = sigmoid[i]
        value[i] = f * x[i] * s
        slope[i] = f * s * (one + x[i] * (one - s))


@compiled
def activate_total(
    x: Array, sigmoid: Array, factor: float, slope: Array, tangent: Array, gradient: Array, total: Array
) -> None:
    """Turn the total by the value of SiLU, in place, into that by its argument.

    Args:
        x: flat argument.
        sigmoid: of it.
        factor: on SiLU.
        slope: of it.
        tangent: of `x`.
        gradient: by the value.
        total: by the value; by `x` afterwards.
    """
    f, one, two = x.dtype.type(factor), x.dtype.type(1), x.dtype.type(2)
    for i in range(len(x)):
        s = sigmoid[i]
        curvature = f * s * (one - s) * (two + x[i] * (one - two * s))
        total[i] = slope[i] * total[i] + curvature * tangent[i] * gradient[i]
