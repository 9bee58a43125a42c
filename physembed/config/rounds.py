"""Rounds of learning of the arms of a configuration, and the names of what they make.

The rounds of an arm `learned` are `learned~1`, `learned~2`, ...; the name of an arm has no such sign. Files of a
round have this name where those of an arm have the arm's. Round 0 is the training on the frames that the arm begins
with.
"""

from __future__ import annotations

from physembed.config.arm import Arm
from physembed.config.root import Config

MARK = "~"


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
