"""Shear viscosity of a liquid from the fluctuations of its pressure tensor, or the run length required for it.

Green-Kubo: eta = V / (k_B T) * integral from 0 to infinity of <P(0) P(t)> dt, where P is any one of the five
independent components of the traceless symmetric pressure tensor of an isotropic liquid. The integral is half
the power spectrum of P at zero frequency; STACIE fits the Lorentz model of an exponentially decaying
autocorrelation to the low frequencies, averages over the cutoff frequency, and quantifies how reliable the result is
(G. Toraman, D. Fauconnier, T. Verstraelen, J. Chem. Inf. Model. 2025, 65, 10445, 10.1021/acs.jcim.5c01475).

If the data do not suffice, the result contains no viscosity but the run length that would suffice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from stacie import LorentzModel, compute_spectrum, estimate_acint
from stacie.estimate import Result

from physembed.errors import PhysEmbedError
from physembed.units import GPA, KB

PARAMETERS = 3
"""Parameters of the Lorentz model: white noise, height and width of the peak at zero frequency."""
MIN_POINTS = 20 * PARAMETERS
"""Effective number of frequencies in the fit below which STACIE advises a longer run."""
FIRST_ATTEMPT_SAMPLES = 400 * PARAMETERS
"""Samples that STACIE advises for a first attempt."""
MIN_SAMPLES = 32 * PARAMETERS
"""With fewer samples, even STACIE's narrowest fit (5 points per parameter) and its cross-validation are impossible."""
MAX_Z_SCORE = 2.0
"""Z-score of the fit and of its cross-validation beyond which STACIE considers the model inadequate."""
MAX_RELAXATION_ERROR = 0.5
"""Standard error / relaxation time beyond which the peak in the spectrum may be noise."""
LENGTH_MARGIN = 1.5
"""Factor on the required length, which is itself estimated from a run that is too short."""
MAX_ASYMMETRY = 0.01
"""Largest asymmetry of a pressure tensor relative to its traceless part (root mean square)."""


@dataclass(frozen=True)
class Viscosity:
    """A viscosity with its standard error, or what is missing for one."""

    status: Literal["ok", "insufficient"]
    """`insufficient`: the data give no reliable value; viscosity and standard error are None."""
    reason: str
    """What is not sufficient, with the values compared; empty if the status is `ok`."""
    viscosity_mPa_s: float | None
    """Shear viscosity."""
    standard_error_mPa_s: float | None
    """Its standard error, from STACIE."""
    relaxation_time_ps: float | None
    """Exponential correlation time of the pressure; None if no fit was possible."""
    cutoff_frequency_THz: float | None
    """Upper end of the fitted frequencies (mean over STACIE's cutoffs)."""
    effective_points: float | None
    """Effective number of fitted frequencies."""
    z_score_fit: float | None
    """(cost - expected) / standard deviation of the fit to the spectrum."""
    z_score_cutoff: float | None
    """The same for the cross-validation between lower and upper half of the fitted range."""
    duration_ps: float
    """Length of each replica."""
    required_duration_ps: float | None
    """Length that would suffice with the same number of replicas; None if `ok` or if the length is not the problem."""
    longest_block_fs: float | None
    """Longest block average that preserves the peak of the spectrum, pi / 10 relaxation times."""


def checked_pressure(pressure: np.ndarray, block_fs: float, volume_A3: float, temperature_K: float) -> np.ndarray:
    """Check the properties of `pressure` on which all estimates rely, and return it as float64.

    Args:
        pressure: (n_replicas, n_samples, 3, 3) eV/Å^3; consecutive block averages of the full pressure tensor.
        block_fs: length of a block, fs.
        volume_A3: volume of the cell, Å^3.
        temperature_K: K.

    Raises:
        PhysEmbedError: another shape, a non-finite value, an asymmetric tensor, a replica
            whose pressure does not fluctuate, or a length, volume or temperature that is not positive.
    """
    for name, value in (("block_fs", block_fs), ("volume_A3", volume_A3), ("temperature_K", temperature_K)):
        if not (math.isfinite(value) and value > 0):
            raise PhysEmbedError(f"viscosity: {name} is {value}; it must be a positive number")
    tensors = np.asarray(pressure, dtype=float)
    if tensors.ndim != 4 or tensors.shape[2:] != (3, 3) or tensors.shape[0] == 0 or tensors.shape[1] < 2:
        raise PhysEmbedError(
            f"viscosity: pressure has the shape {tensors.shape}; give (n_replicas, n_samples, 3, 3) with at least "
            "1 replica and 2 samples"
        )
    finite = np.isfinite(tensors).all(axis=(2, 3))
    if not finite.all():
        replica, sample = np.argwhere(~finite)[0]
        raise PhysEmbedError(
            f"viscosity: the pressure of replica {replica} is not finite at sample {sample} "
            f"({(~finite).sum()} of {finite.size} samples in total); exclude replicas that collapsed"
        )
    traceless = tensors - np.trace(tensors, axis1=2, axis2=3)[:, :, None, None] / 3 * np.eye(3)
    asymmetry = math.sqrt(np.mean((tensors - tensors.swapaxes(2, 3)) ** 2))
    if asymmetry > MAX_ASYMMETRY * math.sqrt(np.mean(traceless**2)):
        raise PhysEmbedError(
            f"viscosity: the pressure tensor is not symmetric (P_ij - P_ji is {asymmetry:.3g} eV/Å^3, root mean "
            "square); check the order in which its nine components were written"
        )
    spread = np.ptp(traceless, axis=1).max(axis=(1, 2))
    if (still := spread <= 1e-12 * np.abs(tensors).max()).any():
        raise PhysEmbedError(
            f"viscosity: the shear pressure of replica {int(still.argmax())} does not change over "
            f"{tensors.shape[1]} samples; check what was recorded"
        )
    return tensors


