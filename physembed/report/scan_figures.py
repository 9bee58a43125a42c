"""Figures of the correction: its tuning, the rigid volume scan, and the training of a liquid model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from physembed.analysis.scan import MINIMUM_EFFECTIVE_SAMPLES
from physembed.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    arm_styles,
    legend_above,
    light_grid,
    new_figure,
    note,
)
from physembed.report.training_figures import plain_log_axis, thinned

STYLES = arm_styles(["uncorrected", "corrected", "reference"])
"""Styles of the variants in all figures of liquids."""
STATUS = {
    "ok": "ok",
    "insufficient": "too short",
    "evaporated": "evaporated",
    "blown_up": "blown up",
    "not_run": "not run",
    "unreachable": "target out of reach",
    "unresolved": "not decided by these runs",
}
"""Description of each status for readers."""


def status_name(status: str) -> str:
    """A status in plain words; unknown ones are returned unchanged."""
    return STATUS.get(status, status.replace("_", " "))


def nothing(text: str) -> Figure:
    """A figure that explains why it is empty."""
    with new_figure(1.2) as figure:
        figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=12)
    return figure


def _curve(axes: Axes, curve: pd.DataFrame) -> None:
    """The density against a1 with its error; dotted where there are too few effective samples."""
    if curve.empty:
        return
    a1, density, error = (curve[name].to_numpy(float) for name in ("a1", "density_g_cm3", "standard_error_g_cm3"))
    weak = curve["effective_samples"].to_numpy(float) < MINIMUM_EFFECTIVE_SAMPLES
    axes.fill_between(a1, density - error, density + error, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(a1, density, color=BLUE, linestyle=":", linewidth=1.2)
    axes.plot(a1, np.where(weak, np.nan, density), color=BLUE, linewidth=1.6)


def _points(axes: Axes, runs: pd.DataFrame) -> None:
    """Runs of one alpha: filled with an error bar, open if too short, a cross on the axis if failed."""
    held = runs[(runs["status"] == "ok") & runs["density_g_cm3"].notna()]
    sound = held[held["density_status"] == "ok"]
    weak = held[held["density_status"] != "ok"]
    look: Any = {"color": BLACK, "markersize": 5.5, "linestyle": "none"}
    axes.errorbar(sound["a1"], sound["density_g_cm3"], sound["standard_error_g_cm3"], marker="o", capsize=3, **look)
    axes.plot(weak["a1"], weak["density_g_cm3"], marker="o", markerfacecolor="white", **look)
    for a1 in runs.loc[runs["status"] != "ok", "a1"]:
        axes.plot(a1, 0.035, "X", color=VERMILION, markersize=8, clip_on=False, transform=axes.get_xaxis_transform())


def _tuned(axes: Axes, tuning: pd.Series, confirming: pd.DataFrame) -> str:
    """a1 with its interval and the confirmation run there; returns the title of the panel."""
    if tuning["status"] != "ok":
        if pd.isna(tuning["a1"]):
            return f"no a1: {status_name(tuning['status'])}"
        axes.axvline(tuning["a1"], color=ORANGE, linewidth=1.2, linestyle=":")
        return f"no a1: {status_name(tuning['status'])} (best: {tuning['a1']:.3g})"
    axes.axvspan(tuning["a1_low"], tuning["a1_high"], color=ORANGE, alpha=0.22, linewidth=0)
    axes.axvline(tuning["a1"], color=ORANGE, linewidth=1.6)
    for row in confirming[confirming["density_g_cm3"].notna()].to_dict("records"):
        axes.errorbar(
            tuning["a1"], row["density_g_cm3"], row["standard_error_g_cm3"], color=BLUE, marker="*", markersize=12,
            markerfacecolor=BLUE if row["status"] == "ok" else "white", capsize=3, linestyle="none", zorder=4,
        )  # fmt: skip
    return f"a1 = {tuning['a1']:.3g} ({tuning['a1_low']:.3g} to {tuning['a1_high']:.3g})"


def _scan_legend(
    runs: pd.DataFrame, tuning: pd.DataFrame, curve: pd.DataFrame, confirming: pd.DataFrame
) -> list[Line2D | Patch]:
    """Legend entries for what the figure contains only."""
    held = (runs["status"] == "ok") & runs["density_g_cm3"].notna()
    scanned = runs["alpha"] != 0
    line = "fitted line" if (tuning["method"] == "direct").any() else "reweighted curve"
    target = f"measured, {tuning['target_g_cm3'].iloc[0]:.4f} g/cm³"
    handles: list[Line2D | Patch] = [Line2D([], [], color=BLACK, linestyle="--", linewidth=1.2, label=target)]
    if (held & scanned & (runs["density_status"] == "ok")).any():
        handles.append(Line2D([], [], color=BLACK, marker="o", linestyle="", label="run"))
    if (held & scanned & (runs["density_status"] != "ok")).any():
        label = "run too short for an error"
        handles.append(Line2D([], [], color=BLACK, marker="o", markerfacecolor="white", linestyle="", label=label))
    if (runs["status"] != "ok").any():
        handles.append(Line2D([], [], color=VERMILION, marker="X", linestyle="", label="run lost"))
    if len(curve):
        handles.append(Line2D([], [], color=BLUE, label=line))
    if (curve["effective_samples"] < MINIMUM_EFFECTIVE_SAMPLES).any():
        handles.append(Line2D([], [], color=BLUE, linestyle=":", label="the same, too few frames"))
    if (tuning["status"] == "ok").any():
        handles.append(Patch(color=ORANGE, alpha=0.5, label="a1, 95 % interval"))
        if confirming["density_g_cm3"].notna().any():
            handles.append(
                Line2D([], [], color=BLUE, marker="*", markersize=10, linestyle="", label="confirmation run")
            )
    if (held & ~scanned).any():
        handles.append(Line2D([], [], color=GREY, linestyle="-.", linewidth=1.2, label="uncorrected run"))
    return handles


def density_scan(runs: pd.DataFrame, tuning: pd.DataFrame, curve: pd.DataFrame, confirming: pd.DataFrame) -> Figure:
    """Density of the tuning liquid against a1, a panel per alpha (Figure 4a, b of the paper).

    Args:
        runs: `runs.csv` of the tuning (alpha, a1, status, density_g_cm3, standard_error_g_cm3, density_status); rows
            with alpha 0 are the uncorrected model.
        tuning: `tuning.csv`, a row per alpha.
        curve: `curve.csv`, the fitted line or the reweighted curve of each alpha.
        confirming: `density.csv` of the corrected run of the tuning liquid; no row if there is none. It belongs
            to the first alpha.
    """
    alphas, target = list(tuning["alpha"]), float(tuning["target_g_cm3"].iloc[0])
    columns = min(2, len(alphas))
    lines = math.ceil(len(alphas) / columns)
    plain = runs[(runs["alpha"] == 0) & (runs["status"] == "ok") & runs["density_g_cm3"].notna()]
    reasons = [f"α = {row['alpha']:+g}: {row['reason']}." for row in tuning.to_dict("records") if row["status"] != "ok"]
    below = sum(math.ceil(len(reason) / 100) for reason in reasons)
    with new_figure(1.3 + 2.4 * lines + 0.14 * below) as figure:
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for index, (axes, alpha) in enumerate(zip(panels, alphas, strict=False)):
            light_grid(axes)
            here, row = runs[runs["alpha"] == alpha], tuning[tuning["alpha"] == alpha].iloc[0]
            axes.axhline(target, color=BLACK, linestyle="--", linewidth=1.2)
            for density in plain["density_g_cm3"]:
                axes.axhline(density, color=GREY, linestyle="-.", linewidth=1.2)
            _curve(axes, curve[curve["alpha"] == alpha])
            _points(axes, here)
            title = _tuned(axes, row, confirming if index == 0 else confirming.iloc[:0])
            if not ((here["status"] == "ok") & here["density_g_cm3"].notna()).any() and len(here):
                axes.text(
                    0.5, 0.75, f"none of {len(here)} runs gave a density", ha="center", color=GREY,
                    transform=axes.transAxes,
                )  # fmt: skip
            axes.set_title(f"α = {alpha:+g}\n{title}", loc="left")
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.yaxis.set_major_locator(MaxNLocator(6))
        for axes in panels[len(alphas) :]:
            axes.remove()
        _room(panels[0], target, runs, tuning)
        figure.supylabel("density / (g/cm³)", fontsize=9)
        convention = "" if "convention" not in tuning else f", convention {tuning['convention'].iloc[0]}"
        if reasons:
            note(figure, reasons)
        for axes in panels[max(0, len(alphas) - columns) : len(alphas)]:
            axes.set_xlabel(f"a1 (no unit{convention})")
            axes.tick_params(labelbottom=True)
        legend_above(figure, _scan_legend(runs, tuning, curve, confirming))
    return figure


def _room(axes: Axes, target: float, runs: pd.DataFrame, tuning: pd.DataFrame) -> None:
    """Limits that include the target, with room for the crosses of failed runs."""
    low, high = axes.get_ylim()
    low, high = min(low, 0.99 * target), max(high, 1.01 * target)
    axes.set_ylim(low - (0.08 if (runs["status"] != "ok").any() else 0.0) * (high - low), high)
    places = [*runs.loc[runs["alpha"] != 0, "a1"], *tuning["a1"].dropna()]
    if places and min(places) == max(places):
        axes.set_xlim(places[0] - 0.5, places[0] + 0.5)


def _mean_over_frames(scan: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean of a column over frames at each scale, with the standard error (nan for one frame)."""
    groups = scan.groupby("scale")
    return pd.DataFrame(
        {
            "density_g_cm3": groups["density_g_cm3"].mean(),
            "mean": groups[column].mean(),
            "error": groups[column].sem(),
        }
    ).dropna(subset="mean")


