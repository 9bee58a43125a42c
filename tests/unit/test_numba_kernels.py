"""What Numba's cache of machine code relies on."""

import ast
import importlib
from pathlib import Path

import pytest

import physembed

ROOT = Path(physembed.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if "numba_kernels import" in path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_compiled_functions_take_nothing_from_other_modules(path: Path) -> None:
    """Machine code is compiled again when its own file changes, not when a constant or a function of another one does.

    Physical constants do not change.
    """
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("physembed")
        for alias in node.names
    }
    module = importlib.import_module(".".join(("physembed", *path.relative_to(ROOT).with_suffix("").parts)))
    found = set()
    for name, function in vars(module).items():
        code = getattr(getattr(function, "py_func", None), "__code__", None)
        if code is not None and name not in imported:
            found |= {used for used in code.co_names if used in imported}
    assert {name for name in found if imported[name] != "physembed.units"} == set()


def test_there_are_compiled_functions() -> None:
    assert len(MODULES) > 5
