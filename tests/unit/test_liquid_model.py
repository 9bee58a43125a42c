"""MACE + CSO of batches of liquids against MACE's own calculator, the CSO calculator and finite differences."""

from functools import cache

import numpy as np
import pytest
import torch
import torch_sim
from ase import Atoms
from ase.build import bulk, molecule
from ase.stress import full_3x3_to_voigt_6_stress
from mace.calculators import MACECalculator
from mace.calculators.mace_torchsim import MaceTorchSimModel
from mace.modules.extensions import PolarMACE

from physembed.cso import CSOCalculator, CSOParameters, Cutoffs
from physembed.engine.liquid_model import load_liquid
from physembed.engine.parts import models_of_points
from physembed.errors import PhysEmbedError
from physembed.md.npt import NPTPoint

from .models_for_tests import box, box_of_molecules, random_mace

ALPHA, A1 = 0.05, 0.7
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mace.model"
    torch.save(random_mace(), path)
    return path


def liquid(model_file, dtype="float64", convention="d3", alpha=ALPHA, a1=A1, **options):
    return load_liquid(model_file, "cpu", dtype, convention=convention, alpha=alpha, a1=a1, **options)


def state_of(systems, dtype=torch.float64):
    return torch_sim.io.atoms_to_state(systems, CPU, dtype)


@cache
def mace_calculator(model_file):
    return MACECalculator(model_paths=[str(model_file)], device="cpu", default_dtype="float64")


def reference(model_file, atoms, convention="d3", alpha=ALPHA, a1=A1):
    """Energy of MACE, energy, forces and stress of the sum, S0 and S1, by the two calculators of ASE."""
    alone, mace, cso = atoms.copy(), atoms.copy(), atoms.copy()
    for each in (alone, mace, cso):
        each.wrap()
    mace.calc, cso.calc = mace_calculator(model_file), CSOCalculator(CSOParameters(alpha=alpha, a1=a1), convention)
    periodic = atoms.pbc.any()
    return {
        "base_energy": mace.get_potential_energy(),
        "energy": mace.get_potential_energy() + cso.get_potential_energy(),
        "forces": mace.get_forces() + cso.get_forces(),
        "stress": mace.get_stress() + cso.get_stress() if periodic else np.zeros(6),
        "cso_S0": cso.calc.results["cso_S0"],
        "cso_S1": cso.calc.results["cso_S1"],
    }


def assert_equal_to_calculators(output, systems, references, rel=1e-9):
    """Each system of a batch against its reference; forces and stress relative to their largest component."""
    start = 0
    for k, (atoms, expected) in enumerate(zip(systems, references, strict=True)):
        forces = output["forces"][start : start + len(atoms)].numpy()
        start += len(atoms)
        for name in ("energy", "base_energy", "cso_S0", "cso_S1"):
            assert float(output[name][k]) == pytest.approx(expected[name], rel=rel, abs=1e-14), name
        scale = max(np.abs(expected["forces"]).max(), 1e-3)
        np.testing.assert_allclose(forces, expected["forces"], rtol=0, atol=rel * scale)
        stress = full_3x3_to_voigt_6_stress(output["stress"][k].numpy())
        scale = max(np.abs(expected["stress"]).max(), 1e-9)
        np.testing.assert_allclose(stress, expected["stress"], rtol=0, atol=rel * scale)


def with_vacuum(name):
    """A molecule in a box in which it meets no image."""
    atoms = molecule(name, cell=[40.0, 41.0, 42.0], pbc=True)
    atoms.center()
    return atoms


BATCHES = {
    "liquids of two sizes": [box(70, (9.0, 10.1, 10.5), 1), box(40, (8.0, 8.5, 9.0), 2)],
    "tilted": [box(35, (8.0, 8.5, 7.5), 3, skew=2.0), box(50, (9.5, 8.0, 9.0), 4, skew=-1.5)],
    # None of the images is just as far away as a cutoff.
    "many images": [box(9, (4.0, 5.1, 4.5), 5), box(6, (3.6, 4.2, 4.4), 6, skew=0.9)],
    "single atoms": [bulk("C", "fcc", a=3.9), bulk("O", "bcc", a=3.1)],
    "two elements": [box(30, (7.5, 7.0, 8.0), 7, elements="HO"), bulk("CO", "rocksalt", a=4.4)],
    "vacuum": [with_vacuum("C6H6"), with_vacuum("H2O"), Atoms("C", cell=[30.0] * 3, pbc=True)],
}
ISOLATED = [molecule("C6H6"), molecule("H2O"), Atoms("C"), molecule("CH3OH")]


@pytest.mark.parametrize("convention", ["d3", "d2"])
@pytest.mark.parametrize("systems", [*BATCHES.values(), ISOLATED], ids=[*BATCHES, "isolated"])
def test_it_equals_the_sum_of_the_calculators(model_file, systems, convention):
    output = liquid(model_file, convention=convention)(state_of(systems))
    references = [reference(model_file, atoms, convention) for atoms in systems]
    assert_equal_to_calculators(output, systems, references)
    if convention == "d3" and len(systems[0]) > 9:
        # The correction is something that the comparison could miss.
        assert abs(float(output["energy"][0] - output["base_energy"][0])) > 1e-4
        assert output["forces"].abs().max() > 1e-2


