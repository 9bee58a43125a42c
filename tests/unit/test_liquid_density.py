"""Density from the replicas of a liquid."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from scipy import stats

from physembed.analysis.density import mean_density
from physembed.analysis.liquid_density import density_table, with_densities
from physembed.errors import PhysEmbedError
from physembed.liquids.replicas import equilibrated, equilibrated_from
from physembed.units import G_CM3
from tests.unit.test_density import autoregressive


def data(*densities: float, length_ps: float = 300.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    time = np.arange(1, length_ps + 1)
    series = [
        # The first half is off by 0.1, the second is right.
        pd.DataFrame({"replica": i, "time_ps": time, "density_g_cm3": rho + 0.1 * (time <= length_ps / 2)})
        for i, rho in enumerate(densities)
    ]
    runs = pd.DataFrame({"replica": range(len(densities)), "density_g_cm3": densities})
    runs = runs.assign(
        status="ok", reason="", length_ps=length_ps, standard_error_g_cm3=0.003, blocks=12, equilibration_ps=150.0,
        effective_samples=60.0, drift_g_cm3=0.0, density_status="ok", density_reason="",
    )  # fmt: skip
    return pd.concat(series), runs


def test_each_run_that_was_not_lost_gets_the_density_of_its_own_rows() -> None:
    rng, mass, time = np.random.default_rng(3), 5000.0, np.arange(400.0)
    volumes = {"sound": rng.normal(8000, 40, 400), "short": rng.normal(7000, 40, 400)[:20], "lost": 9000 + time[:7]}
    series = pd.concat(
        pd.DataFrame({"run": name, "time_ps": time[: len(v)], "volume_A3": v, "density_g_cm3": mass / v / G_CM3})
        for name, v in volumes.items()
    )
    runs = pd.DataFrame({"run": list(volumes), "status": ["ok", "ok", "blown_up"], "reason": ["", "", "torn"]})
    table = with_densities(runs, series, by="run")
    pd.testing.assert_frame_equal(table[["run", "status", "reason"]], runs)
    sound, short, lost = table.itertuples()
    expected = mean_density(time, volumes["sound"], mass)
    assert (sound.density_status, sound.density_reason) == ("ok", "")
    assert sound.density_g_cm3 == pytest.approx(expected.density_g_cm3, rel=1e-12)
    assert sound.standard_error_g_cm3 == pytest.approx(expected.standard_error, rel=1e-12)
    assert (sound.blocks, sound.equilibration_ps) == (expected.blocks, expected.equilibration_ps)
    assert sound.effective_samples == pytest.approx(expected.effective_samples)
    assert short.density_status == "insufficient" and "run longer" in short.density_reason
    assert short.density_g_cm3 == pytest.approx(mass / 7000 / G_CM3, rel=0.02) and math.isnan(
        short.standard_error_g_cm3
    )
    assert (lost.density_status, lost.density_reason) == ("blown_up", "torn")
    assert all(math.isnan(value) for value in (lost.density_g_cm3, lost.blocks, lost.equilibration_ps))
    with pytest.raises(PhysEmbedError, match="at least two frames"):
        with_densities(runs.assign(status="ok"), series.groupby("run").head(1), by="run")


def test_replicas_are_averaged_and_their_errors_shrink() -> None:
    (row,) = density_table(*data(1.000, 1.001, 1.002), window_ps=100).itertuples()
    assert (row.status, row.reason) == ("ok", "")
    assert row.density_g_cm3 == pytest.approx(1.001)
    assert row.standard_error_g_cm3 == pytest.approx(0.003 / math.sqrt(3))
    assert row.degrees_of_freedom == pytest.approx(3 * 11)
    assert row.effective_samples == 180
    assert row.last_window_g_cm3 == pytest.approx(1.001)


def test_scatter_between_replicas_counts_where_it_is_larger() -> None:
    """Within chance it has the degrees of freedom within the runs; beyond chance those of the replicas."""
    (row,) = density_table(*data(1.000, 1.004, 1.008), window_ps=100).itertuples()
    assert row.standard_error_g_cm3 == pytest.approx(0.004 / math.sqrt(3))
    assert (row.degrees_of_freedom, row.reason) == (pytest.approx(33), "")
    (row,) = density_table(*data(1.00, 1.01, 1.02), window_ps=100).itertuples()
    assert row.standard_error_g_cm3 == pytest.approx(0.01 / math.sqrt(3))
    assert row.degrees_of_freedom == 2
    # F = (0.01 / 0.003)^2 with 2 and 33 degrees of freedom.
    assert row.status == "ok"
    assert row.reason == "the replicas differ by 3.3 times their own error (p = 0.0002); run longer"


def test_a_drift_that_no_single_replica_shows_is_seen_in_all_together() -> None:
    """Each rises by two thirds of what its own test allows (2.6 times twice its error)."""
    series, runs = data(*(1.0 + 0.001 * np.arange(6)))
    for drift, verb in ((0.010, "rise"), (-0.010, "fall")):
        (row,) = density_table(series, runs.assign(drift_g_cm3=drift), window_ps=100).itertuples()
        error = 0.003 / math.sqrt(6)
        p_value = 2 * stats.t.sf(0.010 / (2 * error), 6 * 11)
        assert row.standard_error_g_cm3 == pytest.approx(error)
        assert row.reason == (
            f"the replicas together {verb} by 0.01 g/cm^3 between their halves (p = {p_value:.1g}); run longer"
        )
    (row,) = density_table(series, runs.assign(drift_g_cm3=[0.01, -0.01] * 3), window_ps=100).itertuples()
    assert (row.status, row.reason) == ("ok", "")


def test_a_slow_relaxation_is_seen_in_replicas_and_not_in_a_run() -> None:
    """A rise by two and a half errors of a run, over its whole length: each run passes its own tests, eight do not."""
    rng, mass, time = np.random.default_rng(5), 5000.0, np.arange(1.0, 2001.0)
    rising = 1 - 0.004 * np.exp(-time / len(time))
    found = [rising + autoregressive(rng, len(time), 10, 0.01) for _ in range(8)]
    series = pd.concat(
        pd.DataFrame({"replica": i, "time_ps": time, "density_g_cm3": density}) for i, density in enumerate(found)
    )
    series["volume_A3"] = mass / series.density_g_cm3 / G_CM3
    runs = pd.DataFrame({"replica": range(8), "status": "ok", "reason": "", "length_ps": 2000.0})
    table = with_densities(runs, series, by="replica")
    assert (table.density_status == "ok").all()
    (row,) = density_table(series, table, window_ps=100).itertuples()
    assert re.match(r"the replicas together rise by 0\.00\d+ g/cm\^3 between their halves", row.reason)


def test_replicas_that_drift_or_were_lost_are_named() -> None:
    series, runs = data(1.0, 1.001, 1.2, 7.0)
    runs.loc[2, ["density_status", "density_reason"]] = ["insufficient", "still drifting, run longer"]
    runs.loc[3, ["status", "reason"]] = ["blown_up", "temperature 9000 K"]
    (row,) = density_table(series, runs, window_ps=100).itertuples()
    assert row.status == "ok"
    assert row.density_g_cm3 == pytest.approx(1.0005)
    assert row.reason == "replica 2 excluded: still drifting, run longer; replica 3 excluded: temperature 9000 K"


def test_the_window_is_the_end_of_the_run() -> None:
    (row,) = density_table(*data(1.0), window_ps=200).itertuples()
    assert row.last_window_g_cm3 == pytest.approx(1.0 + 0.1 * 50 / 200)
    (short,) = density_table(*data(1.0), window_ps=400).itertuples()
    assert math.isnan(short.last_window_g_cm3)


def test_a_replica_that_did_not_hold_does_not_count() -> None:
    series, runs = data(1.0, 7.0)
    runs.loc[1, ["status", "reason"]] = ["blown_up", "temperature 9000 K"]
    (row,) = density_table(series, runs, window_ps=100).itertuples()
    assert row.density_g_cm3 == 1.0
    assert (row.replicas, row.replicas_ok) == (2, 1)
    assert row.last_window_g_cm3 == pytest.approx(1.0)


def test_a_mean_without_error_is_marked() -> None:
    series, runs = data(1.0, 1.02)
    runs = runs.assign(density_status="insufficient", density_reason="too short", standard_error_g_cm3=math.nan)
    (row,) = density_table(series, runs, window_ps=100).itertuples()
    assert (row.status, row.reason) == ("insufficient", "too short")
    assert row.density_g_cm3 == pytest.approx(1.01)
    assert math.isnan(row.standard_error_g_cm3)


def test_no_replica_held() -> None:
    series, runs = data(1.0)
    (row,) = density_table(series, runs.assign(status="evaporated", reason="gone"), window_ps=100).itertuples()
    assert (row.status, row.reason) == ("evaporated", "gone")
    assert math.isnan(row.density_g_cm3)
    assert math.isnan(row.last_window_g_cm3)


def test_frames_of_the_equilibrated_part_of_each_replica_that_held() -> None:
    _, runs = data(1.0, 1.1, 1.2)
    runs.loc[1, "status"] = "blown_up"
    runs.loc[2, "equilibration_ps"] = 250.0
    frames = [Atoms(info={"run": run, "time_ps": float(time)}) for run in (0, 1, 2) for time in (100, 200, 300)]
    kept = [(frame.info["run"], frame.info["time_ps"]) for frame in equilibrated(frames, equilibrated_from(runs))]
    assert kept == [(0, 200), (0, 300), (2, 300)]
