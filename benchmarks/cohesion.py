"""What a small model of a liquid learns of the forces between molecules, for some ways of training it.

Reference labels of the demo (or others) are split and trained on with each set of options; the model is then judged on
the rigid volume scans in the labels: energies per molecule relative to the unscaled frame, which only forces between
molecules change. A slope of 1 against the labels means the right cohesion. Force errors are those of the validation
frames.

    snakemake --cores all --configfile config/demo.yaml --until reference_labels
    python benchmarks/cohesion.py results/demo/models/small/labels/CS2_298K.xyz --molecules 16
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from physembed.config.liquids import LiquidTraining
from physembed.engine.liquid_model import evaluator, load_liquid
from physembed.training.data import read_labelled
from physembed.training.data_check import Keys
from physembed.training.trainer import split, train
from physembed.trajectory import write_trajectory

COMMON: dict[str, Any] = {
    "num_channels": 16, "max_L": 0, "max_ell": 2, "correlation": 2, "validation_fraction": 0.07, "device": "cpu",
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "batch 4": {"batch_size": 4, "epochs": 120},
    "batch 1": {"batch_size": 1, "epochs": 120},
    "batch 1, second stage 1000:10:10000": {
        "batch_size": 1, "epochs": 100, "swa_start": 0.6, "swa_energy_weight": 1000, "swa_forces_weight": 10,
        "swa_stress_weight": 10_000,
    },
    "batch 1, 1000:1:10000, then 10000:1:100000": {
        "batch_size": 1, "epochs": 120, "energy_weight": 1000, "forces_weight": 1, "stress_weight": 10_000,
        "swa_energy_weight": 10_000, "swa_stress_weight": 100_000,
    },
}  # fmt: skip
"""Options of `models.<name>.training` beside the common ones; weights are energy : forces : stress."""


def scans(frames: list[Atoms]) -> list[list[Atoms]]:
    """The unscaled frame and the scaled ones of each volume scan."""
    groups: dict[tuple[str, int], list[Atoms]] = defaultdict(list)
    for frame in frames:
        if frame.info["origin"] in ("md", "volume_scan"):
            groups[str(frame.info.get("liquid")), int(frame.info["source_frame"])].append(frame)
    ordered = [sorted(group, key=lambda frame: str(frame.info["origin"])) for group in groups.values()]
    return [group for group in ordered if len(group) > 1 and group[0].info["origin"] == "md"]


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("labels", nargs="+", help="labelled frames")
    parser.add_argument("--molecules", type=int, required=True, help="in each frame")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frames = [frame for file in arguments.labels for frame in read_labelled(file, Keys())]
    groups = scans(frames)
    print("CPU s  slope of scans  error / (meV/molecule)  force RMSE / (meV/Å)  training")
    for name, options in WAYS.items():
        settings = LiquidTraining(**COMMON, **options)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            parts = split(frames, settings.validation_fraction, settings.seed)
            for file, part in zip(("train.xyz", "validation.xyz"), parts, strict=True):
                write_trajectory(path / file, part)
            files = path / "train.xyz", path / "validation.xyz"
            began = time.process_time()
            train(settings, *files, seed=1, restart=path / "restart", model_file=path / "mace.model")
            seconds = time.process_time() - began
            model = load_liquid(path / "mace.model", "cpu", "float64", convention="d3", alpha=0.0, a1=0.0)
        evaluate = evaluator(model)
        pairs = []
        for first, *scaled in groups:
            energies, _ = evaluate([first, *scaled])
            labels = np.array([frame.info["REF_energy"] for frame in (first, *scaled)])
            pairs.append(np.stack([labels[1:] - labels[0], energies[1:] - energies[0]]) / arguments.molecules)
        label, found = np.concatenate(pairs, axis=1)
        _, forces = evaluate(parts[1])
        errors = np.concatenate(
            [force - frame.arrays["REF_forces"] for force, frame in zip(forces, parts[1], strict=True)]
        )
        slope, error = label @ found / (label @ label), 1000 * np.sqrt(np.mean((found - label) ** 2))
        of_forces = 1000 * np.sqrt(np.mean(errors**2))
        print(f"{seconds:5.0f} {slope:15.2f} {error:23.1f} {of_forces:21.0f}  {name}", flush=True)


if __name__ == "__main__":
    main()
