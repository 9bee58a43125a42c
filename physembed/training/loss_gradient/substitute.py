"""A MACE model whose forward pass, in the trainer on a CPU, is that of `sweeps`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from physembed.training.loss_gradient.batch import Pairs, pairs_of
from physembed.training.loss_gradient.plan import Plan, Unsupported, make_plan
from physembed.training.loss_gradient.sweeps import Evaluation

log = logging.getLogger(__name__)


class _Evaluate(torch.autograd.Function):
    """Energies (n_graphs,), forces (n_atoms, 3) and strain derivatives (n_graphs, 3, 3) as functions of the weights."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, pairs: Pairs, *weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sweeps 1 and 2."""
        evaluation = Evaluation(plan, pairs)
        ctx.evaluation = evaluation
        gradient = evaluation.vectors_gradient
        energies = gradient.new_zeros(pairs.n_graphs).index_add_(0, pairs.graph, evaluation.energies)
        by_element = gradient.new_zeros(len(pairs.order), 3)
        by_element.index_add_(0, pairs.first, gradient).index_add_(0, pairs.second, gradient, alpha=-1)
        forces = torch.empty_like(by_element)
        forces[pairs.order] = by_element
        products = (pairs.vectors[:, :, None] * gradient[:, None, :]).view(-1, 9)
        strain = products.new_zeros(pairs.n_graphs, 9).index_add_(0, pairs.graph_of_pair, products).view(-1, 3, 3)
        return energies, forces, (strain + strain.transpose(1, 2)) / 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, energies: Tensor, forces: Tensor, strain: Tensor) -> tuple[Tensor | None, ...]:
        """Sweeps 3 and 4."""
        pairs = ctx.evaluation.pairs
        of_atoms = forces[pairs.order]
        tangent = of_atoms.index_select(0, pairs.first) - of_atoms.index_select(0, pairs.second)
        symmetric = ((strain + strain.transpose(1, 2)) / 2).index_select(0, pairs.graph_of_pair)
        tangent += torch.bmm(pairs.vectors[:, None], symmetric)[:, 0]
        totals = ctx.evaluation.weight_totals(energies.index_select(0, pairs.graph), tangent)
        return None, None, *totals


def _repulsion(model: Any, plan: Plan, data: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """What the pair repulsion, which has no weights, adds to energies, forces and strain derivatives."""
    sender, receiver = data["edge_index"]
    positions, n_graphs = data["positions"].detach(), len(data["ptr"]) - 1
    vectors = positions.index_select(0, receiver) - positions.index_select(0, sender) + data["shifts"].detach()
    with torch.enable_grad():
        vectors.requires_grad_()
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        of_atoms = plan.scale * model.pair_repulsion_fn(
            lengths, data["node_attrs"], data["edge_index"], model.atomic_numbers
        )
        (gradient,) = torch.autograd.grad(of_atoms.sum(), vectors)
    energies = of_atoms.new_zeros(n_graphs).index_add_(0, data["batch"], of_atoms.detach())
    forces = torch.zeros_like(positions).index_add_(0, sender, gradient).index_add_(0, receiver, gradient, alpha=-1)
    products = (vectors.detach()[:, :, None] * gradient[:, None, :]).view(-1, 9)
    strain = products.new_zeros(n_graphs, 9).index_add_(0, data["batch"][sender], products).view(-1, 3, 3)
    return energies, forces, (strain + strain.transpose(1, 2)) / 2


def evaluate(model: Any, plan: Plan, data: dict[str, Tensor], stress: bool) -> dict[str, Tensor | None]:
    """What the model itself returns, as far as MACE's losses and metrics look at it."""
    pairs = pairs_of(model, plan, data)
    energies, forces, strain = _Evaluate.apply(plan, pairs, *plan.parameters)
    if hasattr(model, "pair_repulsion"):
        fixed = _repulsion(model, plan, data)
        energies, forces, strain = (one + other for one, other in zip((energies, forces, strain), fixed, strict=True))
    free = model.atomic_energies_fn(data["node_attrs"])[:, 0]
    free = free.new_zeros(pairs.n_graphs).index_add_(0, data["batch"], free).to(energies.dtype)
    output: dict[str, Tensor | None] = {
        "energy": free + energies,
        "interaction_energy": energies,
        "forces": forces,
        "stress": None,
        "virials": None,
    }
    if stress:
        volumes = torch.linalg.det(data["cell"].view(-1, 3, 3)).abs()[:, None, None]
        per_volume = strain / volumes
        output["stress"] = torch.where(per_volume.abs() < 1e10, per_volume, torch.zeros_like(per_volume))
        output["virials"] = -strain
    return output


@contextmanager
def substituted(model: Any) -> Iterator[None]:
    """Evaluate a model by sweeps as long as this lasts; a model with unknown parts stays as it is, and the log says so.

    The weights are the model's own, and nothing of this is left in it or in a file made of it.
    """
    try:
        plan = make_plan(model)
    except Unsupported as problem:
        log.warning("training: MACE's own code evaluates the model, which is slower: %s", problem)
        yield
        return

    def forward(
        data: dict[str, Tensor],
        training: bool = False,
        compute_force: bool = True,
        compute_virials: bool = False,
        compute_stress: bool = False,
    ) -> dict[str, Tensor | None]:
        del training, compute_force
        return evaluate(model, plan, data, compute_virials or compute_stress)

    model.forward = forward
    try:
        yield
    finally:
        del model.forward
