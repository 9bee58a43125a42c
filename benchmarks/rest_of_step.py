"""What a stability run spends outside of the model: integrator, thermostat, collapse checks, records and saved states.

Replicas of paracetamol with an untrained model of 16 channels and the intervals of config.yaml, at 0.01 K, where the
atoms stay in their places. CPU time of the process, one thread; the model's share is timed call by call.

    python benchmarks/rest_of_step.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from models import detector, random_mace, replicas

from physembed.config import Stability
from physembed.engine.mace import load_isolated
from physembed.md.stability import StabilityRun


class Timed:
    """A model that adds up the CPU time of its calls."""

    def __init__(self, model: Any) -> None:
        self.model, self.seconds = model, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, state: Any) -> Any:
        """Evaluate the model."""
        began = time.process_time()
        output = self.model(state)
        self.seconds += time.process_time() - began
        return output


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = Stability(temperature_K=0.01, timestep_fs=1, duration_ps=arguments.steps / 1000, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mace.model"
        torch.save(random_mace([1, 6, 7, 8], arguments.channels), file)
        for count in arguments.replicas:
            starts = replicas(count)
            for number, start in enumerate(starts):
                start.info["source_frame"] = number
            for turn in range(arguments.rounds):
                model = Timed(load_isolated(file, "cpu", "float32"))
                restart = Path(folder) / f"{count}_{turn}"
                restart.mkdir()
                run = StabilityRun(model, starts, detector(starts[0]), None, settings, seed=1, restart=restart)
                model.seconds, began = 0.0, time.process_time()
                run.run()
                spent = time.process_time() - began
                assert not run.record.collapses, run.record.collapses
                step, rest = 1000 * spent / arguments.steps, 1 - model.seconds / spent
                print(
                    f"{count} replicas: {step:.3f} ms a step, {100 * rest:.1f} % of it outside of the model", flush=True
                )


if __name__ == "__main__":
    main()
