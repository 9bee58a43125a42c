"""Labels of many frames on all cores, with a store of finished frames from which a killed job goes on.

Each worker is a fresh Python process that holds one frame at a time. It has one OpenMP thread, since its
environment says so before tblite is loaded, and if it dies the frame that killed it is known.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms

from physembed.config import Labels
from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.labels import xtb
from physembed.labels.ledger import as_table, bond_pairs, check_rejects, judge, non_finite_atoms
from physembed.labels.xtb import Label
from physembed.progress import Progress
from physembed.provenance import code_hash

log = logging.getLogger(__name__)

CALCULATION = {
    "method", "accuracy", "max_iterations", "electronic_temperature_K", "retry_electronic_temperatures_K",
}  # fmt: skip
"""Settings that shape a label. The others are rules applied afterwards: a change of them recalculates nothing."""


def frame_key(atoms: Atoms, settings: Labels, charge: int) -> str:
    """Hash of all that a label depends on: geometry, charge, settings, code and tblite's version."""
    periodic = bool(atoms.pbc.any())
    about = {
        "settings": settings.model_dump(include=CALCULATION),
        "charge": charge,
        "pbc": atoms.pbc.tolist(),
        "cell": atoms.cell.array.tolist() if periodic else None,
        "tblite": version("tblite"),
        "code": code_hash(xtb.__file__),
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(atoms.numbers.astype("<i8").tobytes())
    digest.update(atoms.positions.astype("<f8").tobytes())
    return digest.hexdigest()[:32]


def save_label(path: Path, label: Label) -> None:
    """Write a label to the store."""
    fields = {name: value for name, value in asdict(label).items() if value is not None}
    with atomic(path) as temporary:
        np.savez_compressed(temporary, **fields)


def load_label(path: Path) -> Label | None:
    """Read a label from the store; None if there is none, or if the file is torn."""
    if not path.is_file():
        return None
    try:
        with np.load(path) as record:
            return Label(
                converged=bool(record["converged"]),
                energy_eV=float(record["energy_eV"]),
                forces_eV_A=record["forces_eV_A"],
                stress_eV_A3=record.get("stress_eV_A3"),
                bond_orders=record["bond_orders"],
                scf_retries=int(record["scf_retries"]),
                history=str(record["history"]),
            )
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError) as error:
        log.warning("labels: %s is torn (%s); its frame is calculated again", path, error)
        return None


def work(descriptor: int) -> None:
    """Body of a worker process: label the frames that come through a pipe until its other end closes.

    `descriptor` is this process' end of the pipe. Each answer is a `Label`, or the text of a `PhysEmbedError`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process' to handle; it ends the workers
    with Connection(descriptor) as connection:
        while True:
            try:
                path, atoms, settings, charge = connection.recv()
            except EOFError:
                return
            try:
                label = xtb.calculate(atoms, settings, charge)
            except PhysEmbedError as error:
                connection.send(str(error))
                continue
            save_label(path, label)
            connection.send(label)


class Worker:
    """A worker process and the frame that it holds."""

    def __init__(self) -> None:
        self.connection, other = Pipe()
        self.frame = -1
        # A new interpreter rather than a fork or multiprocessing's spawn: a fork inherits OpenMP as loaded here,
        # and a spawned process runs the main script's imports again before its environment could be set.
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with other:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import work; work({other.fileno()})"],
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                env=os.environ | one_thread,
            )

    def take(self, frame: int, path: Path, atoms: Atoms, settings: Labels, charge: int) -> None:
        """Hand a frame to the process."""
        self.frame = frame
        geometry = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        try:
            self.connection.send((path, geometry, settings, charge))
        except ConnectionError:
            raise self._death() from None

    def answer(self) -> Label:
        """The label of the frame that the process holds; waits for it."""
        try:
            answer: Label | str = self.connection.recv()
        except (EOFError, ConnectionError):
            raise self._death() from None
        if isinstance(answer, str):
            raise PhysEmbedError(f"labels: frame {self.frame}: {answer.removeprefix('labels: ')}")
        return answer

    def _death(self) -> PhysEmbedError:
        """How the process ended by itself, on which frame, and what to do."""
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = {
                "SIGSEGV": "often the stack is too small: try `ulimit -s unlimited`, else remove the frame",
                "SIGKILL": "often the memory is exhausted: give more memory or fewer workers",
            }.get(name, "remove the frame if it happens again")
        else:
            name, hint = f"exit code {code}", "its own message is on standard error"
        return PhysEmbedError(
            f"labels: frame {self.frame}: its worker process ended with {name}; {hint}; finished frames are kept"
        )

    def end(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


def calculate_all(
    todo: dict[int, Path], frames: list[Atoms], settings: Labels, charge: int, workers: int
) -> Generator[tuple[int, Label]]:
    """Labels of the frames `todo` (index: file in the store) as they come, each stored before it is yielded.

    Raises:
        PhysEmbedError: a frame that tblite refuses, or on which a worker process dies.
    """
    tasks = iter(todo.items())
    pool: list[Worker] = []
    try:
        for _ in range(min(workers, len(todo))):
            pool.append(Worker())
        idle, busy = list(pool), list[Worker]()
        while True:
            for worker, (frame, path) in zip(idle, tasks, strict=False):
                busy.append(worker)
                worker.take(frame, path, frames[frame], settings, charge)
            if not busy:
                return
            ready = set(wait([worker.connection for worker in busy]))
            idle = [worker for worker in busy if worker.connection in ready]
            busy = [worker for worker in busy if worker.connection not in ready]
            for worker in idle:
                yield worker.frame, worker.answer()
    finally:
        for worker in pool:
            worker.end()


def labelled(atoms: Atoms, label: Label) -> Atoms:
    """A copy of a frame, without calculator, that carries its label under MACE's `REF_` keys."""
    copy = atoms.copy()
    copy.info["REF_energy"] = label.energy_eV
    copy.arrays["REF_forces"] = label.forces_eV_A
    copy.info.pop("REF_stress", None)
    if label.stress_eV_A3 is not None:
        copy.info["REF_stress"] = label.stress_eV_A3
    return copy


