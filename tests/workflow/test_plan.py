"""`make plan`: the jobs of Snakemake's own dry run, with reasons, and as many of them as there are batches of work."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from . import forked
from .conftest import CONFIG, LIQUIDS, Checkout, copy_repository

Rows = dict[str, tuple[int, str, str]]
LIQUID_MODELS = """\
liquids:
  models: [carbonates, esters]
models:
  carbonates:
    tune_on: EC-EMC-3-7_298K
    evaluate_on: [EC-EMC-3-7_293K, EC-EMC-3-7_298K, EC-EMC-5-5_298K]
  esters:
    tune_on: EMC_298K
    evaluate_on: [EMC_298K, EA_298K]
"""


def run_plan(checkout: Checkout, *overlays: str) -> subprocess.CompletedProcess[str]:
    """`python workflow/plan.py` in a copy of the repository."""
    return forked.completed(checkout.root / "workflow/plan.py", overlays, checkout.root, checkout.environment())


def plan(checkout: Checkout, *overlays: str) -> Rows:
    """Jobs, reasons and source of the estimate by rule."""
    done = run_plan(checkout, *overlays)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(\w+) +(\d+)  (\S.*?)  +\S+ +\S+ +\S+ GB(?:  (.+))?$", done.stdout, re.MULTILINE)
    return {rule: (int(jobs), why, source) for rule, jobs, why, source in rows}


def counts(rows: Rows) -> dict[str, int]:
    return {rule: jobs for rule, (jobs, _, _) in rows.items()}


def batches(molecules: int, arms: int, seeds: int) -> dict[str, int]:
    """The batches of work of the molecule workflow: one job each, whatever the number of frames and replicas."""
    models = molecules * arms * seeds
    once = (
        "molecule", "gaff_topology", "gaff_md", "frames", "starts", "conformations", "survival", "figures",
        "metric_figures", "viewer",
    )  # fmt: skip
    return (
        dict.fromkeys(once, molecules)
        | dict.fromkeys(("bond_sampling", "evaluation", "force_metrics", "before_collapse"), molecules * arms)
        | {"labels": molecules * (arms + 1)}
        | {"training": models, "stability": models, "tables": 1, "summary": 1}
        | ({"committee": molecules * arms} if seeds > 1 else {})
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the repository in which nothing was run."""
    return copy_repository(tmp_path_factory.mktemp("plan"))


@pytest.mark.parametrize("config", [CONFIG, LIQUIDS])
def test_jobs_are_those_of_the_dry_run(checkout: Checkout, config: str) -> None:
    rows = plan(checkout, config)
    assert counts(rows) == Checkout(checkout.root, config).planned()
    assert {why for _, why, _ in rows.values()} == {"missing output"}
    assert {source for _, _, source in rows.values()} == {"short", "not measured"}
    assert not (checkout.root / "results").exists()


def test_one_hundred_molecules_have_as_many_jobs_as_batches(checkout: Checkout) -> None:
    # 100 different ethers: one alkyl chain on either side of the oxygen.
    ethers = [(f"ether{i}-{j}", "C" * i + "O" + "C" * j) for i in range(1, 11) for j in range(i, i + 10)]
    table = "name\tsmiles\n" + "".join(f"{name}\t{smiles}\n" for name, smiles in ethers)
    (checkout.root / "hundred.tsv").write_text(table)
    (checkout.root / "hundred.yaml").write_text(
        "study: hundred\nmolecules:\n  table: hundred.tsv\n  names: all\nliquids:\n  models: []\n"
    )
    assert counts(plan(checkout, "hundred.yaml")) == batches(molecules=100, arms=2, seeds=5)


def test_papers_molecules_have_as_many_jobs_as_batches(checkout: Checkout) -> None:
    (checkout.root / "molecules_alone.yaml").write_text("liquids:\n  models: []\n")
    assert counts(plan(checkout, "molecules_alone.yaml")) == batches(molecules=4, arms=2, seeds=5)


def test_models_of_liquids_add_as_many_jobs_as_batches(checkout: Checkout) -> None:
    (checkout.root / "liquids.yaml").write_text(LIQUID_MODELS)
    jobs = counts(plan(checkout, "liquids.yaml"))
    molecules, components, liquids, pairs, models = 4, 3, 5, 5, 2
    trained = ("liquid_training", "liquid_training_figure", "liquid_model")
    tuned = ("scan", "tuning", "corrected_model", "certificate", "volume_scan", "liquid_figures")
    expected = (
        batches(molecules, arms=2, seeds=5)
        | dict.fromkeys(("molecule", "gaff_topology"), molecules + components)
        | dict.fromkeys(("box", "gaff_npt"), liquids)
        | dict.fromkeys(("reference_frames", "reference_labels", "structure", "structure_figure"), pairs)
        | dict.fromkeys((*trained, *tuned), models)
        | dict.fromkeys(("npt", "density", "viscosity_run", "viscosity"), 2 * pairs)
        | {"liquid_tables": 1}
    )
    assert jobs == expected


def test_trials_measure_what_the_jobs_of_a_study_take(checkout: Checkout) -> None:
    measured = plan(checkout, "--calibrate", CONFIG)
    long = {rule for rule, (_, _, source) in measured.items() if source == "measured"}
    assert long == {"labels", "training", "stability"}
    # The numbers are kept, and the plan without trials uses them.
    file = checkout.root / "results/minimal/calibration.json"
    before = file.read_text()
    assert plan(checkout, CONFIG) == measured
    assert file.read_text() == before
    shutil.rmtree(checkout.root / "results")


def test_wrong_configuration_ends_in_one_line(checkout: Checkout) -> None:
    (checkout.root / "wrong.yaml").write_text("training:\n  epochs: 0\n")
    done = run_plan(checkout, "wrong.yaml")
    assert done.returncode != 0
    assert done.stdout == ""
    message = [line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert len(message) == 1
    assert "training.epochs" in message[0]


def test_finished_study_has_nothing_to_do(finished: Checkout) -> None:
    assert "Nothing to be done" in run_plan(finished, CONFIG).stdout


def test_change_is_named(copy_of_finished: Checkout) -> None:
    copy_of_finished.edit(CONFIG, "epochs: 4", "epochs: 20000")
    rows = plan(copy_of_finished, CONFIG)
    assert counts(rows) == copy_of_finished.planned()
    assert rows["training"][1] == "settings changed"
    assert rows["stability"][1] == "follows another"


def test_lost_result_and_changed_code_are_named(copy_of_finished: Checkout) -> None:
    shutil.rmtree(copy_of_finished.root / "results/minimal/methanol/survival")
    copy_of_finished.edit("physembed/report/tables.py", "def ", "def changed() -> None: ...\n\n\ndef ")
    rows = plan(copy_of_finished, CONFIG)
    assert counts(rows) == copy_of_finished.planned()
    assert rows["survival"][1] == "missing output"
    assert rows["tables"][1] == "code changed"


def test_plan_writes_nothing(copy_of_finished: Checkout) -> None:
    def state() -> dict[Path, int]:
        files = (copy_of_finished.root / "results").rglob("*")
        return {path: path.stat().st_mtime_ns for path in files if path.is_file()}

    before = state()
    plan(copy_of_finished, CONFIG)
    assert state() == before
