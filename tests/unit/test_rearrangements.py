"""Rearrangements that are no collapse: stereocentres and double bonds against RDKit's, and changes made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from physembed.collapse.rearrangements import COLUMNS, CONTACT_MARGIN_A, Rearrangements
from physembed.errors import PhysEmbedError
from physembed.molecules.bonds import equilibrium_length_matrix

NONE = dict(zip(COLUMNS, (0, 0, 0, ""), strict=True))


def embedded(smiles: str) -> tuple[Chem.Mol, Atoms]:
    """A molecule with hydrogen atoms and relaxed coordinates."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=7) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(molecule)
    positions = molecule.GetConformer().GetPositions()
    return molecule, Atoms([atom.GetAtomicNum() for atom in molecule.GetAtoms()], positions)


def found_in(molecule: Chem.Mol, atoms: Atoms) -> Rearrangements:
    """For the molecule, with the relaxed lengths as those of equilibrium."""
    rows = []
    for bond in molecule.GetBonds():
        i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        rows.append((i, j, atoms.get_distance(i, j), bond.IsInRing()))
    table = pd.DataFrame(sorted(rows), columns=["i", "j", "r_eq_A", "in_ring"])
    return Rearrangements(table, atoms.numbers, equilibrium_length_matrix(table, atoms.numbers))


def frame(atoms: Atoms, time_fs: float, positions: np.ndarray | None = None) -> Atoms:
    """A recorded frame."""
    made = Atoms(atoms.numbers, atoms.positions if positions is None else positions)
    made.info["time_fs"] = time_fs
    return made


def turned(atoms: Atoms, i: int, j: int, moved: list[int], degrees: float) -> np.ndarray:
    """Positions with some atoms turned about the bond i-j."""
    axis = (atoms.positions[j] - atoms.positions[i]) / np.linalg.norm(atoms.positions[j] - atoms.positions[i])
    angle = np.radians(degrees)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    positions = atoms.positions.copy()
    positions[moved] = (positions[moved] - positions[i]) @ rotation.T + positions[i]
    return positions


CHIRAL = [
    "C[C@H](N)C(=O)O", "C[C@H](O)[C@@H](F)Cl", "CC(=O)N[C@@H](C)C(=O)NC", "C[C@@H]1CCCCO1", "C[S@](=O)CC",
    "COC(F)(F)C(F)(F)C(F)(F)F", "CC(=O)Nc1ccc(O)cc1", "CC(O)C", "CN(C)C", "CCOC(=O)OC", "C[P@](=O)(OC)N",
    "C[N@+](CC)(CCC)O",
]  # fmt: skip


@pytest.mark.parametrize("smiles", CHIRAL)
def test_stereocentres_are_those_of_rdkit_and_the_mirror_image_inverts_them_all(smiles: str) -> None:
    molecule, atoms = embedded(smiles)
    rearrangements = found_in(molecule, atoms)
    stereo = Chem.FindPotentialStereo(molecule)
    expected = {int(info.centeredOn) for info in stereo if info.type == Chem.StereoType.Atom_Tetrahedral}
    assert {centre.atom for centre in rearrangements.stereocentres} == expected
    mirrored = rearrangements.of(atoms, [frame(atoms, 5.0), frame(atoms, 10.0, atoms.positions * [1, 1, -1])])
    assert mirrored["inverted_stereocentres"] == len(expected)
    assert (mirrored["cis_trans_changes"], mirrored["new_contacts"]) == (0, 0)
    assert ("inverted at 10 fs" in str(mirrored["rearrangements"])) == bool(expected)
    # A rotation inverts nothing, and neither does thermal noise.
    noisy = atoms.positions[:, [1, 2, 0]] + np.random.default_rng(3).normal(0, 0.08, atoms.positions.shape)
    assert rearrangements.of(atoms, [frame(atoms, 10.0, noisy)]) == NONE


