"""A 3D structure from a SMILES or from a structure file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.molecules.chemistry import read_smiles, read_structure

EMBEDDING_S = 120
"""Time limit of embedding. Ordinary molecules take milliseconds, cages and impossible stereochemistry hours."""


def from_smiles(smiles: str, seed: int, conformers: int = 10) -> Chem.Mol:
    """The lowest-energy conformer (MMFF94, or UFF) of a few embedded by ETKDG, with all hydrogens.

    Stereocentres and double bonds that the SMILES leaves unspecified are those of this conformer; see `chosen_isomer`.

    Raises:
        PhysEmbedError: the SMILES cannot be read or no conformer can be embedded within two minutes.
    """
    molecule = read_smiles(smiles)
    if isinstance(molecule, str):
        raise PhysEmbedError(f"molecule: {smiles!r}: {molecule}")
    molecule = Chem.AddHs(molecule)
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    parameters.timeout = EMBEDDING_S
    parameters.trackFailures = True
    began = time.monotonic()
    rdDistGeom.EmbedMultipleConfs(molecule, conformers, parameters)
    if not molecule.GetNumConformers():
        counts = dict(zip(rdDistGeom.EmbedFailureCauses.names, parameters.GetFailureCounts(), strict=False))
        most = max(counts, key=lambda cause: int(counts[cause]))
        why = f"most attempts failed at {most.lower().replace('_', ' ')}" if counts[most] else "no attempt succeeded"
        limit = f" within {EMBEDDING_S} s" if time.monotonic() - began >= EMBEDDING_S else ""
        raise PhysEmbedError(
            f"molecule: {smiles!r}: RDKit embeds no 3D structure{limit} ({why}); check the stereochemistry, or give a "
            "structure file instead"
        )
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
        energies = [energy for _, energy in rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(molecule, maxIters=2000)]
    else:
        energies = [energy for _, energy in rdForceFieldHelpers.UFFOptimizeMoleculeConfs(molecule, maxIters=2000)]
    best = min(range(len(energies)), key=energies.__getitem__)
    return Chem.Mol(molecule, confId=molecule.GetConformers()[best].GetId())


def chosen_isomer(molecule: Chem.Mol) -> str:
    """The isomeric SMILES of a 3D structure whose stereochemistry was not fully specified, else an empty text.

    Args:
        molecule: with coordinates, from which the stereochemistry is read, and with the given specification.
    """
    given = {item.centeredOn for item in Chem.FindPotentialStereo(molecule) if _specified(item)}
    copy = Chem.Mol(molecule)
    Chem.AssignStereochemistryFrom3D(copy)
    copy = Chem.RemoveHs(copy)
    taken = [item for item in Chem.FindPotentialStereo(molecule) if item.centeredOn not in given]
    return Chem.MolToSmiles(copy) if taken else ""


def _specified(item: Any) -> bool:
    return bool(item.specified == Chem.StereoSpecified.Specified)


def from_file(path: str | Path) -> Chem.Mol:
    """The first molecule of an SDF or MOL file, with its coordinates and its explicit hydrogens.

    Raises:
        PhysEmbedError: if there is none.
    """
    molecule = read_structure(Path(path).read_text(encoding="utf-8"))
    if isinstance(molecule, str):
        raise PhysEmbedError(f"molecule: {path}: {molecule}")
    return molecule


def write_sdf(path: str | Path, molecule: Chem.Mol, name: str) -> None:
    """Write one molecule; its name is the title line."""
    molecule.SetProp("_Name", name)
    with atomic(path) as temporary:
        temporary.write_text(Chem.MolToMolBlock(molecule) + "$$$$\n")
