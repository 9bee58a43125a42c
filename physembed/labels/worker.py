"""Worker processes that label frames, and the store of finished labels.

A worker is a fresh Python process. It uses one OpenMP thread, because its environment is set before tblite is
loaded, and if it dies, the frame that caused this is known.
"""
# Imported by each worker: do not import pandas here, which takes longer than many sets of labels.

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import zipfile
import zlib
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

import numpy as np
from ase import Atoms

from physembed.config import Labels
from physembed.errors import PhysEmbedError
from physembed.files import atomic, temporary_path
from physembed.labels.xtb import Label, calculate

log = logging.getLogger(__name__)

HELD = 2
"""Frames queued at a worker, so that it need not wait for the next one."""


def save_label(path: Path, label: Label, **more: np.ndarray) -> None:
    """Write a label to the store, optionally with further arrays."""
    fields = {name: value for name, value in asdict(label).items() if value is not None} | more
    with atomic(path) as temporary:
        np.savez_compressed(temporary, **fields)


def load_label(path: Path) -> Label | None:
    """Read a label from the store; None if there is none, or if the file is incomplete."""
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
        log.warning("labels: %s is incomplete (%s); its frame is calculated again", path, error)
        return None


def work(descriptor: int) -> None:
    """Main function of a worker process: label the frames received through a pipe until its other end closes.

    `descriptor` is this process' end of the pipe. The answer to a frame is empty once its label is in the store,
    otherwise the text of a `PhysEmbedError`. Answers are short, so a worker never blocks until one is read.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the main process, which ends the workers
    # Work ends when the pipe closes, also if the main process is killed.
    with Connection(descriptor) as connection, suppress(EOFError, ConnectionError):
        while True:
            path, atoms, settings, charge, multiplicity = connection.recv()
            try:
                save_label(path, calculate(atoms, settings, charge, multiplicity))
            except PhysEmbedError as error:
                connection.send(str(error))
            else:
                connection.send("")


class Worker:
    """A worker process and its queued frames, the first of which is in progress."""

    def __init__(self) -> None:
        self.connection, other = Pipe()
        self.held: deque[tuple[int, Path]] = deque()
        # A new interpreter instead of a fork or multiprocessing's spawn: a fork inherits OpenMP as loaded here,
        # and a spawned process repeats the main script's imports before its environment could be set.
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with other:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import work; work({other.fileno()})"],
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                env=os.environ | one_thread,
            )

    def take(
        self, frame: int, path: Path, atoms: Atoms, settings: Labels, charge: int, multiplicity: int | None
    ) -> None:
        """Send a frame to the process."""
        self.held.append((frame, path))
        geometry = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        # `answer` reports a process that has died, after reading its earlier answers.
        with suppress(ConnectionError):
            self.connection.send((path, geometry, settings, charge, multiplicity))

    def answer(self) -> tuple[int, Label]:
        """Wait for the process' next frame and its label."""
        try:
            complaint: str = self.connection.recv()
        except (EOFError, ConnectionError):
            raise self._death() from None
        frame, path = self.held.popleft()
        if complaint:
            raise PhysEmbedError(f"labels: frame {frame}: {complaint.removeprefix('labels: ')}")
        label = load_label(path)
        if label is None:
            raise PhysEmbedError(f"labels: frame {frame}: {path} cannot be read back; check the disk")
        return frame, label

    def _death(self) -> PhysEmbedError:
        """Describe how the process ended, on which frame, and what to do."""
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = {
                "SIGSEGV": "often the stack is too small: try `ulimit -s unlimited`, otherwise remove the frame",
                "SIGKILL": "often memory is exhausted: use more memory or fewer workers",
            }.get(name, "remove the frame if it happens again")
        else:
            name, hint = f"exit code {code}", "its own message is on standard error"
        frame, _ = self.held[0]
        return PhysEmbedError(
            f"labels: frame {frame}: its worker process ended with {name}; {hint}; finished frames are kept"
        )

    def end(self) -> None:
        """End the process, and remove its unfinished file."""
        self.connection.close()
        self.process.kill()
        self.process.wait()
        for _, path in self.held:
            temporary_path(path, self.process.pid).unlink(missing_ok=True)


def calculate_all(
    todo: dict[int, Path],
    frames: list[Atoms],
    settings: Labels,
    charge: int,
    multiplicity: int | None,
    workers: int,
) -> Generator[tuple[int, Label]]:
    """Yield labels of the frames `todo` (index: file in the store) as they finish, each stored before.

    Raises:
        PhysEmbedError: a frame that tblite refuses, or that crashes a worker process.
    """
    tasks = iter(todo.items())
    pool: list[Worker] = []
    try:
        for _ in range(min(workers, len(todo))):
            pool.append(Worker())
        for _ in range(HELD):
            for worker, (frame, path) in zip(pool, tasks, strict=False):
                worker.take(frame, path, frames[frame], settings, charge, multiplicity)
        while busy := [worker for worker in pool if worker.held]:
            ready = set(wait([worker.connection for worker in busy]))
            for worker in busy:
                if worker.connection in ready:
                    finished = worker.answer()
                    for frame, path in islice(tasks, 1):
                        worker.take(frame, path, frames[frame], settings, charge, multiplicity)
                    yield finished
    finally:
        for worker in pool:
            worker.end()
