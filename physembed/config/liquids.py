"""The sections of the configuration for liquids: reference data, models, NPT runs, scan, viscosity, structure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

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
    Sha256,
    Temperature,
    Timestep,
)

Alpha = Annotated[float, Field(ge=-10, le=10)]
A1 = Annotated[float, Field(ge=-100, le=100)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "float64"]


class Liquids(Section):
    """Tables of liquids and measured values, and the models to run on them."""

    table: str = "config/liquids.tsv"
    """Table of liquids; config/README.md describes its columns."""
    experiment: str = "config/experiment.tsv"
    """Table of measured densities and viscosities; config/README.md describes its columns."""
    models: list[Name] = []
    """Keys of `models` to run, as a list; empty for a study without liquids."""


class GaffNPT(Section):
    """Equilibration of a packed box with GAFF at the liquid's temperature and pressure."""

    duration_ps: Duration = 500.0
    """Length of the run."""
    timestep_fs: Timestep = 1.0
    """Time step; no bonds are constrained."""
    friction_per_ps: Positive = 1.0
    """Friction of the Langevin thermostat."""
    record_interval_ps: Positive = 1.0
    """Time between recorded frames."""
    cutoff_A: Annotated[float, Field(ge=3, le=20)] = 10.0
    """Cutoff of the pair interactions; the box must be more than twice as long."""
    packing_density_g_cm3: Annotated[float, Field(gt=0, lt=5)] = 0.6
    """Density at which molecules are packed; the run compresses the box."""


class Reference(Section):
    """Generated reference data: periodic GAFF liquids at several densities and temperatures, labelled with xTB."""

    liquids: list[Name] = []
    """Liquids of the table whose compositions are sampled; empty for those of `evaluate_on`."""
    molecules: Count = 12
    """Molecules per frame; the cost of a label grows steeply with it."""
    method: Literal["GFN2-xTB", "GFN1-xTB"] = "GFN2-xTB"
    """Hamiltonian of the labels, instead of `labels.method`; GFN1-xTB takes less than half the time."""
    temperatures_K: Annotated[list[Temperature], Field(min_length=1)] = [300.0, 450.0, 600.0]
    """Temperatures of the constant-volume GAFF runs."""
    densities_g_cm3: Annotated[list[Annotated[float, Field(gt=0, lt=10)]], Field(min_length=1)] = [
        0.8, 0.95, 1.1, 1.25, 1.4,
    ]  # fmt: skip
    """Densities of those runs; each is combined with each temperature."""
    frames_per_run: Count = 6
    """Frames taken from each run."""
    frame_interval_ps: Positive = 2.0
    """Time between these frames, and before the first."""
    volume_scan_scales: list[Annotated[float, Field(ge=0.8, le=2)]] = [0.92, 0.96, 1.05, 1.12]
    """Factors on the box length for rigid volume scans; each scan uses one frame of each run."""
    modified_bonds: Annotated[int, Field(ge=0)] = 4
    """Bonds to stretch or compress in the last half of each run's frames, as for molecules; 0 for none."""
    modified_angles: Annotated[int, Field(ge=0)] = 0
    """Angles to bend in the same frames, after the bonds; 0 for none."""
    modified_contacts: Annotated[int, Field(ge=0)] = 0
    """Molecules to move into close contact with a neighbour in the same frames, after bonds and angles; 0 for none."""
    stretch_A: Annotated[float, Field(gt=0, le=2)] = 0.25
    """Stretch limit beyond the mean length for a bond as stiff as c3-c3 (see `arms` for the rule)."""
    rounds: Annotated[int, Field(ge=0, le=20)] = 0
    """Rounds in which a model trained on the frames so far runs MD from them, and frames of it are labelled too."""
    round_ps: Annotated[Duration, EXTENDS] = 15.0
    """Length of each run of this MD, at constant volume, with the time step of `npt`."""
    round_frames: Annotated[Count, AFTERWARDS] = 5
    """Frames of each run to label; half of them are those with the closest contacts between molecules."""

    @property
    def gaff_runs(self) -> int:
        """GAFF runs of a liquid, and MD runs of a round."""
        return len(self.temperatures_K) * len(self.densities_g_cm3)

    @property
    def gaff_frames(self) -> int:
        """GAFF frames of a liquid that are labelled; rigid volume scans add one for each run and scale."""
        return self.gaff_runs * (self.frames_per_run + len(self.volume_scan_scales))


