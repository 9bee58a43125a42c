"""Input files of rules that depend on more of a study than the wildcards: functions as in `physembed.stages`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from physembed.config.arms import sampled_by, source_of, trained_arms, trained_before, weights_frames
from physembed.config.label_numbers import label_series
from physembed.config.rounds import MARK, all_rounds, arm_of, learns, recipe, round_name, round_of, rounds_of
from physembed.molecules.gromacs_text import included_files
from physembed.report.catalogue import (
    LIQUID_TABLES,
    MOLECULE_TABLES,
    ROUND_TABLES,
    figures_of_model,
    figures_of_molecule,
)
from physembed.stages.values import data_sets
from physembed.study import Study

VARIANTS = ("uncorrected", "corrected")
"""The runs of a liquid with each model."""


def _results(study: Study, *parts: str) -> str:
    return "/".join(["results", study.config.study, *parts])


def structure_file(study: Study, molecule: str) -> str | list[str]:
    """The structure file of a molecule without SMILES; no file for one with SMILES."""
    return study.structures[molecule].structure or []


def topology_files(study: Study, molecule: str) -> dict[str, str | list[str]]:
    """A user's own topology files, by name, with the files that they include."""
    spec = study.structures[molecule]
    assert spec.topology and spec.coordinates
    included = [str(path) for path in included_files(spec.topology)]
    return {"topology": spec.topology, "coordinates": spec.coordinates, "included": included}


def frames_to_label(study: Study, molecule: str, labelled: str, data_set: str) -> str:
    """The frames of an arm or of a round of learning, or the validation frames, which no arm modifies."""
    if MARK in labelled:
        return _results(study, molecule, "learning", labelled, "frames.xyz")
    folder = "frames" if labelled == "validation" else "bond_sampling"
    return _results(study, molecule, folder, f"{data_set}{labelled}.xyz")


def of_data_set(study: Study, molecule: str, seed: str, stage: str, name: str) -> str:
    """A file of a stage in the data set of a seed."""
    (folder,) = [folder for folder, seeds in data_sets(study).items() if int(seed) in seeds]
    return _results(study, molecule, stage, f"{folder}{name}")


def labels_of_seed(study: Study, molecule: str, arm: str, seed: str) -> str:
    """Labels on which an arm trains, in the data set of a seed."""
    return of_data_set(study, molecule, seed, "labels", f"{source_of(study.config, arm)}.xyz")


def training_set(study: Study, molecule: str, arm: str, seed: str) -> str:
    """These labels, or what becomes of them where frames are weighted; of an arm with rounds those of its last."""
    if learns(study.config, arm):
        arm = rounds_of(study.config, arm)[-1]
    if weights_frames(study.config, arm):
        return _results(study, molecule, "training", arm, f"seed{seed}", "weighted.xyz")
    return labels_of_seed(study, molecule, arm, seed)


def first_model(study: Study, molecule: str, arm: str, seed: str) -> str | list[str]:
    """The model whose errors say how frames are weighted; no file where these follow from the clusters alone."""
    by_errors = recipe(study.config, arm).training.weighting == "bad_points"
    return base_model(study, molecule, arm, seed) if by_errors else []


def ranges_of_seed(study: Study, molecule: str, arm: str, seed: str, name: str) -> str | list[str]:
    """Ranges of an arm in the data set of a seed: `ranges.csv` of its bonds, or `angle_ranges.csv`.

    No file of an arm that takes no frames.
    """
    source = sampled_by(study.config, arm)
    return of_data_set(study, molecule, seed, "bond_sampling", f"{source}_{name}") if source else []


def of_data_sets(study: Study, molecule: str, arm: str, stage: str, name: str) -> list[str]:
    """A file of the frames of an arm in each data set; none of an arm that takes no frames."""
    source = (source_of if stage == "labels" else sampled_by)(study.config, arm)
    folders = data_sets(study) if source else []
    return [_results(study, molecule, stage, f"{folder}{source}{name}") for folder in folders]


def base_model(study: Study, molecule: str, arm: str, seed: str) -> str | list[str]:
    """What the model of an arm begins as; no file of one that begins with random weights."""
    base = recipe(study.config, arm).base
    if base.pretraining:
        return _results(study, molecule, "pretraining", f"seed{seed}", "mace.model")
    if base.arm:
        return _results(study, molecule, "training", base.arm, f"seed{seed}", "mace.model")
    return base.file or []


def committee_before(study: Study, molecule: str, arm: str) -> list[str]:
    """Models of the round before a round of learning, of all seeds."""
    before = trained_before(study.config, arm)
    seeds = study.config.training.seeds
    return [_results(study, molecule, "training", before, f"seed{seed}", "mace.model") for seed in seeds]


def trained_of_round_before(study: Study, molecule: str, arm: str, seed: str, name: str) -> str:
    """A file of the training of the round before; of the last round, for an arm with rounds."""
    return _results(study, molecule, "training", trained_before(study.config, arm), f"seed{seed}", name)


def training_set_before(study: Study, molecule: str, arm: str, seed: str) -> str:
    """The training set of the same."""
    return training_set(study, molecule, trained_before(study.config, arm), seed)


def frames_before(study: Study, molecule: str, arm: str) -> str:
    """Frames that were labelled before a round of learning."""
    own, number = arm_of(arm), round_of(study.config, arm) - 1
    before = round_name(own, number) if number else sampled_by(study.config, own)
    return frames_to_label(study, molecule, str(before), "")


