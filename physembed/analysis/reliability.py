"""How far the spread of a committee tells the error of its mean: forces on atoms, binned by the spread.

A reliability diagram compares, in bins of the predicted uncertainty, the root mean square of the prediction (RMV, root
mean variance) with the root mean square error (RMSE); ENCE is the mean over bins of |RMV - RMSE| / RMV (D. Levi,
L. Gispan, N. Giladi, E. Fetaya, Sensors 2022, 22, 5540). With M members the force on an atom has the mean
F, the spread s and the error e:

    s^2 = sum_m |F_m - F|^2 / (M - 1)        e^2 = |F - F_reference|^2

The calibration factor is RMSE / RMV over all atoms: what a spread has to be multiplied by to be as large as the error.
Sums of squares are compared, because the mean of e^2 / s^2 is infinite for up to three members. If the reference were
one more draw of what the members are drawn from, e^2 would be s^2 (1 + 1 / M) on average, and the factor
sqrt(1 + 1 / M). Standard errors are from the jackknife, a frame left out at a time: atoms of a frame are not
independent.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BINS = 10
"""At most so many bins, of as many atoms each."""
PER_BIN = 20
"""Atoms in a bin, at least."""
COLUMNS = [
    "arm", "set", "members", "bin", "atoms", "frames", "predicted_meV_A", "error_meV_A", "standard_error_meV_A",
    "calibration_factor", "calibration_standard_error", "ence",
]  # fmt: skip


def spread_and_error(forces: pd.DataFrame) -> pd.DataFrame:
    """Spread and error of the force on each atom that several models have seen.

    Args:
        forces: seed, frame, atom, reference_{x,y,z}_eV_A, model_{x,y,z}_eV_A of one arm and set.

    Returns:
        frame, atom, members, spread_eV_A, error_eV_A; no rows if no frame was seen by two models.
    """
    model, reference = ([f"{kind}_{axis}_eV_A" for axis in "xyz"] for kind in ("model", "reference"))
    atoms = forces.groupby(["frame", "atom"], sort=True)
    members = atoms.size()
    error = ((atoms[model].mean().to_numpy() - atoms[reference].first().to_numpy()) ** 2).sum(axis=1)
    spread = atoms[model].var(ddof=1).to_numpy().sum(axis=1)
    table = members.rename("members").reset_index()
    table["spread_eV_A"], table["error_eV_A"] = np.sqrt(spread), np.sqrt(error)
    return table[table["members"] > 1].reset_index(drop=True)


def reliability(forces: pd.DataFrame, name: str = "validation") -> pd.DataFrame:
    """The diagram of each arm.

    Args:
        forces: the evaluation tables of all arms with a column `arm` (arm, set, seed, frame, atom, forces).
        name: the set of frames; those of validation were not trained on.

    Returns:
        `COLUMNS`: for each arm its bins (`bin` from 1 on, by growing spread) and a row with bin 0 over all atoms, which
        alone has the factor and the ENCE. An arm of which no frame was seen by two models has no rows.
    """
    rows = []
    for arm, of_arm in forces[forces["set"] == name].groupby("arm", sort=False):
        atoms = spread_and_error(of_arm)
        if atoms.empty:
            continue
        atoms = atoms.sort_values("spread_eV_A", kind="stable")
        squares = 1e6 * atoms[["spread_eV_A", "error_eV_A"]].to_numpy() ** 2
        frame = np.unique(atoms["frame"], return_inverse=True)[1]
        count = max(1, min(BINS, len(atoms) // PER_BIN))
        binned = []
        for number, chosen in enumerate([np.arange(len(atoms)), *np.array_split(np.arange(len(atoms)), count)]):
            predicted, found = np.sqrt(squares[chosen].mean(axis=0))
            error = _jackknife(squares[chosen, 1], np.ones(len(chosen)), frame[chosen])
            seen = len(np.unique(frame[chosen]))
            members = int(atoms["members"].min())
            rows.append([arm, name, members, number, len(chosen), seen, predicted, found, error] + 3 * [math.nan])
            if number:
                binned.append(abs(predicted - found) / predicted if predicted > 0 else math.nan)
        whole = rows[-count - 1]
        whole[-3] = whole[7] / whole[6] if whole[6] > 0 else math.nan
        whole[-2] = _jackknife(squares[:, 1], squares[:, 0], frame)
        whole[-1] = float(np.mean(binned))
    return pd.DataFrame(rows, columns=COLUMNS)


def _jackknife(above: NDArray[np.float64], below: NDArray[np.float64], frame: NDArray[np.int_]) -> float:
    """Standard error of sqrt(sum above / sum below), a frame left out at a time; NaN for a single frame."""
    frames = np.unique(frame, return_inverse=True)[1]
    count = frames.max() + 1
    if count < 2:
        return math.nan
    totals = [values.sum() - np.bincount(frames, values, count) for values in (above, below)]
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.sqrt(totals[0] / totals[1])
    return float(np.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum()))
