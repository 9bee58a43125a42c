"""The parameters of a MACE model, read from MACE's module into plain arrays.

Only models whose parts are all known are supported; all others are rejected with one reason and evaluated by MACE's own
code. Features are rows of channels, multiplied by matrices from the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from physembed.engine.compiled.radial import Radial, network
from physembed.engine.compiled.shape import CORRELATIONS, Monomial, Path


class UnsupportedModelError(Exception):
    """The reason why compiled code does not support a model; the message completes a sentence."""


@dataclass
class LayerTables:
    """An interaction and the product that follows it.

    Matrices are (..., channels, channels), or (n_elements, ...) if they depend on the element.
    """

    radial: Radial
    paths: list[Path]
    factors: np.ndarray
    """(n_paths,) common factor of the Clebsch-Gordan coefficients of each path."""
    up: list[np.ndarray]
    """For each l of the input features."""
    mix: list[np.ndarray]
    """For each l3, (n_paths to it, channels, channels), or with a leading n_elements."""
    mix_by_element: bool
    monomials: list[list[Monomial]]
    """For each component (L, M)."""
    coefficients: list[np.ndarray]
    """For each component (L, M): (n_elements, n_monomials, channels)."""
    linear: list[np.ndarray]
    """For each L."""
    skip: list[np.ndarray] | None
    """For each L, (n_elements, channels, channels); None without a self connection."""

    @property
    def output_order(self) -> int:
        """Highest L of the products."""
        return len(self.linear) - 1


@dataclass
class Readout:
    """Readout of the scalars after a layer."""

    layer: int
    """Index of the layer, from 0."""
    first: np.ndarray
    """(channels, hidden), or (channels, 1) if it is linear."""
    second: np.ndarray | None = None
    """(hidden,)"""
    gate: str = "none"
    factor: float = 1.0
    """Factor after the gate."""


@dataclass
class Repulsion:
    """Parameters of MACE's ZBL term."""

    c: np.ndarray
    power: int
    a_exp: float
    a_prefactor: float
    radii_A: np.ndarray
    """(n_elements,) covalent radii."""


@dataclass
class Tables:
    """A MACE model."""

    numbers: list[int]
    """Atomic numbers of the model's elements."""
    r_max_A: float
    order: int
    channels: int
    atomic_energies_eV: np.ndarray
    """(n_elements,)"""
    scale: float
    shift: float
    embedding: np.ndarray
    """(n_elements, channels)"""
    layers: list[LayerTables]
    readouts: list[Readout]
    repulsion: Repulsion | None = None


def read(module: torch.nn.Module) -> Tables:
    """Read a MACE module.

    Raises:
        UnsupportedModelError: a part of it is unknown.
    """
    kind = type(module).__name__
    _need(kind in ("MACE", "ScaleShiftMACE"), f"it is a {kind}")
    model: Any = module
    _need(len(getattr(model, "heads", ["Default"])) == 1, "it has several heads")
    for name, what in (
        ("joint_embedding", "an embedding of charge or spin"),
        ("use_so3", "use_so3"),
        ("lammps_mliap", "a coupling to LAMMPS"),
    ):
        _need(not (hasattr(model, name) and getattr(model, name) not in (None, False)), f"it has {what}")
    numbers = [int(number) for number in model.atomic_numbers]
    embedding = _linear(model.node_embedding.linear)
    _need(len(embedding) == 1, "its embedding is not of scalars")
    first = embedding[0]
    channels = first.shape[1]
    harmonics = model.spherical_harmonics
    _need(
        harmonics.normalize and harmonics.normalization == "component" and bool(harmonics._is_range_lmax),
        "its spherical harmonics are not those of MACE",
    )
    order = int(harmonics._lmax)
    _need(order <= 3, f"max_ell is {order}")
    layers = []
    for index, (interaction, product) in enumerate(zip(model.interactions, model.products, strict=True)):
        layers.append(_layer(model, interaction, product, index, order, channels))
    last = layers[-1]
    last.linear, last.monomials, last.coefficients = last.linear[:1], last.monomials[:1], last.coefficients[:1]
    last.skip = None if last.skip is None else last.skip[:1]
    for layer, following in pairwise(layers):
        _need(len(following.up) == len(layer.linear), "its layers do not fit together")
    readouts = list(model.readouts)
    _need(len(readouts) in (1, len(layers)), "its readouts are not one for each layer")
    at = [len(layers) - 1] if len(readouts) == 1 else range(len(layers))
    scale, shift = 1.0, 0.0
    if kind == "ScaleShiftMACE":
        scales, shifts = (_array(getattr(model.scale_shift, name)).reshape(-1) for name in ("scale", "shift"))
        _need(len(scales) == len(shifts) == 1, "it has several scales")
        scale, shift = float(scales[0]), float(shifts[0])
    tables = Tables(
        numbers=numbers,
        r_max_A=float(model.r_max),
        order=order,
        channels=channels,
        atomic_energies_eV=np.atleast_2d(_array(model.atomic_energies_fn.atomic_energies))[0],
        scale=scale,
        shift=shift,
        embedding=first,
        layers=layers,
        readouts=[_readout(readout, layer) for readout, layer in zip(readouts, at, strict=True)],
        repulsion=_repulsion(model, numbers),
    )
    _need(sum(readout.second is not None for readout in tables.readouts) <= 1, "it has several non-linear readouts")
    _need(all(r.second is None or r.layer == len(layers) - 1 for r in tables.readouts), "its readouts are not known")
    return tables


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise UnsupportedModelError(reason)


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(torch.as_tensor(tensor).detach().cpu().double().numpy())


