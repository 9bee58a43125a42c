"""Frames that the tuning of a1 needs: reweighted scan against the direct scan of the paper, in one run.

The liquid is a box whose states can be sampled exactly without MD: p(V) ~ V^60 exp(-beta (U + P V)) with
U = 50 eV (x^2 / 2 - x) - alpha (S0 + a1 S1), S0 = 50 eV x, S1 = 100 eV x + noise of 1.5 eV, x = 8000 Å^3 / V.
Its density is linear in a1 to 2e-4 g/cm^3, as the direct scan supposes; where it is not, the direct scan has a bias
that no number of frames cures.

The direct scan runs at evenly spaced a1 over the range, for each alpha anew, and fits a line. The reweighted scan
starts in the middle of the range and runs where `next_point` says; runs made for one alpha serve the next. All runs
have the same length. The target is drawn at random for each repeat. Frames for the same error are frames times
(root mean square error)^2, and the ratio is that of the two scans. Frames lost to equilibration, which each run of
MD has, are not counted; the runs are.

    python benchmarks/scan.py
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from physembed.analysis.density import mean_density
from physembed.analysis.reweighting import NPTRun, Reweighting
from physembed.analysis.scan import ScanPoint, direct_line, next_point
from physembed.units import G_CM3, KB

TEMPERATURE_K, PRESSURE_EV_A3, MASS_U = 298.15, 6.24e-7, 4800.0
BETA = 1 / (KB * TEMPERATURE_K)
RANGE = (0.0, 2.0)
VOLUMES = np.linspace(4000.0, 16000.0, 24001)
NOISE_EV = 1.5


def probabilities(alpha: float, a1: float) -> np.ndarray:
    """Of each of `VOLUMES`."""
    x = 8000.0 / VOLUMES
    energy = 50 * (x**2 / 2 - x) - alpha * (50 + a1 * 100) * x
    logs = 60 * np.log(VOLUMES) - BETA * (energy + PRESSURE_EV_A3 * VOLUMES)
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def run(rng: np.random.Generator, alpha: float, a1: float, n_frames: int) -> NPTRun:
    """Independent frames of a state."""
    volumes = np.interp(ndtr(rng.normal(size=n_frames)), np.cumsum(probabilities(alpha, a1)), VOLUMES)
    x = 8000.0 / volumes
    # Normal noise is shifted by beta times its coupling times its variance, and leaves p(V) as it is.
    s1 = 100 * x + rng.normal(BETA * alpha * a1 * NOISE_EV**2, NOISE_EV, n_frames)
    energies = 50 * (x**2 / 2 - x)
    return NPTRun(alpha, a1, TEMPERATURE_K, PRESSURE_EV_A3, energies, 50 * x, s1, volumes)


def direct(
    rng: np.random.Generator, alphas: Sequence[float], target: float, args: argparse.Namespace
) -> tuple[list[float], int]:
    """a1 for each alpha, and runs made."""
    found = []
    for alpha in alphas:
        points = []
        for a1 in np.linspace(*RANGE, args.points):
            volumes = run(rng, alpha, float(a1), args.frames).volumes_A3
            mean = mean_density(np.arange(len(volumes)), volumes, MASS_U)
            if mean.status == "ok":
                points.append(ScanPoint(float(a1), mean.density_g_cm3, mean.standard_error, mean.blocks - 1))
        line = direct_line(points, target, RANGE)
        found.append((target - line.intercept) / line.slope)
    return found, len(alphas) * args.points


def reweighted(
    rng: np.random.Generator, alphas: Sequence[float], target: float, args: argparse.Namespace
) -> tuple[list[float], int]:
    """a1 for each alpha, and runs made."""
    runs, found = [run(rng, alphas[0], float(np.mean(RANGE)), args.frames)], []
    budget = len(alphas) * args.points
    for alpha in alphas:
        while True:
            reweighting = Reweighting(runs, TEMPERATURE_K, PRESSURE_EV_A3, MASS_U)
            decision = next_point(reweighting, alpha, target, RANGE, budget - len(runs), args.effective)
            if decision.action != "run":
                break
            runs.append(run(rng, alpha, decision.tuning.a1, args.frames))
        found.append(decision.tuning.a1)
    return found, len(runs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=300, help="independent frames of each run (default: 300)")
    parser.add_argument("--points", type=int, default=5, help="points of the direct scan (default: 5)")
    parser.add_argument("--effective", type=int, default=300, help="effective samples asked for (default: 300)")
    parser.add_argument("--repeats", type=int, default=100, help="scans of each kind (default: 100)")
    args = parser.parse_args()
    truths = np.random.default_rng(0).uniform(0.3, 1.5, args.repeats)
    print(f"{'alphas':>6} {'scan':>11} {'runs':>6} {'frames':>7} {'error of a1':>12} {'frames for 0.01':>16}")
    for alphas in ((0.05,), (0.05, 0.04, 0.06)):
        needed = []
        for scan in (direct, reweighted):
            errors, runs = [], []
            for repeat, truth in enumerate(truths):
                # The same alpha (50 + 100 a1), hence the same density, at each alpha.
                exact = [(0.05 * (50 + 100 * truth) / alpha - 50) / 100 for alpha in alphas]
                target = float(probabilities(alphas[0], truth) @ (MASS_U / VOLUMES)) / G_CM3
                found, made = scan(np.random.default_rng([1, repeat]), alphas, target, args)
                errors.append(np.subtract(found, exact))
                runs.append(made)
            error, frames = float(np.sqrt(np.mean(np.square(errors)))), args.frames * float(np.mean(runs))
            needed.append(frames * (error / 0.01) ** 2)
            print(
                f"{len(alphas):6d} {scan.__name__:>11} {np.mean(runs):6.1f} {frames:7.0f} {error:12.4f} "
                f"{needed[-1]:16.0f}"
            )
        print(f"ratio reweighted / direct, {len(alphas)} alpha: {needed[1] / needed[0]:.2f}")


if __name__ == "__main__":
    main()
