"""Figures, tables and summary of a made-up study: that they show the numbers they are given, legibly."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docutils.core
import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import molecule
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text
from scipy import stats

from physembed.analysis.reliability import reliability
from physembed.analysis.survival import collapse_fractions, compare_arms, rearranged_runs, survival_curves
from physembed.config import Arm
from physembed.errors import PhysEmbedError
from physembed.learning.rounds import ROUND, round_without_runs, rounds_table
from physembed.molecules.angles import COLUMNS as ANGLE_COLUMNS
from physembed.molecules.bonds import COLUMNS as BOND_COLUMNS
from physembed.report import metric_figures
from physembed.report.catalogue import MODEL_FIGURES, MOLECULE_FIGURES, figures_of_molecule
from physembed.report.label_figures import survival_against_labels, survival_table
from physembed.report.sampling_figures import bond_angles, bond_lengths
from physembed.report.style import arm_styles, save
from physembed.report.summary import (
    MoleculesPart,
    MoleculeSummary,
    answer,
    cautions,
    change_in_words,
    headline,
    molecule_tables,
    write_summary,
)
from physembed.report.summary import _molecule as summary_of_molecule
from physembed.report.survival_figures import (
    collapse_causes,
    collapse_fraction,
    comparison_lines,
    conditions_differ,
    survival,
)
from physembed.report.tables import (
    force_metric_table,
    labels_spent,
    ledger_table,
    model_error_table,
    paper_stability,
    stability_table,
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
    reliability_diagram,
    thinned,
    training_curves,
)
from physembed.sampling.arm import sample_frames
from physembed.tables import read_table

CAPTIONS = Path(__file__).parents[2] / "workflow/report"
BONDS = {
    "c-o": (637.7, 1.22), "ca-ca": (461.1, 1.40), "c-n": (427.6, 1.38), "hn-n": (403.2, 1.01),
    "c-os": (390.8, 1.36), "ca-oh": (384.0, 1.36), "ho-oh": (371.4, 0.97), "ca-n": (363.8, 1.42),
    "c3-f": (356.9, 1.35), "ca-ha": (345.8, 1.09), "c3-hc": (330.6, 1.10), "c3-h1": (330.2, 1.10),
    "c3-n": (328.7, 1.46), "c-c3": (313.0, 1.52), "c3-os": (308.6, 1.43), "c3-c3": (300.9, 1.54),
}  # fmt: skip


def sampled_angles(bending: Sequence[str]) -> Figure:
    """The figure of angles of methanol, bent in these arms and not in `original`."""
    methanol = molecule("CH3OH")
    methanol.arrays.pop("tags", None)
    pairs = [(0, 1), (0, 2), (0, 4), (0, 5), (1, 3)]
    types = ["c3", "oh", "h1", "ho", "h1", "h1"]
    rows = [(i, j, types[i], types[j], 300.0, methanol.get_distance(i, j), False, types[j][0] == "h") for i, j in pairs]
    bonds = pd.DataFrame(rows, columns=list(BOND_COLUMNS))
    corners = [(0, 1, 3), *((i, 0, k) for i, k in combinations((1, 2, 4, 5), 2))]
    angles = pd.DataFrame(
        [
            (
                i,
                j,
                k,
                types[i],
                types[j],
                types[k],
                40.0 + 5 * j,
                methanol.get_angle(i, j, k),
                False,
                types[k][0] == "h",
            )
            for i, j, k in corners
        ],
        columns=list(ANGLE_COLUMNS),
    )
    frames = []
    for index in range(30):
        frames.append(methanol.copy())
        frames[-1].rattle(0.03, seed=index)
    recipes = {"original": Arm(bonds_per_frame=0)} | {
        arm: Arm(angles_per_frame=1, reference_k_kcal_mol_A2=300, reference_k_kcal_mol_rad2=60) for arm in bending
    }
    sampled = {arm: sample_frames(frames, bonds, angles, recipe, 1) for arm, recipe in recipes.items()}
    return bond_angles(
        frames,
        {arm: made.frames for arm, made in sampled.items()},
        angles,
        {arm: made.angle_ranges for arm, made in sampled.items()},
    )


class Made:
    """Tables of one molecule, a chain of atoms, with the columns of the pipeline's files."""

    def __init__(
        self,
        arms: tuple[str, ...] = ("original", "adaptive"),
        seeds: tuple[int, ...] = (1, 2, 3, 4, 5),
        types: int = 5,
        chances: tuple[float, ...] = (0.8, 0.1),
        duration_ps: float = 100.0,
        bends: bool = False,
    ) -> None:
        self.rng = rng = np.random.default_rng(7)
        self.arms, self.seeds, self.duration_ps, self.count = arms, seeds, duration_ps, 12
        self.bends = bends
        """Whether a frame that is modified counts as bent too."""
        self.types = [name for index, name in enumerate(list(BONDS)[:types]) for _ in range(1 + index % 2)]
        pairs = [name.split("-") for name in self.types]
        # One pair is given the other way round, as a topology may.
        self.bonds = pd.DataFrame(
            [(i, i + 1, *(pair if i else pair[::-1])) for i, pair in enumerate(pairs)],
            columns=["i", "j", "type_i", "type_j"],
        )
        lengths = np.array([BONDS[name][1] for name in self.types])
        lengths = lengths + 0.03 * rng.standard_normal((self.count, len(lengths)))
        rows = []
        for name in dict.fromkeys(self.types):
            values, k = lengths[:, np.array(self.types) == name], BONDS[name][0]
            low, mean, high = values.min(), values.mean(), values.max()
            rows.append((name, k, low, mean, high, 0.95 * low, mean + 75 / k, bool(mean + 75 / k < high)))
        names = "types k_kcal_mol_A2 r_min_A r_mean_A r_max_A compression_low_A stretch_high_A stretch_empty"
        self.ranges = pd.DataFrame(rows, columns=names.split())
        self.before = [self._frame(row, []) for row in lengths]
        self.after = {
            arm: self.before if arm == "original" else [self._modified(row) for row in lengths] for arm in arms
        }
        pieces = [self._of_arm(arm, chance) for arm, chance in zip(arms, chances, strict=True)]
        self.runs, self.curves, self.frames, self.forces = (
            pd.concat(tables, ignore_index=True) for tables in zip(*pieces, strict=True)
        )
        status = ["ok", "ok", "not_converged", "force_cap", "connectivity"]
        self.ledgers = {
            name: pd.DataFrame({"status": rng.choice(status, 45), "scf_retries": rng.integers(0, 2, 45)})
            for name in ("validation", *arms)
        }

    def _frame(self, lengths: np.ndarray, modifications: list[dict[str, Any]]) -> Atoms:
        x = np.concatenate([[0], np.cumsum(lengths)])
        frame = Atoms("C" * len(x), np.stack([x, 0 * x, 0 * x], axis=1))
        frame.info["modifications"] = json.dumps(modifications)
        return frame

    def _modified(self, lengths: np.ndarray) -> Atoms:
        bond, lengths = int(self.rng.integers(len(lengths))), lengths.copy()
        limits = self.ranges.set_index("types").loc[self.types[bond]]
        lengths[bond] = self.rng.uniform(limits["r_max_A"], limits["stretch_high_A"])
        return self._frame(lengths, [{"bond": [bond, bond + 1], "types": self.types[bond], "to_A": lengths[bond]}])

    def _of_arm(self, arm: str, chance: float) -> tuple[pd.DataFrame, ...]:
        rng, end = self.rng, 1000 * self.duration_ps
        runs, curves, frames, forces = [], [], [], []
        for seed in self.seeds:
            for replica in range(20):
                collapsed = bool(rng.random() < chance)
                cause = str(rng.choice(["bond", "overlap", "non_finite"])) if collapsed else ""
                types = str(rng.choice(self.types)) if cause in ("bond", "overlap") else ""
                place = str(rng.choice(["inside", "outside"])) if cause == "bond" else ""
                time = float(rng.integers(1, int(end))) if collapsed else end
                runs.append((arm, seed, replica, collapsed, time, cause, types, place))
            epoch = np.arange(300)
            error = 40 * (1 + 5 * np.exp(-epoch / 40)) * np.exp(0.1 * rng.standard_normal(300))
            curves.append(pd.DataFrame({"arm": arm, "seed": seed, "epoch": epoch, "train_loss": error**2 / 50}))
            curves[-1] = curves[-1].assign(validation_loss=error**2 / 30, validation_rmse_force_meV_A=error)
            for name, index in [("train", i) for i in range(self.count)] + [("validation", i) for i in range(3)]:
                changes = json.loads(self.after[arm][index].info["modifications"]) if name == "train" else []
                means = dict(zip(self.ranges["types"], self.ranges["r_mean_A"], strict=True))
                stretch = changes[0]["to_A"] - means[changes[0]["types"]] if changes else np.nan
                # All seeds see the same frames.
                of_frame = np.random.default_rng([len(arm), index, name == "train"])
                reference = of_frame.normal(0, 1.5, (len(self.types) + 1, 3))
                model = reference + rng.normal(0, 0.05, reference.shape)
                rmse = np.sqrt(((model - reference) ** 2).mean())
                bend = float(rng.uniform(-40, 40)) if changes and self.bends else np.nan
                frames.append(
                    (arm, name, seed, index, len(model), stretch, bend, -100.0, -100.0 + 0.01 * len(model), rmse)
                )
                columns = {f"reference_{x}_eV_A": reference[:, axis] for axis, x in enumerate("xyz")}
                columns |= {f"model_{x}_eV_A": model[:, axis] for axis, x in enumerate("xyz")}
                columns["atom"] = np.arange(len(model))
                forces.append(pd.DataFrame({"arm": arm, "set": name, "seed": seed, "frame": index, **columns}))
        of_runs = ["arm", "seed", "replica", "collapsed", "time_fs", "cause", "types", "in_sampled_range"]
        of_frames = (
            "arm set seed frame n_atoms stretch_A bend_degrees energy_reference_eV energy_model_eV force_rmse_eV_A"
        )
        return (
            pd.DataFrame(runs, columns=of_runs), pd.concat(curves),
            pd.DataFrame(frames, columns=of_frames.split()), pd.concat(forces),
        )  # fmt: skip

    @property
    def by_labels(self) -> pd.DataFrame:
        """The arms as if they were the same with 10, 20, ... labels; the last of three is a series of its own."""
        last = {self.arms[-1]: "another kind of arm"} if len(self.arms) > 2 else {}
        labels = {arm: 10 * 2**index for index, arm in enumerate(self.arms)}
        return survival_table(collapse_fractions(self.runs), dict.fromkeys(self.arms, "adaptive") | last, labels)

    @property
    def errors(self) -> pd.DataFrame:
        """Two elements and three clusters, the last of which has no validation frame."""
        parts = [("element", "C"), ("element", "H"), ("cluster", "0"), ("cluster", "1"), ("cluster", "2")]
        return pd.DataFrame([
            {"arm": arm, "seed": seed, "set": name, "scope": scope, "part": part, "mae_meV_A": 20.0 * row + seed,
             "bad_points": 0.25 if scope == "cluster" else np.nan}
            for arm in self.arms for seed in self.seeds for name in ("train", "validation")
            for row, (scope, part) in enumerate(parts, 1) if (name, part) != ("validation", "2")
        ])  # fmt: skip

    @property
    def map(self) -> pd.DataFrame:
        """Places of 20 training frames and 50 frames of the runs of each arm."""
        rng = np.random.default_rng(1)
        tables = [
            pd.DataFrame({"arm": arm, "kind": kind, "cluster": numbers % 3, "unexplored": numbers % 2})
            for arm in self.arms for kind, numbers in (("train", np.arange(20)), ("run", np.arange(50)))
        ]  # fmt: skip
        table = pd.concat(tables, ignore_index=True)
        return table.assign(x=rng.normal(size=len(table)), y=rng.normal(size=len(table)))

    @property
    def explored(self) -> pd.DataFrame:
        """The first arm has no known training frames."""
        table = pd.DataFrame([{"arm": arm, "seed": seed} for arm in self.arms for seed in self.seeds])
        known = (table["arm"] != self.arms[0]).map({True: 1.0, False: np.nan})
        return table.assign(
            unexplored_share=0.1 * table["seed"] * known, mean_force_inside_eV_A=1.0 * known,
            mean_force_outside_eV_A=2.0 * known,
        )  # fmt: skip

    @property
    def collapses(self) -> pd.DataFrame:
        """One run of each arm and seed, whose last frame has no label."""
        return pd.DataFrame([
            {"arm": arm, "seed": seed, "replica": 0, "time_before_fs": 100.0 * back,
             "label": "ok" if back else "refused", "force_mae_meV_A": 1000.0 / back if back else np.nan}
            for arm in self.arms for seed in self.seeds for back in range(10, -1, -1)
        ])  # fmt: skip

    def draw(self, molecule: str = "paracetamol", duration_ps: float | None = None) -> dict[str, Figure]:
        """Every figure of a molecule."""
        comparison, fractions = compare_arms(self.runs), collapse_fractions(self.runs)
        paper, duration = paper_stability().query("molecule == @molecule"), duration_ps or self.duration_ps
        return {
            "bond_lengths": bond_lengths(self.before, self.after, self.bonds, dict.fromkeys(self.arms, self.ranges)),
            "bond_angles": sampled_angles(self.arms[1:] if self.bends else ()),
            "survival": survival(survival_curves(self.runs), comparison, self.duration_ps),
            "collapse_fraction": collapse_fraction(fractions, paper, duration, 800.0),
            "collapse_causes": collapse_causes(self.runs),
            "survival_against_labels": survival_against_labels(self.by_labels, duration, 800.0),
            "training_curves": training_curves(self.curves),
            "force_parity": force_parity(self.forces),
            "error_by_stretch": error_by_stretch(self.frames),
            "label_ledger": label_ledger(self.ledgers),
            "reliability": reliability_diagram(reliability(self.forces), self.arms),
            "fine_errors": metric_figures.fine_errors(self.errors),
            "conformations": metric_figures.conformation_map(self.map, np.array([0.5, 0.25])),
            "explored": metric_figures.explored_shares(self.explored),
            "before_collapse": metric_figures.errors_before_collapse(self.collapses),
        }


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