def test_it_equals_them_along_a_run_and_right_after_a_rebuild(model_file):
    """Positions and cells change as under a barostat; compared at the first call, before and right after a rebuild."""
    rng = np.random.default_rng(1)
    systems = [atoms.copy() for atoms in BATCHES["tilted"]]
    model = liquid(model_file)
    lists = model.base.list, model.cso.list
    made, compared = [0, 0], set()
    for _ in range(40):
        output = model(state_of(systems))
        now = [each.rebuilds for each in lists]
        events = {(k, after - before) for k, (before, after) in enumerate(zip(made, now, strict=True))}
        if not events <= compared:
            compared |= events
            assert_equal_to_calculators(output, systems, [reference(model_file, atoms) for atoms in systems])
        made = now
        for atoms in systems:
            atoms.set_cell(atoms.cell @ (np.eye(3) + 0.002 * rng.normal(size=(3, 3))), scale_atoms=True)
            atoms.positions += 0.04 * rng.normal(size=atoms.positions.shape)
    assert compared == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert all(2 <= count < 15 for count in made)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_that_is_loaded_anew_goes_on_bit_for_bit(model_file, dtype):
    rng = np.random.default_rng(2)
    systems, model = [box_of_molecules(1), box_of_molecules(2)[:48]], liquid(model_file, dtype)
    for _ in range(4):
        for atoms in systems:
            atoms.set_cell(atoms.cell * (1 + 0.002 * rng.normal()), scale_atoms=True)
            atoms.positions += 0.02 * rng.normal(size=atoms.positions.shape)
        state = state_of(systems, getattr(torch, dtype))
        output = model(state)
    assert model.cso.list.rebuilds == model.base.list.rebuilds == 1
    anew = liquid(model_file, dtype)(state)
    for name, value in output.items():
        assert torch.equal(value, anew[name]), name


@pytest.mark.parametrize("systems", [BATCHES["many images"], BATCHES["liquids of two sizes"]], ids=["small", "liquid"])
def test_stress_is_the_derivative_of_the_energy_by_strain(model_file, systems):
    model, step = liquid(model_file, alpha=[0.2, -0.1], a1=[0.5, 1.2]), 1e-4
    stress = model(state_of(systems))["stress"]
    for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            strained = [atoms.copy() for atoms in systems]
            for atoms in strained:
                atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
            energies.append(model(state_of(strained))["energy"])
        volumes = torch.tensor([atoms.cell.volume for atoms in systems])
        numeric = (energies[0] - energies[1]) / (2 * step) / volumes
        torch.testing.assert_close(stress[:, i, j], numeric, rtol=1e-5, atol=1e-7 * float(stress.abs().max()))


def test_forces_are_the_derivative_of_the_energy(model_file):
    atoms, model, step = BATCHES["many images"][1], liquid(model_file, alpha=0.5), 1e-4
    forces = model(state_of([atoms]))["forces"].numpy()
    for atom in range(len(atoms)):
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[atom, axis] += sign * step
                energies.append(float(model(state_of([moved]))["energy"][0]))
            numeric = -(energies[0] - energies[1]) / (2 * step)
            assert forces[atom, axis] == pytest.approx(numeric, rel=1e-6, abs=1e-6)


def test_each_system_has_parameters_of_its_own(model_file):
    systems = [BATCHES["two elements"][0]] * 3
    alphas, a1s = [0.0, 0.05, -0.1], [0.25, 0.75, 1.125]  # exact in float32, the default of torch.tensor
    output = liquid(model_file, alpha=alphas, a1=torch.tensor(a1s))(state_of(systems))
    references = [reference(model_file, systems[0], "d3", *pair) for pair in zip(alphas, a1s, strict=True)]
    assert_equal_to_calculators(output, systems, references)
    # The system without correction has exactly the energy of MACE, and S0 and S1 are recorded all the same.
    assert output["energy"][0] == output["base_energy"][0]
    assert torch.equal(output["cso_S0"], output["cso_S0"][:1].expand(3)) and output["cso_S0"][0] > 0
    alpha, a1 = (torch.tensor(values, dtype=torch.float64) for values in (alphas, a1s))
    expected = output["base_energy"] - alpha * (output["cso_S0"] + a1 * output["cso_S1"])
    torch.testing.assert_close(output["energy"], expected, rtol=1e-12, atol=0)


def test_nothing_of_the_correction_is_evaluated_where_no_run_has_one(model_file):
    """Unless its sums are wanted, for reweighting."""
    systems = [BATCHES["two elements"][0]] * 2
    uncorrected, corrected = NPTPoint("0", 0.0, 0.3, 300.0, 1.0), NPTPoint("1", 0.05, 0.3, 300.0, 1.0)
    state = state_of(systems)
    make = models_of_points(model_file, "cpu", "float64", "d3")
    alone, with_sums = make([uncorrected] * 2)(state), make([uncorrected, corrected])(state)
    assert "cso_S0" in with_sums and "cso_S0" not in alone
    assert alone["energy"][0] == with_sums["energy"][0] == with_sums["base_energy"][0]
    assert torch.equal(alone["forces"][: len(systems[0])], with_sums["forces"][: len(systems[0])])
    assert torch.equal(alone["stress"][0], with_sums["stress"][0])
    assert "cso_S0" in models_of_points(model_file, "cpu", "float64", "d3", sums=True)([uncorrected] * 2)(state)


