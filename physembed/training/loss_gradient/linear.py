"""Linear layers on features (n_rows, n_atoms, n_channels): forward, back, and gradients by their weights."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from physembed.training.loss_gradient.plan import Linear


def apply(linear: Linear, x: Tensor) -> Tensor:
    """(n_rows_out, n_atoms, n_out) from (n_rows, n_atoms, n_in)."""
    n_atoms, n_out = x.shape[1], linear.blocks[0].shape[-1]
    out = x.new_empty(linear.n_rows_out, n_atoms, n_out)
    for block in linear.blocks:
        torch.mm(flat(x[block.rows]), block.of(linear.weight), out=flat(out[block.out_rows]))
    return out


def apply_back(linear: Linear, gradient: Tensor, n_rows: int) -> Tensor:
    """Gradient by the input from that by the output; rows that the layer does not use get 0."""
    n_in = linear.blocks[0].shape[0]
    out = gradient.new_zeros(n_rows, gradient.shape[1], n_in)
    for block in linear.blocks:
        torch.mm(flat(gradient[block.out_rows]), block.of(linear.weight).t(), out=flat(out[block.rows]))
    return out


def weight_total(linear: Linear, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Gradient by the flat weight: the sum over pairs of an input and a gradient by the output."""
    out = torch.empty_like(linear.weight)
    for block in linear.blocks:
        place = block.place(out)
        set_products(place, [(flat(x[block.rows]), flat(y[block.out_rows])) for x, y in pairs], block.factor)
    return out


def flat(x: Tensor) -> Tensor:
    """A matrix with the last dimension in its columns."""
    return x.view(-1, x.shape[-1])


def products(pairs: list[tuple[Tensor, Tensor]], factor: float) -> Tensor:
    """Factor times the sum of x^T y."""
    (x, y), *_ = pairs
    out = x.new_empty(x.shape[1], y.shape[1])
    set_products(out, pairs, factor)
    return out


def set_products(out: Tensor, pairs: list[tuple[Tensor, Tensor]], factor: float) -> None:
    """Set a matrix to factor times the sum of x^T y."""
    for number, (x, y) in enumerate(pairs):
        torch.addmm(out, x.t(), y, beta=1.0 if number else 0.0, alpha=factor, out=out)


class ByElement:
    """A linear layer with a matrix for each element; atoms of an element stand together."""

    def __init__(self, linear: Linear, starts: tuple[int, ...]) -> None:
        self.linear = linear
        self.parts = [(number, slice(a, b)) for number, (a, b) in enumerate(pairwise(starts)) if b > a]
        self.matrices = [block.of(linear.weight) for block in linear.blocks]

    def apply(self, x: Tensor) -> Tensor:
        """As `apply`."""
        out = x.new_empty(self.linear.n_rows_out, x.shape[1], self.linear.blocks[0].shape[-1])
        for block, matrix in zip(self.linear.blocks, self.matrices, strict=True):
            for element, atoms in self.parts:
                out[block.out_rows, atoms] = x[block.rows, atoms] @ matrix[:, element]
        return out

    def back(self, gradient: Tensor, n_rows: int) -> Tensor:
        """As `apply_back`."""
        out = gradient.new_zeros(n_rows, gradient.shape[1], self.linear.blocks[0].shape[0])
        for block, matrix in zip(self.linear.blocks, self.matrices, strict=True):
            for element, atoms in self.parts:
                out[block.rows, atoms] = gradient[block.out_rows, atoms] @ matrix[:, element].t()
        return out

    def weight_total(self, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """As `weight_total`."""
        out = torch.zeros_like(self.linear.weight)
        for block in self.linear.blocks:
            place = block.place(out)
            for element, atoms in self.parts:
                mine = [
                    (x[block.rows, atoms].reshape(-1, x.shape[2]), y[block.out_rows, atoms].reshape(-1, y.shape[2]))
                    for x, y in pairs
                ]
                place[:, element] = products(mine, block.factor)
        return out
