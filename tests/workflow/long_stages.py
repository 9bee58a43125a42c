"""The long stages, each as a function that works in a folder and resumes from it, for tests that kill it.

Every function saves as often as possible, writes its result to the file `result` in the folder, and is deterministic;
the module is imported by a process that only forks.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from physembed.collapse.detector import CollapseDetector
from physembed.config import GaffMD, Labels, Stability
from physembed.labels.labelling import label_frames
from physembed.learning.committee import SpreadLimited
from physembed.md import clock
from physembed.md.stability import StabilityRun
from physembed.molecules.gaff_md import GaffRun
from physembed.molecules.reading import load_topology
from physembed.training.trainer import train
from tests.unit import test_md, test_npt, test_pressure
from tests.unit.test_labels import ethanol
from tests.unit.test_training import TINY

FRAMES, EPOCHS = 5000, 12


def gaff_md(folder: Path) -> dict[str, Any]:
    """A GAFF run of methanol, whose topology lies in the folder."""
    settings = GaffMD(
        equilibration_ps=0, duration_ps=FRAMES * 0.2, timestep_fs=0.5, frame_interval_steps=400, friction_per_ps=5
    )
    structure = load_topology(folder / "methanol.prmtop", folder / "methanol.inpcrd")
    return {"frames": GaffRun(structure, settings, seed=3, restart=folder / "restart").run()}


def labels(folder: Path) -> dict[str, Any]:
    """Labels of frames of ethanol by two workers."""
    frames = [ethanol(seed) for seed in range(160)]
    accepted, ledger = label_frames(frames, Labels(), charge=0, bonds=None, workers=2, restart_dir=folder / "restart")
    forces = [(frame.info["REF_energy"], frame.arrays["REF_forces"]) for frame in accepted]
    return {"forces": forces, "ledger": ledger.to_dict("list")}


def training(folder: Path) -> dict[str, Any]:
    """A tiny training on frames that lie in the folder."""
    model = folder / "mace.model"
    data = (folder / "train.xyz", folder / "validation.xyz")
    curve = train(
        TINY.model_copy(update={"epochs": EPOCHS}), *data, seed=1, restart=folder / "restart", model_file=model
    )
    return {"curve": curve.to_dict("list")}


def stability_run(folder: Path) -> dict[str, Any]:
    """Eight replicas of hot water, of which some collapse early, some late and some not at all."""
    settings = Stability(duration_ps=5.0, record_interval_fs=50.0, temperature_K=800.0, dtype="float64", device="cpu")
    starts = [Atoms("OHH", test_md.WATER, info={"source_frame": replica}) for replica in range(8)]
    # Its hydrogen atoms do not see each other, so that only bonds can fail.
    detector = CollapseDetector(test_md.BONDS, np.array([0.96, 0.96]), np.zeros((3, 3)), 0.5, 0.0)
    model, restart = test_md.Bonds(depth_eV=0.5), folder / "restart"
    run = StabilityRun(model, starts, detector, test_md.RANGES, settings, seed=4, restart=restart)
    run.run()
    trajectories = [run.trajectory(replica) for replica in range(8)]
    return {"replicas": run.replicas().to_csv(), "thermo": run.thermo().to_dict("list"), "trajectories": trajectories}


def hot_md(folder: Path) -> dict[str, Any]:
    """Eight replicas of hot water with a committee, of which the spread stops most."""
    settings = Stability(duration_ps=3.0, record_interval_fs=50.0, temperature_K=800.0, dtype="float64", device="cpu")
    starts = [Atoms("OHH", test_md.WATER, info={"source_frame": replica}) for replica in range(8)]
    detector = CollapseDetector(test_md.BONDS, np.array([0.96, 0.96]), np.zeros((3, 3)), 0.5, 0.0)
    model = SpreadLimited([test_md.Bonds(depth_eV=2.0), test_md.Bonds(depth_eV=2.3)], limit_eV_A=0.55)
    run = StabilityRun(model, starts, detector, None, settings, seed=4, restart=folder / "restart")
    run.run()
    trajectories = [run.trajectory(replica) for replica in range(8)]
    return {"replicas": run.replicas().to_csv(), "thermo": run.thermo().to_dict("list"), "trajectories": trajectories}


def npt_runs(folder: Path) -> dict[str, Any]:
    """Two boxes of argon at constant pressure."""
    runs = test_npt.finished(folder / "restart", duration_ps=5.0)
    trajectories = [runs.trajectory(point.label) for point in runs.points]
    return {"series": runs.series().to_dict("list"), "runs": runs.runs().to_csv(), "trajectories": trajectories}


def viscosity(folder: Path) -> dict[str, Any]:
    """The pressure tensor of three boxes of argon."""
    run = test_pressure.finished(folder / "restart", duration_ps=5.0)
    return {"pressure": run.pressure_tensors(), "replicas": run.replicas().to_csv()}


STAGES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "gaff_md": gaff_md, "labels": labels, "training": training,
    "stability": stability_run, "hot_md": hot_md, "npt": npt_runs, "viscosity": viscosity,
}  # fmt: skip


def run(stage: str, folder: Path) -> None:
    """Run a stage and write its result."""
    torch.set_num_threads(1)
    clock.SAVE_EVERY_SECONDS = 0.02
    result = STAGES[stage](folder)
    (folder / "result").write_bytes(pickle.dumps(result))


def equal(one: Any, other: Any) -> bool:
    """Whether two results are the same to the last bit; NaN equals NaN."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, Atoms):
        return equal([one.positions, one.cell.array, one.info], [other.positions, other.cell.array, other.info])
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other or (one != one and other != other))
