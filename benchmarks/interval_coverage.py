"""How often 95 % intervals of a density and of a1 cover the true value, and how often a true line is refused.

Runs are stationary series with exponential correlation, or two correlation times, whose true mean is known, of a given
number of independent frames. Each goes through `mean_density` as a run of MD does (start of the equilibrated part,
refusals, error from blocks); those that are `ok` go through `direct_line`, so many for each scan. The errors of the
runs of a scan may differ: their variances rise evenly to `--ratio` times the first. With `--reweighted` the runs are
boxes whose states are sampled exactly (`benchmarks/scan.py`) and go through `reweighted_tuning`.
With `--until-known` each run goes on until its error is that of the given number of frames, from half to four times as
many, as NPT runs with `npt.longest_ps` do.

    python benchmarks/interval_coverage.py 62 125 500
    python benchmarks/interval_coverage.py 62 125 500 --until-known
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from scan import BETA, MASS_U, NOISE_EV, PRESSURE_EV_A3, RANGE, TEMPERATURE_K, VOLUMES, probabilities
from scipy import stats
from scipy.signal import lfilter
from scipy.special import ndtr

from physembed.analysis.density import MeanDensity, known_within, mean_density
from physembed.analysis.reweighting import NPTRun, Reweighting
from physembed.analysis.scan import ScanPoint, direct_line, quantile, reweighted_tuning
from physembed.md.run_length import RunLength
from physembed.units import G_CM3

DENSITY, SLOPE, SPREAD = 1.0, 0.1, 0.01
"""g/cm^3 at a1 = 0 and per unit of a1, and the standard deviation of the frames."""
A1 = 0.6
"""At which the line is judged."""


def correlated(rng: np.random.Generator, rows: int, samples: float, args: argparse.Namespace) -> np.ndarray:
    """(rows, n_frames) standard normal, correlated as the arguments say, worth `samples` independent frames each."""
    phis = [math.exp(-1 / time) if time else 0.0 for time in (args.correlation_time, args.slow_time)]
    shares = (1 - args.slow_share, args.slow_share)
    inefficiency = sum(share * (1 + phi) / (1 - phi) for share, phi in zip(shares, phis, strict=True))
    parts = []
    for share, phi in zip(shares, phis, strict=True):
        if share:
            noise = rng.normal(size=(rows, round(samples * inefficiency)))
            noise[:, 1:] *= math.sqrt(1 - phi**2)
            parts.append(math.sqrt(share) * lfilter([1], [1, -phi], noise))
    return np.asarray(sum(parts))


def volumes(densities: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Times, volumes and mass of a run with these densities."""
    return np.arange(1, len(densities) + 1), MASS_U / G_CM3 / densities, MASS_U


def mean_of(densities: np.ndarray) -> MeanDensity:
    """Of a run with these densities."""
    return mean_density(*volumes(densities))


def direct(rng: np.random.Generator, samples: float, args: argparse.Namespace) -> str:
    """A row of the table: runs that are ok, coverage of their densities and of a1, lines refused, and their errors."""
    a1 = np.linspace(0, 1.5, args.runs)
    spreads = SPREAD * np.sqrt(np.linspace(1, args.ratio, args.runs))
    made, errors, covered, met, refused = 0, [], [], [], []
    for _ in range(args.scans):
        points = []
        for value, spread in zip(a1, spreads, strict=True):
            while True:  # until a run is ok, so that all scans have as many
                made += 1
                noise = spread * correlated(rng, 1, samples, args)[0]
                mean = mean_of(DENSITY + SLOPE * value + noise)
                if mean.status == "ok":
                    break
            deviation = abs(mean.density_g_cm3 - DENSITY - SLOPE * value)
            covered.append(deviation < quantile(mean.blocks - 1) * mean.standard_error)
            errors.append(mean.standard_error / spread * math.sqrt(samples))
            points.append(ScanPoint(float(value), mean.density_g_cm3, mean.standard_error, mean.blocks - 1))
        line = direct_line(points, DENSITY + SLOPE * A1, RANGE)
        refused.append(line.p_value < 0.01)
        met.append(line.tuning.a1_low < A1 < line.tuning.a1_high if line.tuning.status == "ok" else math.nan)
    good = np.array(met)[np.isfinite(met)]
    return (
        f"| {samples:g} | {100 * args.scans * args.runs / made:.0f} | {interval(covered)} | {interval(good)} | "
        f"{interval(refused)} | {np.mean(errors):.2f} | {np.std(errors) / np.mean(errors):.2f} |"
    )


