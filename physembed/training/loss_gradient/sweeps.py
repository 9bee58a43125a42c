"""Energies and forces of a MACE model on a batch, and the gradient of a loss by its weights, by four sweeps.

Let E be the sum of the energies of the frames, z the harmonics and radial functions of the pairs, and w the weights.

1. *Forward*: all features, and the energies.
2. *Gradient*: back through the layers, the gradient of E by every quantity, in the end by z: the forces.
   The loss is then a function of energies, forces and stresses, and its derivatives by them are numbers.
3. *Tangent*: forward again, the derivative of every quantity along one change of z, that which the derivative of the
   loss by the gradient of E by z gives.
4. *Total*: back again, with the gradient by every quantity of the total

       T = sum over frames of (dL/dE_frame) E_frame + (dE/dz) . (tangent of z),

   whose gradient by the weights is that of the loss. The gradient of T by a tangent is the gradient of E by the
   quantity itself, which sweep 2 has left.

This is what a double backward pass of automatic differentiation computes, with each product of matrices as often, but
with nothing between them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physembed.training.loss_gradient.batch import Pairs
from physembed.training.loss_gradient.couplings import Convolving, Multiplying
from physembed.training.loss_gradient.linear import (
    ByElement,
    apply,
    apply_back,
    flat,
    products,
    set_products,
    weight_total,
)
from physembed.training.loss_gradient.plan import Layer, Plan, Readout
from physembed.training.loss_gradient.radial import Radial, activate_total, activated


class _Reading:
    """The readout of one layer: the energy of each atom, times the scale of the model."""

    def __init__(self, readout: Readout, scale: float, scalars: Tensor) -> None:
        self._readout, self._scale, self._scalars = readout, scale, scalars
        *inner, last = (
            weight.detach() * factor for weight, factor in zip(readout.weights, readout.factors, strict=True)
        )
        self._last = last[:, None]
        self._inner = inner[0].view(scalars.shape[1], -1) if inner else None
        self._hidden = activated(scalars @ self._inner, readout.activation) if self._inner is not None else None
        value = scalars if self._hidden is None else self._hidden.value
        self.energies = scale * (value @ self._last)[:, 0]

    def back(self) -> Tensor:
        """Gradient by the scalars."""
        row = (self._scale * self._last).t().expand(len(self._scalars), -1).contiguous()
        if self._hidden is None or self._inner is None:
            return row
        self._hidden.gradient = row
        self._hidden.x_gradient = row * self._hidden.slope
        return self._hidden.x_gradient @ self._inner.t()

    def total(self, tangent: Tensor, atom_energies: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Totals by the scalars, whose tangent is given, and by the weights."""
        weights = (self._scale * atom_energies)[:, None]
        scales, total = torch.full_like(weights, self._scale), weights * self._last.t()
        factors = self._readout.factors
        if self._hidden is None or self._inner is None:
            return total, [products([(self._scalars, weights), (tangent, scales)], factors[0]).view(-1)]
        hidden = self._hidden
        assert hidden.x_gradient is not None
        change = tangent @ self._inner
        last = products([(hidden.value, weights), (change * hidden.slope, scales)], factors[1])
        activate_total(hidden, self._readout.activation, change, total)
        inner = products([(self._scalars, total), (tangent, hidden.x_gradient)], factors[0])
        return total @ self._inner.t(), [inner.view(-1), last.view(-1)]


