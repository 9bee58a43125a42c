"""Figures of bond lengths (Figure 2b of the paper) and angles before and after sampling."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from physembed.errors import PhysEmbedError
from physembed.molecules.angles import angle_types, angle_values
from physembed.molecules.bonds import bond_lengths as measured_lengths
from physembed.molecules.bonds import bond_types
from physembed.report.style import BLACK, GREY, LIGHT_GREY, ArmStyle, arm_styles, legend_above, new_figure, with_text
from physembed.sampling.modifier import modifications_of

BINS = 24
PANELS = 24
"""Maximum number of angle types drawn; the least frequently bent ones are omitted."""


@dataclass(frozen=True)
class _Quantity:
    """The quantity that is drawn, and its columns in the tables."""

    kind: Literal["bond", "angle"]
    value: str
    """Column of the values."""
    measure: Callable[[np.ndarray, pd.DataFrame], np.ndarray]
    types: Callable[[pd.DataFrame], list[str]]
    force_constant: str
    mean: str
    segments: tuple[tuple[str, str, str | None], tuple[str, str, str | None]]
    """Lower and upper end of the segments below and above the data, and the column that marks empty segments."""
    changed_to: str
    """Key of a modification."""
    unit: str
    force_constant_unit: str


LENGTHS = _Quantity(
    "bond", "length", measured_lengths, bond_types, "k_kcal_mol_A2", "r_mean_A",
    (("compression_low_A", "r_min_A", None), ("r_max_A", "stretch_high_A", "stretch_empty")), "to_A", "bond length / Å",
    "kcal/mol/Å²",
)  # fmt: skip
ANGLES = _Quantity(
    "angle", "angle", angle_values, angle_types, "k_kcal_mol_rad2", "theta_mean_degrees",
    (("closing_low_degrees", "theta_min_degrees", "closing_empty"),
     ("theta_max_degrees", "opening_high_degrees", "opening_empty")), "to_degrees", "angle / degrees",
    "kcal/mol/rad²",
)  # fmt: skip


def values_by_type(frames: Sequence[Atoms], table: pd.DataFrame, quantity: _Quantity) -> dict[str, np.ndarray]:
    """Values of all bonds or angles of each type in all frames; (n_frames * n_of_type,) each."""
    positions = np.array([frame.positions for frame in frames])
    values, types = quantity.measure(positions, table), np.array(quantity.types(table))
    return {name: values[:, types == name].ravel() for name in dict.fromkeys(types.tolist())}


def modified_values(frames: Sequence[Atoms], quantity: _Quantity) -> dict[str, np.ndarray]:
    """Values assigned by sampling, by type; no entry for a type that was never modified."""
    values: dict[str, list[float]] = {}
    for frame in frames:
        for item in modifications_of(frame, quantity.kind):
            values.setdefault(item["types"], []).append(item[quantity.changed_to])
    return {name: np.array(of_type) for name, of_type in values.items()}


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
            modified bond are not drawn: their lengths are those of `before`.
        bonds: the bond table (i, j, type_i, type_j).
        ranges: the table of sampled ranges of each arm.

    Raises:
        PhysEmbedError: the ranges of an arm lack a bond type of the bond table.
    """
    if not after:
        return with_text("no arm takes frames")
    return _distributions(LENGTHS, before, after, bonds, ranges, list(dict.fromkeys(bond_types(bonds))))


def bond_angles(
    before: Sequence[Atoms],
    after: Mapping[str, Sequence[Atoms]],
    angles: pd.DataFrame,
    ranges: Mapping[str, pd.DataFrame],
) -> Figure:
    """Distribution of angles, one panel per type that an arm has bent, stiffest first.

    Args:
        before: the training frames as the GAFF run gave them.
        after: the frames of each arm (info `modifications`), in the order of the study. Arms without any
            modified angle are not drawn.
        angles: the angle table.
        ranges: the table of sampled angles of each arm.

    Raises:
        PhysEmbedError: the ranges of an arm lack an angle type of the angle table.
    """
    counts: Counter[str] = Counter()
    for frames in after.values():
        counts.update({name: len(values) for name, values in modified_values(frames, ANGLES).items()})
    if not counts:
        return with_text("no arm bends angles")
    return _distributions(ANGLES, before, after, angles, ranges, [name for name, _ in counts.most_common(PANELS)])


