"""Frames on disk: extended XYZ, which ASE and MDAnalysis both read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from physembed.files import atomic


def write_trajectory(path: str | Path, frames: Sequence[Atoms]) -> None:
    """Write frames with their `info` and `arrays`; positions in Å."""
    with atomic(path) as temporary:
        ase.io.write(os.fspath(temporary), list(frames), format="extxyz")


def read_runs(folder: str | Path) -> dict[int, list[Atoms]]:
    """The recorded frames of each replica of a stability run, by its number."""
    files = sorted(Path(folder).glob("replica_*.xyz"))
    return {int(file.stem.partition("_")[2]): ase.io.read(file, ":") for file in files}


def spread(frames: Sequence[Atoms], count: int) -> list[Atoms]:
    """`count` evenly spaced frames, including the last. Frames repeat if there are fewer; none if there are none."""
    if not frames:
        return []
    rows = np.linspace(len(frames) - 1, 0, count).round().astype(int)[::-1]
    return [frames[row] for row in rows]
