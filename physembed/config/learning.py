"""The section of an arm for rounds of active learning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from physembed.config.base import AFTERWARDS, EXTENDS, Count, Duration, Positive, Section

Choice = Literal["committee", "unexplored", "before_collapse", "failed", "random"]


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
