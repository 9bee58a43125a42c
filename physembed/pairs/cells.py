"""Determinants and inverses of batches of cells without torch's error checks, which would synchronise with the host."""

from __future__ import annotations

import torch
from torch import Tensor


def volumes(cells: Tensor) -> Tensor:
    """Volumes (n_systems,) in Å^3 of cells (n_systems, 3, 3) in Å, vectors as rows or columns."""
    a, b, c = cells.unbind(1)
    return torch.linalg.vecdot(a, torch.linalg.cross(b, c)).abs()


def inverse(cells: Tensor) -> Tensor:
    """Inverse matrices (n_systems, 3, 3)."""
    a, b, c = cells.unbind(1)
    columns = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=2)
    return columns / torch.linalg.vecdot(a, columns[:, :, 0])[:, None, None]
