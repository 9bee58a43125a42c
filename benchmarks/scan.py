"""Frames that the tuning of a1 needs: reweighted scan against the direct scan of the paper, in one run.

The liquid is a box whose states can be sampled exactly without MD: p(V) ~ V^60 exp(-beta (U + P V)) with
U = 50 eV (x^2 / 2 - x) - alpha a1 S1, S1 = 100 eV x + noise of 1.5 eV, x = 8000 Å^3 / V. Its density is linear in a1
to 2e-4 g/cm^3, as the direct scan supposes; where it is not, the direct scan has a bias that no number of frames cures.

The direct scan runs at evenly spaced a1 over the range and fits a line. The reweighted scan starts in the middle
of the range and runs where `next_point` says, with runs of the same length. The target is drawn at random for each
repeat. Frames for the same error are frames times (root mean square error)^2; the ratio is that of the two scans.
Frames lost to equilibration, which each run of MD has, are not counted; the runs are.

    python benchmarks/scan.py
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import ndtr

from physembed.analysis.density import mean_density
from physembed.analysis.reweighting import NPTRun, Reweighting
from physembed.analysis.scan import ScanPoint, direct_line, next_point
from physembed.units import KB

TEMPERATURE_K, PRESSURE_EV_A3, MASS_U, ALPHA = 298.15, 6.24e-7, 4800.0, 0.05
BETA = 1 / (KB * TEMPERATURE_K)
RANGE = (0.0, 2.0)
VOLUMES = np.linspace(4000.0, 16000.0, 24001)
NOISE_EV = 1.5


def probabilities(a1: float) -> np.ndarray:
    """Of each of `VOLUMES`."""
    x = 8000.0 / VOLUMES
    energy = 50 * (x**2 / 2 - x) - ALPHA * a1 * 100 * x
    logs = 60 * np.log(VOLUMES) - BETA * (energy + PRESSURE_EV_A3 * VOLUMES)
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def run(rng: np.random.Generator, a1: float, n_frames: int) -> NPTRun:
    """Independent frames of the state at a1."""
    volumes = np.interp(ndtr(rng.normal(size=n_frames)), np.cumsum(probabilities(a1)), VOLUMES)
    x = 8000.0 / volumes
    # Normal noise is shifted by beta times its coupling times its variance, and leaves p(V) as it is.
    s1 = 100 * x + rng.normal(BETA * ALPHA * a1 * NOISE_EV**2, NOISE_EV, n_frames)
    energies = 50 * (x**2 / 2 - x)
    return NPTRun(ALPHA, a1, TEMPERATURE_K, PRESSURE_EV_A3, energies, np.zeros(n_frames), s1, volumes)


def density(volumes: np.ndarray) -> tuple[float, float]:
    """Mean density and its error; nan where the run is refused."""
    result = mean_density(np.arange(len(volumes)), volumes, MASS_U)
    return result.density_g_cm3, result.standard_error


def direct(rng: np.random.Generator, target: float, n_frames: int, n_points: int) -> tuple[float, int]:
    """a1 and runs made."""
    runs = [run(rng, float(a1), n_frames) for a1 in np.linspace(*RANGE, n_points)]
    found = [ScanPoint(one.a1, *density(one.volumes_A3)) for one in runs]
    line = direct_line([point for point in found if np.isfinite(point.standard_error)], target, RANGE)
    return (target - line.intercept) / line.slope, n_points


def reweighted(rng: np.random.Generator, target: float, n_frames: int, n_points: int) -> tuple[float, int]:
    """a1 and runs made; no more than `n_points`."""
    runs = [run(rng, float(np.mean(RANGE)), n_frames)]
    while True:
        reweighting = Reweighting(runs, TEMPERATURE_K, PRESSURE_EV_A3, MASS_U)
        decision = next_point(reweighting, ALPHA, target, RANGE, n_points - len(runs))
        if decision.action != "run":
            return decision.tuning.a1, len(runs)
        runs.append(run(rng, decision.tuning.a1, n_frames))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=300, help="independent frames of each run (default: 300)")
    parser.add_argument("--points", type=int, default=5, help="points of the direct scan (default: 5)")
    parser.add_argument("--repeats", type=int, default=200, help="scans of each kind (default: 200)")
    args = parser.parse_args()
    truths = np.random.default_rng(0).uniform(0.1, 1.9, args.repeats)
    needed = {}
    print(f"{'scan':>11} {'runs':>6} {'frames':>8} {'error of a1':>12} {'frames for an error of 0.01':>28}")
    for scan in (direct, reweighted):
        errors, runs = np.empty(args.repeats), np.empty(args.repeats)
        for repeat, truth in enumerate(truths):
            target = float(probabilities(truth) @ (MASS_U / VOLUMES)) * 1.660539
            a1, runs[repeat] = scan(np.random.default_rng([1, repeat]), target, args.frames, args.points)
            errors[repeat] = a1 - truth
        error, frames = float(np.sqrt((errors**2).mean())), args.frames * runs.mean()
        needed[scan] = frames * (error / 0.01) ** 2
        print(f"{scan.__name__:>11} {runs.mean():6.1f} {frames:8.0f} {error:12.4f} {needed[scan]:28.0f}")
    print(f"ratio reweighted / direct: {needed[reweighted] / needed[direct]:.2f}")


if __name__ == "__main__":
    main()
