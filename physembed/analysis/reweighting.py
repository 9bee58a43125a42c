"""Density at any (alpha, a1) of the CSO correction from NPT runs at others, reweighted by MBAR.

The energy is E = E_MLFF - alpha (S0 + a1 S1), linear in alpha and alpha a1, so E_MLFF, S0, S1 and the volume of a frame
give its Boltzmann weight at every other (alpha, a1). S0 and S1 depend on the convention and cutoffs of the CSO model
that computed them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from physembed.analysis.density import (
    detect_equilibration,
    statistical_inefficiency,
    variance_correction,
)
from physembed.errors import PhysEmbedError
from physembed.liquids.replicas import EVAPORATED_BELOW
from physembed.units import G_CM3, KB

Array = NDArray[np.float64]
FRAMES_PER_DEGREE_OF_FREEDOM = 4.0
"""Independent frames per degree of freedom of an error that is computed from the statistical inefficiency: the
logarithm of the squared error of a run scatters by sqrt(8 / N) (measured by `benchmarks/interval_coverage.py`)."""


@dataclass(frozen=True)
class NPTRun:
    """An NPT run at known parameters; arrays are (n_frames,), with every frame from the start, in order."""

    alpha: float
    a1: float
    temperature_K: float
    pressure_eV_A3: float
    energies_eV: Array
    """Potential energy of the uncorrected model, E_MLFF."""
    s0_eV: Array
    s1_eV: Array
    volumes_A3: Array


@dataclass(frozen=True)
class ReweightedDensity:
    """Density at one (alpha, a1) from all runs."""

    alpha: float
    a1: float
    density_g_cm3: float
    standard_error: float
    """g/cm^3; meaningless if `effective_samples` is small."""
    degrees_of_freedom: float
    """Degrees of freedom of `standard_error`."""
    effective_samples: float
    """Kish's (sum w)^2 / sum w^2 over the frames, corrected for the correlation of frames."""
    slope: float
    """Derivative of the density with respect to a1, g/cm^3."""


class Reweighting:
    """Density at any (alpha, a1) from NPT runs at others, by MBAR.

    M. R. Shirts, J. D. Chodera, J. Chem. Phys. 2008, 129, 124105, with pymbar. The reduced potential is
    beta (E + P V). That of the uncorrected model at the target temperature and pressure is subtracted, which changes no
    weight: for runs at that temperature and pressure E_MLFF and P V then cancel exactly.

    Each run is cut to its equilibrated part (by its volume), of which every frame is used. Frames of a run are
    correlated, with the largest statistical inefficiency g of V, S0 and S1. A frame of weight w then contributes
    g w^2 to a variance instead of w^2, so the squared error of MBAR is multiplied by sum(c g w^2) / sum(w^2) and the
    effective samples are 1 / sum(g w^2). c is the `variance_correction` of the run. Keeping one frame in g instead
    would discard data and still leave frames that are correlated by about exp(-2).

    The squared error of a run of N independent frames has N / 4 degrees of freedom; those of all runs are combined
    by Welch's formula, weighted by their shares of sum(c g w^2).
    """

    def __init__(self, runs: Sequence[NPTRun], temperature_K: float, pressure_eV_A3: float, mass_u: float) -> None:
        """Solve MBAR for the runs.

        Args:
            runs: one or more, of the same box and model. They may include runs at another temperature or pressure.
            temperature_K: target temperature.
            pressure_eV_A3: target pressure.
            mass_u: total mass of the atoms in the box, u.

        Raises:
            PhysEmbedError: no run; a run whose arrays differ in length, that contains a non-finite value, or
                that evaporated; or MBAR did not converge.
        """
        if not runs:
            raise PhysEmbedError("reweighting: no runs to reweight; give at least one")
        self._beta = 1 / (KB * temperature_K)
        blocks: dict[tuple[float, float, float, float], list[Array]] = {}
        for number, run in enumerate(runs):
            beta = 1 / (KB * run.temperature_K)
            # With alpha = 0 all a1 are one state, so a state is identified by alpha a1.
            state = (beta, beta * run.pressure_eV_A3, run.alpha, run.alpha * run.a1)
            blocks.setdefault(state, []).append(_equilibrated_frames(run, number))
        of_state = [np.hstack(frames) for frames in blocks.values()]
        counts = np.array([frames.shape[1] for frames in of_state])
        energies, self._s0, self._s1, volumes, self._inefficiency, numbers = np.hstack(of_state)
        self._run = numbers.astype(int)
        samples = np.bincount(self._run, 1 / self._inefficiency)
        self._freedom = samples / FRAMES_PER_DEGREE_OF_FREEDOM
        self._correction = np.array([variance_correction(count) for count in samples])
        self._densities = mass_u / volumes / G_CM3
        reduced = np.array(
            [
                (beta - self._beta) * energies
                + (beta_pressure - self._beta * pressure_eV_A3) * volumes
                - beta * (alpha * self._s0 + product * self._s1)
                for beta, beta_pressure, alpha, product in blocks
            ]
        )
        # pymbar's loggers report at import that an optional accelerator is missing; convergence is checked here.
        logging.getLogger("pymbar").setLevel(logging.ERROR)
        from pymbar import MBAR

        self._mbar = MBAR(reduced, counts, initial_f_k=_first_free_energies(reduced, counts))
        self._log_mixture: Array = logsumexp(self._mbar.f_k[:, None] - reduced, b=counts[:, None], axis=0)
        sums = np.exp(logsumexp(self._mbar.f_k[:, None] - reduced - self._log_mixture, axis=1))
        if not np.allclose(sums, 1, atol=1e-5):
            raise PhysEmbedError(
                f"reweighting: MBAR over {len(counts)} states did not converge (its weights sum to {sums.min():.3g} to "
                f"{sums.max():.3g}, not 1); add runs between the existing ones, or remove those far away"
            )

    def density(self, alpha: float, a1: float) -> ReweightedDensity:
        """Density at one (alpha, a1), with the asymptotic standard error of MBAR."""
        weights = self._weights(alpha, a1)
        result = self._mbar.compute_expectations(self._densities, u_kn=self._reduced(alpha, a1))
        mean = float(weights @ self._densities)
        covariance = float(weights @ ((self._densities - mean) * self._s1))
        # The share of each run in the variance.
        shares = self._correction * np.bincount(self._run, self._inefficiency * weights**2)
        return ReweightedDensity(
            alpha=alpha,
            a1=a1,
            density_g_cm3=mean,
            standard_error=float(result["sigma"][0]) * math.sqrt(shares.sum() / (weights**2).sum()),
            degrees_of_freedom=float(shares.sum() ** 2 / (shares**2 / self._freedom).sum()),
            effective_samples=self._effective_samples(weights),
            slope=self._beta * alpha * covariance,
        )

    def curve(self, alpha: float, a1: ArrayLike) -> tuple[Array, Array]:
        """Density (g/cm^3) and effective samples, (n_a1,) each, at one alpha and many a1; fast, without errors."""
        weights = [self._weights(alpha, value) for value in np.asarray(a1, dtype=float)]
        densities = np.array([w @ self._densities for w in weights])
        return densities, np.array([self._effective_samples(w) for w in weights])

    def _reduced(self, alpha: float, a1: float) -> Array:
        """(n_frames,) reduced potential minus that of the uncorrected model."""
        return -self._beta * alpha * (self._s0 + a1 * self._s1)

    def _weights(self, alpha: float, a1: float) -> Array:
        """(n_frames,) weights with sum 1."""
        logs = -self._reduced(alpha, a1) - self._log_mixture
        weights: Array = np.exp(logs - logsumexp(logs))
        return weights

    def _effective_samples(self, weights: Array) -> float:
        """Number of independent frames of a mean with these weights."""
        return float(1 / (self._inefficiency @ weights**2))


