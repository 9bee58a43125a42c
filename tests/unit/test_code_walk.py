"""docs/development/code_walk.md is true: it names every rule, and everything that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/development/code_walk.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and "---" not in line and not line.startswith("| rule ")
]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_rule_stands_in_one_row_with_its_file() -> None:
    found = {
        (name, file.stem)
        for file in (ROOT / "workflow/rules").glob("*.smk")
        for name in re.findall(r"^rule (\w+):", file.read_text(), re.MULTILINE)
    }
    assert {(rule, file) for row in ROWS for rule in names(row[0]) for file in names(row[1])} == found
    for rule, _ in found:
        assert (ROOT / f"workflow/scripts/{rule}.py").is_file()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_modules_and_tests_of_a_row_are_there(row: list[str]) -> None:
    folder = Path()
    for name in names(row[2]):
        # A name without a folder lies in that of the name before it.
        folder = Path(name).parent if "/" in name.rstrip("/") else folder
        path = ROOT / "physembed" / (name if "/" in name else folder / name)
        assert path.is_dir() or list(path.parent.glob(f"{path.name}.py")), name
    for name in names(row[4]):
        assert (ROOT / f"tests/unit/{name}.py").is_file()


def test_files_that_are_named_are_there() -> None:
    for name in re.findall(r"`((?:physembed|workflow|tests|config|docs)/[\w/.]+)`", TEXT):
        # The example of a new stage is not there, of course.
        assert "hydrogen_bonds" in name or (ROOT / name).exists(), name
