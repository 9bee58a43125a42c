"""Broken bonds in liquids: each bond against its length in the start frame.

The rule is that of isolated molecules (`physembed.collapse.detector`): a bond is broken once it deviates by more than
`TOLERANCE_A`, in either direction. A liquid has no GAFF run of its own, so the initial length replaces the mean;
at room temperature the two differ by less than 0.1 Å.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray

from physembed.errors import PhysEmbedError

TOLERANCE_A = 0.5
"""The default of `stability.bond_tolerance_A`."""


class BondWatch:
    """Checks the bonds of boxes that contain the same molecules.

    Args:
        bonds: (n_bonds, 2) indices of bonded atoms, the same in each start; None for no check.
        starts: start frame of each box, with whole molecules.

    Raises:
        PhysEmbedError: a bond refers to an atom that does not exist, or a start has molecules that are not whole.
    """

    def __init__(self, bonds: ArrayLike | None, starts: Sequence[Atoms]) -> None:
        self.bonds = np.empty((0, 2), dtype=int) if bonds is None else np.asarray(bonds)
        n_atoms = len(starts[0]) if starts else self.bonds.max(initial=-1) + 1
        fitting = self.bonds.ndim == 2 and self.bonds.shape[1] == 2
        if not (fitting and ((self.bonds >= 0) & (self.bonds < n_atoms)).all()):
            raise PhysEmbedError(
                f"md: bonds of shape {self.bonds.shape} do not fit {n_atoms} atoms; give (n_bonds, 2) indices from 0 "
                f"to {n_atoms - 1}"
            )
        self.lengths = np.array([self._start_lengths(row, start) for row, start in enumerate(starts)])
        """(n_boxes, n_bonds) Å, at the start."""

    def _start_lengths(self, row: int, start: Atoms) -> NDArray[np.float64]:
        vectors = start.positions[self.bonds[:, 1]] - start.positions[self.bonds[:, 0]]
        lengths = np.linalg.norm(vectors, axis=1)
        if len(vectors):
            cut = lengths > find_mic(vectors, start.cell, pbc=True)[1] + 1e-3
            if cut.any():
                i, j = self.bonds[cut.argmax()]
                raise PhysEmbedError(
                    f"md: start {row}: bond {i}-{j} is {lengths[cut.argmax()]:.2f} Å long, across the box; make the "
                    "molecules whole"
                )
        return lengths

    def broken(self, positions: torch.Tensor, rows: Sequence[int]) -> list[str]:
        """Describe the worst broken bond of each box in `rows`; an empty string if none is broken.

        Args:
            positions: (len(rows), n_atoms, 3) Å, not wrapped.
            rows: indices of the starts.
        """
        if not len(self.bonds):
            return [""] * len(rows)
        first, second = torch.as_tensor(self.bonds.T, device=positions.device)
        lengths = (positions[:, first] - positions[:, second]).norm(dim=2)
        reference = torch.as_tensor(self.lengths[list(rows)], dtype=lengths.dtype, device=lengths.device)
        worst = (lengths - reference).abs().nan_to_num(torch.inf).max(dim=1)
        words = []
        for row, (deviation, bond) in enumerate(zip(worst.values.tolist(), worst.indices.tolist(), strict=True)):
            i, j = self.bonds[bond]
            now, then = float(lengths[row, bond]), float(reference[row, bond])
            broken = f"bond {i}-{j} is {now:.2f} Å long, {then:.2f} Å at the start"
            words.append(broken if deviation > TOLERANCE_A else "")
        return words
