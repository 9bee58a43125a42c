"""A MACE model as a torch-sim model, for replicas of isolated molecules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mace.calculators.mace_torchsim import MaceTorchSimModel

from physembed.errors import PhysEmbedError


class AllPairs:
    """Every ordered pair of atoms of the same system, in place of a neighbour list, for isolated molecules.

    MACE's radial functions vanish from r_max on and its radial network has no bias, so pairs beyond r_max add
    exactly nothing. The list depends on the sizes of the systems alone and is kept until they change: no
    neighbour search in a step, and a replica that blows up cannot break one.

    With `prune`, pairs beyond the cutoff are left out of each step. That saves arithmetic, which bounds a CPU,
    at the price of shapes that change from step to step, which a GPU would rather not have.
    """

    def __init__(self, prune: bool = False) -> None:
        self.prune = prune
        self._system_idx = torch.empty(0, dtype=torch.long)
        self._pairs = (torch.empty(2, 0, dtype=torch.long), torch.empty(0, dtype=torch.long), torch.empty(0, 3))

    def __call__(
        self, positions: torch.Tensor, cell: torch.Tensor, pbc: torch.Tensor, cutoff: Any, system_idx: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Edges (2, n_edges), the system of each edge (n_edges,), and zero shifts (n_edges, 3)."""
        if not torch.equal(system_idx, self._system_idx):
            self._system_idx = system_idx.clone()
            counts = torch.bincount(system_idx).tolist()
            edges, start = [], 0
            for count in counts:
                first, second = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
                edges.append(torch.stack([first[first != second], second[first != second]]) + start)
                start += count
            edge_index = torch.cat(edges, dim=1).to(system_idx.device)
            shifts = torch.zeros(edge_index.shape[1], 3, dtype=positions.dtype, device=positions.device)
            self._pairs = edge_index, system_idx[edge_index[0]], shifts
        if not self.prune:
            return self._pairs
        edge_index, mapping, shifts = self._pairs
        vectors = positions[edge_index[1]] - positions[edge_index[0]]
        # A distance that is not a number is kept: its replica has to show that it is lost.
        near = ~(vectors.square().sum(1) > cutoff**2)
        return edge_index[:, near], mapping[near], shifts[near]


def load_isolated(model_file: str | Path, device: str, dtype: str) -> MaceTorchSimModel:
    """A MACE model for batches of isolated molecules: energies in eV and forces in eV/Å, no stress.

    On a GPU the model runs through cuEquivariance. The file is a pickle, which can run any code when it is
    loaded: load only files that you trust.

    Raises:
        PhysEmbedError: if the file holds no MACE model.
    """
    try:
        module = torch.load(model_file, map_location=device, weights_only=False)
    except Exception as error:  # unpickling a file that is not a model can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PhysEmbedError(f"model: {model_file}: cannot be loaded: {reason}") from error
    if not hasattr(module, "atomic_numbers") or not hasattr(module, "r_max"):
        raise PhysEmbedError(f"model: {model_file}: holds {type(module).__name__}, not a MACE model")
    return MaceTorchSimModel(
        module,
        device=torch.device(device),
        dtype=getattr(torch, dtype),
        neighbor_list_fn=AllPairs(prune=device == "cpu"),
        compute_forces=True,
        compute_stress=False,
        enable_cueq=device == "cuda",
    )
