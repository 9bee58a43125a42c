"""What a MACE model is made of, read once from its modules: where the weights are and how components are coupled."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from mace import modules  # before e3nn: it sets how torch may load e3nn's constants
from torch import Tensor, nn

from e3nn import o3  # isort: skip

Array = np.ndarray[Any, Any]


class Unsupported(Exception):
    """The model has a part that is not known here."""


def require(condition: object, what: str) -> None:
    """Raise `Unsupported` unless the condition is true."""
    if not condition:
        raise Unsupported(what)


@dataclass(frozen=True)
class Block:
    """A matrix in the flat weight of a linear layer, for the components of one order l."""

    start: int
    shape: tuple[int, ...]
    """(n_in, n_out), or (n_in, n_elements, n_out)."""
    factor: float
    rows: slice
    """Components that it acts on."""
    out_rows: slice
    """Components that it makes."""

    def of(self, weight: Tensor) -> Tensor:
        """The matrix itself, with its factor."""
        return self.place(weight.detach()) * self.factor

    def place(self, weight: Tensor) -> Tensor:
        """Where the matrix stands in the flat weight."""
        return weight[self.start : self.start + math.prod(self.shape)].view(self.shape)


@dataclass(frozen=True)
class Linear:
    """A linear layer on components of each order by itself; with a matrix per element if the shapes say so."""

    weight: nn.Parameter
    blocks: tuple[Block, ...]
    n_rows_out: int


@dataclass(frozen=True)
class Network:
    """The radial network: layers without bias, SiLU between them."""

    weights: tuple[nn.Parameter, ...]
    factors: tuple[float, ...]
    activation: float
    """Factor on SiLU."""


@dataclass(frozen=True)
class Convolution:
    """Couplings of features with spherical harmonics."""

    mixing: Array
    """(n_harmonics, n_slots) coefficients; a slot is a pair of components, one of the message and one of the features,
    of one path."""
    paths: Array
    """(n_paths, 7) first slot, number of components of the features, of the message, first component of the features,
    messages before those of this order, paths to this order, place among them."""
    parities: Array
    """(n_paths,) factor on the harmonics for a pair that is turned round."""
    rows: tuple[int, ...]
    """Paths to each order l of the message."""


@dataclass(frozen=True)
class Product:
    """Symmetric contraction: the distinct products of components that it sums."""

    terms: Array
    """(n_terms, 4) as `kernels.contract` takes them."""
    weights: tuple[nn.Parameter, ...]
    """(n_elements, n_parameters, n_channels) each."""
    patterns: tuple[Array, ...]
    """(n_own_terms, n_parameters) for each of the weights: coefficients of its terms."""
    places: tuple[slice, ...]
    """Terms of each of the weights."""
    n_out: int


@dataclass(frozen=True)
class Readout:
    """Energy of an atom from its scalars; with one layer in between, SiLU times `activation`, or none."""

    weights: tuple[nn.Parameter, ...]
    factors: tuple[float, ...]
    activation: float


@dataclass(frozen=True)
class Layer:
    """One interaction, the product on it and the readout of it."""

    up: Linear
    radial: Network
    convolution: Convolution
    message: Linear
    by_element: Linear
    residual: bool
    """Whether `by_element` acts on the features of the layer before and is added at the end, or on the message."""
    product: Product
    out: Linear
    readout: Readout | None


@dataclass(frozen=True)
class Plan:
    """A MACE model."""

    embedding: nn.Parameter
    embedding_factor: float
    n_elements: int
    n_channels: int
    max_ell: int
    layers: tuple[Layer, ...]
    scale: float
    shift: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All weights, in a fixed order."""
        found = [self.embedding]
        for layer in self.layers:
            linears = layer.up, layer.message, layer.by_element, layer.out
            found += [linear.weight for linear in linears]
            found += [*layer.radial.weights, *layer.product.weights]
            if layer.readout is not None:
                found += layer.readout.weights
        return found