@pytest.fixture(scope="module")
def svgs(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("figures")
    return {name: save(figure, folder / name)[0] for name, figure in made.draw().items()}


def texts(figure: Figure) -> list[Text]:
    """All texts that are drawn, with their final places."""
    FigureCanvasAgg(figure).draw()
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    # Ticks outside the limits of their axis exist but are not drawn.
    ticks = {axis: axis.get_view_interval() for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)}
    hidden = set()
    for axis, (low, high) in ticks.items():
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            outside = not min(low, high) - 1e-9 <= tick.get_loc() <= max(low, high) + 1e-9
            for label in (tick.label1, tick.label2):
                if outside or not tick.get_visible():
                    hidden.add(label)
    return [text for text in found if text not in hidden]


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in texts(figure))


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
        shown = texts(figure)
        boxes = [text.get_window_extent() for text in shown]
        width, height = figure.canvas.get_width_height()
        for text, box in zip(shown, boxes, strict=True):
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            assert inside, f"{name}: {text.get_text()!r} reaches out of the figure"
        for (text_a, a), (text_b, b) in combinations(zip(shown, boxes, strict=True), 2):
            across = min(a.x1, b.x1) - max(a.x0, b.x0)
            along = min(a.y1, b.y1) - max(a.y0, b.y0)
            overlap = across > 1 and along > 1
            assert not overlap, f"{name}: {text_a.get_text()!r} lies on {text_b.get_text()!r}"
        assert min(text.get_fontsize() for text in shown) >= 7


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


