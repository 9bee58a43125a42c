"""Structures, GAFF topologies and the MD with them: published parameters, energies in OpenMM, exact restarts."""

import re
import time

import ase.io
import numpy as np
import openmm
import pandas as pd
import parmed
import pytest
from openmm import app, unit
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from physembed.config import Frames, GaffMD
from physembed.errors import PhysEmbedError
from physembed.molecules import structure
from physembed.molecules.bonds import bond_table
from physembed.molecules.gaff_md import GaffRun
from physembed.molecules.reading import load_topology
from physembed.molecules.structure import chosen_isomer, from_file, from_smiles, write_sdf
from physembed.molecules.topology import gaff_topology, total_charge, warn_of_guesses, write_topology
from physembed.sampling.frames import select_frames
from physembed.trajectory import write_trajectory

PARACETAMOL = "CC(=O)Nc1ccc(O)cc1"
ALANINE = "CC(=O)N[C@@H](C)C(=O)NC"


def topology(folder, smiles, **kwargs):
    write_sdf(folder / "molecule.sdf", from_smiles(smiles, seed=1), "molecule")
    return gaff_topology(folder / "molecule.sdf", **{"parameter_set": "gaff", "charges": "gasteiger"} | kwargs)


@pytest.fixture(scope="module")
def paracetamol(tmp_path_factory):
    return topology(tmp_path_factory.mktemp("paracetamol"), PARACETAMOL)


@pytest.fixture(scope="module")
def methanol(tmp_path_factory):
    return topology(tmp_path_factory.mktemp("methanol"), "CO")


def energy(structure, positions=None):
    """Potential energy in OpenMM, kJ/mol, without a cutoff."""
    system = structure.createSystem(nonbondedMethod=app.NoCutoff)
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(structure.positions if positions is None else positions)
    return context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


def test_smiles_gives_the_same_structure_each_time():
    first, again, other = (from_smiles(ALANINE, seed) for seed in (5, 5, 500))
    assert Chem.MolToMolBlock(first) == Chem.MolToMolBlock(again)
    assert Chem.MolToMolBlock(first) != Chem.MolToMolBlock(other)
    assert first.GetNumConformers() == 1


@pytest.mark.parametrize(
    "smiles, formula",
    [("CO", "CH4O"), (PARACETAMOL, "C8H9NO2"), ("CC(=O)[O-]", "C2H3O2-"), ("C[NH3+]", "CH6N+")],
)
def test_structure_has_all_hydrogens(smiles, formula):
    from rdkit.Chem.rdMolDescriptors import CalcMolFormula

    molecule = from_smiles(smiles, seed=1)
    assert CalcMolFormula(molecule) == formula
    assert all(atom.GetNumExplicitHs() + atom.GetNumImplicitHs() == 0 for atom in molecule.GetAtoms())


@pytest.mark.parametrize("smiles", [ALANINE, ALANINE.replace("@@", "@"), "C/C=C/C", "C/C=C\\C"])
def test_stereo_of_the_smiles_is_that_of_the_coordinates(tmp_path, smiles):
    write_sdf(tmp_path / "molecule.sdf", from_smiles(smiles, seed=2), "molecule")
    molecule = from_file(tmp_path / "molecule.sdf")
    Chem.AssignStereochemistryFrom3D(molecule)  # from the coordinates alone
    assert Chem.MolToSmiles(Chem.RemoveHs(molecule)) == Chem.CanonSmiles(smiles)


def test_structure_is_the_most_stable_conformer():
    """Butane is anti, at a dihedral of 180 degrees; gauche lies at 65."""
    conformer = from_smiles("CCCC", seed=1).GetConformer()
    assert abs(rdMolTransforms.GetDihedralDeg(conformer, 0, 1, 2, 3)) == pytest.approx(180, abs=3)
    assert rdMolTransforms.GetBondLength(conformer, 1, 2) == pytest.approx(1.53, abs=0.03)


@pytest.mark.parametrize("smiles", ["not a smiles", "C(C", "c1ccc1C(C)(C)(C)C"])
def test_unreadable_smiles(smiles):
    with pytest.raises(PhysEmbedError, match=re.escape(repr(smiles))):
        from_smiles(smiles, seed=1)


