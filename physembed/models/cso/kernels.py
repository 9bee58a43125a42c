"""Compiled loops of the CSO correction over the pairs of a kept list; `energy` has the equations.

The atoms of each system are dealt out to a fixed number of chunks, each with places of its own for what it adds to
other atoms, so that threads can share the chunks, and no sum depends on how they do or on what else is in the batch.
The pairs of an atom stand together, those with partners of one element after another, so that most of what a pair needs
is constant in the innermost loops, which fill vector registers.

Distances in tables of pairs are in Å, all else is in Bohr and Hartree until energies are summed.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numba import types
from numba.extending import overload

from physembed.engine.numba_kernels import OPTIONS, Array, compiled

X, Y, Z, R, N_FIELDS = range(5)
"""Rows of the table of near pairs: vector and distance."""
TO_BOHR, REACH2, CUTOFF, PER_WIDTH, COUNT_CUTOFF, COUNT_PER_WIDTH, STEEPNESS, N_CONSTANTS = range(8)
"""Constants: Bohr per Å; square of the range of the list, cutoffs and one over their widths; D3's k1."""


def _exp(x: Any) -> Any:
    """exp(x) to rounding for moderate x, in a form that fills vector registers."""
    raise NotImplementedError


@overload(_exp, jit_options=cast("Any", OPTIONS))
def _exp_of(x: Any) -> Any:
    def in_double(x: Any) -> Any:
        x = min(max(x, -700.0), 700.0)
        n = np.floor(x * 1.4426950408889634 + 0.5)
        f = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10
        p = f / 6227020800.0 + 1.0 / 479001600.0
        p = p * f + 1.0 / 39916800.0
        p = p * f + 1.0 / 3628800.0
        p = p * f + 1.0 / 362880.0
        p = p * f + 1.0 / 40320.0
        p = p * f + 1.0 / 5040.0
        p = p * f + 1.0 / 720.0
        p = p * f + 1.0 / 120.0
        p = p * f + 1.0 / 24.0
        p = p * f + 1.0 / 6.0
        p = p * f + 0.5
        p = p * f + 1.0
        p = p * f + 1.0
        power = np.int64((np.int64(n) + np.int64(1023)) << np.int64(52))
        return p * power.view(np.float64)

    def in_single(x: Any) -> Any:
        x = min(max(x, np.float32(-80.0)), np.float32(80.0))
        n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
        f = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
        p = f * np.float32(1.0 / 5040.0) + np.float32(1.0 / 720.0)
        p = p * f + np.float32(1.0 / 120.0)
        p = p * f + np.float32(1.0 / 24.0)
        p = p * f + np.float32(1.0 / 6.0)
        p = p * f + np.float32(0.5)
        p = p * f + np.float32(1.0)
        p = p * f + np.float32(1.0)
        power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23))
        return p * power.view(np.float32)

    return in_single if x == types.float32 else in_double


@compiled
def _add(row: Array, values: tuple[float, ...]) -> None:
    """Add as many values to a row."""
    for i in range(len(values)):
        row[i] += values[i]


@compiled
def sort_rows(kind: Array, n_kinds: int, starts: Array, second: Array, image: Array, out: Array, ends: Array) -> None:
    """Order the pairs of each atom by the elements of their partners.

    Args:
        kind: (n_atoms,) element of each atom.
        n_kinds: number of elements.
        starts: (n_atoms + 1,) first pair of each atom in `second`.
        second: (n_pairs,) partners.
        image: (n_pairs,) numbers of their images.
        out: (2, n_pairs) partners and images, set.
        ends: (n_atoms * n_kinds + 1,) first pair of each atom with each element, and the number of pairs, set.
    """
    place = np.empty(n_kinds, np.int64)
    for atom in range(len(starts) - 1):
        place[:] = 0
        for pair in range(starts[atom], starts[atom + 1]):
            place[kind[second[pair]]] += 1
        at = starts[atom]
        for k in range(n_kinds):
            ends[atom * n_kinds + k] = at
            at, place[k] = at + place[k], at
        for pair in range(starts[atom], starts[atom + 1]):
            k = kind[second[pair]]
            out[0, place[k]], out[1, place[k]] = second[pair], image[pair]
            place[k] += 1
    ends[-1] = starts[-1]


