"""Tiny trainings with MACE's trainer, their restarts, and the errors of models against their labels."""

import copy
import itertools
import json
import logging
import sys
import threading
from types import SimpleNamespace

import ase.io
import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii
from mace import tools
from torch_sim.models.interface import ModelInterface

from physembed.config import Training
from physembed.engine import device
from physembed.engine.device import resolve_device
from physembed.engine.mace import load_isolated
from physembed.errors import PhysEmbedError
from physembed.model_files.file import load_module
from physembed.models import evaluation
from physembed.models.evaluation import evaluate, numbered_through, predict
from physembed.training import trainer
from physembed.training.trainer import read_curve, train, trainer_arguments
from physembed.trajectory import write_trajectory

METHANOL = molecule("CH3OH")
BONDS = [(0, 1), (0, 2), (0, 4), (0, 5), (1, 3)]
"""C-O, three C-H and O-H of ASE's methanol."""
TINY = Training(
    num_channels=4, max_L=0, max_ell=1, correlation=1, r_max_A=3.0, epochs=2, batch_size=3, device="cpu", seeds=[1]
)


def labelled(count, seed):
    """Methanol displaced by 0.05 Å, with the energy and forces of harmonic bonds of 20 eV/Å^2."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        positions = METHANOL.positions + rng.normal(0, 0.05, (6, 3))
        energy, forces = -20.0, np.zeros((6, 3))
        for i, j in BONDS:
            vector = positions[j] - positions[i]
            length = np.linalg.norm(vector)
            stretch = length - METHANOL.get_distance(i, j)
            energy += 10.0 * stretch**2
            forces[i] += 20.0 * stretch * vector / length
            forces[j] -= 20.0 * stretch * vector / length
        frame = Atoms(METHANOL.numbers, positions, info={"REF_energy": energy, "source_frame": index})
        frame.arrays["REF_forces"] = forces
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_trajectory(folder / "train.xyz", labelled(6, seed=1))
    write_trajectory(folder / "validation.xyz", labelled(3, seed=2))
    return folder


def tiny_training(data, folder, epochs=2, model="mace.model", **settings):
    settings = TINY.model_copy(update={"epochs": epochs} | settings)
    return train(
        settings,
        data / "train.xyz",
        data / "validation.xyz",
        seed=1,
        restart=folder / "restart",
        model_file=folder / model,
    )


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Folder and curve of a training of two epochs, then carried on to four, with what was logged and set before."""
    folder = tmp_path_factory.mktemp("training")
    root = logging.getLogger()
    before = root.handlers[:], root.level, torch.get_default_dtype()
    curves = tiny_training(data, folder, 2), tiny_training(data, folder, 4, "longer.model")
    return SimpleNamespace(
        folder=folder, curves=curves, before=before, after=(root.handlers[:], root.level, torch.get_default_dtype())
    )


def metrics_file(folder):
    return folder / "restart" / "results" / f"{tools.get_tag('mace', 1)}_train.txt"


def force_rmse(model_file, frames):
    _, forces = predict(load_isolated(model_file, "cpu", "float32"), frames)
    return np.sqrt(np.mean([(f - frame.arrays["REF_forces"]) ** 2 for f, frame in zip(forces, frames, strict=True)]))


def test_the_curve_has_a_row_for_each_epoch(trained):
    short, longer = trained.curves
    assert short.epoch.tolist() == [0, 1] and longer.epoch.tolist() == [0, 1, 2, 3]
    assert np.isfinite(longer.to_numpy()).all()
    assert longer.validation_loss.iloc[-1] < longer.validation_loss.iloc[0]
    pd.testing.assert_series_equal(longer.iloc[0], short.iloc[0])


def test_the_model_written_is_the_best_of_the_curve(trained):
    """Its error, computed anew, is the smallest of the curve (E0 and weights included)."""
    frames = labelled(3, seed=2)
    best = trained.curves[0].validation_rmse_force_meV_A[trained.curves[0].validation_loss.idxmin()]
    assert 1000 * force_rmse(trained.folder / "mace.model", frames) == pytest.approx(best, rel=1e-3)
    restarted = trained.curves[1].iloc[1:]
    best = restarted.validation_rmse_force_meV_A[restarted.validation_loss.idxmin()]
    assert 1000 * force_rmse(trained.folder / "longer.model", frames) == pytest.approx(best, rel=1e-3)


