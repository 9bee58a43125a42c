"""Pairs of a neighbour list, each once."""

from __future__ import annotations

from torch import Tensor


def unique_pairs(pairs: Tensor, shifts: Tensor) -> Tensor:
    """Mask that keeps one of the two directions of each pair of a full neighbour list.

    Args:
        pairs: (2, n_pairs) atoms.
        shifts: (n_pairs, 3) cell vectors added to the second atom.

    Returns:
        (n_pairs,) bool.
    """
    x, y, z = shifts.unbind(dim=1)
    # An atom and its own image: the image in the positive half space.
    positive = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return (pairs[0] < pairs[1]) | ((pairs[0] == pairs[1]) & positive)
