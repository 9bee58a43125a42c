"""How well the models of an arm reproduce their labels, frame by frame and atom by atom.

`frames`: set, seed, frame, source_frame, n_atoms, types, segment, stretch_A, angle_types, angle_segment, bend_degrees,
energy_reference_eV, energy_model_eV, force_rmse_eV_A. `stretch_A` is the length of the modified bond minus r_mean of
its type, `bend_degrees` the modified angle minus theta_mean of its type (of several the one furthest from it; NaN for a
frame without a change of that kind).
`forces`: set, seed, frame, atom, element, reference_{x,y,z}_eV_A, model_{x,y,z}_eV_A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch_sim as ts
from ase import Atoms

from physembed.sampling.modifier import modifications_of

BATCH = 100


def predict(model: Any, frames: Sequence[Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies (n_frames,) in eV and forces, one (n_atoms, 3) array in eV/Å per frame, of isolated molecules."""
    energies: list[float] = []
    forces: list[np.ndarray] = []
    for first in range(0, len(frames), BATCH):
        batch = [Atoms(numbers=f.numbers, positions=f.positions, cell=[1, 1, 1]) for f in frames[first : first + BATCH]]
        output = model(ts.io.atoms_to_state(batch, device=model.device, dtype=model.dtype))
        energies += output["energy"].cpu().tolist()
        ends = np.cumsum([len(frame) for frame in batch])[:-1]
        forces += np.split(output["forces"].cpu().numpy().astype(float), ends)
    return np.array(energies), forces


def _modification(frame: Atoms, kind: Literal["bond", "angle"], means: Mapping[str, float]) -> tuple[str, str, float]:
    """Type, segment and deviation of the modified bond or angle furthest from the mean of its type."""
    modifications = modifications_of(frame, kind)
    if not modifications:
        return "", "", float("nan")
    key = {"bond": "to_A", "angle": "to_degrees"}[kind]
    deviations = [item[key] - means[item["types"]] for item in modifications]
    worst = int(np.argmax(np.abs(deviations)))
    return modifications[worst]["types"], modifications[worst]["segment"], deviations[worst]


def evaluate(
    models: Mapping[int, Any],
    sets: Mapping[str, Sequence[Atoms]],
    ranges: pd.DataFrame | None = None,
    angle_ranges: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare the models of an arm with the labels of several sets of frames.

    Args:
        models: torch-sim models by training seed.
        sets: labelled frames (REF_energy, REF_forces) by name.
        ranges: the arm's table of bond-length ranges, for r_mean_A of each bond type; needed for modified frames.
        angle_ranges: its table of angle ranges, for theta_mean_degrees of each angle type.

    Returns:
        The tables `frames` and `forces` of the module's docstring.
    """
    mean_lengths, mean_angles = (
        {} if table is None else dict(zip(table["types"], table[column], strict=True))
        for table, column in ((ranges, "r_mean_A"), (angle_ranges, "theta_mean_degrees"))
    )
    frame_rows, force_tables = [], []
    for seed, model in models.items():
        for name, frames in sets.items():
            energies, forces = predict(model, frames)
            for index, frame in enumerate(frames):
                reference = frame.arrays["REF_forces"]
                difference = forces[index] - reference
                bond, angle = _modification(frame, "bond", mean_lengths), _modification(frame, "angle", mean_angles)
                frame_rows.append(
                    {
                        "set": name,
                        "seed": seed,
                        "frame": index,
                        "source_frame": frame.info["source_frame"],
                        "n_atoms": len(frame),
                        **dict(zip(("types", "segment", "stretch_A"), bond, strict=True)),
                        **dict(zip(("angle_types", "angle_segment", "bend_degrees"), angle, strict=True)),
                        "energy_reference_eV": frame.info["REF_energy"],
                        "energy_model_eV": energies[index],
                        "force_rmse_eV_A": float(np.sqrt(np.mean(difference**2))),
                    }
                )
                columns: dict[str, Any] = {
                    "set": name,
                    "seed": seed,
                    "frame": index,
                    "atom": np.arange(len(frame)),
                    "element": frame.get_chemical_symbols(),
                }
                for axis, letter in enumerate("xyz"):
                    columns[f"reference_{letter}_eV_A"] = reference[:, axis]
                    columns[f"model_{letter}_eV_A"] = forces[index][:, axis]
                force_tables.append(pd.DataFrame(columns))
    return pd.DataFrame(frame_rows), pd.concat(force_tables, ignore_index=True)


def numbered_through(parts: Sequence[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of several data sets as one pair; the frames of each are numbered after those before it."""
    frames, forces = [], []
    firsts: dict[str, int] = {}
    for of_frame, of_atom in parts:
        shift = dict(firsts)
        frames.append(of_frame.assign(frame=of_frame["frame"] + of_frame["set"].map(shift).fillna(0).astype(int)))
        forces.append(of_atom.assign(frame=of_atom["frame"] + of_atom["set"].map(shift).fillna(0).astype(int)))
        for name, last in frames[-1].groupby("set")["frame"].max().items():
            firsts[str(name)] = int(last) + 1
    return pd.concat(frames, ignore_index=True), pd.concat(forces, ignore_index=True)
