"""Self-adaptive bond-length sampling: frames with single bonds compressed or stretched.

Ranges and probabilities follow from the force constants of a classical topology: a soft bond is chosen more often
and stretched further. Source: Hu, Hou, Jiang, CCS Chemistry 2026, 10.31635/ccschem.026.202506780.

The paper also turns terminal groups by 15 to 30 degrees "about the bond axis". An atom turned about its own bond
stays where it is, so the group is read as the centre with all its terminal atoms (CH3, NH2, OH, CF3), turned about
the bond to its only other neighbour. Without such an axis (aromatic CH, CH2 or CF2 in a chain) nothing turns.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import chemical_symbols

from physembed.config import Arm
from physembed.errors import PhysEmbedError
from physembed.molecules.bonds import bond_graph, bond_lengths, bond_types
from physembed.sampling.geometry import BondMove, ClashCheck, TerminalGroup, terminal_atoms
from physembed.sampling.ranges import bond_ranges, effective_force_constants, reference_force_constant

__all__ = ["BondSampler", "Modification", "SampledFrames", "reference_force_constant", "sample_bonds"]

log = logging.getLogger(__name__)

BROKEN_BOND_A = 1.0
"""Frames with a bond further than this from equilibrium are refused: the bond table is not theirs."""


@dataclass(frozen=True)
class SampledFrames:
    """The frames of one arm."""

    frames: list[Atoms]
    """In the order of the source frames; info: `source_frame`, `modifications` (a JSON list)."""
    ranges: pd.DataFrame
    """What each bond type was sampled over; see `physembed.sampling.ranges.bond_ranges`."""


@dataclass(frozen=True)
class Modification:
    """One change of one bond."""

    row: int
    """Row of the bond table."""
    segment: str
    """`compression` or `stretching`."""
    length_A: float
    """The new length."""
    turn_degrees: float
    """Turn of the terminal group, right-handed about its axis pointing to the group; 0 where none is turned."""


class BondSampler:
    """Draws and applies modifications of one molecule with fixed ranges."""

    def __init__(self, atomic_numbers: np.ndarray, bonds: pd.DataFrame, settings: Arm, ranges: pd.DataFrame) -> None:
        """Prepare the molecule.

        Args:
            atomic_numbers: (n_atoms,).
            bonds: the bond table.
            settings: the arm.
            ranges: one row per bond type (`bond_ranges`).

        Raises:
            PhysEmbedError: there are fewer bonds than are to be modified, or neither segment is ever drawn.
        """
        compression, stretching = settings.compression_to_stretching
        if compression + stretching == 0:
            raise PhysEmbedError(
                "bond_sampling: arms.<arm>.compression_to_stretching: [0, 0] draws no segment; set one above 0"
            )
        if settings.bonds_per_frame > len(bonds):
            raise PhysEmbedError(
                f"bond_sampling: arms.<arm>.bonds_per_frame: {settings.bonds_per_frame} distinct bonds wanted, "
                f"but the molecule has {len(bonds)}; lower bonds_per_frame"
            )
        self.settings, self.atomic_numbers = settings, atomic_numbers
        self.types = bond_types(bonds)
        self.softness = 1 / effective_force_constants(bonds, settings)
        self.compression_probability = compression / (compression + stretching)
        of_bond = ranges.set_index("types").loc[self.types]
        self.compression = of_bond[["compression_low_A", "r_min_A"]].to_numpy()
        self.stretching = of_bond[["r_max_A", "stretch_high_A"]].to_numpy()
        self.stretch_empty = of_bond["stretch_empty"].to_numpy()
        graph = bond_graph(bonds)
        terminal = terminal_atoms(graph, bonds)
        pairs = bonds[["i", "j"]].to_numpy().tolist()
        self.moves = [
            BondMove.of(graph, i, j, in_ring, atomic_numbers)
            for (i, j), in_ring in zip(pairs, bonds["in_ring"], strict=True)
        ]
        self.groups = [TerminalGroup.of(graph, terminal, i, j) for i, j in pairs]
        self.check = ClashCheck(bonds, atomic_numbers, settings.clash_margin_A)
        self.draws, self.rejected = 0, 0

    def draw(self, generator: np.random.Generator, modified: Sequence[int] = ()) -> Modification:
        """Draw a bond with probability proportional to 1/k, a segment, a length and a turn.

        Args:
            generator: random numbers.
            modified: rows of the bond table that are not to be drawn again.
        """
        weights = self.softness.copy()
        weights[list(modified)] = 0
        row = int(generator.choice(len(weights), p=weights / weights.sum()))
        compress = bool(generator.random() < self.compression_probability) or bool(self.stretch_empty[row])
        low, high = (self.compression if compress else self.stretching)[row]
        length = float(generator.uniform(low, high))
        turn = 0.0
        if self.groups[row] is not None and generator.random() < self.settings.turn_probability:
            smallest, largest = self.settings.turn_degrees
            turn = float(generator.choice([-1, 1]) * generator.uniform(smallest, largest))
        return Modification(row, "compression" if compress else "stretching", length, turn)

    def apply(self, positions: np.ndarray, modification: Modification) -> np.ndarray:
        """(n_atoms, 3) Å after one modification; positions: (n_atoms, 3) Å before it."""
        moved = self.moves[modification.row].set_length(positions, modification.length_A)
        group = self.groups[modification.row]
        return group.turn(moved, modification.turn_degrees) if group and modification.turn_degrees else moved

    def modify(
        self, positions: np.ndarray, generator: np.random.Generator, name: str
    ) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Modify `bonds_per_frame` distinct bonds, one after the other, drawing anew after each clash.

        Args:
            positions: (n_atoms, 3) Å.
            generator: random numbers.
            name: what the frame is called in an error.

        Returns:
            The new positions, (n_atoms, 3) Å, and the modifications as they are written to a frame.

        Raises:
            PhysEmbedError: `tries` draws do not give as many valid modifications.
        """
        wanted = self.settings.bonds_per_frame
        current = positions
        done: list[int] = []
        tried: list[int] = []
        records: list[dict[str, Any]] = []
        while len(done) < wanted and len(tried) < self.settings.tries:
            modification = self.draw(generator, done)
            tried.append(modification.row)
            proposed = self.apply(current, modification)
            if self.check.worst(proposed) is None:
                records.append(self._record(current, modification))
                done.append(modification.row)
                current = proposed
        if len(done) < wanted:
            raise PhysEmbedError(self._complaint(positions, name, done, tried))
        self.draws += len(tried)
        self.rejected += len(tried) - len(done)
        return current, records

    def _record(self, positions: np.ndarray, modification: Modification) -> dict[str, Any]:
        move = self.moves[modification.row]
        return {
            "bond": [move.i, move.j],
            "types": self.types[modification.row],
            "segment": modification.segment,
            "from_A": round(move.length(positions), 6),
            "to_A": round(modification.length_A, 6),
            "turn_degrees": round(modification.turn_degrees, 4),
        }

    def _complaint(self, positions: np.ndarray, name: str, done: list[int], tried: list[int]) -> str:
        counts = Counter(self.types[row] for row in tried).most_common()
        listed = ", ".join(f"{types} {count}" for types, count in counts[:6]) + (", ..." if counts[6:] else "")
        wanted = self.settings.bonds_per_frame
        found = f"only {len(done)} of {wanted} valid modifications" if done else "no valid modification"
        complaint = f"bond_sampling: {name}: {found} in {len(tried)} tries (bonds tried: {listed}); "
        clash = self.check.worst(positions)
        if clash is None:
            remedy = "lower stretch_A or clash_margin_A of the arm"
            return complaint + (remedy + ", or bonds_per_frame, or raise tries" if done else remedy)
        first, second = (chemical_symbols[self.atomic_numbers[atom]] for atom in (clash.i, clash.j))
        return complaint + (
            f"atoms {clash.i} and {clash.j} ({first} and {second}, not bonded) are {clash.distance_A:.3f} Å apart "
            f"already in the unmodified frame, the limit is {clash.limit_A:.3f} Å; lower clash_margin_A of the arm"
        )


