"""Content of the summary page about a liquid model: the result, its limitations, tables and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from physembed.errors import PhysEmbedError
from physembed.report.catalogue import IF_TRAINED, MODEL_FIGURES, STRUCTURE
from physembed.report.liquid_page_tables import (
    density_rows,
    error_rows,
    reason_text,
    tuned_a1,
    tuning_rows,
    viscosity_rows,
)
from physembed.report.liquid_tables import HELD_OUT, HERE, TUNED, VARIANTS, mean_absolute_errors, only_corrected
from physembed.report.page import Table, flatten
from physembed.report.scan_figures import status_name
from physembed.report.survival_figures import format_p

PAPER_NPT_PS = 1000.0
PAPER_VISCOSITY_PS = 5000.0
FEW_SAMPLES = 100
"""Below this many independent frames the standard error is itself uncertain by 20 % or more."""
SMALL_BOX_A = 20.0
"""In smaller boxes dispersion, with its range of 10 Å, and radial distributions include a molecule's own images."""
OF_VISCOSITIES = {"viscosities", "green_kubo"}
"""Figures that are empty where no viscosity was run."""
NOT_CONFIRMED = 0.05
"""The tuning is not confirmed if the probability of the confirmation run's deviation is lower than this."""


@dataclass(frozen=True)
class ModelSummary:
    """Content of the page about one liquid model."""

    name: str
    facts: Mapping[str, Any]
    """`model.json`: source of the model, SHA-256, elements, cutoff and size."""
    tuning: pd.DataFrame
    """Its rows of `physembed.report.liquid_tables.tuning_table`, a row per alpha."""
    densities: pd.DataFrame
    """Its rows of `density_table` and the paper's beside them (`of_model`)."""
    viscosities: pd.DataFrame
    """Likewise of `viscosity_table`."""
    boxes: pd.DataFrame
    """liquid, molecules, atoms, box_length_A (shortest edge) of each box."""
    figures: Mapping[str, Path]
    """SVG file of each figure by its name in `catalogue.MODEL_FIGURES`, except `structure`."""
    structures: Mapping[str, Path] = field(default_factory=dict)
    """SVG file of `structure` of each liquid."""
    certificate: pd.DataFrame | None = None
    """From `physembed.export.certificate.check`; None where there is none."""


def check_figures(model: ModelSummary) -> None:
    """Reject a model with a missing or unknown figure.

    Raises:
        PhysEmbedError: one line that names it.
    """
    wanted = set(MODEL_FIGURES) - {STRUCTURE, IF_TRAINED}
    if wrong := sorted(wanted ^ (set(model.figures) - {IF_TRAINED})):
        known = ", ".join(name for name in MODEL_FIGURES if name != STRUCTURE)
        raise PhysEmbedError(f"report: {model.name}: figure {wrong[0]!r} is missing or unknown; known: {known}")
    if wrong := sorted(set(_here(model.densities)["liquid"]) ^ set(model.structures)):
        raise PhysEmbedError(
            f"report: {model.name}: the figure of the structure of {wrong[0]!r} is missing, or no such liquid was run"
        )


def names_of_figures(model: ModelSummary) -> list[str]:
    """The figures of a model that show something, except `structure`, in the order of the page."""
    empty = OF_VISCOSITIES if _here(model.viscosities).empty else set[str]()
    return [name for name in MODEL_FIGURES if name in model.figures and name not in empty]


def shown_figures(model: ModelSummary) -> list[tuple[str, str, Path]]:
    """Title, caption and file of each figure, in the order of the page."""
    shown = [
        (MODEL_FIGURES[name].title, MODEL_FIGURES[name].caption, model.figures[name])
        for name in names_of_figures(model)
    ]
    item = MODEL_FIGURES[STRUCTURE]
    return shown + [(f"{item.title} of {liquid}", item.caption, path) for liquid, path in model.structures.items()]


def _here(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["origin"] == HERE]


def _alpha(row: Mapping[Any, Any]) -> str:
    return f"\N{GREEK SMALL LETTER ALPHA} = {row['alpha']:+g}"


