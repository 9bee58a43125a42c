"""Whether pairs beyond the cutoff of a MACE model add nothing, so that lists may be padded with them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physembed.model_files.file import default_head

BEYOND = 1e-9
"""What pairs beyond the cutoff may add, relative to the largest force."""


def vanishes_beyond_cutoff(module: torch.nn.Module) -> bool:
    """Whether pairs further apart than r_max add nothing to energies and forces.

    It is so where the radial functions vanish at r_max and nothing is added to them afterwards. In blocks with a radial
    network that has a bias (`RealAgnosticResidualNonLinearInteractionBlock`) it depends on the settings of the model.

    Args:
        module: a MACE model; it is not changed.
    """
    model: Any = copy.deepcopy(module).to(device="cpu", dtype=torch.float64).eval()
    r_max, numbers = float(model.r_max), model.atomic_numbers.tolist()
    generator = np.random.default_rng(0)
    # Atoms about 1.2 Å apart, and as many a little further away than the cutoff.
    cluster = 1.2 * np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    cluster += generator.uniform(-0.1, 0.1, cluster.shape)
    positions = np.concatenate([cluster, cluster + np.array([1.15 * r_max + 1.2, 0, 0])])
    kinds = generator.choice(len(numbers), len(positions))
    distances = np.linalg.norm(positions[:, None] - positions, axis=2)
    np.fill_diagonal(distances, np.inf)
    beyond = (distances > r_max) & (distances < 1.5 * r_max)
    if not beyond.any():
        return True
    near = _evaluate(model, positions, kinds, distances < r_max)
    more = _evaluate(model, positions, kinds, distances < 1.5 * r_max)
    scale = float(near["forces"].abs().max()) + 1e-12 * abs(float(near["energy"]))
    return all(float((more[name] - near[name]).abs().max()) <= BEYOND * scale for name in ("energy", "forces"))


def _evaluate(
    module: Any, positions: NDArray[np.float64], kinds: NDArray[np.int64], pairs: NDArray[np.bool_]
) -> dict[str, Tensor]:
    """MACE's own forward pass on given pairs."""
    edges = torch.tensor(np.argwhere(pairs).T)
    shifts = torch.zeros(edges.shape[1], 3, dtype=torch.float64)
    heads = [str(head) for head in getattr(module, "heads", ["Default"])]
    data = {
        "positions": torch.tensor(positions),
        "node_attrs": torch.eye(len(module.atomic_numbers), dtype=torch.float64)[torch.tensor(kinds)],
        "edge_index": edges,
        "shifts": shifts,
        "unit_shifts": shifts,
        "cell": torch.eye(3, dtype=torch.float64),
        "batch": torch.zeros(len(positions), dtype=torch.int64),
        "ptr": torch.tensor([0, len(positions)]),
        "head": torch.tensor([heads.index(default_head(module, "model"))]),
    }
    output = module(data, compute_force=True)
    return {name: output[name].detach() for name in ("energy", "forces")}
