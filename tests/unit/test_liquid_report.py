"""Figures and summary of a made-up study of liquids: that they show what they are given, and name what limits it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from physembed.errors import PhysEmbedError
from physembed.report import comparison_figures, liquid_figures, scan_figures
from physembed.report.catalogue import MODEL_FIGURES
from physembed.report.liquid_summary import ModelSummary, answer, cautions, facts, headline, shown_figures, tables
from physembed.report.liquid_tables import of_model, tuning_table
from physembed.report.page import plus_minus
from physembed.report.style import BLUE, ORANGE, VERMILION, YELLOW, save
from physembed.report.summary import write_summary
from tests.unit.liquid_study import (
    LIQUIDS,
    TARGET,
    VARIANTS,
    Study,
    structure_tables,
    training_curve,
    volume_scan_table,
)
from tests.unit.shown import Page, check_legible, words

FAILURES = {("EC", "uncorrected"): "evaporated", ("DMC", "corrected"): "blown_up", ("EA", "corrected"): "absent"}
ALL_LOST = {(liquid.name, variant): "evaporated" for liquid in LIQUIDS[:2] for variant in VARIANTS}
LAYOUTS = {
    "eleven liquids, two alphas, failures": lambda: Study(LIQUIDS, alphas=(0.05, -0.05), fates=FAILURES),
    "one liquid, replicas, labels": lambda: Study(LIQUIDS[:1], replicas=3),
    "all too short": lambda: Study(LIQUIDS[:2], frames=20, viscosity_ps=20.0),
    "only failed runs": lambda: Study(LIQUIDS[:2], scan_fate="evaporated", fates=ALL_LOST),
    "target out of reach": lambda: Study(LIQUIDS[:4], a1_range=(0.0, 0.3), frames=600),
}


@pytest.fixture(scope="module")
def studies() -> dict[str, Study]:
    return {name: make() for name, make in LAYOUTS.items()}


@pytest.fixture(scope="module")
def figures(studies: dict[str, Study]) -> dict[str, dict[str, Figure]]:
    return {name: study.draw() for name, study in studies.items()}


@pytest.fixture(scope="module")
def full(studies: dict[str, Study]) -> Study:
    return studies["eleven liquids, two alphas, failures"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_texts_are_inside_and_apart(layout: str, figures: dict[str, dict[str, Figure]]) -> None:
    for name, figure in figures[layout].items():
        check_legible(name, figure)
        # No panel is squeezed by what lies outside of it.
        assert min(axes.get_window_extent().height for axes in figure.axes) > 0.3 * figure.dpi, name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_axis_has_a_label_with_its_unit(layout: str, figures: dict[str, dict[str, Figure]]) -> None:
    unit = re.compile(r"/ (Å|°|ps|%|\(.+\))|no unit|in eV and Å|epoch")
    for name, figure in figures[layout].items():
        for axis, shared in (("x", figure.get_supxlabel()), ("y", figure.get_supylabel())):
            own = [label for axes in figure.axes if (label := getattr(axes, f"get_{axis}label")())]
            if axis == "y" and name in ("densities", "viscosities"):
                # Rows are named by their liquids.
                assert len(figure.axes[0].get_yticklabels()) >= 1
                continue
            # Text below labelled axes is a note.
            labels = own or [shared]
            for label in labels:
                assert unit.search(label), f"{name}: {axis} label {label!r} has no unit"


def test_files_are_the_same_every_time(tmp_path: Path, studies: dict[str, Study]) -> None:
    once, again = studies["all too short"].draw(), studies["all too short"].draw()
    for name, figure in once.items():
        files = zip(save(figure, tmp_path / name), save(again[name], tmp_path / f"again_{name}"), strict=True)
        assert all(one.read_bytes() == other.read_bytes() for one, other in files), name


def points(axes: Axes, marker: str) -> list[tuple[float, float]]:
    """Places of all symbols of a kind in a panel."""
    found = []
    for line in axes.lines:
        if line.get_marker() == marker:
            found += list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))
    return sorted(found)


def test_density_scan_draws_the_runs_the_line_and_a1(full: Study) -> None:
    figure = scan_figures.density_scan(full.scan_runs, full.tuning, full.curve, full.confirming)
    assert [axes.get_title("left").split("\n")[0] for axes in figure.axes] == ["α = +0.05", "α = -0.05"]
    for axes, alpha in zip(figure.axes, full.alphas, strict=True):
        runs = full.scan_runs[full.scan_runs["alpha"] == alpha]
        expected = sorted(zip(runs["a1"], runs["density_g_cm3"], strict=True))
        np.testing.assert_allclose(points(axes, "o"), expected)
        (line,) = [
            line for line in axes.lines if to_hex(line.get_color()) == BLUE.lower() and line.get_linestyle() == "-"
        ]
        np.testing.assert_allclose(
            np.polyfit(line.get_xdata(), line.get_ydata(), 1)[0],
            full.tuning.query("alpha == @alpha")["slope_g_cm3"].iloc[0],
        )
    tuned, unresolved = full.tuning.to_dict("records")
    left, right = figure.axes
    (span,) = [patch for patch in left.patches if isinstance(patch, Rectangle)]
    assert (span.get_x(), span.get_x() + span.get_width()) == pytest.approx((tuned["a1_low"], tuned["a1_high"]))
    np.testing.assert_allclose(points(left, "*"), [(tuned["a1"], full.confirming["density_g_cm3"].iloc[0])])
    assert unresolved["status"] == "unresolved" and "not decided" in right.get_title("left")
    assert not points(right, "*") and unresolved["reason"] in words(figure).replace("\n", " ")


def test_density_scan_marks_lost_runs_and_uncertain_curves(full: Study) -> None:
    runs, curve = full.scan_runs.copy(), full.curve.copy()
    runs.loc[[1, 2], ["status", "density_status"]] = "evaporated"
    runs.loc[[1, 2], "density_g_cm3"] = np.nan
    runs.loc[3, "density_status"] = "insufficient"
    curve["effective_samples"] = np.where(curve["a1"] < 1, 500, 5)
    figure = scan_figures.density_scan(runs, full.tuning.assign(method="reweighted"), curve, full.confirming.iloc[:0])
    axes, shown = figure.axes[0], words(figure)
    assert [place for place, _ in points(axes, "X")] == list(runs.loc[[1, 2], "a1"])
    hollow = [line for line in axes.lines if line.get_marker() == "o" and line.get_markerfacecolor() == "white"]
    assert sum(len(line.get_xdata()) for line in hollow) == 1
    solid = [line for line in axes.lines if to_hex(line.get_color()) == BLUE.lower() and line.get_linestyle() == "-"]
    assert np.nanmax(np.where(np.isnan(solid[0].get_ydata()), np.nan, solid[0].get_xdata())) < 1
    for text in ("run lost", "reweighted curve", "too few frames", "run too short for an error"):
        assert text in shown
    assert "confirmation run" not in shown


def test_unreachable_target_shows_the_best_point(figures: dict[str, dict[str, Figure]]) -> None:
    figure = figures["target out of reach"]["density_scan"]
    assert "no a1: target out of reach (best: 0.3)" in figure.axes[0].get_title("left")
    assert "is not reached" in words(figure)
    assert [line.get_linestyle() for line in figure.axes[0].lines if to_hex(line.get_color()) == ORANGE.lower()] == [
        ":"
    ]


def test_long_reasons_are_said_in_full(full: Study) -> None:
    reason = "; ".join(f"a1 = {a1:g}: 3.2 independent frames; run longer" for a1 in np.arange(0, 2, 0.2))
    tuning = full.tuning.assign(reason=reason)
    figure = scan_figures.density_scan(full.scan_runs, tuning, full.curve, full.confirming)
    said = words(figure).replace("\n", " ")
    assert all(part in said for part in reason.split("; "))


def test_densities_and_deviations_are_those_of_the_table(full: Study) -> None:
    table, _ = full.tables()
    here = table[table["origin"] == "this study"].reset_index(drop=True)
    values, deviations = comparison_figures.densities(table).axes
    for marker, variant in (("o", "uncorrected"), ("s", "corrected")):
        assert sorted(x for x, _ in points(values, marker)) == pytest.approx(sorted(here[f"{variant}_g_cm3"].dropna()))
        assert sorted(x for x, _ in points(deviations, marker)) == pytest.approx(
            sorted(here[f"{variant}_deviation_percent"].dropna())
        )
    measured = [x for x, _ in points(values, "D") if not np.isnan(x)]
    assert sorted(measured) == pytest.approx(sorted(here["experiment_g_cm3"].dropna()))
    bands = [patch for patch in values.patches if to_hex(patch.get_facecolor()) == YELLOW.lower()]
    assert [round(band.get_y() + band.get_height() / 2) for band in bands] == list(here.index[here["role"] == "tuned"])
    labels = {label.get_text() for label in values.get_yticklabels()}
    assert "EC\n313.15 K\nuncorrected: evaporated" in labels
    assert "EA\n298.15 K\ncorrected: not run" in labels
    assert "unmeasured\n350 K\nno measured value" in labels


def test_densities_that_are_not_to_be_judged_are_open(figures: dict[str, dict[str, Figure]]) -> None:
    values, _ = figures["all too short"]["densities"].axes
    drawn = [line for line in values.lines if line.get_marker() in "os"]
    assert drawn and {line.get_markerfacecolor() for line in drawn} == {"white"}
    assert "open: too short for an error" in words(figures["all too short"]["densities"])
    assert "nothing to compare" in words(figures["only failed runs"]["densities"])


def test_density_traces_mark_mean_and_loss(full: Study) -> None:
    figure = liquid_figures.density_traces(full.series, full.runs, full.liquids)
    assert len(figure.axes) == len(full.liquids)
    for axes, liquid in zip(figure.axes, full.liquids, strict=True):
        assert axes.get_title("left").startswith(liquid.name)
        runs = full.runs[full.runs["liquid"] == liquid.name]
        # Two points at one density, from where the mean begins to the end of the run.
        level = [line for line in axes.lines if len(line.get_ydata()) == 2 and np.ptp(line.get_ydata()) == 0]
        means = [line for line in level if line.get_transform() == axes.transData]
        assert sorted(line.get_ydata()[0] for line in means) == pytest.approx(sorted(runs["density_g_cm3"].dropna()))
        starts = runs["equilibration_ps"].dropna() + full.series["time_ps"].iloc[0]
        assert sorted(line.get_xdata()[0] for line in means) == pytest.approx(sorted(starts))
        assert len(points(axes, "X")) == (runs["status"] != "ok").sum()
        assert all(place < full.series["time_ps"].max() for place, _ in points(axes, "X"))
        # A run that evaporates does not squeeze the others, and what is left of it is in sight.
        low, high = axes.get_ylim()
        assert high - low < (0.6 if (runs["status"] != "ok").any() else 0.2)
    shown = words(figure)
    assert "uncorrected: evaporated" in shown and "corrected: blown up" in shown and "corrected: not run" in shown


def test_replicas_that_fail_are_counted(studies: dict[str, Study]) -> None:
    study = studies["one liquid, replicas, labels"]
    runs = study.runs.copy()
    runs.loc[runs.index[1], ["status", "density_status"]] = "evaporated"
    figure = liquid_figures.density_traces(study.series, runs, study.liquids)
    assert "uncorrected: evaporated (1 of 3 runs)" in words(figure)


def estimates(axes: Axes) -> list[float]:
    """Viscosities that are drawn as STACIE's, by their bands."""
    spans = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return sorted(span.get_y() + span.get_height() / 2 for span in spans)


