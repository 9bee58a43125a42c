"""How many labels does it take? Survival at the end of the runs against the number of labels, as table and figure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, PercentFormatter

from physembed.report.style import GREY, arm_styles, legend_above, light_grid, new_figure


def _width(numbers: list[int]) -> float:
    """Width on the logarithmic axis over which the series are spread at each number of labels."""
    logarithms = np.log(numbers)
    return float(min(0.35 * np.diff(logarithms).min(), 0.1 * np.ptp(logarithms))) if len(numbers) > 1 else 0.1


def survival_table(fractions: pd.DataFrame, series: Mapping[str, str], labels: Mapping[str, int]) -> pd.DataFrame:
    """Runs that survive to their end, of each arm that differs from others only in its number of labels.

    Args:
        fractions: from `physembed.analysis.survival.collapse_fractions`.
        series: the name of the series to which each arm belongs (`physembed.config.label_numbers.label_series`).
        labels: labels spent on the models of each arm, rejected ones included.

    Returns:
        series, arm, labels, seed (`all` for the arm as a whole), runs, survived, fraction, and the exact
        (Clopper-Pearson) two-sided 95 % interval, low and high; by series and number of labels.
    """
    rows = fractions[fractions["arm"].isin(series)]
    names = list(dict.fromkeys(series.values()))
    table = pd.DataFrame(
        {
            "series": pd.Categorical(rows["arm"].map(series), names),
            "arm": rows["arm"],
            "labels": rows["arm"].map(labels),
            "seed": rows["seed"].astype(str),
            "runs": rows["runs"],
            "survived": rows["runs"] - rows["collapsed"],
            "fraction": (rows["runs"] - rows["collapsed"]) / rows["runs"],
            "low": 1 - rows["high"],
            "high": 1 - rows["low"],
        }
    )
    table = table.sort_values(["series", "labels"], kind="stable", ignore_index=True)
    return table.astype({"series": str})


def survival_against_labels(table: pd.DataFrame, duration_ps: float, temperature_K: float) -> Figure:
    """Fraction of runs that survive against the number of labels, one line for each series of arms.

    Args:
        table: from `survival_table`.
        duration_ps: length of the runs.
        temperature_K: their temperature.
    """
    names = list(dict.fromkeys(table["series"]))
    styles, numbers = arm_styles(names), sorted(set(table["labels"]))
    width = _width(numbers)
    slot = width / len(names)
    with new_figure(3.6) as figure:
        axes = figure.subplots()
        light_grid(axes)
        axes.set_xscale("log")
        for place, name in enumerate(names):
            style, of_series = styles[name], table[table["series"] == name]
            totals, seeds = of_series[of_series["seed"] == "all"], of_series[of_series["seed"] != "all"]
            shift = np.exp(slot * (place + 0.5) - width / 2)
            axes.errorbar(
                totals["labels"] * shift, totals["fraction"], color=style.colour, marker=style.marker, capsize=3,
                linestyle=style.line, markersize=6, label=name, clip_on=False,
                yerr=[totals["fraction"] - totals["low"], totals["high"] - totals["fraction"]],
            )  # fmt: skip
            # The seeds stand beside their arm, next to each other, so that equal ones can be counted.
            order = seeds.groupby("arm").cumcount()
            beside = np.exp(slot * (0.25 + 0.5 * order / (1 + order.max())))
            axes.plot(
                seeds["labels"] * shift * beside, seeds["fraction"], "o", color=style.colour, markersize=3, alpha=0.6,
                markeredgewidth=0, clip_on=False,
            )  # fmt: skip
        axes.xaxis.set_major_locator(FixedLocator(numbers))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        margin = np.exp(max(1.2 * width, 0.05 * np.log(numbers[-1] / numbers[0])))
        axes.set_xlim(numbers[0] / margin, numbers[-1] * margin)
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        axes.set_xlabel("number of labels")
        axes.set_ylabel(f"runs that survive {duration_ps:g} ps at {temperature_K:g} K / %")
        dots = Line2D([], [], color=GREY, marker="o", markersize=3, linestyle="", label="each seed")
        legend_above(figure, [*axes.get_legend_handles_labels()[0], dots])
    return figure
