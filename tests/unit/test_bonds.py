"""The bond table and bond lengths: against RDKit, ParmEd's own readers, and arithmetic."""

import networkx
import numpy as np
import pandas as pd
import parmed
import pytest
from rdkit import Chem

from physembed.errors import PhysEmbedError
from physembed.molecules.bonds import (
    COLUMNS,
    bond_graph,
    bond_length_statistics,
    bond_lengths,
    bond_table,
    bond_type,
    bond_types,
    equilibrium_length_matrix,
    read_bond_table,
    write_bond_table,
)

COVALENT_RADII_A = {"H": 0.31, "C": 0.76, "O": 0.66, "F": 0.57}
"""Cordero et al. 2008."""


def structure_of(molecule: Chem.Mol) -> parmed.Structure:
    """A ParmEd structure with made-up parameters that differ from bond to bond."""
    structure = parmed.Structure()
    for atom in molecule.GetAtoms():
        symbol = atom.GetSymbol()
        name = f"{symbol}{atom.GetIdx()}"
        structure.add_atom(parmed.Atom(atomic_number=atom.GetAtomicNum(), name=name, type=symbol.lower()), "MOL", 1)
    for bond in molecule.GetBonds():
        # From the higher to the lower index, as some topologies have it.
        ends = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()), reverse=True)
        parameters = parmed.BondType(300.0 + bond.GetIdx(), 1.0 + 0.01 * bond.GetIdx())
        structure.bond_types.append(parameters)
        structure.bonds.append(parmed.Bond(*(structure.atoms[end] for end in ends), parameters))
    structure.bond_types.claim()
    return structure


def molecule_of(smiles: str) -> Chem.Mol:
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


@pytest.mark.parametrize(
    "smiles",
    [
        "CCO",
        "CC(=O)Nc1ccc(O)cc1",
        "c1ccc2ccccc2c1",  # fused
        "C1CC11CC1",  # spiro
        "c1ccc(cc1)-c1ccccc1",  # two rings and a bond between them
        "C1C2CC1C2",  # bridged
        "FC(F)(Cl)CBr",
    ],
)
def test_table_agrees_with_rdkit(smiles: str) -> None:
    molecule = molecule_of(smiles)
    table = bond_table(structure_of(molecule))
    assert list(table.columns) == list(COLUMNS)
    assert (table["i"] < table["j"]).all()
    assert table[["i", "j"]].to_numpy().tolist() == sorted(table[["i", "j"]].to_numpy().tolist())
    assert len(table) == molecule.GetNumBonds()
    for row in table.itertuples():
        bond = molecule.GetBondBetweenAtoms(row.i, row.j)
        elements = [molecule.GetAtomWithIdx(atom).GetSymbol() for atom in (row.i, row.j)]
        assert [row.type_i, row.type_j] == [element.lower() for element in elements]
        assert row.in_ring == bond.IsInRing()
        assert row.terminal == bool({"H", "F", "Cl", "Br", "I"} & set(elements))
        assert row.k_kcal_mol_A2 == 300.0 + bond.GetIdx()
        assert row.r_eq_A == pytest.approx(1.0 + 0.01 * bond.GetIdx())


def test_halogen_with_several_bonds_is_not_terminal() -> None:
    table = bond_table(structure_of(molecule_of("O[Cl+3]([O-])([O-])[O-]")))
    is_chlorine = (table["type_i"] == "cl") | (table["type_j"] == "cl")
    assert is_chlorine.sum() == 4
    assert table["terminal"].tolist() == (~is_chlorine).tolist()


def test_double_bonded_oxygen_is_not_terminal() -> None:
    table = bond_table(structure_of(molecule_of("O=C(O)O")))
    oxygen = table[(table["type_i"] == "o") & (table["type_j"] == "c")]
    assert len(oxygen) == 1
    assert not oxygen["terminal"].any()


def test_types_are_those_that_decide_over_bonds(tmp_path) -> None:
    # OPLS: the second column of its atom types is the bond type.
    (tmp_path / "m.top").write_text(
        "[ defaults ]\n1 3 yes 0.5 0.5\n"
        "[ atomtypes ]\nopls_135 CT 6 12.011 -0.18 A 0.35 0.276\nopls_140 HC 1 1.008 0.06 A 0.25 0.126\n"
        "[ bondtypes ]\nCT HC 1 0.109 284512.0\n"
        "[ moleculetype ]\nMOL 3\n"
        "[ atoms ]\n1 opls_135 1 MOL C1 1 0.0 12.011\n2 opls_140 1 MOL H1 2 0.0 1.008\n"
        "[ bonds ]\n1 2 1\n"
        "[ system ]\nm\n[ molecules ]\nMOL 1\n"
    )
    table = bond_table(parmed.load_file(str(tmp_path / "m.top")))
    assert bond_types(table) == ["CT-HC"]
    assert table["k_kcal_mol_A2"].tolist() == pytest.approx([340.0])


def test_force_constant_has_ambers_sense_from_gromacs_files(tmp_path) -> None:
    # GROMACS has E = 1/2 k (r - r0)^2 in kJ/mol/nm^2: 100 kcal/mol/Å^2 in AMBER's sense are 2 * 100 * 418.4 there.
    (tmp_path / "m.top").write_text(
        "[ defaults ]\n1 2 yes 0.5 0.8333333\n"
        "[ atomtypes ]\nc3 6 12.01 0.0 A 0.34 0.45\nhc 1 1.008 0.0 A 0.26 0.07\n"
        "[ moleculetype ]\nMOL 3\n"
        "[ atoms ]\n1 c3 1 MOL C1 1 0.0 12.01\n2 hc 1 MOL H1 2 0.0 1.008\n"
        "[ bonds ]\n1 2 1 0.109 83680.0\n"
        "[ system ]\nm\n[ molecules ]\nMOL 1\n"
    )
    table = bond_table(parmed.load_file(str(tmp_path / "m.top")))
    assert table["k_kcal_mol_A2"].tolist() == pytest.approx([100.0])
    assert table["r_eq_A"].tolist() == pytest.approx([1.09])
    assert table["terminal"].tolist() == [True]


