"""Figures of an invented study of a molecule: that they show the numbers they are given, legibly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docutils.core
import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch
from scipy import stats

from physembed.analysis.survival import collapse_fractions, compare_arms, survival_curves
from physembed.errors import PhysEmbedError
from physembed.report import metric_figures
from physembed.report.catalogue import MODEL_FIGURES, MOLECULE_FIGURES
from physembed.report.label_figures import survival_against_labels, survival_table
from physembed.report.sampling_figures import bond_lengths
from physembed.report.style import arm_styles, save
from physembed.report.survival_figures import (
    collapse_causes,
    collapse_fraction,
    conditions_differ,
    survival,
)
from physembed.report.tables import (
    force_metric_table,
    paper_stability,
)
from physembed.report.training_figures import (
    BEND,
    STRETCH,
    error_by_stretch,
    force_errors,
    force_parity,
    label_ledger,
    ledger_counts,
    modification_errors,
    thinned,
)
from tests.unit.molecule_study import BONDS, Made, sampled_angles
from tests.unit.shown import check_legible, words

CAPTIONS = Path(__file__).parents[2] / "workflow/report"


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


LAYOUTS = {
    "two arms, five seeds": Made,
    "peptide, short": lambda: Made(types=16, duration_ps=2.0),
    "one arm, one seed, nothing modified": lambda: Made(("original",), (1,), 1, (0.0,)),
    "bent": lambda: Made(bends=True),
    "three arms with long names": lambda: Made(
        ("original", "adaptive", "adaptive_three_bonds_a_frame"), (1, 2, 3), 7, (1.0, 0.2, 0.0)
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_texts_are_inside_and_apart(layout: str) -> None:
    for name, figure in LAYOUTS[layout]().draw("Ac-Ala3-NHMe").items():
        check_legible(name, figure)


def test_axes_carry_units(made: Made) -> None:
    unit = re.compile(r"/ (Å|ps|%|degrees|\(meV/Å\)|\(eV/Å\))|in eV and Å|number of|epoch|per hexagon")
    for name, figure in Made(bends=True).draw().items():
        shared = [label for label in (figure.get_supxlabel(), figure.get_supylabel()) if label]
        labels = shared + [axes.get_xlabel() for axes in figure.axes] + [axes.get_ylabel() for axes in figure.axes]
        notes = re.compile("first to fail|.* over .* seeds|These runs")
        named = [label for label in labels if label and not notes.match(label)]
        assert named, name
        for label in named:
            assert unit.search(label), f"{name}: {label!r} has no unit"


def test_arms_keep_their_look_and_can_be_told_apart() -> None:
    styles = arm_styles([f"arm{index}" for index in range(12)])
    for also in ("line", "marker", "hatch"):
        assert len({(style.colour, getattr(style, also)) for style in styles.values()}) == 12
    assert arm_styles(["arm0", "arm1", "arm0"]) == {name: styles[name] for name in ("arm0", "arm1")}


def test_files_are_the_same_every_time(tmp_path: Path, made: Made) -> None:
    first = made.saved(tmp_path)
    for name, figure in Made().draw().items():
        svg, png = save(figure, tmp_path / f"again.{name}")
        assert svg.name == f"again.{name}.svg"
        assert svg.read_bytes() == first[name].read_bytes(), name
        assert png.read_bytes() == first[name].with_suffix(".png").read_bytes(), name
        assert "date>" not in svg.read_text()
        assert svg.stat().st_size < 400_000
    assert plt.get_fignums() == []


def test_bond_lengths_counts_every_bond(made: Made) -> None:
    figure = bond_lengths(made.before, made.after, made.bonds, dict.fromkeys(made.arms, made.ranges))
    panels = {axes.get_title("left").split()[0]: axes for axes in figure.axes}
    assert list(panels) == sorted(set(made.types), key=lambda name: -BONDS[name][0])
    changed = [json.loads(frame.info["modifications"])[0] for frame in made.after["adaptive"]]
    for name, axes in panels.items():
        count = made.types.count(name) * made.count
        assert sum(bar.get_height() for bar in axes.containers[0]) == count
        (outline,) = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
        assert outline.get_data().values.sum() == count
        (ticks,) = [line for line in axes.lines if line.get_marker() == "|"]
        assert sorted(ticks.get_xdata()) == sorted(item["to_A"] for item in changed if item["types"] == name)
    with pytest.raises(PhysEmbedError, match="arm original lack type c-n"):
        bond_lengths(made.before, made.after, made.bonds, {"original": made.ranges[:1], "adaptive": made.ranges})


def test_angles_are_drawn_where_an_arm_bends_them() -> None:
    figure = sampled_angles(["bent"])
    panels = {axes.get_title("left").split()[0]: axes for axes in figure.axes}
    # Methanol: COH, OCH, HCH; stiffest first, in the order of the molecule where they are as stiff.
    assert next(iter(panels)) == "c3-oh-ho"
    assert set(panels) == {"c3-oh-ho", "h1-c3-oh", "h1-c3-h1"}
    ticks = [line for axes in panels.values() for line in axes.lines if line.get_marker() == "|"]
    assert sum(len(line.get_xdata()) for line in ticks) == 30
    for name, count in (("c3-oh-ho", 1), ("h1-c3-oh", 3), ("h1-c3-h1", 3)):
        assert f"({count}×)" in panels[name].get_title("left")
        assert sum(bar.get_height() for bar in panels[name].containers[0]) == 30 * count
    assert "no arm bends angles" in words(sampled_angles(()))


def test_survival_draws_the_curve_of_the_table(made: Made) -> None:
    curves = survival_curves(made.runs)
    (axes,) = survival(curves, compare_arms(made.runs), made.duration_ps).axes
    for arm in made.arms:
        table = curves[(curves["arm"] == arm) & (curves["seed"] == "all")]
        (line,) = [line for line in axes.lines if str(line.get_label()).startswith(f"{arm}:")]
        np.testing.assert_array_equal(line.get_xdata()[:-1], table["time_ps"])
        np.testing.assert_array_equal(line.get_ydata()[:-1], table["survival"])
        collapsed = made.runs.loc[made.runs["arm"] == arm, "collapsed"].sum()
        assert line.get_label() == f"{arm}: {collapsed} of 100 collapsed"
    drawn = [(line.get_xdata()[:-1].tolist(), line.get_ydata()[:-1].tolist()) for line in axes.lines]
    for _, table in curves.groupby(["arm", "seed"]):
        assert (table["time_ps"].tolist(), table["survival"].tolist()) in drawn


def test_collapse_fraction_stands_beside_the_paper(made: Made) -> None:
    paper = paper_stability().query("molecule == 'paracetamol'")
    figure = collapse_fraction(collapse_fractions(made.runs), paper, 100.0, 800.0)
    diamonds = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert [float(line.get_xdata()[0]) for line in diamonds] == [0.77, 0.0]
    assert "Not comparable" not in words(figure)
    assert "Not comparable" in words(collapse_fraction(collapse_fractions(made.runs), paper, 2.0, 800.0))


def test_conditions_are_compared() -> None:
    paper = paper_stability().query("molecule == 'paracetamol'")
    assert conditions_differ(paper, 100.0, 800.0) == ""
    assert "longer runs collapse more often" in conditions_differ(paper, 50.0, 800.0)
    assert "longer runs" not in conditions_differ(paper, 100.0, 600.0)
    assert "600 K" in conditions_differ(paper, 100.0, 600.0)
    assert conditions_differ(paper[:0], 1.0, 300.0) == ""


def test_survival_against_labels_has_exact_intervals() -> None:
    """Clopper and Pearson's limits are quantiles of beta distributions; the seeds stand beside their arm."""
    chances = {"bent_10": 0.6, "bent_45": 0.1, "other": 0.5, "plain_10": 0.9, "plain_45": 1.0}
    made = Made(tuple(chances), chances=tuple(chances.values()))
    series = {arm: arm.rpartition("_")[0] for arm in ("plain_45", "plain_10", "bent_45", "bent_10")}
    labels = {arm: int(arm.rpartition("_")[2]) for arm in series}
    table = survival_table(collapse_fractions(made.runs), series, labels)
    assert list(table.columns) == "series arm labels seed runs survived fraction low high".split()
    totals = table[table["seed"] == "all"]
    assert totals["arm"].tolist() == ["plain_10", "plain_45", "bent_10", "bent_45"]
    for row in table.to_dict("records"):
        of_arm = made.runs[made.runs["arm"] == row["arm"]]
        of_seed = of_arm if row["seed"] == "all" else of_arm[of_arm["seed"] == int(row["seed"])]
        n, k = len(of_seed), int((~of_seed["collapsed"]).sum())
        assert (row["runs"], row["survived"]) == (n, k)
        assert row["fraction"] == pytest.approx(k / n)
        assert row["low"] == pytest.approx(stats.beta.ppf(0.025, k, n - k + 1) if k else 0)
        assert row["high"] == pytest.approx(stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1)
    figure = survival_against_labels(table, 100.0, 800.0)
    (axes,) = figure.axes
    lines = {str(container.get_label()): container.lines[0] for container in axes.containers}
    assert list(lines) == ["plain", "bent"]
    for name, line in lines.items():
        np.testing.assert_allclose(line.get_ydata(orig=False), totals.loc[totals["series"] == name, "fraction"])
        np.testing.assert_allclose(line.get_xdata(orig=False), [10, 45], rtol=0.1)
    dots = [line for line in axes.lines if line.get_marker() == "o" and line.get_markersize() == 3]
    assert sum(len(line.get_xdata()) for line in dots) == 4 * len(made.seeds)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["10", "45"]