DOUBLE = [
    # SMILES, and the pattern of the bonds that do not turn freely
    ("C/C=C/C", "C=C"), ("C/C=C\\C", "C=C"), ("C/N=N/C", "N=N"), ("C/C=N/O", "C=N"), ("CC(=O)NC", "[CX3](=O)[NX3]"),
    ("CC(=O)Nc1ccc(O)cc1", "[CX3](=O)[NX3]"), ("CC(=S)NC", "[CX3](=S)[NX3]"), ("C=C/C=C/C", "[CH](C)=[CH]C=C"),
    ("CC(=O)N", ""), ("CC(C)=C", ""), ("CC(=O)OC", ""), ("CC#CC", ""), ("CC=C=CC", ""), ("CN=[N+]=[N-]", ""),
    ("Nc1ccccc1", ""), ("CC(=O)N(C)C", ""), ("CC#N", ""), ("COC(=O)OC", ""), ("c1ccccc1-c1ccccc1", ""), ("CN=C=O", ""),
    ("C1=CCCCC1", ""), ("CC(C)=O", ""), ("C[N+](=O)[O-]", ""), ("O=C=O", ""),
]  # fmt: skip


@pytest.mark.parametrize(("smiles", "pattern"), DOUBLE)
def test_bonds_that_do_not_turn_freely(smiles: str, pattern: str) -> None:
    molecule, atoms = embedded(smiles)
    rearrangements = found_in(molecule, atoms)
    query = Chem.MolFromSmarts(pattern) if pattern else None
    expected = set()
    for match in molecule.GetSubstructMatches(query) if query else ():
        i, j = (match[0], match[2]) if len(match) == 3 else match[:2]
        if pattern.startswith("[CH](C)"):
            i, j = match[0], match[2]
        expected.add(frozenset((i, j)))
    assert {frozenset((bond.i, bond.j)) for bond in rearrangements.double_bonds} == expected


@pytest.mark.parametrize(
    ("smiles", "words"),
    [("C/C=C/C", "trans to cis"), ("C/C=C\\C", "cis to trans"), ("CC(=O)NC", "to"), ("C/N=N/C", "trans to cis")],
)
def test_a_double_bond_that_turns_is_counted_once_it_is_past_the_barrier(smiles: str, words: str) -> None:
    molecule, atoms = embedded(smiles)
    rearrangements = found_in(molecule, atoms)
    (bond,) = rearrangements.double_bonds
    without = Chem.RWMol(molecule)
    without.RemoveBond(bond.i, bond.j)
    moved = next(list(part) for part in Chem.GetMolFrags(without) if bond.j in part)
    frames = [frame(atoms, 10.0 * step, turned(atoms, bond.i, bond.j, moved, 20.0 * step)) for step in range(10)]
    assert rearrangements.of(atoms, frames[:5])["cis_trans_changes"] == 0  # up to 80 degrees
    found = rearrangements.of(atoms, frames)
    assert found["cis_trans_changes"] == 1 and found["inverted_stereocentres"] == 0
    assert words in str(found["rearrangements"])
    assert f"bond {bond.i}-{bond.j} " in str(found["rearrangements"])


def test_a_new_contact_is_a_pair_as_near_as_a_bond_that_was_not_so_at_the_start() -> None:
    molecule, atoms = embedded("CO")
    rearrangements = found_in(molecule, atoms)
    hydroxyl, limit = 5, float(equilibrium_length_matrix(_table(molecule, atoms), atoms.numbers)[0, 5])
    positions = atoms.positions.copy()
    towards = (positions[hydroxyl] - positions[0]) / np.linalg.norm(positions[hydroxyl] - positions[0])
    frames = []
    for time, extra in ((0.0, 0.45), (10.0, 0.35), (20.0, 0.35)):
        positions = positions.copy()
        positions[hydroxyl] = positions[0] + (limit + extra) * towards
        frames.append(frame(atoms, time, positions))
    assert CONTACT_MARGIN_A == 0.4
    found = rearrangements.of(atoms, frames)
    assert found == NONE | {"new_contacts": 1, "rearrangements": f"contact 0-{hydroxyl} at 10 fs"}
    # What was as near at the start is nothing new.
    assert rearrangements.of(frames[2], frames) == NONE
    assert rearrangements.of(atoms, []) == NONE


def _table(molecule: Chem.Mol, atoms: Atoms) -> pd.DataFrame:
    ends = [sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in molecule.GetBonds()]
    return pd.DataFrame(sorted(ends), columns=["i", "j"]).assign(r_eq_A=[atoms.get_distance(*e) for e in sorted(ends)])


def test_what_belongs_to_several_molecules_is_refused() -> None:
    bonds = pd.DataFrame({"i": [0], "j": [7], "r_eq_A": [1.0], "in_ring": [False]})
    with pytest.raises(PhysEmbedError, match=r"3 atoms, .* bonds up to atom 7 do not belong together"):
        Rearrangements(bonds, np.array([8, 1, 1]), np.ones((3, 3)))
