"""Checks of the files that a user names: a model, and what holds for training sets alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers, chemical_symbols

from physembed.errors import PhysEmbedError
from physembed.model_files.description import describe_model
from physembed.provenance import file_hash


def check_model_file(
    key: str,
    path: str | Path,
    sha256: str | None,
    systems: Mapping[str, Collection[int]],
    kind: str = "liquid",
) -> dict[str, Any]:
    """Check a MACE model. Its hash is compared before it is looked into, and nothing in it is run.

    Args:
        key: what names the file in the configuration; it begins each message.
        path: the file.
        sha256: hash that it must have, if that is known.
        systems: atomic numbers of each liquid or molecule that the model is for.
        kind: what they are called.

    Returns:
        The description of the model (see `describe_model`).

    Raises:
        PhysEmbedError: there is no such file, its hash differs, it holds no MACE model or one of several heads with
            none called default, or it does not know an element of a system.
    """
    check_file(key, path, sha256)
    description = describe_model(path, key)
    check_elements(f"{key}: {path}: the model", {atomic_numbers[e] for e in description["elements"]}, systems, kind)
    return description


LFS_POINTER = b"version https://git-lfs.github.com/spec"
"""How the file begins that stands for a large one where Git LFS has not fetched it."""


def check_file(key: str, path: str | Path, sha256: str | None) -> None:
    """Refuse a file that is not there, is another one, is empty, or only stands for one.

    Raises:
        PhysEmbedError: one line that begins with `key`.
    """
    if "://" in str(path):
        raise PhysEmbedError(f"{key}: {path}: is an address; download the file, check it and give its path")
    if not Path(path).is_file():
        raise PhysEmbedError(f"{key}: {path}: {'is no file' if Path(path).exists() else 'there is no such file'}")
    with Path(path).open("rb") as file:
        beginning = file.read(64)
    if not beginning:
        raise PhysEmbedError(f"{key}: {path}: is empty; download it again")
    if beginning.startswith(LFS_POINTER):
        raise PhysEmbedError(f"{key}: {path}: is a pointer of Git LFS, not the file itself; run `git lfs pull` there")
    if sha256 is not None and (found := file_hash(path)) != sha256:
        raise PhysEmbedError(
            f"{key}: {path}: has SHA-256 {found}, not {sha256}; it is another file than the one that was meant"
        )


def check_elements(what: str, known: set[int], systems: Mapping[str, Collection[int]], kind: str = "liquid") -> None:
    """Refuse liquids or molecules with elements that a model or training set does not know; `what` begins the message.

    Raises:
        PhysEmbedError: the first one with such elements.
    """
    for system, numbers in systems.items():
        missing = [chemical_symbols[z] for z in sorted(numbers) if z not in known]
        if missing:
            has = ", ".join(chemical_symbols[z] for z in sorted(known))
            raise PhysEmbedError(f"{what} does not know {', '.join(missing)} of {kind} {system} (it has {has})")
