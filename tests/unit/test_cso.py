"""CSO: derivatives, linearity, the cutoff, batches, precision, and the ways to add it to other models."""

import numpy as np
import pytest
import torch
import torch_sim
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.mixing import SumCalculator
from torch_sim.models.interface import SumModel, validate_model_outputs
from torch_sim.models.lennard_jones import LennardJonesModel
from torch_sim.neighbors import torch_nl_n2

from physembed.cso import (
    CSOCalculator,
    CSOInteraction,
    CSOModel,
    CSOParameters,
    Cutoffs,
    get_convention,
)
from physembed.errors import PhysEmbedError
from physembed.pairs.unique import unique_pairs

CPU = torch.device("cpu")
PARAMETERS = CSOParameters(a1=0.6, alpha=0.8)
CONVENTIONS = ["d3", "d2"]


def ester(periodic: bool) -> Atoms:
    """Methyl formate off its minimum; the box, if any, is skewed and shorter than every cutoff."""
    atoms = molecule("HCOOCH3")
    atoms.rattle(0.05, seed=3)
    if periodic:
        atoms.set_cell([[6.1, 0.0, 0.0], [1.3, 5.4, 0.0], [-0.7, 0.9, 6.6]])
        atoms.pbc = True
    return atoms


def state_of(*batch: Atoms, dtype: torch.dtype = torch.float64) -> torch_sim.SimState:
    return torch_sim.io.atoms_to_state(list(batch), CPU, dtype)


def energy_of(atoms: Atoms, model: CSOModel) -> float:
    return float(model(state_of(atoms))["energy"])


@pytest.mark.parametrize("periodic", [False, True], ids=["molecule", "box"])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_forces_are_the_slope_of_the_energy(convention: str, periodic: bool) -> None:
    atoms, model, h = ester(periodic), CSOModel(PARAMETERS, convention), 1e-4
    forces = model(state_of(atoms))["forces"].numpy()
    expected = np.zeros_like(forces)
    for k in np.ndindex(expected.shape):
        energies = []
        for sign in (1.0, -1.0):
            moved = atoms.copy()
            moved.positions[k] += sign * h
            energies.append(energy_of(moved, model))
        expected[k] = -(energies[0] - energies[1]) / (2.0 * h)
    np.testing.assert_allclose(forces, expected, rtol=0.0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_stress_is_the_slope_of_the_energy_by_strain(convention: str) -> None:
    atoms, model, h = ester(True), CSOModel(PARAMETERS, convention), 1e-5
    stress = model(state_of(atoms))["stress"][0].numpy()
    expected = np.zeros((3, 3))
    for k in np.ndindex(3, 3):
        energies = []
        for sign in (1.0, -1.0):
            strain = np.eye(3)
            strain[k] += sign * h
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(energy_of(strained, model))
        expected[k] = (energies[0] - energies[1]) / (2.0 * h) / atoms.get_volume()
    np.testing.assert_allclose(stress, expected, rtol=0.0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_correction_is_linear_in_alpha_and_alpha_a1(convention: str) -> None:
    """E, forces and stress over the plane of alpha and a1 follow from three points of it."""
    state = state_of(ester(True))

    def output(alpha: float, a1: float) -> dict[str, torch.Tensor]:
        return CSOModel(CSOParameters(a1=a1, alpha=alpha), convention)(state)

    base, with_a1 = output(1.0, 0.0), output(1.0, 1.0)
    for alpha, a1 in ((0.05, 0.6), (-0.05, 1.07), (1.0, -0.4)):
        got = output(alpha, a1)
        for key in ("energy", "forces", "stress"):
            expected = alpha * (base[key] + a1 * (with_a1[key] - base[key]))
            torch.testing.assert_close(got[key], expected, rtol=1e-12, atol=1e-13 * base[key].abs().max().item())
        torch.testing.assert_close(got["energy"], -alpha * (got["cso_S0"] + a1 * got["cso_S1"]), rtol=0, atol=0)
        torch.testing.assert_close(got["cso_S0"], base["cso_S0"], rtol=0, atol=0)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_batch_gives_what_its_systems_give_alone(convention: str) -> None:
    batch = [ester(True), Atoms("NH", [[0, 0, 0], [0.3, 0.2, 1.0]], cell=[4.0, 5.0, 3.5], pbc=True), ester(True)]
    batch[2].set_cell(batch[2].cell.array * 1.1)
    alpha, a1, a2 = [0.05, -0.05, 1.0], [0.6, 1.07, 0.2], [2.5, 2.4, 2.6]
    together = CSOModel(CSOParameters(a1=a1, alpha=alpha, a2=a2), convention)(state_of(*batch))
    alone = [
        CSOModel(CSOParameters(a1=a1[k], alpha=alpha[k], a2=a2[k]), convention)(state_of(atoms))
        for k, atoms in enumerate(batch)
    ]
    assert set(together) == {"energy", "forces", "stress", "cso_S0", "cso_S1"}
    for key, value in together.items():
        torch.testing.assert_close(value, torch.cat([output[key] for output in alone]), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_dimer_leaves_the_cutoff_without_a_step(convention: str) -> None:
    """The energy is continuous; where it is switched, so is the force."""
    model = CSOModel(PARAMETERS, convention)
    cutoff, h = model.cutoffs.dispersion, 1e-6

    def output(r: float) -> tuple[float, float]:
        result = model(state_of(Atoms("Ar2", [[0, 0, 0], [0, 0, r]])))
        return float(result["energy"]), float(result["forces"][0, 2])

    inside, outside = output(cutoff - h), output(cutoff + h)
    assert outside == (0.0, 0.0)
    well_inside = output(cutoff - 3.0)
    assert abs(inside[0]) < 1e-5 * abs(well_inside[0])
    if convention == "d3":
        assert abs(inside[1]) < 1e-9 * abs(well_inside[1])
        start = model.cutoffs.dispersion - model.cutoffs.dispersion_width
        assert output(start - h)[1] == pytest.approx(output(start + h)[1], rel=1e-5)


def test_the_switch_keeps_the_interaction_before_it() -> None:
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 5.0]])
    sharp = Cutoffs(dispersion=12.0, dispersion_width=0.0)
    assert energy_of(atoms, CSOModel(PARAMETERS)) == pytest.approx(
        energy_of(atoms, CSOModel(PARAMETERS, "d3", sharp)), rel=1e-12
    )


