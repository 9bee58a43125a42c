"""Base class and value types of all configuration sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
NAME_MAX_LENGTH = 64
NAME_RULE = f"up to {NAME_MAX_LENGTH} letters, digits and . _ + -, starting with a letter or digit"
BOND_PATTERN = r"^[^-\s]+-[^-\s]+$"
ANGLE_PATTERN = r"^[^-\s]+-[^-\s]+-[^-\s]+$"
SHA256_PATTERN = "^[0-9a-f]{64}$"
PATTERNS = {
    NAME_PATTERN: f"must be a valid folder name: {NAME_RULE}",
    BOND_PATTERN: "must be two atom types and a hyphen, as in c3-c3",
    SHA256_PATTERN: "must be a SHA-256: 64 digits of 0 to 9 and a to f",
    ANGLE_PATTERN: "must be three atom types with hyphens, as in c3-c3-c3",
}
"""Error message for text that does not match a pattern."""

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=NAME_MAX_LENGTH)]
Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
# The bounds below catch values in another unit (0.001 ps for 1 fs, 25 pm for 0.25 Å).
Temperature = Annotated[float, Field(gt=0, le=10_000)]
Timestep = Annotated[float, Field(ge=0.01, le=4)]
Duration = Annotated[float, Field(gt=0, le=1_000_000)]
Angle = Annotated[float, Field(ge=0, le=180)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True)
class KeepsRuns:
    """Marks a field whose change leaves the saved state of a run valid.

    All other settings of a stage invalidate its restart files (`physembed.restart`).
    """

    why: str


EXTENDS = KeepsRuns("extends the run: existing results are the beginning, or a part, of the requested ones")
AFTERWARDS = KeepsRuns("is applied to the finished run and does not affect it")


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, and values are not coerced between types."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def keeping_runs(section: type[BaseModel]) -> set[str]:
    """Names of the fields of a section that are marked with `KeepsRuns`."""
    return {
        name
        for name, field in section.model_fields.items()
        if any(isinstance(mark, KeepsRuns) for mark in field.metadata)
    }


Repulsion = Literal["none", "zbl"]


class ModelTraining(Section):
    """Settings common to all MACE trainings, named as in `mace_run_train` where it has the option."""

    num_channels: Count = 256
    """Channels of the node features."""
    max_L: Annotated[int, Field(ge=0, le=3)] = 2
    """Highest order of the equivariant messages."""
    max_ell: Annotated[int, Field(ge=1, le=4)] = 3
    """Highest order of the spherical harmonics (the paper's expansion order)."""
    correlation: Annotated[int, Field(ge=1, le=4)] = 3
    """Correlation order: body order of the messages minus one."""
    num_interactions: Count = 2
    """Message-passing layers."""
    r_max_A: Annotated[float, Field(ge=2, le=15)] = 5.0
    """Cutoff of each layer."""
    repulsion: Repulsion = "none"
    """`zbl` adds the screened nuclear repulsion of Ziegler, Biersack and Littmark (MACE's `pair_repulsion`)."""
    epochs: Count = 1000
    """Passes over the training set."""
    batch_size: Count = 10
    """Frames per batch."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Initial learning rate of Adam (amsgrad)."""
    energy_weight: NotNegative = 1.0
    """Weight of the energies in the loss."""
    forces_weight: NotNegative = 100.0
    """Weight of the forces in the loss."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the exponential moving average of the weights."""
    clip_grad: Positive = 10.0
    """Norm to which the gradient is clipped."""
    lr_factor: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Factor on the learning rate when the validation loss stalls."""
    scheduler_patience: Count = 50
    """Epochs without improvement before the learning rate is reduced."""
    dtype: Literal["float32", "float64"] = "float32"
    """Floating-point precision."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; `auto` uses a GPU if there is one."""
