"""A 3D structure from a SMILES or from a structure file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from physembed.errors import PhysEmbedError
from physembed.files import atomic


def from_smiles(smiles: str, seed: int, conformers: int = 10) -> Chem.Mol:
    """The lowest-energy conformer (MMFF94) of a few that ETKDG embeds, with all hydrogens.

    Raises:
        PhysEmbedError: if the SMILES cannot be read or no conformer can be embedded.
    """
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise PhysEmbedError(f"molecule: {smiles!r} is not a SMILES that RDKit can read")
    molecule = Chem.AddHs(molecule)
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    if not rdDistGeom.EmbedMultipleConfs(molecule, conformers, parameters):
        raise PhysEmbedError(f"molecule: {smiles!r}: RDKit embeds no 3D structure; give a structure file instead")
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
        energies = [energy for _, energy in rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(molecule, maxIters=2000)]
    else:
        energies = [energy for _, energy in rdForceFieldHelpers.UFFOptimizeMoleculeConfs(molecule, maxIters=2000)]
    best = min(range(len(energies)), key=energies.__getitem__)
    return Chem.Mol(molecule, confId=molecule.GetConformers()[best].GetId())


def from_file(path: str | Path) -> Chem.Mol:
    """The first molecule of an SDF or MOL file, with its coordinates and its explicit hydrogens.

    Raises:
        PhysEmbedError: if there is none.
    """
    molecule = Chem.MolFromMolFile(str(path), removeHs=False)
    if molecule is None or molecule.GetNumConformers() == 0:
        raise PhysEmbedError(f"molecule: {path}: no molecule with coordinates that RDKit can read")
    return molecule


def write_sdf(path: str | Path, molecule: Chem.Mol, name: str) -> None:
    """Write one molecule; its name is the title line."""
    molecule.SetProp("_Name", name)
    with atomic(path) as temporary:
        temporary.write_text(Chem.MolToMolBlock(molecule) + "$$$$\n")
