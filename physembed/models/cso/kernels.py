"""Compiled loops of the CSO correction over the pairs of a kept list; `energy` has the equations.

The atoms of each system are dealt out to a fixed number of chunks, each with places of its own for what it adds to
other atoms, so that threads can share the chunks, and no sum depends on how they do or on what else is in the batch.
Atoms are sorted by system and element inside these loops; their places in this order are called slots. The pairs of an
atom stand together, those with partners of one element after another.

Distances in tables of pairs are in Å, all else is in Bohr and Hartree until energies are summed.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numba import njit, types
from numba.extending import overload

from physembed.engine.numba_kernels import OPTIONS, ROUNDED, Array, compiled

SLOT, IMAGE, PLACE, N_LISTED = range(4)
"""Rows of the list: second atom of a pair, number of its image, and where that image stands among all in the list."""
X, Y, Z, R, N_FIELDS = range(5)
"""Rows of the table of near pairs: vector and distance."""
BY_DISTANCE = R
"""In the table of counted pairs: slope of the counting function over the distance."""
LANES = 32
"""Loops go over a multiple of this number of pairs, so that none is left over for scalar instructions."""
N_ROWS = 11
"""Rows of the memory of a thread, each as long as the longest row of the list or the largest system, and `LANES`."""
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
def _literals(values: Array) -> tuple[float, ...]:
    """1, 6, 10, 15 and 30 in the precision of some values: an integer in a product would make it double."""
    real = values.dtype.type
    return real(1), real(6), real(10), real(15), real(30)


@compiled
def sort_rows(
    dealt: Array, kind: Array, slot: Array, starts: Array, second: Array, image: Array, out: Array, begins: Array
) -> None:
    """Order the pairs of each atom by the elements of their partners, and the atoms as they are dealt out.

    Args:
        dealt: (n_atoms,) atoms, chunk by chunk.
        kind: (n_atoms,) element of each atom.
        slot: (n_atoms,) slot of each atom.
        starts: (n_atoms + 1,) first pair of each atom in `second`.
        second: (n_pairs,) partners.
        image: (n_pairs,) numbers of their images.
        out: (N_LISTED, n_pairs + n_atoms * LANES) partners and images, set; `LANES` places stay free after each atom.
        begins: (n_atoms, n_kinds + 1) first pair of each atom with each element, and the end of the last one's, set.
    """
    n_kinds = begins.shape[1] - 1
    place, at = np.empty(n_kinds, np.int64), 0
    for atom in dealt:
        place[:] = 0
        for pair in range(starts[atom], starts[atom + 1]):
            place[kind[second[pair]]] += 1
        for k in range(n_kinds):
            begins[atom, k] = at
            at, place[k] = at + place[k], at
        begins[atom, n_kinds] = at
        at += LANES
        for pair in range(starts[atom], starts[atom + 1]):
            k = kind[second[pair]]
            out[SLOT, place[k]], out[IMAGE, place[k]] = slot[second[pair]], image[pair]
            place[k] += 1


@compiled
def number_images(begins: Array, listed: Array, n_images: int, number: Array) -> int:
    """Number the images of atoms that occur in a list, by slot and image; return how many there are.

    Args:
        begins: as `sort_rows` sets it.
        listed: as `sort_rows` sets it; where the images stand is set.
        n_images: images that an atom can have.
        number: (n_atoms * n_images,) -1 everywhere, set for those that occur.
    """
    for row in begins:
        for pair in range(row[0], row[-1]):
            number[np.int64(listed[SLOT, pair]) * n_images + np.int64(listed[IMAGE, pair])] = 0
    count = 0
    for at in range(len(number)):
        if number[at] == 0:
            number[at] = count
            count += 1
    for row in begins:
        for pair in range(row[0], row[-1]):
            listed[PLACE, pair] = number[np.int64(listed[SLOT, pair]) * n_images + np.int64(listed[IMAGE, pair])]
    return count


@compiled
def place_images(
    codes: Array, order: Array, system: Array, positions: Array, lattice: Array, left: Array, placed: Array
) -> None:
    """Positions of the images, as seen by an atom that is in the cell in which it was when the list was made.

    Args:
        codes: (number of images,) slot times the number of images that an atom can have, and number of the image.
        order: (n_atoms,) atom of each slot.
        system: (n_atoms,) system of each atom.
        positions: (n_atoms, 3) Å.
        lattice: (n_systems, n_images, 3) Å.
        left: (n_atoms,) what leaving its cell adds to the number of an image.
        placed: (number of images, 3) Å, set.
    """
    n_images = lattice.shape[1]
    for at in range(len(codes)):
        atom, image = order[codes[at] // n_images], codes[at] % n_images
        for k in range(3):
            placed[at, k] = positions[atom, k] + lattice[system[atom], image - left[atom], k]


@njit(**ROUNDED)
def _sum(a: float, b: float) -> float:
    return a + b


@compiled
def _padded(n: int) -> int:
    return (n + LANES - 1) // LANES * LANES


@compiled
def _start(chunk: int, bounds: Array, dealt: Array, begins: Array) -> int:
    """Where the list of a chunk begins."""
    return begins[dealt[bounds[chunk]], 0] if bounds[chunk] < bounds[chunk + 1] else 0


@compiled
def find(
    first: int,
    last: int,
    bounds: Array,
    dealt: Array,
    kind: Array,
    order: Array,
    slot: Array,
    system: Array,
    positions: Array,
    lattice: Array,
    left: Array,
    listed: Array,
    begins: Array,
    placed: Array,
    constants: Array,
    bond_length: Array,
    fields: Array,
    partners: Array,
    ends: Array,
    counted: Array,
    counted_partners: Array,
    counts: Array,
    memory: Array,
    found: Array,
    coordinations: Array,
) -> None:
    """Near pairs of the atoms of chunks, and what the close ones among them add to coordination numbers.

    Args:
        first: number of the first chunk.
        last: number of the chunk after the last one.
        bounds: (n_chunks + 1,) first place of each chunk in `dealt`.
        dealt: (n_atoms,) atoms, chunk by chunk.
        kind: (n_atoms,) element of each atom.
        order, slot: (n_atoms,) atom of each slot, and slot of each atom.
        system: (n_atoms,) system of each atom.
        positions, lattice, left, placed: see `place_images`.
        listed, begins: as `sort_rows` and `number_images` set them.
        constants: see above.
        bond_length: (n_kinds, n_kinds) of the counting function in Å; empty where none is wanted.
        fields: (N_FIELDS, as many as in `listed`) set for the near pairs, which stand where the list of an atom begins.
        partners: likewise, their slots, set.
        ends: (n_atoms, n_kinds) ends of the near pairs of each atom with each element, set.
        counted, counted_partners, counts: the same for the pairs within the cutoff of the counting function, those of
            the atoms of a chunk without gaps, and their number for each atom, set.
        memory: (N_ROWS, ...) see above.
        found: (as many,) unsigned integers.
        coordinations: (n_chunks, n_atoms) of slots, added to.
    """
    one, six, ten, fifteen, thirty = _literals(constants)
    reach2, cutoff, per_width = constants[REACH2], constants[COUNT_CUTOFF], constants[COUNT_PER_WIDTH]
    steepness, zero, lengths, added = constants[STEEPNESS], one - one, memory[0], memory[1]
    n_kinds = ends.shape[1]
    for chunk in range(first, last):
        coordination, cursor = coordinations[chunk], _start(chunk, bounds, dealt, begins)
        for atom in dealt[bounds[chunk] : bounds[chunk + 1]]:
            x, y, z = positions[atom, 0], positions[atom, 1], positions[atom, 2]
            images, start = lattice[system[atom]], begins[atom, 0]
            xs, ys, zs, rs = fields[X, start:], fields[Y, start:], fields[Z, start:], fields[R, start:]
            others = partners[start:]
            # Numbers without a sign are indices without a check.
            near = np.uint64(0)
            for k in range(n_kinds):
                begin, end = begins[atom, k], begins[atom, k + 1]
                slots, shifts, places = listed[SLOT, begin:end], listed[IMAGE, begin:end], listed[PLACE, begin:end]
                if left[atom] == 0:
                    for i in range(end - begin):
                        image = places[i]
                        dx, dy, dz = placed[image, 0] - x, placed[image, 1] - y, placed[image, 2] - z
                        r2 = dx * dx + dy * dy + dz * dz
                        xs[near], ys[near], zs[near], rs[near] = dx, dy, dz, r2
                        others[near] = slots[i]
                        near += np.uint64(r2 < reach2)
                else:
                    for i in range(end - begin):
                        other = order[slots[i]]
                        image = np.uint64(shifts[i] + left[atom] - left[other])
                        # Rounded as in `place_images`: results do not depend on the age of the list.
                        dx = _sum(positions[other, 0], images[image, 0]) - x
                        dy = _sum(positions[other, 1], images[image, 1]) - y
                        dz = _sum(positions[other, 2], images[image, 2]) - z
                        r2 = dx * dx + dy * dy + dz * dz
                        xs[near], ys[near], zs[near], rs[near] = dx, dy, dz, r2
                        others[near] = slots[i]
                        near += np.uint64(r2 < reach2)
                ends[atom, k] = start + np.int64(near)
            n = np.int64(near)
            rs[n : _padded(n)] = ten * reach2
            for i in range(_padded(n)):
                rs[i] = np.sqrt(rs[i])
            if bond_length.size == 0:
                continue
            begin, within = 0, np.uint64(0)
            for k in range(n_kinds):
                end, known = ends[atom, k] - start, np.int64(within)
                for i in range(begin, end):
                    found[within] = i
                    within += np.uint64(rs[i] < cutoff)
                lengths[known : np.int64(within)] = bond_length[kind[atom], k]
                begin = end
            m = np.int64(within)
            counts[atom] = m
            cx, cy, cz, cr = counted[X, cursor:], counted[Y, cursor:], counted[Z, cursor:], counted[R, cursor:]
            who = counted_partners[cursor:]
            for i in range(m):
                cx[i], cy[i], cz[i] = xs[found[i]], ys[found[i]], zs[found[i]]
                cr[i], who[i] = rs[found[i]], others[found[i]]
            cr[m : _padded(m)] = ten * cutoff
            lengths[m : _padded(m)] = one
            total = zero
            for i in range(_padded(m)):
                r = cr[i]
                count = one / (one + _exp(steepness * (one - lengths[i] / r)))
                slope = -count * (one - count) * steepness * lengths[i] / (r * r)
                s = min(max((cutoff - r) * per_width, zero), one)
                switch = s * s * s * (s * (s * six - fifteen) + ten)
                cr[i] = (slope * switch - count * thirty * s * s * (one - s) * (one - s) * per_width) / r
                added[i] = count * switch
                total += added[i]
            for i in range(m):
                coordination[who[i]] += added[i]
            coordination[slot[atom]] += total
            cursor += counts[atom]


@compiled
def interpolate(
    kind: Array,
    slot: Array,
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
        slot: (n_atoms,) slot of each atom.
        coordination: (n_atoms,) coordination numbers of slots.
        reference: (n_kinds, n_ref) coordination numbers of the reference systems; negative where there is none.
        reference_c6: (n_kinds, n_kinds, n_ref, n_ref).
        steepness: D3's k3.
        weights: (n_ref, n_atoms) of slots, set.
        weights_slope: their derivatives by the coordination number, set.
        half: (n_atoms, n_kinds, n_ref) C6 with the reference systems of each element, set.
        half_slope: their derivatives, set.
    """
    n_kinds, n_ref = reference.shape
    w, slope = np.empty(n_ref), np.empty(n_ref)
    for atom in range(len(kind)):
        number = coordination[slot[atom]]
        lowest = np.inf
        for a in range(n_ref):
            if reference[kind[atom], a] >= 0:
                lowest = min(lowest, (number - reference[kind[atom], a]) ** 2)
        total = mean = 0.0
        for a in range(n_ref):
            deviation = number - reference[kind[atom], a]
            w[a] = np.exp(steepness * (lowest - deviation**2)) if reference[kind[atom], a] >= 0 else 0.0
            slope[a] = -2.0 * steepness * deviation
            total += w[a]
            mean += w[a] * slope[a]
        for a in range(n_ref):
            slope[a] = w[a] * (slope[a] - mean / total) / total
            w[a] /= total
            weights[a, slot[atom]], weights_slope[a, slot[atom]] = w[a], slope[a]
        for k in range(n_kinds):
            for b in range(n_ref):
                value = change = 0.0
                for a in range(n_ref):
                    value += w[a] * reference_c6[kind[atom], k, a, b]
                    change += slope[a] * reference_c6[kind[atom], k, a, b]
                half[atom, k, b], half_slope[atom, k, b] = value, change


