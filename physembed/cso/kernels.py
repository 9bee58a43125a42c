"""Compiled loops of the CSO correction over the pairs of a kept list; `energy` has the equations.

Atoms that are bonded to each other are evaluated together, in groups of up to `LARGEST`: what is near to one of them is
near to the others, so their partners are looked up once, and the forces on them are added up before they are written
back. The partners of a group are the atoms of groups with higher numbers, and its own. They are sorted by element,
atom and image, and those within reach are found anew in each call, so that no result depends on the age of the list.

The groups of each system are dealt out to a fixed number of chunks, each with places of its own for what it adds to
atoms, so that threads can share the chunks, and no sum depends on how they do or on what else is in the batch.

Positions are in Å, all else is in Bohr and Hartree until energies are summed.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numba import njit, types
from numba.extending import overload

from physembed.numba_kernels import OPTIONS, ROUNDED, Array, compiled, inlined

LARGEST = 16
"""Atoms of the largest group: the members for which a partner counts are the bits of `Listed.masks`."""
LANES = 16
"""Partners of a block. What belongs to a block is stored together, row by row, each row with a place for each of them:
loops over these go at once into vector registers."""
FAR = 1e4
"""Å. Where partners are that fill up a block, and those that do not count for an atom."""
N_ROWS = 6
"""Rows of the memory of a thread, each with a place for each partner of a group in the list."""
X, Y, Z, PX, PY, PZ, W = (0, 16, 32, 48, 64, 80, 96)
"""First places of the rows of a block: positions, derivatives of the energy by them, weights of reference systems."""
TO_BOHR, REACH2, CUTOFF, PER_WIDTH, COUNT_CUTOFF, COUNT_PER_WIDTH, STEEPNESS, N_CONSTANTS = range(8)
"""Constants: Bohr per Å; square of the range of the list, cutoffs and one over their widths; D3's k1."""


class Groups(NamedTuple):
    """Groups of atoms, and how they are dealt out."""

    of_atom: Array
    """(n_atoms,) group of each atom."""
    members: Array
    """(n_atoms,) atoms, group by group."""
    starts: Array
    """(n_groups + 1,) first place of each group in `members`."""
    dealt: Array
    """(n_groups,) groups, chunk by chunk."""
    chunks: Array
    """(n_chunks + 1,) first place of each chunk in `dealt`."""
    kind: Array
    """(n_atoms,) element of each atom."""
    system: Array
    """(n_atoms,) system of each atom."""


class Structure(NamedTuple):
    """Where the atoms are; see `Kept` in `pairs.neighbors`."""

    positions: Array
    """(n_atoms, 3) Å."""
    lattice: Array
    """(n_systems, n_images, 3) Å."""
    left: Array
    """(n_atoms,) what leaving its cell adds to the number of an image."""
    shift: Array
    """(n_atoms,) what the number of an image changes by from an atom to the first one of its group."""


class Listed(NamedTuple):
    """The list of all groups' partners."""

    atoms: Array
    """(n_partners,)"""
    images: Array
    """(n_partners,) numbers of the images, as seen by the first atom of the group."""
    masks: Array
    """(n_partners,) members of the group for which the partner counts, as bits."""
    starts: Array
    """(n_groups, n_kinds + 1) first partner of each element, and the end of those of the last one."""
    own: Array
    """(n_groups, n_kinds) how many of them belong to the group: the first ones."""


class Near(NamedTuple):
    """The partners within a distance of one of the atoms of their group.

    Those of one element fill up a number of blocks, the last places of which are `FAR`.
    """

    places: Array
    """(n_blocks * 3 * LANES,) positions, as seen by the first atom of the group, in Å: x, y and z of each block."""
    atoms: Array
    """(n_blocks * LANES,)"""
    masks: Array
    """(n_blocks * LANES,) see `Listed`."""
    starts: Array
    """(n_groups, n_kinds + 1) first block of each element, and the end of those of the last one. The first column is
    given: there are as many blocks as the partners in the list may need."""
    own: Array
    """(n_groups, n_kinds) see `Listed`."""
    slopes: Array
    """(n_blocks * LARGEST * LANES,) slope of the counting function over the distance from each member, or empty."""


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
def _literals(values: Array) -> tuple[float, ...]:
    """1, 6, 10, 15 and 30 in the precision of some values: an integer in a product would make it double."""
    real = values.dtype.type
    return real(1), real(6), real(10), real(15), real(30)


