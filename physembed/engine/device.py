"""Which device a model runs on, and how much of a batch it holds."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from physembed.errors import PhysEmbedError

log = logging.getLogger(__name__)
CPU_SYSTEMS = 20
"""Molecules evaluated at once on a CPU; 100 at once took 10 to 25 % longer each (docs/development/performance.md)."""


def resolve_device(device: str) -> str:
    """`auto` becomes `cuda` where there is a card, else `cpu` with a warning; others are checked.

    Raises:
        PhysEmbedError: if `cuda` is asked for and there is none.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        log.warning("no GPU: runs on %d CPU threads; the progress lines tell what that costs", torch.get_num_threads())
        return "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise PhysEmbedError("device: 'cuda' is set in the configuration, but torch finds no GPU; set auto or cpu")
    return device


def half_as_many(systems_at_once: int, error: Exception) -> int:
    """How many systems to evaluate at once, after there was no memory for so many.

    Raises:
        PhysEmbedError: if it was one.
    """
    if systems_at_once == 1:
        raise PhysEmbedError("model: the memory of the GPU does not hold one system") from error
    fewer = (systems_at_once + 1) // 2
    log.warning("out of memory: %d systems at once from here on", fewer)
    return fewer


def systems_that_fit(evaluate: Callable[[int], object], systems: int, device: torch.device) -> int:
    """How many of so many equal systems a model should evaluate at once.

    On a GPU the memory that a few of them take is measured, and half of what is free is counted on. On a CPU it is
    the cache that should hold them: `CPU_SYSTEMS`.

    Args:
        evaluate: evaluates the model for so many systems.
        systems: how many there are.
        device: where it runs.
    """
    if device.type == "cpu":
        return min(systems, CPU_SYSTEMS)
    few = min(systems, 4)
    evaluate(few)  # what is made once, at the first call, does not count
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    evaluate(few)
    each = (torch.cuda.max_memory_allocated(device) - before) / few
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return min(systems, max(1, int(free / 2 / max(each, 1.0))))
