"""Values of arms that are sound alone but not beside the others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from physembed.config.arm import Arm, Sampling
from physembed.config.arms import pretraining_frames, pretraining_of, pretrains, training_frames
from physembed.config.messages import nearest
from physembed.config.root import Config
from physembed.config.rounds import round_name

CONFIDENCE = 0.95
"""Of the upper limit of the collapse fraction, one-sided."""


def arm_clashes(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Key, value and problem of each value of an arm that is sound alone but not beside the others."""
    problems = 0
    for name in config.arms:
        of_arm = _base_clashes(name, config), _frames_clashes(name, config), _learning_clashes(name, config)
        for problem in chain.from_iterable(of_arm):
            problems += 1
            yield problem
    if problems:
        return  # what follows is computed from the names of arms
    for name, arm in config.arms.items():
        field = "frames" if arm.frames else "frames_of"
        yield from batch_clashes(name, config, key=f"arms.{name}", field=field, value=getattr(arm, field))
        yield from _sampling_clashes(f"arms.{name}", config.arms[name])
    if pretrains(config):
        yield from _pretraining_clashes(config)


def _other_arm(config: Config, name: str, other: str) -> str:
    """What is wrong with naming this other arm, or nothing."""
    if other not in config.arms:
        return f"no such arm; {nearest(other, list(config.arms))}"
    return "is the arm itself; name another" if other == name else ""


def _base_clashes(name: str, config: Config) -> Iterator[tuple[str, Any, str]]:
    arm, key = config.arms[name], f"arms.{name}"
    chosen = [part for part in ("file", "pretraining", "arm") if getattr(arm.base, part)]
    if len(chosen) > 1:
        yield f"{key}.base", chosen, "models begin as one of these; remove the others"
    if arm.base.sha256 and not arm.base.file:
        yield f"{key}.base.sha256", arm.base.sha256, "there is no base.file to compare it with; give one, or remove it"
    if arm.base.given and arm.training.repulsion:
        problem = "the models begin as others and keep what these are made of; remove it"
        yield f"{key}.training.repulsion", arm.training.repulsion, problem
    if arm.training.weighting == "bad_points" and not arm.base.given:
        problem = "the errors are those of models to begin with; give base.arm, or another base"
        yield f"{key}.training.weighting", "bad_points", problem
    if other := arm.base.arm:
        if problem := _other_arm(config, name, other):
            yield f"{key}.base.arm", other, problem
        elif config.arms[other].base.arm:
            yield f"{key}.base.arm", other, f"begins as the models of {config.arms[other].base.arm}; name that arm"
        elif arm.frames == 0:
            yield f"{key}.frames", 0, f"that would run the models of {other} once more; train them on, or drop the arm"
    if other := arm.training.steps_of:
        if problem := _other_arm(config, name, other):
            yield f"{key}.training.steps_of", other, problem
        elif config.arms[other].training.steps_of or config.arms[other].frames == 0:
            yield f"{key}.training.steps_of", other, "has no number of epochs of its own; name an arm that has"
        elif config.arms[other].base.arm == name:
            yield f"{key}.training.steps_of", other, "begins as the models of this arm, whose steps count; name another"
        elif arm.training.epochs:
            yield f"{key}.training.steps_of", other, "epochs are given as well; remove one of the two"
        elif arm.base.arm and config.arms[arm.base.arm].training.steps_of:
            yield f"{key}.base.arm", arm.base.arm, "takes its steps from another arm too; give one of the two epochs"


def _frames_clashes(name: str, config: Config) -> Iterator[tuple[str, Any, str]]:
    arm, key = config.arms[name], f"arms.{name}"
    # A complete configuration, as archives hold it, states the defaults too.
    stated = [field for field in Arm.model_fields if getattr(arm, field) != Arm.model_fields[field].get_default()]
    sampling = [field for field in stated if field in Sampling.model_fields]
    if arm.frames == 0:
        if not arm.base.given:
            yield f"{key}.frames", 0, "an arm without frames needs models to run: give base.file or base.pretraining"
        for field in (*sampling, *(field for field in ("labels", "frames_of", "training") if field in stated)):
            yield f"{key}.{field}", getattr(arm, field), "the arm takes no frames (frames: 0); remove it, or take some"
    elif other := arm.frames_of:
        if problem := _other_arm(config, name, other):
            yield f"{key}.frames_of", other, problem
        elif config.arms[other].frames_of or config.arms[other].frames == 0:
            yield f"{key}.frames_of", other, "has no frames of its own; name an arm that has"
        elif config.arms[other].learning.rounds:
            yield f"{key}.frames_of", other, "adds frames in rounds of learning; name an arm without"
        for field in (*sampling, *(field for field in ("frames", "labels") if field in stated)):
            yield f"{key}.{field}", getattr(arm, field), f"the arm takes the frames of {other} as they are; remove it"


