"""Tables of several arms, seeds, molecules or liquids combined into one, with columns that identify the rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from physembed.tables import read_table


def read_by_arm(paths: Iterable[str], arms: Sequence[str]) -> pd.DataFrame:
    """Concatenate one table per arm, with a first column `arm`."""
    tables = [read_table(path).assign(arm=arm) for arm, path in zip(arms, paths, strict=True)]
    return pd.concat(tables, ignore_index=True)


def read_by_arm_and_seed(paths: Iterable[str], arms: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """One table per arm and seed (seeds vary fastest), put together with columns `arm` and `seed`; of no arms none."""
    if not arms:
        return pd.DataFrame(columns=["arm", "seed"])
    keys = itertools.product(arms, seeds)
    tables = [read_table(path).assign(arm=arm, seed=seed) for (arm, seed), path in zip(keys, paths, strict=True)]
    return pd.concat(tables, ignore_index=True)


def split_by(paths: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Split a list of files, ordered by molecule or set, into the files of each."""
    size, rest = divmod(len(paths), len(names))
    if rest:
        raise ValueError(f"{len(paths)} files for {len(names)} names")
    return {name: list(paths[i * size : (i + 1) * size]) for i, name in enumerate(names)}


def read_by_set(paths: Sequence[str], names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The table of each set of frames; if there are several data sets, their tables are concatenated."""
    return {
        name: pd.concat([read_table(path) for path in group], ignore_index=True)
        for name, group in split_by(paths, names).items()
    }


def read_by_liquid(paths: Sequence[str], models: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Concatenate one table per model, liquid and variant (variants vary fastest), with columns of these names.

    Args:
        paths: the files.
        models: names of the liquids of each model.

    Returns:
        These three columns alone where there are no files.
    """
    keys = [
        {"model": model, "liquid": liquid, "variant": variant}
        for model, liquids in models.items()
        for liquid in liquids
        for variant in ("uncorrected", "corrected")
    ]
    tables = [read_table(path).assign(**key) for key, path in zip(keys, paths, strict=True)]
    none = pd.DataFrame(columns=["model", "liquid", "variant"])
    return pd.concat(tables, ignore_index=True) if tables else none
