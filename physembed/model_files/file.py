"""Files of MACE models. They are pickles, which can run any code when they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mace.modules.extensions import PolarMACE

from physembed.errors import PhysEmbedError
from physembed.model_files.description import chosen_head


def load_pickle(file: str | Path, device: str, what: str = "model") -> Any:
    """What a file that torch saved holds. Such a file can run any code when it is loaded.

    Raises:
        PhysEmbedError: if it cannot be loaded; `what` begins the message.
    """
    try:
        return torch.load(file, map_location=device, weights_only=False)
    except Exception as error:  # unpickling a file that is not a model can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PhysEmbedError(f"{what}: {file}: cannot be loaded: {reason}") from error


def load_module(model_file: str | Path, device: str, what: str = "model") -> torch.nn.Module:
    """The module in a file of a MACE model.

    The file is a pickle, which can run any code when it is loaded: load only files that you trust.

    Raises:
        PhysEmbedError: if the file holds no MACE model; `what` begins the message.
    """
    return as_module(load_pickle(model_file, device, what), model_file, what)


def as_module(module: Any, model_file: str | Path, what: str = "model") -> torch.nn.Module:
    """What was loaded from a file, if it is a MACE model.

    Raises:
        PhysEmbedError: it is none; `what` begins the message.
    """
    if not hasattr(module, "atomic_numbers") or not hasattr(module, "r_max"):
        raise PhysEmbedError(f"{what}: {model_file}: holds {type(module).__name__}, not a MACE model")
    if isinstance(module, PolarMACE):
        raise PhysEmbedError(f"{what}: {model_file}: holds {type(module).__name__}; MACE with charges is not supported")
    return module


def default_head(module: torch.nn.Module, what: str) -> str:
    """The head of a MACE model that is used: its only one, or the one that is called `default` in any case.

    This is the choice of MACE's own calculator.

    Raises:
        PhysEmbedError: if it has several, none of them called so; `what` begins the message.
    """
    return chosen_head([str(head) for head in getattr(module, "heads", ["Default"])], what)