def batch_clashes(name: str, config: Config, *, key: str, field: str, value: Any) -> Iterator[tuple[str, Any, str]]:
    """Key, value and problem of an arm that takes more frames than there are, or fewer than a batch.

    Args:
        name: the arm.
        config: the configuration.
        key: the arm's key in the configuration.
        field: what says under this key how many frames it takes.
        value: the value of this field.
    """
    arm, taken = config.arms[name], config.frames.train
    count = training_frames(config, round_name(name, 0))
    batch = arm.training.batch_size
    if arm.frames and arm.frames > taken:
        more = f"needs {arm.frames} frames, more" if value != arm.frames else "more"
        problem = f"{more} than there are (frames.train {taken}); lower it or raise frames.train"
        yield f"{key}.{field}", value, problem
    elif batch and arm.frames != 0 and batch > count:
        yield f"{key}.training.batch_size", batch, f"larger than the arm's training set ({count} frames)"
    elif (arm.frames or arm.frames_of) and not batch and config.training.batch_size > count:
        whole = f"fewer frames ({count}) than a batch" if arm.frames_of else "fewer than a batch"
        problem = f"{whole} (training.batch_size {config.training.batch_size}); set {key}.training.batch_size"
        yield f"{key}.{field}", value, problem


def _sampling_clashes(key: str, settings: Sampling) -> Iterator[tuple[str, Any, str]]:
    if settings.turn_degrees[0] > settings.turn_degrees[1]:
        yield f"{key}.turn_degrees", settings.turn_degrees, "must be the smaller angle, then the larger"
    for odds in ("compression_to_stretching", "closing_to_opening"):
        if not any(getattr(settings, odds)):
            yield f"{key}.{odds}", getattr(settings, odds), "one of the two must be greater than 0"
    kept = "keep_unmodified" in settings.model_fields_set and settings.keep_unmodified
    if kept and not settings.changes_frames:
        problem = "modifies no frame; set bonds_per_frame or angles_per_frame, or this to false"
        yield f"{key}.keep_unmodified", True, problem


def _pretraining_clashes(config: Config) -> Iterator[tuple[str, Any, str]]:
    yield from _sampling_clashes("pretraining", config.pretraining)
    if other := config.pretraining.training.steps_of:
        yield "pretraining.training.steps_of", other, "pre-training has epochs of its own; set epochs"
    if (weighting := config.pretraining.training.weighting) != "equal":
        yield "pretraining.training.weighting", weighting, "is for arms; remove it"
    batch, count = pretraining_of(config).batch_size, pretraining_frames(config)
    if batch > count:
        problem = f"fewer training frames ({count}) than a batch ({batch}); raise it, or lower the batch size"
        yield "pretraining.frames", config.pretraining.frames, problem


def upper_limit_of_none(runs: int) -> float:
    """Upper limit (Clopper-Pearson, one-sided) of the fraction of runs that fail, if none of so many did."""
    return float(1 - (1 - CONFIDENCE) ** (1 / runs))


def _learning_clashes(name: str, config: Config) -> Iterator[tuple[str, Any, str]]:
    """Key, value and problem of what rounds of learning of an arm cannot be combined with."""
    arm, key = config.arms[name], f"arms.{name}.learning"
    own = arm.learning
    if own.rounds == 0:
        for field in sorted(own.model_fields_set) if "rounds" not in own.model_fields_set else ():
            yield f"{key}.{field}", getattr(own, field), "the arm has no rounds; set learning.rounds, or remove it"
        return
    if (seeds := len(config.training.seeds)) < 2:
        yield f"{key}.rounds", own.rounds, f"needs a committee, and training.seeds lists {seeds} seed; give two or more"
    if config.frames.per_seed:
        problem = "the models of a committee share a data set, and with frames.per_seed they do not; set it to false"
        yield f"{key}.rounds", own.rounds, problem
    if arm.frames == 0:
        yield f"{key}.rounds", own.rounds, "the arm takes no frames (frames: 0) and trains nothing; remove one of them"
    if own.replicas > config.frames.train:
        problem = f"more than the training frames that they start from (frames.train {config.frames.train})"
        yield f"{key}.replicas", own.replicas, problem
    records = own.replicas * int(own.hot_ps * 1000 / config.stability.record_interval_fs + 1e-9)
    if own.choose != "failed" and own.labels_per_round > records:
        problem = (
            f"more than the {records} frames that {own.replicas} replicas record in hot_ps {own.hot_ps:g} "
            f"(stability.record_interval_fs {config.stability.record_interval_fs:g}); lower it, or run more or longer"
        )
        yield f"{key}.labels_per_round", own.labels_per_round, problem
    lowest = upper_limit_of_none(own.replicas)
    if own.stop_below is not None and own.stop_below <= lowest:
        problem = (
            f"cannot be shown: without a collapse in {own.replicas} replicas the upper limit is {lowest:.3g}; raise "
            "it, or learning.replicas"
        )
        yield f"{key}.stop_below", own.stop_below, problem