def test_systems_leave_the_batch(model_file):
    systems = [*BATCHES["liquids of two sizes"], BATCHES["two elements"][0]]
    alphas, a1s = torch.tensor([0.05, 0.02, -0.1]), torch.tensor([0.3, 0.8, 1.1])
    model = liquid(model_file, alpha=alphas, a1=a1s)
    state, kept = state_of(systems), torch.tensor([0, 2])
    whole = model(state)
    fewer = model.with_parameters(alphas[kept], a1s[kept])
    assert fewer.base.model is model.base.model  # the weights are there once
    output = fewer(state[kept])
    for name in ("energy", "base_energy", "stress", "cso_S0", "cso_S1"):
        torch.testing.assert_close(output[name], whole[name][kept], rtol=1e-10, atol=1e-13)
    rows = (state.system_idx != 1).nonzero()[:, 0]
    torch.testing.assert_close(output["forces"], whole["forces"][rows], rtol=0, atol=1e-11)
    with pytest.raises(PhysEmbedError, match="alpha has 2 values, the batch 3 systems"):
        fewer(state)


def test_cutoffs_can_be_chosen(model_file):
    atoms, cutoffs = BATCHES["liquids of two sizes"][0], Cutoffs(dispersion=8.0, coordination=7.0)
    output = liquid(model_file, cutoffs=cutoffs)(state_of([atoms]))
    atoms = atoms.copy()
    atoms.calc = CSOCalculator(CSOParameters(alpha=ALPHA, a1=A1), "d3", cutoffs)
    correction = float(output["energy"][0] - output["base_energy"][0])
    assert correction == pytest.approx(atoms.get_potential_energy(), rel=1e-8)
    default = liquid(model_file)(state_of([atoms]))
    assert abs(float(default["energy"][0] - default["base_energy"][0]) / correction - 1) > 1e-3
    assert liquid(model_file, cutoffs=cutoffs).with_parameters(1.0, 1.0).cso.cutoffs == cutoffs


@pytest.mark.parametrize(("trained", "run"), [("float32", "float64"), ("float64", "float32")])
def test_a_model_is_converted_to_the_precision_of_the_run(tmp_path, trained, run):
    """A file in the other precision than that of the run, as MACE's trainer or the MACE-OFF models may have."""
    path, systems = tmp_path / "mace.model", BATCHES["many images"]
    torch.save(random_mace(dtype=getattr(torch, trained)), path)
    output = liquid(path, dtype=run)(state_of(systems, getattr(torch, run)))
    assert all(value.dtype == getattr(torch, run) for value in output.values())
    references = [reference(path, atoms) for atoms in systems]
    assert_equal_to_calculators(output, systems, references, rel=1e-9 if run == "float64" else 2e-5)


def test_stock_torch_sim_gives_the_same_mace(model_file):
    """MACE's torch-sim model with torch-sim's own neighbour list, against ours, stress included."""
    for systems in (BATCHES["many images"], BATCHES["tilted"]):
        state = state_of(systems)
        stock = MaceTorchSimModel(model_file, device=CPU, dtype=torch.float64)(state)
        ours = liquid(model_file).base(state)
        for name in ("energy", "forces", "stress"):
            torch.testing.assert_close(ours[name], stock[name], rtol=1e-10, atol=1e-12)


def test_a_head_that_nobody_chose_is_refused(tmp_path):
    path, systems = tmp_path / "mace.model", BATCHES["many images"]
    torch.save(random_mace(heads=["pbe", "wb97m"]), path)
    with pytest.raises(PhysEmbedError, match="pbe, wb97m"):
        liquid(path)
    torch.save(random_mace(heads=["pbe", "Default"]), path)
    references = [reference(path, atoms) for atoms in systems]
    assert_equal_to_calculators(liquid(path)(state_of(systems)), systems, references)


def test_mace_with_charges_is_refused(tmp_path):
    """Its energy does not depend only on the edge vectors, from which forces and stress are computed."""
    module = PolarMACE.__new__(PolarMACE)
    torch.nn.Module.__init__(module)
    module.atomic_numbers, module.r_max = torch.tensor([1]), torch.tensor(4.0)
    torch.save(module, tmp_path / "mace.model")
    with pytest.raises(PhysEmbedError, match="PolarMACE"):
        liquid(tmp_path / "mace.model")


def test_what_is_not_known_is_refused(model_file):
    with pytest.raises(PhysEmbedError, match="d4"):
        liquid(model_file, convention="d4")
    with pytest.raises(PhysEmbedError, match="alpha has 2 values"):
        liquid(model_file, alpha=[0.1, 0.2])(state_of([box(5, (6.0, 6.0, 6.0), 1)]))
