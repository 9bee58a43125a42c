"""After a complete run: what a change reruns and what it does not affect."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from .conftest import CONFIG, Checkout, copy_repository

REPORT = {"figures", "tables", "summary"}
AFTER_STABILITY = {"survival", "viewer", "force_metrics", "before_collapse", "metric_figures"} | REPORT
AFTER_TRAINING = {"committee", "evaluation", "stability"} | AFTER_STABILITY


def test_nothing_changed(copy_of_finished: Checkout) -> None:
    assert copy_of_finished.planned() == {}
    assert "Nothing to be done" in copy_of_finished.snakemake("--cores", "1").stderr


def test_longer_stability_runs(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "duration_ps: 0.05", "duration_ps: 0.08")
    planned = copy_of_finished.planned()
    assert set(planned) == {"stability"} | AFTER_STABILITY
    assert planned["stability"] == 4


def test_longer_stability_runs_go_on_from_the_end(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "duration_ps: 0.05", "duration_ps: 0.08")
    target = "results/minimal/methanol/stability/original/seed1/replicas.csv"
    done = copy_of_finished.snakemake("--cores", "1", target)
    assert done.returncode == 0, done.stderr
    log = copy_of_finished.root / "results/minimal/methanol/logs/stability_original_seed1.log"
    # At the last step of the shorter run, or where the last of its replicas had collapsed.
    assert re.search(r"stability: resuming at [1-5]0/80 steps", log.read_text())


def test_training_change_reruns_no_md(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "epochs: 4", "epochs: 5")
    assert set(copy_of_finished.planned()) == {"training"} | AFTER_TRAINING


def test_what_an_arm_trains_otherwise_makes_no_frames_again(copy_of_finished: Checkout) -> None:
    own = "angles_per_frame: 1\n    training: {repulsion: zbl, forces_weight: 10}"
    copy_of_finished.edit(CONFIG, "angles_per_frame: 1", own)
    planned = copy_of_finished.planned()
    assert set(planned) == {"training"} | AFTER_TRAINING
    assert (planned["training"], planned["evaluation"], planned["stability"]) == (2, 1, 2)


def test_another_arm_leaves_the_others_alone(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "angles_per_frame: 1", "angles_per_frame: 1\n  few: {frames: 4}")
    planned = copy_of_finished.planned()
    assert set(planned) == {"bond_sampling", "labels", "training"} | AFTER_TRAINING
    once = ("bond_sampling", "labels", "evaluation")
    assert [planned[rule] for rule in (*once, "training", "stability")] == [1, 1, 1, 2, 2]


def test_one_more_seed_leaves_the_others(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "seeds: [1, 2]", "seeds: [1, 2, 3]")
    planned = copy_of_finished.planned()
    assert set(planned) == {"training"} | AFTER_TRAINING
    assert (planned["training"], planned["stability"]) == (2, 2)


def test_more_starts_retrain_nothing(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "starts: 3", "starts: 4")
    assert set(copy_of_finished.planned()) == {"starts", "stability"} | AFTER_STABILITY
    target = "results/minimal/methanol/stability/adaptive/seed1/thermo.csv"
    before = pd.read_csv(copy_of_finished.root / target)
    done = copy_of_finished.snakemake("--cores", "1", target)
    assert done.returncode == 0, done.stderr
    after = pd.read_csv(copy_of_finished.root / target)
    assert set(after.replica) == {0, 1, 2, 3}
    # Those that were there are as they were; only the new one was run.
    pd.testing.assert_frame_equal(after[after.replica < 3].reset_index(drop=True), before, check_exact=True)


def test_a_data_set_for_each_seed_reruns_no_gaff(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "  starts: 3", "  starts: 3\n  per_seed: true")
    planned = copy_of_finished.planned()
    drawn = {"frames", "starts", "conformations", "bond_sampling", "labels"}
    assert set(planned) == drawn | {"training"} | AFTER_TRAINING
    # Two seeds, two arms, and the validation frames of each seed.
    assert [planned[rule] for rule in ("frames", "bond_sampling", "labels", "training")] == [2, 4, 6, 4]
    copy_of_finished.edit(CONFIG, "per_seed: true", "per_seed: false")
    assert copy_of_finished.planned() == {}


def test_arm_change_leaves_the_other_arm(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "angles_per_frame: 1", "angles_per_frame: 1\n    stretch_A: 0.2")
    planned = copy_of_finished.planned()
    assert set(planned) == {"bond_sampling", "labels", "training"} | AFTER_TRAINING
    assert (planned["bond_sampling"], planned["labels"], planned["training"]) == (1, 1, 2)


@pytest.mark.parametrize("path", ["README.md", "docs/background/stability.md", "config/config.yaml", "Makefile"])
def test_a_comment_elsewhere_reruns_nothing(copy_of_finished: Checkout, path: str) -> None:
    with (copy_of_finished.root / path).open("a") as file:
        file.write("\n# a comment\n")
    assert copy_of_finished.planned() == {}


def test_touched_code_and_fresh_checkout_rerun_nothing(copy_of_finished: Checkout, tmp_path: Path) -> None:
    for folder in ("workflow", "physembed", "config"):
        for file in (copy_of_finished.root / folder).rglob("*"):
            file.touch()
    assert copy_of_finished.planned() == {}
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    checkout = copy_repository(fresh)
    for name in ("results", ".snakemake"):
        shutil.copytree(copy_of_finished.root / name, fresh / name)
    assert checkout.planned() == {}


def test_physics_edit_reruns_its_stage(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit("physembed/engine/langevin.py", "/ (1000 * FS)", "/ (999 * FS)")
    assert set(copy_of_finished.planned()) == {"stability"} | AFTER_STABILITY


def test_comment_in_physics_reruns_nothing(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit("physembed/engine/langevin.py", "    def advance(", "    # a comment\n    def advance(")
    assert copy_of_finished.planned() == {}


def test_swapped_values_are_noticed(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(
        CONFIG, "angles_per_frame: 1", "angles_per_frame: 1\n    compression_to_stretching: [4.0, 1.0]"
    )
    assert copy_of_finished.planned()["bond_sampling"] == 1


def test_another_molecule_leaves_the_first_alone(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "names: [methanol]", "names: [methanol, ethanol]")
    done = copy_of_finished.snakemake("--dry-run")
    jobs = done.stdout + done.stderr
    assert "results/minimal/ethanol/training/adaptive/seed1/mace.model" in jobs
    assert not re.search(r"output: [^\n]*results/minimal/methanol/training", jobs)
    planned = copy_of_finished.planned()
    assert (planned["training"], planned["stability"], planned["figures"]) == (4, 4, 1)


def test_jobs_may_share_a_gpu(copy_of_finished: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_of_finished.edit("config/config.yaml", "per_gpu: 1 ", "per_gpu: 3 ")
    assert copy_of_finished.planned() == {}
    paper = replace(copy_of_finished, config="config/config.yaml")
    for cards, percent in (("0,1", "33"), ("", "0")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", cards)
        shown = paper.snakemake("--dry-run", "--forceall").stdout
        assert set(re.findall(r"gpu=(\d+), gpu_percent=(\d+)", shown)) == {("1", percent)}


def test_another_study_has_its_own_results(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "study: minimal", "study: other")
    assert copy_of_finished.planned()["training"] == 4


def test_killed_run_goes_on_with_finished_jobs_kept(copy_of_finished: Checkout) -> None:
    made = copy_of_finished.root / "results/minimal/methanol"
    for folder in ("bond_sampling", "labels", "training", "evaluation", "stability", "survival"):
        shutil.rmtree(made / folder)
    for folder in ("figures", "tables"):
        shutil.rmtree(copy_of_finished.root / "results/minimal" / folder)
    (copy_of_finished.root / "results/minimal/summary.html").unlink()
    environment = os.environ | {"PYTHONPATH": str(copy_of_finished.root), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--configfile", CONFIG, "--cores", "2"],
        cwd=copy_of_finished.root, env=environment, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    wanted = [made / f"labels/{arm}.xyz" for arm in ("adaptive", "original")]
    while not all(file.exists() for file in wanted) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert all(file.exists() for file in wanted)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert copy_of_finished.snakemake("--unlock").returncode == 0
    planned = copy_of_finished.planned()
    assert not {"molecule", "gaff_topology", "gaff_md", "frames", "bond_sampling"} & set(planned)
    # The labels of one arm may be there long before those of the other, and a model of it trained.
    trained = len(list(made.glob("training/*/seed*/provenance.json")))
    assert 4 - trained <= planned.get("training", 0) <= 4