def test_a_training_goes_on_from_its_checkpoint(trained):
    rows = [json.loads(line) for line in metrics_file(trained.folder).read_text().splitlines()]
    steps = [row["epoch"] for row in rows if row["mode"] == "opt"]
    # Two batches an epoch; the epoch of the checkpoint is run once more, the one before it is not.
    assert steps == [0, 0, 1, 1, 1, 1, 2, 2, 3, 3]


def zbl_energy(distance: float, first: int, second: int) -> float:
    """eV of two atoms: universal screening (Ziegler, Biersack, Littmark 1985) with MACE's length and cutoff.

    The cutoff is the sum of the covalent radii, with a polynomial envelope of order 5.
    """
    length = 0.4543 * 0.529 / (first**0.3 + second**0.3)
    terms = zip((0.1818, 0.5099, 0.2802, 0.02817), (3.2, 0.9423, 0.4028, 0.2016), strict=True)
    screening = sum(c * np.exp(-b * distance / length) for c, b in terms)
    x, p = distance / (covalent_radii[first] + covalent_radii[second]), 5
    envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return float(14.3996 * first * second / distance * screening * envelope) if x < 1 else 0.0


def test_repulsion_is_part_of_the_model_that_is_trained(data, tmp_path):
    """Two models of the same weights, with and without the prior, differ by its energy in closed form.

    MACE adds it before it scales the energies with the RMS of the forces it is trained on.
    """
    assert "--pair_repulsion" not in trainer_arguments(TINY, "t.xyz", "v.xyz", 1, tmp_path)
    tiny_training(data, tmp_path, repulsion="zbl")
    module = load_module(tmp_path / "mace.model", "cpu")
    assert module.pair_repulsion
    model = load_isolated(tmp_path / "mace.model", "cpu", "float64")
    squeezed = METHANOL.copy()
    squeezed.set_distance(1, 3, 0.5, fix=0)
    frames = [METHANOL, squeezed]
    with_prior, _ = predict(model, frames)
    bare = copy.deepcopy(module)
    del bare.pair_repulsion
    torch.save(bare, tmp_path / "bare.model")
    without, _ = predict(load_isolated(tmp_path / "bare.model", "cpu", "float64"), frames)
    pairs = list(itertools.combinations(range(6), 2))
    numbers = METHANOL.numbers
    for frame, difference in zip(frames, with_prior - without, strict=True):
        expected = float(module.scale_shift.scale) * sum(
            zbl_energy(frame.get_distance(i, j), numbers[i], numbers[j]) for i, j in pairs
        )
        assert difference == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert with_prior[1] - without[1] > 1.0


def test_the_trainer_leaves_the_process_as_it_was(trained):
    assert trained.after == trained.before


def test_a_killed_training_goes_on(data, tmp_path, monkeypatch):
    trainer = sys.modules["mace.tools.train"]  # mace.tools has a function of this name as well
    take_step, steps = trainer.take_step, []

    def dies(**arguments):
        steps.append(1)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return take_step(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "take_step", dies)
        with pytest.raises(KeyboardInterrupt):
            tiny_training(data, tmp_path, 3)
    # The kill came in the middle of the third epoch, and tore a line and a checkpoint.
    metrics = metrics_file(tmp_path)
    before = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row["epoch"] for row in before if row["mode"] == "opt"] == [0, 0, 1, 1, 2]
    with metrics.open("a") as file:
        file.write('{"loss": 0.1, "mo')
    (checkpoint,) = (tmp_path / "restart" / "checkpoints").glob("*.pt")
    torn = checkpoint.with_name(checkpoint.name.replace("epoch-1", "epoch-2"))
    torn.write_bytes(checkpoint.read_bytes()[:1000])
    curve = tiny_training(data, tmp_path, 3)
    assert curve.epoch.tolist() == [0, 1, 2]
    rows = [json.loads(line) for line in metrics.read_text().splitlines() if not line.startswith('{"loss": 0.1, "mo')]
    after = [row for row in rows[len(before) :] if row["mode"] == "opt"]
    assert [row["epoch"] for row in after] == [1, 1, 2, 2]
    # What was done of the third epoch before the kill does not count.
    assert curve.train_loss[2] == pytest.approx(np.mean([row["loss"] for row in after[2:]]))
    assert force_rmse(tmp_path / "mace.model", labelled(3, seed=2)) > 0


def test_fewer_frames_than_a_batch_are_an_error(tmp_path, data):
    """The trainer leaves out what fills no batch: it would run all epochs and train nothing."""
    with pytest.raises(
        PhysEmbedError, match=r"train\.xyz: 6 frames are fewer than a batch \(7\), and .*; lower training"
    ):
        tiny_training(data, tmp_path, batch_size=7)
    assert not list(tmp_path.iterdir())


