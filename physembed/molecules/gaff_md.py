"""MD of one isolated molecule with its classical force field, in OpenMM.

No constraints and no cutoff, Langevin middle integrator. The run starts from an energy minimum, so nothing is
recorded before it has equilibrated. The trajectory contains the frames after that as extended XYZ (positions in Å;
info: `step`, `time_fs`, both counted from the start, `potential_energy_eV`, `temperature_K`).
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import parmed
from ase import Atoms
from numpy.typing import NDArray

from physembed.config import GaffMD
from physembed.durations import frame_count
from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.molecules.openmm_md import ClassicalMD, StoppedError
from physembed.progress import Progress

log = logging.getLogger(__name__)
BROKEN_BEYOND = 2.0
"""A bond is broken if it exceeds its equilibrium length by this factor: harmonic bonds never reach it."""


class GaffRun:
    """One GAFF MD run that can be killed at any time and resumes from its last checkpoint.

    The folder `restart` contains OpenMM's checkpoint and the frames up to it; both belong to the same step.
    """

    def __init__(self, structure: parmed.Structure, settings: GaffMD, seed: int, restart: str | Path) -> None:
        self.structure, self.settings, self.restart = structure, settings, Path(restart)
        self.md = ClassicalMD(
            structure,
            temperature_K=settings.temperature_K,
            friction_per_ps=settings.friction_per_ps,
            timestep_fs=settings.timestep_fs,
            seed=seed,
        )
        self.seed = seed
        self.frames: list[Atoms] = []
        self._equilibration_steps = round(settings.equilibration_ps * 1000 / settings.timestep_fs)
        self._bonds = np.array([(bond.atom1.idx, bond.atom2.idx) for bond in structure.bonds], int).reshape(-1, 2)
        self._equilibrium_A = np.array([bond.type.req for bond in structure.bonds])

    def run(self) -> list[Atoms]:
        """All frames, as many as given by `physembed.durations.frame_count`.

        Raises:
            PhysEmbedError: the energy becomes non-finite, a bond breaks, or the mean temperature is not that of
                the thermostat.
        """
        every = self.settings.frame_interval_steps
        total = frame_count(self.settings.duration_ps, self.settings.timestep_fs, every)
        if not self._resume():
            try:
                self.md.minimise()
            except StoppedError as error:
                raise PhysEmbedError(f"gaff_md: cannot be minimised: {error}; check the topology") from error
            self.md.heat(self.seed)
            self._advance(self._equilibration_steps)
        progress = Progress("GAFF MD", total, "frames", start=len(self.frames))
        save_every = max(1, total // 20)
        while len(self.frames) < total:
            self._advance(every)
            self.frames.append(self._frame())
            progress.update(len(self.frames))
            if len(self.frames) % save_every == 0:
                self._save()
        progress.finish()
        self._check_temperature()
        return self.frames

    def _advance(self, steps: int) -> None:
        try:
            self.md.step(steps)
        except StoppedError as error:
            raise PhysEmbedError(
                f"gaff_md: OpenMM stopped: {error}; lower gaff_md.timestep_fs or check the topology"
            ) from error

    def _frame(self) -> Atoms:
        state = self.md.state()
        step = self._equilibration_steps + (len(self.frames) + 1) * self.settings.frame_interval_steps
        if not np.isfinite(state.potential_energy_eV):
            raise PhysEmbedError(
                f"gaff_md: the energy is not finite at step {step}; lower gaff_md.timestep_fs or check the topology"
            )
        self._check_bonds(state.positions, step)
        return Atoms(
            numbers=self.md.numbers,
            positions=state.positions,
            info={
                "step": step,
                "time_fs": step * self.settings.timestep_fs,
                "potential_energy_eV": state.potential_energy_eV,
                "temperature_K": state.temperature_K,
            },
        )

    def _check_bonds(self, positions: NDArray[np.float64], step: int) -> None:
        lengths = np.linalg.norm(positions[self._bonds[:, 0]] - positions[self._bonds[:, 1]], axis=1)
        broken = np.flatnonzero(~(lengths < BROKEN_BEYOND * self._equilibrium_A))
        if broken.size:
            names = [f"{self.structure.atoms[atom].name} ({atom})" for atom in self._bonds[broken[0]]]
            raise PhysEmbedError(
                f"gaff_md: at step {step} the bond of {names[0]} and {names[1]} is {lengths[broken[0]]:.3g} Å long "
                f"({self._equilibrium_A[broken[0]]:.3g} Å in equilibrium); lower gaff_md.timestep_fs or "
                "gaff_md.temperature_K, or check the topology and its coordinates"
            )

    def _check_temperature(self) -> None:
        """Check that the kinetic energy of a sufficiently long run is that of the thermostat.

        The energy decorrelates within 1 / friction, so a time t contains friction t / 2 independent values of the
        temperature, each with the relative variance 2 / degrees of freedom. The first 5 / friction are excluded.
        """
        settings = self.settings
        begin_fs = 5000 / settings.friction_per_ps
        values = [frame.info["temperature_K"] for frame in self.frames if frame.info["time_fs"] > begin_fs]
        recorded_ps = settings.duration_ps - max(0.0, begin_fs / 1000 - settings.equilibration_ps)
        independent = min(len(values), recorded_ps * settings.friction_per_ps / 2)
        if independent < 1:
            return
        mean, wanted = float(np.mean(values)), settings.temperature_K
        error = wanted * np.sqrt(2 / (self.md.degrees_of_freedom * independent))
        if abs(mean - wanted) > max(6 * error, 0.1 * wanted):
            raise PhysEmbedError(
                f"gaff_md: the mean temperature is {mean:.0f} K, not the {wanted:g} K of the thermostat; lower "
                "gaff_md.timestep_fs, or check the topology and its masses"
            )

    def _save(self) -> None:
        """Write frames and checkpoint to one file, so that they are always consistent."""
        positions = np.array([frame.positions for frame in self.frames])
        info = np.array([list(frame.info.values()) for frame in self.frames])
        checkpoint = np.frombuffer(self.md.checkpoint(), dtype=np.uint8)
        with atomic(self.restart / "gaff_md.npz") as temporary:
            np.savez(temporary, positions=positions, info=info, checkpoint=checkpoint)

    def _resume(self) -> bool:
        path = self.restart / "gaff_md.npz"
        if not path.exists():
            return False
        with np.load(path) as saved:
            self.md.load_checkpoint(saved["checkpoint"].tobytes())
            for positions, (step, time, energy, temperature) in zip(saved["positions"], saved["info"], strict=True):
                info = {
                    "step": int(step),
                    "time_fs": time,
                    "potential_energy_eV": energy,
                    "temperature_K": temperature,
                }
                self.frames.append(Atoms(numbers=self.md.numbers, positions=positions, info=info))
        return True
