"""Replicas that are added to a stability run leave those that are there as they are."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from physembed.collapse.detector import CollapseDetector
from physembed.collapse.rearrangements import COLUMNS, Rearrangements
from physembed.config import Stability
from physembed.errors import PhysEmbedError
from physembed.md.clock import Clock
from physembed.md.cohorts import StabilityCohorts
from tests.unit.test_md import BONDS, RANGES, WATER, Bonds, finished

SETTINGS = Stability(
    duration_ps=0.1, record_interval_fs=20.0, check_interval_steps=10, dtype="float64", device="cpu"
)  # fmt: skip

SEED = 10
"""With which replicas live that long."""


class Counting(Bonds):
    """Counts the molecules that it is asked for."""

    asked = 0

    def forward(self, state, **_):
        Counting.asked += state.n_systems
        return super().forward(state)


def starts(count: int) -> list[Atoms]:
    """Water, each a little different from the others."""
    return [Atoms("OHH", WATER * (1 + 0.001 * i), info={"source_frame": 100 + i}) for i in range(count)]


def made(folder: Path, count: int, clock: Clock | None = None, **changes: object) -> StabilityCohorts:
    detector = CollapseDetector(BONDS, np.array([0.96, 0.96]), np.full((3, 3), 0.3), 0.5, 0.0)
    settings = SETTINGS.model_copy(update=changes)
    table = BONDS.assign(r_eq_A=0.96, in_ring=False)
    changes = Rearrangements(table, np.array([8, 1, 1]), np.full((3, 3), 0.3))
    runs = StabilityCohorts(
        Counting(), starts(count), detector, RANGES, changes, settings, seed=SEED, restart=folder, clock=clock
    )
    Counting.asked = 0
    runs.run()
    return runs


def of_first(table: pd.DataFrame, count: int) -> pd.DataFrame:
    return table[table.replica < count].reset_index(drop=True)


def test_one_cohort_is_a_plain_run(tmp_path: Path) -> None:
    plain, runs = finished(tmp_path / "plain", starts=starts(5), seed=SEED), made(tmp_path / "cohorts", 5)
    replicas = runs.replicas()
    assert list(replicas.columns[-4:]) == list(COLUMNS)
    pd.testing.assert_frame_equal(replicas.drop(columns=list(COLUMNS)), plain.replicas(), check_exact=True)
    pd.testing.assert_frame_equal(runs.thermo(), plain.thermo(), check_exact=True)


def test_starts_that_are_added_leave_the_others_and_only_they_are_run(tmp_path: Path) -> None:
    five = made(tmp_path, 5)
    nine = made(tmp_path, 9)
    pd.testing.assert_frame_equal(of_first(nine.replicas(), 5), five.replicas(), check_exact=True)
    pd.testing.assert_frame_equal(of_first(nine.thermo(), 5), five.thermo(), check_exact=True)
    assert nine.replicas().replica.tolist() == list(range(9))
    assert nine.replicas().start_frame.tolist() == list(range(100, 109))
    assert 0 < Counting.asked < 4 * 101
    # Once more: nothing is computed. Then with fewer, and with more again.
    again = made(tmp_path, 9)
    assert Counting.asked == 0
    pd.testing.assert_frame_equal(again.replicas(), nine.replicas(), check_exact=True)
    pd.testing.assert_frame_equal(made(tmp_path, 5).replicas(), five.replicas(), check_exact=True)
    assert Counting.asked == 0
    twelve = made(tmp_path, 12)
    pd.testing.assert_frame_equal(of_first(twelve.replicas(), 9), nine.replicas(), check_exact=True)
    # Independent noise: the added replicas are not copies of the first ones.
    late = twelve.thermo().query("time_fs == 20 and replica >= 5").potential_energy_eV
    early = twelve.thermo().query("time_fs == 20 and replica < 5").potential_energy_eV
    assert not set(late) & set(early)


def test_all_cohorts_go_on_when_the_duration_grows(tmp_path: Path) -> None:
    made(tmp_path, 4)
    short = made(tmp_path, 7)
    long = made(tmp_path, 7, duration_ps=0.2)
    shorter = long.thermo()[long.thermo().time_fs <= 100].reset_index(drop=True)
    columns = ["replica", "time_fs"]
    pd.testing.assert_frame_equal(
        shorter.sort_values(columns, ignore_index=True),
        short.thermo().sort_values(columns, ignore_index=True),
        check_exact=True,
    )
    assert long.thermo().time_fs.max() == 200


def test_the_time_limit_ends_a_run_that_goes_on_later(tmp_path: Path) -> None:
    for steps in (10, 20, 30):
        with pytest.raises(
            PhysEmbedError, match=rf"ended after .* with {steps} of 100 steps done; .*run again to resume"
        ):
            made(tmp_path / "limited", 6, clock=Clock(1e-9))
    limited, whole = made(tmp_path / "limited", 6), made(tmp_path / "whole", 6)
    pd.testing.assert_frame_equal(limited.thermo(), whole.thermo(), check_exact=True)
    pd.testing.assert_frame_equal(limited.replicas(), whole.replicas(), check_exact=True)


def test_files_are_numbered_through(tmp_path: Path) -> None:
    made(tmp_path / "restart", 2)
    runs = made(tmp_path / "restart", 5)
    runs.write(tmp_path / "replicas.csv", tmp_path / "thermo.csv", tmp_path / "trajectories")
    assert pd.read_csv(tmp_path / "replicas.csv").replica.tolist() == [0, 1, 2, 3, 4]
    names = sorted(path.name for path in (tmp_path / "trajectories").iterdir())
    assert names == [f"replica_{i:03d}.xyz" for i in range(5)]
    for i, name in enumerate(names):
        first = ase.io.read(tmp_path / "trajectories" / name, 0)
        np.testing.assert_allclose(first.positions, starts(5)[i].positions, atol=1e-5)
