"""The settings that the stages of isolated molecules receive from a study."""

from __future__ import annotations

from physembed.config import Sampling
from physembed.config.arms import pretraining_of, trained_arms, training_of
from physembed.config.rounds import recipe
from physembed.stages.values import Settings, data_sets, plain, task_seed
from physembed.study import Study


def molecule(study: Study, molecule: str) -> Settings:
    """The SMILES and the seed of its embedding; a structure file is an input and needs neither."""
    spec = study.structures[molecule]
    return {"smiles": spec.smiles, "seed": task_seed(study, molecule)} if spec.smiles else {"smiles": None}


def gaff_topology(study: Study, molecule: str) -> Settings:
    """Parameter set and charges, and the multiplicity, without which antechamber rejects radicals."""
    return {"topology": plain(study.config.topology), "multiplicity": study.structures[molecule].multiplicity}


def given_topology(study: Study) -> Settings:
    """Nothing: the files are inputs."""
    return {}


def gaff_md(study: Study, molecule: str) -> Settings:
    """Settings of the run."""
    return {"gaff_md": plain(study.config.gaff_md), "seed": task_seed(study, "gaff_md", molecule)}


def frames(study: Study, molecule: str, data_set: str) -> Settings:
    """The numbers of training and validation frames, but not of starts, so that more starts retrain nothing."""
    counts = plain(study.config.frames, only=("train", "validation"))
    return {"frames": counts, "seed": task_seed(study, "frames", molecule, data_set)}


def starts(study: Study, molecule: str, data_set: str) -> Settings:
    """All numbers: the starts are drawn after the other frames, with the same seed."""
    counts = plain(study.config.frames, only=("train", "validation", "starts"))
    return {"frames": counts, "seed": task_seed(study, "frames", molecule, data_set)}


def bond_sampling(study: Study, molecule: str, arm: str, data_set: str) -> Settings:
    """How many frames the arm takes and how it samples them, and the parameter set of its reference bond and angle.

    Includes a seed if the arm draws random numbers, which one that leaves the frames unmodified does not.
    """
    settings = study.config.arms[arm]
    return {
        "arm": plain(settings, only=("frames", *Sampling.model_fields)),
        "parameter_set": study.config.topology.parameter_set,
        "seed": task_seed(study, "bond_sampling", molecule, arm, data_set) if settings.changes_frames else None,
    }


def labels(study: Study, molecule: str) -> Settings:
    """The method, the multiplicity, and the rejection rules."""
    return {"labels": plain(study.config.labels), "multiplicity": study.structures[molecule].multiplicity}


def pretraining_frames(study: Study, molecule: str) -> Settings:
    """The MD, the sampling, and the cap on forces."""
    return {
        "pretraining": plain(study.config.pretraining, without=("training",)),
        "gaff_md": plain(study.config.gaff_md, without=("temperature_K", "duration_ps")),
        "max_force_eV_A": study.config.labels.max_force_eV_A,
        "parameter_set": study.config.topology.parameter_set,
        "seed": task_seed(study, "pretraining", molecule),
    }


def pretraining(study: Study, seed: str) -> Settings:
    """As `training`."""
    return {"training": plain(pretraining_of(study.config), without=("seeds",)), "seed": int(seed)}


def training(study: Study, arm: str, seed: str) -> Settings:
    """The trainer's settings with the arm's own values.

    Without the list of seeds, so that adding a seed does not affect existing models.
    """
    by_element = {"by_element": True} if recipe(study.config, arm).training.weighting == "elements" else {}
    return {"training": plain(training_of(study.config, arm), without=("seeds",)), "seed": int(seed)} | by_element


def learning(study: Study, molecule: str, arm: str) -> Settings:
    """How frames are chosen in a round, and the hot MD: that of the stability runs, with a length of its own.

    Without the number of rounds, so that another one leaves those that are there.
    """
    own = recipe(study.config, arm).learning
    hot = plain(study.config.stability) | {"duration_ps": own.hot_ps}
    return {
        "learning": plain(own, without=("rounds",)),
        "stability": hot,
        "seed": task_seed(study, "learning", molecule, arm),
    }


def round_training(study: Study, arm: str, seed: str) -> Settings:
    """As `training`."""
    return training(study, arm, seed)


def committee(study: Study) -> Settings:
    """Nothing: the models are inputs."""
    return {}


def conformations(study: Study, molecule: str) -> Settings:
    """The number of clusters."""
    return {"clusters": study.config.metrics.clusters, "seed": task_seed(study, "conformations", molecule)}


def weights(study: Study, arm: str) -> Settings:
    """What the weights follow from, and the precision of the models."""
    return {"weighting": recipe(study.config, arm).training.weighting, "dtype": study.config.training.dtype}


def given_model(study: Study) -> Settings:
    """Nothing: the file is the input."""
    return {}


def evaluation(study: Study, arm: str) -> Settings:
    """The precision, the seeds that share a data set, in the order of the files, and whether the arm is trained."""
    return {
        "dtype": study.config.training.dtype,
        "seeds": list(data_sets(study).values()),
        "trained": arm in trained_arms(study.config),
    }


def force_metrics(study: Study) -> Settings:
    """The precision, and the seeds that share a data set, in the order of the files."""
    return {"dtype": study.config.training.dtype, "seeds": list(data_sets(study).values())}


def before_collapse(study: Study, molecule: str) -> Settings:
    """How many runs and frames, and what the labels are told."""
    return plain(study.config.metrics, only=("collapses", "frames_before")) | {
        "labels": plain(study.config.labels),
        "multiplicity": study.structures[molecule].multiplicity,
        "dtype": study.config.training.dtype,
        "seeds": study.config.training.seeds,
    }


def stability(study: Study, molecule: str, arm: str, seed: str) -> Settings:
    """Settings of the runs."""
    return {
        "stability": plain(study.config.stability),
        "seed": task_seed(study, "stability", molecule, arm, seed),
    }


def survival(study: Study) -> Settings:
    """Arms and seeds in the order of the files, and the pairs of arms to compare, if not all."""
    return {
        "arms": study.config.arm_names,
        "seeds": study.config.training.seeds,
        "comparisons": study.config.survival.comparisons,
    }
