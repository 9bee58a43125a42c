"""Frames for pre-training: MD of the molecule at several temperatures, sampled, with labels of its force field.

What such labels cost is nothing beside those of xTB. Models learn from them how a molecule holds together, and what is
left to learn is the difference to xTB (Yuan and Head-Gordon, arXiv:2509.14205).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import parmed
from ase import Atoms

from physembed.config import GaffMD, Pretraining
from physembed.errors import PhysEmbedError
from physembed.molecules.gaff_md import GaffRun
from physembed.molecules.openmm_md import energies_and_forces
from physembed.sampling.arm import References, sample_frames
from physembed.seeds import derive_seed

log = logging.getLogger(__name__)


def pretraining_frames(
    structure: parmed.Structure,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    settings: Pretraining,
    md: Mapping[str, Any],
    *,
    parameter_set: Literal["gaff", "gaff2"],
    max_force_eV_A: float,
    seed: int,
    restart: str | Path,
) -> list[Atoms]:
    """Labelled frames of the molecule, those of each temperature one after the other.

    The frames of each temperature are sampled over their own ranges. Frames in which a force is above the cap are left
    out, as they are among the labels of xTB.

    Args:
        structure: topology and coordinates.
        tables: those of its bonds and of its angles.
        settings: of the pre-training.
        md: `gaff_md` of the configuration without temperature and duration.
        parameter_set: where the reference bond and angle are looked up.
        max_force_eV_A: the cap on the force on an atom.
        seed: of MD and modifications.
        restart: folder for the checkpoints of the runs.

    Returns:
        Frames with REF_energy (eV) in `info`, REF_forces (eV/Å) in `arrays`, and `source_frame`, unique over the
        temperatures.

    Raises:
        PhysEmbedError: a run fails, a frame has no valid modification, or more than half of the frames are left out.
    """
    references = References.of(settings, *tables, parameter_set)
    frames: list[Atoms] = []
    counts = [len(part) for part in np.array_split(np.arange(settings.frames), len(settings.temperatures_K))]
    for index, (temperature, count) in enumerate(zip(settings.temperatures_K, counts, strict=True)):
        folder = Path(restart) / f"run{index}"
        folder.mkdir(parents=True, exist_ok=True)
        duration_ps = count * md["frame_interval_steps"] * md["timestep_fs"] / 1000
        run = GaffMD(**md, temperature_K=temperature, duration_ps=duration_ps)
        made = GaffRun(structure, run, derive_seed(seed, "md", index), folder).run()
        for number, frame in enumerate(made, start=sum(counts[:index])):
            frame.info["source_frame"] = number
        frames += sample_frames(made, *tables, settings, derive_seed(seed, "sampling", index), references).frames
    energies, forces = energies_and_forces(structure, np.array([frame.positions for frame in frames]))
    largest = np.linalg.norm(forces, axis=2).max(axis=1)
    kept = []
    for frame, energy, force, norm in zip(frames, energies.tolist(), forces, largest.tolist(), strict=True):
        if norm <= max_force_eV_A:
            info = {"REF_energy": energy, "source_frame": frame.info["source_frame"]}
            kept.append(Atoms(frame.numbers, frame.positions, info=info))
            kept[-1].arrays["REF_forces"] = force
    log.info("pretraining: %d frames, %d left out with forces above %g eV/Å", len(frames), len(frames) - len(kept),
             max_force_eV_A)  # fmt: skip
    if 2 * len(kept) < len(frames):
        raise PhysEmbedError(
            f"pretraining: {len(frames) - len(kept)} of {len(frames)} frames have a force above labels.max_force_eV_A "
            f"{max_force_eV_A:g}; lower pretraining.temperatures_K, or sample gentler modifications"
        )
    return kept
