"""Worker processes that label frames, and the store in which they put what is finished.

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
"""Frames that a worker holds, so that it need not wait for the next one."""


def save_label(path: Path, label: Label, **more: np.ndarray) -> None:
    """Write a label to the store, with further arrays if need be."""
    fields = {name: value for name, value in asdict(label).items() if value is not None} | more
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

    `descriptor` is this process' end of the pipe. The answer to a frame is empty once its label is in the store,
    else the text of a `PhysEmbedError`. Since answers are short, a worker never waits until one is read.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process' to handle; it ends the workers
    # The end of the pipe is the end of the work, also when the main process is killed.
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
    """A worker process and the frames that it holds, the first of which it is at work on."""

    def __init__(self) -> None:
        self.connection, other = Pipe()
        self.held: deque[tuple[int, Path]] = deque()
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

    def take(
        self, frame: int, path: Path, atoms: Atoms, settings: Labels, charge: int, multiplicity: int | None
    ) -> None:
        """Hand a frame to the process."""
        self.held.append((frame, path))
        geometry = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        # `answer` reports a process that has died, after it has read what that process did before.
        with suppress(ConnectionError):
            self.connection.send((path, geometry, settings, charge, multiplicity))

    def answer(self) -> tuple[int, Label]:
        """The process' next frame and its label; waits for them."""
        try:
            complaint: str = self.connection.recv()
        except (EOFError, ConnectionError):
            raise self._death() from None
        frame, path = self.held.popleft()
        if complaint:
            raise PhysEmbedError(f"labels: frame {frame}: {complaint.removeprefix('labels: ')}")
        label = load_label(path)
        if label is None:
            raise PhysEmbedError(f"labels: frame {frame}: {path} cannot be read back; check the disk it lies on")
        return frame, label

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
        frame, _ = self.held[0]
        return PhysEmbedError(
            f"labels: frame {frame}: its worker process ended with {name}; {hint}; finished frames are kept"
        )

    def end(self) -> None:
        """End the process, and remove what it was about to write."""
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
    """Labels of the frames `todo` (index: file in the store) as they come, each stored before it is yielded.

    Raises:
        PhysEmbedError: a frame that tblite refuses, or on which a worker process dies.
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