def _first_free_energies(reduced: Array, counts: NDArray[np.int64]) -> Array:
    """(n_states,) free energies in kT relative to the first state, as the initial guess for MBAR.

    The trapezoid rule of thermodynamic integration, (<u_k - u_0>_0 + <u_k - u_0>_k) / 2: exact for normal variables.
    Starting from zeros the solver fails, as the free energies differ by hundreds of kT.
    """
    ends = np.cumsum(counts)
    means = np.array(
        [reduced[:, end - count : end].mean(axis=1) for end, count in zip(ends, counts, strict=True)]
    )  # means[l, k] = <u_k>_l
    first: Array = (means[0] - means[0, 0] + means.diagonal() - means[:, 0]) / 2
    return first


def _equilibrated_frames(run: NPTRun, number: int) -> Array:
    """(6, n) E_MLFF, S0, S1, V of the equilibrated part of a run, its statistical inefficiency and its number."""
    name = f"reweighting: run {number} (alpha = {run.alpha:g}, a1 = {run.a1:g})"
    series = [np.asarray(values, dtype=float) for values in (run.energies_eV, run.s0_eV, run.s1_eV, run.volumes_A3)]
    shapes = [values.shape for values in series]
    if series[0].ndim != 1 or len(set(shapes)) > 1 or len(series[0]) < 2:
        raise PhysEmbedError(
            f"{name}: energies, S0, S1 and volumes have shapes {shapes}; give one value of each per frame"
        )
    frames = np.array(series)
    lost = ~np.isfinite(frames).all(axis=0) | (frames[3] <= 0) | (frames[3] * EVAPORATED_BELOW > frames[3, 0])
    if lost.any():
        raise PhysEmbedError(
            f"{name}: blown up or evaporated in frame {int(lost.argmax())} (volume {frames[3, lost.argmax()]:g} Å^3); "
            "exclude this run"
        )
    start, _ = detect_equilibration(frames[3])
    frames = frames[:, start:]
    inefficiency = max(statistical_inefficiency(values) for values in frames[1:])
    constant = np.array([[inefficiency], [number]])
    return np.vstack([frames, np.broadcast_to(constant, (2, frames.shape[1]))])