def reweighted(rng: np.random.Generator, samples: float, args: argparse.Namespace) -> str:
    """A row of the table: scans that are ok and coverage of a1."""
    alpha = 0.05
    target = float(probabilities(alpha, A1) @ (MASS_U / VOLUMES)) / G_CM3
    met = []
    for _ in range(args.scans):
        runs = []
        for a1 in np.linspace(0.2, 1.0, args.runs):
            normal = correlated(rng, 2, samples, args)
            sampled = np.interp(ndtr(normal[0]), np.cumsum(probabilities(alpha, a1)), VOLUMES)
            x = 8000.0 / sampled
            s1 = 100 * x + BETA * alpha * a1 * NOISE_EV**2 + NOISE_EV * normal[1]
            runs.append(NPTRun(alpha, a1, TEMPERATURE_K, PRESSURE_EV_A3, 50 * (x**2 / 2 - x), 50 * x, s1, sampled))
        tuning = reweighted_tuning(Reweighting(runs, TEMPERATURE_K, PRESSURE_EV_A3, MASS_U), alpha, target, RANGE)
        if tuning.status == "ok":
            met.append(tuning.a1_low < A1 < tuning.a1_high)
    return f"| {samples:g} | {100 * len(met) / args.scans:.0f} | {interval(met)} |"


def until_known(rng: np.random.Generator, samples: float, args: argparse.Namespace) -> str:
    """A row of the table: length of the runs, coverage of their densities, and their errors, claimed and true."""
    target, lengths, covered, errors, deviations = SPREAD / math.sqrt(samples), [], [], [], []
    known = known_within(target)
    for _ in range(args.scans):
        densities = DENSITY + SPREAD * correlated(rng, 1, 4 * samples, args)[0]
        longest = len(densities)
        length = RunLength(longest // 8, longest, lambda rows: known(*volumes(np.array(rows))))
        length.see(densities)
        mean = mean_of(densities[: length.latest])
        if mean.status == "ok":
            lengths.append(4 * length.latest / longest)
            deviations.append(mean.density_g_cm3 - DENSITY)
            covered.append(abs(deviations[-1]) < quantile(mean.blocks - 1) * mean.standard_error)
            errors.append(mean.standard_error)
    return (
        f"| {samples:g} | {100 * len(covered) / args.scans:.0f} | {np.mean(lengths):.2f} | {interval(covered)} | "
        f"{np.mean(errors) / target:.2f} | {np.sqrt(np.mean(np.square(deviations))) / target:.2f} |"
    )


def interval(events: list[bool] | np.ndarray) -> str:
    """A share in percent with its exact 95 % interval."""
    found = stats.binomtest(int(np.sum(events)), len(events))
    limits = found.proportion_ci(0.95)
    return f"{100 * found.statistic:.1f} ({100 * limits.low:.1f} to {100 * limits.high:.1f})"


def main() -> None:
    """Print a table with a row for each number of independent frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=float, nargs="+", help="independent frames of a run")
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=4, help="in a scan")
    parser.add_argument("--correlation-time", type=float, default=5.0, help="frames")
    parser.add_argument("--slow-time", type=float, default=0.0, help="correlation time of a slower part, frames")
    parser.add_argument("--slow-share", type=float, default=0.0, help="of the variance (default: 0, no such part)")
    parser.add_argument("--ratio", type=float, default=1.0, help="of the last run's variance to the first's")
    parser.add_argument("--reweighted", action="store_true")
    parser.add_argument("--until-known", action="store_true", help="runs that go on; --scans of them")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    headings, row = "| frames | runs ok % | density % | a1 % | lines refused % | error / true | its scatter |", direct
    if args.reweighted:
        headings, row = "| frames | scans ok % | a1 % |", reweighted
    if args.until_known:
        headings, row = (
            "| frames | runs ok % | length / frames | density % | error / asked | true / asked |",
            until_known,
        )
    print(headings, "-".join("|" * headings.count("|")), sep="\n")
    for samples in args.samples:
        rng = np.random.default_rng([args.seed, round(samples)])
        print(row(rng, samples, args), flush=True)


if __name__ == "__main__":
    main()