def test_frames_that_fill_no_batch_are_left_out_of_an_epoch_in_turn(data):
    """As docs/background/science.md says: six frames in batches of four are one batch, each time another."""
    arguments = tools.build_default_arg_parser().parse_args(
        trainer_arguments(TINY.model_copy(update={"batch_size": 4}), "train.xyz", "validation.xyz", 1, data)
    )
    assert not arguments.lbfgs and not arguments.distributed  # the options with which MACE 0.3.16 keeps them
    generator = torch.Generator().manual_seed(1)
    loader = torch.utils.data.DataLoader(range(6), batch_size=4, shuffle=True, drop_last=True, generator=generator)
    epochs = [[batch.tolist() for batch in loader] for _ in range(20)]
    assert all(len(batches) == 1 and len(batches[0]) == 4 for batches in epochs)
    assert {frame for (batch,) in epochs for frame in batch} == set(range(6))


def opt(epoch, loss):
    return json.dumps({"mode": "opt", "epoch": epoch, "loss": loss})


def evaluated(epoch, loss):
    row = {"mode": "eval", "epoch": epoch, "loss": loss, "rmse_e_per_atom": loss / 100, "rmse_f": loss / 10}
    return json.dumps(row)


START = evaluated(None, 9.0)
"""The trainer evaluates the model when it starts, before any training."""


def curve_of(path, *lines, end="\n"):
    path.write_text("\n".join(lines) + end)
    return read_curve(path)


def test_curve_of_a_training_without_a_break(tmp_path):
    curve = curve_of(
        tmp_path / "m.txt", START, opt(0, 4.0), opt(0, 2.0), evaluated(0, 2.5), opt(1, 1.0), evaluated(1, 0.5)
    )
    assert curve.to_dict("list") == {
        "epoch": [0, 1],
        "train_loss": [3.0, 1.0],
        "validation_loss": [2.5, 0.5],
        "validation_rmse_energy_meV_atom": [25.0, 5.0],
        "validation_rmse_force_meV_A": [250.0, 50.0],
    }


def test_curve_counts_the_later_run_of_an_epoch(tmp_path):
    lines = [START, opt(0, 4.0), evaluated(0, 2.5), opt(1, 1.0), evaluated(1, 0.5), opt(2, 8.0)]
    again = [START, opt(1, 3.0), opt(1, 2.0), evaluated(1, 0.7), opt(2, 0.6), evaluated(2, 0.4)]
    curve = curve_of(tmp_path / "m.txt", *lines, *again)
    assert curve.epoch.tolist() == [0, 1, 2]
    assert curve.train_loss.tolist() == [4.0, 2.5, 0.6]  # and not the 8.0 of the epoch that was cut short
    assert curve.validation_loss.tolist() == [2.5, 0.7, 0.4]


@pytest.mark.parametrize("torn", ['{"mode": "opt", "ep', "{", opt(1, 5.0)[:-1]])
def test_curve_with_a_torn_line(tmp_path, torn):
    lines = [START, opt(0, 4.0), evaluated(0, 2.5), opt(1, 1.0)]
    curve = curve_of(tmp_path / "m.txt", *lines, torn, end="")
    assert curve.epoch.tolist() == [0]
    # The next process appends its first row to the torn line.
    curve = curve_of(tmp_path / "m.txt", *lines, torn + START, opt(1, 3.0), evaluated(1, 0.7))
    assert curve.train_loss.tolist() == [4.0, 3.0]
    assert curve.validation_loss.tolist() == [2.5, 0.7]


@pytest.mark.parametrize(
    "earlier, start, reported",
    [
        ([], 0, [1, 2]),
        # The process before had run six epochs and was killed; the trainer goes on from its checkpoint of epoch 0.
        ([START, *(evaluated(epoch, 1.0) for epoch in range(6)), '{"mode": "o' + START], 1, [1, 2]),
    ],
)
def test_progress_is_that_of_this_process(tmp_path, monkeypatch, earlier, start, reported):
    metrics = tmp_path / "m.txt"
    if earlier:
        metrics.write_text("\n".join(earlier) + "\n")

    def append(*lines):
        with metrics.open("a") as file:
            file.write("\n".join(lines) + "\n")

    looks = iter(
        [lambda: append(START), lambda: append(opt(0, 1.0), evaluated(0, 1.0)), lambda: append(evaluated(1, 1.0))]
    )
    ended, made = threading.Event(), []

    class Looks:
        """In place of the event that the watching thread waits for: something happens at each look."""

        def wait(self, _):
            look = next(looks, None)
            if look is None:
                ended.set()
                return True
            look()
            return False

        def set(self):
            pass

    class Recorded:
        def __init__(self, what, total, unit, *, start=0, warn_if_long):
            self.start, self.total, self.done = start, total, []
            made.append(self)

        def update(self, done, note):
            self.done.append(done)
            assert note == "validation force RMSE 100 meV/Å"

    monkeypatch.setattr(trainer, "threading", SimpleNamespace(Event=Looks, Thread=threading.Thread))
    monkeypatch.setattr(trainer, "Progress", Recorded)
    with trainer._progress(metrics, 10, on_cpu=True):
        assert ended.wait(30)
    (progress,) = made
    assert (progress.start, progress.total, progress.done) == (start, 10, reported)