@compiled
def find(
    first: int,
    last: int,
    bounds: Array,
    dealt: Array,
    kind: Array,
    n_kinds: int,
    system: Array,
    positions: Array,
    lattice: Array,
    left: Array,
    listed: Array,
    ends: Array,
    constants: Array,
    bond_length: Array,
    fields: Array,
    partners: Array,
    counts: Array,
    close: Array,
    close_counts: Array,
    count_slopes: Array,
    rows: Array,
    coordinations: Array,
) -> None:
    """Near pairs of the atoms of chunks, and what the close ones among them add to coordination numbers.

    Args:
        first: number of the first chunk.
        last: number of the chunk after the last one.
        bounds: (n_chunks + 1,) first place of each chunk in `dealt`.
        dealt: (n_atoms,) atoms, chunk by chunk.
        kind: (n_atoms,) element of each atom.
        n_kinds: number of elements.
        system: (n_atoms,) system of each atom.
        positions: (n_atoms, 3) Å.
        lattice: (n_systems, n_images, 3) Å.
        left: (n_atoms,) what leaving its cell adds to the number of an image.
        listed: (2, n_pairs) partners and images of the list.
        ends: as `sort_rows` gives them.
        constants: see above.
        bond_length: (n_kinds, n_kinds) of the counting function in Å; empty where none is wanted.
        fields: (N_FIELDS, n_pairs) set for the near pairs, which stand at the beginning of each row of the list.
        partners: (n_pairs,) of the near pairs, set.
        counts: (n_atoms * n_kinds,) near pairs of each atom with each element, set.
        close: (n_pairs,) places in a row's near pairs of those within the cutoff of the counting function, set.
        close_counts: (n_atoms * n_kinds,) how many these are, set.
        count_slopes: (n_pairs,) derivatives of the counting function by the distance, set for the close pairs.
        rows: (2, >= longest row) memory.
        coordinations: (n_chunks, n_atoms) added to.
    """
    one, reach2 = constants.dtype.type(1), constants[REACH2]
    cutoff, per_width, steepness = constants[COUNT_CUTOFF], constants[COUNT_PER_WIDTH], constants[STEEPNESS]
    zero = one - one
    for chunk in range(first, last):
        coordination = coordinations[chunk]
        for atom in dealt[bounds[chunk] : bounds[chunk + 1]]:
            x, y, z = positions[atom, 0], positions[atom, 1], positions[atom, 2]
            images = lattice[system[atom]]
            for k in range(n_kinds):
                row = atom * n_kinds + k
                begin, end = ends[row], ends[row + 1]
                xs, ys, zs, rs = fields[X, begin:end], fields[Y, begin:end], fields[Z, begin:end], fields[R, begin:end]
                others, shifts, found = listed[0, begin:end], listed[1, begin:end], partners[begin:end]
                # Numbers without a sign are indices without a check.
                near = np.uint64(0)
                for i in range(end - begin):
                    other = others[i]
                    image = np.uint64(shifts[i] + left[atom] - left[other])
                    dx = positions[other, 0] + images[image, 0] - x
                    dy = positions[other, 1] + images[image, 1] - y
                    dz = positions[other, 2] + images[image, 2] - z
                    r2 = dx * dx + dy * dy + dz * dz
                    xs[near], ys[near], zs[near], rs[near] = dx, dy, dz, r2
                    found[near] = other
                    near += np.uint64(r2 < reach2)
                n = np.int64(near)
                counts[row] = n
                for i in range(n):
                    rs[i] = np.sqrt(rs[i])
                if bond_length.size == 0:
                    continue
                places, distances, added = close[begin:end], rows[0], rows[1]
                within = np.uint64(0)
                for i in range(n):
                    places[within], distances[within] = i, rs[i]
                    within += np.uint64(rs[i] < cutoff)
                m = np.int64(within)
                close_counts[row] = m
                length, total, slopes = bond_length[kind[atom], k], zero, count_slopes[begin:end]
                for i in range(m):
                    r = distances[i]
                    count = one / (one + _exp(steepness * (one - length / r)))
                    slope = -count * (one - count) * steepness * length / (r * r)
                    s = min(max((cutoff - r) * per_width, zero), one)
                    switch = s * s * s * (s * (s * 6 - 15 * one) + 10 * one)
                    slopes[i] = slope * switch - count * 30 * one * s * s * (one - s) * (one - s) * per_width
                    added[i] = count * switch
                    total += added[i]
                for i in range(m):
                    coordination[found[places[i]]] += added[i]
                coordination[atom] += total


