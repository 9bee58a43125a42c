"""A study whose long jobs are killed in the middle, each once, ends as one that was left alone."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from .conftest import CONFIG, LIQUIDS, Checkout, copy_repository

LONG = ("gaff_md", "labels", "training", "stability")
LONG_OF_LIQUIDS = (
    "gaff_npt", "reference_frames", "reference_labels", "liquid_training", "scan", "npt", "viscosity_run",
)  # fmt: skip


def run_with_kills(checkout: Checkout, rules: tuple[str, ...], killed: list[str]) -> None:
    """Run a study and send SIGKILL to the script of the first job of each rule, at a random moment of its life."""
    environment = os.environ | {"PYTHONPATH": str(checkout.root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "snakemake", "--configfile", checkout.config, "--cores", "2", "--retries", "2"]
    moments, ends = random.Random(11), dict[int, tuple[str, float]]()
    with (checkout.root / "output.txt").open("w") as output:
        running = subprocess.Popen(command, cwd=checkout.root, env=environment, stdout=output, stderr=output)
        try:
            while running.poll() is None:
                for process in psutil.Process(running.pid).children(recursive=True):
                    rule = rule_of(process, rules)
                    if rule is None or rule in killed:
                        continue
                    if process.pid not in ends:
                        # Snakemake writes to the log when the job has begun; imports take the first seconds.
                        ends[process.pid] = (rule, time.monotonic() + moments.uniform(1.0, 4.5))
                    elif time.monotonic() > ends[process.pid][1]:
                        process.kill()
                        killed.append(rule)
                time.sleep(0.05)
        finally:
            running.kill()
    text = (checkout.root / "output.txt").read_text()
    assert running.returncode == 0, text[-5000:]


def rule_of(process: psutil.Process, rules: tuple[str, ...]) -> str | None:
    """The rule whose script a process runs."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return None
    script = next((word for word in command if "/.snakemake/scripts/tmp" in word), "")
    name = script.rpartition("/")[2].partition(".")[2].removesuffix(".py")
    return name if name in rules else None


def same(one: Checkout, other: Checkout, *paths: str) -> None:
    for path in paths:
        assert (one.root / path).read_bytes() == (other.root / path).read_bytes(), path


def times(table: Path, run: str, column: str) -> list[list[float]]:
    """Times of each run, in the order of the file."""
    return [group[column].tolist() for _, group in pd.read_csv(table).groupby(run)]


def test_a_study_of_molecules_with_killed_jobs(finished: Checkout, tmp_path: Path) -> None:
    checkout, killed = copy_repository(tmp_path / "study", CONFIG), list[str]()
    run_with_kills(checkout, LONG, killed)
    assert "training" in killed and "stability" in killed, "the jobs that load torch live long enough"
    folder = "results/minimal/methanol"
    labels = [f"labels/{name}.xyz" for name in ("original", "adaptive", "validation")]
    same(checkout, finished, *(f"{folder}/{name}" for name in ["gaff_md/trajectory.xyz", "frames/starts.xyz", *labels]))
    for arm in ("original", "adaptive"):
        curve = pd.read_csv(checkout.root / folder / f"training/{arm}/seed1/curve.csv")
        assert curve.epoch.tolist() == [0, 1, 2, 3]
        for of_replica in times(checkout.root / folder / f"stability/{arm}/seed1/thermo.csv", "replica", "time_fs"):
            assert of_replica == [10.0 * i for i in range(len(of_replica))]
    # Every job is done, and with results that an undisturbed one would have: nothing is left to do.
    assert checkout.planned() == {}


def test_a_study_of_a_liquid_with_killed_jobs(finished_liquids: Checkout, tmp_path: Path) -> None:
    checkout, killed = copy_repository(tmp_path / "study", LIQUIDS), list[str]()
    run_with_kills(checkout, LONG_OF_LIQUIDS, killed)
    assert {"liquid_training", "npt", "viscosity_run"} <= set(killed), "the jobs that load torch live long enough"
    model = checkout.root / "results/minimal_liquids/models/tiny"
    assert pd.read_csv(model / "training/curve.csv").epoch.tolist() == list(range(20))
    for variant in ("uncorrected", "corrected"):
        for of_replica in times(model / f"npt/DMC_298K/{variant}/series.csv", "replica", "time_ps"):
            np.testing.assert_allclose(np.diff(of_replica), 0.001)
            assert len(of_replica) > 10
    assert checkout.planned() == {}
