"""Which device a model runs on."""

from __future__ import annotations

import logging

import torch

from physembed.errors import PhysEmbedError

log = logging.getLogger(__name__)


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
