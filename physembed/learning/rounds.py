"""One round of learning: from the hot MD of a committee to the frames that are labelled next.

`round` has one row: labels (frames labelled before, rejected ones included), added (frames to label), force_rmse_meV_A
(of the mean force of the committee, validation frames), spread_limit_eV_A, largest_spread_eV_A (of all records), runs,
stopped_by_spread, collapsed, upper_limit (of the fraction of runs that ended early, for either reason; Clopper-Pearson,
one-sided, 95 %), ended (`below` if this limit was below the target, `before` if that of an earlier round was; else
empty). `records` has one row for each recorded frame: replica, time_fs, spread_eV_A, sound (no bond broken, no
contact), chosen.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms

from physembed.analysis.binomial import upper_limit
from physembed.analysis.conformations import Features
from physembed.config.learning import Learning
from physembed.learning.choice import choose
from physembed.learning.hot_md import HotRuns
from physembed.learning.widening import Widening

log = logging.getLogger(__name__)
RECORDS = ["replica", "time_fs", "spread_eV_A", "sound", "chosen"]
ROUND = [
    "labels", "added", "force_rmse_meV_A", "spread_limit_eV_A", "largest_spread_eV_A", "runs", "stopped_by_spread",
    "collapsed", "upper_limit", "ended",
]  # fmt: skip


def one_round(
    runs: HotRuns, before: Sequence[Atoms], widening: Widening, settings: Learning, seed: int, name: str
) -> tuple[list[Atoms], pd.DataFrame, pd.DataFrame]:
    """Choose the frames of a round.

    Frames of time 0 are unmodified training frames, and frames that are not sound are no longer the molecule: neither
    is chosen. With `choose: failed` none is, and frames are made (`Widening`).

    Args:
        runs: the hot MD.
        before: frames that were labelled before, without their labels.
        widening: of the molecule.
        settings: the section of the arm.
        seed: of the random choice and of what is drawn.
        name: of the round, for `info`.

    Returns:
        The frames to label, those of before first, `records` and `round`.
    """
    limit = upper_limit(len(runs.ended), len(runs.replicas))
    below = settings.stop_below is not None and limit < settings.stop_below
    may = np.flatnonzero((runs.records["sound"] & (runs.records["time_fs"] > 0)).to_numpy())
    frames, chosen, new = runs.frames, np.empty(0, dtype=np.int64), []
    if settings.choose == "failed" and not below:
        new = widening.frames(runs, before, settings.labels_per_round, seed, name)
    elif not below:
        features = Features(before[0].numbers, widening.bonds)
        candidates = [frames[row] for row in may]
        chosen = may[
            choose(
                settings.choose,
                runs.records.iloc[may],
                settings.labels_per_round,
                ended=runs.ended,
                features=features(candidates) if candidates else np.empty((0, 1)),
                trained=features(before),
                seed=seed,
            )
        ]
        starts = runs.replicas["start_frame"].tolist()
        new = [_to_label(frames[i], runs.records.iloc[i], starts, name) for i in chosen]
    if len(new) < settings.labels_per_round and not below:
        log.warning(
            "%s: %d of %d frames (choose: %s): the hot MD has no more to choose from",
            name, len(new), settings.labels_per_round, settings.choose,
        )  # fmt: skip
    causes = runs.replicas.loc[runs.replicas["collapsed"], "cause"]
    row: dict[str, Any] = {
        "labels": len(before),
        "added": len(new),
        "force_rmse_meV_A": runs.force_rmse_meV_A,
        "spread_limit_eV_A": runs.limit_eV_A,
        "largest_spread_eV_A": float(runs.records["spread_eV_A"].max()),
        "runs": len(runs.replicas),
        "stopped_by_spread": int((causes == "spread").sum()),
        "collapsed": int((causes != "spread").sum()),
        "upper_limit": limit,
        "ended": "below" if below else "",
    }
    marked = runs.records.assign(chosen=np.isin(np.arange(len(runs.records)), chosen))
    return [*before, *new], marked[RECORDS], pd.DataFrame([row])[ROUND]


def round_without_runs(before: Sequence[Atoms]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`records`, which is empty, and `round` of a round that is not run, because an earlier one found nothing to learn.

    Args:
        before: frames that were labelled before, to which none is added.
    """
    log.info("an earlier round left nothing to learn: no MD, and the training set stays as it is")
    nothing = dict.fromkeys(("largest_spread_eV_A", "upper_limit", "force_rmse_meV_A", "spread_limit_eV_A"), np.nan)
    counts = {"labels": len(before), "added": 0, "runs": 0, "stopped_by_spread": 0, "collapsed": 0}
    return pd.DataFrame(columns=RECORDS), pd.DataFrame([counts | nothing | {"ended": "before"}])[ROUND]


def has_ended(row: pd.DataFrame) -> bool:
    """Whether a round, from its table, or one before it, left nothing to learn."""
    return row["ended"].iloc[0] in ("below", "before")


def as_values(row: pd.DataFrame) -> dict[str, Any]:
    """The row of a round as plain values; None for what is not known."""
    values: dict[str, Any] = json.loads(row.to_json(orient="records"))[0]
    return values


def rounds_table(rows: Sequence[tuple[str, str, int, pd.DataFrame]]) -> pd.DataFrame:
    """The rounds of all arms.

    Args:
        rows: molecule, arm, number of the round, and its table.

    Returns:
        molecule, arm, round, and the columns of `round`.
    """
    tables = [row.assign(molecule=molecule, arm=arm, round=number) for molecule, arm, number, row in rows]
    return pd.concat(tables, ignore_index=True)[["molecule", "arm", "round", *ROUND]]


def _to_label(frame: Atoms, record: pd.Series, starts: list[int], name: str) -> Atoms:
    """A frame of the MD as one of a training set."""
    replica = int(record["replica"])
    info = {
        "source_frame": int(starts[replica]),
        "modifications": json.dumps([]),
        "round": name,
        "replica": replica,
        "time_fs": float(record["time_fs"]),
    }
    return Atoms(frame.numbers, frame.positions, info=info)
