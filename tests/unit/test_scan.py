"""Tuning of a1 on a liquid whose density at every (alpha, a1) is known by quadrature."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.special import ndtr

from physembed.analysis.density import G_CM3, mean_density
from physembed.analysis.reweighting import NPTRun, Reweighting
from physembed.analysis.scan import ScanPoint, deviation, direct_line, next_point, reweighted_tuning
from physembed.errors import PhysEmbedError
from physembed.units import KB

TEMPERATURE_K = 298.15
PRESSURE_EV_A3 = 6.24e-7  # 1 bar
BETA = 1 / (KB * TEMPERATURE_K)
MASS_U = 4800.0
RANGE = (0.0, 2.0)
ALPHA = 0.05


class Liquid:
    """60 molecules with U(V) = 50 eV (x^2 / 2 - x) - alpha (S0 + a1 S1), S0 = 50 eV x, S1 = 100 eV x, x = 8000 Å^3 / V.

    p(V) ~ V^60 exp(-beta (U + P V)) is integrated numerically. E_MLFF, S0 and S1 of a frame scatter about their values
    at V like independent normal variables, which shifts their means at each state, by the variance times what
    multiplies them in -beta E, and leaves p(V) as it is.
    """

    molecules, reference_volume = 60, 8000.0
    scatter = np.array([0.03, 2.0, 4.0])
    """Of E_MLFF, S0 and S1, eV."""
    volumes = np.linspace(4000.0, 16000.0, 24001)

    def energies(self, volumes):
        """(3, n) E_MLFF, S0 and S1 in eV, without their scatter."""
        x = self.reference_volume / volumes
        return np.array([50 * (x**2 / 2 - x), 50 * x, 100 * x])

    def weights(self, alpha, a1, temperature_K=TEMPERATURE_K):
        """Probability of each of `volumes`."""
        beta = 1 / (KB * temperature_K)
        energy = np.array([1.0, -alpha, -alpha * a1]) @ self.energies(self.volumes)
        logs = self.molecules * np.log(self.volumes) - beta * (energy + PRESSURE_EV_A3 * self.volumes)
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()

    def density(self, alpha, a1):
        """The oracle: exact mean of the density, g/cm^3."""
        return float(self.weights(alpha, a1) @ (MASS_U / self.volumes)) / G_CM3

    def run(self, rng, alpha, a1, n_frames, *, correlation_time=0.0, temperature_K=TEMPERATURE_K):
        """Exact samples of the state, as a series with exponential correlation."""
        phi = math.exp(-1 / correlation_time) if correlation_time else 0.0
        noise = rng.normal(size=(4, n_frames))
        noise[:, 1:] *= math.sqrt(1 - phi**2)
        normal = lfilter([1], [1, -phi], noise)
        cumulative = np.cumsum(self.weights(alpha, a1, temperature_K))
        v = np.interp(ndtr(normal[0]), cumulative, self.volumes)
        shift = np.array([-1.0, alpha, alpha * a1]) * self.scatter**2 / (KB * temperature_K)
        energy, s0, s1 = self.energies(v) + normal[1:] * self.scatter[:, None] + shift[:, None]
        return NPTRun(alpha, a1, temperature_K, PRESSURE_EV_A3, energy, s0, s1, v)


LIQUID = Liquid()


def reweighting(runs):
    return Reweighting(runs, TEMPERATURE_K, PRESSURE_EV_A3, MASS_U)


def points(runs):
    """A point of the direct scan for each run."""
    found = [mean_density(0.1 * np.arange(len(run.volumes_A3)), run.volumes_A3, MASS_U) for run in runs]
    assert all(density.status == "ok" for density in found)
    return [
        ScanPoint(run.a1, density.density_g_cm3, density.standard_error)
        for run, density in zip(runs, found, strict=True)
    ]
