"""Spread against error of a committee: by hand, for models whose errors are known, and what cannot be judged."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from physembed.analysis.reliability import COLUMNS, PER_BIN, reliability, spread_and_error
from physembed.report.training_figures import reliability_diagram


def table(models: NDArray[np.float64], reference: NDArray[np.float64], arm: str = "adaptive") -> pd.DataFrame:
    """Evaluation table of forces (members, frames, atoms, 3) and reference (frames, atoms, 3)."""
    parts = []
    for seed, of_seed in enumerate(models, 1):
        for frame, forces in enumerate(of_seed):
            columns = {f"reference_{x}_eV_A": reference[frame][:, axis] for axis, x in enumerate("xyz")}
            columns |= {f"model_{x}_eV_A": forces[:, axis] for axis, x in enumerate("xyz")}
            of_atoms = {"arm": arm, "set": "validation", "seed": seed, "frame": frame, "atom": range(len(forces))}
            parts.append(pd.DataFrame(of_atoms | columns))
    return pd.concat(parts, ignore_index=True)


def test_two_models_of_one_atom_by_hand() -> None:
    # Members (1, 0, 0) and (0, 2, 0): mean (0.5, 1, 0), each deviates by (0.5, -1, 0), so s^2 = 2 * 1.25 / 1 = 2.5.
    # The reference (0.5, 1, 2) is 2 away from the mean.
    models = np.array([[[[1.0, 0, 0]]], [[[0.0, 2, 0]]]])
    found = spread_and_error(table(models, np.array([[[0.5, 1.0, 2.0]]])))
    assert found["members"].tolist() == [2]
    assert found["spread_eV_A"].tolist() == pytest.approx([math.sqrt(2.5)])
    assert found["error_eV_A"].tolist() == pytest.approx([2.0])
    (row,) = reliability(table(models, np.array([[[0.5, 1.0, 2.0]]]))).query("bin == 0").to_dict("records")
    assert row["predicted_meV_A"] == pytest.approx(1000 * math.sqrt(2.5))
    assert row["error_meV_A"] == pytest.approx(2000)
    assert row["calibration_factor"] == pytest.approx(2 / math.sqrt(2.5))
    assert row["ence"] == pytest.approx((2 - math.sqrt(2.5)) / math.sqrt(2.5))
    assert math.isnan(row["calibration_standard_error"]), "one frame tells nothing of the uncertainty"


def test_the_spread_is_that_of_a_committee_model() -> None:
    rng = np.random.default_rng(1)
    models = rng.normal(size=(4, 2, 5, 3))
    found = spread_and_error(table(models, np.zeros((2, 5, 3))))
    deviation = models - models.mean(axis=0)
    expected = np.sqrt((deviation**2).sum(axis=(0, 3)) / 3)
    np.testing.assert_allclose(found["spread_eV_A"], expected.ravel(), rtol=1e-12)


@pytest.mark.parametrize(("members", "scale"), [(2, 1.0), (3, 2.5), (5, 0.5)])
def test_the_factor_is_that_of_errors_of_known_size(members: int, scale: float) -> None:
    """Members scatter by sigma of each atom about a truth that lies `scale` sigma from their mean's expectation."""
    rng, frames, atoms = np.random.default_rng(members), 200, 40
    sigma = np.exp(rng.uniform(-3, 0, (frames, atoms, 1)))
    models = sigma * rng.normal(size=(members, frames, atoms, 3))
    found = reliability(table(models, scale * sigma * rng.normal(size=(frames, atoms, 3))))
    whole, bins = found[found["bin"] == 0].iloc[0], found[found["bin"] > 0]
    expected = math.sqrt(scale**2 + 1 / members)
    # The jackknife knows the error: five of it are exceeded with a probability below 1e-6.
    assert whole["calibration_standard_error"] < 0.03 * expected
    assert abs(whole["calibration_factor"] - expected) < 5 * whole["calibration_standard_error"]
    assert len(bins) == 10 and bins["atoms"].sum() == frames * atoms
    assert bins["predicted_meV_A"].is_monotonic_increasing
    # The spread of a bin ranks the errors of its atoms.
    assert bins["error_meV_A"].iloc[-1] > 4 * bins["error_meV_A"].iloc[0]


def test_the_standard_error_counts_frames_not_atoms() -> None:
    # All atoms of a frame have the same force: as many independent numbers as frames.
    rng, frames, atoms = np.random.default_rng(3), 100, 30
    models = np.repeat(rng.normal(size=(3, frames, 1, 3)), atoms, axis=2)
    reference = np.repeat(rng.normal(size=(frames, 1, 3)), atoms, axis=1)
    many = reliability(table(models, reference)).query("bin == 0").iloc[0]
    one = reliability(table(models[:, :, :1], reference[:, :1])).query("bin == 0").iloc[0]
    assert many["calibration_factor"] == pytest.approx(one["calibration_factor"])
    assert many["calibration_standard_error"] == pytest.approx(one["calibration_standard_error"])


def test_frames_that_one_model_saw_are_left_out() -> None:
    rng = np.random.default_rng(0)
    forces = table(rng.normal(size=(2, 3, 4, 3)), rng.normal(size=(3, 4, 3)))
    # Each seed has its own data set, numbered consecutively.
    own = forces.assign(frame=forces["frame"] + 3 * forces["seed"])
    assert reliability(own).empty and list(reliability(own).columns) == COLUMNS
    figure = reliability_diagram(reliability(own), ["original", "adaptive"])
    assert "no frame was seen" in "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert reliability(forces.assign(set="train")).empty


def test_the_diagram_draws_what_the_table_says() -> None:
    rng = np.random.default_rng(0)
    parts = [
        table(rng.normal(size=(3, 10, 12, 3)), rng.normal(size=(10, 12, 3)), arm) for arm in ("original", "adaptive")
    ]
    found = reliability(pd.concat(parts, ignore_index=True))
    assert found["arm"].unique().tolist() == ["original", "adaptive"]
    assert (found[found["bin"] > 0]["atoms"] >= PER_BIN).all()
    figure = reliability_diagram(found, ["original", "adaptive"])
    for axes, arm in zip(figure.axes, ("original", "adaptive"), strict=True):
        bins = found[(found["arm"] == arm) & (found["bin"] > 0)]
        equality, points = axes.lines[0], axes.containers[0].lines[0]
        np.testing.assert_array_equal(equality.get_xdata(), equality.get_ydata())
        np.testing.assert_allclose(points.get_xdata(orig=False), bins["predicted_meV_A"])
        np.testing.assert_allclose(points.get_ydata(orig=False), bins["error_meV_A"])
        factor = found[(found["arm"] == arm) & (found["bin"] == 0)]["calibration_factor"].iloc[0]
        assert f"factor {factor:.2f}" in axes.texts[0].get_text()
        assert "3 models" in axes.texts[0].get_text()
