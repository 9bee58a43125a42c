"""Functions compiled by Numba: cached on disk if a cache folder is writable, and releasing the GIL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np

Array = np.ndarray[Any, Any]

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    # Sums may be reordered to use vector registers; values are not assumed to be finite. Numba's isfinite(x) and
    # isnan(x), however, look at x - x, in which reordering cancels the terms of a sum: compare with infinity instead.
    "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"},
}


ROUNDED: dict[str, Any] = OPTIONS | {"fastmath": False}
"""For functions in which each operation is rounded as it is written, also where they are inlined."""


def compiled[R](function: Callable[..., R]) -> Callable[..., R]:
    """Compile a function at its first call for each set of argument types.

    Machine code is cached beside the module, or in the user's cache folder (`NUMBA_CACHE_DIR` sets another). If
    neither is writable, every process compiles again.
    """
    try:
        return cast("Callable[..., R]", numba.njit(cache=True, **OPTIONS)(function))
    except RuntimeError:  # no writable cache folder
        return cast("Callable[..., R]", numba.njit(**OPTIONS)(function))


def inlined[R](function: Callable[..., R]) -> Callable[..., R]:
    """A function for compiled functions, which contain its statements wherever they call it.

    As a function of its own it would be linked: to its own machine code in the process that compiles the caller, and to
    the copy that is cached with the caller in later processes. Both are optimised separately, and round differently.
    """
    return cast("Callable[..., R]", numba.njit(inline="always", **OPTIONS)(function))
