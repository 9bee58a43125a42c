"""A committee as one model file: mean and spread in ASE, torch-sim and the engines, and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch_sim as ts
from ase import Atoms
from numpy.typing import NDArray

from physembed import load_ase, load_torchsim
from physembed.errors import PhysEmbedError
from physembed.export.conditions import Conditions
from physembed.export.engines import open_session
from physembed.export.potential import Potential
from physembed.models.committee import write_committee
from physembed.models.corrected import card_of
from physembed.provenance import file_hash
from tests.unit.models_for_tests import box, random_mace
from tests.unit.test_export import CORRECTION


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three MACE models, three corrected ones, and a committee of each."""
    folder = tmp_path_factory.mktemp("committee")
    paths: dict[str, Path] = {}
    for kind, correction in (("mace", None), ("corrected", CORRECTION)):
        for seed in (1, 2, 3):
            paths[f"{kind}{seed}"] = folder / f"{kind}{seed}.pt"
            module = random_mace(max_L=0, seed=seed)
            # Each is tuned by itself.
            saved = module if correction is None else correction | {"mace": module, "a1": 0.8 + 0.1 * seed}
            torch.save(saved, paths[f"{kind}{seed}"])
        paths[kind] = folder / f"{kind}.pt"
        write_committee(paths[kind], [paths[f"{kind}{seed}"] for seed in (1, 2, 3)])
    return paths


def each(files: dict[str, Path], kind: str, atoms: Atoms) -> tuple[NDArray[np.float64], ...]:
    """Energies (3,), forces (3, n_atoms, 3) and stresses (3, 6) of the members by themselves, through ASE."""
    energies, forces, stresses = [], [], []
    for seed in (1, 2, 3):
        one = atoms.copy()
        one.calc = load_ase(files[f"{kind}{seed}"], device="cpu")
        energies.append(one.get_potential_energy())
        forces.append(one.get_forces())
        stresses.append(one.get_stress() if one.pbc.any() else np.zeros(6))
    return np.array(energies), np.array(forces), np.array(stresses)


