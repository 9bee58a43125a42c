"""What GAFF and xTB can treat: checks of RDKit molecules, shared by the tables of molecules and of liquids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdkit.Chem import Mol

GAFF_ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
"""Elements with GAFF parameters. GFN2-xTB supports all of these: its own parameters reach from H to Rn."""
CHALCOGENS = frozenset({8, 16, 34})
"""Atomic numbers: two of these atoms alone (O2, SO, S2) are triplets in their ground state."""


SINGLET = "give the row a multiplicity"
"""Advice for a molecule that is not a singlet."""


def read_smiles(smiles: str) -> Mol | str:
    """The molecule of a SMILES, or RDKit's reason why there is none."""
    # RDKit takes a second to import, which a study without SMILES need not pay, and prints its complaints.
    from rdkit import Chem, rdBase

    with rdBase.CaptureErrorLog() as told:
        raw = Chem.MolFromSmiles(smiles, sanitize=False)
    if raw is None or not raw.GetNumAtoms():
        errors = re.findall(r"SMILES Parse Error: (.*?)(?: while parsing: .*| for input: .*|:)?$", told.messages, re.M)
        return f"is not a SMILES that RDKit can read{f': {", ".join(errors[:2])}' if errors else ''}"
    with rdBase.BlockLogs():
        if problems := Chem.DetectChemistryProblems(raw):
            return f"RDKit refuses it: {problems[0].Message()}"
        molecule: Mol = Chem.MolFromSmiles(smiles)
        return molecule


def read_structure(text: str) -> Mol | str:
    """The molecule of a MOL or SDF text with its coordinates and hydrogens, or why there is none."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        raw = Chem.MolFromMolBlock(text, sanitize=False, removeHs=False)
        if raw is None:
            return "holds no molecule that RDKit can read: no MOL block with its counts, atoms and bonds"
        if problems := Chem.DetectChemistryProblems(raw):
            hint = "; is a formal charge missing (M  CHG)?" if "valence" in problems[0].Message() else ""
            return f"RDKit refuses it: {problems[0].Message()}{hint}"
        molecule: Mol = Chem.MolFromMolBlock(text, removeHs=False)
    if not molecule.GetNumAtoms() or not molecule.GetConformer().Is3D():
        return "has no 3D coordinates; give a 3D structure, or the SMILES instead"
    if missing := sum(atom.GetTotalNumHs() for atom in molecule.GetAtoms()):
        return f"lacks {missing} hydrogens; add them, or give the SMILES instead"
    return molecule


def molecule_problem(molecule: Mol, multiplicity: int | None) -> str | None:
    """Why a molecule cannot be treated, if so; hydrogens may be implicit.

    Args:
        molecule: as read by RDKit.
        multiplicity: 2 S + 1 as given in the row, if it was.
    """
    from rdkit import Chem

    atoms = list(molecule.GetAtoms())
    hydrogens = sum(atom.GetTotalNumHs() for atom in atoms)
    if (fragments := len(Chem.GetMolFrags(molecule))) != 1:
        return f"holds {fragments} molecules; a row is a single connected molecule"
    for atom in atoms:
        if atom.GetSymbol() not in GAFF_ELEMENTS:
            return f"GAFF has no parameters for {atom.GetSymbol()!r}, only for {', '.join(GAFF_ELEMENTS)}"
    isotopes = sorted({f"{atom.GetIsotope()}{atom.GetSymbol()}" for atom in atoms if atom.GetIsotope()})
    if isotopes:
        return (
            f"holds the isotope {isotopes[0]}: all runs have the masses of the natural elements; leave the isotope out"
        )
    if len(atoms) + hydrogens < 2:
        return "is a single atom; bonds are what is sampled"
    numbers = [atom.GetAtomicNum() for atom in atoms] + [1] * hydrogens
    unpaired = sum(atom.GetNumRadicalElectrons() for atom in atoms)
    return spin_problem(numbers, Chem.GetFormalCharge(molecule), multiplicity, unpaired)


def spin_problem(numbers: list[int], charge: int, multiplicity: int | None, unpaired: int = 0) -> str | None:
    """Why the number of unpaired electrons of a molecule is unknown or impossible, if so.

    Args:
        numbers: atomic number of each atom.
        charge: net charge in e.
        multiplicity: 2 S + 1 as given in the row, if it was.
        unpaired: unpaired electrons in its Lewis structure.
    """
    electrons = sum(numbers) - charge
    if multiplicity is not None:
        if (electrons - multiplicity) % 2 == 0 or not 1 <= multiplicity <= electrons + 1:
            lowest = 2 if electrons % 2 else 1
            return (
                f"multiplicity {multiplicity}: {electrons} electrons allow {lowest}, {lowest + 2} and so on (2 S + 1, "
                "with S half of the number of unpaired electrons)"
            )
        return None
    if electrons % 2:
        return f"has an odd number of electrons ({electrons}); {SINGLET} (2 for one unpaired electron)"
    if unpaired:
        return f"has {unpaired} unpaired electrons; {SINGLET} ({unpaired + 1} if all of them are parallel)"
    if len(numbers) == 2 and CHALCOGENS.issuperset(numbers) and not charge:
        return f"has a triplet as its ground state; {SINGLET} (3, or 1 for the excited singlet)"
    return None
