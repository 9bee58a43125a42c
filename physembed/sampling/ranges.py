"""Sampled ranges of each bond type, from the data and the force constants.

Self-adaptive bond-length sampling: Hu, Hou, Jiang, CCS Chemistry 2026, 10.31635/ccschem.026.202506780.
"""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
import pandas as pd
from parmed.amber import AmberParameterSet

from physembed.config import Sampling
from physembed.errors import PhysEmbedError
from physembed.molecules.ambertools import amber_home
from physembed.molecules.bonds import bond_lengths, bond_type, bond_types

log = logging.getLogger(__name__)


def reference_force_constant(settings: Sampling, bonds: pd.DataFrame, parameter_set: Literal["gaff", "gaff2"]) -> float:
    """k_ref in kcal/mol/Å^2, the force constant of the bond to which `settings.stretch_A` applies.

    The first available of `settings.reference_k_kcal_mol_A2`, the force constant of `settings.reference_bond`
    in the molecule itself, and that in AmberTools' file of the parameter set.

    Raises:
        PhysEmbedError: none of them exists, or the molecule's parameters are not from the parameter set, so the
            reference would not be comparable with the molecule's bonds.
    """
    if settings.reference_k_kcal_mol_A2 is not None:
        return settings.reference_k_kcal_mol_A2
    first, second = settings.reference_bond.split("-")
    name = bond_type(first, second)
    of_type = bonds["k_kcal_mol_A2"][np.array(bond_types(bonds)) == name]
    if len(of_type):
        return float(of_type.mean())
    parameters = read_parameter_set(parameter_set)
    way_out = "set arms.<arm>.reference_bond to a bond type of the molecule, or arms.<arm>.reference_k_kcal_mol_A2"
    if (first, second) not in parameters.bond_types:
        raise PhysEmbedError(
            f"bond_sampling: arms.<arm>.reference_bond: {settings.reference_bond!r} is a bond type of neither the "
            f"molecule ({', '.join(sorted(set(bond_types(bonds))))}) nor {parameter_set}.dat; {way_out}"
        )
    foreign = foreign_to(parameters, bonds)
    if foreign:
        raise PhysEmbedError(
            f"bond_sampling: arms.<arm>.reference_bond: {settings.reference_bond!r} is not a bond type of the "
            f"molecule, and that of {parameter_set}.dat does not go with its topology ({foreign}); {way_out}"
        )
    k_ref = float(parameters.bond_types[first, second].k)
    log.info("reference force constant: %s in %s.dat, %.1f kcal/mol/Å^2", name, parameter_set, k_ref)
    return k_ref


def read_parameter_set(parameter_set: Literal["gaff", "gaff2"]) -> AmberParameterSet:
    """AmberTools' file of a parameter set."""
    return AmberParameterSet(str(amber_home() / "dat" / "leap" / "parm" / f"{parameter_set}.dat"))


def foreign_to(parameters: AmberParameterSet, bonds: pd.DataFrame) -> str:
    """Evidence that a topology does not use the parameter set, judged by its bonds; empty if there is none."""
    unknown = sorted({*bonds["type_i"], *bonds["type_j"]} - set(parameters.atom_types))
    if unknown:
        return f"atom types {', '.join(unknown)} are not in it"
    own = zip(bonds["type_i"], bonds["type_j"], bonds["k_kcal_mol_A2"], strict=True)
    pairs = [(a, b, k, parameters.bond_types[a, b].k) for a, b, k in own if (a, b) in parameters.bond_types]
    # A user may have changed a bond or two, but not all.
    if pairs and not any(np.isclose(k, k_of_set, rtol=0.01) for _, _, k, k_of_set in pairs):
        first, second, k, k_of_set = pairs[0]
        return f"k of {bond_type(first, second)} is {k:.1f}, not {k_of_set:.1f} kcal/mol/Å^2"
    return ""


def effective_force_constants(bonds: pd.DataFrame, settings: Sampling) -> np.ndarray:
    """(n,) kcal/mol/Å^2 for each bond or bond type, multiplied by `settings.terminal_k_factor` for terminal ones."""
    k = bonds["k_kcal_mol_A2"].to_numpy(dtype=float)
    return np.where(bonds["terminal"].to_numpy(dtype=bool), settings.terminal_k_factor * k, k)


def bond_ranges(positions: np.ndarray, bonds: pd.DataFrame, settings: Sampling, reference_k: float) -> pd.DataFrame:
    """The sampled lengths of each bond type.

    Compression goes over [compression * r_min, r_min], stretching over [r_max, r_mean + stretch_A * k_ref / k],
    with r_min, r_mean and r_max over all frames and all bonds of the type and k times `terminal_k_factor` for
    terminal bonds. Where a topology gives bonds of one type different force constants, k is their mean.
    A stretching segment with its upper end below r_max is empty; the log warns of it. An arm without
    modifications samples only the lengths of the data: its ranges are [r_min, r_max].

    Args:
        positions: (n_frames, n_atoms, 3) Å.
        bonds: the bond table.
        settings: the arm.
        reference_k: k_ref, kcal/mol/Å^2.

    Returns:
        One row per bond type, sorted: types, bonds (how many), k_kcal_mol_A2, r_eq_A, r_min_A, r_mean_A, r_max_A,
        compression_low_A, stretch_high_A, terminal, stretch_empty.
    """
    lengths = bond_lengths(positions, bonds)
    table = pd.DataFrame(
        {
            "types": bond_types(bonds),
            "k": bonds["k_kcal_mol_A2"].to_numpy(),
            "r_eq": bonds["r_eq_A"].to_numpy(),
            "min": lengths.min(axis=0),
            "mean": lengths.mean(axis=0),
            "max": lengths.max(axis=0),
            "terminal": bonds["terminal"].to_numpy(dtype=bool),
        }
    )
    ranges = table.groupby("types", as_index=False).agg(
        bonds=("k", "size"),
        k_kcal_mol_A2=("k", "mean"),
        r_eq_A=("r_eq", "mean"),
        r_min_A=("min", "min"),
        r_mean_A=("mean", "mean"),
        r_max_A=("max", "max"),
        terminal=("terminal", "any"),
    )
    stretch = settings.stretch_A * reference_k / effective_force_constants(ranges, settings)
    terminal = ranges.pop("terminal")
    if settings.bonds_per_frame == 0:
        ranges["compression_low_A"], ranges["stretch_high_A"] = ranges["r_min_A"], ranges["r_max_A"]
    else:
        ranges["compression_low_A"] = settings.compression * ranges["r_min_A"]
        ranges["stretch_high_A"] = ranges["r_mean_A"] + stretch
    ranges["terminal"] = terminal
    ranges["stretch_empty"] = ranges["stretch_high_A"] < ranges["r_max_A"]
    for row in ranges[ranges["stretch_empty"]].to_dict("records"):
        log.warning(
            "bond_sampling: %s: the stretching segment is empty: its upper end %.3f Å (r_mean %.3f Å + stretch_A "
            "* k_ref / k) is below r_max %.3f Å; these bonds are only compressed",
            row["types"], row["stretch_high_A"], row["r_mean_A"], row["r_max_A"],
        )  # fmt: skip
    return ranges
