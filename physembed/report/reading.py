"""Reading the files of several arms, seeds or molecules into the tables that figures and summary take."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from physembed.errors import PhysEmbedError

TEXTS = {
    "types", "cause", "in_sampled_range", "segment", "connectivity_changes", "reason", "note", "density_reason",
    "time_decomposition_reason",
}  # fmt: skip
"""Columns whose empty cells are empty text."""


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV or Parquet file. Empty cells of number columns become NaN, those of text columns stay empty text."""
    if Path(path).suffix == ".parquet":
        return pd.read_parquet(path)
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    texts = {
        "types",
        "cause",
        "in_sampled_range",
        "segment",
        "connectivity_changes",
        "reason",
        "note",
        "density_reason",
    }
    return table.fillna(dict.fromkeys(texts & set(table), ""))


class Correction(NamedTuple):
    """Parameters of a correction."""

    alpha: float
    a1: float


def read_correction(tuning: str | Path | None) -> Correction:
    """alpha and a1 of the corrected model, which the first row of a tuning table has; 0 and 0 without a table.

    Raises:
        PhysEmbedError: the tuning gave no a1 at all.
    """
    if not tuning:
        return Correction(0.0, 0.0)
    row = read_table(tuning).iloc[0]
    if not np.isfinite(row.a1):
        raise PhysEmbedError(
            f"{tuning}: the scan gave no a1 ({row.status}: {row.reason}); scan other points or another alpha"
        )
    return Correction(float(row.alpha), float(row.a1))


def read_by_arm(paths: Iterable[str], arms: Sequence[str]) -> pd.DataFrame:
    """One table per arm, put together with a first column `arm`."""
    tables = [read_table(path).assign(arm=arm) for arm, path in zip(arms, paths, strict=True)]
    return pd.concat(tables, ignore_index=True)


def read_by_arm_and_seed(paths: Iterable[str], arms: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """One table per arm and seed (seeds vary fastest), put together with columns `arm` and `seed`."""
    keys = itertools.product(arms, seeds)
    tables = [read_table(path).assign(arm=arm, seed=seed) for (arm, seed), path in zip(keys, paths, strict=True)]
    return pd.concat(tables, ignore_index=True)


def by_molecule(paths: Sequence[str], molecules: Sequence[str]) -> dict[str, list[str]]:
    """Split a list of files, which runs through the molecules in order, into the files of each."""
    size, rest = divmod(len(paths), len(molecules))
    if rest:
        raise ValueError(f"{len(paths)} files for {len(molecules)} molecules")
    return {name: list(paths[i * size : (i + 1) * size]) for i, name in enumerate(molecules)}


def read_by_liquid(paths: Sequence[str], models: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """One table per model, liquid of it and variant (variants vary fastest), put together with columns of these names.

    Args:
        paths: the files.
        models: names of the liquids of each model.
    """
    keys = [
        {"model": model, "liquid": liquid, "variant": variant}
        for model, liquids in models.items()
        for liquid in liquids
        for variant in ("uncorrected", "corrected")
    ]
    return pd.concat([read_table(path).assign(**key) for key, path in zip(keys, paths, strict=True)], ignore_index=True)
