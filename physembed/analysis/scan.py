"""Tuning of a1 of the CSO correction to a density, from one run per point or from all runs reweighted.

The energy is E = E_MLFF - alpha (S0 + a1 S1). `direct_line` fits a line to the densities of runs at one alpha, as in
the paper; `reweighted_tuning` finds the same a1 on the exact curve that `Reweighting` computes from all runs, and
`next_point` determines where another run is needed. An a1 depends on the convention and cutoffs of the CSO model.

Errors are estimated from few independent frames and are themselves uncertain, so every interval and test uses Student's
t (or F) with the degrees of freedom of those errors. `benchmarks/interval_coverage.py` measures the coverage of the
intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from physembed.analysis.density import combined_degrees_of_freedom
from physembed.analysis.reweighting import Reweighting
from physembed.errors import PhysEmbedError

CONFIDENCE = 0.95
"""Confidence level of every interval of a1, and of the test of a confirmation run."""
BAD_FIT = 0.01
"""The densities do not lie on a line if the probability of their scatter about it is lower than this."""
MINIMUM_EFFECTIVE_SAMPLES = 50
"""Minimum number of independent frames for a reweighted density to be used."""
GRID = 101
"""Points over the range of a1 at which the reweighted density is evaluated before its root is refined."""


@dataclass(frozen=True)
class ScanPoint:
    """Density of one run at one a1."""

    a1: float
    density_g_cm3: float
    standard_error: float
    """g/cm^3."""
    degrees_of_freedom: float
    """Degrees of freedom of the standard error: blocks - 1."""


@dataclass(frozen=True)
class Tuning:
    """The a1 at which the density equals the target, or the best available one."""

    status: Literal["ok", "unreachable", "unresolved"]
    """`unreachable`: not within the allowed range of a1; `unresolved`: the available runs do not decide it."""
    reason: str
    """One line; empty if `ok`."""
    a1: float
    """The solution; if there is none, the best known point of the allowed range."""
    a1_low: float
    """Lower end of the 95 % confidence interval; nan unless `ok`."""
    a1_high: float
    """Upper end of the 95 % confidence interval; nan unless `ok`."""
    density_g_cm3: float
    """Density at `a1`."""
    standard_error: float
    """Standard error of `density_g_cm3`, g/cm^3."""
    degrees_of_freedom: float
    """Degrees of freedom of `standard_error`; nan if unknown."""


@dataclass(frozen=True)
class Line:
    """Density against a1 at one alpha: density = intercept + slope a1, in g/cm^3."""

    slope: float
    intercept: float
    covariance: NDArray[np.float64]
    """(2, 2) covariance of intercept and slope, in this order."""
    f_statistic: float
    """Squared scatter about the line over its expectation from the errors of the runs; nan with two points."""
    p_value: float
    """Probability of at least this scatter about a true line; nan with two points, which always lie on one."""
    tuning: Tuning


@dataclass(frozen=True)
class NextPoint:
    """What to do next in a reweighted scan."""

    action: Literal["run", "done", "stop"]
    """`run` at `tuning.a1`; `done`: the tuning is `ok`; `stop`: it is not, and more runs are impossible or useless."""
    reason: str
    tuning: Tuning


def quantile(degrees_of_freedom: float) -> float:
    """Half width of a 95 % interval in standard errors, by Student's t."""
    return float(stats.t.isf((1 - CONFIDENCE) / 2, degrees_of_freedom))


