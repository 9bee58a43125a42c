"""The summary of a study: one self-contained HTML page that begins with the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.report import liquid_summary
from physembed.report.catalogue import LABEL_FIGURES, MOLECULE_FIGURES, MOLECULE_TABLES, ROUND_TABLES
from physembed.report.liquid_summary import ModelSummary
from physembed.report.page import Table, embedded, flatten
from physembed.report.survival_figures import comparisons_shown, conditions_differ, format_p
from physembed.report.tables import paper_stability
from physembed.report.training_figures import LEDGER_COLOURS

LIQUID_SECTIONS = ("liquids", "gaff_npt", "models", "npt", "scan", "viscosity", "structure", "certificate")
"""Sections of the configuration that a study without liquid models does not use."""


@dataclass(frozen=True)
class MoleculeSummary:
    """Content of the page about one molecule."""

    name: str
    fractions: pd.DataFrame
    """From `physembed.analysis.survival.collapse_fractions`."""
    comparison: pd.DataFrame
    """From `physembed.analysis.survival.compare_arms`."""
    figures: Mapping[str, Path]
    """SVG file of each figure, by its name in `catalogue.MOLECULE_FIGURES`; a study may lack its `LABEL_FIGURES`."""
    movies: Mapping[str, Any] | None = None
    """Data of the viewer (`physembed.report.viewer`); None if no replica collapsed."""


@dataclass(frozen=True)
class MoleculesPart:
    """Content of the page about isolated molecules."""

    molecules: list[MoleculeSummary]
    """In the order of the study."""
    stability: pd.DataFrame
    """From `physembed.report.tables.stability_table`."""
    model_errors: pd.DataFrame
    """From `model_error_table`."""
    ledger: pd.DataFrame
    """From `ledger_table`."""
    duration_ps: float
    """Length of the stability runs."""
    temperature_K: float
    """Their temperature."""
    per_seed: bool
    """Whether each seed has its own data set."""
    changes: Mapping[str, str]
    """What each arm does, in words."""
    rounds: pd.DataFrame | None = None
    """From `physembed.learning.rounds.rounds_table`; None without rounds of learning."""


def _percent(fraction: float) -> str:
    """A fraction as `90 %`, or `3.6 %` near 0 and 100 %, where whole percents say too little."""
    percent = 100 * fraction
    digits = 1 if 0 < percent < 5 or 95 < percent < 100 else 0
    # No line break before the sign.
    return f"{percent:.{digits}f}\N{NO-BREAK SPACE}%"


WEIGHTING = {
    "equal": "",
    "elements": "elements count the same",
    "clusters": "clusters count the same",
    "bad_points": "clusters weighted by bad points",
}
"""What counts how much in the loss of an arm, in words."""


def change_in_words(arm: Mapping[str, Any]) -> str:
    """What an arm does, from its settings: `3 modified bonds per frame, from off.model`."""
    base = arm["base"]
    begin = ""
    if base["file"]:
        begin = f"from {Path(base['file']).name}"
    elif base["pretraining"]:
        begin = "pre-trained"
    elif base["arm"]:
        begin = f"from the models of {base['arm']}"
    if arm["frames"] == 0:
        return f"{'pre-trained models' if base['pretraining'] else Path(base['file']).name}, without training"
    counts = [
        f"{arm[key]} modified {what}{'s' if arm[key] > 1 else ''}"
        for key, what in (("bonds_per_frame", "bond"), ("angles_per_frame", "angle"))
        if arm[key]
    ]
    if arm["frames_of"]:
        parts = [f"frames of {arm['frames_of']}"]
    else:
        parts = [
            f"{' and '.join(counts)} per frame" if counts else "unmodified frames",
            "plus the unmodified ones" if counts and arm["keep_unmodified"] else "",
            "drawn evenly" if counts and arm["draws"] == "even" else "",
            f"first {arm['frames']} frames" if arm["frames"] else "",
        ]
    training, rounds = arm["training"], arm["learning"]["rounds"]
    parts += [
        begin,
        f"as many steps as {training['steps_of']}" if training["steps_of"] else "",
        "with a ZBL repulsion" if training["repulsion"] == "zbl" else "",
        WEIGHTING[training["weighting"]],
        f"{rounds} round{'s' if rounds > 1 else ''} of learning" if rounds else "",
    ]
    return ", ".join(filter(None, parts))


ENDED = {"nan": "", "below": "below the target: nothing added", "before": "ended before"}
"""Whether learning ended with a round, in words."""
SIGNIFICANT = 0.05
"""p over seeds, corrected for the number of pairs of arms, below which the arms are reported as different."""


def headline(molecule: MoleculeSummary) -> str:
    """The result for a molecule, in one sentence without test statistics.

    The other arms are compared with the first one by the test over seeds, corrected for the number of all pairs; where
    the study names the pairs to compare, these are. With one arm only, the sentence counts the surviving runs.
    """
    totals = molecule.fractions[molecule.fractions["seed"].astype(str) == "all"].to_dict("records")
    first, *others = totals
    if not others:
        return f"{first['runs'] - first['collapsed']} of {first['runs']} runs of {first['arm']} survive."
    pairs = molecule.comparison.to_dict("records")
    seeds = {frozenset((row["arm_a"], row["arm_b"])): row["p_value_seeds_holm"] for row in pairs}
    different = [row for row in others if seeds.get(frozenset((first["arm"], row["arm"])), 1.0) < SIGNIFICANT]
    corrected = f", corrected for {len(pairs)} comparisons (Holm)," if len(pairs) > 1 else ""
    if corrected and len(pairs) * min(row["smallest_p_value_seeds"] for row in pairs) >= SIGNIFICANT:
        best = min(totals, key=lambda row: row["fraction"])
        return (
            f"With this few seeds the test over seeds{corrected} cannot tell any two arms apart; the fewest runs "
            f"collapse with {best['arm']}: {best['collapsed']} of {best['runs']}."
        )
    if 0 < len(pairs) < math.comb(len(totals), 2):
        return _of_planned(pairs, {row["arm"]: row for row in totals}, corrected)
    if not different:
        return f"The test over seeds{corrected} shows no difference between {first['arm']} and {_listed(others)}."
    best = min(different, key=lambda row: row["fraction"])
    verb = "survive longer" if best["fraction"] < first["fraction"] else "collapse sooner"
    return (
        f"Models of {best['arm']} {verb} than those of {first['arm']}: {best['collapsed']} of {best['runs']} runs "
        f"collapse, {first['collapsed']} of {first['runs']} there."
    )


def _of_planned(pairs: Sequence[Mapping[Any, Any]], totals: Mapping[Any, Mapping[Any, Any]], corrected: str) -> str:
    """The result of the comparisons that a study names, in one sentence."""
    longer, equal = [], []
    for pair in pairs:
        if pair["p_value_seeds_holm"] >= SIGNIFICANT:
            equal.append(f"{pair['arm_a']} and {pair['arm_b']}")
            continue
        names = [pair["arm_a"], pair["arm_b"]]
        worse, better = names if pair["observed_minus_expected"] > 0 else names[::-1]
        (fewer, of), (more, of_more) = ((totals[arm]["collapsed"], totals[arm]["runs"]) for arm in (better, worse))
        counts = f"{fewer} against {more} of {of}" if of == of_more else f"{fewer} of {of} against {more} of {of_more}"
        longer.append(f"with {better} than with {worse} ({counts} runs collapse)")
    none = f"the test over seeds{corrected} shows no difference between {'; '.join(equal)}"
    if not longer:
        return f"{none[0].upper()}{none[1:]}."
    return f"Models survive longer {_joined(longer, 'and')}{f'; {none}' if equal else ''}."


def _listed(rows: Sequence[Mapping[Any, Any]]) -> str:
    return _joined([str(row["arm"]) for row in rows], "or")


def _joined(parts: Sequence[str], word: str) -> str:
    return f" {word} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def answer(molecule: MoleculeSummary, changes: Mapping[str, str]) -> str:
    """The result for a molecule as a sentence, without its name.

    The test over seeds comes first: the models are the independent samples, not the runs of one model.

    `original (unmodified frames) 18 of 20 runs collapsed (90 %, 95 % interval 68 % to 98.8 %), adaptive (3 modified
    bonds per frame) 4 of 20 (...); p = 0.33 over seeds (2 + 2 models); log-rank p < 0.0001 over runs of these models
    only.`

    Args:
        molecule: its tables.
        changes: description of each arm's modifications (`change_in_words`).
    """
    totals = molecule.fractions[molecule.fractions["seed"].astype(str) == "all"].to_dict("records")
    parts = []
    for index, row in enumerate(totals):
        runs, interval = ("runs collapsed ", "95 % interval ") if index == 0 else ("", "")
        parts.append(
            f"{row['arm']} ({changes[row['arm']]}) {row['collapsed']} of {row['runs']} {runs}"
            f"({_percent(row['fraction'])}, {interval}{_percent(row['low'])} to {_percent(row['high'])})"
        )
    sentence = ", ".join(parts)
    pairs, correction = comparisons_shown(molecule.comparison)
    if len(pairs) == 1:
        (row,) = pairs
        sentence += (
            f"; {format_p(row['p_value_seeds_holm'])} over seeds ({row['seeds_a']} + {row['seeds_b']} models); "
            f"log-rank {format_p(row['p_value_holm'])} over runs of these models only"
        )
    elif pairs:
        sizes = {f"{row['seeds_a']} + {row['seeds_b']}" for row in pairs}
        sentence += f"; over seeds ({' or '.join(sorted(sizes))} models) {_of_pairs(pairs, 'p_value_seeds_holm')}"
        sentence += f"; log-rank over runs of these models only {_of_pairs(pairs, 'p_value_holm')}"
    return sentence + (f"; {correction}." if correction else ".")


def _of_pairs(pairs: Sequence[Mapping[Any, Any]], column: str) -> str:
    """p-values of pairs of arms, in words."""
    values = [format_p(row[column]) for row in pairs]
    if len(set(values)) == 1:
        return f"{values[0]} for each pair"
    named = zip(pairs, values, strict=True)
    return ", ".join(f"{row['arm_a']} against {row['arm_b']} {value}" for row, value in named)


def cautions(molecule: MoleculeSummary, duration_ps: float, temperature_K: float, *, per_seed: bool) -> list[str]:
    """Limitations of the result for a molecule, one sentence each."""
    sentences = []
    paper = paper_stability()
    paper_ps = float(paper["duration_ps"].max())
    here = paper[paper["molecule"] == molecule.name]
    if short := duration_ps < paper_ps:
        sentences.append(
            f"These runs last {duration_ps:g} ps, the paper's {paper_ps:g} ps: a run that survives here may collapse "
            "later."
        )
    if not here.empty and (not short or temperature_K != float(here["temperature_K"].iloc[0])):
        sentences += filter(None, [conditions_differ(here, duration_ps, temperature_K)])
    if here.empty:
        sentences.append("The paper gives no number for this molecule.")
    for row in molecule.fractions.to_dict("records"):
        if str(row["seed"]) == "all" and row["collapsed"] == 0:
            sentences.append(
                f"No collapse in the {row['runs']} runs of {row['arm']} shows only that at least "
                f"{_percent(1 - row['upper_one_sided'])} of such runs survive (one-sided 95 %)."
            )
    if molecule.fractions["seed"].nunique() == 2:
        sentences.append("One seed: the scatter between models of one arm is not known.")
    elif per_seed:
        sentences.append("Each seed drew its own frames and modifications: the test over seeds covers both.")
    else:
        sentences.append(
            "All seeds share one data set: the test over seeds applies to this data set only, and another one may "
            "give a different result (frames.per_seed draws one for each seed)."
        )
    notes = "; ".join(molecule.comparison["note"].fillna("")).split("; ")
    sentences += [f"{note[0].upper()}{note[1:]}." for note in dict.fromkeys(filter(None, notes))]
    return sentences


def _stability_rows(table: pd.DataFrame) -> Table:
    rows = []
    for row in table.to_dict("records"):
        paper = "no number"
        if pd.notna(row["paper_collapsed_percent"]):
            paper = (
                f"{row['paper_collapsed_percent']:.0f} % of {row['paper_runs']:.0f} "
                f"({row['paper_duration_ps']:g} ps, {row['paper_temperature_K']:g} K)"
            )
        rows.append(
            [
                row["molecule"], row["arm"], str(row["labels"]), f"{row['collapsed']} of {row['runs']}",
                _percent(row["fraction"]), f"{_percent(row['low'])} to {_percent(row['high'])}",
                f"{row['inverted_runs']} / {row['cis_trans_runs']} / {row['new_contact_runs']}",
                f"{row['duration_ps']:g} ps, {row['temperature_K']:g} K", paper,
            ]
        )  # fmt: skip
    headings = [
        "molecule", "arm", "labels", "collapsed", "fraction", "95 % interval",
        "runs inverted / cis-trans / new contacts", "conditions", "paper",
    ]  # fmt: skip
    return Table(MOLECULE_TABLES["stability"].title, headings, rows)


def _error_rows(table: pd.DataFrame) -> Table:
    rows = [
        [
            row["molecule"], row["arm"], row["set"], str(row["frames"]), str(row["seeds"]),
            f"{row['force_rmse_meV_A']:.0f} "
            f"({row['force_rmse_lowest_seed_meV_A']:.0f} to {row['force_rmse_highest_seed_meV_A']:.0f})",
            f"{row['force_mae_meV_A']:.0f}", f"{row['force_r2']:.4f}", f"{row['energy_rmse_meV_atom']:.1f}",
        ]
        for row in table.to_dict("records")
    ]  # fmt: skip
    headings = [
        "molecule", "arm", "set", "frames", "seeds", "force RMSE (lowest to highest seed) / (meV/Å)",
        "force MAE / (meV/Å)", "R²", "energy RMSE / (meV/atom)",
    ]  # fmt: skip
    return Table(MOLECULE_TABLES["model_errors"].title, headings, rows)


def _ledger_rows(table: pd.DataFrame) -> Table:
    rows = [[str(value) for value in row] for row in table.itertuples(index=False)]
    headings = [LEDGER_COLOURS[name][1] if name in LEDGER_COLOURS else str(name) for name in table]
    return Table(MOLECULE_TABLES["labels"].title, headings, rows)


def _round_rows(table: pd.DataFrame) -> Table:
    rows = []
    for row in table.to_dict("records"):
        cells = [row["molecule"], row["arm"], str(row["round"]), str(row["labels"]), str(row["added"])]
        if row["runs"]:
            cells += [
                f"{row['force_rmse_meV_A']:.0f}", f"{row['largest_spread_eV_A']:.2f} ({row['spread_limit_eV_A']:.2f})",
                f"{row['stopped_by_spread']} + {row['collapsed']} of {row['runs']}", _percent(row["upper_limit"]),
            ]  # fmt: skip
        else:
            cells += ["", "", "not run", ""]
        rows.append([*cells, ENDED[str(row["ended"])]])
    headings = [
        "molecule", "arm", "round", "frames labelled before", "added", "force RMSE before / (meV/Å)",
        "largest spread (limit) / (eV/Å)", "stopped by spread + collapsed", "upper limit", "end",
    ]  # fmt: skip
    return Table(ROUND_TABLES["rounds"].title, headings, rows)


def molecule_tables(part: MoleculesPart) -> list[Table]:
    """The tables of all molecules: collapse, model errors, labels, and rounds of learning if there are any."""
    tables = [_stability_rows(part.stability), _error_rows(part.model_errors), _ledger_rows(part.ledger)]
    return tables if part.rounds is None else [*tables, _round_rows(part.rounds)]


def _molecule(molecule: MoleculeSummary, part: MoleculesPart, with_figures: bool) -> dict[str, Any]:
    """Template variables of a molecule."""
    required = set(MOLECULE_FIGURES) - set(LABEL_FIGURES)
    if wrong := sorted((required - set(molecule.figures)) | (set(molecule.figures) - set(MOLECULE_FIGURES))):
        raise PhysEmbedError(
            f"report: {molecule.name}: figure {wrong[0]!r} is missing or unknown; known: {', '.join(MOLECULE_FIGURES)}"
        )
    return {
        "name": molecule.name,
        "headline": headline(molecule),
        "answer": answer(molecule, part.changes),
        "cautions": cautions(molecule, part.duration_ps, part.temperature_K, per_seed=part.per_seed),
        "movies": molecule.movies if with_figures else None,
        "figures": [
            {"title": item.title, "caption": item.caption, "uri": embedded(molecule.figures[name]), "name": name}
            for name, item in MOLECULE_FIGURES.items()
            if with_figures and name in molecule.figures
        ],
        "lead": next(name for name in (*LABEL_FIGURES, "survival") if name in molecule.figures),
    }


def _model(model: ModelSummary, with_figures: bool) -> dict[str, Any]:
    """Template variables of a liquid model."""
    liquid_summary.check_figures(model)
    return {
        "name": model.name,
        "headline": liquid_summary.headline(model),
        "answer": liquid_summary.answer(model),
        "cautions": liquid_summary.cautions(model),
        "facts": liquid_summary.facts(model),
        "tables": liquid_summary.tables(model),
        "figures": [
            {"title": title, "caption": caption, "uri": embedded(path), "name": path.stem}
            for title, caption, path in liquid_summary.shown_figures(model)
            if with_figures
        ],
        "lead": "densities",
    }


def _in_use(settings: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """The settings without those of models that the study does not run, and without liquids if it runs none."""
    unused = () if models else LIQUID_SECTIONS
    shown = {key: value for key, value in settings.items() if key not in unused}
    if models:
        shown["models"] = {name: settings["models"][name] for name in models}
    return shown


def write_summary(
    path: str | Path,
    molecules: MoleculesPart | None,
    models: Sequence[ModelSummary],
    *,
    study: str,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    with_figures: bool,
) -> None:
    """Write the page; it is self-contained and contains no date.

    Snakemake's report shows a page as a `data:` URL, for which browsers have a limit of 2 MB. There the page has no
    figures, which are in the report anyway.

    Args:
        path: the HTML file.
        molecules: part about isolated molecules; None for a study of liquids only.
        models: part about each liquid model, in the order of the study; empty for a study of molecules only.
        study: its name.
        settings: the whole configuration, including seeds, as plain values.
        versions: versions of Python and the packages.
        with_figures: whether the page includes the figures.

    Raises:
        PhysEmbedError: a molecule or model lacks a figure, or has one that the page does not know.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    package = files("physembed.report")
    template = environment.from_string(package.joinpath("summary.html").read_text("utf-8"))
    shown, tables = [], []
    if molecules:
        shown = [_molecule(molecule, molecules, with_figures) for molecule in molecules.molecules]
        tables = molecule_tables(molecules)
    page = template.render(
        study=study,
        with_figures=with_figures,
        viewer_script=package.joinpath("viewer.js").read_text("utf-8") if any(m["movies"] for m in shown) else "",
        molecules=shown,
        models=[_model(model, with_figures) for model in models],
        tables=tables,
        settings=list(flatten(_in_use(settings, [model.name for model in models]))),
        versions=versions,
    )
    with atomic(path) as temporary:
        temporary.write_text(page, "utf-8")