def test_bond_without_parameters_is_an_error() -> None:
    structure = structure_of(molecule_of("C"))
    structure.bonds[1].type = None
    with pytest.raises(PhysEmbedError, match=r"topology: bond C0-H2 \(atoms 0 and 2\) has the parameters None"):
        bond_table(structure)
    structure.bonds[1].type = parmed.BondType(0.0, 1.09)
    with pytest.raises(PhysEmbedError, match=r"C0-H2.*positive force constant"):
        bond_table(structure)


def test_bond_to_an_extra_point_is_an_error() -> None:
    structure = structure_of(molecule_of("C"))
    structure.atoms[2].atomic_number = 0
    with pytest.raises(PhysEmbedError, match=r"C0-H2 \(atoms 0 and 2\) has an end without an element"):
        bond_table(structure)


def test_table_survives_its_file(tmp_path) -> None:
    table = bond_table(structure_of(molecule_of("CC(=O)Nc1ccc(O)cc1")))
    table["k_kcal_mol_A2"] /= 3  # no short decimal
    write_bond_table(tmp_path / "bonds.csv", table)
    pd.testing.assert_frame_equal(read_bond_table(tmp_path / "bonds.csv"), table, check_exact=True)


@pytest.mark.parametrize("name", ["na", "nan", "NA", "null", "None", "", "n", "1"])
def test_type_names_that_look_like_missing_values_or_numbers_stay_text(tmp_path, name: str) -> None:
    table = bond_table(structure_of(molecule_of("C")))
    table["type_j"] = name
    write_bond_table(tmp_path / "bonds.csv", table)
    assert read_bond_table(tmp_path / "bonds.csv")["type_j"].tolist() == [name] * 4


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("i,j\n0,1\n", "columns missing: type_i"),
        ("i,j,type_i,type_j,k_kcal_mol_A2,r_eq_A,in_ring,terminal\n0,1,c,h,,1.1,False,True\n", "not a bond table"),
        (
            "i,j,type_i,type_j,k_kcal_mol_A2,r_eq_A,in_ring,terminal\n0,x,c,h,1,1.1,False,True\n",
            "not a bond table",
        ),
    ],
)
def test_file_that_is_no_bond_table_is_an_error(tmp_path, content: str, complaint: str) -> None:
    (tmp_path / "bonds.csv").write_text(content)
    with pytest.raises(PhysEmbedError, match=complaint) as caught:
        read_bond_table(tmp_path / "bonds.csv")
    assert "\n" not in str(caught.value)
    assert "bonds.csv" in str(caught.value)


def test_bond_type_does_not_depend_on_the_order() -> None:
    assert bond_type("c3", "c") == bond_type("c", "c3") == "c-c3"
    assert bond_type("oh", "ca") == "ca-oh"


def test_graph_is_that_of_the_molecule() -> None:
    table = bond_table(structure_of(molecule_of("C1CC11CC1")))
    graph = bond_graph(table)
    assert graph.number_of_nodes() == 13
    assert networkx.is_connected(graph)
    # Bonds - atoms + 1 = number of independent rings.
    assert graph.number_of_edges() - graph.number_of_nodes() + 1 == 2


def test_lengths_and_their_statistics() -> None:
    table = bond_table(structure_of(molecule_of("O")))
    positions = np.zeros((3, 3, 3))
    positions[:, 1, 0] = [1.0, 2.0, 3.0]
    positions[:, 2, 1] = [3.0, 4.0, 3.0]
    positions[:, 2, 2] = [4.0, 3.0, 4.0]
    assert bond_lengths(positions, table) == pytest.approx(np.array([[1, 5], [2, 5], [3, 5]]))
    statistics = bond_length_statistics(positions, table)
    assert list(statistics.columns) == ["i", "j", "types", "mean_A", "sd_A", "min_A", "max_A"]
    assert statistics["types"].tolist() == bond_types(table) == ["h-o", "h-o"]
    assert statistics[["i", "j"]].to_numpy().tolist() == [[0, 1], [0, 2]]
    assert statistics["mean_A"].tolist() == pytest.approx([2.0, 5.0])
    assert statistics["sd_A"].tolist() == pytest.approx([np.sqrt(2 / 3), 0.0])
    assert statistics["min_A"].tolist() == pytest.approx([1.0, 5.0])
    assert statistics["max_A"].tolist() == pytest.approx([3.0, 5.0])


def test_equilibrium_lengths_are_means_of_the_molecule_or_sums_of_radii() -> None:
    molecule = molecule_of("CCOF")
    table = bond_table(structure_of(molecule))
    symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
    lengths = equilibrium_length_matrix(table, [atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    assert lengths.shape == (len(symbols), len(symbols))
    assert (lengths == lengths.T).all()
    for a, first in enumerate(symbols):
        for b, second in enumerate(symbols):
            own = [
                1.0 + 0.01 * bond.GetIdx()
                for bond in molecule.GetBonds()
                if {bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol()} == {first, second}
            ]
            expected = np.mean(own) if own else COVALENT_RADII_A[first] + COVALENT_RADII_A[second]
            assert lengths[a, b] == pytest.approx(expected)
    # The loop above has met both cases.
    assert lengths[0, 1] == pytest.approx(1.0)
    assert lengths[0, 3] == pytest.approx(0.76 + 0.57)
