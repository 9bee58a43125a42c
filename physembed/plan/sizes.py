"""Numbers of atoms of the molecules and of the liquids' boxes of a study, before anything is built."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from physembed.molecules.table import MoleculeSpec

if TYPE_CHECKING:
    from physembed.liquids.table import LiquidSpec
    from physembed.study import Study


@dataclass(frozen=True)
class Sizes:
    """Atoms and molecules by name."""

    molecules: dict[str, int]
    """Atoms of a molecule, hydrogens included."""
    liquids: dict[str, int]
    """Atoms in a liquid's box."""
    boxed: dict[str, int]
    """Molecules in a liquid's box."""

    def with_molecule(self, name: str, atoms: int) -> Sizes:
        """The same sizes with another number of atoms of one molecule."""
        return replace(self, molecules=self.molecules | {name: atoms})

    def with_liquid(self, name: str, atoms: int) -> Sizes:
        """The same sizes with another number of atoms in one liquid's box."""
        return replace(self, liquids=self.liquids | {name: atoms})


def sizes_of(study: Study) -> Sizes:
    """Atoms of everything that the study treats, from SMILES, structure files and topologies alone."""
    molecules = {spec.name: molecule_atoms(spec) for spec in [*study.molecules, *study.components]}
    boxed = {name: liquid.molecules for name, liquid in study.liquids.items()}
    return Sizes(molecules, {name: liquid_atoms(liquid) for name, liquid in study.liquids.items()}, boxed)


def molecule_atoms(spec: MoleculeSpec) -> int:
    """Atoms of a molecule, hydrogens included."""
    if spec.smiles:
        return _atoms_of_smiles(spec.smiles)
    if spec.structure:
        from physembed.molecules.structure import from_file

        return from_file(spec.structure).GetNumAtoms()
    if not (spec.topology and spec.coordinates):
        raise ValueError(f"{spec.name}: a checked row has a SMILES, a structure or a topology")
    from physembed.molecules.topology import load_topology

    return len(load_topology(spec.topology, spec.coordinates).atoms)


def liquid_atoms(liquid: LiquidSpec) -> int:
    """Atoms in the box that will be packed for a liquid."""
    from physembed.liquids.composition import molecule_counts
    from physembed.liquids.table import masses_u

    fractions = [component.mass_fraction for component in liquid.components]
    counts = molecule_counts(masses_u(liquid), fractions, liquid.molecules)
    atoms = [_atoms_of_smiles(component.smiles) for component in liquid.components]
    return sum(count * number for count, number in zip(counts, atoms, strict=True))


def atoms_of_inpcrd(path: str | Path) -> int:
    """Atoms of an AMBER coordinate file (text): the first word of its second line."""
    with Path(path).open() as file:
        file.readline()
        return int(file.readline().split()[0])


def _atoms_of_smiles(smiles: str) -> int:
    from rdkit import Chem

    return Chem.AddHs(Chem.MolFromSmiles(smiles)).GetNumAtoms()
