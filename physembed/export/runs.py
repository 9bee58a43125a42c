"""Runs of a model in any engine: recorded as a table and frames, with progress."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from ase import Atoms, units

from physembed.errors import PhysEmbedError
from physembed.export.conditions import Conditions
from physembed.export.engines import Session, open_session
from physembed.export.potential import Potential
from physembed.models.members import Files
from physembed.progress import Progress
from physembed.units import G_CM3


@dataclass(frozen=True)
class Run:
    """What was recorded."""

    series: pd.DataFrame
    """time_ps, potential_energy_eV, kinetic_energy_eV, temperature_K and, of a box, volume_A3 and density_g_cm3."""
    frames: list[Atoms]
    """A frame for each row, with `time_ps` in its info."""


def run(
    engine: str,
    model: Files | Potential,
    atoms: Atoms,
    conditions: Conditions,
    *,
    duration_ps: float,
    record_interval_fs: float = 100.0,
    device: str = "auto",
    dtype: str = "float64",
) -> Run:
    """Run a model in an engine.

    Args:
        engine: a key of `physembed.export.engines.ENGINES`.
        model: as `open_session`.
        atoms: a periodic box, or a molecule.
        conditions: ensemble, temperature, pressure, time step, seed.
        duration_ps: length of the run.
        record_interval_fs: time from one record to the next, a multiple of the time step.
        device: as `open_session`.
        dtype: as `open_session`.

    Raises:
        PhysEmbedError: as `open_session`; an interval that is no multiple of the step, or longer than the run; the
            system blew up.
    """
    every, total = steps(conditions, duration_ps, record_interval_fs)
    session = open_session(engine, model, atoms, conditions, device=device, dtype=dtype)
    progress = Progress(engine, total, "steps")
    rows, frames = [], []
    for step in range(0, total + 1, every):
        if step:
            session.advance(every)
        row, frame = _record(session, step * conditions.timestep_fs / 1000)
        if not np.isfinite(list(row.values())).all():
            raise PhysEmbedError(f"run: {engine}: the system blew up after {row['time_ps']:g} ps ({row})")
        rows.append(row)
        frames.append(frame)
        progress.update(step, f"{row['temperature_K']:.0f} K")
    progress.finish()
    return Run(pd.DataFrame(rows), frames)


def steps(conditions: Conditions, duration_ps: float, record_interval_fs: float) -> tuple[int, int]:
    """Time steps from one record to the next, and of the whole run.

    Raises:
        PhysEmbedError: an interval that is no multiple of the step, or longer than the run, or no length at all.
    """
    every = round(record_interval_fs / conditions.timestep_fs)
    total = round(1000 * duration_ps / conditions.timestep_fs)
    if every < 1 or abs(every * conditions.timestep_fs - record_interval_fs) > 1e-6 or total < every:
        raise PhysEmbedError(
            f"run: records every {record_interval_fs:g} fs with steps of {conditions.timestep_fs:g} fs over "
            f"{duration_ps:g} ps; the first must be a multiple of the second and not longer than the run"
        )
    return every, total


def _record(session: Session, time_ps: float) -> tuple[dict[str, float], Atoms]:
    frame = session.structure()
    kinetic = frame.get_kinetic_energy()
    row = {
        "time_ps": round(time_ps, 9),
        "potential_energy_eV": session.evaluate().energy,
        "kinetic_energy_eV": kinetic,
        "temperature_K": 2 * kinetic / (session.degrees_of_freedom * units.kB),
    }
    if frame.pbc.any():
        row |= {"volume_A3": frame.cell.volume, "density_g_cm3": frame.get_masses().sum() / frame.cell.volume / G_CM3}
    frame.info = {"time_ps": row["time_ps"]}
    return row, frame
