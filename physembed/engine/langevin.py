"""Langevin dynamics of a batch of replicas of one molecule: BAOAB on a torch-sim state.

B. Leimkuhler and C. Matthews, Appl. Math. Res. Express 2013, 34. The step equals torch-sim's `nvt_langevin_step` bit
for bit; on a GPU it can be captured in a CUDA graph, on a CPU it is compiled. The saved state is complete: a batch that
loads it continues bit for bit with the same build of torch on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch_sim as ts
from ase import Atoms
from torch_sim.integrators import MDState

from physembed.collapse.detector import CollapseDetector
from physembed.engine.compiled.steps import LangevinSteps
from physembed.engine.graphs import Replayed
from physembed.engine.kinetic import kinetic_temperatures, thermal_momenta
from physembed.units import FS, KB

MOVING = ("positions", "momenta", "energy", "forces")
"""Tensors of the state that a step changes."""


class LangevinBatch:
    """Replicas of one molecule that advance together, each from its own start.

    On a GPU a step is replayed as a CUDA graph, whose shapes are fixed. A replica that leaves the batch then keeps its
    slot, frozen at its start and hidden from the caller, until half of the slots are empty and the batch is rebuilt.
    The collapse check is replayed in the same way, so that replicas stop without synchronising with the host.

    Args:
        model: a torch-sim model (energies in eV, forces in eV/Å); on a GPU it must support capture in a CUDA graph.
        starts: one structure per replica, all of the same molecule with the same order of atoms.
        temperature_K: temperature of the thermostat and of the initial momenta, which are drawn from the
            Maxwell-Boltzmann distribution of all 3 N degrees of freedom: the thermostat also moves the centre of mass.
        timestep_fs: time step.
        friction_per_ps: friction coefficient.
        seed: seed of the momenta and of the noise.
        detector: detects collapsed replicas, on the device of the model; None for no detection.
        fixed_shapes: whether a step uses tensors of fixed shapes, so that it can be captured in a CUDA graph and a
            replica that leaves keeps its slot; by default on a GPU. Otherwise, on a CPU, the step is compiled.
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
        detector: CollapseDetector | None = None,
        fixed_shapes: bool | None = None,
    ) -> None:
        self.model, self._detector = model, detector
        self.n_atoms = len(starts[0])
        self._fixed_shapes = model.device.type == "cuda" if fixed_shapes is None else fixed_shapes
        dt = torch.tensor(timestep_fs * FS, dtype=model.dtype, device=model.device)
        kT = torch.tensor(temperature_K * KB, dtype=model.dtype, device=model.device)
        self._half = dt / 2
        self._damping = torch.exp(-friction_per_ps / (1000 * FS) * dt)
        self._noise = torch.sqrt(kT * (1 - self._damping.square()))
        clean = [Atoms(numbers=start.numbers, positions=start.positions, cell=[1, 1, 1]) for start in starts]
        state = ts.io.atoms_to_state(clean, device=model.device, dtype=model.dtype)
        state.rng = seed
        self._home = state.positions.clone()
        self._taken = torch.zeros((), dtype=torch.int64, device=state.device)
        output = model(state)
        started = MDState.from_state(
            state,
            momenta=thermal_momenta(state.masses, kT.expand(len(starts)), state.rng, centre_at_rest=False),
            energy=output["energy"],
            forces=output["forces"],
        )
        self._use(started, self._taken.new_full((len(starts),), -1))

    def _use(self, state: Any, stopped_at: torch.Tensor) -> None:
        """Continue with this state, all of whose replicas are in the batch."""
        self.state, self._stopped_at = state, stopped_at
        self._places = torch.arange(state.n_systems, device=state.device)
        on_gpu, changed = state.device.type == "cuda", [getattr(state, name) for name in MOVING]
        self._steps: LangevinSteps | None = None
        if state.device.type == "cpu" and not self._fixed_shapes:
            factors = {"half": self._half, "damping": self._damping, "noise_factor": self._noise}
            self._steps = LangevinSteps(
                state, stopped_at, self.n_atoms, **{name: float(value) for name, value in factors.items()}
            )
        self._advance = Replayed(self._step, on_gpu, [*changed, self._taken], state.rng)
        self._look = Replayed(self._stop_collapsed, on_gpu, [self._stopped_at])

    def _step(self) -> None:
        """Take one step in place: half kick, half drift, friction and noise, half drift, forces, half kick."""
        state, half = self.state, self._half
        if self._steps is not None:
            self._taken += 1
            noise = torch.randn(state.momenta.shape, dtype=state.momenta.dtype, generator=state.rng)
            self._steps.to_new_positions(noise)
            self._steps.with_new_forces(self.model(state))
            return
        masses, in_motion = state.masses[:, None], self._stopped_at < 0
        moving = in_motion[state.system_idx, None]
        self._taken += 1
        momenta = state.momenta + state.forces * half
        positions = state.positions + momenta / masses * half
        noise = torch.randn(momenta.shape, dtype=momenta.dtype, device=momenta.device, generator=state.rng)
        momenta = self._damping * momenta + self._noise * masses.sqrt() * noise
        positions = positions + momenta / masses * half
        state.positions.copy_(torch.where(moving, positions, state.positions))
        output = self.model(state)
        momenta = momenta + output["forces"] * half
        state.momenta.copy_(torch.where(moving, momenta, state.momenta))
        state.forces.copy_(torch.where(moving, output["forces"], state.forces))
        state.energy.copy_(torch.where(in_motion, output["energy"], state.energy))

    def _stop_collapsed(self) -> None:
        state = self.state
        if self._detector is None:
            return
        positions, forces = (values.view(-1, self.n_atoms, 3) for values in (state.positions, state.forces))
        collapsed = self._detector.check(positions, state.energy, forces, self._temperatures()).collapsed
        newly = collapsed & (self._stopped_at < 0)
        self._stopped_at.copy_(torch.where(newly, self._taken, self._stopped_at))

    def advance(self, steps: int) -> None:
        """Take the given number of time steps; stopped replicas do not change."""
        while True:
            try:
                return self._advance(steps)
            except torch.cuda.OutOfMemoryError as error:
                # Raised by a capture, before any step: see Replayed.
                self.model.fewer_at_once(error)

    def look(self) -> None:
        """Stop each collapsed replica permanently in its present state. On a GPU the host does not wait for this."""
        self._look(1)

    def keep(self, mask: torch.Tensor) -> None:
        """Continue with the replicas for which `mask` (n_replicas,) is true; the others leave the batch."""
        if not self._fixed_shapes or 2 * int(mask.sum()) <= self.state.n_systems:
            self._gather(self._places[mask])
            return
        left = self._places[~mask]
        self._places = self._places[mask]
        # They are frozen like stopped replicas; their stopping time is no longer needed.
        self._stopped_at[left] = 0
        self.state.positions.view(-1, self.n_atoms, 3)[left] = self._home.view(-1, self.n_atoms, 3)[left]
        self.state.momenta.view(-1, self.n_atoms, 3)[left] = 0.0

    def _gather(self, places: torch.Tensor) -> None:
        """Rebuild the batch from the replicas in these slots."""
        generator = self.state.rng
        self._home = self._home.view(-1, self.n_atoms, 3)[places].reshape(-1, 3)
        state = self.state[places]
        state.rng = generator
        self._use(state, self._stopped_at[places])

    def _in_batch(self, name: str) -> torch.Tensor:
        """A tensor of the state (n_replicas, ...) without the empty slots."""
        values = getattr(self.state, name)
        rows = values if name == "energy" else values.view(-1, self.n_atoms, 3)
        return rows if len(self._places) == len(rows) else rows[self._places]

    @property
    def n_replicas(self) -> int:
        """Replicas still in the batch."""
        return len(self._places)

    @property
    def positions(self) -> torch.Tensor:
        """Positions (n_replicas, n_atoms, 3) in Å."""
        return self._in_batch("positions")

    @property
    def forces(self) -> torch.Tensor:
        """Forces (n_replicas, n_atoms, 3) in eV/Å."""
        return self._in_batch("forces")

    @property
    def energies(self) -> torch.Tensor:
        """Potential energies (n_replicas,) in eV."""
        return self._in_batch("energy")

    @property
    def temperatures(self) -> torch.Tensor:
        """Kinetic temperatures (n_replicas,) in K, with 3 N degrees of freedom.

        Evaluated at the preceding half step, where friction and noise act: there BAOAB has the Maxwell-Boltzmann
        distribution in a harmonic potential at any time step.
        """
        return self._temperatures()[self._places]

    @property
    def stopped_at(self) -> torch.Tensor:
        """Number of steps after which each replica (n_replicas,) stopped; -1 if it is still moving."""
        return self._stopped_at[self._places]

    def _temperatures(self) -> torch.Tensor:
        state = self.state
        momenta = state.momenta - state.forces * self._half
        return kinetic_temperatures(momenta, state.masses, len(self._stopped_at), 3 * self.n_atoms)

    def save(self) -> dict[str, torch.Tensor]:
        """Return everything that the next step depends on."""
        saved = {name: self._in_batch(name).cpu().clone() for name in MOVING}
        counts = {"taken": self._taken.cpu().clone(), "stopped_at": self.stopped_at.cpu()}
        return saved | counts | {"rng": self.state.rng.get_state()}

    def load(self, saved: dict[str, torch.Tensor], mask: torch.Tensor) -> None:
        """Continue from `save`; `mask` marks the replicas of the present batch that were still in it at that time."""
        self._gather(self._places[mask])
        for name in MOVING:
            now = getattr(self.state, name)
            now.copy_(saved[name].view_as(now))
        self._taken.copy_(saved["taken"])
        self._stopped_at.copy_(saved["stopped_at"])
        self.state.rng.set_state(saved["rng"])
