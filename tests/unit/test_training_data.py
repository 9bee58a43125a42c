"""Training sets that users give: what frames need, the conventions of the field, and numbers that cannot be right."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from physembed.config.liquids import LiquidTraining
from physembed.errors import PhysEmbedError
from physembed.provenance import file_hash
from physembed.study import load_study
from physembed.training.data import apart, read_labelled
from physembed.training.data_check import Keys, check_training_data
from physembed.training.trainer import split, train
from physembed.units import GPA, HARTREE

LIQUIDS = {"water_298K": {1, 8}}
ENERGIES = {1: -13.0, 8: -430.0}
SPRINGS_EV_A2 = 20.0
"""Force constant of each coordinate: at 300 K the forces are about 0.7 eV/Å."""


def frame(seed: int, *, stress: bool = True) -> Atoms:
    """Four water-like molecules of independent harmonic coordinates, sampled at 300 K, with consistent labels."""
    generator = np.random.default_rng(seed)
    sites = np.array([(x, y, z) for x in range(3) for y in range(2) for z in range(2)], dtype=float) * 1.6
    moved = generator.normal(0, np.sqrt(0.02585 / SPRINGS_EV_A2), sites.shape)
    atoms = Atoms("OHH" * 4, sites + moved)
    bound = sum(ENERGIES[number] for number in atoms.numbers) - 0.5 * 12
    atoms.info["REF_energy"] = bound + 0.5 * SPRINGS_EV_A2 * float((moved**2).sum())
    atoms.arrays["REF_forces"] = -SPRINGS_EV_A2 * moved
    if stress:
        atoms.cell, atoms.pbc = [5, 4, 4], True
        atoms.info["REF_stress"] = generator.normal(0, 0.01, 6)
    return atoms


def single(symbol: str, energy: float, config_type: str = "IsolatedAtom") -> Atoms:
    atoms = Atoms(symbol, info={"REF_energy": energy, "config_type": config_type})
    atoms.arrays["REF_forces"] = np.zeros((1, 3))
    return atoms


class Data:
    """A file of frames, and what is said of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, frames: list[Atoms], **options: Any) -> list[str]:
        ase.io.write(self.path, frames, format="extxyz")
        return self.look(**options)

    def look(self, **options: Any) -> list[str]:
        # A file that is written twice within the clock's resolution would be taken for the same.
        check_training_data.__globals__["_contents"].cache_clear()
        key = "config: models.mine.data"
        return check_training_data(key, self.path, None, LIQUIDS, **{"stress": True} | options)

    def refused(self, frames: list[Atoms] | None = None, **options: Any) -> str:
        with pytest.raises(PhysEmbedError) as error:
            if frames is None:
                self.look(**options)
            else:
                self.check(frames, **options)
        message = str(error.value)
        assert "\n" not in message
        assert message.startswith(f"config: models.mine.data: {self.path}: ")
        return message.removeprefix(f"config: models.mine.data: {self.path}: ")


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path / "data.xyz")


def frames(count: int = 10, **options: Any) -> list[Atoms]:
    return [frame(seed, **options) for seed in range(count)]


def without(name: str, which: list[int]) -> list[Atoms]:
    found = frames()
    for index in which:
        del (found[index].arrays if name == "REF_forces" else found[index].info)[name]
    return found


# What frames need


def test_a_sound_set_passes_without_a_word(data: Data) -> None:
    assert data.check(frames()) == []
    assert data.check(frames(stress=False), stress=False) == []
    assert check_training_data("k", data.path, file_hash(data.path), LIQUIDS, stress=False) == []


