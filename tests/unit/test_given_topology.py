"""Topologies that users give: what is no single flexible molecule of the AMBER form is refused, with the reason."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import parmed
import pytest

from physembed.errors import PhysEmbedError
from physembed.molecules.checks import check_given, check_structure
from physembed.molecules.gromacs_text import included_files
from physembed.molecules.structure import from_smiles, write_sdf
from physembed.molecules.table import read_table
from physembed.molecules.topology import (
    convert_topology,
    gaff_topology,
    potential_energy,
    read_topology,
    write_topology,
)


@cache
def made(smiles: str) -> parmed.Structure:
    with TemporaryDirectory() as folder:
        write_sdf(Path(folder) / "m.sdf", from_smiles(smiles, seed=1), "m")
        return gaff_topology(Path(folder) / "m.sdf", parameter_set="gaff", charges="gasteiger")


class Given:
    """Topologies of propane-like molecules as files of a user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.top, self.gro = folder / "m.top", folder / "m.gro"
        structure = made("CF").copy(parmed.Structure)  # fluoromethane: C, F, 3 H
        structure.save(str(self.top))
        structure.save(str(self.gro))

    def edit(self, pattern: str, replacement: str, count: int = 1) -> None:
        text, changed = re.subn(pattern, replacement, self.top.read_text(), count=count, flags=re.M)
        assert changed
        self.top.write_text(text)

    def insert(self, section: str) -> None:
        """A section at the end of the molecule."""
        self.edit(r"^\[ system \]", section + "\n[ system ]")

    def refused(self, words: str) -> None:
        """The reason, when the table is read and when the stage runs."""
        table = self.folder / "molecules.tsv"
        table.write_text(f"name\ttopology\tcoordinates\nx\t{self.top}\t{self.gro}\n")
        with pytest.raises(PhysEmbedError, match=words) as error:
            read_table(table)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith(f"{table}: line 2 (x): topology: ")
        with pytest.raises(PhysEmbedError, match=words):
            self.convert()

    def convert(self) -> parmed.Structure:
        return convert_topology(self.top, self.gro, self.folder / "out.prmtop", self.folder / "out.inpcrd")


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


def test_a_sound_topology_passes_with_its_energy(given: Given) -> None:
    composition = check_given(given.top, given.gro)
    assert (sorted(composition.numbers), composition.charge, composition.electrons) == ([1, 1, 1, 6, 9], 0, 18)
    structure = given.convert()
    positions = np.asarray(structure.coordinates)
    assert potential_energy(structure, positions) == pytest.approx(potential_energy(made("CF"), positions), rel=1e-3)


# Forms and sections of GROMACS topologies


@pytest.mark.parametrize(
    ("section", "line", "words"),
    [
        ("bonds", " 1 2 3 0.138 400 20", r"\[ bonds \]: function 3 \(Morse\)"),
        ("bonds", " 1 2 6 0.138 400", r"\[ bonds \]: function 6 \(harmonic without exclusion\)"),
        ("angles", " 2 1 3 5 109.5 400 0.2 100", r"\[ angles \]: function 5 \(Urey-Bradley, CHARMM\)"),
        ("dihedrals", " 1 2 3 4 2 35 80", r"\[ dihedrals \]: function 2 \(harmonic improper, CHARMM and GROMOS\)"),
        ("pairs", " 2 3 2 0.5 0 0 0.3 0.1", r"\[ pairs \]: function 2"),
        ("constraints", " 1 3 1 0.109", r"\[ constraints \]: bonds as constraints"),
        ("settles", " 1 1 0.1 0.16", r"\[ settles \]: rigid water; .*define FLEXIBLE"),
        ("virtual_sites3", " 3 1 2 4 1 0.1 0.1", r"\[ virtual_sites3 \]: virtual sites are not supported"),
        ("dummies2", " 3 1 2 1 0.1", r"\[ dummies2 \]: virtual sites are not supported"),
        ("cmap", " 1 2 3 4 5 1", r"\[ cmap \]: CMAP terms"),
        ("dihedral_restraints", " 1 2 3 4 1 180 0 10", r"\[ dihedral_restraints \]: terms that are not supported"),
    ],
)
def test_forms_that_amber_lacks_are_named(given: Given, section: str, line: str, words: str) -> None:
    given.insert(f"[ {section} ]\n{line}\n")
    given.refused(words)


def test_what_is_not_active_or_not_used_does_not_count(given: Given) -> None:
    given.insert(
        "#ifdef POSRES\n[ constraints ]\n 1 3 1 0.109\n#include 'no_such.itp'\n#endif\n"
        "#ifndef RIGID\n#else\n[ settles ]\n 1 1 0.1 0.16\n#endif\n"
        "[ moleculetype ]\nSOL 2\n[ atoms ]\n"
        + "".join(f" {number} h1 1 SOL H 1 0 1.008\n" for number in (1, 2, 3))
        + "[ constraints ]\n 1 2 1 0.1\n 2 3 1 0.1\n"
    )
    assert len(check_given(given.top, given.gro).numbers) == 5
    given.edit("^", "#define RIGID\n")
    given.refused(r"\[ settles \]: rigid water")