@compiled
def _coefficients(
    n: int,
    others: Array,
    first: int,
    end: int,
    n_ref: int,
    weights: Array,
    weights_slope: Array,
    half: Array,
    half_slope: Array,
    memory: Array,
    c6: Array,
    c6_first: Array,
    c6_second: Array,
) -> None:
    """C6 of n pairs of an atom and its derivatives by both coordination numbers.

    Args:
        n: number of pairs.
        others: slots of their partners.
        first, end: slots of the atoms of the partners' element.
        n_ref: number of reference systems of this element.
        weights, weights_slope: see `interpolate`.
        half, half_slope: (>= n_ref,) of the atom with this element.
        memory: see above.
        c6, c6_first, c6_second: (>= n,) set.
    """
    if end - first > 4 * n:
        # Most atoms of a large system are out of reach.
        for i in range(n):
            other = others[i]
            value = change = change_second = half.dtype.type(0)
            for b in range(n_ref):
                value += half[b] * weights[b, other]
                change += half_slope[b] * weights[b, other]
                change_second += half[b] * weights_slope[b, other]
            c6[i], c6_first[i], c6_second[i] = value, change, change_second
        return
    of_all, by_first, by_second = memory[0], memory[1], memory[2]
    for values in (of_all, by_first, by_second):
        values[: end - first] = 0
    for b in range(n_ref):
        own, own_slope, weight, slope = half[b], half_slope[b], weights[b, first:end], weights_slope[b, first:end]
        for i in range(end - first):
            of_all[i] += own * weight[i]
        for i in range(end - first):
            by_first[i] += own_slope * weight[i]
        for i in range(end - first):
            by_second[i] += own * slope[i]
    for i in range(n):
        other = others[i] - np.uint32(first)
        c6[i], c6_first[i], c6_second[i] = of_all[other], by_first[other], by_second[other]


