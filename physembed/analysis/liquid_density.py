"""Density of a liquid from all replicas of its NPT runs.

The table has one row: density_g_cm3 and standard_error_g_cm3 (over the replicas with an equilibrated part; the
larger of the within-run error and the error from the scatter between runs), degrees_of_freedom (of the standard error),
status (`ok`, or the problem of the first replica if none is), reason (with `ok`, which replicas are excluded and
why, and whether the others differ by more than their errors, or drift together), replicas (run), replicas_held
(surviving), replicas_ok, equilibration_ps (the longest), length_ps (of a run, the shortest), effective_samples (of
all), last_window_g_cm3 (the paper's plain mean over the end of the runs) and window_ps.
"""

from __future__ import annotations

import math

import pandas as pd
from scipy import stats

from physembed.analysis.density import DRIFT_PROBABILITY, combined_degrees_of_freedom, mean_density
from physembed.units import G_CM3

DENSITY_NUMBERS = (
    "density_g_cm3",
    "standard_error_g_cm3",
    "blocks",
    "equilibration_ps",
    "effective_samples",
    "drift_g_cm3",
)
"""Numeric columns that a mean density adds to a table of runs."""
DIFFERENT = 0.01
"""Replicas differ if the probability of the scatter between them, given their own errors, is lower than this."""


def with_densities(runs: pd.DataFrame, series: pd.DataFrame, *, by: str) -> pd.DataFrame:
    """The table of runs with the mean density of each (`physembed.analysis.density.mean_density`).

    Args:
        runs: one row per run: its name, status and reason.
        series: rows of the runs, with the name of the run: time_ps, volume_A3, density_g_cm3.
        by: column with the name of a run, `run` or `replica`.

    Returns:
        `runs` with density_g_cm3, standard_error_g_cm3, blocks, equilibration_ps, effective_samples and drift_g_cm3,
        which are nan for a failed run, and density_status and density_reason, which for such a run equal status and
        reason.

    Raises:
        PhysEmbedError: rows of a run that are not evenly spaced in time, or fewer than two.
    """
    rows = []
    for run in runs.to_dict("records"):
        if run["status"] != "ok":
            numbers = dict.fromkeys(DENSITY_NUMBERS, math.nan)
            rows.append({**numbers, "density_status": run["status"], "density_reason": run["reason"]})
            continue
        own = series[series[by] == run[by]]
        mass_u = float((own.density_g_cm3 * own.volume_A3).mean()) * G_CM3
        mean = mean_density(own.time_ps, own.volume_A3, mass_u)
        values = (
            mean.density_g_cm3, mean.standard_error, mean.blocks, mean.equilibration_ps, mean.effective_samples,
            mean.drift_g_cm3,
        )  # fmt: skip
        numbers = dict(zip(DENSITY_NUMBERS, values, strict=True))
        rows.append({**numbers, "density_status": mean.status, "density_reason": mean.reason})
    return runs.reset_index(drop=True).join(pd.DataFrame(rows))


def density_table(series: pd.DataFrame, runs: pd.DataFrame, window_ps: float) -> pd.DataFrame:
    """The table described in the docstring of the module.

    Args:
        series: rows of the replicas: replica, time_ps, density_g_cm3.
        runs: one row per replica: replica, length_ps, and the columns of `with_densities`.
        window_ps: length of the window at the end of a run for the plain mean.
    """
    held = runs[runs.status == "ok"]
    sound = held[held.density_status == "ok"]
    row: dict[str, object] = {
        "replicas": len(runs),
        "replicas_held": len(held),
        "replicas_ok": len(sound),
        "window_ps": window_ps,
    }
    if len(sound):
        error, freedom, differ = _error(sound)
        row |= {"status": "ok", "reason": "; ".join([*_left_out(runs, sound), *differ])}
        row |= {"density_g_cm3": sound.density_g_cm3.mean()}
        row |= {"standard_error_g_cm3": error, "degrees_of_freedom": freedom}
    elif len(held):
        # A mean without an error is all that a run gives if it is too short for an error.
        first = held.iloc[0]
        row |= {"status": first.density_status, "reason": first.density_reason}
        row |= {"density_g_cm3": held.density_g_cm3.mean(), "standard_error_g_cm3": math.nan}
    else:
        first = runs.iloc[0]
        row |= {"status": first.status, "reason": first.reason}
        row |= {"density_g_cm3": math.nan, "standard_error_g_cm3": math.nan}
    row.setdefault("degrees_of_freedom", math.nan)
    behind = sound if len(sound) else held
    row |= {
        "equilibration_ps": behind.equilibration_ps.max(),
        "length_ps": runs.length_ps.min(),
        "effective_samples": behind.effective_samples.sum(),
    }
    ends = []
    for run in held.itertuples():
        own = series[series.replica == run.replica]
        if own.time_ps.max() - own.time_ps.min() >= window_ps * (1 - 1e-9):
            ends.append(own.density_g_cm3[own.time_ps > own.time_ps.max() - window_ps].mean())
    row["last_window_g_cm3"] = sum(ends) / len(ends) if ends else math.nan
    order = [
        "density_g_cm3", "standard_error_g_cm3", "degrees_of_freedom", "status", "reason", "replicas", "replicas_held",
        "replicas_ok", "equilibration_ps", "length_ps", "effective_samples", "last_window_g_cm3", "window_ps",
    ]  # fmt: skip
    return pd.DataFrame([row])[order]


def _error(sound: pd.DataFrame) -> tuple[float, float, list[str]]:
    """Standard error of the mean of the replicas, its degrees of freedom, and whether they differ or drift too much.

    Replicas may be trapped in different states, or all relax slowly, which no single run can detect. The error from
    their scatter has few degrees of freedom; if it is larger by chance only (F test), those of the within-run error are
    used.
    """
    count = len(sound)
    within = math.sqrt((sound.standard_error_g_cm3**2).sum()) / count
    freedom = combined_degrees_of_freedom(sound.standard_error_g_cm3**2, sound.blocks - 1)
    if count == 1:
        return within, freedom, []
    texts = []
    between = float(sound.density_g_cm3.std(ddof=1)) / math.sqrt(count)
    error, error_freedom = max(within, between), freedom
    p_value = float(stats.f.sf((between / within) ** 2, count - 1, freedom))
    if p_value < DIFFERENT:
        error, error_freedom = between, count - 1.0
        texts.append(f"the replicas differ by {between / within:.1f} times their own error (p = {p_value:.1g})")
    drift = float(sound.drift_g_cm3.mean())
    p_drift = 2 * float(stats.t.sf(abs(drift) / (2 * error), error_freedom))
    if p_drift < DRIFT_PROBABILITY:
        change = f"{'rise' if drift > 0 else 'fall'} by {abs(drift):.2g} g/cm^3"
        texts.append(f"the replicas together {change} between their halves (p = {p_drift:.1g})")
    return error, error_freedom, [f"{text}; run longer" for text in texts]


def _left_out(runs: pd.DataFrame, sound: pd.DataFrame) -> list[str]:
    """The excluded replicas, and why."""
    others = runs[~runs.replica.isin(sound.replica)]
    return [
        f"replica {run['replica']} excluded: {run['reason'] if run['status'] != 'ok' else run['density_reason']}"
        for run in others.to_dict("records")
    ]
