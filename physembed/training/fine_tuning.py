"""Training that begins with another model: MACE's fine-tuning, with its preparation and a check of what it begins as.

MACE's trainer builds a new model of the elements of the training set and copies the weights of the other one into it.
Scale and shift of the energies are kept; the energies of free atoms are shifted so that the errors of the energies of
the training set, as the other model gives them, are as small as they can be (`E0s=estimated`). For frames of one
molecule this fixes their sum over its atoms, not each of them. Averages of the training set, MACE's default, would add
a second energy of formation to that which the model knows (arXiv:2606.12704).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms

from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.model_files.file import default_head, load_module

log = logging.getLogger(__name__)
TOLERANCE = 2e-3
"""Largest difference of forces to those of the model to begin with, relative to their root mean square."""
SHIFT_EV_ATOM = 2e-3
"""Largest error of the shift of the energies; in float32 energies of thousands of eV have this much noise."""
FAR_EV_ATOM = 0.5
"""Error of the energies, after the shift, from which the two sets of labels hardly go together."""


def prepared(file: str | Path, dtype: str, folder: Path) -> Path:
    """A copy of a model as MACE's trainer takes it: with one head and in the precision of the training.

    Where both have the same elements, the trainer would overwrite the shifted energies of free atoms with those of the
    model to begin with. It copies what has the same shape; here they have another, which MACE takes too.

    Raises:
        PhysEmbedError: it holds no MACE model, or several heads with none called default.
    """
    from mace.tools.scripts_utils import remove_pt_head

    module: Any = load_module(file, "cpu", "training: base")
    if len(getattr(module, "heads", [])) > 1:
        before = torch.get_default_dtype()
        torch.set_default_dtype(next(module.parameters()).dtype)
        try:
            module = remove_pt_head(module, default_head(module, f"training: base: {file}"))
        finally:
            torch.set_default_dtype(before)
    free = module.atomic_energies_fn
    free.atomic_energies = free.atomic_energies.reshape(-1)
    path = folder / "base.model"
    with atomic(path) as temporary:
        torch.save(module.to(getattr(torch, dtype)), temporary)
    return path


def trainer_options(base: Path) -> dict[str, object]:
    """What `mace_run_train` is told of a model that `prepared` has written."""
    return {"foundation_model": base, "multiheads_finetuning": False, "E0s": "estimated", "weight_decay": 0.0}


@contextmanager
def checked_beginning(file: str | Path, train_file: str | Path, validation_file: str | Path) -> Iterator[None]:
    """Compare the model with which MACE's trainer begins with that in a file, before the first epoch.

    A training that goes on from a checkpoint is not looked at. The radial basis, which the trainer makes a parameter
    and never changes, is none here.

    Raises:
        PhysEmbedError: its forces on the validation frames are others, or its energies are not shifted as they should.
    """
    from mace import tools

    train = tools.train

    def checked(*, model: Any, start_epoch: int, valid_loaders: Any, device: Any, **others: Any) -> None:
        for parameter in model.radial_embedding.parameters():
            parameter.requires_grad_(False)
        if start_epoch == 0:
            (loader,) = valid_loaders.values()
            sets = (ase.io.read(path, ":") for path in (train_file, validation_file))
            _compare(_Start(model, loader, device), file, *sets)
        train(model=model, start_epoch=start_epoch, valid_loaders=valid_loaders, device=device, **others)

    tools.train = checked
    try:
        yield
    finally:
        tools.train = train


@dataclass(frozen=True)
class _Start:
    """The model in the trainer."""

    model: Any
    loader: Any
    """Of the validation frames."""
    device: Any

    def predict(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies (n_frames,) in eV and forces (n_atoms, 3) in eV/Å, of all atoms."""
        energies, forces = [], []
        for batch in self.loader:
            output = self.model(batch.to(self.device).to_dict(), training=False, compute_force=True)
            energies.append(output["energy"].detach().cpu().numpy().astype(float))
            forces.append(output["forces"].detach().cpu().numpy().astype(float))
        return np.concatenate(energies), np.concatenate(forces)


def _compare(start: _Start, file: str | Path, train: Sequence[Atoms], validation: Sequence[Atoms]) -> None:
    """Compare the model in the trainer with that in a file, and log its errors."""
    from physembed.engine.mace import load_isolated
    from physembed.models.evaluation import predict

    given = load_isolated(file, "cpu", "float64")
    before, of_frames = predict(given, validation)
    energies, forces = start.predict()
    forces_before = np.concatenate(of_frames)
    scale = float(np.sqrt(np.mean(forces_before**2)))
    difference = float(np.abs(forces - forces_before).max())
    way_out = "MACE's trainer does not know all parts of this model; run it as it is (frames: 0), or begin with another"
    if not difference <= TOLERANCE * scale:
        raise PhysEmbedError(
            f"training: {file}: the trainer does not begin with this model: forces differ by up to {difference:.2g} "
            f"eV/Å (their root mean square is {scale:.2g} eV/Å); {way_out}"
        )
    sizes, labels = np.array([len(frame) for frame in validation]), _energies(validation)
    if len({str(frame.symbols) for frame in [*train, *validation]}) == 1:
        shift = float(np.mean(_energies(train) - predict(given, train)[0]))
        wrong = float(np.abs((energies - before - shift) / sizes).max())
        if not wrong <= SHIFT_EV_ATOM:
            raise PhysEmbedError(
                f"training: {file}: the trainer begins with energies that are off by {wrong:.2g} eV/atom, which a "
                f"shift of the energies of free atoms by {shift:.6g} eV in all should have removed; {way_out}"
            )
    per_atom = float(np.sqrt(np.mean(((energies - labels) / sizes) ** 2)))
    force_error = np.concatenate([frame.arrays["REF_forces"] for frame in validation]) - forces
    log.info(
        "training begins with errors of %.0f meV/Å and %.1f meV/atom on the validation frames",
        1000 * float(np.sqrt(np.mean(force_error**2))), 1000 * per_atom,
    )  # fmt: skip
    if per_atom > FAR_EV_ATOM:
        log.warning(
            "training: %s is off by %.2g eV/atom on the validation frames, after a shift of its energies: it and the "
            "labels hardly go together", file, per_atom,
        )  # fmt: skip


def _energies(frames: Sequence[Atoms]) -> np.ndarray:
    return np.array([frame.info["REF_energy"] for frame in frames])