@compiled
def energies(
    first: int,
    last: int,
    bounds: Array,
    dealt: Array,
    kind: Array,
    slot: Array,
    system: Array,
    begins: Array,
    ends: Array,
    partners: Array,
    constants: Array,
    pair_table: Array,
    factors: Array,
    kind_bounds: Array,
    n_ref: Array,
    weights: Array,
    weights_slope: Array,
    half: Array,
    half_slope: Array,
    memory: Array,
    fields: Array,
    all_sums: Array,
    by_coordinations: Array,
    all_forces: Array,
    virials: Array,
) -> None:
    """S0 and S1 of the atoms of chunks, derivatives of the energy by coordination numbers, and what else there is of
    forces and virials: those at constant coordination numbers.

    Args:
        first, last, bounds, dealt, kind, slot, system, begins, ends, partners, constants, memory: see `find`.
        pair_table: (n_systems, n_kinds, n_kinds, 4) a2 R0, (a3 R0 + a4)^6, and shifts of the two sums.
        factors: (n_systems, 2) factors of the two sums in the energy.
        kind_bounds: (n_systems, n_kinds + 1) first slot of each element in each system.
        n_ref: (n_kinds,) number of reference systems.
        weights, weights_slope, half, half_slope: see `interpolate`; of one reference system each, they do not count
            for an atom alone and C6 is `half`.
        fields: see `find`; vectors are replaced.
        all_sums: (n_chunks, n_systems, 2) added to.
        by_coordinations: (n_chunks, n_atoms) of slots, added to; n_atoms 0 where C6 does not depend on it.
        all_forces: (n_chunks, n_atoms, 3) of slots, added to.
        virials: (n_chunks, n_systems, 6) added to: xx, yy, zz, yz, xz, xy.
    """
    one, six, ten, fifteen, thirty = _literals(constants)
    to_bohr, cutoff, per_width, zero = constants[TO_BOHR], constants[CUTOFF], constants[PER_WIDTH], one - one
    counted = by_coordinations.size > 0
    c6, c6_first, c6_second, share = memory[3], memory[4], memory[5], memory[6]
    midpoint, damping, shift0, shift1 = memory[7], memory[8], memory[9], memory[10]
    for chunk in range(first, last):
        sums, by_coordination = all_sums[chunk], by_coordinations[chunk]
        forces, virial = all_forces[chunk], virials[chunk]
        for atom in dealt[bounds[chunk] : bounds[chunk + 1]]:
            own, start = system[atom], begins[atom, 0]
            f0, f1 = factors[own, 0], factors[own, 1]
            others, begin, end = partners[start:], 0, 0
            for k in range(ends.shape[1]):
                end = ends[atom, k] - start
                of_pair = pair_table[own, kind[atom], k]
                midpoint[begin:end], damping[begin:end] = of_pair[0], of_pair[1]
                shift0[begin:end], shift1[begin:end] = of_pair[2], of_pair[3]
                if counted:
                    _coefficients(
                        end - begin, others[begin:], kind_bounds[own, k], kind_bounds[own, k + 1], n_ref[k], weights,
                        weights_slope, half[atom, k], half_slope[atom, k], memory, c6[begin:], c6_first[begin:],
                        c6_second[begin:],
                    )  # fmt: skip
                else:
                    c6[begin:end] = half[atom, k, 0]
                begin = end
            n, padded = end, _padded(end)
            midpoint[n:padded], damping[n:padded] = one, one
            for values in (shift0, shift1, c6, c6_first):
                values[n:padded] = zero
            x, y, z = (
                fields[X, start : start + padded],
                fields[Y, start : start + padded],
                fields[Z, start : start + padded],
            )
            distances = fields[R, start : start + padded]
            x[n:] = zero
            y[n:] = zero
            z[n:] = zero
            total0 = total1 = sx = sy = sz = xx = yy = zz = yz = xz = xy = zero
            for i in range(padded):
                r = distances[i] * to_bohr
                r3 = r * r * r
                long_range = one / (r3 * r3 + damping[i])
                sigmoid = one / (one + _exp(r - midpoint[i]))
                long_slope = -six * r3 * r * r * long_range * long_range
                medium_slope = sigmoid * (long_slope - long_range * (one - sigmoid))
                part0, part1 = long_range - shift0[i], long_range * sigmoid - shift1[i]
                s = min(max((cutoff - distances[i]) * per_width, zero), one)
                switch = s * s * s * (s * (s * six - fifteen) + ten)
                switch_slope = -thirty * s * s * (one - s) * (one - s) * per_width
                energy = f0 * part0 + f1 * part1
                share[i] = switch * energy
                total0 += c6[i] * switch * part0
                total1 += c6[i] * switch * part1
                slope = c6[i] * (switch * to_bohr * (f0 * long_slope + f1 * medium_slope) + switch_slope * energy)
                at = slope / distances[i]
                px, py, pz = at * x[i], at * y[i], at * z[i]
                sx += px
                sy += py
                sz += pz
                xx += px * x[i]
                yy += py * y[i]
                zz += pz * z[i]
                yz += py * z[i]
                xz += px * z[i]
                xy += px * y[i]
                x[i], y[i], z[i] = px, py, pz
            for i in range(n):
                other = others[i]
                forces[other, 0] -= x[i]
                forces[other, 1] -= y[i]
                forces[other, 2] -= z[i]
            _add(forces[slot[atom]], (sx, sy, sz))
            _add(virial[own], (xx, yy, zz, yz, xz, xy))
            _add(sums[own], (total0, total1))
            if counted:
                mine = zero
                for i in range(padded):
                    mine += share[i] * c6_first[i]
                for i in range(n):
                    by_coordination[others[i]] += share[i] * c6_second[i]
                by_coordination[slot[atom]] += mine


