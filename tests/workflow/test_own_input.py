"""A molecule given as a structure file, as an AMBER topology and as a GROMACS topology goes through the chain."""

from __future__ import annotations

import parmed
import pytest
from numpy.testing import assert_allclose

from physembed.molecules.bonds import read_bond_table

from .conftest import CONFIG, Checkout


@pytest.fixture
def own(copy_of_finished: Checkout) -> Checkout:
    made = copy_of_finished.root / "results/minimal/methanol"
    given = copy_of_finished.root / "given"
    given.mkdir()
    (given / "m.sdf").write_bytes((made / "molecule/molecule.sdf").read_bytes())
    structure = parmed.load_file(str(made / "topology/topology.prmtop"), xyz=str(made / "topology/topology.inpcrd"))
    structure.save(str(given / "m.prmtop"))
    structure.save(str(given / "m.inpcrd"), format="rst7")
    structure.save(str(given / "m.top"))
    structure.save(str(given / "m.gro"))
    rows = [
        "name\tsmiles\tstructure\ttopology\tcoordinates\tcomment",
        "from_sdf\t\tgiven/m.sdf\t\t\t",
        "from_amber\t\t\tgiven/m.prmtop\tgiven/m.inpcrd\t",
        "from_gromacs\t\t\tgiven/m.top\tgiven/m.gro\t",
    ]
    (copy_of_finished.root / "tests/workflow/molecules.tsv").write_text("\n".join(rows) + "\n")
    copy_of_finished.edit(CONFIG, "names: [methanol]", "names: all")
    return copy_of_finished


def test_own_input_gives_the_same_bonds_and_frames(own: Checkout) -> None:
    names = ("from_sdf", "from_amber", "from_gromacs")
    done = own.snakemake("--cores", "2", *(f"results/minimal/{name}/bond_sampling/adaptive.xyz" for name in names))
    assert done.returncode == 0, done.stderr
    expected = read_bond_table(own.root / "results/minimal/methanol/topology/bonds.csv")
    for name in names:
        bonds = read_bond_table(own.root / f"results/minimal/{name}/topology/bonds.csv")
        texts = ["i", "j", "type_i", "type_j", "in_ring", "terminal"]
        assert bonds[texts].equals(expected[texts]), name
        assert_allclose(bonds[["k_kcal_mol_A2", "r_eq_A"]], expected[["k_kcal_mol_A2", "r_eq_A"]], rtol=1e-3)


def test_unreadable_topology_is_one_line(own: Checkout) -> None:
    (own.root / "given/m.prmtop").write_text("not a topology\n")
    done = own.snakemake("--cores", "1", "results/minimal/from_amber/topology/bonds.csv")
    assert done.returncode != 0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("given_topology: ")]
    assert len(lines) == 1
    assert "given/m.prmtop" in lines[0]
    assert not (own.root / "results/minimal/from_amber/topology/bonds.csv").exists()
