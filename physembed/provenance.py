"""Provenance of a result: code, settings, seeds, package versions and input hashes."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from physembed.errors import PhysEmbedError
from physembed.files import atomic, cache_folder
from physembed.version import __version__

ROOT = Path(__file__).parent
PACKAGES = (
    "torch", "mace-torch", "torch-sim-atomistic", "cuequivariance-torch", "openmm", "parmed",
    "acpype", "rdkit", "packmol", "tblite", "tad-dftd3", "pymbar", "stacie", "mdanalysis", "ase", "numpy", "scipy",
    "snakemake",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages on which the results depend."""
    versions = {"python": platform.python_version(), "physembed": __version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


@cache
def code_version() -> str:
    """The package's version and, in a git checkout, its commit: `0.1.0+g<commit>`, with `-dirty` if files were changed.

    Untracked files do not count as changes.
    """
    if not (ROOT.parent / ".git").exists():
        return __version__
    command = ["git", "-C", str(ROOT.parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(command, text=True, capture_output=True)
    except FileNotFoundError:  # a checkout on a node without git
        return __version__
    return f"{__version__}+g{described.stdout.strip()}" if described.returncode == 0 else __version__


def gpu_name() -> str | None:
    """The GPU that this process may have used; None if there is none or torch was not loaded."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's content."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def settings_hash(settings: Any) -> str:
    """Short hash of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Module:
    """Content of a Python file, for the code hash."""

    code: str
    """Hash of its syntax tree without docstrings, so edits of comments and docstrings do not change it."""
    imported: frozenset[Path]
    """PhysEmbed files that it imports directly (anywhere in it)."""


DIGESTS = 1
"""Changes when `_digest` does."""


class _Digests:
    """Hashes and imports of Python files by their content, kept in the user's cache folder.

    Snakemake needs those of two hundred files whenever it starts, and parsing them takes longer than all else that it
    does then. Without a writable cache folder they are parsed each time.
    """

    def __init__(self) -> None:
        self._path = cache_folder() / f"code-{DIGESTS}-{platform.python_version()}.json"
        self._known: dict[str, tuple[str, list[str]]] = {}
        self._new = False
        with suppress(OSError, ValueError, TypeError):
            self._known = dict(json.loads(self._path.read_text()))

    def of(self, source: bytes) -> tuple[str, list[str]]:
        """Hash of the syntax tree of a file with this content, and the modules that it imports."""
        key = hashlib.sha256(source).hexdigest()
        if key not in self._known:
            self._known[key], self._new = _digest(source), True
        return self._known[key]

    def save(self) -> None:
        """Keep what is new."""
        if self._new:
            with suppress(OSError, PhysEmbedError), atomic(self._path) as temporary:
                temporary.write_text(json.dumps(self._known))
        self._new = False


@cache
def _digests() -> _Digests:
    return _Digests()


def _digest(source: bytes) -> tuple[str, list[str]]:
    tree, names = ast.parse(source), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                child for child in node.body
                if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
                        and isinstance(child.value.value, str))
            ]  # fmt: skip
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = sorted(name for name in names if name.split(".")[0] == "physembed")
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), ours


@cache
def _parsed(path: Path) -> _Module:
    """Hash and imports of a file, once per process: dozens of scripts import the same modules."""
    code, names = _digests().of(path.read_bytes())
    bases = [ROOT.joinpath(*name.split(".")[1:]) for name in names]
    files = {file for base in bases for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()}
    return _Module(code, frozenset(files))


SHAPES_NO_RESULT = {
    "__init__.py",
    "config/",
    "stages/",
    "study.py",
    "stage.py",
    "restart.py",
    "provenance.py",
    "files.py",
    "progress.py",
    "errors.py",
    "engine/cards.py",
    "md/clock.py",
}
"""Modules and packages that affect no result: editing them reruns nothing.

They check, log, save and format messages. Configuration values reach a stage as its settings, in which every
default is written out, and these are parameters of the rules themselves.
"""


def shapes_results(module: Path) -> bool:
    """Whether a result can depend on the code of a PhysEmbed module."""
    name = module.relative_to(ROOT).as_posix() if module.is_relative_to(ROOT) else ""
    return name not in SHAPES_NO_RESULT and f"{name.partition('/')[0]}/" not in SHAPES_NO_RESULT


def code_files(script: str | Path, *, without: str | None = None) -> set[Path]:
    """A script and all PhysEmbed modules on which its result depends; `without` those of a package of PhysEmbed."""
    todo, seen = [Path(script).resolve()], set[Path]()
    while todo:
        path = todo.pop()
        if path not in seen and shapes_results(path) and not (without and path.is_relative_to(ROOT / without)):
            seen.add(path)
            todo.extend(_parsed(path).imported)
    return seen


@cache
def code_hash(script: str | Path, *data: str, without: str | None = None) -> str:
    """Hash of a script, of every PhysEmbed module that it imports, directly or not, and of `data` files of the package;
    `without` the modules of one of its packages.

    Comments, docstrings and layout are ignored. The rules use this value as a parameter, so that
    Snakemake reruns a stage when its physics changes and only then.
    """
    digest = hashlib.sha256()
    for path in sorted(code_files(script, without=without), key=lambda p: (p.name, str(p))):
        digest.update(path.name.encode() + _parsed(path).code.encode())
    for name in data:
        digest.update((ROOT / name).read_bytes())
    _digests().save()
    return digest.hexdigest()[:16]


def write_provenance(
    path: str | Path,
    *,
    stage: str,
    settings: Any,
    inputs: list[str],
    code: str,
    seconds: float,
    found: dict[str, Any] | None = None,
) -> None:
    """Write the provenance record of a stage's results, as JSON."""
    record = {
        "stage": stage,
        "settings": settings,
        "inputs_sha256": {str(name): file_hash(name) for name in inputs if Path(name).is_file()},
        "code_hash": code,
        "code_version": code_version(),
        "versions": package_versions(),
        "host": {"machine": platform.machine(), "system": platform.system(), "gpu": gpu_name()},
        "wall_seconds": round(seconds, 2),
        **({"found": found} if found else {}),
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
