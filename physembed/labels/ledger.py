"""The ledger of labels: one row per frame that says whether its label was accepted, and if not, why.

Columns of `labels/{set}_ledger.csv`: the fields of `LedgerRow`, whose docstrings give their units.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from ase import Atoms

from physembed.config import Labels
from physembed.errors import PhysEmbedError
from physembed.labels.xtb import Label

Status = Literal["ok", "not_converged", "force_cap", "connectivity", "non_finite"]
STATUSES: tuple[Status, ...] = get_args(Status)

Bonds = frozenset[tuple[int, int]]
"""Pairs of 0-based atom indices, i < j."""


@dataclass(frozen=True)
class LedgerRow:
    """What became of one frame. The first rule that it breaks gives its status, in the order of `judge`."""

    frame: int
    """0-based index in the frames that were handed in."""
    source_frame: int | None
    """The frame's own `source_frame`, if it has one."""
    status: Status
    energy_eV: float
    max_force_eV_A: float
    """Length of the largest force on an atom."""
    scf_retries: int
    """SCF runs after the first."""
    electronic_temperature_K: float
    """Temperature of the label's electrons; NaN where there is no label."""
    bonds_before: int | None
    """Bonds of the topology, if it was given."""
    bonds_after: int | None
    """Pairs of atoms that the label's electronic structure bonds, if there is a label."""
    connectivity_changes: str
    """For example `lost 3-7; gained 2-9`, atoms counted from 0."""
    reason: str
    """Why the frame was rejected, or how its SCF was brought to converge."""


def bond_pairs(bonds: pd.DataFrame, count: int) -> Bonds:
    """Bonds of a topology (columns i, j; 0-based) as pairs.

    Raises:
        PhysEmbedError: an atom index that a frame of `count` atoms does not have.
    """
    pairs = frozenset((min(i, j), max(i, j)) for i, j in bonds[["i", "j"]].to_numpy(dtype=int).tolist())
    outside = sorted(pair for pair in pairs if pair[0] < 0 or pair[1] >= count or pair[0] == pair[1])
    if outside:
        raise PhysEmbedError(
            f"labels: bond {outside[0][0]}-{outside[0][1]} does not fit frames of {count} atoms; "
            "give the bond table of the same molecule, atoms counted from 0"
        )
    return pairs


def bonded(bond_orders: np.ndarray, threshold: float) -> Bonds:
    """Pairs whose Wiberg bond order, `bond_orders`: (n_atoms, n_atoms), is `threshold` or more."""
    return frozenset(zip(*(axis.tolist() for axis in np.nonzero(np.triu(bond_orders >= threshold, 1))), strict=True))


def connectivity_changes(before: Bonds, after: Bonds) -> str:
    """The difference as text, empty if there is none."""
    parts = [
        f"{word} {', '.join(f'{i}-{j}' for i, j in sorted(pairs))}"
        for word, pairs in (("lost", before - after), ("gained", after - before))
        if pairs
    ]
    return "; ".join(parts)


def non_finite_atoms(atoms: Atoms) -> str:
    """What of a frame's geometry is not finite, as text; empty if all is."""
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1)).tolist()
    parts = [f"positions of atoms {', '.join(map(str, bad))}"] if bad else []
    if not np.isfinite(atoms.cell.array).all():
        parts.append("cell")
    return " and ".join(parts)


def judge(frame: int, atoms: Atoms, label: Label | None, settings: Labels, before: Bonds | None) -> LedgerRow:
    """Apply the rejection rules to a frame: non-finite, not converged, force cap, connectivity.

    Args:
        frame: index for the ledger.
        atoms: the frame.
        label: its label; None if its geometry is not finite, so that none was calculated.
        settings: `max_force_eV_A` and `bond_order_threshold` are the rules.
        before: bonds that the frame must have, all of them and no others; None for no such rule.
    """
    status: Status = "ok"
    energy = max_force = temperature = np.nan
    after: Bonds | None = None
    changes = ""
    if label is None:
        status, reason = "non_finite", f"not finite: {non_finite_atoms(atoms)}"
    elif not label.converged:
        status, reason = "not_converged", label.history
    else:
        energy, temperature = label.energy_eV, settings.electronic_temperature_K
        max_force = float(np.linalg.norm(label.forces_eV_A, axis=1).max())
        after = bonded(label.bond_orders, settings.bond_order_threshold)
        changes = "" if before is None else connectivity_changes(before, after)
        reason = label.history if label.scf_retries else ""
        arrays = {"energy": np.array(energy), "forces": label.forces_eV_A, "bond orders": label.bond_orders}
        if label.stress_eV_A3 is not None:
            arrays["stress"] = label.stress_eV_A3
        bad = [name for name, values in arrays.items() if not np.isfinite(values).all()]
        if bad:
            status, reason = "non_finite", f"not finite: {' and '.join(bad)} of the label"
        elif max_force > settings.max_force_eV_A:
            status = "force_cap"
            reason = f"largest force {max_force:.4g} eV/Å exceeds max_force_eV_A {settings.max_force_eV_A:g}"
        elif changes:
            status = "connectivity"
            reason = f"bonds differ from the topology (bond order {settings.bond_order_threshold:g}): {changes}"
    source = atoms.info.get("source_frame")
    return LedgerRow(
        frame=frame,
        source_frame=None if source is None else int(source),
        status=status,
        energy_eV=energy,
        max_force_eV_A=max_force,
        scf_retries=label.scf_retries if label else 0,
        electronic_temperature_K=temperature,
        bonds_before=None if before is None else len(before),
        bonds_after=None if after is None else len(after),
        connectivity_changes=changes,
        reason=reason,
    )


def as_table(rows: list[LedgerRow]) -> pd.DataFrame:
    """The ledger, one row per frame, in the order of the frames."""
    table = pd.DataFrame([asdict(row) for row in rows])
    return table.astype({"source_frame": "Int64", "bonds_before": "Int64", "bonds_after": "Int64"})


def check_rejects(rows: list[LedgerRow], settings: Labels) -> str:
    """The counts by status as text, `44 ok, 1 force_cap`.

    Raises:
        PhysEmbedError: more rejects than `max_rejected_fraction` allows.
    """
    counts = {status: sum(row.status == status for row in rows) for status in STATUSES}
    text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    rejected = [row for row in rows if row.status != "ok"]
    if len(rejected) > settings.max_rejected_fraction * len(rows):
        first = rejected[0]
        raise PhysEmbedError(
            f"labels: {len(rejected)} of {len(rows)} frames rejected ({text}), more than max_rejected_fraction "
            f"{settings.max_rejected_fraction:g}; first: frame {first.frame}: {first.reason}; sample gentler "
            "modifications, or raise max_force_eV_A, max_iterations or max_rejected_fraction"
        )
    return text