@njit(**ROUNDED)
def _sum(a: float, b: float) -> float:
    return a + b


@compiled
def list_partners(
    groups: Groups, starts: Array, second: Array, image: Array, shift: Array, n_images: int, listed: Listed
) -> None:
    """Fill a list of partners.

    Args:
        groups: the groups.
        starts, second, image: a list of half the pairs of atoms; see `Rows` in `pairs.neighbors`.
        shift: see `Structure`.
        n_images: images that an atom can have.
        listed: with room for all pairs, set.
    """
    group, n_groups, n_pairs = groups.of_atom, len(groups.starts) - 1, len(second)
    ends = np.zeros(n_groups + 1, np.int64)
    for i in range(len(group)):
        for pair in range(starts[i], starts[i + 1]):
            ends[min(group[i], group[second[pair]]) + 1] += 1
    firsts = np.cumsum(ends)
    ends[:] = firsts
    atoms, numbers = np.empty(n_pairs, np.int64), np.empty(n_pairs, np.int64)
    for i in range(len(group)):
        for pair in range(starts[i], starts[i + 1]):
            # The group with the lower number has the other one's atom as a partner.
            j, number = second[pair], image[pair]
            g = min(group[i], group[j])
            atoms[ends[g]] = j if group[i] == g else i
            numbers[ends[g]] = number + shift[i] if group[i] == g else n_images - 1 - number + shift[j]
            ends[g] += 1
    seen = np.full(len(group) * n_images, -1, np.int32)
    count = 0
    for g in range(n_groups):
        begin, end = firsts[g], firsts[g]
        for place in range(firsts[g], firsts[g + 1]):
            code = atoms[place] * n_images + numbers[place]
            if seen[code] != g:
                seen[code] = g
                order = 2 * groups.kind[atoms[place]] + (group[atoms[place]] != g)
                numbers[end] = order * len(seen) + code
                end += 1
        listed.own[g], listed.starts[g] = 0, count
        for key in np.sort(numbers[begin:end]):
            j, number = key % len(seen) // n_images, key % n_images
            mask = 2**LARGEST - 1
            if group[j] == g:
                mask = 0
                for member in range(groups.starts[g + 1] - groups.starts[g]):
                    i = groups.members[groups.starts[g] + member]
                    if j > i or (j == i and number - shift[i] > n_images // 2):
                        mask |= 1 << member
                listed.own[g, groups.kind[j]] += 1
            listed.atoms[count], listed.images[count], listed.masks[count] = j, number, mask
            count += 1
            listed.starts[g, groups.kind[j] + 1 :] = count


@compiled
def shifts_to_first(
    groups: Groups,
    starts: Array,
    second: Array,
    image: Array,
    ranges: Array,
    positions: Array,
    lattice: Array,
    shift: Array,
) -> None:
    """Set what the number of an image changes by from an atom to the first one of its group, by their nearest images.

    By one lattice vector in each direction at most: there are no more numbers than these need.

    Args:
        groups: the groups.
        starts, second, image, ranges: a list of pairs that was just made; see `Rows` in `pairs.neighbors`.
        positions, lattice, shift: see `Structure`; `shift` is 0 where both are out of reach of each other.
    """
    z, y = 2 * ranges[2] + 1, 2 * ranges[1] + 1
    last, middle = lattice.shape[1] - 1, lattice.shape[1] // 2
    for i in range(len(shift)):
        first = groups.members[groups.starts[groups.of_atom[i]]]
        lower, upper, nearest = min(first, i), max(first, i), np.inf
        shift[i] = 0
        for pair in range(starts[lower], starts[lower + 1] if lower < upper else starts[lower]):
            number = image[pair]
            cells = number // (y * z) - ranges[0], number // z % y - ranges[1], number % z - ranges[2]
            if second[pair] == upper and max(abs(cells[0]), abs(cells[1]), abs(cells[2])) <= 1:
                distance2 = 0.0
                for k in range(3):
                    vector = positions[upper, k] + lattice[groups.system[i], number, k] - positions[lower, k]
                    distance2 += vector * vector
                if distance2 < nearest:
                    nearest, shift[i] = distance2, (number if i == upper else last - number) - middle


@compiled
def _select(nearest: Array, range2: float, starts: Array, g: int, source: tuple[Array, ...], near: Near) -> None:
    """Take those partners of a group whose squared distance from the nearest of its atoms is below `range2`.

    Args:
        nearest: (>= last of starts,) squared distances.
        range2: limit.
        starts: (n_kinds + 1,) first of each element.
        g: the group.
        source: x, y, z, atoms and masks, (>= last of starts,) each, and the number of own ones, (n_kinds,).
        near: set for the group.
    """
    xs, ys, zs, atoms, masks, own = source
    for k in range(len(own)):
        first = near.starts[g, k]
        places, others = near.places[3 * LANES * first :], near.atoms[LANES * first :]
        bits = near.masks[LANES * first :]
        # Numbers without a sign are indices without a check.
        at, lanes, size = np.uint64(0), np.uint64(LANES), np.uint64(3 * LANES)
        near.own[g, k] = 0
        for p in range(starts[k], starts[k + 1]):
            place = at // lanes * size + at % lanes
            places[place], places[place + lanes], places[place + lanes + lanes] = xs[p], ys[p], zs[p]
            others[at], bits[at] = atoms[p], masks[p]
            at += np.uint64(nearest[p] < range2)
            if p < starts[k] + own[k]:
                near.own[g, k] = np.int64(at)
        blocks = np.int64((at + lanes - np.uint64(1)) // lanes)
        near.starts[g, k + 1] = first + blocks
        for free in range(np.int64(at), blocks * LANES):
            for row in range(3):
                places[(free // LANES * 3 + row) * LANES + free % LANES] = places.dtype.type(FAR)
            others[free], bits[free] = 0, 0


@inlined
def _hide(blocks: Array, size: int, near: Near, g: int, member: int) -> None:
    """Put those partners far away that do not count for a member of the group, and the others where they are.

    Args:
        blocks: rows of the group's partners, with x as the first one.
        size: places of a block.
        near: partners.
        g: the group.
        member: number of the member, or -1 for all.
    """
    for k in range(near.own.shape[1]):
        first = near.starts[g, k]
        for p in range(near.own[g, k]):
            place, lane, counts = first + p // LANES, p % LANES, True
            if member >= 0:
                counts = near.masks[first * LANES + p] >> member & 1 == 1
            true_x = near.places[place * 3 * LANES + lane]
            blocks[(place - near.starts[g, 0]) * size + lane] = true_x if counts else blocks.dtype.type(FAR)


@compiled
def _see(g: int, groups: Groups, structure: Structure, seen: Array) -> int:
    """Set the positions of the atoms of a group as seen by its first one, and return how many there are."""
    first = groups.members[groups.starts[g]]
    images, n = structure.lattice[groups.system[first]], groups.starts[g + 1] - groups.starts[g]
    for member in range(n):
        i = groups.members[groups.starts[g] + member]
        image = len(images) // 2 + structure.shift[i] + structure.left[first] - structure.left[i]
        for k in range(3):
            seen[member, k] = _sum(structure.positions[i, k], images[image, k])
    return n


@compiled
def find(
    first: int,
    last: int,
    groups: Groups,
    structure: Structure,
    listed: Listed,
    constants: Array,
    bond_length: Array,
    near: Near,
    close: Near | None,
    memory: Array,
    blocks: Array,
    coordinations: Array,
) -> None:
    """Near partners of the groups of chunks, and what the close ones among them add to coordination numbers.

    Args:
        first: number of the first chunk.
        last: number of the chunk after the last one.
        groups: the groups.
        structure: positions.
        listed: partners.
        constants: see above.
        bond_length: (n_kinds, n_kinds) of the counting function in Å.
        near: set: partners within the range of the list.
        close: set: partners within the cutoff of the counting function; None where nothing is counted.
        memory: (N_ROWS, >= longest list of a group, and `LANES` for each element).
        blocks: as many places as the blocks of a group need, with `W`, two rows for each reference system and one more.
        coordinations: (n_chunks, n_atoms) added to.
    """
    n_kinds, seen = listed.own.shape[1], np.empty((LARGEST, 3), constants.dtype)
    x, y, z, true_x, nearest = memory[0], memory[1], memory[2], memory[3], memory[4]
    for chunk in range(first, last):
        for g in groups.dealt[groups.chunks[chunk] : groups.chunks[chunk + 1]]:
            n_members = _see(g, groups, structure, seen)
            begin, end = listed.starts[g, 0], listed.starts[g, n_kinds]
            starts, own = listed.starts[g] - begin, listed.own[g]
            atoms, images, masks = listed.atoms[begin:end], listed.images[begin:end], listed.masks[begin:end]
            head = groups.members[groups.starts[g]]
            lattice, left = structure.lattice[groups.system[head]], structure.left[head]
            for p in range(end - begin):
                j = atoms[p]
                image = np.uint64(images[p] + left - structure.left[j])
                # Rounded as they are stored: it makes no difference in which cell an atom was when the list was made.
                x[p] = _sum(structure.positions[j, 0], lattice[image, 0])
                y[p] = _sum(structure.positions[j, 1], lattice[image, 1])
                z[p] = _sum(structure.positions[j, 2], lattice[image, 2])
            true_x[: end - begin] = x[: end - begin]
            nearest[: end - begin] = np.inf
            for member in range(n_members):
                for k in range(n_kinds):
                    for p in range(starts[k], starts[k] + own[k]):
                        x[p] = true_x[p] if masks[p] >> member & 1 == 1 else x.dtype.type(FAR)
                ux, uy, uz = seen[member]
                for p in range(end - begin):
                    dx, dy, dz = x[p] - ux, y[p] - uy, z[p] - uz
                    distance2 = dx * dx + dy * dy + dz * dz
                    nearest[p] = distance2 if distance2 < nearest[p] else nearest[p]
            source = true_x, y, z, atoms, masks, own
            _select(nearest, constants[REACH2], starts, g, source, near)
            if close is not None:
                _select(nearest, constants[COUNT_CUTOFF] ** 2, starts, g, source, close)
                counts = coordinations[chunk]
                _count(g, n_members, groups, seen, constants, bond_length, close, blocks, memory[5], counts)


@inlined
def _count(
    g: int,
    n_members: int,
    groups: Groups,
    seen: Array,
    constants: Array,
    bond_length: Array,
    close: Near,
    places: Array,
    added: Array,
    coordination: Array,
) -> None:
    """Add the coordination numbers of a group and its close partners; see `find`."""
    one, six, ten, fifteen, thirty = _literals(constants)
    cutoff, per_width, steepness = constants[COUNT_CUTOFF], constants[COUNT_PER_WIDTH], constants[STEEPNESS]
    n_kinds, zero, begin, beyond2 = close.own.shape[1], one - one, close.starts[g, 0], (cutoff + one) * (cutoff + one)
    n_places = (close.starts[g, n_kinds] - begin) * LANES
    slopes, atoms = close.slopes[begin * LARGEST * LANES :], close.atoms[begin * LANES :]
    total = np.empty(LANES, constants.dtype)
    places[: 3 * n_places] = close.places[begin * 3 * LANES : begin * 3 * LANES + 3 * n_places]
    added[:n_places] = zero
    for member in range(n_members):
        _hide(places, 3 * LANES, close, g, member)
        i, (ux, uy, uz) = groups.members[groups.starts[g] + member], seen[member]
        total[:] = zero
        for k in range(n_kinds):
            length = bond_length[groups.kind[i], k]
            for block in range(close.starts[g, k] - begin, close.starts[g, k + 1] - begin):
                xyz, sums = places[block * 3 * LANES :], added[block * LANES :]
                slope_row = slopes[(block * LARGEST + member) * LANES :]
                for p in range(LANES):
                    dx, dy, dz = xyz[X + p] - ux, xyz[Y + p] - uy, xyz[Z + p] - uz
                    # Beyond the cutoff all is 0, at any distance.
                    r = np.sqrt(min(dx * dx + dy * dy + dz * dz, beyond2))
                    count = one / (one + _exp(steepness * (one - length / r)))
                    slope = -count * (one - count) * steepness * length / (r * r)
                    s = min(max((cutoff - r) * per_width, zero), one)
                    switch = s * s * s * (s * (s * six - fifteen) + ten)
                    slope_row[p] = (slope * switch - count * thirty * s * s * (one - s) * (one - s) * per_width) / r
                    sums[p] += count * switch
                    total[p] += count * switch
        coordination[i] += total.sum()
    for p in range(n_places):
        coordination[atoms[p]] += added[p]


@compiled
def interpolate(
    kind: Array,
    coordination: Array,
    reference: Array,
    references: Array,
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
        reference: (n_kinds, n_ref) coordination numbers of the reference systems.
        references: (n_kinds,) how many there are.
        reference_c6: (n_kinds, n_kinds, n_ref, n_ref).
        steepness: D3's k3.
        weights: (n_atoms, n_ref) set where there are as many.
        weights_slope: their derivatives by the coordination number, likewise.
        half: (n_atoms, n_kinds, n_ref) C6 with the reference systems of each element, likewise.
        half_slope: their derivatives, likewise.
    """
    for atom in range(len(kind)):
        number, w, slope, n = coordination[atom], weights[atom], weights_slope[atom], references[kind[atom]]
        lowest = np.inf
        for a in range(n):
            lowest = min(lowest, (number - reference[kind[atom], a]) ** 2)
        total = mean = 0.0
        for a in range(n):
            deviation = number - reference[kind[atom], a]
            w[a] = np.exp(steepness * (lowest - deviation**2))
            slope[a] = -2.0 * steepness * deviation
            total += w[a]
            mean += w[a] * slope[a]
        for a in range(n):
            slope[a] = w[a] * (slope[a] - mean / total) / total
            w[a] /= total
        for k in range(len(references)):
            for b in range(references[k]):
                value = change = 0.0
                for a in range(n):
                    value += w[a] * reference_c6[kind[atom], k, a, b]
                    change += slope[a] * reference_c6[kind[atom], k, a, b]
                half[atom, k, b], half_slope[atom, k, b] = value, change


@inlined
def _spread(
    g: int,
    groups: Groups,
    near: Near,
    blocks: Array,
    size: int,
    seen: Array,
    totals: Array,
    forces: Array,
    virial: Array,
) -> None:
    """Add the forces between a group and its partners, and their virial.

    Args:
        g: the group.
        groups: the groups.
        near: partners.
        blocks: rows of its partners, with places and derivatives.
        size: places of a block.
        seen: (>= n_members, 3) positions of its members.
        totals: (>= n_members, 3) derivatives of the energy by them, with the opposite sign.
        forces: (n_atoms, 3) added to.
        virial: (6,) xx, yy, zz, yz, xz, xy, added to.
    """
    first, last = near.starts[g, 0], near.starts[g, -1]
    cx, cy, cz = seen[0]
    xx = yy = zz = yz = xz = xy = blocks.dtype.type(0)
    for number in range(last - first):
        block, atoms = blocks[number * size :], near.atoms[(first + number) * LANES :]
        for p in range(LANES):
            x, y, z = block[X + p] - cx, block[Y + p] - cy, block[Z + p] - cz
            px, py, pz = block[PX + p], block[PY + p], block[PZ + p]
            xx += px * x
            yy += py * y
            zz += pz * z
            yz += py * z
            xz += px * z
            xy += px * y
        for p in range(LANES):
            forces[atoms[p], 0] -= block[PX + p]
            forces[atoms[p], 1] -= block[PY + p]
            forces[atoms[p], 2] -= block[PZ + p]
    for member in range(groups.starts[g + 1] - groups.starts[g]):
        i, (px, py, pz) = groups.members[groups.starts[g] + member], totals[member]
        x, y, z = seen[member, 0] - cx, seen[member, 1] - cy, seen[member, 2] - cz
        forces[i, 0] += px
        forces[i, 1] += py
        forces[i, 2] += pz
        xx -= px * x
        yy -= py * y
        zz -= pz * z
        yz -= py * z
        xz -= px * z
        xy -= px * y
    virial[0] += xx
    virial[1] += yy
    virial[2] += zz
    virial[3] += yz
    virial[4] += xz
    virial[5] += xy


@compiled
def energies(
    first: int,
    last: int,
    groups: Groups,
    structure: Structure,
    near: Near,
    constants: Array,
    pair_table: Array,
    factors: Array,
    orders: tuple[int, ...],
    references: Array,
    weights: Array,
    weights_slope: Array,
    half: Array,
    half_slope: Array,
    blocks: Array,
    all_sums: Array,
    by_coordinations: Array | None,
    all_forces: Array,
    virials: Array,
) -> None:
    """S0 and S1 of the atoms of chunks, derivatives of the energy by coordination numbers, and what else there is of
    forces and virials: those at constant coordination numbers.

    Args:
        first, last, groups, structure, near, constants, blocks: see `find`.
        pair_table: (n_systems, n_kinds, n_kinds, 4) a2 R0, (a3 R0 + a4)^6, and shifts of the two sums.
        factors: (n_systems, 2) factors of the two sums in the energy.
        orders: as many numbers as an element has reference systems at most: how many is compiled.
        references: (n_kinds,) how many there are.
        weights, weights_slope, half, half_slope: see `interpolate`.
        all_sums: (n_chunks, n_systems, 2) added to.
        by_coordinations: (n_chunks, n_atoms) added to, or None where C6 does not depend on it.
        all_forces: (n_chunks, n_atoms, 3) added to.
        virials: (n_chunks, n_systems, 6) added to: xx, yy, zz, yz, xz, xy.
    """
    one, six, ten, fifteen, thirty = _literals(constants)
    to_bohr, cutoff, per_width, zero = constants[TO_BOHR], constants[CUTOFF], constants[PER_WIDTH], one - one
    n_kinds, n_ref = near.own.shape[1], len(orders)
    slopes, size = W + n_ref * LANES, W + (2 * n_ref + 1) * LANES
    shares, beyond2 = size - LANES, (cutoff + one) * (cutoff + one)
    seen, totals = np.empty((LARGEST, 3), constants.dtype), np.empty((LARGEST, 3), constants.dtype)
    # Rows of sums: two, and the derivatives by the coordinates and the coordination number of a member.
    sums = np.empty(6 * LANES, constants.dtype)
    parts, changes = np.empty(n_ref, half.dtype), np.empty(n_ref, half.dtype)
    for chunk in range(first, last):
        for g in groups.dealt[groups.chunks[chunk] : groups.chunks[chunk + 1]]:
            n_members, system = _see(g, groups, structure, seen), groups.system[groups.members[groups.starts[g]]]
            begin, f0, f1 = near.starts[g, 0], factors[system, 0], factors[system, 1]
            for k in range(n_kinds):
                for number in range(near.starts[g, k], near.starts[g, k + 1]):
                    block, atoms = blocks[(number - begin) * size :], near.atoms[number * LANES :]
                    block[:PX] = near.places[number * 3 * LANES : number * 3 * LANES + PX]
                    block[PX:size] = zero
                    for p in range(LANES):
                        for b in range(references[k]):
                            block[W + b * LANES + p] = weights[atoms[p], b]
                            block[slopes + b * LANES + p] = weights_slope[atoms[p], b]
            for member in range(n_members):
                i, (ux, uy, uz) = groups.members[groups.starts[g] + member], seen[member]
                _hide(blocks, size, near, g, member)
                sums[:] = zero
                for k in range(n_kinds):
                    midpoint, damping, shift0, shift1 = pair_table[system, groups.kind[i], k]
                    parts[:], changes[:] = half[i, k], half_slope[i, k]
                    for number in range(near.starts[g, k] - begin, near.starts[g, k + 1] - begin):
                        block = blocks[number * size :]
                        for p in range(LANES):
                            dx, dy, dz = block[X + p] - ux, block[Y + p] - uy, block[Z + p] - uz
                            # Beyond the cutoff all is 0, at any distance.
                            distance = np.sqrt(min(dx * dx + dy * dy + dz * dz, beyond2))
                            r = distance * to_bohr
                            r3 = r * r * r
                            # Three divisions in one.
                            power, decay = r3 * r3 + damping, one + _exp(r - midpoint)
                            inverse = one / (power * decay * distance)
                            long_range, sigmoid = decay * distance * inverse, power * distance * inverse
                            long_slope = -six * r3 * r * r * long_range * long_range
                            medium_slope = sigmoid * (long_slope - long_range * (one - sigmoid))
                            part0, part1 = long_range - shift0, long_range * sigmoid - shift1
                            s = min(max((cutoff - distance) * per_width, zero), one)
                            switch = s * s * s * (s * (s * six - fifteen) + ten)
                            switch_slope = -thirty * s * s * (one - s) * (one - s) * per_width
                            energy = f0 * part0 + f1 * part1
                            slope = switch * to_bohr * (f0 * long_slope + f1 * medium_slope) + switch_slope * energy
                            c6 = zero
                            for b in range(n_ref):
                                c6 += parts[b] * block[W + b * LANES + p]
                            pull = c6 * slope * power * decay * inverse
                            block[PX + p] += pull * dx
                            block[PY + p] += pull * dy
                            block[PZ + p] += pull * dz
                            sums[p] += c6 * switch * part0
                            sums[LANES + p] += c6 * switch * part1
                            sums[2 * LANES + p] += pull * dx
                            sums[3 * LANES + p] += pull * dy
                            sums[4 * LANES + p] += pull * dz
                            if by_coordinations is not None:
                                by_own = by_other = zero
                                for b in range(n_ref):
                                    by_own += changes[b] * block[W + b * LANES + p]
                                    by_other += parts[b] * block[slopes + b * LANES + p]
                                sums[5 * LANES + p] += switch * energy * by_own
                                block[shares + p] += switch * energy * by_other
                all_sums[chunk, system, 0] += sums[:LANES].sum()
                all_sums[chunk, system, 1] += sums[LANES : 2 * LANES].sum()
                for k in range(3):
                    totals[member, k] = sums[(2 + k) * LANES : (3 + k) * LANES].sum()
                if by_coordinations is not None:
                    by_coordinations[chunk, i] += sums[5 * LANES :].sum()
            _hide(blocks, size, near, g, -1)
            _spread(g, groups, near, blocks, size, seen, totals, all_forces[chunk], virials[chunk, system])
            if by_coordinations is not None:
                for number in range(begin, near.starts[g, n_kinds]):
                    block, atoms = blocks[(number - begin) * size :], near.atoms[number * LANES :]
                    for p in range(LANES):
                        by_coordinations[chunk, atoms[p]] += block[shares + p]


@compiled
def pull(
    first: int,
    last: int,
    groups: Groups,
    structure: Structure,
    close: Near,
    by_coordination: Array,
    blocks: Array,
    all_forces: Array,
    virials: Array,
) -> None:
    """Forces and virials through the coordination numbers, of the close partners of the groups of chunks.

    Args:
        first, last, groups, structure, close, blocks: see `find`.
        by_coordination: (n_atoms,) derivatives of the energy by the coordination numbers.
        all_forces, virials: see `energies`.
    """
    dtype, n_kinds = blocks.dtype, close.own.shape[1]
    seen, totals = np.empty((LARGEST, 3), dtype), np.empty((LARGEST, 3), dtype)
    sums = np.empty(3 * LANES, dtype)
    for chunk in range(first, last):
        for g in groups.dealt[groups.chunks[chunk] : groups.chunks[chunk + 1]]:
            n_members, system = _see(g, groups, structure, seen), groups.system[groups.members[groups.starts[g]]]
            begin, end = close.starts[g, 0], close.starts[g, n_kinds]
            for number in range(begin, end):
                block, atoms = blocks[(number - begin) * (W + LANES) :], close.atoms[number * LANES :]
                block[:PX] = close.places[number * 3 * LANES : number * 3 * LANES + PX]
                block[PX:W] = dtype.type(0)
                for p in range(LANES):
                    block[W + p] = by_coordination[atoms[p]]
            for member in range(n_members):
                own, (ux, uy, uz) = by_coordination[groups.members[groups.starts[g] + member]], seen[member]
                sums[:] = dtype.type(0)
                for number in range(begin, end):
                    block = blocks[(number - begin) * (W + LANES) :]
                    slopes = close.slopes[(number * LARGEST + member) * LANES :]
                    for p in range(LANES):
                        change = (own + block[W + p]) * slopes[p]
                        dx, dy, dz = block[X + p] - ux, block[Y + p] - uy, block[Z + p] - uz
                        px, py, pz = change * dx, change * dy, change * dz
                        block[PX + p] += px
                        block[PY + p] += py
                        block[PZ + p] += pz
                        sums[p] += px
                        sums[LANES + p] += py
                        sums[2 * LANES + p] += pz
                for k in range(3):
                    totals[member, k] = sums[k * LANES : (k + 1) * LANES].sum()
            _spread(g, groups, close, blocks, W + LANES, seen, totals, all_forces[chunk], virials[chunk, system])
