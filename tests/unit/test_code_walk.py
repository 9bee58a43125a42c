"""docs/development/code_walk.md is true: it names every rule, and everything that it names is there."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from physembed.provenance import _parsed

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/development/code_walk.md").read_text()
CELLS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and "---" not in line and not line.startswith(("| rule ", "| packages "))
]
ROWS = [cells for cells in CELLS if len(cells) == 5]
LAYERS = [cells[0] for cells in CELLS if len(cells) == 2]
PACKAGE = ROOT / "physembed"
PUBLIC = PACKAGE / "__init__.py"
"""Names what users import, from everywhere, and imports it on first use."""


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


def imports() -> dict[str, set[str]]:
    """The other packages, and modules beside them, from which each one imports, anywhere in its modules."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        if file != PUBLIC:
            found.setdefault(part_of(file), set()).update(map(part_of, _parsed(file).imported - {PUBLIC}))
    return {name: others - {name} for name, others in found.items()}


def part_of(file: Path) -> str:
    """The package, or the module beside the packages, to which a file of the library belongs."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def test_packages_import_in_one_direction() -> None:
    list(TopologicalSorter(imports()).static_order())


def test_layers_are_those_of_the_packages() -> None:
    level = {name: number for number, cell in enumerate(LAYERS) for name in names(cell)}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(level) <= {path.stem for path in PACKAGE.iterdir()}
    upward = {(name, other) for name, others in imports().items() for other in others & set(level)
              if name in level and level[name] > level[other]}  # fmt: skip
    assert upward == set()