def test_green_kubo_draws_estimates_only_where_data_suffice(full: Study, studies: dict[str, Study]) -> None:
    figure = liquid_figures.green_kubo(full.integrals, full.viscosities, full.liquids)
    for axes, liquid in zip(figure.axes, full.liquids, strict=True):
        here = full.viscosities[full.viscosities["liquid"] == liquid.name]
        sound = here[here["status"] == "ok"]
        assert estimates(axes) == pytest.approx(sorted(sound["viscosity_mPa_s"]))
        bands = [item for item in axes.collections if isinstance(item, PolyCollection)]
        assert len(bands) == len(sound)
        # The plateau is in sight, whatever the noise at long times.
        assert axes.get_ylim()[1] > max(sound["viscosity_mPa_s"], default=0)
    short = studies["all too short"]
    figure = liquid_figures.green_kubo(short.integrals, short.viscosities, short.liquids)
    assert [estimates(axes) for axes in figure.axes] == [[], []]
    needed = short.viscosities["needed_ps"].iloc[0]
    assert f"uncorrected: insufficient, {needed:.0f} ps would suffice" in words(figure)


def test_structure_draws_every_pair_and_angle() -> None:
    rdf, adf = structure_tables(("O-O", "C-O"))
    figure = liquid_figures.structure(rdf, adf)
    titled = {axes.get_title("left"): axes for axes in figure.axes}
    assert list(titled) == ["O-O", "C-O", "C-O-C", "O-C-O"]
    for colour, variant in ((VERMILION, "uncorrected"), (BLUE, "corrected")):
        (line,) = [line for line in titled["C-O"].lines if line.get_color() == colour]
        np.testing.assert_array_equal(line.get_ydata(), rdf[(rdf["pair"] == "C-O") & (rdf["variant"] == variant)]["g"])
        (line,) = [line for line in titled["O-C-O"].lines if line.get_color() == colour]
        expected = adf[(adf["triplet"] == "O-C-O") & (adf["variant"] == variant)]["density_per_degree"]
        np.testing.assert_array_equal(line.get_ydata(), expected)
    # With only one variant, for example if no run survived after the correction.
    alone = liquid_figures.structure(rdf.query("variant == 'corrected'"), adf.query("variant == 'corrected'"))
    assert "uncorrected" not in words(alone)
    assert "no run survived" in words(liquid_figures.structure(rdf.iloc[:0], adf.iloc[:0]))


