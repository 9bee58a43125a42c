"""The configuration: what is refused and how, the defaults against config.yaml, and the generated documents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from physembed.config import Arm, Config, load
from physembed.config.documents import json_schema, markdown_table, readme
from physembed.durations import frame_count
from physembed.errors import PhysEmbedError
from physembed.study import load_study

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"


def refusal(config: Any) -> str:
    """The message with which a configuration is refused, after the checks common to all messages."""
    with pytest.raises(PhysEmbedError) as raised:
        load(config)
    message = str(raised.value)
    assert message.startswith("config: ")
    assert len(message.splitlines()) == 1
    assert raised.value.__cause__ is None
    return message


def check_refused(settings: str, key: str, value: str, advice: str) -> None:
    """Settings in YAML are refused with key, value and advice, and nothing is written to the folder, which is empty."""
    message = refusal(yaml.safe_load(settings))
    assert message.startswith(f"config: {key}: {value}: ")
    assert advice in message
    assert not list(Path().iterdir())


# Settings as a user writes them in YAML; the key and the value as the message names them; what is to be done.
BAD = [
    # unknown keys
    ("{temprature: 300}", "temprature", "300", "unknown key"),
    ("{stabillity: {temperature_K: 800}}", "stabillity", "{'temperature_K': 800}", "did you mean 'stability'?"),
    ("{stability: {temperature: 800}}", "stability.temperature", "800", "did you mean 'temperature_K'?"),
    (
        "{arms: {wide: {bonds_per_frames: 2}}}",
        "arms.wide.bonds_per_frames",
        "2",
        "did you mean 'bonds_per_frame'?",
    ),
    ("{topology: {xyzzy: 1}}", "topology.xyzzy", "1", "known: parameter_set, charges"),
    # wrong type
    ("{frames: {train: 45.0}}", "frames.train", "45.0", "must be a whole number"),
    ("{frames: {train: true}}", "frames.train", "True", "must be a whole number"),
    ("{stability: {temperature_K: true}}", "stability.temperature_K", "True", "must be a number"),
    ("{stability: {temperature_K: 800 K}}", "stability.temperature_K", "'800 K'", "without quotes or unit"),
    ("{stability: {temperature_K: '800'}}", "stability.temperature_K", "'800'", "is text"),
    ("{training: {learning_rate: 1e-2}}", "training.learning_rate", "'1e-2'", "as in 1.0e-2"),
    ("{training: {epochs: 1e3}}", "training.epochs", "'1e3'", "digits only"),
    ("{training: {seeds: 3}}", "training.seeds", "3", "must be a list"),
    ("{training: {seeds: [1, two]}}", "training.seeds.1", "'two'", "must be a whole number"),
    ("{arms: {adaptive: {keep_unmodified: 1}}}", "arms.adaptive.keep_unmodified", "1", "must be true or false"),
    ("{molecules: {table: 5}}", "molecules.table", "5", "must be text"),
    ("{frames: [45, 5, 20]}", "frames", "[45, 5, 20]", "must be a section"),
    ("{arms: [original]}", "arms", "['original']", "must be a section"),
    ("{arms: {1: {}}}", "arms.1", "1", "must be text"),
    ("{7: 8}", "7", "7", "a key must be text"),
    ("[study, paper]", "the whole file", "['study', 'paper']", "must be a section"),
    # nothing given
    ("{stability: }", "stability", "None", "has no value"),
    ("{stability: {duration_ps: }}", "stability.duration_ps", "None", "has no value"),
    ("{arms: {original: }}", "arms", "{}", "names no training set"),
    ("{arms: {}}", "arms", "{}", "names no training set"),
    ("{training: {seeds: []}}", "training.seeds", "[]", "at least 1"),
    # choices
    ("{training: {device: gpu}}", "training.device", "'gpu'", "must be 'auto', 'cpu' or 'cuda'"),
    ("{training: {device: [cpu]}}", "training.device", "['cpu']", "must be 'auto', 'cpu' or 'cuda'"),
    ("{labels: {method: PM6}}", "labels.method", "'PM6'", "must be 'GFN2-xTB' or 'GFN1-xTB'"),
    ("{topology: {charges: off}}", "topology.charges", "False", "must be 'bcc' or 'gasteiger'"),
    # ranges and units
    ("{stability: {temperature_K: -3}}", "stability.temperature_K", "-3", "must be greater than 0"),
    ("{gaff_md: {temperature_K: 0}}", "gaff_md.temperature_K", "0", "must be greater than 0"),
    ("{gaff_md: {temperature_K: 300000}}", "gaff_md.temperature_K", "300000", "must be at most 10000"),
    ("{gaff_md: {timestep_fs: 0.001}}", "gaff_md.timestep_fs", "0.001", "must be at least 0.01"),
    ("{stability: {timestep_fs: 10}}", "stability.timestep_fs", "10", "must be at most 4"),
    ("{gaff_md: {duration_ps: .inf}}", "gaff_md.duration_ps", "inf", "must be a finite number"),
    ("{stability: {overlap_margin_A: .nan}}", "stability.overlap_margin_A", "nan", "must be a finite number"),
    ("{frames: {train: 0}}", "frames.train", "0", "must be at least 1"),
    ("{frames: {starts: -1}}", "frames.starts", "-1", "must be at least 1"),
    ("{arms: {adaptive: {compression: 95}}}", "arms.adaptive.compression", "95", "must be at most 1"),
    ("{arms: {adaptive: {stretch_A: 25}}}", "arms.adaptive.stretch_A", "25", "must be at most 2"),
    ("{arms: {adaptive: {turn_degrees: [15]}}}", "arms.adaptive.turn_degrees", "[15]", "at least 2"),
    (
        "{arms: {adaptive: {turn_degrees: [15, 200]}}}",
        "arms.adaptive.turn_degrees.1",
        "200",
        "must be at most 180",
    ),
    ("{training: {learning_rate: 1}}", "training.learning_rate", "1", "must be less than 1"),
    ("{training: {seeds: [1, -2]}}", "training.seeds.1", "-2", "must be at least 0"),
    ("{seed: 2147483648}", "seed", "2147483648", "must be less than 2147483648"),
    # names
    ("{study: ../elsewhere}", "study", "'../elsewhere'", "must be a valid folder name"),
    ("{study: ''}", "study", "''", "must be a valid folder name"),
    ("{arms: {a/b: {}}}", "arms.a/b", "'a/b'", "must be a valid folder name"),
    ("{arms: {'a[0]': {}}}", "arms.a[0]", "'a[0]'", "must be a valid folder name"),
    ("{arms: {adaptive: {reference_bond: c3}}}", "arms.adaptive.reference_bond", "'c3'", "as in c3-c3"),
    ("{molecules: {names: paracetamol}}", "molecules.names", "'paracetamol'", "'all' or a list of names"),
    ("{molecules: {names: 5}}", "molecules.names", "5", "'all' or a list of names"),
    ("{molecules: {names: []}}", "molecules.names", "[]", "nothing to run"),
    ("{molecules: {names: [paracetamol, 5]}}", "molecules.names.1", "5", "must be text"),
    # values that are valid by themselves, but conflict with others
    ("{frames: {train: 9976}}", "frames.train", "9976", "10001 frames, but the GAFF run writes 10000"),
    ("{gaff_md: {duration_ps: 0.05}}", "gaff_md.frame_interval_steps", "100", "only 50 steps"),
    ("{frames: {train: 9}}", "training.batch_size", "10", "larger than the training set (frames.train 9)"),
    (
        "{arms: {adaptive: {turn_degrees: [30, 15]}}}",
        "arms.adaptive.turn_degrees",
        "[30.0, 15.0]",
        "smaller angle",
    ),
    (
        "{arms: {adaptive: {compression_to_stretching: [0, 0]}}}",
        "arms.adaptive.compression_to_stretching",
        "[0.0, 0.0]",
        "must be greater than 0",
    ),
    (
        "{arms: {bent: {closing_to_opening: [0, 0]}}}",
        "arms.bent.closing_to_opening",
        "[0.0, 0.0]",
        "must be greater than 0",
    ),
    ("{arms: {bent: {angles_per_frame: -1}}}", "arms.bent.angles_per_frame", "-1", "must be at least 0"),
    ("{arms: {bent: {bend_degrees: 120}}}", "arms.bent.bend_degrees", "120", "must be at most 90"),
    ("{arms: {bent: {reference_angle: c3-c3}}}", "arms.bent.reference_angle", "'c3-c3'", "as in c3-c3-c3"),
    (
        "{arms: {plain: {bonds_per_frame: 0, keep_unmodified: true}}}",
        "arms.plain.keep_unmodified",
        "True",
        "modifies no frame; set bonds_per_frame or angles_per_frame",
    ),
    ("{arms: {few: {frames: 46}}}", "arms.few.frames", "46", "more than there are (frames.train 45)"),
    ("{arms: {few: {frames: 9}}}", "arms.few.frames", "9", "fewer than a batch (training.batch_size 10); set arms.few"),
    (
        "{arms: {few: {frames: 9, training: {batch_size: 10}}}}",
        "arms.few.training.batch_size",
        "10",
        "larger than the arm's training set (9 frames)",
    ),
    ("{metrics: {clusters: 46}}", "metrics.clusters", "46", "more than there are training frames (frames.train 45)"),
    ("{stability: {duration_ps: 0.0005}}", "stability.duration_ps", "0.0005", "shorter than one step"),
    ("{stability: {duration_ps: 0.05}}", "stability.record_interval_fs", "100.0", "longer than the run"),
    ("{stability: {record_interval_fs: 2.5}}", "stability.record_interval_fs", "2.5", "whole multiple"),
    ("{stability: {record_interval_fs: 0.5}}", "stability.record_interval_fs", "0.5", "whole multiple"),
    (
        "{stability: {record_interval_fs: 1.0e+9}}",
        "stability.record_interval_fs",
        "1000000000.0",
        "longer than the run",
    ),
    ("{stability: {check_interval_steps: 101}}", "stability.check_interval_steps", "101", "(100 steps)"),
    ("{training: {seeds: [1, 2, 1]}}", "training.seeds", "1", "is listed twice"),
    (
        "{scan: {method: reweighted, start_a1: [1, 2, 2], max_runs: 4}, liquids: {models: [m]}, "
        "models: {m: {alphas: [0.1, 0.2], tune_on: EMC_298K, evaluate_on: [EMC_298K]}}}",
        "scan.max_runs",
        "4",
        "are 5 runs; give at least 5",
    ),
    ("{molecules: {names: [a, b, a]}}", "molecules.names", "'a'", "is listed twice"),
    ("{arms: {validation: {}}}", "arms", "'validation'", "choose another"),
    ("{arms: {adaptive: {}, Adaptive: {}}}", "arms", "'Adaptive'", "in capitalisation only"),
]


@pytest.mark.parametrize(("settings", "key", "value", "advice"), BAD, ids=[case[0] for case in BAD])
def test_refused(
    settings: str, key: str, value: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refused(settings, key, value, advice)


def test_several_problems_are_counted() -> None:
    message = refusal({"frames": {"train": 0, "starts": 0}, "studdy": "x"})
    assert message == "config: frames.train: 0: must be at least 1 (and 2 more)"
    assert refusal({"training": {"seeds": [1, 1, 2, 2]}}).endswith("is listed twice (and 1 more)")


def test_too_many_frames_is_said_once_and_in_full() -> None:
    assert refusal({"frames": {"train": 9976}}) == (
        "config: frames.train: 9976: with frames.validation 5 and frames.starts 20 this requires 10001 frames, "
        "but the GAFF run writes 10000; lower one or raise gaff_md.duration_ps"
    )


def test_a_long_value_is_cut() -> None:
    assert len(refusal({"training": {"device": "cuda" * 1000}})) < 200


def test_line_breaks_in_keys_and_values_do_not_break_the_line() -> None:
    assert r"'a\nb'" in refusal({"study": "a\nb"})
    assert "a b: 1: unknown key" in refusal({"a\nb": 1})


def test_a_key_that_is_lacking_is_named() -> None:
    assert "models.mine: the key 'tune_on' is missing" in refusal({"models": {"mine": {"file": "a.model"}}})


def test_every_number_refuses_text_bool_and_nan() -> None:
    """No field of the models takes a value of another type by coercion."""
    for section, model in [(name, field.annotation) for name, field in Config.model_fields.items()]:
        for key, field in getattr(model, "model_fields", {}).items():
            if field.annotation not in (int, float):
                continue
            for value in ("1", True, float("nan")):
                assert f"{section}.{key}" in refusal({section: {key: value}})


def test_whole_numbers_serve_as_numbers() -> None:
    config = load({"gaff_md": {"duration_ps": 100}, "arms": {"a": {"turn_degrees": [10, 20]}}})
    assert config.gaff_md.duration_ps == 100.0
    assert config.arms == {"a": Arm(turn_degrees=[10.0, 20.0])}


@pytest.mark.parametrize(
    "settings",
    [
        {"frames": {"train": 9975}},  # all of the 10 000 frames
        # 0.3 / 0.1 is not 3 in binary; a check at every record
        {"stability": {"timestep_fs": 0.1, "record_interval_fs": 0.3, "check_interval_steps": 3}},
        {"stability": {"duration_ps": 0.1}},  # one record, at the end
        {"arms": {"adaptive": {"compression_to_stretching": [0, 1], "turn_degrees": [20, 20]}}},
        {"training": {"batch_size": 45}},
        {"labels": {"retry_electronic_temperatures_K": []}},
        {"arms": {"adaptive": {"reference_k_kcal_mol_A2": 300}}},
    ],
)
def test_edges_are_accepted(settings: dict[str, Any]) -> None:
    load(settings)


def test_frame_count() -> None:
    assert frame_count(duration_ps=1000.0, timestep_fs=1.0, frame_interval_steps=100) == 10_000


def test_config_yaml_states_the_defaults_completely() -> None:
    written = load_configfile(CONFIG / "config.yaml")
    assert set(load(written).models) == {"MACE-EC-EMC", "MACE-OFF23-S"}
    # No code repeats the paper's models, which are given by what is theirs.
    del written["models"]
    assert load(written) == Config()
    default = Config().model_dump(mode="json", exclude={"models"})
    default["arms"]["original"] = {"bonds_per_frame": 0}
    assert written == default


def test_demo_differs_in_all_that_it_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    overlay = load_configfile(CONFIG / "demo.yaml")
    merged = load_configfile(CONFIG / "config.yaml")
    update_config(merged, overlay)
    study = load_study(merged)
    assert [molecule.name for molecule in study.molecules] == ["paracetamol"]
    default = Config().model_dump(mode="json")
    assert overlay.pop("study") != default["study"]
    for section, values in overlay.items():
        for key, value in values.items():
            assert value != default[section].get(key), f"{section}.{key} is the default"


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_overlay_is_a_study_of_its_own_and_is_documented(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is laid over another names both in its command."""
    monkeypatch.chdir(ROOT)
    merged = load_configfile(CONFIG / "config.yaml")
    below = re.findall(rf"--configfile config/(\w+\.yaml) config/{path.name}", path.read_text(encoding="utf-8"))
    for name in [*below, path.name]:
        update_config(merged, load_configfile(CONFIG / name))
    load_study(merged)
    names = [load_configfile(other)["study"] for other in CONFIG.glob("*.yaml")]
    assert names.count(merged["study"]) == 1
    assert f"`{path.name}`" in (CONFIG / "README.md").read_text(encoding="utf-8")


