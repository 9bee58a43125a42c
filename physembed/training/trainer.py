"""MACE training with MACE's own trainer, `mace_run_train`, in this process.

The trainer draws whole batches: frames that do not fill one are left out of an epoch, others in each. Of 45 frames in
batches of 10, each is in 8 of 9 epochs on average.

The trainer works in a restart folder. Called again, it goes on from its last checkpoint, the best model so far on
the validation frames, and runs that epoch once more. The result then differs from that of a training without a
break, and the model that is kept is the best since the last restart.

`curve` holds one row per epoch: epoch, train_loss, validation_loss, validation_rmse_energy_meV_atom,
validation_rmse_force_meV_A; with stress in the loss validation_rmse_stress_meV_A3, and with two stages `stage`.

Of a liquid the stress can be in the loss, and a second stage (MACE's SWA) can follow with weights and a learning
rate of its own. Losses of the two stages are on different scales, so the best models of the two cannot be told apart
by them. The model that is kept is the best of the second stage, which is there to bring energy and stress, and with
them the density, into line.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pandas as pd
import torch
from ase import Atoms

from physembed.config import Training
from physembed.config.liquids import LiquidTraining
from physembed.engine.device import resolve_device
from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.progress import Progress
from physembed.training import fine_tuning
from physembed.training.data import apart
from physembed.training.loss_gradient import substituted
from physembed.training.origins import origins
from physembed.training.weighting import balanced_elements

log = logging.getLogger(__name__)
NAME = "mace"


def trainer_arguments(
    settings: Training | LiquidTraining,
    train_file: str | Path,
    validation_file: str | Path,
    seed: int,
    work: Path,
    base: Path | None = None,
) -> list[str]:
    """The command line of `mace_run_train` for these settings; `base` is a model that `fine_tuning` has prepared."""
    device = resolve_device(settings.device)
    values: dict[str, object] = {
        "name": NAME,
        "seed": seed,
        "work_dir": work,
        "model": "MACE",
        "train_file": train_file,
        "valid_file": validation_file,
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "E0s": "average",
        "num_channels": settings.num_channels,
        "max_L": settings.max_L,
        "max_ell": settings.max_ell,
        "correlation": settings.correlation,
        "num_interactions": settings.num_interactions,
        "r_max": settings.r_max_A,
        "max_num_epochs": settings.epochs,
        "patience": settings.epochs + 1,
        "batch_size": settings.batch_size,
        "valid_batch_size": settings.batch_size,
        "lr": settings.learning_rate,
        "lr_factor": settings.lr_factor,
        "scheduler_patience": settings.scheduler_patience,
        "energy_weight": settings.energy_weight,
        "forces_weight": settings.forces_weight,
        "ema_decay": settings.ema_decay,
        "clip_grad": settings.clip_grad,
        "default_dtype": settings.dtype,
        "device": device,
        "plot": False,
        "num_workers": 0,
        "pin_memory": False,
    }
    if isinstance(settings, LiquidTraining):
        values |= _liquid_arguments(settings)
    if base is not None:
        values |= fine_tuning.trainer_options(base)
    arguments = [f"--{key}={value}" for key, value in values.items()]
    if settings.repulsion == "zbl" and base is None:
        arguments.append("--pair_repulsion")
    arguments += ["--ema", "--amsgrad", "--restart_latest", "--save_cpu"]
    if device == "cuda":
        arguments.append("--enable_cueq=True")
    return arguments


def _liquid_arguments(settings: LiquidTraining) -> dict[str, object]:
    """What `mace_run_train` is told of the stress and of the second stage."""
    values: dict[str, object] = {}
    if settings.stress_weight > 0:
        # The plain weighted mean of squares, over frames and the nine components, in (eV/Å^3)^2. A frame without
        # stress has the weight 0.
        values |= {"loss": "stress", "stress_key": "REF_stress", "stress_weight": settings.stress_weight}
    start = stage_two_start(settings)
    if start is not None:
        values |= {
            "start_swa": start,
            "swa_energy_weight": settings.swa_energy_weight,
            "swa_forces_weight": settings.swa_forces_weight,
            "swa_stress_weight": settings.swa_stress_weight,
            "swa_lr": settings.swa_learning_rate,
        }
    return values


def stage_two_start(settings: Training | LiquidTraining) -> int | None:
    """First epoch of the second stage, or None where there is none or no epoch is left for it."""
    if not isinstance(settings, LiquidTraining) or settings.swa_start is None:
        return None
    start = math.ceil(settings.swa_start * settings.epochs)
    return start if start < settings.epochs else None


def split(frames: Sequence[Atoms], validation_fraction: float, seed: int) -> tuple[list[Atoms], list[Atoms]]:
    """Split frames at random into training and validation, in the same proportion for each kind of frame.

    Frames that come from one geometry (see `origins`) stay together. Kinds are those of equal `liquid` and `origin`
    in the info of the frames of a geometry, with and without stress. Where fractions of frames are left over,
    the kinds with the largest get one more; a kind whose geometries have several frames each gets as nearly its share
    as whole geometries allow. Frames of isolated atoms are all for training, to which they give the E0s; they count in
    no share.

    Args:
        frames: of at least two geometries besides isolated atoms; each set comes out in this order.
        validation_fraction: share of the frames for validation, which gets one geometry or more.
        seed: not negative.

    Raises:
        PhysEmbedError: there are fewer than two frames, or all come from one geometry.
    """
    atoms, frames = apart(frames)
    if len(frames) < 2:
        raise PhysEmbedError(f"training: {len(frames)} labelled frames; training and validation need one each")
    geometries: dict[int, list[int]] = defaultdict(list)
    for index, number in enumerate(origins(frames).tolist()):
        geometries[number].append(index)
    if len(geometries) < 2:
        raise PhysEmbedError(
            f"training: all {len(frames)} frames are copies of one geometry, up to rigid motion of its molecules; "
            "training and validation need one geometry each"
        )
    kinds: dict[tuple[tuple[str, str, bool], ...], list[list[int]]] = defaultdict(list)
    for members in geometries.values():
        kinds[tuple(sorted({_kind(frames[index]) for index in members}))].append(members)
    total = min(max(1, round(validation_fraction * len(frames))), len(frames) - 1)
    names = sorted(kinds)
    shares = np.array([sum(map(len, kinds[name])) for name in names]) * total / len(frames)
    counts = np.floor(shares).astype(int)
    counts[np.argsort(counts - shares, kind="stable")[: total - counts.sum()]] += 1
    generator = np.random.default_rng(seed)
    chosen: list[list[int]] = []
    for name, count in zip(names, counts.tolist(), strict=True):
        missing = count
        for place in generator.permutation(len(kinds[name])).tolist():
            members = kinds[name][place]
            if abs(missing - len(members)) >= missing:
                break
            chosen.append(members)
            missing -= len(members)
    if not chosen:
        chosen = [min(geometries.values(), key=len)]
    if len(chosen) == len(geometries):
        chosen.remove(max(chosen, key=len))
    validation = {index for members in chosen for index in members}
    return (
        atoms + [frame for index, frame in enumerate(frames) if index not in validation],
        [frame for index, frame in enumerate(frames) if index in validation],
    )


def _kind(frame: Atoms) -> tuple[str, str, bool]:
    """What a validation set should have its share of."""
    return str(frame.info.get("liquid", "")), str(frame.info.get("origin", "")), "REF_stress" in frame.info


def _check_labels(file: str | Path, *, stress: bool) -> int:
    """Check that labels are finite numbers, and that there is a stress, in periodic frames alone, if it is asked for.

    A frame without stress counts for energy and forces alone.

    Returns:
        The number of frames that are trained on, which leaves out isolated atoms.
    """
    frames = ase.io.read(file, ":")
    for index, frame in enumerate(frames):
        labels = {"REF_energy": frame.info, "REF_stress": frame.info, "REF_forces": frame.arrays}
        for name, values in labels.items():
            if name in values and not np.isfinite(np.asarray(values[name], dtype=float)).all():
                raise PhysEmbedError(f"training: {file}: frame {index}: {name} is not finite; remove the frame")
    with_stress = [index for index, frame in enumerate(frames) if "REF_stress" in frame.info]
    if stress and not with_stress:
        raise PhysEmbedError(
            f"training: {file}: none of {len(frames)} frames has REF_stress; label them, raise "
            "training.validation_fraction if only some have it, or set training.stress_weight to 0"
        )
    for index in with_stress if stress else ():
        if not frames[index].pbc.all():
            raise PhysEmbedError(
                f"training: {file}: frame {index}: REF_stress, but pbc {frames[index].pbc.tolist()}; remove it, or set "
                "all of pbc"
            )
    return len(apart(frames)[1])


@contextmanager
def _ended_by_nan(seed: int) -> Iterator[None]:
    """End the trainer at the first loss that is not finite; it would go on to its last epoch."""
    from mace import tools

    log_row = tools.MetricsLogger.log

    def checked(self: Any, row: dict[str, Any]) -> None:
        log_row(self, row)
        loss = row.get("loss")
        if loss is not None and not np.isfinite(np.asarray(loss, dtype=float)).all():
            at = "before the first epoch" if row.get("epoch") is None else f"in epoch {row['epoch']}"
            raise PhysEmbedError(
                f"training: seed {seed}: the loss is {loss} {at}; lower training.learning_rate, and look at the "
                "largest forces and stresses of the data"
            )

    tools.MetricsLogger.log = checked
    try:
        yield
    finally:
        tools.MetricsLogger.log = log_row


def train(
    settings: Training | LiquidTraining,
    train_file: str | Path,
    validation_file: str | Path,
    *,
    seed: int,
    restart: str | Path,
    model_file: str | Path,
    base: str | Path | None = None,
    by_element: bool = False,
) -> pd.DataFrame:
    """Train one model, write it to `model_file` and return its training curve.

    Args:
        settings: the training section of the configuration, or that of a model of liquids.
        train_file: extended XYZ with REF_energy (eV) and REF_forces (eV/Å), for a liquid with stress in the loss also
            REF_stress (eV/Å^3; ASE's sign and order), which single frames may lack.
        validation_file: likewise; the model with the lowest loss on these frames is kept (of the second stage where
            there is one).
        seed: seed of the weights and of the order of the frames.
        restart: folder for checkpoints; an interrupted training in it is continued.
        model_file: where the model goes (a pickled MACE module).
        base: a MACE model to begin with (see `fine_tuning`), whose size, cutoff and prior the new one has in place of
            those of the settings; None for random weights.
        by_element: the loss of the forces is the mean over elements (`weighting.BalancedElementsLoss`).

    Raises:
        PhysEmbedError: MACE's trainer cannot begin with `base`; a loss is not finite (the training ends at once); a
            label is not finite; stress is asked for and no frame has it, or one has it that is not periodic in three
            directions; the training frames are fewer than a batch.
    """
    stress = isinstance(settings, LiquidTraining) and settings.stress_weight > 0
    count = _check_labels(train_file, stress=stress)
    _check_labels(validation_file, stress=stress)
    if count < settings.batch_size:
        raise PhysEmbedError(
            f"training: {train_file}: {count} frames are fewer than a batch ({settings.batch_size}), and the trainer "
            "would leave them all out; lower training.batch_size or label more frames"
        )
    from mace import tools
    from mace.cli import run_train

    work = Path(restart)
    work.mkdir(parents=True, exist_ok=True)
    begin = None if base is None else fine_tuning.prepared(base, settings.dtype, work)
    arguments = tools.build_default_arg_parser().parse_args(
        trainer_arguments(settings, train_file, validation_file, seed, work, begin)
    )
    _remove_torn_checkpoints(work / "checkpoints")
    on_cpu = arguments.device == "cpu"
    metrics = work / "results" / f"{tools.get_tag(NAME, seed)}_train.txt"
    with (
        (work / "stdout.txt").open("a") as printed,
        redirect_stdout(printed),
        _process_settings_kept(),
        _ended_by_nan(seed),
        _progress(metrics, settings.epochs, on_cpu),
        _own_gradients() if on_cpu else nullcontext(),
        balanced_elements() if by_element else nullcontext(),
        nullcontext() if base is None else fine_tuning.checked_beginning(base, train_file, validation_file),
    ):
        run_train.run(arguments)
    start = stage_two_start(settings)
    curve = read_curve(metrics, start)
    with atomic(model_file) as temporary:
        shutil.copyfile(work / (f"{NAME}.model" if start is None else f"{NAME}_stagetwo.model"), temporary)
    return curve


def read_curve(metrics: Path, stage_two: int | None = None) -> pd.DataFrame:
    """Training curve from the trainer's metrics file; of an epoch that was run twice the later counts.

    Args:
        metrics: the trainer's file.
        stage_two: first epoch of the second stage; None for a training without one.
    """
    losses: dict[int, list[float]] = {}
    evaluations: dict[int, dict[str, float]] = {}
    for row in _rows(metrics):
        epoch = row["epoch"]
        if epoch is None:
            # The trainer starts (again); an epoch that a kill cut short is run once more from its beginning.
            losses = {finished: losses[finished] for finished in evaluations}
        elif row["mode"] == "opt":
            if epoch in evaluations:
                losses[epoch] = []
                del evaluations[epoch]
            losses.setdefault(epoch, []).append(row["loss"])
        else:
            evaluations[epoch] = row
    curve = pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": sum(losses[epoch]) / len(losses[epoch]),
            "validation_loss": row["loss"],
            "validation_rmse_energy_meV_atom": row["rmse_e_per_atom"] * 1e3,
            "validation_rmse_force_meV_A": row["rmse_f"] * 1e3,
        }
        | ({"validation_rmse_stress_meV_A3": row["rmse_stress"] * 1e3} if "rmse_stress" in row else {})
        for epoch, row in sorted(evaluations.items())
    )
    if stage_two is not None:
        curve["stage"] = np.where(curve["epoch"] < stage_two, 1, 2)
    return curve


def _rows(metrics: Path) -> list[dict[str, Any]]:
    """Rows of the trainer's metrics file; `epoch` is None in the evaluation with which the trainer starts.

    A kill can tear a line, and the next start then appends its first row to it: both count as that first row.
    """
    rows = []
    for line in metrics.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            rows.append({"mode": "eval", "epoch": None})
    return rows


def _remove_torn_checkpoints(folder: Path) -> None:
    """Delete checkpoints that a kill left half written.

    The trainer would pass over one in silence when it starts, and fail on it at the end.
    """
    for path in folder.glob("*.pt"):
        try:
            torch.load(path, map_location="cpu")
        except Exception as error:  # reading half a file can raise anything
            log.warning("training: %s cannot be read (%s) and is deleted", path, type(error).__name__)
            path.unlink()


@contextmanager
def _process_settings_kept() -> Iterator[None]:
    """Undo what the trainer changes in the whole process: log handlers and levels, and torch's default dtype."""
    root, dtype = logging.getLogger(), torch.get_default_dtype()
    handlers, filters, level = root.handlers[:], root.filters[:], root.level
    try:
        yield
    finally:
        for handler in root.handlers[:]:
            if handler not in handlers:
                root.removeHandler(handler)
                handler.close()
        root.filters[:] = filters
        root.setLevel(level)
        torch.set_default_dtype(dtype)


@contextmanager
def _own_gradients() -> Iterator[None]:
    """Let the trainer evaluate the model that it trains as `loss_gradient` does."""
    from mace import tools

    train = tools.train

    def substitute(*, model: torch.nn.Module, **others: Any) -> None:
        with substituted(model):
            train(model=model, **others)

    tools.train = substitute
    try:
        yield
    finally:
        tools.train = train


@contextmanager
def _progress(metrics: Path, epochs: int, on_cpu: bool) -> Iterator[None]:
    """Log the progress of the trainer, which does not report it, from its metrics file."""
    stop = threading.Event()
    before = len(_evaluations(metrics))

    def watch() -> None:
        # Where an interrupted training goes on is known from the first epoch that it ends.
        progress = None if before else Progress("training", epochs, "epochs", warn_if_long=on_cpu)
        while not stop.wait(1.0):
            new = _evaluations(metrics)[before:]
            if not new:
                continue
            done = new[-1]["epoch"] + 1
            if progress is None:
                progress = Progress("training", epochs, "epochs", start=done, warn_if_long=on_cpu)
            progress.update(done, f"validation force RMSE {new[-1]['rmse_f'] * 1e3:.0f} meV/Å")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _evaluations(metrics: Path) -> list[dict[str, Any]]:
    """The validation row of each epoch that was run, in the order of running; epochs that were run twice have two."""
    rows = _rows(metrics) if metrics.exists() else []
    return [row for row in rows if row["mode"] == "eval" and row["epoch"] is not None]
