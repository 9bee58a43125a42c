"""A study: its checked configuration together with its checked molecules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from physembed.config import Config, load
from physembed.molecules.table import MoleculeSpec, read_table


@dataclass(frozen=True)
class Study:
    """All that a run needs to know before anything is computed."""

    config: Config
    """The checked configuration."""
    molecules: list[MoleculeSpec]
    """The molecules to run, in the order of `molecules.names`, or of the table for `all`."""


def load_study(config: dict[str, Any]) -> Study:
    """Check a merged configuration and the table of molecules that it names.

    Raises:
        PhysEmbedError: one line that names the key, or the file and its line, and the value.
    """
    checked = load(config)
    return Study(checked, read_table(checked.molecules.table, checked.molecules.names))
