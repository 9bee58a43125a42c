"""Failure-driven learning: what failed at the end of a run, and frames whose ranges go as far."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from physembed.config import Stability
from physembed.config.learning import Learning
from physembed.learning.hot_md import HotRuns
from physembed.learning.rounds import one_round
from physembed.learning.widening import Widening

BONDS = pd.DataFrame(
    {
        "i": [0, 0, 0], "j": [1, 2, 3], "type_i": "c", "type_j": ["h", "h", "f"], "in_ring": False, "terminal": True,
        "k_kcal_mol_A2": [300.0, 300.0, 400.0], "r_eq_A": [1.09, 1.09, 1.35],
    }
)  # fmt: skip
ANGLES = pd.DataFrame(
    {
        "i": [1, 1, 2], "j": [0, 0, 0], "k": [2, 3, 3], "type_i": "h", "type_j": "c", "type_k": ["h", "f", "f"],
        "k_kcal_mol_rad2": [40.0, 50.0, 50.0], "in_ring": False, "terminal": True,
    }
)  # fmt: skip
MEAN_A = np.array([1.09, 1.09, 1.35])


def planar(first: float = 1.09, second: float = 1.09, third: float = 1.35, hch: float = 120.0) -> Atoms:
    """A planar CH2F: lengths of its bonds in Å, and the angle between the hydrogens."""
    half = np.radians(hch / 2)
    ends = [(first * np.cos(half), first * np.sin(half)), (second * np.cos(half), -second * np.sin(half)), (-third, 0)]
    return Atoms("CHHF", [(0, 0, 0), *((x, y, 0) for x, y in ends)])


BEFORE = [planar(1.04, 1.14, 1.30, 115.0), planar(1.09, 1.09, 1.40, 125.0)]
"""Bonds of h from 1.04 to 1.14 Å, of f from 1.30 to 1.40 Å, the angle h-c-h from 115 to 125 degrees."""


def widening(**settings: Any) -> Widening:
    return Widening(planar().numbers, BONDS, ANGLES, MEAN_A, Stability(**settings))


def runs_to(*ends: Atoms | None) -> HotRuns:
    """Runs from an unmodified frame to these frames; None for one that reached its end."""
    trajectories = [[planar(), end or planar()] for end in ends]
    for trajectory in trajectories:
        for time, frame in enumerate(trajectory):
            frame.info["time_fs"] = 100.0 * time
    early = [end is not None for end in ends]
    replicas = pd.DataFrame({"replica": range(len(ends)), "start_frame": range(30, 30 + len(ends)), "collapsed": early})
    records = pd.DataFrame(
        {
            "replica": np.repeat(range(len(ends)), 2), "time_fs": np.tile([0.0, 100.0], len(ends)), "spread_eV_A": 0.1,
            "sound": True,
        }
    )  # fmt: skip
    return HotRuns(replicas.assign(cause="bond"), trajectories, records, 0.3, 12.0)


def kinds(runs: HotRuns) -> list[tuple[str, str, float, float]]:
    found = widening().failures(runs, BEFORE)
    return [(failure.types, failure.segment, round(failure.edge, 6), round(failure.value, 6)) for failure in found]


def test_what_failed() -> None:
    """A stretched, a compressed, and a broken bond, whose end counts up to where it is broken; and bent angles."""
    runs = runs_to(planar(third=1.70), None, planar(first=0.8), planar(second=7.0), planar(hch=60.0), planar(hch=170.0))
    assert kinds(runs) == [
        ("c-f", "stretching", 1.40, 1.70),
        ("c-h", "compression", 1.04, 0.80),
        ("c-h", "stretching", 1.14, 1.59),
        ("h-c-h", "closing", 115.0, 60.0),
        ("h-c-h", "opening", 125.0, 170.0),
    ]


def test_the_largest_energy_beyond_the_training_set_decides() -> None:
    # kcal/mol: 400 * 0.05^2 = 1 of the bond against 40 * (20 degrees)^2 = 4.9 of the angle, then 400 * 0.2^2 = 16.
    assert kinds(runs_to(planar(third=1.45, hch=95.0))) == [("h-c-h", "closing", 115.0, 95.0)]
    assert kinds(runs_to(planar(third=1.60, hch=95.0))) == [("c-f", "stretching", 1.40, 1.60)]


def test_ends_that_are_not_numbers_or_not_beyond() -> None:
    lost = planar(third=1.6)
    lost.positions[2] = np.nan
    runs = runs_to(lost, planar(third=1.39))
    runs.trajectories[0].insert(1, planar(first=1.4))
    assert kinds(runs) == [("c-h", "stretching", 1.14, 1.40)]


def test_frames_cover_what_failed() -> None:
    runs = runs_to(planar(third=1.70), planar(hch=60.0), planar(third=1.62), None)
    frames = widening().frames(runs, BEFORE, 60, seed=1, name="b~1")
    assert len(frames) == 60
    changes = [json.loads(frame.info["modifications"]) for frame in frames]
    # Both take turns, the bond that failed twice first.
    assert [change["types"] for (change,) in changes[:4]] == ["c-f", "h-c-h", "c-f", "h-c-h"]
    lengths = np.array([frame.get_distance(0, 3) for frame in frames[::2]])
    assert 1.40 <= lengths.min() < 1.45 and 1.65 < lengths.max() <= 1.70
    angles = np.array([frame.get_angle(1, 0, 2) for frame in frames[1::2]])
    assert 110 < angles.max() <= 115 and angles.min() >= 60
    hydrogens = np.array([frame.get_distance(1, 2) for frame in frames])
    assert hydrogens.min() > 0.62 + 0.25, "no frame has collapsed"
    for frame, (change,) in zip(frames, changes, strict=True):
        assert frame.info["round"] == "b~1" and 30 <= frame.info["source_frame"] < 34
        value = frame.get_distance(0, 3) if "bond" in change else frame.get_angle(1, 0, 2)
        assert value == pytest.approx(change["to_A" if "bond" in change else "to_degrees"], abs=1e-4)
    again = widening().frames(runs, BEFORE, 60, seed=1, name="b~1")
    np.testing.assert_array_equal([f.positions for f in frames], [f.positions for f in again])


def test_a_change_that_always_clashes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    runs = runs_to(planar(hch=60.0), planar(third=1.7))
    frames = widening(overlap_margin_A=1.235).frames(runs, BEFORE, 5, seed=1, name="b~1")
    assert {json.loads(frame.info["modifications"])[0]["types"] for frame in frames} <= {"c-f"}
    assert "b~1: h-c-h closing: every change leads to a clash" in caplog.text


def test_a_round_of_failures() -> None:
    settings = Learning(rounds=1, labels_per_round=4, choose="failed")
    frames, records, row = one_round(runs_to(planar(third=1.7), None), BEFORE, widening(), settings, 1, "b~1")
    assert frames[:2] == BEFORE and len(frames) == 6 and row["added"].tolist() == [4]
    assert not records["chosen"].any(), "frames are made, not chosen"


def test_a_round_in_which_nothing_failed(caplog: pytest.LogCaptureFixture) -> None:
    settings = Learning(rounds=1, labels_per_round=4, choose="failed")
    frames, _, row = one_round(runs_to(None, None), BEFORE, widening(), settings, 1, "b~1")
    assert frames == BEFORE and row["added"].tolist() == [0]
    assert "b~1: 0 of 4 frames (choose: failed)" in caplog.text
