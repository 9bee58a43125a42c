"""Training on liquids: stress in the loss, the second stage, its restart, and the choice of validation frames."""

import json
import shutil
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from mace import tools
from mace.calculators import MACECalculator

from physembed.config.liquids import LiquidTraining
from physembed.errors import PhysEmbedError
from physembed.training.trainer import split, stage_two_start, train, trainer_arguments
from physembed.trajectory import write_trajectory

METHANOL = molecule("CH3OH")
BONDS = [(0, 1), (0, 2), (0, 4), (0, 5), (1, 3)]
"""C-O, three C-H and O-H of ASE's methanol."""
TINY = LiquidTraining(
    num_channels=4, max_L=0, max_ell=1, correlation=1, r_max_A=3.0, epochs=4, batch_size=4, device="cpu",
    energy_weight=2.0, forces_weight=50.0, stress_weight=3000.0, swa_start=0.5, swa_energy_weight=70.0,
    swa_forces_weight=5.0, swa_stress_weight=400.0, swa_learning_rate=0.005,
)  # fmt: skip


def labelled(rng, molecules=1, periodic=True):
    """Methanol displaced by 0.05 Å with bonds of 20 eV/Å^2: energy, forces, and stress (positive under tension)."""
    positions, energy, forces, virial = [], 0.0, [], np.zeros((3, 3))
    for index in range(molecules):
        own = METHANOL.positions + rng.normal(0, 0.05, (6, 3)) + [0, 0, 6.0 * index]
        force = np.zeros((6, 3))
        energy -= 20.0
        for i, j in BONDS:
            vector = own[j] - own[i]
            length = np.linalg.norm(vector)
            stretch = length - METHANOL.get_distance(i, j)
            energy += 10.0 * stretch**2
            pull = 20.0 * stretch * vector / length
            force[i] += pull
            force[j] -= pull
            virial += np.outer(vector, pull)
        positions.append(own)
        forces.append(force)
    frame = Atoms(np.tile(METHANOL.numbers, molecules), np.concatenate(positions), info={"REF_energy": energy})
    frame.arrays["REF_forces"] = np.concatenate(forces)
    if periodic:
        frame.cell, frame.pbc = [6.0, 6.0, 6.0 * molecules], True
        frame.info["REF_stress"] = (virial / frame.get_volume()).flat[[0, 4, 8, 5, 2, 1]]
    return frame


@pytest.fixture(scope="module")
def frames():
    """Boxes of one and two molecules and an isolated one, in each set."""
    rng = np.random.default_rng(1)
    kinds = [(1, True), (2, True), (1, True), (2, True), (1, False)]
    return {
        "train": [labelled(rng, *kind) for kind in kinds + kinds[:3]],
        "validation": [labelled(rng, *kind) for kind in kinds[1:]],
    }