def headline(model: ModelSummary) -> str:
    """The result for a model, in one sentence: the effect of the correction on densities not used for tuning."""
    tuned_on = model.tuning.iloc[0]["tuned_on"]
    if model.tuning.iloc[0]["status"] != "ok":
        return f"No correction of this model was found that reproduces the density of {tuned_on}."
    row, alone = _held_out(model.densities), only_corrected(model.densities)
    if row is None and alone.empty:
        return f"The correction reproduces the density of {tuned_on}; no other density is available for evaluation."
    if row is None:
        several = len(alone) > 1
        return (
            f"Without the correction {'these liquids have' if several else 'the liquid has'} no density "
            f"({_states_before(alone)}); tuned only on the density of {tuned_on}, it gives "
            f"{f'{len(alone)} densities' if several else 'a density'} not used for tuning to "
            f"{alone['corrected_deviation_percent'].abs().mean():.1f} % of the measured value"
            f"{'s on average' if several else ''}."
        ).replace(" %", "\N{NO-BREAK SPACE}%")
    before, after = row["uncorrected_mae_percent"], row["corrected_mae_percent"]
    what = "a density" if row["liquids"] == 1 else f"{row['liquids']} densities"
    verb = "brings" if after < before else "takes"
    return (
        f"Tuned only on the density of {tuned_on}, the correction {verb} {what} not used for tuning from "
        f"{before:.1f} % to {after:.1f} % of the measured value."
    ).replace(" %", "\N{NO-BREAK SPACE}%")


def answer(model: ModelSummary) -> str:
    """The result of a model as a sentence, without its name.

    `a1 = 0.43 (95 % interval 0.41 to 0.45) at α = +0.05, convention d3, tuned on the density of EMC; densities of 10
    held-out liquids: mean deviation 2.9 % before, 0.2 % after; viscosities of ...`
    """
    first = model.tuning.iloc[0].to_dict()
    text = (
        f"{tuned_a1(first)} at {_alpha(first)}, convention {first['convention']}, tuned on the density of "
        f"{first['tuned_on']}"
    )
    for name, table in (("densities", model.densities), ("viscosities", model.viscosities)):
        row, alone = _held_out(table), only_corrected(table)
        if row is None and alone.empty:
            text += f"; no {name} of held-out liquids for evaluation"
        if row is not None:
            text += (
                f"; {name} of {_liquids(row['liquids'])}: mean deviation {row['uncorrected_mae_percent']:.1f} % "
                f"before, {row['corrected_mae_percent']:.1f} % after"
            )
        if len(alone):
            after = alone["corrected_deviation_percent"].abs().mean()
            before = _states_before(alone)
            text += f"; {name} of {_liquids(len(alone))}: {before} before, mean deviation {after:.1f} % after"
    return text.replace(" %", "\N{NO-BREAK SPACE}%") + "."


def _held_out(table: pd.DataFrame) -> dict[Any, Any] | None:
    """Mean deviations of this study's held-out liquids, the same ones before and after; None if there are none."""
    errors = mean_absolute_errors(_here(table))
    rows = errors[(errors["role"] == HELD_OUT) & (errors["liquids"] > 0)]
    return None if rows.empty else rows.iloc[0].to_dict()


def _liquids(count: int) -> str:
    return "1 held-out liquid" if count == 1 else f"{count} held-out liquids"


def _states_before(rows: pd.DataFrame) -> str:
    """Why these liquids have no number without the correction."""
    return " or ".join(status_name(status) for status in dict.fromkeys(rows["uncorrected_status"].astype(str)))


def cautions(model: ModelSummary) -> list[str]:
    """Limitations of the result for a model, one sentence each."""
    return [
        *_about_length(model),
        *_about_tuning(model),
        *_about_densities(model),
        *_about_viscosities(model),
        *_about_boxes(model),
    ]


