"""The pressure tensor of NVT or NVE replicas of a liquid, averaged over blocks, for its viscosity.

The tensor of every step is accumulated on the device; it is copied from there only for several blocks at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from physembed.collapse.broken_bonds import BondWatch
from physembed.config.liquids import Viscosity
from physembed.engine.liquid_batch import LiquidBatch
from physembed.files import atomic
from physembed.md.clock import Clock
from physembed.md.resumable import ResumableRun

log = logging.getLogger(__name__)
CHECK_EVERY_FS = 500.0
"""Time between two checks of the replicas, at which blocks are copied and failed replicas leave."""


@dataclass
class Record:
    """Results so far, saved with the state of the batch."""

    block: int = 0
    """Number of finished blocks, including those of the equilibration."""
    alive: list[int] = field(default_factory=list)
    lost: dict[int, tuple[int, str]] = field(default_factory=dict)
    """For each failed replica, the number of finished blocks and the reason."""
    pressures: list[NDArray[Any]] = field(default_factory=list)
    """Arrays (n_alive, n_blocks, 3, 3) eV/Å^3 of consecutive stretches of blocks."""
    temperatures: list[NDArray[Any]] = field(default_factory=list)
    """Arrays (n_alive, n_blocks) K of the same stretches."""

    def keep(self, stays: list[bool]) -> None:
        """Remove the replicas that do not stay."""
        self.alive = [replica for replica, stay in zip(self.alive, stays, strict=True) if stay]
        self.pressures = [stretch[stays] for stretch in self.pressures]
        self.temperatures = [stretch[stays] for stretch in self.temperatures]

    def join(self) -> None:
        """Join all stretches into one."""
        self.pressures = [np.concatenate(self.pressures, axis=1)] if self.pressures else []
        self.temperatures = [np.concatenate(self.temperatures, axis=1)] if self.temperatures else []


class PressureRun(ResumableRun):
    """Replicas of a liquid at constant volume; can be killed at any time and resumes from its last saved state.

    The replicas are equilibrated with friction and noise on each atom, then recorded in `settings.ensemble`. A replica
    that blows up (`WatchedModel`, `BondWatch`) is dropped with all its records, and the others go on; if all blow up,
    that is the result. The saved state does not depend on the duration, so a longer run continues from the end of a
    finished one. `restart` must be a folder specific to the model, the starts, the seed and the settings except the
    duration (`physembed.restart.restart_folder`).

    Args:
        make_model: returns the torch-sim model for the given number of replicas; called again when one leaves.
        starts: one structure per replica, with the same atoms, a cell and whole molecules; empty for a liquid
            without any surviving NPT run, which gives no pressure.
        settings: section `viscosity` of the configuration.
        temperature_K: temperature of the thermostat and of the initial momenta.
        seed: seed of momenta and noise.
        restart: folder for the saved state.
        bonds: (n_bonds, 2) indices of bonded atoms, the same in each start; None to skip the check for broken bonds.
        clock: clock of the job, for saving and for its time limit.

    Raises:
        PhysEmbedError: starts or bonds that do not fit; see also `LiquidBatch`.
    """

    name, unit = "pressure", "ps"

    def __init__(
        self,
        make_model: Callable[[int], Any],
        starts: Sequence[Atoms],
        settings: Viscosity,
        *,
        temperature_K: float,
        seed: int,
        restart: str | Path,
        bonds: ArrayLike | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.make_model, self.starts, self.settings = make_model, list(starts), settings
        self.temperature_K, self.seed = temperature_K, seed
        self.restart = Path(restart) / "pressure.pt"
        self.bonds = BondWatch(bonds, self.starts)
        self.block_steps = max(1, round(settings.block_fs / settings.timestep_fs))
        block_ps = self.block_steps * settings.timestep_fs / 1000
        self.equilibration = round(settings.equilibration_ps / block_ps)
        """Blocks before recording begins."""
        self.total_blocks = self.equilibration + round(settings.duration_ps / block_ps)
        self.total = self.total_blocks * block_ps
        self._check_every = max(1, round(CHECK_EVERY_FS / 1000 / block_ps))
        self._block_ps = block_ps
        self._saved: dict[str, Any] | None = None
        self._load()

    def run(self) -> None:
        """Advance until the configured duration, or until no replica is left.

        Raises:
            PhysEmbedError: the time limit of the clock is reached; the state is saved.
        """
        self._load()
        if self.ended:
            return
        self._compose()
        self.to_end(on_cpu=self._batch.positions.device.type == "cpu")

    @property
    def done(self) -> float:
        """Time in ps that is over, with the equilibration."""
        return self.record.block * self._block_ps

    @property
    def ended(self) -> bool:
        """Whether this time is reached, or no replica is left."""
        return self.record.block >= self.total_blocks or not self.record.alive

    def note(self) -> str:
        """How many have failed."""
        return f"{len(self.record.lost)} of {len(self.starts)} replicas failed" if self.record.lost else ""

    def advance(self) -> None:
        """Go on to the next check."""
        record = self.record
        recording = record.block >= self.equilibration
        end = self.total_blocks if recording else self.equilibration
        blocks = min(end - record.block, self._check_every - record.block % self._check_every)
        self._batch.ensemble = self.settings.ensemble if recording else "nvt-langevin"
        if recording:
            self._record(blocks)
        else:
            self._batch.advance(blocks * self.block_steps)
        record.block += blocks
        self._drop_failed()

    def _compose(self) -> None:
        replicas, settings = self.record.alive, self.settings
        self._batch = LiquidBatch(
            self.make_model(len(replicas)),
            [self.starts[replica] for replica in replicas],
            temperatures_K=[self.temperature_K] * len(replicas),
            ensemble="nvt-langevin",
            timestep_fs=settings.timestep_fs,
            thermostat_ps=settings.thermostat_ps,
            seed=self.seed,
        )
        if self._saved is not None:
            self._batch.load(self._saved["batch"])

    def _record(self, blocks: int) -> None:
        """Advance by the given number of blocks, averaging pressure tensor and temperature of every step over each."""
        batch = self._batch
        pressures, temperatures = [], []
        for _ in range(blocks):
            pressure, temperature = batch.averages(self.block_steps)
            pressures.append(pressure)
            temperatures.append(temperature)
        self.record.pressures.append(torch.stack(pressures, dim=1).cpu().numpy())
        self.record.temperatures.append(torch.stack(temperatures, dim=1).cpu().numpy())

    def _drop_failed(self) -> None:
        """Remove failed replicas from the batch."""
        record, batch = self.record, self._batch
        broken = self.bonds.broken(batch.positions, record.alive)
        reasons = [lost or bond for lost, bond in zip(batch.lost(), broken, strict=True)]
        if not any(reasons):
            return
        for replica, reason in zip(record.alive, reasons, strict=True):
            if reason:
                record.lost[replica] = record.block, f"{reason}, at {record.block * self._block_ps:g} ps"
                log.warning("pressure: replica %d failed: %s", replica, record.lost[replica][1])
        stays = [not reason for reason in reasons]
        record.keep(stays)
        if record.alive:
            batch.keep(torch.tensor(stays, device=batch.positions.device), self.make_model(len(record.alive)))

    def save(self) -> None:
        """Save the batch and the record."""
        self.record.join()
        with atomic(self.restart) as temporary:
            torch.save({"batch": self._batch.save(), "record": self.record}, temporary)

    def _load(self) -> None:
        self._saved = None
        self.record = Record(alive=list(range(len(self.starts))))
        if self.restart.exists():
            # Our own file, which contains Python objects in addition to tensors.
            self._saved = torch.load(self.restart, weights_only=False)
            self.record = self._saved["record"]

    def _recorded(self, stretches: list[NDArray[Any]], empty: tuple[int, ...]) -> NDArray[np.float64]:
        blocks = self.total_blocks - self.equilibration
        joined = np.concatenate(stretches, axis=1)[:, :blocks] if stretches else np.empty(empty)
        return joined.astype(np.float64)

    def pressure_tensors(self) -> NDArray[np.float64]:
        """Block averages (n_replicas, n_blocks, 3, 3) in eV/Å^3 of the surviving replicas, in order."""
        return self._recorded(self.record.pressures, (len(self.record.alive), 0, 3, 3))

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Input for a viscosity estimate, from the surviving replicas.

        pressure_tensor (n_replicas, n_blocks, 3, 3) eV/Å^3, block_fs (), volume_A3 (n_replicas,), temperature_K (),
        that of the thermostat.
        """
        return {
            "pressure_tensor": self.pressure_tensors(),
            "block_fs": np.array(1000 * self._block_ps),
            "volume_A3": np.array([self.starts[replica].cell.volume for replica in self.record.alive]),
            "temperature_K": np.array(self.temperature_K),
        }

    def replicas(self) -> pd.DataFrame:
        """One row per replica: replica, status, reason, length_ps recorded, volume_A3, mean kinetic temperature_K."""
        means = self._recorded(self.record.temperatures, (len(self.record.alive), 0))
        table = []
        for replica, start in enumerate(self.starts):
            row: dict[str, Any] = {"replica": replica, "status": "ok", "reason": ""}
            if replica in self.record.lost:
                block, reason = self.record.lost[replica]
                row |= {"status": "blown_up", "reason": reason}
                length, temperature = max(0, block - self.equilibration), np.nan
            else:
                mean = means[self.record.alive.index(replica)]
                length, temperature = len(mean), mean.mean() if len(mean) else np.nan
            row |= {"length_ps": round(length * self._block_ps, 9), "volume_A3": start.cell.volume}
            table.append(row | {"temperature_K": temperature})
        columns = ["replica", "status", "reason", "length_ps", "volume_A3", "temperature_K"]
        return pd.DataFrame(table, columns=columns)
