"""Choice of the device of a model, and of how many systems to evaluate at once."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from physembed.errors import PhysEmbedError

log = logging.getLogger(__name__)
CPU_SYSTEMS = 20
"""Molecules evaluated at once on a CPU; 100 at once took 10 to 25 % longer per molecule."""


def resolve_device(device: str | torch.device) -> str:
    """Replace `auto` by `cuda` if there is a GPU, otherwise by `cpu` with a warning; check other values.

    Raises:
        PhysEmbedError: if `cuda` is requested but there is no GPU, or if it is none of `auto`, `cpu` and `cuda`.
    """
    device = str(device)
    if device not in ("auto", "cpu", "cuda"):
        raise PhysEmbedError(f"device: {device!r}: use auto, cpu or cuda; CUDA_VISIBLE_DEVICES selects the GPU")
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        log.warning("no GPU: running on %d CPU threads; the progress lines show the speed", torch.get_num_threads())
        return "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise PhysEmbedError("device: 'cuda' is set in the configuration, but torch finds no GPU; set auto or cpu")
    return device


def half_as_many(systems_at_once: int, error: Exception) -> int:
    """Halve the number of systems to evaluate at once, after running out of memory.

    Raises:
        PhysEmbedError: if it was already one.
    """
    if systems_at_once == 1:
        raise PhysEmbedError("model: the GPU memory is too small for a single system") from error
    fewer = (systems_at_once + 1) // 2
    log.warning("out of memory: continuing with %d systems at once", fewer)
    return fewer


def systems_that_fit(evaluate: Callable[[int], object], systems: int, device: torch.device) -> int:
    """Number of equally large systems that a model should evaluate at once.

    On a GPU, the memory of a few systems is measured, and half of the free memory is used. On a CPU, the limit is the
    cache: `CPU_SYSTEMS`.

    Args:
        evaluate: evaluates the model for the given number of systems.
        systems: total number of systems.
        device: device of the model.
    """
    if device.type == "cpu":
        return min(systems, CPU_SYSTEMS)
    few = min(systems, 4)
    evaluate(few)  # exclude what is allocated once, in the first call
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    evaluate(few)
    each = (torch.cuda.max_memory_allocated(device) - before) / few
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return min(systems, max(1, int(free / 2 / max(each, 1.0))))
