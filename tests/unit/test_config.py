"""The configuration: what is refused and how, the defaults against config.yaml, and the generated documents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from physembed.config import Arm, Config, arms, load
from physembed.config.documents import json_schema, markdown_table, readme
from physembed.config.label_numbers import label_series
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
    # comparisons of arms
    ("{survival: {comparisons: []}}", "survival.comparisons", "[]", "at least 1"),
    ("{survival: {comparisons: [[original]]}}", "survival.comparisons.0", "['original']", "at least 2"),
    (
        "{survival: {comparisons: [[original, bent]]}}",
        "survival.comparisons",
        "['original', 'bent']",
        "bent is not an arm (known: original, adaptive)",
    ),
    ("{survival: {comparisons: [[original, original]]}}", "survival.comparisons", "['original', 'original']", "itself"),
    (
        "{survival: {comparisons: [[original, adaptive], [adaptive, original]]}}",
        "survival.comparisons",
        "['adaptive', 'original']",
        "is listed twice",
    ),
    (
        "{arms: {a: {labels: [10]}, b: {labels: [20]}}, survival: {comparisons: [[a, b]]}}",
        "survival.comparisons",
        "['a', 'b']",
        "no number of labels in common",
    ),
    (
        "{arms: {a: {labels: [10]}, b: {labels: [10]}}, survival: {comparisons: [[a_10, b_10], [a, b]]}}",
        "survival.comparisons",
        "['a', 'b']",
        "is listed twice",
    ),
    # several numbers of labels
    ("{arms: {a: {labels: 20}}}", "arms.a.labels", "20", "must be a list"),
    ("{arms: {a: {labels: []}}}", "arms.a.labels", "[]", "at least 1"),
    ("{arms: {a: {labels: [10, 0]}}}", "arms.a.labels.1", "0", "must be at least 1"),
    ("{arms: {a: {labels: [10, 46]}}}", "arms.a.labels", "46", "more than there are (frames.train 45); lower it"),
    (
        "{arms: {a: {labels: [20, 92], keep_unmodified: true}}}",
        "arms.a.labels",
        "92",
        "needs 46 frames, more than there are (frames.train 45)",
    ),
    ("{arms: {a: {labels: [20, 25], keep_unmodified: true}}}", "arms.a.labels", "25", "give an even number"),
    ("{arms: {a: {labels: [9]}}}", "arms.a.labels", "9", "fewer than a batch (training.batch_size 10); set arms.a.tr"),
    (
        "{arms: {a: {labels: [9], training: {batch_size: 3}}, b: {frames_of: a}}}",
        "arms.b.frames_of",
        "'a'",
        "fewer frames (9) than a batch (training.batch_size 10); set arms.b.training.batch_size",
    ),
    ("{arms: {a: {labels: [10, 20, 10]}}}", "arms.a.labels", "10", "is listed twice"),
    ("{arms: {a: {labels: [10], frames: 20}}}", "arms.a.labels", "[10]", "also has frames: 20; remove one"),
    (
        "{arms: {a: {frames: 0, base: {file: x.model}, labels: [10]}}}",
        "arms.a.labels",
        "[10]",
        "takes no frames (frames: 0)",
    ),
    ("{arms: {a: {}, b: {frames_of: a, labels: [10]}}}", "arms.b.labels", "[10]", "takes the frames of a as they are"),
    ("{arms: {a: {labels: [10]}, A_10: {}}}", "arms.a.labels", "10", "makes an arm a_10, but there is one already"),
    ("{arms: {%s: {labels: [10]}}}" % ("a" * 62), f"arms.{'a' * 62}.labels", "10", "more than 64 characters"),
    (
        "{arms: {a: {labels: [10, 20]}, b: {base: {arm: a}}}}",
        "arms.b.base.arm",
        "'a'",
        "one arm a for each number of labels in [10, 20]; give b the same `labels`",
    ),
    (
        "{arms: {a: {labels: [10, 20]}, b: {labels: [10], training: {steps_of: a}}}}",
        "arms.b.training.steps_of",
        "'a'",
        "one arm a for each number of labels in [10, 20]",
    ),
    ("{arms: {a: {training: {repulsion: zbll}}}}", "arms.a.training.repulsion", "'zbll'", "must be 'none' or 'zbl'"),
    ("{arms: {a: {training: {num_channels: 8}}}}", "arms.a.training.num_channels", "8", "unknown key"),
    # recipes that contradict themselves
    ("{arms: {a: {frames: 0}}}", "arms.a.frames", "0", "needs models to run: give base.file or base.pretraining"),
    (
        "{arms: {a: {frames: 0, bonds_per_frame: 2, base: {file: a.model}}}}",
        "arms.a.bonds_per_frame",
        "2",
        "takes no frames (frames: 0)",
    ),
    (
        "{arms: {a: {base: {file: a.model, pretraining: true}}}}",
        "arms.a.base",
        "['file', 'pretraining']",
        "one of these; remove the others",
    ),
    ("{arms: {a: {base: {sha256: %s}}}}" % ("a" * 64), "arms.a.base.sha256", f"'{'a' * 64}'", "there is no base.file"),
    ("{arms: {a: {base: {sha256: abc}}}}", "arms.a.base.sha256", "'abc'", "must be a SHA-256"),
    ("{arms: {a: {}, b: {base: {arm: aa}}}}", "arms.b.base.arm", "'aa'", "no such arm; did you mean 'a'?"),
    ("{arms: {b: {base: {arm: b}}}}", "arms.b.base.arm", "'b'", "is the arm itself"),
    ("{arms: {a: {}, b: {frames: 0, base: {arm: a}}}}", "arms.b.frames", "0", "run the models of a once more"),
    (
        "{arms: {a: {}, b: {base: {arm: a}}, c: {base: {arm: b}}}}",
        "arms.c.base.arm",
        "'b'",
        "begins as the models of a; name that arm",
    ),
    (
        "{arms: {a: {base: {pretraining: true}, training: {repulsion: zbl}}}}",
        "arms.a.training.repulsion",
        "'zbl'",
        "keep what these are made of",
    ),
    ("{arms: {a: {}, b: {frames_of: c}}}", "arms.b.frames_of", "'c'", "no such arm"),
    ("{arms: {a: {}, b: {frames_of: a}, c: {frames_of: b}}}", "arms.c.frames_of", "'b'", "no frames of its own"),
    (
        "{arms: {a: {}, b: {frames_of: a, angles_per_frame: 1}}}",
        "arms.b.angles_per_frame",
        "1",
        "takes the frames of a as they are",
    ),
    (
        "{arms: {a: {frames: 8, training: {batch_size: 4}}, b: {frames_of: a}}}",
        "arms.b.frames_of",
        "'a'",
        "fewer frames (8) than a batch (training.batch_size 10)",
    ),
    ("{arms: {b: {training: {steps_of: c}}}}", "arms.b.training.steps_of", "'c'", "no such arm"),
    ("{training: {seeds: [1]}, arms: {b: {learning: {rounds: 2}}}}", "arms.b.learning.rounds", "2", "give two or more"),
    (
        "{frames: {per_seed: true}, arms: {b: {learning: {rounds: 1}}}}",
        "arms.b.learning.rounds",
        "1",
        "share a data set",
    ),
    (
        "{arms: {b: {learning: {rounds: 1, labels_per_round: 0}}}}",
        "arms.b.learning.labels_per_round",
        "0",
        "at least 1",
    ),
    ("{arms: {b: {learning: {choose: random}}}}", "arms.b.learning.choose", "'random'", "the arm has no rounds"),
    ("{arms: {b: {learning: {rounds: 1, replicas: 46}}}}", "arms.b.learning.replicas", "46", "(frames.train 45)"),
    (
        "{arms: {b: {learning: {rounds: 1, replicas: 2, hot_ps: 0.5, labels_per_round: 11}}}}",
        "arms.b.learning.labels_per_round",
        "11",
        "more than the 10 frames that 2 replicas record in hot_ps 0.5",
    ),
    (
        "{arms: {b: {learning: {rounds: 1, hot_ps: 0.05}}}}",
        "arms.b.learning.labels_per_round",
        "10",
        "more than the 0 frames",
    ),
    (  # the first training has no frame of the rounds yet
        "{arms: {b: {frames: 5, training: {batch_size: 6}, learning: {rounds: 1}}}}",
        "arms.b.training.batch_size",
        "6",
        "larger than the arm's training set (5 frames)",
    ),
    (  # of 20 replicas without a collapse it is 0.139
        "{arms: {b: {learning: {rounds: 1, stop_below: 0.139}}}}",
        "arms.b.learning.stop_below",
        "0.139",
        "cannot be shown",
    ),
    (
        "{arms: {a: {frames: 0, base: {file: x.model}, learning: {rounds: 1}}}}",
        "arms.a.learning.rounds",
        "1",
        "takes no frames",
    ),
    (
        "{arms: {a: {learning: {rounds: 1}}, b: {frames_of: a}}}",
        "arms.b.frames_of",
        "'a'",
        "adds frames in rounds of learning",
    ),
    (
        "{arms: {a: {}, b: {training: {steps_of: a, epochs: 5}}}}",
        "arms.b.training.steps_of",
        "'a'",
        "epochs are given as well",
    ),
    (
        "{arms: {a: {base: {arm: b}}, b: {training: {steps_of: a}}}}",
        "arms.b.training.steps_of",
        "'a'",
        "begins as the models of this arm, whose steps count",
    ),
    (
        "{arms: {a: {}, b: {training: {steps_of: a}}, c: {training: {steps_of: b}}}}",
        "arms.c.training.steps_of",
        "'b'",
        "no number of epochs of its own",
    ),
    (
        "{arms: {a: {training: {weighting: bad_points}}}}",
        "arms.a.training.weighting",
        "'bad_points'",
        "give base.arm, or another base",
    ),
    ("{arms: {a: {training: {weighting: cluster}}}}", "arms.a.training.weighting", "'cluster'", "'clusters'"),
    (
        "{pretraining: {training: {weighting: elements}}, arms: {a: {base: {pretraining: true}}}}",
        "pretraining.training.weighting",
        "'elements'",
        "is for arms; remove it",
    ),
    ("{metrics: {clusters: 46}}", "metrics.clusters", "46", "more than there are training frames (frames.train 45)"),
    (
        "{pretraining: {frames: 20, training: {batch_size: 50}}, arms: {a: {base: {pretraining: true}}}}",
        "pretraining.frames",
        "20",
        "fewer training frames (38) than a batch (50)",
    ),
    (
        "{pretraining: {turn_degrees: [30, 15]}, arms: {a: {base: {pretraining: true}}}}",
        "pretraining.turn_degrees",
        "[30.0, 15.0]",
        "smaller angle",
    ),
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
    ("{molecules: {names: [a, b, a]}}", "molecules.names", "'a'", "is listed twice"),
    ("{arms: {validation: {}}}", "arms", "'validation'", "choose another"),
    ("{arms: {adaptive: {}, Adaptive: {}}}", "arms", "'Adaptive'", "in capitalisation only"),
]


@pytest.mark.parametrize(("settings", "key", "value", "advice"), BAD, ids=[case[0] for case in BAD])
def test_refused(
    settings: str, key: str, value: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(yaml.safe_load(settings))
    assert message.startswith(f"config: {key}: {value}: ")
    assert advice in message
    assert not list(tmp_path.iterdir())


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


def test_what_follows_from_a_recipe() -> None:
    """Training sets, settings and gradient steps of arms: 45 frames in batches of 10 are 4 steps an epoch."""
    config = load({
        "arms": {
            "plain": {"bonds_per_frame": 0},
            "twice": {"keep_unmodified": True, "frames": 20},
            "given": {"frames": 0, "base": {"file": "x.model"}},
            "tuned": {"frames_of": "plain", "base": {"file": "x.model"}, "training": {"clip_grad": 5.0}},
            "pretrained": {"frames_of": "twice", "base": {"pretraining": True}, "training": {"epochs": 100}},
            "control": {"frames_of": "twice", "training": {"steps_of": "pretrained"}},
            "on": {"frames_of": "plain", "base": {"arm": "plain"}, "training": {"epochs": 10, "learning_rate": 0.1}},
        },
    })  # fmt: skip
    assert config.arm_names == ["plain", "twice", "tuned", "pretrained", "control", "on", "given"]
    assert arms.trained_arms(config) == config.arm_names[:-1]
    assert arms.sampling_arms(config) == ["plain", "twice"]
    assert {name: arms.training_frames(config, name) for name in config.arm_names} == {
        "plain": 45, "twice": 40, "tuned": 45, "pretrained": 40, "control": 40, "on": 45, "given": 0
    }  # fmt: skip
    assert arms.training_of(config, "plain") == config.training
    tuned = arms.training_of(config, "tuned")
    assert (tuned.learning_rate, tuned.ema_decay, tuned.clip_grad) == (pytest.approx(0.001), 0.999, 5.0)
    assert arms.training_of(config, "on").learning_rate == 0.1
    # 1900 of 2000 frames of pre-training train: 190 steps in each of 50 epochs, then 100 epochs of 4.
    steps = 50 * 190 + 100 * 4
    assert arms.gradient_steps(config, "pretrained") == arms.gradient_steps(config, "control") == steps
    assert arms.training_of(config, "control").epochs == steps / 4
    assert arms.training_of(config, "control").learning_rate == config.training.learning_rate
    assert arms.gradient_steps(config, "on") == 1000 * 4 + 10 * 4


def test_an_arm_of_several_numbers_of_labels_becomes_one_arm_for_each() -> None:
    """So does an arm that takes its frames, and each names the one with the same number."""
    config = load({
        "arms": {
            "plain": {"bonds_per_frame": 0},
            "bent": {"angles_per_frame": 1, "labels": [10, 40]},
            "twice": {"keep_unmodified": True, "labels": [10, 40], "training": {"batch_size": 5}},
            "pretrained": {"frames_of": "bent", "base": {"pretraining": True}},
            "control": {"frames_of": "bent", "training": {"steps_of": "pretrained"}},
            "reweighted": {"frames_of": "bent", "base": {"arm": "bent"}, "training": {"weighting": "bad_points"}},
        },
    })  # fmt: skip
    made = [f"{name}_{labels}" for name in ("bent", "twice", "pretrained", "control", "reweighted")
            for labels in (10, 40)]  # fmt: skip
    assert config.arm_names == ["plain", *made]
    bent = Arm(angles_per_frame=1)
    assert config.arms["bent_10"] == bent.model_copy(update={"frames": 10})
    frames = {name: arm.frames for name, arm in config.arms.items() if arm.frames}
    assert frames == {"bent_10": 10, "bent_40": 40, "twice_10": 5, "twice_40": 20}
    assert {name: arms.training_frames(config, name) for name in made} == {
        name: int(name.rpartition("_")[2]) for name in made
    }
    assert config.arms["pretrained_40"].frames_of == config.arms["reweighted_40"].base.arm == "bent_40"
    assert config.arms["control_10"].training.steps_of == "pretrained_10"
    assert not any(arm.labels for arm in config.arms.values())
    # as an archive has it, complete
    assert load(config.model_dump(mode="json")) == config


def test_comparisons_of_arms_with_several_numbers_of_labels_are_made_at_each() -> None:
    """At those that both have; and what an archive has, with the arms that were made, says the same."""
    config = load({
        "arms": {
            "plain": {"bonds_per_frame": 0, "labels": [10, 20, 40]},
            "bent": {"angles_per_frame": 1, "labels": [20, 40]},
            "adaptive": {},
        },
        "survival": {"comparisons": [["plain", "bent"], ["adaptive", "bent"], ["plain_10", "plain_40"]]},
    })  # fmt: skip
    assert config.survival.comparisons == [
        ["plain_20", "bent_20"], ["plain_40", "bent_40"], ["adaptive", "bent_20"], ["adaptive", "bent_40"],
        ["plain_10", "plain_40"],
    ]  # fmt: skip
    assert load(config.model_dump(mode="json")) == config


def test_arms_that_differ_in_their_number_of_labels_only_are_series() -> None:
    config = load({
        "arms": {
            "plain": {"bonds_per_frame": 0},
            "few": {"angles_per_frame": 1, "frames": 20},
            "bent": {"angles_per_frame": 1},
            "stretched": {"labels": [10, 20]},
            "on": {"frames_of": "stretched", "base": {"arm": "stretched"}},
            "wide": {"stretch_A": 0.3, "frames": 10},  # another recipe
            "again": {"bonds_per_frame": 0, "draws": "random"},  # as many frames as plain
            "given": {"frames": 0, "base": {"pretraining": True}},
        },
        "training": {"batch_size": 5},
    })  # fmt: skip
    assert label_series(config) == {
        "few": "bent", "bent": "bent", "stretched_10": "stretched", "stretched_20": "stretched", "on_10": "on",
        "on_20": "on",
    }  # fmt: skip
    assert label_series(Config()) == {}
    assert arms.labelled_sets(config, "on_20") == ["stretched_20"]
    assert arms.labelled_sets(config, "given") == []
    begun = load({"arms": {"a": {}, "b": {"base": {"arm": "a"}, "frames": 20}}})
    assert arms.labelled_sets(begun, "b") == ["b", "a"]


def test_what_follows_from_rounds_of_learning() -> None:
    """Names, sets and training of rounds; round 0 is another arm only where nothing else differs."""
    config = load({
        "arms": {
            "plain": {"bonds_per_frame": 0},
            "on": {"frames_of": "plain", "learning": {"rounds": 2, "labels_per_round": 7, "stop_below": 0.14}},
            "longer": {"frames_of": "plain", "training": {"epochs": 9}, "learning": {"rounds": 1}},
            "own": {"frames": 20, "learning": {"rounds": 1}},
            "after": {"frames_of": "plain", "base": {"arm": "on"}},
        },
    })  # fmt: skip
    assert arms.sampling_arms(config) == ["plain", "own"]
    assert arms.label_sets(config) == ["plain", "own", "own~1", "on~2", "longer~1"]
    # The set of a round has the one that it began with in it.
    assert arms.labelled_sets(config, "after") == ["on~2"] and arms.labelled_sets(config, "own") == ["own~1"]
    assert label_series(config) == {}
    assert arms.trained_at_once(config) == ["plain", "after", "own~0", "longer~0"]
    assert arms.trained_in_rounds(config) == ["own~1", "on~1", "on~2", "longer~1", "own", "on", "longer"]
    names = ("on", "on~2", "on~1", "own~0", "own", "after")
    assert [arms.source_of(config, name) for name in names] == ["on~2", "on~2", "on~1", "own", "own~1", "plain"]
    assert [arms.sampled_by(config, name) for name in names] == ["plain", "plain", "plain", "own", "own", "plain"]
    assert [arms.training_frames(config, name) for name in names] == [59, 59, 52, 20, 30, 45]
    before = [arms.trained_before(config, name) for name in ("on", "on~2", "on~1", "own~1", "longer~1")]
    assert before == ["on~2", "on~1", "plain", "own~0", "longer~0"]
    assert arms.training_of(config, "longer~1").epochs == 9
    assert arms.gradient_steps(config, "longer") == 9 * 5


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


def study_of(name: str) -> Config:
    merged = load_configfile(CONFIG / "config.yaml")
    update_config(merged, load_configfile(CONFIG / name))
    return load(merged)


def test_remedies_are_compared_at_equal_labels() -> None:
    """All arms but `few` end with 45 labels; pairs that differ in one thing only share their labelled frames."""
    config = study_of("remedies.yaml")
    assert set(config.arm_names) == {
        "original", "adaptive", "angles", "bent", "repelled", "reweighted", "balanced", "few", "learned", "driven",
    }  # fmt: skip
    labels = {name: arms.training_frames(config, name) for name in config.arm_names}
    assert labels.pop("few") == 25 and set(labels.values()) == {45}
    assert {arms.source_of(config, name) for name in ("reweighted", "balanced")} == {"adaptive"}


def test_pretraining_is_compared_at_equal_steps() -> None:
    """45 frames in batches of 5: whole epochs come within one epoch of the steps of pre-training and training."""
    config = study_of("pretraining.yaml")
    assert {arms.source_of(config, name) for name in ("pretrained", "control")} == {"bent"}
    steps = {name: arms.gradient_steps(config, name) for name in config.arm_names}
    assert 0 <= steps["control"] - steps["pretrained"] < 9 < steps["pretrained"] - steps["bent"]


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


def test_the_unmodified_arm_comes_first_whatever_the_overlay_did() -> None:
    arms = {"adaptive": {"bonds_per_frame": 3}, "wide": {"stretch_A": 0.3}, "original": {"bonds_per_frame": 0}}
    assert load({"arms": arms}).arm_names == ["original", "adaptive", "wide"]


def test_a_doubled_set_may_be_smaller_than_a_batch_before_it_is_doubled() -> None:
    load({"arms": {"few": {"frames": 5, "keep_unmodified": True}}})


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
