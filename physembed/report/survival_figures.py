"""Figures of the stability runs: survival curves, collapse fractions and causes (Figure 2c of the paper)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from physembed.analysis.binomial import interval
from physembed.report.style import (
    BLACK,
    BLUE,
    GREY,
    LIGHT_GREY,
    ORANGE,
    arm_styles,
    legend_above,
    light_grid,
    new_figure,
    note,
    wrapped,
)


def format_p(p_value: float) -> str:
    """A p-value as `p = 0.012`, or `p < 0.0001`."""
    return "p < 0.0001" if p_value < 1e-4 else f"p = {p_value:.2g}"


PAIRS_SHOWN = 6
"""Maximum number of pairs of arms whose p-values are written out: all of up to four arms."""


def comparisons_shown(comparison: pd.DataFrame) -> tuple[list[dict[Hashable, Any]], str]:
    """Pairs of arms whose p-values are written out, and what has to be said of their number.

    Args:
        comparison: from `physembed.analysis.survival.compare_arms`.

    Returns:
        all pairs, or, if there are more than `PAIRS_SHOWN`, those with the smallest p-values over seeds, and over runs
        where these are equal; and `p-values corrected for 3 comparisons (Holm)`, empty for a single pair.
    """
    count = len(comparison)
    if count < 2:
        return comparison.to_dict("records"), ""
    text = f"p-values corrected for {count} comparisons (Holm)"
    if count > PAIRS_SHOWN:
        comparison = comparison.sort_values(["p_value_seeds_holm", "p_value_holm"], kind="stable")[:PAIRS_SHOWN]
        text += f": the {PAIRS_SHOWN} smallest, survival/comparison.csv has all"
    return comparison.to_dict("records"), text


def comparison_lines(comparison: pd.DataFrame) -> list[str]:
    """One line per pair of arms: both p-values of `physembed.analysis.survival.compare_arms`, over seeds first."""
    pairs, correction = comparisons_shown(comparison)
    lines = [
        f"{row['arm_a']} against {row['arm_b']}: {format_p(row['p_value_seeds_holm'])} over {row['seeds_a']} + "
        f"{row['seeds_b']} seeds; log-rank {format_p(row['p_value_holm'])} over runs of these models"
        for row in pairs
    ]
    return [*lines, *([correction] if correction else [])]


def survival(curves: pd.DataFrame, comparison: pd.DataFrame, duration_ps: float) -> Figure:
    """Kaplan-Meier curve of each arm with its 95 % band, and a thin line for each seed.

    Args:
        curves: from `physembed.analysis.survival.survival_curves`.
        comparison: from `compare_arms`; without rows if there is only one arm.
        duration_ps: length of a run that does not collapse.
    """
    arms = list(dict.fromkeys(curves["arm"]))
    styles = arm_styles(arms)
    lines = comparison_lines(comparison)
    with new_figure(3.5 + 0.17 * len(lines) + 0.09 * max(0, len(arms) - 4)) as figure:
        axes = figure.subplots()
        light_grid(axes)
        for (arm, seed), curve in curves.groupby(["arm", "seed"], sort=False):
            style = styles[str(arm)]
            # A curve that has reached 0 ends there; it is drawn to the end of the others.
            curve = curve[["time_ps", "survival", "low", "high", "at_risk", "collapsed"]]
            curve = pd.concat([curve, curve.tail(1).assign(time_ps=duration_ps)], ignore_index=True)
            if seed != "all":
                axes.step(
                    curve["time_ps"], curve["survival"], where="post", color=style.colour, linewidth=0.6, alpha=0.6
                )
                continue
            axes.fill_between(
                curve["time_ps"], curve["low"], curve["high"], step="post", color=style.colour, alpha=0.18,
                linewidth=0,
            )  # fmt: skip
            axes.step(
                curve["time_ps"], curve["survival"], where="post", color=style.colour, linestyle=style.line,
                linewidth=2.2, label=f"{arm}: {curve['collapsed'].max()} of {curve['at_risk'].max()} collapsed",
            )  # fmt: skip
            last = curve.iloc[-1]
            # The band has no width until the first collapse; the bar at the end shows the remaining uncertainty.
            axes.errorbar(
                duration_ps * (1.012 + 0.014 * arms.index(str(arm))), last["survival"], color=style.colour,
                yerr=[[last["survival"] - last["low"]], [last["high"] - last["survival"]]],
                linewidth=1.2, capsize=2, clip_on=False,
            )  # fmt: skip
        axes.set(xlabel="time / ps", ylabel="surviving runs / %")
        axes.set_xlim(0, duration_ps)
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        legend_above(figure)
        if lines:
            note(figure, lines)
    return figure


def paper_interval(paper: pd.Series) -> tuple[float, float, float]:
    """Fraction of collapsed runs in the paper with the exact 95 % interval for its number of runs."""
    count = round(paper["runs"] * paper["collapsed_percent"] / 100)
    return count / paper["runs"], *interval(count, int(paper["runs"]))


def conditions_differ(paper: pd.DataFrame, duration_ps: float, temperature_K: float) -> str:
    """How these runs differ from the paper's, as a sentence; empty if they do not or the paper has none."""
    if paper.empty:
        return ""
    paper_ps, paper_K = float(paper["duration_ps"].iloc[0]), float(paper["temperature_K"].iloc[0])
    if (duration_ps, temperature_K) == (paper_ps, paper_K):
        return ""
    here, there = f"{duration_ps:g} ps at {temperature_K:g} K", f"{paper_ps:g} ps at {paper_K:g} K"
    text = f"These runs: {here}; the paper's: {there}. Not comparable"
    if duration_ps < paper_ps:
        text += ": longer runs collapse more often"
    return text + "."


