"""The configuration: its models, defaults (the paper's protocol) and checks.

The models below are the single source of the defaults and of `config/schema.json`. `load` turns the merged
dictionary that Snakemake read into a `Config` or raises a `PhysEmbedError` of one line that names the key and
the value. Nothing is written here.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from physembed.errors import PhysEmbedError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
NAME_MAX_LENGTH = 64
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=NAME_MAX_LENGTH)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0, le=10_000)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, and values are not coerced between types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Molecules(Section):
    """Which molecules the study holds."""

    table: str = "config/molecules.tsv"
    """Table of molecules; see config/README.md for its columns."""
    names: Literal["all"] | list[Name] = "all"
    """Rows of the table to run."""


class Topology(Section):
    """GAFF topology from antechamber, parmchk2 and tleap."""

    parameter_set: Literal["gaff", "gaff2"] = "gaff"
    """`gaff` is GAFF 1.81, with which the paper's stretch limits come out; `gaff2` is GAFF 2.x."""
    charges: Literal["bcc", "gasteiger"] = "bcc"
    """Partial charges: AM1-BCC (minutes for large molecules) or Gasteiger (instant)."""


class GaffMD(Section):
    """MD of one isolated molecule with its classical force field."""

    temperature_K: Temperature = 300.0
    timestep_fs: Annotated[float, Field(gt=0, le=4)] = 1.0
    duration_ps: Positive = 1000.0
    frame_interval_steps: Count = 100
    friction_per_ps: Positive = 1.0

    @property
    def frame_count(self) -> int:
        """Frames that the run writes."""
        return round(self.duration_ps * 1000 / self.timestep_fs) // self.frame_interval_steps


class Frames(Section):
    """How many frames of the GAFF run serve for what; all are drawn at random and disjoint."""

    train: Count = 45
    validation: Count = 5
    starts: Count = 20
    """Start frames of the stability runs."""


class Arm(Section):
    """How one training set is made from the training frames. `bonds_per_frame: 0` leaves them as they are."""

    bonds_per_frame: Annotated[int, Field(ge=0)] = 1
    keep_unmodified: bool = False
    """Keep each unmodified frame beside its modified one (twice the frames)."""
    compression: Annotated[float, Field(gt=0.5, le=1)] = 0.95
    """Lower end of the compression segment over r_min."""
    stretch_A: Positive = 0.25
    """s_stretch: the stretch limit beyond r_mean of a bond as stiff as the reference bond."""
    compression_to_stretching: Annotated[list[NotNegative], Field(min_length=2, max_length=2)] = [1.0, 4.0]
    terminal_k_factor: Positive = 0.8
    turn_probability: Annotated[float, Field(ge=0, le=1)] = 0.8
    turn_degrees: Annotated[list[NotNegative], Field(min_length=2, max_length=2)] = [15.0, 30.0]
    clash_margin_A: NotNegative = 0.25
    reference_bond: Annotated[str, Field(pattern=r"^[^-\s]+-[^-\s]+$")] = "c3-c3"
    """The bond type whose force constant is k_ref."""
    reference_k_kcal_mol_A2: Positive | None = None
    """k_ref itself, for a topology whose parameter set has no such bond type."""
    tries: Count = 200
    """Attempts per frame before the frame is an error."""


class Labels(Section):
    """GFN2-xTB energies and forces through tblite."""

    method: Literal["GFN2-xTB", "GFN1-xTB"] = "GFN2-xTB"
    accuracy: Positive = 1.0
    max_iterations: Count = 250
    electronic_temperature_K: NotNegative = 300.0
    retry_electronic_temperatures_K: list[Positive] = [1000.0, 3000.0]
    """Retries after an SCF that does not converge; each also starts from the other initial guess."""
    max_force_eV_A: Positive = 100.0
    """A frame with a larger force on any atom is rejected."""
    bond_order_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Wiberg bond order from which two atoms count as bonded when connectivity is compared."""
    max_rejected_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """More rejects than this end the study with an error instead of training on what is left."""


class Training(Section):
    """MACE training; the names are those of `mace_run_train` where it has one."""

    seeds: Annotated[list[int], Field(min_length=1)] = [1, 2, 3, 4, 5]
    num_channels: Count = 256
    max_L: Annotated[int, Field(ge=0, le=3)] = 2
    max_ell: Annotated[int, Field(ge=1, le=4)] = 3
    correlation: Annotated[int, Field(ge=1, le=4)] = 3
    num_interactions: Count = 2
    r_max_A: Annotated[float, Field(ge=2, le=15)] = 5.0
    epochs: Count = 1000
    batch_size: Count = 10
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.01
    energy_weight: NotNegative = 1.0
    forces_weight: NotNegative = 100.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    clip_grad: Positive = 10.0
    lr_factor: Annotated[float, Field(gt=0, le=1)] = 0.8
    scheduler_patience: Count = 50
    dtype: Literal["float32", "float64"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Stability(Section):
    """Hot MD of isolated molecules with the trained models; one batch of replicas per model."""

    temperature_K: Temperature = 800.0
    timestep_fs: Annotated[float, Field(gt=0, le=4)] = 1.0
    duration_ps: Positive = 100.0
    friction_per_ps: Positive = 10.0
    bond_tolerance_A: Positive = 0.5
    """A bond further than this from its mean length over the GAFF run is a collapse."""
    overlap_margin_A: float = 0.0
    """Two atoms that are not bonded, nearer than a bond of these elements plus this, are a collapse."""
    check_interval_steps: Count = 10
    record_interval_fs: Positive = 100.0
    dtype: Literal["float32", "float64"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Config(Section):
    """A study."""

    study: Name = "paper"
    """Results go to results/<study>/; two configurations never share one."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 2026
    molecules: Molecules = Molecules()
    topology: Topology = Topology()
    gaff_md: GaffMD = GaffMD()
    frames: Frames = Frames()
    arms: Annotated[dict[Name, Arm], Field(min_length=1)] = {
        "original": Arm(bonds_per_frame=0),
        "adaptive": Arm(),
    }
    labels: Labels = Labels()
    training: Training = Training()
    stability: Stability = Stability()


def _complain(error: ValidationError, config: dict[str, Any]) -> str:
    """The first problem of a validation as `config: key: value ...: what is wrong`."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        known: Any = Config
        for part in location[:-1]:
            field = known.model_fields.get(part) if isinstance(known, type) else None
            known = Arm if location[0] == "arms" else field.annotation if field else None
        names = list(getattr(known, "model_fields", {}))
        near = difflib.get_close_matches(location[-1], names, 1, 0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(names)}"
        return f"config: {key}: unknown key; {hint}"
    return f"config: {key}: {first['input']!r}: {first['msg']}"


def load(config: dict[str, Any]) -> Config:
    """Check a merged configuration.

    Raises:
        PhysEmbedError: one line that names the key and the value.
    """
    try:
        study = Config.model_validate(config)
    except ValidationError as error:
        raise PhysEmbedError(_complain(error, config)) from None
    return study
