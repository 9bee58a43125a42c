"""Arms beyond sampling: models that are given, pre-trained and trained on, beside those of a finished study."""

from __future__ import annotations

import re
import shutil

import ase.io
import pandas as pd

from .conftest import CONFIG, Checkout

ARMS = """\
    angles_per_frame: 1
  given: {base: {file: given.model}, frames: 0}
  pretrained: {base: {pretraining: true}, frames_of: adaptive}
  control: {frames_of: adaptive, training: {steps_of: pretrained}}
  reweighted: {frames_of: adaptive, base: {arm: adaptive}, training: {epochs: 1, weighting: bad_points}}
pretraining: {frames: 20, training: {epochs: 2}}
"""


def test_other_beginnings(copy_of_finished: Checkout) -> None:
    study, folder = copy_of_finished, copy_of_finished.root / "results/minimal/methanol"
    shutil.copyfile(folder / "training/original/seed1/mace.model", study.root / "given.model")
    study.edit(CONFIG, "    angles_per_frame: 1\n", ARMS)
    planned = study.planned()
    once = {"pretraining_frames": 1, "pretraining": 2, "given_model": 2, "weights": 2, "training": 6, "stability": 8}
    assert {rule: planned[rule] for rule in once} == once
    assert not {"frames", "bond_sampling", "labels", "gaff_md"} & set(planned)
    done = study.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr[-6000:]
    table = pd.read_csv(study.root / "results/minimal/tables/stability.csv").set_index("arm")
    assert table["labels"].to_dict() == {
        "original": 8, "adaptive": 8, "pretrained": 8, "control": 8, "reweighted": 8, "given": 0
    }  # fmt: skip
    assert (table["runs"] == 6).all()
    given = folder / "training/given/seed2/mace.model"
    assert given.read_bytes() == (study.root / "given.model").read_bytes()
    # 40 frames, 2 of them for validation: 9 batches of 4 in 2 epochs, then 4 epochs of 2; in all 13 epochs of 2.
    curves = {arm: pd.read_csv(folder / f"training/{arm}/seed1/curve.csv") for arm in ("pretrained", "control")}
    assert {arm: len(curve) for arm, curve in curves.items()} == {"pretrained": 4, "control": 13}
    log = (folder / "logs/training_pretrained_seed1.log").read_text()
    assert re.search(r"training begins with errors of \d+ meV/Å and [\d.]+ meV/atom", log)
    weighted = ase.io.read(folder / "training/reweighted/seed1/weighted.xyz", ":")
    weights = {frame.info["cluster"]: frame.info["config_weight"] for frame in weighted}
    assert [weights[frame.info["cluster"]] for frame in weighted] == [frame.info["config_weight"] for frame in weighted]
    assert len(weighted) == 8 and all(0.5 <= weight <= 3 for weight in weights.values())
    errors = pd.read_csv(study.root / "results/minimal/tables/model_errors.csv")
    assert set(errors.loc[errors["arm"] == "given", "set"]) == {"validation"}
    # The same model on the same frames: what the arm that it was taken from has with seed 1.
    ours, theirs = (
        pd.read_csv(folder / f"evaluation/{arm}_frames.csv").query("seed == 1 and set == 'validation'")
        for arm in ("given", "original")
    )
    assert ours["energy_model_eV"].tolist() == theirs["energy_model_eV"].tolist()
    page = (study.root / "results/minimal/summary.html").read_text()
    assert "given.model, without training" in page and "frames of adaptive, pre-trained" in page
    assert study.planned() == {}


def test_a_study_of_the_number_of_labels(copy_of_finished: Checkout) -> None:
    """One more arm with half the labels: only that arm is made, and the figure compares it with the existing one."""
    study, folder = copy_of_finished, copy_of_finished.root / "results/minimal"
    few = "  bare: {bonds_per_frame: 0, labels: [4]}\n"
    study.edit(CONFIG, "    angles_per_frame: 1\n", f"    angles_per_frame: 1\n{few}")
    planned = study.planned()
    once = {"bond_sampling": 1, "labels": 1, "training": 2, "stability": 2, "survival_against_labels": 1}
    assert {rule: planned[rule] for rule in once} == once
    done = study.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr[-6000:]
    table = pd.read_csv(folder / "figures/methanol/survival_against_labels.csv")
    totals = table[table["seed"] == "all"]
    assert totals[["series", "arm", "labels", "runs"]].to_numpy().tolist() == [
        ["original", "bare_4", 4, 6], ["original", "original", 8, 6]
    ]  # fmt: skip
    assert len(ase.io.read(folder / "methanol/labels/bare_4.xyz", ":")) == 4
    page = (folder / "summary.html").read_text()
    assert "Survival against labels" in page and "corrected for 3 comparisons (Holm)" in page
    assert study.planned() == {}
