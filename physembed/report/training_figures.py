"""Figures of the training: its curves, the errors of the models, and the ledger of the labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from physembed.errors import PhysEmbedError
from physembed.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    YELLOW,
    ArmStyle,
    arm_styles,
    legend_above,
    light_grid,
    new_figure,
    with_text,
    wrapped,
)

POINTS = 250
"""Maximum number of points of a training curve; longer ones are thinned."""
HEXAGONS = 70
"""Hexagons across a parity plot."""


def thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Medians over equal windows of epochs, so that a curve has at most `POINTS` points."""
    window = math.ceil(len(curve) / POINTS)
    return curve.groupby(np.arange(len(curve)) // window).median()


def plain_log_axis(axes: Axes, which: Literal["x", "y"] = "y") -> None:
    """A logarithmic axis with plain numbers, as many as its span needs; to be called after drawing."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    span = high / low
    subs = (1.0,) if span > 1e3 else (1.0, 2.0, 5.0) if span > 6 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    axis.set_major_locator(LogLocator(10, subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def training_curves(curves: pd.DataFrame) -> Figure:
    """Validation force error, and losses, of each seed against the epoch.

    Args:
        curves: `curve.csv` of all arms and seeds with the columns `arm` and `seed` (epoch, train_loss,
            validation_loss, validation_rmse_force_meV_A).
    """
    arms = list(dict.fromkeys(curves["arm"]))
    if not arms:
        return with_text("No models are trained in this study.")
    styles = arm_styles(arms)
    with new_figure(3.3 + 0.17 * max(0, len(arms) - 2)) as figure:
        errors, losses = figure.subplots(1, 2)
        handles = []
        for arm in arms:
            of_arm, style = curves[curves["arm"] == arm], styles[arm]
            for _, whole in of_arm.groupby("seed"):
                curve = thinned(whole.drop(columns=["arm", "seed"]))
                look = {"color": style.colour, "alpha": 0.75, "linewidth": 1.0}
                errors.plot(curve["epoch"], curve["validation_rmse_force_meV_A"], linestyle=style.line, **look)
                losses.plot(curve["epoch"], curve["train_loss"], linestyle="-", **look)
                losses.plot(curve["epoch"], curve["validation_loss"], linestyle=":", **look)
            last = of_arm.sort_values("epoch").groupby("seed")["validation_rmse_force_meV_A"].last()
            seeds = f"median of {len(last)} seeds" if len(last) > 1 else "1 seed"
            label = f"{arm}: {last.median():.0f} meV/Å at the end ({seeds})"
            handles.append(Line2D([], [], color=style.colour, linestyle=style.line, label=label))
        for axes in (errors, losses):
            light_grid(axes)
            plain_log_axis(axes)
            axes.set_xlabel("epoch")
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        errors.set_title("validation error of the forces")
        errors.set_ylabel("RMSE / (meV/Å)")
        losses.set_title("loss: solid training, dotted validation")
        losses.set_ylabel("weighted loss (in eV and Å)")
        legend_above(figure, handles)
    return figure


def force_components(forces: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Reference and model force components in eV/Å, (3 * n_rows,) each."""
    reference, model = (
        forces[[f"{kind}_{axis}_eV_A" for axis in "xyz"]].to_numpy(dtype=float).ravel()
        for kind in ("reference", "model")
    )
    return reference, model


def force_errors(forces: pd.DataFrame) -> dict[str, float]:
    """RMSE and MAE in meV/Å and R² of the force components."""
    reference, model = force_components(forces)
    difference = model - reference
    spread = ((reference - reference.mean()) ** 2).sum()
    return {
        "rmse_meV_A": 1000 * math.sqrt((difference**2).mean()),
        "mae_meV_A": 1000 * float(np.abs(difference).mean()),
        "r2": 1 - float((difference**2).sum() / spread) if spread > 0 else math.nan,
    }


def force_parity(forces: pd.DataFrame) -> Figure:
    """Model against reference force components: a row of panels per arm, a column per set.

    Args:
        forces: the evaluation tables of all arms put together, with a column `arm` (arm, set, reference_x_eV_A ...
            model_z_eV_A).
    """
    arms = list(dict.fromkeys(forces["arm"]))
    sets = [name for name in ("train", "validation") if name in set(forces["set"])]
    reference, model = force_components(forces)
    low, high = min(reference.min(), model.min()), max(reference.max(), model.max())
    margin = 0.03 * (high - low)
    limits = (low - margin, high + margin)
    with new_figure(0.5 + 2.75 * len(arms)) as figure:
        panels = figure.subplots(len(arms), len(sets), sharex=True, sharey=True, squeeze=False)
        drawn = []
        for row, arm in enumerate(arms):
            for column, name in enumerate(sets):
                axes = panels[row, column]
                chosen = forces[(forces["arm"] == arm) & (forces["set"] == name)]
                axes.set_title(f"{wrapped(arm, 34)}, {name}")
                axes.set_aspect("equal")
                axes.set(xlim=limits, ylim=limits)
                if chosen.empty:
                    axes.text(0.5, 0.5, "no training frames", ha="center", color=GREY, transform=axes.transAxes)
                    continue
                x, y = force_components(chosen)
                hexagons = axes.hexbin(
                    x, y, gridsize=HEXAGONS, extent=(*limits, *limits), mincnt=1, cmap="cividis_r", linewidths=0.2
                )
                # Thousands of hexagons as one picture inside the SVG.
                hexagons.set_rasterized(True)
                drawn.append(hexagons)
                axes.plot(limits, limits, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
                errors = force_errors(chosen)
                axes.text(
                    0.04,
                    0.96,
                    "RMSE {rmse_meV_A:.0f} meV/Å\nMAE {mae_meV_A:.0f} meV/Å\nR² {r2:.4f}".format(**errors),
                    transform=axes.transAxes,
                    va="top",
                    fontsize=8,
                )
                axes.xaxis.set_major_locator(MaxNLocator(5))
                axes.yaxis.set_major_locator(MaxNLocator(5))
        norm = LogNorm(1, max(2, *(int(hexagons.get_array().max()) for hexagons in drawn)))
        for hexagons in drawn:
            hexagons.set_norm(norm)
        figure.colorbar(
            drawn[0], ax=panels, label="components per hexagon", format="%g", shrink=0.8, aspect=30, pad=0.02
        )
        figure.supxlabel("reference force component / (eV/Å)", fontsize=9)
        figure.supylabel("model / (eV/Å)", fontsize=9)
    return figure


def reliability_diagram(table: pd.DataFrame, arms: Sequence[str]) -> Figure:
    """Error of the committee's mean force against its spread, binned, with the line of equality: a panel per arm.

    Args:
        table: of `physembed.analysis.reliability.reliability`.
        arms: all arms of the study, in its order.
    """
    styles = arm_styles(arms)
    binned = table[table["bin"] > 0]
    values = binned[["predicted_meV_A", "error_meV_A"]].to_numpy(dtype=float)
    values = values[np.isfinite(values) & (values > 0)]
    low, high = (0.8 * values.min(), 1.25 * values.max()) if values.size else (1.0, 10.0)
    columns = min(len(arms), 2)
    rows = math.ceil(len(arms) / columns)
    with new_figure(0.4 + 2.9 * rows) as figure:
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (arm, style) in zip(panels, styles.items(), strict=False):
            axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
            plain_log_axis(axes, "x")
            plain_log_axis(axes, "y")
            axes.set_aspect("equal")
            axes.set_title(wrapped(arm, 34))
            axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle="--")
            own = table[table["arm"] == arm]
            if own.empty:
                text = "no frame was seen\nby two models"
                axes.text(0.5, 0.5, text, ha="center", color=GREY, fontsize=8, transform=axes.transAxes)
                continue
            bins, whole = own[own["bin"] > 0], own[own["bin"] == 0].iloc[0]
            axes.errorbar(
                bins["predicted_meV_A"], bins["error_meV_A"], bins["standard_error_meV_A"].fillna(0), fmt=style.marker,
                color=style.colour, capsize=2, markersize=5, linewidth=1.0,
            )  # fmt: skip
            error = whole["calibration_standard_error"]
            uncertain = "" if math.isnan(error) else f" ± {error:.2f}"
            axes.text(
                0.04,
                0.96,
                f"factor {whole['calibration_factor']:.2f}{uncertain}\n{whole['members']} models",
                transform=axes.transAxes,
                va="top",
                fontsize=8,
            )
        for axes in panels[len(arms) :]:
            axes.set_visible(False)
        for axes in panels[max(len(arms) - columns, 0) : len(arms)]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel("predicted: spread of the models / (meV/Å)", fontsize=9)
        figure.supylabel("found: RMSE / (meV/Å)", fontsize=9)
    return figure


def _mean_error(frames: pd.DataFrame) -> tuple[float, float, int]:
    """Mean over frames of the force RMSE in meV/Å, its standard error (NaN for one frame), number of frames.

    The models of all seeds see the same frames, so each frame counts once, with its mean over the seeds.
    """
    per_frame = 1000 * frames.groupby("frame")["force_rmse_eV_A"].mean().to_numpy(dtype=float)
    count = len(per_frame)
    error = per_frame.std(ddof=1) / math.sqrt(count) if count > 1 else math.nan
    return float(per_frame.mean()), float(error), count


@dataclass(frozen=True)
class _Change:
    """A kind of modification, as `error_by_stretch` draws it."""

    column: str
    width: float
    """Of a bin."""
    label: str
    noun: str


STRETCH = _Change("stretch_A", 0.05, "stretch beyond mean length / Å", "bond")
BEND = _Change("bend_degrees", 10.0, "bend from mean angle / degrees", "angle")


def modification_errors(frames: pd.DataFrame, change: _Change) -> pd.DataFrame:
    """Force error of the training frames by how far their modified bond or angle is from its mean.

    Args:
        frames: the evaluation tables of all arms with a column `arm` (arm, set, frame, stretch_A, bend_degrees,
            force_rmse_eV_A).
        change: `STRETCH` or `BEND`.

    Returns:
        arm; group (`validation`, `unmodified` for training frames without any modification, `modified` for those with
        one of this kind); low and high, the bin (NaN for the first two groups); frames; force_rmse_meV_A and its
        standard_error_meV_A (mean over frames of the RMSE within a frame).
    """
    rows = []
    for arm, of_arm in frames.groupby("arm", sort=False):
        validation, train = of_arm[of_arm["set"] == "validation"], of_arm[of_arm["set"] == "train"]
        bins = np.floor(train[change.column] / change.width)
        untouched = train[[STRETCH.column, BEND.column]].isna().all(axis=1)
        groups = [("validation", math.nan, validation), ("unmodified", math.nan, train[untouched])]
        numbers = np.unique(bins.dropna().to_numpy(dtype=float))
        groups += [("modified", float(number), train[bins == number]) for number in numbers]
        for group, number, members in groups:
            if len(members):
                mean, error, count = _mean_error(members)
                low = number * change.width
                rows.append([arm, group, low, low + change.width, count, mean, error])
    columns = ["arm", "group", "low", "high", "frames", "force_rmse_meV_A", "standard_error_meV_A"]
    return pd.DataFrame(rows, columns=columns)


def error_by_stretch(frames: pd.DataFrame) -> Figure:
    """Force error against the stretch and the bend of modified frames, with unmodified frames beside them.

    Args:
        frames: see `modification_errors`.
    """
    arms = list(dict.fromkeys(frames["arm"]))
    styles = arm_styles(arms)
    changes = [STRETCH, BEND] if frames[BEND.column].notna().any() else [STRETCH]
    with new_figure(3.4) as figure:
        panels = figure.subplots(
            1, 1 + len(changes), sharey=True, width_ratios=(1, *[2.6 / len(changes)] * len(changes))
        )
        for axes in panels:
            light_grid(axes)
        left = panels[0]
        _draw_plain(left, modification_errors(frames, STRETCH), styles)
        for axes, change in zip(panels[1:], changes, strict=True):
            _draw_modified(axes, modification_errors(frames, change), styles, change)
        left.set_ylim(0, 1.08 * left.get_ylim()[1])
        left.set_ylabel("force RMSE / (meV/Å)")
        legend_above(figure)
    return figure


def _draw_plain(axes: Axes, table: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> None:
    """The frames without any modification, and those of validation."""
    groups = ("validation", "unmodified")
    for index, (arm, style) in enumerate(styles.items()):
        plain = table[(table["arm"] == arm) & (table["group"] != "modified")]
        places = plain["group"].map(groups.index) + 0.22 * (index - (len(styles) - 1) / 2)
        axes.errorbar(
            places, plain["force_rmse_meV_A"], plain["standard_error_meV_A"], fmt=style.marker, label=arm,
            color=style.colour, capsize=3, markersize=5, linewidth=1.2,
        )  # fmt: skip
    axes.set_xticks(range(len(groups)), ["validation", "training,\nunmodified"])
    axes.set_xlim(-0.5, 1.5)
    axes.set_title("unmodified frames")


def _draw_modified(axes: Axes, table: pd.DataFrame, styles: Mapping[str, ArmStyle], change: _Change) -> None:
    """The training frames with a modification of one kind, by bins of it."""
    table = table[table["group"] == "modified"]
    arms = [arm for arm in styles if (table["arm"] == arm).any()]
    for arm in arms:
        modified, style = table[table["arm"] == arm], styles[arm]
        shift = 0.2 * (arms.index(arm) - (len(arms) - 1) / 2) * change.width
        centres = (modified["low"] + modified["high"]) / 2 + shift
        axes.errorbar(
            centres, modified["force_rmse_meV_A"], modified["standard_error_meV_A"], fmt=style.marker,
            color=style.colour, capsize=3, markersize=5, linewidth=1.2,
        )  # fmt: skip
        if len(arms) == 1:
            tops = modified["force_rmse_meV_A"] + modified["standard_error_meV_A"].fillna(0)
            for x, y, count in zip(centres, tops, modified["frames"], strict=True):
                axes.annotate(
                    str(count), (x, y), (0, 3), textcoords="offset points", ha="center", fontsize=7, color=GREY
                )
    axes.set_title(f"frames with a modified {change.noun}")
    axes.set_xlabel(change.label)
    if arms:
        axes.axvline(0, color=BLACK, linewidth=0.8, linestyle=":")
    else:
        axes.text(0.5, 0.5, f"no arm modifies {change.noun}s", ha="center", color=GREY, transform=axes.transAxes)
        axes.set_xticks([])


LEDGER_COLOURS = {
    "ok": (GREEN, "accepted"),
    "ok_after_retry": (YELLOW, "accepted after SCF retries"),
    "not_converged": (VERMILION, "SCF not converged"),
    "force_cap": (ORANGE, "force above the limit"),
    "connectivity": (PURPLE, "connectivity changed"),
    "non_finite": (BLUE, "not finite"),
}


def ledger_counts(ledgers: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Number of frames by outcome: a row per set, a column per key of `LEDGER_COLOURS`.

    Raises:
        PhysEmbedError: a ledger contains an unknown outcome.
    """
    rows = {}
    for name, ledger in ledgers.items():
        accepted = ledger["status"] == "ok"
        status = ledger["status"].mask(accepted & (ledger["scf_retries"] > 0), "ok_after_retry")
        if unknown := sorted(set(status) - set(LEDGER_COLOURS)):
            raise PhysEmbedError(f"report: ledger of {name}: status {unknown[0]!r} is unknown; run labels again")
        rows[name] = status.value_counts().reindex(list(LEDGER_COLOURS), fill_value=0)
    return pd.DataFrame(rows).T.rename_axis("set").rename_axis(None, axis=1)


def label_ledger(ledgers: Mapping[str, pd.DataFrame]) -> Figure:
    """Outcome of labelling: one bar per set.

    Args:
        ledgers: the ledger (status, scf_retries) of each set.
    """
    counts = ledger_counts(ledgers)
    used = [key for key in LEDGER_COLOURS if counts[key].any()]
    with new_figure(1.35 + 0.36 * len(counts)) as figure:
        axes = figure.subplots()
        left = np.zeros(len(counts))
        labels = [f"{name} ({total})" for name, total in counts.sum(axis=1).items()]
        for key in used:
            colour, text = LEDGER_COLOURS[key]
            width = counts[key].to_numpy()
            bars = axes.barh(labels, width, left=left, color=colour, height=0.66, label=text)
            # A number is written where its bar is wide enough for it.
            wide = counts.sum(axis=1).max() * 0.025
            dark = colour in (BLUE, VERMILION, GREEN)
            axes.bar_label(
                bars, [str(value) if value > wide else "" for value in width], label_type="center", fontsize=8,
                color="white" if dark else "black",
            )  # fmt: skip
            left += width
        axes.invert_yaxis()
        axes.set_xlabel("number of frames")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.tick_params(axis="y", length=0, labelsize=9)
        axes.spines["left"].set_visible(False)
        light_grid(axes, "x")
        legend_above(figure)
    return figure
