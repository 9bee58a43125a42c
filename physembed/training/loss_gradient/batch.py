"""Geometry of a batch of MACE's trainer: pairs of atoms, spherical harmonics and radial functions, with derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physembed.pairs.unique import unique_pairs
from physembed.training.loss_gradient.plan import Plan, harmonic_steps


@dataclass(frozen=True)
class Pairs:
    """Each pair of atoms once; atoms are in the order of their elements."""

    order: Tensor
    """(n_atoms,) number in MACE's batch of each atom here."""
    starts: tuple[int, ...]
    """First atom of each element, and the number of atoms."""
    element: Tensor
    """(n_atoms,)."""
    graph: Tensor
    """(n_atoms,) frame of each atom."""
    graph_of_pair: Tensor
    """(n_pairs,)."""
    n_graphs: int
    first: Tensor
    """(n_pairs,) atom."""
    second: Tensor
    """(n_pairs,) atom."""
    vectors: Tensor
    """(n_pairs, 3) Å, from the first to (the image of) the second."""
    units: Tensor
    """(n_pairs, 3) their directions."""
    harmonics: Tensor
    """(n_pairs, n_harmonics)."""
    harmonics_slope: Tensor
    """(n_pairs, 3, n_harmonics) per Å."""
    radial: Tensor
    """(n_pairs, n_radial) radial functions, the cutoff included."""
    radial_slope: Tensor
    """(n_pairs, n_radial) per Å."""

    def along(self, vectors_tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Tangents of harmonics and radial functions for those of the vectors (n_pairs, 3)."""
        harmonics = torch.bmm(vectors_tangent[:, None], self.harmonics_slope)[:, 0]
        return harmonics, self.radial_slope * (vectors_tangent * self.units).sum(1, keepdim=True)

    def back(self, harmonics_gradient: Tensor, radial_gradient: Tensor) -> Tensor:
        """Gradient by the vectors, (n_pairs, 3), from those by harmonics and radial functions."""
        of_distance = (radial_gradient * self.radial_slope).sum(1, keepdim=True)
        return torch.bmm(self.harmonics_slope, harmonics_gradient[:, :, None])[:, :, 0] + of_distance * self.units


def pairs_of(model: Any, plan: Plan, data: dict[str, Tensor]) -> Pairs:
    """Pairs of a batch that holds, as MACE's do, each pair in both directions."""
    element = data["node_attrs"].argmax(1)
    order = torch.argsort(element, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    once = unique_pairs(data["edge_index"], data["unit_shifts"]).nonzero()[:, 0]
    if 2 * len(once) != data["edge_index"].shape[1]:
        raise ValueError(f"{data['edge_index'].shape[1]} edges, of which {len(once)} in one direction")
    first, second = data["edge_index"].index_select(1, once)
    positions = data["positions"].detach()
    vectors = positions.index_select(0, second) - positions.index_select(0, first)
    vectors += data["shifts"].detach().index_select(0, once)
    distances = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    units = vectors / distances
    harmonics, slope = _harmonics(units, distances, plan.max_ell)
    radial, radial_slope = _radial(model.radial_embedding, distances)
    counts = torch.bincount(element, minlength=plan.n_elements)
    return Pairs(
        order=order,
        starts=tuple(np.concatenate([[0], np.cumsum(counts.numpy())]).tolist()),
        element=element[order],
        graph=data["batch"][order],
        graph_of_pair=data["batch"].index_select(0, first),
        n_graphs=len(data["ptr"]) - 1,
        first=place.index_select(0, first),
        second=place.index_select(0, second),
        vectors=vectors,
        units=units,
        harmonics=harmonics,
        harmonics_slope=slope,
        radial=radial,
        radial_slope=radial_slope,
    )


def _harmonics(units: Tensor, distances: Tensor, max_ell: int) -> tuple[Tensor, Tensor]:
    """Spherical harmonics (n, n_harmonics) of unit vectors, and their derivatives by the vectors."""
    n = len(units)
    here, no_slope = units.new_ones(n, 1), units.new_zeros(n, 3, 1)
    values, slopes = [here], [no_slope]
    for number, step in enumerate(harmonic_steps(max_ell)):
        order = number + 1
        solid = (here @ torch.from_numpy(step).to(units.dtype).flatten(1)).view(n, 3, 2 * order + 1)
        along = (units[:, :, None] * solid).sum(1)
        here = along / order
        values.append(here)
        # On the sphere the part along the vector, which changes the length alone, drops out.
        slopes.append((solid - units[:, :, None] * along[:, None]) / distances[:, :, None])
    return torch.cat(values, 1), torch.cat(slopes, 2)


def _radial(embedding: Any, distances: Tensor) -> tuple[Tensor, Tensor]:
    """Bessel functions times the polynomial cutoff, (n, n_radial), and their derivatives by the distance."""
    basis, cutoff = embedding.bessel_fn, embedding.cutoff_fn
    weights, prefactor = basis.bessel_weights, basis.prefactor
    phase = weights * distances
    value = prefactor * torch.sin(phase) / distances
    slope = (prefactor * weights * torch.cos(phase) - value) / distances
    p, x = int(cutoff.p), distances / cutoff.r_max
    a, b, c = (p + 1.0) * (p + 2.0) / 2.0, p * (p + 2.0), p * (p + 1.0) / 2.0
    inside = (distances < cutoff.r_max).to(distances.dtype)
    envelope = (1.0 - a * x**p + b * x ** (p + 1) - c * x ** (p + 2)) * inside
    # a p = b (p + 1) / 2 = c (p + 2) / ... : the derivative is -a p x^(p-1) (1 - x)^2.
    envelope_slope = -a * p * x ** (p - 1) * (1.0 - x) ** 2 * inside / cutoff.r_max
    return value * envelope, slope * envelope + value * envelope_slope