def test_what_is_lacking_is_named(data: Data) -> None:
    assert data.refused(without("REF_energy", [2])) == "frame 2 lacks REF_energy, as do 1 of 10 frames"
    assert "frame 1 lacks REF_forces, as do 2 of 10 frames" in data.refused(without("REF_forces", [1, 3]))
    none = data.refused(without("REF_stress", list(range(10))))
    assert "frame 0 lacks REF_stress, as do 10 of 10 frames; add it" in none
    assert "set training.stress_weight to 0" in none
    slab = frames()
    slab[3].pbc = [True, True, False]
    assert data.refused(slab).startswith("frame 3 has REF_stress but no periodic cell")
    with pytest.raises(PhysEmbedError, match="SHA-256"):
        check_training_data("k", data.path, "0" * 64, LIQUIDS, stress=True)
    data.check(frames())
    with pytest.raises(PhysEmbedError, match="does not know F of liquid FEC_298K"):
        check_training_data("k", data.path, None, LIQUIDS | {"FEC_298K": {9}}, stress=True)


def test_files_that_are_no_training_data(data: Data) -> None:
    ase.io.write(data.path, frames(2), format="extxyz")
    whole = data.path.read_text()
    for content, expected in {
        "": "is empty",
        "\n\n": "holds no frame",
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n": "is a pointer of Git LFS",
        "hello\nworld\n": "line 1: no frame",
        "2\n\nH 0 0 0\nH 0 0 1\n": "line 1: no frame",
        whole[:-200]: "line 15: no frame",
        whole.replace("\nO ", "\nXx9 ", 1): "line 1: no frame",
        re.sub(r"\nO .*", "\nO 1.0", whole, count=1): "line 1: no frame",
        re.sub(r"\nO +\S+", "\nO *****", whole, count=1): "line 1: no frame",
    }.items():
        data.path.write_text(content)
        assert expected in data.refused()


# Conventions of the field


def with_ase_names(frames: list[Atoms]) -> list[Atoms]:
    """Labels as results of a calculator, as ASE writes those of any code."""
    for atoms in frames:
        labels = {
            "energy": atoms.info.pop("REF_energy"),
            "forces": atoms.arrays.pop("REF_forces"),
            "stress": atoms.info.pop("REF_stress", None),
        }
        atoms.calc = SinglePointCalculator(atoms, **{key: value for key, value in labels.items() if value is not None})
    return frames


def test_other_names_are_found_and_taken_from_the_configuration(data: Data) -> None:
    message = data.refused(with_ase_names(frames()))
    lacking = "frame 0 lacks REF_energy, as do 10 of 10 frames"
    settings = "energy_key: energy, forces_key: forces, stress_key: stress"
    assert message == f"{lacking}; it has energy, forces, stress: set models.mine.{settings}, if that is what is meant"
    message = data.refused(keys=Keys(energy="energy"))
    assert "lacks REF_forces" in message and "set models.mine.forces_key: forces" in message
    message = data.refused(keys=Keys(energy="energy", forces="forces"))
    assert "lacks REF_stress" in message and "set models.mine.stress_key: stress" in message
    assert data.look(keys=Keys("energy", "forces", "stress")) == []


def test_labels_are_read_under_any_names(data: Data) -> None:
    expected = frames(3)
    for keys, found in {
        Keys(): frames(3),
        Keys("energy", "forces", "stress"): with_ase_names(frames(3)),
        Keys("U", "F", "W"): frames(3),
    }.items():
        if keys.energy == "U":
            for atoms in found:
                atoms.info["U"], atoms.info["W"] = atoms.info.pop("REF_energy"), atoms.info.pop("REF_stress")
                atoms.arrays["F"] = atoms.arrays.pop("REF_forces")
        ase.io.write(data.path, found, format="extxyz")
        for atoms, reference in zip(read_labelled(data.path, keys), expected, strict=True):
            assert atoms.calc is None
            assert atoms.info["REF_energy"] == pytest.approx(reference.info["REF_energy"], abs=1e-9)
            np.testing.assert_allclose(atoms.arrays["REF_forces"], reference.arrays["REF_forces"], atol=1e-7)
            np.testing.assert_allclose(atoms.info["REF_stress"], reference.info["REF_stress"], atol=1e-9)
            assert set(atoms.info) == {"REF_energy", "REF_stress"}
            assert set(atoms.arrays) == {"numbers", "positions", "REF_forces"}


