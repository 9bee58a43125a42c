"""Frames of a liquid to be labelled: constant-volume GAFF frames, with modified bonds and angles, and volume scans.

Frames near equilibrium alone teach a model little about intramolecular bonding and about intermolecular repulsion.
Each GAFF run, at one temperature and density, yields three kinds of frames (`origin` in their info):

- `md`: unmodified frames of the run;
- `bonds`: the last half of its frames, with bonds compressed or stretched, and then angles bent, by the self-adaptive
  rules for single molecules (`physembed.sampling`), and then molecules moved into close contact with a neighbour;
  `angles` or `contacts` if there is nothing before;
- `volume_scan`: its first frame, with the molecules moved apart or together rigidly.

Atoms of different molecules are never closer than a bond between their elements plus the margin of that rule.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list

from physembed.config import Sampling
from physembed.config.liquids import Reference
from physembed.errors import PhysEmbedError
from physembed.liquids.rigid import between_molecules, molecule_numbers, scale_rigid, whole_positions
from physembed.molecules.bonds import equilibrium_length_matrix
from physembed.sampling.angle_ranges import angle_ranges
from physembed.sampling.angle_sampling import AngleSampler
from physembed.sampling.arm import References
from physembed.sampling.bond_sampling import BondSampler
from physembed.sampling.geometry import Clash
from physembed.sampling.modifier import Modifier
from physembed.sampling.ranges import bond_ranges

log = logging.getLogger(__name__)
CONTACT_A = 6.0
"""Range in which the neighbour is searched with which a molecule is brought into contact."""


@dataclass(frozen=True)
class Component:
    """A component of a liquid; components are listed in the order in which they occur in the frames."""

    bonds: pd.DataFrame
    """Bond table."""
    angles: pd.DataFrame
    """Angle table."""
    molecules: int
    """Number of molecules."""


def arm_of(settings: Reference) -> Sampling:
    """The rule by which molecules are modified: an arm's defaults with the model's own stretch limit."""
    return Sampling(stretch_A=settings.stretch_A)


class ContactCheck:
    """Detects atoms of different molecules, or of a molecule and its own image, that are too close.

    The limit is the one used within a molecule: a bond between the two elements plus a margin.
    """

    def __init__(self, components: Sequence[Component], numbers: Sequence[np.ndarray], margin_A: float) -> None:
        """Set up the limits.

        Args:
            components: see `Component`.
            numbers: atomic numbers of one molecule of each component.
            margin_A: added to the bond length.
        """
        offsets = np.cumsum([0, *map(len, numbers)])
        bonds = pd.concat(
            [component.bonds.assign(i=component.bonds["i"] + start, j=component.bonds["j"] + start)
             for component, start in zip(components, offsets, strict=False)]
        )  # fmt: skip
        elements = np.concatenate(numbers)
        self._limits = np.zeros((len(chemical_symbols), len(chemical_symbols)))
        self._limits[np.ix_(elements, elements)] = equilibrium_length_matrix(bonds, elements) + margin_A

    def worst(self, atoms: Atoms) -> Clash | None:
        """The pair furthest below its limit, or None if there is none; atoms: periodic, molecules whole."""
        first, second, distances = between_molecules(atoms, self._limits.max())
        limits = self._limits[atoms.numbers[first], atoms.numbers[second]]
        if not (distances < limits).any():
            return None
        pair = int((limits - distances).argmax())
        return Clash(int(first[pair]), int(second[pair]), float(distances[pair]), float(limits[pair]))

    def contact(self, atoms: Atoms, members: np.ndarray) -> tuple[int, int, np.ndarray, float] | None:
        """The closest contact of a molecule, relative to its limit.

        Args:
            atoms: periodic, molecules whole.
            members: atoms of the molecule.

        Returns:
            Its atom, that of the other molecule, the vector to it in Å and the limit in Å; None if there is no other
            molecule within `CONTACT_A`.
        """
        molecules = molecule_numbers(atoms)
        first, second, vectors, distances = neighbor_list("ijDd", atoms, CONTACT_A)
        near = np.isin(first, members) & (molecules[first] != molecules[second])
        if not near.any():
            return None
        first, second, vectors, distances = first[near], second[near], vectors[near], distances[near]
        limits = self._limits[atoms.numbers[first], atoms.numbers[second]]
        pair = int((distances - limits).argmin())
        return int(first[pair]), int(second[pair]), vectors[pair], float(limits[pair])


def reference_frames(
    runs: Sequence[Sequence[Atoms]],
    settings: Reference,
    components: Sequence[Component],
    seed: int,
    *,
    parameter_set: Literal["gaff", "gaff2"] = "gaff",
) -> list[Atoms]:
    """Frames to be labelled, generated from GAFF runs of one liquid.

    A run provides its first `frames_per_run` frames, of which the last half (rounded down) have `modified_bonds` bonds,
    then `modified_angles` angles modified and `modified_contacts` molecules moved, and its first frame at each of
    `volume_scan_scales`. Modifications of each kind are spread over as many molecules of the frame as possible, drawn
    at random; within a molecule they are drawn as for isolated molecules. Ranges are computed over all molecules of a
    component in all runs. Each frame has its own random stream, derived from `seed` and its `source_frame`.

    Frames with intermolecular contacts that are too short are removed, and the log gives their number.

    Args:
        runs: frames of each run; periodic, positions in Å, array `molecule`, info `temperature_K` and
            `density_g_cm3`.
        settings: the section `reference` of the model.
        components: tables and numbers of molecules; molecules of the same component are consecutive.
        seed: not negative.
        parameter_set: parameter set of the topologies, for k_ref.

    Returns:
        Frames run by run, molecules whole. Info: `origin`, `temperature_K`, `density_g_cm3`, `source_frame` (index
        of the source among the frames of all runs) and `modifications` (a JSON list as for isolated molecules, with
        atom indices of the box and their `molecule`). Arrays: `molecule`.

    Raises:
        PhysEmbedError: a run is too short; the frames do not contain these components; a frame has no valid
            modification; no frame is left.
    """
    chosen = _chosen(runs, settings)
    molecules = _molecules(chosen, components)
    numbers = [chosen[0][0].numbers[own[0]] for own in molecules]
    check = ContactCheck(components, numbers, arm_of(settings).clash_margin_A)
    kinds = {name: getattr(settings, f"modified_{name}") for name in ("bonds", "angles", "contacts")}
    kind = next((name for name, count in kinds.items() if count), "")
    modified = settings.frames_per_run // 2 if kind else 0
    modifier = MoleculeModifier(chosen, molecules, components, settings, check, parameter_set)
    frames, left_out = [], Counter[str]()
    for number, run in enumerate(chosen):
        first = number * settings.frames_per_run
        origins = ["md"] * (len(run) - modified) + [kind] * modified
        candidates = [_frame(frame, origins[index], first + index) for index, frame in enumerate(run)]
        candidates += [
            _frame(scale_rigid(run[0], scale), "volume_scan", first) for scale in settings.volume_scan_scales
        ]
        for frame in candidates:
            origin, source = frame.info["origin"], frame.info["source_frame"]
            if check.worst(frame) is not None:
                left_out[origin] += 1
            elif origin == kind:
                frames.append(modifier.modified(frame, np.random.default_rng([seed, source])))
            else:
                frames.append(frame)
    log.info("liquid_frames: %s", dict(Counter(frame.info["origin"] for frame in frames)))
    if left_out:
        log.warning("liquid_frames: removed because of short contacts between molecules: %s", dict(left_out))
    if not frames:
        raise PhysEmbedError(
            "liquid_frames: every frame has short contacts between molecules; lower reference.densities_g_cm3"
        )
    return frames


class _Samplers:
    """Modifications of one kind in the molecules of a box."""

    def __init__(self, wanted: int, counts: Sequence[int]) -> None:
        """Distribute the modifications.

        Args:
            wanted: number of modifications of this kind per frame.
            counts: number of molecules of each component.
        """
        share, rest = divmod(wanted, sum(counts))
        self.shares = np.array([share + 1] * rest + [share] * (sum(counts) - rest))
        """Modifications of the molecules, in the order in which they are drawn."""
        self.of_molecule: list[dict[int, Modifier[Any]]] = []
        """For each molecule, by the number of modifications."""

    @property
    def numbers(self) -> list[int]:
        """Possible numbers of modifications of a molecule, without 0."""
        return sorted({int(count) for count in self.shares if count})


class MoleculeModifier:
    """Modifies bonds and angles of molecules in a liquid."""

    def __init__(
        self,
        runs: Sequence[Sequence[Atoms]],
        molecules: Sequence[Sequence[np.ndarray]],
        components: Sequence[Component],
        settings: Reference,
        check: ContactCheck,
        parameter_set: Literal["gaff", "gaff2"],
    ) -> None:
        """Set up samplers for molecules of each component.

        Args:
            runs: frames from which the ranges are computed, molecules whole.
            molecules: for each component, the atoms of each of its molecules.
            components: see `Component`.
            settings: how many bonds and angles of a frame are modified, and how far.
            check: check for short contacts between molecules.
            parameter_set: parameter set of the topologies, for k_ref.

        Raises:
            PhysEmbedError: there are fewer bonds or angles than requested, or there is no k_ref.
        """
        arm = arm_of(settings)
        self.check, self.tries = check, arm.tries
        self.molecules = [atoms for own in molecules for atoms in own]
        self.contacts = settings.modified_contacts
        if self.contacts > len(self.molecules):
            raise PhysEmbedError(
                f"liquid_frames: reference.modified_contacts {self.contacts}: there are {len(self.molecules)} "
                "molecules; lower it"
            )
        counts = [component.molecules for component in components]
        self.bonds, self.angles = (
            _Samplers(settings.modified_bonds, counts),
            _Samplers(settings.modified_angles, counts),
        )
        for component, own in zip(components, molecules, strict=True):
            self._check_numbers(component, settings)
            numbers = runs[0][0].numbers[own[0]]
            positions = np.array([frame.positions[atoms] for run in runs for frame in run for atoms in own])
            of_bonds: dict[int, Modifier[Any]] = {}
            for count in self.bonds.numbers:
                recipe = arm.model_copy(update={"bonds_per_frame": count, "angles_per_frame": 0})
                k_ref = References.of(recipe, component.bonds, component.angles, parameter_set).bond_kcal_mol_A2
                ranges = bond_ranges(positions, component.bonds, recipe, k_ref)
                of_bonds[count] = BondSampler(numbers, component.bonds, recipe, ranges)
            of_angles: dict[int, Modifier[Any]] = {}
            for count in self.angles.numbers:
                recipe = arm.model_copy(update={"bonds_per_frame": 0, "angles_per_frame": count})
                k_ref = References.of(recipe, component.bonds, component.angles, parameter_set).angle_kcal_mol_rad2
                ranges = angle_ranges(positions, component.angles, recipe, k_ref)
                of_angles[count] = AngleSampler(numbers, component.bonds, component.angles, recipe, ranges)
            self.bonds.of_molecule += [of_bonds] * len(own)
            self.angles.of_molecule += [of_angles] * len(own)

    def _check_numbers(self, component: Component, settings: Reference) -> None:
        """Check that a molecule has as many bonds, and atoms at which it can be bent, as may be requested."""
        places = int(component.angles.loc[~component.angles["in_ring"].astype(bool), "j"].nunique())
        for key, samplers, there, what in (
            ("modified_bonds", self.bonds, len(component.bonds), "bonds"),
            ("modified_angles", self.angles, places, "atoms to bend at"),
        ):
            if max(samplers.shares) > there:
                raise PhysEmbedError(
                    f"liquid_frames: reference.{key} {getattr(settings, key)}: requires {max(samplers.shares)} in a "
                    f"molecule, but there is one with {there} {what}; lower {key}"
                )

    def modified(self, frame: Atoms, generator: np.random.Generator) -> Atoms:
        """A copy of a frame with modified bonds, then angles, then contacts; see `reference_frames`.

        Raises:
            PhysEmbedError: no valid modification is found.
        """
        frame, records = frame.copy(), []
        for samplers in (self.bonds, self.angles):
            for molecule, count in zip(generator.permutation(len(self.molecules)), samplers.shares, strict=True):
                if count:
                    sampler = samplers.of_molecule[molecule][int(count)]
                    records += self._modify(frame, int(molecule), sampler, generator)
        if self.contacts:
            for molecule in generator.permutation(len(self.molecules))[: self.contacts]:
                records += self._approach(frame, int(molecule), generator)
        frame.info["modifications"] = json.dumps(records)
        return frame

    def _approach(self, frame: Atoms, molecule: int, generator: np.random.Generator) -> list[dict[str, Any]]:
        """Move one molecule in place towards its neighbour: its closest contact gets a length drawn from its limit on.

        A molecule without a neighbour, or without room for this, stays where it is.
        """
        members = self.molecules[molecule]
        contact = self.check.contact(frame, members)
        if contact is None:
            return []
        first, second, vector, limit = contact
        before, distance = frame.positions[members], float(np.linalg.norm(vector))
        for _ in range(self.tries):
            length = float(generator.uniform(limit, distance))
            frame.positions[members] = before + vector * (1 - length / distance)
            if self.check.worst(frame) is None:
                return [{"contact": [first, second], "from_A": distance, "to_A": length, "molecule": molecule}]
        frame.positions[members] = before
        return []

    def _modify(
        self, frame: Atoms, molecule: int, sampler: Modifier[Any], generator: np.random.Generator
    ) -> list[dict[str, Any]]:
        """Modify one molecule in place, drawing again after each clash with another molecule."""
        atoms, name = self.molecules[molecule], f"frame {frame.info['source_frame']}, molecule {molecule}"
        before, kind = frame.positions[atoms], sampler.kind
        for _ in range(self.tries):
            frame.positions[atoms], records = sampler.modify(before, generator, name)
            if self.check.worst(frame) is None:
                return [record | {kind: atoms[record[kind]].tolist(), "molecule": molecule} for record in records]
        raise PhysEmbedError(
            f"liquid_frames: {name}: no modification without a clash with other molecules in {self.tries} tries; "
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
        raise PhysEmbedError("liquid_frames: no runs given; at least one is required")
    return chosen


def _molecules(runs: Sequence[Sequence[Atoms]], components: Sequence[Component]) -> list[list[np.ndarray]]:
    """For each component, the atoms of each of its molecules, which must be the same in every frame."""
    frame = runs[0][0]
    numbers = molecule_numbers(frame)
    for other in (other for run in runs for other in run):
        if not (np.array_equal(other.numbers, frame.numbers) and np.array_equal(molecule_numbers(other), numbers)):
            raise PhysEmbedError("liquid_frames: the frames differ in their atoms; give runs of one box of one liquid")
    atoms = [np.flatnonzero(numbers == molecule) for molecule in range(numbers.max() + 1)]
    wanted = sum(component.molecules for component in components)
    if wanted != len(atoms):
        raise PhysEmbedError(
            f"liquid_frames: the components have {wanted} molecules, the frames {len(atoms)}; "
            "give the components and numbers of molecules of these frames"
        )
    molecules = []
    for index, component in enumerate(components):
        molecules.append([atoms.pop(0) for _ in range(component.molecules)])
        for own in molecules[-1]:
            alike = np.array_equal(frame.numbers[own], frame.numbers[molecules[-1][0]])
            if not alike or len(own) != component.bonds["j"].max() + 1:
                raise PhysEmbedError(
                    f"liquid_frames: atoms {own[0]} to {own[-1]} ({frame.symbols[own]}) are no molecule of component "
                    f"{index}; give the components in the order in which they occur in the frames"
                )
    return molecules


def _frame(source: Atoms, origin: str, source_frame: int) -> Atoms:
    """A frame with the entries that reference data require, and without results of GAFF."""
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
