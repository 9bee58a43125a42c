"""Survival statistics of stability runs: curves, collapse fractions, comparison of arms, causes.

Each function takes the table of runs, one row per run, as written by the stability stage (`replicas.csv`; the tables
of all arms and seeds concatenated) and returns a new table. It reads the columns `arm`, `seed`, `replica`,
`collapsed` (bool) and `time_fs`, the time of the collapse or, for a run that did not collapse, its length (the run is
right-censored there). Times in the results are in ps.

The runs of one seed share a model and are therefore not independent. Curves, intervals and the log-rank test treat
them as independent; `compare_arms` therefore also gives a test whose units are the seeds.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from physembed.analysis.binomial import CONFIDENCE, interval, upper_limit
from physembed.collapse.rearrangements import COLUMNS
from physembed.errors import PhysEmbedError

MAX_ASSIGNMENTS = 200_000
"""If there are more assignments of seeds to arms than this, they are sampled instead of enumerated."""


def _checked(runs: pd.DataFrame) -> pd.DataFrame:
    """Check the properties of the table of runs on which the statistics rely, and return it.

    Raises:
        PhysEmbedError: no runs, a missing column, a duplicate run, or an impossible value.
    """
    missing = [name for name in ("arm", "seed", "replica", "collapsed", "time_fs") if name not in runs]
    if missing or runs.empty:
        problem = f"has no column {missing[0]!r}" if missing else "is empty"
        raise PhysEmbedError(f"survival: the table of runs {problem}; give replicas.csv of stability runs")
    if runs["collapsed"].dtype != bool:
        raise PhysEmbedError(
            f"survival: column 'collapsed' has type {runs['collapsed'].dtype}; it must be True or False in each row"
        )
    times = runs["time_fs"].to_numpy(dtype=float)
    wrong = ~(np.isfinite(times) & (times >= 0))
    twice = runs.duplicated(["arm", "seed", "replica"]).to_numpy()
    for rows, problem in (
        (wrong, "time_fs is not a finite time of 0 or more"),
        (twice, "the run is listed twice"),
    ):
        if rows.any():
            row = runs.iloc[int(rows.argmax())]
            raise PhysEmbedError(
                f"survival: arm {row['arm']}, seed {row['seed']}, replica {row['replica']} "
                f"(time_fs {row['time_fs']}): {problem}; give the replicas.csv of each arm and seed once"
            )
    return runs


def _groups(runs: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield (arm, seed, runs) for each arm as a whole (seed `all`) and then for each of its seeds."""
    for arm, of_arm in runs.groupby("arm", sort=False):
        yield str(arm), "all", of_arm
        for seed, of_seed in of_arm.groupby("seed"):
            yield str(arm), str(seed), of_seed


def _censored(runs: pd.DataFrame) -> stats.CensoredData:
    """Times of collapse and of censoring, in ps."""
    times = runs["time_fs"].to_numpy(dtype=float) / 1000
    collapsed = runs["collapsed"].to_numpy()
    return stats.CensoredData(uncensored=times[collapsed], right=times[~collapsed])


def _curve(runs: pd.DataFrame) -> pd.DataFrame:
    """Kaplan-Meier curve of a set of runs; see `survival_curves`."""
    survival = stats.ecdf(_censored(runs)).sf
    with warnings.catch_warnings():
        # If the estimate is 1 or 0 the log-log band does not exist; these rows are filled in below.
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
        band = survival.confidence_interval(CONFIDENCE, method="log-log")
    times = np.asarray(survival.quantiles)
    estimate = np.asarray(survival.probabilities)
    low, high = np.array(band.low.probabilities), np.array(band.high.probabilities)

    all_times = np.sort(runs["time_fs"].to_numpy(dtype=float) / 1000)
    collapse_times = np.sort(runs.loc[runs["collapsed"], "time_fs"].to_numpy(dtype=float) / 1000)
    at_risk = len(runs) - np.searchsorted(all_times, times, side="left")
    collapsed = np.searchsorted(collapse_times, times, side="right")

    none, every = estimate == 1, estimate == 0
    low[none], high[none] = ((1 - CONFIDENCE) / 2) ** (1 / at_risk[none]), 1.0
    # A run censored before the end counts as surviving here, which can only widen the band.
    low[every], high[every] = 0.0, interval(len(runs) - len(collapse_times), len(runs))[1]
    curve = pd.DataFrame(
        {
            "time_ps": times,
            "survival": estimate,
            "low": low,
            "high": high,
            "at_risk": at_risk,
            "collapsed": collapsed,
        }
    )
    start = pd.DataFrame(
        {
            "time_ps": [0.0],
            "survival": [1.0],
            "low": [1.0],
            "high": [1.0],
            "at_risk": [len(runs)],
            "collapsed": [0],
        }
    )
    return pd.concat([start, curve], ignore_index=True)


