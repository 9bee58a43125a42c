"""Replicas of the NPT run of a liquid: when one has evaporated, and which of its frames are equilibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from ase import Atoms

EVAPORATED_BELOW = 0.5
"""A density below this fraction of the first frame's is no longer that of the liquid."""


def equilibrated_from(replicas: pd.DataFrame) -> dict[str, float]:
    """The time in ps from which each replica that survived is equilibrated, by its name.

    Args:
        replicas: one row per replica: replica, status, equilibration_ps (nan counts as 0).
    """
    survived = replicas[replicas.status == "ok"]
    return dict(zip(survived.replica.astype(str), survived.equilibration_ps.fillna(0.0), strict=True))


def equilibrated(frames: Sequence[Atoms], begins: Mapping[str, float]) -> list[Atoms]:
    """The frames of the equilibrated part of each replica that survived.

    Args:
        frames: of all replicas, with `run` and `time_ps` in info.
        begins: as `equilibrated_from` gives it.
    """
    return [frame for frame in frames if frame.info["time_ps"] >= begins.get(str(frame.info["run"]), float("inf"))]