def _orders(irreps: Any, channels: int, what: str) -> list[int]:
    """l of each irrep; all must have the parity of the spherical harmonics and the same number of channels."""
    for multiplicity, irrep in irreps:
        _need(irrep.p == (-1) ** irrep.l, f"{what} has the irrep {irrep}")
        _need(multiplicity == channels, f"{what} has {multiplicity} channels of {irrep}, not {channels}")
    return [irrep.l for _, irrep in irreps]


def _linear(linear: Any) -> list[np.ndarray]:
    """Matrices of an `o3.Linear` by l: (inputs of this l, concatenated, outputs)."""
    _need(type(linear).__name__ == "Linear" and not len(linear.bias), "it has an unknown kind of linear layer")
    blocks: dict[int, list[np.ndarray]] = {}
    outputs: dict[int, int] = {}
    for index, instruction in enumerate(linear.instructions):
        irrep = linear.irreps_out[instruction.i_out].ir
        _need(outputs.setdefault(irrep.l, instruction.i_out) == instruction.i_out, "a linear layer has two outputs")
        weight = _array(linear.weight_view_for_instruction(index))
        blocks.setdefault(irrep.l, []).append(weight * instruction.path_weight)
    orders = sorted(blocks)
    _need(orders == list(range(len(orders))), "a linear layer has no component of some l")
    return [np.concatenate(blocks[order]) for order in orders]


def _by_element(product: Any, n_elements: int) -> list[np.ndarray]:
    """Matrices of a product with the one-hot elements, by l, (n_elements, in, out)."""
    _need(type(product).__name__ == "FullyConnectedTensorProduct", "it has an unknown kind of self connection")
    matrices: dict[int, np.ndarray] = {}
    for index, instruction in enumerate(product.instructions):
        order = product.irreps_out[instruction.i_out].ir.l
        weight = _array(product.weight_view_for_instruction(index))
        _need(weight.shape[1] == n_elements and order not in matrices, "it has an unknown kind of self connection")
        matrices[order] = instruction.path_weight / np.sqrt(2 * order + 1) * weight.transpose(1, 0, 2)
    _need(sorted(matrices) == list(range(len(matrices))), "its self connection has no component of some l")
    return [matrices[order] for order in sorted(matrices)]