def sample_bonds(
    frames: Sequence[Atoms], bonds: pd.DataFrame, settings: Arm, seed: int, reference_k: float | None = None
) -> SampledFrames:
    """Modify the bond lengths of frames of one molecule.

    In each frame `settings.bonds_per_frame` distinct bonds are modified one after the other; with 0 the frames
    pass as they are. Each frame has random numbers of its own, from `seed`, its source frame and how often that
    came before: frames that are added, removed or reordered change the others only through the ranges.

    A modified frame holds elements, positions, cell and `source_frame` (its index here where it has none) of its
    source, and nothing that was computed for the old positions, such as energies or velocities.

    Args:
        frames: the molecule, whole, positions in Å; atoms in the order of the bond table.
        bonds: the bond table; `physembed.molecules.bonds.bond_table` makes it from a ParmEd structure.
        settings: the arm.
        seed: not negative.
        reference_k: k_ref in kcal/mol/Å^2; without it, that of `reference_force_constant` for GAFF.

    Raises:
        PhysEmbedError: the frames do not fit the bond table, or a frame has no valid modification.
    """
    positions = _positions(frames, bonds)
    if reference_k is None:
        # An arm that changes no bond needs no reference, which a topology of the user's own may not have.
        sampled_at_all = settings.bonds_per_frame > 0
        reference_k = reference_force_constant(settings, bonds, "gaff") if sampled_at_all else math.nan
    ranges = bond_ranges(positions, bonds, settings, reference_k)
    if settings.bonds_per_frame == 0:
        return SampledFrames([_unmodified(frame, index) for index, frame in enumerate(frames)], ranges)
    sampler = BondSampler(frames[0].numbers, bonds, settings, ranges)
    sampled = []
    seen: Counter[int] = Counter()
    for index, frame in enumerate(frames):
        source = int(frame.info.get("source_frame", index))
        generator = np.random.default_rng([seed, source, seen[source]])
        seen[source] += 1
        moved, records = sampler.modify(positions[index], generator, f"frame {source}")
        if settings.keep_unmodified:
            sampled.append(_unmodified(frame, index))
        info = {"source_frame": source, "modifications": json.dumps(records)}
        sampled.append(Atoms(frame.numbers, moved, cell=frame.cell, pbc=frame.pbc, info=info))
    log.info("bond_sampling: %d frames modified; %d of %d draws rejected", len(frames), sampler.rejected, sampler.draws)
    return SampledFrames(sampled, ranges)


def _positions(frames: Sequence[Atoms], bonds: pd.DataFrame) -> np.ndarray:
    """(n_frames, n_atoms, 3) Å of frames that belong to the bond table."""
    if not frames or bonds.empty:
        raise PhysEmbedError(
            f"bond_sampling: {len(frames)} frames and {len(bonds)} bonds given; at least one of each is needed"
        )
    if len(frames[0]) <= bonds["j"].max():
        raise PhysEmbedError(
            f"bond_sampling: the bond table names atom {bonds['j'].max()}, but the frames have {len(frames[0])} "
            "atoms; give frames and bond table of one molecule"
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
