"""The tables of a scan: the a1 that reproduces the target density at each alpha, and the curve through the runs.

`tuning` has one row per alpha: alpha, method, convention, tuned_on, target_g_cm3, status, reason, a1, a1_low, a1_high,
density_g_cm3, standard_error_g_cm3 and its degrees_of_freedom, slope_g_cm3, f_statistic, p_value (the last two for a
line through direct runs: whether the densities lie on it).
`curve` has alpha, a1, density_g_cm3, standard_error_g_cm3 and effective_samples (of a reweighted curve) on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from ase import units

from physembed.analysis.reweighting import NPTRun, Reweighting
from physembed.analysis.scan import Line, ScanPoint, Tuning, direct_line, reweighted_tuning

GRID = 41
"""Number of points of a curve."""
CURVE = ["alpha", "a1", "density_g_cm3", "standard_error_g_cm3", "effective_samples"]


def npt_runs(series: pd.DataFrame, runs: pd.DataFrame, temperature_K: float, pressure_bar: float) -> list[NPTRun]:
    """The surviving runs of a scan, as input for `Reweighting`."""
    held = runs[runs.status == "ok"]
    return [
        NPTRun(
            alpha=run["alpha"],
            a1=run["a1"],
            temperature_K=temperature_K,
            pressure_eV_A3=pressure_bar * units.bar,
            energies_eV=rows.potential_energy_eV.to_numpy(),
            s0_eV=rows.cso_S0_eV.to_numpy(),
            s1_eV=rows.cso_S1_eV.to_numpy(),
            volumes_A3=rows.volume_A3.to_numpy(),
        )
        for run in held.to_dict("records")
        for rows in [series[series.run == run["run"]]]
    ]


def direct(
    runs: pd.DataFrame, alpha: float, target_g_cm3: float, a1_range: tuple[float, float]
) -> tuple[Tuning, Line | None]:
    """The tuning by a line through the runs at one alpha, and the line if there are enough runs for one.

    If fewer than two values of a1 have a density with an error, the tuning is `unresolved` and its a1 is that of the
    run closest to the target.
    """
    here = runs[runs.alpha == alpha]
    sound = here[(here.status == "ok") & (here.density_status == "ok")]
    if sound.a1.nunique() >= 2:
        points = [
            ScanPoint(run["a1"], run["density_g_cm3"], run["standard_error_g_cm3"], run["blocks"] - 1)
            for run in sound.to_dict("records")
        ]
        line = direct_line(points, target_g_cm3, a1_range)
        return line.tuning, line
    reasons = "; ".join(
        f"a1 = {run['a1']:g}: {run['reason'] or run['density_reason']}" for run in here.to_dict("records")
    )
    reason = f"{len(sound)} of {len(here)} runs give a density with an error, but a line needs two ({reasons})"
    known = here[(here.status == "ok") & np.isfinite(here.density_g_cm3)]
    if known.empty:
        return Tuning("unresolved", reason, *[math.nan] * 6), None
    best = known.loc[(known.density_g_cm3 - target_g_cm3).abs().idxmin()]
    return Tuning("unresolved", reason, best.a1, math.nan, math.nan, best.density_g_cm3, math.nan, math.nan), None


def tune(
    series: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    method: Literal["direct", "reweighted"],
    alphas: Sequence[float],
    target_g_cm3: float,
    a1_range: tuple[float, float],
    temperature_K: float,
    pressure_bar: float,
    mass_u: float,
    minimum_effective_samples: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tune a1 at each alpha and compute the curve of density against a1.

    Args:
        series: one row per frame of each run: run, volume_A3, potential_energy_eV (of the uncorrected model),
            cso_S0_eV, cso_S1_eV.
        runs: one row per run: run, alpha, a1, status, reason, density_g_cm3, standard_error_g_cm3, blocks,
            density_status, density_reason.
        method: a line through the runs at each alpha, or MBAR over all runs.
        alphas: values at which a1 is tuned.
        target_g_cm3: measured density.
        a1_range: lowest and highest allowed a1.
        temperature_K: temperature of all runs and of the target.
        pressure_bar: likewise.
        mass_u: total mass of the atoms in the box.
        minimum_effective_samples: below this a reweighted density is not used.

    Returns:
        The tables `tuning` and `curve`.

    Raises:
        PhysEmbedError: MBAR does not converge.
    """
    held = npt_runs(series, runs, temperature_K, pressure_bar)
    rows, curves = [], []
    reweighting = (
        Reweighting(held, temperature_K, pressure_bar * units.bar, mass_u) if method == "reweighted" and held else None
    )
    for alpha in alphas:
        row: dict[str, object] = {"alpha": alpha, "method": method, "target_g_cm3": target_g_cm3}
        if reweighting is not None:
            tuning = reweighted_tuning(reweighting, alpha, target_g_cm3, a1_range, minimum_effective_samples)
            row["slope_g_cm3"] = reweighting.density(alpha, tuning.a1).slope
            curves.append(_reweighted_curve(reweighting, alpha, a1_range))
        else:
            tuning, line = direct(runs, alpha, target_g_cm3, a1_range)
            if line is not None:
                row |= {"slope_g_cm3": line.slope, "f_statistic": line.f_statistic, "p_value": line.p_value}
                curves.append(_line_curve(line, alpha, a1_range))
        rows.append(
            row
            | {
                "status": tuning.status,
                "reason": tuning.reason,
                "a1": tuning.a1,
                "a1_low": tuning.a1_low,
                "a1_high": tuning.a1_high,
                "density_g_cm3": tuning.density_g_cm3,
                "standard_error_g_cm3": tuning.standard_error,
                "degrees_of_freedom": tuning.degrees_of_freedom,
            }
        )
    order = [
        "alpha", "method", "target_g_cm3", "status", "reason", "a1", "a1_low", "a1_high", "density_g_cm3",
        "standard_error_g_cm3", "degrees_of_freedom", "slope_g_cm3", "f_statistic", "p_value",
    ]  # fmt: skip
    curve = pd.concat(curves) if curves else pd.DataFrame(columns=CURVE)
    return pd.DataFrame(rows).reindex(columns=order), curve


def _line_curve(line: Line, alpha: float, a1_range: tuple[float, float]) -> pd.DataFrame:
    a1 = np.linspace(*a1_range, GRID)
    design = np.column_stack([np.ones(GRID), a1])
    errors = np.sqrt(np.einsum("gi,ij,gj->g", design, line.covariance, design))
    values = {"alpha": alpha, "a1": a1, "density_g_cm3": line.intercept + line.slope * a1}
    return pd.DataFrame(values | {"standard_error_g_cm3": errors, "effective_samples": np.nan})


def _reweighted_curve(reweighting: Reweighting, alpha: float, a1_range: tuple[float, float]) -> pd.DataFrame:
    points = [reweighting.density(alpha, a1) for a1 in np.linspace(*a1_range, GRID)]
    values = [(alpha, p.a1, p.density_g_cm3, p.standard_error, p.effective_samples) for p in points]
    return pd.DataFrame(values, columns=CURVE)