def round_before(study: Study, molecule: str, arm: str) -> str | list[str]:
    """The table of the round before; no file before the first round."""
    own, number = arm_of(arm), round_of(study.config, arm) - 1
    return _results(study, molecule, "learning", round_name(own, number), "round.csv") if number else []


def committees(study: Study) -> list[str]:
    """The trained models of each arm as one file; of a single seed there is no committee."""
    if len(study.config.training.seeds) < 2:
        return []
    pairs = product([molecule.name for molecule in study.molecules], trained_arms(study.config))
    return [_results(study, molecule, "training", arm, "committee.pt") for molecule, arm in pairs]


def of_components(study: Study, liquid: str, name: str) -> list[str]:
    """A file of the topology of each component of a liquid, in the order of the composition."""
    return [_results(study, part.name, "topology", name) for part in study.liquids[liquid].components]


def of_tuning_liquid(study: Study, model: str, name: str) -> str:
    """A file of the tuning liquid of a model."""
    return _results(study, "liquids", study.model(model).settings.tune_on, name)


def confirming_density(study: Study, model: str) -> str:
    """Density of the corrected model for its tuning liquid, from a separate run."""
    return _results(study, "models", model, "npt", study.model(model).settings.tune_on, "corrected/density.csv")


def confirming_frames(study: Study, model: str) -> str:
    """Frames of that run."""
    return _results(study, "models", model, "npt", study.model(model).settings.tune_on, "corrected/trajectory.xyz")


def training_frames(study: Study, model: str, training: str) -> list[str]:
    """The data set of a model, or the labels of the liquids from which its reference data are generated.

    A training before a round has those of the rounds before it, the last one those of all rounds.
    """
    chosen = study.model(model)
    if chosen.settings.data:
        return [chosen.settings.data]
    _, _, before = training.partition(MARK)
    sets = [""] + [f"{MARK}{number}" for number in range(1, int(before or chosen.settings.reference.rounds) + 1)]
    return [
        _results(study, "models", model, "labels", f"{liquid}{own}.xyz") for own in sets for liquid in chosen.reference
    ]


def model_before_round(study: Study, model: str, round: str) -> str:
    """The model with which the MD of a round runs."""
    return _results(study, "models", model, f"training{MARK}{int(round) - 1}", "mace.model")


def model_file(study: Study, model: str) -> str:
    """A model as given by the user, or the trained one."""
    return study.model(model).settings.file or _results(study, "models", model, "training/mace.model")


def tuning_of_variant(study: Study, model: str, variant: str) -> str | list[str]:
    """The tuning of a corrected model; uncorrected runs neither wait for it nor change with it."""
    return _results(study, "models", model, "tuning/tuning.csv") if variant == "corrected" else []


def of_liquids(study: Study, model: str, stage: str, name: str) -> list[str]:
    """A file of a stage for each liquid of a model, in the model's order, and each variant, which varies fastest.

    Viscosities may be computed for some of the liquids only.
    """
    chosen = study.model(model)
    pairs = product(chosen.viscous if stage == "viscosity" else chosen.liquids, VARIANTS)
    return [_results(study, "models", model, stage, liquid, variant, name) for liquid, variant in pairs]


def of_all_liquids(study: Study, stage: str, name: str) -> list[str]:
    """The same for all models."""
    return [path for model in study.models for path in of_liquids(study, model.name, stage, name)]


def of_summary(study: Study) -> dict[str, str | list[str]]:
    """Inputs of the summary, by name: those of the molecules and of the liquid models, if there are any."""
    return (_of_molecules(study) if study.molecules else {}) | (_of_models(study) if study.models else {})


def _tables(study: Study, names: Iterable[str]) -> dict[str, str]:
    return {name: _results(study, "tables", f"{name}.csv") for name in names}


def _of_molecules(study: Study) -> dict[str, str | list[str]]:
    names = [molecule.name for molecule in study.molecules]
    drawn = product(names, figures_of_molecule(label_series=bool(label_series(study.config))))
    return {
        "fractions": [_results(study, name, "survival/collapse_fractions.csv") for name in names],
        "comparisons": [_results(study, name, "survival/comparison.csv") for name in names],
        "figures": [_results(study, "figures", name, f"{figure}.svg") for name, figure in drawn],
        "movies": [_results(study, "figures", name, "viewer.json") for name in names],
        **_tables(study, MOLECULE_TABLES),
        **(_tables(study, ROUND_TABLES) if all_rounds(study.config) else {}),
    }


def _of_models(study: Study) -> dict[str, str | list[str]]:
    names = [model.name for model in study.models]
    return {
        "liquid_tables": list(_tables(study, LIQUID_TABLES).values()),
        "descriptions": [_results(study, "models", name, "model/model.json") for name in names],
        "cards": [_results(study, "models", name, "corrected/card.md") for name in names],
        "certificates": [_results(study, "models", name, "corrected/certificate.csv") for name in names],
        "compositions": [_results(study, "liquids", name, "box/composition.csv") for name in study.evaluated],
        "boxes": [_results(study, "liquids", name, "gaff_npt/series.csv") for name in study.evaluated],
        "model_figures": [
            _results(study, "figures/models", model.name, f"{figure}.svg")
            for model in study.models
            for figure in figures_of_model(model.liquids, trained=not model.settings.file)
        ],
    }
