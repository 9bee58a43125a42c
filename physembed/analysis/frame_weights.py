"""Weights of training frames by clusters of conformations.

They are written as `config_weight`, by which MACE multiplies the errors of energy and forces of a frame.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from physembed.analysis.force_metrics import bad_points

Array = NDArray[np.float64]
WEIGHTS = (0.5, 3.0)
"""Smallest and largest weight by bad points."""


def by_clusters(clusters: NDArray[np.int64]) -> Array:
    """(n_frames,) weights with which each cluster that has frames counts the same.

    The weighted mean of errors is then the mean over the clusters of their mean errors (F_mae(k) of Wang et al.).

    Args:
        clusters: (n_frames,) cluster of each frame.
    """
    found, index, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    return np.asarray(len(clusters) / (len(found) * counts[index]))


def by_bad_points(clusters: NDArray[np.int64], errors: Array) -> Array:
    """(n_frames,) weights in proportion to the ratio of bad points of each cluster, kept within `WEIGHTS`.

    The ratio is the share of the frames of a cluster whose error exceeds the mean over all frames.

    Args:
        clusters: (n_frames,) cluster of each frame.
        errors: (n_frames,) mean force error of each frame, from a first model.
    """
    ratios = bad_points(pd.Series(errors), pd.Series(clusters))[clusters].to_numpy()
    if not ratios.any():
        return np.ones(len(errors))
    return np.asarray(np.clip(ratios / ratios.mean(), *WEIGHTS))