def test_d2_dimer_is_the_equation_counted_twice() -> None:
    """Ar2 at 4 Å with C6 = 4.61 J nm^6/mol and R0 = 1.595 Å, worked out with its own constants."""
    hartree, bohr, kj_mol = 27.211386, 0.52917721, 2625.49964
    c6 = 4.61e-3 / kj_mol / (bohr * 0.1) ** 6
    r0, r, rc = 2.0 * 1.595 / bohr, 4.0 / bohr, 10.0 / bohr

    def pair(x: float) -> float:
        return (0.73 + 0.6 / (1.0 + np.exp(x - 2.5 * r0))) * c6 / (x**6 + 6.25**6)

    expected = -0.8 * 2.0 * hartree * (pair(r) - pair(rc))
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 4.0]])
    assert energy_of(atoms, CSOModel(PARAMETERS, "d2")) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_pairs_beyond_the_cutoffs_add_exactly_nothing(convention: str) -> None:
    """A pair list may have a skin or padding."""
    model, state = CSOModel(PARAMETERS, convention), state_of(ester(False))
    first, second = torch.triu_indices(state.n_atoms, state.n_atoms, offset=1)
    vectors = state.positions[second] - state.positions[first]
    interaction = CSOInteraction(model.convention, model.cutoffs, PARAMETERS, state.atomic_numbers, state.system_idx, 1)
    tight = interaction.evaluate(vectors, first, second)
    padding = torch.zeros(7, dtype=torch.long)
    far = torch.tensor([[0.0, 0.0, 12.0], [50.0, 0.0, 0.0], [0.0, 1e4, 0.0]], dtype=torch.float64)
    padded = interaction.evaluate(
        torch.cat([vectors, far[torch.arange(7) % 3]]), torch.cat([first, padding]), torch.cat([second, padding])
    )
    for name in ("energy", "forces", "virial", "s0", "s1"):
        torch.testing.assert_close(getattr(padded, name), getattr(tight, name), rtol=0.0, atol=0.0)