@compiled
def interpolate(
    kind: Array,
    coordination: Array,
    reference: Array,
    reference_c6: Array,
    steepness: float,
    weights: Array,
    weights_slope: Array,
    half: Array,
    half_slope: Array,
) -> None:
    """Weights of the reference systems of each atom, and half of the interpolation of C6.

    Args:
        kind: (n_atoms,) element of each atom.
        coordination: (n_atoms,) coordination numbers.
        reference: (n_kinds, n_ref) coordination numbers of the reference systems; negative where there is none.
        reference_c6: (n_kinds, n_kinds, n_ref, n_ref).
        steepness: D3's k3.
        weights: (n_ref, n_atoms) set.
        weights_slope: their derivatives by the coordination number, set.
        half: (n_atoms, n_kinds, n_ref) C6 with the reference systems of each element, set.
        half_slope: their derivatives, set.
    """
    n_kinds, n_ref = reference.shape
    w, slope = np.empty(n_ref), np.empty(n_ref)
    for atom in range(len(kind)):
        lowest = np.inf
        for a in range(n_ref):
            if reference[kind[atom], a] >= 0:
                lowest = min(lowest, (coordination[atom] - reference[kind[atom], a]) ** 2)
        total = mean = 0.0
        for a in range(n_ref):
            deviation = coordination[atom] - reference[kind[atom], a]
            w[a] = np.exp(steepness * (lowest - deviation**2)) if reference[kind[atom], a] >= 0 else 0.0
            slope[a] = -2.0 * steepness * deviation
            total += w[a]
            mean += w[a] * slope[a]
        for a in range(n_ref):
            slope[a] = w[a] * (slope[a] - mean / total) / total
            w[a] /= total
            weights[a, atom], weights_slope[a, atom] = w[a], slope[a]
        for k in range(n_kinds):
            for b in range(n_ref):
                value = change = 0.0
                for a in range(n_ref):
                    value += w[a] * reference_c6[kind[atom], k, a, b]
                    change += slope[a] * reference_c6[kind[atom], k, a, b]
                half[atom, k, b], half_slope[atom, k, b] = value, change


@compiled
def energies(
    first: int,
    last: int,
    bounds: Array,
    dealt: Array,
    kind: Array,
    n_kinds: int,
    system: Array,
    ends: Array,
    counts: Array,
    partners: Array,
    constants: Array,
    pair_table: Array,
    factors: Array,
    n_ref: Array,
    weights: Array,
    weights_slope: Array,
    half: Array,
    half_slope: Array,
    rows: Array,
    fields: Array,
    all_sums: Array,
    by_coordinations: Array,
    all_forces: Array,
    virials: Array,
) -> None:
    """S0 and S1 of the atoms of chunks, derivatives of the energy by coordination numbers, and what else there is of
    forces and virials: those at constant coordination numbers.

    Args:
        first, last, bounds, dealt, kind, n_kinds, system, ends, counts, partners, constants, fields: see `find`.
        pair_table: (n_systems, n_kinds, n_kinds, 4) a2 R0, (a3 R0 + a4)^6, and shifts of the two sums.
        factors: (n_systems, 2) factors of the two sums in the energy.
        n_ref: (n_kinds,) number of reference systems.
        weights, weights_slope, half, half_slope: see `interpolate`; of one reference system each, they do not count
            for an atom alone and C6 is `half`.
        rows: (7, >= longest row) memory.
        all_sums: (n_chunks, n_systems, 2) added to.
        by_coordinations: (n_chunks, n_atoms) added to; n_atoms 0 where C6 does not depend on it.
        all_forces: (n_chunks, n_atoms, 3) added to.
        virials: (n_chunks, n_systems, 6) added to: xx, yy, zz, yz, xz, xy.
    """
    one, to_bohr = constants.dtype.type(1), constants[TO_BOHR]
    cutoff, per_width = constants[CUTOFF], constants[PER_WIDTH]
    zero = one - one
    for chunk in range(first, last):
        sums, by_coordination = all_sums[chunk], by_coordinations[chunk]
        forces, virial = all_forces[chunk], virials[chunk]
        for atom in dealt[bounds[chunk] : bounds[chunk + 1]]:
            f0, f1 = factors[system[atom], 0], factors[system[atom], 1]
            own = fx = fy = fz = 0.0
            for k in range(n_kinds):
                row = atom * n_kinds + k
                begin, n = ends[row], counts[row]
                midpoint, damping = (
                    pair_table[system[atom], kind[atom], k, 0],
                    pair_table[system[atom], kind[atom], k, 1],
                )
                shift0, shift1 = pair_table[system[atom], kind[atom], k, 2], pair_table[system[atom], kind[atom], k, 3]
                c6, c6_first, c6_second, share = rows[0], rows[1], rows[2], rows[3]
                others = partners[begin : begin + n]
                if by_coordination.size == 0:
                    c6[:n] = half[atom, k, 0]
                else:
                    c6[:n] = zero
                    c6_first[:n] = zero
                    c6_second[:n] = zero
                    for b in range(n_ref[k]):
                        value, change = half[atom, k, b], half_slope[atom, k, b]
                        of, slope_of = weights[b], weights_slope[b]
                        for i in range(n):
                            weight = of[others[i]]
                            c6[i] += value * weight
                            c6_first[i] += change * weight
                            c6_second[i] += value * slope_of[others[i]]
                x, y, z = fields[X, begin : begin + n], fields[Y, begin : begin + n], fields[Z, begin : begin + n]
                distances = fields[R, begin : begin + n]
                px, py, pz = rows[4], rows[5], rows[6]
                total0 = total1 = sx = sy = sz = xx = yy = zz = yz = xz = xy = zero
                for i in range(n):
                    r = distances[i] * to_bohr
                    r3 = r * r * r
                    long_range = one / (r3 * r3 + damping)
                    sigmoid = one / (one + _exp(r - midpoint))
                    long_slope = -6 * one * r3 * r * r * long_range * long_range
                    medium_slope = sigmoid * (long_slope - long_range * (one - sigmoid))
                    part0, part1 = long_range - shift0, long_range * sigmoid - shift1
                    s = min(max((cutoff - distances[i]) * per_width, zero), one)
                    switch = s * s * s * (s * (s * 6 - 15 * one) + 10 * one)
                    switch_slope = -30 * one * s * s * (one - s) * (one - s) * per_width
                    energy = f0 * part0 + f1 * part1
                    share[i] = switch * energy
                    total0 += c6[i] * switch * part0
                    total1 += c6[i] * switch * part1
                    slope = c6[i] * (switch * to_bohr * (f0 * long_slope + f1 * medium_slope) + switch_slope * energy)
                    at = slope / distances[i]
                    px[i], py[i], pz[i] = at * x[i], at * y[i], at * z[i]
                    sx += px[i]
                    sy += py[i]
                    sz += pz[i]
                    xx += px[i] * x[i]
                    yy += py[i] * y[i]
                    zz += pz[i] * z[i]
                    yz += py[i] * z[i]
                    xz += px[i] * z[i]
                    xy += px[i] * y[i]
                for i in range(n):
                    other = others[i]
                    forces[other, 0] -= px[i]
                    forces[other, 1] -= py[i]
                    forces[other, 2] -= pz[i]
                fx += sx
                fy += sy
                fz += sz
                _add(virial[system[atom]], (xx, yy, zz, yz, xz, xy))
                sums[system[atom], 0] += total0
                sums[system[atom], 1] += total1
                if by_coordination.size:
                    total0 = zero
                    for i in range(n):
                        total0 += share[i] * c6_first[i]
                    for i in range(n):
                        by_coordination[others[i]] += share[i] * c6_second[i]
                    own += total0
            _add(forces[atom], (fx, fy, fz))
            if by_coordination.size:
                by_coordination[atom] += own


