"""Arms of several numbers of labels: `labels: [10, 20]` of an arm stands for one arm with each number.

When a configuration is read, such an arm is replaced by `<arm>_10` and `<arm>_20`, and so is an arm that takes its
frames. All other code knows only arms with one number of labels; `label_series` finds those that differ in nothing
else.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from physembed.config.arm import Arm, Sampling
from physembed.config.arm_clashes import batch_clashes
from physembed.config.arms import labelled_sets, source_of
from physembed.config.base import NAME_MAX_LENGTH
from physembed.config.root import Config


def numbers_of_labels(config: Config, name: str) -> list[int]:
    """The numbers of labels for which an arm stands: its own, or those of the arm whose frames it takes."""
    arm = config.arms[name]
    return (config.arms[arm.frames_of].labels if arm.frames_of else arm.labels) or []


def with_label_numbers(config: Config) -> Config:
    """The configuration with one arm for each number of labels of an arm; `label_number_clashes` must be empty."""
    arms: dict[str, Arm] = {}
    for name, arm in config.arms.items():
        numbers = numbers_of_labels(config, name)
        arms |= {f"{name}_{labels}": _with(config, arm, labels) for labels in numbers} if numbers else {name: arm}
    return config.model_copy(update={"arms": arms})


def _with(config: Config, arm: Arm, labels: int) -> Arm:
    """An arm with one number of labels; of the arms that it names, it names those with the same number."""
    changes: dict[str, Any] = {"labels": None}
    if arm.labels:
        changes["frames"] = labels // arm.sampled(1)
    if arm.frames_of:
        changes["frames_of"] = f"{arm.frames_of}_{labels}"
    for section, field in (("base", "arm"), ("training", "steps_of")):
        part = getattr(arm, section)
        if (other := getattr(part, field)) and numbers_of_labels(config, other):
            changes[section] = part.model_copy(update={field: f"{other}_{labels}"})
    return arm.model_copy(update=changes)


def label_number_clashes(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Key, value and problem of numbers of labels that are not possible, or do not fit those of other arms.

    Each other value of an arm must have been found sound (`physembed.config.arm_clashes.arm_clashes`).
    """
    problems = 0
    for name, arm in config.arms.items():
        for problem in (*_own_clashes(name, arm), *_clashes_with_others(name, config)):
            problems += 1
            yield problem
    if problems:
        return
    single = with_label_numbers(config)
    for name, arm in config.arms.items():
        for labels in numbers_of_labels(config, name):
            made, key = f"{name}_{labels}", f"arms.{name}"
            field = "labels" if arm.labels else "frames_of"
            value = labels if arm.labels else arm.frames_of
            yield from batch_clashes(made, single, key=key, field=field, value=value)


def _own_clashes(name: str, arm: Arm) -> Iterator[tuple[str, Any, str]]:
    key = f"arms.{name}.labels"
    if not arm.labels:
        return
    if arm.frames:
        yield key, arm.labels, f"the arm also has frames: {arm.frames}; remove one of the two"
    for labels, count in Counter(arm.labels).items():
        if count > 1:
            yield key, labels, "is listed twice"
        if labels % arm.sampled(1):
            yield key, labels, "each frame needs two labels (keep_unmodified); give an even number"


def _clashes_with_others(name: str, config: Config) -> Iterator[tuple[str, Any, str]]:
    arm, numbers = config.arms[name], numbers_of_labels(config, name)
    taken = {other.lower() for other in config.arms}
    for labels in numbers:
        made = f"{name}_{labels}"
        if made.lower() in taken:
            yield f"arms.{name}.labels", labels, f"makes an arm {made}, but there is one already; rename one of the two"
        if len(made) > NAME_MAX_LENGTH:
            problem = f"makes an arm {made}, a name of more than {NAME_MAX_LENGTH} characters; shorten {name}"
            yield f"arms.{name}.labels", labels, problem
    for field, other in (("base.arm", arm.base.arm), ("training.steps_of", arm.training.steps_of)):
        theirs = numbers_of_labels(config, other) if other else []
        if theirs and sorted(theirs) != sorted(numbers):
            problem = f"there is one arm {other} for each number of labels in {theirs}; give {name} the same `labels`"
            yield f"arms.{name}.{field}", other, problem


def label_series(config: Config) -> dict[str, str]:
    """Arms that differ from others only in their number of labels, with the name of the series to which each belongs.

    The name is what `labels` makes arms of, `bent` of `bent_10` and `bent_20`, or else that of the arm with the most
    labels. Arms that run models as they are given belong to no series, nor do those behind which there are rounds of
    learning, whose labels are more than their frames.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in config.arm_names:
        sets = labelled_sets(config, name)
        if sets and all(source in config.arms for source in sets):
            groups[repr(_recipe(config, name))].append(name)
    series: dict[str, str] = {}
    for names in groups.values():
        frames = {name: _frames(config, name) for name in names}
        if len(set(frames.values())) > 1:
            title = _made_of(names)
            if not title or title in series.values():
                title = max(names, key=frames.__getitem__)
            series |= dict.fromkeys(names, title)
    return {name: series[name] for name in config.arm_names if name in series}


def _made_of(names: list[str]) -> str:
    """The name before the numbers, if all names end in one and have the same before it; empty if not."""
    stems = {stem if number.isdigit() else "" for stem, _, number in (name.rpartition("_") for name in names)}
    return stems.pop() if len(stems) == 1 else ""


def _frames(config: Config, name: str) -> int:
    """Training frames that an arm takes before any of them is doubled."""
    source = source_of(config, name)
    assert source
    return config.arms[source].frames or config.frames.train


def _recipe(config: Config, name: str) -> dict[str, Any]:
    """All that makes an arm what it is, apart from the number of frames, and from the names of arms behind it."""
    arm, source = config.arms[name], source_of(config, name)
    training = arm.training.model_dump(exclude={"steps_of"})
    base = arm.base.model_dump(exclude={"arm"})
    if arm.training.steps_of:
        training["steps_of"] = _recipe(config, arm.training.steps_of)
    if arm.base.arm:
        base["arm"] = _recipe(config, arm.base.arm)
    sampling = config.arms[source].model_dump(include=set(Sampling.model_fields)) if source else None
    return {"sampling": sampling, "base": base, "training": training}