def _symbol(variant: str) -> dict[str, Any]:
    """Open and larger for the uncorrected model, so that it remains visible under the corrected one."""
    return {"markersize": 6.5, "markerfacecolor": "white"} if variant == "uncorrected" else {"markersize": 4}


def volume_scan(scan: pd.DataFrame) -> Figure:
    """Energy and forces of rigid molecules against density, before and after, and the reference's (Figure 5).

    Args:
        scan: from `physembed.analysis.volume_scan.volume_scan`: frame, scale, density_g_cm3, variant,
            energy_eV_per_molecule, molecular_force_rms_meV_A, force_change_rms_meV_A, force_rmse_meV_A (nan without
            labels).
    """
    variants = [name for name in STYLES if name in set(scan["variant"])]
    labelled = "reference" in variants
    last = ("force_rmse_meV_A", "error of the forces") if labelled else ("force_change_rms_meV_A", "change of forces")
    shown: Sequence[tuple[str, str, str, float]] = (
        ("energy_eV_per_molecule", "energy between molecules", "energy / (meV per molecule)", 1000.0),
        ("molecular_force_rms_meV_A", "force on a molecule", "RMS / (meV/Å)", 1.0),
        (*last, "RMSE / (meV/Å)" if labelled else "RMS / (meV/Å)", 1.0),
    )
    frames = scan["frame"].nunique()
    with new_figure(2.9) as figure:
        for axes, (column, title, label, factor) in zip(figure.subplots(1, 3), shown, strict=True):
            light_grid(axes)
            for variant in variants:
                style, of_variant = STYLES[variant], scan[scan["variant"] == variant]
                if column == "force_change_rms_meV_A" and variant == "uncorrected":
                    continue
                points = _mean_over_frames(of_variant, column)
                if points.empty:
                    continue
                axes.errorbar(
                    points["density_g_cm3"], factor * points["mean"], factor * points["error"], color=style.colour,
                    marker=style.marker, linestyle="--" if variant == "reference" else "-", capsize=2, linewidth=1.2,
                    **_symbol(variant),
                )  # fmt: skip
            axes.set_title(title)
            axes.set_ylabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_locator(MaxNLocator(5))
        handles = [
            Line2D(
                [], [], color=STYLES[name].colour, marker=STYLES[name].marker, label=name,
                linestyle="--" if name == "reference" else "-", **_symbol(name),
            )
            for name in variants
        ]  # fmt: skip
        text = "1 frame" if frames == 1 else f"mean of {frames} frames, bars: standard error"
        figure.supxlabel(f"density / (g/cm³)      ({text})", fontsize=9)
        legend_above(figure, handles)
    return figure