def test_names_of_labels_are_keys_of_the_configuration() -> None:
    with pytest.raises(PhysEmbedError, match=r"models\.x\.forces_key: 'forces': needs `data`"):
        load_study({"models": {"x": {"tune_on": "DMC_298K", "forces_key": "forces"}}})


def test_isolated_atoms_give_the_energies_of_the_elements(data: Data) -> None:
    atoms = [single("H", -13.0), single("O", -430.0)]
    assert data.check(atoms[:1] + frames() + atoms[1:]) == []
    some = data.refused([*frames(), atoms[0]])
    assert "give the E0s of H, but not of O; give those of all elements, or of none" in some
    unmarked = data.refused([*frames(), single("H", -13.0, "atom")])
    assert unmarked.startswith("frame 10 is a single atom; mark it with config_type=IsolatedAtom")
    (doubt,) = data.check([single("H", -13.6 / HARTREE), single("O", -430 / HARTREE), *frames()])
    assert "the atoms are bound by 1" in doubt
    assert "training needs more" in data.refused([*atoms, frame(0)])


def test_isolated_atoms_are_never_for_validation() -> None:
    atoms = [single("H", -13.0), single("O", -430.0)]
    mixed = [atoms[0], *frames(), atoms[1]]
    for seed in range(20):
        training, validation = split(mixed, 0.3, seed)
        assert apart(training)[0] == atoms
        assert apart(validation)[0] == []
        assert len(validation) == 3
        without_atoms = split(frames(), 0.3, seed)[1]
        assert [f.info["REF_energy"] for f in validation] == [f.info["REF_energy"] for f in without_atoms]


def test_clusters_may_stand_beside_a_liquid(data: Data) -> None:
    mixed = frames(9) + [frame(seed, stress=False) for seed in range(9, 12)]
    assert data.check(mixed) == []
    for seed in range(20):
        _, validation = split(mixed, 0.34, seed)
        assert sorted("REF_stress" in f.info for f in validation) == [False, True, True, True]


def test_isotopes_are_refused(data: Data) -> None:
    ase.io.write(data.path, frames(2), format="extxyz")
    data.path.write_text(data.path.read_text().replace("\nH ", "\nD ", 1))
    assert "line 1: the isotope D: write H" in data.refused()


# Numbers that cannot be right


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["REF_energy", "REF_forces", "REF_stress", "positions", "cell"])
def test_values_that_are_not_finite_name_their_frame(data: Data, name: str, bad: float) -> None:
    spoilt = frames()
    atoms = spoilt[4]
    if name == "REF_energy":
        atoms.info[name] = bad
    elif name == "REF_stress":
        atoms.info[name][2] = bad
    elif name == "cell":
        atoms.cell.array[1, 1] = bad
    else:
        atoms.arrays[name][7, 1] = bad
    for stress in (True, False):
        message = data.refused(spoilt, stress=stress)
        assert message.startswith("frame 4: ")
        assert name in ("REF_energy", "REF_stress", "cell") or "atom 7" in message


@pytest.mark.parametrize(("unit", "factor"), [("GPa", 1 / GPA), ("kbar", 10 / GPA), ("bar", 1e4 / GPA)])
def test_stress_in_other_units_is_refused(data: Data, unit: str, factor: float) -> None:
    scaled = frames()
    for atoms in scaled:
        atoms.info["REF_stress"] *= factor
    message = data.refused(scaled)
    assert re.match(r"frame 0: REF_stress of \S+: eV/Å\^3 are expected, and \S+ eV/Å\^3 are \S+ GPa;", message)


def test_high_stresses_are_doubted(data: Data) -> None:
    scaled = frames()
    for atoms in scaled:
        atoms.info["REF_stress"] *= 20
    (doubt,) = data.check(scaled)
    assert "half of the frames have components of REF_stress above 0." in doubt


