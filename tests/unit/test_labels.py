"""xTB labels: against tblite's ASE calculator and finite differences; the retry ladder, the ledger, resume."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import molecule
from rdkit import Chem
from rdkit.Chem import AllChem
from tblite.ase import TBLite

from physembed.config import Labels
from physembed.errors import PhysEmbedError
from physembed.labels.labelling import label_frames
from physembed.labels.ledger import LedgerRow, judge
from physembed.labels.reference import Connectivity, bonded, relaxed_molecules
from physembed.labels.worker import Worker
from physembed.labels.xtb import Label, calculate
from physembed.molecules.structure import from_smiles

SETTINGS = Labels()
ETHANOL_BONDS = pd.DataFrame([(0, 1), (1, 2), (2, 3), (1, 4), (1, 5), (0, 6), (0, 7), (0, 8)], columns=["i", "j"])
VOIGT = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


def ethanol(seed: int = 0) -> Atoms:
    """Ethanol with random displacements; bond 1-2 is C-O, atoms 2 and 3 are the hydroxyl group."""
    atoms = molecule("CH3CH2OH")
    atoms.positions += np.random.default_rng(seed).normal(0, 0.03, (len(atoms), 3))
    atoms.info["source_frame"] = 100 + seed
    return atoms


def broken_ethanol() -> Atoms:
    """Ethanol whose hydroxyl group is moved away by 3 Å."""
    atoms = ethanol()
    axis = atoms.positions[2] - atoms.positions[1]
    atoms.positions[[2, 3]] += 3.0 * axis / np.linalg.norm(axis)
    return atoms


def water_crystal() -> Atoms:
    """One water molecule in a small triclinic cell, under strain."""
    atoms = molecule("H2O")
    atoms.positions += np.random.default_rng(1).normal(0, 0.03, (3, 3))
    atoms.set_cell([[3.2, 0, 0], [0.4, 3.5, 0], [0.2, 0.3, 3.8]])
    atoms.pbc = True
    return atoms


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indices of the frames that were handed to a worker."""
    indices: list[int] = []
    take = Worker.take

    def counted(self: Worker, frame: int, *rest: object) -> None:
        indices.append(frame)
        take(self, frame, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Worker, "take", counted)
    return indices


# One frame


