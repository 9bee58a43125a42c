"""The sections of the configuration for isolated molecules: topology, frames, arms, labels, training, stability."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from physembed.config.base import (
    AFTERWARDS,
    ANGLE_PATTERN,
    BOND_PATTERN,
    EXTENDS,
    Angle,
    Count,
    Duration,
    ModelTraining,
    Name,
    NotNegative,
    Positive,
    Section,
    Seed,
    Temperature,
    Timestep,
)
from physembed.durations import frame_count

Repulsion = Literal["none", "zbl"]


class Molecules(Section):
    """Which molecules the study contains."""

    table: str = "config/molecules.tsv"
    """Table of molecules; config/README.md describes its columns."""
    names: Literal["all"] | list[Name] = "all"
    """Molecules of the table to run, as a list of names, or `all`; an empty list for a study of liquids only."""

    @field_validator("names", mode="before")
    @classmethod
    def _all_or_list(cls, names: Any) -> Any:
        if names != "all" and not isinstance(names, list):
            raise PydanticCustomError("names", "must be 'all' or a list of names such as [paracetamol]")
        return names


class Topology(Section):
    """GAFF topology from antechamber, parmchk2 and tleap."""

    parameter_set: Literal["gaff", "gaff2"] = "gaff"
    """`gaff` is GAFF 1.81, which reproduces the paper's stretch limits; `gaff2` is GAFF 2.x."""
    charges: Literal["bcc", "gasteiger"] = "bcc"
    """Partial charges: AM1-BCC (minutes for large molecules) or Gasteiger (instant)."""


class GaffMD(Section):
    """MD of one isolated molecule with its classical force field."""

    temperature_K: Temperature = 300.0
    """Temperature of the thermostat."""
    timestep_fs: Timestep = 1.0
    """Time step; no bonds are constrained, so more than 1 fs is too long for bonds to hydrogen."""
    equilibration_ps: NotNegative = 5.0
    """Equilibration before the first frame, not part of the duration: the run starts from an energy minimum."""
    duration_ps: Duration = 1000.0
    """Length of the recorded run."""
    frame_interval_steps: Count = 100
    """Steps between saved frames."""
    friction_per_ps: Positive = 1.0
    """Friction of the Langevin thermostat."""


class Frames(Section):
    """How many frames of the GAFF run are used for each purpose; all are drawn at random and disjoint."""

    train: Count = 45
    """Frames from which every arm makes its training set."""
    validation: Count = 5
    """Frames for validation during training; never modified."""
    starts: Count = 20
    """Start frames of the stability runs."""
    per_seed: bool = False
    """Each training seed draws its own frames and modifications; otherwise all share one data set, as in the paper."""


class Training(ModelTraining):
    """MACE training, named as in `mace_run_train` where it has the option."""

    seeds: Annotated[list[Seed], Field(min_length=1)] = [1, 2, 3, 4, 5]
    """One model is trained per seed and arm."""
    repulsion: Repulsion = "none"
    """`zbl` adds the screened nuclear repulsion of Ziegler, Biersack and Littmark (MACE's `pair_repulsion`)."""


class ArmTraining(Section):
    """Training settings of an arm that differ from the section `training`; the model has the same size in all arms."""

    repulsion: Repulsion | None = None
    """Repulsion prior of the model; `null` for that of `training`."""
    epochs: Count | None = None
    """Passes over the training set."""
    batch_size: Count | None = None
    """Frames per batch."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Initial learning rate."""
    energy_weight: NotNegative | None = None
    """Weight of the energies in the loss."""
    forces_weight: NotNegative | None = None
    """Weight of the forces in the loss."""


class Arm(Section):
    """A recipe: which training frames are used, how they are sampled, and how the models are trained.

    With `bonds_per_frame: 0` and `angles_per_frame: 0` the frames are not modified.
    """

    frames: Count | None = None
    """Number of training frames to use, the first of those drawn; `null` for all of `frames.train`."""
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
    training: ArmTraining = ArmTraining()
    """Training settings that differ from the section `training`."""


def leaves_frames(arm: Arm) -> bool:
    """Whether an arm uses the training frames unmodified."""
    return arm.bonds_per_frame == arm.angles_per_frame == 0


class Labels(Section):
    """GFN2-xTB energies and forces through tblite."""

    method: Literal["GFN2-xTB", "GFN1-xTB"] = "GFN2-xTB"
    """Hamiltonian."""
    accuracy: Positive = 1.0
    """Factor on tblite's convergence thresholds; smaller is tighter."""
    max_iterations: Count = 250
    """SCF cycles before an attempt counts as not converged."""
    electronic_temperature_K: Annotated[float, Field(ge=0, le=10_000)] = 300.0
    """Temperature of the Fermi smearing."""
    retry_electronic_temperatures_K: list[Temperature] = [1000.0, 3000.0]
    """Electronic temperatures to retry if the SCF does not converge; each also starts from the other initial guess."""
    max_force_eV_A: Annotated[Positive, AFTERWARDS] = 100.0
    """A frame with a larger force on any atom is rejected."""
    bond_order_threshold: Annotated[float, Field(gt=0, lt=1), AFTERWARDS] = 0.3
    """A bond has formed if its Wiberg bond order exceeds the relaxed molecule's by this, and is broken below this."""
    max_rejected_fraction: Annotated[float, Field(ge=0, lt=1), AFTERWARDS] = 0.2
    """If a larger fraction is rejected, the stage fails instead of training on the remaining frames."""


