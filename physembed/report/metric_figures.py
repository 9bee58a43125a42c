"""Figures of the fine-grained errors of the forces: by element and cluster, on the map, and before collapses."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from physembed.report.style import (
    BLACK,
    GREY,
    LIGHT_GREY,
    ORANGE,
    ArmStyle,
    arm_styles,
    legend_above,
    light_grid,
    new_figure,
    with_text,
    wrapped,
)
from physembed.report.training_figures import plain_log_axis

CLUSTER_MARKERS = "osD^vP*Xh<>"
COLUMNS = 3


def conformation_map(places: pd.DataFrame, explained: NDArray[np.float64]) -> Figure:
    """Training frames and frames of the runs of each arm in the plane of the first two principal components.

    Args:
        places: rows of `map` (see `physembed.analysis.explored`) of all arms, with a column `arm`.
        explained: (2,) share of the variance along each component.
    """
    arms = list(dict.fromkeys(places["arm"]))
    styles = arm_styles(arms)
    columns = min(COLUMNS, len(arms))
    lines = math.ceil(len(arms) / columns)
    # A run that flies apart must not shrink all others to a point.
    train = places[places["kind"] == "train"] if (places["kind"] == "train").any() else places
    spans = {}
    for axis in "xy":
        low, high = train[axis].min(), train[axis].max()
        spans[axis] = low - 0.6 * (high - low), high + 0.6 * (high - low)
    with new_figure(0.8 + 2.4 * lines) as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, arm in zip(panels, arms, strict=False):
            of_arm = places[places["arm"] == arm]
            runs = of_arm[of_arm["kind"] == "run"]
            for chosen, colour in (
                (runs[runs["unexplored"] != 1], LIGHT_GREY),
                (runs[runs["unexplored"] == 1], ORANGE),
            ):
                axes.plot(chosen["x"], chosen["y"], ".", color=colour, markersize=2.5, rasterized=True)
            for cluster, members in of_arm[of_arm["kind"] == "train"].groupby("cluster"):
                marker = CLUSTER_MARKERS[int(str(cluster)) % len(CLUSTER_MARKERS)]
                axes.plot(
                    members["x"], members["y"], marker, color=styles[arm].colour, markersize=3.5, linestyle="",
                    markeredgewidth=0.3, markeredgecolor=BLACK,
                )  # fmt: skip
            axes.set_title(wrapped(arm, 30))
            axes.set(xlim=spans["x"], ylim=spans["y"])
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_locator(MaxNLocator(4))
        for axes in panels[len(arms) :]:
            axes.remove()
        clusters = sorted({int(cluster) for cluster in places["cluster"]})
        handles = [
            Line2D([], [], marker=CLUSTER_MARKERS[k % len(CLUSTER_MARKERS)], color=GREY, linestyle="", markersize=4,
                   label=f"cluster {k + 1}") for k in clusters
        ]  # fmt: skip
        handles += [
            Line2D([], [], marker=".", color=colour, linestyle="", label=label)
            for colour, label in ((LIGHT_GREY, "runs"), (ORANGE, "runs, unexplored"))
        ]
        legend_above(figure, handles)
        figure.supxlabel(f"first principal component / Å⁻¹ ({100 * explained[0]:.0f} % of the variance)", fontsize=9)
        figure.supylabel(f"second / Å⁻¹ ({100 * explained[1]:.0f} %)", fontsize=9)
    return figure


def fine_errors(errors: pd.DataFrame) -> Figure:
    """Mean force error of each arm by element and by cluster, on the validation frames and on those it trained on.

    Args:
        errors: `metric_tables` (`physembed.analysis.force_metrics`) of all arms, with a column `arm`.
    """
    styles = arm_styles(list(dict.fromkeys(errors["arm"])))
    sets = [name for name in ("train", "validation") if (errors["set"] == name).any()]
    with new_figure(0.9 + 2.1 * len(sets)) as figure:
        panels = figure.subplots(len(sets), 2, squeeze=False)
        for row, name in zip(panels, sets, strict=True):
            of_set = errors[errors["set"] == name]
            for axes, scope in zip(row, ("element", "cluster"), strict=True):
                _bars(axes, of_set[of_set["scope"] == scope], styles)
                axes.set_title(f"{name}, by {scope}")
            row[0].set_ylabel("mean error / (meV/Å)")
        legend_above(
            figure,
            [
                Patch(facecolor=style.colour, hatch=style.hatch, edgecolor="white", linewidth=0, label=arm)
                for arm, style in styles.items()
            ],
        )
    return figure


def _bars(axes: Axes, table: pd.DataFrame, styles: dict[str, ArmStyle]) -> None:
    """Means over seeds as bars, the seeds as dots; the ratio of bad points of a cluster above its bar."""
    parts = sorted(set(table["part"]), key=lambda part: (not part.isdigit(), int(part) if part.isdigit() else part))
    width = 0.8 / len(styles)
    for index, (arm, style) in enumerate(styles.items()):
        shift = width * (index - (len(styles) - 1) / 2)
        for place, part in enumerate(parts):
            rows = table[(table["arm"] == arm) & (table["part"] == part)]
            if rows.empty:
                continue
            mean = rows["mae_meV_A"].mean()
            axes.bar(
                place + shift, mean, 0.92 * width, facecolor=style.colour, alpha=0.75, hatch=style.hatch,
                edgecolor="white", linewidth=0,
            )  # fmt: skip
            axes.plot(np.full(len(rows), place + shift), rows["mae_meV_A"], ".", color=BLACK, markersize=3)
            if rows["bad_points"].notna().any():
                axes.annotate(
                    f"{100 * rows['bad_points'].mean():.0f}", (place + shift, rows["mae_meV_A"].max()), (0, 3),
                    textcoords="offset points", ha="center", fontsize=7, color=GREY,
                )  # fmt: skip
    axes.set_xticks(range(len(parts)), [str(int(part) + 1) if part.isdigit() else part for part in parts])
    axes.margins(y=0.12)
    light_grid(axes)


def explored_shares(explored: pd.DataFrame) -> Figure:
    """Share of the frames of the runs beyond the training frames, and the mean forces inside and outside, by seed.

    Args:
        explored: rows of `explored` of all arms, with a column `arm`.
    """
    styles = arm_styles(list(dict.fromkeys(explored["arm"])))
    with new_figure(1.3 + 0.4 * len(styles)) as figure:
        shares, forces = figure.subplots(1, 2, sharey=True)
        for row, (arm, style) in enumerate(styles.items()):
            of_arm = explored[explored["arm"] == arm]
            look = {"color": style.colour, "linestyle": "", "markersize": 5, "alpha": 0.8}
            if of_arm["unexplored_share"].isna().all():
                shares.text(0.5, row, "training frames not known", ha="center", va="center", color=GREY, fontsize=8)
            shares.plot(of_arm["unexplored_share"], np.full(len(of_arm), row), style.marker, **look)
            for side, marker in (("inside", "o"), ("outside", "x")):
                values = of_arm[f"mean_force_{side}_eV_A"]
                forces.plot(values, np.full(len(of_arm), row), marker, **look)
        shares.set_yticks(range(len(styles)), [wrapped(arm, 24) for arm in styles])
        shares.set_ylim(len(styles) - 0.5, -0.5)
        shares.set_xlim(-0.03, 1.03)
        shares.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        shares.set_xlabel("unexplored frames of the runs / %")
        forces.set_xlabel("mean force on an atom / (eV/Å)")
        handles = [
            Line2D([], [], marker=marker, color=GREY, linestyle="", label=label)
            for marker, label in (("o", "forces inside"), ("x", "forces outside"))
        ]
        legend_above(figure, handles)
        for axes in (shares, forces):
            light_grid(axes, "x")
    return figure


def errors_before_collapse(table: pd.DataFrame) -> Figure:
    """Force error along the last frames of runs that collapsed: a thin line each, and medians of each arm.

    Args:
        table: rows of `before_collapse` of all arms, with a column `arm`.
    """
    if table.empty:
        return with_text("no run collapsed whose last frames could be labelled")
    styles = arm_styles(list(dict.fromkeys(table["arm"])))
    with new_figure(3.2) as figure:
        axes = figure.subplots()
        light_grid(axes)
        top = axes.get_xaxis_transform()
        for arm, style in styles.items():
            of_arm = table[table["arm"] == arm]
            if of_arm.empty:
                continue
            for _, run in of_arm.groupby(["seed", "replica"]):
                axes.plot(
                    -run["time_before_fs"] / 1000, run["force_mae_meV_A"], color=style.colour, linewidth=0.6, alpha=0.5,
                    marker=".", markersize=3,
                )  # fmt: skip
            good = of_arm[of_arm["label"] == "ok"]
            runs = of_arm.groupby(["seed", "replica"]).ngroups
            if len(good):
                # The collapses themselves, and before them tenths of the time shown: records of runs differ in time.
                tenth = np.ceil(10 * good["time_before_fs"] / table["time_before_fs"].max())
                middle = good.groupby(tenth)[["time_before_fs", "force_mae_meV_A"]].median()
                axes.plot(-middle["time_before_fs"] / 1000, middle["force_mae_meV_A"], color=style.colour,
                          linestyle=style.line, linewidth=2,
                          label=f"{arm}: {runs} run{'s' if runs > 1 else ''}")  # fmt: skip
            lost = of_arm[of_arm["label"] != "ok"]
            axes.plot(-lost["time_before_fs"] / 1000, np.full(len(lost), 0.97), "x", color=style.colour, transform=top)
        if (table["label"] == "ok").any():
            plain_log_axis(axes)
        axes.set_xlabel("time to the collapse / ps (crosses: xTB gave no label)")
        axes.set_ylabel("mean force error / (meV/Å)")
        legend_above(figure)
    return figure
