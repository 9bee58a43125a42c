"""A model as a function of the atoms of one system: energy, forces and virial, in eV and Å, as NumPy arrays.

It is what every engine is given. A model is a corrected model (`corrected_model.pt`), any other MACE file, or a
committee, as one file or as several, whose mean is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from physembed.errors import PhysEmbedError
from physembed.models.loading import torchsim_of
from physembed.models.members import Files, Member, check_elements, load_members, named_files


@dataclass(frozen=True)
class Evaluation:
    """What a model says of one geometry."""

    energy: float
    """Potential energy in eV."""
    forces: NDArray[np.float64]
    """(n_atoms, 3) eV/Å."""
    stress: NDArray[np.float64] | None
    """(3, 3) eV/Å^3, positive under tension; None for a system that is not periodic."""
    energy_spread: float = 0.0
    """Standard deviation of the energy over a committee in eV; 0 for one model."""
    force_spread: NDArray[np.float64] | None = None
    """(n_atoms,) eV/Å: root mean square deviation of the force on each atom over a committee; None for one model."""


class Potential:
    """The potential energy of one system of fixed atoms, in the order in which they are given.

    Model files are pickles, which can run any code when they are loaded: load only files that you trust. They are
    loaded at the first evaluation, so that a `Potential` can be pickled and sent to another process.

    Args:
        model: a file, or the files of a committee.
        numbers: (n_atoms,) atomic numbers.
        periodic: whether the system is periodic in all three directions, and needs a cell.
        device: `auto`, `cpu` or `cuda`.
        dtype: `float64`, or `float32`, which is faster.
    """

    def __init__(
        self, model: Files, numbers: ArrayLike, *, periodic: bool, device: str = "auto", dtype: str = "float64"
    ) -> None:
        self.files = [str(Path(file).absolute()) for file in named_files(model)]
        self.numbers = np.asarray(numbers, dtype=int)
        self.periodic, self.device, self.dtype = periodic, device, dtype
        self._model: Any = None

    @classmethod
    def of(cls, model: Files, atoms: Atoms, *, device: str = "auto", dtype: str = "float64") -> Potential:
        """For the atoms of a structure.

        Raises:
            PhysEmbedError: the structure is periodic in one or two directions only, or its cell has no volume.
        """
        return cls(model, atoms.numbers, periodic=is_periodic(atoms), device=device, dtype=dtype)

    @property
    def model(self) -> Any:
        """The model as torch-sim has it, loaded."""
        return self.load()._model

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_model": None}

    def load(self, members: list[Member] | None = None) -> Potential:
        """Load the model now; returns itself.

        Args:
            members: what the files hold, where that has been read already.

        Raises:
            PhysEmbedError: a file holds no model, or one that does not know an element of the system, or several cannot
                form a committee.
        """
        if self._model is None:
            members = members or load_members(self.files)
            check_elements(members, self.numbers)
            self._model = torchsim_of(members, self.device, self.dtype)
            device = self._model.device
            self._numbers = torch.as_tensor(self.numbers, device=device)
            self._systems = torch.zeros(len(self.numbers), dtype=torch.int64, device=device)
            self._pbc = torch.full((3,), self.periodic, device=device)
        return self

    def __call__(self, positions: ArrayLike, cell: NDArray[np.float64] | None = None) -> Evaluation:
        """Evaluate one geometry.

        Args:
            positions: (n_atoms, 3) Å; atoms may lie outside of the cell.
            cell: (3, 3) Å, lattice vectors as rows, for a periodic system.

        Raises:
            PhysEmbedError: as `load`; positions or cell do not fit the system.
        """
        model = self.model
        positions = np.asarray(positions, dtype=np.float64)
        box_shape = () if cell is None else np.asarray(cell).shape
        if positions.shape != (len(self.numbers), 3) or (self.periodic and box_shape != (3, 3)):
            raise PhysEmbedError(
                f"model: positions of shape {positions.shape} and a cell of shape {box_shape} for "
                f"{len(self.numbers)} atoms{', periodic' if self.periodic else ''}; give (n_atoms, 3) and (3, 3)"
            )
        kind = {"device": model.device, "dtype": model.dtype}
        box = torch.as_tensor(np.array(cell), **kind) if self.periodic else torch.eye(3, **kind)
        state = SimpleNamespace(
            positions=torch.as_tensor(positions, **kind), row_vector_cell=box[None], pbc=self._pbc,
            atomic_numbers=self._numbers, system_idx=self._systems, n_systems=1,
        )  # fmt: skip
        output = {name: value.detach().double().cpu().numpy() for name, value in model(state).items()}
        return Evaluation(
            energy=float(output["energy"][0]),
            forces=output["forces"],
            stress=output["stress"][0] if self.periodic else None,
            energy_spread=float(output["energy_spread"][0]) if "energy_spread" in output else 0.0,
            force_spread=output.get("force_spread"),
        )


def is_periodic(atoms: Atoms) -> bool:
    """Whether a structure is periodic in three directions.

    Raises:
        PhysEmbedError: it is periodic in one or two directions only, or its cell has no volume.
    """
    if not atoms.pbc.any():
        return False
    if not atoms.pbc.all() or not atoms.cell.volume > 0:
        raise PhysEmbedError(
            f"structure {atoms.get_chemical_formula()}: pbc {atoms.pbc.tolist()}, volume {atoms.cell.volume:g} Å^3; "
            "give a box that is periodic in three directions, or a molecule without periodicity"
        )
    return True


def check_lattice(atoms: Atoms, engine: str) -> None:
    """Refuse a box whose lattice vectors are not as OpenMM and LAMMPS take them: a along x, b in the xy plane.

    Raises:
        PhysEmbedError: they are not; `engine` begins the message.
    """
    if is_periodic(atoms) and np.abs(np.triu(atoms.cell.array, 1)).max() > 1e-6:
        raise PhysEmbedError(
            f"{engine}: the lattice vectors {atoms.cell.array.round(3).tolist()} are not lower triangular (a along x, "
            "b in the xy plane); turn the structure, for instance by atoms.set_cell(atoms.cell.standard_form()[0], "
            "scale_atoms=True)"
        )
