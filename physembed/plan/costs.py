"""The cost model: seconds of each rule's job, from numbers of the configuration.

A cost is seconds of one CPU core, or of the GPU for a job that has one; imports of the Python packages are part of it.
Constants were measured unless their docstring says otherwise; docs/plan.md has machines and commands. A new rule needs
a function here and a line in `COSTS`; a test asserts that every rule of the workflow has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from physembed.config import Config
from physembed.config.molecules import leaves_frames
from physembed.durations import frame_count
from physembed.plan.mace_time import MaceSize, cpu_seconds, edges, gpu_arithmetic_seconds, isolated_step_seconds
from physembed.plan.sizes import Sizes
from physembed.study import ModelStudy, Study

START = 1.5
"""Start of Python with ASE, RDKit, OpenMM and the like."""
TORCH_START = 8.0
"""Start of Python with torch, MACE and torch-sim."""
AM1_BCC = 5.0
"""AM1-BCC charges of 20 atoms; grows with the third power of the atoms (0.7 s at 15, 40 s at 42)."""
GAFF_STEP = 8.6e-6
"""A step of 20 atoms on OpenMM's Reference platform; grows with the power 1.5 (26 µs at 42)."""
GAFF_FRAME = 5e-4
"""Reading and writing a frame of the trajectory."""
XTB_FRAME = 0.010
"""GFN2-xTB of 20 atoms, isolated; grows with the second power (7.5 ms at 15, 41 ms at 42)."""
TRAINING_FACTOR = 4.6
"""Training on a frame over evaluating it, on a CPU, at 16 channels."""
GPU_TRAINING_BATCH = 0.34
"""A training batch on the GPU, bound by kernel launches; measured with four trainings side by side."""


@dataclass(frozen=True)
class Case:
    """One job, as far as its cost depends on it."""

    study: Study
    """The study that it belongs to."""
    sizes: Sizes
    """Atoms of its molecules and liquids."""
    wildcards: dict[str, str]
    """Its wildcards."""
    gpu: bool
    """Whether it runs on a GPU."""

    @property
    def config(self) -> Config:
        """The study's configuration."""
        return self.study.config

    @property
    def atoms(self) -> int:
        """Atoms of its molecule."""
        return self.sizes.molecules[self.wildcards["molecule"]]

    @property
    def model(self) -> ModelStudy:
        """Its model of liquids."""
        return next(model for model in self.study.models if model.name == self.wildcards["model"])


Cost = Callable[[Case], float]


def fixed(seconds: float) -> Cost:
    """The cost of a job that takes the same short time whatever the study."""
    return lambda case: seconds


def gaff_topology(case: Case) -> float:
    """antechamber, parmchk2 and tleap; nearly all of it AM1-BCC charges where those are wanted."""
    charges = AM1_BCC * (case.atoms / 20) ** 3 if case.config.topology.charges == "bcc" else 0.0
    return START + 0.5 + charges


def gaff_frames(case: Case) -> int:
    """Frames of the GAFF run."""
    settings = case.config.gaff_md
    return frame_count(settings.duration_ps, settings.timestep_fs, settings.frame_interval_steps)


def gaff_md(case: Case) -> float:
    """Steps of the isolated molecule, and frames."""
    settings = case.config.gaff_md
    steps = settings.duration_ps * 1000 / settings.timestep_fs
    return START + steps * GAFF_STEP * (case.atoms / 20) ** 1.5 + gaff_frames(case) * GAFF_FRAME


def select_frames(case: Case) -> float:
    """Reading the trajectory."""
    return START + gaff_frames(case) * GAFF_FRAME


def train_frames(case: Case, arm: str) -> int:
    """Frames in the training set of an arm."""
    recipe = case.config.arms[arm]
    frames = recipe.frames or case.config.frames.train
    return 2 * frames if recipe.keep_unmodified and not leaves_frames(recipe) else frames


def labels(case: Case) -> float:
    """GFN2-xTB of each frame."""
    labelled = case.wildcards["labelled"]
    frames = case.config.frames.validation if labelled == "validation" else train_frames(case, labelled)
    return START + frames * XTB_FRAME * (case.atoms / 20) ** 2


def training_seconds(size: MaceSize, epochs: int, frames: int, held_out: int, batch: int, n_edges: float,
                     *, gpu: bool) -> float:  # fmt: skip
    """Epochs over `frames` frames of `n_edges` edges each, and the evaluation of those held out after each."""
    if gpu:
        arithmetic = TRAINING_FACTOR * gpu_arithmetic_seconds(size, batch * n_edges)
        batches = -(-frames // batch)
        return TORCH_START + epochs * batches * max(GPU_TRAINING_BATCH, arithmetic)
    return TORCH_START + epochs * (TRAINING_FACTOR * frames + held_out) * cpu_seconds(size, n_edges)


def training(case: Case) -> float:
    """All epochs of one model."""
    arm = case.wildcards["arm"]
    settings, frames = case.config.training, train_frames(case, arm)
    own = case.config.arms[arm].training
    epochs, batch_size = own.epochs or settings.epochs, own.batch_size or settings.batch_size
    size = MaceSize.of(settings)
    n_edges = edges(case.atoms, size.r_max_A, periodic=False)
    held_out = case.config.frames.validation
    return training_seconds(size, epochs, frames, held_out, batch_size, n_edges, gpu=case.gpu)


def evaluation(case: Case) -> float:
    """Every model of an arm on every labelled frame, on the CPU."""
    frames = train_frames(case, case.wildcards["arm"]) + case.config.frames.validation
    step = isolated_step_seconds(MaceSize.of(case.config.training), case.atoms, frames, gpu=False)
    return TORCH_START + len(case.config.training.seeds) * step


def stability(case: Case) -> float:
    """All steps of all replicas in one batch, as if none collapsed."""
    settings = case.config.stability
    steps = settings.duration_ps * 1000 / settings.timestep_fs
    size = MaceSize.of(case.config.training)
    return TORCH_START + steps * isolated_step_seconds(size, case.atoms, case.config.frames.starts, gpu=case.gpu)


COSTS: dict[str, Cost] = {
    "molecule": fixed(START),
    "gaff_topology": gaff_topology,
    "given_topology": fixed(START),
    "gaff_md": gaff_md,
    "frames": select_frames,
    "starts": select_frames,
    "bond_sampling": fixed(START),
    "labels": labels,
    "training": training,
    "evaluation": evaluation,
    "stability": stability,
    "survival": fixed(2.0),
    "figures": fixed(6.0),
    "tables": fixed(2.0),
    "summary": fixed(2.0),
}
"""Cost by rule: the rules of chain A; those of the liquids are in `liquid_costs`."""
