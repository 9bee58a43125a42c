"""The plan: sizes, work by the rules' own settings, numbers of trials, and the table."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx
import pytest

from physembed import stages
from physembed.config import load
from physembed.liquids.table import Component, LiquidSpec
from physembed.molecules.structure import from_smiles, write_sdf
from physembed.molecules.table import MoleculeSpec
from physembed.molecules.topology import gaff_topology, write_topology
from physembed.plan.numbers import SCRIPTS, Point, key, read, seconds_at, write
from physembed.plan.plan import (
    ORDER,
    CostedJob,
    Estimate,
    Plan,
    PlannedJob,
    as_text,
    make_plan,
    short_reason,
    trials_of,
)
from physembed.plan.sizes import DataSet, frames_of_file, molecule_atoms, sizes_of
from physembed.plan.trials import Trials, seconds_per_unit
from physembed.plan.work import WORK, Case
from physembed.stages.values import named
from physembed.study import ModelStudy, Study

PARACETAMOL = "CC(=O)Nc1ccc(O)cc1"
EC, EMC = Component("EC", "O=C1OCCO1", 0.3), Component("EMC", "CCOC(=O)OC", 0.7)
MIXTURE = LiquidSpec("mixture", (EC, EMC), 298.0, 1.0, 80)
MODEL = {"tune_on": "mixture", "evaluate_on": ["mixture"]}
WILDCARDS = {
    "training": "training", "round": "1", "study": "paper", "molecule": "paracetamol", "arm": "adaptive",
    "labelled": "adaptive", "seed": "1",
    "model": "own", "liquid": "mixture", "variant": "corrected", "data_set": "",
}  # fmt: skip


def study_of(values: dict[str, Any]) -> Study:
    """Paracetamol, and the mixture with a model that has its own reference data."""
    config = load({"liquids": {"models": ["own"]}, "models": {"own": MODEL}} | values)
    models = [
        ModelStudy(name, settings, ["mixture"], ["mixture"], ["mixture"]) for name, settings in config.models.items()
    ]
    return Study(
        config,
        [MoleculeSpec("paracetamol", smiles=PARACETAMOL)],
        models,
        {"mixture": MIXTURE},
        {"mixture": None},
        [MoleculeSpec("EC", smiles=EC.smiles), MoleculeSpec("EMC", smiles=EMC.smiles)],
    )


def amount(rule: str, values: dict[str, Any], **wildcards: str) -> float:
    """Units of a job's work."""
    study, of_job = study_of(values), WILDCARDS | wildcards
    function = getattr(stages, rule)
    return WORK[rule].amount(Case(study, sizes_of(study), of_job, function(study, **named(function, of_job))))


# Sizes


def test_atoms_of_every_kind_of_molecule(tmp_path: Path) -> None:
    write_sdf(tmp_path / "p.sdf", from_smiles(PARACETAMOL, seed=1), "p")
    topology = gaff_topology(tmp_path / "p.sdf", parameter_set="gaff", charges="gasteiger")
    files = str(tmp_path / "p.prmtop"), str(tmp_path / "p.inpcrd")
    write_topology(topology, *files)
    assert molecule_atoms(MoleculeSpec("p", smiles=PARACETAMOL)) == 20  # C8H9NO2
    assert molecule_atoms(MoleculeSpec("p", structure=str(tmp_path / "p.sdf"))) == 20
    assert molecule_atoms(MoleculeSpec("p", topology=files[0], coordinates=files[1])) == 20


def test_atoms_of_a_mixture() -> None:
    sizes = sizes_of(study_of({}))
    # 30 % of C3H4O3 (88.06 u, 10 atoms) and 70 % of C4H8O3 (104.10 u, 15 atoms) in 80 molecules: 26.9 and 53.1.
    assert sizes.liquids == {"mixture": 27 * 10 + 53 * 15}
    assert sizes.boxed == {"mixture": 80}
    (model,) = study_of({}).models
    assert sizes.reference_atoms(model, "mixture") == round(12 * (27 * 10 + 53 * 15) / 80) == sizes.trained_atoms(model)


def test_frames_of_a_data_file(tmp_path: Path) -> None:
    frame = "2\nLattice=...\nH 0 0 0\nH 0 0 1\n"
    (tmp_path / "data.xyz").write_text(frame * 17)
    assert frames_of_file(tmp_path / "data.xyz") == DataSet(17, 2)


