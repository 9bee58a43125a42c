"""The settings that the stages of isolated molecules receive from a study."""

from __future__ import annotations

from physembed.config.molecules import leaves_frames
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
    """The arm without its training, and the parameter set in which its reference bond and angle are looked up.

    Includes a seed if the arm draws random numbers, which one that leaves the frames unmodified does not.
    """
    settings = study.config.arms[arm]
    return {
        "arm": plain(settings, without=("training",)),
        "parameter_set": study.config.topology.parameter_set,
        "seed": None if leaves_frames(settings) else task_seed(study, "bond_sampling", molecule, arm, data_set),
    }


def labels(study: Study, molecule: str) -> Settings:
    """The method, the multiplicity, and the rejection rules."""
    return {"labels": plain(study.config.labels), "multiplicity": study.structures[molecule].multiplicity}


def training(study: Study, arm: str, seed: str) -> Settings:
    """The trainer's settings with the arm's own values.

    Without the list of seeds, so that adding a seed does not affect existing models.
    """
    own = study.config.arms[arm].training.model_dump(mode="json", exclude_none=True)
    return {"training": plain(study.config.training, without=("seeds",)) | own, "seed": int(seed)}


def committee(study: Study) -> Settings:
    """Nothing: the models are inputs."""
    return {}


def evaluation(study: Study) -> Settings:
    """The precision, and the seeds that share a data set, in the order of the files."""
    return {"dtype": study.config.training.dtype, "seeds": list(data_sets(study).values())}


def stability(study: Study, molecule: str, arm: str, seed: str) -> Settings:
    """Settings of the runs."""
    return {
        "stability": plain(study.config.stability),
        "seed": task_seed(study, "stability", molecule, arm, seed),
    }


def survival(study: Study) -> Settings:
    """Arms and seeds in the order of the files."""
    return {"arms": study.config.arm_names, "seeds": study.config.training.seeds}