def test_volume_scan_averages_over_frames() -> None:
    scan = volume_scan_table(3, labelled=True)
    energies, _, errors = scan_figures.volume_scan(scan).axes
    for axes, column, factor in ((energies, "energy_eV_per_molecule", 1000), (errors, "force_rmse_meV_A", 1)):
        expected = factor * scan.query("variant == 'corrected'").groupby("scale")[column].mean()
        (line,) = [line for line in axes.lines if line.get_marker() == "s"]
        np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), expected)
        assert {line.get_marker() for line in axes.lines} >= ({"o", "s", "^"} if axes is energies else {"o", "s"})
    # Without labels there is no error, but what the correction changes.
    unlabelled = scan_figures.volume_scan(volume_scan_table(1, labelled=False))
    assert unlabelled.axes[2].get_title() == "change of forces"
    assert [line.get_marker() for line in unlabelled.axes[2].lines if line.get_marker() in "os^"] == ["s"]


def test_training_shows_the_stress_where_there_is_one() -> None:
    curve = training_curve(stress=True).assign(stage=lambda table: np.where(table["epoch"] < 600, 1, 2))
    figure = scan_figures.liquid_training(curve)
    assert "validation RMSE / (meV/Å³)" in words(figure)
    for axes in figure.axes:
        assert any(set(line.get_xdata()) == {600} for line in axes.lines), "where the second stage begins"
    assert "meV/Å³" not in words(scan_figures.liquid_training(training_curve(stress=False)))


