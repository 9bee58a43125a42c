"""Running integral and time decomposition against closed forms and the exact expectation for block averages."""

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from physembed.analysis.green_kubo import RunningIntegral, running_integral, time_decomposition
from physembed.errors import PhysEmbedError
from tests.unit.shear_pressure import SIGMA_GPA, TEMPERATURE_K, VOLUME_A3, ou_pressure, tensors, viscosity_mPa_s


def integral(pressure, block_ps, max_lag_ps=None):
    return running_integral(pressure, 1000 * block_ps, VOLUME_A3, TEMPERATURE_K, max_lag_ps)


def cosine_pressure(block_ps, frequencies, duration_ps=20.0):
    """Two replicas whose mean autocorrelation is sigma^2 times the mean of cos(w t), exactly and at any length.

    Five pairs (cos(w t + phase), sin(w t + phase)), for cos a cos b + sin a sin b = cos(a - b); each pair has a
    different frequency.
    """
    time = block_ps * np.arange(round(duration_ps / block_ps))
    phases = np.outer(frequencies, time) + np.arange(5)[:, None]
    return tensors(np.sqrt(2) * SIGMA_GPA * np.concatenate([np.cos(phases), np.sin(phases)]))


def test_the_running_integral_of_an_analytic_autocorrelation_approaches_the_closed_form():
    frequencies = np.array([0.3, 0.7, 1.1, 1.9, 2.6])
    errors = []
    for block_ps in (0.08, 0.04, 0.02):
        running = integral(cosine_pressure(block_ps, frequencies), block_ps)
        phases = np.outer(frequencies, running.time_ps)
        assert running.time_ps[[0, -1]] == pytest.approx([0, 10])
        assert running.autocorrelation_GPa2 == pytest.approx(
            SIGMA_GPA**2 * np.cos(phases).mean(axis=0), rel=1e-6, abs=1e-10
        )
        closed = viscosity_mPa_s(1.0) * (np.sin(phases) / frequencies[:, None]).mean(axis=0)
        errors.append(np.abs(running.viscosity_mPa_s - closed).max() / viscosity_mPa_s(1.0))
    assert errors[-1] < 1e-4
    # The trapezoid rule is of second order.
    assert np.array(errors[:-1]) / errors[1:] == pytest.approx([4, 4], rel=0.05)


def test_unit_conversion_computed_by_hand():
    """A pressure that is constant, +1 MPa or -1 MPa by replica, has the integral (1 MPa)^2 t.

    V / kT = 1e-26 m^3 / (300 K * 1.380649e-23 J/K) = 2.41432e-6 / Pa; (1e6 Pa)^2 * 1e-12 s = 1 Pa^2 s.
    """
    constant = 1e-3 * np.repeat([1.0, -1.0], 5)[:, None] * np.ones(400)
    constant[:, ::2] *= 1 + 1e-9  # strictly constant pressures are refused
    running = running_integral(tensors(constant), 10.0, 10_000.0, 300.0)
    assert running.time_ps[100] == pytest.approx(1.0)
    assert running.viscosity_mPa_s[100] == pytest.approx(2.41432e-3, rel=1e-5)
    assert running.standard_error_mPa_s[100] == pytest.approx(0, abs=1e-10)


def test_block_averages_of_any_length_have_the_integral_of_the_process():
    """Mean over realisations against the exact expectation, which for long times is that of the process itself.

    The autocorrelation of averages over blocks of length b is, in units of sigma^2 and with x = b / tau,
    2 (x - 1 + exp(-x)) / x^2 at lag 0 and ((1 - exp(-x)) / x)^2 exp(x - k x) at lag k.
    """
    for block_ps in (0.1, 0.5, 2.0):
        decay = np.exp(-block_ps)
        lags = np.arange(1, round(8 / block_ps) + 1)
        later = ((1 - decay) / block_ps) ** 2 * decay ** (lags - 1)
        exact = np.append(2 * (block_ps - 1 + decay) / block_ps**2, later)
        trapezoid = block_ps * (np.cumsum(exact)[1:] - exact[0] / 2 - exact[1:] / 2)
        assert trapezoid[-1] == pytest.approx(1, abs=1e-3)

        curves = np.array(
            [
                integral(ou_pressure(seed, 3, round(200 / block_ps), block_ps), block_ps, 8.0).viscosity_mPa_s
                for seed in range(40)
            ]
        ) / viscosity_mPa_s(1.0)
        deviations = (curves.mean(axis=0)[1:] - trapezoid) / (curves.std(axis=0, ddof=1)[1:] / np.sqrt(40))
        assert np.abs(deviations).max() < 4
        assert curves.mean(axis=0)[-1] == pytest.approx(1, abs=0.07)


def test_the_standard_error_of_the_running_integral_is_the_scatter_of_repeated_runs():
    ends, errors = [], []
    for seed in range(100):
        running = integral(ou_pressure(seed, 3, 600, 0.25), 0.25, 5.0)
        ends.append(running.viscosity_mPa_s[-1])
        errors.append(running.standard_error_mPa_s[-1])
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(ends, ddof=1), rel=0.25)