# Work


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ("labels", {}, 45),
        ("labels", {"arms": {"adaptive": {"keep_unmodified": True}}}, 90),
        ("training", {}, 1000 * 4),  # of 45 frames in batches of 10 the trainer drops the last five
        ("training", {"frames": {"train": 20}, "training": {"epochs": 7, "batch_size": 5}}, 7 * 4),
        ("training", {"arms": {"adaptive": {"training": {"epochs": 3}}}}, 3 * 4),
        ("stability", {}, 100_000 * 20),
        ("stability", {"stability": {"duration_ps": 2, "timestep_fs": 0.5}, "frames": {"starts": 3}}, 4000 * 3),
        ("gaff_npt", {}, 500_000),
        ("reference_labels", {}, 15 * (6 + 4)),
        ("liquid_training", {"models": {"own": MODEL | {"training": {"epochs": 10, "batch_size": 50}}}}, 10 * 3),
        ("liquid_round", {"models": {"own": MODEL | {"reference": {"round_ps": 5}}}}, 15 * 5_000),
        ("scan", {}, 5 * 1_000_000),
        ("scan", {"models": {"own": MODEL | {"alphas": [0.05, -0.05]}}}, 9 * 1_000_000),
        ("scan", {"scan": {"method": "reweighted", "max_runs": 4, "duration_ps": 20}}, 4 * 20_000),
        ("npt", {"npt": {"replicas": 3}}, 3 * 1_000_000),
        ("npt", {"npt": {"longest_ps": 3000, "standard_error_g_cm3": 0.01}}, 3_000_000),
        ("viscosity_run", {"viscosity": {"duration_ps": 100, "equilibration_ps": 20, "replicas": 2}}, 2 * 120_000),
        ("volume_scan", {}, 0),
        ("volume_scan", {"structure": {"volume_scan_labels": True}}, 8 * 3),
    ],
)
def test_work_follows_the_settings_of_the_rule(rule: str, values: dict[str, Any], expected: float) -> None:
    assert amount(rule, values) == expected


def test_validation_frames_are_labelled_once() -> None:
    assert amount("labels", {}, labelled="validation") == 5


def test_stages_of_the_plan_are_rules() -> None:
    assert set(WORK) <= set(ORDER) <= set(stages.__all__)


# Numbers


def test_seconds_at_other_sizes() -> None:
    quadratic = [Point(10, 1.0, False), Point(40, 16.0, False)]
    assert seconds_at(quadratic, 20) == pytest.approx(4.0)
    assert seconds_at(quadratic, 80) == pytest.approx(64.0)
    assert seconds_at(quadratic, 40) == 16.0
    assert seconds_at([Point(10, 1.0, False)], 30) == pytest.approx(3.0)


def test_numbers_are_kept(tmp_path: Path) -> None:
    assert read(tmp_path / "results" / "calibration.json") == {}
    numbers = {"step": [Point(10, 1.5, False), Point(20, 2.5, True)]}
    write(tmp_path / "results" / "calibration.json", numbers)
    assert read(tmp_path / "results" / "calibration.json") == numbers


def test_a_number_belongs_to_what_a_unit_takes_and_not_to_how_many_there_are() -> None:
    def keys(values: dict[str, Any]) -> dict[str, str]:
        study = study_of(values)
        return {trial: key(study, trial, "own" if trial.startswith("liquid_") else "") for trial in SCRIPTS}

    base = keys({})
    lengths = {
        "training": {"epochs": 5, "seeds": [1]}, "stability": {"duration_ps": 3}, "gaff_npt": {"duration_ps": 30},
        "npt": {"duration_ps": 300}, "models": {"own": MODEL | {"training": {"epochs": 3}, "alphas": [0.1, 0.2]}},
    }  # fmt: skip
    assert keys(lengths) == base
    wider = keys({"training": {"num_channels": 8}})
    assert {trial for trial in base if wider[trial] != base[trial]} == {"batch", "step"}
    model = keys({"models": {"own": MODEL | {"training": {"num_channels": 8}}}})
    assert {trial for trial in base if model[trial] != base[trial]} == {"liquid_label", "liquid_batch", "liquid_step"}


def test_a_trial_gives_the_slope_whatever_the_start_costs() -> None:
    now = 0.0

    def run(units: int) -> None:
        nonlocal now
        now += 100.0 + 0.25 * units

    assert seconds_per_unit(run, 3, clock=lambda: now) == pytest.approx(0.25)