def make_plan(model: Any) -> Plan:
    """Read a model.

    Raises:
        Unsupported: a part of it is not known here.
    """
    require(type(model) in (modules.MACE, modules.ScaleShiftMACE), f"a model of the class {type(model).__name__}")
    require(not hasattr(model, "joint_embedding"), "joint_embedding in the model")
    require(len(model.heads) == 1, f"{len(model.heads)} heads")
    radial = model.radial_embedding
    require(isinstance(radial.bessel_fn, modules.radial.BesselBasis), f"{type(radial.bessel_fn).__name__}")
    require(not radial.bessel_fn.bessel_weights.requires_grad, "a radial basis that is trained")
    require(not hasattr(radial, "distance_transform"), "a transformed distance")
    require(getattr(radial, "apply_cutoff", True), "a cutoff that is applied to the weights")
    embedding = model.node_embedding.linear
    (only,) = embedding.instructions
    n_elements, n_channels = only.path_shape
    readouts = list(model.readouts)
    require(len(readouts) in (1, len(model.interactions)), f"{len(readouts)} readouts")
    places: list[Any] = [None] * (len(model.interactions) - len(readouts)) + readouts
    layers = tuple(
        _layer(interaction, product, readout, n_elements, n_channels)
        for interaction, product, readout in zip(model.interactions, model.products, places, strict=True)
    )
    scale_shift = getattr(model, "scale_shift", None)
    plan = Plan(
        embedding=embedding.weight,
        embedding_factor=only.path_weight,
        n_elements=n_elements,
        n_channels=n_channels,
        max_ell=model.spherical_harmonics.irreps_out.lmax,
        layers=layers,
        scale=1.0 if scale_shift is None else float(scale_shift.scale),
        shift=0.0 if scale_shift is None else float(scale_shift.shift),
    )
    known = {id(parameter) for parameter in plan.parameters}
    for name, parameter in model.named_parameters():
        require(id(parameter) in known or not parameter.requires_grad, f"the weights {name}")
    return plan


def _layer(interaction: Any, product: Any, readout: Any, n_elements: int, n_channels: int) -> Layer:
    kinds = modules.blocks.RealAgnosticInteractionBlock, modules.blocks.RealAgnosticResidualInteractionBlock
    require(type(interaction) in kinds, f"the interaction {type(interaction).__name__}")
    require(not getattr(product, "use_agnostic_product", False), "a product that does not look at the element")
    residual = type(interaction) is kinds[1]
    require(product.use_sc or not residual, "a residual that is not used")
    message = _linear(interaction.linear)
    message = Linear(
        message.weight,
        tuple(
            Block(block.start, block.shape, block.factor / interaction.avg_num_neighbors, block.rows, block.out_rows)
            for block in message.blocks
        ),
        message.n_rows_out,
    )
    return Layer(
        up=_linear(interaction.linear_up),
        radial=_network(interaction.conv_tp_weights),
        convolution=_convolution(interaction.conv_tp, n_channels),
        message=message,
        by_element=_by_element(interaction.skip_tp, n_elements),
        residual=residual,
        product=_product(product.symmetric_contractions),
        out=_linear(product.linear),
        readout=None if readout is None else _readout(readout),
    )


def _rows(irreps: o3.Irreps) -> list[slice]:
    """Components of each entry."""
    ends = list(itertools.accumulate(ir.dim for _, ir in irreps))
    return [slice(end - ir.dim, end) for end, (_, ir) in zip(ends, irreps, strict=True)]


