"""The amount of work of a job: the long stages, each in the unit of its trial.

It is determined from the settings that `physembed.stages` passes to the job, wherever they contain it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from physembed.config.arms import pretraining_frames, training_frames
from physembed.config.rounds import MARK, learns, recipe, round_name
from physembed.plan.sizes import Sizes
from physembed.study import Study


@dataclass(frozen=True)
class Case:
    """One job."""

    study: Study
    sizes: Sizes
    wildcards: Mapping[str, str]
    settings: Mapping[str, Any]
    """The settings of its rule."""


@dataclass(frozen=True)
class Work:
    """Work of a long stage."""

    trial: str
    """The trial in `physembed.plan.trials` that gives seconds for one unit, of the smallest and the largest system."""
    amount: Callable[[Case], float]
    """Number of units of a job."""
    atoms: Callable[[Case], int]
    """Number of atoms per unit."""


def labelled_frames(case: Case) -> float:
    """Frames of a molecule that are labelled."""
    if case.wildcards["labelled"] == "validation":
        return case.study.config.frames.validation
    config, name = case.study.config, case.wildcards["labelled"]
    if MARK in name:  # a round: the store of labels has all frames but those that it adds
        return recipe(config, name).learning.labels_per_round
    return training_frames(config, round_name(name, 0))


def batches(training: Mapping[str, Any], frames: float) -> float:
    """Batches of a training."""
    return training["epochs"] * max(1, frames // training["batch_size"])


def labelled_reference_frames(case: Case) -> float:
    """Frames of a liquid that are labelled, of GAFF or of a round."""
    reference = case.study.model(case.wildcards["model"]).settings.reference
    if MARK in case.wildcards["liquid"]:
        return reference.gaff_runs * reference.round_frames
    return reference.gaff_frames


def liquid_frames(case: Case) -> float:
    """Frames on which a liquid model is trained."""
    model = case.study.model(case.wildcards["model"])
    if model.settings.data:
        return case.sizes.data[model.name].frames
    reference = model.settings.reference
    _, _, before = case.wildcards["training"].partition(MARK)
    own = int(before or reference.rounds) * reference.gaff_runs * reference.round_frames
    return (reference.gaff_frames + own) * len(model.reference)


def steps(section: Mapping[str, Any], duration_ps: float) -> float:
    """MD steps."""
    return duration_ps * 1000 / section["timestep_fs"]


def _stability(case: Case) -> float:
    section = case.settings["stability"]
    return steps(section, section["duration_ps"]) * case.study.config.frames.starts


def _learning(case: Case) -> float:
    own, members = case.settings["learning"], len(case.study.config.training.seeds)
    return steps(case.settings["stability"], own["hot_ps"]) * own["replicas"] * members


def _round_training(case: Case) -> float:
    config, arm = case.study.config, case.wildcards["arm"]
    # The models of an arm are those of its last round.
    return 0 if learns(config, arm) else batches(case.settings["training"], training_frames(config, arm))


def _gaff_npt(case: Case) -> float:
    section = case.settings["gaff_npt"]
    return steps(section, section["duration_ps"])


def _scan(case: Case) -> float:
    points, alphas = case.settings["scan"], case.settings["model"]["alphas"]
    runs = 1 + len(points["a1"]) * len(alphas) if points["method"] == "direct" else points["max_runs"]
    return runs * steps(case.settings["npt"], points["duration_ps"])


def _npt(case: Case) -> float:
    section = case.settings["npt"]
    return section["replicas"] * steps(section, section["longest_ps"] or section["duration_ps"])


def _viscosity(case: Case) -> float:
    section = case.settings["viscosity"]
    return section["replicas"] * steps(section, section["duration_ps"] + section["equilibration_ps"])


def _volume_scan(case: Case) -> float:
    points = len(case.settings["volume_scan_scales"]) * case.settings["volume_scan_frames"]
    return points if case.settings["volume_scan_labels"] else 0


def _molecule(case: Case) -> int:
    return case.sizes.molecules[case.wildcards["molecule"]]


def _liquid(case: Case) -> int:
    return case.sizes.liquids[case.wildcards["liquid"]]


def _tuning_liquid(case: Case) -> int:
    return case.sizes.liquids[case.study.model(case.wildcards["model"]).settings.tune_on]


def _liquid_round(case: Case) -> float:
    reference = case.study.model(case.wildcards["model"]).settings.reference
    return reference.gaff_runs * steps(case.settings["npt"], reference.round_ps)


def _reference(case: Case) -> int:
    liquid, _, _ = case.wildcards["liquid"].partition(MARK)
    return case.sizes.reference_atoms(case.study.model(case.wildcards["model"]), liquid)


def _trained(case: Case) -> int:
    return case.sizes.trained_atoms(case.study.model(case.wildcards["model"]))


WORK: dict[str, Work] = {
    "labels": Work("label", labelled_frames, _molecule),
    "training": Work(
        "batch",
        lambda case: batches(case.settings["training"], training_frames(case.study.config, case.wildcards["arm"])),
        _molecule,
    ),
    "pretraining": Work(
        "batch", lambda case: batches(case.settings["training"], pretraining_frames(case.study.config)), _molecule
    ),
    "round_training": Work("batch", _round_training, _molecule),
    "stability": Work("step", _stability, _molecule),
    "learning": Work("step", _learning, _molecule),
    "gaff_npt": Work("gaff_step", _gaff_npt, _liquid),
    "liquid_round": Work("liquid_step", _liquid_round, _reference),
    "reference_labels": Work("liquid_label", labelled_reference_frames, _reference),
    "liquid_training": Work(
        "liquid_batch", lambda case: batches(case.settings["training"], liquid_frames(case)), _trained
    ),
    "scan": Work("liquid_step", _scan, _tuning_liquid),
    "npt": Work("liquid_step", _npt, _liquid),
    "viscosity_run": Work("liquid_step", _viscosity, _liquid),
    "volume_scan": Work("liquid_label", _volume_scan, _tuning_liquid),
}
"""Work by rule. Other rules take seconds or minutes."""