def survival_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Kaplan-Meier estimate of the survival probability, with a pointwise 95 % band.

    The band is the log-log (exponential Greenwood) one. It does not exist where the estimate is 1 or 0; there
    the exact binomial limits are used: no collapse among the runs at risk, or no survivor among all runs.
    E. L. Kaplan, P. Meier, J. Am. Stat. Assoc. 1958, 53, 457.

    Returns:
        arm; seed (`all` for the arm as a whole); time_ps; survival, low, high just after that time; at_risk
        (runs under observation just before it); collapsed (up to and including it). One row for each time at which a
        run collapsed or ended, preceded by the start: time 0, survival 1.
    """
    curves = [
        _curve(group).assign(arm=arm, seed=seed)[
            ["arm", "seed", "time_ps", "survival", "low", "high", "at_risk", "collapsed"]
        ]
        for arm, seed, group in _groups(_checked(runs))
    ]
    return pd.concat(curves, ignore_index=True)


def collapse_fractions(runs: pd.DataFrame) -> pd.DataFrame:
    """Fraction of runs that collapsed, with exact intervals (`physembed.analysis.binomial`).

    Returns:
        arm, seed (`all` for the arm as a whole), runs, collapsed, fraction; low and high, the two-sided 95 %
        interval; upper_one_sided, the one-sided 95 % upper limit (0 of 100 gives 0.030: at least 97 % stable).
    """
    rows = []
    for arm, seed, group in _groups(_checked(runs)):
        collapsed, count = int(group["collapsed"].sum()), len(group)
        low, high = interval(collapsed, count)
        rows.append(
            {
                "arm": arm,
                "seed": seed,
                "runs": count,
                "collapsed": collapsed,
                "fraction": collapsed / count,
                "low": low,
                "high": high,
                "upper_one_sided": upper_limit(collapsed, count),
            }
        )
    return pd.DataFrame(rows)


def rearranged_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs in which the molecule rearranged without, or before, a collapse (`physembed.collapse.rearrangements`).

    Returns:
        arm, seed (`all` for the arm as a whole); inverted_runs, cis_trans_runs and new_contact_runs, the number of runs
        with at least one inverted stereocentre, cis/trans change, or new contact of bond length.

    Raises:
        PhysEmbedError: a column of the counts is missing.
    """
    counted = dict(zip(COLUMNS[:3], ("inverted_runs", "cis_trans_runs", "new_contact_runs"), strict=True))
    missing = [name for name in counted if name not in runs]
    if missing:
        raise PhysEmbedError(f"survival: the table of runs has no column {missing[0]!r}; run the stability runs again")
    return pd.DataFrame(
        [
            {"arm": arm, "seed": seed} | {name: int((group[column] > 0).sum()) for column, name in counted.items()}
            for arm, seed, group in _groups(_checked(runs))
        ]
    )