def _lengths(table: pd.DataFrame) -> list[float]:
    """Lengths in ps of all runs of this study in a table."""
    rows = _here(table)
    return sorted({float(x) for variant in VARIANTS for x in rows[f"{variant}_length_ps"].dropna()})


def _about_length(model: ModelSummary) -> Iterator[str]:
    for kind, table, paper_ps in (
        ("NPT", model.densities, PAPER_NPT_PS),
        ("viscosity", model.viscosities, PAPER_VISCOSITY_PS),
    ):
        lengths = _lengths(table)
        # Ignore a difference of one record.
        if not lengths or lengths[0] > 0.99 * paper_ps:
            continue
        span = f"{lengths[0]:g} ps" if len(lengths) == 1 else f"{lengths[0]:g} to {lengths[-1]:g} ps"
        yield f"The {kind} runs last {span}, the paper's {paper_ps:g} ps; this is reflected in the errors."


def _about_tuning(model: ModelSummary) -> Iterator[str]:
    first = model.tuning.iloc[0]
    for row in model.tuning.to_dict("records"):
        if row["status"] != "ok":
            yield f"No a1 at {_alpha(row)}: {reason_text(row['reason']) or status_name(row['status'])}."
    if first["status"] != "ok" and pd.notna(first["a1"]):
        yield f"The corrected runs use the best available a1, {first['a1']:.3g}, which may not reproduce the target."
    in_errors = first["confirming_deviation_errors"]
    if first["confirming_p_value"] < NOT_CONFIRMED:
        yield (
            f"The confirmation run at a1 is {abs(in_errors):.1f} standard errors from the target "
            f"({format_p(first['confirming_p_value'])}): the tuning is not confirmed."
        )
    elif pd.isna(in_errors) and first["status"] == "ok":
        state = status_name(str(first["confirming_status"]))
        yield f"The tuning is not confirmed: the corrected run of {first['tuned_on']} is {state}."
    yield (
        f"a1 belongs to convention {first['convention']}; in another convention the same value is a different "
        "correction. It is not known to which convention the paper's a1 (0.6 and 1.07) belong."
    )


def _lost(table: pd.DataFrame) -> dict[str, list[str]]:
    """Liquid and variant of each invalid result, by status."""
    lost: dict[str, list[str]] = {}
    for row in _here(table).to_dict("records"):
        for variant in VARIANTS:
            if (status := str(row[f"{variant}_status"])) != "ok":
                lost.setdefault(status, []).append(f"{row['liquid']} {variant}")
    return lost


def _about_densities(model: ModelSummary) -> Iterator[str]:
    rows = _here(model.densities)
    if lost := _lost(model.densities):
        groups = "; ".join(f"{status_name(status)}: {', '.join(runs)}" for status, runs in lost.items())
        yield f"Of {2 * len(rows)} densities, {sum(map(len, lost.values()))} are not valid ({groups})."
    few = [
        f"{row['liquid']} {variant} {row[f'{variant}_effective_samples']:.0f}"
        for row in rows.to_dict("records")
        for variant in VARIANTS
        if row[f"{variant}_status"] == "ok" and row[f"{variant}_effective_samples"] < FEW_SAMPLES
    ]
    partly = [
        f"{row['liquid']} {variant} {row[f'{variant}_replicas_ok']:.0f} of {row[f'{variant}_replicas']:.0f}"
        for row in rows.to_dict("records")
        for variant in VARIANTS
        if row[f"{variant}_status"] == "ok" and row[f"{variant}_replicas_ok"] < row[f"{variant}_replicas"]
    ]
    if partly:
        yield f"Densities from only a part of the replicas: {', '.join(partly)}."
    if few:
        yield (
            f"Fewer than {FEW_SAMPLES} independent frames, so standard errors are themselves uncertain by at least "
            f"20 %: {', '.join(few)}."
        )
    if (rows["role"] == TUNED).any():
        name = rows.loc[rows["role"] == TUNED, "liquid"].iloc[0]
        yield f"The density of {name} was used for tuning: its agreement is not evidence, and it enters no mean here."
    if _held_out(rows) is None and only_corrected(rows).empty:
        yield "No held-out density is available, so nothing here tests the correction."
    if missing := list(rows.loc[rows["experiment_g_cm3"].isna(), "liquid"]):
        yield f"No measured density of {', '.join(missing)}."
    if dubious := list(rows.loc[rows["experiment_dubious"], "liquid"]):
        yield f"Measured densities marked as dubious, which enter no mean: {', '.join(dubious)}."