def _check(frames: list[Atoms], charge: int, workers: int) -> None:
    """Refuse arguments that cannot give right labels."""
    if not frames:
        raise PhysEmbedError("labels: no frames to label; check the file of frames")
    if workers < 1:
        raise PhysEmbedError(f"labels: workers {workers}: give 1 or more")
    for index, atoms in enumerate(frames):
        own = atoms.info.get("charge", charge)
        if own != charge:
            raise PhysEmbedError(
                f"labels: frame {index}: its charge {own} is not the molecule's {charge}; mend either of them"
            )


def label_frames(
    frames: list[Atoms],
    settings: Labels,
    *,
    charge: int,
    bonds: pd.DataFrame | None,
    workers: int,
    restart_dir: str | Path,
) -> tuple[list[Atoms], pd.DataFrame]:
    """Label frames on `workers` cores and reject those whose label is not fit for training.

    Args:
        frames: isolated (pbc false) or periodic frames; positions in Å.
        settings: method, SCF and rejection rules.
        charge: total charge of every frame in e.
        bonds: the topology's bonds (columns i, j; 0-based), which every frame must have; None for no such rule.
        workers: number of worker processes, of one thread each.
        restart_dir: store of finished frames, created if missing. Labels are found there by content, so that a
            killed run goes on, other sets may share it, and nothing stale is taken from it.

    Returns:
        The accepted frames, in order and with all that they carried, with `REF_energy` (eV) in info, `REF_forces`
        (n_atoms, 3) (eV/Å) in arrays and, if periodic, `REF_stress` (6,) (eV/Å^3; xx, yy, zz, yz, xz, xy) in info;
        and the ledger of all frames with the columns of `LedgerRow`.

    Raises:
        PhysEmbedError: no frames; a charge or bonds that do not fit; a frame that tblite refuses or on which a
            worker dies; more rejects than `max_rejected_fraction`.
    """
    _check(frames, charge, workers)
    before = [None if bonds is None else bond_pairs(bonds, len(atoms)) for atoms in frames]
    store = Path(restart_dir)
    paths = {
        index: store / f"{frame_key(atoms, settings, charge)}.npz"
        for index, atoms in enumerate(frames)
        if not non_finite_atoms(atoms)
    }
    labels = {path: label for path in set(paths.values()) if (label := load_label(path))}
    first = {path: index for index, path in reversed(paths.items())}  # equal frames are calculated once
    todo = {index: path for index, path in paths.items() if path not in labels and first[path] == index}
    progress = Progress("labels", len(labels) + len(todo), "frames", start=len(labels))
    with closing(calculate_all(todo, frames, settings, charge, workers)) as finished:
        for index, label in finished:
            labels[paths[index]] = label
            progress.update(len(labels))
    rows = [
        judge(index, atoms, labels[paths[index]] if index in paths else None, settings, before[index])
        for index, atoms in enumerate(frames)
    ]
    for row in rows:
        if row.status != "ok":
            log.info("labels: frame %d rejected, %s: %s", row.frame, row.status, row.reason)
    counts = check_rejects(rows, settings)
    progress.finish(counts)
    if any(row.status != "ok" for row in rows):
        log.warning("labels: frames by status: %s; the ledger has the reasons", counts)
    accepted = [labelled(frames[row.frame], labels[paths[row.frame]]) for row in rows if row.status == "ok"]
    return accepted, as_table(rows)