def test_files_are_the_same_every_time(tmp_path: Path, made: Made, svgs: dict[str, Path]) -> None:
    for name, figure in Made().draw().items():
        svg, png = save(figure, tmp_path / f"again.{name}")
        assert svg.name == f"again.{name}.svg"
        assert svg.read_bytes() == svgs[name].read_bytes(), name
        assert png.read_bytes() == svgs[name].with_suffix(".png").read_bytes(), name
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


def test_paper_numbers() -> None:
    paper = paper_stability().set_index(["molecule", "arm"])["collapsed_percent"]
    assert paper.xs("original", level="arm").to_dict() == {"Novec7000": 59, "Ac-Ala3-NHMe": 22, "paracetamol": 77}
    assert set(paper.xs("adaptive", level="arm")) == {0}


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


def test_labels_are_those_spent() -> None:
    """Rejected labels count, and those of the models that an arm begins as."""
    ledgers = {"bent_10": pd.DataFrame({"status": ["ok"] * 8 + ["force_cap"] * 2}), "plain": pd.DataFrame({"a": [1]})}
    spent = labels_spent(ledgers, {"bent_10": ["bent_10"], "on_10": ["plain", "bent_10"], "given": []})
    assert spent == {"bent_10": 10, "on_10": 11, "given": 0}