def pressure_components(pressure: np.ndarray) -> np.ndarray:
    """The five independent components of the traceless symmetric part of pressure tensors.

    (P_xx - P_yy/2 - P_zz/2) / sqrt(3), (P_yy - P_zz) / 2, P_yz, P_zx, P_xy: in an isotropic liquid each has the
    autocorrelation function of P_xy and they are uncorrelated with each other (STACIE's documentation, "Shear
    Viscosity"). The sum of their squares is half that of the traceless tensor, so the mean over them does not
    depend on the axes; it is the formula of P. J. Daivis, D. J. Evans, J. Chem. Phys. 1994, 100, 541.

    Args:
        pressure: (..., 3, 3), any unit; off-diagonal components are averaged with their transposes.

    Returns:
        (..., 5) in the unit of `pressure`.
    """
    p = (pressure + np.swapaxes(pressure, -1, -2)) / 2
    return np.stack(
        [
            (p[..., 0, 0] - p[..., 1, 1] / 2 - p[..., 2, 2] / 2) / math.sqrt(3),
            (p[..., 1, 1] - p[..., 2, 2]) / 2,
            p[..., 1, 2],
            p[..., 2, 0],
            p[..., 0, 1],
        ],
        axis=-1,
    )


def component_series(pressure: np.ndarray) -> np.ndarray:
    """(5 n_replicas, n_samples), the five of each replica consecutively, from (n_replicas, n_samples, 3, 3)."""
    return np.moveaxis(pressure_components(pressure), -1, 1).reshape(-1, pressure.shape[1])


def green_kubo_prefactor(volume_A3: float, temperature_K: float) -> float:
    """V / (k_B T) such that an integral of (eV/Å^3)^2 over ps is obtained in mPa s, which equals GPa ps."""
    return volume_A3 / (KB * temperature_K) / GPA


def _fit(series: np.ndarray, block_ps: float, prefactor: float) -> Result:
    """STACIE's estimate; raises its ValueError if no cutoff frequency allows a fit of the model.

    Its limit on the number of points, which saves time, is lifted: with it, a run of more than about ten thousand
    relaxation times would be fitted within the flat top of the peak, which does not determine the relaxation time.
    """
    spectrum = compute_spectrum(series, prefactors=prefactor, timestep=block_ps)
    return estimate_acint(spectrum, LorentzModel(), neff_max=None)


def estimate_viscosity(
    pressure: np.ndarray,
    block_fs: float,
    volume_A3: float,
    temperature_K: float,
    relative_error: float = 0.1,
) -> Viscosity:
    """Shear viscosity by STACIE, if the data suffice for a standard error of `relative_error` or better.

    The data suffice if all of the following are true; the first four are STACIE's own criteria ("How to Prepare
    Sufficient Inputs", "Reducing Storage Requirements with Block Averages" in its documentation).

    - The fit uses at least 20 effective points for each of its 3 parameters.
    - The z-scores of the fit and of its cross-validation are below 2.
    - A replica is at least 20 pi relaxation times long.
    - A block is at most pi / 10 relaxation times long. This is the only criterion that a longer run cannot meet.
    - The standard error of the relaxation time is below half its value: otherwise the peak may be noise.
    - The standard error is at most `relative_error` of the viscosity.

    The required length is the largest that these criteria demand, with a margin of 50 %: proportional to the missing
    points; 20 pi times the relaxation time plus two of its standard errors; (error / `relative_error`)^2 times
    the present length. It is at least 1200 samples, STACIE's advice for a first attempt, and twice the present
    length if none can be computed: after a bad z-score, with an unknown relaxation time, or without any fit.

    Args:
        pressure: (n_replicas, n_samples, 3, 3) eV/Å^3; consecutive block averages of the full pressure tensor
            (kinetic part, virial of the model, virial of the correction) of independent replicas.
        block_fs: length of a block, fs.
        volume_A3: volume of the cell, Å^3.
        temperature_K: K.
        relative_error: required standard error / viscosity.

    Raises:
        PhysEmbedError: as `checked_pressure`; or a `relative_error` that is not between 0 and 1.
    """
    tensors = checked_pressure(pressure, block_fs, volume_A3, temperature_K)
    if not 0 < relative_error < 1:
        raise PhysEmbedError(f"viscosity: relative_error is {relative_error}; give a fraction from 0 to 1, like 0.1")
    samples, block_ps = tensors.shape[1], block_fs / 1000
    duration_ps = samples * block_ps
    if samples < MIN_SAMPLES:
        reason = f"{samples} samples are too few for a spectrum (at least {MIN_SAMPLES})"
        return _without_fit(reason, duration_ps, block_ps)
    try:
        result = _fit(component_series(tensors), block_ps, green_kubo_prefactor(volume_A3, temperature_K))
    except ValueError as error:
        reason = (
            "the spectrum shows no peak at zero frequency, so no relaxation: the run is too short, or a block of "
            f"{block_fs:g} fs is longer than the relaxation time (STACIE: {error})"
        )
        return _without_fit(reason, duration_ps, block_ps)
    return _judged(result, duration_ps, block_ps, relative_error)


