"""Figure of the bond lengths before and after sampling (Figure 2b of the paper)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from physembed.errors import PhysEmbedError
from physembed.molecules.bonds import bond_lengths as measured_lengths
from physembed.molecules.bonds import bond_types
from physembed.report.style import BLACK, GREY, LIGHT_GREY, ArmStyle, arm_styles, legend_above, new_figure
from physembed.sampling.modifier import modifications_of

BINS = 24


def lengths_by_type(frames: Sequence[Atoms], bonds: pd.DataFrame) -> dict[str, np.ndarray]:
    """Lengths in Å of all bonds of each type in all frames; (n_frames * n_bonds_of_type,) each."""
    positions = np.array([frame.positions for frame in frames])
    lengths, types = measured_lengths(positions, bonds), np.array(bond_types(bonds))
    return {name: lengths[:, types == name].ravel() for name in dict.fromkeys(types.tolist())}


def modified_lengths(frames: Sequence[Atoms]) -> dict[str, np.ndarray]:
    """Lengths in Å that bond sampling gave to bonds, by type; no entry for a type that was never modified."""
    lengths: dict[str, list[float]] = {}
    for frame in frames:
        for item in modifications_of(frame, "bond"):
            lengths.setdefault(item["types"], []).append(item["to_A"])
    return {name: np.array(values) for name, values in lengths.items()}


def _draw_arm(
    axes: Axes,
    style: ArmStyle,
    lengths: np.ndarray,
    modified: np.ndarray,
    limits: Mapping[Hashable, Any],
    edges: np.ndarray,
) -> None:
    """Histogram, sampled segments and a tick for each modified bond of one arm in the panel of one type."""
    axes.axvspan(limits["compression_low_A"], limits["r_min_A"], color=style.colour, alpha=0.14, linewidth=0)
    if not limits["stretch_empty"]:
        axes.axvspan(limits["r_max_A"], limits["stretch_high_A"], color=style.colour, alpha=0.14, linewidth=0)
    axes.stairs(np.histogram(lengths, edges)[0], edges, color=style.colour, linestyle=style.line, linewidth=1.2)
    top = axes.get_xaxis_transform()
    axes.plot(modified, np.full(len(modified), 0.95), "|", color=style.colour, transform=top, markersize=6)


def bond_lengths(
    before: Sequence[Atoms],
    after: Mapping[str, Sequence[Atoms]],
    bonds: pd.DataFrame,
    ranges: Mapping[str, pd.DataFrame],
) -> Figure:
    """Distribution of bond lengths, one panel per bond type, stiffest first.

    Args:
        before: the training frames as the GAFF run gave them.
        after: the frames of each arm (info `modifications`), in the order of the study. Arms without any
            modification are not drawn: their frames are those of `before`.
        bonds: the bond table (i, j, type_i, type_j).
        ranges: the table of sampled ranges of each arm.

    Raises:
        PhysEmbedError: the ranges of an arm lack a bond type of the bond table.
    """
    styles = arm_styles(after)
    modified = {arm: modified_lengths(frames) for arm, frames in after.items()}
    sampled = [arm for arm in after if modified[arm]]
    lengths_before = lengths_by_type(before, bonds)
    lengths_after = {arm: lengths_by_type(after[arm], bonds) for arm in sampled}
    limits = {arm: {row["types"]: row for row in ranges[arm].to_dict("records")} for arm in after}
    for arm, rows in limits.items():
        if missing := sorted(set(lengths_before) - set(rows)):
            raise PhysEmbedError(
                f"report: the bond ranges of arm {arm} lack type {missing[0]}; give those of this molecule"
            )
    table = limits[next(iter(after))]
    names = sorted(lengths_before, key=lambda name: -table[name]["k_kcal_mol_A2"])

    columns = min(4, len(names))
    lines = math.ceil(len(names) / columns)
    with new_figure(0.9 + 1.45 * lines) as figure:
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            everything = np.concatenate([lengths_before[name], *(lengths_after[arm][name] for arm in sampled)])
            low, high = everything.min(), everything.max()
            for arm in sampled:
                low = min(low, limits[arm][name]["compression_low_A"])
                high = max(high, limits[arm][name]["stretch_high_A"])
            edges = np.linspace(low, high, BINS + 1)
            axes.hist(lengths_before[name], edges, color=LIGHT_GREY)
            axes.axvline(table[name]["r_mean_A"], color=BLACK, linestyle=":", linewidth=1)
            for arm in sampled:
                values = modified[arm].get(name, np.array([]))
                _draw_arm(axes, styles[arm], lengths_after[arm][name], values, limits[arm][name], edges)
            count, k = bond_types(bonds).count(name), table[name]["k_kcal_mol_A2"]
            axes.set_title(f"{name}  ({count}×)", loc="left", fontweight="bold", fontsize=8.5, pad=3)
            axes.set_title(f"k {k:.0f}", loc="right", fontsize=7.5, color=GREY, pad=3)
            margin = 0.04 * (high - low)
            axes.set_xlim(low - margin, high + margin)
            # Room for the ticks of the modified bonds.
            axes.set_ylim(top=axes.get_ylim()[1] * 1.12)
            axes.xaxis.set_major_locator(MaxNLocator(3))
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        for axes in panels[len(names) :]:
            axes.remove()
        handles: list[Patch | Line2D] = [
            Patch(color=LIGHT_GREY, label="before sampling"),
            Line2D([], [], color=BLACK, linestyle=":", linewidth=1, label="mean length"),
        ]
        for arm in sampled:
            style = styles[arm]
            handles.append(Line2D([], [], color=style.colour, linestyle=style.line, label=f"after: {arm}"))
        if sampled:
            colour = styles[sampled[0]].colour
            handles.append(Line2D([], [], color=colour, marker="|", linestyle="", label="modified bonds"))
            handles.append(Patch(color=colour, alpha=0.14, label="sampled ranges"))
        legend_above(figure, handles)
        figure.supxlabel("bond length / Å      (n×: bonds of the type; k: force constant / (kcal/mol/Å²))", fontsize=9)
        figure.supylabel("number of bonds per bin", fontsize=9)
    return figure
