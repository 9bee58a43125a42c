"""Cross-checks of a viscosity: the running Green-Kubo integral and the time-decomposition fit to it.

Both use the input of `physembed.analysis.viscosity` and are plotted beside its estimate. Neither replaces it:
the running integral has no plateau that can be read off without judgement, and the fit depends on a cutoff.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.fft import irfft, next_fast_len, rfft
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import curve_fit

from physembed.analysis.viscosity import checked_pressure, component_series, green_kubo_prefactor
from physembed.units import GPA

COMPONENTS = 5
"""Independent components of the traceless pressure tensor of a replica."""
DEVIATION_AT_CUTOFF = 0.4
"""Ratio of standard deviation to integral at which the time-decomposition fit ends."""
MIN_FITTED_LAGS = 20
"""Minimum number of lags before the cutoff for a fit."""
MAX_FITTED_LAGS = 2000
"""Longer curves are thinned evenly: neighbouring values of an integral are almost identical."""
MIN_REACHED = 0.9
"""Fraction of the fitted viscosity that must be reached at the cutoff; the rest would be extrapolated."""


@dataclass(frozen=True)
class RunningIntegral:
    """eta(t) = V / (k_B T) * integral from 0 to t of <P(0) P(t')> dt'."""

    time_ps: np.ndarray
    """(n_lags,) from 0."""
    autocorrelation_GPa2: np.ndarray
    """(n_lags,) <P(0) P(t)>, mean over components and replicas."""
    series_mPa_s: np.ndarray
    """(5 n_replicas, n_lags) eta(t) of each component of each replica."""

    @property
    def viscosity_mPa_s(self) -> np.ndarray:
        """(n_lags,) mean over components and replicas."""
        mean: np.ndarray = self.series_mPa_s.mean(axis=0)
        return mean

    @property
    def standard_error_mPa_s(self) -> np.ndarray:
        """(n_lags,) standard error of the mean, from the scatter of components and replicas, which are independent."""
        return self.series_mPa_s.std(axis=0, ddof=1) / math.sqrt(len(self.series_mPa_s))

    def frame(self) -> pd.DataFrame:
        """time_ps, autocorrelation_GPa2, viscosity_mPa_s, standard_error_mPa_s; one row per lag."""
        return pd.DataFrame(
            {
                "time_ps": self.time_ps,
                "autocorrelation_GPa2": self.autocorrelation_GPa2,
                "viscosity_mPa_s": self.viscosity_mPa_s,
                "standard_error_mPa_s": self.standard_error_mPa_s,
            }
        )


@dataclass(frozen=True)
class TimeDecomposition:
    """Double exponential fitted to a running integral, and its limit, or the reason why there is none."""

    reason: str
    """Why there is no value; empty if there is one."""
    viscosity_mPa_s: float | None
    """Limit of the fitted curve at infinite time."""
    standard_error_mPa_s: float | None
    """From the jackknife over components and replicas, at this cutoff and these weights."""
    cutoff_ps: float
    """End of the fit: where the standard deviation of a replica first reaches 40 % of the integral."""
    exponent: float | None
    """b of the standard deviation C t^b; residuals are divided by t^b."""
    parts_mPa_s: tuple[float, float] | None
    """Contributions of the two exponentials to the viscosity, the faster one first."""
    relaxation_times_ps: tuple[float, float] | None
    """Relaxation times of the two exponentials."""

    def curve_mPa_s(self, time_ps: np.ndarray) -> np.ndarray:
        """The fitted eta(t) at times of any shape; nan if there is no fit."""
        if self.parts_mPa_s is None or self.relaxation_times_ps is None:
            return np.full(np.shape(time_ps), np.nan)
        (part_1, part_2), (tau_1, tau_2) = self.parts_mPa_s, self.relaxation_times_ps
        return _double_exponential(np.asarray(time_ps), part_1, tau_1, part_2, tau_2)


def _autocorrelation(series: np.ndarray, n_lags: int) -> np.ndarray:
    """(n_series, n_lags) from (n_series, n_samples): mean of x_i x_{i+k} over the n_samples - k pairs; no mean is
    subtracted because the mean shear pressure is zero by symmetry and its estimate would bias the integral."""
    samples = series.shape[1]
    size = next_fast_len(samples + n_lags, real=True)
    sums = np.stack([irfft(np.abs(rfft(one, size)) ** 2, size)[:n_lags] for one in series])
    means: np.ndarray = sums / (samples - np.arange(n_lags))
    return means


def running_integral(
    pressure: np.ndarray,
    block_fs: float,
    volume_A3: float,
    temperature_K: float,
    max_lag_ps: float | None = None,
) -> RunningIntegral:
    """Running Green-Kubo integral of each of the five components of each replica.

    The autocorrelation of the block averages is integrated by the trapezoid rule. Averaging lowers its value
    at lag 0 and raises the later ones such that the limit of the integral is exact for blocks of any
    length; the curve differs from that of the pressure itself only while the autocorrelation lasts.

    Args:
        pressure: (n_replicas, n_samples, 3, 3) eV/Å^3; consecutive block averages of the full pressure tensor.
        block_fs: length of a block, fs.
        volume_A3: volume of the cell, Å^3.
        temperature_K: K.
        max_lag_ps: longest time, ps; default (and maximum): half the length of a replica.

    Raises:
        PhysEmbedError: as `physembed.analysis.viscosity.checked_pressure`.
    """
    tensors = checked_pressure(pressure, block_fs, volume_A3, temperature_K)
    half, block_ps = tensors.shape[1] // 2, block_fs / 1000
    n_lags = 1 + (half if max_lag_ps is None else min(half, max(1, round(max_lag_ps / block_ps))))
    autocorrelation = _autocorrelation(component_series(tensors), n_lags)
    integrals = cumulative_trapezoid(autocorrelation, dx=block_ps, initial=0, axis=1)
    return RunningIntegral(
        time_ps=block_ps * np.arange(n_lags),
        autocorrelation_GPa2=autocorrelation.mean(axis=0) / GPA**2,
        series_mPa_s=green_kubo_prefactor(volume_A3, temperature_K) * integrals,
    )


def _double_exponential(time: np.ndarray, part_1: float, tau_1: float, part_2: float, tau_2: float) -> np.ndarray:
    """part_1 (1 - exp(-t / tau_1)) + part_2 (1 - exp(-t / tau_2)), in the unit of the parts."""
    curve: np.ndarray = -part_1 * np.expm1(-time / tau_1) - part_2 * np.expm1(-time / tau_2)
    return curve


def time_decomposition(running: RunningIntegral) -> TimeDecomposition:
    """Viscosity by the time-decomposition method.

    Y. Zhang, A. Otani, E. J. Maginn, J. Chem. Theory Comput. 2015, 11, 3537, 10.1021/acs.jctc.5b00351. Up to the
    time at which the standard deviation among replicas is 40 % of it, the averaged running integral is fitted by

        eta(t) = A alpha tau_1 (1 - exp(-t / tau_1)) + A (1 - alpha) tau_2 (1 - exp(-t / tau_2)),  0 <= alpha <= 1,

    with its residuals divided by t^b, where C t^b is fitted to the standard deviation (on logarithmic axes). The
    quantity that varies among replicas is the mean over the components of each; its standard deviation is taken as that
    of the single components divided by the square root of their number, so a few replicas suffice. Two additions:
    neither tau may exceed the fitted time, and the limit has an error, from the jackknife.

    There is no value if the integral is too noisy from the start, or if the fit would have to extrapolate: less
    than 90 % of its limit reached at the cutoff.
    """
    mean = running.viscosity_mPa_s
    deviation = running.series_mPa_s.std(axis=0, ddof=1) / math.sqrt(COMPONENTS)
    noisy = deviation[1:] >= DEVIATION_AT_CUTOFF * mean[1:]
    end = 1 + int(noisy.argmax()) if noisy.any() else len(mean)
    cutoff_ps = float(running.time_ps[end - 1])

    def without_value(reason: str) -> TimeDecomposition:
        return TimeDecomposition(reason, None, None, cutoff_ps, None, None, None)

    if end <= MIN_FITTED_LAGS:
        return without_value(
            f"the standard deviation is {DEVIATION_AT_CUTOFF:.0%} of the integral after only {end - 1} lags; "
            "longer or more replicas are needed"
        )
    fitted = np.unique(np.linspace(1, end - 1, min(end - 1, MAX_FITTED_LAGS)).astype(int))
    time = running.time_ps[fitted]
    exponent = float(np.polyfit(np.log(time), np.log(deviation[fitted]), 1)[0])

    level = mean[fitted].max()
    rise = time[int((mean[fitted] > level / 2).argmax())]
    scale = np.array([level, rise, level, rise])
    # A relaxation longer than the fitted time cannot be distinguished from a drift of the noise.
    upper = np.array([np.inf, cutoff_ps, np.inf, cutoff_ps])

    def parameters(curve: np.ndarray, start: np.ndarray) -> np.ndarray:
        weighting = time**exponent
        return curve_fit(_double_exponential, time, curve, start, weighting, bounds=(0, upper), x_scale=scale)[0]

    series = running.series_mPa_s[:, fitted]
    try:
        best = parameters(mean[fitted], scale * [0.5, 0.5, 0.5, min(2, cutoff_ps / rise)])
        left_out = [np.delete(series, one, axis=0).mean(axis=0) for one in range(len(series))]
        limits = np.array([parameters(curve, best)[[0, 2]].sum() for curve in left_out])
    except RuntimeError as error:
        return without_value(f"the double exponential could not be fitted ({error})")
    limit = best[0] + best[2]
    reached = float(_double_exponential(np.array(cutoff_ps), *best)) / limit
    if reached < MIN_REACHED:
        return without_value(
            f"the fit reaches {reached:.1%} of its limit at the cutoff of {cutoff_ps:.3g} ps; longer or more "
            "replicas are needed"
        )
    order = np.argsort(best[[1, 3]])
    parts, times = best[[0, 2]][order], best[[1, 3]][order]
    return TimeDecomposition(
        reason="",
        viscosity_mPa_s=float(limit),
        standard_error_mPa_s=math.sqrt((len(limits) - 1) * limits.var()),
        cutoff_ps=cutoff_ps,
        exponent=exponent,
        parts_mPa_s=(float(parts[0]), float(parts[1])),
        relaxation_times_ps=(float(times[0]), float(times[1])),
    )
