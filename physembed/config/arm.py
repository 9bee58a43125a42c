"""The sections of the configuration for arms: how frames are sampled, what models begin as, how they are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from physembed.config.base import (
    ANGLE_PATTERN,
    BOND_PATTERN,
    Angle,
    Count,
    Name,
    NotNegative,
    Positive,
    Repulsion,
    Section,
    Sha256,
    Temperature,
)
from physembed.config.learning import Learning

Weighting = Literal["equal", "elements", "clusters", "bad_points"]


class ArmTraining(Section):
    """What an arm trains otherwise than the section `training` says; the model itself has one size in all arms."""

    repulsion: Repulsion | None = None
    """Prior of the model; `null` for that of `training`."""
    epochs: Count | None = None
    """Passes over its training set."""
    steps_of: Name | None = None
    """Arm whose number of gradient steps it takes, all that its models had before included, in place of `epochs`."""
    batch_size: Count | None = None
    """Frames in a batch."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Initial learning rate; `null` for that of `training`, or a tenth of it where models begin as others."""
    energy_weight: NotNegative | None = None
    """Weight of the energies in the loss."""
    forces_weight: NotNegative | None = None
    """Weight of the forces in the loss."""
    weighting: Weighting = "equal"
    """What counts the same: all atoms and frames, `elements`, or `clusters`; `bad_points`: clusters by their errors."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Decay of the moving average; `null` for that of `training`, or 0.999 where models begin as others."""
    clip_grad: Positive | None = None
    """Norm to which the gradient is clipped; `null` for that of `training`, or 1 where models begin as others."""


class Base(Section):
    """What the models of an arm begin as: one of these, or, with none, random weights."""

    file: str | None = None
    """A MACE model, a foundation model for instance."""
    sha256: Sha256 | None = None
    """Its checksum, if the file is to be checked."""
    pretraining: bool = False
    """The models of the section `pretraining`."""
    arm: Name | None = None
    """Another arm: its model of the same seed."""

    @property
    def given(self) -> bool:
        """Whether the models begin as others."""
        return bool(self.file or self.pretraining or self.arm)


class Sampling(Section):
    """How bonds and angles of frames are changed."""

    bonds_per_frame: Annotated[int, Field(ge=0)] = 1
    """Bonds to modify in each frame; 0 for none."""
    angles_per_frame: Annotated[int, Field(ge=0)] = 0
    """Angles to modify in each frame, after the bonds, each at a different atom; 0 for none."""
    draws: Literal["random", "even"] = "random"
    """`random`: bonds, angles and segments are drawn for each frame by itself, as in the paper. `even`: types that have
    been modified less often come first, and segments keep to their odds, so that a small set leaves no type out."""
    keep_unmodified: bool = False
    """Keep each unmodified frame in addition to the modified one (twice the frames)."""
    compression: Annotated[float, Field(gt=0.5, le=1)] = 0.95
    """Lower end of the compression segment, in units of r_min, the shortest length of the bond type in the frames."""
    stretch_A: Annotated[float, Field(gt=0, le=2)] = 0.25
    """s_stretch: the stretch limit beyond r_mean for a bond as stiff as the reference bond."""
    compression_to_stretching: Annotated[list[NotNegative], Field(min_length=2, max_length=2)] = [1.0, 4.0]
    """Odds of drawing from the compression and from the stretching segment."""
    bend_degrees: Annotated[float, Field(gt=0, le=90)] = 31.0
    """s_bend: the limit on either side of theta_mean for an angle as stiff as the reference angle."""
    closing_to_opening: Annotated[list[NotNegative], Field(min_length=2, max_length=2)] = [1.0, 1.0]
    """Odds of closing an angle and of opening it."""
    terminal_k_factor: Positive = 0.8
    """Factor on the force constant of a bond or angle that ends in hydrogen or halogen."""
    turn_probability: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Probability that the end group of a terminal bond is also rotated about its axis."""
    bend_turn_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability that the bent group is also rotated about the other bond of its angle (out of plane)."""
    turn_degrees: Annotated[list[Angle], Field(min_length=2, max_length=2)] = [15.0, 30.0]
    """Smallest and largest rotation."""
    clash_margin_A: Annotated[float, Field(ge=0, le=2)] = 0.25
    """A modification is rejected if two non-bonded atoms are closer than a bond of these elements plus this margin."""
    bend_clash_margin_A: Annotated[float, Field(ge=-0.5, le=2)] = 0.1
    """The same for the two ends of an angle if angles are modified."""
    reference_bond: Annotated[str, Field(pattern=BOND_PATTERN)] = "c3-c3"
    """Bond type whose force constant is k_ref."""
    reference_k_kcal_mol_A2: Positive | None = None
    """k_ref itself, for a topology whose parameter set has no such bond type."""
    reference_angle: Annotated[str, Field(pattern=ANGLE_PATTERN)] = "c3-c3-c3"
    """Angle type whose force constant is k_ref for angles."""
    reference_k_kcal_mol_rad2: Positive | None = None
    """k_ref for angles itself, for a topology whose parameter set has no such angle type."""
    tries: Count = 200
    """Attempts per frame, for bonds and for angles, before the stage fails."""

    @property
    def changes_frames(self) -> bool:
        """Whether any frame is modified."""
        return bool(self.bonds_per_frame or self.angles_per_frame)

    def sampled(self, frames: int) -> int:
        """How many frames come of so many."""
        return 2 * frames if self.keep_unmodified and self.changes_frames else frames


class Arm(Sampling):
    """A recipe: which training frames it takes, how they are sampled, and how its models are trained.

    With `bonds_per_frame: 0` and `angles_per_frame: 0` the frames stay as they are.
    """

    frames: Annotated[int, Field(ge=0)] | None = None
    """Training frames that it takes, the first of those drawn; `null` for all; 0: models are run as they begin."""
    labels: Annotated[list[Count], Field(min_length=1)] | None = None
    """Numbers of labels: in place of this arm there is one arm `<name>_<number>` for each, with the first frames."""
    frames_of: Name | None = None
    """Arm whose labelled frames it trains on, in place of frames of its own."""
    base: Base = Base()
    """What its models begin as."""
    training: ArmTraining = ArmTraining()
    """What it trains otherwise than the section `training` says."""
    learning: Learning = Learning()
    """Rounds of active learning."""


class Pretraining(Sampling):
    """Training on frames that the molecule's force field labels, for arms with `base: {pretraining: true}`.

    The frames come from MD runs of their own. There is one model for each seed, which these arms share.
    """

    frames: Annotated[int, Field(ge=20)] = 1000
    """Frames of MD, in equal parts at each temperature, as far as that goes."""
    temperatures_K: Annotated[list[Temperature], Field(min_length=1)] = [300.0, 1000.0]
    """Temperatures of the MD; all else about it is as in `gaff_md`."""
    angles_per_frame: Annotated[int, Field(ge=0)] = 1
    """Angles that are changed in each frame, after the bonds, each at another atom; 0 for none."""
    keep_unmodified: bool = True
    """Keep each unmodified frame beside its modified one (twice the frames)."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of the frames on which the training is judged."""
    training: ArmTraining = ArmTraining(epochs=50)
    """What is trained otherwise than the section `training` says."""


def kind_of(arm: Arm) -> int:
    """Where an arm gets its frames: 0 as they are drawn, 1 changes them, 2 those of another arm, 3 takes none."""
    if arm.frames == 0:
        return 3
    return 2 if arm.frames_of else int(arm.changes_frames)