def test_functions_behind_macros_are_seen(given: Given) -> None:
    given.edit("^", "#define gb_5 2 0.1380 1.1e7\n")
    given.edit(r"^(\[ bonds \]\n;.*\n +\d+ +\d+).*$", r"\1 gb_5")
    given.refused(r"\[ bonds \]: function 2 \(GROMOS, quartic\)")


def test_buckingham_is_refused(given: Given) -> None:
    given.edit(r"(\[ defaults \]\n.*\n)1 ", r"\g<1>2 ")
    given.refused(r"nonbonded function 2 \(Buckingham\)")


# One connected molecule


def test_several_molecules_are_refused(given: Given) -> None:
    given.edit(r"(#mols\nMOL +)1$", r"\g<1>3")
    given.refused(r"holds 3 molecules \(MOL 3\); a row is a single connected molecule")
    given.edit(r"(#mols\nMOL +)3$", r"\g<1>0")
    given.refused(r"holds 0 molecules \(none\)")


def test_two_molecules_under_one_name_are_refused(tmp_path: Path) -> None:
    two = made("CF") * 2
    two.coordinates = np.vstack([made("CF").coordinates, made("CF").coordinates + 8.0])
    with pytest.raises(PhysEmbedError, match=r"holds 2 molecules \(5 atoms in the first, 5 in the second\)"):
        check_structure(two, trusted={atom.type for atom in two.atoms})


def test_an_atom_bonded_to_nothing_is_refused(given: Given) -> None:
    """The bond is left out, and nothing says so."""
    given.edit(r"^( +\d+ +\d+ +1 +0\.10\d+ .*\n)", "")
    given.refused(r"atom H\d \(number \d\) is bonded to nothing, as are 1 of 5 atoms")


@pytest.mark.parametrize("ending", ["prmtop", "parm7"])
def test_amber_topologies_are_checked_alike(tmp_path: Path, ending: str) -> None:
    structure = made("CF").copy(parmed.Structure)
    files = tmp_path / f"m.{ending}", tmp_path / "m.rst7"
    last = structure.atoms[-1]
    for bond in [bond for bond in structure.bonds if last in bond]:
        bond.delete()
        structure.bonds.remove(bond)
    parmed.amber.AmberParm.from_structure(structure).write_parm(str(files[0]))
    structure.save(str(files[1]), format="rst7")
    with pytest.raises(PhysEmbedError, match="bonded to nothing, as are 1 of 5 atoms"):
        check_given(*files)


def test_rigid_water_models_are_refused(tmp_path: Path) -> None:
    """AMBER's TIP3P has a bond between the hydrogens."""
    water = made("O").copy(parmed.Structure)
    first, second = (atom for atom in water.atoms if atom.atomic_number == 1)
    water.bonds.append(parmed.Bond(first, second, parmed.BondType(553.0, 1.5136)))
    with pytest.raises(PhysEmbedError, match="are hydrogens bonded to each other, as in rigid water models"):
        check_structure(water, trusted={atom.type for atom in water.atoms})


# Elements


def masses(given: Given, *, of: str, mass: str, stated: bool) -> None:
    """Another mass for an atom type, in the table of types and in the molecule."""
    number = r"\g<2>" if stated else ""
    given.edit(rf"^({of} +)(\d+ +)[\d.]+", rf"\g<1>{number}{mass} ")
    given.edit(rf"^( +\d+ +{of} .*) [\d.]+ +;.*$", rf"\1 {mass}", count=0)


@pytest.mark.parametrize(("of", "mass"), [("f", "15.035"), ("h1", "2.014"), ("h1", "3.024"), ("c3", "13.0034")])
def test_elements_are_not_guessed_from_odd_masses(given: Given, of: str, mass: str) -> None:
    masses(given, of=of, mass=mass, stated=False)
    given.refused(f"has the mass {mass} u, which is that of no element: a united atom, an isotope")


def test_stated_elements_may_have_other_masses(given: Given) -> None:
    """Hydrogen mass repartitioning changes no sampled geometry."""
    masses(given, of="h1", mass="3.024", stated=True)
    assert sorted(check_given(given.top, given.gro).numbers) == [1, 1, 1, 6, 9]
    assert [atom.mass for atom in given.convert().atoms].count(3.024) == 3


# Coordinates


