"""Reading and writing of the tables of stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from physembed.errors import PhysEmbedError
from physembed.files import atomic

TEXT_COLUMNS = {
    "types", "angle_types", "cause", "in_sampled_range", "segment", "angle_segment", "connectivity_changes", "reason",
    "note", "density_reason", "time_decomposition_reason",
}  # fmt: skip
"""Columns whose empty cells are empty text."""


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV or Parquet file. Empty cells of numeric columns become NaN, those of text columns stay empty text."""
    if Path(path).suffix == ".parquet":
        return pd.read_parquet(path)
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return table.fillna(dict.fromkeys(TEXT_COLUMNS & set(table), ""))


def write_typed(path: str | Path, table: pd.DataFrame, columns: Mapping[str, type]) -> None:
    """Write these columns of a table as CSV."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, columns=list(columns))


def read_typed(path: str | Path, columns: Mapping[str, type], what: str, kind: str) -> pd.DataFrame:
    """Read a CSV with columns of given types; it may have no rows.

    Args:
        path: the file.
        columns: type of each column.
        what: beginning of the error message.
        kind: description of the table in the message.

    Raises:
        PhysEmbedError: a column is missing or contains a value of another type.
    """
    try:
        # Atom types such as `na` or `nan` are text, not missing values.
        table = pd.read_csv(path, dtype=dict(columns), keep_default_na=False)
    except ValueError as error:
        raise PhysEmbedError(f"{what}: {path}: not {kind}: {' '.join(str(error).split())}") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise PhysEmbedError(f"{what}: {path}: not {kind}: columns missing: {', '.join(missing)}")
    return table[list(columns)]


def first_row(path: str | Path) -> dict[str, Any]:
    """The first row of a table, by column."""
    return {str(column): value for column, value in read_table(path).iloc[0].items()}
