"""The plan: sizes, the cost model against measured runs, earlier runs, and the table."""

from __future__ import annotations

import json
import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest

from physembed.config import Config, load
from physembed.liquids.table import Component, LiquidSpec
from physembed.molecules.structure import from_smiles, write_sdf
from physembed.molecules.table import MoleculeSpec
from physembed.molecules.topology import gaff_topology, write_topology
from physembed.plan.costs import Case
from physembed.plan.history import (
    Estimate,
    Measurement,
    RuleFiles,
    benchmark_seconds,
    estimate,
    measurements,
    overlaid,
    used_gpu,
)
from physembed.plan.liquid_costs import COSTS, frames_of_file
from physembed.plan.mace_time import edges
from physembed.plan.plan import CostedJob, Plan, PlannedJob, as_text, make_plan, short_reason
from physembed.plan.sizes import atoms_of_inpcrd, molecule_atoms, sizes_of
from physembed.study import ModelStudy, Study

PARACETAMOL = "CC(=O)Nc1ccc(O)cc1"
ALANINES = "CC(=O)N[C@@H](C)C(=O)N[C@@H](C)C(=O)N[C@@H](C)C(=O)NC"
EC, EMC = Component("EC", "O=C1OCCO1", 0.3), Component("EMC", "CCOC(=O)OC", 0.7)
MIXTURE = LiquidSpec("mixture", (EC, EMC), 298.0, 1.0, 80)
DEMO: dict[str, Any] = {
    "gaff_md": {"duration_ps": 100},
    "frames": {"starts": 10},
    "training": {"seeds": [1, 2], "num_channels": 16, "max_L": 0, "epochs": 140, "batch_size": 5, "device": "cpu"},
    "stability": {"duration_ps": 2, "record_interval_fs": 20, "device": "cpu"},
}
MODEL = {"tune_on": "mixture", "evaluate_on": ["mixture"]}


def study_of(values: dict[str, Any]) -> Study:
    """Paracetamol, and the mixture with a model that has its own reference data."""
    config = load({"liquids": {"models": ["own"]}, "models": {"own": MODEL}} | values)
    models = [ModelStudy(name, settings, ["mixture"], ["mixture"]) for name, settings in config.models.items()]
    return Study(
        config,
        [MoleculeSpec("paracetamol", smiles=PARACETAMOL)],
        models,
        {"mixture": MIXTURE},
        {"mixture": None},
        [MoleculeSpec("EC", smiles=EC.smiles), MoleculeSpec("EMC", smiles=EMC.smiles)],
    )


WILDCARDS = {
    "study": "paper", "molecule": "paracetamol", "arm": "adaptive", "labelled": "adaptive", "seed": "1",
    "model": "own", "liquid": "mixture", "variant": "corrected",
}  # fmt: skip


def seconds(rule: str, values: dict[str, Any] | None = None, *, gpu: bool = False, **wildcards: str) -> float:
    """What the cost model says of a job of paracetamol or of the mixture."""
    study = study_of(values or {})
    return COSTS[rule](Case(study, sizes_of(study), WILDCARDS | wildcards, gpu))


# Sizes


def test_atoms_of_smiles_structure_and_topology(tmp_path: Path) -> None:
    molecule = from_smiles(PARACETAMOL, seed=1)
    write_sdf(tmp_path / "p.sdf", molecule, "p")
    topology = gaff_topology(tmp_path / "p.sdf", parameter_set="gaff", charges="gasteiger")
    files = str(tmp_path / "p.prmtop"), str(tmp_path / "p.inpcrd")
    write_topology(topology, *files)
    assert molecule_atoms(MoleculeSpec("p", smiles=PARACETAMOL)) == 20  # C8H9NO2
    assert molecule_atoms(MoleculeSpec("p", structure=str(tmp_path / "p.sdf"))) == 20
    assert molecule_atoms(MoleculeSpec("p", topology=files[0], coordinates=files[1])) == 20
    assert atoms_of_inpcrd(files[1]) == 20


def test_atoms_of_a_mixture() -> None:
    sizes = sizes_of(study_of({}))
    # 30 % of C3H4O3 (88.06 u, 10 atoms) and 70 % of C4H8O3 (104.10 u, 15 atoms) in 80 molecules: 26.9 and 53.1.
    assert sizes.liquids == {"mixture": 27 * 10 + 53 * 15}
    assert sizes.boxed == {"mixture": 80}


@pytest.mark.parametrize("smiles", [PARACETAMOL, ALANINES])
@pytest.mark.parametrize("r_max", [3.0, 5.0])
def test_edges_of_a_molecule(smiles: str, r_max: float) -> None:
    positions = from_smiles(smiles, seed=1).GetConformer().GetPositions()
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    counted = (distances < r_max).sum() - len(positions)
    assert edges(len(positions), r_max, periodic=False) == pytest.approx(counted, rel=0.15)


