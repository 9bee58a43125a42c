"""A study: its checked configuration with its checked molecules, liquids and models."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from physembed.config import Config, load
from physembed.config.liquids import LiquidModel
from physembed.config.messages import nearest
from physembed.errors import PhysEmbedError
from physembed.liquids.table import (
    LiquidSpec,
    Measurement,
    box_length_A,
    elements,
    measured,
    read_experiment,
    read_liquids,
)
from physembed.model_files.given import check_model_file
from physembed.molecules.table import MoleculeSpec, atomic_numbers_of, read_table
from physembed.training.data_check import Keys, check_training_data, training_frames

FINE_TUNED = "ScaleShiftMACE"
"""Class of the models that MACE's trainer can go on from."""
VOLUME_FLUCTUATION_A3 = 3.3
"""kT kappa of an organic liquid at 300 K, for a compressibility of 8e-5/bar."""


@dataclass(frozen=True)
class ModelStudy:
    """A liquid model that the study runs."""

    name: str
    """Its key in `models`."""
    settings: LiquidModel
    """Its section in the configuration."""
    liquids: list[str]
    """Names of the liquids on which it is evaluated, including the tuning liquid."""
    viscous: list[str]
    """Names of those of them whose viscosity is computed."""
    reference: list[str]
    """Names of the liquids from which reference data are generated; empty if a file or a data set is given."""


@dataclass(frozen=True)
class Study:
    """Everything that a run needs to know before anything is computed."""

    config: Config
    """The checked configuration."""
    molecules: list[MoleculeSpec]
    """The isolated molecules, in the order of `molecules.names`, or of the table for `all`."""
    models: list[ModelStudy]
    """The liquid models to run, in the order of `liquids.models`."""
    liquids: dict[str, LiquidSpec]
    """The liquids that they need, by name, in the order of the table."""
    measurements: dict[str, Measurement | None]
    """The measurement for each of these liquids."""
    components: list[MoleculeSpec]
    """The molecules of which these liquids consist."""

    @property
    def structures(self) -> dict[str, MoleculeSpec]:
        """All molecules that need a topology, by name: isolated molecules and components of liquids."""
        return {spec.name: spec for spec in [*self.molecules, *self.components]}

    @property
    def evaluated(self) -> list[str]:
        """Names of the liquids on which a model is evaluated, without those used for reference data only."""
        return [name for name in self.liquids if any(name in model.liquids for model in self.models)]

    def model(self, name: str) -> ModelStudy:
        """A liquid model by its name."""
        return next(model for model in self.models if model.name == name)

    def target_density(self, model: str) -> float | None:
        """Measured density to which a model is tuned, g/cm^3; `load_study` rejects a model without one."""
        measurement = self.measurements[self.model(model).settings.tune_on]
        return measurement.density_g_cm3 if measurement else None


def load_study(config: dict[str, Any]) -> Study:
    """Check a merged configuration, the tables and the files that it names.

    Raises:
        PhysEmbedError: one line that names the key, or the file and its line, and the value.
    """
    checked = load(config)
    molecules = [] if checked.molecules.names == [] else read_table(checked.molecules.table, checked.molecules.names)
    for molecule in molecules:
        _check_charges(molecule, checked)
    _check_bases(molecules, checked)
    if not checked.liquids.models:
        return Study(checked, molecules, [], {}, {}, [])
    table = {liquid.name: liquid for liquid in read_liquids(checked.liquids.table)}
    measurements = read_experiment(checked.liquids.experiment)
    models = [_model(name, checked, table) for name in checked.liquids.models]
    needed = {name for model in models for name in [*model.liquids, *model.reference]}
    liquids = {name: liquid for name, liquid in table.items() if name in needed}
    study = Study(
        checked,
        molecules,
        models,
        liquids,
        {name: measured(liquid, measurements) for name, liquid in liquids.items()},
        _components(liquids, molecules),
    )
    for model in models:
        _check_target(model, study)
        _check_files(model, study)
        _check_batch(model)
    _check_boxes(study)
    return study


def _check_charges(molecule: MoleculeSpec, config: Config) -> None:
    open_shell = molecule.multiplicity not in (None, 1) and not molecule.topology
    if open_shell and config.topology.charges == "bcc":
        raise PhysEmbedError(
            f"config: topology.charges: 'bcc': AM1-BCC charges are for closed shells, but {molecule.name} has "
            f"multiplicity {molecule.multiplicity}; set gasteiger, or give it its own topology"
        )


def _check_bases(molecules: list[MoleculeSpec], config: Config) -> None:
    """The files that models of arms begin as."""
    files = {name: arm for name, arm in config.arms.items() if arm.base.file}
    wanted = {spec.name: atomic_numbers_of(spec) for spec in molecules} if files else {}
    for name, arm in files.items():
        key = f"config: arms.{name}.base.file"
        found = check_model_file(key, str(arm.base.file), arm.base.sha256, wanted, "molecule")
        if arm.frames != 0 and found["class"] != FINE_TUNED:
            raise PhysEmbedError(
                f"{key}: {arm.base.file}: holds {found['class']}, and MACE's trainer goes on from {FINE_TUNED} alone; "
                f"run it as it is (arms.{name}.frames: 0), or give another model"
            )