@pytest.mark.parametrize(
    ("energy", "force", "words"),
    [
        (1 / 27.2114, 1 / 51.4221, "root mean square component of REF_forces is 0.0"),
        (23.06, 23.06, "root mean square component of REF_forces is 1"),
        (1 / 27.2114, 1.0, "little for one unit of energy"),
        (1.0, 1 / 51.4221, "root mean square component of REF_forces is 0.0"),
        (96.485, 1.0, "much for one unit of energy"),
    ],
)
def test_energies_and_forces_in_other_units_are_doubted(data: Data, energy: float, force: float, words: str) -> None:
    """Hartree and Hartree/Bohr, kcal/mol, one of the two in Hartree, and kJ/mol with eV/Å."""
    scaled = frames(20)
    for atoms in scaled:
        atoms.info["REF_energy"] *= energy
        atoms.arrays["REF_forces"] *= force
    assert any(words in doubt for doubt in data.check(scaled))


def test_forces_beyond_all_reason_are_refused(data: Data) -> None:
    spoilt = frames()
    spoilt[6].arrays["REF_forces"][3] = [0, 2e4, 0]
    assert data.refused(spoilt).startswith("frame 6: REF_forces of 2e+04: eV/Å are expected")


def test_large_sets_are_checked_fast(data: Data) -> None:
    """A set of 5000 frames within a few seconds of processor time (about 1 s)."""
    ase.io.write(data.path, frames(100), format="extxyz")
    data.path.write_text(data.path.read_text() * 50)
    begin = time.process_time()
    data.look()
    assert time.process_time() - begin < 10


# Training

TINY = LiquidTraining(
    num_channels=2, max_L=0, max_ell=1, correlation=1, num_interactions=1, r_max_A=2.0, epochs=40, batch_size=4,
    swa_start=None, device="cpu",
)  # fmt: skip


@pytest.fixture
def sets(tmp_path: Path) -> Callable[[list[Atoms]], dict[str, Any]]:
    def write(mixed: list[Atoms]) -> dict[str, Any]:
        for name, part in zip(("train", "validation"), split(mixed, 0.25, 1), strict=True):
            ase.io.write(tmp_path / f"{name}.xyz", part, format="extxyz")
        files = {f"{name}_file": tmp_path / f"{name}.xyz" for name in ("train", "validation")}
        return {**files, "seed": 1, "restart": tmp_path / "restart", "model_file": tmp_path / "m.model"}

    return write


def test_a_label_that_is_not_finite_trains_nothing(sets: Callable[[list[Atoms]], dict[str, Any]]) -> None:
    spoilt = frames()
    for atoms in spoilt:
        atoms.arrays["REF_forces"][2, 2] = np.nan
    arguments = sets(spoilt)
    with pytest.raises(PhysEmbedError, match=r"train.xyz: frame 0: REF_forces is not finite"):
        train(TINY, **arguments)
    assert not arguments["restart"].exists()


def test_a_loss_that_is_not_finite_ends_the_training_at_once(sets: Callable[[list[Atoms]], dict[str, Any]]) -> None:
    huge = frames()
    for atoms in huge:
        atoms.info["REF_energy"] *= 1e38
    with pytest.raises(PhysEmbedError, match=r"the loss is (inf|nan) (before the first epoch|in epoch 0); lower"):
        train(TINY, **sets(huge))


def test_a_mixed_set_trains_with_the_energies_of_isolated_atoms(
    sets: Callable[[list[Atoms]], dict[str, Any]],
) -> None:
    import torch

    clusters = [frame(seed, stress=False) for seed in (8, 9, 10, 11)]
    mixed = [single("H", -13.0), single("O", -430.0), *frames(8), *clusters]
    arguments = sets(mixed)
    curve = train(TINY.model_copy(update={"epochs": 2}), **arguments)
    assert np.isfinite(curve["validation_loss"]).all()
    # Without the E0s of isolated atoms the mean would be fitted; with them 0.5 eV of binding per atom is left to learn.
    model = torch.load(arguments["model_file"], weights_only=False)
    np.testing.assert_allclose(model.atomic_energies_fn.atomic_energies.ravel(), [-13.0, -430.0])
