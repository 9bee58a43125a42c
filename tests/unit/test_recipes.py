"""Recipes of arms: which contradict themselves or each other, what follows from them, and which are compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from physembed.config import Arm, Config, arms, load
from physembed.config.label_numbers import label_series

from .test_config import CONFIG, check_refused

# Settings as a user writes them in YAML; the key and the value as the message names them; what is to be done.
BAD = [
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
]


@pytest.mark.parametrize(("settings", "key", "value", "advice"), BAD, ids=[case[0] for case in BAD])
def test_refused(
    settings: str, key: str, value: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refused(settings, key, value, advice)


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


def test_the_unmodified_arm_comes_first_whatever_the_overlay_did() -> None:
    arms = {"adaptive": {"bonds_per_frame": 3}, "wide": {"stretch_A": 0.3}, "original": {"bonds_per_frame": 0}}
    assert load({"arms": arms}).arm_names == ["original", "adaptive", "wide"]


def test_a_doubled_set_may_be_smaller_than_a_batch_before_it_is_doubled() -> None:
    load({"arms": {"few": {"frames": 5, "keep_unmodified": True}}})
