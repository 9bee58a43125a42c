"""A committee of models that drives hot MD and stops replicas about whose forces its members disagree.

The spread of the force on an atom is sqrt(sum_m |F_m - F|^2 / (M - 1)) over the M members with the mean F, as in
`physembed.models.committee`; that of a frame is the largest of its atoms, in eV/Å.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch_sim as ts
from ase import Atoms
from torch import Tensor
from torch_sim.models.interface import ModelInterface

BATCH = 100
"""Frames that are evaluated together."""
QUANTILE = 0.95
"""Of the errors of the forces on the atoms of the validation frames, from which the limit follows."""


class SpreadLimited(ModelInterface):
    """The mean of several models of isolated molecules; beyond a spread the energy is NaN.

    MD does not use the energy, but a check for collapses stops a replica whose energy is not finite, on a GPU without
    waiting for the host: so a replica is frozen by the first check that finds its spread beyond the limit. Forces are
    those of the mean in any case.

    Args:
        models: two or more, from `physembed.engine.mace.load_isolated`.
        limit_eV_A: largest spread of a frame that counts as known; by default all do.
    """

    models: Any

    def __init__(self, models: Sequence[Any], limit_eV_A: float = math.inf) -> None:
        super().__init__()
        self.models = torch.nn.ModuleList(models)
        self.limit_eV_A = limit_eV_A
        self._device, self._dtype = models[0].device, models[0].dtype
        self._compute_forces, self._compute_stress = True, False

    def fewer_at_once(self, error: Exception) -> None:
        """Evaluate half as many systems at once, after running out of memory."""
        for model in self.models:
            model.fewer_at_once(error)

    def forward(self, state: Any, **_: object) -> dict[str, Tensor]:
        """Evaluate all members on systems with the same number of atoms each.

        Returns:
            energy (n_systems,) eV, NaN beyond the limit, forces (n_atoms, 3) eV/Å, and spread (n_systems,) eV/Å.
        """
        outputs = [model(state) for model in self.models]
        forces = torch.stack([output["forces"] for output in outputs])
        mean = forces.mean(dim=0)
        of_atoms = ((forces - mean).square().sum(dim=(0, 2)) / (len(outputs) - 1)).sqrt()
        spread = of_atoms.view(state.n_systems, -1).amax(dim=1)
        energy = torch.stack([output["energy"] for output in outputs]).mean(dim=0)
        known = spread <= self.limit_eV_A  # false if it is NaN
        return {"energy": torch.where(known, energy, math.nan), "forces": mean, "spread": spread}


def mean_and_spread(committee: SpreadLimited, frames: Sequence[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """Mean forces (n_frames, n_atoms, 3) and the spread of each frame (n_frames,), both in eV/Å, of one molecule."""
    forces, spreads = [np.empty((0, len(frames[0]) if frames else 0, 3))], [np.empty(0)]
    for first in range(0, len(frames), BATCH):
        batch = [Atoms(numbers=f.numbers, positions=f.positions, cell=[1, 1, 1]) for f in frames[first : first + BATCH]]
        output = committee(ts.io.atoms_to_state(batch, device=committee.device, dtype=committee.dtype))
        forces.append(output["forces"].cpu().numpy().astype(float).reshape(len(batch), -1, 3))
        spreads.append(output["spread"].cpu().numpy().astype(float))
    return np.concatenate(forces), np.concatenate(spreads)


def spread_limit(forces: np.ndarray, labels: np.ndarray, factor: float) -> float:
    """The spread in eV/Å beyond which a replica stops: a factor times the validation error of the committee.

    The error is the 95th percentile, over the atoms of all validation frames, of the norm of the difference between
    the mean force and the label.

    Args:
        forces: (n_frames, n_atoms, 3) eV/Å, mean of the committee.
        labels: likewise.
        factor: `spread_factor` of the arm.
    """
    return factor * float(np.quantile(np.linalg.norm(forces - labels, axis=2), QUANTILE))