def test_a_study_of_labels_begins_with_their_figure(made: Made, svgs: dict[str, Path]) -> None:
    def names(figures: dict[str, Path]) -> list[str]:
        molecule = replace(part_of(made, "x", svgs).molecules[0], figures=figures)
        shown = summary_of_molecule(molecule, part_of(made, "x", svgs), True)
        return [shown["lead"], *(figure["name"] for figure in shown["figures"])]

    with_labels, without = figures_of_molecule(label_series=True), figures_of_molecule(label_series=False)
    assert names(svgs) == ["survival_against_labels", *with_labels]
    assert names({name: svgs[name] for name in without}) == ["survival", *without]
    assert set(with_labels) - set(without) == {"survival_against_labels"}


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


def with_rearrangements(runs: pd.DataFrame) -> pd.DataFrame:
    """Collapse fractions as the survival stage writes them; every tenth run has a new contact."""
    changed = runs.assign(inverted_stereocentres=0, cis_trans_changes=0, new_contacts=3 * (runs["replica"] % 10 == 0))
    return collapse_fractions(runs).merge(rearranged_runs(changed), on=["arm", "seed"])


def test_tables_of_the_study(made: Made) -> None:
    fractions = with_rearrangements(made.runs)
    few = made.ledgers | {"adaptive": made.ledgers["adaptive"][:30]}
    ledgers = {"paracetamol": made.ledgers, "ethanol": few}
    of_molecules = {"paracetamol": fractions, "ethanol": fractions}
    stability = stability_table(of_molecules, ledgers, SOURCES, 2.0, 800.0)
    assert list(stability["labels"]) == [45, 45, 45, 30]  # rejected ones count
    shared = stability_table(of_molecules, ledgers, {"original": [], "adaptive": ["original"]}, 2.0, 800.0)
    assert list(shared["labels"]) == [0, 45, 0, 45]
    begun = {"original": ["original"], "adaptive": ["adaptive", "original"]}  # the models of another arm, trained on
    assert list(stability_table(of_molecules, ledgers, begun, 2.0, 800.0)["labels"]) == [45, 90, 45, 75]
    assert list(stability["molecule"]) == ["paracetamol", "paracetamol", "ethanol", "ethanol"]
    assert list(stability["paper_collapsed_percent"][:2]) == [77, 0]
    assert stability["paper_collapsed_percent"][2:].isna().all()
    assert (stability["runs"] == 100).all()
    assert (stability["new_contact_runs"] == 10).all() and (stability["inverted_runs"] == 0).all()
    errors = model_error_table({"a": made.frames}, {"a": made.forces})
    np.testing.assert_allclose(errors["energy_rmse_meV_atom"], 10)
    # The mean square error of a set is the mean over its frames, all having as many atoms.
    squares = (made.frames["force_rmse_eV_A"] ** 2).groupby([made.frames["arm"], made.frames["set"]]).mean()
    for row in errors.to_dict("records"):
        assert row["force_rmse_meV_A"] == pytest.approx(1000 * np.sqrt(squares[row["arm"], row["set"]]))
    labels = ledger_table({"a": made.ledgers})
    assert list(labels["set"]) == ["validation", *made.arms]
    assert (labels["frames"] == 45).all()


