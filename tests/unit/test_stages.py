"""What stages are given: each setting reaches the stages that use it and no other, and seeds go to those that draw."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mace import modules

from physembed import stages
from physembed.config import Section
from physembed.errors import PhysEmbedError
from physembed.provenance import ROOT, SHAPES_NO_RESULT, code_files, shapes_results
from physembed.report.catalogue import captions
from physembed.stages import inputs
from physembed.stages.values import data_sets
from physembed.study import Study, load_study
from tests.unit.models_for_tests import random_mace
from tests.unit.own_topology import TYPES, write_own_topology

PROJECT = ROOT.parent
LIQUIDS = """\
name\tcomponents\ttemperature_K\tpressure_bar\tmolecules\tcomment
EMC_298K\tEMC CCOC(=O)OC\t298.15\t1.01325\t80\t
DMC_298K\tDMC COC(=O)OC\t298.15\t1.01325\t80\t
"""
MOLECULES = "name\tsmiles\tstructure\ttopology\tcoordinates\ncoffee\tCO\t\t\t\nown\t\t\town.top\town.gro\n"
WILDCARDS = {
    "molecule": "coffee", "arm": "adaptive", "labelled": "adaptive", "seed": "2", "model": "ours",
    "liquid": "EMC_298K", "variant": "corrected", "data_set": "", "round": "1",
}  # fmt: skip


@pytest.fixture
def study_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Study]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "liquids.tsv").write_text(LIQUIDS)
    (tmp_path / "molecules.tsv").write_text(MOLECULES)
    write_own_topology(tmp_path / "own.top", types='#include "types.itp"\n')
    (tmp_path / "types.itp").write_text(TYPES)

    def study(**changes: Any) -> Study:
        config: dict[str, Any] = {
            "molecules": {"table": "molecules.tsv"},
            "liquids": {
                "table": "liquids.tsv",
                "experiment": str(PROJECT / "config/experiment.tsv"),
                "models": ["ours"],
            },
            "gaff_npt": {"cutoff_A": 6.0},
            "models": {"ours": {"tune_on": "EMC_298K", "evaluate_on": ["EMC_298K", "DMC_298K"]}},
        }
        for key, value in changes.items():
            place = config
            *path, last = key.split("__")
            for name in path:
                place = place.setdefault(name, {})
            place[last] = value
        return load_study(config)

    return study


def given(study: Study, stage: str) -> dict[str, Any]:
    """What a stage is given, as Snakemake sees it."""
    function = getattr(stages, stage)
    names = inspect.signature(function).parameters.keys() - {"study"}
    settings = function(study, **{name: WILDCARDS[name] for name in names})
    assert json.loads(json.dumps(settings)) == settings, f"{stage}: not plain values"
    return settings


def changed(before: Study, after: Study) -> set[str]:
    """Stages that are given something else."""
    return {name for name in stages.__all__ if given(before, name) != given(after, name)}


def rules() -> dict[str, str]:
    """Text of each rule."""
    files = (PROJECT / "workflow/rules").glob("*.smk")
    pattern = r"^rule (\w+):\n(.*?)(?=^\S|\Z)"
    return {name: body for file in files for name, body in re.findall(pattern, file.read_text(), re.M | re.S)}


def test_rule_script_and_stage_have_one_name() -> None:
    assert set(rules()) == set(stages.__all__)
    for name, body in rules().items():
        assert f"settings=given(stages.{name})," in body
        assert f'"../scripts/{name}.py"' in body
        assert re.search(rf'code=code\(\s*"{name}.py"', body)


def test_functions_take_the_wildcards_of_their_rules() -> None:
    for name, body in rules().items():
        taken = inspect.signature(getattr(stages, name)).parameters.keys() - {"study"}
        assert taken <= set(re.findall(r"{(\w+)}", body)), name


ARMS = ("original", "adaptive")
SEED = {"summary"}  # it shows the whole configuration


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("gaff_md__duration_ps", 900.0, {"gaff_md"}),
        ("frames__starts", 19, {"starts"}),
        ("frames__train", 44, {"frames", "starts"}),
        ("labels__accuracy", 0.5, {"labels", "reference_labels", "before_collapse"}),
        ("training__epochs", 7, {"training", "round_training"}),
        (
            "training__seeds",
            [1, 2, 3],
            {"evaluation", "force_metrics", "before_collapse", "survival", "figures", "viewer", "tables"},
        ),
        ("stability__duration_ps", 50.0, {"stability", "figures", "tables", "survival_against_labels"}),
        ("topology__charges", "gasteiger", {"gaff_topology"}),
        ("gaff_npt__duration_ps", 100.0, {"gaff_npt"}),
        ("gaff_npt__packing_density_g_cm3", 0.5, {"box"}),
        ("npt__duration_ps", 900.0, {"npt"}),
        ("npt__replicas", 2, {"npt"}),
        ("npt", {"longest_ps": 2000.0, "standard_error_g_cm3": 0.005}, {"npt"}),
        ("npt__window_ps", 100.0, {"density"}),
        ("npt__barostat", "langevin", {"npt", "scan"}),
        ("scan__a1", [0.1, 0.2], {"scan"}),
        ("scan__minimum_effective_samples", 60.0, {"tuning"}),
        ("viscosity__duration_ps", 400.0, {"viscosity_run"}),
        ("viscosity__relative_error", 0.2, {"viscosity"}),
        ("structure__bins", 100, {"structure"}),
        ("structure__volume_scan_frames", 2, {"volume_scan"}),
        ("models__ours__training__epochs", 7, {"liquid_training"}),
        ("models__ours__reference__method", "GFN1-xTB", {"reference_labels"}),
        ("models__ours__reference__molecules", 5, {"reference_frames"}),
        ("models__ours__reference__round_ps", 5.0, {"liquid_round"}),
        ("models__ours__reference__rounds", 2, set()),
        ("npt__timestep_fs", 2.0, {"npt", "scan", "liquid_round"}),
        ("models__ours__alphas", [0.1], {"scan", "tuning"}),
        ("models__ours__a1_range", [0.0, 1.0], {"tuning"}),
        ("jobs__per_gpu", 2, set()),
    ],
)
def test_a_setting_reaches_the_stages_that_use_it(
    study_of: Callable[..., Study], key: str, value: Any, expected: set[str]
) -> None:
    with_summary = SEED if not key.startswith("jobs") else set()
    assert changed(study_of(), study_of(**{key: value})) == expected | with_summary


def test_what_an_arm_trains_otherwise_changes_no_frames(study_of: Callable[..., Study]) -> None:
    def of_arm(**recipe: Any) -> Study:
        return study_of(arms={"original": {"bonds_per_frame": 0}, "adaptive": recipe})

    own = {"repulsion": "zbl", "forces_weight": 10.0}
    assert changed(of_arm(), of_arm(training=own)) == {"training", "round_training"} | SEED
    assert changed(of_arm(), of_arm(frames=40)) == {"bond_sampling"} | SEED
    plain = given(of_arm(), "training")
    assert given(of_arm(training=own), "training") == plain | {"training": plain["training"] | own}


def test_a_recipe_names_its_files(study_of: Callable[..., Study], tmp_path: Path) -> None:
    """Frames of another arm, a model to begin with, and an arm that is trained on nothing."""
    torch.save(random_mace((1, 6, 8, 9)), "some.model")
    study = study_of(arms={
        "adaptive": {},
        "tuned": {"frames_of": "adaptive", "base": {"file": "some.model"}},
        "pretrained": {"base": {"pretraining": True}},
        "on": {"frames_of": "adaptive", "base": {"arm": "adaptive"}},
        "given": {"frames": 0, "base": {"file": "some.model"}},
    })  # fmt: skip
    folder = "results/paper/coffee"
    begins = {arm: inputs.base_model(study, "coffee", arm, "2") for arm in study.config.arms}
    assert begins == {
        "adaptive": [], "tuned": "some.model", "pretrained": f"{folder}/pretraining/seed2/mace.model",
        "on": f"{folder}/training/adaptive/seed2/mace.model", "given": "some.model",
    }  # fmt: skip
    assert inputs.labels_of_seed(study, "coffee", "tuned", "2") == f"{folder}/labels/adaptive.xyz"
    ranges = {"stage": "bond_sampling", "name": "_ranges.csv"}
    assert inputs.of_data_sets(study, "coffee", "on", **ranges) == [f"{folder}/bond_sampling/adaptive_ranges.csv"]
    assert inputs.of_data_sets(study, "coffee", "given", **ranges) == []
    assert inputs.ranges_of_seed(study, "coffee", "given", "2", "ranges.csv") == []
    assert stages.tables(study)["sources"] == {
        "adaptive": ["adaptive"], "pretrained": ["pretrained"], "tuned": ["adaptive"], "on": ["adaptive"], "given": []
    }  # fmt: skip


def test_rounds_of_learning_name_their_files(study_of: Callable[..., Study]) -> None:
    """A round runs with the models of the one before, adds to its frames, and is trained where it adds any."""
    study = study_of(arms={
        "adaptive": {},
        "on": {"frames_of": "adaptive", "learning": {"rounds": 2, "hot_ps": 7.0}},
        "own": {"training": {"weighting": "clusters"}, "learning": {"rounds": 1}},
    }, stability__duration_ps=50.0, training__seeds=[1, 2])  # fmt: skip
    folder = "results/paper/coffee"

    def models(name: str) -> list[str]:
        return [f"{folder}/training/{name}/seed{seed}/mace.model" for seed in (1, 2)]

    names = ("on~1", "on~2", "own~1")
    assert [inputs.committee_before(study, "coffee", name) for name in names] == [
        models("adaptive"), models("on~1"), models("own~0")
    ]  # fmt: skip
    assert [inputs.frames_before(study, "coffee", name) for name in names] == [
        f"{folder}/{path}" for path in
        ("bond_sampling/adaptive.xyz", "learning/on~1/frames.xyz", "bond_sampling/own.xyz")
    ]  # fmt: skip
    of_first = [inputs.round_before(study, "coffee", name) for name in names]
    assert of_first == [[], f"{folder}/learning/on~1/round.csv", []]
    assert inputs.frames_to_label(study, "coffee", "on~2", "") == f"{folder}/learning/on~2/frames.xyz"
    sets = [(name, "1") for name in ("on~1", "on~2", "on", "own~0", "own~1", "own")]
    assert [inputs.training_set(study, "coffee", *of) for of in sets] == [
        f"{folder}/{path}" for path in (
            "labels/on~1.xyz", "labels/on~2.xyz", "labels/on~2.xyz", "training/own~0/seed1/weighted.xyz",
            "training/own~1/seed1/weighted.xyz", "training/own~1/seed1/weighted.xyz",
        )
    ]  # fmt: skip
    # The models of an arm are those of its last round: the set is the same.
    assert inputs.training_set_before(study, "coffee", "on", "1") == f"{folder}/labels/on~2.xyz"
    last = inputs.trained_of_round_before(study, "coffee", "on", "2", "curve.csv")
    assert last == f"{folder}/training/on~2/seed2/curve.csv"
    labels, ranges = ({"stage": stage, "name": name} for stage, name in (("labels", ".xyz"), ("bond_sampling", ".csv")))
    assert inputs.of_data_sets(study, "coffee", "on", **labels) == [f"{folder}/labels/on~2.xyz"]
    assert inputs.of_data_sets(study, "coffee", "on", **ranges) == [f"{folder}/bond_sampling/adaptive.csv"]
    tables = stages.tables(study)
    assert tables["labelled"] == ["validation", "adaptive", "own", "own~1", "on~2"]
    assert tables["sources"] == {"adaptive": ["adaptive"], "own": ["own~1"], "on": ["on~2"]}
    assert stages.rounds(study)["rounds"] == [
        [name, arm, number] for name in ("coffee", "own") for arm, number in (("own", 1), ("on", 1), ("on", 2))
    ]  # fmt: skip
    # The number of rounds is nothing to the rounds, and the MD has a length of its own.
    settings = stages.learning(study, "coffee", "on~1")
    assert "rounds" not in settings["learning"] and settings["stability"]["duration_ps"] == 7.0


def test_files_that_models_begin_as_are_checked_first(study_of: Callable[..., Study]) -> None:
    def refusal(module: torch.nn.Module, **recipe: Any) -> str:
        torch.save(module, "some.model")  # of the molecules, methanol and hydrogen fluoride
        recipe.setdefault("base", {"file": "some.model"})
        with pytest.raises(PhysEmbedError) as raised:
            study_of(arms={"a": recipe})
        return str(raised.value)

    key = "config: arms.a.base.file: some.model: "
    assert refusal(random_mace((1, 6))) == f"{key}the model does not know O of molecule coffee (it has H, C)"
    assert refusal(random_mace()) == f"{key}the model does not know F of molecule own (it has H, C, O)"
    plain = random_mace((1, 6, 8, 9))
    plain.__class__ = modules.MACE
    assert refusal(plain).startswith(f"{key}holds MACE, and MACE's trainer goes on from ScaleShiftMACE alone")
    study_of(arms={"a": {"frames": 0, "base": {"file": "some.model"}}})
    other = {"file": "some.model", "sha256": "0" * 64}
    assert "it is another file than the one that was meant" in refusal(random_mace((1, 6, 8, 9)), base=other)
    assert refusal(plain, base={"file": "no.model"}).endswith("no.model: there is no such file")


def test_a_seed_goes_to_stages_that_draw(study_of: Callable[..., Study]) -> None:
    drawing = {
        "molecule",
        "gaff_md",
        "frames",
        "starts",
        "bond_sampling",
        "pretraining_frames",
        "conformations",
        "stability",
        "learning",
    }
    of_liquids = {"box", "gaff_npt", "reference_frames", "liquid_round", "scan", "npt", "viscosity_run", "certificate"}
    assert changed(study_of(), study_of(seed=1)) == drawing | of_liquids | SEED
    # The seeds of the trainers are in the configuration.
    assert given(study_of(), "training")["seed"] == 2
    assert "seed" in given(study_of(), "liquid_training")["training"]


def test_an_arm_that_draws_nothing_has_no_seed(study_of: Callable[..., Study]) -> None:
    first, second = study_of(seed=1), study_of(seed=2)
    plain = [stages.bond_sampling(study, "coffee", "original", "") for study in (first, second)]
    assert plain[0] == plain[1] and plain[0]["seed"] is None
    assert isinstance(stages.bond_sampling(first, "coffee", "adaptive", "")["seed"], int)
    bent = study_of(arms={"original": {"bonds_per_frame": 0, "angles_per_frame": 1}})
    assert isinstance(stages.bond_sampling(bent, "coffee", "original", "")["seed"], int)


def test_a_new_seed_leaves_a_topology_of_ones_own(study_of: Callable[..., Study]) -> None:
    assert [stages.molecule(study_of(seed=seed), "own") for seed in (1, 2)] == [{"smiles": None}] * 2
    assert stages.given_topology(study_of(seed=1)) == {}


def test_the_target_reaches_the_scan_only_where_its_points_depend_on_it(study_of: Callable[..., Study]) -> None:
    assert given(study_of(), "scan")["extends"] == {}
    reweighted = given(study_of(scan__method="reweighted"), "scan")
    assert reweighted["extends"] == {"target_g_cm3": study_of().target_density("ours")}
    assert "a1" not in reweighted["scan"]


def test_tasks_have_seeds_of_their_own(study_of: Callable[..., Study]) -> None:
    study = study_of()
    seeds = [stages.stability(study, "coffee", arm, seed)["seed"] for arm in study.config.arms for seed in "12345"]
    seeds += [
        stage(study, "ours", liquid, variant)["seed"]
        for stage in (stages.npt, stages.viscosity_run)
        for liquid in study.liquids
        for variant in inputs.VARIANTS
    ]
    assert len(set(seeds)) == len(seeds)


def test_inputs(study_of: Callable[..., Study]) -> None:
    study = study_of(models__ours__reference__liquids=["DMC_298K"])
    base = "results/paper"
    assert inputs.structure_file(study, "coffee") == []
    own = {"topology": "own.top", "coordinates": "own.gro", "included": ["types.itp"]}
    assert inputs.topology_files(study, "own") == own
    assert inputs.frames_to_label(study, "coffee", "validation", "") == f"{base}/coffee/frames/validation.xyz"
    assert inputs.frames_to_label(study, "coffee", "adaptive", "") == f"{base}/coffee/bond_sampling/adaptive.xyz"
    assert inputs.of_components(study, "EMC_298K", "bonds.csv") == [f"{base}/EMC/topology/bonds.csv"]
    assert inputs.training_frames(study, "ours", "training") == [f"{base}/models/ours/labels/DMC_298K.xyz"]
    assert inputs.model_file(study, "ours") == f"{base}/models/ours/training/mace.model"
    assert inputs.tuning_of_variant(study, "ours", "uncorrected") == []
    # One file is a string: of a list Snakemake gives the script a list.
    assert inputs.tuning_of_variant(study, "ours", "corrected") == f"{base}/models/ours/tuning/tuning.csv"
    assert inputs.of_liquids(study, "ours", "npt", "runs.csv") == [
        f"{base}/models/ours/npt/{liquid}/{variant}/runs.csv"
        for liquid in ("EMC_298K", "DMC_298K")
        for variant in ("uncorrected", "corrected")
    ]
    for chosen, expected in ("all", ["EMC_298K", "DMC_298K"]), (["DMC_298K"], ["DMC_298K"]), ([], []):
        viscous = study_of(models__ours__viscosity_of=chosen)
        files = inputs.of_liquids(viscous, "ours", "viscosity", "viscosity.csv")
        assert [file.split("/")[5] for file in files[::2]] == expected and len(files) == 2 * len(expected)
    with pytest.raises(PhysEmbedError, match=r"models\.ours\.viscosity_of: 'EMC_29K': the model is not"):
        study_of(models__ours__viscosity_of=["EMC_29K"])
    alone = study_of(liquids__models=[])
    assert "model_figures" not in inputs.of_summary(alone) and "figures" in inputs.of_summary(alone)


def test_seeds_share_a_data_set_or_have_their_own(study_of: Callable[..., Study]) -> None:
    common, own = study_of(training__seeds=[3, 7]), study_of(training__seeds=[3, 7], frames__per_seed=True)
    base = "results/paper/coffee"
    assert data_sets(common) == {"": [3, 7]} and data_sets(own) == {"seed3/": [3], "seed7/": [7]}
    assert inputs.labels_of_seed(common, "coffee", "adaptive", "7") == f"{base}/labels/adaptive.xyz"
    assert inputs.labels_of_seed(own, "coffee", "adaptive", "7") == f"{base}/labels/seed7/adaptive.xyz"
    assert (
        inputs.ranges_of_seed(own, "coffee", "adaptive", "3", "ranges.csv")
        == f"{base}/bond_sampling/seed3/adaptive_ranges.csv"
    )
    assert inputs.frames_to_label(own, "coffee", "adaptive", "seed3/") == f"{base}/bond_sampling/seed3/adaptive.xyz"
    assert stages.evaluation(own, "adaptive")["seeds"] == [[3], [7]]
    drawn = [stages.frames(own, "coffee", folder)["seed"] for folder in data_sets(own)]
    drawn += [stages.bond_sampling(own, "coffee", "adaptive", folder)["seed"] for folder in data_sets(own)]
    assert len(set(drawn)) == 4
    # Starts are drawn after the frames of the same data set, so no frame is used twice.
    assert stages.starts(own, "coffee", "seed3/")["seed"] == stages.frames(own, "coffee", "seed3/")["seed"]
    assert changed(common, own) == {"evaluation", "force_metrics", "survival_against_labels"} | SEED, (
        "what is there of the common data set stays as it is"
    )


# Contents of the code hashes


def behind(script: str) -> set[str]:
    """Modules of the library in the code hash of a rule."""
    files = code_files(PROJECT / "workflow/scripts" / f"{script}.py")
    return {path.relative_to(ROOT).as_posix() for path in files if path.is_relative_to(ROOT)}


EXPENSIVE = [
    "gaff_md", "gaff_npt", "reference_frames", "liquid_round", "labels", "reference_labels", "training",
    "liquid_training", "stability", "scan", "npt", "viscosity_run", "volume_scan",
]  # fmt: skip


ANALYSED_ON_THE_WAY = {
    "npt": {"analysis/density.py"},
    "scan": {"analysis/density.py", "analysis/reweighting.py", "analysis/scan.py", "analysis/tuning.py"},
    # Energies and forces of a few frames; their labels, which cost most, are kept by their content.
    "volume_scan": {"analysis/volume_scan.py"},
}
"""Analysis behind expensive rules. No other one has any, so that an edit of the analysis repeats no MD."""


@pytest.mark.parametrize("script", EXPENSIVE)
def test_no_expensive_rule_depends_on_pages_plans_or_messages(script: str) -> None:
    modules = behind(script)
    assert modules, "nothing of the library?"
    others = ("report/", "plan/", "config/", "stages/", "gathered.py", "progress.py", "errors.py", "__init__.py")
    assert not {name for name in modules if name.startswith(others) or "messages" in name}
    assert {name for name in modules if name.startswith("analysis/")} == ANALYSED_ON_THE_WAY.get(script, set())


@pytest.mark.parametrize("rule", ["scan", "npt"])
def test_npt_runs_are_kept_whatever_chooses_them(rule: str) -> None:
    """The analysis says where to run next and how long: an edit of it runs the rule again, and finds the runs there."""
    assert re.search(r'code_of_runs=code_of_runs\("npt.py"\)', rules()[rule])
    with_analysis = code_files(PROJECT / "workflow/scripts/npt.py")
    without = code_files(PROJECT / "workflow/scripts/npt.py", without="analysis")
    assert ROOT / "md" / "npt.py" in without
    assert {file.relative_to(ROOT).as_posix() for file in with_analysis - without} == ANALYSED_ON_THE_WAY["npt"]


def test_runs_of_fixed_length_do_not_depend_on_the_analysis() -> None:
    assert 'code=code("npt.py") if STUDY.config.npt.longest_ps else code_of_runs("npt.py")' in rules()["npt"]


def test_modules_without_a_result_exist() -> None:
    for name in SHAPES_NO_RESULT:
        assert (ROOT / name).is_dir() if name.endswith("/") else (ROOT / name).is_file(), name


def sections(section: type[Section] = Section) -> set[type[Section]]:
    return {section}.union(*(sections(inner) for inner in section.__subclasses__()))


def test_no_result_depends_on_what_a_section_works_out() -> None:
    """No code hash includes the sections, so a change of a value computed by one of them would go unnoticed."""
    worked_out = {
        name
        for section in sections()
        for name, value in vars(section).items()
        if isinstance(value, property) or (inspect.isfunction(value) and not name.startswith("_"))
    }
    assert "arm_names" in worked_out
    for path in ROOT.rglob("*.py"):
        used = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        behind_results = shapes_results(path) and not path.is_relative_to(ROOT / "plan")
        assert not behind_results or not used & worked_out, f"{path}: {used & worked_out}"


def test_captions_are_those_of_the_catalogue() -> None:
    folder = PROJECT / "workflow/report"
    written = {path.name: path.read_text() for path in folder.glob("*.rst") if path.name != "workflow.rst"}
    assert written == captions(), "run `make schema`"


def test_labels_of_rounds_enter_the_trainings_after_them(study_of: Callable[..., Study]) -> None:
    study = study_of(models__ours__reference={"rounds": 2, "liquids": ["DMC_298K", "EMC_298K"]})
    base = f"results/{study.config.study}/models/ours"
    names = [f"{base}/labels/{liquid}{own}.xyz" for own in ("", "~1", "~2") for liquid in ("DMC_298K", "EMC_298K")]
    for training, count in (("training~0", 2), ("training~1", 4), ("training", 6)):
        assert inputs.training_frames(study, "ours", training) == names[:count]
    assert inputs.model_before_round(study, "ours", "2") == f"{base}/training~1/mace.model"
