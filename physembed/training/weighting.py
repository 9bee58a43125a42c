"""A loss in which all elements count the same, in the place of MACE's own in its trainer, which stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mace.modules.loss import weighted_mean_squared_error_energy
from torch import Tensor


class BalancedElementsLoss(torch.nn.Module):
    """MACE's weighted loss of energies and forces with the mean over elements of the mean over their atoms.

    MACE's own is the mean over all atoms, most of which are hydrogen.
    """

    def __init__(self, energy_weight: float, forces_weight: float) -> None:
        super().__init__()
        self.energy_weight, self.forces_weight = energy_weight, forces_weight

    def forward(self, ref: Any, pred: dict[str, Tensor], ddp: bool | None = None) -> Tensor:
        """The loss of a batch of MACE's."""
        counts = ref.ptr[1:] - ref.ptr[:-1]
        of_atoms = torch.repeat_interleave(ref.weight * ref.forces_weight, counts)
        squares = of_atoms * torch.square(ref["forces"] - pred["forces"]).mean(1)
        element = ref["node_attrs"].argmax(1)
        sums = squares.new_zeros(ref["node_attrs"].shape[1]).index_add_(0, element, squares)
        atoms = torch.bincount(element, minlength=len(sums))
        there = atoms > 0
        forces = (sums[there] / atoms[there]).mean()
        return self.energy_weight * weighted_mean_squared_error_energy(ref, pred, ddp) + self.forces_weight * forces

    def __repr__(self) -> str:
        weights = f"energy_weight={self.energy_weight:.3f}, forces_weight={self.forces_weight:.3f}"
        return f"{type(self).__name__}({weights})"


@contextmanager
def balanced_elements() -> Iterator[None]:
    """Let MACE's trainer take `BalancedElementsLoss` as long as this lasts."""
    from mace.cli import run_train

    before = run_train.get_loss_fn

    def chosen(arguments: Any, *_: Any) -> torch.nn.Module:
        return BalancedElementsLoss(arguments.energy_weight, arguments.forces_weight)

    run_train.get_loss_fn = chosen
    try:
        yield
    finally:
        run_train.get_loss_fn = before
