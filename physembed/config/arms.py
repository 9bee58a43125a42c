"""The sections of the configuration for arms: how frames are sampled, what models begin as, how they are trained.

An arm is a recipe. What follows from it, and from the other sections, is said by functions here: whose frames an arm
trains on, how many, and with which settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from physembed.config.learning import (
    Learning,
    all_rounds,
    arm_of,
    learning_clashes,
    learns,
    models_of,
    recipe,
    round_name,
    round_of,
    rounds_of,
)
from physembed.config.messages import nearest
from physembed.config.molecules import Training

if TYPE_CHECKING:
    from physembed.config.root import Config

Weighting = Literal["equal", "elements", "clusters", "bad_points"]
FINE_TUNING = {"learning_rate": 0.1, "ema_decay": 0.999, "clip_grad": 1.0}
"""What the training of models that begin as others has: this factor on the learning rate, and these values.

MACE's guidance for fine-tuning (arXiv:2606.12704).
"""


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


def arm_clashes(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Key, value and problem of each value of an arm that is sound alone but not beside the others."""
    problems = 0
    for name in config.arms:
        of_arm = _base_clashes(name, config), _frames_clashes(name, config), learning_clashes(name, config)
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
