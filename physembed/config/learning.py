"""The section of an arm for rounds of learning, and the names of what its rounds make.

The rounds of an arm `learned` are `learned~1`, `learned~2`, ...; the name of an arm has no such sign. Files of a
round have this name where those of an arm have the arm's. Round 0 is the training on the frames that the arm begins
with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from physembed.config.base import AFTERWARDS, EXTENDS, Count, Duration, Positive, Section

if TYPE_CHECKING:
    from physembed.config.arms import Arm
    from physembed.config.root import Config

Choice = Literal["committee", "unexplored", "before_collapse", "failed", "random"]
MARK = "~"
CONFIDENCE = 0.95
"""Of the upper limit of the collapse fraction, one-sided."""


class Learning(Section):
    """Rounds of active learning: hot MD with the committee of all seeds, labels for some of its frames, new training.

    The MD is that of the section `stability` but for its length; it starts from unmodified training frames.
    """

    rounds: Annotated[int, Field(ge=0, le=100)] = 0
    """Number of rounds; 0 for none."""
    labels_per_round: Annotated[Count, AFTERWARDS] = 10
    """Frames to label in each round."""
    choose: Annotated[Choice, AFTERWARDS] = "committee"
    """Frames to label: `committee`, those with the largest spread of forces; `unexplored`, those farthest from the
    training set; `before_collapse`, the last ones of runs that ended early; `failed`, start frames in which the bond or
    angle that failed is changed, over a range widened to where it failed; `random`, as a control."""
    replicas: Count = 20
    """Replicas of the hot MD."""
    hot_ps: Annotated[Duration, EXTENDS] = 20.0
    """Length of the hot MD."""
    spread_factor: Positive = 10.0
    """A replica stops if the spread of the forces on an atom exceeds this times the validation error (its 95th
    percentile over atoms)."""
    stop_below: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, AFTERWARDS] = None
    """No more rounds if the upper limit (one-sided, 95 %) of the fraction of replicas that end early is below this."""


def round_name(name: str, number: int) -> str:
    """Name of a round of an arm."""
    return f"{name}{MARK}{number}"


def arm_of(name: str) -> str:
    """The arm to which a round belongs; an arm itself."""
    return name.partition(MARK)[0]


def recipe(config: Config, name: str) -> Arm:
    """The recipe of an arm or of a round."""
    return config.arms[arm_of(name)]


def learns(config: Config, name: str) -> bool:
    """Whether this is an arm with rounds of learning, not a round."""
    return MARK not in name and config.arms[name].learning.rounds > 0


def round_of(config: Config, name: str) -> int:
    """Number of a round; of an arm its last one; 0 of an arm without rounds."""
    own, _, number = name.partition(MARK)
    return int(number) if number else config.arms[own].learning.rounds


def rounds_of(config: Config, name: str) -> list[str]:
    """Rounds of an arm, without round 0."""
    return [round_name(name, number) for number in range(1, config.arms[name].learning.rounds + 1)]


def all_rounds(config: Config) -> list[str]:
    """Rounds of all arms."""
    return [number for name in config.arm_names for number in rounds_of(config, name)]


def models_of(config: Config, name: str, number: int) -> str:
    """Name under which the models of a round of an arm are trained.

    Those of round 0 are the models of the arm whose frames it takes, if they are trained in the same way.
    """
    arm = config.arms[name]
    if number == 0 and arm.frames_of:
        other = config.arms[arm.frames_of]
        if (other.base, other.training) == (arm.base, arm.training):
            return arm.frames_of
    return round_name(name, number)


def upper_limit_of_none(runs: int) -> float:
    """Upper limit (Clopper-Pearson, one-sided) of the fraction of runs that fail, if none of so many did."""
    return float(1 - (1 - CONFIDENCE) ** (1 / runs))


def learning_clashes(name: str, config: Config) -> Iterator[tuple[str, Any, str]]:
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