def test_edges_go_to_all_pairs_and_to_the_bulk() -> None:
    assert edges(5, 1e3, periodic=False) == pytest.approx(5 * 4)
    assert edges(10**6, 4.0, periodic=False) == pytest.approx(edges(10**6, 4.0, periodic=True), rel=1e-4)
    assert edges(1, 5.0, periodic=False) < 1


# The cost model


def test_every_rule_of_the_workflow_has_a_cost() -> None:
    root = Path(__file__).parents[2]
    files = [root / "Snakefile", *(root / "workflow/rules").glob("*.smk")]
    rules = {name for file in files for name in re.findall(r"^(?:rule|checkpoint) (\w+):", file.read_text(), re.M)}
    assert rules - set(COSTS) == {"all"}, "physembed/plan/costs.py and liquid_costs.py: a new rule needs a cost"


@pytest.mark.parametrize(
    ("rule", "measured"),
    [("gaff_md", 3.5), ("evaluation", 11.0), ("training", 151.0), ("labels", 2.2), ("stability", 100.0)],
)
def test_the_demo_takes_what_was_measured(rule: str, measured: float) -> None:
    # docs/performance.md; stability: the middle of 56 to 144 s.
    assert measured / 2 < seconds(rule, DEMO) < 2 * measured


@pytest.mark.parametrize("rule", sorted(COSTS))
@pytest.mark.parametrize("gpu", [False, True])
def test_costs_are_positive(rule: str, gpu: bool) -> None:
    assert 0 < seconds(rule, gpu=gpu) < 1e9


@pytest.mark.parametrize(
    ("rule", "key", "value"),
    [
        ("gaff_md", "gaff_md.duration_ps", 1000.0),
        ("labels", "frames.train", 600),
        ("training", "training.epochs", 500),
        ("stability", "stability.duration_ps", 50.0),
        ("stability", "frames.starts", 20),
        ("gaff_npt", "gaff_npt.duration_ps", 500.0),
        ("npt", "npt.duration_ps", 300.0),
        ("npt", "npt.replicas", 2),
        ("scan", "scan.duration_ps", 300.0),
        ("viscosity_run", "viscosity.duration_ps", 300.0),
    ],
)
def test_work_on_a_cpu_grows_linearly(rule: str, key: str, value: float) -> None:
    section, name = key.split(".")
    one, two, three = (seconds(rule, {section: {name: factor * value}}) for factor in (1, 2, 3))
    assert two - one > 0.5 * one
    assert three - two == pytest.approx(two - one)


def test_a_gpu_takes_a_small_batch_in_the_time_of_one_and_a_large_one_in_proportion() -> None:
    small, large = ({"frames": {"starts": count}} for count in (1, 20))
    assert seconds("stability", large, gpu=True) == seconds("stability", small, gpu=True)
    huge, twice = ({"frames": {"starts": count}} for count in (2000, 4000))
    ratio = (seconds("stability", twice, gpu=True) - 8) / (seconds("stability", huge, gpu=True) - 8)
    assert ratio == pytest.approx(2, rel=1e-3)


def test_unmodified_frames_kept_are_twice_the_labels() -> None:
    kept = seconds("labels", {"arms": {"adaptive": {"keep_unmodified": True}}})
    plain = seconds("labels", {"arms": {"adaptive": {}}})
    nothing = seconds("labels", {"arms": {"adaptive": {}}, "frames": {"train": 10}})
    assert kept - plain == pytest.approx((plain - nothing) * 45 / 35)


def test_an_arm_of_fewer_frames_and_epochs_of_its_own_costs_as_much_less() -> None:
    whole = {"frames": {"train": 40}, "training": {"epochs": 100}}
    few = whole | {"arms": {"adaptive": {"frames": 10}}}
    assert seconds("labels", few) - 1.5 == pytest.approx((seconds("labels", whole) - 1.5) / 4)
    short = whole | {"arms": {"adaptive": {"training": {"epochs": 20}}}}
    assert seconds("training", short) - 8 == pytest.approx((seconds("training", whole) - 8) / 5)


def test_direct_scan_runs_each_point_of_each_alpha_and_the_uncorrected_model() -> None:
    def of(points: list[float], alphas: list[float]) -> float:
        values = {"scan": {"method": "direct", "a1": points}, "models": {"own": MODEL | {"alphas": alphas}}}
        return seconds("scan", values) - seconds("liquid_model")  # that is the start of torch

    assert of([0.0, 1.0, 2.0], [0.05, -0.05]) / of([0.0, 1.0], [0.05]) == pytest.approx(7 / 3, rel=1e-3)


