"""CSO against independent codes: `d3` against the dftd3 package, `d2` against a plain double loop."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch_sim
from ase import Atoms, units
from ase.data import covalent_radii
from dftd3.interface import CSODampingParam, DispersionModel

from physembed.cso import CSOModel, CSOParameters, Cutoffs
from physembed.units import BOHR, HARTREE

ORGANIC = [1, 1, 1, 6, 6, 7, 8, 9]
OTHERS = [3, 5, 11, 12, 14, 15, 16, 17, 26, 29, 35, 53, 78]
BATCHES = 3
SYSTEMS = 10  # per batch; two kinds of boundaries and three batches give 60 systems

ORACLE_CUTOFFS = Cutoffs(dispersion=60.0 * BOHR, dispersion_width=0.0, coordination=40.0 * BOHR, coordination_width=0.0)
SWITCHED_CUTOFFS = Cutoffs(dispersion=12.0, dispersion_width=2.0, coordination=40.0 * BOHR, coordination_width=0.0)


def random_atoms(rng: np.random.Generator, periodic: bool, elements: list[int]) -> Atoms:
    """A compact cluster, or a skewed box of 4 to 8 Å with atoms inside and outside it, without overlaps."""
    n = int(rng.integers(2, 13))
    cell = np.diag(rng.uniform(4.0, 8.0, 3)) + rng.normal(0.0, 0.6, (3, 3))
    numbers, positions = [], []
    while len(numbers) < n:
        trial = rng.uniform(0.0, 1.0, 3) @ cell if periodic else rng.normal(0.0, 2.5, 3)
        z = int(rng.choice(elements))
        candidate = Atoms([*numbers, z], [*positions, trial], cell=cell, pbc=periodic)
        distances = candidate.get_distances(-1, range(len(numbers)), mic=periodic) if numbers else np.array([])
        if (distances < 0.75 * (covalent_radii[z] + covalent_radii[numbers])).any():
            n -= 1  # a crowded box ends up with fewer atoms
            continue
        numbers.append(z)
        positions.append(trial)
    atoms = Atoms(numbers, positions, cell=cell if periodic else None, pbc=periodic)
    if periodic:
        atoms.positions += rng.integers(-2, 3, (len(atoms), 3)) @ cell
    return atoms


def random_batch(seed: int, periodic: bool) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    return [random_atoms(rng, periodic, ORGANIC if k % 2 else ORGANIC + OTHERS) for k in range(SYSTEMS)]


def random_parameters(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], SYSTEMS)
    return {
        "alpha": signs * rng.uniform(0.03, 1.2, SYSTEMS),
        "a1": rng.uniform(-0.3, 1.5, SYSTEMS),
        "s6": rng.uniform(0.6, 1.2, SYSTEMS),
        "a2": rng.uniform(2.0, 3.0, SYSTEMS),
        "a3": rng.uniform(0.0, 0.2, SYSTEMS),
        "a4": rng.uniform(5.0, 7.0, SYSTEMS),
    }


def evaluate(batch: list[Atoms], model: CSOModel) -> dict[str, np.ndarray]:
    state = torch_sim.io.atoms_to_state(batch, torch.device("cpu"), torch.float64)
    return {key: value.numpy() for key, value in model(state).items()}


@pytest.mark.parametrize("cutoffs", [ORACLE_CUTOFFS, SWITCHED_CUTOFFS], ids=["sharp", "switched"])
@pytest.mark.parametrize("periodic", [False, True], ids=["molecules", "boxes"])
@pytest.mark.parametrize("seed", range(BATCHES))
def test_d3_agrees_with_dftd3(seed: int, periodic: bool, cutoffs: Cutoffs) -> None:
    """Each system of a batch has its own parameters and is compared alone."""
    batch = random_batch(seed, periodic)
    parameters = random_parameters(seed + 100)
    output = evaluate(batch, CSOModel(CSOParameters(**parameters), "d3", cutoffs))
    forces = np.split(output["forces"], np.cumsum([len(atoms) for atoms in batch])[:-1])
    for k, atoms in enumerate(batch):
        own = {name: float(values[k]) for name, values in parameters.items()}
        alpha = own.pop("alpha")
        oracle = DispersionModel(
            atoms.numbers,
            atoms.positions / BOHR,
            lattice=atoms.cell.array / BOHR if periodic else None,
            periodic=atoms.pbc if periodic else None,
        )
        oracle.set_realspace_cutoff(
            disp2=cutoffs.dispersion / BOHR,
            disp3=0.0,
            cn=cutoffs.coordination / BOHR,
            width2=cutoffs.dispersion_width / BOHR,
        )
        expected = oracle.get_dispersion(CSODampingParam(s9=0.0, **own), grad=True)
        assert output["energy"][k] == pytest.approx(alpha * HARTREE * float(expected["energy"]), rel=1e-6)
        expected_forces = -alpha * HARTREE / BOHR * expected["gradient"]
        scale = np.abs(expected_forces).max()
        np.testing.assert_allclose(forces[k], expected_forces, rtol=0.0, atol=1e-5 * scale + 1e-14)
        if periodic:
            expected_stress = alpha * HARTREE * expected["virial"] / atoms.get_volume()
            scale = np.abs(expected_stress).max()
            np.testing.assert_allclose(output["stress"][k], expected_stress, rtol=0.0, atol=1e-5 * scale)


def test_boxes_are_shorter_than_twice_the_cutoff() -> None:
    """What the comparison with dftd3 rests on: small boxes, and enough systems."""
    boxes = [atoms for seed in range(BATCHES) for atoms in random_batch(seed, True)]
    molecules = [atoms for seed in range(BATCHES) for atoms in random_batch(seed, False)]
    assert len(boxes) + len(molecules) >= 50
    assert all(atoms.cell.lengths().max() < SWITCHED_CUTOFFS.dispersion for atoms in boxes)
    assert np.mean([len(atoms) for atoms in boxes + molecules]) > 5


# Grimme 2006, Table 1: C6 in J nm^6/mol and R0 in Å.
GRIMME = {1: (0.14, 1.001), 6: (1.75, 1.452), 7: (1.23, 1.397), 8: (0.70, 1.342), 9: (0.75, 1.287)}


def double_loop(atoms: Atoms, alpha: float, a1: float, s6: float, cutoff: float) -> float:
    """E in eV by the letter of the equation: every ordered pair and image, shifted to zero at the cutoff (Å)."""
    joule_nm6 = units.kcal / units.mol / 4184.0 / HARTREE * (10.0 / BOHR) ** 6

    def pair(r: float, c6: float, r0: float) -> float:
        return (s6 + a1 / (1.0 + math.exp(r - 2.5 * r0))) * c6 / (r**6 + 6.25**6)

    images = range(-6, 7) if atoms.pbc.any() else range(1)
    energy = 0.0
    for i, j in itertools.product(range(len(atoms)), repeat=2):
        (c6_i, r_i), (c6_j, r_j) = GRIMME[atoms.numbers[i]], GRIMME[atoms.numbers[j]]
        c6, r0 = math.sqrt(c6_i * c6_j) * joule_nm6, (r_i + r_j) / BOHR
        for shift in itertools.product(images, repeat=3):
            if i == j and shift == (0, 0, 0):
                continue
            vector = atoms.positions[j] + np.array(shift) @ atoms.cell.array - atoms.positions[i]
            distance = math.sqrt(vector @ vector)
            if distance < cutoff:
                energy -= pair(distance / BOHR, c6, r0) - pair(cutoff / BOHR, c6, r0)
    return alpha * HARTREE * energy


@pytest.mark.parametrize("periodic", [False, True], ids=["molecules", "boxes"])
def test_d2_agrees_with_a_double_loop(periodic: bool) -> None:
    rng = np.random.default_rng(7)
    batch = [random_atoms(rng, periodic, ORGANIC) for _ in range(4)]
    for atoms in batch:
        atoms.wrap()  # the loop takes six images to each side
    alpha, a1 = rng.uniform(-0.1, 0.1, len(batch)), rng.uniform(0.3, 1.2, len(batch))
    output = evaluate(batch, CSOModel(CSOParameters(a1=a1, alpha=alpha), "d2"))
    expected = [double_loop(atoms, alpha[k], a1[k], 0.73, 10.0) for k, atoms in enumerate(batch)]
    np.testing.assert_allclose(output["energy"], expected, rtol=1e-8)