@pytest.mark.parametrize("method", ["GFN2-xTB", "GFN1-xTB"])
@pytest.mark.parametrize("frame", [ethanol(), water_crystal()], ids=["isolated", "periodic"])
def test_label_is_that_of_the_ase_calculator(frame: Atoms, method: str) -> None:
    label = calculate(frame, Labels(method=method))
    oracle = frame.copy()
    oracle.calc = TBLite(method=method, verbosity=0)
    assert label.converged
    assert label.scf_retries == 0
    assert label.energy_eV == pytest.approx(oracle.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(label.forces_eV_A, oracle.get_forces(), atol=1e-9)
    if frame.pbc.all():
        np.testing.assert_allclose(label.stress_eV_A3, oracle.get_stress(), atol=1e-10)
    else:
        assert label.stress_eV_A3 is None


def test_forces_are_the_negative_derivative_of_the_energy() -> None:
    frame, h = ethanol(), 5e-4
    numeric = np.zeros((len(frame), 3))
    for atom, axis in np.ndindex(numeric.shape):
        energies = []
        for step in (h, -h):
            moved = frame.copy()
            moved.positions[atom, axis] += step
            energies.append(calculate(moved, SETTINGS).energy_eV)
        numeric[atom, axis] = -(energies[0] - energies[1]) / (2 * h)
    np.testing.assert_allclose(calculate(frame, SETTINGS).forces_eV_A, numeric, atol=1e-4)


def test_stress_is_the_derivative_of_the_energy_by_strain_over_the_volume() -> None:
    frame, settings, h = water_crystal(), Labels(accuracy=0.01), 2e-4
    numeric = np.zeros(6)
    for k, (i, j) in enumerate(VOIGT):
        energies = []
        for step in (h, -h):
            deformation = np.eye(3)
            deformation[i, j] += step / 2
            deformation[j, i] += step / 2
            strained = frame.copy()
            strained.set_cell(frame.cell.array @ deformation, scale_atoms=True)
            energies.append(calculate(strained, settings).energy_eV)
        numeric[k] = (energies[0] - energies[1]) / (2 * h * frame.get_volume())
    stress = calculate(frame, settings).stress_eV_A3
    assert np.abs(numeric).max() > 0.01
    np.testing.assert_allclose(stress, numeric, atol=5e-6)


def test_rotation_leaves_the_energy_and_turns_the_forces() -> None:
    frame = ethanol()
    turned = frame.copy()
    turned.rotate(73, (1, 2, 3))
    rotation = np.linalg.lstsq(frame.positions, turned.positions, rcond=None)[0]
    label, after = calculate(frame, SETTINGS), calculate(turned, SETTINGS)
    assert after.energy_eV == pytest.approx(label.energy_eV, abs=1e-7)
    np.testing.assert_allclose(after.forces_eV_A, label.forces_eV_A @ rotation, atol=1e-5)


def test_charge_is_the_total_charge() -> None:
    frame = Atoms("OH", [(0, 0, 0), (0, 0, 0.98)])
    oracle = frame.copy()
    oracle.calc = TBLite(method="GFN2-xTB", charge=-1, verbosity=0)
    anion = calculate(frame, SETTINGS, charge=-1).energy_eV
    assert anion == pytest.approx(oracle.get_potential_energy(), abs=1e-9)
    assert abs(anion - calculate(frame, SETTINGS).energy_eV) > 1


def test_bonds_of_a_radical_are_found() -> None:
    frame = molecule("CH3")
    assert bonded(calculate(frame, SETTINGS).bond_orders, 0.5) == {(0, 1), (0, 2), (0, 3)}


@pytest.mark.parametrize("smiles", ["CC(=O)Nc1ccc(O)cc1", "COC(F)(F)C(F)(F)C(F)(F)F", "O=C1OCCO1"])
def test_electronic_structure_bonds_the_atoms_that_chemistry_does(smiles: str) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    frame = Atoms([atom.GetAtomicNum() for atom in mol.GetAtoms()], mol.GetConformer().GetPositions())
    expected = {tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in mol.GetBonds()}
    assert bonded(calculate(frame, SETTINGS).bond_orders, SETTINGS.bond_order_threshold) == expected


def test_what_cannot_be_labelled_is_refused() -> None:
    slab = water_crystal()
    slab.pbc = (True, True, False)
    with pytest.raises(PhysEmbedError, match="pbc"):
        calculate(slab, SETTINGS)
    poisoned = ethanol()
    poisoned.positions[4, 1] = np.nan
    with pytest.raises(PhysEmbedError, match="not finite"):
        calculate(poisoned, SETTINGS)


# The retry ladder


def stretched(name: str, factor: float) -> Atoms:
    """A molecule whose SCF is difficult because its bonds are broken."""
    atoms = molecule(name)
    atoms.positions *= factor
    return atoms


def test_hot_density_leads_to_a_label_at_the_temperature_of_the_settings() -> None:
    frame = stretched("HOCl", 2.0)
    alone = calculate(frame, Labels(retry_electronic_temperatures_K=[]))
    assert not alone.converged
    by_1000_K = calculate(frame, Labels(retry_electronic_temperatures_K=[1000.0]))
    by_3000_K = calculate(frame, Labels(retry_electronic_temperatures_K=[3000.0]))
    assert by_1000_K.converged
    assert by_3000_K.converged
    assert by_1000_K.scf_retries == 2
    # The solution at 300 K does not depend on the way to it, and a slower mixer finds it without any ladder.
    assert by_1000_K.energy_eV == pytest.approx(by_3000_K.energy_eV, abs=1e-6)
    oracle = frame.copy()
    oracle.calc = TBLite(method="GFN2-xTB", verbosity=0, mixer_damping=0.05)
    assert by_1000_K.energy_eV == pytest.approx(oracle.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(by_1000_K.forces_eV_A, oracle.get_forces(), atol=1e-4)
    # It is not the hot surface, whose energy is a different one.
    hot = calculate(frame, Labels(electronic_temperature_K=3000.0))
    assert hot.converged
    assert abs(hot.energy_eV - by_3000_K.energy_eV) > 1e-3
    row = judge(0, frame, by_1000_K, SETTINGS, None)
    assert (row.status, row.electronic_temperature_K) == ("ok", 300.0)
    assert "1000 K" in row.reason


def test_frame_that_never_converges_climbs_the_whole_ladder_and_is_rejected() -> None:
    settings = Labels(max_iterations=2)
    label = calculate(water_crystal(), settings)
    assert not label.converged
    assert label.scf_retries == len(settings.retry_electronic_temperatures_K)
    assert np.isnan(label.energy_eV)
    assert np.isnan(label.forces_eV_A).all()
    row = judge(7, water_crystal(), label, settings, None)
    assert row.status == "not_converged"
    assert np.isnan(row.electronic_temperature_K)
    for temperature in ("300 K", "1000 K", "3000 K"):
        assert temperature in row.reason


# The ledger


@pytest.mark.parametrize("name", ["energy_eV", "forces_eV_A", "stress_eV_A3", "bond_orders"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_poisoned_label_is_non_finite(name: str, poison: float) -> None:
    frame = water_crystal()
    label = calculate(frame, SETTINGS)
    assert judge(0, frame, label, SETTINGS, None).status == "ok"
    value = np.array(getattr(label, name), dtype=float)
    value.flat[-1] = poison
    bad: Label = replace(label, **{name: value if value.ndim else float(value)})
    row = judge(0, frame, bad, SETTINGS, None)
    assert row.status == "non_finite"
    assert name.split("_")[0] in row.reason


def ethanol_bonds(*without: tuple[int, int]) -> Connectivity:
    pairs = frozenset(ETHANOL_BONDS.itertuples(index=False, name=None))
    return Connectivity(pairs - set(without), calculate(molecule("CH3CH2OH"), SETTINGS).bond_orders)


def test_connectivity_counts_lost_and_gained_bonds() -> None:
    frame = broken_ethanol()
    label = calculate(frame, SETTINGS)
    row = judge(0, frame, label, SETTINGS, ethanol_bonds())
    assert (row.status, row.connectivity_changes) == ("connectivity", "lost 1-2")
    assert (row.bonds_before, row.bonds_after) == (8, 7)
    assert "lost 1-2 (bond order 0.00, relaxed 0.9" in row.reason
    assert judge(0, frame, label, SETTINGS, None).status == "ok"


def test_bond_orders_count_against_those_of_the_relaxed_molecule() -> None:
    relaxed = np.zeros((3, 3))
    relaxed[0, 1] = relaxed[1, 0] = 1.0
    relaxed[1, 2] = relaxed[2, 1] = 0.4  # a weak bond: broken at half of its order, not at the threshold
    relaxed[0, 2] = relaxed[2, 0] = 0.6  # no bond: made at 0.3 more
    reference = Connectivity(frozenset({(0, 1), (1, 2)}), relaxed)

    def after(*orders: float) -> list[tuple[int, int]]:
        matrix = np.zeros((3, 3))
        for (i, j), order in zip([(0, 1), (1, 2), (0, 2)], orders, strict=True):
            matrix[i, j] = matrix[j, i] = order
        return sorted(reference.after(matrix, 0.3))

    assert after(0.31, 0.21, 0.89) == [(0, 1), (1, 2)]
    assert after(0.29, 0.19, 0.89) == []
    assert after(0.31, 0.21, 0.91) == [(0, 1), (0, 2), (1, 2)]


def frames_of(smiles: str, count: int = 3, *, sigma_A: float = 0.04) -> tuple[list[Atoms], pd.DataFrame]:
    """A molecule with random displacements, and its bonds."""
    mol = from_smiles(smiles, seed=1)
    numbers, positions = [atom.GetAtomicNum() for atom in mol.GetAtoms()], mol.GetConformer().GetPositions()
    generator = np.random.default_rng(0)
    bonds = sorted(sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in mol.GetBonds())
    frames = [Atoms(numbers, positions + generator.normal(0, sigma_A, positions.shape)) for _ in range(count)]
    return frames, pd.DataFrame(bonds, columns=["i", "j"])


@pytest.mark.parametrize(
    "smiles",
    ["CC[N+](=O)[O-]", "CCN=C=O", "CCN=[N+]=[N-]", "O=C=O", "S=C=S", "[N-]=[N+]=O", "O=S=O", "CN=C=S", "C=[N+]=[N-]"],
)
def test_bond_orders_between_atoms_that_no_bond_joins_are_no_rearrangement(tmp_path: Path, smiles: str) -> None:
    frames, bonds = frames_of(smiles)
    _, ledger = label_frames(frames, SETTINGS, charge=0, bonds=bonds, workers=1, restart_dir=tmp_path)
    assert set(ledger["status"]) == {"ok"}
    assert set(ledger["bonds_after"]) == {len(bonds)}


def test_proton_transfer_is_a_rearrangement(tmp_path: Path) -> None:
    """In formic acid, from one oxygen to the other; both structures are minima."""
    (acid, *others), bonds = frames_of("OC=O", 5, sigma_A=0.01)
    hydroxyl, carbonyl = 0, 2
    hydrogen = next(j for i, j in bonds.itertuples(index=False) if i == hydroxyl and acid.numbers[j] == 1)
    oxygen, carbon = acid.positions[carbonyl], acid.positions[1]
    acid.positions[hydrogen] = oxygen + 0.97 * (oxygen - carbon) / np.linalg.norm(oxygen - carbon)
    _, ledger = label_frames([*others, acid], SETTINGS, charge=0, bonds=bonds, workers=1, restart_dir=tmp_path)
    assert ledger["status"].tolist() == ["ok"] * 4 + ["connectivity"]
    assert ledger["connectivity_changes"][4] == f"lost {hydroxyl}-{hydrogen}; gained {carbonyl}-{hydrogen}"


def test_molecule_that_rearranges_when_relaxed_is_compared_with_its_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Zwitterionic glycine in vacuum gives its proton back at once."""
    frames, bonds = frames_of("[NH3+]CC(=O)[O-]", sigma_A=0.02)
    _, ledger = label_frames(frames, SETTINGS, charge=0, bonds=bonds, workers=1, restart_dir=tmp_path)
    assert set(ledger["status"]) == {"ok"}
    assert "C2H5NO2 is not stable in GFN2-xTB: relaxed it has lost 0-" in caplog.text


def test_topology_of_another_molecule_is_refused(tmp_path: Path) -> None:
    bonds = ETHANOL_BONDS.replace({"j": {8: 2}})  # a hydrogen of the methyl group bonded to the oxygen
    with pytest.raises(PhysEmbedError, match=r"atoms 0 and 2, bonded in the topology, have a bond order of 0\.0"):
        label_frames([ethanol()], SETTINGS, charge=0, bonds=bonds, workers=1, restart_dir=tmp_path)


def test_each_molecule_of_a_box_is_compared_with_its_own_kind(tmp_path: Path) -> None:
    """CO2 and water, one molecule across the boundary; molecules of the same kind are relaxed once."""
    carbon_dioxide, water = molecule("CO2"), molecule("H2O")
    box = Atoms(cell=[8, 8, 8], pbc=True)
    for part, place in ((carbon_dioxide, (2, 2, 2)), (water, (5, 5, 0.2)), (carbon_dioxide, (5, 2, 6))):
        part = part.copy()
        part.positions += np.array(place) - part.positions[0]
        box += part
    box.wrap()
    assert np.ptp(box.positions[3:6, 2]) > 4, "the water molecule lies across the boundary"
    bonds = pd.DataFrame([(0, 1), (0, 2), (3, 4), (3, 5), (6, 7), (6, 8)], columns=["i", "j"])
    pairs = frozenset(bonds.itertuples(index=False, name=None))
    kinds = relaxed_molecules([box], pairs, SETTINGS)
    assert [(len(kind.atoms), len(kind.kind.members)) for kind in kinds] == [(3, 2), (3, 1)]
    oxygens = [kind.orders[1, 2] for kind in kinds]
    assert oxygens[0] > 0.35
    assert abs(oxygens[1]) < 0.01
    assert kinds[1].atoms.get_distance(0, 1) == pytest.approx(0.96, abs=0.01)
    _, ledger = label_frames([box], SETTINGS, charge=0, bonds=bonds, workers=1, restart_dir=tmp_path)
    assert ledger["status"].tolist() == ["ok"]


def test_force_field_far_from_the_labels_is_named_with_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bonds, generator = pd.DataFrame([(0, 1), (0, 2)], columns=["i", "j"]), np.random.default_rng(0)
    frames = [molecule("CO2") for _ in range(8)]
    for frame in frames:
        frame.positions += generator.normal(0, 0.015, (3, 3))
    label_frames(frames, SETTINGS, charge=0, bonds=bonds, workers=1, restart_dir=tmp_path)
    assert "far from" not in caplog.text
    for frame in frames:
        frame.set_angle(1, 0, 2, 150, mask=[0, 0, 1])
        frame.set_distance(0, 1, 1.35, fix=0)
    label_frames(frames, Labels(max_rejected_fraction=0.9), charge=0, bonds=bonds, workers=1, restart_dir=tmp_path)
    assert "CO2: C0-O1 is 1.35 Å on average, relaxed 1.1" in caplog.text
    assert "O1-C0-O2 is 150 degrees on average, relaxed 180" in caplog.text
    caplog.clear()
    for frame in frames:
        frame.info["modifications"] = '[{"bond": [0, 1]}]'
    label_frames(frames, Labels(max_rejected_fraction=0.9), charge=0, bonds=bonds, workers=1, restart_dir=tmp_path)
    assert "far from" not in caplog.text


def test_multiplicity_is_that_of_the_label() -> None:
    """With all orbitals of the singlet doubly filled (electronic temperature 0) the two differ."""
    oxygen, settings = molecule("O2"), Labels(electronic_temperature_K=0)
    energies = {multiplicity: calculate(oxygen, settings, 0, multiplicity).energy_eV for multiplicity in (1, 3)}
    oracle = oxygen.copy()
    oracle.calc = TBLite(method="GFN2-xTB", multiplicity=3, electronic_temperature=0.0, verbosity=0)
    assert energies[3] == pytest.approx(oracle.get_potential_energy(), abs=1e-9)
    assert abs(energies[3] - energies[1]) > 0.05
    with pytest.raises(PhysEmbedError, match="O2: multiplicity 2: 16 electrons allow 1, 3, "):
        calculate(oxygen, settings, 0, 2)
    assert calculate(molecule("NO"), SETTINGS, 0, 2).energy_eV == calculate(molecule("NO"), SETTINGS).energy_eV


def test_force_cap_counts_the_length_of_the_largest_force() -> None:
    frame = ethanol()
    label = calculate(frame, SETTINGS)
    largest = max(float(np.sqrt(force @ force)) for force in label.forces_eV_A)
    below, above = (Labels(max_force_eV_A=largest + shift) for shift in (-1e-6, 1e-6))
    assert judge(0, frame, label, below, None).status == "force_cap"
    assert judge(0, frame, label, above, None).status == "ok"
    assert judge(0, frame, label, above, None).max_force_eV_A == pytest.approx(largest)


# Many frames


def test_each_frame_has_its_row_and_only_good_ones_are_accepted(tmp_path: Path, taken: list[int]) -> None:
    poisoned = ethanol(1)
    poisoned.positions[4] = np.nan
    frames = [ethanol(0), poisoned, broken_ethanol(), ethanol(2), ethanol(0)]
    accepted, ledger = label_frames(
        frames, Labels(max_rejected_fraction=0.5), charge=0, bonds=ETHANOL_BONDS, workers=1, restart_dir=tmp_path
    )
    assert list(ledger.columns) == [field.name for field in fields(LedgerRow)]
    assert ledger["frame"].tolist() == [0, 1, 2, 3, 4]
    assert ledger["source_frame"].tolist() == [100, 101, 100, 102, 100]
    assert ledger["status"].tolist() == ["ok", "non_finite", "connectivity", "ok", "ok"]
    assert "atoms 4" in ledger["reason"][1]
    assert taken == [0, 2, 3], "equal frames are calculated once, poisoned ones never"
    assert [atoms.info["source_frame"] for atoms in accepted] == [100, 102, 100]
    for atoms, index in zip(accepted, (0, 3, 4), strict=True):
        label = calculate(frames[index], SETTINGS)
        assert atoms.info["REF_energy"] == ledger["energy_eV"][index] == pytest.approx(label.energy_eV, abs=1e-9)
        np.testing.assert_allclose(atoms.arrays["REF_forces"], label.forces_eV_A, atol=1e-10)
        assert "REF_stress" not in atoms.info
        assert "REF_energy" not in frames[index].info, "the caller's frames stay as they are"


def test_workers_threads_and_order_do_not_change_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    frames = [*(ethanol(seed) for seed in range(4)), water_crystal()]
    one, two = (
        label_frames(frames, SETTINGS, charge=0, bonds=None, workers=n, restart_dir=tmp_path / str(n)) for n in (1, 2)
    )
    pd.testing.assert_frame_equal(one[1], two[1], check_exact=True)
    for a, b, frame in zip(one[0], two[0], frames, strict=True):
        direct = calculate(frame, SETTINGS).forces_eV_A
        np.testing.assert_array_equal(a.arrays["REF_forces"], b.arrays["REF_forces"])
        np.testing.assert_allclose(a.arrays["REF_forces"], direct, atol=1e-10)
    np.testing.assert_array_equal(one[0][4].info["REF_stress"], two[0][4].info["REF_stress"])


def test_resume_calculates_only_what_is_missing(tmp_path: Path, taken: list[int]) -> None:
    def run(count: int, settings: Labels = SETTINGS) -> tuple[list[Atoms], pd.DataFrame]:
        taken.clear()
        frames = [ethanol(seed) for seed in range(count)]
        return label_frames(frames, settings, charge=0, bonds=None, workers=1, restart_dir=tmp_path)

    run(2)
    assert sorted(taken) == [0, 1]
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    accepted, ledger = run(4)
    assert sorted(taken) == [2, 3]
    assert {path: path.stat().st_mtime_ns for path in written} == written
    again, same = run(4)
    assert taken == []
    pd.testing.assert_frame_equal(ledger, same, check_exact=True)
    for a, b in zip(accepted, again, strict=True):
        np.testing.assert_array_equal(a.arrays["REF_forces"], b.arrays["REF_forces"])
    # A rejection rule is applied to what is stored; a setting of the calculation makes another label.
    _, ledger = run(4, Labels(max_force_eV_A=float(ledger["max_force_eV_A"].max()) - 1e-6, max_rejected_fraction=0.9))
    assert taken == []
    assert ledger["status"].value_counts()["force_cap"] == 1
    run(4, Labels(method="GFN1-xTB"))
    assert sorted(taken) == [0, 1, 2, 3]


def test_torn_records_are_calculated_again(tmp_path: Path, taken: list[int]) -> None:
    frames = [ethanol(seed) for seed in range(4)]

    def run() -> pd.DataFrame:
        taken.clear()
        return label_frames(frames, SETTINGS, charge=0, bonds=None, workers=1, restart_dir=tmp_path)[1]

    ledger = run()
    paths = sorted(tmp_path.glob("*.npz"))
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[: len(content) // 2])
    paths[1].write_bytes(b"")
    middle = len(content) // 3
    paths[2].write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    pd.testing.assert_frame_equal(run(), ledger, check_exact=True)
    assert len(taken) == 3


CRASH_ON_WATER = """
import os, signal
from tblite.interface import Calculator

singlepoint = Calculator.singlepoint

def crash(self, *args):
    if len(self) == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return singlepoint(self, *args)

Calculator.singlepoint = crash
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_that_dies_is_an_error_that_names_the_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[int], workers: int
) -> None:
    frames = [ethanol(0), ethanol(1), water_crystal(), ethanol(2), ethanol(3)]

    def run() -> pd.DataFrame:
        taken.clear()
        store = tmp_path / "store"
        return label_frames(frames, SETTINGS, charge=0, bonds=None, workers=workers, restart_dir=store)[1]

    with monkeypatch.context() as patch:
        (tmp_path / "sitecustomize.py").write_text(CRASH_ON_WATER)
        patch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(PhysEmbedError, match="frame 2: its worker process ended with SIGSEGV") as error:
            run()
    assert "\n" not in str(error.value)
    assert run()["status"].tolist() == ["ok"] * 5
    assert 2 in taken
    assert 0 not in taken, "what was finished before the crash is kept"


def test_worker_that_cannot_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(3)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(PhysEmbedError, match="frame 0: its worker process ended with exit code 3"):
        label_frames([ethanol()], SETTINGS, charge=0, bonds=None, workers=1, restart_dir=tmp_path)


def test_too_many_rejects_end_the_stage_with_the_counts(tmp_path: Path) -> None:
    frames = [ethanol(0), ethanol(1), broken_ethanol(), ethanol(2)]

    def run(fraction: float) -> list[Atoms]:
        settings = Labels(max_rejected_fraction=fraction)
        return label_frames(frames, settings, charge=0, bonds=ETHANOL_BONDS, workers=1, restart_dir=tmp_path)[0]

    assert len(run(0.25)) == 3
    with pytest.raises(
        PhysEmbedError, match=r"1 of 4 frames rejected \(3 ok, 1 connectivity\).*frame 2.*lost 1-2"
    ) as error:
        run(0.24)
    assert "these frames are unmodified" in str(error.value)
    for frame in frames:
        frame.info["modifications"] = '[{"bond": [1, 2]}]'
    with pytest.raises(PhysEmbedError, match=r"arms\.\*\.stretch_A"):
        run(0.24)


def test_frames_of_a_model_may_all_be_rejected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And nothing is said of a force field, from which they are not."""
    accepted, ledger = label_frames(
        [broken_ethanol(), broken_ethanol()], Labels(), charge=0, bonds=ETHANOL_BONDS, workers=1, restart_dir=tmp_path,
        of_a_model=True,
    )  # fmt: skip
    assert accepted == [] and ledger["status"].tolist() == ["connectivity"] * 2
    assert "force field" not in caplog.text


def test_wrong_input_is_one_line_that_names_the_frame(tmp_path: Path) -> None:
    def run(frames: list[Atoms], charge: int = 0, bonds: pd.DataFrame | None = None, workers: int = 1) -> str:
        with pytest.raises(PhysEmbedError) as error:
            label_frames(frames, SETTINGS, charge=charge, bonds=bonds, workers=workers, restart_dir=tmp_path)
        assert "\n" not in str(error.value)
        return str(error.value)

    charged, coincident = ethanol(), ethanol()
    charged.info["charge"] = 1
    coincident.positions[3] = coincident.positions[2]
    assert "no frames" in run([])
    assert "workers 0" in run([ethanol()], workers=0)
    assert "frame 1: its charge 1 is not the molecule's 0" in run([ethanol(), charged])
    assert "frame 1: GFN2-xTB cannot be set up for C2H6O: Too close" in run([ethanol(), coincident])
    assert "bond 0-9" in run([ethanol()], bonds=pd.DataFrame({"i": [0, 0], "j": [1, 9]}))


def test_labels_survive_extended_xyz(tmp_path: Path) -> None:
    modification = {"bond": [1, 2], "types": "c3-oh", "segment": "stretching", "from_A": 1.43, "to_A": 1.6}
    frames = [ethanol(0), ethanol(1), water_crystal()]
    frames[0].info["modifications"] = json.dumps([modification])
    frames[1].info["modifications"] = "[]"
    accepted, _ = label_frames(frames, SETTINGS, charge=0, bonds=None, workers=1, restart_dir=tmp_path)
    ase.io.write(tmp_path / "labels.xyz", accepted)
    read = ase.io.read(tmp_path / "labels.xyz", ":")
    for before, after in zip(accepted, read, strict=True):
        assert after.calc is None
        assert set(after.info) == set(before.info)
        assert after.info["REF_energy"] == pytest.approx(before.info["REF_energy"], abs=1e-9)
        np.testing.assert_allclose(after.arrays["REF_forces"], before.arrays["REF_forces"], atol=1e-7)
    assert json.loads(read[0].info["modifications"]) == [modification]
    assert json.loads(read[1].info["modifications"]) == []
    assert read[0].info["source_frame"] == 100
    np.testing.assert_allclose(read[2].info["REF_stress"], accepted[2].info["REF_stress"], atol=1e-9)
