"""A liquid of stiff molecules with unequal masses, cheap enough for statistics on its temperature."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch_sim.models.interface import ModelInterface

from physembed.engine.liquid_batch import LiquidBatch
from physembed.units import FS, KB

CARBON, HYDROGEN = 12.011, 1.008
"""u"""
CH, HH = 1.09, 1.09 * math.sqrt(8 / 3)
"""Å"""
SHAPE = np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1]]) * CH / math.sqrt(3)
"""A carbon atom and three hydrogen atoms on corners of a tetrahedron, Å."""
PER_EDGE = 2
"""Molecules along an edge of a box."""
TEMPERATURE_K = 5000.0
"""So hot that collisions exchange energy with the bonds within some 20 fs; the equations do not know it is hot."""
CH_FREQUENCY = 0.565
"""Of C-H stretching at 3000 / cm, radians in 1 fs."""


class StiffMolecules(ModelInterface):
    """CH3 of harmonic springs, C-H of 3000 / cm and softer H-H; the first hydrogen atoms of molecules repel each other.

    The repulsion is that of cubic soft spheres, E = A (1 - r / s)^3 for r < s, so that a box may be as small as 2 s.
    """

    SPHERE, HEIGHT = 2.8, 300.0
    """s in Å, A in eV."""
    HH_RATIO = 0.3
    """Force constant of H-H over that of C-H."""

    def __init__(self) -> None:
        super().__init__()
        self._device, self._dtype = torch.device("cpu"), torch.float32
        self._compute_stress = self._compute_forces = True
        reduced = CARBON * HYDROGEN / (CARBON + HYDROGEN)
        self.stretch = reduced * (CH_FREQUENCY / FS) ** 2
        """Force constant of C-H in eV/Å^2."""
        self.bonds = [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3), (1, 3)]
        self.constants = torch.tensor([self.stretch] * 3 + [self.HH_RATIO * self.stretch] * 3)
        self.lengths = torch.tensor([CH] * 3 + [HH] * 3)
        self.ends = torch.zeros(4, len(self.bonds))
        for bond, (i, j) in enumerate(self.bonds):
            self.ends[i, bond], self.ends[j, bond] = -1, 1

    def forward(self, state: Any, **_: object) -> dict[str, torch.Tensor]:
        """Energies, forces and stresses of cubic boxes."""
        n_systems, box = len(state.cell), state.cell[:, 0, 0]
        molecules = state.positions.view(n_systems, -1, 4, 3)
        scaled = molecules[:, :, 1].transpose(1, 2) / box[:, None, None]
        vectors = scaled[:, :, :, None] - scaled[:, :, None, :]
        vectors = (vectors - vectors.round()) * box[:, None, None, None]
        distances = (vectors.square().sum(dim=1) + 1e6 * torch.eye(scaled.shape[2])).sqrt()
        overlap = (1 - distances / self.SPHERE).clamp_min(0)
        repulsion = (3 * self.HEIGHT / self.SPHERE * overlap.square() / distances)[:, None] * vectors
        virial = torch.einsum("niab,njab->nij", repulsion, vectors) / 2
        along = torch.einsum("ab,nmax->nmbx", self.ends, molecules)
        lengths = along.norm(dim=-1)
        tension = self.constants * (lengths - self.lengths)
        pull = (-tension / lengths)[..., None] * along
        forces = torch.einsum("ab,nmbx->nmax", self.ends, pull)
        forces[:, :, 1] += repulsion.sum(dim=3).transpose(1, 2)
        virial = virial + torch.einsum("nmbi,nmbj->nij", pull, along)
        energies = self.HEIGHT * (overlap**3).sum(dim=(1, 2)) / 2 + (tension * (lengths - self.lengths)).sum((1, 2)) / 2
        return {
            "energy": energies,
            "forces": forces.reshape(-1, 3),
            "stress": -virial / (box**3)[:, None, None],
        }

    def mean_square_frequency(self) -> float:
        """Mean over the twelve modes of a molecule of (omega dt / 2)^2, at 1 fs."""
        hessian, masses = np.zeros((12, 12)), np.repeat([CARBON, *[HYDROGEN] * 3], 3)
        for (i, j), constant in zip(self.bonds, self.constants.tolist(), strict=True):
            axis = (SHAPE[j] - SHAPE[i]) / np.linalg.norm(SHAPE[j] - SHAPE[i])
            for a, b in itertools.product((i, j), repeat=2):
                sign = 1 if a == b else -1
                hessian[3 * a : 3 * a + 3, 3 * b : 3 * b + 3] += sign * constant * np.outer(axis, axis)
        return float((np.diag(hessian) / masses).mean() * FS**2 / 4)


def liquid(model: StiffMolecules, count: int, ensemble: Any, timestep_fs: float, pressure_bar: float) -> LiquidBatch:
    """Boxes of eight molecules on a lattice, turned at random."""
    rng, edge, boxes = np.random.default_rng(1), 5.65, []
    lattice = np.array(list(itertools.product(range(PER_EDGE), repeat=3))) * edge / PER_EDGE
    spread = 0.6 * math.sqrt(TEMPERATURE_K * KB / model.stretch)
    for _ in range(count):
        positions = []
        for site in lattice:
            turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
            molecule = SHAPE @ turn.T + rng.normal(0, spread, (4, 3))
            positions.append(site + molecule - molecule[1])
        boxes.append(Atoms("CH3" * len(lattice), np.concatenate(positions), cell=[edge] * 3, pbc=True))
        boxes[-1].set_masses([CARBON, *[HYDROGEN] * 3] * len(lattice))
    return LiquidBatch(
        model, boxes, temperatures_K=[TEMPERATURE_K] * count, pressures_bar=[pressure_bar] * count, ensemble=ensemble,
        timestep_fs=timestep_fs, thermostat_ps=0.1, barostat_ps=0.5, compressibility_per_bar=3e-6, seed=3,
    )  # fmt: skip


def temperatures_of_centres(batch: LiquidBatch) -> NDArray[np.float64]:
    """Kinetic temperature (n_systems,) of the molecules' centres of mass, over that of the thermostat.

    Their motion is slow, so that it reads the same at full and at half steps.
    """
    momenta = batch.momenta.double().view(batch.n_systems, -1, 4, 3).sum(dim=2)
    free = 3 * momenta.shape[1] - (0 if batch.ensemble == "npt-langevin" else 3)
    doubled = momenta.square().sum(dim=(1, 2)) / (CARBON + 3 * HYDROGEN)
    return (doubled / (free * KB * TEMPERATURE_K)).numpy()
