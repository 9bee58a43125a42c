"""Topologies with coordinates as ParmEd reads them."""

from __future__ import annotations

import warnings
from pathlib import Path

import parmed

from physembed.errors import PhysEmbedError


def read_topology(topology: str | Path, coordinates: str | Path) -> parmed.Structure:
    """A topology with coordinates: AMBER prmtop and inpcrd, or GROMACS top and gro.

    Raises:
        PhysEmbedError: if ParmEd cannot read them, they do not fit together, or a bond has no parameters; the message
            begins with the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", parmed.exceptions.ParmedWarning)
            structure = parmed.load_file(str(topology), xyz=str(coordinates))
    except Exception as error:  # ParmEd raises many types for a file that it cannot read
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PhysEmbedError(f"ParmEd cannot read it together with {coordinates}: {reason}") from error
    if structure.coordinates is None:
        raise PhysEmbedError(f"{coordinates} holds no coordinates for it")
    return structure


def load_topology(topology: str | Path, coordinates: str | Path) -> parmed.Structure:
    """A topology with coordinates, as `read_topology`; the messages of errors name the files."""
    try:
        return read_topology(topology, coordinates)
    except PhysEmbedError as error:
        raise PhysEmbedError(f"topology: {topology}: {error}") from error