def direct_line(points: Sequence[ScanPoint], target_g_cm3: float, a1_range: tuple[float, float]) -> Line:
    """Line through the densities of the runs at one alpha, and the a1 at which it crosses the target.

    The fit weights all runs equally: weights from errors that are known to 20 % would do more harm than good. The
    error of the line pools the errors of the runs, v(a1) = sum h_i^2 s_i^2, where h_i is the weight of the density of
    run i in the line at a1; the errors need not be equal. Its degrees of freedom are Welch's.

    The interval is Fieller's, all a1 at which the line is within t errors of the target: it takes the error of the
    slope into account (E. C. Fieller, J. R. Stat. Soc. B 1954, 16, 175). Linearity is tested by F, the squared scatter
    about the line over its expectation, with the degrees of freedom of M. B. Brown, A. B. Forsythe, Technometrics
    1974, 16, 129 and G. E. P. Box, Ann. Math. Stat. 1954, 25, 290.

    The tuning is `unresolved` if the slope is not significant, the densities do not lie on a line (p < 0.01), or
    the a1 is not between the runs.

    Args:
        points: runs at one alpha, at two or more values of a1.
        target_g_cm3: target density.
        a1_range: lowest and highest allowed a1.

    Raises:
        PhysEmbedError: fewer than two values of a1, a non-finite density or error, or an empty range.
    """
    _check_range(a1_range)
    for point in points:
        if not (math.isfinite(point.density_g_cm3) and 0 < point.standard_error < math.inf):
            raise PhysEmbedError(
                f"scan: point a1 = {point.a1:g} has density {point.density_g_cm3:g} +- {point.standard_error:g}; "
                "give only runs whose density has status 'ok'"
            )
        if not point.degrees_of_freedom > 0:
            raise PhysEmbedError(
                f"scan: point a1 = {point.a1:g} has an error with {point.degrees_of_freedom:g} degrees of freedom; "
                "give the number of its blocks minus one"
            )
    a1 = np.array([point.a1 for point in points])
    if len(np.unique(a1)) < 2:
        raise PhysEmbedError(f"scan: a line needs runs at two or more values of a1, given: {sorted(set(a1.tolist()))}")
    densities = np.array([point.density_g_cm3 for point in points])
    variances = np.array([point.standard_error for point in points]) ** 2
    freedom = np.array([point.degrees_of_freedom for point in points])

    design = np.column_stack([np.ones_like(a1), a1])
    projection = np.linalg.pinv(design)  # (2, n_points)
    intercept, slope = (float(value) for value in projection @ densities)
    covariance = projection * variances @ projection.T
    f_statistic, p_value = _lack_of_fit(densities, design, projection, variances, freedom)

    def degrees(row: NDArray[np.float64]) -> float:
        return combined_degrees_of_freedom((row @ projection) ** 2 * variances, freedom)

    def at(value: float) -> tuple[float, float, float]:
        row = np.array([1.0, value])
        return intercept + slope * value, math.sqrt(row @ covariance @ row), degrees(row)

    # |intercept + slope a1 - target| = t error(a1), squared, is a quadratic equation in a1. t is evaluated at the root,
    # and (slope, target - intercept) is (1, root) times the slope, which may be 0.
    t = quantile(degrees(np.array([slope, target_g_cm3 - intercept])))
    square = slope**2 - t**2 * covariance[1, 1]
    if not square > 0:
        best = float(a1[np.argmin(abs(densities - target_g_cm3))])
        slope_error = math.sqrt(covariance[1, 1])
        reason = f"slope {slope:.4g} +- {slope_error:.2g} g/cm^3 is not significant; use longer runs or a wider range"
        tuning = Tuning("unresolved", reason, best, math.nan, math.nan, *at(best))
    else:
        linear = slope * (intercept - target_g_cm3) - t**2 * covariance[0, 1]
        constant = (intercept - target_g_cm3) ** 2 - t**2 * covariance[0, 0]
        half_width = math.sqrt(linear**2 - square * constant) / square
        root, middle = (target_g_cm3 - intercept) / slope, -linear / square

        def doubt(best: float) -> str:
            if p_value < BAD_FIT:
                return f"the densities do not lie on a line (F {f_statistic:.1f}, p {p_value:.1g}); narrow the range"
            if not a1.min() <= best <= a1.max():
                return f"a1 = {best:.4g} is not between the runs ({a1.min():g} to {a1.max():g}); run there"
            return ""

        tuning = _tuning(root, (middle - half_width, middle + half_width), at, doubt, target_g_cm3, a1_range)
    return Line(slope, intercept, covariance, f_statistic, p_value, tuning)


def _lack_of_fit(
    densities: NDArray[np.float64],
    design: NDArray[np.float64],
    projection: NDArray[np.float64],
    variances: NDArray[np.float64],
    freedom: NDArray[np.float64],
) -> tuple[float, float]:
    """F and p value of the scatter about the line; nan for two points.

    With M = 1 - (the projection onto lines) and V = diag(variances), the expected squared scatter is tr(M V). The
    degrees of freedom are tr(M V)^2 / tr(M V M V) for the scatter itself and Welch's for the estimate of tr(M V).
    """
    if len(densities) < 3:
        return math.nan, math.nan
    remainder = np.eye(len(densities)) - design @ projection
    expected = remainder * variances
    trace = float(np.trace(expected))
    statistic = float(((remainder @ densities) ** 2).sum()) / trace
    of_scatter = trace**2 / float(np.trace(expected @ expected))
    of_estimate = combined_degrees_of_freedom(remainder.diagonal() * variances, freedom)
    return statistic, float(stats.f.sf(statistic, of_scatter, of_estimate))


