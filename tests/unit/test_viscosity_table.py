"""The viscosity table, on pressures whose viscosity is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from physembed.analysis.viscosity_table import MAX_LAGS, viscosity_table
from tests.unit.shear_pressure import TEMPERATURE_K, VOLUME_A3, ou_pressure, viscosity_mPa_s


def test_known_viscosity_and_both_cross_checks() -> None:
    pressure = ou_pressure(seed=3, n_replicas=3, n_blocks=20_000, block_ps=0.03)
    table, running = viscosity_table(pressure, 30.0, np.full(len(pressure), VOLUME_A3), TEMPERATURE_K, 0.15)
    (row,) = table.itertuples()
    exact = viscosity_mPa_s(1.0)
    assert row.status == "ok"
    assert abs(row.viscosity_mPa_s - exact) < 4 * row.standard_error_mPa_s
    assert row.green_kubo_mPa_s == pytest.approx(exact, rel=0.3)
    assert row.time_decomposition_mPa_s == pytest.approx(exact, rel=0.3)
    assert row.length_ps == pytest.approx(600)
    assert len(running) <= MAX_LAGS
    assert running.time_ps.is_monotonic_increasing
    assert running.time_ps.iloc[0] == 0


def test_too_little_gives_no_number_but_the_length_that_would_do() -> None:
    pressure = ou_pressure(seed=3, n_replicas=2, n_blocks=500, block_ps=0.01)
    (row,) = viscosity_table(pressure, 10.0, np.full(len(pressure), VOLUME_A3), TEMPERATURE_K, 0.1)[0].itertuples()
    assert row.status == "insufficient"
    assert pd.isna(row.viscosity_mPa_s)
    assert pd.isna(row.standard_error_mPa_s)
    assert row.needed_ps > row.length_ps


def test_no_replica_held() -> None:
    table, running = viscosity_table(np.empty((0, 100, 3, 3)), 10.0, np.empty(0), TEMPERATURE_K, 0.1)
    (row,) = table.itertuples()
    assert (row.status, row.replicas) == ("insufficient", 0)
    assert pd.isna(row.viscosity_mPa_s)
    assert running.empty
