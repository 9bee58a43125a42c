"""What the viewer plays: the right replicas, their last frames superposed, and the atoms that failed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from physembed.report.viewer import LAST_FRAMES, movie, representatives, survivor, write_movies

BONDS = pd.DataFrame({"i": [0, 0], "j": [1, 2]})


def replica(arm: str, number: int, time_fs: float, types: str = "", cause: str = "bond") -> dict[str, object]:
    failed = {"cause": cause, "types": types, "atom_i": 0, "atom_j": 2, "length_A": 1.61, "reference_A": 0.96}
    survived = {"cause": "", "types": "", "atom_i": None, "atom_j": None, "length_A": None, "reference_A": None}
    row = {"arm": arm, "seed": 1, "replica": number, "collapsed": bool(types), "time_fs": time_fs}
    return row | (failed if types else survived)


def water(time_fs: float, turn_degrees: float = 0.0, shift: float = 0.0) -> Atoms:
    atoms = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], info={"time_fs": time_fs})
    atoms.rotate(turn_degrees, (1, 2, 3))
    atoms.translate((shift, -shift, 0))
    return atoms


def test_the_median_replica_stands_for_each_cause_and_the_most_frequent_cause_comes_first() -> None:
    rows = [replica("a", 0, 50.0, "c-o"), *(replica("a", n, 100.0 * n, "ca-ho", "overlap") for n in (1, 2, 3))]
    rows += [replica("b", 0, 70.0, "c-o"), replica("b", 1, 900.0)]
    chosen = representatives(pd.DataFrame(rows))
    found = list(zip(chosen["arm"], chosen["types"], chosen["replica"], chosen["count"], strict=True))
    assert found == [("a", "ca-ho", 2, 3), ("a", "c-o", 0, 1), ("b", "c-o", 0, 1)]


def test_the_survivor_is_of_the_arm_with_the_fewest_collapses() -> None:
    rows = [replica("a", 0, 50.0, "c-o"), replica("a", 1, 900.0), replica("b", 0, 900.0), replica("b", 1, 900.0)]
    chosen = survivor(pd.DataFrame(rows))
    assert chosen is not None
    assert (chosen["arm"], chosen["replica"]) == ("b", 0)
    assert survivor(pd.DataFrame(rows[:1])) is None


def test_frames_are_superposed_and_distances_kept() -> None:
    trajectory = [water(0.0), water(100.0, 77.0, 3.0), water(200.0, 180.0, -1.0)]
    shown = movie(replica("a", 0, 200.0, "ho-oh"), trajectory, BONDS)
    frames = np.array(shown.frames).reshape(3, 3, 3)
    # Rigid copies of one geometry coincide, but for the two decimals that are kept.
    assert np.abs(frames - frames[0]).max() <= 0.011
    assert np.linalg.norm(frames[0, 0] - frames[0, 1]) == pytest.approx(0.96, abs=0.02)
    assert shown.times_fs == [0.0, 100.0, 200.0]


def test_only_the_last_frames_are_shown_and_the_last_is_that_of_the_collapse() -> None:
    trajectory = [water(10.0 * step) for step in range(LAST_FRAMES + 5)]
    shown = movie(replica("a", 0, 10.0 * (LAST_FRAMES + 4), "ho-oh"), trajectory, BONDS)
    assert len(shown.frames) == LAST_FRAMES
    assert shown.times_fs[-1] == 10.0 * (LAST_FRAMES + 4)


def test_the_atoms_that_failed_are_marked_and_named() -> None:
    shown = movie(replica("a", 4, 1500.0, "ho-oh"), [water(0.0)], BONDS)
    assert shown.marked == [0, 2]
    assert "bond ho-oh at 1.61 Å" in shown.subtitle
    assert "1.5 ps" in shown.subtitle
    assert movie(replica("a", 4, 9000.0), [water(0.0)], BONDS).marked is None


def test_a_frame_that_is_not_finite_is_left_out() -> None:
    broken = water(20.0)
    broken.positions[0] = np.nan
    failed = replica("a", 0, 20.0, "x") | {"cause": "non_finite"}
    shown = movie(failed, [water(0.0), water(10.0), broken], BONDS)
    assert shown.times_fs == [0.0, 10.0]
    assert shown.marked is None


def test_the_file_holds_plain_json(tmp_path: Path) -> None:
    shown = movie(replica("a", 0, 0.0, "ho-oh"), [water(0.0)], BONDS)
    write_movies(tmp_path / "viewer.json", [shown], None)
    data = json.loads((tmp_path / "viewer.json").read_text())
    assert data["survivor"] is None
    assert data["collapses"][0]["symbols"] == ["O", "H", "H"]