def spread(forces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of three vectors for each atom, by their three distances: the sum of their squares over M (M - 1)."""
    pairs = ((0, 1), (0, 2), (1, 2))
    squares = np.sum([np.linalg.norm(forces[i] - forces[j], axis=1) ** 2 for i, j in pairs], axis=0)
    found: NDArray[np.float64] = np.sqrt(squares / 6)
    return found


@pytest.mark.parametrize("kind", ["mace", "corrected"])
def test_mean_and_spread_are_those_of_the_members(kind: str, files: dict[str, Path]) -> None:
    atoms, other = box(14, (6.0, 6.4, 7.0), seed=3, skew=0.8), box(9, (6.0, 5.4, 6.0), seed=4)
    energies, forces, stresses = each(files, kind, atoms)
    assert energies.std() > 1e-3
    atoms.calc = load_ase(files[kind], device="cpu")
    assert atoms.get_potential_energy() == pytest.approx(energies.mean(), rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), forces.mean(axis=0), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(atoms.get_stress(), stresses.mean(axis=0), rtol=1e-9, atol=1e-12)
    assert atoms.calc.results["energy_spread"] == pytest.approx(np.std(energies, ddof=1), rel=1e-9)
    np.testing.assert_allclose(atoms.calc.results["force_spread"], spread(forces), rtol=1e-8)

    model = load_torchsim(files[kind], device="cpu")
    output = model(ts.io.atoms_to_state([other, atoms], model.device, model.dtype))
    assert float(output["energy"][1]) == pytest.approx(energies.mean(), rel=1e-10)
    assert float(output["energy_spread"][1]) == pytest.approx(np.std(energies, ddof=1), rel=1e-8)
    np.testing.assert_allclose(output["force_spread"][len(other) :], spread(forces), rtol=1e-7)
    np.testing.assert_allclose(output["forces"][len(other) :], forces.mean(axis=0), rtol=1e-8, atol=1e-9)

    one_file, several = (
        Potential.of(given, atoms, device="cpu")(atoms.positions, atoms.cell.array)
        for given in (files[kind], [files[f"{kind}{seed}"] for seed in (1, 2, 3)])
    )
    assert one_file.energy == several.energy == pytest.approx(energies.mean(), rel=1e-10)
    assert one_file.force_spread is not None
    np.testing.assert_allclose(one_file.force_spread, spread(forces), rtol=1e-7)


def test_a_molecule_has_no_stress(files: dict[str, Path]) -> None:
    molecule = Atoms("OCH2", [[0, 0, 0], [1.2, 0, 0], [1.8, 0.9, 0], [1.8, -0.9, 0.1]])
    energies, forces, _ = each(files, "mace", molecule)
    molecule.calc = load_ase(files["mace"], device="cpu")
    assert molecule.get_potential_energy() == pytest.approx(energies.mean(), rel=1e-12)
    assert "stress" not in molecule.calc.results
    np.testing.assert_allclose(molecule.calc.results["force_spread"], spread(forces), rtol=1e-8)


@pytest.mark.parametrize("engine", ["torch-sim", "ase", "openmm"])
def test_a_committee_moves_in_an_engine_by_its_mean(engine: str, files: dict[str, Path]) -> None:
    atoms = box(12, (6.0, 6.4, 7.0), seed=4)
    energies, forces, _ = each(files, "corrected", atoms)
    session = open_session(
        engine, files["corrected"], atoms, Conditions(temperature_K=30, timestep_fs=0.05), device="cpu"
    )
    first, before = session.evaluate(), session.structure()
    assert first.energy == pytest.approx(energies.mean(), rel=1e-8)
    np.testing.assert_allclose(first.forces, forces.mean(axis=0), rtol=1e-6, atol=1e-7)
    session.advance(4)
    last, after = session.evaluate(), session.structure()
    exchanged = abs(last.energy - first.energy)
    assert exchanged > 1e-5
    assert abs(last.energy + after.get_kinetic_energy() - first.energy - before.get_kinetic_energy()) < 0.2 * exchanged


def test_models_that_are_no_committee_are_told_in_one_line(files: dict[str, Path], tmp_path: Path) -> None:
    torch.save(random_mace((1, 6), max_L=0), tmp_path / "elements.pt")
    torch.save(random_mace(max_L=0, r_max=4.5), tmp_path / "cutoff.pt")
    torch.save(CORRECTION | {"mace": random_mace(max_L=0), "convention": "d2"}, tmp_path / "d2.pt")
    torch.save(CORRECTION | {"mace": random_mace(max_L=0), "alpha": 0.5}, tmp_path / "alpha.pt")
    (tmp_path / "text.pt").write_text("no model")
    mace, corrected = files["mace1"], files["corrected1"]
    for given, words in (
        ([mace], "alone; a spread needs two models or more"),
        ([], "no file is named"),
        ([mace, tmp_path / "elements.pt"], "elements H C O and H C"),
        ([mace, tmp_path / "cutoff.pt"], "r_max 4 Å and 4.5 Å"),
        ([mace, corrected], "correction none and d3, alpha 0.7"),
        ([corrected, tmp_path / "d2.pt"], "correction d3, alpha 0.7"),
        ([corrected, tmp_path / "alpha.pt"], "alpha 0.5"),
        ([mace, tmp_path / "text.pt"], "cannot be loaded"),
    ):
        with pytest.raises(PhysEmbedError, match=words) as caught:
            write_committee(tmp_path / "made.pt", given)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "made.pt").exists()
    # The same holds where the files are named one by one.
    with pytest.raises(PhysEmbedError, match=r"r_max 4 Å and 4\.5 Å"):
        Potential([mace, tmp_path / "cutoff.pt"], [1], periodic=False).load()


def test_the_card_names_the_members(files: dict[str, Path]) -> None:
    text = card_of(files["corrected"])
    for part in ("| members | 3 |", "H, C, O", "a1 0.9, 1, 1.1", "corrected2.pt", file_hash(files["corrected2"])):
        assert part in text


def test_the_same_models_give_the_same_file(files: dict[str, Path], tmp_path: Path) -> None:
    write_committee(tmp_path / "again.pt", [files[f"mace{seed}"] for seed in (1, 2, 3)])
    assert file_hash(tmp_path / "again.pt") == file_hash(files["mace"])
