"""Models that begin as others: what MACE's trainer begins with, what it is refused, and pre-training frames."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch

from physembed.config import Pretraining, Training
from physembed.engine.mace import load_isolated
from physembed.errors import PhysEmbedError
from physembed.model_files.file import load_module
from physembed.models.evaluation import predict
from physembed.molecules.angles import angle_table
from physembed.molecules.bonds import bond_table
from physembed.molecules.openmm_md import energies_and_forces
from physembed.sampling.pretraining import pretraining_frames
from physembed.training import fine_tuning
from physembed.training.trainer import split, train
from physembed.trajectory import write_trajectory

from .models_for_tests import random_mace
from .test_gaff_small import topology
from .test_training import TINY, labelled

FROZEN = TINY.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
"""A training that changes nothing: what it writes is what it began with."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_trajectory(folder / "train.xyz", labelled(6, seed=1))
    write_trajectory(folder / "validation.xyz", labelled(3, seed=2))
    return folder


@pytest.fixture
def tuned(data: Path, tmp_path: Path) -> Callable[..., Path]:
    """The file of a model that begins as another one."""

    def made(module: torch.nn.Module, settings: Training = FROZEN) -> Path:
        torch.save(module, tmp_path / "base.model")
        files = data / "train.xyz", data / "validation.xyz"
        outcome = tmp_path / "mace.model"
        restart = tmp_path / "restart"
        train(settings, *files, seed=1, restart=restart, model_file=outcome, base=tmp_path / "base.model")
        return outcome

    return made


@pytest.mark.parametrize(
    "module",
    [
        # Of the same elements and with energies of free atoms in MACE's own shape: what the trainer would overwrite.
        random_mace(heads=["Default"], max_L=0),
        random_mace((1, 6, 7, 8, 9), dtype=torch.float32),
        random_mace(heads=["other", "Default"]),
    ],
    ids=["same elements", "more elements", "two heads"],
)
def test_it_begins_as_the_model_with_its_energies_shifted(
    module: torch.nn.Module, tuned: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    """Forces are those of the model; energies lie about the labels of the training set by a shift."""
    outcome = load_isolated(tuned(module), "cpu", "float64")
    given = load_isolated(tmp_path / "base.model", "cpu", "float64")
    for name in ("train", "validation"):
        frames = ase.io.read(data / f"{name}.xyz", ":")
        energies, forces = predict(outcome, frames)
        before, forces_before = predict(given, frames)
        np.testing.assert_allclose(forces, forces_before, atol=1e-4 * np.abs(forces_before).max())
        shifts = energies - before
        np.testing.assert_allclose(shifts, shifts[0], atol=1e-4)
        if name == "train":
            labels = np.array([frame.info["REF_energy"] for frame in frames])
            assert np.mean(energies - labels) == pytest.approx(0, abs=1e-3)
            assert abs(shifts[0]) > 10  # the labels are far from the model
    assert load_module(tmp_path / "mace.model", "cpu").atomic_numbers.tolist() == [1, 6, 8]


def test_training_on_lowers_the_error(tuned: Callable[..., Path], data: Path, tmp_path: Path) -> None:
    module = random_mace(max_L=0)
    outcome = tuned(module, TINY.model_copy(update={"epochs": 10}))
    frames = ase.io.read(data / "validation.xyz", ":")
    labels = np.array([frame.arrays["REF_forces"] for frame in frames])
    errors = [
        np.sqrt(np.mean((np.array(predict(load_isolated(file, "cpu", "float32"), frames)[1]) - labels) ** 2))
        for file in (tmp_path / "base.model", outcome)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_a_beginning_that_is_another_model_is_refused(
    tuned: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the trainer had lost a weight on its way, or had taken MACE's default for the energies of free atoms."""

    def changed(file: Path, dtype: str, folder: Path) -> Path:
        path = prepared(file, dtype, folder)
        module = load_module(path, "cpu")
        with torch.no_grad():
            next(module.interactions.parameters()).mul_(1.1)
        torch.save(module, path)
        return path

    prepared = fine_tuning.prepared
    monkeypatch.setattr(fine_tuning, "prepared", changed)
    with pytest.raises(PhysEmbedError, match="does not begin with this model: forces differ by up to"):
        tuned(random_mace())
    monkeypatch.setattr(fine_tuning, "prepared", prepared)
    options = fine_tuning.trainer_options
    monkeypatch.setattr(fine_tuning, "trainer_options", lambda base: options(base) | {"E0s": "average"})
    with pytest.raises(PhysEmbedError, match=r"energies that are off by .* eV/atom"):
        tuned(random_mace())


def test_the_log_says_how_far_the_beginning_is(tuned: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        tuned(random_mace())
    assert "training begins with errors of" in caplog.text
    assert "hardly go together" not in caplog.text


MD = {"timestep_fs": 1.0, "equilibration_ps": 0.1, "frame_interval_steps": 10, "friction_per_ps": 1.0}


def test_labels_of_pretraining_are_the_force_field(tmp_path: Path) -> None:
    structure = topology("CO")
    bonds = bond_table(structure)
    tables = bonds, angle_table(structure, bonds)
    settings = Pretraining(frames=21)
    arguments = {"parameter_set": "gaff", "seed": 3, "restart": tmp_path}
    frames = pretraining_frames(structure, tables, settings, MD, max_force_eV_A=100.0, **arguments)
    sources = [frame.info["source_frame"] for frame in frames]
    assert sources == [number for number in range(21) for _ in range(2)]
    # Forces are the derivatives of the energies, and the hot half is higher in energy.
    frame, atom, step = frames[1], 4, 1e-4
    moved = np.array([frame.positions, frame.positions])
    moved[0, atom, 1] += step
    moved[1, atom, 1] -= step
    up, down = energies_and_forces(structure, moved)[0]
    assert frame.arrays["REF_forces"][atom, 1] == pytest.approx((down - up) / (2 * step), abs=1e-4)
    energies = np.array([frame.info["REF_energy"] for frame in frames[::2]])
    assert energies[11:].mean() > energies[:11].mean()
    # A frame and its modified one are on the same side.
    sets = split(frames, 0.1, 1)
    assert [len(part) for part in sets] == [38, 4]
    assert not set.intersection(*({frame.info["source_frame"] for frame in part} for part in sets))
    largest = [np.linalg.norm(frame.arrays["REF_forces"], axis=1).max() for frame in frames]
    cap = float(np.median(largest)) + 1e-6
    kept = pretraining_frames(structure, tables, settings, MD, max_force_eV_A=cap, **arguments)
    assert len(kept) == sum(value <= cap for value in largest) >= 21
    with pytest.raises(PhysEmbedError, match=r"pretraining: 42 of 42 frames have a force above labels\.max_force_eV_A"):
        pretraining_frames(structure, tables, settings, MD, max_force_eV_A=1e-3, **arguments)