def test_settings_reach_the_trainer(tmp_path):
    settings = Training(
        num_channels=7, max_L=1, max_ell=2, correlation=2, num_interactions=3, r_max_A=4.5, epochs=11, batch_size=3,
        learning_rate=0.02, energy_weight=2.0, forces_weight=30.0, ema_decay=0.9, clip_grad=5.0, lr_factor=0.7,
        scheduler_patience=9, dtype="float64", device="cpu",
    )  # fmt: skip
    parsed = tools.build_default_arg_parser().parse_args(trainer_arguments(settings, "t.xyz", "v.xyz", 5, tmp_path))
    names = {"r_max_A": "r_max", "epochs": "max_num_epochs", "learning_rate": "lr", "dtype": "default_dtype"}
    assert not parsed.pair_repulsion
    for name, value in settings.model_dump(exclude={"seeds", "repulsion"}).items():
        assert getattr(parsed, names.get(name, name)) == value, name
    assert (parsed.train_file, parsed.valid_file, parsed.seed) == ("t.xyz", "v.xyz", 5)
    assert parsed.ema and parsed.amsgrad and parsed.restart_latest and not parsed.enable_cueq


def test_a_gpu_trains_with_cuequivariance(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = TINY.model_copy(update={"device": "auto"})
    parsed = tools.build_default_arg_parser().parse_args(trainer_arguments(settings, "t.xyz", "v.xyz", 5, tmp_path))
    assert parsed.device == "cuda" and parsed.enable_cueq


def test_devices(monkeypatch, caplog):
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: True)
    assert [resolve_device(name) for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    assert not caplog.messages
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: False)
    assert [resolve_device(name) for name in ("auto", "cpu")] == ["cpu", "cpu"]
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith("no GPU")
    with pytest.raises(PhysEmbedError, match="'cuda' is set"):
        resolve_device("cuda")
    assert resolve_device(torch.device("cpu")) == "cpu"
    with pytest.raises(PhysEmbedError, match="'cuda:1': use auto, cpu or cuda; CUDA_VISIBLE_DEVICES"):
        resolve_device("cuda:1")


class Central(ModelInterface):
    """Every atom is pulled to the origin with `k` eV/Å^2."""

    def __init__(self, k):
        super().__init__()
        self._device, self._dtype, self.k = torch.device("cpu"), torch.float64, k

    def forward(self, state, **_):
        energy = torch.zeros(state.n_systems, dtype=self.dtype)
        energy.index_add_(0, state.system_idx, self.k / 2 * (state.positions**2).sum(dim=1))
        return {"energy": energy, "forces": -self.k * state.positions}


RANGES = pd.DataFrame({"types": ["c3-oh", "c3-h1"], "r_mean_A": [1.42, 1.10]})
ANGLE_RANGES = pd.DataFrame({"types": ["c3-oh-ho", "h1-c3-oh"], "theta_mean_degrees": [108.0, 110.0]})


def modification(types, segment, to_A):
    return {"bond": [0, 1], "types": types, "segment": segment, "from_A": 1.4, "to_A": to_A, "turn_degrees": 0.0}


def bend(types, segment, to_degrees):
    return {"angle": [0, 1, 3], "types": types, "segment": segment, "from_degrees": 100.0, "to_degrees": to_degrees}


def test_frames_of_several_data_sets_are_numbered_through():
    parts = [
        evaluate(
            {seed: Central(2.0)},
            {"train": labelled(count, seed), "validation": labelled(1, seed)},
            RANGES,
            ANGLE_RANGES,
        )
        for seed, count in ((3, 2), (7, 4))
    ]
    frames, forces = numbered_through(parts)
    for table in (frames, forces):
        found = {key: sorted(set(group)) for key, group in table.groupby(["set", "seed"])["frame"]}
        assert found == {
            ("train", 3): [0, 1], ("train", 7): [2, 3, 4, 5], ("validation", 3): [0], ("validation", 7): [1],
        }  # fmt: skip
    # One data set stays as it is.
    for table, before in zip(numbered_through(parts[:1]), parts[0], strict=True):
        pd.testing.assert_frame_equal(table, before)


