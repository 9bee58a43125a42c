"""Settings of the process that a job runs in: memory that is kept, and threads that sleep while they wait.

`physembed.stage.stage` applies both before a script imports torch, however the job was started. No result depends on
them.
"""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt, from malloc.h."""
KEPT_BYTES = 1 << 30
"""Blocks up to this size come from memory that the process keeps."""


def keep_memory() -> bool:
    """Let the process keep the memory of freed tensors; whether the C library can (glibc can, musl and macOS cannot).

    glibc gives a block of more than 128 KiB (32 MiB at most) back to the system when it is freed, and the next tensor
    of that size costs a page fault for each 4 KiB again. In MD and training with large models these were a third to
    two fifths of the CPU time (docs/development/performance.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # A trim threshold of -1 is none.
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, -1))


def sleep_while_waiting() -> None:
    """Let idle OpenMP threads sleep, unless the environment says otherwise; libraries read it when they are loaded.

    By default they spin, which on cores that other processes use too takes the time of the threads that work.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
