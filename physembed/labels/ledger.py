"""The ledger of labels: one row per frame that states whether its label was accepted, and if not, why.

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
from physembed.labels.reference import Bonds, Connectivity, bonded, connectivity_changes
from physembed.labels.xtb import Label

Status = Literal["ok", "not_converged", "force_cap", "connectivity", "non_finite"]
STATUSES: tuple[Status, ...] = get_args(Status)

ADVICE: dict[Status, str] = {
    "not_converged": "raise labels.max_iterations or add a labels.retry_electronic_temperatures_K; frames with bonds "
    "broken by a wrong force field do not converge either",
    "force_cap": "atoms are too close: sample gentler modifications (arms.*.compression closer to 1), or raise "
    "labels.max_force_eV_A",
    "connectivity": "atoms have rearranged: sample gentler modifications (a smaller arms.*.stretch_A); if you do not "
    "consider these new bonds, raise labels.bond_order_threshold, the change of bond order that counts",
    "non_finite": "check the run from which these frames come",
}
"""Advice if most rejected frames have this status."""
OF_FORCE_FIELD = ("force_cap", "connectivity")
"""Statuses that unmodified frames have only if their force field deviates strongly from the labels."""
UNMODIFIED = (
    "these frames are unmodified: the force field that generated them disagrees with {}; give your own topology that "
    "describes this molecule"
)


@dataclass(frozen=True)
class LedgerRow:
    """Result for one frame. The first rule that it violates gives its status, in the order of `judge`."""

    frame: int
    """0-based index in the given frames."""
    source_frame: int | None
    """The frame's own `source_frame`, if it has one."""
    status: Status
    energy_eV: float
    max_force_eV_A: float
    """Magnitude of the largest force on an atom."""
    scf_retries: int
    """SCF runs after the first."""
    electronic_temperature_K: float
    """Electronic temperature of the label; NaN if there is no label."""
    bonds_before: int | None
    """Number of bonds in the topology, if it was given."""
    bonds_after: int | None
    """Number of bonded pairs in the label's electronic structure, if there is a label."""
    connectivity_changes: str
    """For example `lost 3-7; gained 2-9`, with 0-based atom indices."""
    reason: str
    """Why the frame was rejected, or how its SCF converged."""


def non_finite_atoms(atoms: Atoms) -> str:
    """Non-finite parts of a frame's geometry, as text; empty if there are none."""
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1)).tolist()
    parts = [f"positions of atoms {', '.join(map(str, bad))}"] if bad else []
    if not np.isfinite(atoms.cell.array).all():
        parts.append("cell")
    return " and ".join(parts)


def judge(frame: int, atoms: Atoms, label: Label | None, settings: Labels, reference: Connectivity | None) -> LedgerRow:
    """Apply the rejection rules to a frame: non-finite, not converged, force cap, connectivity.

    Args:
        frame: index for the ledger.
        atoms: the frame.
        label: its label; None if its geometry is not finite and no label was calculated.
        settings: `max_force_eV_A` and `bond_order_threshold` are the rules.
        reference: bonds that the frame must have, all of them and no others; None for no check.
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
        if reference is None:
            after = bonded(label.bond_orders, settings.bond_order_threshold)
        else:
            after = reference.after(label.bond_orders, settings.bond_order_threshold)
            changes = connectivity_changes(reference.bonds, after)
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
            assert reference is not None
            reason = f"bonds differ from the topology: {reference.change(label.bond_orders, after or frozenset())}"
    source = atoms.info.get("source_frame")
    return LedgerRow(
        frame=frame,
        source_frame=None if source is None else int(source),
        status=status,
        energy_eV=energy,
        max_force_eV_A=max_force,
        scf_retries=label.scf_retries if label else 0,
        electronic_temperature_K=temperature,
        bonds_before=None if reference is None else len(reference.bonds),
        bonds_after=None if after is None else len(after),
        connectivity_changes=changes,
        reason=reason,
    )


def as_table(rows: list[LedgerRow]) -> pd.DataFrame:
    """The ledger, one row per frame, in the order of the frames."""
    table = pd.DataFrame([asdict(row) for row in rows])
    return table.astype({"source_frame": "Int64", "bonds_before": "Int64", "bonds_after": "Int64"})


def counts_by_status(rows: list[LedgerRow]) -> str:
    """The counts by status as text, such as `44 ok, 1 force_cap`."""
    counts = {status: sum(row.status == status for row in rows) for status in STATUSES}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)


def check_rejects(rows: list[LedgerRow], settings: Labels, *, modified: bool) -> None:
    """Check that not too many frames are rejected.

    Args:
        rows: the ledger.
        settings: `max_rejected_fraction` is the rule.
        modified: whether bond-length sampling has changed any of the frames.

    Raises:
        PhysEmbedError: more rejected frames than `max_rejected_fraction` allows.
    """
    rejected = [row for row in rows if row.status != "ok"]
    if len(rejected) > settings.max_rejected_fraction * len(rows):
        first = rejected[0]
        most = max(ADVICE, key=lambda status: sum(row.status == status for row in rejected))
        advice = ADVICE[most] if modified or most not in OF_FORCE_FIELD else UNMODIFIED.format(settings.method)
        raise PhysEmbedError(
            f"labels: {len(rejected)} of {len(rows)} frames rejected ({counts_by_status(rows)}), more than "
            f"max_rejected_fraction {settings.max_rejected_fraction:g}; "
            f"first: frame {first.frame}: {first.reason}; {advice}"
        )
