"""Collects the files of a study into the content of its summary page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from physembed.gathered import split_by
from physembed.report.liquid_summary import ModelSummary
from physembed.report.liquid_tables import of_model
from physembed.report.summary import MoleculesPart, MoleculeSummary, change_in_words
from physembed.report.viewer import read_movies
from physembed.tables import read_table

Files = Mapping[str, Any]
"""Paths by name, each a path or a list of them."""


def molecules_part(files: Files, names: Sequence[str], config: Mapping[str, Any]) -> MoleculesPart | None:
    """The part about isolated molecules, or None in a study without them.

    Args:
        files: fractions, comparisons, figures and movies of each molecule in turn; the tables stability,
            model_errors and labels, and rounds where arms learn in rounds.
        names: of the molecules.
        config: the configuration as plain values.
    """
    if not names:
        return None
    fractions, comparisons, figures, movies = (
        split_by(files[key], names) for key in ("fractions", "comparisons", "figures", "movies")
    )
    return MoleculesPart(
        [
            MoleculeSummary(
                name,
                fractions=read_table(*fractions[name]),
                comparison=read_table(*comparisons[name]),
                figures={Path(path).stem: Path(path) for path in figures[name]},
                movies=read_movies(*movies[name]),
            )
            for name in names
        ],
        stability=read_table(files["stability"]),
        model_errors=read_table(files["model_errors"]),
        ledger=read_table(files["labels"]),
        rounds=read_table(files["rounds"]) if "rounds" in files else None,
        duration_ps=config["stability"]["duration_ps"],
        temperature_K=config["stability"]["temperature_K"],
        per_seed=config["frames"]["per_seed"],
        changes={name: change_in_words(arm) for name, arm in config["arms"].items()},
    )


def model_summaries(files: Files, models: Mapping[str, Sequence[str]], liquids: Sequence[str]) -> list[ModelSummary]:
    """The parts about models of liquids; none in a study without them.

    Args:
        files: liquid_tables (densities, viscosities, liquid_errors, tuning); descriptions and certificates of each
            model in turn; compositions and boxes (the GAFF series) of each liquid; model_figures of all models.
        models: names of the liquids of each model.
        liquids: names of all liquids, in the order of compositions and boxes.
    """
    if not models:
        return []
    tables = {Path(path).stem: read_table(path) for path in files["liquid_tables"]}
    rows = []
    for liquid, composition, series in zip(liquids, files["compositions"], files["boxes"], strict=True):
        box, volume = read_table(composition), read_table(series).volume_A3.iloc[-1]
        sizes = {"molecules": box.molecules.sum(), "atoms": box.atoms.sum(), "box_length_A": volume ** (1 / 3)}
        rows.append({"liquid": liquid} | sizes)
    boxes = pd.DataFrame(rows)
    summaries = []
    described = zip(models.items(), files["descriptions"], files["certificates"], strict=True)
    for (name, own), description, certificate in described:
        figures = {Path(path).stem: Path(path) for path in files["model_figures"] if Path(path).parent.name == name}
        structures = {liquid: figures.pop(f"structure_{liquid}") for liquid in own}
        tuning = tables["tuning"]
        summaries.append(
            ModelSummary(
                name,
                facts=json.loads(Path(description).read_text(encoding="utf-8")),
                tuning=tuning[tuning.model == name],
                densities=of_model(tables["densities"], name),
                viscosities=of_model(tables["viscosities"], name),
                boxes=boxes[boxes.liquid.isin(own)],
                figures=figures,
                structures=structures,
                certificate=read_table(certificate),
            )
        )
    return summaries