class LiquidTraining(ModelTraining):
    """MACE training on a liquid, named as in `mace_run_train` where it has the option."""

    num_channels: Count = 64
    """Channels of the node features."""
    epochs: Count = 10_000
    """Passes over the training set."""
    batch_size: Count = 32
    """Frames per batch."""
    stress_weight: NotNegative = 100.0
    """Weight of the stress in the loss; 0 trains without stress."""
    swa_start: Annotated[float, Field(gt=0, le=1)] | None = 0.75
    """Fraction of the epochs after which the second stage (SWA) begins; null for no second stage."""
    swa_energy_weight: NotNegative = 100.0
    """Weight of the energies in the second stage."""
    swa_forces_weight: NotNegative = 1.0
    """Weight of the forces in the second stage."""
    swa_stress_weight: NotNegative = 1000.0
    """Weight of the stress in the second stage."""
    swa_learning_rate: Positive = 0.001
    """Learning rate of the second stage."""
    validation_fraction: Fraction = 0.05
    """Fraction of the frames kept for validation."""
    seed: Seed = 1
    """Seed of the initial weights, the order of the frames and the choice of validation frames."""


LabelName = Annotated[str, Field(pattern=r"^\w+$")]


class LiquidModel(Section):
    """A model of liquids and the correction that is tuned for it.

    `file` is an existing MACE model, `data` a training set; with neither, reference data are generated (`reference`).
    """

    file: str | None = None
    """Path of a MACE model. It is a pickle, which can run arbitrary code when loaded: use only files that you trust."""
    sha256: Sha256 | None = None
    """SHA-256 of `file` or `data`, checked before the file is opened."""
    data: str | None = None
    """Path of an extended XYZ file with energies (eV), forces (eV/Å) and stresses (eV/Å^3) to train on."""
    energy_key: LabelName = "REF_energy"
    """Name of the energies in `data`; ASE's name is `energy`."""
    forces_key: LabelName = "REF_forces"
    """Name of the forces in `data`; ASE's name is `forces`."""
    stress_key: LabelName = "REF_stress"
    """Name of the stresses in `data`; ASE's name is `stress`."""
    reference: Reference = Reference()
    """Generated reference data, used if neither `file` nor `data` is given."""
    training: LiquidTraining = LiquidTraining()
    """Training on `data` or on the reference data."""
    convention: Literal["d3", "d2"] = "d3"
    """Convention of the CSO dispersion: `d3`, the original method, or `d2`. A value of a1 means nothing without it;
    to which of them the paper's values belong is not known."""
    alphas: Annotated[list[Alpha], Field(min_length=1), EXTENDS] = [0.05]
    """Prefactors of the correction to scan; the first is used for the corrected model."""
    a1_range: Annotated[list[A1], Field(min_length=2, max_length=2), EXTENDS] = [0.0, 2.0]
    """Lowest and highest allowed a1."""
    tune_on: Name
    """Liquid of the table to whose measured density a1 is tuned."""
    evaluate_on: Literal["all"] | Annotated[list[Name], Field(min_length=1)] = "all"
    """Liquids of the table on which the model is evaluated, as a list, or `all`."""
    viscosity_of: Literal["all"] | list[Name] = "all"
    """Those of them whose viscosity is computed, the longest runs of a study: `all`, a list, or none with `[]`."""


class NPT(Section):
    """NPT runs with a model, for densities; the scan uses the same settings except for its own duration."""

    duration_ps: Annotated[Duration, EXTENDS] = 1000.0
    """Length of a run; with `longest_ps`, its least length."""
    longest_ps: Annotated[Duration | None, EXTENDS] = None
    """Length up to which a run goes on until its density is known within `standard_error_g_cm3`; null: no longer than
    `duration_ps`."""
    standard_error_g_cm3: Annotated[Positive | None, EXTENDS] = None
    """Standard error of the density of a liquid at which its runs end before `longest_ps`."""
    window_ps: Annotated[Duration, AFTERWARDS] = 200.0
    """Window at the end of the run for the paper's plain mean; the equilibrated part is also detected."""
    replicas: Annotated[Count, EXTENDS] = 1
    """Runs of each liquid, with different initial velocities."""
    timestep_fs: Timestep = 1.0
    """Time step."""
    hydrogen_mass_u: Annotated[float, Field(ge=1, le=20)] | None = None
    """Mass of hydrogen in these runs; null for the natural mass. Densities, structures and energies do not depend on
    masses, and heavy hydrogen allows a longer `timestep_fs`: 2.5 fs at 8 u, for instance. Viscosity runs always use
    natural masses."""
    barostat: Literal["crescale", "langevin"] = "crescale"
    """Stochastic cell rescaling (Bernetti, Bussi 2020) or Langevin piston, with friction and noise on each atom."""
    thermostat_ps: Positive = 0.5
    """Inverse of the friction of the thermostat."""
    barostat_ps: Positive = 1.0
    """Relaxation time of the barostat."""
    compressibility_per_bar: Positive = 8.0e-5
    """Isothermal compressibility assumed by `crescale`; it sets the time scale, not the ensemble."""
    record_interval_fs: Positive = 100.0
    """Time between recorded rows (volume, energies, S0, S1)."""
    frame_interval_ps: Positive = 1.0
    """Time between saved frames."""
    dtype: Precision = "float32"
    """Floating-point precision."""
    device: Device = "auto"
    """Device; `auto` uses a GPU if there is one."""