def test_causes_add_up_to_the_collapses() -> None:
    made = Made(types=16, seeds=tuple(range(1, 11)))
    figure = collapse_causes(made.runs)
    for axes, arm in zip(figure.axes, made.arms, strict=True):
        drawn = sum(bar.get_width() for bar in axes.patches)
        assert drawn == made.runs.loc[made.runs["arm"] == arm, "collapsed"].sum()
    for runs in (made.runs, made.runs.iloc[::-1]):  # whichever arm comes first, the bars of all are inside
        for axes in collapse_causes(runs).axes:
            assert max(bar.get_x() + bar.get_width() for bar in axes.patches) <= axes.get_xlim()[1]
    assert re.search(r"^\d+ others$", words(figure), re.MULTILINE)
    # more arms than stand beside each other
    many = Made(tuple(f"arm{index}" for index in range(6)), chances=(0.5,) * 6)
    panels = [axes.get_title().split("\n") for axes in collapse_causes(many.runs).axes]
    assert panels == [[arm, f"{many.runs.query('arm == @arm')['collapsed'].sum()} of 100"] for arm in many.arms]
    none = made.runs[~made.runs["collapsed"]]
    assert words(collapse_causes(none)) == f"no collapse in {len(none)} runs"


def test_long_training_curves_are_thinned_to_medians() -> None:
    curve = pd.DataFrame({"epoch": np.arange(1000), "train_loss": np.arange(1000) % 4})
    thin = thinned(curve)
    assert len(thin) == 250
    assert (thin["train_loss"] == 1.5).all()
    pd.testing.assert_frame_equal(thinned(curve[:200]), curve[:200].astype(float))