def test_coordinates_of_something_else_are_refused(given: Given) -> None:
    lines = given.gro.read_text().splitlines()
    first, last = lines[2], lines[6]
    swapped = first[:20] + last[20:], last[:20] + first[20:]
    given.gro.write_text("\n".join([*lines[:2], swapped[0], *lines[3:6], swapped[1], lines[7]]) + "\n")
    given.refused("are bonded .* Å apart in the coordinates; these are of another molecule or order of atoms")
    hydrogen = f"{last[:20]}{float(last[20:28]) + 3:8.3f}{last[28:]}"
    given.gro.write_text("\n".join([*lines[:6], hydrogen, lines[7]]) + "\n")
    given.refused("but 2.* Å apart .* cut at the wall of a box")


def test_atoms_that_touch_without_a_bond_are_refused() -> None:
    """The bond that closes the ring of cyclopropane is left out; the molecule is still connected."""
    ring = made("C1CC1").copy(parmed.Structure)
    carbons = [bond for bond in ring.bonds if {bond.atom1.atomic_number, bond.atom2.atomic_number} == {6}]
    carbons[0].delete()
    ring.bonds.remove(carbons[0])
    with pytest.raises(PhysEmbedError, match=r"are 1\.5.* Å apart in the coordinates, but not bonded"):
        check_structure(ring, trusted={atom.type for atom in ring.atoms})


def test_charges_that_add_up_to_no_integer_are_refused() -> None:
    structure = made("CF").copy(parmed.Structure)
    structure.atoms[0].charge += 0.4
    with pytest.raises(PhysEmbedError, match=r"partial charges add up to 0\.400"):
        check_structure(structure, trusted={atom.type for atom in structure.atoms})


# Terms that are lost in the conversion


def test_energies_after_the_conversion_are_compared(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that loses the angles is noticed."""

    def lossy(structure: parmed.Structure, prmtop: Path, inpcrd: Path) -> None:
        del structure.angles[:]
        write_topology(structure, prmtop, inpcrd)

    monkeypatch.setattr("physembed.molecules.topology.write_topology", lossy)
    with pytest.raises(PhysEmbedError, match="its energies differ from those of the same molecule in AMBER's format"):
        given.convert()


def test_exclusions_that_amber_lacks_are_refused(given: Given) -> None:
    """ParmEd passes over both, and gives the energies of an ordinary butane."""
    structure = made("CCCC").copy(parmed.Structure)
    structure.save(str(given.top), overwrite=True)
    structure.save(str(given.gro), overwrite=True)
    text = given.top.read_text()
    given.insert("[ exclusions ]\n 5 1 2 3\n")
    check_given(given.top, given.gro)
    given.insert("[ exclusions ]\n 5 1 12\n")
    given.refused(r"\[ exclusions \]: atoms 5 and 12 are 5 bonds apart")
    given.top.write_text(text)
    given.edit(r"^(MOL +)3$", r"\g<1>2")
    given.refused(r"MOL: nrexcl 2: only 3 is supported")


# Included files


def test_included_files_are_found_recursively(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "m.top").write_text(
        '#define HEAVY\n#include "types.itp"\n#include "parts/molecule.itp"\n'
        '#ifdef LIGHT\n#include "light.itp"\n#else\n#ifdef HEAVY\n#include <heavy.itp>\n#endif\n#endif\n'
    )
    for name, text in (
        ("types.itp", "; no [ sections ] here\n"), ("parts/molecule.itp", '#include "posre.itp"\n'),
        ("parts/posre.itp", '#include "types.itp"\n'), ("heavy.itp", "[ system ]\nx\n"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
    names = [path.relative_to(tmp_path).as_posix() for path in included_files(tmp_path / "m.top")]
    assert names == ["types.itp", "parts/molecule.itp", "parts/posre.itp", "heavy.itp"]
    (tmp_path / "parts/posre.itp").write_text('#include "gone.itp"\n')
    with pytest.raises(PhysEmbedError, match=r"parts/posre\.itp: line 1: #include 'gone.itp': there is no such file"):
        included_files(tmp_path / "m.top")
    (tmp_path / "parts/posre.itp").write_text('#include "molecule.itp"\n')
    with pytest.raises(PhysEmbedError, match="includes itself"):
        included_files(tmp_path / "m.top")


def test_a_topology_with_its_molecule_in_an_included_file_is_read(given: Given) -> None:
    text = given.top.read_text()
    start, end = text.index("[ moleculetype ]"), text.index("[ system ]")
    (given.folder / "molecule.itp").write_text(text[start:end])
    given.top.write_text(text[:start] + '#include "molecule.itp"\n' + text[end:])
    assert included_files(given.top) == [given.folder / "molecule.itp"]
    assert read_topology(given.top, given.gro).bonds
    assert len(check_given(given.top, given.gro).bonds) == 4
    # The check sees a change of the included file.
    (given.folder / "molecule.itp").write_text(text[start:end] + "[ constraints ]\n 1 3 1 0.109\n")
    with pytest.raises(PhysEmbedError, match=r"molecule.itp: line \d+: \[ constraints \]"):
        check_given(given.top, given.gro)
