"""The cost model of the liquids' rules: seconds of one CPU core, or of the GPU for a job that has one."""

from __future__ import annotations

from pathlib import Path

from physembed.config.liquids import Reference
from physembed.plan.costs import COSTS as MOLECULE_COSTS
from physembed.plan.costs import START, TORCH_START, Case, Cost, fixed, training_seconds
from physembed.plan.mace_time import OF_A_FILE, MaceSize, edges, periodic_step_seconds

PACKING_PER_ATOM = 2.2e-4
"""packmol."""
GAFF_STEP_PER_ATOM = 1.8e-6
"""A step of a periodic box with PME on OpenMM's CPU platform (1.35 to 2.2 µs at 160 to 1280 atoms)."""
PERIODIC_XTB_FRAME = {"GFN2-xTB": 4.5, "GFN1-xTB": 2.3}
"""A periodic frame of 120 atoms; the growth with the third power of the atoms is assumed."""
MBAR_PER_RUN = 5.0
"""Reweighting, per run. Not measured."""
DISTRIBUTION_PER_FRAME_ATOM = 2e-5
"""One radial or angular distribution of a frame. Not measured."""


def mace_size(case: Case) -> MaceSize:
    """Size of the case's model; that of a file is assumed."""
    settings = case.model.settings
    return OF_A_FILE if settings.file else MaceSize.of(settings.training)


def reference_runs(reference: Reference) -> int:
    """GAFF runs of a liquid from which frames are taken."""
    return len(reference.temperatures_K) * len(reference.densities_g_cm3)


def reference_frame_count(reference: Reference) -> int:
    """Frames to label of a liquid; rigid volume scans add one per run and scale."""
    return reference_runs(reference) * (reference.frames_per_run + len(reference.volume_scan_scales))


def frame_atoms(case: Case, liquid: str) -> int:
    """Atoms in a frame of reference data: the liquid's mean molecule times the molecules in a frame."""
    molecules = case.model.settings.reference.molecules
    return round(molecules * case.sizes.liquids[liquid] / case.sizes.boxed[liquid])


def steps(duration_ps: float, timestep_fs: float) -> float:
    """MD steps."""
    return duration_ps * 1000 / timestep_fs


def box(case: Case) -> float:
    """packmol, and the topology of the box."""
    return START + 1.5 + PACKING_PER_ATOM * case.sizes.liquids[case.wildcards["liquid"]]


def gaff_npt(case: Case) -> float:
    """Equilibration on OpenMM's CPU platform; where there is a GPU, OpenMM takes it and is faster."""
    settings = case.config.gaff_npt
    atoms = case.sizes.liquids[case.wildcards["liquid"]]
    return START + steps(settings.duration_ps, settings.timestep_fs) * GAFF_STEP_PER_ATOM * atoms


def reference_frames(case: Case) -> float:
    """GAFF runs of a small box at each temperature and density, at 1 fs."""
    reference = case.model.settings.reference
    duration_ps = reference_runs(reference) * reference.frames_per_run * reference.frame_interval_ps
    return START + steps(duration_ps, 1.0) * GAFF_STEP_PER_ATOM * frame_atoms(case, case.wildcards["liquid"])


def xtb_frame(case: Case, atoms: int) -> float:
    """A periodic xTB label."""
    return PERIODIC_XTB_FRAME[case.config.labels.method] * (atoms / 120) ** 3


def reference_labels(case: Case) -> float:
    """xTB of each frame."""
    frames = reference_frame_count(case.model.settings.reference)
    return START + frames * xtb_frame(case, frame_atoms(case, case.wildcards["liquid"]))


def training_data(case: Case) -> tuple[int, float]:
    """Frames that a model is trained on, and their mean number of atoms."""
    settings = case.model.settings
    if settings.data:
        return frames_of_file(settings.data)
    frames = reference_frame_count(settings.reference) * len(case.model.reference)
    atoms = [frame_atoms(case, liquid) for liquid in case.model.reference]
    return frames, sum(atoms) / len(atoms)


def frames_of_file(path: str | Path) -> tuple[int, float]:
    """Frames of an extended XYZ file and their atoms, from its size and its first frame."""
    with Path(path).open("rb") as file:
        atoms = int(file.readline())
        for _ in range(atoms + 1):
            file.readline()
        frame_bytes = file.tell()
    return max(1, round(Path(path).stat().st_size / frame_bytes)), float(atoms)


