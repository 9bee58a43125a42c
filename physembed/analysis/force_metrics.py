"""Fine-grained metrics of force errors (Wang et al., J. Chem. Phys. 159, 035101).

Of a set of frames with N_a atoms, components alpha, forces F of the labels and F^ of a model:

- `mae`: mean over frames, atoms and components of |F^ - F|;
- `max_error`: mean over frames of the largest |F^ - F| of a component in the frame;
- `mass_mae` and `mass_max_error`: the same with each error divided by the relative atomic mass of its atom;
- of an element: the means over its atoms and their components alone, and the largest component among these;
- of a cluster of conformations: the four over its frames, and `bad_points`, the share of its frames whose own mean
  error exceeds `mae` of all frames of the set.

Errors are in meV/Å, or in meV/Å per relative atomic mass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

METRICS = ("mae_meV_A", "max_error_meV_A", "mass_mae_meV_A", "mass_max_error_meV_A")


def atom_errors(forces: pd.DataFrame) -> pd.DataFrame:
    """Sum and largest of the errors of each atom, with and without its mass.

    Args:
        forces: rows by atom with `reference_{x,y,z}_eV_A`, `model_{x,y,z}_eV_A`, `element`; other columns are kept.
    """
    differences = 1000 * np.abs(
        forces[[f"model_{axis}_eV_A" for axis in "xyz"]].to_numpy()
        - forces[[f"reference_{axis}_eV_A" for axis in "xyz"]].to_numpy()
    )
    masses = forces["element"].map(lambda symbol: atomic_masses[atomic_numbers[symbol]]).to_numpy(dtype=float)
    left = forces[[name for name in forces if not str(name).startswith(("reference_", "model_"))]]
    return left.assign(
        mean=differences.mean(axis=1), largest=differences.max(axis=1),
        mass_mean=differences.mean(axis=1) / masses, mass_largest=differences.max(axis=1) / masses,
    )  # fmt: skip


def metrics_of(atoms: pd.DataFrame) -> dict[str, float]:
    """The four metrics over rows of `atom_errors` with a column `frame`.

    All frames have the same atoms, so that the mean over atoms is that over frames as well.
    """
    largest = atoms.groupby("frame")[["largest", "mass_largest"]].max().mean()
    values = (atoms["mean"].mean(), largest["largest"], atoms["mass_mean"].mean(), largest["mass_largest"])
    return dict(zip(METRICS, map(float, values), strict=True))


def frame_errors(atoms: pd.DataFrame) -> pd.Series:
    """Mean error of each frame, meV/Å, by its number."""
    return atoms.groupby("frame")["mean"].mean()


def bad_points(errors: pd.Series, clusters: pd.Series) -> pd.Series:
    """Share of the frames of each cluster whose error exceeds the mean over all frames.

    Args:
        errors: mean error of each frame.
        clusters: cluster of each frame, likewise by its number.
    """
    return (errors > errors.mean()).groupby(clusters.loc[errors.index]).mean()


def metric_table(forces: pd.DataFrame, clusters: pd.Series) -> pd.DataFrame:
    """All metrics of one set of frames and one model.

    Args:
        forces: see `atom_errors`; with a column `frame`.
        clusters: cluster of each frame, by its number.

    Returns:
        Rows with `scope` (`all`, `element`, `cluster`), `part` (the element, or the number of the cluster), `frames`,
        `atoms` (rows of atoms that count), the metrics, and `bad_points` of clusters (of all frames for `all`).
    """
    atoms = atom_errors(forces)
    errors = frame_errors(atoms)
    rows: list[dict[str, Any]] = []

    def add(scope: str, part: Any, members: pd.DataFrame, share: float) -> None:
        counts = {"frames": members["frame"].nunique(), "atoms": len(members)}
        rows.append({"scope": scope, "part": str(part)} | counts | metrics_of(members) | {"bad_points": share})

    add("all", "", atoms, float((errors > errors.mean()).mean()))
    for element, members in atoms.groupby("element"):
        add("element", element, members, float("nan"))
    shares = bad_points(errors, clusters)
    for cluster, members in atoms.groupby(atoms["frame"].map(clusters)):
        add("cluster", cluster, members, float(shares[cluster]))
    return pd.DataFrame(rows)


def metric_tables(forces: pd.DataFrame, clusters: Mapping[str, NDArray[np.int64]]) -> pd.DataFrame:
    """`metric_table` of each seed and set.

    Args:
        forces: the evaluation table by atom; also with `seed` and `set`.
        clusters: cluster of each frame of each set.

    Returns:
        With `seed` and `set` in front.
    """
    tables = []
    for (seed, name), rows in forces.groupby(["seed", "set"], sort=False):
        table = metric_table(rows, pd.Series(clusters[str(name)]))
        tables.append(table.assign(seed=int(str(seed)), set=str(name))[["seed", "set", *table.columns]])
    return pd.concat(tables, ignore_index=True)
