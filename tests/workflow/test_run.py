"""What a complete run leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import ase.io
import MDAnalysis
import numpy as np
import pandas as pd
import pytest

from .conftest import Checkout

pytestmark = pytest.mark.chain


def test_dry_run_of_the_demo(finished: Checkout) -> None:
    done = replace(finished, config="config/demo.yaml").snakemake("--dry-run", "--forceall")
    assert done.returncode == 0, done.stderr


def test_paper_configuration_is_one_job_per_batch_of_work(finished: Checkout) -> None:
    done = replace(finished, config="config/config.yaml").snakemake("--dry-run", "--forceall")
    assert done.returncode == 0, done.stderr
    stability = [line.split() for line in done.stdout.splitlines() if line.startswith("stability ")]
    assert stability[0] == ["stability", "40"]  # 4 molecules x 2 arms x 5 seeds, 20 replicas each


def test_training_sets_of_the_arms(finished: Checkout) -> None:
    folder = finished.root / "results/minimal/methanol"
    original = ase.io.read(folder / "labels/original.xyz", ":")
    adaptive = ase.io.read(folder / "labels/adaptive.xyz", ":")
    assert len(original) == len(adaptive) == 8
    for before, after in zip(original, adaptive, strict=True):
        assert before.info["source_frame"] == after.info["source_frame"]
        assert json.loads(before.info["modifications"]) == []
        change, bend = json.loads(after.info["modifications"])
        i, j = change["bond"]
        assert after.get_distance(i, j) == pytest.approx(change["to_A"], abs=1e-6)
        assert before.get_distance(i, j) == pytest.approx(change["from_A"], abs=1e-6)
        assert after.get_angle(*bend["angle"]) == pytest.approx(bend["to_degrees"], abs=1e-3)
        assert after.arrays["REF_forces"].shape == (6, 3)


def test_ledger_counts_every_frame(finished: Checkout) -> None:
    ledger = pd.read_csv(finished.root / "results/minimal/methanol/labels/adaptive_ledger.csv")
    assert list(ledger["frame"]) == list(range(8))
    assert set(ledger["status"]) == {"ok"}


def test_start_frames_are_new_to_the_models(finished: Checkout) -> None:
    folder = finished.root / "results/minimal/methanol/frames"
    chosen = {
        name: {frame.info["source_frame"] for frame in ase.io.read(folder / f"{name}.xyz", ":")}
        for name in ("train", "validation", "starts")
    }
    assert [len(chosen[name]) for name in ("train", "validation", "starts")] == [8, 3, 3]
    assert len(set.union(*chosen.values())) == 14


def test_replicas_of_all_arms_and_seeds(finished: Checkout) -> None:
    runs = pd.read_csv(finished.root / "results/minimal/methanol/survival/replicas.csv")
    assert runs.groupby(["arm", "seed"]).size().to_dict() == {
        (arm, seed): 3 for arm in ("original", "adaptive") for seed in (1, 2)
    }
    assert (runs.loc[~runs["collapsed"], "time_fs"] == 50).all()


def test_trajectories_are_read_by_ase_and_mdanalysis(finished: Checkout) -> None:
    for path in (
        finished.root / "results/minimal/methanol/gaff_md/trajectory.xyz",
        finished.root / "results/minimal/methanol/stability/adaptive/seed1/trajectories/replica_000.xyz",
    ):
        frames = ase.io.read(path, ":")
        universe = MDAnalysis.Universe(str(path))
        assert len(universe.trajectory) == len(frames)
        for step, frame in zip(universe.trajectory, frames, strict=True):
            np.testing.assert_allclose(step.positions, frame.positions, atol=1e-4)


def test_results_say_where_they_come_from(finished: Checkout) -> None:
    record = json.loads(
        (finished.root / "results/minimal/methanol/stability/adaptive/seed1/provenance.json").read_text()
    )
    assert record["settings"]["stability"]["temperature_K"] == 800
    assert record["versions"]["mace-torch"] != "not installed"
    assert len(record["inputs_sha256"]) == 6
    assert isinstance(record["settings"]["seed"], int)


def test_every_rule_has_log_benchmark_resources_and_environment(finished: Checkout) -> None:
    rules = "".join(path.read_text() for path in (finished.root / "workflow/rules").glob("*.smk"))
    blocks = rules.split("\nrule ")[1:]
    assert len(blocks) >= 13
    for block in blocks:
        for directive in "log: benchmark: threads: mem_mb= runtime= conda: code= provenance=".split():
            assert directive in block, f"{directive} missing in rule {block.split(':')[0]}"


CONDA = """#!/bin/sh
case "$*" in
  "info --json") echo '{"conda_version": "25.1.0", "platform": "linux-64", "conda_prefix": "/opt/conda"}' ;;
  "--version") echo "conda 25.1.0" ;;
  *) echo '{"channel_priority": "strict", "get": {"channel_priority": "strict"}}' ;;
esac
"""


def test_conda_deployment_finds_the_environment(finished: Checkout, tmp_path: Path) -> None:
    # A stand-in that answers Snakemake's queries: this tests what Snakemake requests, not that conda can create it.
    (tmp_path / "conda").write_text(CONDA)
    (tmp_path / "conda").chmod(0o755)
    done = finished.snakemake("--dry-run", "--forceall", "--sdm", "conda", prefix=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Conda environment envs/physembed.yaml will be created." in done.stdout + done.stderr
