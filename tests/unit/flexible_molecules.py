"""A fluid of flexible diatomic molecules as a `Potential`, cheap enough for statistics in every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import ArrayLike, NDArray
from torch_sim.models.interface import ModelInterface

from physembed.export.potential import Evaluation, Potential

LENGTH_A, STIFFNESS = 1.13, 24.0
"""Of the bond between C and O: Å, eV/Å^2; 1000 / cm, a period of 33 fs."""
SPHERE_A, HEIGHT_EV = 3.2, 2.0
"""Atoms of different molecules repel each other as cubic soft spheres: E = A (1 - r / s)^3 for r < s."""


class FlexibleMolecules(Potential):
    """Harmonic bonds between atoms 2 i and 2 i + 1, and soft repulsion, in boxes with edges of more than 2 s.

    Atoms may be wrapped into the box, so that all vectors are those of the nearest images.
    """

    def __init__(self, atoms: Atoms) -> None:
        super().__init__("none", atoms.numbers, periodic=True)
        n = len(atoms)
        self.first, self.second = np.triu_indices(n, 1)
        other = self.first // 2 != self.second // 2
        self.first, self.second = self.first[other], self.second[other]

    def load(self, members: Any = None) -> Potential:
        """There is no file."""
        return self

    @property
    def model(self) -> Any:
        """The same for torch-sim, of one system."""
        return _TorchSim(self)

    def __call__(self, positions: ArrayLike, cell: NDArray[np.float64] | None = None) -> Evaluation:
        """Energy, forces and stress in a rectangular box."""
        assert cell is not None
        x, edges = np.asarray(positions), np.diag(cell)
        bonds = x[1::2] - x[::2]
        bonds -= edges * np.rint(bonds / edges)
        lengths = np.sqrt((bonds**2).sum(axis=1))
        pull = (STIFFNESS * (lengths - LENGTH_A) / lengths)[:, None] * bonds
        forces = np.zeros_like(x)
        forces[::2] += pull
        forces[1::2] -= pull
        virial = pull.T @ bonds
        energy = STIFFNESS / 2 * ((lengths - LENGTH_A) ** 2).sum()
        vectors = x[self.second] - x[self.first]
        vectors -= edges * np.rint(vectors / edges)
        squares = (vectors**2).sum(axis=1)
        near = squares < SPHERE_A**2
        vectors, distances = vectors[near], np.sqrt(squares[near])
        overlap = 1 - distances / SPHERE_A
        energy += HEIGHT_EV * (overlap**3).sum()
        push = (3 * HEIGHT_EV / SPHERE_A * overlap**2 / distances)[:, None] * vectors
        np.add.at(forces, self.second[near], push)
        np.subtract.at(forces, self.first[near], push)
        virial -= push.T @ vectors
        return Evaluation(float(energy), forces, virial / edges.prod())


class _TorchSim(ModelInterface):
    def __init__(self, potential: FlexibleMolecules) -> None:
        super().__init__()
        self._device, self._dtype = torch.device("cpu"), torch.float64
        self._compute_stress = self._compute_forces = True
        self.potential = potential

    def forward(self, state: Any, **_: object) -> dict[str, torch.Tensor]:
        found = self.potential(state.positions.numpy(), state.row_vector_cell[0].numpy())
        assert found.stress is not None
        return {
            "energy": torch.tensor([found.energy], dtype=torch.float64),
            "forces": torch.from_numpy(found.forces),
            "stress": torch.from_numpy(found.stress)[None],
        }


def fluid(per_edge: int, edge_A: float, seed: int) -> Atoms:
    """A cube of molecules on a grid, turned at random."""
    rng = np.random.default_rng(seed)
    sites = np.array(list(np.ndindex(per_edge, per_edge, per_edge))) * edge_A / per_edge
    axes = rng.normal(size=sites.shape)
    axes *= LENGTH_A / np.linalg.norm(axes, axis=1)[:, None]
    positions = np.stack([sites, sites + axes], axis=1).reshape(-1, 3)
    return Atoms("CO" * len(sites), positions, cell=[edge_A] * 3, pbc=True)
