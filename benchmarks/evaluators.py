"""MD with compiled MACE against MD with MACE's own code: conserved energy, and how long molecules survive.

Replicas of the first frame of a file start with momenta of their own. Without a thermostat the drift of the total
energy (slope of a line through it, per atom) and its scatter about that line are printed for both; with one, at another
temperature, when replicas collapse, and the log-rank test of both sets of times. Trajectories differ soon, because
rounding errors grow in them; the statistics should not.

    python benchmarks/evaluators.py mace.model frames.xyz
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from models import detector
from scipy import stats

from physembed.engine.langevin import LangevinBatch
from physembed.engine.mace import IsolatedMace, load_isolated
from physembed.model_files.file import load_module
from physembed.units import KB

TIMESTEP_FS, EVERY = 0.5, 20


def conservation(model: Any, start: Atoms, arguments: argparse.Namespace) -> tuple[float, float, float]:
    """Drift in meV/atom/ns with its standard error and scatter in meV/atom of the energy of free molecules."""
    batch = LangevinBatch(
        model,
        [start] * arguments.free,
        temperature_K=300.0,
        timestep_fs=TIMESTEP_FS,
        friction_per_ps=0.0,
        seed=arguments.seed,
    )
    energies, times = [], []
    for step in range(0, round(1000 * arguments.free_ps / TIMESTEP_FS), EVERY):
        batch.advance(EVERY)
        kinetic = batch.temperatures * 3 * len(start) * KB / 2
        energies.append((batch.energies.double() + kinetic.double()).numpy() / len(start))
        times.append((step + EVERY) * TIMESTEP_FS * 1e-6)
    lines = [stats.linregress(times, one) for one in np.array(energies).T]
    rest = [np.std(one - line.slope * np.array(times)) for one, line in zip(np.array(energies).T, lines, strict=True)]
    slopes = 1000 * np.array([line.slope for line in lines])
    return float(slopes.mean()), float(stats.sem(slopes)), 1000 * float(np.mean(rest))


def survival(model: Any, start: Atoms, replicas: int, arguments: argparse.Namespace) -> np.ndarray:
    """Time in ps at which each replica collapses; infinite for those that do not."""
    batch = LangevinBatch(
        model,
        [start] * replicas,
        temperature_K=arguments.temperature_K,
        timestep_fs=TIMESTEP_FS,
        friction_per_ps=10.0,
        seed=arguments.seed,
        detector=detector(start),
    )
    for _ in range(round(1000 * arguments.ps / TIMESTEP_FS / EVERY)):
        batch.advance(EVERY)
        batch.look()
        if bool((batch.stopped_at >= 0).all()):
            break
    steps = batch.stopped_at.numpy().astype(float)
    return np.where(steps < 0, np.inf, steps * TIMESTEP_FS / 1000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("frames")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--free", type=int, default=2, help="replicas without a thermostat (default: 2)")
    parser.add_argument("--free-ps", type=float, default=10.0, help="their time (default: 10)")
    parser.add_argument("--replicas", type=int, default=40, help="with a thermostat (default: 40)")
    parser.add_argument("--more", type=int, default=10, help="times as many of them compiled (default: 10)")
    parser.add_argument("--seed", type=int, default=1, help="of momenta and noise (default: 1)")
    parser.add_argument("--ps", type=float, default=1.0, help="their time (default: 1)")
    parser.add_argument("--temperature-K", type=float, default=1000.0, help="of the thermostat (default: 1000)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = ase.io.read(arguments.frames, 0)
    start.set_cell(None)
    start.pbc = False
    dtype = getattr(torch, arguments.dtype)
    ways = {
        "compiled": load_isolated(arguments.model, "cpu", arguments.dtype),
        "MACE's own": IsolatedMace(load_module(arguments.model, "cpu"), torch.device("cpu"), dtype),
    }
    times = {}
    for number, (name, model) in enumerate(ways.items()):
        began = time.process_time()
        drift, error, scatter = conservation(model, start, arguments)
        print(f"{name:12s} drift {drift:+.1f} ± {error:.1f} meV/atom/ns, scatter {scatter:.4f} meV/atom", flush=True)
        arguments.seed += number  # the sets to compare are independent
        times[name] = survival(model, start, arguments.replicas * (1 if number else arguments.more), arguments)
        gone = np.isfinite(times[name])
        middle = f", half of them by {np.median(times[name]):.3f} ps" if gone.mean() > 0.5 else ""
        spent = time.process_time() - began
        print(f"{name:12s} {gone.sum()} of {len(gone)} collapsed{middle}; {spent:.0f} s", flush=True)
    sets = [
        stats.CensoredData(uncensored=one[np.isfinite(one)], right=np.full(np.isinf(one).sum(), arguments.ps))
        for one in times.values()
    ]
    print(f"log-rank test: p = {stats.logrank(*sets).pvalue:.2f}")


if __name__ == "__main__":
    main()