def test_figures_of_nothing_say_so(full: Study) -> None:
    densities, viscosities = full.tables()
    for figure in (
        comparison_figures.densities(densities.iloc[:0]),
        comparison_figures.viscosities(viscosities.iloc[:0]),
        liquid_figures.density_traces(full.series.iloc[:0], full.runs.iloc[:0], full.liquids),
        liquid_figures.green_kubo(full.integrals.iloc[:0], full.viscosities.iloc[:0], full.liquids),
    ):
        assert re.fullmatch("no (liquid|viscosity) was run", words(figure))


def summary(study: Study, folder: Path, **changes: Any) -> ModelSummary:
    """Content of the page for a study; one file is used for all of its figures."""
    drawn = folder / "figure.svg"
    drawn.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    densities, viscosities = study.tables()
    boxes = pd.DataFrame(
        {"liquid": [liquid.name for liquid in study.liquids], "molecules": 40, "atoms": 600, "box_length_A": 24.0}
    )
    model = ModelSummary(
        study.model,
        {
            "kind": "file", "source": "own.model", "sha256": "0123456789abcdef" * 4, "elements": ["H", "C"],
            "r_max_A": 5.0, "heads": None,
        },
        tuning_table({study.model: study.tuning}, study.densities),
        of_model(densities, study.model),
        of_model(viscosities, study.model),
        boxes,
        dict.fromkeys([name for name in MODEL_FIGURES if name != "structure"], drawn),
        dict.fromkeys(densities.loc[densities["origin"] == "this study", "liquid"], drawn),
    )  # fmt: skip
    return replace(model, **changes)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_answer_names_a1_convention_and_held_out_means(full: Study, tmp_path: Path) -> None:
    text = plain(answer(summary(full, tmp_path)))
    row = full.tuning.iloc[0]
    interval = f"a1 = {row['a1']:.3g} (95 % interval {row['a1_low']:.3g} to {row['a1_high']:.3g})"
    assert text.startswith(f"{interval} at α = +0.05, convention d3, tuned on the density of EMC; densities of ")
    # By hand: liquids with both runs and a measured value, without the tuned one.
    both = (
        full.densities.query("status == 'ok'").pivot(index="liquid", columns="variant", values="density_g_cm3").dropna()
    )
    measured = {liquid.name: liquid.density_g_cm3 for liquid in full.liquids[1:] if liquid.density_g_cm3}
    names = [name for name in both.index if name in measured]
    means = [np.mean([abs(both.loc[n, v] / measured[n] - 1) for n in names]) * 100 for v in VARIANTS]
    assert (
        f"densities of {len(names)} held-out liquids: mean deviation {means[0]:.1f} % before, {means[1]:.1f} % after"
        in text
    )


