"""NPT runs of one liquid in a batch: recorded, resumable and reusable. Failed runs leave it, the others go on."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from ase import Atoms, units
from numpy.typing import ArrayLike, NDArray

from physembed.collapse.broken_bonds import BondWatch
from physembed.config.liquids import NPT
from physembed.engine.liquid_batch import LiquidBatch
from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.liquids.replicas import EVAPORATED_BELOW
from physembed.md.clock import Clock
from physembed.md.resumable import ResumableRun
from physembed.md.run_length import RunLength
from physembed.provenance import settings_hash
from physembed.seeds import derive_seed
from physembed.units import G_CM3

log = logging.getLogger(__name__)
SETTINGS = (
    "timestep_fs", "hydrogen_mass_u", "barostat", "thermostat_ps", "barostat_ps", "compressibility_per_bar",
    "record_interval_fs", "frame_interval_ps", "dtype",
)  # fmt: skip
"""Settings on which a run depends: all except those of its length, which can be extended."""
SEEN = (
    "time_ps", "volume_A3", "density_g_cm3", "potential_energy_eV", "cso_S0_eV", "cso_S1_eV", "temperature_K",
    "pressure_bar",
)  # fmt: skip
"""Columns of a record; the energy excludes CSO, S0 and S1 are NaN if nothing in the batch is corrected, temperature and
pressure are instantaneous."""

Precise = Callable[[NDArray[np.float64], NDArray[np.float64], float], bool]
"""Whether the times in ps and volumes in Å^3 of a run of this mass in u, (n_records,) each, are enough for it to end.
"""
Frame = tuple[float, NDArray[np.float32], NDArray[np.float64]]
"""Time in ps, positions (n_atoms, 3) and cell (3, 3) in Å."""


@dataclass(frozen=True)
class NPTPoint:
    """One run. `alpha` and `a1` are only recorded: the model applies them."""

    label: str
    """Unique name of the run."""
    alpha: float
    a1: float
    temperature_K: float
    pressure_bar: float


@dataclass
class Run:
    """Records of one run, and the state from which it continues."""

    key: str
    step: int = 0
    status: Literal["ok", "blown_up", "evaporated"] = "ok"
    reason: str = ""
    rows: list[tuple[float, ...]] = field(default_factory=list)
    """In the order of `SEEN`."""
    frames: list[Frame] = field(default_factory=list)
    last_good: list[Frame] = field(default_factory=list)
    """For a failed run, its last valid frame; empty if it failed at the start."""
    state: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Positions, momenta and cell at `step`; empty at the start."""


