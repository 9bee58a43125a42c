"""Rounds of active learning: the spread that stops replicas, its limit, the frames that are chosen, and the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch_sim as ts
from ase import Atoms

from physembed.analysis.binomial import upper_limit
from physembed.collapse.detector import CollapseDetector
from physembed.config import Stability
from physembed.config.arm_clashes import upper_limit_of_none
from physembed.config.learning import Learning
from physembed.learning.choice import choose, farthest
from physembed.learning.committee import SpreadLimited, mean_and_spread, spread_limit
from physembed.learning.hot_md import HotRuns, recorded, with_causes
from physembed.learning.rounds import has_ended, one_round, round_without_runs, rounds_table
from physembed.learning.widening import Widening
from physembed.md.stability import StabilityRun
from tests.unit.test_md import BONDS, WATER, Bonds

ANGLES = pd.DataFrame(
    {"i": [1], "j": [0], "k": [2], "type_i": "hw", "type_j": "ow", "type_k": "hw", "k_kcal_mol_rad2": 50.0}
)
DEPTHS = (1.0, 1.1, 1.5)
"""Of the Morse bonds of three members, eV: forces are in proportion."""


def water(stretch_A: float = 0.0, **info: Any) -> Atoms:
    """Water with its first bond stretched."""
    positions = WATER.copy()
    positions[1, 0] += stretch_A
    return Atoms("OHH", positions, info=info)


def members() -> list[Any]:
    return [Bonds(depth_eV=depth) for depth in DEPTHS]


def test_mean_and_spread_of_a_committee() -> None:
    frames = [water(0.1), water(-0.05), water(0.2)]
    forces, spreads = mean_and_spread(SpreadLimited(members()), frames)
    state = ts.io.atoms_to_state(
        [Atoms("OHH", frame.positions, cell=[1, 1, 1]) for frame in frames], device=torch.device("cpu"),
        dtype=torch.float64,
    )  # fmt: skip
    unit = Bonds(depth_eV=1.0)(state)["forces"].numpy().reshape(3, 3, 3)
    np.testing.assert_allclose(forces, np.mean(DEPTHS) * unit, rtol=1e-12)
    # Forces of the members are in proportion to their depths, and so is their standard deviation.
    expected = np.std(DEPTHS, ddof=1) * np.linalg.norm(unit, axis=2).max(axis=1)
    np.testing.assert_allclose(spreads, expected, rtol=1e-12)


def test_energy_is_not_a_number_beyond_the_limit() -> None:
    frames = [water(0.05), water(0.3), water(0.1)]
    _, spreads = mean_and_spread(SpreadLimited(members()), frames)
    limited = SpreadLimited(members(), limit_eV_A=float(np.sort(spreads)[1]))
    batch = [Atoms("OHH", frame.positions, cell=[1, 1, 1]) for frame in frames]
    output = limited(ts.io.atoms_to_state(batch, device=torch.device("cpu"), dtype=torch.float64))
    assert output["energy"].isfinite().tolist() == [True, False, True]
    assert output["forces"].isfinite().all()
    spoiled = SpreadLimited([*members(), Bonds(spoiled="forces")], limit_eV_A=100.0)
    moved = [Atoms("OHH", frame.positions + 1000.0, cell=[1, 1, 1]) for frame in frames]
    output = spoiled(ts.io.atoms_to_state(moved, device=torch.device("cpu"), dtype=torch.float64))
    assert not output["energy"].isfinite().any(), "a spread that is not a number is beyond every limit"


def test_limit_of_the_spread() -> None:
    """101 atoms whose forces are wrong by 0, 1, ..., 100 eV/Å: the 95th percentile is 95."""
    labels = np.random.default_rng(1).normal(size=(101, 1, 3))
    directions = np.random.default_rng(2).normal(size=(101, 1, 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    forces = labels + np.arange(101)[::-1, None, None] * directions
    assert spread_limit(forces, labels, 2.0) == pytest.approx(190.0, rel=1e-12)


def test_a_replica_is_frozen_by_the_first_check_beyond_the_limit(tmp_path: Path) -> None:
    settings = Stability(
        duration_ps=0.4, record_interval_fs=10.0, check_interval_steps=10, temperature_K=800.0, dtype="float64",
        device="cpu",
    )  # fmt: skip
    detector = CollapseDetector(BONDS, np.array([0.96, 0.96]), np.zeros((3, 3)), 0.5, 0.0)
    starts = [water(source_frame=replica) for replica in range(12)]
    limit = 0.45
    model = SpreadLimited([Bonds(depth_eV=depth) for depth in (2.0, 2.3)], limit)
    run = StabilityRun(model, starts, detector, None, settings, seed=3, restart=tmp_path)
    run.run()
    trajectories = [run.trajectory(replica) for replica in range(12)]
    records = recorded(trajectories, SpreadLimited(model.models), detector)
    replicas = with_causes(run.replicas(), records)
    stopped = replicas["cause"] == "spread"
    assert 3 < stopped.sum() < 12, "with this seed some stop and some do not"
    for replica, of_replica in records.groupby("replica"):
        beyond = of_replica["spread_eV_A"] > limit
        if stopped[replica]:
            assert beyond.tolist() == [False] * (len(beyond) - 1) + [True]
            assert replicas["time_fs"][replica] == of_replica["time_fs"].iloc[-1]
        elif not replicas["collapsed"][replica]:
            assert not beyond.any() and len(beyond) == 41
    assert records.loc[records["time_fs"] == 0, "sound"].all()


def test_a_collapse_keeps_its_cause() -> None:
    records = pd.DataFrame({"replica": [0, 1, 1, 2], "spread_eV_A": [9.0, 0.1, np.nan, 0.2]})
    replicas = pd.DataFrame({"replica": [0, 1, 2], "cause": ["non_finite", "non_finite", "bond"]})
    assert with_causes(replicas, records)["cause"].tolist() == ["spread", "non_finite", "bond"]


RECORDS = pd.DataFrame(
    [(0, 10, 0.1), (0, 20, 0.9), (0, 30, 0.8), (1, 10, 0.3), (1, 20, 0.2), (2, 10, 0.5), (2, 20, 0.7)],
    columns=["replica", "time_fs", "spread_eV_A"],
)


def chosen(how: Any, count: int, **more: Any) -> list[int]:
    line = np.array([[0.0], [1.0], [5.0], [5.1], [-3.0], [0.1], [2.0]])
    given: dict[str, Any] = {"ended": [0, 2], "features": line, "trained": np.array([[0.0], [0.5]]), "seed": 1} | more
    return [int(row) for row in choose(how, RECORDS, count, **given)]


def test_the_largest_spread_of_each_replica_comes_first() -> None:
    # 0.9 of replica 0, 0.7 of 2, 0.3 of 1; then 0.8, 0.5 and 0.2; then 0.1.
    assert chosen("committee", 7) == [1, 6, 3, 2, 5, 4, 0]
    assert chosen("committee", 2) == [1, 6]


def test_the_last_frames_of_runs_that_ended() -> None:
    # The latest ends come first; replica 1 reached the end.
    assert chosen("before_collapse", 4) == [2, 6, 1, 5]
    assert chosen("before_collapse", 9) == [2, 6, 1, 5, 0]
    assert chosen("before_collapse", 3, ended=[]) == []


def test_the_farthest_frames() -> None:
    # 5.1 is 4.6 from the training set, -3 is 3; then 2 is 1.5 from it and 1 is 0.5; 5 is 0.1 from 5.1.
    assert chosen("unexplored", 4) == [3, 4, 6, 1]
    same = np.array([[4.0], [4.0]])
    assert sorted(farthest(same, np.array([[0.0]]), 5).tolist()) == [0, 1]


def test_random_frames_follow_from_the_seed() -> None:
    one, other = chosen("random", 5), chosen("random", 5, seed=2)
    assert len(set(one)) == 5 and one == chosen("random", 5) and one != other
    assert sorted(chosen("random", 99)) == list(range(7))


@pytest.mark.parametrize(("ended", "runs", "limit"), [(0, 20, 1 - 0.05 ** (1 / 20)), (1, 20, 0.21611), (20, 20, 1.0)])
def test_upper_limit(ended: int, runs: int, limit: float) -> None:
    """0 of n has 1 - 0.05^(1/n); 1 of 20 the p with (1 - p)^20 + 20 p (1 - p)^19 = 0.05."""
    assert upper_limit(ended, runs) == pytest.approx(limit, abs=1e-5)
    if ended == 0:
        assert upper_limit_of_none(runs) == pytest.approx(limit, rel=1e-12)


WIDENING = Widening(
    water().numbers,
    BONDS.assign(in_ring=False, r_eq_A=0.96, k_kcal_mol_A2=500.0),
    ANGLES,
    np.array([0.96, 0.96]),
    Stability(device="cpu"),
)


def runs_of(ended: int) -> HotRuns:
    """Twenty runs of three records, of which the first ones end at the last; the third record of run 19 is broken."""
    trajectories = [[water(0.01 * time + 0.001 * run, time_fs=10.0 * time) for time in range(3)] for run in range(20)]
    replicas = pd.DataFrame(
        {"replica": range(20), "start_frame": range(100, 120), "collapsed": [run < ended for run in range(20)]}
    ).assign(cause="")
    replicas.loc[: ended - 1, "cause"] = ["spread", "bond"][:ended] + ["spread"] * max(0, ended - 2)
    records = pd.DataFrame(
        {
            "replica": np.repeat(np.arange(20), 3),
            "time_fs": np.tile([0.0, 10.0, 20.0], 20),
            "spread_eV_A": np.arange(60) / 100,
            "sound": [True] * 59 + [False],
        }
    )
    return HotRuns(replicas, trajectories, records, 0.3, 12.0)


def test_a_round_adds_what_it_chooses() -> None:
    before = [water(0.02, source_frame=7, modifications="[]")]
    settings = Learning(rounds=2, labels_per_round=3)
    frames, records, row = one_round(runs_of(2), before, WIDENING, settings, 1, "b~1")
    assert frames[0] is before[0] and len(frames) == 4
    # The largest spreads are those of the last runs; of run 19 the record before the one that is broken.
    assert [frame.info["replica"] for frame in frames[1:]] == [19, 18, 17]
    assert frames[1].info == {
        "source_frame": 119, "modifications": "[]", "round": "b~1", "replica": 19, "time_fs": 10.0
    }  # fmt: skip
    np.testing.assert_array_equal(frames[1].positions, runs_of(2).trajectories[19][1].positions)
    assert np.flatnonzero(records["chosen"]).tolist() == [53, 56, 58]
    values = row.iloc[0].to_dict()
    assert (values["labels"], values["added"], values["stopped_by_spread"], values["collapsed"]) == (1, 3, 1, 1)
    assert values["upper_limit"] == pytest.approx(0.28262, abs=1e-5) and values["ended"] == ""
    assert not has_ended(row)


@pytest.mark.parametrize(("ended", "stop_below", "ends"), [(0, 0.14, True), (1, 0.14, False), (1, 0.22, True)])
def test_learning_ends_where_the_upper_limit_is_below_the_target(ended: int, stop_below: float, ends: bool) -> None:
    settings = Learning(rounds=2, labels_per_round=3, stop_below=stop_below)
    before = [water(0.02, source_frame=7, modifications="[]")]
    frames, records, row = one_round(runs_of(ended), before, WIDENING, settings, 1, "b~1")
    assert has_ended(row) is ends and len(frames) == (1 if ends else 4) and records["chosen"].sum() == len(frames) - 1


def test_fewer_frames_than_asked_for_are_told(caplog: pytest.LogCaptureFixture) -> None:
    settings = Learning(rounds=1, labels_per_round=5, choose="before_collapse")
    frames, _, row = one_round(runs_of(2), [water()], WIDENING, settings, 1, "b~1")
    # Two runs ended, with two records after the start each.
    assert len(frames) == 5 and row["added"].tolist() == [4]
    assert "b~1: 4 of 5 frames (choose: before_collapse)" in caplog.text


def test_a_round_after_the_end(tmp_path: Path) -> None:
    records, row = round_without_runs([water(), water()])
    row.to_csv(tmp_path / "round.csv", index=False)
    assert records.empty and has_ended(pd.read_csv(tmp_path / "round.csv"))
    table = rounds_table([("water", "b", 3, row)])
    assert table.iloc[0][["molecule", "arm", "round", "labels", "added", "runs"]].tolist() == ["water", "b", 3, 2, 0, 0]
