"""Worker processes that label frames, one at a time, and the store in which they put what is finished.

A worker is a fresh Python process. It has one OpenMP thread, since its environment says so before tblite is
loaded, and if it dies the frame that killed it is known.
"""
# Imported by each worker: nothing here may import pandas, which takes longer than many a set of labels.

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Generator
from dataclasses import asdict
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

import numpy as np
from ase import Atoms

from physembed.config import Labels
from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.labels.xtb import Label, calculate

log = logging.getLogger(__name__)


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
                label = calculate(atoms, settings, charge)
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
