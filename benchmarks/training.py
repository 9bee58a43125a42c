"""CPU time of a training epoch by sweeps (`physembed.training.loss_gradient`) and by MACE's own code, in one run.

MACE's trainer on 45 frames of paracetamol with made-up labels; the epochs of the two ways take turns, on the same
weights. Printed are the medians of user and system time together, of an epoch without its validation.

    python benchmarks/training.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from mace import tools
from mace.cli import run_train
from models import replicas

from physembed.config import Training
from physembed.training import trainer
from physembed.training.loss_gradient import substituted

FRAMES, VALIDATION = 45, 5
SIZES = ((16, 0), (32, 0), (32, 1), (64, 2))
"""Channels and max_L."""


def epochs(settings: Training, rounds: int, folder: Path) -> dict[str, float]:
    """Median seconds of CPU time of an epoch, each way."""
    for name, count in (("train", FRAMES), ("validation", VALIDATION)):
        frames, rng = replicas(count), np.random.default_rng(count)
        for frame in frames:
            frame.info["REF_energy"] = -1000.0 + rng.normal()
            frame.arrays["REF_forces"] = rng.normal(size=frame.positions.shape)
        ase.io.write(folder / f"{name}.xyz", frames)
    spent: dict[str, list[float]] = {"MACE": [], "PhysEmbed": []}

    def timed(**given: Any) -> None:
        one_epoch = sys.modules["mace.tools.train"].train_one_epoch  # mace.tools has a function of this name as well
        kept = {key: given[key] for key in ("model", "loss_fn", "optimizer", "output_args", "max_grad_norm", "ema")}
        kept |= {key: given[key] for key in ("logger", "device", "distributed")}
        for number in range(rounds + 1):
            for way, how in (("MACE", nullcontext()), ("PhysEmbed", substituted(given["model"]))):
                with how:
                    began = time.process_time()
                    one_epoch(data_loader=given["train_loader"], epoch=number, **kept)
                    if number:
                        spent[way].append(time.process_time() - began)
        raise StopIteration

    arguments = trainer.trainer_arguments(
        settings, folder / "train.xyz", folder / "validation.xyz", settings.seeds[0], folder / "work"
    )
    train, tools.train = tools.train, timed
    try:
        run_train.run(tools.build_default_arg_parser().parse_args(arguments))
    except StopIteration:
        pass
    finally:
        tools.train = train
    return {way: statistics.median(times) for way, times in spent.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[5, 10], help="frames in a batch (default: 5 10)")
    parser.add_argument("--rounds", type=int, default=3, help="epochs timed each way (default: 3)")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), {arguments.dtype}, {FRAMES} frames of 20 atoms")
    print(f"{'channels':>8} {'max_L':>5} {'batch':>5} {'MACE s':>8} {'PhysEmbed s':>11} {'ratio':>6}")
    for channels, max_L in SIZES:
        for batch in arguments.batch:
            settings = Training(
                num_channels=channels, max_L=max_L, batch_size=batch, dtype=arguments.dtype, device="cpu", seeds=[1]
            )
            with tempfile.TemporaryDirectory() as name, trainer._process_settings_kept():
                times = epochs(settings, arguments.rounds, Path(name))
            ratio = times["MACE"] / times["PhysEmbed"]
            row = f"{channels:8d} {max_L:5d} {batch:5d} {times['MACE']:8.2f} {times['PhysEmbed']:11.2f} {ratio:6.1f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
