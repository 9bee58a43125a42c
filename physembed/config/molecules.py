"""The sections of the configuration for isolated molecules: topology, frames, labels, training, stability."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from physembed.config.base import (
    AFTERWARDS,
    EXTENDS,
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
    """Frames from which the arms make their training sets."""
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


class Metrics(Section):
    """Fine-grained errors of the forces: by clusters of conformations, which weigh frames too, and before collapses."""

    clusters: Annotated[int, Field(ge=2, le=50)] = 4
    """Clusters (K-means) of the unmodified training frames."""
    collapses: Annotated[int, Field(ge=0)] = 3
    """Runs of each model that collapsed whose last frames are labelled, to see the errors of the model there."""
    frames_before: Count = 10
    """Recorded frames before each of these collapses."""


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


Pair = Annotated[list[Name], Field(min_length=2, max_length=2)]


class Survival(Section):
    """Statistics of the stability runs."""

    comparisons: Annotated[list[Pair], Field(min_length=1)] | None = None
    """Pairs of arms to test, chosen before the runs; null: all pairs. p-values are corrected for their number."""
