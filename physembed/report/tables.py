"""Tables of a study over all its molecules, and the paper's numbers beside them.

The functions take the tables of each molecule by its name, in the order of the study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
import pandas as pd

from physembed.report.training_figures import force_errors, ledger_counts


def paper_stability() -> pd.DataFrame:
    """Collapse in the paper: molecule, arm, runs, collapsed_percent, duration_ps, temperature_K."""
    with files("physembed.report").joinpath("paper_stability.csv").open() as handle:
        return pd.read_csv(handle, comment="#")


def labels_spent(ledgers: Mapping[str, pd.DataFrame], sources: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Labels spent on the training frames behind the models of each arm, rejected ones included.

    Args:
        ledgers: the ledger of each set of labels.
        sources: the sets behind each arm (`physembed.config.arms.labelled_sets`), none for one that trains on none.
    """
    return {arm: sum(len(ledgers[name]) for name in sets) for arm, sets in sources.items()}


def stability_table(
    fractions: Mapping[str, pd.DataFrame],
    ledgers: Mapping[str, Mapping[str, pd.DataFrame]],
    sources: Mapping[str, Sequence[str]],
    duration_ps: float,
    temperature_K: float,
) -> pd.DataFrame:
    """Collapse of each molecule and arm beside the paper's, and what the arm cost.

    Args:
        fractions: from `physembed.analysis.survival.collapse_fractions` and `rearranged_runs`, by molecule.
        ledgers: the ledger of each set of labels, by molecule.
        sources: the sets behind each arm, as for `labels_spent`.
        duration_ps: length of the runs.
        temperature_K: their temperature.

    Returns:
        molecule, arm, labels (spent on the frames behind its models, rejected ones included), runs, collapsed,
        fraction, low, high (exact two-sided 95 % interval), upper_one_sided (exact 95 % limit), inverted_runs,
        cis_trans_runs, new_contact_runs (runs with such a rearrangement, no collapse), duration_ps, temperature_K;
        paper_runs, paper_collapsed_percent, paper_duration_ps and paper_temperature_K, empty where the paper has no
        such molecule and arm.
    """
    totals = [
        table[table["seed"].astype(str) == "all"].drop(columns="seed").assign(molecule=name)
        for name, table in fractions.items()
    ]
    ours = pd.concat(totals, ignore_index=True).assign(duration_ps=duration_ps, temperature_K=temperature_K)
    spent = {molecule: labels_spent(of_molecule, sources) for molecule, of_molecule in ledgers.items()}
    ours["labels"] = [spent[molecule][arm] for molecule, arm in zip(ours["molecule"], ours["arm"], strict=True)]
    paper = paper_stability().rename(columns=lambda name: name if name in ("molecule", "arm") else f"paper_{name}")
    columns = [
        "molecule", "arm", "labels", "runs", "collapsed", "fraction", "low", "high", "upper_one_sided", "inverted_runs",
        "cis_trans_runs", "new_contact_runs", "duration_ps", "temperature_K", "paper_runs", "paper_collapsed_percent",
        "paper_duration_ps", "paper_temperature_K",
    ]  # fmt: skip
    return ours.merge(paper, how="left", on=["molecule", "arm"])[columns]


def model_error_table(frames: Mapping[str, pd.DataFrame], forces: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Errors of the models of each molecule and arm on the training and the validation frames.

    Args:
        frames: the evaluation tables by frame, all arms of a molecule together with a column `arm`.
        forces: the same by atom.

    Returns:
        molecule, arm, set, seeds, frames; force_rmse_meV_A, force_mae_meV_A, force_r2 over the components of all
        seeds; lowest and highest force_rmse_meV_A of a seed; energy_rmse_meV_atom over all seeds.
    """
    rows = []
    for molecule, of_molecule in forces.items():
        for (arm, name), atoms in of_molecule.groupby(["arm", "set"], sort=False):
            by_frame = frames[molecule]
            by_frame = by_frame[(by_frame["arm"] == arm) & (by_frame["set"] == name)]
            per_atom = (by_frame["energy_model_eV"] - by_frame["energy_reference_eV"]) / by_frame["n_atoms"]
            seeds = [force_errors(group)["rmse_meV_A"] for _, group in atoms.groupby("seed")]
            errors = force_errors(atoms)
            rows.append(
                {
                    "molecule": molecule,
                    "arm": arm,
                    "set": name,
                    "seeds": len(seeds),
                    "frames": by_frame["frame"].nunique(),
                    "force_rmse_meV_A": errors["rmse_meV_A"],
                    "force_rmse_lowest_seed_meV_A": min(seeds),
                    "force_rmse_highest_seed_meV_A": max(seeds),
                    "force_mae_meV_A": errors["mae_meV_A"],
                    "force_r2": errors["r2"],
                    "energy_rmse_meV_atom": 1000 * float(np.sqrt(np.mean(per_atom.to_numpy() ** 2))),
                }
            )
    return pd.DataFrame(rows)


def force_metric_table(errors: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Fine-grained errors of the forces of each molecule and arm, means over the seeds.

    Args:
        errors: `physembed.analysis.force_metrics.metric_tables` of all arms of a molecule, with a column `arm`.

    Returns:
        molecule, arm, set, scope, part, seeds, frames, atoms, the metrics and `bad_points`.
    """
    tables = []
    for molecule, of_molecule in errors.items():
        groups = of_molecule.fillna({"part": ""}).groupby(["arm", "set", "scope", "part"], sort=False)
        table = groups.mean(numeric_only=True).drop(columns="seed").reset_index()
        table.insert(4, "seeds", groups["seed"].nunique().to_numpy())
        table.insert(0, "molecule", molecule)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def ledger_table(ledgers: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """Outcome of the labelling of each molecule's sets.

    Args:
        ledgers: the ledger of each set, by molecule.

    Returns:
        molecule, set, frames, and the number of frames by outcome (see `ledger_counts`).
    """
    tables = []
    for molecule, sets in ledgers.items():
        counts = ledger_counts(sets)
        totals = counts.sum(axis=1)
        counts.insert(0, "frames", totals)
        counts.insert(0, "molecule", molecule)
        tables.append(counts.reset_index())
    table = pd.concat(tables, ignore_index=True)
    return table[["molecule", "set", *(name for name in table if name not in ("molecule", "set"))]]
