"""Which models compiled code evaluates: those whose parts are all known and whose results agree with MACE's."""

from __future__ import annotations

import copy
import logging
from itertools import pairwise

import numpy as np
import torch

from physembed.engine.compiled.evaluator import CompiledMace
from physembed.engine.compiled.tables import UnsupportedModelError, read

log = logging.getLogger(__name__)

ELEMENTS = 6
"""Number of elements of a model that are tested."""

TOLERANCE = {"float32": 1e-4, "float64": 1e-8}
"""Largest error of a force relative to the largest force; for energies the same, times 1 Å."""

ZBL_TOLERANCE = 1e-6
"""Tolerance with MACE's ZBL term, which computes powers of the atomic numbers in float32."""


def compiled(module: torch.nn.Module, dtype: str) -> CompiledMace | None:
    """The compiled evaluator of a model, or None with one log line that gives the reason.

    Args:
        module: a MACE model; it is not modified.
        dtype: float32 or float64.
    """
    try:
        evaluator = CompiledMace(read(module), dtype)
        _compare(module, evaluator, dtype)
    except Exception as error:  # modules of other MACE versions can raise anything; MACE itself may support them
        reason = str(error) if isinstance(error, UnsupportedModelError) else f"{type(error).__name__}: {error}"
        log.warning("MACE: this model is evaluated by PyTorch, which is slower, because %s", reason)
        return None
    log.info("MACE: this model is evaluated by compiled code in %s", dtype)
    return evaluator


def _compare(module: torch.nn.Module, evaluator: CompiledMace, dtype: str) -> None:
    """Compare with MACE's own code in float64.

    Raises:
        UnsupportedModelError: they do not agree.
    """
    own = copy.deepcopy(module).to(device="cpu", dtype=torch.float64).eval()
    tables, rng = evaluator.tables, np.random.default_rng(0)
    numbers = rng.permutation(tables.numbers)[:ELEMENTS]
    # A cluster about as dense as condensed matter, a pair at half the cutoff, and a single atom.
    cluster = _scattered(9, rng)
    pair = np.array([[0.0, 0.0, 0.0], [0.3, 0.3, 0.3]]) * tables.r_max_A
    positions = np.concatenate([cluster, pair, np.zeros((1, 3))])
    # Rounded as in the evaluator.
    positions = positions.astype(dtype).astype(float)
    species = rng.choice(numbers, len(positions))
    starts = np.array([0, len(cluster), len(cluster) + 2, len(positions)])
    energies, forces = evaluator.batch(species, starts)(positions)
    reference = [
        _reference(own, positions[first:end], species[first:end], tables.numbers, tables.r_max_A)
        for first, end in pairwise(starts)
    ]
    expected = np.concatenate([forces for _, forces in reference])
    scale = np.abs(expected).max()
    tolerance = TOLERANCE[dtype] if tables.repulsion is None else max(TOLERANCE[dtype], ZBL_TOLERANCE)
    # Rounding error of a sum of energies in float32.
    exact = np.array([energy for energy, _ in reference])
    errors = np.abs(forces - expected).max(), np.abs(energies - exact).max()
    floor = 1e-12 * np.abs(exact).max() if dtype == "float64" else 1e-6 * max(1.0, np.abs(exact).max())
    if not (errors[0] <= tolerance * scale + floor and errors[1] <= tolerance * scale + floor):
        raise UnsupportedModelError(
            f"its compiled form deviates by {errors[0]:.1e} of {scale:.1e} eV/Å and {errors[1]:.1e} eV"
        )


def _scattered(count: int, rng: np.random.Generator) -> np.ndarray:
    """Points (count, 3) at least 0.9 Å apart."""
    points = np.zeros((1, 3))
    while len(points) < count:
        new = rng.uniform(-1.5, 1.5, 3)
        if np.linalg.norm(points - new, axis=1).min() > 0.9:
            points = np.vstack([points, new])
    return points


def _reference(
    module: torch.nn.Module, positions: np.ndarray, numbers: np.ndarray, elements: list[int], r_max: float
) -> tuple[float, np.ndarray]:
    """Energy and forces by MACE."""
    distances = np.linalg.norm(positions[:, None] - positions, axis=2)
    edges = np.argwhere((distances < r_max) & ~np.eye(len(positions), dtype=bool)).T
    attributes = np.eye(len(elements))[[elements.index(number) for number in numbers]]
    shifts = torch.zeros(edges.shape[1], 3, dtype=torch.float64)
    data = {
        "positions": torch.tensor(positions, dtype=torch.float64),
        "node_attrs": torch.tensor(attributes),
        "edge_index": torch.tensor(edges, dtype=torch.int64).reshape(2, -1),
        "shifts": shifts,
        "unit_shifts": shifts,
        "cell": torch.eye(3, dtype=torch.float64)[None],
        "batch": torch.zeros(len(positions), dtype=torch.int64),
        "ptr": torch.tensor([0, len(positions)]),
        "head": torch.zeros(1, dtype=torch.int64),
    }
    output = module(data, compute_force=True)
    return output["energy"].item(), output["forces"].detach().numpy()