def _layer(model: Any, interaction: Any, product: Any, index: int, order: int, channels: int) -> LayerTables:
    from e3nn import o3

    name = type(interaction).__name__
    _need(
        name in ("RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"),
        f"it has the interaction {name}",
    )
    for config in ("cueq_config", "oeq_config"):
        given = getattr(interaction, config, None)
        _need(given is None or not given.enabled, f"it was made for another library ({config})")
    residual, n_elements = name == "RealAgnosticResidualInteractionBlock", len(model.atomic_numbers)
    features = _orders(interaction.node_feats_irreps, channels, "its features")
    _need(_orders(interaction.edge_irreps, channels, "its edges") == features, "it has features of the edges")
    _need(features == list(range(len(features))), "its features have no component of some l")
    _need(index > 0 or features == [0], "the features of its first layer are not scalars")
    product_of = interaction.conv_tp
    _need(type(product_of).__name__ == "TensorProduct", "its tensor product is not e3nn's")
    paths: list[Path] = []
    factors = []
    # A model created in float32 has them in float32.
    constants = {name.rsplit(".", 1)[-1]: buffer for name, buffer in product_of.named_buffers()}
    for instruction in product_of.instructions:
        _need(instruction.connection_mode == "uvu" and instruction.has_weight, "its tensor product is unknown")
        l1, l2, l3 = (
            irreps[place].ir.l
            for irreps, place in (
                (product_of.irreps_in1, instruction.i_in1),
                (product_of.irreps_in2, instruction.i_in2),
                (product_of.irreps_out, instruction.i_out),
            )
        )
        _orders(product_of.irreps_out, channels, "its messages")
        _need(instruction.i_out == len(paths), "the paths of its tensor product are not sorted")
        stored = constants.get(f"_w3j_{l1}_{l2}_{l3}")
        values = _array(o3.wigner_3j(l1, l2, l3, dtype=torch.float64) if stored is None else stored)
        places = np.argwhere(np.abs(values) > 1e-12)
        largest = values[tuple(places[np.argmax(np.abs(values[tuple(places.T)]))])]
        entries = tuple(
            (int(a), int(b), int(c), float(round(values[a, b, c] / largest, 15))) for a, b, c in places.tolist()
        )
        paths.append(Path(l1, l2, l3, entries))
        factors.append(instruction.path_weight * largest)
    _need([path.l3 for path in paths] == sorted(path.l3 for path in paths), "its messages are not sorted")
    mix = []
    for target, matrix in enumerate(_linear(interaction.linear)):
        count = sum(path.l3 == target for path in paths)
        _need(matrix.shape == (count * channels, channels), "the linear layer after its messages is unknown")
        mix.append(matrix.reshape(count, channels, channels) / float(interaction.avg_num_neighbors))
    _need(len(mix) == order + 1, "its messages have no component of some l")
    skips = _by_element(interaction.skip_tp, n_elements)
    if not residual:
        mix = [np.einsum("pij,ejk->epik", matrix, skip) for matrix, skip in zip(mix, skips, strict=True)]
    use_skip = residual and bool(product.use_sc)
    monomials, coefficients = _contractions(product.symmetric_contractions, n_elements, order, channels)
    linear = _linear(product.linear)
    _need(len(linear) ** 2 == len(monomials), "its products do not fit together")
    return LayerTables(
        radial=_radial(model, interaction, len(paths), channels),
        paths=paths,
        factors=np.array(factors),
        up=_linear(interaction.linear_up),
        mix=mix,
        mix_by_element=not residual,
        monomials=monomials,
        coefficients=coefficients,
        linear=linear,
        skip=skips if use_skip else None,
    )


