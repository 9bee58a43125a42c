"""The table of molecules: what is refused and how, and which rows are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolDescriptors

from physembed import stages
from physembed.errors import PhysEmbedError
from physembed.molecules.table import COLUMNS, MoleculeSpec, read_table
from physembed.molecules.topology import convert_topology
from physembed.study import load_study
from tests.unit.own_topology import write_own_topology

ROOT = Path(__file__).parents[2]
HEADER = "\t".join(COLUMNS)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate working directory, with the files named by rows of the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("own.prmtop", "own.inpcrd", "own.top", "own.gro", "own.pdb", "empty.sdf", "notes.txt"):
        Path(name).write_text("")
    Path("broken.sdf").write_text("not a structure\n")
    Path("binary.sdf").write_bytes(b"\xff\xfe\x00\x01")
    Path("folder.sdf").mkdir()
    ethanol = Chem.MolFromSmiles("CCO")
    AllChem.Compute2DCoords(ethanol)
    write("flat.sdf", ethanol)
    write("methanol.sdf", embedded("CO"))
    write("no_hydrogens.sdf", Chem.RemoveHs(embedded("CO")))
    write("pair.sdf", embedded("C.C"))
    write("radical.mol", embedded("C[CH2]"))
    write("deuterium.sdf", embedded("[2H]OC"))
    ammonium = Path("no_charge.sdf")
    write("no_charge.sdf", embedded("C[NH3+]"))
    ammonium.write_text("".join(line for line in ammonium.open() if not line.startswith("M  CHG")))
    Path("two.sdf").write_text(Path("methanol.sdf").read_text() * 2)
    return tmp_path


def embedded(smiles: str) -> Chem.Mol:
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(molecule, randomSeed=1)
    return molecule


def write(path: str, molecule: Chem.Mol) -> None:
    Path(path).write_text(Chem.MolToMolBlock(molecule) + "$$$$\n")


def table(*rows: str, header: str = HEADER) -> Path:
    path = Path("table.tsv")
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def refusal(path: Path, names: list[str] | None = None) -> str:
    """The message with which a table is refused, after the checks common to all messages."""
    before = sorted(Path().iterdir())
    with pytest.raises(PhysEmbedError) as raised:
        read_table(path, names or "all")
    assert sorted(Path().iterdir()) == before
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


# A row, and the column, the value and the advice of its message.
BAD_ROWS = [
    # SMILES and what the chain cannot treat
    ("x\tC1CC", "smiles", "'C1CC'", "not a SMILES that RDKit can read: unclosed ring"),
    ("x\tCC(", "smiles", "'CC('", "RDKit can read: syntax error, check for mistakes around position 3"),
    ("x\tC(C)(C)(C)(C)C", "smiles", "'C(C)(C)(C)(C)C'", "valence"),
    ("x\tc1cccc1", "smiles", "'c1cccc1'", "kekulize"),
    ("x\tCCO ethanol", "smiles", "'CCO ethanol'", "no blanks"),
    ("x\tC[Si](C)(C)C", "smiles", "'C[Si](C)(C)C'", "GAFF has no parameters for 'Si'"),
    ("x\tCB(O)O", "smiles", "'CB(O)O'", "GAFF has no parameters for 'B'"),
    ("x\tCC*", "smiles", "'CC*'", "GAFF has no parameters for '*'"),
    ("x\t[Na+].CC(=O)[O-]", "smiles", "'[Na+].CC(=O)[O-]'", "holds 2 molecules"),
    ("x\tC[CH2]", "smiles", "'C[CH2]'", "odd number of electrons (17)"),
    ("x\t[O][O]", "smiles", "'[O][O]'", "2 unpaired electrons"),
    ("x\t[Cl-]", "smiles", "'[Cl-]'", "single atom"),
    # structure files
    ("x\t\tmissing.sdf", "structure", "'missing.sdf'", "no such file"),
    ("x\t\tnotes.txt", "structure", "'notes.txt'", "must end in .sdf or .mol"),
    ("x\t\tfolder.sdf", "structure", "'folder.sdf'", "is not a file"),
    ("x\t\tbroken.sdf", "structure", "'broken.sdf'", "holds no molecule"),
    ("x\t\tempty.sdf", "structure", "'empty.sdf'", "holds no molecule"),
    ("x\t\tno_charge.sdf", "structure", "'no_charge.sdf'", "N, 4, is greater than permitted; is a formal charge"),
    ("x\t\tdeuterium.sdf", "structure", "'deuterium.sdf'", "holds the isotope 2H"),
    # spins and isotopes
    ("x\t[2H]OC", "smiles", "'[2H]OC'", "holds the isotope 2H: all runs have the masses of the natural elements"),
    ("x\tO=O", "smiles", "'O=O'", "triplet as its ground state; give the row a multiplicity (3, or 1"),
    ("x\tS=O", "smiles", "'S=O'", "triplet as its ground state"),
    ("x\t[N]=O", "smiles", "'[N]=O'", "odd number of electrons (15); give the row a multiplicity (2 for"),
    ("x\tO=[N+][O-]", "smiles", "'O=[N+][O-]'", "odd number of electrons (23)"),
    ("x\tO=O\t\t\t\t\t2", "smiles", "'O=O'", "multiplicity 2: 16 electrons allow 1, 3 and so on"),
    ("x\t[N]=O\t\t\t\t\t1", "smiles", "'[N]=O'", "multiplicity 1: 15 electrons allow 2, 4 and so on"),
    ("x\tCO\t\t\t\t\ttwo", "multiplicity", "'two'", "must be a whole number"),
    ("x\t\tbinary.sdf", "structure", "'binary.sdf'", "cannot be read as text"),
    ("x\t\tflat.sdf", "structure", "'flat.sdf'", "no 3D coordinates"),
    ("x\t\tno_hydrogens.sdf", "structure", "'no_hydrogens.sdf'", "lacks 4 hydrogens"),
    ("x\t\tpair.sdf", "structure", "'pair.sdf'", "holds 2 molecules"),
    ("x\t\ttwo.sdf", "structure", "'two.sdf'", "more than one molecule"),
    ("x\t\tradical.mol", "structure", "'radical.mol'", "odd number of electrons (17)"),
    # topologies
    ("x\t\t\tmissing.prmtop\town.inpcrd", "topology", "'missing.prmtop'", "no such file"),
    ("x\t\t\town.prmtop\tmissing.rst7", "coordinates", "'missing.rst7'", "no such file"),
    ("x\t\t\town.prmtop\town.gro", "coordinates", "'own.gro'", "must end in .inpcrd or .rst7"),
    ("x\t\t\town.top\town.inpcrd", "coordinates", "'own.inpcrd'", "must end in .gro"),
    ("x\t\t\town.pdb\town.gro", "topology", "'own.pdb'", "must end in .prmtop"),
    ("x\t\t\town.top", "topology", "'own.top'", "column 'coordinates' as well"),
    ("x\t\t\t\town.gro", "coordinates", "'own.gro'", "column 'topology' as well"),
    # one source
    ("x", "name", "'x'", "gives none of them"),
    ("x\tCO\tmethanol.sdf", "name", "'x'", "gives smiles and structure"),
    ("x\tCO\t\town.top\town.gro", "name", "'x'", "gives smiles and topology and coordinates"),
    # names
    ("Methanol\tCCO", "name", "'Methanol'", "is listed twice"),
    ("a/b\tCO", "name", "'a/b'", "must be a valid folder name"),
    ("..\tCO", "name", "'..'", "must be a valid folder name"),
    ("\tCO", "name", "''", "must be a valid folder name"),
    ("x" * 65 + "\tCO", "name", f"'{'x' * 65}'", "up to 64 letters"),
    ("ethanol  CCO", "name", "'ethanol  CCO'", "separated by single tabs"),
    ("Figures\tCO", "name", "'Figures'", "choose another"),
    ("restart\tCO", "name", "'restart'", "choose another"),
]


@pytest.mark.parametrize(("row", "column", "value", "advice"), BAD_ROWS, ids=[case[0] for case in BAD_ROWS])
def test_row_refused(row: str, column: str, value: str, advice: str, capfd: pytest.CaptureFixture[str]) -> None:
    message = refusal(table("# a comment", "methanol\tCO", "", row))
    place = "line 5: name" if column == "name" else f"line 5 (x): {column}"
    assert message.startswith(f"table.tsv: {place}: {value}: ")
    assert advice in message
    # RDKit's own output would distract from the message.
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("header", "value", "advice"),
    [
        ("name\tsmile", "'smile'", "did you mean 'smiles'?"),
        ("name smiles", "'name smiles'", "separated by single tabs"),
        ("name\tname", "'name'", "is listed twice"),
        ("smiles\tcomment", "'name'", "name, smiles, structure"),
    ],
)
def test_header_refused(header: str, value: str, advice: str) -> None:
    message = refusal(table("methanol\tCO", header=header))
    assert message.startswith("table.tsv: line 1: ")
    assert value in message
    assert advice in message


def test_cell_too_many_is_refused() -> None:
    message = refusal(table("methanol\tCO\textra", header="name\tsmiles"))
    assert message.startswith("table.tsv: line 2: 'extra': one cell too many")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("missing.tsv", "no such file"),
        ("folder.sdf", "cannot be read"),
        ("binary.sdf", "cannot be read"),
        ("empty.sdf", "holds no molecules"),
    ],
)
def test_table_file_refused(name: str, advice: str) -> None:
    message = refusal(Path(name))
    assert message.startswith(f"config: molecules.table: '{name}': ")
    assert advice in message


def test_unknown_molecule_is_refused_with_the_nearest_name() -> None:
    path = table("methanol\tCO", "phenol\tOc1ccccc1")
    expected = "config: molecules.names: 'methanl': no such molecule in table.tsv; did you mean 'methanol'?"
    assert refusal(path, ["phenol", "methanl"]) == expected
    assert refusal(path, ["xyz"]).endswith("known: methanol, phenol")


def test_load_study_reads_the_table_that_the_configuration_names() -> None:
    with pytest.raises(PhysEmbedError, match=r"^config: molecules.table: 'none.tsv': no such file"):
        load_study({"molecules": {"table": "none.tsv"}})
    study = load_study({"molecules": {"table": str(table("a\tCO", "b\tCCO")), "names": ["b"]}})
    assert study.molecules == [MoleculeSpec("b", smiles="CCO")]
    assert study.config.molecules.names == ["b"]


def test_every_kind_of_source_is_read() -> None:
    write_own_topology(Path("own.top"))
    convert_topology("own.top", "own.gro", "own.prmtop", "own.inpcrd")
    path = table(
        "smiles\tC#N\t\t\t\tcyanide",
        "#gone\tCO",
        "ion\tC[NH3+]",
        "zwitterion\t[NH3+]CC(=O)[O-]",
        "nitro\tC[N+](=O)[O-]",
        "halogens\tFC(Cl)(Br)I",
        "file\t\tmethanol.sdf",
        "amber\t\t\town.prmtop\town.inpcrd",
        "gromacs\t\t\town.top\town.gro\tOPLS",
    )
    specs = {spec.name: spec for spec in read_table(path)}
    assert list(specs) == ["smiles", "ion", "zwitterion", "nitro", "halogens", "file", "amber", "gromacs"]
    assert specs["smiles"] == MoleculeSpec("smiles", smiles="C#N", comment="cyanide")
    assert specs["file"] == MoleculeSpec("file", structure="methanol.sdf")
    assert specs["gromacs"] == MoleculeSpec("gromacs", topology="own.top", coordinates="own.gro", comment="OPLS")


def test_multiplicity_is_read_and_reaches_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    path = table("oxygen\tO=O\t\t\t\t\t3", "oxide\t[N]=O\t\t\t\tradical\t2", "excited\tO=O\t\t\t\t\t1", "plain\tCO")
    assert [spec.multiplicity for spec in read_table(path)] == [3, 2, 1, None]
    config = {"molecules": {"table": str(path)}, "topology": {"charges": "gasteiger"}}
    study = load_study(config)
    for name, multiplicity in (("oxygen", 3), ("oxide", 2), ("excited", 1), ("plain", None)):
        assert stages.labels(study, name)["multiplicity"] == multiplicity
        assert stages.gaff_topology(study, name)["multiplicity"] == multiplicity
    with pytest.raises(PhysEmbedError, match=r"'bcc': AM1-BCC charges are for closed shells, but oxygen"):
        load_study(config | {"topology": {"charges": "bcc"}})


def test_spins_of_own_topologies_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydrogen fluoride less an electron is a radical."""
    write_own_topology(Path("own.top"))
    Path("own.top").write_text(Path("own.top").read_text().replace("-0.4", " 0.6"))
    rows = ["ion\t\t\town.top\town.gro\t"]
    assert "(ion): topology: 'own.top': has an odd number of electrons (9)" in refusal(table(*rows))
    assert read_table(table(f"{rows[0]}\t2"))[0].multiplicity == 2


def test_names_choose_rows_and_their_order() -> None:
    path = table("a\tCO", "broken\tC1CC", "b\tCCO")
    assert [spec.name for spec in read_table(path, ["b", "a"])] == ["b", "a"]


def test_files_of_a_spreadsheet_are_read() -> None:
    """A byte-order mark, line ends of Windows, and columns in another order."""
    Path("table.tsv").write_bytes("\ufeffsmiles\tname\r\nCO\tmethanol\r\n".encode())
    assert read_table("table.tsv") == [MoleculeSpec("methanol", smiles="CO")]


def test_our_table_holds_the_molecules_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = {}
    for spec in read_table("config/molecules.tsv"):
        molecule = Chem.AddHs(Chem.MolFromSmiles(spec.smiles))
        found[spec.name] = (rdMolDescriptors.CalcMolFormula(molecule), molecule.GetNumAtoms())
    assert found == {
        "Novec7000": ("C4H3F7O", 15),
        "Ac-Ala3-NHMe": ("C12H22N4O4", 42),
        "Ac-Ala-NHMe": ("C6H12N2O2", 22),
        "paracetamol": ("C8H9NO2", 20),
    }
