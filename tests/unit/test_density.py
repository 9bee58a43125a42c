"""Mean density of series whose mean, error and correlation are known."""

import math

import numpy as np
import pytest
from pymbar import timeseries
from scipy import stats
from scipy.signal import lfilter

from physembed.analysis.density import (
    G_CM3,
    SELECTION_BIAS,
    block_average,
    detect_equilibration,
    mean_density,
    statistical_inefficiency,
)
from physembed.errors import PhysEmbedError

MASS_U = 6022.14  # 10 000 Å^3 of it have 1 g/cm^3
INTERVAL_PS = 0.1


def autoregressive(rng, n_frames, correlation_time, standard_deviation=1.0):
    """Stationary normal series with correlation exp(-lag / correlation_time) and mean 0."""
    phi = math.exp(-1 / correlation_time) if correlation_time else 0.0
    noise = rng.normal(size=n_frames)
    noise[1:] *= math.sqrt(1 - phi**2)
    return standard_deviation * lfilter([1], [1, -phi], noise)


def inefficiency(correlation_time):
    """Analytic statistical inefficiency of `autoregressive`."""
    phi = math.exp(-1 / correlation_time) if correlation_time else 0.0
    return (1 + phi) / (1 - phi)


def density_of(densities):
    """Mean density of a run with these densities."""
    times = INTERVAL_PS * np.arange(1, len(densities) + 1)
    with np.errstate(divide="ignore"):
        return mean_density(times, MASS_U / G_CM3 / np.asarray(densities), MASS_U)


def test_units_by_hand():
    # 1 u is 1.660539e-24 g and 1 Å^3 is 1e-24 cm^3. 216 waters of 18.01528 u in a cube of 18.6206 Å:
    assert abs(MASS_U / 10_000 / G_CM3 - 1) < 1e-6
    water = mean_density([0.0, 1.0], [18.6206**3] * 2, 216 * 18.01528)
    assert water.density_g_cm3 == pytest.approx(216 * 18.01528 * 1.660539 / 6456.32, rel=1e-5)


def test_mean_is_over_densities_of_frames():
    result = mean_density([0.0, 1.0], [10_000.0, 5_500.0], MASS_U)
    assert result.density_g_cm3 == pytest.approx((1 + 1 / 0.55) / 2, rel=1e-5)


@pytest.mark.parametrize("correlation_time", [0, 2, 10])
def test_statistical_inefficiency_is_the_analytic_one_and_that_of_pymbar(correlation_time):
    rng = np.random.default_rng(0)
    found = [statistical_inefficiency(autoregressive(rng, 20_000, correlation_time)) for _ in range(20)]
    assert np.mean(found) == pytest.approx(inefficiency(correlation_time), rel=0.05)
    series = autoregressive(rng, 2000, max(correlation_time, 5))
    assert statistical_inefficiency(series) == pytest.approx(timeseries.statistical_inefficiency(series), rel=1e-10)


def test_start_of_the_equilibrated_part_is_that_of_pymbar():
    rng = np.random.default_rng(1)
    for _ in range(5):
        series = autoregressive(rng, 1000, 5) + 10 * np.exp(-np.arange(1000) / 60)
        start, g, samples = timeseries.detect_equilibration(series, fast=False, nskip=10)
        assert detect_equilibration(series) == (start, pytest.approx(g, rel=1e-9))
        assert (1000 - start) / g == pytest.approx(samples, rel=0.01)


def test_blocks_give_the_analytic_error():
    rng = np.random.default_rng(2)
    n_frames, correlation_time = 8000, 10
    g = inefficiency(correlation_time)
    found = [block_average(autoregressive(rng, n_frames, correlation_time), g) for _ in range(60)]
    errors = np.array([blocking.standard_error for blocking in found])
    assert np.isfinite(errors).sum() >= 55
    assert np.nanmean(errors) == pytest.approx(math.sqrt(g / n_frames), rel=0.05)
    # The scatter of an error from m blocks is 1 / sqrt(2 (m - 1)).
    assert np.nanstd(errors) / np.nanmean(errors) == pytest.approx(1 / math.sqrt(2 * (found[0].blocks - 1)), rel=0.4)
    # B^3 = 2 n g^2
    assert found[0].block_length == math.ceil((2 * n_frames * g**2) ** (1 / 3))
    assert found[0].blocks == n_frames // found[0].block_length