def test_the_running_integral_does_not_depend_on_the_axes():
    pressure = ou_pressure(1, 2, 300, 0.2)
    axes = special_ortho_group.rvs(3, random_state=5)
    turned = integral(axes @ pressure @ axes.T, 0.2)
    straight = integral(pressure, 0.2)
    assert turned.viscosity_mPa_s == pytest.approx(straight.viscosity_mPa_s, rel=1e-9, abs=1e-12)
    assert np.abs(turned.series_mPa_s - straight.series_mPa_s).max() > 1e-3


def test_the_frame_holds_the_curve():
    running = integral(ou_pressure(1, 2, 300, 0.2), 0.2, 3.0)
    frame = running.frame()
    assert list(frame) == ["time_ps", "autocorrelation_GPa2", "viscosity_mPa_s", "standard_error_mPa_s"]
    assert frame["time_ps"].to_numpy() == pytest.approx(0.2 * np.arange(16))
    assert frame["viscosity_mPa_s"].to_numpy() == pytest.approx(running.series_mPa_s.mean(axis=0))
    assert running.series_mPa_s.shape == (10, 16)


def test_time_decomposition_of_an_exact_double_exponential():
    """Series that differ by a factor only: parts and times are those put in, and the jackknife error that of a mean."""
    time = 0.05 * np.arange(400)
    curve = 0.3 * (1 - np.exp(-time / 0.2)) + 0.5 * (1 - np.exp(-time / 3.0))
    factors = 1 + np.linspace(-0.2, 0.2, 15)
    decomposition = time_decomposition(RunningIntegral(time, np.zeros(400), np.outer(factors, curve)))
    assert decomposition.reason == ""
    assert decomposition.viscosity_mPa_s == pytest.approx(0.8, rel=1e-4)
    assert decomposition.parts_mPa_s == pytest.approx((0.3, 0.5), rel=1e-3)
    assert decomposition.relaxation_times_ps == pytest.approx((0.2, 3.0), rel=1e-3)
    assert decomposition.cutoff_ps == pytest.approx(time[-1])
    assert decomposition.standard_error_mPa_s == pytest.approx(0.8 * factors.std(ddof=1) / np.sqrt(15), rel=1e-3)
    assert decomposition.curve_mPa_s(time) == pytest.approx(curve, abs=1e-5)


def test_the_cutoff_is_where_the_deviation_of_a_replica_is_40_per_cent():
    """Five components whose scatter grows as t: standard deviation / sqrt(5) = 0.01 t, 40 % of 1 at t = 40."""
    time = 0.1 * np.arange(1001)
    pattern = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    growth = 0.01 * np.sqrt(5) * pattern / pattern.std(ddof=1)
    series = 1 - np.exp(-time) + np.outer(growth, time)
    decomposition = time_decomposition(RunningIntegral(time, np.zeros(1001), series))
    assert decomposition.cutoff_ps == pytest.approx(40, abs=0.15)
    assert decomposition.exponent == pytest.approx(1, abs=1e-6)
    assert decomposition.viscosity_mPa_s == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("parts", [((1.0, 1.0),), ((1.0, 1.0), (0.06, 8.0))])
def test_time_decomposition_recovers_ornstein_uhlenbeck_pressure(parts):
    truth = viscosity_mPa_s(sum(share * tau for share, tau in parts))
    pulls, ratios = [], []
    for seed in range(8):
        found = time_decomposition(integral(ou_pressure(seed, 10, 4000, 0.25, parts), 0.25))
        assert found.reason == ""
        ratios.append(found.viscosity_mPa_s / truth)
        pulls.append((found.viscosity_mPa_s - truth) / found.standard_error_mPa_s)
    assert np.median(ratios) == pytest.approx(1, abs=0.1)
    assert np.abs(pulls).max() < 4


def test_time_decomposition_gives_no_value_where_the_data_do_not_suffice():
    noisy = time_decomposition(integral(ou_pressure(0, 1, 30, 0.25), 0.25))
    assert "longer or more replicas" in noisy.reason
    assert noisy.viscosity_mPa_s is None and noisy.standard_error_mPa_s is None
    assert np.isnan(noisy.curve_mPa_s(np.arange(3.0))).all()

    # A curve that still rises at its end: the plateau would be an extrapolation.
    time = 0.1 * np.arange(200)
    rising = np.outer(np.linspace(0.9, 1.1, 10), 1 - np.exp(-time / 15))
    extrapolated = time_decomposition(RunningIntegral(time, np.zeros(200), rising))
    assert "of its limit at the cutoff of 19.9 ps" in extrapolated.reason
    assert extrapolated.viscosity_mPa_s is None


def test_bad_input_is_named():
    pressure = ou_pressure(0, 2, 50, 0.2)
    pressure[1, 7, 0, 1] = np.inf
    with pytest.raises(PhysEmbedError, match=r"replica 1 is not finite at sample 7 .* replicas that collapsed"):
        integral(pressure, 0.2)
