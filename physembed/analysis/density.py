"""Mean density of an NPT run: equilibration, standard error, and whether the run is long enough for one.

The density of a frame is mass / volume, averaged over frames as in the paper; this mean exceeds
mass / <volume> by the relative variance of the volume, k T kappa / V: about 4e-4 in a box of 1000 atoms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, stats

from physembed.errors import PhysEmbedError
from physembed.liquids.replicas import EVAPORATED_BELOW
from physembed.units import G_CM3

PAPER_WINDOW_PS = 200.0
"""The paper takes the mean over the last 200 ps of a run."""
MINIMUM_EFFECTIVE_SAMPLES = 50
"""Independent frames needed for an error. 95 % intervals cover the true mean in at least 93 % of runs with 50
independent frames; with 40, in 91 % (docs/background/scan.md)."""
SELECTION_BIAS = 8.0
"""The squared error of a mean over N independent frames is underestimated by SELECTION_BIAS / N of its value,
because the start of the equilibrated part is chosen so that the rest looks least correlated, and because runs that
look too correlated are refused. Measured for series with exponential correlation (docs/background/scan.md)."""
MINIMUM_BLOCKS = 8
"""The standard error from 8 blocks is itself uncertain by 1 / sqrt(2 (8 - 1)) = 27 %."""
DRIFT_PROBABILITY = 0.01
"""A difference between the halves of the equilibrated part with a lower probability than this is called drift."""
EQUILIBRATION_CANDIDATES = 100
"""Number of candidate starts of the equilibrated part, evenly spaced over the run."""

Status = Literal["ok", "insufficient", "evaporated", "blown_up"]


@dataclass(frozen=True)
class Blocking:
    """Standard error of the mean of a correlated series; see `block_average`."""

    standard_error: float
    """In the unit of the series, corrected for what the blocks miss; nan if no plateau was reached."""
    block_length: int
    """Frames per block."""
    blocks: int
    """Number of blocks; 0 if no plateau was reached. The standard error has blocks - 1 degrees of freedom."""


@dataclass(frozen=True)
class MeanDensity:
    """Mean density of an NPT run. Numbers that the run does not provide are nan; `reason` explains why."""

    status: Status
    """`ok`; `insufficient`: too short or still drifting; `evaporated`; `blown_up`: a volume is not finite."""
    reason: str
    """One line; empty if `ok`."""
    density_g_cm3: float
    """Mean over the equilibrated part; nan if evaporated or blown up."""
    standard_error: float
    """Standard error of `density_g_cm3`, g/cm^3; nan unless `ok`. It is itself uncertain by about 20 % at 62 to 100
    independent frames and by 11 % at 500."""
    equilibration_ps: float
    """Time from the first frame to the first frame that enters the mean."""
    statistical_inefficiency_ps: float
    """Time between two independent frames."""
    effective_samples: float
    """Independent frames in the equilibrated part."""
    blocks: int
    """Blocks used for the standard error, which has `blocks` - 1 degrees of freedom; 0 if there is none."""
    drift_g_cm3: float
    """Mean of the second half of the equilibrated part minus that of the first; in a stationary run its standard error
    is twice `standard_error`. nan unless `ok`."""
    last_200_ps_g_cm3: float
    """Mean over the last 200 ps, the paper's rule; nan if the run is shorter or incomplete."""
    last_good_frame: int
    """Index of the last frame before the run failed; the last frame if it did not fail; -1 if no frame is valid."""


def statistical_inefficiency(series: ArrayLike) -> float:
    """Frames per independent frame, g = 1 + 2 sum of the normalised autocorrelation up to its first zero.

    The autocorrelation is weighted by (1 - lag / n), as in the variance of a mean. J. D. Chodera, W. C. Swope,
    J. W. Pitera, C. Seok, K. A. Dill, J. Chem. Theory Comput. 2007, 3, 26.

    Args:
        series: (n_frames,), any unit; a constant series counts as one sample, g = n_frames.
    """
    values = np.asarray(series, dtype=float)
    fluctuation = values - values.mean()
    if np.ptp(values) == 0:
        return float(len(values))
    length = fft.next_fast_len(2 * len(values), real=True)
    spectrum = fft.rfft(fluctuation, length)
    covariance = fft.irfft(spectrum.real**2 + spectrum.imag**2, length)[: len(values)]
    not_positive = np.flatnonzero(covariance <= 0)
    end = not_positive[0] if len(not_positive) else len(values)
    return float(1 + 2 * covariance[1:end].sum() / covariance[0])


