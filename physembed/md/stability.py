"""Stability runs: hot MD of one model's replicas in one batch until each has collapsed or reached the end.

`replicas` has one row per replica: replica, start_frame, collapsed, time_fs (of the collapse, or the length
reached), cause, atom_i, atom_j, types, length_A, reference_A, angle_types and angle_degrees (of an overlap of two
atoms with a common neighbour), in_sampled_range. `thermo` has one row per replica and record: time_fs, replica,
potential_energy_eV, temperature_K.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ase import Atoms

from physembed.collapse.detector import CollapseDetector, SampledRanges, in_sampled_range
from physembed.config import Stability
from physembed.engine.langevin import LangevinBatch
from physembed.files import atomic
from physembed.md.clock import Clock
from physembed.md.resumable import ResumableRun

log = logging.getLogger(__name__)


@dataclass
class Record:
    """Results so far, saved with the state of the batch."""

    step: int = 0
    alive: list[int] = field(default_factory=list)
    collapses: dict[int, dict[str, Any]] = field(default_factory=dict)
    collapse_frames: dict[int, np.ndarray] = field(default_factory=dict)
    thermo: list[tuple[float, int, float, float]] = field(default_factory=list)
    positions: list[tuple[float, list[int], np.ndarray]] = field(default_factory=list)


class StabilityRun(ResumableRun):
    """The replicas of one model; can be killed at any time and resumes from its last saved state.

    A collapsed replica is frozen by the check that detects it and leaves the batch at the next record, while
    the others go on; between records the host does not wait for the device. The saved state does not depend on the
    duration, so a longer run continues from the end of a finished one.
    """

    name, unit = "stability", "steps"

    def __init__(
        self,
        model: Any,
        starts: Sequence[Atoms],
        detector: CollapseDetector,
        ranges: SampledRanges | None,
        settings: Stability,
        *,
        seed: int,
        restart: str | Path,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.starts, self.detector, self.ranges, self.settings = starts, detector, ranges, settings
        self.restart = Path(restart) / "stability.pt"
        self.batch = LangevinBatch(
            model,
            starts,
            temperature_K=settings.temperature_K,
            timestep_fs=settings.timestep_fs,
            friction_per_ps=settings.friction_per_ps,
            seed=seed,
            detector=detector,
        )
        self.record = Record(alive=list(range(len(starts))))
        self.record_every = max(1, round(settings.record_interval_fs / settings.timestep_fs))
        self.total = self.total_steps = round(settings.duration_ps * 1000 / settings.timestep_fs)
        if self.restart.exists():
            self._load()

    def run(self) -> None:
        """Advance until every replica has collapsed or reached the configured duration.

        Raises:
            PhysEmbedError: the time limit of the clock is reached; the state is saved.
        """
        if self.record.step == 0:
            self.batch.look()
            self._take_out()
            self._observe()
        self.to_end(on_cpu=self.batch.positions.device.type == "cpu")

    @property
    def done(self) -> int:
        """Steps taken."""
        return self.record.step

    @property
    def ended(self) -> bool:
        """Whether all steps are taken, or every replica has collapsed."""
        return self.record.step >= self.total_steps or not self.record.alive

    def note(self) -> str:
        """How many have collapsed."""
        return f"{len(self.record.collapses)} of {len(self.starts)} replicas collapsed"

    def advance(self) -> None:
        """Go on to the next check or record."""
        record, check_every = self.record, self.settings.check_interval_steps
        steps = min(
            self.total_steps - record.step,
            check_every - record.step % check_every,
            self.record_every - record.step % self.record_every,
        )
        self.batch.advance(steps)
        record.step += steps
        if record.step % check_every == 0:
            self.batch.look()
        if record.step % self.record_every == 0:
            self._take_out()
            self._observe()

    def close(self) -> None:
        """Save, and look at the last step."""
        self.save()
        # Afterwards, because a longer run may neither check nor record this step.
        if self.record.step == self.total_steps and self.total_steps % self.settings.check_interval_steps:
            self.batch.look()
        self._take_out()

    def _take_out(self) -> None:
        """Record the cause of each collapse, and remove the collapsed replicas from the batch."""
        if not self.record.alive:
            return
        batch = self.batch
        stopped_at = batch.stopped_at.cpu()
        stopped = stopped_at >= 0
        if not bool(stopped.any()):
            return
        check = self.detector.check(batch.positions, batch.energies, batch.forces, batch.temperatures)
        for row in torch.nonzero(stopped).flatten().tolist():
            replica, time_fs = self.record.alive[row], int(stopped_at[row]) * self.settings.timestep_fs
            collapse = self.detector.describe(check, row)
            self.record.collapse_frames[replica] = batch.positions[row].cpu().numpy().copy()
            self.record.collapses[replica] = {
                "time_fs": time_fs,
                "cause": collapse.cause,
                "atom_i": collapse.atom_i,
                "atom_j": collapse.atom_j,
                "types": collapse.types,
                "length_A": collapse.length_A,
                "reference_A": collapse.reference_A,
                "angle_types": collapse.angle_types,
                "angle_degrees": collapse.angle_degrees,
                "in_sampled_range": in_sampled_range(collapse, self.ranges),
            }
            log.info("replica %d collapsed at %g fs: %s", replica, time_fs, collapse.detail)
        self.record.alive = [r for r, gone in zip(self.record.alive, stopped.tolist(), strict=True) if not gone]
        if self.record.alive:
            batch.keep(~stopped.to(batch.positions.device))

    def _observe(self) -> None:
        if not self.record.alive:
            return
        time_fs = self.record.step * self.settings.timestep_fs
        energies = self.batch.energies.cpu().tolist()
        temperatures = self.batch.temperatures.cpu().tolist()
        self.record.thermo += [
            (time_fs, replica, energy, temperature)
            for replica, energy, temperature in zip(self.record.alive, energies, temperatures, strict=True)
        ]
        positions = self.batch.positions.cpu().numpy().astype(np.float32)
        self.record.positions.append((time_fs, list(self.record.alive), positions))

    def save(self) -> None:
        """Save the batch and the record."""
        with atomic(self.restart) as temporary:
            torch.save({"batch": self.batch.save(), "record": self.record}, temporary)

    def _load(self) -> None:
        # Our own file, which contains Python objects in addition to tensors.
        saved = torch.load(self.restart, weights_only=False)
        self.record = saved["record"]
        if self.record.alive:
            mask = torch.zeros(len(self.starts), dtype=torch.bool)
            mask[self.record.alive] = True
            self.batch.load(saved["batch"], mask.to(self.batch.positions.device))

    def _counts(self, time_fs: float) -> bool:
        """Whether a time is within the configured duration; decided by steps, as times are rounded."""
        return round(time_fs / self.settings.timestep_fs) <= self.total_steps

    def replicas(self) -> pd.DataFrame:
        """The results, one row per replica; a collapse later than the configured duration is not counted."""
        rows = []
        for replica, start in enumerate(self.starts):
            row: dict[str, Any] = {"replica": replica, "start_frame": start.info["source_frame"]}
            collapse = self.record.collapses.get(replica)
            if collapse is not None and self._counts(collapse["time_fs"]):
                rows.append(row | {"collapsed": True} | collapse)
            else:
                empty = dict.fromkeys(("atom_i", "atom_j", "length_A", "reference_A", "angle_degrees"))
                texts = dict.fromkeys(("cause", "types", "angle_types", "in_sampled_range"), "")
                rows.append(row | {"collapsed": False, "time_fs": self.settings.duration_ps * 1000} | empty | texts)
        order = ["replica", "start_frame", "collapsed", "time_fs", "cause", "atom_i", "atom_j", "types"]
        table = pd.DataFrame(rows)[
            [*order, "length_A", "reference_A", "angle_types", "angle_degrees", "in_sampled_range"]
        ]
        lengths = dict.fromkeys(("length_A", "reference_A", "angle_degrees"), "float64")
        return table.astype({"atom_i": "Int64", "atom_j": "Int64"} | lengths)

    def thermo(self) -> pd.DataFrame:
        """Potential energy and temperature of each replica at each record."""
        rows = [row for row in self.record.thermo if self._counts(row[0])]
        return pd.DataFrame(rows, columns=["time_fs", "replica", "potential_energy_eV", "temperature_K"])

    def trajectory(self, replica: int) -> list[Atoms]:
        """Recorded frames of one replica, including its last frame before it left the batch."""
        numbers = self.starts[0].numbers
        frames = [
            Atoms(numbers=numbers, positions=positions[alive.index(replica)], info={"time_fs": time_fs})
            for time_fs, alive, positions in self.record.positions
            if replica in alive and self._counts(time_fs)
        ]
        collapse = self.record.collapses.get(replica)
        if collapse is not None and self._counts(collapse["time_fs"]):
            info = {"time_fs": collapse["time_fs"], "collapsed": True}
            frames.append(Atoms(numbers=numbers, positions=self.record.collapse_frames[replica], info=info))
        return frames
