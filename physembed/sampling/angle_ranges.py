"""Sampled ranges of each angle type, from the data and the force constants.

The rule is that of bonds (`physembed.sampling.ranges`), with one difference: the limit is proportional to the square
root of k_ref / k, so that all types store the same harmonic energy at their limits (docs/background/angle_sampling.md).
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from physembed.config import Sampling
from physembed.errors import PhysEmbedError
from physembed.molecules.angles import angle_type, angle_types, angle_values
from physembed.sampling.ranges import foreign_to, read_parameter_set

log = logging.getLogger(__name__)

NARROW_DEGREES = 3.0
"""A narrower segment counts as empty, for example between the largest angle in the frames and 180 degrees."""


def reference_angle_constant(
    settings: Sampling, bonds: pd.DataFrame, angles: pd.DataFrame, parameter_set: Literal["gaff", "gaff2"]
) -> float:
    """k_ref in kcal/mol/rad^2, the force constant of the angle to which `settings.bend_degrees` applies.

    The first available of `settings.reference_k_kcal_mol_rad2`, the force constant of `settings.reference_angle`
    in the molecule itself, and that in AmberTools' file of the parameter set.

    Raises:
        PhysEmbedError: none of them exists, or the molecule's parameters are not from the parameter set, so the
            reference would not be comparable with the molecule's angles.
    """
    if settings.reference_k_kcal_mol_rad2 is not None:
        return settings.reference_k_kcal_mol_rad2
    first, apex, last = settings.reference_angle.split("-")
    name = angle_type(first, apex, last)
    of_type = angles["k_kcal_mol_rad2"][np.array(angle_types(angles)) == name]
    if len(of_type):
        return float(of_type.mean())
    parameters = read_parameter_set(parameter_set)
    way_out = "set arms.<arm>.reference_angle to an angle type of the molecule, or arms.<arm>.reference_k_kcal_mol_rad2"
    if (first, apex, last) not in parameters.angle_types:
        raise PhysEmbedError(
            f"bond_sampling: arms.<arm>.reference_angle: {settings.reference_angle!r} is an angle type of neither the "
            f"molecule ({', '.join(sorted(set(angle_types(angles))))}) nor {parameter_set}.dat; {way_out}"
        )
    foreign = foreign_to(parameters, bonds)
    if foreign:
        raise PhysEmbedError(
            f"bond_sampling: arms.<arm>.reference_angle: {settings.reference_angle!r} is not an angle type of the "
            f"molecule, and that of {parameter_set}.dat does not go with its topology ({foreign}); {way_out}"
        )
    k_ref = float(parameters.angle_types[first, apex, last].k)
    log.info("reference force constant: %s in %s.dat, %.1f kcal/mol/rad^2", name, parameter_set, k_ref)
    return k_ref


def effective_angle_constants(angles: pd.DataFrame, settings: Sampling) -> np.ndarray:
    """(n,) kcal/mol/rad^2 for each angle or type, multiplied by `settings.terminal_k_factor` for terminal ones."""
    k = angles["k_kcal_mol_rad2"].to_numpy(dtype=float)
    return np.where(angles["terminal"].to_numpy(dtype=bool), settings.terminal_k_factor * k, k)


def angle_ranges(positions: np.ndarray, angles: pd.DataFrame, settings: Sampling, reference_k: float) -> pd.DataFrame:
    """The sampled values of each angle type.

    Closing covers [theta_mean - limit, theta_min], opening [theta_max, theta_mean + limit], within 0 and 180 degrees,
    with limit = bend_degrees * sqrt(k_ref / k) and k times `terminal_k_factor` for terminal angles.
    theta_min, theta_mean and theta_max are computed over all frames and all angles of the type; if a topology gives
    angles of one type different force constants, k is their mean. A segment that extends less than `NARROW_DEGREES`
    beyond the data is empty; the log warns of it.

    Angles whose two bonds are both in rings are never bent, and an arm without bends samples only the angles of the
    data: the ranges are [theta_min, theta_max].

    Args:
        positions: (n_frames, n_atoms, 3) Å.
        angles: the angle table.
        settings: the arm.
        reference_k: k_ref, kcal/mol/rad^2.

    Returns:
        One row per angle type, sorted: types, angles (how many), k_kcal_mol_rad2, theta_eq_degrees,
        theta_min_degrees, theta_mean_degrees, theta_max_degrees, closing_low_degrees, opening_high_degrees, terminal,
        bendable (an angle of the type can be bent), closing_empty, opening_empty.

    Raises:
        PhysEmbedError: an angle that should be bent has no positive force constant.
    """
    values = angle_values(positions, angles)
    table = pd.DataFrame(
        {
            "types": angle_types(angles),
            "k": angles["k_kcal_mol_rad2"].to_numpy(),
            "eq": angles["theta_eq_degrees"].to_numpy(),
            "min": values.min(axis=0),
            "mean": values.mean(axis=0),
            "max": values.max(axis=0),
            "terminal": angles["terminal"].to_numpy(dtype=bool),
            "bendable": ~angles["in_ring"].to_numpy(dtype=bool),
        }
    )
    ranges = table.groupby("types", as_index=False).agg(
        angles=("k", "size"),
        k_kcal_mol_rad2=("k", "mean"),
        theta_eq_degrees=("eq", "mean"),
        theta_min_degrees=("min", "min"),
        theta_mean_degrees=("mean", "mean"),
        theta_max_degrees=("max", "max"),
        terminal=("terminal", "any"),
        bendable=("bendable", "any"),
    )
    low, high = ranges["theta_min_degrees"].to_numpy(), ranges["theta_max_degrees"].to_numpy()
    bent = ranges["bendable"].to_numpy(dtype=bool) & (settings.angles_per_frame > 0)
    k, mean = effective_angle_constants(ranges, settings), ranges["theta_mean_degrees"].to_numpy()
    for types, value in zip(ranges["types"][bent], k[bent], strict=True):
        if not value > 0:
            raise PhysEmbedError(
                f"bond_sampling: angle type {types} has the force constant {value:g} kcal/mol/rad^2, which gives no "
                "limit; set a positive one in the topology, or set angles_per_frame of the arm to 0"
            )
    limit = settings.bend_degrees * np.sqrt(reference_k / np.where(bent, k, np.inf))
    closing, opening = np.maximum(mean - limit, 0), np.minimum(mean + limit, 180)
    terminal, bendable = ranges.pop("terminal"), ranges.pop("bendable")
    ranges["closing_low_degrees"] = np.where(bent, closing, low)
    ranges["opening_high_degrees"] = np.where(bent, opening, high)
    ranges["terminal"], ranges["bendable"] = terminal, bendable
    ranges["closing_empty"] = bent & (low - closing < NARROW_DEGREES)
    ranges["opening_empty"] = bent & (opening - high < NARROW_DEGREES)
    for row in ranges[ranges["closing_empty"] | ranges["opening_empty"]].to_dict("records"):
        _warn_of_empty(row)
    return ranges


def _warn_of_empty(row: Mapping[Hashable, Any]) -> None:
    """Log which segments of a type are empty."""
    empty = [name for name in ("closing", "opening") if row[f"{name}_empty"]]
    log.warning(
        "bond_sampling: %s: the %s is empty: theta_mean %.1f degrees and the limits [%.1f, %.1f] against "
        "[%.1f, %.1f] in the frames; these angles are %s",
        row["types"], " and the ".join(f"{name} segment" for name in empty), row["theta_mean_degrees"],
        row["closing_low_degrees"], row["opening_high_degrees"], row["theta_min_degrees"], row["theta_max_degrees"],
        "not bent" if len(empty) == 2 else "only opened" if empty == ["closing"] else "only closed",
    )  # fmt: skip
