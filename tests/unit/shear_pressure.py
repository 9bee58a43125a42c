"""Pressure tensors of an imagined liquid of known viscosity: Ornstein-Uhlenbeck components, exact block averages."""

import numpy as np
from scipy.signal import lfilter

VOLUME_A3 = 12_000.0
TEMPERATURE_K = 300.0
SIGMA_GPA = 0.02
"""Standard deviation of each shear component."""
GPA_IN_EV_PER_A3 = 1e9 * 1e-30 / 1.602176634e-19


def viscosity_mPa_s(time_ps: float) -> float:
    """V / kT sigma^2 tau, in SI units throughout and then in mPa s."""
    per_kT = VOLUME_A3 * 1e-30 / (1.380649e-23 * TEMPERATURE_K)
    return 1000 * per_kT * (SIGMA_GPA * 1e9) ** 2 * time_ps * 1e-12


def ou_blocks(rng: np.random.Generator, n_series: int, n_blocks: int, block: float, tau: float) -> np.ndarray:
    """(n_series, n_blocks) consecutive block averages of stationary OU processes of unit variance.

    Start and integral of a block, and the value at its end, are jointly normal; drawn so, they are exact for
    any length of block.
    """
    decay = np.exp(-block / tau)
    covariance = np.array(
        [
            [1 - decay**2, tau * (1 - decay) ** 2],
            [tau * (1 - decay) ** 2, 2 * tau * block - tau**2 * (1 - decay) * (3 - decay)],
        ]
    )
    noise = np.einsum("ij,jsn->isn", np.linalg.cholesky(covariance), rng.normal(size=(2, n_series, n_blocks)))
    first = rng.normal(size=(n_series, 1))
    ends, _ = lfilter([1.0], [1.0, -decay], noise[0], axis=1, zi=decay * first)
    starts = np.concatenate([first, ends[:, :-1]], axis=1)
    return (tau * (1 - decay) * starts + noise[1]) / block


def tensors(components: np.ndarray, isotropic: np.ndarray | float = 0.0) -> np.ndarray:
    """(n_replicas, n_samples, 3, 3) eV/Å^3 with the given shear components, (5 n_replicas, n_samples) in GPa.

    The first two are turned into a diagonal of trace 0 such that (P_xx - P_yy) / 2, the shear pressure in axes
    turned by 45 degrees, has the variance of P_xy, for any two of x, y and z.
    """
    first, second, yz, zx, xy = np.moveaxis(components.reshape(-1, 5, components.shape[1]), 1, 0)
    angles = 2 * np.pi * np.arange(3) / 3
    xx, yy, zz = (2 / np.sqrt(3) * (first * np.cos(a) + second * np.sin(a)) + isotropic for a in angles)
    rows = [[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2) * GPA_IN_EV_PER_A3


def ou_pressure(
    seed: int, n_replicas: int, n_blocks: int, block_ps: float, parts: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
) -> np.ndarray:
    """(n_replicas, n_blocks, 3, 3) eV/Å^3; shear components are sums over `parts`, (share of variance, tau in ps).

    On top lies a fluctuating isotropic pressure ten times as large, which must not matter.
    """
    rng = np.random.default_rng(seed)
    components = sum(np.sqrt(share) * ou_blocks(rng, 5 * n_replicas, n_blocks, block_ps, tau) for share, tau in parts)
    isotropic = 0.1 + 10 * SIGMA_GPA * ou_blocks(rng, n_replicas, n_blocks, block_ps, 1.0)
    return tensors(SIGMA_GPA * components, isotropic)