def test_blocks_of_one_frame_give_the_textbook_error_but_for_the_correction():
    series = np.random.default_rng(3).normal(size=100)
    found = block_average(series, 0.05)
    assert found.block_length == 1
    # 100 frames with g = 0.05 count as 2000, and a block of one misses g / 2.
    expected = stats.sem(series) * math.sqrt(1 / (1 - 0.05 / 2 - SELECTION_BIAS / 2000))
    assert found.standard_error == pytest.approx(expected, rel=1e-12)


def test_error_that_rises_with_the_block_length_is_no_plateau():
    rng = np.random.default_rng(4)
    refused = 0
    for _ in range(20):
        # The slow part has 1 % of the variance and 6 times the squared error of the mean.
        series = autoregressive(rng, 20_000, 0) + autoregressive(rng, 20_000, 300, 0.1)
        refused += not block_average(series, 1.0).blocks
    assert refused >= 18


@pytest.mark.parametrize(("n_frames", "correlation_time"), [(1000, 0), (2000, 5), (4000, 15)])
def test_error_bars_are_calibrated(n_frames, correlation_time):
    rng = np.random.default_rng(5)
    results = [density_of(1 + autoregressive(rng, n_frames, correlation_time, 0.01)) for _ in range(100)]
    good = [result for result in results if result.status == "ok"]
    assert len(good) >= 95
    deviations = np.array([(result.density_g_cm3 - 1) / result.standard_error for result in good])
    quantiles = stats.t.ppf(0.975, [result.blocks - 1 for result in good])
    assert 0.87 <= np.mean(abs(deviations) < quantiles) <= 1
    assert abs(deviations.mean()) < 0.4
    analytic = 0.01 * math.sqrt(inefficiency(correlation_time) / n_frames)
    assert np.mean([result.standard_error for result in good]) == pytest.approx(analytic, rel=0.12)
    samples = np.mean([result.effective_samples for result in good])
    assert samples == pytest.approx(n_frames / inefficiency(correlation_time), rel=0.12)
    g_ps = np.mean([result.statistical_inefficiency_ps for result in good])
    assert g_ps == pytest.approx(INTERVAL_PS * inefficiency(correlation_time), rel=0.12)


def test_relaxation_at_the_start_is_cut_off():
    rng = np.random.default_rng(6)
    n_frames, relaxation = 5000, 150
    results = []
    for _ in range(30):
        transient = -0.1 * np.exp(-np.arange(n_frames) / relaxation)  # 10 standard deviations
        results.append(density_of(1 + autoregressive(rng, n_frames, 10, 0.01) + transient))
    assert all(result.status == "ok" for result in results)
    cut = np.array([result.equilibration_ps for result in results]) / (INTERVAL_PS * relaxation)
    assert cut.min() > 1.5
    assert cut.mean() < 6
    deviations = np.array([(result.density_g_cm3 - 1) / result.standard_error for result in results])
    assert abs(deviations.mean()) < 0.7
    uncut = 0.1 * relaxation / n_frames / np.mean([result.standard_error for result in results])
    assert uncut > 3  # what the mean over the whole run would be off by


@pytest.mark.parametrize("drift", [5, 20])
def test_drifting_run_is_insufficient(drift):
    rng = np.random.default_rng(7)
    for _ in range(10):
        result = density_of(1 + autoregressive(rng, 4000, 10, 0.01) + drift * 0.01 * np.arange(4000) / 4000)
        assert result.status == "insufficient"
        assert "run longer" in result.reason
        assert math.isnan(result.standard_error)
        assert result.blocks == 0
        assert math.isfinite(result.density_g_cm3)


