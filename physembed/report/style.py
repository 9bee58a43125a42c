"""The look of every figure: colours, sizes, and how a figure is written.

Figures are created without pyplot, which keeps global state. Files are reproducible byte for byte for the same data and
versions: no dates, no random identifiers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physembed.files import atomic

# M. Okabe, K. Ito, Color Universal Design (2008): distinguishable with any common colour-vision deficiency.
VERMILION, BLUE, GREEN, PURPLE = "#D55E00", "#0072B2", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, BLACK = "#E69F00", "#56B4E9", "#F0E442", "#000000"
GREY, LIGHT_GREY = "#6B6B6B", "#BDBDBD"

WIDTH_INCHES = 6.7
"""Full text width of an A4 page (170 mm)."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.titlesize": 10,
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
    "savefig.dpi": 200,
    # Glyphs as outlines: the figure looks the same with any installed fonts.
    "svg.fonttype": "path",
    "svg.hashsalt": "physembed",
}


@dataclass(frozen=True)
class ArmStyle:
    """How one arm is drawn in all figures."""

    colour: str
    marker: str
    line: Literal["-", "--", ":"]

    @property
    def hatch(self) -> str:
        """Pattern of areas, which tells arms of the same colour apart."""
        return {"-": "", "--": "////", ":": "...."}[self.line]


def arm_styles(arms: Iterable[str]) -> dict[str, ArmStyle]:
    """Style of each arm, in the order of the study: the same in every figure with the same arms."""
    colours, markers = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY), "os^vPX"
    lines: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
    return {
        arm: ArmStyle(
            colours[index % len(colours)],
            # shifted when colours come again, so that points can be told apart too
            markers[(index + index // len(colours)) % len(markers)],
            lines[index // len(colours) % len(lines)],
        )
        for index, arm in enumerate(dict.fromkeys(arms))
    }


@contextmanager
def new_figure(height_inches: float, width_inches: float = WIDTH_INCHES) -> Iterator[Figure]:
    """A figure in PhysEmbed's style, to be drawn on within the block."""
    with mpl.rc_context(STYLE):
        yield Figure(figsize=(width_inches, height_inches), layout="constrained")


def with_text(text: str) -> Figure:
    """A figure that only says why there is nothing to draw."""
    with new_figure(1.2) as figure:
        figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=12)
    return figure


def light_grid(axes: Axes, axis: Literal["x", "y"] = "y") -> None:
    """Faint grid lines to read values by."""
    axes.grid(axis=axis, color="#E3E3E3", linewidth=0.6)


def legend_above(figure: Figure, handles: Sequence[Artist] | None = None) -> None:
    """Legend over the figure, in as many columns as there is room for."""
    if handles is None:
        handles = [handle for axes in figure.axes for handle in axes.get_legend_handles_labels()[0]]
    lengths = [len(str(handle.get_label())) for handle in handles]
    columns = len(handles)
    # Width of an entry: 0.065 inches a character, its symbol and gaps being as wide as 8 of them.
    while columns > 1 and figure.get_figwidth() < 0.065 * sum(
        8 + max(column) for column in np.array_split(lengths, columns)
    ):
        columns -= 1
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)


def wrapped(name: str, width: int) -> str:
    """A long name on several lines."""
    return textwrap.fill(name, width)


def note(figure: Figure, lines: Sequence[str]) -> None:
    """Important remarks below the figure."""
    figure.supxlabel("\n".join(textwrap.fill(line, 108) for line in lines), fontsize=8, color=GREY)


def save(figure: Figure, path_without_suffix: str | Path) -> tuple[Path, Path]:
    """Write a figure as SVG and as PNG (200 dots per inch); returns both paths, SVG first."""
    base = Path(path_without_suffix)
    svg, png = base.with_name(base.name + ".svg"), base.with_name(base.name + ".png")
    with mpl.rc_context(STYLE):
        with atomic(svg) as temporary:
            figure.savefig(temporary, metadata={"Date": None, "Creator": "PhysEmbed"})
        with atomic(png) as temporary:
            figure.savefig(temporary, metadata={"Software": "PhysEmbed"})
    return svg, png
