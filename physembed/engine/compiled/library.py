"""Machine code of kernels: made by LLVM once, for MACE once per shape of a model, kept on disk, and loaded from there.

The object files lie in the folder of caches of the user (`PHYSEMBED_CACHE`, or `XDG_CACHE_HOME/physembed`, or
`~/.cache/physembed`), or in a temporary one where that cannot be written. Their names hold a hash of the shape, of the
processor, of llvmlite and of the code that makes the kernels, so that a stale one is never loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
from llvmlite import binding as llvm
from llvmlite import ir

log = logging.getLogger(__name__)

MAKERS = (
    "contraction",
    "edges",
    "emit",
    "geometry",
    "kernels",
    "library",
    "linear",
    "radial",
    "repulsion",
    "shape",
    "steps",
)
"""Modules that the machine code depends on."""

_Function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
_lock = threading.Lock()
_loaded: dict[str, Library] = {}


class Library:
    """Some kernels; a call lets other threads of Python run meanwhile."""

    def __init__(self, machine_code: bytes, names: Sequence[str]) -> None:
        # Contiguous memory: the code refers to its constants by their distance.
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine(), use_lmm=True)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(machine_code))
        self._engine.finalize_object()
        self._functions = {}
        for name in names:
            address = self._engine.get_function_address(name)
            if not address:
                raise ValueError(f"no function {name}")
            self._functions[name] = _Function(address)

    def __getitem__(self, name: str) -> Any:
        return self._functions[name]


@cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple()


def _target_machine() -> Any:
    return _target().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="pic",
        codemodel="small",
        jit=True,
    )


@cache
def vector_bytes() -> int:
    """Width of the registers of this machine."""
    _target()
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") and features.get("avx512vl") else 32


@cache
def _here() -> str:
    """What the machine code depends on besides the shape."""
    _target()
    parts = [llvmlite.__version__, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    parts += [(Path(__file__).parent / f"{name}.py").read_text() for name in MAKERS]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where machine code is kept, if it can be."""
    given = os.environ.get("PHYSEMBED_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "physembed"


def load(what: str, make: Callable[[], ir.Module], names: Sequence[str]) -> Library:
    """Kernels, compiled if they are not on disk.

    Args:
        what: a name for them, of which all that they depend on but the modules `MAKERS` follows.
        make: gives their code.
        names: of their functions.
    """
    with _lock:
        if what not in _loaded:
            _loaded[what] = _from_disk(what, names) or Library(_made(what, make), names)
        return _loaded[what]


def _from_disk(what: str, names: Sequence[str]) -> Library | None:
    for folder in _folders():
        path = folder / _name(what)
        try:
            content = path.read_bytes()
        except OSError:
            continue
        # A file that was torn, or written to, is not loaded.
        digest, code = content[:32], content[32:]
        if hashlib.sha256(code).digest() == digest:
            return Library(code, names)
        log.warning("machine code: %s is damaged and is made anew", path)
    return None


def _name(what: str) -> str:
    return f"{what}-{_here()}.o"


def _folders() -> list[Path]:
    temporary = Path(tempfile.gettempdir()) / f"physembed-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    return [cache_folder(), temporary]


def _made(what: str, make: Callable[[], ir.Module]) -> bytes:
    began = time.perf_counter()
    log.info("machine code: compiling %s (once; up to a minute)", what)
    code = compiled(make())
    log.info("machine code: compiled %s in %.0f s", what, time.perf_counter() - began)
    for folder in _folders():
        try:
            _write(folder / _name(what), code)
        except OSError:
            continue
        break
    else:
        log.warning("machine code: no folder of caches can be written (set PHYSEMBED_CACHE); every start compiles")
    return code


def _write(path: Path, code: bytes) -> None:
    """Write a file that others may read, or write, at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid") and path.parent.stat().st_uid != os.getuid():
        raise PermissionError(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def compiled(module: ir.Module) -> bytes:
    """Machine code of kernels, an object file."""
    _target()
    assembly = llvm.parse_assembly(str(module))
    assembly.verify()
    machine = _target_machine()
    # Loops over vectors are written out already; other transformations of them only take time.
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(assembly, builder)
    return bytes(machine.emit_object(assembly))
