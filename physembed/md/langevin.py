"""Langevin dynamics of a batch of replicas of one molecule, through torch-sim.

The integrator is torch-sim's BAOAB (`nvt_langevin_step`). The state is complete: saved and loaded again it
continues bit for bit on the same build of torch on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch_sim as ts
from ase import Atoms
from torch_sim.integrators import nvt_langevin_init, nvt_langevin_step

from physembed.units import FS, KB


class LangevinBatch:
    """Replicas of one molecule that advance together, each from its own start.

    Args:
        model: a torch-sim model (energies in eV, forces in eV/Å).
        starts: one structure per replica, all of the same molecule with the same order of atoms.
        temperature_K: of the thermostat and of the initial momenta (Maxwell-Boltzmann).
        timestep_fs: time step.
        friction_per_ps: friction coefficient.
        seed: of the momenta and of the noise.
    """

    def __init__(
        self,
        model: Any,
        starts: Sequence[Atoms],
        *,
        temperature_K: float,
        timestep_fs: float,
        friction_per_ps: float,
        seed: int,
    ) -> None:
        self.model = model
        self.n_atoms = len(starts[0])
        self._arguments = {
            "dt": torch.tensor(timestep_fs * FS, dtype=model.dtype, device=model.device),
            "kT": torch.tensor(temperature_K * KB, dtype=model.dtype, device=model.device),
            "gamma": torch.tensor(friction_per_ps / (1000 * FS), dtype=model.dtype, device=model.device),
        }
        clean = [Atoms(numbers=start.numbers, positions=start.positions, cell=[1, 1, 1]) for start in starts]
        state = ts.io.atoms_to_state(clean, device=model.device, dtype=model.dtype)
        state.rng = seed
        self.state = nvt_langevin_init(state, model, kT=self._arguments["kT"])

    def advance(self, steps: int) -> None:
        """Take so many time steps."""
        for _ in range(steps):
            self.state = nvt_langevin_step(self.state, self.model, **self._arguments)

    def keep(self, mask: torch.Tensor) -> None:
        """Go on with the replicas where `mask` (n_replicas,) is true; the others leave the batch."""
        generator = self.state.rng
        self.state = self.state[torch.nonzero(mask).flatten()]
        self.state.rng = generator

    @property
    def n_replicas(self) -> int:
        """Replicas still in the batch."""
        return int(self.state.n_systems)

    @property
    def positions(self) -> torch.Tensor:
        """Positions (n_replicas, n_atoms, 3) in Å."""
        return self.state.positions.view(-1, self.n_atoms, 3)

    @property
    def forces(self) -> torch.Tensor:
        """Forces (n_replicas, n_atoms, 3) in eV/Å."""
        return self.state.forces.view(-1, self.n_atoms, 3)

    @property
    def energies(self) -> torch.Tensor:
        """Potential energies (n_replicas,) in eV."""
        return self.state.energy

    @property
    def temperatures(self) -> torch.Tensor:
        """Kinetic temperatures (n_replicas,) in K."""
        return self.state.calc_temperature()

    def save(self) -> dict[str, torch.Tensor]:
        """Everything that the next step depends on."""
        names = ("positions", "momenta", "energy", "forces")
        saved = {name: getattr(self.state, name).cpu().clone() for name in names}
        return saved | {"rng": self.state.rng.get_state()}

    def load(self, saved: dict[str, torch.Tensor], mask: torch.Tensor) -> None:
        """Go on from `save`; `mask` says which replicas of the present batch were still in it then."""
        self.keep(mask)
        for name in ("positions", "momenta", "energy", "forces"):
            setattr(self.state, name, saved[name].to(self.model.device))
        self.state.rng.set_state(saved["rng"])
