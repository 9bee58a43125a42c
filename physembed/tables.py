"""Reading the tables that stages write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

TEXT_COLUMNS = {
    "types", "angle_types", "cause", "in_sampled_range", "segment", "angle_segment", "connectivity_changes", "reason",
    "note", "density_reason", "time_decomposition_reason",
}  # fmt: skip
"""Columns whose empty cells are empty text."""


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV or Parquet file. Empty cells of number columns become NaN, those of text columns stay empty text."""
    if Path(path).suffix == ".parquet":
        return pd.read_parquet(path)
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return table.fillna(dict.fromkeys(TEXT_COLUMNS & set(table), ""))


def first_row(path: str | Path) -> dict[str, Any]:
    """The first row of a table, by column."""
    return {str(column): value for column, value in read_table(path).iloc[0].items()}