def test_densities_count_where_the_uncorrected_liquid_evaporates(tmp_path: Path) -> None:
    """There is no mean before the correction, and the page says why; that after it is shown all the same."""
    evaporated = {(liquid.name, "uncorrected"): "evaporated" for liquid in LIQUIDS[:3]}
    model = summary(Study(LIQUIDS[:3], fates=evaporated), tmp_path)
    rows = model.densities[(model.densities["origin"] == "this study") & (model.densities["role"] == "held out")]
    assert len(rows) == 2 and set(rows["uncorrected_status"]) == {"evaporated"}
    off = f"{(rows['corrected_g_cm3'] / rows['experiment_g_cm3'] - 1).abs().mean() * 100:.1f} %"
    assert headline(model).replace("\N{NO-BREAK SPACE}", " ") == (
        "Without the correction these liquids have no density (evaporated); tuned only on the density of EMC, it gives "
        f"2 densities not used for tuning to {off} of the measured values on average."
    )
    said = answer(model).replace("\N{NO-BREAK SPACE}", " ")
    assert f"; densities of 2 held-out liquids: evaporated before, mean deviation {off} after" in said
    assert "No held-out density" not in "\n".join(cautions(model))
    one = summary(Study(LIQUIDS[:2], fates=evaporated), tmp_path)
    assert "the liquid has no density (evaporated)" in headline(one) and "gives a density not used" in headline(one)


def test_cautions_of_a_sound_study_are_only_what_always_holds(studies: dict[str, Study], tmp_path: Path) -> None:
    study = Study([LIQUIDS[0], LIQUIDS[7]], viscosity_ps=5000.0)
    found = "\n".join(cautions(summary(study, tmp_path)))
    assert found == (
        "a1 belongs to convention d3; in another convention the same value is a different correction. "
        "It is not known to which convention the paper's a1 (0.6 and 1.07) belong.\n"
        "The density of EMC was used for tuning: its agreement is not evidence, and it enters no mean here."
    )


