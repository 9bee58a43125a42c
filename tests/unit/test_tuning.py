"""The tables of a scan, on runs of a liquid whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from physembed.analysis.tuning import npt_runs, tune
from physembed.units import G_CM3, KB

TEMPERATURE, MASS, FRAMES = 300.0, 9000.0, 2000
SPREAD = 150.0
"""Standard deviation of the volume, Å^3."""
S1_PER_VOLUME, S0_PER_VOLUME = -2.0e-4, -5.0e-4
"""S0 and S1 fall linearly with the volume, eV/Å^3: a tilted Gaussian stays a Gaussian, so all is known exactly,
and the density rises with alpha and a1."""
MEAN = 15_000.0
"""Mean volume of the uncorrected liquid, Å^3."""


def mean_volume(alpha: float, a1: float) -> float:
    """Of exp(-beta (E - alpha (S0 + a1 S1))) with a Gaussian for alpha = 0."""
    return MEAN + SPREAD**2 * alpha * (S0_PER_VOLUME + a1 * S1_PER_VOLUME) / (KB * TEMPERATURE)


def scan(points: list[tuple[float, float]], seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Series and runs of a scan: independent frames of that Gaussian."""
    generator = np.random.default_rng(seed)
    series, runs = [], []
    for run, (alpha, a1) in enumerate(points):
        volume = generator.normal(mean_volume(alpha, a1), SPREAD, FRAMES)
        density = MASS / volume / G_CM3
        frame = pd.DataFrame({"run": run, "volume_A3": volume, "potential_energy_eV": generator.normal(0, 1, FRAMES)})
        series.append(frame.assign(cso_S0_eV=S0_PER_VOLUME * volume, cso_S1_eV=S1_PER_VOLUME * volume))
        error = density.std(ddof=1) / math.sqrt(FRAMES)
        runs.append((run, alpha, a1, "ok", "", density.mean(), error, 50, "ok", ""))
    columns = [
        "run", "alpha", "a1", "status", "reason", "density_g_cm3", "standard_error_g_cm3", "blocks", "density_status",
        "density_reason",
    ]  # fmt: skip
    return pd.concat(series), pd.DataFrame(runs, columns=columns)


ALPHA = 1.0
POINTS = [(0.0, 0.0), (ALPHA, 0.0), (ALPHA, 0.5), (ALPHA, 1.0)]


def settings(method: str, target: float) -> dict:
    return {
        "method": method,
        "alphas": [ALPHA],
        "target_g_cm3": target,
        "a1_range": (0.0, 1.0),
        "temperature_K": TEMPERATURE,
        "pressure_bar": 1.0,
        "mass_u": MASS,
        "minimum_effective_samples": 50.0,
    }


def density_at(a1: float) -> float:
    """Mean density to second order in the spread of the volume."""
    volume = mean_volume(ALPHA, a1)
    return MASS / volume / G_CM3 * (1 + (SPREAD / volume) ** 2)


@pytest.mark.parametrize("method", ["direct", "reweighted"])
def test_both_ways_find_the_known_a1(method: str) -> None:
    known = 0.4
    tuning, curve = tune(*scan(POINTS), **settings(method, density_at(known)))
    (row,) = tuning.itertuples()
    assert row.status == "ok"
    assert row.method == method
    assert row.a1_low < known < row.a1_high
    assert row.a1_high - row.a1_low < 0.2
    slope = (density_at(0.5) - density_at(0.3)) / 0.2
    assert row.slope_g_cm3 == pytest.approx(slope, rel=0.1)
    np.testing.assert_allclose(curve.density_g_cm3, [density_at(a1) for a1 in curve.a1], atol=4e-4)


def test_direct_and_reweighted_agree_within_error() -> None:
    data = scan(POINTS, seed=7)
    (direct,) = tune(*data, **settings("direct", density_at(0.6)))[0].itertuples()
    (reweighted,) = tune(*data, **settings("reweighted", density_at(0.6)))[0].itertuples()
    error = math.hypot(direct.a1_high - direct.a1_low, reweighted.a1_high - reweighted.a1_low) / 4
    assert abs(direct.a1 - reweighted.a1) < 3 * error


def test_runs_that_did_not_hold_are_left_out() -> None:
    series, runs = scan(POINTS)
    lost = runs.copy()
    lost.loc[3, ["status", "reason"]] = ["blown_up", "temperature"]
    assert len(npt_runs(series, lost, TEMPERATURE, 1.0)) == 3
    (row,) = tune(series, lost, **settings("direct", density_at(0.4)))[0].itertuples()
    assert row.status == "ok"


def test_too_few_densities_say_so_and_give_the_nearest_run() -> None:
    series, runs = scan(POINTS)
    short = runs.assign(density_status="insufficient", density_reason="too short", standard_error_g_cm3=math.nan)
    tuning, curve = tune(series, short, **settings("direct", density_at(0.45)))
    (row,) = tuning.itertuples()
    assert row.status == "unresolved"
    assert "0 of 3 runs" in row.reason
    assert "too short" in row.reason
    assert row.a1 == 0.5
    assert math.isnan(row.a1_low)
    assert curve.empty


def test_no_run_held() -> None:
    series, runs = scan(POINTS)
    lost = runs.assign(status="evaporated", reason="gone")
    for method in ("direct", "reweighted"):
        tuning, curve = tune(series, lost, **settings(method, 1.0))
        (row,) = tuning.itertuples()
        assert row.status == "unresolved"
        assert "gone" in row.reason
        assert math.isnan(row.a1)
        assert curve.empty


def test_unreachable_target_is_said() -> None:
    for method in ("direct", "reweighted"):
        (row,) = tune(*scan(POINTS), **settings(method, density_at(0.0) * 1.05))[0].itertuples()
        assert row.status == "unreachable"
        assert row.a1 == 1.0  # the end with the highest density
        assert math.isnan(row.a1_low)
