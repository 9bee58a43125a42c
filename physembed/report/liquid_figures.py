"""Figures of the runs on liquids: density traces, running Green-Kubo integrals, and structure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from physembed.report.liquid_tables import VARIANTS, LiquidFacts
from physembed.report.scan_figures import STYLES, nothing, status_name
from physembed.report.style import BLACK, GREY, legend_above, light_grid, new_figure, wrapped

TRACE_POINTS = 250
"""Maximum number of points of a trace; longer ones show every n-th frame, which preserves the fluctuations."""
INTEGRAL_POINTS = 150
"""Points of a running integral that are drawn, evenly spaced on its logarithmic axis."""
SIGHT = 0.3
"""Relative deviation from the other densities beyond which a trace is cut off."""


def _grid(figure: Figure, count: int) -> tuple[list[Axes], int]:
    """Panels for the given number of liquids, and the number of columns."""
    columns = 1 if count == 1 else 2 if count <= 4 else 3
    panels = figure.subplots(math.ceil(count / columns), columns, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.remove()
    return list(panels[:count]), columns


def _grid_height(count: int) -> float:
    columns = 1 if count == 1 else 2 if count <= 4 else 3
    return 1.0 + (2.5 if count == 1 else 2.1 if count <= 4 else 1.75) * math.ceil(count / columns)


def _title(axes: Axes, liquid: LiquidFacts, columns: int) -> None:
    axes.set_title(
        wrapped(f"{liquid.name}, {liquid.temperature_K:g} K", 66 // columns), loc="left", fontweight="bold", fontsize=8
    )


def _remark(axes: Axes, lines: Sequence[str], top: bool) -> None:
    """An important remark in a panel, drawn over its content."""
    if lines:
        axes.text(
            0.03, 0.96 if top else 0.04, "\n".join(lines), fontsize=7, color=BLACK, va="top" if top else "bottom",
            transform=axes.transAxes, zorder=5,
            bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        )  # fmt: skip


def _trace(axes: Axes, series: pd.DataFrame, run: pd.Series) -> None:
    """The trace of one replica: faint while it equilibrates, then with its mean; a cross where it failed."""
    style = STYLES[str(run["variant"])]
    kept = series.iloc[:: max(1, math.ceil(len(series) / TRACE_POINTS))]
    time, density = kept["time_ps"].to_numpy(float), kept["density_g_cm3"].to_numpy(float)
    axes.plot(time, density, color=style.colour, linewidth=0.7, alpha=0.35)
    if run["status"] != "ok":
        start = float(series["density_g_cm3"].iloc[0])
        held = series[(series["density_g_cm3"] / start - 1).abs() < SIGHT].tail(1)
        axes.plot(held["time_ps"], held["density_g_cm3"], "X", color=style.colour, markersize=7)
        return
    if pd.isna(run["equilibration_ps"]) or pd.isna(run["density_g_cm3"]):
        return
    start = float(series["time_ps"].iloc[0]) + float(run["equilibration_ps"])
    axes.plot(time[time >= start], density[time >= start], color=style.colour, linewidth=0.7, alpha=0.9)
    axes.plot(
        [start, time[-1]], [run["density_g_cm3"]] * 2, color=style.colour, linewidth=2.2,
        linestyle="-" if run["density_status"] == "ok" else (0, (2, 1.2)), zorder=4,
    )  # fmt: skip
    axes.plot(start, run["density_g_cm3"], "|", color=style.colour, markersize=9, markeredgewidth=2, zorder=4)


def density_traces(series: pd.DataFrame, runs: pd.DataFrame, liquids: Sequence[LiquidFacts]) -> Figure:
    """Density of the NPT runs of a model over time, a panel per liquid, before and after.

    Args:
        series: `series.csv` of all liquids and variants, with columns liquid and variant (replica, time_ps,
            density_g_cm3).
        runs: `replicas.csv` likewise (replica, status, density_g_cm3, density_status, equilibration_ps).
        liquids: of the study; those without a run are left out.
    """
    shown = [liquid for liquid in liquids if liquid.name in set(runs["liquid"])]
    if not shown:
        return nothing("no liquid was run")
    traces = {key: group for key, group in series.groupby(["liquid", "variant", "replica"], sort=False)}
    with new_figure(_grid_height(len(shown))) as figure:
        panels, columns = _grid(figure, len(shown))
        for axes, liquid in zip(panels, shown, strict=True):
            light_grid(axes)
            here = runs[runs["liquid"] == liquid.name]
            if liquid.density_g_cm3 is not None:
                axes.axhline(liquid.density_g_cm3, color=BLACK, linestyle="--", linewidth=1.2)
            for _, run in here.iterrows():
                trace = traces.get((liquid.name, run["variant"], run["replica"]))
                if trace is not None and len(trace):
                    _trace(axes, trace, run)
            remarks = _run_remarks(here)
            of_liquid = [trace for key, trace in traces.items() if key[0] == liquid.name]
            _in_sight(axes, of_liquid, liquid.density_g_cm3, room=0.04 + 0.13 * len(remarks))
            _remark(axes, remarks, top=False)
            _title(axes, liquid, columns)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.yaxis.set_major_locator(MaxNLocator(5))
        figure.supxlabel("time / ps", fontsize=9)
        figure.supylabel("density / (g/cm³)", fontsize=9)
        legend_above(figure, _trace_legend(runs, shown))
    return figure


def _run_remarks(runs: pd.DataFrame) -> list[str]:
    """Why runs of a liquid have no valid result, by variant."""
    remarks = []
    for variant in VARIANTS:
        here = runs[runs["variant"] == variant]
        names = [
            status_name(row["status"] if row["status"] != "ok" else row["density_status"])
            for row in here.to_dict("records")
            if row["status"] != "ok" or row["density_status"] != "ok"
        ]
        for name in dict.fromkeys(names):
            of = f" ({names.count(name)} of {len(here)} runs)" if len(here) > 1 else ""
            remarks.append(f"{variant}: {name}{of}")
        if here.empty:
            remarks.append(f"{variant}: {status_name('not_run')}")
    return remarks


def _in_sight(axes: Axes, traces: Sequence[pd.DataFrame], experiment: float | None, room: float) -> None:
    """Limits that do not depend on a run that evaporates or blows up; room (a fraction) for remarks below."""
    starts = [float(trace["density_g_cm3"].iloc[0]) for trace in traces]
    middle = float(np.median(starts)) if starts else experiment or 1.0
    values = np.concatenate([trace["density_g_cm3"].to_numpy(float) for trace in traces] or [np.array([middle])])
    values = values[np.isfinite(values) & (np.abs(values / middle - 1) < SIGHT)]
    shown = [*values, experiment or middle]
    low, high = min(shown), max(shown)
    span = max(high - low, 0.01 * middle)
    axes.set_ylim(low - room * span, high + 0.06 * span)


def _trace_legend(runs: pd.DataFrame, liquids: Sequence[LiquidFacts]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    if any(liquid.density_g_cm3 is not None for liquid in liquids):
        handles.append(Line2D([], [], color=BLACK, linestyle="--", linewidth=1.2, label="measured"))
    for variant in VARIANTS:
        if (runs["variant"] == variant).any():
            handles.append(Line2D([], [], color=STYLES[variant].colour, linewidth=1.2, label=variant))
    held = runs[runs["status"] == "ok"]
    if len(held):
        handles.append(Line2D([], [], color=GREY, linewidth=0.7, alpha=0.5, label="faint: equilibration"))
    if (held["density_status"] == "ok").any():
        handles.append(Line2D([], [], color=GREY, linewidth=2.2, label="mean"))
    if (held["density_status"] != "ok").any():
        label = "mean, too short"
        handles.append(Line2D([], [], color=GREY, linewidth=2.2, linestyle=(0, (2, 1.2)), label=label))
    if (runs["status"] != "ok").any():
        handles.append(Line2D([], [], color=GREY, marker="X", linestyle="", label="run lost"))
    return handles


def _integral(axes: Axes, running: pd.DataFrame, result: pd.Series) -> None:
    """Running integral with its error, the estimate as a bar across, and the time decomposition at the right."""
    style = STYLES[str(result["variant"])]
    running = running[running["time_ps"] > 0]
    if running.empty:
        return
    shown = running.iloc[np.unique(np.geomspace(1, len(running), INTEGRAL_POINTS).astype(int)) - 1]
    time, value, error = (
        shown[name].to_numpy(float) for name in ("time_ps", "viscosity_mPa_s", "standard_error_mPa_s")
    )
    axes.fill_between(time, value - error, value + error, color=style.colour, alpha=0.18, linewidth=0)
    axes.plot(time, value, color=style.colour, linewidth=1.1)
    if result["status"] != "ok":
        return
    estimate, uncertainty = result["viscosity_mPa_s"], result["standard_error_mPa_s"]
    axes.axhspan(estimate - uncertainty, estimate + uncertainty, color=style.colour, alpha=0.3, linewidth=0)
    axes.axhline(estimate, color=style.colour, linewidth=1.4, linestyle="--")
    if pd.notna(result["time_decomposition_mPa_s"]):
        axes.errorbar(
            1.02 if result["variant"] == "uncorrected" else 1.05, result["time_decomposition_mPa_s"],
            result["time_decomposition_standard_error_mPa_s"], color=style.colour, marker="<", markersize=5,
            capsize=2, linewidth=1.2, transform=axes.get_yaxis_transform(), clip_on=False,
        )  # fmt: skip


def _integral_limits(axes: Axes, running: pd.DataFrame, results: pd.DataFrame, experiment: float | None) -> None:
    """A y axis for the plateau and not for the noise at long times; room for remarks above."""
    sound = results[results["status"] == "ok"]
    levels = [*(sound["viscosity_mPa_s"] + sound["standard_error_mPa_s"]), *([experiment] if experiment else [])]
    without = running[~running["variant"].isin(sound["variant"])]
    if len(without):
        # The integral as far as its relative error is below a fifth.
        known = without[without["standard_error_mPa_s"] < 0.2 * without["viscosity_mPa_s"]]
        levels.append(float((known if len(known) else without)["viscosity_mPa_s"].abs().max()))
    top = max([level for level in levels if np.isfinite(level) and level > 0], default=1.0)
    axes.set_ylim(-0.05 * top, 1.6 * top)


def green_kubo(integrals: pd.DataFrame, results: pd.DataFrame, liquids: Sequence[LiquidFacts]) -> Figure:
    """Running Green-Kubo integral of a model's runs, a panel per liquid, beside STACIE's estimate.

    Args:
        integrals: `running_integral.csv` of all liquids and variants, with columns liquid and variant (time_ps,
            viscosity_mPa_s, standard_error_mPa_s).
        results: `viscosity.csv` likewise (status, viscosity_mPa_s, standard_error_mPa_s, needed_ps,
            time_decomposition_mPa_s, time_decomposition_standard_error_mPa_s).
        liquids: of the study; those without a result are left out.
    """
    shown = [liquid for liquid in liquids if liquid.name in set(results["liquid"])]
    if not shown:
        return nothing("no viscosity was run")
    with new_figure(_grid_height(len(shown))) as figure:
        panels, columns = _grid(figure, len(shown))
        for axes, liquid in zip(panels, shown, strict=True):
            light_grid(axes)
            here = results[results["liquid"] == liquid.name]
            running = integrals[integrals["liquid"] == liquid.name]
            if liquid.viscosity_mPa_s is not None:
                axes.axhline(liquid.viscosity_mPa_s, color=BLACK, linestyle="--", linewidth=1.2)
            remarks = []
            for _, result in here.iterrows():
                _integral(axes, running[running["variant"] == result["variant"]], result)
                if result["status"] != "ok":
                    needed = result["needed_ps"]
                    length = "" if pd.isna(needed) else f", {needed:.0f} ps would suffice"
                    remarks.append(f"{result['variant']}: {result['status'].replace('_', ' ')}{length}")
            _integral_limits(axes, running, here, liquid.viscosity_mPa_s)
            if len(running):
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(10, numticks=6))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.xaxis.set_minor_locator(NullLocator())
            else:
                axes.set_xticks([])
                axes.text(0.5, 0.4, "no run", ha="center", color=GREY, transform=axes.transAxes)
            _remark(axes, remarks, top=True)
            _title(axes, liquid, columns)
            axes.yaxis.set_major_locator(MaxNLocator(5))
        figure.supxlabel("time / ps", fontsize=9)
        figure.supylabel("running integral, viscosity / (mPa s)", fontsize=9)
        legend_above(figure, _integral_legend(results, shown))
    return figure


def _integral_legend(results: pd.DataFrame, liquids: Sequence[LiquidFacts]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    if any(liquid.viscosity_mPa_s is not None for liquid in liquids):
        handles.append(Line2D([], [], color=BLACK, linestyle="--", linewidth=1.2, label="measured"))
    for variant in VARIANTS:
        if (results["variant"] == variant).any():
            handles.append(Line2D([], [], color=STYLES[variant].colour, label=f"{variant}, ± standard error"))
    sound = results[results["status"] == "ok"]
    if len(sound):
        handles.append(Patch(color=GREY, alpha=0.4, label="STACIE, ± standard error"))
    if sound["time_decomposition_mPa_s"].notna().any():
        handles.append(Line2D([], [], color=GREY, marker="<", linestyle="", label="time decomposition"))
    return handles


def structure(rdf: pd.DataFrame, adf: pd.DataFrame) -> Figure:
    """Radial distributions between molecules and angular ones within them, before and after, of one liquid.

    Args:
        rdf: variant, pair, r_A, g, and g_standard_error where it is known.
        adf: variant, triplet, angle_degrees, density_per_degree, and standard_error_per_degree where it is known.
    """
    contents = [("pair", name, rdf) for name in dict.fromkeys(rdf["pair"])]
    contents += [("triplet", name, adf) for name in dict.fromkeys(adf["triplet"])]
    if not contents:
        return nothing("no run survived, so there is no structure")
    columns = min(3, len(contents))
    with new_figure(0.75 + 1.95 * math.ceil(len(contents) / columns)) as figure:
        panels = figure.subplots(math.ceil(len(contents) / columns), columns, squeeze=False).ravel()
        for axes, (kind, name, table) in zip(panels, contents, strict=False):
            light_grid(axes)
            x, y, error = (
                ("r_A", "g", "g_standard_error")
                if kind == "pair"
                else ("angle_degrees", "density_per_degree", "standard_error_per_degree")
            )
            for variant, style in STYLES.items():
                here = table[(table[kind] == name) & (table["variant"] == variant)]
                if here.empty:
                    continue
                axes.plot(here[x], here[y], color=style.colour, linewidth=1.2, label=variant)
                if error in here and here[error].notna().any():
                    axes.fill_between(
                        here[x],
                        here[y] - here[error],
                        here[y] + here[error],
                        color=style.colour,
                        alpha=0.2,
                        linewidth=0,
                    )
            if kind == "pair":
                axes.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
                axes.set(xlabel="distance / Å", ylabel="g (no unit)")
                axes.set_xlim(left=0)
            else:
                axes.set(xlabel="angle / °", ylabel="density / (1/°)")
                here = table[table[kind] == name]
                seen = here.loc[here[y] > 0.01 * here[y].max(), x]
                if len(seen):
                    axes.set_xlim(max(0, seen.min() - 5), min(180, seen.max() + 5))
            axes.set_title(name, fontweight="bold", loc="left")
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.yaxis.set_major_locator(MaxNLocator(4))
        for axes in panels[len(contents) :]:
            axes.remove()
        variants = [name for name in STYLES if name in {*rdf["variant"], *adf["variant"]}]
        legend_above(figure, [Line2D([], [], color=STYLES[name].colour, label=name) for name in variants])
    return figure