def _draw_arm(
    axes: Axes,
    style: ArmStyle,
    values: np.ndarray,
    modified: np.ndarray,
    limits: Mapping[Hashable, Any],
    edges: np.ndarray,
    quantity: _Quantity,
) -> None:
    """Histogram, sampled segments and a tick for each modification of one arm in the panel of one type."""
    for low, high, empty in quantity.segments:
        if empty is None or not limits[empty]:
            axes.axvspan(limits[low], limits[high], color=style.colour, alpha=0.14, linewidth=0)
    axes.stairs(np.histogram(values, edges)[0], edges, color=style.colour, linestyle=style.line, linewidth=1.2)
    top = axes.get_xaxis_transform()
    axes.plot(modified, np.full(len(modified), 0.95), "|", color=style.colour, transform=top, markersize=6)


def _distributions(
    quantity: _Quantity,
    before: Sequence[Atoms],
    after: Mapping[str, Sequence[Atoms]],
    table: pd.DataFrame,
    ranges: Mapping[str, pd.DataFrame],
    names: list[str],
) -> Figure:
    """One panel for each of the types `names`, stiffest first."""
    styles, kind = arm_styles(after), quantity.kind
    modified = {arm: modified_values(frames, quantity) for arm, frames in after.items()}
    sampled = [arm for arm in after if modified[arm]]
    values_before = values_by_type(before, table, quantity)
    values_after = {arm: values_by_type(after[arm], table, quantity) for arm in sampled}
    limits = {arm: {row["types"]: row for row in ranges[arm].to_dict("records")} for arm in after}
    for arm, rows in limits.items():
        if missing := sorted(set(values_before) - set(rows)):
            raise PhysEmbedError(
                f"report: the {kind} ranges of arm {arm} lack type {missing[0]}; give those of this molecule"
            )
    of_type = limits[next(iter(after))]
    names = sorted(names, key=lambda name: -of_type[name][quantity.force_constant])
    outermost = quantity.segments[0][0], quantity.segments[1][1]

    columns = min(4, len(names))
    lines = math.ceil(len(names) / columns)
    with new_figure(0.9 + 1.45 * lines) as figure:
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            everything = np.concatenate([values_before[name], *(values_after[arm][name] for arm in sampled)])
            low, high = everything.min(), everything.max()
            for arm in sampled:
                low = min(low, limits[arm][name][outermost[0]])
                high = max(high, limits[arm][name][outermost[1]])
            edges = np.linspace(low, high, BINS + 1)
            axes.hist(values_before[name], edges, color=LIGHT_GREY)
            axes.axvline(of_type[name][quantity.mean], color=BLACK, linestyle=":", linewidth=1)
            for arm in sampled:
                new = modified[arm].get(name, np.array([]))
                _draw_arm(axes, styles[arm], values_after[arm][name], new, limits[arm][name], edges, quantity)
            count, k = quantity.types(table).count(name), of_type[name][quantity.force_constant]
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
            Line2D([], [], color=BLACK, linestyle=":", linewidth=1, label=f"mean {quantity.value}"),
        ]
        for arm in sampled:
            style = styles[arm]
            handles.append(Line2D([], [], color=style.colour, linestyle=style.line, label=f"after: {arm}"))
        if sampled:
            colour = styles[sampled[0]].colour
            handles.append(Line2D([], [], color=colour, marker="|", linestyle="", label=f"modified {kind}s"))
            handles.append(Patch(color=colour, alpha=0.14, label="sampled ranges"))
        legend_above(figure, handles)
        explained = f"(n×: {kind}s of the type; k: force constant / ({quantity.force_constant_unit}))"
        figure.supxlabel(f"{quantity.unit}      {explained}", fontsize=9)
        figure.supylabel(f"number of {kind}s per bin", fontsize=9)
    return figure
