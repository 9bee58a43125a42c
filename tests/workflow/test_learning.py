"""Rounds of active learning beside the arms of a finished study: what they make, and what a change of them reruns."""

from __future__ import annotations

import json

import ase.io
import pandas as pd

from .conftest import CONFIG, Checkout

ARM = """\
    angles_per_frame: 1
  learned:
    frames_of: adaptive
    learning: {rounds: 2, labels_per_round: 3, replicas: 4, hot_ps: 0.05, spread_factor: 40}
"""
ROUND = {"learning": 1, "labels": 1}
OF_ARM = {"evaluation": 1, "stability": 2, "committee": 1}


def planned(study: Checkout, *rules: str) -> dict[str, int]:
    """Jobs of these rules that would run."""
    all_jobs = study.planned()
    return {rule: all_jobs[rule] for rule in rules if rule in all_jobs}


def test_two_rounds(copy_of_finished: Checkout) -> None:
    study, folder = copy_of_finished, copy_of_finished.root / "results/minimal/methanol"
    study.edit(CONFIG, "    angles_per_frame: 1\n", ARM)
    # Two rounds of two seeds, and the arm itself, whose models are those of the last. Round 0 is `adaptive`.
    jobs = study.planned()
    expected = {"learning": 2, "labels": 2, "round_training": 6, "rounds": 1, **OF_ARM}
    assert {rule: jobs.get(rule) for rule in expected} == expected
    assert not {"training", "frames", "starts", "bond_sampling", "gaff_md"} & set(jobs)
    done = study.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr[-6000:]
    assert study.planned() == {}

    frames = {name: ase.io.read(folder / name, ":") for name in ("bond_sampling/adaptive.xyz", *(
        f"learning/learned~{number}/frames.xyz" for number in (1, 2)))}  # fmt: skip
    start, first, second = frames.values()
    assert (len(start), len(first), len(second)) == (8, 11, 14)
    assert [f.positions.tolist() for f in first[:8]] == [f.positions.tolist() for f in start]
    assert [f.positions.tolist() for f in second[:11]] == [f.positions.tolist() for f in first]
    assert [frame.info.get("round") for frame in second] == [None] * 8 + ["learned~1"] * 3 + ["learned~2"] * 3
    rounds = pd.read_csv(study.root / "results/minimal/tables/rounds.csv")
    assert rounds[["arm", "round", "labels", "added", "runs"]].to_numpy().tolist() == [
        ["learned", 1, 8, 3, 4], ["learned", 2, 11, 3, 4]
    ]  # fmt: skip
    for number, row in enumerate(rounds.to_dict("records"), 1):
        records = pd.read_csv(folder / f"learning/learned~{number}/records.csv")
        assert records["chosen"].sum() == 3 and records.loc[records["chosen"], "sound"].all()
        assert records["spread_eV_A"].max() == row["largest_spread_eV_A"]
        replicas = pd.read_csv(folder / f"learning/learned~{number}/replicas.csv")
        assert (replicas["cause"] == "spread").sum() == row["stopped_by_spread"]
        assert replicas["collapsed"].sum() == row["stopped_by_spread"] + row["collapsed"]
    stability = pd.read_csv(study.root / "results/minimal/tables/stability.csv").set_index("arm")
    assert stability["labels"].to_dict() == {"original": 8, "adaptive": 8, "learned": 14}
    for file in ("mace.model", "curve.csv"):
        made = [folder / f"training/{arm}/seed2/{file}" for arm in ("learned", "learned~2", "learned~1")]
        assert made[0].read_bytes() == made[1].read_bytes() != made[2].read_bytes()
    assert "2 rounds of learning" in (study.root / "results/minimal/summary.html").read_text()

    # One more round runs one round; its training and the arm's two copies.
    study.edit(CONFIG, "rounds: 2", "rounds: 3")
    assert planned(study, "learning", "labels", "training", "round_training", *OF_ARM) == {
        **ROUND, "round_training": 4, **OF_ARM
    }  # fmt: skip
    # Another arm leaves the rounds alone, and so does the arm with rounds the others.
    study.edit(CONFIG, "rounds: 3", "rounds: 2")
    study.edit(CONFIG, "  learned:\n", "  few: {frames: 4}\n  learned:\n")
    assert planned(study, "learning", "labels", "training", "round_training", "stability") == {
        "labels": 1, "training": 2, "stability": 2
    }  # fmt: skip
    study.edit(CONFIG, "  few: {frames: 4}\n", "")
    # With other frames chosen the MD of the first round is read back, not run.
    study.edit(CONFIG, "spread_factor: 40}", "spread_factor: 40, choose: random}")
    target = "results/minimal/methanol/learning/learned~1/frames.xyz"
    done = study.snakemake("--cores", "1", target)
    assert done.returncode == 0, done.stderr[-6000:]
    assert "stability: resuming at 50/50 steps" in (folder / "logs/learning_learned~1.log").read_text()


def test_learning_ends_below_the_target(copy_of_finished: Checkout) -> None:
    study, folder = copy_of_finished, copy_of_finished.root / "results/minimal/methanol"
    # One check after 10 fs, and a target that 3 of 4 would still meet (upper limit 0.987).
    study.edit(CONFIG, "    angles_per_frame: 1\n", ARM)
    study.edit(CONFIG, "hot_ps: 0.05, spread_factor: 40}", "hot_ps: 0.01, spread_factor: 1000000, stop_below: 0.99}")
    targets = ["results/minimal/tables/rounds.csv", "results/minimal/methanol/training/learned/seed1/mace.model"]
    done = study.snakemake("--cores", "2", *targets)
    assert done.returncode == 0, done.stderr[-6000:]
    rounds = pd.read_csv(study.root / "results/minimal/tables/rounds.csv")
    assert rounds["ended"].tolist() == ["below", "before"] and rounds["added"].tolist() == [0, 0]
    assert rounds["runs"].tolist() == [4, 0]
    found = json.loads((folder / "learning/learned~2/provenance.json").read_text())["found"]
    assert found["ended"] == "before" and found["labels"] == 8
    # Nothing is trained: the models are those of the arm that it began with.
    for arm in ("learned~1", "learned~2", "learned"):
        for file in ("mace.model", "curve.csv"):
            made = [folder / f"training/{name}/seed1/{file}" for name in (arm, "adaptive")]
            assert made[0].read_bytes() == made[1].read_bytes()
        record = json.loads((folder / f"training/{arm}/seed1/provenance.json").read_text())
        assert record["found"]["copy_of"].endswith("seed1/mace.model")
    assert len(pd.read_csv(folder / "labels/learned~2_ledger.csv")) == 8
    assert study.planned(*targets) == {}
