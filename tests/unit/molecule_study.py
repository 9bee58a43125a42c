"""Tables of an invented study of one molecule, and all that is drawn of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from ase.build import molecule
from matplotlib.figure import Figure

from physembed.analysis.reliability import reliability
from physembed.analysis.survival import collapse_fractions, compare_arms, rearranged_runs, survival_curves
from physembed.config import Arm
from physembed.molecules.angles import COLUMNS as ANGLE_COLUMNS
from physembed.molecules.bonds import COLUMNS as BOND_COLUMNS
from physembed.report import metric_figures
from physembed.report.label_figures import survival_against_labels, survival_table
from physembed.report.sampling_figures import bond_angles, bond_lengths
from physembed.report.style import save
from physembed.report.summary import (
    MoleculesPart,
    MoleculeSummary,
)
from physembed.report.survival_figures import (
    collapse_causes,
    collapse_fraction,
    survival,
)
from physembed.report.tables import (
    ledger_table,
    model_error_table,
    paper_stability,
    stability_table,
)
from physembed.report.training_figures import (
    error_by_stretch,
    force_parity,
    label_ledger,
    reliability_diagram,
    training_curves,
)
from physembed.sampling.arm import sample_frames

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

    def saved(self, folder: Path) -> dict[str, Path]:
        """The SVG file of every figure, its PNG file beside it."""
        return {name: save(figure, folder / name)[0] for name, figure in self.draw().items()}


def with_rearrangements(runs: pd.DataFrame) -> pd.DataFrame:
    """Collapse fractions as the survival stage writes them; every tenth run has a new contact."""
    changed = runs.assign(inverted_stereocentres=0, cis_trans_changes=0, new_contacts=3 * (runs["replica"] % 10 == 0))
    return collapse_fractions(runs).merge(rearranged_runs(changed), on=["arm", "seed"])


CHANGES = {"original": "unmodified frames", "adaptive": "3 modified bonds per frame"}
SOURCES = {"original": ["original"], "adaptive": ["adaptive"]}


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
