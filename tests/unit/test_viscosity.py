"""Viscosity of Ornstein-Uhlenbeck pressure against the exact value; sufficiency of the data; bad input."""

import math

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from physembed import units
from physembed.analysis.viscosity import (
    checked_pressure,
    component_series,
    estimate_viscosity,
    green_kubo_prefactor,
    pressure_components,
)
from physembed.errors import PhysEmbedError
from tests.unit.shear_pressure import SIGMA_GPA, TEMPERATURE_K, VOLUME_A3, ou_pressure, tensors, viscosity_mPa_s


def estimate(pressure, block_ps, relative_error=0.15):
    return estimate_viscosity(pressure, 1000 * block_ps, VOLUME_A3, TEMPERATURE_K, relative_error)


@pytest.fixture(scope="module")
def fine_blocks():
    """Three replicas of 160 relaxation times, in blocks of a tenth of one."""
    return ou_pressure(3, 3, 1600, 0.1)


@pytest.fixture(scope="module")
def coarse(fine_blocks):
    """The same run in blocks of twice the length, and its viscosity."""
    blocks = fine_blocks.reshape(3, 800, 2, 3, 3).mean(axis=2)
    return blocks, estimate(blocks, 0.2)


def test_components_are_the_traceless_part_whatever_the_axes():
    rng = np.random.default_rng(0)
    pressure = rng.normal(size=(20, 3, 3))
    pressure += pressure.swapaxes(1, 2)
    traceless = pressure - np.trace(pressure, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    components = pressure_components(pressure)
    assert (components**2).sum(axis=1) == pytest.approx((traceless**2).sum(axis=(1, 2)) / 2)
    assert pressure_components(pressure + 3 * np.eye(3)) == pytest.approx(components)
    # In axes turned by 45 degrees about x the shear component P_yz is the second component, up to its sign.
    c = math.sqrt(0.5)
    turn = np.array([[1, 0, 0], [0, c, -c], [0, c, c]])
    assert pressure_components(turn @ pressure @ turn.T)[:, 2] == pytest.approx(components[:, 1])
    axes = special_ortho_group.rvs(3, random_state=1)
    turned = pressure_components(axes @ pressure @ axes.T)
    assert (turned**2).sum(axis=1) == pytest.approx((components**2).sum(axis=1))


def test_components_of_an_isotropic_liquid_are_independent_and_alike():
    series = component_series(ou_pressure(0, 2, 20_000, 5.0)) * units.GPA**-1
    assert series.shape == (10, 20_000)
    covariance = np.cov(series) / np.mean(series.var(axis=1))
    assert covariance == pytest.approx(np.eye(10), abs=0.06)


def test_prefactor_computed_by_hand():
    """(1 MPa)^2 ps = 1 Pa^2 s; V / kT = 1e-26 m^3 / (300 K * 1.380649e-23 J/K) = 2.41432e-6 / Pa."""
    integral = (1e-3 * units.GPA) ** 2 * 1.0
    assert green_kubo_prefactor(10_000.0, 300.0) * integral == pytest.approx(1000 * 2.41432e-6, rel=1e-5)


def test_ornstein_uhlenbeck_viscosity(coarse):
    found = coarse[1]
    assert found.status == "ok" and found.reason == "" and found.required_duration_ps is None
    assert found.viscosity_mPa_s == pytest.approx(viscosity_mPa_s(1.0), abs=3 * found.standard_error_mPa_s)
    assert found.standard_error_mPa_s < 0.15 * found.viscosity_mPa_s
    assert found.relaxation_time_ps == pytest.approx(1, abs=0.3)
    assert found.longest_block_fs == pytest.approx(100 * math.pi * found.relaxation_time_ps)
    assert found.duration_ps == pytest.approx(160)
    assert found.effective_points > 60
    assert 0 < found.cutoff_frequency_THz < 2.5
    assert max(found.z_score_fit, found.z_score_cutoff) < 2


def test_the_estimate_does_not_depend_on_the_axes(coarse):
    blocks, found = coarse
    axes = special_ortho_group.rvs(3, random_state=5)
    turned = estimate(axes @ blocks @ axes.T, 0.2)
    assert turned.viscosity_mPa_s == pytest.approx(found.viscosity_mPa_s, rel=1e-5)
    assert turned.standard_error_mPa_s == pytest.approx(found.standard_error_mPa_s, rel=1e-4)
    assert turned.effective_points == pytest.approx(found.effective_points, rel=1e-4)


def test_longer_blocks_leave_the_estimate(fine_blocks, coarse):
    fine = estimate(fine_blocks, 0.1)
    assert fine.status == "ok"
    assert abs(fine.viscosity_mPa_s - coarse[1].viscosity_mPa_s) < 0.5 * fine.standard_error_mPa_s


@pytest.mark.long
def test_two_relaxation_times():
    """Half of the viscosity from a relaxation ten times as slow as the other."""
    parts = ((1.0, 0.3), (0.1, 3.0))
    runs = [estimate(ou_pressure(seed, 6, 2000, 0.25, parts), 0.25) for seed in range(3)]
    enough = [run for run in runs if run.status == "ok"]
    assert len(enough) >= 2
    for found in enough:
        assert found.viscosity_mPa_s == pytest.approx(viscosity_mPa_s(0.6), abs=3 * found.standard_error_mPa_s)
        assert found.standard_error_mPa_s < 0.1 * found.viscosity_mPa_s
        assert 0.3 < found.relaxation_time_ps < 4


@pytest.mark.long
@pytest.mark.parametrize(("n_replicas", "n_blocks"), [(3, 100), (1, 200)])
def test_the_required_length_of_a_short_run_does(n_replicas, n_blocks):
    short = estimate(ou_pressure(1, n_replicas, n_blocks, 0.2), 0.2, 0.1)
    assert short.status == "insufficient"
    assert short.viscosity_mPa_s is None and short.standard_error_mPa_s is None
    assert "effective points in the fit, 60 required" in short.reason
    assert "standard error" in short.reason
    assert short.required_duration_ps > 20 * math.pi
    longer = estimate(ou_pressure(2, n_replicas, math.ceil(short.required_duration_ps / 0.2), 0.2), 0.2, 0.1)
    assert longer.status == "ok"
    assert longer.viscosity_mPa_s == pytest.approx(viscosity_mPa_s(1.0), abs=3 * longer.standard_error_mPa_s)


def test_the_required_length_goes_with_the_square_of_the_error(coarse):
    """1.5 (error / wanted)^2 of the length at hand, where nothing else is missing."""
    blocks, found = coarse
    error = found.standard_error_mPa_s / found.viscosity_mPa_s
    strict = estimate(blocks, 0.2, 0.02)
    assert strict.status == "insufficient" and strict.viscosity_mPa_s is None
    assert strict.reason == f"standard error {error:.1%} of the viscosity, 2.0% required"
    assert strict.required_duration_ps == pytest.approx(1.5 * 160 * (error / 0.02) ** 2)


def test_a_run_too_short_for_any_fit_asks_for_a_first_attempt():
    found = estimate(ou_pressure(0, 3, 95, 0.2), 0.2)
    assert found.status == "insufficient"
    assert found.reason == "95 samples are too few for a spectrum (at least 96)"
    assert found.required_duration_ps == pytest.approx(1200 * 0.2)
    assert found.viscosity_mPa_s is None and found.relaxation_time_ps is None


def test_a_run_of_less_than_20_pi_relaxation_times_says_so():
    found = estimate(ou_pressure(0, 3, 150, 0.04), 0.04, 0.9)
    assert found.status == "insufficient"
    assert "6 ps per replica" in found.reason and "required for a relaxation time of" in found.reason
    assert found.required_duration_ps > 20 * math.pi * found.relaxation_time_ps


def test_blocks_longer_than_the_relaxation_are_refused_and_no_length_is_offered():
    found = estimate(ou_pressure(0, 3, 400, 1.0), 1.0)
    assert found.status == "insufficient"
    assert found.reason.startswith("blocks of 1000 fs, at most")
    assert found.required_duration_ps is None
    assert found.longest_block_fs < 500


@pytest.mark.parametrize("seed", range(2))
def test_white_noise_is_insufficient(seed):
    noise = np.random.default_rng(seed).normal(size=(15, 500))
    found = estimate(tensors(SIGMA_GPA * noise), 0.2)
    assert found.status == "insufficient"
    assert found.viscosity_mPa_s is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[0], r"pressure has the shape \(60, 3, 3\); give \(n_replicas, n_samples, 3, 3\)"),
        (lambda p: np.where(np.arange(60)[:, None, None] == 7, np.nan, p), "replica 0 is not finite at sample 7"),
        (lambda p: np.repeat(p[:, :1], 60, axis=1), "replica 0 does not change over 60 samples"),
        (lambda p: np.stack([p[0], p[0, 0] + np.zeros_like(p[0])]), "replica 1 does not change"),
        (lambda p: p + 0.01 * np.triu(np.ones((3, 3)), 1), "not symmetric"),
        (lambda p: p[:, :1], "at least 1 replica and 2 samples"),
    ],
)
def test_pressure_that_cannot_be_is_named(change, message):
    with pytest.raises(PhysEmbedError, match=message):
        estimate(change(ou_pressure(0, 1, 60, 0.2)), 0.2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.0, 1e4, 300.0), "block_fs is 0.0; it must be a positive number"),
        ((10.0, -1e4, 300.0), "volume_A3 is -10000.0"),
        ((10.0, 1e4, math.nan), "temperature_K is nan"),
        ((10.0, 1e4, 300.0, 10.0), "relative_error is 10.0; give a fraction from 0 to 1"),
    ],
)
def test_numbers_that_cannot_be_are_named(values, message):
    with pytest.raises(PhysEmbedError, match=message):
        estimate_viscosity(ou_pressure(0, 1, 60, 0.2), *values)


def test_rounding_of_single_precision_passes_for_symmetric():
    pressure = ou_pressure(0, 1, 60, 0.2).astype(np.float32)
    pressure[..., 0, 1] *= 1 + 1e-4
    assert checked_pressure(pressure, 200.0, VOLUME_A3, TEMPERATURE_K).dtype == np.float64