def _contractions(
    module: Any, n_elements: int, order: int, channels: int
) -> tuple[list[list[Monomial]], list[np.ndarray]]:
    """Monomials of the symmetric contraction and their coefficients, for each component (L, M).

    MACE sums U[M, i, j, k, path] W[element, path, channel] A_i A_j A_k over all permutations of i, j and k.
    """
    _need(type(module).__name__ == "SymmetricContraction", "its products are not MACE's")
    _need(_orders(module.irreps_in, channels, "A") == list(range(order + 1)), "its A has no component of some l")
    monomials: list[list[Monomial]] = []
    coefficients: list[np.ndarray] = []
    for target, (irrep, contraction) in enumerate(zip(module.irreps_out, module.contractions, strict=True)):
        _need(irrep.ir.l == target and irrep.ir.p == (-1) ** target, "its products are not sorted")
        correlation = int(contraction.correlation)
        _need(correlation <= CORRELATIONS, f"its correlation is {correlation}")
        sums: list[dict[Monomial, Any]] = [{} for _ in range(2 * target + 1)]
        for nu in range(1, correlation + 1):
            U = _array(contraction.U_tensors(nu))
            U = U if target else U[None]
            weight = _array(contraction.weights_max if nu == correlation else contraction.weights[correlation - 1 - nu])
            _need(weight.shape[0] in (1, n_elements) and weight.shape[2] == channels, "its products are unknown")
            weight = np.broadcast_to(weight, (n_elements, *weight.shape[1:]))
            paths: list[dict[Monomial, Any]] = [{} for _ in sums]
            for place in np.argwhere(np.abs(U).max(-1) > 1e-10).tolist():
                monomial = tuple(sorted(place[1:]))
                found = paths[place[0]]
                found[monomial] = found.get(monomial, 0.0) + U[tuple(place)]
            for found, total in zip(paths, sums, strict=True):
                for monomial, vector in found.items():
                    if np.abs(vector).max() > 1e-10:
                        total[monomial] = np.einsum("p,epc->ec", vector, weight)
        for total in sums:
            ordered = sorted(total)
            monomials.append(ordered)
            stacked = [total[monomial] for monomial in ordered]
            coefficients.append(np.stack(stacked, 1) if stacked else np.zeros((n_elements, 0, channels)))
    return monomials, coefficients


def _radial(model: Any, interaction: Any, n_paths: int, channels: int) -> Radial:
    embedding = model.radial_embedding
    _need(type(embedding.bessel_fn).__name__ == "BesselBasis", "its radial functions are not Bessel's")
    _need(not hasattr(embedding, "distance_transform"), "it has a distance transform")
    _need(bool(getattr(embedding, "apply_cutoff", True)), "its radial functions have no cutoff")
    _need(type(embedding.cutoff_fn).__name__ == "PolynomialCutoff", "its cutoff is not a polynomial")
    try:
        layers = network(interaction.conv_tp_weights)
    except ValueError as error:
        raise UnsupportedModelError(str(error)) from error
    _need(layers[-1].weight.shape[1] == n_paths * channels, "its radial network is unknown")
    return Radial(
        r_max_A=float(embedding.cutoff_fn.r_max),
        power=int(embedding.cutoff_fn.p),
        frequencies=_array(embedding.bessel_fn.bessel_weights).reshape(-1),
        prefactor=float(embedding.bessel_fn.prefactor),
        layers=layers,
        n_paths=n_paths,
    )


def _readout(readout: Any, layer: int) -> Readout:
    kind = type(readout).__name__
    if kind == "LinearReadoutBlock":
        weight = _linear(readout.linear)[0]
        _need(weight.shape[1] == 1, "it has a readout of several numbers")
        return Readout(layer, weight)
    _need(kind == "NonLinearReadoutBlock", f"it has the readout {kind}")
    first, second = _linear(readout.linear_1), _linear(readout.linear_2)
    _need(len(first) == len(second) == 1 and second[0].shape[1] == 1, "its last readout is not of scalars")
    activation = readout.non_linearity.acts[0]
    gate, factor = "none", 1.0
    if activation is not None:
        gate = getattr(activation.f, "__name__", type(activation.f).__name__).lower()
        factor = 1.0 if activation._is_id else float(activation.cst)
    _need(gate in ("silu", "tanh", "none"), f"it has the gate {gate}")
    return Readout(layer, first[0], second[0][:, 0], gate, factor)


def _repulsion(model: Any, numbers: list[int]) -> Repulsion | None:
    if not hasattr(model, "pair_repulsion"):
        return None
    zbl = model.pair_repulsion_fn
    _need(type(zbl).__name__ == "ZBLBasis", "its pair repulsion is not ZBL")
    return Repulsion(
        c=_array(zbl.c),
        power=int(zbl.p),
        a_exp=float(zbl.a_exp),
        a_prefactor=float(zbl.a_prefactor),
        radii_A=_array(zbl.covalent_radii)[numbers],
    )
