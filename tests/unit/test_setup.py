"""The set-up scripts: what they say where something is missing; and that lock and conda environment agree."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from physembed.errors import PhysEmbedError
from physembed.files import check_python

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"


def run(script: str, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{path}:/usr/bin:/bin"}
    return subprocess.run([ENVS / script, *arguments], env=environment, text=True, capture_output=True)


def program(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def test_no_python_312_is_one_line(tmp_path: Path) -> None:
    for name in ("python3.12", "python3", "python"):
        program(tmp_path, name, "exit 1")
    done = run("find-python", path=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "3.12" in done.stderr


def test_the_first_python_312_is_found(tmp_path: Path) -> None:
    program(tmp_path, "python3.12", "exit 1")
    program(tmp_path, "python3", "exit 0")
    done = run("find-python", path=tmp_path)
    assert done.stdout.strip() == str(tmp_path / "python3")


def test_missing_library_without_root_names_the_command(tmp_path: Path) -> None:
    program(tmp_path, "id", "echo 1000")
    done = run("system-libraries", "libnothing.so.9:libnothing9", "sh:dash", path=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["System packages are missing; type: sudo apt-get install libnothing9"]


def test_nothing_missing_is_silent(tmp_path: Path) -> None:
    done = run("system-libraries", "sh:dash", "libc.so.6:libc6", path=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_root_installs_what_is_missing(tmp_path: Path) -> None:
    program(tmp_path, "id", "echo 0")
    program(tmp_path, "apt-get", f'echo "$@" >> {tmp_path}/calls')
    done = run("system-libraries", "libnothing.so.9:libnothing9", path=tmp_path)
    assert done.returncode == 0
    assert "install --yes --no-install-recommends libnothing9" in (tmp_path / "calls").read_text()


def test_a_folder_with_a_blank_in_its_name_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    folder = tmp_path / "my project"
    (folder / "envs").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "envs/requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    done = subprocess.run(["make", "install"], cwd=folder, text=True, capture_output=True)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if not re.match(r"make(\[\d+\])?: ", line)]
    assert line.startswith(f"'{folder}' contains a blank")
    assert not (folder / ".venv").exists()


def test_a_python_with_a_blank_in_its_path_is_refused() -> None:
    check_python("/home/user/project/.venv/bin/python")
    with pytest.raises(PhysEmbedError, match=r"my project/\.venv/bin/python': Snakemake cannot call"):
        check_python("/home/user/my project/.venv/bin/python")


def test_conda_environment_holds_the_lock() -> None:
    environment = yaml.safe_load((ENVS / "physembed.yaml").read_text())
    (pip,) = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    lock = [line for line in (ENVS / "requirements.lock").read_text().splitlines() if "==" in line]
    assert pip == lock
    assert any(str(part).startswith("ambertools") for part in environment["dependencies"])
