"""Search for pairs closer than a distance in periodic and isolated systems, compiled for a CPU."""

from __future__ import annotations

import numpy as np

from physembed.numba_kernels import Array, compiled

MOST_CELLS = 64
"""Maximum number of grid cells along a direction."""


def fractional_reach(frames: Array, reach_A: float) -> Array:
    """(n_systems, 3) by how much the fractional coordinates of two atoms within this distance differ at most.

    Args:
        frames: (n_systems, 3, 3) cells in Å, lattice vectors as rows.
        reach_A: distance in Å.
    """
    return np.asarray(reach_A * np.linalg.norm(np.linalg.inv(frames), axis=1))


def shift_ranges(across: Array, periodic: Array) -> Array:
    """(3,) largest number of lattice vectors, in each direction, between atoms in their cells within the reach.

    Args:
        across: (n_systems, 3) of `fractional_reach`.
        periodic: (n_systems, 3) bool.
    """
    return (np.floor(across).astype(np.int64) + 1).max(0, where=periodic, initial=0)


@compiled
def search(
    fractional: Array,
    frame: Array,
    periodic: Array,
    ranges: Array,
    fractional_reach: Array,
    reach: float,
    half: bool,
    starts: Array,
) -> tuple[Array, Array]:
    """Pairs of one system, in the order of first atom, second atom and shift.

    An atom with non-finite coordinates has no pairs.

    Args:
        fractional: (n_atoms, 3) coordinates, in the unit cell along the periodic directions.
        frame: (3, 3) cell in Å, lattice vectors as rows.
        periodic: (3,) bool.
        ranges: (3,) shifts along each lattice vector are numbered from -ranges to ranges.
        fractional_reach: (3,) of `fractional_reach`.
        reach: distance in Å.
        half: each pair in one direction only: the one in which the second atom or, for an atom and its own image, the
            shift is greater.
        starts: (n_atoms + 1,) output: index of the first pair of each atom, and the number of pairs.

    Returns:
        second atoms and shift numbers, (n_pairs,) each.
    """
    n_atoms = len(fractional)
    strides = np.ones(3, np.int64)
    strides[1] = 2 * ranges[2] + 1
    strides[0] = (2 * ranges[1] + 1) * strides[1]
    across, most = np.zeros(3), np.zeros(3, np.int64)
    for d in range(3):
        if periodic[d]:
            across[d] = fractional_reach[d] * (1.0 + 1e-6) + 1e-6
            most[d] = ranges[d]

    # Images within reach of an atom in the cell.
    size = 0
    for turn in range(2):
        if turn:
            atom_of, number_of, places = np.empty(size, np.int64), np.empty(size, np.int64), np.empty((size, 3))
        size = 0
        for atom in range(n_atoms):
            if not abs(fractional[atom, 0] + fractional[atom, 1] + fractional[atom, 2]) < np.inf:
                continue
            for a in range(-most[0], most[0] + 1):
                sa = fractional[atom, 0] + a
                if periodic[0] and not (-across[0] <= sa <= 1.0 + across[0]):
                    continue
                for b in range(-most[1], most[1] + 1):
                    sb = fractional[atom, 1] + b
                    if periodic[1] and not (-across[1] <= sb <= 1.0 + across[1]):
                        continue
                    for c in range(-most[2], most[2] + 1):
                        sc = fractional[atom, 2] + c
                        if periodic[2] and not (-across[2] <= sc <= 1.0 + across[2]):
                            continue
                        if turn:
                            atom_of[size] = atom
                            number_of[size] = (
                                (a + ranges[0]) * strides[0] + (b + ranges[1]) * strides[1] + c + ranges[2]
                            )
                            for d in range(3):
                                places[size, d] = sa * frame[0, d] + sb * frame[1, d] + sc * frame[2, d]
                        size += 1

    # A grid, and the images sorted by its cells.
    low, width, shape, steps = np.zeros(3), np.ones(3), np.ones(3, np.int64), np.zeros(3, np.int64)
    if size:
        for d in range(3):
            low[d] = high = places[0, d]
            for image in range(1, size):
                low[d], high = min(low[d], places[image, d]), max(high, places[image, d])
            width[d] = max(reach / 2, (high - low[d]) / MOST_CELLS) * (1.0 + 1e-9)
            shape[d] = min(int((high - low[d]) / width[d]), MOST_CELLS) + 1
            steps[d] = int(np.ceil(reach / width[d]))
    cell = np.empty(size, np.int64)
    first_of = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int64)
    for image in range(size):
        at = 0
        for d in range(3):
            at = at * shape[d] + min(int((places[image, d] - low[d]) / width[d]), shape[d] - 1)
        cell[image] = at
        first_of[at + 1] += 1
    free, sorted_places = np.empty(len(first_of), np.int64), np.empty((size, 3))
    for at in range(len(first_of)):
        if at:
            first_of[at] += first_of[at - 1]
        free[at] = first_of[at]
    sorted_atom, sorted_number = np.empty(size, np.int64), np.empty(size, np.int64)
    for image in range(size):
        at = free[cell[image]]
        free[cell[image]] += 1
        sorted_atom[at], sorted_number[at] = atom_of[image], number_of[image]
        for d in range(3):
            sorted_places[at, d] = places[image, d]

    # The zero shift has the middle number.
    none = ranges[0] * strides[0] + ranges[1] * strides[1] + ranges[2]
    bits = np.int64(0)
    while (np.int64(1) << bits) <= 2 * none:
        bits += 1
    codes, found = np.empty(max(16, 32 * n_atoms), np.int64), 0
    starts[0] = 0
    for atom in range(n_atoms):
        place, here = np.zeros(3), np.zeros(3, np.int64)
        for d in range(3):
            place[d] = (
                fractional[atom, 0] * frame[0, d]
                + fractional[atom, 1] * frame[1, d]
                + fractional[atom, 2] * frame[2, d]
            )
        if abs(place[0] + place[1] + place[2]) < np.inf:
            for d in range(3):
                here[d] = min(int((place[d] - low[d]) / width[d]), shape[d] - 1)
            z_low, z_high = max(here[2] - steps[2], 0), min(here[2] + steps[2], shape[2] - 1)
            for a in range(max(here[0] - steps[0], 0), min(here[0] + steps[0], shape[0] - 1) + 1):
                for b in range(max(here[1] - steps[1], 0), min(here[1] + steps[1], shape[1] - 1) + 1):
                    row = (a * shape[1] + b) * shape[2]
                    begin, end = first_of[row + z_low], first_of[row + z_high + 1]
                    while len(codes) < found + end - begin:
                        more = np.empty(2 * len(codes), np.int64)
                        for at in range(found):
                            more[at] = codes[at]
                        codes = more
                    for image in range(begin, end):
                        dx = sorted_places[image, 0] - place[0]
                        dy = sorted_places[image, 1] - place[1]
                        dz = sorted_places[image, 2] - place[2]
                        other, number = sorted_atom[image], sorted_number[image]
                        if half:
                            wanted = other > atom or (other == atom and number > none)
                        else:
                            wanted = other != atom or number != none
                        codes[found] = (other << bits) + number
                        found += wanted and dx * dx + dy * dy + dz * dz < reach * reach
        codes[starts[atom] : found].sort()
        starts[atom + 1] = found
    return codes[:found] >> bits, codes[:found] & ((np.int64(1) << bits) - 1)