def _linear(module: Any) -> Linear:
    """An e3nn linear layer; several inputs of one order stand side by side in one matrix."""
    require(type(module) is o3.Linear and module.bias_numel == 0, f"the linear layer {type(module).__name__}")
    simple = module.irreps_in.simplify()
    rows, out_rows = _rows(simple), _rows(module.irreps_out)
    start, blocks = 0, []
    for i_out, (_, ir) in enumerate(module.irreps_out):
        mine = [instruction for instruction in module.instructions if instruction.i_out == i_out]
        (i_in,) = [i for i, (_, other) in enumerate(simple) if other == ir]
        n_in, n_out = sum(instruction.path_shape[0] for instruction in mine), mine[0].path_shape[1]
        blocks.append(Block(start, (n_in, n_out), mine[0].path_weight, rows[i_in], out_rows[i_out]))
        start += n_in * n_out
    places = [instruction.i_out for instruction in module.instructions]
    require(places == sorted(places) and start == module.weight_numel, "the order of weights in a linear layer")
    return Linear(module.weight, tuple(blocks), out_rows[-1].stop)


def _by_element(module: Any, n_elements: int) -> Linear:
    """e3nn's product of features with the one-hot vector of the element."""
    require(type(module) is o3.FullyConnectedTensorProduct, f"the product {type(module).__name__}")
    rows, out_rows = _rows(module.irreps_in1), _rows(module.irreps_out)
    start, blocks = 0, []
    for one in module.instructions:
        require(one.connection_mode == "uvw" and one.path_shape[1] == n_elements, "a product with the element")
        # e3nn's coupling of order l with a scalar is 1 / sqrt(2l + 1).
        factor = one.path_weight / np.sqrt(module.irreps_in1[one.i_in1].ir.dim)
        blocks.append(Block(start, tuple(one.path_shape), factor, rows[one.i_in1], out_rows[one.i_out]))
        start += math.prod(one.path_shape)
    require(start == module.weight_numel, "the order of weights in a product with the element")
    require([block.out_rows for block in blocks] == out_rows, "the order of a product with the element")
    return Linear(module.weight, tuple(blocks), out_rows[-1].stop)


def _network(module: Any) -> Network:
    layers = list(module.children())
    *hidden, last = layers
    require(last.act is None, "an activation after the radial network")
    constants = {layer.act.cst for layer in hidden}
    require(len(constants) == 1, "a radial network of several activations")
    require(all(layer.act.f is nn.functional.silu for layer in hidden), "another activation than SiLU")
    require(all(layer.var_in == layer.var_out == 1 for layer in layers), "a variance other than 1")
    return Network(
        tuple(layer.weight for layer in layers), tuple(float(layer.h_in) ** -0.5 for layer in layers), constants.pop()
    )


def _convolution(module: Any, n_channels: int) -> Convolution:
    require(type(module) is o3.TensorProduct, f"the product {type(module).__name__}")
    require(all(mul == n_channels for mul, _ in module.irreps_in1), "orders with different numbers of channels")
    harmonics, rows = _rows(module.irreps_in2), _rows(module.irreps_in1)
    orders = [ir for _, ir in module.irreps_out]
    require(orders == sorted(orders), "the order of messages")
    counts = [orders.count(ir) for ir in dict.fromkeys(orders)]
    before = dict(
        zip(
            dict.fromkeys(orders),
            itertools.accumulate([n * ir.dim for n, ir in zip(counts, dict.fromkeys(orders), strict=True)], initial=0),
            strict=False,
        )
    )
    columns, paths, parities, slot = [], [], [], 0
    for number, one in enumerate(module.instructions):
        require(one.connection_mode == "uvu" and one.has_weight and one.i_out == number, "the order of paths")
        ir_in, ir_edge = module.irreps_in1[one.i_in1].ir, module.irreps_in2[one.i_in2].ir
        ir_out = orders[one.i_out]
        coupling = o3.wigner_3j(ir_in.l, ir_edge.l, ir_out.l, dtype=torch.float64).numpy() * one.path_weight
        columns_here = np.zeros((module.irreps_in2.dim, ir_out.dim * ir_in.dim))
        columns_here[harmonics[one.i_in2]] = coupling.transpose(1, 2, 0).reshape(ir_edge.dim, -1)
        columns.append(columns_here)
        place = orders[: one.i_out].count(ir_out)
        paths.append([slot, ir_in.dim, ir_out.dim, rows[one.i_in1].start, before[ir_out], orders.count(ir_out), place])
        parities.append((-1) ** ir_edge.l)
        slot += ir_out.dim * ir_in.dim
    require(parities[0] == 1, "the order of paths")
    return Convolution(np.concatenate(columns, 1), np.array(paths), np.array(parities), tuple(counts))


