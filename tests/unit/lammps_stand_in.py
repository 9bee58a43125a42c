"""An object in LAMMPS's place for models of `pair_style mliap unified`: ranks of a periodic box, with ghosts.

It has the attributes and methods that LAMMPS's KOKKOS coupling gives a model. Ghosts are copies of atoms of other ranks
and periodic images. Energies, forces and virial are put together from what the model hands over as LAMMPS does it.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

SKIN = 1.0
"""Å by which ghosts reach further than the list of pairs, as in LAMMPS."""


@dataclass
class Shared:
    """What ranks exchange."""

    barrier: threading.Barrier
    sent: dict[int, Any] = field(default_factory=dict)


class Rank:
    """The atoms of a part of a box, as LAMMPS's coupling shows them to a model."""

    def __init__(
        self, atoms: Atoms, own: NDArray[np.int64], elements: list[str], cutoff: float, rank: int, shared: Shared
    ) -> None:
        self._rank, self._shared, self._own = rank, shared, own
        cell, positions = atoms.cell.array, atoms.get_positions(wrap=True)
        heights = atoms.cell.volume / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
        images = [range(-int(np.ceil((cutoff + SKIN) / h)) - 1, int(np.ceil((cutoff + SKIN) / h)) + 2) for h in heights]
        ghosts, places = [], []
        for shift in itertools.product(*images):
            moved = positions + np.array(shift) @ cell
            for atom in range(len(atoms)):
                if shift == (0, 0, 0) and atom in own:
                    continue
                if np.linalg.norm(positions[own] - moved[atom], axis=1).min(initial=np.inf) < cutoff + SKIN:
                    ghosts.append(atom)
                    places.append(moved[atom])
        self.owners = np.concatenate([own, np.array(ghosts, dtype=np.int64)])
        """Atom of the box that each own atom and ghost is."""
        x = np.concatenate([positions[own], np.array(places).reshape(-1, 3)])
        self.nlocal = self.nlistatoms = len(own)
        self.ntotal = len(x)
        symbols = atoms.get_chemical_symbols()
        self.elems = np.array([elements.index(symbols[atom]) for atom in self.owners], dtype=np.int32)
        vectors = x[None] - x[: self.nlocal, None]
        distances = np.linalg.norm(vectors, axis=2)
        distances[np.arange(self.nlocal), np.arange(self.nlocal)] = np.inf
        first, second = np.nonzero(distances < cutoff)
        self.npairs = len(first)
        # As in LAMMPS, there are no arrays where there is nothing.
        self.pair_i = first.astype(np.int32) if len(first) else None
        self.pair_j = second.astype(np.int32) if len(first) else None
        self.rij = vectors[first, second].copy() if len(first) else None
        self.eatoms = np.zeros(self.nlocal)
        self.energy = 0.0
        self.f = np.zeros((self.ntotal, 3))
        self.virial = np.zeros((3, 3))
        self.exchanges: list[str] = []

    def forward_exchange(self, source: torch.Tensor, target: torch.Tensor, width: int) -> None:
        """Rows of own atoms as they are; of ghosts those of their owners."""
        assert source.shape == target.shape == (self.ntotal, width) and source.is_contiguous()
        assert source.dtype == target.dtype
        self.exchanges.append("forward")
        rows = self._gather({int(atom): source[row].clone() for row, atom in enumerate(self._own)})
        for row, atom in enumerate(self.owners):
            target[row] = source[row] if row < self.nlocal else rows[int(atom)]
        self._shared.barrier.wait()

    def reverse_exchange(self, source: torch.Tensor, target: torch.Tensor, width: int) -> None:
        """Rows of own atoms with what was added to ghosts of them anywhere."""
        assert source.shape == target.shape == (self.ntotal, width)
        self.exchanges.append("reverse")
        target.copy_(source)
        everyones = self._gather_all(
            [(int(self.owners[row]), source[row].clone()) for row in range(self.nlocal, self.ntotal)]
        )
        place = {int(atom): row for row, atom in enumerate(self._own)}
        for atom, values in everyones:
            if atom in place:
                target[place[atom]] += values
        self._shared.barrier.wait()

    def _gather(self, mine: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        self._shared.sent[self._rank] = mine
        self._shared.barrier.wait()
        return {atom: row for rows in self._shared.sent.values() for atom, row in rows.items()}

    def _gather_all(self, mine: list[tuple[int, torch.Tensor]]) -> list[tuple[int, torch.Tensor]]:
        self._shared.sent[self._rank] = mine
        self._shared.barrier.wait()
        return [item for rank in sorted(self._shared.sent) for item in self._shared.sent[rank]]

    def update_pair_forces_gpu(self, forces: torch.Tensor) -> None:
        """+f on i and -f on j, and -r f into the virial, of each pair."""
        assert forces.dtype == torch.float64 and forces.is_contiguous() and forces.shape == (self.npairs, 3)
        if self.npairs:
            values = forces.numpy()
            np.add.at(self.f, self.pair_i, values)
            np.add.at(self.f, self.pair_j, -values)
            self.virial -= np.einsum("ni,nj->ij", self.rij, values)


@dataclass
class Result:
    """Of all ranks together."""

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]
    """(3, 3) eV/Å^3, positive under tension."""
    atom_energies: NDArray[np.float64]
    ranks: list[Rank]


def evaluate(model: Any, atoms: Atoms, ranks: int = 1) -> Result:
    """Evaluate a model in a periodic box that is divided between ranks along x, in threads."""
    shared = Shared(threading.Barrier(ranks, timeout=120))
    part = np.minimum((atoms.get_scaled_positions(wrap=True)[:, 0] * ranks).astype(int), ranks - 1)
    elements = list(model.element_types)
    data = [
        Rank(atoms, np.nonzero(part == rank)[0], elements, 2 * model.rcutfac, rank, shared) for rank in range(ranks)
    ]
    errors: list[BaseException] = []

    def work(one: Rank) -> None:
        try:
            model.compute_forces(one)
        except BaseException as error:
            errors.append(error)
            shared.barrier.abort()

    threads = [threading.Thread(target=work, args=(one,)) for one in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
    forces, of_atoms = np.zeros((len(atoms), 3)), np.zeros(len(atoms))
    for one in data:
        np.add.at(forces, one.owners, one.f)
        of_atoms[one.owners[: one.nlocal]] = one.eatoms
    stress = -sum(one.virial for one in data) / atoms.cell.volume
    return Result(float(sum(one.energy for one in data)), forces, stress, of_atoms, data)
