"""Labels of many frames on all cores, with a store of finished labels from which a killed job resumes."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms

from physembed.config import Labels
from physembed.config.base import keeping_runs
from physembed.errors import PhysEmbedError
from physembed.labels import xtb
from physembed.labels.ledger import as_table, check_rejects, counts_by_status, judge, non_finite_atoms
from physembed.labels.reference import bond_pairs, connectivity, modified, relaxed_molecules, warn_if_far
from physembed.labels.worker import calculate_all, load_label
from physembed.labels.xtb import Label
from physembed.progress import Progress
from physembed.provenance import code_hash

log = logging.getLogger(__name__)


def frame_key(atoms: Atoms, settings: Labels, charge: int, multiplicity: int | None = None) -> str:
    """Hash of everything a label depends on: geometry, charge, multiplicity, settings, code and tblite version.

    Excluded are settings that are applied to a finished label, which are marked in `Labels`.
    """
    periodic = bool(atoms.pbc.any())
    about = {
        "settings": settings.model_dump(exclude=keeping_runs(Labels)),
        "charge": charge,
        "multiplicity": multiplicity,
        "pbc": atoms.pbc.tolist(),
        "cell": atoms.cell.array.tolist() if periodic else None,
        "tblite": version("tblite"),
        "code": code_hash(xtb.__file__),
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(atoms.numbers.astype("<i8").tobytes())
    digest.update(atoms.positions.astype("<f8").tobytes())
    return digest.hexdigest()[:32]


def labelled(atoms: Atoms, label: Label) -> Atoms:
    """A copy of a frame, without calculator, with its label under MACE's `REF_` keys."""
    copy = atoms.copy()
    copy.info["REF_energy"] = label.energy_eV
    copy.arrays["REF_forces"] = label.forces_eV_A
    copy.info.pop("REF_stress", None)
    if label.stress_eV_A3 is not None:
        copy.info["REF_stress"] = label.stress_eV_A3
    return copy


def _check(frames: list[Atoms], charge: int, workers: int, bonds: pd.DataFrame | None) -> None:
    """Reject arguments that cannot give correct labels."""
    if not frames:
        raise PhysEmbedError("labels: no frames to label; check the file of frames")
    if workers < 1:
        raise PhysEmbedError(f"labels: workers {workers}: give 1 or more")
    for index, atoms in enumerate(frames):
        if bonds is not None and not np.array_equal(atoms.numbers, frames[0].numbers):
            raise PhysEmbedError(
                f"labels: frame {index} ({atoms.symbols}) and frame 0 ({frames[0].symbols}) have different atoms; "
                "bonds belong to one system: label each separately"
            )
        own = atoms.info.get("charge", charge)
        if own != charge:
            raise PhysEmbedError(
                f"labels: frame {index}: its charge {own} is not the molecule's {charge}; fix one of them"
            )


def label_frames(
    frames: list[Atoms],
    settings: Labels,
    *,
    charge: int,
    bonds: pd.DataFrame | None,
    workers: int,
    restart_dir: str | Path,
    multiplicity: int | None = None,
    of_a_model: bool = False,
) -> tuple[list[Atoms], pd.DataFrame]:
    """Label frames on `workers` cores and reject those whose label is not suitable for training.

    Args:
        frames: isolated (pbc false) or periodic frames; positions in Å.
        settings: method, SCF and rejection rules.
        charge: total charge of every frame in e.
        bonds: the topology's bonds (columns i, j; 0-based), which every frame must have; None for no check. Frames
            are compared with the relaxed molecules (`physembed.labels.reference`).
        workers: number of worker processes, with one thread each.
        restart_dir: store of finished labels, created if missing. Labels are stored by content, so a killed run
            resumes, other sets may share the store, and stale labels are never used.
        multiplicity: 2 S + 1 of every frame; the lowest one if None.
        of_a_model: the frames are from MD of a model that is still being improved: any number may be rejected, and
            they say nothing about a force field.

    Returns:
        The accepted frames, in order and with all their data, with `REF_energy` (eV) in info, `REF_forces`
        (n_atoms, 3) (eV/Å) in arrays and, if periodic, `REF_stress` (6,) (eV/Å^3; xx, yy, zz, yz, xz, xy) in info;
        and the ledger of all frames with the columns of `LedgerRow`.

    Raises:
        PhysEmbedError: no frames; a charge or bonds that do not fit; a frame that tblite refuses or that crashes a
            worker; more rejected frames than `max_rejected_fraction`.
    """
    _check(frames, charge, workers, bonds)
    pairs = None if bonds is None else bond_pairs(bonds, min(map(len, frames)))
    store = Path(restart_dir)
    paths = {
        index: store / f"{frame_key(atoms, settings, charge, multiplicity)}.npz"
        for index, atoms in enumerate(frames)
        if not non_finite_atoms(atoms)
    }
    labels = {path: label for path in set(paths.values()) if (label := load_label(path))}
    first = {path: index for index, path in reversed(paths.items())}  # equal frames are calculated once
    todo = {index: path for index, path in paths.items() if path not in labels and first[path] == index}
    progress = Progress("labels", len(labels) + len(todo), "frames", start=len(labels))
    with closing(calculate_all(todo, frames, settings, charge, multiplicity, workers)) as finished:
        for index, label in finished:
            labels[paths[index]] = label
            progress.update(len(labels))
    reference = None
    if pairs is not None:
        molecules = relaxed_molecules(frames, pairs, settings, charge=charge, multiplicity=multiplicity, store=store)
        reference = connectivity(pairs, molecules, len(frames[0]))
        if not of_a_model:
            of_frames = [labels[path] for path in paths.values()]
            warn_if_far([frames[index] for index in paths], of_frames, molecules, settings.method)
    rows = [
        judge(index, atoms, labels[paths[index]] if index in paths else None, settings, reference)
        for index, atoms in enumerate(frames)
    ]
    for row in rows:
        if row.status != "ok":
            log.info("labels: frame %d rejected, %s: %s", row.frame, row.status, row.reason)
    if not of_a_model:
        check_rejects(rows, settings, modified=any(map(modified, frames)))
    counts = counts_by_status(rows)
    progress.finish(counts)
    if any(row.status != "ok" for row in rows):
        log.warning("labels: frames by status: %s; the ledger has the reasons", counts)
    accepted = [labelled(frames[row.frame], labels[paths[row.frame]]) for row in rows if row.status == "ok"]
    return accepted, as_table(rows)
