"""What Numba's cache of machine code relies on."""

import ast
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import physembed
from physembed.numba_kernels import Array, compiled

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
    found = {used for name, function in compiled_in(path) if name not in imported for used in used_by(function)}
    assert {name for name in found & set(imported) if imported[name] != "physembed.units"} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_compiled_functions_compare_with_infinity(path: Path) -> None:
    """Numba's isfinite and isnan do not see a sum that is not finite where terms may be reordered."""
    found = {used for _, function in compiled_in(path) for used in used_by(function)}
    assert found & {"isfinite", "isnan", "isinf"} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_compiled_functions_contain_what_computes_for_them(path: Path) -> None:
    """A function that is linked may round differently when it comes from the cache with its caller.

    Those that only select and copy numbers, and the sum that is rounded as it is written, have nothing to round.
    """
    functions = dict(compiled_in(path))
    called = {used for function in functions.values() for used in used_by(function) if used in functions}
    linked = {name for name in called if functions[name].targetoptions.get("inline") != "always"}
    assert linked <= {"_literals", "_select", "_see", "_sum", "_take", "_give"}


def test_a_sum_of_no_numbers_is_not_finite() -> None:
    @compiled
    def is_finite(values: Array) -> bool:
        return abs(values[0] + values[1] + values[2]) < np.inf

    assert is_finite(np.array([1.0, 2.0, 3.0]))
    assert not any(is_finite(np.array([1.0, value, 3.0])) for value in (np.nan, np.inf, -np.inf))


def compiled_in(path: Path) -> list[tuple[str, Any]]:
    """Names and compiled functions of a module."""
    module = importlib.import_module(".".join(("physembed", *path.relative_to(ROOT).with_suffix("").parts)))
    return [(name, function) for name, function in vars(module).items() if hasattr(function, "py_func")]


def used_by(function: Any) -> tuple[str, ...]:
    """Names that a compiled function uses."""
    return function.py_func.__code__.co_names


def test_there_are_compiled_functions() -> None:
    assert len(MODULES) > 5