def liquid_training(curve: pd.DataFrame) -> Figure:
    """Validation errors and losses of a liquid's model against the epoch.

    Args:
        curve: `curve.csv` of the training (epoch, train_loss, validation_loss, validation_rmse_energy_meV_atom,
            validation_rmse_force_meV_A; validation_rmse_stress_meV_A3 if stresses were trained; `stage`, 1 or 2, of a
            training with a second stage, whose losses are on another scale).
    """
    thin = thinned(curve)
    second = curve.loc[curve["stage"] == 2, "epoch"] if "stage" in curve else curve["epoch"].iloc[:0]
    errors = [
        ("validation_rmse_energy_meV_atom", "energy", "meV/atom", GREEN),
        ("validation_rmse_force_meV_A", "forces", "meV/Å", BLUE),
    ]
    if "validation_rmse_stress_meV_A3" in curve:
        errors.append(("validation_rmse_stress_meV_A3", "stress", "meV/Å³", VERMILION))
    count = len(errors) + 1
    columns = 2 if count == 4 else count
    with new_figure(2.2 * math.ceil(count / columns) + 0.5) as figure:
        panels = figure.subplots(math.ceil(count / columns), columns, sharex=True).ravel()
        for axes, (column, name, unit, colour) in zip(panels, errors, strict=False):
            axes.plot(thin["epoch"], thin[column], color=colour, linewidth=1.2)
            axes.set_title(f"{name} (last: {curve[column].iloc[-1]:.3g} {unit})")
            axes.set_ylabel(f"validation RMSE / ({unit})")
        losses = panels[-1]
        losses.plot(thin["epoch"], thin["train_loss"], color=BLACK, linewidth=1.2, label="training")
        losses.plot(
            thin["epoch"], thin["validation_loss"], color=BLACK, linestyle=":", linewidth=1.2, label="validation"
        )
        losses.set_title("loss")
        losses.set_ylabel("weighted loss (in eV and Å)")
        for axes in panels:
            light_grid(axes)
            plain_log_axis(axes)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if len(second):
                axes.axvline(second.iloc[0], color=GREY, linewidth=0.8, linestyle="--", label="second stage begins")
        losses.legend(loc="upper right", fontsize=7.5)
        for axes in panels[-columns:]:
            axes.set_xlabel("epoch")
    return figure