def reweighted_tuning(
    reweighting: Reweighting,
    alpha: float,
    target_g_cm3: float,
    a1_range: tuple[float, float],
    minimum_effective_samples: float = MINIMUM_EFFECTIVE_SAMPLES,
) -> Tuning:
    """The a1 at which the reweighted density at `alpha` equals the target.

    The interval is that of the density, with Student's t, divided by the slope there. If the frames are not sufficient,
    the result is `unresolved`, and its a1 is where a linear extrapolation of the curve would reach the target: the
    point to run next.

    Args:
        reweighting: reweighting of all available runs.
        alpha: not zero.
        target_g_cm3: target density.
        a1_range: lowest and highest allowed a1.
        minimum_effective_samples: below this a reweighted density is not used.

    Raises:
        PhysEmbedError: alpha is zero, or an empty range.
    """
    _check_range(a1_range)
    if alpha == 0:
        raise PhysEmbedError("scan: with alpha = 0 the density does not depend on a1; give another alpha")
    grid = np.linspace(*a1_range, GRID)
    densities, samples = reweighting.curve(alpha, grid)
    excess = densities - target_g_cm3
    believed = samples >= minimum_effective_samples
    crossings = np.flatnonzero((excess[:-1] * excess[1:] <= 0) & believed[:-1] & believed[1:])
    if len(crossings):
        ends = grid[crossings[0] : crossings[0] + 2]
        root = float(brentq(lambda a1: reweighting.curve(alpha, [a1])[0][0] - target_g_cm3, *ends))
    else:
        nearest = np.where(believed, abs(excess), np.inf) if believed.any() else -samples
        start = reweighting.density(alpha, float(grid[nearest.argmin()]))
        root = start.a1 + (target_g_cm3 - start.density_g_cm3) / start.slope
    there = reweighting.density(alpha, float(np.clip(root, *a1_range)))
    half_width = quantile(there.degrees_of_freedom) * there.standard_error / abs(there.slope)

    def doubt(best: float) -> str:
        # Without a crossing the root is a guess, unless it lies beyond an end of the range that is well known.
        if there.effective_samples >= minimum_effective_samples and (len(crossings) or best != root):
            return ""
        return (
            f"a1 = {best:.4g} is not between points with at least {minimum_effective_samples:g} effective samples "
            f"(it has {there.effective_samples:.0f}); run there"
        )

    return _tuning(
        root,
        (root - half_width, root + half_width),
        lambda _: (there.density_g_cm3, there.standard_error, there.degrees_of_freedom),
        doubt,
        target_g_cm3,
        a1_range,
    )


def next_point(
    reweighting: Reweighting,
    alpha: float,
    target_g_cm3: float,
    a1_range: tuple[float, float],
    budget: int,
    minimum_effective_samples: float = MINIMUM_EFFECTIVE_SAMPLES,
) -> NextPoint:
    """Where to run next: at the current a1 if it has too few effective samples.

    Args:
        reweighting, alpha, target_g_cm3, a1_range, minimum_effective_samples: see `reweighted_tuning`.
        budget: number of runs that may still be made.
    """
    tuning = reweighted_tuning(reweighting, alpha, target_g_cm3, a1_range, minimum_effective_samples)
    if tuning.status == "ok":
        return NextPoint("done", f"a1 = {tuning.a1:.4g}", tuning)
    if tuning.status == "unreachable":
        return NextPoint("stop", tuning.reason, tuning)
    if budget < 1:
        return NextPoint("stop", f"no runs are left: {tuning.reason}", tuning)
    return NextPoint("run", tuning.reason, tuning)


def confirmation(
    density_g_cm3: float,
    standard_error: float,
    degrees_of_freedom: float,
    target_g_cm3: float,
    tuning_error: float,
    tuning_degrees_of_freedom: float,
) -> tuple[float, float]:
    """Deviation of a new run at the tuned a1 from the target, in standard errors of run and tuning combined.

    Args:
        density_g_cm3: density of the run, which must not be one of those used for the tuning.
        standard_error: standard error of that density, g/cm^3.
        degrees_of_freedom: degrees of freedom of that error.
        target_g_cm3: target density of the tuning.
        tuning_error: standard error of the density at the tuned a1, g/cm^3.
        tuning_degrees_of_freedom: degrees of freedom of that error.

    Returns:
        The deviation in errors, and the two-sided probability of at least this deviation if the tuning is correct
        (Welch's t test). Below 0.05 the run does not confirm the tuning.
    """
    variances = [standard_error**2, tuning_error**2]
    in_errors = (density_g_cm3 - target_g_cm3) / math.sqrt(sum(variances))
    freedom = combined_degrees_of_freedom(variances, [degrees_of_freedom, tuning_degrees_of_freedom])
    return in_errors, float(2 * stats.t.sf(abs(in_errors), freedom))


def _check_range(a1_range: tuple[float, float]) -> None:
    low, high = a1_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise PhysEmbedError(
            f"scan: allowed range of a1 from {low:g} to {high:g}; give a lower and a higher finite number"
        )


def _tuning(
    root: float,
    interval: tuple[float, float],
    at: Callable[[float], tuple[float, float, float]],
    doubt: Callable[[float], str],
    target: float,
    a1_range: tuple[float, float],
) -> Tuning:
    """The result for a root: in the allowed range, reliable, and equal to the target.

    `at` returns density, error and degrees of freedom at an a1; `doubt` explains why it is not reliable there. A root
    outside the range is still `ok` if the density at the end of the range equals the target within its error.
    """
    best = float(np.clip(root, *a1_range))
    density, error, freedom = at(best)
    if reason := doubt(best):
        return Tuning("unresolved", reason, best, math.nan, math.nan, density, error, freedom)
    if best != root and abs(density - target) > quantile(freedom) * error:
        reason = (
            f"the target {target:.4f} g/cm^3 is not reached for a1 from {a1_range[0]:g} to {a1_range[1]:g}; "
            f"the best is {density:.4f} +- {error:.4f} g/cm^3 at a1 = {best:g}"
        )
        return Tuning("unreachable", reason, best, math.nan, math.nan, density, error, freedom)
    return Tuning("ok", "", best, *interval, density, error, freedom)
