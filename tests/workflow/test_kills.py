"""Long jobs that are killed midway, each once, give the same results as uninterrupted ones."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from .conftest import Checkout

LONG = ("gaff_md", "labels", "training", "stability")
LONG_OF_LIQUIDS = (
    "gaff_npt", "reference_frames", "reference_labels", "liquid_training", "scan", "npt", "viscosity_run",
)  # fmt: skip


def run_again_with_kills(checkout: Checkout, rules: tuple[str, ...], first: list[str], targets: list[str]) -> list[str]:
    """Run a finished study again, from some rules on up to some files, as if nothing had been computed.

    SIGKILL is sent to the script of the first job of each of `rules`, at a random moment of its life; the rules whose
    job was killed are returned.
    """
    (restart,) = (checkout.root / "results").glob("*/restart")
    shutil.rmtree(restart)
    killed: list[str] = []
    environment = os.environ | {"PYTHONPATH": str(checkout.root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "snakemake", "--configfile", checkout.config, "--cores", "2", "--retries", "2"]
    command += [*targets, "--forcerun", *first]
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
    # Every job is done, and with results that an undisturbed one would have: nothing is left to do.
    assert checkout.planned(*targets) == {}
    return killed


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


def test_jobs_of_a_molecule_that_are_killed(copy_of_finished: Checkout, finished: Checkout) -> None:
    folder, target = "results/minimal/methanol", "stability/adaptive/seed1/replicas.csv"
    killed = run_again_with_kills(copy_of_finished, LONG, ["gaff_md"], [f"{folder}/{target}"])
    assert "training" in killed and "stability" in killed, "the jobs that load torch live long enough"
    labels = ("labels/adaptive.xyz", "labels/validation.xyz")
    same(
        copy_of_finished,
        finished,
        *(f"{folder}/{name}" for name in ("gaff_md/trajectory.xyz", "frames/starts.xyz", *labels)),
    )
    made = copy_of_finished.root / folder
    assert pd.read_csv(made / "training/adaptive/seed1/curve.csv").epoch.tolist() == [0, 1, 2, 3]
    for of_replica in times(made / "stability/adaptive/seed1/thermo.csv", "replica", "time_fs"):
        assert of_replica == [10.0 * i for i in range(len(of_replica))]


def test_jobs_of_a_liquid_that_are_killed(copy_of_finished_liquids: Checkout) -> None:
    folder = "results/minimal_liquids/models/tiny"
    targets = [f"{folder}/scan/runs.csv", f"{folder}/viscosity/DMC_298K/uncorrected/pressure.npz"]
    killed = run_again_with_kills(copy_of_finished_liquids, LONG_OF_LIQUIDS, ["gaff_npt", "reference_frames"], targets)
    assert {"liquid_training", "npt", "viscosity_run"} <= set(killed), "the jobs that load torch live long enough"
    model = copy_of_finished_liquids.root / folder
    assert pd.read_csv(model / "training/curve.csv").epoch.tolist() == list(range(40))
    for of_replica in times(model / "npt/DMC_298K/uncorrected/series.csv", "replica", "time_ps"):
        np.testing.assert_allclose(np.diff(of_replica), 0.001)
        assert len(of_replica) > 10
