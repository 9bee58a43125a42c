"""What one evaluation (energy and forces) of a MACE model costs, on a CPU core and on a GPU.

Arithmetic is proportional to edges, channels and a factor of max_L. On a GPU the launches of the kernels take longer
than that for all but large systems, so that a step takes the longer of the two. The constants were measured;
docs/plan.md says how and on which machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from physembed.config.base import ModelTraining

ATOMS_PER_A3 = 0.1
"""Atoms of an organic liquid, or inside a large molecule."""

CPU_SECONDS_PER_EDGE_CHANNEL = 1.1e-6
"""One core, float32, max_L 0, max_ell 3, correlation 3, two layers."""
CPU_FACTOR_OF_MAX_L = {0: 1.0, 1: 2.0, 2: 4.8, 3: 9.6}
"""Measured up to 2; 3 is extrapolated."""

GPU_SECONDS_PER_EDGE_CHANNEL = {0: 0.30e-9, 1: 0.46e-9, 2: 0.92e-9, 3: 1.46e-9}
"""By max_L, with cuEquivariance: the slope of captured evaluations over the number of edges."""
GPU_LAUNCH_SECONDS_ISOLATED = 0.056
"""Kernel launches of a batch of isolated molecules on a fixed edge list, not captured; whatever the batch."""
GPU_LAUNCH_SECONDS_PERIODIC = {0: 0.039, 1: 0.079, 2: 0.079, 3: 0.079}
"""By max_L: launches and neighbour list of a periodic system with stress, not captured (for 1 as for 2 and 3)."""
STRESS_FACTOR = 4.5
"""Arithmetic of an evaluation with stress over one with forces alone, on a GPU, as MACE computes it."""
CSO_FACTOR = 1.05
"""CSO dispersion beside a model of the size of MACE-OFF23(S)."""


@dataclass(frozen=True)
class MaceSize:
    """The settings of a MACE model that its cost depends on."""

    channels: int
    max_L: int
    max_ell: int
    layers: int
    r_max_A: float

    @classmethod
    def of(cls, settings: ModelTraining) -> MaceSize:
        """The size of a model trained with these settings."""
        return cls(settings.num_channels, settings.max_L, settings.max_ell, settings.num_interactions, settings.r_max_A)


OF_A_FILE = MaceSize(channels=96, max_L=0, max_ell=3, layers=2, r_max_A=4.5)
"""Assumed of a model given as a file, which is not opened for a plan: the size of MACE-OFF23(S)."""


def edges(atoms: int, r_max_A: float, *, periodic: bool) -> float:
    """Ordered pairs within r_max: of a bulk of uniform density, or of a molecule.

    A molecule has fewer neighbours than the bulk b and than all others n-1: 1 / (1/b + 1/(n-1)) of them, which is
    within 15 % of paracetamol (20 atoms) and of Ac-Ala3-NHMe (42) at 3 and 5 Å.
    """
    bulk = ATOMS_PER_A3 * 4 / 3 * math.pi * r_max_A**3
    if periodic:
        return atoms * bulk
    return atoms / (1 / bulk + 1 / max(1, atoms - 1))


def cpu_seconds(size: MaceSize, n_edges: float) -> float:
    """Seconds of one core for an evaluation on so many edges."""
    width = size.channels * CPU_FACTOR_OF_MAX_L[size.max_L] * (size.max_ell + 1) ** 2 / 16 * size.layers / 2
    return CPU_SECONDS_PER_EDGE_CHANNEL * width * n_edges


def gpu_arithmetic_seconds(size: MaceSize, n_edges: float) -> float:
    """Seconds that the kernels of an evaluation take on so many edges."""
    width = size.channels * (size.max_ell + 1) ** 2 / 16 * size.layers / 2
    return GPU_SECONDS_PER_EDGE_CHANNEL[size.max_L] * width * n_edges


def isolated_step_seconds(size: MaceSize, atoms: int, replicas: int, *, gpu: bool) -> float:
    """One MD step of a batch of replicas of an isolated molecule."""
    if gpu:  # all pairs, so that shapes stay as they are
        return max(GPU_LAUNCH_SECONDS_ISOLATED, gpu_arithmetic_seconds(size, replicas * atoms * (atoms - 1)))
    return cpu_seconds(size, replicas * edges(atoms, size.r_max_A, periodic=False))


def periodic_step_seconds(size: MaceSize, atoms: int, replicas: int, *, gpu: bool) -> float:
    """One MD step, stress and CSO dispersion included, of a batch of boxes of a liquid."""
    n_edges = replicas * edges(atoms, size.r_max_A, periodic=True)
    if gpu:
        arithmetic = STRESS_FACTOR * gpu_arithmetic_seconds(size, n_edges)
        return CSO_FACTOR * max(GPU_LAUNCH_SECONDS_PERIODIC[size.max_L], arithmetic)
    return CSO_FACTOR * cpu_seconds(size, n_edges)