@pytest.mark.parametrize("trial", ["label", "gaff_step"])
def test_trials_run_the_code_of_the_stages(trial: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # That training and MD run is shown by tests/workflow/test_plan.py.
    monkeypatch.setattr("physembed.plan.trials.LONG_ENOUGH_SECONDS", 0.0)
    study = study_of({"gaff_npt": {"cutoff_A": 6.0}})
    small = replace(study, liquids={"mixture": replace(MIXTURE, molecules=12)})
    (point,) = Trials(small, tmp_path).measure(trial)
    assert point.atoms == {"label": 20, "gaff_step": 4 * 10 + 8 * 15}[trial]
    assert 0 <= point.seconds < 10 and not point.gpu


# The table


def job(rule: str, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = (), **values: Any) -> PlannedJob:
    given = {"reason": "Missing output files: x", "threads": 1, "mem_mb": 1000, "gpu": False} | values
    return PlannedJob(rule=rule, wildcards=WILDCARDS, inputs=inputs, outputs=outputs, **given)


def test_longest_chain_is_that_of_networkx() -> None:
    rng = random.Random(1)
    for _ in range(20):
        jobs, graph = [], networkx.DiGraph()
        for node in range(30):
            before = [other for other in range(node) if rng.random() < 0.1]
            weight = rng.uniform(1, 10)
            planned = job("any", tuple(f"f{other}" for other in before), (f"f{node}", f"g{node}"))
            jobs.append(CostedJob(planned, Estimate(weight, "measured")))
            graph.add_node(node)
            graph.add_edges_from((other, node, {"weight": jobs[other].wall_seconds}) for other in before)
            graph.add_edge(node, "end", weight=weight)
        rng.shuffle(jobs)
        chain = Plan(jobs).longest_chain()
        assert sum(item.wall_seconds for item in chain) == pytest.approx(networkx.dag_longest_path_length(graph))
        for first, second in pairwise(chain):
            assert set(first.job.outputs) & set(second.job.inputs)


def test_hours() -> None:
    spread = CostedJob(job("labels", threads=4), Estimate(7200, "measured"))
    assert (spread.wall_seconds, spread.cpu_hours, spread.gpu_hours) == (1800, 2, 0)
    card = CostedJob(job("training", threads=2, gpu=True), Estimate(7200, "measured", gpu=True))
    assert (card.wall_seconds, card.cpu_hours, card.gpu_hours) == (7200, 4, 2)


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("Missing output files: a, b; Input files updated by another job: c", "missing output"),
        ("Input files updated by another job: c; Params have changed since last execution: Union of exclusive params "
         "before and now across all output: before: {'training': {'epochs': 4}} now: {'training': {'epochs': 5}} ",
         "settings changed"),
        ("Params have changed since last execution: Union of exclusive params before and now across all output: "
         "before: '0123456789abcdef' now: 'fedcba9876543210' ", "code changed"),
        ("Updated input files: config/own.sdf", "newer input"),
        ("Input files updated by another job: c", "follows another"),
        ("Set of input files has changed since last execution; Input files updated by another job: c", "other inputs"),
        ("Incomplete output files: a", "was interrupted"),
        ("Forced execution", "forced"),
    ],
)  # fmt: skip
def test_reasons_in_two_words(reason: str, short: str) -> None:
    assert short_reason(reason) == short


def rows_of(text: str) -> list[list[str]]:
    return [re.split(r"  +", line.strip()) for line in text.split("\n\n")[0].splitlines()][1:]


@pytest.fixture
def jobs() -> list[PlannedJob]:
    return [
        job("summary", outputs=("c",), inputs=("b",), mem_mb=7000),
        job("training", outputs=("b",), inputs=("a",), gpu=True),
        job("training", outputs=("b2",), inputs=("a",), gpu=True, reason="Input files updated by another job: a"),
        job("labels", outputs=("a",)),
    ]


def test_table(jobs: list[PlannedJob]) -> None:
    study = study_of({})
    sizes = sizes_of(study)
    wanted = trials_of(jobs, study, sizes)
    assert sorted(wanted.values()) == [("batch", ""), ("label", "")]
    numbers = {key(study, "batch", ""): [Point(20, 1.35, True)], key(study, "label", ""): [Point(20, 8.0, False)]}
    text = as_text(make_plan(jobs, study, sizes, numbers))
    assert rows_of(text) == [
        ["labels", "1", "missing output", "0.10", "-", "1.0 GB", "measured"],
        ["training", "2", "missing output (1), follows another (1)", "3.0", "3.0", "1.0 GB", "measured"],
        ["summary", "1", "missing output", "-", "-", "7.0 GB", "short"],
        ["total", "4", "3.1", "3.0", "7.0 GB"],
    ]
    assert "Longest chain of jobs: 1 h 36 min (labels -> training)" in text
    assert "--calibrate" not in text


def test_what_no_trial_has_measured_is_not_guessed(jobs: list[PlannedJob]) -> None:
    study = study_of({})
    text = as_text(make_plan(jobs, study, sizes_of(study), {}))
    assert rows_of(text)[0] == ["labels", "1", "missing output", "?", "-", "1.0 GB", "not measured"]
    assert rows_of(text)[-1][:3] == ["total", "4", "?"]
    assert "--calibrate" in text and "Longest chain" not in text


def test_nothing_to_be_done() -> None:
    study = study_of({})
    assert as_text(make_plan([], study, sizes_of(study), {})).startswith("Nothing to be done")


def test_rounds_of_reference_data_count_where_they_are_used() -> None:
    """15 runs of 6 frames and 4 scans; 5 frames of each run in a round."""
    values = {"models": {"own": MODEL | {"reference": {"rounds": 2}, "training": {"epochs": 10, "batch_size": 10}}}}
    assert amount("reference_labels", values, liquid="EMC_298K") == 150
    assert amount("reference_labels", values, liquid="EMC_298K~2") == 75
    for training, frames in (("training~0", 150), ("training~1", 225), ("training", 300)):
        assert amount("liquid_training", values, training=training) == 10 * (frames // 10)
