"""Model fluids whose thermodynamics are known: ideal gas and Lennard-Jones, as torch-sim models."""

import math
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from torch_sim.models.interface import ModelInterface

from physembed.engine.liquid_batch import LiquidBatch
from physembed.units import FS, KB

SIGMA, EPSILON, MASS = 3.405, 119.8 * KB, 2.0
"""Argon's, Å and eV, but so light (u) that 3 fs is a good time step, as in organic liquids."""
TAU_FS = SIGMA * math.sqrt(MASS / EPSILON) / FS
"""Lennard-Jones unit of time."""
PRESSURE_BAR = EPSILON / SIGMA**3 / 6.241509e-7
"""Lennard-Jones unit of pressure."""


class IdealGas(ModelInterface):
    """No interaction at all; can be captured in a CUDA graph."""

    fixed_shapes = True

    def __init__(self, dtype: torch.dtype = torch.float64, device: str = "cpu") -> None:
        super().__init__()
        self._device, self._dtype = torch.device(device), dtype
        self._compute_stress = self._compute_forces = True

    def forward(self, state: Any, **_: object) -> dict[str, torch.Tensor]:
        return {
            "energy": state.cell.new_zeros(len(state.cell)),
            "forces": torch.zeros_like(state.positions),
            "stress": torch.zeros_like(state.cell),
        }


class LennardJones(ModelInterface):
    """Even numbers of argon atoms in cubic boxes longer than twice the cutoff; the tail as if g = 1 beyond it.

    The tail's energy is c / V with the c whose -dE/dV is the tail's pressure
    16 pi / 3 rho^2 eps sigma^3 (2/3 (sigma/rc)^9 - (sigma/rc)^3) (M. P. Allen, D. J. Tildesley, Computer Simulation of
    Liquids, eq. 2.144), so energy and stress are consistent.
    """

    def __init__(self, cutoff: float = 3.0, tail: bool = True, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self._device, self._dtype = torch.device("cpu"), dtype
        self._compute_stress = self._compute_forces = True
        self.cutoff, self.tail = cutoff, tail

    def forward(self, state: Any, **_: object) -> dict[str, torch.Tensor]:
        n = state.n_systems
        box = torch.linalg.det(state.cell) ** (1 / 3)
        scaled = (state.positions.view(n, -1, 3) / box[:, None, None]).permute(2, 0, 1).contiguous()
        atoms = scaled.shape[2]
        # Atom i with each of the half = atoms / 2 that follow it, in a circle: each pair once, but twice across it.
        half = atoms // 2
        others = torch.cat([scaled[:, :, 1:], scaled[:, :, :half]], dim=2).unfold(2, half, 1)
        vectors = scaled[:, :, :, None] - others
        vectors -= torch.round(vectors)
        vectors *= (box / SIGMA)[:, None, None]
        squares = vectors.square().sum(dim=0)
        squares[:, half:, -1] = 2 * self.cutoff**2
        near = squares < self.cutoff**2
        sixth = torch.where(near, squares, torch.inf).pow_(-3)
        shift = self.cutoff**-12 - self.cutoff**-6
        energies = 4 * EPSILON * ((sixth.square() - sixth).sum(dim=(1, 2)) - shift * near.sum(dim=(1, 2)))
        # -du/dr / r times the vector, in eps / sigma
        pair_forces = (48 * sixth.square() - 24 * sixth).div_(squares) * vectors
        virial = EPSILON * torch.einsum("inp,jnp->nij", pair_forces.flatten(2), vectors.flatten(2))
        # The reaction on atom j comes from the atoms before it: a diagonal through their rows, the circle unrolled.
        rows = torch.cat([pair_forces[:, :, atoms - half :], pair_forces], dim=2)
        strides = (rows.stride(0), rows.stride(1), half, half - 1)
        reactions = rows.as_strided(pair_forces.shape, strides, half - 1)
        forces = (pair_forces.sum(dim=3) - reactions.sum(dim=3)).permute(1, 2, 0).reshape(-1, 3) * (EPSILON / SIGMA)
        volumes = box**3
        if self.tail:
            constant = 16 / 3 * math.pi * (2 / 3 * self.cutoff**-9 - self.cutoff**-3) * EPSILON * SIGMA**3 * atoms**2
            energies = energies + constant / volumes
            virial = virial + (constant / volumes)[:, None, None] * torch.eye(3, dtype=self.dtype)
        return {
            "energy": energies,
            "forces": forces.contiguous(),
            "stress": -virial / volumes[:, None, None],
        }


def argon(cells: int, density: float, rattle: float = 0.05, seed: int = 0) -> Atoms:
    """4 cells^3 atoms on an fcc lattice of a reduced density, displaced at random."""
    atoms = bulk("Ar", "fcc", a=SIGMA * (4 / density) ** (1 / 3), cubic=True).repeat(cells)
    atoms.set_masses([MASS] * len(atoms))
    atoms.rattle(rattle * SIGMA, seed=seed)
    return atoms


def gas(n_atoms: int, edge: float, seed: int = 0) -> Atoms:
    """Argon atoms anywhere in a cubic box."""
    positions = np.random.default_rng(seed).uniform(0, edge, (n_atoms, 3))
    return Atoms(f"Ar{n_atoms}", positions=positions, cell=[edge] * 3, pbc=True)


def liquid_argon(model: LennardJones, cells: int, density: float, count: int, seed: int = 0) -> list[Atoms]:
    """Boxes of liquid argon: the lattice at a reduced density, molten at a reduced temperature of 3."""
    batch = LiquidBatch(
        model, [argon(cells, density, seed=seed + i) for i in range(count)], temperatures_K=[3 * EPSILON / KB] * count,
        ensemble="nvt", timestep_fs=0.003 * TAU_FS, thermostat_ps=0.2, seed=5 + seed,
    )  # fmt: skip
    batch.advance(800)
    boxes = []
    for positions in batch.positions.double().numpy():
        atoms = argon(cells, density)
        atoms.positions = positions
        boxes.append(atoms)
    return boxes