def detect_equilibration(series: ArrayLike) -> tuple[int, float]:
    """First frame of the equilibrated part, and the statistical inefficiency of that part in frames.

    The start that leaves the most independent frames is chosen: during relaxation, discarding frames reduces the
    correlation time by more than the lost frames cost. J. D. Chodera, J. Chem. Theory Comput. 2016, 12, 1799.

    Args:
        series: (n_frames,), any unit.
    """
    values = np.asarray(series, dtype=float)
    starts = range(0, len(values), max(1, len(values) // EQUILIBRATION_CANDIDATES))
    inefficiencies = [statistical_inefficiency(values[start:]) for start in starts]
    samples = [(len(values) - start) / g for start, g in zip(starts, inefficiencies, strict=True)]
    best = int(np.argmax(samples))
    return starts[best], inefficiencies[best]


def combined_degrees_of_freedom(variances: ArrayLike, degrees_of_freedom: ArrayLike) -> float:
    """Degrees of freedom of a sum of independent estimated variances (B. L. Welch, Biometrika 1947, 34, 28).

    Args:
        variances: (n,) terms of the sum.
        degrees_of_freedom: (n,) degrees of freedom of each.
    """
    terms = np.asarray(variances, dtype=float)
    with np.errstate(invalid="ignore"):
        return float(terms.sum() ** 2 / (terms**2 / np.asarray(degrees_of_freedom, dtype=float)).sum())


def variance_correction(effective_samples: float, shortfall: float = 0.0) -> float:
    """Factor on the squared standard error of a mean that corrects for what its estimate misses.

    1 / (1 - shortfall - SELECTION_BIAS / N), at most 2.

    Args:
        effective_samples: N, independent frames of the mean.
        shortfall: fraction of the squared error that the estimator is known to miss.
    """
    return 1 / (1 - min(shortfall + SELECTION_BIAS / effective_samples, 0.5))


def block_average(series: ArrayLike, inefficiency: float) -> Blocking:
    """Standard error of the mean of a correlated series from the scatter of the means of blocks.

    H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 1989, 91, 461: with increasing block length, the error rises until the
    blocks are independent and then stays constant, while its own relative error 1 / sqrt(2 (blocks - 1)) grows. The
    block length B balances the correlation left between blocks and this scatter, B^3 = 2 n g^2 (U. Wolff, Comput. Phys.
    Commun. 2004, 156, 143, eq. 47; R. M. Lee et al., Phys. Rev. E 2011, 83, 066706, eq. 14). The error is on the
    plateau if no error from blocks of 2 B, 4 B, ... is higher by more than twice its own error, as long as there are 8
    blocks.

    Blocks of length B miss g / (2 B) of the squared error if correlation decays exponentially (to first order in
    g / B); this and the selection bias are corrected (`variance_correction`).

    Args:
        series: (n_frames,), any unit; frames at the start that do not fill a block are dropped.
        inefficiency: g, the statistical inefficiency of the series in frames.
    """
    values = np.asarray(series, dtype=float)
    length = math.ceil((2 * len(values) * inefficiency**2) ** (1 / 3))
    result = Blocking(math.nan, length, 0)
    while (blocks := len(values) // length) >= MINIMUM_BLOCKS:
        means = values[len(values) - blocks * length :].reshape(blocks, length).mean(axis=1)
        error = float(means.std(ddof=1)) / math.sqrt(blocks)
        if not result.blocks:
            result = Blocking(error, length, blocks)
        elif error * (1 - 2 / math.sqrt(2 * (blocks - 1))) > result.standard_error:
            return Blocking(math.nan, length, 0)
        length *= 2
    correction = variance_correction(len(values) / inefficiency, inefficiency / (2 * result.block_length))
    return Blocking(result.standard_error * math.sqrt(correction), result.block_length, result.blocks)


def mean_density(times_ps: ArrayLike, volumes_A3: ArrayLike, mass_u: float) -> MeanDensity:
    """Mean density of an NPT run with its standard error.

    A failed run is a result, not an error: `blown_up` (a volume that is not finite or not positive) or
    `evaporated` (a density below half of the first frame's). A run is `insufficient` if its equilibrated part has
    fewer than 50 independent frames, is shorter than the discarded part, or has no plateau of the block-averaged
    error, or if its two halves differ by more than chance allows in 1 % of stationary runs (Student's t).

    Args:
        times_ps: (n_frames,) evenly spaced.
        volumes_A3: (n_frames,) box volumes.
        mass_u: total mass of the atoms in the box, u.

    Raises:
        PhysEmbedError: arrays of different lengths, a mass that is not positive, or times that are not evenly
            spaced, for example because frames of a resumed run are repeated or missing.
    """
    times, volumes = np.asarray(times_ps, dtype=float), np.asarray(volumes_A3, dtype=float)
    interval = _interval(times, volumes, mass_u)
    with np.errstate(divide="ignore", invalid="ignore"):
        densities = mass_u / volumes / G_CM3
    lost = _lost(times, volumes, densities)
    if lost:
        return lost

    start, inefficiency = detect_equilibration(densities)
    part = densities[start:]
    samples = len(part) / inefficiency
    blocking = block_average(part, inefficiency)
    reason = _insufficiency(len(densities), part, samples, blocking)
    return MeanDensity(
        status="insufficient" if reason else "ok",
        reason=reason,
        density_g_cm3=float(part.mean()),
        standard_error=math.nan if reason else blocking.standard_error,
        equilibration_ps=float(times[start] - times[0]),
        statistical_inefficiency_ps=inefficiency * interval,
        effective_samples=samples,
        blocks=0 if reason else blocking.blocks,
        drift_g_cm3=math.nan if reason else _drift(part),
        last_200_ps_g_cm3=_mean_of_last(times, densities, interval),
        last_good_frame=len(densities) - 1,
    )


def known_within(standard_error_g_cm3: float) -> Callable[[ArrayLike, ArrayLike, float], bool]:
    """Return a function of the arguments of `mean_density`: whether the mean is `ok`, with an error of at most this."""

    def known(times_ps: ArrayLike, volumes_A3: ArrayLike, mass_u: float) -> bool:
        mean = mean_density(times_ps, volumes_A3, mass_u)
        return mean.status == "ok" and mean.standard_error <= standard_error_g_cm3

    return known


def _interval(times: NDArray[np.float64], volumes: NDArray[np.float64], mass_u: float) -> float:
    """Check the input and return the time between two frames in ps."""
    if times.ndim != 1 or times.shape != volumes.shape or len(times) < 2:
        raise PhysEmbedError(
            f"density: times of shape {times.shape} and volumes of shape {volumes.shape}; "
            "give one time and one volume for each of at least two frames"
        )
    if not (math.isfinite(mass_u) and mass_u > 0):
        raise PhysEmbedError(f"density: mass {mass_u} u; give the sum of the atomic masses in the box")
    steps = np.diff(times)
    interval = float(np.median(steps))
    uneven = ~(np.abs(steps - interval) <= 0.01 * abs(interval)) | ~(steps > 0)
    if uneven.any():
        frame = int(uneven.argmax())
        raise PhysEmbedError(
            f"density: frame {frame + 1} is at {times[frame + 1]:g} ps, {steps[frame]:g} ps after the previous one, "
            f"but frames are {interval:g} ps apart; give every frame of the run once"
        )
    return interval


def _lost(
    times: NDArray[np.float64], volumes: NDArray[np.float64], densities: NDArray[np.float64]
) -> MeanDensity | None:
    """The result for a run that failed, else None."""
    blown = ~(np.isfinite(volumes) & (volumes > 0))
    gone = densities < EVAPORATED_BELOW * densities[0]
    bad = blown | gone
    if not bad.any():
        return None
    frame = int(bad.argmax())
    status: Status
    if blown[frame]:
        status = "blown_up"
        what = f"volume {volumes[frame]:g} Å^3"
    else:
        status = "evaporated"
        what = f"density {densities[frame]:.3f}, below {EVAPORATED_BELOW:g} of {densities[0]:.3f} g/cm^3 at the start,"
    reason = f"{what} in frame {frame} at {times[frame]:g} ps; last valid frame: {frame - 1 if frame else 'none'}"
    nan = math.nan
    return MeanDensity(status, reason, nan, nan, nan, nan, 0.0, 0, nan, nan, frame - 1)


def _drift(part: NDArray[np.float64]) -> float:
    """The mean of the second half minus that of the first.

    The halves share no frame, so each has sqrt(2) times the error of the whole, and their difference twice.
    """
    first, second = np.array_split(part, 2)
    return float(second.mean() - first.mean())


def _insufficiency(n_frames: int, part: NDArray[np.float64], samples: float, blocking: Blocking) -> str:
    """Why the equilibrated part is not sufficient for a mean with an error; empty if it is."""
    if samples < MINIMUM_EFFECTIVE_SAMPLES:
        return f"{samples:.1f} independent frames, {MINIMUM_EFFECTIVE_SAMPLES} are required; run longer"
    if 2 * len(part) < n_frames:
        discarded = n_frames - len(part)
        return f"{discarded} of {n_frames} frames are equilibration, more than half; still relaxing, run longer"
    if not blocking.blocks:
        return f"the error still rises with the block length at {blocking.block_length} frames per block; run longer"
    drift = abs(_drift(part)) / (2 * blocking.standard_error)
    if drift > stats.t.isf(DRIFT_PROBABILITY / 2, blocking.blocks - 1):
        return f"the halves of the equilibrated part differ by {drift:.1f} standard errors; still drifting, run longer"
    return ""


def _mean_of_last(times: NDArray[np.float64], densities: NDArray[np.float64], interval: float) -> float:
    """Mean over the last 200 ps in g/cm^3; nan if the run is shorter. A frame represents the interval before it."""
    before = times[-1] - PAPER_WINDOW_PS + 0.5 * interval
    if times[0] - interval > before:
        return math.nan
    return float(densities[times > before].mean())
