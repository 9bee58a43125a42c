"""Numbers of atoms of the molecules and of the liquids' boxes of a study, before anything is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from physembed.molecules.table import MoleculeSpec

if TYPE_CHECKING:
    from physembed.liquids.table import LiquidSpec
    from physembed.study import ModelStudy, Study


@dataclass(frozen=True)
class DataSet:
    """A user's own training set."""

    frames: int
    atoms: int
    """Of its first frame."""


@dataclass(frozen=True)
class Sizes:
    """Atoms and molecules by name."""

    molecules: dict[str, int]
    """Atoms of a molecule, hydrogens included."""
    liquids: dict[str, int]
    """Atoms in a liquid's box."""
    boxed: dict[str, int]
    """Molecules in a liquid's box."""
    data: dict[str, DataSet]
    """Training sets by model."""

    def reference_atoms(self, model: ModelStudy, liquid: str) -> int:
        """Atoms in a frame of reference data: the liquid's mean molecule times the molecules in a frame."""
        return round(model.settings.reference.molecules * self.liquids[liquid] / self.boxed[liquid])

    def trained_atoms(self, model: ModelStudy) -> int:
        """Atoms in a training frame of a liquid model."""
        if model.settings.data:
            return self.data[model.name].atoms
        return round(sum(self.reference_atoms(model, name) for name in model.reference) / len(model.reference))


def sizes_of(study: Study) -> Sizes:
    """Numbers of atoms in the study, from SMILES, structure files, topologies and data files only."""
    return Sizes(
        {spec.name: molecule_atoms(spec) for spec in [*study.molecules, *study.components]},
        {name: liquid_atoms(liquid) for name, liquid in study.liquids.items()},
        {name: liquid.molecules for name, liquid in study.liquids.items()},
        {model.name: frames_of_file(model.settings.data) for model in study.models if model.settings.data},
    )


def frames_of_file(path: str | Path) -> DataSet:
    """Frames of an extended XYZ file and their atoms, from its size and its first frame."""
    with Path(path).open("rb") as file:
        atoms = int(file.readline())
        for _ in range(atoms + 1):
            file.readline()
        frame_bytes = file.tell()
    return DataSet(max(1, round(Path(path).stat().st_size / frame_bytes)), atoms)


def molecule_atoms(spec: MoleculeSpec) -> int:
    """Atoms of a molecule, hydrogens included."""
    if spec.smiles:
        return _atoms_of_smiles(spec.smiles)
    if spec.structure:
        from physembed.molecules.structure import from_file

        return from_file(spec.structure).GetNumAtoms()
    if not (spec.topology and spec.coordinates):
        raise ValueError(f"{spec.name}: a checked row has a SMILES, a structure or a topology")
    from physembed.molecules.reading import load_topology

    return len(load_topology(spec.topology, spec.coordinates).atoms)


def liquid_atoms(liquid: LiquidSpec) -> int:
    """Atoms in the box that will be packed for a liquid."""
    from physembed.liquids.composition import molecule_counts
    from physembed.liquids.table import masses_u

    fractions = [component.mass_fraction for component in liquid.components]
    counts = molecule_counts(masses_u(liquid), fractions, liquid.molecules)
    atoms = [_atoms_of_smiles(component.smiles) for component in liquid.components]
    return sum(count * number for count, number in zip(counts, atoms, strict=True))


def _atoms_of_smiles(smiles: str) -> int:
    from rdkit import Chem

    return Chem.AddHs(Chem.MolFromSmiles(smiles)).GetNumAtoms()
