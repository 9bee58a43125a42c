"""Where stability runs go: frames within the conformations that were trained on, and beyond; and how they end.

`explored` has one row for each seed: frames (recorded, but for the last one of a collapse), unexplored_share,
mean_force_inside_eV_A and mean_force_outside_eV_A (mean norm of the model's forces on an atom, over frames evenly
spread). `map` has the training frames and frames of the runs: seed, kind (`train` or `run`), x, y, cluster, unexplored.
`before_collapse` has the last frames of runs that collapsed: seed, replica, types, time_before_fs, label (`ok`,
`not_converged`, or `refused`), force_mae_meV_A and force_max_error_meV_A (NaN without a label), largest_force_eV_A
(of the label) and largest_model_force_eV_A.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms

from physembed.analysis.conformations import Conformations, Features
from physembed.config import Labels
from physembed.errors import PhysEmbedError
from physembed.labels.xtb import calculate
from physembed.models.evaluation import predict

FORCE_FRAMES = 200
"""Frames of a seed whose forces are evaluated, and that are drawn on the map."""

COLUMNS = [
    "seed", "replica", "types", "time_before_fs", "label", "force_mae_meV_A", "force_max_error_meV_A",
    "largest_force_eV_A", "largest_model_force_eV_A",
]  # fmt: skip
"""Of `before_collapse`."""


def explored(
    conformations: Conformations,
    features: Features,
    train: Sequence[Atoms],
    runs: Sequence[Atoms],
    model: Any,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """What share of the frames of runs lies beyond the training frames, and the forces inside and outside.

    Args:
        conformations: clusters and map.
        features: of the molecule.
        train: training frames, which give the radii of the clusters; none if that is not known.
        runs: recorded frames of the runs of one model.
        model: that model, of torch-sim.

    Returns:
        A row of `explored` and rows of `map`, without the seed.
    """
    rows = np.unique(np.linspace(0, len(runs) - 1, FORCE_FRAMES).round().astype(int))
    chosen, all_features = [runs[row] for row in rows], features(runs)
    few = all_features[rows]
    outside, share = np.full(len(few), np.nan), np.nan
    tables = []
    if train:
        of_train = features(train)
        radii = conformations.radii(of_train)
        share = float(conformations.unexplored(all_features, radii).mean())
        outside = conformations.unexplored(few, radii).astype(float)
        tables.append(_map(conformations, "train", of_train, np.zeros(len(train))))
    tables.append(_map(conformations, "run", few, outside))
    norms = np.array([np.linalg.norm(forces, axis=1).mean() for forces in predict(model, chosen)[1]])
    row = {"frames": len(runs), "unexplored_share": share}
    for name, side in (("inside", outside == 0), ("outside", outside == 1)):
        row[f"mean_force_{name}_eV_A"] = float(norms[side].mean()) if side.any() else float("nan")
    return row, pd.concat(tables, ignore_index=True)


def _map(conformations: Conformations, kind: str, features: np.ndarray, unexplored: np.ndarray) -> pd.DataFrame:
    places = conformations.map(features)
    cluster, _ = conformations.nearest(features)
    return pd.DataFrame(
        {"kind": kind, "x": places[:, 0], "y": places[:, 1], "cluster": cluster, "unexplored": unexplored}
    )


def before_collapse(
    ends: Sequence[Atoms], model: Any, settings: Labels, charge: int, multiplicity: int | None
) -> pd.DataFrame:
    """Errors of a model along the end of one of its runs, against labels made for that; the collapse comes last.

    A frame whose label does not converge, or that xTB refuses (atoms that coincide), has no error: that is a failure of
    the label, not of the model.

    Args:
        ends: the last frames of a run that collapsed, the collapse among them.
        model: the model, of torch-sim.
        settings: of the labels; the rules by which labels are rejected are not applied.
        charge: of the molecule.
        multiplicity: of the molecule.

    Returns:
        Rows of `before_collapse` without seed, replica and types.
    """
    last = float(ends[-1].info["time_fs"])
    rows = []
    for frame, forces in zip(ends, predict(model, ends)[1], strict=True):
        row: dict[str, Any] = {"time_before_fs": last - float(frame.info["time_fs"])}
        errors, labels = np.array([np.nan]), np.array([[np.nan]])
        try:
            label = calculate(frame, settings, charge, multiplicity)
        except PhysEmbedError:
            row["label"] = "refused"
        else:
            row["label"] = "ok" if label.converged else "not_converged"
            errors, labels = 1000 * np.abs(forces - label.forces_eV_A), label.forces_eV_A
        row |= {
            "force_mae_meV_A": float(errors.mean()),
            "force_max_error_meV_A": float(errors.max()),
            "largest_force_eV_A": float(np.linalg.norm(labels, axis=1).max()),
            "largest_model_force_eV_A": float(np.linalg.norm(forces, axis=1).max()),
        }
        rows.append(row)
    return pd.DataFrame(rows)
