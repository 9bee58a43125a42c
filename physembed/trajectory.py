"""Frames on disk: extended XYZ, which ASE and MDAnalysis both read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import ase.io
from ase import Atoms

from physembed.files import atomic


def write_trajectory(path: str | Path, frames: Sequence[Atoms]) -> None:
    """Write frames with what they carry in `info` and `arrays`; positions in Å."""
    with atomic(path) as temporary:
        ase.io.write(os.fspath(temporary), list(frames), format="extxyz")