def collapse_fraction(fractions: pd.DataFrame, paper: pd.DataFrame, duration_ps: float, temperature_K: float) -> Figure:
    """Fraction of collapsed runs of each arm with its exact 95 % interval, its seeds, and the paper's number.

    Args:
        fractions: from `physembed.analysis.survival.collapse_fractions`.
        paper: rows of `physembed.report.tables.paper_stability` for this molecule; none if the paper has none.
        duration_ps: length of these runs.
        temperature_K: their temperature.
    """
    arms = list(dict.fromkeys(fractions["arm"]))
    styles = arm_styles(arms)
    paper_rows = paper.set_index("arm")
    in_paper = [arm for arm in arms if arm in paper_rows.index]
    with new_figure(1.55 + 0.62 * len(arms)) as figure:
        axes = figure.subplots()
        light_grid(axes, "x")
        for row, arm in enumerate(arms):
            style = styles[arm]
            of_arm = fractions[fractions["arm"] == arm].set_index("seed")
            total, seeds = of_arm.loc["all"], of_arm.drop(index="all")
            axes.errorbar(
                total["fraction"], row, color=style.colour, marker=style.marker, capsize=4, markersize=8,
                xerr=[[total["fraction"] - total["low"]], [total["high"] - total["fraction"]]],
                label="all runs, 95 % interval" if row == 0 else None,
            )  # fmt: skip
            offsets = 0.2 + 0.05 * np.arange(len(seeds))
            axes.plot(
                seeds["fraction"], row + offsets, "o", color=style.colour, markersize=3.5, alpha=0.75,
                markeredgewidth=0, label="each seed" if row == 0 else None,
            )  # fmt: skip
            if arm in in_paper:
                fraction, low, high = paper_interval(paper_rows.loc[arm])
                axes.errorbar(
                    fraction, row - 0.28, xerr=[[fraction - low], [high - fraction]], color=BLACK, marker="D",
                    markerfacecolor="white", markersize=6, capsize=3, linewidth=1,
                    label="paper: {0.runs} runs of {0.duration_ps:g} ps at {0.temperature_K:g} K".format(
                        paper_rows.loc[arm]
                    ) if arm == in_paper[0] else None,
                )  # fmt: skip
        counts = fractions[fractions["seed"] == "all"]
        axes.set_yticks(
            range(len(arms)),
            [f"{wrapped(str(item.arm), 24)}\n{item.collapsed} of {item.runs}" for item in counts.itertuples()],
            fontsize=9,
        )
        axes.set_ylim(len(arms) - 0.35, -0.55)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        axes.set_xlabel(f"runs collapsed within {duration_ps:g} ps at {temperature_K:g} K / %")
        legend_above(figure)
        if text := conditions_differ(paper, duration_ps, temperature_K):
            note(figure, [text])
    return figure