def _product(module: Any) -> Product:
    require(type(module) is modules.symmetric_contraction.SymmetricContraction, f"the product {type(module).__name__}")
    terms: list[tuple[int, ...]] = []
    weights, patterns, places, first = [], [], [], 0
    for contraction in module.contractions:
        require(contraction.correlation <= 3, f"correlation {contraction.correlation}")
        for degree in range(1, contraction.correlation + 1):
            matrix = contraction.U_tensors(degree).double().numpy()
            if matrix.ndim == degree + 1:
                matrix = matrix[None]
            n_components = matrix.shape[1]
            sums: dict[tuple[int, ...], Array] = {}
            for index in np.argwhere(np.abs(matrix).max(-1) > 1e-12):
                k, *factors = (int(i) for i in index)
                padded = (*sorted(factors), *[n_components] * (3 - degree))
                key = (first + k, *padded)
                sums[key] = sums.get(key, 0.0) + matrix[tuple(index)]
            # Terms of the same coefficients in all weights vanish where permutations cancel.
            kept = {key: value for key, value in sorted(sums.items()) if np.abs(value).max() > 1e-12}
            weight = (
                contraction.weights_max
                if degree == contraction.correlation
                else contraction.weights[contraction.correlation - degree - 1]
            )
            if not kept:
                continue
            places.append(slice(len(terms), len(terms) + len(kept)))
            terms += kept
            weights.append(weight)
            patterns.append(np.array(list(kept.values())))
        first += 1 if contraction.U_tensors(1).ndim == 2 else contraction.U_tensors(1).shape[0]
    return Product(np.array(terms), tuple(weights), tuple(patterns), tuple(places), first)


def _readout(module: Any) -> Readout:
    if type(module) is modules.LinearReadoutBlock:
        linears, activation = [module.linear], 1.0
    else:
        require(type(module) is modules.NonLinearReadoutBlock, f"the readout {type(module).__name__}")
        linears = [module.linear_1, module.linear_2]
        (act,) = module.non_linearity.acts
        require(act.f is nn.functional.silu, "another activation than SiLU in a readout")
        activation = act.cst
    for linear in linears:
        require(type(linear) is o3.Linear and linear.bias_numel == 0, f"the linear layer {type(linear).__name__}")
        require(len(linear.instructions) == 1 and linear.irreps_out.lmax == 0, "a readout of several orders")
        require(linear.instructions[0].i_in == 0 and linear.irreps_in[0].ir.l == 0, "the order of a readout")
    return Readout(
        tuple(linear.weight for linear in linears),
        tuple(linear.instructions[0].path_weight for linear in linears),
        activation,
    )


@cache
def harmonic_steps(max_ell: int) -> tuple[Array, ...]:
    """Gradients of the solid harmonics: for l = 1, 2, ... (2l - 1, 3, 2l + 1) factors on the harmonics of l - 1.

    Normalised as e3nn's `component`. The gradient of a solid harmonic of order l is made of those of order l - 1, and
    times the vector, by Euler's theorem, it is l times the harmonic itself.
    """
    vector = torch.tensor([[0.3, -0.5, 0.7]], dtype=torch.float64)
    steps = []
    for order in range(1, max_ell + 1):
        coupling = o3.wigner_3j(order, order - 1, 1, dtype=torch.float64).permute(1, 2, 0)
        below, here = (
            o3.spherical_harmonics(number, vector, normalize=False, normalization="component")[0]
            for number in (order - 1, order)
        )
        trial = torch.einsum("jxi,j,x->i", coupling, below, vector[0]) / order
        steps.append((coupling * (here @ trial) / (trial @ trial)).numpy())
    return tuple(steps)
