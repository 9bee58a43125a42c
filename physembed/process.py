"""Settings of the process of a job: memory that is kept, threads that sleep while idle, and what is not imported.

`physembed.stage.stage` applies them before a script imports torch, however the job was started. They affect no
result.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes.util import find_library

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
