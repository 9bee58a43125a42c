"""The training frames of one arm: bonds stretched and angles bent in each frame, or unmodified frames."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from ase import Atoms

from physembed.config import Sampling
from physembed.errors import PhysEmbedError
from physembed.molecules.bonds import bond_lengths, bond_types
from physembed.sampling.angle_ranges import angle_ranges, reference_angle_constant
from physembed.sampling.angle_sampling import AngleSampler
from physembed.sampling.bond_sampling import BondSampler
from physembed.sampling.modifier import Modifier
from physembed.sampling.ranges import bond_ranges, reference_force_constant

log = logging.getLogger(__name__)

BROKEN_BOND_A = 1.0
"""Frames with a bond that deviates more than this from equilibrium are refused: the bond table does not fit."""


@dataclass(frozen=True)
class References:
    """Force constants to which the limits of an arm refer; NaN for what the arm does not modify."""

    bond_kcal_mol_A2: float
    """k_ref of bonds."""
    angle_kcal_mol_rad2: float
    """k_ref of angles."""

    @classmethod
    def of(
        cls, arm: Sampling, bonds: pd.DataFrame, angles: pd.DataFrame, parameter_set: Literal["gaff", "gaff2"]
    ) -> References:
        """Results of `reference_force_constant` and `reference_angle_constant`, if the arm needs them.

        An arm that modifies no bonds needs no reference, which a user's own topology may not have.

        Raises:
            PhysEmbedError: a required one does not exist.
        """
        return cls(
            reference_force_constant(arm, bonds, parameter_set) if arm.bonds_per_frame else math.nan,
            reference_angle_constant(arm, bonds, angles, parameter_set) if arm.angles_per_frame else math.nan,
        )


@dataclass(frozen=True)
class SampledFrames:
    """The frames of one arm."""

    frames: list[Atoms]
    """In the order of the source frames; info: `source_frame`, `modifications` (a JSON list)."""
    ranges: pd.DataFrame
    """Sampled range of each bond type; see `physembed.sampling.ranges.bond_ranges`."""
    angle_ranges: pd.DataFrame
    """Sampled range of each angle type; see `physembed.sampling.angle_ranges.angle_ranges`."""


def sample_frames(
    frames: Sequence[Atoms],
    bonds: pd.DataFrame,
    angles: pd.DataFrame,
    settings: Sampling,
    seed: int | None,
    references: References | None = None,
) -> SampledFrames:
    """Modify bond lengths and angles of frames of one molecule.

    In each frame `settings.bonds_per_frame` distinct bonds are modified, then `settings.angles_per_frame` angles at
    distinct atoms, one after the other; if both are 0 the frames are not modified. Each frame has its own random
    stream, derived from `seed`, its source frame and how often that occurred before: frames that are added, removed or
    reordered change the others only through the ranges. Bends use separate random streams from bonds, so that one kind
    of modification does not affect the draws of the other.

    A modified frame keeps elements, positions, cell and `source_frame` (its index here if it has none) of its
    source, but no data computed for the old positions, such as energies or velocities.

    Args:
        frames: the molecule, whole, positions in Å; atoms in the order of the tables.
        bonds: the bond table; `physembed.molecules.bonds.bond_table` creates it from a ParmEd structure.
        angles: the angle table; `physembed.molecules.angles.angle_table` creates it.
        settings: the arm.
        seed: not negative; None for an arm that does not modify frames.
        references: by default those for GAFF.

    Raises:
        PhysEmbedError: the frames do not fit the tables, a frame has no valid modification, or an arm that modifies
            frames has no seed.
    """
    positions = _positions(frames, bonds, angles)
    if references is None:
        references = References.of(settings, bonds, angles, "gaff")
    ranges = bond_ranges(positions, bonds, settings, references.bond_kcal_mol_A2)
    bent = angle_ranges(positions, angles, settings, references.angle_kcal_mol_rad2)
    if settings.bonds_per_frame == settings.angles_per_frame == 0:
        return SampledFrames([_unmodified(frame, index) for index, frame in enumerate(frames)], ranges, bent)
    if seed is None:
        raise PhysEmbedError("bond_sampling: the arm modifies frames and has no seed; give one")
    numbers = frames[0].numbers
    samplers: list[tuple[Modifier[Any], list[int]]] = []
    # Bonds first; each kind has its own suffix for the seed.
    if settings.bonds_per_frame:
        samplers.append((BondSampler(numbers, bonds, settings, ranges), []))
    if settings.angles_per_frame:
        samplers.append((AngleSampler(numbers, bonds, angles, settings, bent), [1]))
    sampled = []
    seen: Counter[int] = Counter()
    for index, frame in enumerate(frames):
        source = int(frame.info.get("source_frame", index))
        moved = positions[index]
        records: list[dict[str, Any]] = []
        for sampler, end in samplers:
            generator = np.random.default_rng([seed, source, seen[source], *end])
            moved, made = sampler.modify(moved, generator, f"frame {source}")
            records += made
        seen[source] += 1
        if settings.keep_unmodified:
            sampled.append(_unmodified(frame, index))
        info = {"source_frame": source, "modifications": json.dumps(records)}
        sampled.append(Atoms(frame.numbers, moved, cell=frame.cell, pbc=frame.pbc, info=info))
    for sampler, _ in samplers:
        log.info(
            "bond_sampling: %ss: %d frames modified; %d of %d draws rejected",
            sampler.kind, len(frames), sampler.rejected, sampler.draws,
        )  # fmt: skip
    return SampledFrames(sampled, ranges, bent)


def _positions(frames: Sequence[Atoms], bonds: pd.DataFrame, angles: pd.DataFrame) -> np.ndarray:
    """(n_frames, n_atoms, 3) Å of frames that fit the tables."""
    if not frames or bonds.empty:
        raise PhysEmbedError(
            f"bond_sampling: {len(frames)} frames and {len(bonds)} bonds given; at least one of each is needed"
        )
    if len(frames[0]) <= bonds["j"].max():
        raise PhysEmbedError(
            f"bond_sampling: the bond table names atom {bonds['j'].max()}, but the frames have {len(frames[0])} "
            "atoms; give frames and bond table of one molecule"
        )
    if len(angles) and (last := angles[["i", "j", "k"]].to_numpy().max()) >= len(frames[0]):
        raise PhysEmbedError(
            f"bond_sampling: the angle table names atom {last}, but the frames have {len(frames[0])} atoms; "
            "give frames and angle table of one molecule"
        )
    for index, frame in enumerate(frames):
        if not np.array_equal(frame.numbers, frames[0].numbers):
            raise PhysEmbedError(
                f"bond_sampling: frame {index}: {frame.symbols} is not {frames[0].symbols} of frame 0; "
                "give frames of one molecule with its atoms in one order"
            )
        if not np.isfinite(frame.positions).all():
            raise PhysEmbedError(f"bond_sampling: frame {index}: a position is not finite; remove the frame")
    positions = np.array([frame.positions for frame in frames])
    deviations = np.abs(bond_lengths(positions, bonds) - bonds["r_eq_A"].to_numpy())
    index, row = np.unravel_index(deviations.argmax(), deviations.shape)
    if deviations[index, row] > BROKEN_BOND_A:
        i, j = bonds[["i", "j"]].to_numpy()[row]
        raise PhysEmbedError(
            f"bond_sampling: frame {index}: bond {i}-{j} ({bond_types(bonds)[row]}) is {deviations[index, row]:.2f} Å "
            "from its equilibrium length; give whole molecules with their atoms in the order of the bond table"
        )
    return positions


def _unmodified(frame: Atoms, index: int) -> Atoms:
    copy = frame.copy()
    copy.info["source_frame"] = frame.info.get("source_frame", index)
    copy.info["modifications"] = "[]"
    return copy