@compiled
def pull(
    first: int,
    last: int,
    bounds: Array,
    dealt: Array,
    slot: Array,
    system: Array,
    begins: Array,
    counted: Array,
    counted_partners: Array,
    counts: Array,
    by_coordination: Array,
    memory: Array,
    all_forces: Array,
    virials: Array,
) -> None:
    """Forces and virials through the coordination numbers, of the counted pairs of chunks.

    Args:
        first, last, bounds, dealt, slot, system, begins, counted, counted_partners, counts, memory: see `find`; the
            vectors of counted pairs are replaced.
        by_coordination: (n_atoms,) derivative of the energy by the coordination numbers of slots.
        all_forces, virials: see `energies`.
    """
    zero, change = counted.dtype.type(0), memory[0]
    for chunk in range(first, last):
        forces, virial, cursor = all_forces[chunk], virials[chunk], _start(chunk, bounds, dealt, begins)
        for atom in dealt[bounds[chunk] : bounds[chunk + 1]]:
            end = cursor + counts[atom]
            x, y, z = counted[X, cursor:end], counted[Y, cursor:end], counted[Z, cursor:end]
            by_distance, others = counted[BY_DISTANCE, cursor:end], counted_partners[cursor:end]
            own = by_coordination[slot[atom]]
            for i in range(end - cursor):
                change[i] = own + by_coordination[others[i]]
            sx = sy = sz = xx = yy = zz = yz = xz = xy = zero
            for i in range(end - cursor):
                at = change[i] * by_distance[i]
                px, py, pz = at * x[i], at * y[i], at * z[i]
                sx += px
                sy += py
                sz += pz
                xx += px * x[i]
                yy += py * y[i]
                zz += pz * z[i]
                yz += py * z[i]
                xz += px * z[i]
                xy += px * y[i]
                x[i], y[i], z[i] = px, py, pz
            for i in range(end - cursor):
                other = others[i]
                forces[other, 0] -= x[i]
                forces[other, 1] -= y[i]
                forces[other, 2] -= z[i]
            _add(forces[slot[atom]], (sx, sy, sz))
            _add(virial[system[atom]], (xx, yy, zz, yz, xz, xy))
            cursor = end
