"""MD of a periodic box with GAFF, in OpenMM: equilibration at constant pressure, and frames at a given density.

PME electrostatics, Lennard-Jones with a switching function and the long-range correction, no constraints, Langevin
middle integrator. Frames are periodic, with whole molecules centred in the box (positions in Å; array
`molecule`; info `time_ps`, `density_g_cm3`, `temperature_K`, `potential_energy_eV`).
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import parmed
from ase import Atoms
from numpy.typing import NDArray

from physembed.config import GaffNPT
from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.liquids.box import mass_u, molecule_index
from physembed.liquids.composition import cube_length_A
from physembed.liquids.rigid import scale_rigid
from physembed.molecules.openmm_md import BoxTooSmallError, ClassicalMD, StoppedError
from physembed.progress import Progress
from physembed.seeds import derive_seed
from physembed.units import G_CM3

INFO = ("time_ps", "density_g_cm3", "temperature_K", "potential_energy_eV")
SAVE_INTERVAL_S = 30.0
"""Wall time between checkpoints."""
LARGEST_FORCE_EV_A = 10.0
"""After minimisation the largest force is well below 1 eV/Å; overlapping atoms have more than this."""
LARGEST_SCALING = 0.02
"""Largest relative step of the box length on the way to a density; molecules move by less than their separation."""
REFERENCE_CUTOFF_A, REFERENCE_FRICTION_PER_PS, REFERENCE_TIMESTEP_FS = 10.0, 5.0, 1.0
"""For constant-volume runs, which only generate geometries: this friction equilibrates the temperature within 1 ps."""


class _Box:
    """A periodic box of GAFF molecules in OpenMM."""

    def __init__(
        self,
        structure: parmed.Structure,
        *,
        cutoff_A: float,
        temperature_K: float,
        friction_per_ps: float,
        timestep_fs: float,
        seed: int,
        threads: int,
        pressure_bar: float | None = None,
    ) -> None:
        self.seed = seed
        self.molecules = molecule_index(structure)
        self.mass_u = mass_u(structure)
        self.md = ClassicalMD(
            structure,
            temperature_K=temperature_K,
            friction_per_ps=friction_per_ps,
            timestep_fs=timestep_fs,
            seed=derive_seed(seed, "thermostat"),
            cutoff_A=cutoff_A,
            barostat=None if pressure_bar is None else (pressure_bar, derive_seed(seed, "barostat")),
            threads=threads,
        )

    def minimise(self) -> None:
        """Minimise the energy at constant box.

        Raises:
            PhysEmbedError: a coordinate is not finite, or atoms still overlap.
        """
        try:
            self.md.minimise()
        except StoppedError as error:
            raise PhysEmbedError(f"GAFF box: cannot be minimised: {error}; pack it at a lower density") from error
        largest = self.md.largest_force_eV_A()
        if not largest < LARGEST_FORCE_EV_A:
            raise PhysEmbedError(
                f"GAFF box: after minimisation the largest force is {largest:.3g} eV/Å: atoms overlap; "
                "pack the box at a lower density"
            )

    def heat(self) -> None:
        """Draw velocities at the temperature."""
        self.md.heat(derive_seed(self.seed, "velocities"))

    def step(self, count: int) -> None:
        """Run the given number of steps.

        Raises:
            PhysEmbedError: a coordinate is not finite.
            BoxTooSmallError: the box has shrunk below twice the cutoff.
        """
        try:
            self.md.step(count)
        except StoppedError as error:
            raise PhysEmbedError(f"GAFF box: OpenMM stopped: {error}; lower the time step") from error

    def frame(self, time_ps: float) -> Atoms:
        """The current structure.

        Raises:
            PhysEmbedError: the energy is not finite.
        """
        state = self.md.state()
        if not math.isfinite(state.potential_energy_eV):
            raise PhysEmbedError(f"GAFF box: the energy is not finite at {time_ps:g} ps; lower the time step")
        atoms = Atoms(numbers=self.md.numbers, positions=state.positions, cell=state.cell, pbc=True)
        atoms.arrays["molecule"] = self.molecules.copy()
        density = float(self.mass_u / atoms.get_volume() / G_CM3)
        values = time_ps, density, state.temperature_K, state.potential_energy_eV
        atoms.info = dict(zip(INFO, values, strict=True))
        return atoms


class GaffLiquidRun:
    """A GAFF run at constant pressure that can be killed at any time and resumes from its last checkpoint.

    The folder `restart` contains the frames so far and the last velocities, in one file. An uninterrupted run is
    reproducible (same seed, platform and threads); an interrupted one continues with different random numbers, derived
    from the seed and the number of frames so far.
    """

    def __init__(
        self,
        structure: parmed.Structure,
        settings: GaffNPT,
        temperature_K: float,
        pressure_bar: float,
        seed: int,
        restart: str | Path,
        *,
        threads: int = 1,
    ) -> None:
        """A run of a packed box.

        Args:
            structure: topology, coordinates (whole molecules) and box.
            settings: length, time step, friction, cutoff and so on.
            temperature_K: temperature of thermostat and barostat.
            pressure_bar: pressure of the barostat.
            seed: determines velocities, thermostat and barostat.
            restart: folder of the checkpoint.
            threads: threads of the CPU platform.

        Raises:
            PhysEmbedError: the box is shorter than twice the cutoff.
        """
        self.settings, self._path = settings, Path(restart) / "gaff_npt.npz"
        self.frames: list[Atoms] = []
        self._start_A = _length_A(structure)
        if self._start_A <= 2 * settings.cutoff_A:
            raise self._too_short(f"is {self._start_A:.2f} Å long at the start")
        velocities = self._resume(structure)
        self._box = _Box(
            structure,
            cutoff_A=settings.cutoff_A,
            temperature_K=temperature_K,
            friction_per_ps=settings.friction_per_ps,
            timestep_fs=settings.timestep_fs,
            seed=derive_seed(seed, len(self.frames)),
            threads=threads,
            pressure_bar=pressure_bar,
        )
        if velocities is not None:
            last = self.frames[-1]
            self._box.md.place(last.cell[0, 0], last.positions)
            self._box.md.set_velocities(velocities)

    def run(self) -> list[Atoms]:
        """All frames, from the first record interval to the end of the run.

        Raises:
            PhysEmbedError: overlaps at the start, a non-finite energy, or a box that has shrunk below twice
                the cutoff.
        """
        settings, box = self.settings, self._box
        every = max(1, round(settings.record_interval_ps * 1000 / settings.timestep_fs))
        total = max(1, round(settings.duration_ps * 1000 / settings.timestep_fs) // every)
        if not self.frames:
            box.minimise()
            box.heat()
        progress = Progress("GAFF at constant pressure", total, "frames", start=len(self.frames))
        saved = time.monotonic()
        while len(self.frames) < total:
            time_ps = (len(self.frames) + 1) * every * settings.timestep_fs / 1000
            self._step(every, time_ps)
            self.frames.append(box.frame(time_ps))
            progress.update(len(self.frames), f"{self.frames[-1].info['density_g_cm3']:.3f} g/cm^3")
            if time.monotonic() - saved > SAVE_INTERVAL_S or len(self.frames) == total:
                self._save()
                saved = time.monotonic()
        progress.finish()
        return self.frames

    def series(self) -> pd.DataFrame:
        """One row per frame: time_ps, density_g_cm3, volume_A3, temperature_K, potential_energy_eV."""
        table = pd.DataFrame([frame.info for frame in self.frames], columns=INFO)
        table.insert(2, "volume_A3", [frame.get_volume() for frame in self.frames])
        return table

    def _step(self, count: int, time_ps: float) -> None:
        try:
            self._box.step(count)
        except BoxTooSmallError as error:
            last_A = self.frames[-1].cell[0, 0] if self.frames else self._start_A
            raise self._too_short(f"was {last_A:.2f} Å long and shrank further before {time_ps:g} ps") from error

    def _too_short(self, what: str) -> PhysEmbedError:
        return PhysEmbedError(
            f"gaff_npt: the box {what}; it must stay more than twice as long as the cutoff of "
            f"{self.settings.cutoff_A:g} Å: give the liquid more molecules or lower gaff_npt.cutoff_A"
        )

    def _save(self) -> None:
        """Write frames and velocities to one file, so that they are always consistent."""
        with atomic(self._path) as temporary:
            np.savez(
                temporary,
                positions=np.array([frame.positions for frame in self.frames]),
                lengths=np.array([frame.cell[0, 0] for frame in self.frames]),
                info=np.array([[frame.info[key] for key in INFO] for frame in self.frames]),
                velocities=self._box.md.velocities(),
            )

    def _resume(self, structure: parmed.Structure) -> NDArray[np.float64] | None:
        """Restore the frames; return the last velocities, or None at the start."""
        if not self._path.exists():
            return None
        numbers, molecules = [atom.atomic_number for atom in structure.atoms], molecule_index(structure)
        with np.load(self._path) as saved:
            for positions, length, info in zip(saved["positions"], saved["lengths"], saved["info"], strict=True):
                frame = Atoms(numbers, positions, cell=[length] * 3, pbc=True)
                frame.arrays["molecule"] = molecules.copy()
                frame.info = dict(zip(INFO, map(float, info), strict=True))
                self.frames.append(frame)
            return np.asarray(saved["velocities"])


def constant_volume_frames(
    structure: parmed.Structure,
    temperature_K: float,
    density_g_cm3: float,
    count: int,
    interval_ps: float,
    seed: int,
    threads: int = 1,
) -> list[Atoms]:
    """Frames of a GAFF run at a given density, for reference data.

    The packed box is minimised, scaled in small steps to the density (rigid molecules moved by their centres of mass,
    minimised after each step), and run at constant volume. The cutoff is 10 Å or just less than half of the box.

    Args:
        structure: topology, coordinates (whole molecules) and box, packed loosely.
        temperature_K: temperature of the thermostat.
        density_g_cm3: density of the frames.
        count: number of frames.
        interval_ps: time between frames, and before the first.
        seed: determines velocities and thermostat.
        threads: threads of the CPU platform.

    Raises:
        PhysEmbedError: atoms overlap at that density, a molecule touches its own image, or the energy is not finite.
    """
    start, end = _length_A(structure), cube_length_A(mass_u(structure), density_g_cm3)
    box = _Box(
        structure,
        cutoff_A=min(REFERENCE_CUTOFF_A, 0.49 * min(start, end)),
        temperature_K=temperature_K,
        friction_per_ps=REFERENCE_FRICTION_PER_PS,
        timestep_fs=REFERENCE_TIMESTEP_FS,
        seed=seed,
        threads=threads,
    )
    box.minimise()
    steps = math.ceil(abs(math.log(end / start)) / LARGEST_SCALING)
    for length in np.geomspace(start, end, steps + 1)[1:]:
        atoms = box.frame(0.0)
        box.md.place(length, scale_rigid(atoms, length / atoms.cell[0, 0]).positions)
        box.minimise()
    box.heat()
    every = round(interval_ps * 1000 / REFERENCE_TIMESTEP_FS)
    frames = []
    for index in range(1, count + 1):
        box.step(every)
        frames.append(box.frame(index * every * REFERENCE_TIMESTEP_FS / 1000))
    return frames


def _length_A(structure: parmed.Structure) -> float:
    """Length of the cubic box of a structure, Å.

    Raises:
        PhysEmbedError: it has no box, or one of another shape.
    """
    box = structure.box
    if box is None:
        raise PhysEmbedError("GAFF box: the structure has no box; a cubic box is required")
    if not np.allclose(box[:3], box[0]) or not np.allclose(box[3:], 90):
        shape = " x ".join(f"{length:g}" for length in box[:3])
        raise PhysEmbedError(f"GAFF box: a box of {shape} Å, angles {', '.join(f'{a:g}' for a in box[3:])}; not a cube")
    return float(box[0])