@compiled
def pull(
    first: int,
    last: int,
    bounds: Array,
    dealt: Array,
    n_kinds: int,
    system: Array,
    ends: Array,
    partners: Array,
    close: Array,
    close_counts: Array,
    count_slopes: Array,
    by_coordination: Array,
    fields: Array,
    all_forces: Array,
    virials: Array,
) -> None:
    """Forces and virials through the coordination numbers, of the close pairs of chunks.

    Args:
        first, last, bounds, dealt, n_kinds, system, ends, partners, close, close_counts, count_slopes, fields: see
            `find`.
        by_coordination: (n_atoms,) derivative of the energy by the coordination numbers.
        all_forces, virials: see `energies`.
    """
    zero = fields.dtype.type(0)
    for chunk in range(first, last):
        forces, virial = all_forces[chunk], virials[chunk]
        for atom in dealt[bounds[chunk] : bounds[chunk + 1]]:
            own = by_coordination[atom]
            for k in range(n_kinds):
                begin = ends[atom * n_kinds + k]
                sx = sy = sz = xx = yy = zz = yz = xz = xy = zero
                for i in range(begin, begin + close_counts[atom * n_kinds + k]):
                    pair = begin + close[i]
                    x, y, z = fields[X, pair], fields[Y, pair], fields[Z, pair]
                    other = partners[pair]
                    at = (own + by_coordination[other]) * count_slopes[i] / fields[R, pair]
                    px, py, pz = at * x, at * y, at * z
                    sx += px
                    sy += py
                    sz += pz
                    xx += px * x
                    yy += py * y
                    zz += pz * z
                    yz += py * z
                    xz += px * z
                    xy += px * y
                    forces[other, 0] -= px
                    forces[other, 1] -= py
                    forces[other, 2] -= pz
                _add(forces[atom], (sx, sy, sz))
                _add(virial[system[atom]], (xx, yy, zz, yz, xz, xy))
