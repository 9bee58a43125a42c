"""CSO by compiled loops over a kept list: against the model in PyTorch, which the oracles stand behind, and dftd3
itself; and what only it has: threads, lists that grow old, batches."""

import numpy as np
import pytest
import torch
import torch_sim as ts
from ase import Atoms
from dftd3.interface import CSODampingParam, DispersionModel

from physembed.cso import CSOModel, CSOParameters, Cutoffs
from physembed.cso.kernels import LARGEST
from physembed.engine.liquid_model import ListedCSO
from physembed.errors import PhysEmbedError
from physembed.units import BOHR, HARTREE
from tests.unit.models_for_tests import box, box_of_molecules
from tests.unit.test_cso_oracle import ORACLE_CUTOFFS, SWITCHED_CUTOFFS, random_batch, random_parameters

CPU = torch.device("cpu")
NAMES = "energy", "forces", "stress", "cso_S0", "cso_S1"


def state_of(batch, dtype=torch.float64):
    return ts.io.atoms_to_state(batch, CPU, dtype)


def listed(parameters, convention, cutoffs=None, dtype=torch.float64):
    return ListedCSO(CSOParameters(**parameters), convention, cutoffs, device=CPU, dtype=dtype)


def assert_same(found, expected, rtol, names=NAMES):
    for name in names:
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(found[name].double(), expected[name].double(), rtol=0, atol=rtol * scale, msg=name)


@pytest.mark.parametrize("cutoffs", [None, ORACLE_CUTOFFS, Cutoffs(8.0, 0.0, 6.0, 0.0)], ids=["own", "far", "sharp"])
@pytest.mark.parametrize("periodic", [False, True], ids=["molecules", "boxes"])
@pytest.mark.parametrize("convention", ["d3", "d2"])
def test_it_is_the_model_in_pytorch(convention, periodic, cutoffs):
    """Each system with parameters of its own, boxes that are shorter than the cutoffs, to 1e-10."""
    if cutoffs is ORACLE_CUTOFFS and periodic:
        cutoffs = Cutoffs(20.0, 3.0, 25.0, 0.0)
    batch = random_batch(4, periodic)
    if convention == "d2":
        batch = [atoms for atoms in batch if max(atoms.numbers) <= 54]
    parameters = {name: values[: len(batch)] for name, values in random_parameters(9).items()}
    expected = CSOModel(CSOParameters(**parameters), convention, cutoffs)(state_of(batch))
    names = NAMES if periodic else [name for name in NAMES if name != "stress"]
    assert_same(listed(parameters, convention, cutoffs)(state_of(batch)), expected, 1e-10, names)


@pytest.mark.parametrize("reach", [4.0, 9.0], ids=["few in reach", "most in reach"])
def test_it_is_the_model_in_pytorch_in_networks_of_bonds(reach):
    """Large groups with partners in few of the others, or in most of them and their images."""
    batch = [box(200, (12.0, 13.0, 14.0), 2), box(30, (8.0, 9.0, 7.0), 5, skew=1.0)]
    parameters, cutoffs = {"a1": 0.6, "alpha": 0.05}, Cutoffs(reach, 1.0, 3.5, 1.0)
    expected = CSOModel(CSOParameters(**parameters), "d3", cutoffs)(state_of(batch))
    assert_same(listed(parameters, "d3", cutoffs)(state_of(batch)), expected, 1e-10)


@pytest.mark.parametrize("periodic", [False, True], ids=["molecules", "boxes"])
def test_d3_agrees_with_dftd3(periodic):
    batch, parameters = random_batch(11, periodic), random_parameters(12)
    output = listed(parameters, "d3", SWITCHED_CUTOFFS)(state_of(batch))
    forces = np.split(output["forces"].numpy(), np.cumsum([len(atoms) for atoms in batch])[:-1])
    for k, atoms in enumerate(batch):
        own = {name: float(values[k]) for name, values in parameters.items()}
        alpha = own.pop("alpha")
        lattice = {"lattice": atoms.cell.array / BOHR, "periodic": atoms.pbc} if periodic else {}
        oracle = DispersionModel(atoms.numbers, atoms.positions / BOHR, **lattice)
        oracle.set_realspace_cutoff(
            disp2=SWITCHED_CUTOFFS.dispersion / BOHR, disp3=0.0, cn=SWITCHED_CUTOFFS.coordination / BOHR,
            width2=SWITCHED_CUTOFFS.dispersion_width / BOHR,
        )  # fmt: skip
        expected = oracle.get_dispersion(CSODampingParam(s9=0.0, **own), grad=True)
        assert float(output["energy"][k]) == pytest.approx(alpha * HARTREE * float(expected["energy"]), rel=1e-6)
        expected_forces = -alpha * HARTREE / BOHR * expected["gradient"]
        scale = np.abs(expected_forces).max()
        np.testing.assert_allclose(forces[k], expected_forces, rtol=0, atol=1e-5 * scale + 1e-14)