def test_step_within_the_equilibrated_part_is_drift():
    rng = np.random.default_rng(8)
    reasons = []
    for _ in range(20):
        # Independent frames in which the mean moves by 0.15 standard deviations, too little for the other tests.
        series = rng.normal(1, 0.01, 4000) + np.where(np.arange(4000) < 2000, 0, 0.0015)
        reasons.append(density_of(series).reason)
    assert sum("drifting" in reason or "rises" in reason for reason in reasons) >= 15
    assert any("halves" in reason for reason in reasons)


def test_short_run_is_insufficient():
    result = density_of(1 + autoregressive(np.random.default_rng(9), 300, 10, 0.01))
    assert result.status == "insufficient"
    assert "independent frames, 50 are required" in result.reason


def test_constant_volume_is_no_npt_run():
    result = density_of(np.ones(1000))
    assert (result.status, result.effective_samples) == ("insufficient", 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_volume_that_is_no_number_is_blown_up(bad):
    volumes = np.full(500, 10_000.0) + np.random.default_rng(10).normal(0, 100, 500)
    volumes[321] = bad
    volumes[400] = 1e9
    result = mean_density(INTERVAL_PS * np.arange(500), volumes, MASS_U)
    assert (result.status, result.last_good_frame) == ("blown_up", 320)
    assert "frame 321 at 32.1 ps" in result.reason
    assert math.isnan(result.density_g_cm3)
    assert math.isnan(result.last_200_ps_g_cm3)


def test_no_good_frame():
    result = mean_density([0.0, 1.0], [math.nan, 10_000.0], MASS_U)
    assert (result.status, result.last_good_frame) == ("blown_up", -1)
    assert "last valid frame: none" in result.reason


def test_expansion_is_evaporation():
    times = INTERVAL_PS * np.arange(2000)
    volumes = 10_000 * np.exp(np.clip(times - 50, 0, None) / 20)
    result = mean_density(times, volumes, MASS_U)
    # Half of the density at 50 + 20 ln 2 = 63.86 ps.
    assert (result.status, result.last_good_frame) == ("evaporated", 638)
    assert math.isnan(result.density_g_cm3)
    assert math.isnan(result.standard_error)


def test_mean_over_the_last_200_ps():
    densities = np.where(np.arange(5000) < 3000, 1.2, 1.0)  # 500 ps, of which the last 200 have density 1
    assert density_of(densities).last_200_ps_g_cm3 == pytest.approx(1.0, rel=1e-12)
    densities[2999] = 2.0  # the last frame before them
    assert density_of(densities).last_200_ps_g_cm3 == pytest.approx(1.0, rel=1e-12)
    densities[3000] = 3.0
    assert density_of(densities).last_200_ps_g_cm3 == pytest.approx(1.001, rel=1e-12)


def test_run_of_less_than_200_ps_has_no_mean_over_them():
    assert math.isnan(density_of(np.linspace(1.0, 1.1, 1900)).last_200_ps_g_cm3)
    assert math.isfinite(density_of(np.linspace(1.0, 1.1, 2000)).last_200_ps_g_cm3)


@pytest.mark.parametrize(
    ("times", "volumes", "mass", "message"),
    [
        ([0, 1, 2], [1.0, 1.0], 1.0, "shape"),
        ([0], [1.0], 1.0, "at least two frames"),
        ([0, 1], [1.0, 1.0], 0.0, "mass 0.0 u"),
        ([0, 1, 2, 2, 3], [1.0] * 5, 1.0, "frame 3 is at 2 ps, 0 ps after"),
        ([0, 1, 2, 4, 5], [1.0] * 5, 1.0, "frame 3 is at 4 ps, 2 ps after"),
        ([3, 2, 1], [1.0] * 3, 1.0, "frame 1 is at 2 ps, -1 ps after"),
        ([0, math.nan, 2, 3], [1.0] * 4, 1.0, "frame 1 is at nan ps"),
    ],
)
def test_bad_input_is_refused(times, volumes, mass, message):
    with pytest.raises(PhysEmbedError, match=message):
        mean_density(times, volumes, mass)