def test_unreadable_structure_file(tmp_path):
    (tmp_path / "junk.sdf").write_text("hello\nworld\n")
    with pytest.raises(PhysEmbedError, match=r"junk\.sdf: holds no molecule"):
        from_file(tmp_path / "junk.sdf")


def test_gaff_parameters_of_paracetamol(paracetamol):
    """Types, force constants (kcal/mol/Å^2) and lengths of GAFF 1.81's gaff.dat."""
    table = bond_table(paracetamol)
    assert len(table) == 20
    found = {"-".join(sorted((row.type_i, row.type_j))): (row.k_kcal_mol_A2, row.r_eq_A) for row in table.itertuples()}
    expected = {
        "ca-oh": (384.0, 1.3637), "c-o": (637.7, 1.2183), "c3-hc": (330.6, 1.0969), "ho-oh": (371.4, 0.9730),
        "c-c3": (313.0, 1.5241), "c-n": (427.6, 1.3789), "ca-ca": (461.1, 1.3984),
    }  # fmt: skip
    for types, values in expected.items():
        assert found[types] == pytest.approx(values, abs=1e-3), types
    assert table.in_ring.sum() == 6
    assert table.terminal.sum() == 9
    assert [atom.atomic_number for atom in paracetamol.atoms] == [
        atom.GetAtomicNum() for atom in from_smiles(PARACETAMOL, seed=1).GetAtoms()
    ]
    assert total_charge(paracetamol) == 0


def test_parameter_sets_differ(tmp_path, methanol):
    second = bond_table(topology(tmp_path, "CO", parameter_set="gaff2"))
    assert (second.k_kcal_mol_A2 - bond_table(methanol).k_kcal_mol_A2).abs().max() > 5


@pytest.mark.parametrize("charges", ["gasteiger", "bcc"])
@pytest.mark.parametrize("smiles, charge", [("CC(=O)[O-]", -1), ("C[NH3+]", 1), ("C[NH2+]CC(=O)[O-]", 0)])
def test_formal_charge_is_kept(tmp_path, smiles, charge, charges):
    structure = topology(tmp_path, smiles, charges=charges)
    assert total_charge(structure) == charge
    assert sum(atom.charge for atom in structure.atoms) == pytest.approx(charge, abs=2e-3)


def test_am1_bcc_charges(tmp_path):
    """Jakalian, Jack, Bayly, J. Comput. Chem. 2002, 23, 1623: the hydroxyl of methanol is -0.60 and +0.40."""
    charges = [atom.charge for atom in topology(tmp_path, "CO", charges="bcc").atoms]
    assert charges[1] == pytest.approx(-0.60, abs=0.02)
    assert charges[5] == pytest.approx(0.40, abs=0.02)
    assert sum(charges) == pytest.approx(0, abs=1e-5)


def test_charges_that_are_no_integer_are_refused(methanol):
    structure = methanol.copy(parmed.amber.AmberParm)
    structure.atoms[0].charge += 0.3
    with pytest.raises(PhysEmbedError, match=r"add up to 0\.300"):
        total_charge(structure)


def test_guessed_parameters_are_named(tmp_path, caplog):
    (tmp_path / "extra.frcmod").write_text("BOND\nc3-xx  300.0  1.500   ATTN, need revision\nc3-c3  300.9  1.538\n")
    warn_of_guesses(tmp_path / "extra.frcmod")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "c3-xx" in caplog.text and "c3-c3" not in caplog.text


def test_amber_round_trip(tmp_path, paracetamol):
    write_topology(paracetamol, tmp_path / "a.prmtop", tmp_path / "a.inpcrd")
    read = load_topology(tmp_path / "a.prmtop", tmp_path / "a.inpcrd")
    pd.testing.assert_frame_equal(bond_table(read), bond_table(paracetamol))
    np.testing.assert_allclose(read.coordinates, paracetamol.coordinates, atol=1e-6)
    assert energy(read) == pytest.approx(energy(paracetamol), rel=1e-6)
    assert read.box is None