def test_cautions_name_everything_that_limits_the_result(
    full: Study, studies: dict[str, Study], tmp_path: Path
) -> None:
    short = summary(studies["all too short"], tmp_path)
    found = "\n".join(cautions(short))
    for text in (
        "The NPT runs last 10 ps, the paper's 1000 ps; this is reflected in the errors.",
        "The viscosity runs last 20 ps, the paper's 5000 ps; this is reflected in the errors.",
        "No a1 at α = +0.05: ",
        "Of 4 densities, 4 are not valid (too short: EMC uncorrected, EMC corrected, EC uncorrected, EC corrected).",
        "Of 4 viscosities, 4 have no number (insufficient: EMC uncorrected",
        "ps per run would suffice for all",
        "No held-out density is available",
    ):
        assert text in found
    assert "no densities of held-out liquids for evaluation" in answer(short)
    failed = "\n".join(cautions(summary(full, tmp_path)))
    groups = "evaporated: EC uncorrected; blown up: DMC corrected; not run: EA corrected"
    assert f"Of 22 densities, 3 are not valid ({groups})." in failed
    assert "No measured density of unmeasured." in failed
    assert "No a1 at α = -0.05: a1 = 1.698 is not between the runs" in failed
    boxes = pd.DataFrame({"liquid": ["EMC", "EC"], "molecules": 12, "atoms": 180, "box_length_A": [12.34, 25.0]})
    small = "\n".join(cautions(summary(full, tmp_path, boxes=boxes)))
    assert (
        "Boxes shorter than 20 Å, in which molecules interact with their own images: EMC 12.3 Å (12 molecules, "
        "180 atoms)." in small
    )
    out = "\n".join(cautions(summary(studies["target out of reach"], tmp_path)))
    assert "is not reached" in out and "The corrected runs use the best available a1, 0.3" in out


def test_cautions_on_confirmation_samples_and_replicas(full: Study, tmp_path: Path) -> None:
    model = summary(full, tmp_path)
    far = replace(model, tuning=model.tuning.assign(confirming_deviation_errors=-3.21, confirming_p_value=0.0042))
    assert "The confirmation run at a1 is 3.2 standard errors from the target" in "\n".join(cautions(far))
    none = replace(
        model,
        tuning=model.tuning.assign(
            confirming_deviation_errors=np.nan, confirming_p_value=np.nan, confirming_status="evaporated"
        ),
    )
    assert "The tuning is not confirmed: the corrected run of EMC is evaporated." in cautions(none)
    densities = model.densities.copy()
    densities["corrected_replicas"], densities["corrected_replicas_ok"] = 3.0, 3.0
    emc = (densities["liquid"] == "EMC") & (densities["origin"] == "this study")
    densities.loc[emc, ["corrected_replicas_ok", "corrected_effective_samples"]] = [2.0, 61.0]
    found = "\n".join(cautions(replace(model, densities=densities)))
    assert "Densities from only a part of the replicas: EMC corrected 2 of 3." in found
    assert "standard errors are themselves uncertain by at least 20 %: EMC corrected 61" in found


def test_tables_of_the_page_mark_tuned_rows_and_the_paper(full: Study, tmp_path: Path) -> None:
    tuning, densities, viscosities, errors = tables(summary(full, tmp_path))
    rows = {(row[0], row[3]): [plain(cell) for cell in row] for row in densities.rows}
    looks = dict(zip([(row[0], row[3]) for row in densities.rows], densities.classes, strict=True))
    assert rows["EMC", "this model"][2] == "tuned" and looks["EMC", "this model"] == "tuned"
    assert rows["DMC", "this model"][2] == "held out" and looks["DMC", "this model"] == ""
    assert rows["EC", "this model"][5:7] == ["evaporated", ""]
    assert rows["EC", "paper: MACE-EC/EMC"][5] == "1.278" and looks["EC", "paper: MACE-EC/EMC"] == "paper"
    assert rows["unmeasured", "this model"][4] == "none" and rows["unmeasured", "this model"][6] == ""
    assert any(note.startswith("EC, uncorrected: density 0.") for note in densities.notes)
    assert densities.notes[0].startswith("Measured values: a handbook (EMC, EC,")
    flows = {(row[0], row[3]): row for row in viscosities.rows}
    assert flows["EC", "this model"][5] == "insufficient"
    assert [row[:3] for row in errors.rows[:2]] == [
        ["density", "this model", "held out"],
        ["density", "this model", "tuned"],
    ]
    assert "95 % interval" in tuning.rows[0][1] and tuning.rows[1][1].startswith("no a1 (not decided")
    assert len({len(row) for row in densities.rows} | {len(densities.headings)}) == 1