def test_frames_of_a_data_file(tmp_path: Path) -> None:
    frame = "2\nLattice=...\nH 0 0 0\nH 0 0 1\n"
    (tmp_path / "data.xyz").write_text(frame * 17)
    assert frames_of_file(tmp_path / "data.xyz") == (17, 2.0)


# Earlier runs


def measured(model_seconds: float, taken: float, *, rule: str = "training", gpu: bool = False) -> Measurement:
    return Measurement(rule, gpu, model_seconds, taken)


def test_estimate_from_the_nearest_in_work() -> None:
    case = Case(study_of(DEMO), sizes_of(study_of(DEMO)), WILDCARDS, gpu=False)

    def cost(_: Case) -> float:
        return 100.0

    same = [measured(100, 150), measured(100, 170), measured(100, 400), measured(200, 100)]
    assert estimate("training", case, cost, same) == Estimate(pytest.approx(170), "measured")  # the median
    assert estimate("training", case, cost, [measured(50, 60), measured(900, 9)]) == Estimate(
        pytest.approx(120), "scaled"
    )
    others = [measured(5, 1), measured(100, 1, gpu=True), measured(100, 1, rule="labels")]
    assert estimate("training", case, cost, others) == Estimate(100.0, "model")


TABLE = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(path: Path, wall: float, load: str = "100.00", cpu: str = "1.0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{TABLE}{wall}\t0:00:01\t1\t1\t1\t1\t1\t1\t{load}\t{cpu}\n")
    return path


def test_seconds_of_a_benchmark(tmp_path: Path) -> None:
    # Half a core for 100 s, of which Snakemake saw 30 s when it last looked; then a job too short for a look.
    assert benchmark_seconds(benchmark(tmp_path / "a.tsv", 100, "50.0", "30.0"), gpu=False) == 50
    assert benchmark_seconds(benchmark(tmp_path / "b.tsv", 100, "50.0", "30.0"), gpu=True) == 100
    assert benchmark_seconds(benchmark(tmp_path / "c.tsv", 0.6, "0.00", "0.4"), gpu=False) == 0.4
    assert benchmark_seconds(benchmark(tmp_path / "d.tsv", 0.6, "-", "NA"), gpu=False) == 0.6
    (tmp_path / "e.tsv").write_text(TABLE)
    assert benchmark_seconds(tmp_path / "e.tsv", gpu=False) is None


@pytest.mark.parametrize(
    ("device", "host", "gpu"),
    [
        ("cpu", {}, False),
        ("cuda", {}, True),
        ("auto", {"gpu": "NVIDIA H200"}, True),
        ("auto", {"gpu": None}, False),
        ("auto", {}, None),
    ],
)
def test_device_of_an_earlier_job(device: str, host: dict[str, Any], gpu: bool | None) -> None:
    assert used_gpu({"settings": {"training": {"device": device}, "seed": 1}, "host": host}) is gpu
    assert used_gpu({"settings": {"device": device}, "host": host}) is gpu


def test_job_without_a_device_is_one_of_the_cpu() -> None:
    assert used_gpu({"settings": {"labels": {}}}) is False


FILES = {
    "training": RuleFiles(
        "results/{study}/{molecule}/benchmarks/training_{arm}_seed{seed}.tsv",
        "results/{study}/{molecule}/training/{arm}/seed{seed}/provenance.json",
    ),
    "npt": RuleFiles(
        "results/{study}/models/{model}/benchmarks/npt_{liquid}_{variant}.tsv",
        "results/{study}/models/{model}/npt/{liquid}/{variant}/provenance.json",
    ),
}


def record(path: Path, stage: str, settings: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"stage": stage, "settings": settings}))


def test_earlier_jobs_are_judged_by_their_own_settings_frames_and_atoms(tmp_path: Path) -> None:
    folder = tmp_path / "results/old/benzene"
    benchmark(folder / "benchmarks/training_adaptive_seed7.tsv", 50)
    small = {"num_channels": 8, "max_L": 0, "epochs": 10, "batch_size": 5, "device": "cpu"}
    record(folder / "training/adaptive/seed7/provenance.json", "training", {"training": small, "seed": 7})
    record(folder / "frames/provenance.json", "frames", {"frames": {"train": 12, "validation": 2}, "seed": 1})
    (folder / "topology").mkdir()
    (folder / "topology/topology.inpcrd").write_text("benzene\n   12  0.0\n")
    study = study_of({})
    found = measurements(tmp_path, FILES, study, sizes_of(study), COSTS)
    then = {"training": small, "frames": {"train": 12, "validation": 2}}
    past = study_of(then)
    sizes = sizes_of(past).with_molecule("paracetamol", 12)
    expected = COSTS["training"](Case(past, sizes, WILDCARDS, gpu=False))
    assert found == [Measurement("training", False, pytest.approx(expected), 50.0)]


