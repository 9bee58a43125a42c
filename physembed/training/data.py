"""Frames with labels, read from data sets under whatever names these have there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from physembed.training.data_check import ISOLATED, Keys


def read_labelled(path: str | Path, keys: Keys) -> list[Atoms]:
    """The frames of an extended XYZ file with their labels under MACE's names, and without calculators.

    ASE takes the names `energy`, `forces` and `stress` for results of a calculator, which MACE's trainer does not read.

    Args:
        path: the file.
        keys: names of the labels in it.

    Returns:
        Frames with `REF_energy` (eV) and `REF_stress` (eV/Å^3) in info and `REF_forces` (eV/Å) in arrays, where they
        are in the file; none of an empty file.
    """
    frames: list[Atoms] = ase.io.read(path, ":") if Path(path).stat().st_size else []  # ASE refuses an empty file
    for frame in frames:
        results = frame.calc.results if frame.calc else {}
        frame.calc = None
        for values, name, ours in (
            (frame.info, keys.energy, "REF_energy"),
            (frame.info, keys.stress, "REF_stress"),
            (frame.arrays, keys.forces, "REF_forces"),
        ):
            value = values.pop(name, results.get(name))
            values.pop(ours, None)
            if value is not None:
                values[ours] = np.asarray(value) if values is frame.arrays else value
    return list(frames)


def isolated(frame: Atoms) -> bool:
    """Whether a frame gives the E0 of its element (MACE's convention)."""
    return len(frame) == 1 and frame.info.get("config_type") == ISOLATED


def apart(frames: Sequence[Atoms]) -> tuple[list[Atoms], list[Atoms]]:
    """The frames of isolated atoms, and all others."""
    return [frame for frame in frames if isolated(frame)], [frame for frame in frames if not isolated(frame)]
