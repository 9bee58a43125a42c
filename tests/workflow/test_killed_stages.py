"""Each long stage, killed with SIGKILL repeatedly at random times, gives the same result as an uninterrupted one."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from physembed.molecules.topology import write_topology
from physembed.trajectory import write_trajectory
from tests.unit.test_topology import topology
from tests.unit.test_training import labelled
from tests.workflow.long_stages import EPOCHS, FRAMES, STAGES, equal, run

KILLS = 6
# A forked process has everything imported; the one that forks has computed nothing, as torch demands.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.workflow.long_stages"])


def process(stage: str, folder: Path) -> Any:
    started = PROCESSES.Process(target=run, args=(stage, folder))
    started.start()
    return started


def descendants(pid: int) -> list[psutil.Process]:
    """The processes that a process has started; none of one that has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def saved(restart: Path) -> frozenset[tuple[str, int, int]]:
    """Name, size and time of the files that hold something of what was done."""
    found = set()
    for path in restart.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if path.is_file() and status.st_size:
                found.add((path.name, status.st_size, status.st_mtime_ns))
    return frozenset(found)


def wait_for_saves(started: Any, restart: Path, count: int) -> None:
    """Return when a process has saved so many times, or has ended."""
    before = saved(restart)
    while count and started.is_alive():
        time.sleep(0.002)
        now = saved(restart)
        count -= now != before
        before = now


def result(folder: Path) -> dict[str, Any]:
    return pickle.loads((folder / "result").read_bytes())


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages start from."""
    folder = tmp_path_factory.mktemp("given")
    write_topology(topology(folder, "CO"), folder / "methanol.prmtop", folder / "methanol.inpcrd")
    write_trajectory(folder / "train.xyz", labelled(6, seed=1))
    write_trajectory(folder / "validation.xyz", labelled(3, seed=2))
    # The process that forks does its imports with the first that is asked for.
    process("gaff_md", Path(shutil.copytree(folder, tmp_path_factory.mktemp("first") / "run"))).join()
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_at_random_ends_as_one_left_alone(stage: str, given: Path, tmp_path: Path) -> None:
    """Moments are counted in saves, not in seconds, so that they mean the same on any machine."""
    alone, killed = (Path(shutil.copytree(given, tmp_path / name)) for name in ("alone", "killed"))
    undisturbed = process(stage, alone)
    undisturbed.join()
    assert undisturbed.exitcode == 0

    moments = random.Random(7)
    resumed = 0
    for attempt in range(KILLS):
        started = process(stage, killed)
        wait_for_saves(started, killed / "restart", moments.randint(1, 3) if attempt else 0)
        time.sleep(moments.uniform(0.0, 0.02))
        workers = descendants(started.pid)
        started.kill()
        started.join()
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive, "workers outlived it"
        if started.exitcode == 0:
            break
        assert started.exitcode == -signal.SIGKILL
        assert not (killed / "result").exists()
        resumed += any(saved(killed / "restart"))
    assert resumed >= 2, "it was killed too seldom after something had been saved"
    last = process(stage, killed)
    last.join()
    assert last.exitcode == 0
    if stage == "training":
        check_training(result(alone)["curve"], result(killed)["curve"])
    else:
        assert equal(result(alone), result(killed))
    check_complete(stage, result(killed))


def check_training(alone: dict[str, list[float]], killed: dict[str, list[float]]) -> None:
    """MACE resumes from its best checkpoint: a different run with the same number of epochs that learns as much."""
    assert killed["epoch"] == alone["epoch"]
    assert np.isfinite(killed["validation_loss"]).all()
    assert min(killed["validation_loss"]) < 1.2 * min(alone["validation_loss"])


def check_complete(stage: str, made: dict[str, Any]) -> None:
    """No frame is duplicated or missing."""
    if stage == "gaff_md":
        assert [frame.info["step"] for frame in made["frames"]] == list(range(400, 400 * FRAMES + 1, 400))
    if stage == "labels":
        assert len(made["forces"]) == len(set(made["ledger"]["source_frame"])) == 160
    if stage == "training":
        assert made["curve"]["epoch"] == list(range(EPOCHS))
    if stage == "stability":
        for frames in made["trajectories"]:
            times = [frame.info["time_fs"] for frame in frames]
            assert times == sorted(set(times))
    if stage == "npt":
        times = np.array(made["series"]["time_ps"])[np.array(made["series"]["run"]) == "a"]
        np.testing.assert_allclose(np.diff(times), 0.025)
    if stage == "viscosity":
        assert made["pressure"].shape[1] == 500