def liquid_training(case: Case) -> float:
    """All epochs; stress is not reckoned with."""
    settings = case.model.settings.training
    size = MaceSize.of(settings)
    frames, atoms = training_data(case)
    n_edges = edges(round(atoms), size.r_max_A, periodic=True)
    held_out = round(frames * settings.validation_fraction)
    return training_seconds(
        size, settings.epochs, frames - held_out, held_out, settings.batch_size, n_edges, gpu=case.gpu
    )


def scan(case: Case) -> float:
    """All runs of the tuning liquid: the uncorrected one and those of each alpha, or the most that reweighting takes.

    Runs of `direct` are one batch; those of `reweighted` follow each other but for the first two.
    """
    settings, npt, model = case.config.scan, case.config.npt, case.model
    atoms, size = case.sizes.liquids[model.settings.tune_on], mace_size(case)
    n_steps = steps(settings.duration_ps, npt.timestep_fs)
    if settings.method == "direct":
        runs = 1 + len(settings.a1) * len(model.settings.alphas)
        return TORCH_START + n_steps * periodic_step_seconds(size, atoms, runs, gpu=case.gpu)
    first = periodic_step_seconds(size, atoms, 2, gpu=case.gpu)
    later = (settings.max_runs - 2) * periodic_step_seconds(size, atoms, 1, gpu=case.gpu)
    return TORCH_START + n_steps * (first + later)


def tuning(case: Case) -> float:
    """A line through the runs, or MBAR."""
    settings = case.config.scan
    runs = settings.max_runs if settings.method == "reweighted" else len(settings.a1)
    return START + MBAR_PER_RUN * runs


def npt(case: Case) -> float:
    """All replicas in one batch."""
    settings, atoms = case.config.npt, case.sizes.liquids[case.wildcards["liquid"]]
    step = periodic_step_seconds(mace_size(case), atoms, settings.replicas, gpu=case.gpu)
    return TORCH_START + steps(settings.duration_ps, settings.timestep_fs) * step


def viscosity_run(case: Case) -> float:
    """All replicas in one batch, equilibration included."""
    settings, atoms = case.config.viscosity, case.sizes.liquids[case.wildcards["liquid"]]
    step = periodic_step_seconds(mace_size(case), atoms, settings.replicas, gpu=case.gpu)
    return TORCH_START + steps(settings.duration_ps + settings.equilibration_ps, settings.timestep_fs) * step


def structure(case: Case) -> float:
    """Distributions of the frames of both variants."""
    settings, npt_settings = case.config.structure, case.config.npt
    frames = 2 * npt_settings.replicas * npt_settings.duration_ps / npt_settings.frame_interval_ps
    distributions = len(settings.rdf_pairs) + len(settings.adf_triplets)
    atoms = case.sizes.liquids[case.wildcards["liquid"]]
    return START + frames * distributions * DISTRIBUTION_PER_FRAME_ATOM * atoms


def volume_scan(case: Case) -> float:
    """Scaled boxes of the tuning liquid with and without the correction, and their labels where wanted (on the CPU)."""
    settings = case.config.structure
    points = len(settings.volume_scan_scales) * settings.volume_scan_frames
    atoms = case.sizes.liquids[case.model.settings.tune_on]
    seconds = 2 * points * periodic_step_seconds(mace_size(case), atoms, 1, gpu=case.gpu)
    return TORCH_START + seconds + (points * xtb_frame(case, atoms) if settings.volume_scan_labels else 0.0)


LIQUID_COSTS: dict[str, Cost] = {
    "box": box,
    "gaff_npt": gaff_npt,
    "reference_frames": reference_frames,
    "reference_labels": reference_labels,
    "liquid_training": liquid_training,
    "liquid_model": fixed(TORCH_START),
    "scan": scan,
    "tuning": tuning,
    "corrected_model": fixed(TORCH_START),
    "npt": npt,
    "density": fixed(3.0),
    "viscosity_run": viscosity_run,
    "viscosity": fixed(30.0),
    "structure": structure,
    "volume_scan": volume_scan,
    "liquid_tables": fixed(3.0),
    "liquid_figures": fixed(10.0),
    "structure_figure": fixed(5.0),
    "liquid_training_figure": fixed(4.0),
}
COSTS: dict[str, Cost] = MOLECULE_COSTS | LIQUID_COSTS
"""Cost by rule, of the whole workflow."""
