"""Which frames of a training set come from one geometry, so that copies never stand on both sides of a split.

Reference data hold rigid copies on purpose: the molecules of a frame moved apart or together (volume scans), clusters
cut out of a box, frames of which a few bonds were modified. A model that was trained on one copy knows the others.

Frames of this project say where they come from (`liquid` and `source_frame` in their info). Of other frames the
molecules are compared: two frames belong together if molecules that are equal up to rigid motion make up half of the
atoms of the smaller one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

BOND_FACTOR = 1.15
"""Atoms nearer than this times the sum of their covalent radii are bonded."""
TOLERANCE_A = 1e-3
"""Molecules all of whose distances agree to this are the same geometry; files keep three decimals or more."""
SHARED = 0.5
"""Share of the atoms of the smaller frame in molecules that both have, from which two frames belong together."""
PROJECTIONS = 4
"""Of a molecule's distances, by which candidates are found before all distances are compared."""


def origins(frames: Sequence[Atoms]) -> NDArray[np.int64]:
    """(n_frames,) number of the geometry that each frame comes from, counted from 0.

    Args:
        frames: with cell and periodicity; molecules may be wrapped.
    """
    named: dict[tuple[str, str], int] = {}
    first, second = [], []
    others = []
    for index, frame in enumerate(frames):
        if "source_frame" in frame.info:
            key = str(frame.info.get("liquid", "")), str(frame.info["source_frame"])
            first.append(named.setdefault(key, index))
            second.append(index)
        else:
            others.append(index)
    for a, b in _copies([frames[index] for index in others]):
        first.append(others[a])
        second.append(others[b])
    return _components(len(frames), first, second)


def _components(count: int, first: Sequence[int], second: Sequence[int]) -> NDArray[np.int64]:
    """(count,) number of the connected component of each node, given the ends of the links."""
    links = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def _copies(frames: Sequence[Atoms]) -> Iterator[tuple[int, int]]:
    """Pairs of frames that belong together; chains of pairs where more than two do."""
    by_kind: dict[tuple[int, ...], list[tuple[int, NDArray[np.float64]]]] = defaultdict(list)
    for index, frame in enumerate(frames):
        for numbers, distances in _fingerprints(frame):
            by_kind[numbers].append((index, distances))
    shared: Counter[tuple[int, int]] = Counter()
    for numbers, molecules in by_kind.items():
        same = _equal(np.array([distances for _, distances in molecules]))
        frames_of: dict[int, set[int]] = defaultdict(set)
        for (index, _), geometry in zip(molecules, same, strict=True):
            frames_of[int(geometry)].add(index)
        for members in frames_of.values():
            for pair in pairwise(sorted(members)):
                shared[pair] += len(numbers)
    for (a, b), atoms in shared.items():
        if atoms >= SHARED * min(len(frames[a]), len(frames[b])):
            yield a, b


def _fingerprints(frame: Atoms) -> list[tuple[tuple[int, ...], NDArray[np.float64]]]:
    """Atomic numbers and sorted distances (by pair of elements) of each molecule that can tell the frame from others.

    These are molecules of three atoms or more whose geometry is not repeated within the frame, as it is where a model
    holds them rigid. A frame without any is its own fingerprint as a whole.
    """
    found = [
        _fingerprint(frame.numbers[atoms], pdist(positions))
        for atoms, positions in _molecules(frame)
        if len(atoms) >= 3
    ]
    kept = []
    for numbers in {numbers for numbers, _ in found}:
        alike = [distances for other, distances in found if other == numbers]
        geometries = _equal(np.array(alike)).tolist()
        repeats = Counter(geometries)
        kept += [(numbers, own) for own, geometry in zip(alike, geometries, strict=True) if repeats[geometry] == 1]
    if kept or len(frame) < 2:
        return kept
    upper = np.triu_indices(len(frame), 1)
    return [_fingerprint(frame.numbers, frame.get_all_distances(mic=bool(frame.pbc.any()))[upper])]


def _fingerprint(
    numbers: NDArray[np.int64], distances: NDArray[np.float64]
) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Sorted atomic numbers, and the distances sorted within each pair of elements."""
    first, second = np.triu_indices(len(numbers), 1)
    low, high = np.minimum(numbers[first], numbers[second]), np.maximum(numbers[first], numbers[second])
    return tuple(sorted(numbers.tolist())), distances[np.lexsort((distances, high, low))]


def _molecules(frame: Atoms) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Atoms and positions (Å) of each molecule, made whole along its bonds."""
    first, second, vectors = neighbor_list("ijD", frame, natural_cutoffs(frame, mult=BOND_FACTOR))
    bonds = dict(zip(zip(first.tolist(), second.tolist(), strict=True), vectors, strict=True))
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(frame), len(frame))).tocsr()
    left = np.ones(len(frame), dtype=bool)
    for root in range(len(frame)):
        if not left[root]:
            continue
        order, before = breadth_first_order(graph, root, directed=False)
        left[order] = False
        positions = {root: np.zeros(3)}
        for atom in order[1:].tolist():
            positions[atom] = positions[int(before[atom])] + bonds[int(before[atom]), atom]
        yield np.asarray(order, dtype=np.int64), np.array([positions[atom] for atom in order.tolist()])


def _equal(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) number of the geometry of each of n molecules, from their sorted distances (n, n_pairs) in Å."""
    count, pairs = distances.shape
    directions = np.random.default_rng(0).normal(size=(pairs, PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    # A difference of TOLERANCE_A in each distance has at most this length.
    near = KDTree(distances @ directions).query_pairs(TOLERANCE_A * np.sqrt(pairs), output_type="ndarray")
    same = np.abs(distances[near[:, 0]] - distances[near[:, 1]]).max(axis=1, initial=0.0) < TOLERANCE_A
    return _components(count, near[same, 0].tolist(), near[same, 1].tolist())
