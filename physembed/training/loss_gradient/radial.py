"""The radial network on the pairs of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from physembed.numba_kernels import Array
from physembed.training.loss_gradient import kernels
from physembed.training.loss_gradient.linear import products
from physembed.training.loss_gradient.plan import Network


@dataclass
class Hidden:
    """One layer with its activation, on all pairs or atoms."""

    x: Tensor
    sigmoid: Tensor
    value: Tensor
    slope: Tensor
    gradient: Tensor | None = None
    """By the value."""
    x_gradient: Tensor | None = None


class Radial:
    """The radial network of one layer on all pairs of a batch."""

    def __init__(self, network: Network, features: Tensor) -> None:
        self.network = network
        self.features = features
        self.matrices = [
            weight.detach() * factor for weight, factor in zip(self.network.weights, self.network.factors, strict=True)
        ]
        self.hidden: list[Hidden] = []
        value = features
        for matrix in self.matrices[:-1]:
            self.hidden.append(activated(value @ matrix, self.network.activation))
            value = self.hidden[-1].value
        self.out = value @ self.matrices[-1]

    def back(self, gradient: Tensor) -> Tensor:
        """Gradient by the radial functions, (n_pairs, n_radial)."""
        for hidden, matrix in zip(reversed(self.hidden), reversed(self.matrices[1:]), strict=True):
            hidden.gradient = gradient @ matrix.t()
            gradient = hidden.x_gradient = hidden.gradient * hidden.slope
        return gradient @ self.matrices[0].t()

    def tangent(self, features: Tensor) -> Tensor:
        """Tangent of the result for that of the radial functions."""
        self.features_tangent, self.tangents, self.value_tangents = features, [], []
        value = features
        for hidden, matrix in zip(self.hidden, self.matrices[:-1], strict=True):
            self.tangents.append(value @ matrix)
            value = self.tangents[-1] * hidden.slope
            self.value_tangents.append(value)
        return value @ self.matrices[-1]

    def total(self, gradient: Tensor, total: Tensor) -> list[Tensor]:
        """Totals by the weights, from gradient and total by the result."""
        found = []
        inputs = [self.features, *[hidden.value for hidden in self.hidden]]
        input_tangents = [self.features_tangent, *self.value_tangents]
        for number in reversed(range(len(self.matrices))):
            pairs = [(inputs[number], total), (input_tangents[number], gradient)]
            found.append(products(pairs, self.network.factors[number]))
            if number:
                hidden = self.hidden[number - 1]
                assert hidden.gradient is not None and hidden.x_gradient is not None
                total = total @ self.matrices[number].t()
                activate_total(hidden, self.network.activation, self.tangents[number - 1], total)
                gradient = hidden.x_gradient
        return found[::-1]


def activated(x: Tensor, factor: float) -> Hidden:
    """SiLU times a factor."""
    hidden = Hidden(x, torch.sigmoid(x), torch.empty_like(x), torch.empty_like(x))
    kernels.activate(_flat(x), _flat(hidden.sigmoid), factor, _flat(hidden.value), _flat(hidden.slope))
    return hidden


def activate_total(hidden: Hidden, factor: float, tangent: Tensor, total: Tensor) -> None:
    """Turn the total by the value, in place, into that by the argument, whose tangent is given."""
    assert hidden.gradient is not None
    x, sigmoid, slope = _flat(hidden.x), _flat(hidden.sigmoid), _flat(hidden.slope)
    kernels.activate_total(x, sigmoid, factor, slope, _flat(tangent), _flat(hidden.gradient), _flat(total))


def _flat(x: Tensor) -> Array:
    return x.view(-1).numpy()