@pytest.fixture(scope="module")
def data(frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, own in frames.items():
        write_trajectory(folder / f"{name}.xyz", own)
    return folder


def tiny_training(data, folder, validation="validation.xyz", settings=TINY):
    return train(
        settings,
        data / "train.xyz",
        data / validation,
        seed=1,
        restart=folder / "restart",
        model_file=folder / "mace.model",
    )


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    return SimpleNamespace(folder=folder, curve=tiny_training(data, folder))


def metrics(folder):
    path = folder / "restart" / "results" / f"{tools.get_tag('mace', 1)}_train.txt"
    return [json.loads(line) for line in path.read_text().splitlines()]


def errors(model_file, frames):
    """RMSE of energy (meV/atom), forces (meV/Å) and stress (meV/Å^3, nine components) with MACE's ASE calculator."""
    calculator = MACECalculator(str(model_file), device="cpu", default_dtype="float64")
    energies, forces, stresses = [], [], []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        energies.append((atoms.get_potential_energy() - frame.info["REF_energy"]) / len(atoms))
        forces.append(atoms.get_forces() - frame.arrays["REF_forces"])
        if "REF_stress" in frame.info:
            difference = atoms.get_stress() - frame.info["REF_stress"]
            stresses.append([*difference, *difference[3:]])
    return [1e3 * np.sqrt(np.mean(np.square(np.concatenate(e, axis=None)))) for e in (energies, forces, stresses)]


COLUMNS = ["validation_rmse_energy_meV_atom", "validation_rmse_force_meV_A", "validation_rmse_stress_meV_A3"]


def test_the_curve_tells_stress_and_stages(trained):
    assert trained.curve.epoch.tolist() == [0, 1, 2, 3]
    assert trained.curve.stage.tolist() == [1, 1, 2, 2]
    assert list(trained.curve) == ["epoch", "train_loss", "validation_loss", *COLUMNS, "stage"]
    assert np.isfinite(trained.curve.to_numpy()).all()


def test_losses_are_the_plain_weighted_mean_squares(trained):
    """In both stages; per atom, in eV, Å and eV/Å^3. The isolated frame has no part in the stress, but counts."""
    weights = {1: (2.0, 50.0, 3000.0), 2: (70.0, 5.0, 400.0)}
    for row in trained.curve.itertuples():
        energy, force, stress = (getattr(row, name) / 1e3 for name in COLUMNS)
        of_energy, of_forces, of_stress = weights[row.stage]
        expected = of_energy * energy**2 + of_forces * force**2 + of_stress * stress**2 * 3 / 4
        # The trainer divides the loss of its batch, a mean, by the number of frames once more.
        assert row.validation_loss * 4 == pytest.approx(expected, rel=1e-4)


def test_the_model_written_is_the_best_of_the_second_stage(trained, frames):
    """Its errors, computed anew with the labels' own sign, order and units, are those of the curve."""
    second = trained.curve[trained.curve.stage == 2]
    best = second.loc[second.validation_loss.idxmin()]
    found = errors(trained.folder / "mace.model", frames["validation"])
    assert found == pytest.approx(best[COLUMNS].tolist(), rel=1e-3)
    first = trained.curve[trained.curve.stage == 1]
    assert found[1] != pytest.approx(first.loc[first.validation_loss.idxmin(), COLUMNS[1]], rel=1e-3)


def test_a_model_has_no_error_against_its_own_labels(trained, frames, data, tmp_path):
    calculator = MACECalculator(str(trained.folder / "mace.model"), device="cpu", default_dtype="float64")
    own = [frame.copy() for frame in frames["validation"]]
    for frame in own:
        atoms = frame.copy()
        atoms.calc = calculator
        frame.info["REF_energy"], frame.arrays["REF_forces"] = atoms.get_potential_energy(), atoms.get_forces()
        if frame.pbc.any():
            frame.info["REF_stress"] = atoms.get_stress()
            assert np.abs(frame.info["REF_stress"]).max() > 1e-4
    write_trajectory(data / "own.xyz", own)
    shutil.copytree(trained.folder / "restart", tmp_path / "restart")
    tiny_training(data, tmp_path, "own.xyz")
    start = [row for row in metrics(tmp_path) if row["mode"] == "eval" and row["epoch"] is None][-1]
    assert start["rmse_f"] < 1e-5 and start["rmse_stress"] < 1e-7 and start["rmse_e_per_atom"] < 1e-5


def test_energies_of_atoms_come_out_for_one_composition(trained, frames):
    """The least-squares fit has many solutions; each of them gives a molecule the mean energy, in box or isolated."""
    model = torch.load(trained.folder / "mace.model", weights_only=False)
    of_element = dict(
        zip(model.atomic_numbers.tolist(), model.atomic_energies_fn.atomic_energies.flatten().tolist(), strict=True)
    )
    found = sum(of_element[number] for number in METHANOL.numbers)
    molecules = np.array([len(frame) // 6 for frame in frames["train"]])
    energies = np.array([frame.info["REF_energy"] for frame in frames["train"]])
    assert found == pytest.approx(molecules @ energies / (molecules @ molecules), rel=1e-5)


def test_a_training_killed_in_the_second_stage_goes_on_there(data, frames, tmp_path, monkeypatch):
    trainer = sys.modules["mace.tools.train"]  # mace.tools has a function of this name as well
    take_step, steps = trainer.take_step, []

    def dies(**arguments):
        steps.append(1)
        if len(steps) == 8:
            raise KeyboardInterrupt
        return take_step(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "take_step", dies)
        with pytest.raises(KeyboardInterrupt):
            tiny_training(data, tmp_path)
    before = metrics(tmp_path)
    assert [row["epoch"] for row in before if row["mode"] == "opt"] == [0, 0, 1, 1, 2, 2, 3]
    curve = tiny_training(data, tmp_path)
    # Two batches an epoch; that of the checkpoint is run once more, with the weights of the second stage.
    after = metrics(tmp_path)[len(before) :]
    assert [row["epoch"] for row in after if row["mode"] == "opt"] == [2, 2, 3, 3]
    assert curve.stage.tolist() == [1, 1, 2, 2]
    test_losses_are_the_plain_weighted_mean_squares(SimpleNamespace(curve=curve))
    best = curve.loc[curve[curve.stage == 2].validation_loss.idxmin()]
    assert errors(tmp_path / "mace.model", frames["validation"]) == pytest.approx(best[COLUMNS].tolist(), rel=1e-3)


def test_a_training_without_stress_and_second_stage(data, frames, tmp_path):
    settings = TINY.model_copy(update={"epochs": 1, "swa_start": None, "stress_weight": 0.0})
    curve = tiny_training(data, tmp_path, settings=settings)
    assert list(curve) == ["epoch", "train_loss", "validation_loss", *COLUMNS[:2]]
    energy, force = (curve[name][0] / 1e3 for name in COLUMNS[:2])
    assert curve.validation_loss[0] * 4 == pytest.approx(2.0 * energy**2 + 50.0 * force**2, rel=1e-4)
    found = errors(tmp_path / "mace.model", frames["validation"])
    assert found[:2] == pytest.approx(curve.loc[0, COLUMNS[:2]].tolist(), rel=1e-3)


def test_settings_of_a_liquid_reach_the_trainer(tmp_path):
    def parsed(**settings):
        arguments = trainer_arguments(LiquidTraining(device="cpu", **settings), "t.xyz", "v.xyz", 5, tmp_path)
        return tools.check_args(tools.build_default_arg_parser().parse_args(arguments))[0]

    two = parsed(epochs=7, swa_start=0.5, stress_weight=20.0, swa_energy_weight=3.0, swa_forces_weight=4.0,
                 swa_stress_weight=5.0, swa_learning_rate=0.002)  # fmt: skip
    assert (two.loss, two.stress_key, two.stress_weight) == ("stress", "REF_stress", 20.0)
    assert (two.energy_weight, two.forces_weight, two.batch_size, two.num_channels) == (1.0, 100.0, 32, 64)
    assert two.swa and two.start_swa == stage_two_start(LiquidTraining(epochs=7, swa_start=0.5)) == 4
    assert (two.swa_energy_weight, two.swa_forces_weight, two.swa_stress_weight, two.swa_lr) == (3.0, 4.0, 5.0, 0.002)
    # A second stage that would begin after the last epoch is none.
    assert not parsed(swa_start=None).swa and not parsed(swa_start=1.0).swa and not parsed(epochs=1).swa
    without = parsed(stress_weight=0.0)
    assert without.loss == "weighted" and without.swa


def bare(count, **info):
    return [Atoms("H", info=info | {"name": f"{sorted(info.items())} {index}"}) for index in range(count)]


def test_split_is_stratified():
    frames = (
        bare(40, liquid="a", origin="md") + bare(20, liquid="a", origin="bonds") + bare(20, liquid="b", origin="md")
    )
    training, validation = split(frames, 0.25, seed=3)
    kinds = Counter((frame.info["liquid"], frame.info["origin"]) for frame in validation)
    assert kinds == {("a", "md"): 10, ("a", "bonds"): 5, ("b", "md"): 5}
    names = [frame.info["name"] for frame in frames]
    for part in (training, validation):
        chosen = [frame.info["name"] for frame in part]
        assert chosen == [name for name in names if name in chosen]
    assert sorted(frame.info["name"] for frame in training + validation) == sorted(names)


def test_split_is_random_and_seeded():
    frames = bare(30)
    drawn = [[frame.info["name"] for frame in split(frames, 0.2, seed)[1]] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    often = Counter(frame.info["name"] for seed in range(200) for frame in split(frames, 0.2, seed)[1])
    # Each is drawn with probability 1/5: 40 of 200, standard deviation 5.7.
    assert len(often) == 30 and all(abs(count - 40) < 26 for count in often.values())


@pytest.mark.parametrize(
    ("sizes", "fraction", "expected"),
    [
        ((2,), 0.05, (1,)),
        ((3, 3), 0.01, (1, 0)),
        ((2,), 0.9, (1,)),
        ((7, 2, 1), 0.3, (2, 1, 0)),
        ((1, 1, 8), 0.5, (1, 0, 4)),
    ],
)
def test_split_of_few_frames(sizes, fraction, expected):
    frames = [frame for index, size in enumerate(sizes) for frame in bare(size, origin=f"o{index}")]
    training, validation = split(frames, fraction, seed=1)
    counts = Counter(frame.info["origin"] for frame in validation)
    assert tuple(counts[f"o{index}"] for index in range(len(sizes))) == expected
    assert len(training) + len(validation) == sum(sizes) and training


def test_one_frame_cannot_be_split():
    with pytest.raises(PhysEmbedError, match="1 labelled frames; training and validation need one each"):
        split(bare(1), 0.5, seed=1)


def refused(data, frames, tmp_path, message):
    write_trajectory(data / "spoilt.xyz", frames)
    with pytest.raises(PhysEmbedError, match=f"training: .*spoilt.xyz: {message}"):
        tiny_training(data, tmp_path, "spoilt.xyz")
    assert not list(tmp_path.iterdir())  # nothing ran


def test_stress_that_is_missing_is_an_error(data, frames, tmp_path):
    bare_frames = [frame.copy() for frame in frames["validation"]]
    for frame in bare_frames:
        frame.info.pop("REF_stress", None)
    refused(data, bare_frames, tmp_path, r"none of 4 frames has REF_stress; .* set training\.stress_weight to 0")


def test_stress_without_periodicity_is_an_error(data, frames, tmp_path):
    spoilt = [frame.copy() for frame in frames["validation"]]
    spoilt[1].pbc = [True, True, False]
    refused(data, spoilt, tmp_path, r"frame 1: REF_stress, but pbc \[True, True, False\]; remove it")


def test_repulsion_is_part_of_the_model_of_a_liquid(data, tmp_path):
    short = TINY.model_copy(update={"epochs": 1, "swa_start": None})
    near, far = (Atoms("CC", [[0, 0, 0], [0, 0, length]], cell=[6] * 3, pbc=True) for length in (0.4, 2.9))
    repulsion = {}
    for kind in ("none", "zbl"):
        folder = tmp_path / kind
        folder.mkdir()
        tiny_training(data, folder, settings=short.model_copy(update={"repulsion": kind}))
        calculator = MACECalculator(str(folder / "mace.model"), device="cpu", default_dtype="float64")
        repulsion[kind] = calculator.get_potential_energy(near) - calculator.get_potential_energy(far)
    assert abs(repulsion["none"]) < 5 and repulsion["zbl"] > 25