def _about_viscosities(model: ModelSummary) -> Iterator[str]:
    rows = _here(model.viscosities)
    if lost := _lost(model.viscosities):
        groups = "; ".join(f"{status.replace('_', ' ')}: {', '.join(runs)}" for status, runs in lost.items())
        needed = pd.concat([rows[f"{variant}_needed_ps"] for variant in VARIANTS]).max()
        hint = "" if pd.isna(needed) else f"; {needed:.0f} ps per run would suffice for all"
        yield f"Of {2 * len(rows)} viscosities, {sum(map(len, lost.values()))} have no number ({groups}{hint})."
    if dubious := list(rows.loc[rows["experiment_dubious"], "liquid"]):
        yield f"Measured viscosities marked as dubious, which enter no mean: {', '.join(dubious)}."
    if rows.empty:
        yield "No viscosity was run."


def _about_boxes(model: ModelSummary) -> Iterator[str]:
    small = model.boxes[model.boxes["box_length_A"] < SMALL_BOX_A]
    if len(small):
        sizes = ", ".join(
            f"{row['liquid']} {row['box_length_A']:.1f} Å ({row['molecules']:.0f} molecules, {row['atoms']:.0f} atoms)"
            for row in small.to_dict("records")
        )
        yield (
            f"Boxes shorter than {SMALL_BOX_A:g} Å, in which molecules interact with their own images: {sizes}. "
            "Densities and viscosities of larger boxes may differ."
        )


KINDS = {
    "file": "a model file given by the user",
    "data": "trained in this study on a data set given by the user",
    "reference": "trained in this study on its own reference data",
}
"""Source of a model, by `kind` in `model.json`."""


def facts(model: ModelSummary) -> list[tuple[str, str]]:
    """Properties of the model, as pairs of a name and a value; hashes are shortened, unknown values are left out."""
    pairs = []
    for key, value in model.facts.items():
        for name, text in flatten({key: value}):
            if isinstance(value, Sequence) and not isinstance(value, str):
                text = ", ".join(map(str, value))
            if text == "null":
                continue
            if name.endswith("sha256"):
                text = f"{text[:12]}\N{HORIZONTAL ELLIPSIS}"
            name = f"{name.removesuffix('_A')} / Å" if name.endswith("_A") else name
            pairs.append((name.replace("_", " "), KINDS.get(text, text) if key == "kind" else text))
    if model.certificate is not None:
        pairs.append(("certificate", _certified(model.certificate)))
    first = model.tuning.iloc[0]
    pairs.append(("convention of the correction", str(first["convention"])))
    pairs.append(("tuned on", f"{first['tuned_on']}, {first['target_g_cm3']:.4f} g/cm³ measured"))
    return pairs


def _certified(certificate: pd.DataFrame) -> str:
    """Outcome of the checks in each engine, in a few words."""
    words = []
    for engine, rows in certificate.groupby("engine", sort=False):
        failed = rows[rows["verdict"] == "failed"]
        done = rows["verdict"].isin(["passed", "failed"]).any()
        said = f"failed ({failed.iloc[0]['check']})" if len(failed) else "passed" if done else rows.iloc[0]["verdict"]
        words.append(f"{engine}: {said}")
    return "; ".join(words)


def tables(model: ModelSummary) -> list[Table]:
    """The tables of a model: tuning, densities, viscosities, and the mean deviations of both."""
    return [
        tuning_rows(model.tuning),
        density_rows(model.densities),
        viscosity_rows(model.viscosities),
        error_rows(model.densities, model.viscosities),
    ]