def test_force_errors_of_a_known_shift() -> None:
    reference = np.random.default_rng(1).normal(size=(200, 3))
    columns = {f"reference_{x}_eV_A": reference[:, axis] for axis, x in enumerate("xyz")}
    shifted = {f"model_{x}_eV_A": reference[:, axis] + 0.1 for axis, x in enumerate("xyz")}
    errors = force_errors(pd.DataFrame(columns | shifted))
    assert errors["rmse_meV_A"] == pytest.approx(100)
    assert errors["mae_meV_A"] == pytest.approx(100)
    assert errors["r2"] == pytest.approx(1 - 0.01 / reference.var())


def test_parity_plots_count_every_component(made: Made) -> None:
    figure = force_parity(made.forces)
    titled = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert set(titled) == {f"{arm}, {name}" for arm in made.arms for name in ("train", "validation")}
    for title, axes in titled.items():
        arm, name = title.split(", ")
        of_panel = made.forces[(made.forces["arm"] == arm) & (made.forces["set"] == name)]
        assert axes.collections[0].get_array().sum() == 3 * len(of_panel)
        assert f"RMSE {force_errors(of_panel)['rmse_meV_A']:.0f} meV/Å" in axes.texts[0].get_text()


def test_stretch_errors_count_each_frame_once() -> None:
    """Two seeds see the same three frames: two stretched alike, one compressed."""
    frames = pd.DataFrame(
        {
            "arm": "adaptive", "set": "train", "seed": [1, 1, 1, 2, 2, 2], "frame": [0, 1, 2, 0, 1, 2],
            "stretch_A": [0.11, 0.14, -0.02] * 2, "bend_degrees": np.nan,
            "force_rmse_eV_A": [0.1, 0.2, 0.4, 0.3, 0.6, 0.6],
        }
    )  # fmt: skip
    table = modification_errors(frames, STRETCH)
    np.testing.assert_allclose(table[["low", "high"]], [[-0.05, 0.0], [0.1, 0.15]], atol=1e-12)
    assert list(table["frames"]) == [1, 2]
    np.testing.assert_allclose(table["force_rmse_meV_A"], [500, 300])
    # (200, 400): standard deviation 100 sqrt 2, over sqrt 2 frames
    np.testing.assert_allclose(table["standard_error_meV_A"], [np.nan, 100])