def runs_with(*collapsed: int, seeds: int = 2) -> MoleculeSummary:
    """A molecule whose arms have 10 runs a seed, of which so many collapsed, at different times."""
    rows = [
        (arm, 1 + index % seeds, index // seeds, index < count, 10.0 + index if index < count else 2000.0)
        for arm, count in zip(("original", "adaptive"), collapsed, strict=False)
        for index in range(10 * seeds)
    ]
    runs = pd.DataFrame(rows, columns=["arm", "seed", "replica", "collapsed", "time_fs"])
    return MoleculeSummary("paracetamol", collapse_fractions(runs), compare_arms(runs), {})


CHANGES = {"original": "unmodified frames", "adaptive": "3 modified bonds per frame"}
SOURCES = {"original": ["original"], "adaptive": ["adaptive"]}


def test_answer_in_a_sentence() -> None:
    """The test over seeds comes first, arms' modifications are named, and nothing over runs is called significant."""
    text = answer(runs_with(18, 4), CHANGES).replace("\N{NO-BREAK SPACE}", " ")
    assert text == (
        "original (unmodified frames) 18 of 20 runs collapsed (90 %, 95 % interval 68 % to 98.8 %), "
        "adaptive (3 modified bonds per frame) 4 of 20 (20 %, 6 % to 44 %); p = 0.33 over seeds (2 + 2 models); "
        "log-rank p < 0.0001 over runs of these models only."
    )
    assert "significant" not in text
    assert "log-rank" not in answer(runs_with(18), CHANGES)


def test_the_headline_follows_the_test_over_seeds() -> None:
    assert headline(runs_with(18, 4)) == "The test over seeds shows no difference between original and adaptive."
    assert headline(runs_with(36, 8, seeds=4)) == (
        "Models of adaptive survive longer than those of original: 8 of 40 runs collapse, 36 of 40 there."
    )
    assert headline(runs_with(18)) == "2 of 20 runs of original survive."


def several(seeds: int, *chances: float) -> MoleculeSummary:
    """Arms of a study with more than one pair, of whose runs such shares collapse, seed by seed."""
    rows = [
        (f"arm{arm}", seed, run, run < 20 * chance, 10.0 + run if run < 20 * chance else 2000.0)
        for arm, chance in enumerate(chances) for seed in range(seeds) for run in range(20)
    ]  # fmt: skip
    runs = pd.DataFrame(rows, columns=["arm", "seed", "replica", "collapsed", "time_fs"])
    return MoleculeSummary("paracetamol", collapse_fractions(runs), compare_arms(runs), {})


def test_several_pairs_are_corrected_and_the_page_says_so() -> None:
    three, changes = several(6, 0.9, 0.1, 0.1), {f"arm{index}": "changed" for index in range(12)}
    text = answer(three, changes).replace("\N{NO-BREAK SPACE}", " ")
    # 3 x 2/924
    assert (
        "; over seeds (6 + 6 models) arm0 against arm1 p = 0.0065, arm0 against arm2 p = 0.0065, arm1 against" in text
    )
    assert text.endswith("; p-values corrected for 3 comparisons (Holm).")
    assert headline(three).startswith("Models of arm1 survive longer than those of arm0")
    assert headline(several(6, 0.5, 0.5, 0.5)) == (
        "The test over seeds, corrected for 3 comparisons (Holm), shows no difference between arm0 and arm1 or arm2."
    )
    *pairs, last = comparison_lines(three.comparison)
    assert len(pairs) == 3 and last == "p-values corrected for 3 comparisons (Holm)"
    assert "Holm" not in "".join(comparison_lines(runs_with(18, 4).comparison))


def test_of_many_pairs_those_with_the_smallest_p_values_are_written_out() -> None:
    many, changes = several(5, *[0.9] * 9, 0.1), {f"arm{index}": "changed" for index in range(12)}
    *pairs, last = comparison_lines(many.comparison)
    assert len(pairs) == 6 and all("arm9: p = 0.36 over" in line for line in pairs)
    assert last == "p-values corrected for 45 comparisons (Holm): the 6 smallest, survival/comparison.csv has all"
    assert "; over seeds (5 + 5 models) p = 0.36 for each pair; log-rank over runs" in re.sub(
        "\xa0", " ", answer(many, changes)
    )
    # 45 x 2/252 = 0.36: no difference can be shown, however large, which is another thing than to show none.
    assert headline(many) == (
        "With this few seeds the test over seeds, corrected for 45 comparisons (Holm), cannot tell any two arms apart; "
        "the fewest runs collapse with arm9: 10 of 100."
    )
    limits = cautions(many, 100.0, 800.0, per_seed=False)
    (seeds,) = [sentence for sentence in limits if "few seeds" in sentence]
    assert seeds.startswith("Corrected for 45 comparisons, no p-value over seeds can be below 0.36")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bonds_per_frame": 0}, "unmodified frames"),
        ({}, "1 modified bond per frame"),
        ({"bonds_per_frame": 3, "angles_per_frame": 1}, "3 modified bonds and 1 modified angle per frame"),
        ({"keep_unmodified": True}, "1 modified bond per frame, plus the unmodified ones"),
        ({"draws": "even", "frames": 20}, "1 modified bond per frame, drawn evenly, first 20 frames"),
        ({"bonds_per_frame": 0, "draws": "even"}, "unmodified frames"),
        ({"training": {"repulsion": "zbl"}}, "1 modified bond per frame, with a ZBL repulsion"),
        ({"frames_of": "bent", "training": {"steps_of": "long"}}, "frames of bent, as many steps as long"),
        ({"frames_of": "bent", "training": {"weighting": "elements"}}, "frames of bent, elements count the same"),
        ({"frames": 0, "base": {"file": "models/off.model"}}, "off.model, without training"),
        ({"frames": 0, "base": {"pretraining": True}}, "pre-trained models, without training"),
        ({"frames_of": "adaptive", "base": {"pretraining": True}}, "frames of adaptive, pre-trained"),
        ({"bonds_per_frame": 0, "base": {"file": "models/off.model"}}, "unmodified frames, from off.model"),
        ({"base": {"arm": "original"}}, "1 modified bond per frame, from the models of original"),
        ({"frames_of": "adaptive", "learning": {"rounds": 2}}, "frames of adaptive, 2 rounds of learning"),
    ],
)
def test_what_an_arm_does_in_words(settings: dict[str, Any], words: str) -> None:
    assert change_in_words(Arm.model_validate(settings).model_dump()) == words