def test_far_from_every_reference_the_nearest_one_is_taken() -> None:
    """Crowded atoms: Gaussian weights would underflow in float32, and the model must not give NaN."""
    positions = np.array(list(np.ndindex(3, 3, 3))) * 0.9
    crowded = Atoms("F" * 27, positions)
    single = CSOModel(PARAMETERS)(state_of(crowded, dtype=torch.float64))
    model = CSOModel(PARAMETERS, dtype=torch.float32)
    output = model(state_of(crowded, dtype=torch.float32))
    assert torch.isfinite(output["forces"]).all()
    torch.testing.assert_close(output["energy"].double(), single["energy"], rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_single_precision_agrees_with_double(convention: str) -> None:
    outputs = [
        CSOModel(PARAMETERS, convention, dtype=dtype)(state_of(ester(True), dtype=dtype))
        for dtype in (torch.float32, torch.float64)
    ]
    assert all(value.dtype == torch.float32 for value in outputs[0].values())
    for key, exact in outputs[1].items():
        error = (outputs[0][key].double() - exact).abs().max()
        assert error < 2e-5 * exact.abs().max()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_model_keeps_the_contract_of_torch_sim(convention: str) -> None:
    validate_model_outputs(CSOModel(PARAMETERS, convention), CPU, torch.float64)


def test_another_neighbor_list_gives_the_same() -> None:
    state = state_of(ester(True))
    one, other = CSOModel(PARAMETERS), CSOModel(PARAMETERS, neighbor_list_fn=torch_nl_n2)
    for key, value in one(state).items():
        torch.testing.assert_close(other(state)[key], value, rtol=1e-11, atol=1e-15)


def test_half_of_a_full_neighbor_list_is_kept() -> None:
    state = state_of(ester(True))
    pairs, _, shifts = torch_nl_n2(state.positions, state.row_vector_cell, state.pbc, 7.0, state.system_idx)
    once = unique_pairs(pairs, shifts)
    kept = {(int(i), int(j), *map(int, s)) for (i, j), s in zip(pairs[:, once].T, shifts[once], strict=True)}
    turned = {(j, i, -x, -y, -z) for i, j, x, y, z in kept}
    everything = {(int(i), int(j), *map(int, s)) for (i, j), s in zip(pairs.T, shifts, strict=True)}
    assert any(i == j for i, j, *_ in kept)
    assert not kept & turned
    assert kept | turned == everything


def test_sum_model_adds_the_correction() -> None:
    first = Atoms("Ar4", np.random.default_rng(0).uniform(0, 6, (4, 3)), cell=[6.0, 6.5, 7.0], pbc=True)
    second = Atoms("Ar2", [[0, 0, 0], [0, 0, 3.9]], cell=[5.0, 6.0, 8.0], pbc=True)
    state = state_of(first, second)
    lj = LennardJonesModel(
        sigma=3.4, epsilon=0.0104, cutoff=8.0, device=CPU, dtype=torch.float64, compute_forces=True,
        compute_stress=True,
    )  # fmt: skip
    cso = CSOModel(CSOParameters(a1=[0.6, 1.07], alpha=[0.05, -0.05]))
    total, base, correction = SumModel(lj, cso)(state), lj(state), cso(state)
    assert correction["energy"].abs().min() > 1e-5
    for key in ("energy", "forces", "stress"):
        torch.testing.assert_close(total[key], base[key] + correction[key])
    torch.testing.assert_close(total["cso_S1"], correction["cso_S1"])


def test_the_model_follows_a_state_with_other_atoms() -> None:
    """The atoms are kept from step to step, so a changed state must not meet the data of the last one."""
    model, water, ammonia = CSOModel(PARAMETERS), molecule("H2O"), molecule("NH3")
    swapped = water.copy()
    swapped.numbers[0] = 16
    for atoms in (water, swapped, ammonia, water):
        assert energy_of(atoms, model) == energy_of(atoms, CSOModel(PARAMETERS))


def test_only_what_is_asked_for_is_computed() -> None:
    state = state_of(ester(True))
    full = CSOModel(PARAMETERS)(state)
    energy_only = CSOModel(PARAMETERS, compute_forces=False, compute_stress=False)(state)
    assert set(energy_only) == {"energy", "cso_S0", "cso_S1"}
    torch.testing.assert_close(energy_only["energy"], full["energy"])
    model = CSOModel(PARAMETERS)
    model.compute_stress = False
    assert set(model(state)) == {"energy", "forces", "cso_S0", "cso_S1"}


def test_ase_calculator_gives_the_results_of_the_model() -> None:
    atoms = ester(True)
    atoms.calc = CSOCalculator(PARAMETERS, "d2")
    output = CSOModel(PARAMETERS, "d2")(state_of(atoms))
    assert atoms.get_potential_energy() == float(output["energy"])
    np.testing.assert_array_equal(atoms.get_forces(), output["forces"].numpy())
    np.testing.assert_allclose(atoms.get_stress(voigt=False), output["stress"][0].numpy(), rtol=1e-12)
    assert atoms.calc.results["cso_S0"] == float(output["cso_S0"])


def test_ase_calculator_adds_to_another() -> None:
    atoms = Atoms("CH", [[0, 0, 0], [0, 0, 1.1]])
    energies = []
    for calculator in (EMT(), CSOCalculator(PARAMETERS), SumCalculator([EMT(), CSOCalculator(PARAMETERS)])):
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    assert energies[2] == pytest.approx(energies[0] + energies[1], rel=1e-12)
    assert energies[1] < 0.0


def test_an_isolated_system_has_no_stress() -> None:
    assert not CSOModel(PARAMETERS)(state_of(ester(False)))["stress"].any()
    atoms = ester(False)
    atoms.calc = CSOCalculator(PARAMETERS)
    assert np.abs(atoms.get_forces()).max() > 0.0
    with pytest.raises(PropertyNotImplementedError, match="no periodic cell"):
        atoms.get_stress()


def test_errors_say_what_to_do() -> None:
    with pytest.raises(PhysEmbedError, match="unknown convention 'd4'; choose one of d3, d2"):
        get_convention("d4")
    with pytest.raises(PhysEmbedError, match=r"d2 has no parameters for Au .*H to Xe"):
        CSOModel(PARAMETERS, "d2")(state_of(Atoms("AuH", [[0, 0, 0], [0, 0, 1.6]])))
    with pytest.raises(PhysEmbedError, match="alpha has 3 values, the batch 2 systems"):
        CSOModel(CSOParameters(a1=0.6, alpha=[1.0, 2.0, 3.0]))(state_of(ester(False), ester(False)))
    with pytest.raises(PhysEmbedError, match="give 0 <= width < radius"):
        Cutoffs(dispersion=5.0, dispersion_width=6.0)