def test_bent_frames_are_not_unmodified_ones() -> None:
    frames = pd.DataFrame(
        {
            "arm": "bent", "set": "train", "seed": 1, "frame": [0, 1, 2, 3], "stretch_A": [np.nan, 0.1, np.nan, np.nan],
            "bend_degrees": [-35.0, 12.0, np.nan, 18.0], "force_rmse_eV_A": [0.4, 0.1, 0.2, 0.3],
        }
    )  # fmt: skip
    table = modification_errors(frames, BEND)
    assert table["group"].tolist() == ["unmodified", "modified", "modified"]
    np.testing.assert_allclose(table[["low", "high"]].iloc[1:], [[-40, -30], [10, 20]])
    assert table["frames"].tolist() == [1, 1, 2]
    np.testing.assert_allclose(table["force_rmse_meV_A"], [200, 400, 200])
    assert modification_errors(frames, STRETCH)["frames"].tolist() == [1, 1]
    assert "/ degrees" in words(error_by_stretch(frames))
    assert "/ degrees" not in words(error_by_stretch(frames.assign(bend_degrees=np.nan)))


def test_fine_errors_are_means_over_seeds(made: Made) -> None:
    figure = metric_figures.fine_errors(made.errors)
    train_elements, train_clusters, _, validation_clusters = figure.axes
    # Both arms have the same: 20 and 40 meV/Å and the mean of the seeds, 3.
    assert sorted(bar.get_height() for bar in train_elements.patches) == [23, 23, 43, 43]
    assert len(train_clusters.patches) == 6 and len(validation_clusters.patches) == 4
    assert words(figure).count("25") == 10
    assert [tick.get_text() for tick in train_clusters.get_xticklabels()] == ["1", "2", "3"]


def test_explored_and_ends_say_what_is_not_known(made: Made) -> None:
    figure = metric_figures.explored_shares(made.explored)
    assert words(figure).count("training frames not known") == 1
    shares = [line.get_xdata() for line in figure.axes[0].lines]
    np.testing.assert_allclose(shares[1], 0.1 * np.array(made.seeds))
    ends = metric_figures.errors_before_collapse(made.collapses)
    crosses = [line for line in ends.axes[0].lines if line.get_marker() == "x"]
    assert [len(line.get_xdata()) for line in crosses] == [len(made.seeds)] * len(made.arms)
    assert "adaptive: 5 runs" in words(ends)
    assert "no run collapsed" in words(metric_figures.errors_before_collapse(made.collapses[:0]))
    frames = metric_figures.conformation_map(made.map, np.array([0.5, 0.25])).axes[0].lines
    assert sum(len(line.get_xdata()) for line in frames) == 70


def test_force_metrics_are_means_over_seeds(made: Made) -> None:
    table = force_metric_table({"paracetamol": made.errors})
    assert set(table["seeds"]) == {5} and len(table) == 2 * (5 + 4)
    row = table.query("arm == 'adaptive' and set == 'train' and part == 'H'").iloc[0]
    assert row["mae_meV_A"] == 43 and np.isnan(row["bad_points"])


def test_ledger_bars_add_up(made: Made) -> None:
    counts = ledger_counts(made.ledgers)
    assert (counts.sum(axis=1) == 45).all()
    adaptive = made.ledgers["adaptive"]
    retried = ((adaptive["status"] == "ok") & (adaptive["scf_retries"] > 0)).sum()
    assert counts.loc["adaptive", "ok_after_retry"] == retried > 0
    bars = label_ledger(made.ledgers).axes[0].patches
    assert sum(bar.get_width() for bar in bars) == 45 * len(made.ledgers)
    with pytest.raises(PhysEmbedError, match="ledger of train: status 'lost'"):
        ledger_counts({"train": pd.DataFrame({"status": ["lost"], "scf_retries": [0]})})


@pytest.mark.parametrize(
    "config",
    [{"study": "demo"}, {"molecules": {"names": []}, "liquids": {"models": ["own"]}}, {"liquids": {"models": ["own"]}}],
)
def test_each_figure_has_a_caption_that_renders(config: dict[str, Any]) -> None:
    captions = {path.stem: path.read_text("utf-8") for path in CAPTIONS.glob("*.rst")}
    assert set(MOLECULE_FIGURES) | set(MODEL_FIGURES) <= set(captions)
    named = {"molecule": "paracetamol", "model": "own", "liquid": "EMC"}
    for name, source in captions.items():
        job = SimpleNamespace(wildcards=SimpleNamespace(**named), config=config)
        text = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(source).render(snakemake=job)
        # halt_level 2: a warning about the markup is an error here
        body = docutils.core.publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]
        assert len(body) > 40
        if name == "workflow":
            assert ("dispersion" in body) == ("liquids" in config)
            assert ("adaptive" in body) == (config.get("molecules") is None)