def test_cautions_name_what_limits_the_result() -> None:
    short = "\n".join(cautions(runs_with(18, 0), 2.0, 800.0, per_seed=False)).replace("\N{NO-BREAK SPACE}", " ")
    assert "These runs last 2 ps, the paper's 100 ps" in short
    # 1 - 0.05^(1/20) = 13.9 %
    assert "No collapse in the 20 runs of adaptive shows only that at least 86 % of such runs" in short
    assert "With this few seeds no p-value can be below 0.33" in short
    (shared,) = cautions(runs_with(18, 4, seeds=4), 100.0, 800.0, per_seed=False)
    assert "the test over seeds applies to this data set only" in shared
    (own,) = cautions(runs_with(18, 4, seeds=4), 100.0, 800.0, per_seed=True)
    assert "its own frames and modifications" in own
    assert "600 K" in " ".join(cautions(runs_with(18, 4, seeds=4), 100.0, 600.0, per_seed=False))
    one = " ".join(cautions(runs_with(18, seeds=1), 100.0, 800.0, per_seed=False))
    assert "One seed" in one and "data set" not in one


class Page(HTMLParser):
    """What a page says, what it loads, and where it can be pointed at."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.tags: set[str] = set()
        self.text = self.style = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        self.anchors |= {value or "" for name, value in attrs if name == "id"}

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.style += data
        else:
            self.text += data + " "

    @property
    def images(self) -> int:
        """Figures that it shows."""
        return sum(link.startswith("data:image/svg+xml") for link in self.loaded)

    def check_alone(self) -> None:
        """It is self-contained: everything that it loads is in it, nothing runs, and no internal link is broken."""
        assert all(link.startswith(("data:", "#")) for link in self.loaded)
        assert {link[1:] for link in self.loaded if link.startswith("#")} <= self.anchors
        assert not {"script", "iframe"} & self.tags
        assert self.style and "url(" not in self.style and "@import" not in self.style


def part_of(made: Made, name: str, svgs: dict[str, Path]) -> MoleculesPart:
    """What the page shows of the made-up study of one molecule of that name."""
    fractions = with_rearrangements(made.runs)
    return MoleculesPart(
        [MoleculeSummary(name, fractions, compare_arms(made.runs), svgs)],
        stability=stability_table({name: fractions}, {name: made.ledgers}, SOURCES, 2.0, 800.0),
        model_errors=model_error_table({name: made.frames}, {name: made.forces}),
        ledger=ledger_table({name: made.ledgers}),
        duration_ps=2.0,
        temperature_K=800.0,
        per_seed=False,
        changes=CHANGES,
    )


def test_summary_is_one_complete_file(tmp_path: Path, made: Made, svgs: dict[str, Path]) -> None:
    name = "<b>x & y"
    part = part_of(made, name, svgs)
    (molecule,) = part.molecules
    arguments: dict[str, Any] = {
        "study": "demo", "settings": {"training": {"seeds": [1, 2]}, "study": "demo"}, "versions": {"torch": "2.11.0"},
        "with_figures": True,
    }  # fmt: skip
    write_summary(tmp_path / "summary.html", part, [], **arguments)
    page = Page((tmp_path / "summary.html").read_text("utf-8"))
    page.check_alone()
    assert page.images == len(MOLECULE_FIGURES)
    # A name is text, whatever is in it.
    for expected in (name, answer(molecule, CHANGES), headline(molecule), "training.seeds", "[1, 2]", "2.11.0"):
        assert expected in page.text
    assert "Which models survive? Study “demo”" in page.text and "Liquids" not in page.text
    write_summary(tmp_path / "short.html", part, [], **arguments | {"with_figures": False})
    source = (tmp_path / "short.html").read_text("utf-8")
    short = Page(source)
    assert short.images == 0 and answer(molecule, CHANGES) in short.text
    # Browsers refuse data: URLs above 2 MB, as which Snakemake's report contains this page.
    assert len(source) < 50_000
    with pytest.raises(PhysEmbedError, match="figure 'survival' is missing"):
        figures = {key: path for key, path in svgs.items() if key != "survival"}
        without = replace(molecule, figures=figures)
        write_summary(tmp_path / "no.html", replace(part, molecules=[without]), [], **arguments)
    assert not (tmp_path / "no.html").exists()


def test_rounds_of_learning_stand_in_a_table_of_their_own(tmp_path: Path, made: Made, svgs: dict[str, Path]) -> None:
    part = part_of(made, "water", svgs)
    assert len(molecule_tables(part)) == 3, "a study without rounds has none"
    run = dict(zip(ROUND, (45, 10, 93.4, 1.26, 2.345, 20, 3, 1, 0.4010, ""), strict=True))
    rows = [pd.DataFrame([run]), round_without_runs([Atoms()] * 55)[1]]
    rounds_table([("water", "learned", number, row) for number, row in enumerate(rows, 1)]).to_csv(
        tmp_path / "rounds.csv", index=False
    )
    *_, table = molecule_tables(replace(part, rounds=read_table(tmp_path / "rounds.csv")))
    assert table.title == "Rounds of learning"
    cells = [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in table.rows]
    assert cells == [
        ["water", "learned", "1", "45", "10", "93", "2.35 (1.26)", "3 + 1 of 20", "40 %", ""],
        ["water", "learned", "2", "55", "0", "", "", "not run", "", "ended before"],
    ]


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


def test_package_holds_its_data() -> None:
    folder = files("physembed.report")
    for name in ("summary.html", "paper_stability.csv", "paper_density.csv", "paper_viscosity.csv"):
        assert folder.joinpath(name).is_file()
