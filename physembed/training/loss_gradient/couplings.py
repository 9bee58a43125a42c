"""Convolution over the pairs and product over the atoms of a batch, on tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from physembed.numba_kernels import Array
from physembed.training.loss_gradient import kernels
from physembed.training.loss_gradient.batch import Pairs
from physembed.training.loss_gradient.plan import Convolution, Product


class Convolving:
    """The convolution of one layer on one batch, in all four sweeps.

    Features are (n_rows, n_atoms, n_channels), radial functions (n_pairs, n_paths * n_channels), messages flat.
    """

    def __init__(self, convolution: Convolution, pairs: Pairs, up: Tensor, radial: Tensor) -> None:
        self._convolution, self.up, self.radial = convolution, up, radial
        self._n_atoms, self._n_channels = up.shape[1:]
        self._coefficients = torch.from_numpy(convolution.mixing).to(up.dtype)
        self._mixing = pairs.harmonics @ self._coefficients
        signs = torch.from_numpy(np.stack([np.ones_like(convolution.parities), convolution.parities])).to(up.dtype)
        self._where = (
            pairs.first.numpy(),
            pairs.second.numpy(),
            self._n_atoms,
            convolution.paths,
            signs.numpy(),
        )
        self.messages = self.no_messages()
        kernels.convolve(*self._inputs(), *self._where, self._rows(self.messages))

    def _rows(self, x: Tensor) -> Array:
        return x.view(-1, self._n_channels).numpy()

    def _inputs(self) -> tuple[Array, Array, Array]:
        return self._rows(self.up), self._mixing.numpy(), self._rows(self.radial)

    def no_messages(self) -> Tensor:
        """Zeros in the shape of the messages."""
        rows = sum((2 * order + 1) * count for order, count in enumerate(self._convolution.rows))
        return self.up.new_zeros(rows * self._n_atoms * self._n_channels)

    def blocks(self, messages: Tensor) -> list[Tensor]:
        """Messages of each order as matrices (-1, n_paths * n_channels)."""
        start, found = 0, []
        for order, count in enumerate(self._convolution.rows):
            size = (2 * order + 1) * count * self._n_atoms * self._n_channels
            found.append(messages[start : start + size].view(-1, count * self._n_channels))
            start += size
        return found

    def back(self, messages_gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients by the features, the harmonics and the radial functions."""
        self._messages_gradient = messages_gradient
        mixing, radial = torch.empty_like(self._mixing), torch.empty_like(self.radial)
        up = torch.zeros_like(self.up)
        outputs = self._rows(up), mixing.numpy(), self._rows(radial)
        kernels.convolve_gradient(*self._inputs(), *self._where, self._rows(messages_gradient), *outputs)
        return up, mixing @ self._coefficients.t(), radial

    def tangent(self, up: Tensor, harmonics: Tensor, radial: Tensor) -> Tensor:
        """Tangent of the messages for those of features, harmonics and radial functions."""
        self._tangents = (self._rows(up), (harmonics @ self._coefficients).numpy(), self._rows(radial))
        messages = self.no_messages()
        kernels.convolve_tangent(*self._inputs(), *self._tangents, *self._where, self._rows(messages))
        return messages

    def total(self, messages_total: Tensor) -> tuple[Tensor, Tensor]:
        """Totals by the features and the radial functions."""
        up, radial = torch.zeros_like(self.up), torch.empty_like(self.radial)
        gradients = self._rows(self._messages_gradient), self._rows(messages_total)
        outputs = self._rows(up), self._rows(radial)
        kernels.convolve_total(*self._inputs(), *self._tangents, *self._where, *gradients, *outputs)
        return up, radial


class Multiplying:
    """The product of one layer on one batch, in all four sweeps; densities are (n_rows, n_atoms, n_channels)."""

    def __init__(self, product: Product, element: Tensor, densities: Tensor) -> None:
        self._product, self._element, self._densities = product, element.numpy(), densities
        self._patterns = [torch.from_numpy(pattern).to(densities.dtype) for pattern in product.patterns]
        parts = zip(self._patterns, product.weights, strict=True)
        self._coefficients = torch.cat([torch.matmul(pattern, weight.detach()) for pattern, weight in parts], 1)
        self.out = densities.new_empty(product.n_out, *densities.shape[1:])
        kernels.contract(_rows(densities), *self._how(), _rows(self.out))

    def _how(self) -> tuple[Array, Array, Array]:
        return self._coefficients.numpy(), self._element, self._product.terms

    def back(self, out_gradient: Tensor) -> Tensor:
        """Gradient by the densities."""
        self._out_gradient, densities = out_gradient, torch.empty_like(self._densities)
        kernels.contract_gradient(_rows(self._densities), *self._how(), _rows(out_gradient), _rows(densities))
        return densities

    def tangent(self, densities: Tensor) -> Tensor:
        """Tangent of the result."""
        self._tangent, out = densities, torch.empty_like(self.out)
        kernels.contract_tangent(_rows(self._densities), _rows(densities), *self._how(), _rows(out))
        return out

    def total(self, out_total: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Totals by the densities and by the weights."""
        densities, coefficients = torch.empty_like(self._densities), torch.zeros_like(self._coefficients)
        gradients = _rows(self._out_gradient), _rows(out_total)
        inputs = _rows(self._densities), _rows(self._tangent)
        kernels.contract_total(*inputs, *self._how(), *gradients, _rows(densities), coefficients.numpy())
        places = zip(self._patterns, self._product.places, strict=True)
        return densities, [torch.matmul(pattern.t(), coefficients[:, place]) for pattern, place in places]


def _rows(x: Tensor) -> Array:
    return x.view(-1, x.shape[-1]).numpy()