class Stability(Section):
    """Hot MD of isolated molecules with the trained models; one batch of replicas per model."""

    temperature_K: Temperature = 800.0
    """Temperature of the thermostat."""
    timestep_fs: Timestep = 1.0
    """Time step."""
    duration_ps: Annotated[Duration, EXTENDS] = 100.0
    """Length of each run."""
    friction_per_ps: Positive = 10.0
    """Friction of the Langevin thermostat."""
    bond_tolerance_A: Annotated[float, Field(gt=0, le=5)] = 0.5
    """A bond that deviates by more than this from its mean length in the GAFF run is a collapse."""
    overlap_margin_A: Annotated[float, Field(ge=-2, le=2)] = 0.25
    """Two non-bonded atoms closer than a bond of these elements plus this margin are a collapse."""
    check_interval_steps: Count = 10
    """Steps between collapse checks."""
    record_interval_fs: Annotated[float, Field(gt=0, le=1_000_000_000)] = 100.0
    """Time between recorded frames."""
    dtype: Literal["float32", "float64"] = "float32"
    """Floating-point precision."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; `auto` uses a GPU if there is one."""


def molecule_clashes(config: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and problem of each molecule setting that is valid by itself but conflicts with others."""
    md, frames, training, stability = config.gaff_md, config.frames, config.training, config.stability
    steps = round(md.duration_ps * 1000 / md.timestep_fs)
    wanted = frames.train + frames.validation + frames.starts
    frame_total = frame_count(md.duration_ps, md.timestep_fs, md.frame_interval_steps)
    if frame_total == 0:
        problem = f"the run has only {steps} steps (gaff_md.duration_ps {md.duration_ps:g}), so it writes no frame"
        yield "gaff_md.frame_interval_steps", md.frame_interval_steps, problem
    elif wanted > frame_total:
        others = f"with frames.validation {frames.validation} and frames.starts {frames.starts}"
        problem = f"{others} this requires {wanted} frames, but the GAFF run writes {frame_total}"
        yield "frames.train", frames.train, f"{problem}; lower one or raise gaff_md.duration_ps"
    if training.batch_size > frames.train:
        problem = f"larger than the training set (frames.train {frames.train})"
        yield "training.batch_size", training.batch_size, problem
    for name, arm in config.arms.items():
        yield from _arm_clashes(name, arm, frames, training)
    duration_fs = stability.duration_ps * 1000
    if duration_fs < stability.timestep_fs:
        problem = f"shorter than one step (stability.timestep_fs {stability.timestep_fs:g})"
        yield "stability.duration_ps", stability.duration_ps, problem
    elif stability.record_interval_fs > duration_fs:
        problem = f"longer than the run (stability.duration_ps {stability.duration_ps:g})"
        yield "stability.record_interval_fs", stability.record_interval_fs, problem
    ratio = stability.record_interval_fs / stability.timestep_fs
    if abs(ratio - round(ratio)) > 1e-6 * ratio:
        problem = f"must be a whole multiple of stability.timestep_fs {stability.timestep_fs:g}"
        yield "stability.record_interval_fs", stability.record_interval_fs, problem
    elif stability.check_interval_steps > round(ratio):
        problem = f"exceeds stability.record_interval_fs {stability.record_interval_fs:g} ({round(ratio)} steps)"
        yield "stability.check_interval_steps", stability.check_interval_steps, problem


def _arm_clashes(name: str, arm: Arm, frames: Frames, training: Training) -> Iterator[tuple[str, Any, str]]:
    """The same for one arm."""
    key = f"arms.{name}"
    count, batch = (arm.frames or frames.train) * (2 if arm.keep_unmodified else 1), arm.training.batch_size
    if arm.frames and arm.frames > frames.train:
        problem = f"more than there are (frames.train {frames.train}); lower it or raise frames.train"
        yield f"{key}.frames", arm.frames, problem
    elif batch and batch > count:
        yield f"{key}.training.batch_size", batch, f"larger than the arm's training set ({count} frames)"
    elif arm.frames and not batch and training.batch_size > count:
        problem = f"fewer than a batch (training.batch_size {training.batch_size}); set {key}.training.batch_size"
        yield f"{key}.frames", arm.frames, problem
    if arm.turn_degrees[0] > arm.turn_degrees[1]:
        yield f"{key}.turn_degrees", arm.turn_degrees, "must be the smaller angle, then the larger"
    for odds in ("compression_to_stretching", "closing_to_opening"):
        if not any(getattr(arm, odds)):
            yield f"{key}.{odds}", getattr(arm, odds), "one of the two must be greater than 0"
    if arm.keep_unmodified and leaves_frames(arm):
        problem = "the arm modifies no frame; set bonds_per_frame or angles_per_frame, or this to false"
        yield f"{key}.keep_unmodified", True, problem
