"""Checks of the model files and training sets that a user names."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from physembed.errors import PhysEmbedError
from physembed.models.description import describe_model
from physembed.provenance import file_hash


def check_model_file(
    key: str,
    path: str | Path,
    sha256: str | None,
    liquids: Mapping[str, Collection[int]],
) -> dict[str, Any]:
    """Check a MACE model. Its hash is compared before it is looked into, and nothing in it is run.

    Args:
        key: what names the file in the configuration; it begins each message.
        path: the file.
        sha256: hash that it must have, if that is known.
        liquids: atomic numbers of each liquid that the model is for.

    Returns:
        The description of the model (see `describe_model`).

    Raises:
        PhysEmbedError: there is no such file, its hash differs, it holds no MACE model or one of several heads with
            none called default, or it does not know an element of a liquid.
    """
    _check_file(key, path, sha256)
    description = describe_model(path, key)
    _check_elements(f"{key}: {path}: the model", {atomic_numbers[e] for e in description["elements"]}, liquids)
    return description


def check_training_data(
    key: str, path: str | Path, sha256: str | None, liquids: Mapping[str, Collection[int]], *, stress: bool
) -> None:
    """Check that each frame of a training set has what the training asks for.

    Args:
        key: what names the file in the configuration; it begins each message.
        path: extended XYZ with REF_energy (eV), REF_forces (eV/Å) and REF_stress (eV/Å^3).
        sha256: hash that it must have, if that is known.
        liquids: atomic numbers of each liquid that the model is for.
        stress: whether stress is asked for, and with it a cell and periodicity.

    Raises:
        PhysEmbedError: there is no such file, its hash differs, it is no extended XYZ, frames lack something (the
            message names the first and how many do), or no frame has an element of a liquid.
    """
    _check_file(key, path, sha256)
    frames, known, lacking = _contents(key, Path(path), Path(path).stat().st_mtime_ns, stress)
    if not frames:
        raise PhysEmbedError(f"{key}: {path}: holds no frame")
    for name, which in lacking.items():
        remedy = "; add them or set training.stress_weight to 0" if name in ("REF_stress", "a periodic cell") else ""
        raise PhysEmbedError(
            f"{key}: {path}: frame {which[0]} lacks {name}, as do {len(which)} of {frames} frames{remedy}"
        )
    _check_elements(f"{key}: {path}: the training set", known, liquids)


@lru_cache  # a plan asks twice, and large sets take seconds
def _contents(key: str, path: Path, _changed: int, stress: bool) -> tuple[int, set[int], dict[str, list[int]]]:
    """Number of frames, atomic numbers, and for what is lacking the frames that lack it, of a file as last changed."""
    lacking: dict[str, list[int]] = {}
    known: set[int] = set()
    frames = 0
    for index, frame in enumerate(_frames(key, path)):
        frames += 1
        known |= frame.elements
        for name in _lacks(frame, stress):
            lacking.setdefault(name, []).append(index)
    return frames, known, lacking


def _check_file(key: str, path: str | Path, sha256: str | None) -> None:
    if "://" in str(path):
        raise PhysEmbedError(f"{key}: {path}: is an address; download the file, check it and give its path")
    if not Path(path).is_file():
        raise PhysEmbedError(f"{key}: {path}: {'is no file' if Path(path).exists() else 'there is no such file'}")
    if sha256 is not None and (found := file_hash(path)) != sha256:
        raise PhysEmbedError(
            f"{key}: {path}: has SHA-256 {found}, not {sha256}; it is another file than the one that was meant"
        )


def _check_elements(what: str, known: set[int], liquids: Mapping[str, Collection[int]]) -> None:
    for liquid, numbers in liquids.items():
        missing = [chemical_symbols[z] for z in sorted(numbers) if z not in known]
        if missing:
            has = ", ".join(chemical_symbols[z] for z in sorted(known))
            raise PhysEmbedError(f"{what} does not know {', '.join(missing)} of liquid {liquid} (it has {has})")


@dataclass(frozen=True)
class _Frame:
    info: dict[str, Any]
    """Values of the comment line."""
    columns: dict[str, tuple[str, int]]
    """Kind and number of the columns of each per-atom property."""
    elements: set[int]
    """Atomic numbers."""


def _frames(key: str, path: str | Path) -> Iterator[_Frame]:
    """The frames of an extended XYZ file, without the values of the atoms: large sets are checked often."""
    from ase.io.extxyz import key_val_str_to_dict

    line = 0
    with Path(path).open(encoding="utf-8", errors="replace") as lines:
        for first in lines:
            line += 1
            if not first.strip():
                continue
            try:
                count = int(first)
                info = key_val_str_to_dict(next(lines))
                properties = str(info["Properties"]).split(":")
                columns = {
                    name: (kind, int(number))
                    for name, kind, number in zip(properties[::3], properties[1::3], properties[2::3], strict=True)
                }
                width = sum(number for _, number in columns.values())
                place = sum(columns[name][1] for name in list(columns)[: list(columns).index("species")])
                rows = [row.split() for row in islice(lines, count)]
                if len(rows) != count or any(len(row) != width for row in rows):
                    raise ValueError("atoms or values are missing")
                elements = {atomic_numbers[row[place]] for row in rows}
            except (ValueError, KeyError, StopIteration) as error:
                reason = f"{type(error).__name__}: {error}"
                raise PhysEmbedError(
                    f"{key}: {path}: line {line}: no frame of extended XYZ begins here ({reason})"
                ) from error
            line += 1 + count
            yield _Frame(info, columns, elements)


def _lacks(frame: _Frame, stress: bool) -> Iterator[str]:
    """Names of what a frame lacks."""
    if not _numbers(frame.info.get("REF_energy"), (1,)):
        yield "REF_energy"
    if frame.columns.get("REF_forces") != ("R", 3):
        yield "REF_forces"
    if stress:
        if not _numbers(frame.info.get("REF_stress"), (6, 9)):
            yield "REF_stress"
        lattice = np.asarray(frame.info.get("Lattice", 0.0))
        whole = _numbers(lattice, (9,)) and abs(np.linalg.det(lattice.reshape(3, 3))) > 0
        if not (whole and np.all(frame.info.get("pbc", True))):
            yield "a periodic cell"


def _numbers(value: Any, sizes: tuple[int, ...]) -> bool:
    """Whether a value is so many finite numbers."""
    array = np.asarray(value)
    return array.dtype.kind in "if" and array.size in sizes and all(map(math.isfinite, array.ravel()))
