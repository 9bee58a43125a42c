"""Rounds of reference data: MD of a model from reference frames, that can be killed, and the frames it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from physembed.config.liquids import NPT, Reference
from physembed.errors import PhysEmbedError
from physembed.learning.liquid_rounds import CLOSEST, LiquidRound, _picked, starts_of
from physembed.md.clock import Clock
from tests.unit.test_npt import Counting, box

BONDS = pd.DataFrame({"i": [0], "j": [1], "type_i": "ar", "type_j": "ar", "r_eq_A": [3.4]})
CONDITIONS = [(100.0, 0.7), (100.0, 0.8), (150.0, 0.7)]


def reference_frames() -> list[Atoms]:
    """Two unmodified frames and a modified one of each condition; the first two atoms are a molecule."""
    frames = []
    for seed, (temperature_K, density) in enumerate(CONDITIONS):
        for number, origin in enumerate(("md", "md", "bonds")):
            frame = box(seed=10 * seed + number, density=density)
            frame.arrays["molecule"] = np.maximum(np.arange(len(frame)) - 1, 0)
            frame.info = {"origin": origin, "temperature_K": temperature_K, "density_g_cm3": density, "source_frame": 5}
            frames.append(frame)
    return frames


def a_round(
    folder: Path,
    clock: Clock | None = None,
    model: Any = Counting,
    bonds: pd.DataFrame = BONDS.iloc[:0],
    **settings: Any,
) -> LiquidRound:
    given = {"round_ps": 3.0, "round_frames": 4} | settings
    npt = NPT(timestep_fs=2.5, thermostat_ps=0.2, dtype="float64", device="cpu")
    starts = starts_of(reference_frames())
    return LiquidRound(model, starts, bonds, Reference(**given), npt, seed=3, restart=folder, clock=clock)


def test_a_round_starts_from_the_first_frame_of_each_condition() -> None:
    frames = reference_frames()
    starts = starts_of(frames)
    assert [id(start) for start in starts] == [id(frames[0]), id(frames[3]), id(frames[6])]


def test_frames_of_a_round(tmp_path: Path) -> None:
    made = a_round(tmp_path)
    made.run()
    frames, runs = made.chosen("Ar~1")
    assert len(made.positions) == 20, "a record every 150 fs"
    assert runs["frames"].tolist() == [4, 4, 4] and runs["length_ps"].tolist() == [3.0] * 3
    assert runs[["temperature_K", "density_g_cm3"]].to_numpy().tolist() == [list(row) for row in CONDITIONS]
    contacts = np.array([made._contact(frame) for frame in frames]).reshape(3, 4)
    np.testing.assert_allclose(contacts.min(axis=1), runs["closest_contact"])
    for frame, run in zip(frames, np.repeat(range(3), 4), strict=True):
        assert frame.info["origin"] == "round" and frame.info["round"] == "Ar~1" and 0 < frame.info["time_ps"] <= 3
        assert frame.info["temperature_K"] == CONDITIONS[run][0] and frame.pbc.all()
        assert not np.allclose(frame.positions, made.starts[run].positions)
        np.testing.assert_array_equal(frame.arrays["molecule"], made.starts[run].arrays["molecule"])


def test_contacts_are_between_molecules_and_in_units_of_bonds(tmp_path: Path) -> None:
    """Atoms 0 and 1 are a molecule at 2.5 Å; atom 2 comes as close as 3.06 Å to atom 0, through the boundary."""
    frame = Atoms("Ar32", np.arange(32)[:, None] * [0.0, 0.0, 6.0], cell=[30, 30, 192], pbc=True)
    frame.positions[1] = [2.5, 0, 0]
    frame.positions[2] = [30 - 3.06, 0, 0]
    frame.arrays["molecule"] = np.maximum(np.arange(32) - 1, 0)
    assert a_round(tmp_path, bonds=BONDS)._contact(frame) == pytest.approx(3.06 / 3.4, rel=1e-6)


def test_a_round_that_is_interrupted_ends_as_one_left_alone(tmp_path: Path) -> None:
    whole = a_round(tmp_path / "whole")
    whole.run()
    interrupted = 0
    while True:
        try:
            again = a_round(tmp_path / "pieces", clock=Clock(1e-9))
            again.run()
        except PhysEmbedError as error:
            assert "the state is saved, run again to resume" in str(error)
            interrupted += 1
        else:
            break
    assert interrupted == 19
    np.testing.assert_array_equal(np.array(again.positions), np.array(whole.positions))
    longer = a_round(tmp_path / "pieces", round_ps=4.5)
    longer.run()
    assert len(longer.positions) == 30 and longer.chosen("Ar~1")[1]["length_ps"].tolist() == [4.5] * 3
    np.testing.assert_array_equal(np.array(longer.positions)[:20], np.array(whole.positions))


def test_a_run_whose_bond_breaks_has_ended(tmp_path: Path) -> None:
    """Nothing holds the two atoms of this bond together."""
    made = a_round(tmp_path, bonds=BONDS)
    made.run()
    _, runs = made.chosen("Ar~1")
    assert runs["reason"].str.startswith("bond 0-1 is ").all() and (runs["length_ps"] < 3).all()


class Spoiled(Counting):
    """Argon whose second system has no forces after some calls."""

    def forward(self, state: Any, **more: Any) -> dict[str, Any]:
        output = super().forward(state, **more)
        if self.calls > 500:
            output["forces"][state.system_idx == 1] = np.nan
        return dict(output)


def test_a_run_that_fails_gives_its_frames_before(tmp_path: Path) -> None:
    made = a_round(tmp_path, model=Spoiled)
    made.run()
    frames, runs = made.chosen("Ar~1")
    assert runs["reason"].astype(bool).tolist() == [False, True, False] and len(made.positions) == 20
    assert 0.9 <= runs["length_ps"][1] < 1.3 and runs["frames"].tolist() == [4, 4, 4]
    assert all(np.isfinite(frame.positions).all() for frame in frames)
    times = [frame.info["time_ps"] for frame in frames[4:8]]
    assert max(times) <= runs["length_ps"][1]


def test_which_records_are_picked() -> None:
    contacts = np.full(20, 1.5)
    contacts[[3, 4, 11, 12, 15]] = [0.9, 0.91, 1.0, 0.95, CLOSEST - 0.01]
    # 3 and 12 are the closest that are neither neighbours nor too close; 4 and 11 are neighbours of them.
    picked = _picked(contacts, 5)
    assert {3, 12} <= set(picked) and len(picked) == 5 and 15 not in picked and picked == sorted(picked)
    assert _picked(contacts[:2], 5) == [0, 1], "all that there are"
    assert _picked(np.array([0.1, 0.2]), 5) == [] and _picked(np.array([]), 5) == []