CAUSES_SHOWN = 16
"""Maximum number of causes shown; further ones are combined."""
CAUSES_IN_A_ROW = 4
"""Maximum number of arms beside each other in the figure of causes."""
CAUSE_COLOURS = {
    "inside": (ORANGE, "inside the sampled range"),
    "outside": (BLUE, "outside the sampled range"),
    "": (LIGHT_GREY, "no sampled range applies"),
}


def _cause_name(cause: str, types: str) -> str:
    return {"bond": f"bond {types}", "overlap": f"overlap {types}"}.get(cause, cause.replace("_", "-"))


def collapse_causes(runs: pd.DataFrame) -> Figure:
    """First failures in the collapsed runs, counted per arm.

    Args:
        runs: `replicas.csv` of all arms and seeds with a column `arm`; read are arm, collapsed, cause, types and
            in_sampled_range (`inside`, `outside`, or empty where the cause is neither a bond nor an angle).
    """
    arms = list(dict.fromkeys(runs["arm"]))
    collapsed = runs[runs["collapsed"]].fillna({"types": "", "in_sampled_range": ""})
    if collapsed.empty:
        with new_figure(1.2) as figure:
            figure.text(0.5, 0.5, f"no collapse in {len(runs)} runs", ha="center", va="center", fontsize=12)
        return figure
    names = [_cause_name(*pair) for pair in zip(collapsed["cause"], collapsed["types"], strict=True)]
    counts = (
        collapsed.assign(name=names)
        .groupby(["name", "arm", "in_sampled_range"])
        .size()
        .unstack(["arm", "in_sampled_range"], fill_value=0)
    )
    counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    if len(counts) > CAUSES_SHOWN:
        rest = counts.iloc[CAUSES_SHOWN - 1 :]
        counts = counts.iloc[: CAUSES_SHOWN - 1].copy()
        counts.loc[f"{len(rest)} others"] = rest.sum()
    columns = min(len(arms), CAUSES_IN_A_ROW)
    rows = -(-len(arms) // columns)
    with new_figure(0.65 + rows * (0.6 + 0.23 * len(counts))) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(arms) :]:
            axes.remove()
        panels = grid.flat[: len(arms)]
        for axes, arm in zip(panels, arms, strict=True):
            light_grid(axes, "x")
            left = np.zeros(len(counts))
            for place, (colour, _) in CAUSE_COLOURS.items():
                if (arm, place) in counts:
                    width = counts[arm, place].to_numpy()
                    axes.barh(counts.index, width, left=left, color=colour, height=0.72)
                    left += width
            total, count = int((runs["arm"] == arm).sum()), int((collapsed["arm"] == arm).sum())
            if count == 0:
                axes.text(0.5, 0.5, "none collapsed", ha="center", va="center", color=GREY, transform=axes.transAxes)
            axes.set_title(f"{wrapped(arm, 60 // columns)}\n{count} of {total}")
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panels[0].set_xlim(left=0)  # after all arms: the limits are shared, and fixed by this
        for row in grid:
            row[0].set_ylabel("first to fail")
        for axes in panels[-columns:]:  # the lowest of each column
            axes.tick_params(labelbottom=True)
        # The most frequent cause comes first, at the top.
        panels[0].set_ylim(len(counts) - 0.4, -0.6)
        figure.supxlabel("number of runs", fontsize=9)
        used = set(collapsed["in_sampled_range"])
        handles = [Patch(color=c, label=text) for key, (c, text) in CAUSE_COLOURS.items() if key in used]
        legend_above(figure, handles)
    return figure