def test_too_short_results_stand_in_brackets(studies: dict[str, Study], tmp_path: Path) -> None:
    study = studies["all too short"]
    _, densities, viscosities, _ = tables(summary(study, tmp_path))
    density = study.densities["density_g_cm3"].iloc[0]
    assert densities.rows[0][5] == f"({density:.4f}) too short"
    assert plain(densities.rows[0][6]) == f"({100 * (density / TARGET - 1):+.2f} %)"
    assert (
        plain(viscosities.rows[0][5]) == f"insufficient, {study.viscosities['needed_ps'].iloc[0]:.0f} ps would suffice"
    )


def test_facts_are_words(full: Study, tmp_path: Path) -> None:
    pairs = dict(facts(summary(full, tmp_path)))
    assert pairs["kind"] == "a model file given by the user"
    assert pairs["sha256"] == "0123456789ab…" and pairs["elements"] == "H, C" and pairs["r max / Å"] == "5.0"
    assert pairs["convention of the correction"] == "d3" and "heads" not in pairs


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(1.01683, 0.00123, "1.0168 ± 0.0012"), (0.6521, 0.034, "0.652 ± 0.034"), (1.4, np.nan, "1.4000"),
     (1.4, 0.0, "1.4000 ± 0.0000"), (12.3, 3.2, "12.3 ± 3.2"), (1.23456, 0.0000123, "1.2346 ± 0.0000")],
)  # fmt: skip
def test_numbers_carry_two_figures_of_their_error(value: float, error: float, text: str) -> None:
    assert plain(plus_minus(value, error, 4)) == text


def test_page_of_liquids_alone(full: Study, tmp_path: Path) -> None:
    model = summary(full, tmp_path)
    settings = {"npt": {"duration_ps": 10}, "models": {"own": {"tune_on": "EC"}, "other": {"tune_on": "DMC"}}}
    arguments: dict[str, Any] = {"study": "demo", "settings": settings, "versions": {"torch": "2"}}
    write_summary(tmp_path / "summary.html", None, [model], with_figures=True, **arguments)
    write_summary(tmp_path / "overview.html", None, [model], with_figures=False, **arguments)
    page, overview = (Page((tmp_path / f"{name}.html").read_text("utf-8")) for name in ("summary", "overview"))
    assert page.images == len(shown_figures(model)) == len(MODEL_FIGURES) - 1 + len(full.liquids)
    assert overview.images == 0 and (tmp_path / "overview.html").stat().st_size < 100_000
    assert "Training." in page.text
    assert "Which models get the liquid right?" in page.text and "Which models hold" not in page.text
    assert "models.own.tune_on" in page.text and "models.other" not in page.text
    assert "single molecules" not in page.text and "Runs that share a seed" not in page.text
    for each in (page, overview):
        each.check_alone()
        for expected in (answer(model), "tuned", "held out", "MACE-OFF23(S)", "npt.duration_ps"):
            assert expected in each.text


def test_figures_of_viscosities_are_shown_only_where_one_was_run(full: Study, tmp_path: Path) -> None:
    model = summary(full, tmp_path)
    none = replace(model, viscosities=model.viscosities[model.viscosities["origin"] != "this study"])
    titles, left = ({title for title, _, _ in shown_figures(shown)} for shown in (model, none))
    assert titles - left == {MODEL_FIGURES[name].title for name in ("viscosities", "green_kubo")}
    assert "No viscosity was run." in cautions(none)


def test_page_refuses_missing_figures(full: Study, tmp_path: Path) -> None:
    model = summary(full, tmp_path)
    arguments: dict[str, Any] = {
        "study": "demo",
        "settings": {"models": {"own": {}}},
        "versions": {},
        "with_figures": True,
    }

    def written(**changes: Any) -> None:
        write_summary(tmp_path / "no.html", None, [replace(model, **changes)], **arguments)

    with pytest.raises(PhysEmbedError, match="own: figure 'densities' is missing or unknown"):
        written(figures={name: path for name, path in model.figures.items() if name != "densities"})
    with pytest.raises(PhysEmbedError, match="structure of 'EMC' is missing"):
        written(structures={name: path for name, path in model.structures.items() if name != "EMC"})
    assert not (tmp_path / "no.html").exists()
    # A model that came as a file has no training to show.
    written(figures={name: path for name, path in model.figures.items() if name != "liquid_training"})
    assert "Training." not in Page((tmp_path / "no.html").read_text("utf-8")).text