def test_earlier_runs_of_liquids(tmp_path: Path) -> None:
    settings = {"npt": {"duration_ps": 20.0, "timestep_fs": 0.5, "device": "cpu"}, "convention": "d3"}
    for model in ("own", "unknown"):
        folder = tmp_path / "results/old/models" / model
        benchmark(folder / "benchmarks/npt_mixture_corrected.tsv", 70)
        record(folder / "npt/mixture/corrected/provenance.json", "npt", settings)
    study = study_of({})
    found = measurements(tmp_path, FILES, study, sizes_of(study), COSTS)
    per_step = [seconds("npt", {"npt": {"duration_ps": duration}}) for duration in (400.0, 200.0)]
    expected = seconds("liquid_model") + (per_step[0] - per_step[1]) * 40_000 / 200_000
    # The work of a model that the study does not have is not known.
    assert found == [Measurement("npt", False, pytest.approx(expected), 70.0)]


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("evaluation", {"training": {"device": "cpu"}}),
        ("training", {"training": {"device": "auto"}}),
    ],
)
def test_jobs_that_tell_nothing_are_left_out(tmp_path: Path, stage: str, settings: dict[str, Any]) -> None:
    folder = tmp_path / "results/old/paracetamol"
    for arm in ("adaptive", "gone"):
        benchmark(folder / f"benchmarks/training_{arm}_seed1.tsv", 50)
    record(folder / "training/adaptive/seed1/provenance.json", stage, settings)
    record(folder / "training/gone/seed1/provenance.json", "training", {"training": {"device": "cpu"}})
    benchmark(folder / "benchmarks/training_adaptive_seed2.tsv", 50)  # without a provenance
    study = study_of({})
    assert measurements(tmp_path, FILES, study, sizes_of(study), COSTS) == []


def test_values_are_laid_over_sections_alone() -> None:
    config = overlaid(Config(), {"training": {"epochs": 3, "gone": 1}, "molecules": 80, "alphas": [1.0], "seed": 5})
    assert config == Config(training=replace_in(Config().training, epochs=3), seed=5)


def replace_in(section: Any, **values: Any) -> Any:
    return section.model_copy(update=values)


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
            jobs.append(CostedJob(planned, Estimate(weight, "model")))
            graph.add_node(node)
            graph.add_edges_from((other, node, {"weight": jobs[other].wall_seconds}) for other in before)
            graph.add_edge(node, "end", weight=weight)
        rng.shuffle(jobs)
        chain = Plan(jobs).longest_chain()
        assert sum(item.wall_seconds for item in chain) == pytest.approx(networkx.dag_longest_path_length(graph))
        for first, second in pairwise(chain):
            assert set(first.job.outputs) & set(second.job.inputs)


def test_hours() -> None:
    spread = CostedJob(job("labels", threads=4), Estimate(7200, "model"))
    assert (spread.wall_seconds, spread.cpu_hours, spread.gpu_hours) == (1800, 2, 0)
    card = CostedJob(job("training", threads=2, gpu=True), Estimate(7200, "model"))
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


def test_table() -> None:
    study = study_of(DEMO)
    jobs = [
        job("new_rule", outputs=("c",), inputs=("b",), mem_mb=7000),
        job("training", outputs=("b",), inputs=("a",), gpu=True),
        job("training", outputs=("b2",), inputs=("a",), gpu=True, reason="Input files updated by another job: a"),
        job("gaff_md", outputs=("a",)),
    ]
    known = [Measurement("training", True, COSTS["training"](Case(study, sizes_of(study), WILDCARDS, True)), 5400.0)]
    text = as_text(make_plan(jobs, study, sizes_of(study), COSTS, known))
    rows = [re.split(r"  +", line.strip()) for line in text.split("\n\n")[0].splitlines()]
    assert rows[1:] == [
        ["gaff_md", "1", "missing output", "<0.01", "-", "1.0 GB", "model"],
        ["training", "2", "missing output (1), follows another (1)", "3.0", "3.0", "1.0 GB", "measured"],
        ["new_rule", "1", "missing output", "?", "-", "7.0 GB", "?"],
        ["total", "4", "3.0", "3.0", "7.0 GB"],
    ]
    assert "Longest chain of jobs: 1 h 30 min (gaff_md -> training)" in text
    assert "Not in the totals, because the cost model does not know them: new_rule." in text


def test_nothing_to_be_done() -> None:
    study = study_of({})
    assert as_text(make_plan([], study, sizes_of(study), COSTS, [])).startswith("Nothing to be done")