class NPTRuns(ResumableRun):
    """The runs of one liquid; they can be killed at any time and resume from their last saved state.

    A run fails if it blows up (`WatchedModel`, `BondWatch`) or evaporates. This is a result, stored with the last valid
    frame.

    The batch is saved every minute to one file, from which the same runs resume bit for bit on a CPU. A finished run
    has its own file, named by a hash of its point, start, settings and seed: it is not repeated when others are added,
    and continues from its end when the duration is increased. In another batch its noise is different, from a seed
    derived from the runs in the batch. The hash does not include the model: `restart` must be a folder specific to
    the model (`physembed.restart.restart_folder`).

    Args:
        make_model: returns the torch-sim model for the runs still in the batch, in their order; called again whenever
            runs leave it.
        points: the runs.
        starts: one structure per run, with the same atoms, a cell and whole molecules.
        settings: section `npt` of the configuration; `duration_ps` is the length of each run, or the least length if
            `longest_ps` is given.
        seed: seed of momenta and noise.
        restart: folder for the files above.
        bonds: (n_bonds, 2) indices of bonded atoms, the same in each start; None to skip the check for broken bonds.
        clock: clock of the job, for saving and for its time limit.
        precise: whether a run is long enough to end before `longest_ps`; needed if that is given.

    Raises:
        PhysEmbedError: no runs, duplicate labels, starts or bonds that do not fit, or no `precise` where it is needed.
    """

    name, unit = "npt", "ps"

    def __init__(
        self,
        make_model: Callable[[list[NPTPoint]], Any],
        points: Sequence[NPTPoint],
        starts: Sequence[Atoms],
        settings: NPT,
        *,
        seed: int,
        restart: str | Path,
        bonds: ArrayLike | None = None,
        clock: Clock | None = None,
        precise: Precise | None = None,
    ) -> None:
        self.clock, self._precise = clock or Clock(), precise
        self.make_model, self.settings, self.seed, self.restart = make_model, settings, seed, Path(restart)
        self.points, self.starts = list(points), list(starts)
        _check(self.points, self.starts)
        if settings.longest_ps and not precise:
            raise PhysEmbedError("npt: longest_ps is given, but not what decides whether a run ends before it")
        self.bonds = BondWatch(bonds, self.starts)
        self.record_every = max(1, round(settings.record_interval_fs / settings.timestep_fs))
        self.frame_every = self.record_every * max(
            1, round(settings.frame_interval_ps * 1000 / settings.record_interval_fs)
        )
        least, most = (
            1 + round(length * 1000 / settings.record_interval_fs)
            for length in (settings.duration_ps, settings.longest_ps or settings.duration_ps)
        )
        self._lengths = [RunLength(least, most, self._is_precise) for _ in self.points]
        self._runs: list[Run] = []
        self._alive: list[int] = []
        self._saved: dict[str, Any] = {"runs": []}
        self._keys = [self._key(point, start) for point, start in zip(self.points, self.starts, strict=True)]
        self._load()

    @property
    def finished(self) -> int:
        """Number of runs that need no more steps."""
        return len(self._runs) - len(self._alive)

    def run(self) -> None:
        """Advance until every run has reached its end or has failed.

        Raises:
            PhysEmbedError: the time limit of the clock is reached; the state is saved.
        """
        self._load()
        if not self._alive:
            return
        self._compose()
        self._observe([self._runs[row].step == 0 for row in self._alive])
        self.to_end(on_cpu=self._batch.positions.device.type == "cpu")

    @property
    def done(self) -> float:
        """Time in ps of all runs together."""
        return sum(self._time_ps(min(run.step, self._last_step(row))) for row, run in enumerate(self._runs))

    @property
    def ended(self) -> bool:
        """Whether every run has reached its end or has failed."""
        return not self._alive

    def note(self) -> str:
        """The last densities, and how many have failed."""
        densities = [f"{run.rows[-1][2]:.3f}" for run in self._runs if run.status == "ok" and run.rows]
        lost = sum(run.status != "ok" for run in self._runs)
        shown = " ".join(densities[:6]) + (" ..." if len(densities) > 6 else "")
        return f"density {shown} g/cm^3" + (f", {lost} of {len(self._runs)} failed" if lost else "")

    def advance(self) -> None:
        """Go on to the next record."""
        self._batch.advance(self.record_every)
        for row in self._alive:
            self._runs[row].step += self.record_every
        self._observe([True] * len(self._alive))

    def close(self) -> None:
        """Nothing: each run was saved when it left the batch."""

    def _compose(self) -> None:
        """Create the batch of unfinished runs: as it was saved, or new from the present state of each run."""
        alive = [self._runs[row] for row in self._alive]
        same = [run.key for run in self._saved["runs"]] == [run.key for run in alive]
        if not same:
            for run in self._saved["runs"]:
                self._save_run(run)
        points, settings = [self.points[row] for row in self._alive], self.settings
        self._batch = LiquidBatch(
            self.make_model(points),
            [self._start(row) for row in self._alive],
            temperatures_K=[point.temperature_K for point in points],
            pressures_bar=[point.pressure_bar for point in points],
            ensemble="npt-crescale" if settings.barostat == "crescale" else "npt-langevin",
            timestep_fs=settings.timestep_fs,
            thermostat_ps=settings.thermostat_ps,
            barostat_ps=settings.barostat_ps,
            compressibility_per_bar=settings.compressibility_per_bar,
            seed=derive_seed(self.seed, "npt", *(f"{run.key}:{run.step}" for run in alive)),
            hydrogen_mass_u=settings.hydrogen_mass_u,
        )
        if same:
            self._batch.load(self._saved["batch"])
        self._sound = self._batch.positions.clone(), self._batch.cells.clone()

    def _start(self, row: int) -> Atoms:
        """The structure from which a run continues."""
        atoms, state = self.starts[row].copy(), self._runs[row].state
        if state:
            atoms.set_cell(state["cell"])
            atoms.set_positions(state["positions"])
            atoms.set_momenta(state["momenta"])
        return atoms

    def _observe(self, wanted: list[bool]) -> None:
        """Record the selected runs of the batch, and remove failed and finished ones."""
        batch = self._batch
        pressures = torch.einsum("nii->n", batch.pressure_tensors) / (3 * units.bar)
        seen = (batch.volumes, batch.densities_g_cm3, batch.base_energies, batch.cso_S0, batch.cso_S1)
        values = torch.stack([*seen, batch.temperatures, pressures]).double().cpu().numpy().T
        broken = self.bonds.broken(batch.positions, self._alive)
        reasons = [lost or bond for lost, bond in zip(batch.lost(), broken, strict=True)]
        keep = []
        for place, row in enumerate(self._alive):
            if wanted[place]:
                self._record_run(row, place, values[place], reasons[place])
            self._lengths[row].see(self._runs[row].rows)
            keep.append(self._goes_on(row))
            if self._lengths[row].cut_off:
                reached = "ended at npt.longest_ps, before its density was known within npt.standard_error_g_cm3"
                log.warning("npt: run %s %s", self.points[row].label, reached)
        if not all(keep):
            self._leave(keep)
        if self._alive:
            self._sound = batch.positions.clone(), batch.cells.clone()

    def _record_run(self, row: int, place: int, values: NDArray[np.float64], reason: str) -> None:
        """Record one run, or why it failed."""
        run, time_ps = self._runs[row], self._time_ps(self._runs[row].step)
        density, at_start = values[1], _density(self.starts[row])
        if reason:
            run.status, run.reason = "blown_up", f"{reason}, at {time_ps:g} ps"
        elif not density >= EVAPORATED_BELOW * at_start:
            run.status = "evaporated"
            run.reason = f"density {density:.3f} g/cm^3, {at_start:.3f} g/cm^3 at the start, at {time_ps:g} ps"
        if run.status != "ok":
            run.last_good = [(last[0], *_frame(*self._sound, place)) for last in run.rows[-1:]]
            log.warning("npt: run %s failed (%s): %s", self.points[row].label, run.status, run.reason)
            return
        run.rows.append((time_ps, *values.tolist()))
        if run.step % self.frame_every == 0:
            run.frames.append((time_ps, *_frame(self._batch.positions, self._batch.cells, place)))

    def _leave(self, keep: list[bool]) -> None:
        """Remove runs from the batch; write their own files first, as the batch's file is valid until replaced."""
        self._note_states()
        for row, stays in zip(self._alive, keep, strict=True):
            if not stays:
                self._save_run(self._runs[row])
        self._alive = [row for row, stays in zip(self._alive, keep, strict=True) if stays]
        self.total = self._longest()
        if self._alive:
            mask = torch.tensor(keep, device=self._batch.positions.device)
            self._batch.keep(mask, self.make_model([self.points[row] for row in self._alive]))
            self.save()
        else:
            self._batch_file.unlink(missing_ok=True)

    def _note_states(self) -> None:
        batch = self._batch
        arrays = {"positions": batch.positions, "momenta": batch.momenta, "cell": batch.cells}
        on_host = {name: value.double().cpu().numpy() for name, value in arrays.items()}
        for place, row in enumerate(self._alive):
            self._runs[row].state = {name: value[place].copy() for name, value in on_host.items()}

    @property
    def _batch_file(self) -> Path:
        return self.restart / "npt_batch.pt"

    def _run_file(self, key: str) -> Path:
        return self.restart / f"npt_{key}.pt"

    def save(self) -> None:
        """Save the batch and the records of its runs."""
        self._note_states()
        with atomic(self._batch_file) as temporary:
            torch.save({"runs": [self._runs[row] for row in self._alive], "batch": self._batch.save()}, temporary)

    def _save_run(self, run: Run) -> None:
        with atomic(self._run_file(run.key)) as temporary:
            torch.save(run, temporary)

    def _load(self) -> None:
        # Our own files, which contain Python objects in addition to tensors.
        exists = self._batch_file.exists()
        self._saved = torch.load(self._batch_file, weights_only=False) if exists else {"runs": []}
        in_batch = {run.key: run for run in self._saved["runs"]}
        self._runs = []
        for key in self._keys:
            file = self._run_file(key)
            at_hand = in_batch.get(key) or (torch.load(file, weights_only=False) if file.exists() else None)
            self._runs.append(at_hand or Run(key))
        for run, length in zip(self._runs, self._lengths, strict=True):
            length.see(run.rows)
        self._alive = [row for row in range(len(self._runs)) if self._goes_on(row)]
        self.total = self._longest()

    def _is_precise(self, rows: Sequence[tuple[float, ...]]) -> bool:
        assert self._precise is not None
        times, volumes, densities = np.array(rows)[:, :3].T
        return self._precise(times, volumes, float(densities[0] * volumes[0]) * G_CM3)

    def _longest(self) -> float:
        """Length in ps of all runs together; of those whose end is not known, the longest that they can have."""
        return sum(self._time_ps(self._last_step(row)) for row in range(len(self._runs)))

    def _last_step(self, row: int) -> int:
        """Where a run ends, or can end at most."""
        return self.record_every * (self._lengths[row].latest - 1)

    def _goes_on(self, row: int) -> bool:
        return self._runs[row].status == "ok" and self._runs[row].step < self._last_step(row)

    def _key(self, point: NPTPoint, start: Atoms) -> str:
        structure = hashlib.sha256()
        for array in (start.numbers, start.get_masses(), start.positions, start.cell.array, start.get_momenta()):
            structure.update(np.ascontiguousarray(array).tobytes())
        settings = {name: getattr(self.settings, name) for name in SETTINGS}
        return settings_hash([asdict(point), structure.hexdigest(), settings, self.seed, self.bonds.bonds.tolist()])

    def _time_ps(self, step: int) -> float:
        # Without floating-point noise, which would appear in tables.
        return round(step * self.settings.timestep_fs / 1000, 9)

    def _results(self) -> list[tuple[NPTPoint, Run, bool, pd.DataFrame]]:
        """Each run with whether it failed, and its rows, both up to its end."""
        results = []
        for row, (point, run) in enumerate(zip(self.points, self._runs, strict=True)):
            end = self._last_step(row)
            rows = pd.DataFrame(
                [seen for seen in run.rows if seen[0] <= self._time_ps(end)], columns=list(SEEN), dtype=float
            )
            results.append((point, run, run.status != "ok" and run.step <= end, rows))
        return results

    def series(self) -> pd.DataFrame:
        """One row per run and record: run, alpha, a1 and `SEEN`."""
        tables = []
        for point, _, _, rows in self._results():
            for place, name in enumerate(("label", "alpha", "a1")):
                rows.insert(place, "run" if name == "label" else name, getattr(point, name))
            tables.append(rows)
        return pd.concat(tables, ignore_index=True)

    def runs(self) -> pd.DataFrame:
        """One row per run: run, alpha, a1, status, reason and length_ps (of the valid part)."""
        return pd.DataFrame(
            {
                "run": point.label,
                "alpha": point.alpha,
                "a1": point.a1,
                "status": run.status if lost else "ok",
                "reason": run.reason if lost else "",
                "length_ps": rows["time_ps"].max() if len(rows) else 0.0,
            }
            for point, run, lost, rows in self._results()
        )

    def trajectory(self, label: str) -> list[Atoms]:
        """Frames of one run, not wrapped, with run, time_ps and density_g_cm3 in `info`, including the last valid frame
        of a failed run."""
        row = [point.label for point in self.points].index(label)
        _, run, lost, _ = self._results()[row]
        frames = [frame for frame in run.frames if frame[0] <= self._time_ps(self._last_step(row))]
        if lost:
            frames += [frame for frame in run.last_good if frame[0] > frames[-1][0]]
        trajectory = []
        for time_ps, positions, cell in frames:
            atoms = self.starts[row].copy()
            atoms.set_momenta(None)
            atoms.set_cell(cell)
            atoms.set_positions(positions)
            atoms.info = {"run": label, "time_ps": time_ps, "density_g_cm3": _density(atoms)}
            trajectory.append(atoms)
        return trajectory


def _frame(positions: torch.Tensor, cells: torch.Tensor, place: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    # Copies, because a batch steps in place.
    return positions[place].cpu().numpy().astype(np.float32), cells[place].double().cpu().numpy().copy()


def _density(atoms: Atoms) -> float:
    return float(atoms.get_masses().sum() / atoms.cell.volume / G_CM3)


def _check(points: list[NPTPoint], starts: list[Atoms]) -> None:
    if not points or len(points) != len(starts):
        raise PhysEmbedError(f"npt: {len(points)} runs and {len(starts)} starts; give one start for each run")
    for label, count in Counter(point.label for point in points).items():
        if count > 1:
            raise PhysEmbedError(f"npt: {count} runs are called {label!r}; give each a unique label")
