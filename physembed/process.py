"""Settings of the process of a job: memory that is kept, idle threads that sleep, and imports not needed.

`physembed.stage.stage` applies them before a script imports torch, however the job was started. They affect no
result.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt, from malloc.h."""
KEPT_BYTES = 1 << 30
"""Blocks up to this size are allocated from memory that the process keeps."""


def keep_memory() -> bool:
    """Keep the memory of freed tensors; return whether the C library supports this (glibc does, musl and macOS do not).

    By default glibc returns blocks of more than 128 KiB (32 MiB at most) to the system when they are freed, and the
    next tensor of that size again causes a page fault per 4 KiB. In MD and training with large models this was a third
    to two fifths of the CPU time (docs/development/performance.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # A trim threshold of -1 disables trimming.
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


def sleep_while_waiting() -> None:
    """Let idle OpenMP threads sleep, unless the environment sets a policy; libraries read it when they are loaded.

    By default they spin, which on shared cores takes time away from the working threads.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def leave_out_warp() -> bool:
    """Without NVIDIA's driver, make `import nvalchemiops` fail; return whether it will.

    torch-sim imports it for its neighbour lists if it can, and with it comes NVIDIA Warp, whose import takes as long as
    that of torch. torch-sim's lists in plain PyTorch take its place; PhysEmbed's own steps use neither.
    """
    if find_library("cuda") is not None or "nvalchemiops" in sys.modules:
        return False
    sys.modules["nvalchemiops"] = None  # type: ignore[assignment]
    return True


class _Loaded(Loader):
    """Loads a module that is already there, and leaves it as it is."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


class _PostponedDynamo(MetaPathFinder):
    """Finds torch's compiler as a module that is executed when one of its attributes is first used.

    If a submodule is imported first, Python asks the package for its path, which executes the package, which imports
    the submodule: it must not be executed again.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith("torch._dynamo.") and fullname in sys.modules:
            return ModuleSpec(fullname, _Loaded(sys.modules[fullname]))
        if fullname != "torch._dynamo":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def postpone_dynamo() -> None:
    """Import `torch._dynamo` when it is first used.

    MACE imports it for models that are compiled by torch; it takes a fifth of the time that a job with a model spends
    on imports.
    """
    if not any(isinstance(finder, _PostponedDynamo) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PostponedDynamo())