@pytest.mark.parametrize("convention", ["d3", "d2"])
def test_forces_and_stress_are_slopes_of_the_energy(convention):
    # No pair may cross the sharp cutoff of d2 on the way.
    atoms = box(9, (6.2, 6.9, 7.4), 3, skew=0.8)
    model, h = listed({"a1": 0.6, "alpha": 0.8}, convention, Cutoffs(9.0, 2.0, 7.0, 2.0)), 1e-4
    output = model(state_of([atoms]))

    def energy(positions, cell):
        return float(model(state_of([Atoms(atoms.numbers, positions, cell=cell, pbc=True)]))["energy"])

    for k in [(0, 0), (4, 1), (8, 2)]:
        moved = [atoms.positions.copy() for _ in range(4)]
        for positions, steps in zip(moved, (2, 1, -1, -2), strict=True):
            positions[k] += steps * h
        far, near, back, further = (energy(positions, atoms.cell) for positions in moved)
        slope = (8 * (near - back) - (far - further)) / (12 * h)
        assert float(output["forces"][k]) == pytest.approx(-slope, rel=1e-6, abs=1e-9)
    for a, b in [(0, 0), (1, 2), (2, 0)]:
        energies = []
        for steps in (2, 1, -1, -2):
            strain = np.eye(3)
            strain[a, b] += steps * h
            energies.append(energy(atoms.positions @ strain, atoms.cell.array @ strain))
        far, near, back, further = energies
        slope = (8 * (near - back) - (far - further)) / (12 * h)
        assert float(output["stress"][0, a, b]) * atoms.get_volume() == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("convention", ["d3", "d2"])
def test_single_precision_agrees_with_double(convention):
    batch = [box(60, (9.0, 9.5, 10.0), 2), box(40, (8.0, 9.0, 7.0), 5, skew=1.0)]
    parameters = {"a1": 0.6, "alpha": 0.05}
    double = listed(parameters, convention)(state_of(batch))
    single = listed(parameters, convention, dtype=torch.float32)(state_of(batch, torch.float32))
    assert single["energy"].dtype == single["forces"].dtype == torch.float32
    assert_same(single, double, 2e-5)


@pytest.mark.parametrize("convention", ["d3", "d2"])
def test_threads_and_other_systems_change_no_bit(convention, monkeypatch):
    batch = [box(60, (9.0, 9.5, 10.0), 2), box(40, (8.0, 9.0, 7.0), 5, skew=1.0)]
    parameters = {"a1": 0.6, "alpha": 0.05}
    expected = listed(parameters, convention)(state_of(batch))
    for threads in (2, 3, 16):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found = listed(parameters, convention)(state_of(batch))
        assert all(torch.equal(found[name], expected[name]) for name in NAMES)
    monkeypatch.undo()
    alone = listed(parameters, convention)(state_of(batch[1:]))
    for name in NAMES:
        rows = slice(60, None) if name == "forces" else slice(1, None)
        assert torch.equal(alone[name], expected[name][rows])


def test_an_old_list_changes_no_bit():
    """Molecules move, some across the walls of the cell, it changes, and the list is made anew now and then."""
    atoms, rng = box_of_molecules(2), np.random.default_rng(1)
    model = listed({"a1": 0.6, "alpha": 0.05}, "d3", dtype=torch.float32)
    walked, crossed = atoms.positions.copy(), 0
    for step in range(24):
        walked += np.repeat(rng.normal(0, 0.08, (8, 3)), 12, 0)
        atoms.positions = walked + rng.normal(0, 0.03, walked.shape)
        atoms.set_cell(atoms.cell.array * rng.normal(1, 0.0005))
        if step == 12:
            crossed = (atoms.get_positions(wrap=True) != atoms.positions).any(1).sum()
            atoms.wrap()
            walked = atoms.positions.copy()
        kept = model(state_of([atoms], torch.float32))
        fresh = listed({"a1": 0.6, "alpha": 0.05}, "d3", dtype=torch.float32)(state_of([atoms], torch.float32))
        assert all(torch.equal(kept[name], fresh[name]) for name in NAMES), step
    assert 1 < model.list.rebuilds < 16
    assert crossed > 8