def as_gromacs(structure, folder, opls=False):
    """Write a topology as GROMACS files; with `opls` under the mixing and 1-4 rules of OPLS, with its torsions."""
    top, gro = folder / "molecule.top", folder / "molecule.gro"
    structure.save(str(top))
    structure.save(str(gro))
    if opls:
        text, replaced = re.subn(r"(\[ defaults \]\n.*\n)1 +2 .*", r"\g<1>1  3  yes  0.5  0.5", top.read_text())
        # A cosine of period 3, given as a Ryckaert-Bellemans torsion.
        text, turned = re.subn(r"^((?: +\d+){4}) +[19] .* 3 *$", r"\1 3 0.65 1.96 0 -2.61 0 0", text, flags=re.M)
        assert replaced == 1 and turned > 0
        top.write_text(text)
    return top, gro


@pytest.mark.parametrize("opls", [False, True], ids=["amber", "opls"])
def test_gromacs_topology_becomes_amber_files(tmp_path, paracetamol, opls):
    top, gro = as_gromacs(paracetamol, tmp_path, opls)
    given = load_topology(top, gro)
    pd.testing.assert_frame_equal(bond_table(given), bond_table(paracetamol), rtol=1e-4)
    positions = paracetamol.positions
    if opls:
        assert given.combining_rule == "geometric" and len(given.rb_torsions) > 0
    else:
        assert energy(given, positions) == pytest.approx(energy(paracetamol), rel=1e-4)
    expected, bonds = energy(given, positions), bond_table(given)
    write_topology(given, tmp_path / "a.prmtop", tmp_path / "a.inpcrd")
    read = load_topology(tmp_path / "a.prmtop", tmp_path / "a.inpcrd")
    pd.testing.assert_frame_equal(bond_table(read), bonds, rtol=1e-6)
    assert energy(read, positions) == pytest.approx(expected, rel=1e-4)
    assert total_charge(read) == 0
    assert read.box is None  # GROMACS files carry one


def unreadable(folder):
    """Pairs of files that are no topology with coordinates."""
    for name in ("junk.prmtop", "junk.top", "junk.gro"):
        (folder / name).write_text("hello\nworld\n")
    (folder / "include.top").write_text('#include "lacking.itp"\n[ system ]\nx\n[ molecules ]\nMOL 1\n')
    return [("junk.prmtop", "a.inpcrd"), ("junk.top", "a.inpcrd"), ("a.prmtop", "junk.gro"),
            ("include.top", "a.inpcrd"), ("a.inpcrd", "a.prmtop"), ("lacking.top", "lacking.gro"),
            ("half.prmtop", "a.inpcrd"), ("a.prmtop", "other.inpcrd")]  # fmt: skip