class _Layer:
    """One layer on one batch, in all four sweeps."""

    def __init__(self, layer: Layer, pairs: Pairs, features: Tensor, scale: float) -> None:
        self._layer, self._features = layer, features
        self._radial = Radial(layer.radial, pairs.radial)
        self._convolving = Convolving(layer.convolution, pairs, apply(layer.up, features), self._radial.out)
        self._by_element = ByElement(layer.by_element, pairs.starts)
        self._mixed = self._from_messages(self._convolving.messages)
        densities = self._mixed if layer.residual else self._by_element.apply(self._mixed)
        self._multiplying = Multiplying(layer.product, pairs.element, densities)
        self.out = apply(layer.out, self._multiplying.out)
        if layer.residual:
            self.out += self._by_element.apply(features)
        self._reading = _Reading(layer.readout, scale, self.out[0]) if layer.readout is not None else None
        self.energies = self._reading.energies if self._reading is not None else None

    def _from_messages(self, messages: Tensor) -> Tensor:
        linear, n_atoms = self._layer.message, self._features.shape[1]
        out = messages.new_empty(linear.n_rows_out, n_atoms, linear.blocks[0].shape[1])
        for block, rows in zip(linear.blocks, self._convolving.blocks(messages), strict=True):
            torch.mm(rows, block.of(linear.weight), out=flat(out[block.out_rows]))
        return out

    def _to_messages(self, gradient: Tensor) -> Tensor:
        linear, out = self._layer.message, self._convolving.no_messages()
        for block, rows in zip(linear.blocks, self._convolving.blocks(out), strict=True):
            torch.mm(flat(gradient[block.out_rows]), block.of(linear.weight).t(), out=rows)
        return out

    def back(self, from_above: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients by the features, the harmonics and the radial functions."""
        layer = self._layer
        out = torch.zeros_like(self.out) if from_above is None else from_above
        if self._reading is not None:
            out[0] += self._reading.back()
        self._out_gradient = out
        self._densities_gradient = self._multiplying.back(apply_back(layer.out, out, len(self._multiplying.out)))
        self._mixed_gradient = self._densities_gradient
        if not layer.residual:
            self._mixed_gradient = self._by_element.back(self._densities_gradient, len(self._mixed))
        up, harmonics, self._radial_gradient = self._convolving.back(self._to_messages(self._mixed_gradient))
        self._up_gradient = up
        features = apply_back(layer.up, up, len(self._features))
        if layer.residual:
            features += self._by_element.back(out, len(self._features))
        return features, harmonics, self._radial.back(self._radial_gradient)

    def tangent(self, features: Tensor, harmonics: Tensor, radial: Tensor) -> Tensor:
        """Tangent of the result for those of features, harmonics and radial functions."""
        layer = self._layer
        self._features_tangent = features
        up = apply(layer.up, features)
        self._messages_tangent = self._convolving.tangent(up, harmonics, self._radial.tangent(radial))
        self._mixed_tangent = self._from_messages(self._messages_tangent)
        densities = self._mixed_tangent if layer.residual else self._by_element.apply(self._mixed_tangent)
        self._products_tangent = self._multiplying.tangent(densities)
        self._out_tangent = apply(layer.out, self._products_tangent)
        if layer.residual:
            self._out_tangent += self._by_element.apply(features)
        return self._out_tangent

    def total(self, from_above: Tensor | None, atom_energies: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Totals by the features and by the weights, in the order of `Plan.parameters`."""
        layer = self._layer
        readout: list[Tensor] = []
        out = torch.zeros_like(self.out) if from_above is None else from_above
        if self._reading is not None:
            scalars, readout = self._reading.total(self._out_tangent[0], atom_energies)
            out[0] += scalars
        out_weight = weight_total(
            layer.out, [(self._multiplying.out, out), (self._products_tangent, self._out_gradient)]
        )
        densities, product = self._multiplying.total(apply_back(layer.out, out, len(self._multiplying.out)))
        if layer.residual:
            mixed = densities
            element_pairs = [(self._features, out), (self._features_tangent, self._out_gradient)]
        else:
            mixed = self._by_element.back(densities, len(self._mixed))
            element_pairs = [(self._mixed, densities), (self._mixed_tangent, self._densities_gradient)]
        message = self._message_weight(mixed)
        up, radial = self._convolving.total(self._to_messages(mixed))
        up_weight = weight_total(layer.up, [(self._features, up), (self._features_tangent, self._up_gradient)])
        features = apply_back(layer.up, up, len(self._features))
        if layer.residual:
            features += self._by_element.back(out, len(self._features))
        linears = [up_weight, message, self._by_element.weight_total(element_pairs), out_weight]
        return features, [*linears, *self._radial.total(self._radial_gradient, radial), *product, *readout]

    def _message_weight(self, total: Tensor) -> Tensor:
        linear = self._layer.message
        out = torch.empty_like(linear.weight)
        messages, tangents = (
            self._convolving.blocks(values) for values in (self._convolving.messages, self._messages_tangent)
        )
        for block, value, change in zip(linear.blocks, messages, tangents, strict=True):
            gradients = flat(total[block.out_rows]), flat(self._mixed_gradient[block.out_rows])
            set_products(block.place(out), [(value, gradients[0]), (change, gradients[1])], block.factor)
        return out


class Evaluation:
    """A model on one batch: make it, and it has `energies` and `vectors_gradient`; then ask for `weight_totals` once.

    Attributes:
        energies: (n_atoms,) eV, without the energies of free atoms, in the order of the pairs' atoms.
        vectors_gradient: (n_pairs, 3) eV/Å, of the energy by the vectors.
    """

    def __init__(self, plan: Plan, pairs: Pairs) -> None:
        self.plan, self.pairs = plan, pairs
        table = plan.embedding.detach().view(plan.n_elements, plan.n_channels) * plan.embedding_factor
        features = table.index_select(0, pairs.element)[None]
        self.energies = features.new_full((len(pairs.element),), plan.shift)
        self._layers: list[_Layer] = []
        for layer in plan.layers:
            self._layers.append(_Layer(layer, pairs, features, plan.scale))
            features = self._layers[-1].out
            if self._layers[-1].energies is not None:
                self.energies += self._layers[-1].energies
        harmonics, radial = torch.zeros_like(pairs.harmonics), torch.zeros_like(pairs.radial)
        from_above: Tensor | None = None
        for one in reversed(self._layers):
            from_above, by_harmonics, by_radial = one.back(from_above)
            harmonics += by_harmonics
            radial += by_radial
        self.vectors_gradient = pairs.back(harmonics, radial)

    def weight_totals(self, atom_energies: Tensor, vectors_tangent: Tensor) -> list[Tensor]:
        """Gradient of a loss by the weights, in the order of `Plan.parameters`.

        Args:
            atom_energies: (n_atoms,) derivative of the loss by the energy of each atom.
            vectors_tangent: (n_pairs, 3) derivative of the loss by `vectors_gradient`.
        """
        plan = self.plan
        harmonics, radial = self.pairs.along(vectors_tangent)
        features = harmonics.new_zeros(1, len(self.pairs.element), plan.n_channels)
        for one in self._layers:
            features = one.tangent(features, harmonics, radial)
        found: list[Tensor] = []
        from_above: Tensor | None = None
        for one in reversed(self._layers):
            from_above, totals = one.total(from_above, atom_energies)
            found = totals + found
        assert from_above is not None
        embedding = harmonics.new_zeros(plan.n_elements, plan.n_channels)
        embedding.index_add_(0, self.pairs.element, from_above[0], alpha=plan.embedding_factor)
        return [embedding.view(-1), *found]