def test_groups_are_neighbours_in_the_network_of_bonds():
    """A chain of 40 atoms, two molecules of twelve across the walls, and an atom alone."""
    chain = Atoms("C40", [[1.4 * k, 0, 10] for k in range(40)])
    atoms = chain + box_of_molecules(3)[:24] + Atoms("O", [[30.0, 20, 20]])
    atoms.set_cell([60.0, 30.0, 30.0])
    atoms.pbc = True
    order = np.random.default_rng(5).permutation(len(atoms))
    model = listed({"a1": 0.6, "alpha": 0.05}, "d3")
    model(state_of([atoms[order]]))
    groups = model.compiled(state_of([atoms[order]]))._groups
    assert sorted(groups.members) == list(range(65))
    parts = [sorted(order[part]) for part in np.split(groups.members, groups.starts[1:-1])]
    assert list(range(40, 52)) in parts
    assert list(range(52, 64)) in parts
    assert [64] in parts
    of_chain = [part for part in parts if part[0] < 40]
    assert sum(map(len, of_chain)) == 40
    assert all(len(part) <= LARGEST for part in of_chain)
    assert len(of_chain) <= 5
    assert sorted(groups.dealt) == list(range(len(parts)))


def test_no_partner_is_lost_where_groups_are_in_small_boxes():
    """Molecules in boxes, one of them strongly tilted, in which each meets many images of itself."""
    batch = [box_of_molecules(4)[:12], box_of_molecules(5)[12:24], box_of_molecules(6)[:36], box_of_molecules(7)[:12]]
    cells = [[4.5, 4.9, 5.6], [7.0, 7.4, 8.1], [6.2, 6.6, 7.3], [[6.0, 0, 0], [5.0, 6.0, 0], [-4.0, 5.0, 7.0]]]
    for atoms, cell in zip(batch, cells, strict=True):
        atoms.set_cell(cell)
    parameters = {"a1": 0.6, "alpha": 0.05}
    expected = CSOModel(CSOParameters(**parameters), "d3")(state_of(batch))
    assert_same(listed(parameters, "d3")(state_of(batch)), expected, 1e-10)


def test_another_batch_gets_parameters_of_its_own():
    model = listed({"a1": 0.6, "alpha": 0.05}, "d3")
    for batch in ([box(20, (6.0, 6.5, 7.0), 2)], [box(20, (6.0, 6.5, 7.0), 3, elements="HCN")]):
        assert_same(model(state_of(batch)), CSOModel(CSOParameters(a1=0.6, alpha=0.05), "d3")(state_of(batch)), 1e-10)


def test_one_atom_and_atoms_out_of_reach():
    output = listed({"a1": 0.6, "alpha": 1.0}, "d3")(state_of([Atoms("O"), Atoms("HC", [[0, 0, 0], [0, 0, 40.0]])]))
    assert all((output[name] == 0).all() for name in ("energy", "forces", "cso_S0"))


def test_a_position_that_is_no_number_shows_in_nothing_else():
    batch = [box(20, (6.0, 6.5, 7.0), 2), box(20, (6.0, 6.5, 7.0), 3)]
    expected = listed({"a1": 0.6, "alpha": 0.05}, "d3")(state_of(batch))
    batch[0].positions[3] = np.nan
    found = listed({"a1": 0.6, "alpha": 0.05}, "d3")(state_of(batch))
    assert torch.equal(found["forces"][20:], expected["forces"][20:])
    assert found["energy"][1] == expected["energy"][1]


def test_an_element_without_parameters_is_an_error():
    with pytest.raises(PhysEmbedError, match="d2 has no parameters for Pt"):
        listed({"a1": 0.6}, "d2")(state_of([Atoms("PtO", [[0, 0, 0], [0, 0, 2.0]])]))
