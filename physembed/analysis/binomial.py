"""Exact limits of a fraction of runs; C. J. Clopper, E. S. Pearson, Biometrika 1934, 26, 404."""

from __future__ import annotations

from scipy import stats

CONFIDENCE = 0.95
"""Confidence level of every interval."""


def interval(count: int, runs: int) -> tuple[float, float]:
    """Two-sided 95 % interval of the fraction, of which `count` of so many runs are a sample."""
    limits = stats.binomtest(count, runs).proportion_ci(CONFIDENCE, method="exact")
    return float(limits.low), float(limits.high)


def upper_limit(count: int, runs: int) -> float:
    """One-sided 95 % upper limit of the same."""
    return float(stats.binomtest(count, runs, alternative="less").proportion_ci(CONFIDENCE, method="exact").high)