def _model(name: str, config: Config, table: dict[str, LiquidSpec]) -> ModelStudy:
    settings = config.models[name]
    liquids = list(table) if settings.evaluate_on == "all" else list(settings.evaluate_on)
    if settings.tune_on not in liquids:
        liquids.append(settings.tune_on)
    made = not (settings.file or settings.data)
    reference = (settings.reference.liquids or liquids) if made else []
    for key, names in (("evaluate_on", liquids), ("reference.liquids", reference)):
        for liquid in names:
            if liquid not in table:
                place = "tune_on" if liquid == settings.tune_on else key
                hint = nearest(liquid, list(table))
                raise PhysEmbedError(
                    f"config: models.{name}.{place}: {liquid!r}: no such liquid in {config.liquids.table}; {hint}"
                )
    viscous = liquids if settings.viscosity_of == "all" else settings.viscosity_of
    for liquid in viscous:
        if liquid not in liquids:
            raise PhysEmbedError(
                f"config: models.{name}.viscosity_of: {liquid!r}: the model is not evaluated on it; "
                f"{nearest(liquid, liquids)}"
            )
    return ModelStudy(name, settings, liquids, [liquid for liquid in liquids if liquid in viscous], list(reference))


def _components(liquids: dict[str, LiquidSpec], molecules: list[MoleculeSpec]) -> list[MoleculeSpec]:
    """The molecules of the liquids; one that is also an isolated molecule of the study has to be the same."""
    named = {molecule.name: molecule for molecule in molecules}
    components: dict[str, MoleculeSpec] = {}
    for liquid in liquids.values():
        for component in liquid.components:
            spec = MoleculeSpec(component.name, smiles=component.smiles)
            other = named.get(component.name)
            if other is not None and other.smiles != component.smiles:
                raise PhysEmbedError(
                    f"liquid {liquid.name}: component {component.name}: {component.smiles!r} is not the molecule "
                    f"{component.name} of this study ({other.smiles or other.structure or other.topology!r}); "
                    "rename one of the two or give both the same SMILES"
                )
            components[component.name] = replace(spec, comment=other.comment) if other else spec
    return [component for name, component in components.items() if name not in named]


def _check_target(model: ModelStudy, study: Study) -> None:
    tune_on = model.settings.tune_on
    measurement = study.measurements[tune_on]
    if measurement is None or measurement.density_g_cm3 is None:
        liquid = study.liquids[tune_on]
        raise PhysEmbedError(
            f"config: models.{model.name}.tune_on: {tune_on!r}: {study.config.liquids.experiment} has no density "
            f"for it at {liquid.temperature_K:g} K; add one or tune on another liquid"
        )
    if "density" in measurement.dubious:
        raise PhysEmbedError(
            f"config: models.{model.name}.tune_on: {tune_on!r}: its density is marked as dubious in "
            f"{study.config.liquids.experiment}; tune on another liquid, or remove the mark"
        )


def _check_files(model: ModelStudy, study: Study) -> None:
    settings, key = model.settings, f"config: models.{model.name}"
    wanted = {name: elements(study.liquids[name]) for name in model.liquids}
    if settings.file:
        check_model_file(f"{key}.file", settings.file, settings.sha256, wanted)
    elif settings.data:
        stress = settings.training.stress_weight > 0
        keys = Keys(settings.energy_key, settings.forces_key, settings.stress_key)
        check_training_data(f"{key}.data", settings.data, settings.sha256, wanted, stress=stress, keys=keys)


def _check_batch(model: ModelStudy) -> None:
    """Check that the training set, at its largest, fills a batch: the trainer drops incomplete batches."""
    settings, key = model.settings, f"config: models.{model.name}"
    if settings.file:
        return
    if settings.data:
        keys = Keys(settings.energy_key, settings.forces_key, settings.stress_key)
        frames, whose = training_frames(f"{key}.data", settings.data, keys), f"of {settings.data}"
    else:
        reference = settings.reference
        runs, frames = len(model.reference) * reference.gaff_runs, len(model.reference) * reference.gaff_frames
        whose = f"of reference data, {runs} runs of {frames // runs}"
    training = frames - max(1, round(settings.training.validation_fraction * frames))
    if settings.training.batch_size > training:
        raise PhysEmbedError(
            f"{key}.training.batch_size: {settings.training.batch_size}: larger than the training set ({training} at "
            f"most {whose}: {frames} minus those for validation); lower it or give more frames"
        )


def _check_boxes(study: Study) -> None:
    """Check that a box stays more than twice as long as GAFF's cutoff, also with trial moves of the barostat.

    The margin is six times the fluctuation of the volume V, sqrt(kT kappa V), and 2 % for a density that differs from
    GAFF's: with fewer molecules the box has to be larger in proportion.
    """
    cutoff = study.config.gaff_npt.cutoff_A
    for name in dict.fromkeys(name for model in study.models for name in model.liquids):
        liquid, measurement = study.liquids[name], study.measurements[name]
        known = measurement.density_g_cm3 if measurement else None
        density = known or 1.0
        length = box_length_A(liquid, density)
        shortest = 2 * cutoff * (1.02 + 2 * math.sqrt(VOLUME_FLUCTUATION_A3 / length**3))
        if length <= shortest:
            guessed = "" if known else ", a guess"
            raise PhysEmbedError(
                f"{study.config.liquids.table}: {name}: molecules: {liquid.molecules}: at {density:g} g/cm^3{guessed} "
                f"the box is {length:.1f} Å long, but gaff_npt.cutoff_A {cutoff:g} requires {shortest:.1f} Å, twice "
                "the cutoff with a margin for fluctuations; use more molecules or a shorter cutoff"
            )
