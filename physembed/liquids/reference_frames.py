"""Frames of a liquid to be labelled: GAFF frames at fixed volume, with modified bonds, and rigid volume scans.

Frames near equilibrium alone teach a model little of what holds a molecule together and what keeps molecules apart.
Of each GAFF run, at one temperature and density, come three kinds of frames (`origin` in their info):

- `md`: frames of the run as they are;
- `bonds`: the last half of its frames, with bonds compressed or stretched by the self-adaptive rule of single
  molecules (`physembed.sampling.bond_sampling`);
- `volume_scan`: its first frame, with the molecules moved apart or together rigidly.

No two atoms of different molecules come nearer than a bond between their elements plus the margin of that rule.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list

from physembed.config import Arm
from physembed.config.liquids import Reference
from physembed.errors import PhysEmbedError
from physembed.liquids.rigid import molecule_numbers, scale_rigid, whole_positions
from physembed.molecules.bonds import equilibrium_length_matrix
from physembed.sampling.bond_sampling import BondSampler
from physembed.sampling.geometry import Clash
from physembed.sampling.ranges import bond_ranges, reference_force_constant

log = logging.getLogger(__name__)

Components = Sequence[tuple[pd.DataFrame, int]]
"""Bond table and number of molecules of each component, in the order in which they stand in the frames."""


class ContactCheck:
    """Whether atoms of different molecules, or of a molecule and its own image, are too near to each other.

    The limit is that of chain A within a molecule: a bond between the two elements plus a margin.
    """

    def __init__(self, components: Components, numbers: Sequence[np.ndarray], margin_A: float) -> None:
        """Prepare the limits.

        Args:
            components: see `Components`.
            numbers: atomic numbers of one molecule of each component.
            margin_A: added to the length of a bond.
        """
        offsets = np.cumsum([0, *map(len, numbers)])
        bonds = pd.concat(
            [table.assign(i=table["i"] + start, j=table["j"] + start)
             for (table, _), start in zip(components, offsets, strict=False)]
        )  # fmt: skip
        elements = np.concatenate(numbers)
        self._limits = np.zeros((len(chemical_symbols), len(chemical_symbols)))
        self._limits[np.ix_(elements, elements)] = equilibrium_length_matrix(bonds, elements) + margin_A

    def worst(self, atoms: Atoms) -> Clash | None:
        """The pair furthest below its limit, or None where there is none; atoms: periodic, molecules whole."""
        molecules = molecule_numbers(atoms)
        first, second, shifts, distances = neighbor_list("ijSd", atoms, self._limits.max())
        apart = (molecules[first] != molecules[second]) | shifts.any(axis=1)
        first, second, distances = first[apart], second[apart], distances[apart]
        limits = self._limits[atoms.numbers[first], atoms.numbers[second]]
        if not (distances < limits).any():
            return None
        pair = int((limits - distances).argmax())
        return Clash(int(first[pair]), int(second[pair]), float(distances[pair]), float(limits[pair]))


def reference_frames(
    runs: Sequence[Sequence[Atoms]],
    settings: Reference,
    components: Components,
    seed: int,
    *,
    parameter_set: Literal["gaff", "gaff2"] = "gaff",
) -> list[Atoms]:
    """Frames to be labelled out of GAFF runs of one liquid.

    A run gives its first `frames_per_run` frames, of which the last half (rounded down) have `modified_bonds` bonds
    modified, and its first frame at each of `volume_scan_scales`. Modified bonds are spread over as many molecules
    of the frame as possible, drawn at random; within a molecule, bond, segment and length are drawn as in chain A.
    Ranges of lengths are those of all molecules of a component in all runs. Each frame has random numbers of its
    own, from `seed` and its `source_frame`.

    Frames with contacts between molecules that are too short are left out, and the log says how many.

    Args:
        runs: frames of each run; periodic, positions in Å, array `molecule`, info `temperature_K` and
            `density_g_cm3`.
        settings: the section `reference` of the model.
        components: bond tables and numbers of molecules; each component's molecules stand together.
        seed: not negative.
        parameter_set: that of the topologies, for k_ref.

    Returns:
        Frames run by run, molecules whole. Info: `origin`, `temperature_K`, `density_g_cm3`, `source_frame` (index
        of the source among the frames of all runs) and `modifications` (a JSON list as in chain A, with atoms of
        the box and their `molecule`). Arrays: `molecule`.

    Raises:
        PhysEmbedError: a run is too short; the frames do not hold these components; a frame has no valid
            modification; no frame is left.
    """
    chosen = _chosen(runs, settings)
    molecules = _molecules(chosen, components)
    arm = Arm(stretch_A=settings.stretch_A)
    check = ContactCheck(components, [chosen[0][0].numbers[own[0]] for own in molecules], arm.clash_margin_A)
    modified = settings.frames_per_run // 2 if settings.modified_bonds else 0
    modifier = BondModifier(chosen, molecules, components, settings.modified_bonds, arm, check, parameter_set)
    frames, left_out = [], Counter[str]()
    for number, run in enumerate(chosen):
        first = number * settings.frames_per_run
        origins = ["md"] * (len(run) - modified) + ["bonds"] * modified
        candidates = [_frame(frame, origins[index], first + index) for index, frame in enumerate(run)]
        candidates += [
            _frame(scale_rigid(run[0], scale), "volume_scan", first) for scale in settings.volume_scan_scales
        ]
        for frame in candidates:
            origin, source = frame.info["origin"], frame.info["source_frame"]
            if check.worst(frame) is not None:
                left_out[origin] += 1
            elif origin == "bonds":
                frames.append(modifier.modified(frame, np.random.default_rng([seed, source])))
            else:
                frames.append(frame)
    log.info("liquid_frames: %s", dict(Counter(frame.info["origin"] for frame in frames)))
    if left_out:
        log.warning("liquid_frames: left out for too short contacts between molecules: %s", dict(left_out))
    if not frames:
        raise PhysEmbedError(
            "liquid_frames: every frame has too short contacts between molecules; lower reference.densities_g_cm3"
        )
    return frames


class BondModifier:
    """Compresses and stretches bonds of molecules in a liquid."""

    def __init__(
        self,
        runs: Sequence[Sequence[Atoms]],
        molecules: Sequence[Sequence[np.ndarray]],
        components: Components,
        modified_bonds: int,
        arm: Arm,
        check: ContactCheck,
        parameter_set: Literal["gaff", "gaff2"],
    ) -> None:
        """Prepare samplers of bonds for molecules of each component.

        Args:
            runs: the frames from which ranges of bond lengths are taken, molecules whole.
            molecules: for each component, the atoms of each of its molecules.
            components: see `Components`.
            modified_bonds: how many bonds of a frame are modified.
            arm: the rule of chain A; its `bonds_per_frame` is not used.
            check: which contacts between molecules are too short.
            parameter_set: that of the topologies, for k_ref.

        Raises:
            PhysEmbedError: there are fewer bonds than are to be modified, or there is no k_ref.
        """
        self.check, self.tries = check, arm.tries
        self.molecules = [atoms for own in molecules for atoms in own]
        share, rest = divmod(modified_bonds, len(self.molecules))
        self.shares = np.array([share + 1] * rest + [share] * (len(self.molecules) - rest))
        self.samplers: list[dict[int, BondSampler]] = []
        """For each molecule, by the number of bonds to be modified in it."""
        for (bonds, _), own in zip(components, molecules, strict=True):
            if max(self.shares) > len(bonds):
                raise PhysEmbedError(
                    f"liquid_frames: reference.modified_bonds {modified_bonds}: that is {max(self.shares)} in a "
                    f"molecule, but one with {len(bonds)} bonds is there; lower modified_bonds"
                )
            positions = np.array([frame.positions[atoms] for run in runs for frame in run for atoms in own])
            by_count = {}
            for count in {int(count) for count in self.shares if count}:
                settings = arm.model_copy(update={"bonds_per_frame": count})
                reference_k = reference_force_constant(settings, bonds, parameter_set)
                ranges = bond_ranges(positions, bonds, settings, reference_k)
                by_count[count] = BondSampler(runs[0][0].numbers[own[0]], bonds, settings, ranges)
            self.samplers += [by_count] * len(own)

    def modified(self, frame: Atoms, generator: np.random.Generator) -> Atoms:
        """A copy of a frame with modified bonds; see `reference_frames`.

        Raises:
            PhysEmbedError: no valid modification is found.
        """
        frame, records = frame.copy(), []
        for molecule, count in zip(generator.permutation(len(self.molecules)), self.shares, strict=True):
            if count:
                records += self._modify(frame, int(molecule), int(count), generator)
        frame.info["modifications"] = json.dumps(records)
        return frame

    def _modify(self, frame: Atoms, molecule: int, count: int, generator: np.random.Generator) -> list[dict[str, Any]]:
        """Modify one molecule in place, drawing anew after each clash with another."""
        atoms, name = self.molecules[molecule], f"frame {frame.info['source_frame']}, molecule {molecule}"
        before = frame.positions[atoms]
        for _ in range(self.tries):
            frame.positions[atoms], records = self.samplers[molecule][count].modify(before, generator, name)
            if self.check.worst(frame) is None:
                return [record | {"bond": atoms[record["bond"]].tolist(), "molecule": molecule} for record in records]
        raise PhysEmbedError(
            f"liquid_frames: {name}: no modification in {self.tries} tries keeps clear of the other molecules; "
            "lower reference.stretch_A or reference.densities_g_cm3"
        )


def _chosen(runs: Sequence[Sequence[Atoms]], settings: Reference) -> list[list[Atoms]]:
    """The first `frames_per_run` frames of each run, molecules whole."""
    wanted = settings.frames_per_run
    chosen = []
    for number, run in enumerate(runs):
        if len(run) < wanted:
            raise PhysEmbedError(
                f"liquid_frames: run {number} has {len(run)} frames, reference.frames_per_run is {wanted}; "
                "give longer runs or lower it"
            )
        chosen.append([frame.copy() for frame in run[:wanted]])
        for frame in chosen[-1]:
            frame.positions = whole_positions(frame)
    if not chosen:
        raise PhysEmbedError("liquid_frames: no runs given; at least one is needed")
    return chosen


def _molecules(runs: Sequence[Sequence[Atoms]], components: Components) -> list[list[np.ndarray]]:
    """For each component, the atoms of each of its molecules, which every frame must have alike."""
    frame = runs[0][0]
    numbers = molecule_numbers(frame)
    for other in (other for run in runs for other in run):
        if not (np.array_equal(other.numbers, frame.numbers) and np.array_equal(molecule_numbers(other), numbers)):
            raise PhysEmbedError("liquid_frames: the frames differ in their atoms; give runs of one box of one liquid")
    atoms = [np.flatnonzero(numbers == molecule) for molecule in range(numbers.max() + 1)]
    wanted = sum(count for _, count in components)
    if wanted != len(atoms):
        raise PhysEmbedError(
            f"liquid_frames: the components have {wanted} molecules, the frames {len(atoms)}; "
            "give components and numbers of molecules of these frames"
        )
    molecules = []
    for index, (bonds, count) in enumerate(components):
        molecules.append([atoms.pop(0) for _ in range(count)])
        for own in molecules[-1]:
            alike = np.array_equal(frame.numbers[own], frame.numbers[molecules[-1][0]])
            if not alike or len(own) != bonds["j"].max() + 1:
                raise PhysEmbedError(
                    f"liquid_frames: atoms {own[0]} to {own[-1]} ({frame.symbols[own]}) are no molecule of component "
                    f"{index}; give components in the order in which they stand in the frames"
                )
    return molecules


def _frame(source: Atoms, origin: str, source_frame: int) -> Atoms:
    """A frame with what the contract of reference data has, and nothing that was computed for it with GAFF."""
    info = {
        "origin": origin,
        "temperature_K": float(source.info["temperature_K"]),
        "density_g_cm3": float(source.info["density_g_cm3"]),
        "source_frame": source_frame,
        "modifications": "[]",
    }
    frame = Atoms(source.numbers, source.positions, cell=source.cell, pbc=source.pbc, info=info)
    frame.arrays["molecule"] = molecule_numbers(source)
    return frame
