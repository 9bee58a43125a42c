"""Trials: cost of a unit of work on this machine, measured with the code of the stages.

A trial runs a stage twice, the second time with more units, and divides the difference in time by the
difference in units, so that start-up, compilation and loading are excluded. The systems are the study's own molecules
and liquids before any MD, with charges that are fast to compute. The MD time step is so small that nothing moves,
because the models are trained for only two epochs.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import parmed
from ase import Atoms

from physembed.config import Labels, LiquidTraining, Training
from physembed.config.liquids import LiquidModel
from physembed.liquids.box import mass_u, molecule_index, pack
from physembed.liquids.composition import molecule_counts
from physembed.liquids.rigid import at_density
from physembed.molecules.bonds import bond_length_statistics, bond_table, equilibrium_length_matrix
from physembed.molecules.reading import load_topology
from physembed.molecules.structure import from_file, from_smiles, write_sdf
from physembed.molecules.table import MoleculeSpec
from physembed.molecules.topology import gaff_topology, total_charge
from physembed.plan.numbers import Point
from physembed.study import ModelStudy, Study
from physembed.trajectory import write_trajectory

STILL_FS = 1e-5
"""Time step of MD trials."""
LONG_ENOUGH_SECONDS = 2.0
"""A time difference that is long enough for a measurement."""
MOST_UNITS = 20_000
LOOSE_G_CM3 = 0.6
"""Density of packed boxes."""
LIQUID_G_CM3 = 1.0
"""Density of liquids in trials if none was measured."""


def seconds_per_unit(run: Callable[[int], object], first: int = 1, clock: Callable[[], float] | None = None) -> float:
    """Seconds per additional unit: of the cores of this process and its children, or as measured by `clock`.

    Args:
        run: performs a given number of units from the beginning.
        first: units of the shortest run.
        clock: returns the elapsed seconds.
    """
    now = clock or (lambda: sum(os.times()[:4]))

    def took(units: int) -> float:
        began = now()
        run(units)
        return now() - began

    took(first)  # what is compiled or cached once
    base, units = took(first), first
    while True:
        units *= 4
        more = took(units) - base
        if more >= LONG_ENOUGH_SECONDS or units >= MOST_UNITS:
            return max(more, 0.0) / (units - first)


@dataclass
class Trials:
    """The trials of a study, in a separate folder."""

    study: Study
    folder: Path

    def __post_init__(self) -> None:
        self._runs = 0
        self._rng = np.random.default_rng(1)
        self.topology = cache(self._topology)
        self.model = cache(self._model)
        self.liquid_model = cache(self._liquid_model)

    def measure(self, trial: str, model: str = "") -> list[Point]:
        """Results of a trial, for the smallest and the largest of its systems.

        Args:
            trial: `label`, `batch`, `step` (of molecules), `gaff_step`, `liquid_label`, `liquid_batch`, `liquid_step`.
            model: the model of liquids, for the latter three.
        """
        from physembed.engine.cards import visible_cards

        gpu = bool(visible_cards()) and self._device(trial, model) != "cpu"
        clock = time.monotonic if gpu else None
        points = []
        with (
            (self.folder / "printed.txt").open("a") as printed,
            redirect_stdout(printed),
            redirect_stderr(printed),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            for atoms, first, run in self._systems(trial, model):
                points.append(Point(atoms, seconds_per_unit(run, first, clock), gpu))
        return points

    def _device(self, trial: str, model: str) -> str:
        config = self.study.config
        devices = {"batch": config.training.device, "step": config.stability.device, "liquid_step": config.npt.device}
        if trial == "liquid_batch":
            return self.study.model(model).settings.training.device
        return devices.get(trial, "cpu")

    def _systems(self, trial: str, model: str) -> list[tuple[int, int, Callable[[int], object]]]:
        """Atoms, units of the shortest run, and the run, of each system."""
        if trial in ("label", "batch", "step"):
            return [
                (len(self.topology(spec).atoms), *getattr(self, f"_{trial}")(spec))
                for spec in _ends(self.study.molecules, lambda spec: len(self.topology(spec).atoms))
            ]
        if trial == "gaff_step":
            name = next(iter(self.study.liquids))
            box = self._box(name, self.study.liquids[name].molecules)
            return [(len(box.atoms), *self._gaff_step(box))]
        return list(getattr(self, f"_{trial}")(self.study.model(model)))

    # Systems

    def _topology(self, spec: MoleculeSpec) -> parmed.Structure:
        if spec.topology and spec.coordinates:
            return load_topology(spec.topology, spec.coordinates)
        molecule = from_smiles(spec.smiles, seed=1) if spec.smiles else from_file(str(spec.structure))
        sdf = self.folder / f"{spec.name}.sdf"
        write_sdf(sdf, molecule, spec.name)
        return gaff_topology(sdf, parameter_set=self.study.config.topology.parameter_set, charges="gasteiger")

    def _box(self, liquid: str, molecules: int) -> parmed.Structure:
        spec = self.study.liquids[liquid]
        parts = [self.topology(MoleculeSpec(part.name, smiles=part.smiles)) for part in spec.components]
        counts = molecule_counts(
            [mass_u(part) for part in parts], [part.mass_fraction for part in spec.components], molecules
        )
        return pack(parts, counts, LOOSE_G_CM3, seed=1)

    def _liquid(self, liquid: str, molecules: int) -> tuple[parmed.Structure, Atoms]:
        """Topology of a box, and its atoms at the density of the liquid."""
        structure = self._box(liquid, molecules)
        measured = self.study.measurements[liquid]
        density = (measured and measured.density_g_cm3) or LIQUID_G_CM3
        atoms = _atoms(structure)
        atoms.set_cell(structure.box[:3])
        atoms.set_pbc(True)
        atoms.arrays["molecule"] = molecule_index(structure)
        return structure, at_density(atoms, density)

    def _labelled(self, name: str, frame: Atoms, count: int) -> Path:
        """A file with copies of this frame and meaningless labels."""
        frames = []
        for _ in range(count):
            copy = frame.copy()
            copy.positions += self._rng.normal(0, 0.02, copy.positions.shape)
            copy.info["REF_energy"] = float(self._rng.normal())
            copy.arrays["REF_forces"] = self._rng.normal(0, 1, copy.positions.shape)
            if copy.pbc.all():
                copy.info["REF_stress"] = self._rng.normal(0, 0.01, 6)
            frames.append(copy)
        path = self.folder / f"{name}_{count}.xyz"
        write_trajectory(path, frames)
        return path

    def _new_folder(self) -> Path:
        self._runs += 1
        folder = self.folder / f"run{self._runs}"
        folder.mkdir()
        return folder

    # Stages

    def _label(self, spec: MoleculeSpec) -> tuple[int, Callable[[int], object]]:
        from physembed.labels.xtb import calculate

        frame, charge = _atoms(self.topology(spec)), total_charge(self.topology(spec))
        return 1, lambda units: [calculate(frame, self.study.config.labels, charge) for _ in range(units)]

    def _training(self, settings: Training | LiquidTraining, name: str, frame: Atoms) -> Callable[[int], Path]:
        """A training of the given number of epochs, with one batch each; it returns the model file."""
        from physembed.training.trainer import train

        files = self._labelled(name, frame, settings.batch_size), self._labelled(name, frame, 1)
        changes = {"swa_start": None} if isinstance(settings, LiquidTraining) else {}

        def run(epochs: int) -> Path:
            work = self._new_folder()
            chosen = settings.model_copy(update=changes | {"epochs": epochs})
            train(chosen, *files, seed=1, restart=work, model_file=work / "mace.model")
            return work / "mace.model"

        return run

    def _batch(self, spec: MoleculeSpec) -> tuple[int, Callable[[int], object]]:
        return 1, self._training(self.study.config.training, spec.name, _atoms(self.topology(spec)))

    def _model(self, spec: MoleculeSpec) -> Path:
        return self._training(self.study.config.training, spec.name, _atoms(self.topology(spec)))(1)

    def _step(self, spec: MoleculeSpec) -> tuple[int, Callable[[int], object]]:
        from physembed.collapse.detector import CollapseDetector, SampledRanges
        from physembed.collapse.rearrangements import Rearrangements
        from physembed.engine.device import resolve_device
        from physembed.engine.mace import load_isolated
        from physembed.md.cohorts import StabilityCohorts

        section, starts = self.study.config.stability, self.study.config.frames.starts
        structure, device = self.topology(spec), resolve_device(section.device)
        frame, bonds = _atoms(structure), bond_table(structure)
        frame.info["source_frame"] = 0
        lengths = bond_length_statistics(frame.positions[None], bonds)["mean_A"].to_numpy()
        rest = equilibrium_length_matrix(bonds, frame.numbers)
        limits = section.bond_tolerance_A, section.overlap_margin_A
        model = load_isolated(self.model(spec), device, section.dtype)

        def run(units: int) -> None:
            """Steps of one replica each; all starts advance together."""
            steps = units // starts
            settings = section.model_copy(
                update={
                    "timestep_fs": STILL_FS,
                    "record_interval_fs": section.record_interval_fs / section.timestep_fs * STILL_FS,
                    "duration_ps": steps * STILL_FS / 1000,
                }
            )
            detector = CollapseDetector(bonds, lengths, rest, *limits, device=device)
            unsampled = SampledRanges(pd.DataFrame(), pd.DataFrame())
            changes = Rearrangements(bonds, frame.numbers, rest)
            runs = StabilityCohorts(
                model, [frame] * starts, detector, unsampled, changes, settings, seed=1, restart=self._new_folder()
            )
            runs.run()
            if runs.replicas().collapsed.any():
                raise RuntimeError("a replica that cannot move has collapsed")

        return 5 * starts, run

    def _gaff_step(self, box: parmed.Structure) -> tuple[int, Callable[[int], object]]:
        from physembed.liquids.gaff_liquid import GaffLiquidRun

        section = self.study.config.gaff_npt
        # A frame for each hundred steps.
        interval = 100 * section.timestep_fs / 1000

        def run(units: int) -> None:
            changes = {"record_interval_ps": interval, "duration_ps": units // 100 * interval}
            # Loosely packed, and so larger than the box of any run.
            GaffLiquidRun(box, section.model_copy(update=changes), 300.0, 1.0, 1, self._new_folder()).run()

        return 100, run

    def _liquid_label(self, model: ModelStudy) -> list[tuple[int, int, Callable[[int], object]]]:
        """Boxes of the reference data, and of half as many molecules."""
        from physembed.labels.xtb import calculate

        reference = model.settings.reference
        labels = self.study.config.labels.model_copy(update={"method": reference.method})
        liquid = (model.reference or model.liquids)[0]
        found = []
        for count in sorted({max(2, reference.molecules // 2), reference.molecules}):
            atoms = self._liquid_at(LOOSE_G_CM3, liquid, count)
            found.append((len(atoms), 1, _repeated(calculate, atoms, labels)))
        return found

    def _liquid_at(self, density: float, liquid: str, molecules: int) -> Atoms:
        return at_density(self._liquid(liquid, molecules)[1], density)

    def _training_frame(self, model: ModelStudy) -> Atoms:
        if model.settings.data:
            frame = ase.io.read(model.settings.data, 0)
            return Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        return self._liquid(model.reference[0], model.settings.reference.molecules)[1]

    def _liquid_batch(self, model: ModelStudy) -> list[tuple[int, int, Callable[[int], object]]]:
        frame = self._training_frame(model)
        return [(len(frame), 1, self._training(model.settings.training, model.name, frame))]

    def _liquid_model(self, model: str) -> Path:
        chosen = self.study.model(model)
        if chosen.settings.file:
            return Path(chosen.settings.file)
        return self._training(chosen.settings.training, model, self._training_frame(chosen))(1)

    def _liquid_step(self, model: ModelStudy) -> list[tuple[int, int, Callable[[int], object]]]:
        """The box of the tuning liquid."""
        from physembed.engine.parts import models_of_points
        from physembed.md.npt import NPTPoint, NPTRuns

        section, settings = self.study.config.npt, model.settings
        liquid = self.study.liquids[settings.tune_on]
        structure, start = self._liquid(settings.tune_on, liquid.molecules)
        make = models_of_points(self.liquid_model(model.name), section.device, section.dtype, settings.convention)
        points = [
            NPTPoint(str(run), settings.alphas[0], _middle(settings), liquid.temperature_K, liquid.pressure_bar)
            for run in range(section.replicas)
        ]
        bonds = bond_table(structure)[["i", "j"]].to_numpy()
        every = 10
        """Steps from one record to the next."""

        def run(units: int) -> None:
            steps = units // section.replicas // every * every
            still = section.model_copy(
                update={
                    "timestep_fs": STILL_FS,
                    "record_interval_fs": every * STILL_FS,
                    "frame_interval_ps": every * STILL_FS / 1000,
                    "duration_ps": steps * STILL_FS / 1000,
                    "longest_ps": None,
                }
            )
            runs = NPTRuns(make, points, [start] * len(points), still, seed=1, restart=self._new_folder(), bonds=bonds)
            runs.run()
            if (runs.runs().status != "ok").any():
                raise RuntimeError("a run that cannot move is lost")

        return [(len(start), every * section.replicas, run)]


def _atoms(structure: parmed.Structure) -> Atoms:
    return Atoms([atom.atomic_number for atom in structure.atoms], structure.coordinates)


def _ends(specs: list[MoleculeSpec], size: Callable[[MoleculeSpec], int]) -> list[MoleculeSpec]:
    """The smallest and the largest; only one if they are equally large."""
    found = [min(specs, key=size), max(specs, key=size)]
    return found if size(found[0]) < size(found[1]) else found[:1]


def _middle(settings: LiquidModel) -> float:
    low, high = settings.a1_range
    return (low + high) / 2


def _repeated(calculate: Callable[[Atoms, Labels], object], atoms: Atoms, labels: Labels) -> Callable[[int], object]:
    return lambda units: [calculate(atoms, labels) for _ in range(units)]