def test_schema_and_readme_are_in_step_with_the_models() -> None:
    """After a change of the models run `python -m physembed.config.documents`."""
    assert (CONFIG / "schema.json").read_text(encoding="utf-8") == json_schema()
    page = (CONFIG / "README.md").read_text(encoding="utf-8")
    assert readme(page) == page
    assert markdown_table() in page


def test_readme_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        readme("# Configuration\n")


def test_every_key_is_described() -> None:
    table = markdown_table()
    for name, field in Config.model_fields.items():
        model = Arm if name == "arms" else field.annotation
        for key, inner in getattr(model, "model_fields", {}).items():
            assert inner.description, f"{name}.{key}"
            nested = hasattr(inner.annotation, "model_fields")
            assert (f"### arms.&lt;name&gt;.{key}\n" if nested else f"| `{key}` |") in table


def test_models_of_the_paper_run_the_original_correction() -> None:
    """To which convention its a1 belong is not known, so that neither may pass for the paper's."""
    models = load(load_configfile(CONFIG / "config.yaml")).models
    assert {model.convention for model in models.values()} == {"d3"}
    assert models["MACE-EC-EMC"].training.max_ell == 2
    text = (CONFIG / "config.yaml").read_text()
    assert "not known (docs/background/cso.md)" in text
    assert "**Not known.**" in (CONFIG.parent / "docs/background/cso.md").read_text()


def test_a_batch_of_a_liquid_fits_its_training_set_before_anything_runs() -> None:
    """Two liquids at two densities: four runs of three frames and a volume scan of one, 3 of them for validation."""
    merged = load_configfile(CONFIG / "config.yaml")
    update_config(merged, load_configfile(ROOT / "tests/workflow/minimal_liquids.yaml"))
    merged["models"]["tiny"]["reference"]["liquids"] = ["DMC_298K", "DMC_320K"]
    merged["models"]["tiny"]["reference"]["frames_per_run"] = 3
    merged["models"]["tiny"]["training"]["batch_size"] = 13
    load_study(merged)
    merged["models"]["tiny"]["training"]["batch_size"] = 14
    message = (
        r"tiny\.training\.batch_size: 14: larger than the training set \(13 at most of reference data, 4 runs of 4: 16"
    )
    with pytest.raises(PhysEmbedError, match=message):
        load_study(merged)
