"""A results folder on a disk that is full, or that cannot be written on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow.conftest import Checkout

pytestmark = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"), reason="only root can mount a small disk"
)


class Disk:
    """A separate in-memory file system mounted over a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)

    def change(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.folder)], check=True)


@pytest.fixture
def disk(copy_of_finished: Checkout) -> Iterator[Disk]:
    """A disk in the place of a copy's results, with all of them on it."""
    results = copy_of_finished.root / "results"
    aside = results.rename(copy_of_finished.root / "aside")
    made = Disk(results)
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", str(results)], check=True)
        yield made
    finally:
        subprocess.run(["umount", str(results)], check=True)


def test_a_full_disk_is_one_line_for_each_job_and_nothing_torn_is_taken_for_whole(
    copy_of_finished: Checkout, finished: Checkout, disk: Disk
) -> None:
    study = disk.folder / "minimal"
    for made in ("labels", "training", "evaluation", "stability", "survival"):
        shutil.rmtree(study / "methanol" / made)
    for made in ("restart", "figures", "tables"):
        shutil.rmtree(study / made)
    (study / "summary.html").unlink()
    free = os.statvfs(disk.folder)
    used = (free.f_blocks - free.f_bfree) * free.f_frsize
    disk.change(f"size={used + 20_000}")
    failed = copy_of_finished.snakemake("--cores", "2", "--quiet", "all")
    assert failed.returncode != 0
    complaints = re.findall(r"^\w+: .*$", failed.stderr, re.MULTILINE)
    assert complaints
    assert all("no space left on its disk" in line and "make room and run again" in line for line in complaints)
    assert "Traceback" not in failed.stderr

    disk.change("size=64m")
    done = copy_of_finished.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    # A label that was stored before is not calculated again, and incomplete files are not used.
    for name in ("labels/adaptive.xyz", "labels/adaptive_ledger.csv", "labels/original.xyz"):
        made, whole = (root / "results/minimal/methanol" / name for root in (copy_of_finished.root, finished.root))
        assert made.read_bytes() == whole.read_bytes(), name
    for name in ("survival/collapse_fractions.csv", "stability/adaptive/seed1/replicas.csv"):
        assert (study / "methanol" / name).stat().st_size > 0
    assert not list(study.rglob(".*.npz")), "a temporary file was left"


def test_results_that_cannot_be_written_are_one_line_before_anything_runs(
    copy_of_finished: Checkout, disk: Disk
) -> None:
    for name in ("summary.html", "overview.html", "provenance.json"):
        (disk.folder / "minimal" / name).unlink()
    disk.change("ro")
    failed = copy_of_finished.snakemake("--cores", "2", "--quiet", "all")
    assert failed.returncode == 1
    (line,) = [line for line in failed.stderr.splitlines() if "results" in line]
    assert line.startswith("results/minimal: cannot be written") and "nothing was run" in line
    # What would run can still be asked.
    assert copy_of_finished.planned() == {"summary": 1}
    disk.change("rw")
    assert copy_of_finished.snakemake("--cores", "2").returncode == 0
