"""A model as a function of the atoms of one system: energy, forces and virial, in eV and Å, as NumPy arrays.

It is what every engine is given. A model is a corrected model (`corrected_model.pt`), any other MACE file, or several
files of either kind: a committee, whose mean is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from physembed.engine.device import resolve_device
from physembed.engine.liquid_model import mace_of_liquids
from physembed.errors import PhysEmbedError
from physembed.models.corrected import FORMAT, torchsim_of
from physembed.models.file import as_module, load_pickle

Model = str | Path | Sequence[str | Path]
"""File of a model, or the files of a committee."""


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
        self, model: Model, numbers: ArrayLike, *, periodic: bool, device: str = "auto", dtype: str = "float64"
    ) -> None:
        files = [model] if isinstance(model, str | Path) else list(model)
        if not files:
            raise PhysEmbedError("model: no file is named; give one, or those of a committee")
        self.files = [str(Path(file).absolute()) for file in files]
        self.numbers = np.asarray(numbers, dtype=int)
        self.periodic, self.device, self.dtype = periodic, device, dtype
        self._models: list[Any] | None = None

    @classmethod
    def of(cls, model: Model, atoms: Atoms, *, device: str = "auto", dtype: str = "float64") -> Potential:
        """For the atoms of a structure.

        Raises:
            PhysEmbedError: the structure is periodic in one or two directions only, or its cell has no volume.
        """
        return cls(model, atoms.numbers, periodic=is_periodic(atoms), device=device, dtype=dtype)

    @property
    def models(self) -> list[Any]:
        """The models as torch-sim has them, loaded."""
        self.load()
        assert self._models is not None
        return self._models

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_models": None}

    def load(self) -> Potential:
        """Load the model now; returns itself.

        Raises:
            PhysEmbedError: a file holds no model, or one that does not know an element of the system.
        """
        if self._models is None:
            torch_device = resolve_device(self.device)
            self._models = [_load(file, torch_device, self.dtype, self.numbers) for file in self.files]
            device = self._models[0].device
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
        models = self.models
        positions = np.asarray(positions, dtype=np.float64)
        box_shape = () if cell is None else np.asarray(cell).shape
        if positions.shape != (len(self.numbers), 3) or (self.periodic and box_shape != (3, 3)):
            raise PhysEmbedError(
                f"model: positions of shape {positions.shape} and a cell of shape {box_shape} for "
                f"{len(self.numbers)} atoms{', periodic' if self.periodic else ''}; give (n_atoms, 3) and (3, 3)"
            )
        outputs = [self._evaluate(model, positions, cell) for model in models]
        energies = np.array([energy for energy, _, _ in outputs])
        forces = np.stack([force for _, force, _ in outputs])
        stresses = [stress for _, _, stress in outputs]
        several = len(outputs) > 1
        deviation = forces - forces.mean(axis=0)
        return Evaluation(
            energy=float(energies.mean()),
            forces=forces.mean(axis=0),
            stress=np.mean(stresses, axis=0) if self.periodic else None,
            energy_spread=float(energies.std(ddof=1)) if several else 0.0,
            force_spread=np.sqrt((deviation**2).sum(axis=2).sum(axis=0) / (len(outputs) - 1)) if several else None,
        )

    def _evaluate(
        self, model: Any, positions: NDArray[np.float64], cell: ArrayLike | None
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        kind = {"device": model.device, "dtype": model.dtype}
        box = torch.as_tensor(np.array(cell), **kind) if self.periodic else torch.eye(3, **kind)
        state = SimpleNamespace(
            positions=torch.as_tensor(positions, **kind), row_vector_cell=box[None], pbc=self._pbc,
            atomic_numbers=self._numbers, system_idx=self._systems, n_systems=1,
        )  # fmt: skip
        output = model(state)
        arrays = (output[name].detach().double().cpu().numpy() for name in ("energy", "forces", "stress"))
        energy, forces, stress = arrays
        return float(energy[0]), forces, stress[0]


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


def _load(file: str, device: str, dtype: str, numbers: NDArray[np.int_]) -> Any:
    saved = load_pickle(file, device)
    is_corrected = isinstance(saved, dict) and saved.get("format") == FORMAT
    module = saved["mace"] if is_corrected else as_module(saved, file)
    _check_elements(file, module, numbers)
    return torchsim_of(saved, device, dtype) if is_corrected else mace_of_liquids(module, device, dtype)


def _check_elements(file: str, module: torch.nn.Module, numbers: NDArray[np.int_]) -> None:
    known = set(torch.as_tensor(module.atomic_numbers).tolist())
    if missing := sorted(set(numbers.tolist()) - known):
        raise PhysEmbedError(
            f"model: {file}: does not know {', '.join(chemical_symbols[z] for z in missing)} (it has "
            f"{', '.join(chemical_symbols[z] for z in sorted(known))})"
        )
