"""Tables of the summary page about a model of liquids, from those of `physembed.report.liquid_tables`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from physembed.report.catalogue import LIQUID_TABLES
from physembed.report.liquid_tables import HERE, TUNED, VARIANTS, mean_absolute_errors
from physembed.report.page import Table, plus_minus, signed_percent
from physembed.report.scan_figures import status_name


def reason_text(value: Any) -> str:
    """A text cell; empty cells, which pandas reads as NaN, give empty text."""
    return "" if pd.isna(value) else str(value)


def tuned_a1(row: Mapping[Any, Any]) -> str:
    """The a1 of a row of `tuning_table`, or that there is none."""
    if row["status"] == "ok":
        return f"a1 = {row['a1']:.3g} (95 % interval {row['a1_low']:.3g} to {row['a1_high']:.3g})"
    best = "" if pd.isna(row["a1"]) else f", best a1 = {row['a1']:.3g}"
    return f"no a1 ({status_name(str(row['status']))}{best})"


def tuning_rows(tuning: pd.DataFrame) -> Table:
    """Rows of `tuning_table` of one model."""
    rows = []
    for row in tuning.to_dict("records"):
        confirming = "none"
        if pd.notna(row["confirming_g_cm3"]):
            confirming = plus_minus(row["confirming_g_cm3"], row["confirming_standard_error_g_cm3"], 4)
            if pd.isna(row["confirming_deviation_errors"]):
                state = row["confirming_status"] if row["confirming_status"] != "ok" else "not tuned"
                confirming = f"({confirming}) {status_name(str(state))}"
            else:
                deviation = signed_percent(row["confirming_deviation_percent"], 2)
                confirming += f" ({deviation}, {row['confirming_deviation_errors']:+.1f} errors)"
        slope = row.get("slope_g_cm3")
        rows.append(
            [
                f"{row['alpha']:+g}", tuned_a1(row), str(row["method"]), f"{row['target_g_cm3']:.4f}",
                "" if pd.isna(slope) else f"{slope:+.4f}", confirming,
            ]
        )  # fmt: skip
    headings = ["alpha", "a1", "method", "target / (g/cm³)", "slope / (g/cm³)", "confirmation run / (g/cm³)"]
    return Table(LIQUID_TABLES["tuning"].title, headings, rows, [""] * len(rows))


def _value(row: Mapping[Any, Any], variant: str, unit: str, decimals: int) -> str:
    """A result with its error; in brackets if it is not valid, and in words if there is none."""
    value, status = row[f"{variant}_{unit}"], str(row[f"{variant}_status"])
    name = status_name(status) if unit == "g_cm3" or status == "not_run" else status.replace("_", " ")
    if pd.isna(value):
        needed = row.get(f"{variant}_needed_ps")
        return name if needed is None or pd.isna(needed) else f"{name}, {needed:.0f}\N{NO-BREAK SPACE}ps would suffice"
    text = plus_minus(value, row[f"{variant}_standard_error_{unit}"], decimals)
    return text if status == "ok" else f"({text}) {name}"


def _deviation(row: Mapping[Any, Any], variant: str, decimals: int) -> str:
    deviation = row[f"{variant}_deviation_percent"]
    if pd.isna(deviation):
        return ""
    text = signed_percent(deviation, decimals)
    return text if row[f"{variant}_status"] == "ok" else f"({text})"


def density_rows(table: pd.DataFrame) -> Table:
    """Rows of `density_table` of one model and the paper's beside them."""
    return _result_rows(table, "g_cm3", LIQUID_TABLES["densities"].title, "g/cm³", decimals=4, percent=2)


def viscosity_rows(table: pd.DataFrame) -> Table:
    """Rows of `viscosity_table` of one model and the paper's beside them."""
    return _result_rows(table, "mPa_s", LIQUID_TABLES["viscosities"].title, "mPa s", decimals=3, percent=1)


def _result_rows(table: pd.DataFrame, unit: str, title: str, unit_text: str, decimals: int, percent: int) -> Table:
    rows, classes, notes = [], [], []
    sources: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        here = row["origin"] == HERE
        experiment = row[f"experiment_{unit}"]
        cells = [
            row["liquid"],
            f"{row['temperature_K']:g}",
            row["role"],
            "this model" if here else f"paper: {row['model']}",
        ]
        dubious = " (dubious)" if row["experiment_dubious"] else ""
        cells.append("none" if pd.isna(experiment) else f"{experiment:g}{dubious}")
        for variant in VARIANTS:
            cells += [_value(row, variant, unit, decimals if here else 3), _deviation(row, variant, percent)]
            if here and (reason := reason_text(row[f"{variant}_reason"])):
                notes.append(f"{row['liquid']}, {variant}: {reason}.")
        rows.append(cells)
        classes.append("paper" if not here else "tuned" if row["role"] == TUNED else "")
        if here and (source := reason_text(row["experiment_source"])):
            sources.setdefault(source, []).append(row["liquid"])
    if sources:
        named = (f"{source} ({', '.join(liquids)})" for source, liquids in sources.items())
        notes.insert(0, f"Measured values: {'; '.join(named)}.")
    headings = ["liquid", "T / K", "role", "model", f"measured / ({unit_text})"]
    for variant in VARIANTS:
        headings += [f"{variant} / ({unit_text})", "deviation"]
    return Table(title, headings, rows, classes, notes)


def error_rows(densities: pd.DataFrame, viscosities: pd.DataFrame) -> Table:
    """Mean absolute deviations of densities and viscosities, separately for held-out and tuning liquids."""
    rows, classes = [], []
    errors = [
        *mean_absolute_errors(densities).to_dict("records"),
        *mean_absolute_errors(viscosities).to_dict("records"),
    ]
    for row in errors:
        here, unit = row["origin"] == HERE, row["unit"].replace("^3", "³")
        left_out = f", {row['left_out']} excluded" if row["left_out"] else ""
        name = "this model" if here else f"paper: {row['model']}"
        cells = [row["quantity"], name, row["role"], f"{row['liquids']}{left_out}"]
        for variant in VARIANTS:
            mae, percent = row[f"{variant}_mae"], row[f"{variant}_mae_percent"]
            cells.append("" if pd.isna(mae) else f"{mae:.3f} {unit} ({percent:.1f}\N{NO-BREAK SPACE}%)")
        rows.append(cells)
        classes.append("paper" if not here else "tuned" if row["role"] == TUNED else "")
    note = (
        "Over the liquids with a measured value that is not dubious and valid results before and after; the "
        "paper's over those that are also in this study."
    )
    headings = ["quantity", "model", "role", "liquids", "uncorrected", "corrected"]
    return Table(LIQUID_TABLES["liquid_errors"].title, headings, rows, classes, [note])