class Scan(Section):
    """How a1 is found: NPT runs of the tuning liquid at several a1 (`direct`), or reweighting of a few runs."""

    method: Annotated[Literal["direct", "reweighted"], EXTENDS] = "direct"
    """`direct` fits a line through one run per point; `reweighted` computes the curve from all frames by MBAR."""
    a1: Annotated[list[A1], Field(min_length=2), EXTENDS] = [0.0, 0.5, 1.0, 1.5]
    """Points of `direct`."""
    start_a1: Annotated[list[A1], Field(min_length=1), EXTENDS] = [0.8]
    """First points of `reweighted`, in addition to the uncorrected run."""
    max_runs: Annotated[int, Field(ge=2), EXTENDS] = 6
    """Maximum number of runs of `reweighted`, including the uncorrected one."""
    minimum_effective_samples: Annotated[Positive, EXTENDS] = 50.0
    """Minimum number of effective samples for a reweighted density."""
    duration_ps: Annotated[Duration, EXTENDS] = 1000.0
    """Length of each run."""


class Viscosity(Section):
    """NVT or NVE replicas at the mean NPT density, whose pressure tensor gives the viscosity."""

    replicas: Count = 3
    """Replicas, each from a different frame of the NPT run."""
    duration_ps: Annotated[Duration, EXTENDS] = 5000.0
    """Length of each replica."""
    equilibration_ps: NotNegative = 20.0
    """Time before recording begins."""
    timestep_fs: Timestep = 1.0
    """Time step."""
    ensemble: Literal["nvt", "nve"] = "nvt"
    """While the pressure is recorded; `nvt` uses a weak global thermostat (velocity rescaling)."""
    thermostat_ps: Positive = 1.0
    """Relaxation time of the thermostat; during equilibration the inverse of its friction."""
    block_fs: Positive = 10.0
    """The pressure tensor of every step is averaged over blocks of this length."""
    relative_error: Annotated[Fraction, AFTERWARDS] = 0.1
    """A viscosity with a larger relative error is reported as insufficient."""
    dtype: Precision = "float32"
    """Floating-point precision."""
    device: Device = "auto"
    """Device; `auto` uses a GPU if there is one."""


class Structure(Section):
    """Radial and angular distributions of the NPT runs, and the rigid volume scan."""

    rdf_pairs: list[str] = ["O-O", "C-O", "C-C", "O-H"]
    """Pairs of elements, counted between different molecules."""
    rdf_range_A: Positive = 10.0
    """Largest distance, limited to half of the box."""
    adf_triplets: list[str] = ["C-O-C", "O-C-O"]
    """Elements of angles within a molecule, with the apex in the middle."""
    bins: Count = 200
    """Bins of each distribution."""
    volume_scan_scales: Annotated[list[Annotated[float, Field(ge=0.8, le=2)]], Field(min_length=3)] = [
        0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.07, 1.1,
    ]  # fmt: skip
    """Factors on the box length; molecules are moved by their centres of mass and stay rigid."""
    volume_scan_frames: Count = 3
    """Frames of the tuning liquid to scan."""
    volume_scan_labels: bool = False
    """Label the scanned frames with xTB as a reference; expensive for large boxes."""


class Certificate(Section):
    """Checks of the corrected model in every installed engine."""

    nve_ps: NotNegative = 1.0
    """Length of the constant-energy run in each engine; 0 for none."""
    npt_ps: NotNegative = 20.0
    """Length of the constant-pressure run in each engine; 0 for none."""
    timestep_fs: Timestep = 0.5
    """Time step of these runs."""
