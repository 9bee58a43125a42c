"""Rounds of reference data: what a model of a liquid meets in MD of its own is labelled as well.

A model that has seen a hundred frames of GAFF finds configurations in which it is wrong, contacts between molecules
above all, and its liquid settles there: errors in its own MD are several times those on frames like the training set's.
In a round MD at constant volume begins at the first GAFF frame of each temperature and density, with the model trained
so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ase import Atoms
from numpy.typing import NDArray

from physembed.collapse.broken_bonds import BondWatch
from physembed.config.liquids import NPT, Reference
from physembed.engine.liquid_batch import LiquidBatch
from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.liquids.rigid import between_molecules, molecule_numbers
from physembed.md.clock import Clock
from physembed.md.npt import NPTPoint
from physembed.md.resumable import ResumableRun
from physembed.molecules.bonds import equilibrium_length_matrix

RECORD_FS = 150.0
"""Time between two frames that may be chosen."""
CLOSEST = 0.75
"""Frames with atoms of different molecules closer than this share of a bond between their elements are left out."""
RANGE_A = 5.0
"""Range in which contacts are searched."""


def starts_of(frames: Sequence[Atoms]) -> list[Atoms]:
    """The first unmodified frame of each temperature and density."""
    found: dict[tuple[float, float], Atoms] = {}
    for frame in frames:
        if frame.info["origin"] == "md":
            found.setdefault((frame.info["temperature_K"], frame.info["density_g_cm3"]), frame)
    return list(found.values())


class LiquidRound(ResumableRun):
    """MD of a model from reference frames; can be killed at any time and resumes from its last saved state.

    Args:
        make_model: returns the torch-sim model for a list of runs.
        starts: a frame for each run (`starts_of`), all of the same molecules.
        bonds: the bond table of the box.
        settings: the section `reference` of the model.
        npt: time step and mass of hydrogen are those of the NPT runs.
        seed: of momenta and noise.
        restart: folder for the saved state, specific to all of this.
        clock: clock of the job.
    """

    name, unit = "reference MD", "records"

    def __init__(
        self,
        make_model: Callable[[Sequence[Any]], Any],
        starts: Sequence[Atoms],
        bonds: pd.DataFrame,
        settings: Reference,
        npt: NPT,
        *,
        seed: int,
        restart: str | Path,
        clock: Clock | None = None,
    ) -> None:
        self.starts, self.settings = list(starts), settings
        self.restart, self.clock = Path(restart) / "round.pt", clock or Clock()
        self.bonds = BondWatch(bonds[["i", "j"]].to_numpy(), self.starts)
        self.lengths_A = equilibrium_length_matrix(bonds, self.starts[0].numbers)
        self.molecules = molecule_numbers(self.starts[0])
        self.every = max(1, round(RECORD_FS / npt.timestep_fs))
        self.total = self.n_records = max(1, round(settings.round_ps * 1000 / (self.every * npt.timestep_fs)))
        self.record_ps = self.every * npt.timestep_fs / 1000
        temperatures = [float(start.info["temperature_K"]) for start in self.starts]
        points = [NPTPoint(str(run), 0.0, 0.0, temperature, 0.0) for run, temperature in enumerate(temperatures)]
        self.batch = LiquidBatch(
            make_model(points),
            [Atoms(start.numbers, start.positions, cell=start.cell, pbc=True) for start in self.starts],
            temperatures_K=temperatures,
            ensemble="nvt-langevin",
            timestep_fs=npt.timestep_fs,
            thermostat_ps=npt.thermostat_ps,
            hydrogen_mass_u=npt.hydrogen_mass_u,
            seed=seed,
        )
        self.positions: list[NDArray[np.float64]] = []
        """(n_runs, n_atoms, 3) Å of each record."""
        self.failures: list[str] = [""] * len(self.starts)
        """Why a run ended early."""
        self.lengths = [self.n_records] * len(self.starts)
        """Records of each run before that."""
        if self.restart.exists():
            saved = torch.load(self.restart, weights_only=False)  # our own file
            self.batch.load(saved["batch"])
            self.positions, self.failures = saved["positions"], saved["failures"]
            self.lengths = [
                length if why else self.n_records for length, why in zip(saved["lengths"], self.failures, strict=True)
            ]

    def run(self) -> None:
        """Advance all runs to their end.

        Raises:
            PhysEmbedError: the time limit of the clock is reached; the state is saved.
        """
        self.to_end(on_cpu=self.batch.positions.device.type == "cpu")

    @property
    def done(self) -> int:
        """Records made."""
        return len(self.positions)

    @property
    def ended(self) -> bool:
        """Whether all records are made, or every run has failed."""
        return len(self.positions) >= self.n_records or all(self.failures)

    def note(self) -> str:
        """How many have failed."""
        return f"{sum(map(bool, self.failures))} of {len(self.starts)} runs failed"

    def advance(self) -> None:
        """Go on to the next record."""
        self.batch.advance(self.every)
        positions = self.batch.positions
        self.positions.append(positions.cpu().numpy().astype(np.float64))
        broken = self.bonds.broken(positions, range(len(self.starts)))
        for run, (lost, bond) in enumerate(zip(self.batch.lost(), broken, strict=True)):
            if (lost or bond) and not self.failures[run]:
                self.failures[run], self.lengths[run] = lost or bond, len(self.positions) - 1

    def save(self) -> None:
        """Save the batch and the records."""
        saved = {
            "batch": self.batch.save(), "positions": self.positions, "failures": self.failures, "lengths": self.lengths,
        }  # fmt: skip
        with atomic(self.restart) as temporary:
            torch.save(saved, temporary)

    def chosen(self, name: str) -> tuple[list[Atoms], pd.DataFrame]:
        """The frames to label, `round_frames` of each run, and a table of the runs.

        Half of the frames of a run are those with the closest contacts between molecules, relative to a bond of the
        same elements, no two of them neighbours in time; the others are evenly spaced.

        Args:
            name: of the round, for `info`.

        Returns:
            Frames with the info of the start, and `origin: round`; and, by run, temperature_K, density_g_cm3,
            length_ps, reason (why it ended early, or empty), closest_contact (shortest distance between molecules in
            units of a bond between the elements), frames.

        Raises:
            PhysEmbedError: there is no frame to label.
        """
        frames, rows = [], []
        for run, start in enumerate(self.starts):
            records = [self._frame(start, run, record, name) for record in range(self.lengths[run])]
            contacts = np.array([self._contact(frame) for frame in records])
            picked = _picked(contacts, self.settings.round_frames)
            frames += [records[record] for record in picked]
            rows.append(
                {
                    "temperature_K": start.info["temperature_K"],
                    "density_g_cm3": start.info["density_g_cm3"],
                    "length_ps": round(self.lengths[run] * self.record_ps, 6),
                    "reason": self.failures[run],
                    "closest_contact": contacts.min(initial=np.inf),
                    "frames": len(picked),
                }
            )
        if not frames:
            raise PhysEmbedError(
                f"liquid_round: {name}: the model loses its molecules at once in every run ({self.failures[0]}), so "
                "that there is no frame to label; train it longer (training.epochs), or give it more frames"
            )
        return frames, pd.DataFrame(rows)

    def _frame(self, start: Atoms, run: int, record: int, name: str) -> Atoms:
        frame = Atoms(start.numbers, self.positions[record][run], cell=start.cell, pbc=True)
        frame.info = start.info | {
            "origin": "round", "modifications": "[]", "round": name, "time_ps": round((record + 1) * self.record_ps, 6),
        }  # fmt: skip
        frame.arrays["molecule"] = self.molecules.copy()
        return frame

    def _contact(self, frame: Atoms) -> float:
        """The closest contact between molecules, in units of a bond; infinite if there is none near."""
        first, second, distances = between_molecules(frame, RANGE_A)
        return float((distances / self.lengths_A[first, second]).min(initial=np.inf))


def _picked(contacts: NDArray[np.float64], count: int) -> list[int]:
    """Records of a run to label, in order of time: see `LiquidRound.chosen`."""
    allowed = np.flatnonzero(contacts >= CLOSEST)
    picked: list[int] = []
    for record in sorted(allowed.tolist(), key=lambda record: contacts[record]):
        if len(picked) < (count + 1) // 2 and all(abs(record - other) > 1 for other in picked):
            picked.append(record)
    rest = [record for record in allowed.tolist() if record not in picked]
    wanted = min(count - len(picked), len(rest))
    spaced = (
        [rest[place] for place in np.linspace(0, len(rest) - 1, wanted + 1).round().astype(int)[1:]] if wanted else []
    )
    return sorted({*picked, *spaced})
