"""Frames that are copies of one geometry are found, and never stand on both sides of a split."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from physembed.errors import PhysEmbedError
from physembed.liquids.rigid import scale_rigid
from physembed.training.origins import origins
from physembed.training.trainer import split

ETHANOL = molecule("CH3CH2OH")
EDGE_A = 6.0
"""Of the part of the box that a molecule has."""


def box(rng: np.random.Generator, molecules: int = 8) -> Atoms:
    """Ethanol with displaced atoms, turned at random, on a cubic lattice of 2 x 2 x 2 places."""
    positions = []
    for place in np.ndindex(2, 2, 2):
        own = ETHANOL.copy()
        own.positions += rng.normal(0, 0.05, own.positions.shape)
        own.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
        positions.append(own.positions - own.positions.mean(axis=0) + EDGE_A * (np.array(place) + 0.5))
    frame = Atoms(
        np.tile(ETHANOL.numbers, molecules), np.concatenate(positions[:molecules]), cell=[2 * EDGE_A] * 3, pbc=True
    )
    frame.arrays["molecule"] = np.repeat(np.arange(molecules), len(ETHANOL))
    return frame


def stretched(frame: Atoms, molecules: int) -> Atoms:
    """A copy in which the O-H bond of some molecules is 0.1 Å longer."""
    copy, size = frame.copy(), len(ETHANOL)
    for number in range(molecules):
        oxygen = number * size + 2
        hydrogen = oxygen + 1
        assert copy.symbols[oxygen] == "O" and copy.get_distance(oxygen, hydrogen, mic=True) < 1.2
        copy.positions[hydrogen] += 0.1 * copy.get_distance(oxygen, hydrogen, mic=True, vector=True)
    return copy


def groups(frames: list[Atoms]) -> list[list[int]]:
    numbers = origins(frames)
    return [np.flatnonzero(numbers == number).tolist() for number in dict.fromkeys(numbers.tolist())]


def test_volume_scans_clusters_turned_wrapped_and_modified_frames_belong_to_their_box() -> None:
    rng = np.random.default_rng(1)
    boxes = [box(rng) for _ in range(6)]
    size = len(ETHANOL)
    cluster = Atoms(boxes[0].numbers[: 3 * size], boxes[0].positions[: 3 * size])
    cluster.rotate(77, (1, 2, 3))
    wrapped = scale_rigid(boxes[1], 1.2)
    wrapped.positions += 2.5
    wrapped.wrap()
    shuffled = boxes[2][rng.permutation(len(boxes[2]))]
    rounded = boxes[3].copy()
    rounded.positions = rounded.positions.round(4)
    copies = [scale_rigid(boxes[0], 0.95), cluster, wrapped, shuffled, rounded, stretched(boxes[4], 3)]
    assert groups(boxes + copies) == [[0, 6, 7], [1, 8], [2, 9], [3, 10], [4, 11], [5]]


def test_a_frame_with_most_of_its_molecules_modified_is_another() -> None:
    frame = box(np.random.default_rng(2))
    assert groups([frame, stretched(frame, 5)]) == [[0], [1]]
    assert groups([frame, stretched(frame, 4)]) == [[0, 1]]


def test_rigid_molecules_tell_nothing_but_whole_copies_are_found() -> None:
    """Rigid water: every molecule is like every other, which must not make all frames one."""
    rng = np.random.default_rng(3)
    water, frames = molecule("H2O"), []
    for _ in range(4):
        positions = []
        for place in np.ndindex(2, 2, 1):
            own = water.copy()
            own.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
            positions.append(own.positions + 4.0 * np.array(place))
        frames.append(Atoms(np.tile(water.numbers, 4), np.concatenate(positions), cell=[8, 8, 6], pbc=True))
    moved = frames[1].copy()
    moved.positions += 1.7
    moved.wrap()
    assert groups([*frames, moved]) == [[0], [1, 4], [2], [3]]


def test_argon_and_single_atoms() -> None:
    rng = np.random.default_rng(4)
    clusters = [Atoms("Ar5", rng.uniform(0, 12, (5, 3))) for _ in range(3)]
    turned = clusters[2].copy()
    turned.rotate(50, (1, 1, 0))
    assert groups([*clusters, turned, Atoms("Ar"), Atoms("Ar")]) == [[0], [1], [2, 3], [4], [5]]


def test_our_own_frames_say_where_they_come_from() -> None:
    frames = [
        Atoms("H", info={"liquid": liquid, "source_frame": source}) for liquid in "ab" for source in (0, 0, 1, 2, 0)
    ]
    assert groups(frames) == [[0, 1, 4], [2], [3], [5, 6, 9], [7], [8]]


@pytest.mark.parametrize("named", [True, False])
def test_no_geometry_stands_on_both_sides_of_a_split(named: bool) -> None:
    rng = np.random.default_rng(5)
    frames, sources = [], []
    for source in range(12):
        first = box(rng)
        for scale in (1.0, 1.05, 1.1):
            frame = scale_rigid(first, scale)
            frame.info["origin"] = "md" if scale == 1 else "volume_scan"
            if named:
                frame.info["source_frame"] = source
            frame.info["number"] = len(frames)
            frames.append(frame)
            sources.append(source)
    for seed in range(20):
        training, validation = split(frames, 0.25, seed)
        of_training, of_validation = (
            {sources[frame.info["number"]] for frame in part} for part in (training, validation)
        )
        assert not of_training & of_validation
        assert len(validation) == 9 and len(training) == 27


def test_sizes_of_geometries_bound_how_near_the_share_comes() -> None:
    def named(sizes: list[int]) -> list[Atoms]:
        return [Atoms("H", info={"source_frame": source}) for source, size in enumerate(sizes) for _ in range(size)]

    for sizes, fraction, expected in (
        ([5] * 10, 0.05, {5}),
        ([5] * 10, 0.2, {10}),
        ([9, 1], 0.5, {1, 9}),
        ([4, 4], 0.9, {4}),
    ):
        counts = {len(split(named(sizes), fraction, seed)[1]) for seed in range(12)}
        assert counts == expected
    with pytest.raises(PhysEmbedError, match="all 3 frames are copies of one geometry"):
        split(named([3]), 0.5, seed=1)
