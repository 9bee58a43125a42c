"""One finished minimal study, run once in a copy of the repository, that the workflow tests inspect and vary."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from . import forked

ROOT = Path(__file__).parents[2]
CONFIG = "tests/workflow/minimal.yaml"
LIQUIDS = "tests/workflow/minimal_liquids.yaml"


@dataclass
class Checkout:
    """A copy of the repository in which Snakemake is run as a user runs it."""

    root: Path
    config: str = CONFIG

    def environment(self, prefix: Path | None = None) -> dict[str, str]:
        """Variables of a call in the copy, with the copy's own library; `prefix` goes first on PATH."""
        path = [str(prefix)] if prefix else []
        path.append(os.environ["PATH"])
        return os.environ | {"PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1", "PATH": os.pathsep.join(path)}

    def snakemake(self, *arguments: str, prefix: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run Snakemake in the copy."""
        given = ["--configfile", self.config, *arguments]
        return forked.completed("snakemake", given, self.root, self.environment(prefix))

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs that a dry-run would run, by rule, without `all`."""
        done = self.snakemake("--dry-run", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
        return {rule: int(count) for rule, count in jobs.items() if rule not in ("all", "total")}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text that must be there in a file of the copy."""
        file = self.root / path
        text = file.read_text()
        assert old in text, f"{old!r} not in {path}"
        file.write_text(text.replace(old, new))


def copy_repository(target: Path, config: str = CONFIG) -> Checkout:
    """The files that git tracks or would track, and what Python and Numba have compiled of the library."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, text=True, capture_output=True,
    ).stdout.split()  # fmt: skip
    made = (file for kind in ("pyc", "nbi", "nbc") for file in (ROOT / "physembed").rglob(f"__pycache__/*.{kind}"))
    listed += [str(file.relative_to(ROOT)) for file in made]
    for name in listed:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return Checkout(target, config)


def run_to_the_end(checkout: Checkout) -> Checkout:
    """Run the whole study of a copy, as a user does."""
    done = checkout.snakemake("--cores", "all")
    logs = "".join(log.read_text()[-2000:] for log in checkout.root.glob("results/**/logs/*.log"))
    assert done.returncode == 0, done.stderr[-6000:] + logs[-6000:]
    return checkout


def finished_once(temporary: pytest.TempPathFactory, config: str) -> Checkout:
    """A copy in which a study has been run to its end, by the first of the processes that tests run in."""
    base = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    checkout = Checkout(base / f"finished_{Path(config).stem}", config)
    done = checkout.root.with_suffix(".done")
    with FileLock(checkout.root.with_suffix(".lock")):
        if not done.exists():
            run_to_the_end(copy_repository(checkout.root, config))
            done.touch()
    return checkout


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which the minimal study has been run to its end. Tests must not change it."""
    return finished_once(tmp_path_factory, CONFIG)


@pytest.fixture(scope="session")
def finished_liquids(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Likewise with the minimal study of a liquid."""
    return finished_once(tmp_path_factory, LIQUIDS)


def copied(finished: Checkout, target: Path) -> Checkout:
    """A copy of a finished study that a test may change; modification times are kept."""
    shutil.copytree(finished.root, target, symlinks=True)
    return Checkout(target, finished.config)


@pytest.fixture
def copy_of_finished(finished: Checkout, tmp_path: Path) -> Checkout:
    return copied(finished, tmp_path / "study")


@pytest.fixture
def copy_of_finished_liquids(finished_liquids: Checkout, tmp_path: Path) -> Checkout:
    return copied(finished_liquids, tmp_path / "study")


@pytest.fixture(scope="session")
def report_html(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snakemake's report of the finished study."""
    study = copied(finished, tmp_path_factory.mktemp("report") / "study")
    done = study.snakemake("--report", "report.html")
    assert done.returncode == 0, done.stderr
    return study.root / "report.html"