def test_unreadable_topologies(tmp_path, methanol, paracetamol):
    write_topology(methanol, tmp_path / "a.prmtop", tmp_path / "a.inpcrd")
    write_topology(paracetamol, tmp_path / "other.prmtop", tmp_path / "other.inpcrd")
    text = (tmp_path / "a.prmtop").read_text()
    (tmp_path / "half.prmtop").write_text(text[: len(text) // 2])
    for files in unreadable(tmp_path):
        with pytest.raises(PhysEmbedError) as failure:
            load_topology(*(tmp_path / name for name in files))
        assert "\n" not in str(failure.value)
        assert str(tmp_path / files[0]) in str(failure.value)


def test_bond_without_parameters_is_refused(tmp_path, methanol):
    top, gro = as_gromacs(methanol, tmp_path)
    text, changed = re.subn(r"^( +1 +2 +1) +0\.14233 .*$", r"\1", top.read_text(), flags=re.M)
    assert changed == 1
    top.write_text(text)
    with pytest.raises(PhysEmbedError, match="Not all bond parameters found"):
        load_topology(top, gro)


def test_terms_that_amber_lacks_are_refused(tmp_path, methanol):
    structure = methanol.copy(parmed.Structure)
    atoms = structure.atoms
    structure.urey_bradleys.append(parmed.UreyBradley(atoms[0], atoms[5], parmed.BondType(10.0, 2.0)))
    with pytest.raises(PhysEmbedError, match="cannot be written in AMBER's format"):
        write_topology(structure, tmp_path / "a.prmtop", tmp_path / "a.inpcrd")
    assert list(tmp_path.iterdir()) == []


MD = GaffMD(equilibration_ps=0.1, duration_ps=2.01, timestep_fs=0.5, frame_interval_steps=20, friction_per_ps=5)


def same(frames, others):
    return len(frames) == len(others) and all(
        np.array_equal(frame.positions, other.positions) and frame.info == other.info
        for frame, other in zip(frames, others, strict=True)
    )


def test_gaff_run(tmp_path, methanol):
    frames = GaffRun(methanol, MD, seed=3, restart=tmp_path / "a").run()
    assert len(frames) == 201
    assert [frame.info["step"] for frame in frames] == list(range(220, 4221, 20))
    assert frames[-1].info["time_fs"] == 2110
    # What comes before the first frame is the same run, unrecorded.
    whole = MD.model_copy(update={"equilibration_ps": 0.0, "duration_ps": 2.11})
    assert same(frames, GaffRun(methanol, whole, seed=3, restart=tmp_path / "whole").run()[10:])
    for frame in frames[::50]:
        # parmed: kcal/mol and Å
        energy_eV = energy(methanol, frame.positions * unit.angstrom) * 0.0103642697
        assert frame.info["potential_energy_eV"] == pytest.approx(energy_eV, rel=1e-6)
    assert same(frames, GaffRun(methanol, MD, seed=3, restart=tmp_path / "b").run())
    assert not same(frames, GaffRun(methanol, MD, seed=4, restart=tmp_path / "c").run())
    write_trajectory(tmp_path / "trajectory.xyz", frames)
    read = ase.io.read(tmp_path / "trajectory.xyz", ":")
    np.testing.assert_allclose([f.positions for f in read], [f.positions for f in frames], atol=1e-7)
    assert read[7].info == pytest.approx(frames[7].info)


def test_temperature_of_the_gaff_run(tmp_path, methanol):
    """Equipartition over the 15 degrees of freedom of six atoms without their common motion."""
    settings = MD.model_copy(update={"duration_ps": 40.0, "friction_per_ps": 20.0})
    temperatures = [f.info["temperature_K"] for f in GaffRun(methanol, settings, seed=2, restart=tmp_path).run()]
    after = np.array(temperatures[200:])
    assert after.mean() == pytest.approx(300, rel=0.04)
    # A canonical run: the variance of the kinetic energy is that of its Gamma distribution, 2 T^2 / 15.
    assert after.std() == pytest.approx(300 * np.sqrt(2 / 15), rel=0.08)


@pytest.mark.parametrize("frame", [0, 9, 10, 11, 137, 200])
def test_a_killed_gaff_run_goes_on_bit_for_bit(tmp_path, monkeypatch, methanol, frame):
    undisturbed = GaffRun(methanol, MD, seed=3, restart=tmp_path / "undisturbed").run()
    take = GaffRun._frame

    def dies(self):
        if len(self.frames) == frame:
            raise KeyboardInterrupt
        return take(self)

    with monkeypatch.context() as patch:
        patch.setattr(GaffRun, "_frame", dies)
        with pytest.raises(KeyboardInterrupt):
            GaffRun(methanol, MD, seed=3, restart=tmp_path / "killed").run()
    # A different seed would reveal if the second process started from the beginning.
    resumed = GaffRun(methanol, MD, seed=3 if frame < 10 else 4, restart=tmp_path / "killed")
    assert same(resumed.run(), undisturbed)


def test_a_run_that_blows_up_is_an_error(tmp_path, methanol):
    settings = MD.model_copy(update={"timestep_fs": 20.0})
    with pytest.raises(PhysEmbedError, match=r"at step \d+ .*; lower gaff_md\.timestep_fs"):
        GaffRun(methanol, settings, seed=1, restart=tmp_path).run()


@pytest.fixture
def trajectory():
    return [ase.Atoms("H", positions=[[index, 0, 0]]) for index in range(100)]


def indices(frames):
    return [frame.info["source_frame"] for frame in frames]


def test_selected_frames_are_disjoint_and_seeded(trajectory):
    settings = Frames(train=45, validation=5, starts=20)
    chosen = select_frames(trajectory, settings, seed=1)
    assert {name: len(frames) for name, frames in chosen.items()} == settings.model_dump(exclude={"per_seed"})
    drawn = [index for frames in chosen.values() for index in indices(frames)]
    assert len(set(drawn)) == 70
    assert all(frame.positions[0, 0] == frame.info["source_frame"] for frames in chosen.values() for frame in frames)
    assert not any("source_frame" in frame.info for frame in trajectory)
    again, other = (select_frames(trajectory, settings, seed) for seed in (1, 2))
    assert all(indices(again[name]) == indices(chosen[name]) for name in chosen)
    assert indices(other["train"]) != indices(chosen["train"])


def test_more_frames_of_one_kind_keep_those_before(trajectory):
    few = select_frames(trajectory, Frames(train=10, validation=5, starts=5), seed=1)
    starts = select_frames(trajectory, Frames(train=10, validation=5, starts=50), seed=1)
    assert indices(starts["train"]) == indices(few["train"])
    assert indices(starts["validation"]) == indices(few["validation"])
    assert indices(starts["starts"])[:5] == indices(few["starts"])
    train = select_frames(trajectory, Frames(train=30, validation=5, starts=5), seed=1)
    assert indices(train["train"])[:10] == indices(few["train"])


def test_a_short_trajectory_is_an_error(trajectory):
    select_frames(trajectory, Frames(train=45, validation=5, starts=50), seed=1)
    with pytest.raises(PhysEmbedError, match="101 frames wanted, but the trajectory holds 100"):
        select_frames(trajectory, Frames(train=45, validation=5, starts=51), seed=1)


@pytest.mark.parametrize(
    ("smiles", "chosen"),
    [
        ("CCC(C)O", {"CC[C@H](C)O", "CC[C@@H](C)O"}),
        ("CC=CCl", {"C/C=C/Cl", "C/C=C\\Cl"}),
        ("C[C@H](F)C(F)Cl", {"C[C@H](F)[C@H](F)Cl", "C[C@H](F)[C@@H](F)Cl"}),
        ("CC[C@H](C)O", {""}),
        ("C/C=C/Cl", {""}),
        ("CC(=O)Nc1ccc(O)cc1", {""}),
        ("CC1CCCCC1", {""}),
    ],
)
def test_stereochemistry_that_is_left_open_is_told(smiles, chosen):
    from rdkit.Chem import CanonSmiles

    found = chosen_isomer(from_smiles(smiles, seed=3))
    assert (CanonSmiles(found) if found else "") in {CanonSmiles(option) if option else "" for option in chosen}


def test_embedding_has_a_limit_of_time_and_gives_the_reason(monkeypatch):
    with pytest.raises(PhysEmbedError, match=r"'C1#CC1': RDKit embeds no 3D structure \(most attempts failed at"):
        from_smiles("C1#CC1", seed=1)
    # An adamantane whose stereochemistry no structure can have.
    monkeypatch.setattr(structure, "EMBEDDING_S", 2)
    begin = time.monotonic()
    with pytest.raises(PhysEmbedError, match=r"RDKit embeds no 3D structure within 2 s .*check the stereochemistry"):
        from_smiles("C[C@]12C[C@]3C[C@@](C1)C[C@](C2)C3", seed=1)
    assert time.monotonic() - begin < 60


def test_radicals_have_gasteiger_charges(tmp_path):
    write_sdf(tmp_path / "m.sdf", from_smiles("[N]=O", seed=1), "m")
    radical = gaff_topology(tmp_path / "m.sdf", parameter_set="gaff", charges="gasteiger", multiplicity=2)
    assert sorted(atom.atomic_number for atom in radical.atoms) == [7, 8]
