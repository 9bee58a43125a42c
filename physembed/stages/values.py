"""Plain values of a study that several stages receive."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from physembed.config import Section
from physembed.seeds import derive_seed
from physembed.study import Study

Settings = dict[str, Any]
"""Plain values: what Snakemake can compare and write down."""


def named(function: Callable[..., Any], wildcards: Mapping[str, str]) -> dict[str, str]:
    """The wildcards of a job that a function of this package names as arguments."""
    names = inspect.signature(function).parameters.keys() - {"study"}
    return {name: wildcards[name] for name in names if name in wildcards}


def plain(section: Section, *, without: tuple[str, ...] = (), only: tuple[str, ...] | None = None) -> Settings:
    """A section of the configuration as plain values, without some of its fields, or with only some."""
    return section.model_dump(mode="json", exclude=set(without), include=None if only is None else set(only))


def task_seed(study: Study, *names: str) -> int:
    """The seed of a task, derived from the seed of the study and the names of the task; empty names are ignored."""
    return derive_seed(study.config.seed, *filter(None, names))


def data_sets(study: Study) -> dict[str, list[int]]:
    """The seeds that share a data set, by its folder: "" for one data set for all seeds, or `seed<n>/`."""
    seeds = study.config.training.seeds
    return {f"seed{seed}/": [seed] for seed in seeds} if study.config.frames.per_seed else {"": list(seeds)}


def conditions(study: Study, liquid: str) -> Settings:
    """Temperature and pressure of a liquid."""
    spec = study.liquids[liquid]
    return {"temperature_K": spec.temperature_K, "pressure_bar": spec.pressure_bar}


def composition(study: Study, liquid: str) -> list[list[Any]]:
    """Name, SMILES and mass fraction of each component of a liquid."""
    return [[part.name, part.smiles, part.mass_fraction] for part in study.liquids[liquid].components]
