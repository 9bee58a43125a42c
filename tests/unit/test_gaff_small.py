"""GAFF MD of small molecules, which the libraries underneath treat specially: flexible, excluded and in their place."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import parmed
import pytest
from openmm import app, unit

from physembed.config import GaffMD
from physembed.errors import PhysEmbedError
from physembed.liquids.box import pack
from physembed.molecules.bonds import bond_length_statistics, bond_table
from physembed.molecules.gaff_md import GaffRun
from physembed.molecules.openmm_md import flexible_system
from physembed.molecules.structure import from_smiles, write_sdf
from physembed.molecules.topology import fill_gaps, gaff_topology

R_KCAL_MOL_K = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilocalorie_per_mole / unit.kelvin)


@cache
def topology(smiles: str) -> parmed.Structure:
    with TemporaryDirectory() as folder:
        write_sdf(Path(folder) / "molecule.sdf", from_smiles(smiles, seed=1), "molecule")
        return gaff_topology(Path(folder) / "molecule.sdf", parameter_set="gaff", charges="gasteiger")


@pytest.mark.parametrize("smiles", ["O", "O=C=O", "C#N", "[N-]=[N+]=O", "S", "O=S=O", "O=C=S", "N#N", "ClCl"])
def test_bonds_of_small_molecules_vibrate_about_their_lengths(tmp_path: Path, smiles: str) -> None:
    """A harmonic bond of force constant k (AMBER's, without 1/2) has the variance RT / 2k.

    Neighbours in a linear molecule pull at it as well, so that the molecules of three atoms have a margin.
    """
    structure = topology(smiles)
    settings = GaffMD(equilibration_ps=1, duration_ps=15, frame_interval_steps=10, friction_per_ps=5)
    frames = GaffRun(structure, settings, 1, tmp_path).run()
    bonds = bond_table(structure)
    found = bond_length_statistics(np.array([frame.positions for frame in frames[200:]]), bonds)
    expected = np.sqrt(R_KCAL_MOL_K * settings.temperature_K / (2 * bonds["k_kcal_mol_A2"]))
    assert np.all(np.abs(found["mean_A"] - bonds["r_eq_A"]) < 0.02)
    assert np.all(np.abs(found["sd_A"] / expected - 1) < 0.3)


@pytest.mark.parametrize(("smiles", "bonds", "angles"), [("O", 2, 1), ("N#N", 1, 0), ("O=C=O", 2, 1)])
def test_no_bond_is_rigid_and_no_bonded_pair_interacts(smiles: str, bonds: int, angles: int) -> None:
    one = topology(smiles)
    box = pack([one], [3], 0.2, seed=1)
    for structure, count in ((one, 1), (box, 3)):
        method = app.NoCutoff if structure is one else app.CutoffPeriodic
        system = flexible_system(structure, nonbondedMethod=method, nonbondedCutoff=0.4 * unit.nanometer)
        assert system.getNumConstraints() == 0
        forces = {type(force).__name__: force for force in system.getForces()}
        assert forces["HarmonicBondForce"].getNumBonds() == count * bonds
        assert forces["HarmonicAngleForce"].getNumAngles() == count * angles if angles else True
        nonbonded = forces["NonbondedForce"]
        exceptions = [nonbonded.getExceptionParameters(index) for index in range(nonbonded.getNumExceptions())]
        assert len({tuple(sorted(pair[:2])) for pair in exceptions}) == count * (bonds + angles)
        assert all(pair[2]._value == pair[4]._value == 0 for pair in exceptions)


def test_broken_bonds_and_a_wrong_temperature_end_the_run(tmp_path: Path) -> None:
    water = topology("O").copy(parmed.Structure)
    rest = water.bonds[0].type.req
    run = GaffRun(water, GaffMD(equilibration_ps=0, duration_ps=60), 1, tmp_path)
    with pytest.raises(PhysEmbedError, match=r"the bond of O1 \(0\) and H1 \(1\) is .* Å long \(0\.97"):
        run._check_bonds(np.array([[0, 0, 0], [2.1 * rest, 0, 0], [0, rest, 0]]), 7)
    run.run()
    for frame in run.frames:
        frame.info["temperature_K"] *= 3
    with pytest.raises(PhysEmbedError, match=r"the mean temperature is [789]\d\d K, not the 300 K"):
        run._check_temperature()


def test_parameters_that_gaff_lacks_are_those_of_gaff2_or_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    angle = topology("C#N").angles[0].type
    assert (angle.k, angle.theteq) == pytest.approx((44.6, 180.0), abs=1e-3)
    frcmod = tmp_path / "extra.frcmod"
    text = "remark\nMASS\n\nBOND\n{}\n\nANGLE\n{}\n\nDIHE\nX -c1-c1-X     1    0.000       180.000           2.000\n\n"
    frcmod.write_text(text.format("c3-no  321.00   1.468", "ha-c1-n1    0.000       0.000   ATTN, need revision"))
    fill_gaps(frcmod, "gaff")
    assert "gaff lacks the angle ha-c1-n1; those of gaff2 are taken: 44.6, 180" in caplog.text
    assert "c3-no  321.00   1.468" in frcmod.read_text()
    assert "X -c1-c1-X     1    0.000" in frcmod.read_text()
    frcmod.write_text(text.format("cl-ha    0.00   0.000       ATTN, need revision", ""))
    with pytest.raises(PhysEmbedError, match=r"gaff has no parameters for the bond cl-ha.*give a topology of your own"):
        fill_gaps(frcmod, "gaff")