def test_evaluation_by_hand(tmp_path):
    frames = labelled(3, seed=4)
    changes = [[], [modification("c3-oh", "stretching", 1.6)],
               [modification("c3-oh", "stretching", 1.52), modification("c3-h1", "compression", 0.9),
                bend("c3-oh-ho", "closing", 75.0), bend("h1-c3-oh", "opening", 135.0)]]  # fmt: skip
    for frame, change in zip(frames, changes, strict=True):
        frame.info["modifications"] = json.dumps(change)
    # A set as the labels are written and read, and one of frames that were never meant to be modified.
    write_trajectory(tmp_path / "train.xyz", frames)
    sets = {"train": ase.io.read(tmp_path / "train.xyz", ":"), "validation": labelled(2, seed=5)}
    models = {1: Central(2.0), 2: Central(3.0)}
    rows, atoms = evaluate(models, sets, RANGES, ANGLE_RANGES)
    assert rows.groupby(["set", "seed"]).size().to_dict() == {
        ("train", 1): 3, ("train", 2): 3, ("validation", 1): 2, ("validation", 2): 2,
    }  # fmt: skip
    assert (rows.n_atoms == 6).all() and len(atoms) == 6 * len(rows)
    for row in rows.itertuples():
        frame = sets[row.set][row.frame]
        k = models[row.seed].k
        difference = -k * frame.positions - frame.arrays["REF_forces"]
        assert row.source_frame == frame.info["source_frame"]
        assert row.energy_reference_eV == frame.info["REF_energy"]
        assert row.energy_model_eV == pytest.approx(k / 2 * (frame.positions**2).sum())
        assert row.force_rmse_eV_A == pytest.approx(np.sqrt((difference**2).mean()))
        mine = atoms[(atoms.set == row.set) & (atoms.seed == row.seed) & (atoms.frame == row.frame)]
        assert mine.atom.tolist() == list(range(6)) and mine.element.tolist() == frame.get_chemical_symbols()
        for source, expected in (("reference", frame.arrays["REF_forces"]), ("model", -k * frame.positions)):
            found = mine[[f"{source}_{axis}_eV_A" for axis in "xyz"]].to_numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-12)
    train_rows = rows[(rows.set == "train") & (rows.seed == 1)]
    assert train_rows.types.tolist() == ["", "c3-oh", "c3-h1"]
    assert train_rows.segment.tolist() == ["", "stretching", "compression"]
    # Of two modified bonds it is the one further from its mean: -0.20 Å against +0.10 Å.
    assert train_rows.stretch_A.tolist() == pytest.approx([np.nan, 0.18, -0.20], nan_ok=True)
    assert train_rows.angle_types.tolist() == ["", "", "c3-oh-ho"]
    assert train_rows.angle_segment.tolist() == ["", "", "closing"]
    # -33 degrees against +25.
    assert train_rows.bend_degrees.tolist() == pytest.approx([np.nan, np.nan, -33.0], nan_ok=True)


def test_errors_are_zero_for_the_models_own_predictions(trained):
    model = load_isolated(trained.folder / "mace.model", "cpu", "float64")
    frames = labelled(3, seed=6)
    energies, forces = predict(model, frames)
    for frame, energy, force in zip(frames, energies, forces, strict=True):
        frame.info["REF_energy"], frame.arrays["REF_forces"] = energy, force
    rows, _ = evaluate({1: model}, {"validation": frames}, RANGES, ANGLE_RANGES)
    assert (rows.force_rmse_eV_A == 0).all()
    assert (rows.energy_model_eV == rows.energy_reference_eV).all()


def test_predictions_do_not_depend_on_the_batches(monkeypatch):
    frames = [molecule(name) for name in ("CH3OH", "H2O", "C6H6", "CO", "CH4", "C2H6", "NH3")]
    whole, whole_forces = predict(Central(2.0), frames)
    monkeypatch.setattr(evaluation, "BATCH", 3)
    parts, part_forces = predict(Central(2.0), frames)
    np.testing.assert_array_equal(whole, parts)
    for one, other, frame in zip(whole_forces, part_forces, frames, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, -2.0 * frame.positions)
