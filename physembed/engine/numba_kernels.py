"""Functions that Numba compiles: kept on disk where a folder for that can be written, free of Python's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np

Array = np.ndarray[Any, Any]

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    # Sums may be reordered, so that they fill vector registers; nothing is assumed of numbers that are not finite.
    "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"},
}


def compiled[R](function: Callable[..., R]) -> Callable[..., R]:
    """Compile a function when it is first called with arrays of a kind.

    Machine code is kept beside the module, or in the user's folder of caches (`NUMBA_CACHE_DIR` names another). Where
    neither can be written, each start compiles.
    """
    try:
        return cast("Callable[..., R]", numba.njit(cache=True, **OPTIONS)(function))
    except RuntimeError:  # no folder
        return cast("Callable[..., R]", numba.njit(**OPTIONS)(function))