def restricted_mean_times(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean survival time up to a time covered by all arms and seeds: the area under each Kaplan-Meier curve.

    Returns:
        arm, seed (`all` for the arm as a whole), up_to_ps, mean_ps, standard_error_ps (Greenwood's, for
        independent runs; the scatter of the seeds about `all` shows what it misses).
    """
    curves = [(arm, seed, _curve(group)) for arm, seed, group in _groups(_checked(runs))]
    # Beyond its last time a curve is known only if it has reached 0.
    ends = [curve["time_ps"].iloc[-1] for _, _, curve in curves if curve["survival"].iloc[-1] > 0]
    up_to = min(ends) if ends else max(curve["time_ps"].iloc[-1] for _, _, curve in curves)
    rows = []
    for arm, seed, curve in curves:
        within = curve[curve["time_ps"] <= up_to]
        widths = np.diff(within["time_ps"].to_numpy(), append=up_to)
        area_after = np.cumsum((widths * within["survival"].to_numpy())[::-1])[::-1]
        at_risk = within["at_risk"].to_numpy()
        collapsed = np.diff(within["collapsed"].to_numpy(), prepend=0)
        some_left = at_risk > collapsed
        terms = area_after[some_left] ** 2 * collapsed[some_left]
        variance = (terms / (at_risk * (at_risk - collapsed))[some_left]).sum()
        rows.append(
            {
                "arm": arm,
                "seed": seed,
                "up_to_ps": up_to,
                "mean_ps": area_after[0],
                "standard_error_ps": math.sqrt(variance),
            }
        )
    return pd.DataFrame(rows)


def log_rank_scores(runs: pd.DataFrame) -> np.ndarray:
    """(n_runs,) observed collapses (0 or 1) minus expected collapses of each run, if all runs were equivalent.

    The expected number is the Nelson-Aalen cumulative hazard of all runs together at the time of the run. Summed over
    the runs of an arm, the scores are the O - E of the log-rank test; summed over all runs they are zero.
    """
    times = runs["time_fs"].to_numpy(dtype=float)
    collapsed = runs["collapsed"].to_numpy()
    moments, counts = np.unique(times[collapsed], return_counts=True)
    at_risk = len(runs) - np.searchsorted(np.sort(times), moments, side="left")
    hazard = np.concatenate([[0.0], np.cumsum(counts / at_risk)])
    scores: np.ndarray = collapsed - hazard[np.searchsorted(moments, times, side="right")]
    return scores


def _seed_permutation(scores_a: np.ndarray, scores_b: np.ndarray) -> tuple[float, float, int]:
    """Two-sided permutation test of the sum of `scores_a`, with the seeds of both arms as units.

    Returns:
        p-value, the smallest p-value possible with this number of seeds, and the number of assignments evaluated.
    """
    scores = np.concatenate([scores_a, scores_b])
    size, count = len(scores_a), math.comb(len(scores), len(scores_a))
    if exact := count <= MAX_ASSIGNMENTS:
        chosen = np.array(list(itertools.combinations(range(len(scores)), size)))
    else:
        order = np.random.default_rng(0).random((MAX_ASSIGNMENTS, len(scores)))
        chosen = np.argsort(order, axis=1)[:, :size]
    sums = np.abs(scores[chosen].sum(axis=1))
    # Assignments that are equal by symmetry differ by rounding errors only and must be counted.
    as_extreme = int((sums >= abs(scores_a.sum()) - 1e-9 * (1 + np.abs(scores).sum())).sum())
    # With equally many seeds in both arms, exchanging the arms only changes the sign of the sum.
    smallest = (2 if 2 * size == len(scores) else 1) / count
    if exact:
        return as_extreme / count, smallest, count
    # The observed assignment is one of those possible (Phipson and Smyth 2010), so p is never 0.
    return (as_extreme + 1) / (MAX_ASSIGNMENTS + 1), max(smallest, 1 / (MAX_ASSIGNMENTS + 1)), MAX_ASSIGNMENTS


def holm(p_values: np.ndarray) -> np.ndarray:
    """(n,) p-values corrected for their number, so that the chance of any false positive stays below the level.

    The k-th smallest of n is multiplied by n - k + 1; none becomes smaller than one before it, or larger than 1.
    S. Holm, Scand. J. Stat. 1979, 6, 65.
    """
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(np.arange(len(p_values), 0, -1) * p_values[order]), 1)
    return corrected


def _seeds_required(comparisons: int) -> int:
    """Seeds per arm with which the permutation test can reach significance after correction for so many pairs."""
    seeds = 1
    while comparisons * 2 / math.comb(2 * seeds, seeds) >= 1 - CONFIDENCE:
        seeds += 1
    return seeds


def compare_arms(runs: pd.DataFrame, pairs: Sequence[Sequence[str]] | None = None) -> pd.DataFrame:
    """Log-rank test of pairs of arms, together with a permutation test whose units are the seeds.

    Both test whether the collapse times of two arms could come from the same distribution, two-sided. The log-rank
    test treats each run as independent (N. Mantel, Cancer Chemother. Rep. 1966, 50, 163). The permutation test uses
    the same O - E and assigns whole seeds to the arms in every possible way; its p-value cannot fall below
    `smallest_p_value_seeds`. The p-values of either test are also given corrected for the number of pairs (`holm`).

    Args:
        runs: replicas of all arms and seeds; the columns are those of `survival/replicas.csv`.
        pairs: of arms, chosen before the runs; None for all pairs.

    Returns:
        arm_a, arm_b; observed_minus_expected (collapses of arm_a; positive: arm_a collapses more); statistic
        (log-rank chi-squared, one degree of freedom) and p_value; seeds_a, seeds_b, assignments,
        p_value_seeds, smallest_p_value_seeds; comparisons (number of pairs), p_value_holm and p_value_seeds_holm
        (corrected for it); note (empty, or what limits the comparison). No rows if there is only one arm.

    Raises:
        PhysEmbedError: what the table lacks, or an arm of a pair without runs.
    """
    columns = [
        "arm_a", "arm_b", "observed_minus_expected", "statistic", "p_value", "seeds_a", "seeds_b",
        "assignments", "p_value_seeds", "smallest_p_value_seeds", "note",
    ]  # fmt: skip
    by_arm = {str(arm): group for arm, group in _checked(runs).groupby("arm", sort=False)}
    if pairs is not None and (unknown := {arm for pair in pairs for arm in pair} - set(by_arm)):
        known = ", ".join(by_arm)
        raise PhysEmbedError(f"survival: no runs of {min(unknown)}, an arm to be compared (there are runs of {known})")
    rows = []
    for arm_a, arm_b in itertools.combinations(by_arm, 2) if pairs is None else pairs:
        notes, runs_a, runs_b = [], by_arm[arm_a], by_arm[arm_b]
        both = pd.concat([runs_a, runs_b], ignore_index=True)
        seeds = both.assign(score=log_rank_scores(both)).groupby(["arm", "seed"])["score"].sum()
        seeds_a, seeds_b = (seeds.xs(arm, level="arm").to_numpy(dtype=float) for arm in (arm_a, arm_b))
        statistic, p_value = 0.0, 1.0
        if not both["collapsed"].any():
            notes.append("no run of either arm collapsed: there is nothing to compare")
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                test = stats.logrank(_censored(runs_a), _censored(runs_b))
            if math.isfinite(test.statistic):
                statistic, p_value = float(test.statistic) ** 2, float(test.pvalue)
            else:
                notes.append(
                    "whenever runs of both arms were left, all or none of them collapsed: no difference to test"
                )
        p_value_seeds, smallest, assignments = _seed_permutation(seeds_a, seeds_b)
        rows.append(
            [
                arm_a, arm_b, seeds_a.sum(), statistic, p_value, len(seeds_a), len(seeds_b),
                assignments, p_value_seeds, smallest, "; ".join(notes),
            ]
        )  # fmt: skip
    return _corrected(pd.DataFrame(rows, columns=columns))


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """The comparison of arms with the corrected p-values, and a note where seeds are too few for any to be small."""
    count = len(table)
    level, smallest = 1 - CONFIDENCE, table["smallest_p_value_seeds"]
    if count > 1 and count * smallest.min() >= level:
        limit = (
            f"corrected for {count} comparisons, no p-value over seeds can be below "
            f"{min(1, count * smallest.min()):.2g} with this few seeds ({_seeds_required(count)} per arm are needed)"
        )
        limits = [limit] * count
    else:
        limits = [f"with this few seeds no p-value can be below {p:.2g}" if p > level else "" for p in smallest]
    notes = ["; ".join(filter(None, pair)) for pair in zip(table["note"], limits, strict=True)]
    corrected = {f"{name}_holm": holm(table[name].to_numpy(dtype=float)) for name in ("p_value", "p_value_seeds")}
    return table.drop(columns="note").assign(comparisons=count, **corrected, note=notes)


def collapse_causes(runs: pd.DataFrame) -> pd.DataFrame:
    """Causes of collapse, most frequent first within an arm.

    Also reads the columns `cause`, `types`, `length_A`, `angle_degrees` and `in_sampled_range`.

    Returns:
        arm, cause, types (empty if the cause names no atoms), count, median_time_ps, median_length_A,
        median_angle_degrees (of overlaps across an angle), inside_sampled_range (fraction of the bonds and angles that
        were within the sampled range of their type; empty for other causes). No rows if no run collapsed.
    """
    columns = [
        "arm", "cause", "types", "count", "median_time_ps", "median_length_A", "median_angle_degrees",
        "inside_sampled_range",
    ]  # fmt: skip
    checked = _checked(runs)
    collapsed = checked[checked["collapsed"]]
    order = {arm: rank for rank, arm in enumerate(checked["arm"].unique())}
    rows: list[list[Any]] = []
    for (arm, cause, types), group in collapsed.fillna({"types": ""}).groupby(["arm", "cause", "types"]):
        judged = group[group["in_sampled_range"].isin(["inside", "outside"])]
        rows.append(
            [
                arm, cause, types, len(group), group["time_fs"].median() / 1000,
                group["length_A"].astype(float).median(), group["angle_degrees"].astype(float).median(),
                (judged["in_sampled_range"] == "inside").mean(),
            ]
        )  # fmt: skip
    rows.sort(key=lambda row: (order[row[0]], -row[3], row[1], row[2]))
    return pd.DataFrame(rows, columns=columns)
