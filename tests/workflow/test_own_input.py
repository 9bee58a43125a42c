"""A molecule given as a structure file, as an AMBER topology and as a GROMACS topology goes through the chain."""

from __future__ import annotations

from pathlib import Path

import parmed
import pytest
from numpy.testing import assert_allclose

from physembed.molecules.bonds import read_bond_table
from tests.unit.own_topology import TYPES, write_own_topology

from .conftest import CONFIG, Checkout, copy_repository


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
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "given/m.prmtop" in line]
    assert len(lines) == 1
    assert lines[0].startswith("tests/workflow/molecules.tsv: line 3 (from_amber): topology: ")
    assert not (own.root / "results/minimal/from_amber/topology/bonds.csv").exists()


def test_included_files_are_inputs(tmp_path: Path) -> None:
    """A change of one runs the topology again, and the provenance has its hash."""
    study = copy_repository(tmp_path)
    given = study.root / "given"
    given.mkdir()
    write_own_topology(given / "m.top", types='#include "types.itp"\n')
    types = given / "types.itp"
    types.write_text(TYPES)
    table = "name\ttopology\tcoordinates\nhf\tgiven/m.top\tgiven/m.gro\n"
    (study.root / "tests/workflow/molecules.tsv").write_text(table)
    study.edit(CONFIG, "names: [methanol]", "names: all")
    target = "results/minimal/hf/topology/bonds.csv"
    done = study.snakemake("--cores", "1", target)
    assert done.returncode == 0, done.stderr
    provenance = (study.root / "results/minimal/hf/topology/provenance.json").read_text()
    assert "given/types.itp" in provenance
    assert study.planned(target) == {}
    types.write_text(types.read_text().replace("0.2552", "0.3552"))
    assert study.planned(target) == {"given_topology": 1}
