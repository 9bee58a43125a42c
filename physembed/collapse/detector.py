"""Collapse of a molecule in MD, detected with its own topology: broken bonds, overlaps, non-finite values.

A run has collapsed at the first check at which one of the following is true, in this order:

1. `non_finite`: a position, energy, force or temperature is infinite or NaN;
2. `bond`: a bond of the topology deviates by more than a tolerance from its mean length in the GAFF run;
3. `overlap`: two non-bonded atoms are closer than a bond between their elements plus a margin. Pairs two or three
   bonds apart count as non-bonded.

A high temperature alone is not a collapse. Lengths are in Å, energies in eV, forces in eV/Å, temperatures in K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch

from physembed.errors import PhysEmbedError
from physembed.molecules.angles import angle_type
from physembed.molecules.bonds import bond_type

QUANTITIES = ("positions", "energy", "forces", "temperature")
"""Columns of `CollapseCheck.non_finite`."""


@dataclass(frozen=True)
class CollapseCheck:
    """Result of one check; all tensors are on the device of the positions."""

    collapsed: torch.Tensor
    """(n_replicas,) bool."""
    non_finite: torch.Tensor
    """(n_replicas, 4) bool, one column for each of `QUANTITIES`."""
    bond_lengths: torch.Tensor
    """(n_replicas, n_bonds) Å."""
    pair_distances: torch.Tensor
    """(n_replicas, n_pairs) Å, of the non-bonded pairs."""


@dataclass(frozen=True)
class Collapse:
    """Why one replica collapsed. Atoms, types and lengths are empty if the cause is `non_finite`."""

    cause: Literal["non_finite", "bond", "overlap"]
    atom_i: int | None
    atom_j: int | None
    types: str
    """Sorted pair of GAFF types, such as `c-o`."""
    length_A: float | None
    """Distance of the two atoms."""
    reference_A: float | None
    """Mean length of the bond, or the distance below which the pair overlaps."""
    detail: str
    """Description in words."""
    angle_types: str = ""
    """For an overlap of two atoms with a common neighbour: the type of their angle, such as `ca-oh-ho`."""
    angle_degrees: float | None = None
    """Value of this angle."""


@dataclass(frozen=True)
class SampledRanges:
    """Ranges over which the training frames of an arm were sampled."""

    bonds: pd.DataFrame
    """`bond_sampling/{arm}_ranges.csv`; columns types, compression_low_A, stretch_high_A, r_max_A are used."""
    angles: pd.DataFrame
    """`bond_sampling/{arm}_angle_ranges.csv`; types, closing_low_degrees, opening_high_degrees and theta_min_degrees,
    theta_max_degrees are used."""


def _atom_types(bonds: pd.DataFrame, n_atoms: int) -> list[str]:
    """GAFF type of each atom.

    Raises:
        PhysEmbedError: an atom is in no bond, or a bond refers to an atom that the molecule does not have.
    """
    types = dict(zip(bonds["i"], bonds["type_i"], strict=True)) | dict(zip(bonds["j"], bonds["type_j"], strict=True))
    if set(types) != set(range(n_atoms)):
        wrong = sorted(set(types) ^ set(range(n_atoms)))
        raise PhysEmbedError(
            f"collapse: atoms {wrong} occur in only one of the bond table and the molecule of {n_atoms} atoms; "
            "give the bond table of this molecule"
        )
    return [str(types[atom]) for atom in range(n_atoms)]


class CollapseDetector:
    """Checks a batch of replicas of one molecule at once, on a given device.

    A check only queues tensor operations and does not synchronise with the device. Reading
    `CollapseCheck.collapsed` or calling `describe` does.
    """

    def __init__(
        self,
        bonds: pd.DataFrame,
        mean_lengths_A: np.ndarray,
        equilibrium_lengths_A: np.ndarray,
        bond_tolerance_A: float,
        overlap_margin_A: float,
        device: torch.device | str = "cpu",
    ) -> None:
        """Set the limits of the molecule.

        Args:
            bonds: the bond table (columns i, j, type_i, type_j; 0-based, i < j).
            mean_lengths_A: (n_bonds,) mean length of each bond in the GAFF run
                (`physembed.molecules.bonds.bond_length_statistics`).
            equilibrium_lengths_A: (n_atoms, n_atoms) length of a bond between the elements of each pair of atoms
                (`physembed.molecules.bonds.equilibrium_length_matrix`).
            bond_tolerance_A: a bond that deviates by more than this from its mean length is a collapse.
            overlap_margin_A: added to the equilibrium lengths to obtain the limits for overlaps.
            device: device of the positions.

        Raises:
            PhysEmbedError: bond table, mean lengths and matrix do not belong together, or a length is not
                finite.
        """
        n_atoms = len(equilibrium_lengths_A)
        for name, values, shape in (
            ("mean bond lengths", mean_lengths_A, (len(bonds),)),
            ("equilibrium lengths", equilibrium_lengths_A, (n_atoms, n_atoms)),
        ):
            if values.shape != shape or not np.isfinite(values).all():
                raise PhysEmbedError(
                    f"collapse: {name} of shape {values.shape}, but finite values of shape {shape} are required; "
                    "give those of this molecule and its GAFF run"
                )
        self._types = _atom_types(bonds, n_atoms)
        self._tolerance = bond_tolerance_A
        self._n_atoms = n_atoms
        apart = np.triu(np.ones((n_atoms, n_atoms), dtype=bool), 1)
        apart[bonds["i"], bonds["j"]] = False
        pairs = np.stack(np.nonzero(apart))
        limits = equilibrium_lengths_A[pairs[0], pairs[1]] + overlap_margin_A
        self._bond_rows = {
            frozenset(pair): row for row, pair in enumerate(zip(bonds["i"].tolist(), bonds["j"].tolist(), strict=True))
        }
        self._bonds = torch.as_tensor(bonds[["i", "j"]].to_numpy(dtype=np.int64).T.copy(), device=device)
        self._mean_lengths = torch.tensor(mean_lengths_A, device=device)
        self._pairs = torch.as_tensor(pairs, device=device)
        self._limits = torch.as_tensor(limits, device=device)

    def check(
        self,
        positions: torch.Tensor,
        energies: torch.Tensor,
        forces: torch.Tensor,
        temperatures: torch.Tensor,
    ) -> CollapseCheck:
        """Find the replicas that have collapsed.

        Args:
            positions: (n_replicas, n_atoms, 3) Å.
            energies: (n_replicas,) eV.
            forces: (n_replicas, n_atoms, 3) eV/Å.
            temperatures: (n_replicas,) K, kinetic.

        Raises:
            ValueError: the shapes do not fit each other or the molecule.
        """
        n_replicas = len(positions)
        per_atom = (n_replicas, self._n_atoms, 3)
        shapes = [tuple(tensor.shape) for tensor in (positions, forces, energies, temperatures)]
        if shapes != [per_atom, per_atom, (n_replicas,), (n_replicas,)]:
            raise ValueError(f"positions, forces, energies, temperatures of shapes {shapes}; expected {per_atom}")
        quantities = (positions, energies, forces, temperatures)
        non_finite = torch.stack(
            [~values.reshape(n_replicas, -1).isfinite().all(dim=1) for values in quantities], dim=1
        )
        lengths = _distances(positions, self._bonds)
        pair_distances = _distances(positions, self._pairs)
        # Each test is written as "within limits": comparisons with NaN are false, so NaN never passes.
        bonds_hold = (lengths - self._mean_lengths).abs() <= self._tolerance
        pairs_apart = pair_distances >= self._limits
        sound = ~non_finite.any(dim=1) & bonds_hold.all(dim=1) & pairs_apart.all(dim=1)
        return CollapseCheck(~sound, non_finite, lengths, pair_distances)

    def describe(self, check: CollapseCheck, replica: int) -> Collapse:
        """Describe why one replica of a check has collapsed.

        If several bonds are beyond the tolerance, the one with the largest deviation is named; if there are several
        overlaps, the one furthest below its limit.

        Raises:
            ValueError: this replica has not collapsed.
        """
        if not check.collapsed[replica]:
            raise ValueError(f"replica {replica} has not collapsed")
        failed = [name for name, bad in zip(QUANTITIES, check.non_finite[replica].tolist(), strict=True) if bad]
        if failed:
            return Collapse("non_finite", None, None, "", None, None, f"not finite: {', '.join(failed)}")
        deviations = check.bond_lengths[replica] - self._mean_lengths
        worst = int(deviations.abs().argmax())
        if not deviations[worst].abs() <= self._tolerance:
            length, reference = float(check.bond_lengths[replica, worst]), float(self._mean_lengths[worst])
            i, j, types = self._pair(self._bonds[:, worst])
            return Collapse(
                "bond", i, j, types, length, reference,
                f"bond {types} ({i}-{j}) is {length:.3f} Å long, {length - reference:+.3f} Å from its mean",
            )  # fmt: skip
        nearest = int((check.pair_distances[replica] - self._limits).argmin())
        length, reference = float(check.pair_distances[replica, nearest]), float(self._limits[nearest])
        i, j, types = self._pair(self._pairs[:, nearest])
        angle_types, degrees = self._angle(i, j, length, check.bond_lengths[replica].tolist())
        angle = f"; the angle {angle_types} is {degrees:.1f} degrees" if degrees is not None else ""
        return Collapse(
            "overlap", i, j, types, length, reference,
            f"{types} ({i}-{j}), not bonded, are {length:.3f} Å apart; the limit is {reference:.3f} Å{angle}",
            angle_types, degrees,
        )  # fmt: skip

    def _angle(self, i: int, j: int, distance: float, bond_lengths: list[float]) -> tuple[str, float | None]:
        """Type and value in degrees of the angle spanned by two atoms; the smallest one if there are several."""
        angles = []
        for apex in range(self._n_atoms):
            rows = [self._bond_rows.get(frozenset((apex, end))) for end in (i, j)]
            if rows[0] is not None and rows[1] is not None:
                first, second = bond_lengths[rows[0]], bond_lengths[rows[1]]
                cosine = (first**2 + second**2 - distance**2) / (2 * first * second)
                degrees = math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))
                angles.append((degrees, angle_type(self._types[i], self._types[apex], self._types[j])))
        if not angles:
            return "", None
        degrees, types = min(angles)
        return types, degrees

    def _pair(self, atoms: torch.Tensor) -> tuple[int, int, str]:
        i, j = atoms.tolist()
        return i, j, bond_type(self._types[i], self._types[j])


def _distances(positions: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """(n_replicas, n_pairs) distances in Å of the atom pairs (2, n_pairs)."""
    return torch.linalg.vector_norm(positions[:, pairs[1]] - positions[:, pairs[0]], dim=2)


def in_sampled_range(collapse: Collapse, ranges: SampledRanges | None) -> str:
    """Whether the bond or angle that failed was within the sampled range of its type.

    The range extends over both segments of the type and the values between them. If a segment is empty, the range ends
    with the data. An overlap is judged by the angle that its two atoms span.

    Args:
        collapse: the collapse of a run.
        ranges: sampled ranges of the arm; None if its models were trained on no frames of this study.

    Returns:
        `inside` or `outside` (the ends are inside), or an empty string without ranges and for causes other than a bond
        or an angle.

    Raises:
        PhysEmbedError: the table does not contain this type exactly once.
    """
    if ranges is None:
        return ""
    if collapse.cause == "bond" and collapse.length_A is not None:
        row = _row(ranges.bonds, "bond", collapse.types)
        low, value, high = row["compression_low_A"], collapse.length_A, max(row["stretch_high_A"], row["r_max_A"])
    elif collapse.cause == "overlap" and collapse.angle_degrees is not None:
        row, value = _row(ranges.angles, "angle", collapse.angle_types), collapse.angle_degrees
        low = min(row["closing_low_degrees"], row["theta_min_degrees"])
        high = max(row["opening_high_degrees"], row["theta_max_degrees"])
    else:
        return ""
    return "inside" if low <= value <= high else "outside"


def _row(ranges: pd.DataFrame, kind: str, types: str) -> pd.Series:
    rows = ranges[ranges["types"] == types]
    if len(rows) != 1:
        raise PhysEmbedError(
            f"collapse: {kind} type {types!r} has {len(rows)} rows in the table of sampled ranges "
            f"(known types: {', '.join(ranges['types'])}); give the table of this molecule and arm"
        )
    return rows.iloc[0]
