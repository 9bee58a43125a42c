"""Which frames of hot MD are labelled.

A record is a row of replica, time_fs and spread_eV_A (largest of an atom). Records of one replica follow each other in
time and differ little from their neighbours, so that no replica gives a second frame before each has given one, where
frames are taken by their spread or from the ends of runs.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from physembed.config.learning import Choice

Rows = NDArray[np.int64]


def choose(
    how: Choice,
    records: pd.DataFrame,
    count: int,
    *,
    ended: Collection[int],
    features: np.ndarray,
    trained: np.ndarray,
    seed: int,
) -> Rows:
    """Choose records to label.

    Args:
        how: see `physembed.config.learning.Learning`.
        records: those that may be chosen, in the order of replicas and times.
        count: how many, at most: there may be fewer.
        ended: replicas that ended early.
        features: (n_records, n_features) of `physembed.analysis.conformations.Features`.
        trained: (n_frames, n_features) the same of the training set.
        seed: of the random choice.

    Returns:
        (n_chosen,) positions in `records`, the first choice first.
    """
    if how == "random":
        return np.random.default_rng(seed).permutation(len(records))[:count]
    if how == "unexplored":
        return farthest(features, trained, count)
    if how == "committee":
        return by_replica(records, -records["spread_eV_A"].to_numpy(), count)
    last = records["replica"].isin(list(ended)).to_numpy().nonzero()[0]
    return last[by_replica(records.iloc[last], -records["time_fs"].to_numpy()[last], count)]


def by_replica(records: pd.DataFrame, order: np.ndarray, count: int) -> Rows:
    """The records first in `order` (n_records,), one of each replica, then the second of each, and so on."""
    ranks = pd.Series(order).groupby(records["replica"].to_numpy()).rank(method="first").to_numpy()
    return np.lexsort((order, ranks))[:count]


def farthest(features: np.ndarray, trained: np.ndarray, count: int) -> Rows:
    """Farthest from the training set, and from what is chosen already, one after the other (Euclidean distance)."""
    chosen: list[int] = []
    nearest = np.array([np.linalg.norm(trained - row, axis=1).min(initial=np.inf) for row in features])
    while len(chosen) < min(count, len(features)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(features - features[chosen[-1]], axis=1))
        nearest[chosen] = -1  # else equal frames could be chosen twice
    return np.array(chosen, dtype=np.int64)