def _judged(result: Result, duration_ps: float, block_ps: float, relative_error: float) -> Viscosity:
    """Compare the result of a fit with the criteria of `estimate_viscosity`."""
    props = result.props
    relaxation_ps, relaxation_error_ps = float(result.corrtime_exp), float(result.corrtime_exp_std)
    points = float(result.neff)
    z_scores = {"fit": float(props["cost_zscore"]), "cross-validation": float(props["criterion_zscore"])}
    longest_block_ps = float(props["exp_block_time"])
    error = float(result.acint_std / result.acint)

    reasons: list[str] = []
    lengths_ps: list[float] = []
    if points < MIN_POINTS:
        reasons.append(f"{points:.0f} effective points in the fit, {MIN_POINTS} required")
        lengths_ps.append(LENGTH_MARGIN * duration_ps * MIN_POINTS / points)
    for name, z_score in z_scores.items():
        if z_score >= MAX_Z_SCORE:
            reasons.append(f"z-score of the {name} {z_score:.1f}, required below {MAX_Z_SCORE:g}")
            lengths_ps.append(2 * duration_ps)
    if duration_ps < (resolved_ps := float(props["exp_simulation_time"])):
        reasons.append(
            f"{duration_ps:.4g} ps per replica, {resolved_ps:.4g} ps required for a relaxation time of "
            f"{relaxation_ps:.3g} ps"
        )
        # If a run is too short, the peak is broadened and the relaxation time is underestimated.
        lengths_ps.append(LENGTH_MARGIN * resolved_ps * (1 + 2 * relaxation_error_ps / relaxation_ps))
    if relaxation_error_ps > MAX_RELAXATION_ERROR * relaxation_ps:
        reasons.append(f"relaxation time {relaxation_ps:.3g} ± {relaxation_error_ps:.3g} ps, not distinct from zero")
        lengths_ps.append(2 * duration_ps)
    if error > relative_error:
        reasons.append(f"standard error {error:.1%} of the viscosity, {relative_error:.1%} required")
        lengths_ps.append(LENGTH_MARGIN * duration_ps * (error / relative_error) ** 2)
    if block_ps > longest_block_ps:
        reasons.append(
            f"blocks of {1000 * block_ps:g} fs, at most {1000 * longest_block_ps:.3g} fs allowed for a relaxation time "
            f"of {relaxation_ps:.3g} ps"
        )

    return Viscosity(
        status="insufficient" if reasons else "ok",
        reason="; ".join(reasons),
        viscosity_mPa_s=None if reasons else float(result.acint),
        standard_error_mPa_s=None if reasons else float(result.acint_std),
        relaxation_time_ps=relaxation_ps,
        cutoff_frequency_THz=float(result.fcut),
        effective_points=points,
        z_score_fit=z_scores["fit"],
        z_score_cutoff=z_scores["cross-validation"],
        duration_ps=duration_ps,
        required_duration_ps=max([*lengths_ps, FIRST_ATTEMPT_SAMPLES * block_ps]) if lengths_ps else None,
        longest_block_fs=1000 * longest_block_ps,
    )


def _without_fit(reason: str, duration_ps: float, block_ps: float) -> Viscosity:
    """The result if nothing could be fitted."""
    return Viscosity(
        status="insufficient",
        reason=reason,
        viscosity_mPa_s=None,
        standard_error_mPa_s=None,
        relaxation_time_ps=None,
        cutoff_frequency_THz=None,
        effective_points=None,
        z_score_fit=None,
        z_score_cutoff=None,
        duration_ps=duration_ps,
        required_duration_ps=max(2 * duration_ps, FIRST_ATTEMPT_SAMPLES * block_ps),
        longest_block_fs=None,
    )
