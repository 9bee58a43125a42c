"""GAFF runs of a small box of a liquid at several temperatures and densities, the source of its reference frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import parmed
from ase import Atoms

from physembed.config.liquids import Reference
from physembed.liquids.box import pack
from physembed.liquids.gaff_liquid import constant_volume_frames
from physembed.progress import Progress
from physembed.seeds import derive_seed

PACKING_DENSITY_G_CM3 = 0.5
"""Boxes are packed loosely and then compressed."""


def constant_volume_runs(
    structures: Sequence[parmed.Structure], counts: Sequence[int], settings: Reference, seed: int, threads: int = 1
) -> list[list[Atoms]]:
    """Frames of a run at each combination of temperature and density, each from its own box.

    Args:
        structures: topology and coordinates of one molecule of each component.
        counts: number of molecules of each.
        settings: temperatures, densities, frames per run and the time between them.
        seed: seed of packing, velocities and thermostats; a run does not depend on the other runs.
        threads: threads of OpenMM.

    Returns:
        `frames_per_run` frames of each run; `temperature_K` in their info is that of the thermostat.

    Raises:
        PhysEmbedError: a box cannot be packed, or compressed to its density.
    """
    conditions = list(product(settings.temperatures_K, settings.densities_g_cm3))
    progress = Progress("reference runs", len(conditions), "runs")
    runs = []
    for done, (temperature_K, density_g_cm3) in enumerate(conditions, start=1):
        own = derive_seed(seed, f"{temperature_K:g} K", f"{density_g_cm3:g} g/cm3")
        runs.append(
            constant_volume_frames(
                pack(structures, counts, PACKING_DENSITY_G_CM3, own),
                temperature_K,
                density_g_cm3,
                settings.frames_per_run,
                settings.frame_interval_ps,
                own,
                threads,
            )
        )
        for frame in runs[-1]:
            frame.info["temperature_K"] = temperature_K
        progress.update(done)
    progress.finish()
    return runs
