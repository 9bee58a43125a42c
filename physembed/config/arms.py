"""What follows from the arms of a configuration: whose frames an arm trains on, how many, and with which settings."""

from __future__ import annotations

import math
from typing import Any

from physembed.config.arm import ArmTraining
from physembed.config.molecules import Training
from physembed.config.root import Config
from physembed.config.rounds import (
    all_rounds,
    arm_of,
    learns,
    models_of,
    recipe,
    round_name,
    round_of,
    rounds_of,
)

FINE_TUNING = {"learning_rate": 0.1, "ema_decay": 0.999, "clip_grad": 1.0}
"""What the training of models that begin as others has: this factor on the learning rate, and these values.

MACE's guidance for fine-tuning (arXiv:2606.12704).
"""


def sampling_arms(config: Config) -> list[str]:
    """Arms with frames and labels of their own, those of rounds of learning aside."""
    return [name for name in config.arm_names if sampled_by(config, name) == name]


def label_sets(config: Config) -> list[str]:
    """All sets of training labels: of arms with frames of their own, and of the last round of those that learn."""
    learned = [rounds_of(config, name)[-1] for name in config.arm_names if learns(config, name)]
    return sampling_arms(config) + learned


def trained_arms(config: Config) -> list[str]:
    """Arms whose models are trained."""
    return [name for name in config.arm_names if config.arms[name].frames != 0]


def trained_at_once(config: Config) -> list[str]:
    """Arms that are trained without rounds, and round 0 of others where it is not another arm."""
    names = [name for name in trained_arms(config) if not learns(config, name)]
    first = [models_of(config, name, 0) for name in config.arm_names if learns(config, name)]
    return names + [name for name in first if name not in names]


def trained_in_rounds(config: Config) -> list[str]:
    """Rounds of learning, and the arms that have them, whose models are those of their last round."""
    return all_rounds(config) + [name for name in config.arm_names if learns(config, name)]


def trained_before(config: Config, name: str) -> str:
    """The round before a round; the last round of an arm."""
    arm, number = arm_of(name), round_of(config, name)
    return models_of(config, arm, number - 1 if name != arm else number)


def pretrains(config: Config) -> bool:
    """Whether models of any arm begin as those of the pre-training."""
    return any(arm.base.pretraining for arm in config.arms.values())


def sampled_by(config: Config, name: str) -> str | None:
    """The arm whose frames an arm, or a round, begins with; None for one that takes none."""
    arm = recipe(config, name)
    return None if arm.frames == 0 else arm.frames_of or arm_of(name)


def source_of(config: Config, name: str) -> str | None:
    """The set of labels on which an arm, or a round, trains: of an arm or of a round; None for one without any."""
    number = round_of(config, name)
    return round_name(arm_of(name), number) if number else sampled_by(config, name)


def labelled_sets(config: Config, name: str) -> list[str]:
    """The sets of labelled frames behind the models of an arm: its own, and that of the models that they begin as.

    The set of a round of learning has the one that it began with in it.
    """
    base = config.arms[name].base.arm
    sources = [source for arm in (name, base) if arm and (source := source_of(config, arm))]
    within = [sampled_by(config, source) for source in sources if source not in config.arms]
    return [source for source in dict.fromkeys(sources) if source not in within]


def training_frames(config: Config, name: str) -> int:
    """Frames in the training set of an arm or of a round, if no label is rejected."""
    source = sampled_by(config, name)
    if source is None:
        return 0
    arm = config.arms[source]
    learned = round_of(config, name) * recipe(config, name).learning.labels_per_round
    return arm.sampled(min(arm.frames or config.frames.train, config.frames.train)) + learned


def pretraining_frames(config: Config) -> int:
    """Frames in the training set of the pre-training, without those of validation, about."""
    total = config.pretraining.sampled(config.pretraining.frames)
    return total - max(1, round(config.pretraining.validation_fraction * total))


def training_of(config: Config, name: str) -> Training:
    """The settings with which the models of an arm are trained."""
    arm = recipe(config, name)
    settings = config.training
    if arm.base.given:
        values = {"learning_rate": settings.learning_rate * FINE_TUNING["learning_rate"]}
        settings = settings.model_copy(update=FINE_TUNING | values)
    settings = settings.model_copy(update=_own(arm.training))
    if arm.training.steps_of:
        of_epoch = max(1, training_frames(config, name) // settings.batch_size)
        settings = settings.model_copy(
            update={"epochs": math.ceil(gradient_steps(config, arm.training.steps_of) / of_epoch)}
        )
    return settings


def pretraining_of(config: Config) -> Training:
    """The settings of the pre-training."""
    return config.training.model_copy(update=_own(config.pretraining.training))


def _own(training: ArmTraining) -> dict[str, Any]:
    return training.model_dump(exclude_none=True, exclude={"steps_of", "weighting"})


def weights_frames(config: Config, name: str) -> bool:
    """Whether the training frames of an arm have weights of their own."""
    return recipe(config, name).training.weighting in ("clusters", "bad_points")


def gradient_steps(config: Config, name: str) -> int:
    """Gradient steps behind a model of an arm, those of what it began as included as far as this study made them."""
    base, settings = recipe(config, name).base, training_of(config, name)
    steps = settings.epochs * (training_frames(config, name) // settings.batch_size)
    if base.pretraining:
        before = pretraining_of(config)
        steps += before.epochs * (pretraining_frames(config) // before.batch_size)
    return steps + (gradient_steps(config, base.arm) if base.arm else 0)
