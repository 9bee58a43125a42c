"""Figures of densities and viscosities against experiment, before and after the correction."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from physembed.report.liquid_tables import HERE, TUNED, VARIANTS
from physembed.report.scan_figures import STYLES, nothing, status_name
from physembed.report.style import BLACK, GREY, YELLOW, legend_above, light_grid, new_figure, wrapped

OFFSETS = {"uncorrected": 0.13, "corrected": -0.13}
"""Offset of the symbols from the middle of their row, so that equal values remain distinguishable."""


def _row_label(row: pd.Series, unit: str) -> str:
    """Name and temperature of a liquid, and the status of runs without a valid result."""
    lines = [wrapped(str(row["liquid"]), 24), f"{row['temperature_K']:g} K"]
    lost = [variant for variant in VARIANTS if pd.isna(row[f"{variant}_{unit}"])]
    names = {variant: str(row[f"{variant}_status"]) for variant in lost}
    if unit == "g_cm3":
        names = {variant: status_name(status) for variant, status in names.items()}
    lines += [f"{variant}: {name.replace('_', ' ')}" for variant, name in names.items()]
    if pd.isna(row[f"experiment_{unit}"]):
        lines.append("no measured value")
    elif row["experiment_dubious"]:
        lines.append("measured value dubious")
    return "\n".join(lines)


def _values(axes: Axes, table: pd.DataFrame, unit: str) -> None:
    """Both variants of each liquid with standard errors, joined by a line, and the measured value."""
    for place, (_, row) in enumerate(table.iterrows()):
        ends = [row[f"{variant}_{unit}"] for variant in VARIANTS]
        axes.plot(ends, [place + OFFSETS[variant] for variant in VARIANTS], color=GREY, linewidth=0.8, zorder=1)
        for variant in VARIANTS:
            _symbol(axes, row, variant, row[f"{variant}_{unit}"], row[f"{variant}_standard_error_{unit}"], place)
        axes.plot(row[f"experiment_{unit}"], place, "D", color=BLACK, markersize=5)


def _deviations(axes: Axes, table: pd.DataFrame, unit: str) -> None:
    """Deviation from experiment of both variants."""
    if table[[f"{variant}_deviation_percent" for variant in VARIANTS]].isna().all(axis=None):
        axes.set_xticks([])
        axes.text(0.5, 0.5, "nothing to compare", ha="center", va="center", color=GREY, transform=axes.transAxes)
        return
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    for place, (_, row) in enumerate(table.iterrows()):
        ends = [row[f"{variant}_deviation_percent"] for variant in VARIANTS]
        axes.plot(ends, [place + OFFSETS[variant] for variant in VARIANTS], color=GREY, linewidth=0.8, zorder=1)
        for variant in VARIANTS:
            error = 100 * row[f"{variant}_standard_error_{unit}"] / row[f"experiment_{unit}"]
            _symbol(axes, row, variant, row[f"{variant}_deviation_percent"], error, place)


def _symbol(axes: Axes, row: pd.Series, variant: str, value: float, error: float, place: int) -> None:
    style = STYLES[variant]
    if pd.isna(value):
        return
    axes.errorbar(
        value, place + OFFSETS[variant], xerr=None if pd.isna(error) else error, color=style.colour,
        marker=style.marker, markersize=5.5, capsize=2.5, linewidth=1.2, zorder=3,
        markerfacecolor=style.colour if row[f"{variant}_status"] == "ok" else "white",
    )  # fmt: skip


def _legend(table: pd.DataFrame, unit: str) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [Line2D([], [], color=BLACK, marker="D", linestyle="", label="measured")]
    for variant in VARIANTS:
        style = STYLES[variant]
        handles.append(Line2D([], [], color=style.colour, marker=style.marker, linestyle="", label=variant))
    known = [table[f"{variant}_{unit}"].notna() & (table[f"{variant}_status"] != "ok") for variant in VARIANTS]
    if any(column.any() for column in known):
        label = "open: too short for an error"
        handles.append(Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="", label=label))
    if (table["role"] == TUNED).any():
        label = "used for tuning: no evidence" if unit == "g_cm3" else "its density was used for tuning"
        handles.append(Patch(color=YELLOW, alpha=0.35, label=label))
    return handles


def _comparison(table: pd.DataFrame, unit: str, value_label: str, logarithmic: bool) -> Figure:
    """Values at the left and deviations from experiment at the right, one row per liquid."""
    table = table[table["origin"] == HERE].reset_index(drop=True)
    if table.empty:
        return nothing("no liquid was run")
    labels = [_row_label(row, unit) for _, row in table.iterrows()]
    lines = max(label.count("\n") + 1 for label in labels)
    with new_figure(1.15 + max(0.46, 0.15 * lines + 0.08) * len(table)) as figure:
        values, deviations = figure.subplots(1, 2, sharey=True, width_ratios=(1.15, 1))
        for axes in (values, deviations):
            light_grid(axes, "x")
            for place in table.index[table["role"] == TUNED]:
                axes.axhspan(place - 0.45, place + 0.45, color=YELLOW, alpha=0.35, linewidth=0)
            axes.tick_params(axis="y", length=0)
        _values(values, table, unit)
        _deviations(deviations, table, unit)
        values.set_yticks(range(len(table)), labels, fontsize=8)
        values.set_ylim(len(table) - 0.5, -0.5)
        values.set_xlabel(value_label)
        deviations.set_xlabel("deviation from experiment / %")
        numbers = table[[f"experiment_{unit}", *(f"{variant}_{unit}" for variant in VARIANTS)]]
        if numbers.isna().all(axis=None):
            values.set_xticks([])
            values.text(0.5, 0.5, "no values", ha="center", va="center", color=GREY, transform=values.transAxes)
        elif logarithmic:
            _plain_log(values)
        else:
            values.xaxis.set_major_locator(MaxNLocator(6))
        legend_above(figure, _legend(table, unit))
    return figure


def _plain_log(axes: Axes) -> None:
    """A logarithmic x axis with plain numbers, as many as its span needs; to be called after drawing."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high / low < 1.5:
        low, high = low / 1.2, high * 1.2
        axes.set_xlim(low, high)
    subs: tuple[float, ...] = (1.0, 2.0, 5.0) if high / low > 8 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    if high / low < 3:
        subs = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    axes.xaxis.set_major_locator(LogLocator(10, subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def densities(table: pd.DataFrame) -> Figure:
    """Densities of one model before and after against experiment, and their deviations; bars: standard errors.

    Args:
        table: rows of `physembed.report.liquid_tables.density_table` of one model; rows of the paper are left out.
    """
    return _comparison(table, "g_cm3", "density / (g/cm³)", logarithmic=False)


def viscosities(table: pd.DataFrame) -> Figure:
    """Viscosities of one model before and after against experiment, on a logarithmic axis; bars: standard errors.

    Args:
        table: rows of `physembed.report.liquid_tables.viscosity_table` of one model; rows of the paper are left out.
    """
    return _comparison(table, "mPa_s", "viscosity / (mPa s)", logarithmic=True)
