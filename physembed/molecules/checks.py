"""Checks of a classical topology, generated here or given by a user: is it one connected molecule of atoms?

A topology can be read without an error and still be unsuitable: with a constraint instead of a bond an atom is free to
leave, a united atom of mass 15 is taken for an oxygen, and coordinates of another file place bonded atoms apart.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import networkx  # type: ignore[import-untyped]
import numpy as np
import parmed
from ase.data import atomic_masses, chemical_symbols, covalent_radii

from physembed.errors import PhysEmbedError
from physembed.molecules.gromacs_text import check_gromacs, included_files, read_gromacs
from physembed.molecules.reading import read_topology

log = logging.getLogger(__name__)
MASS_TOLERANCE_U = 0.15
"""Force fields round masses (Cl 35.45 or 35.453); deuterium, united atoms and similar deviate more."""
BOND_TOLERANCE_A = 0.5
"""Coordinates may be of a hot or strained molecule, but not of another one."""
TOO_NEAR = 1.05
"""Atoms closer than the sum of their covalent radii times this are bonded."""
CHARGE_TOLERANCE_E = 0.05
OTHER_TERMS = {
    "urey_bradleys": "Urey-Bradley terms (CHARMM)", "impropers": "harmonic impropers (CHARMM)", "cmaps": "CMAP terms",
    "trigonal_angles": "AMOEBA terms", "out_of_plane_bends": "AMOEBA terms", "pi_torsions": "AMOEBA terms",
    "stretch_bends": "AMOEBA terms", "torsion_torsions": "AMOEBA terms", "multipole_frames": "AMOEBA terms",
}  # fmt: skip
"""Lists of a ParmEd structure that the AMBER form does not support."""


@dataclass(frozen=True)
class Composition:
    """Composition of the molecule of a topology."""

    numbers: tuple[int, ...]
    """Atomic number of each atom."""
    bonds: frozenset[tuple[int, int]]
    """Pairs of atoms, i < j."""
    charge: int
    """Net charge in e."""

    @property
    def electrons(self) -> int:
        """All electrons."""
        return sum(self.numbers) - self.charge


def check_given(topology: str | Path, coordinates: str | Path) -> Composition:
    """Check a user's topology (AMBER or GROMACS) with its coordinates, including its included files.

    Raises:
        PhysEmbedError: it cannot be read, or is no single connected molecule of the AMBER form; the message begins with
            the reason.
    """
    topology, coordinates = Path(topology), Path(coordinates)
    files = [topology, coordinates, *included_files(topology)]
    return _check_given(topology, coordinates, tuple(file.stat().st_mtime_ns for file in files))


@lru_cache  # a plan asks several times
def _check_given(topology: Path, coordinates: Path, _changed: tuple[int, ...]) -> Composition:
    trusted: Collection[str] = ()
    if topology.suffix.lower() == ".top":
        text = read_gromacs(topology)
        check_gromacs(text)
        trusted = text.elements_given
    structure = read_topology(topology, coordinates)
    if topology.suffix.lower() != ".top":
        # AMBER's files state atomic numbers; very old ones do not.
        trusted = {atom.type for atom in structure.atoms} if "ATOMIC_NUMBER" in structure.parm_data else ()
    composition = check_structure(structure, trusted)
    if topology.suffix.lower() == ".top":
        text.check_exclusions(networkx.Graph(sorted(composition.bonds)))
    return composition


def check_structure(structure: parmed.Structure, trusted: Collection[str]) -> Composition:
    """Check that a topology with coordinates is a single connected molecule, and that all of it is supported.

    Args:
        structure: topology and coordinates.
        trusted: atom types whose element is given in the file; those of others were guessed from the mass.

    Raises:
        PhysEmbedError: extra points, several molecules, atoms bonded to nothing, an element that does not fit its mass,
            terms or bonds that cannot be used, charges that add up to no integer, or coordinates of another molecule.
    """
    atoms = structure.atoms
    for name, terms in OTHER_TERMS.items():
        if getattr(structure, name, None):
            raise PhysEmbedError(f"has {terms}, which the AMBER form lacks; give a topology of the AMBER or OPLS form")
    if isinstance(structure, (parmed.amber.ChamberParm, parmed.amber.AmoebaParm)):
        raise PhysEmbedError("is of the CHARMM or AMOEBA form; give a topology of the AMBER or OPLS form")
    for atom in atoms:
        if isinstance(atom, parmed.ExtraPoint) or atom.atomic_number < 1:
            raise PhysEmbedError(f"{_name(atom)} is an extra point; every particle must be an atom")
    _check_elements(atoms, trusted)
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(atoms)))
    graph.add_edges_from((bond.atom1.idx, bond.atom2.idx) for bond in structure.bonds)
    _check_connected(structure, graph)
    _check_coordinates(structure, graph)
    charge = sum(atom.charge for atom in atoms)
    if abs(charge - round(charge)) > CHARGE_TOLERANCE_E:
        raise PhysEmbedError(f"the partial charges add up to {charge:.3f}, not to an integer; fix them")
    return Composition(
        tuple(atom.atomic_number for atom in atoms),
        frozenset((min(edge), max(edge)) for edge in graph.edges),
        round(charge),
    )


def _name(atom: parmed.Atom) -> str:
    return f"atom {atom.name} (number {atom.idx + 1})"


def _check_elements(atoms: list[parmed.Atom], trusted: Collection[str]) -> None:
    odd = []
    for atom in atoms:
        standard = atomic_masses[atom.atomic_number]
        if abs(atom.mass - standard) <= MASS_TOLERANCE_U:
            continue
        if str(atom.type) not in trusted:
            raise PhysEmbedError(
                f"{_name(atom)} has the mass {atom.mass:g} u, which is that of no element: a united atom, an isotope "
                f"or a shifted mass would be taken for {chemical_symbols[atom.atomic_number]} ({standard:.4g} u); all "
                "atoms must be there, with the masses of their elements or with atomic numbers in the file"
            )
        odd.append(f"{atom.name} {atom.mass:g} u")
    if odd:
        log.info("topology: masses that are not those of the elements: %s; they change no sampled geometry", odd)


def _check_connected(structure: parmed.Structure, graph: networkx.Graph) -> None:
    parts = [sorted(part) for part in networkx.connected_components(graph)]
    if len(parts) == 1 and len(structure.atoms) > 1:
        return
    atoms = structure.atoms
    lone = [part[0] for part in parts if len(part) == 1]
    if lone:
        raise PhysEmbedError(
            f"{_name(atoms[lone[0]])} is bonded to nothing, as are {len(lone)} of {len(atoms)} atoms; a row is a "
            "single connected molecule: bonds must be in the topology with force constants, not as constraints"
        )
    raise PhysEmbedError(
        f"holds {len(parts)} molecules ({len(parts[0])} atoms in the first, {len(parts[1])} in the second); a row is a "
        "single connected molecule"
    )


def _check_coordinates(structure: parmed.Structure, graph: networkx.Graph) -> None:
    atoms, positions = structure.atoms, np.asarray(structure.coordinates)
    if not np.isfinite(positions).all():
        raise PhysEmbedError("its coordinates are not all finite numbers")
    for bond in structure.bonds:
        names = f"{_name(bond.atom1)} and {_name(bond.atom2)}"
        if bond.type is None or not (bond.type.k > 0 and bond.type.req > 0):
            raise PhysEmbedError(
                f"the bond of {names} has the parameters {bond.type}; give a force constant and length"
            )
        if bond.atom1.atomic_number == bond.atom2.atomic_number == 1 and len(atoms) > 2:
            raise PhysEmbedError(
                f"{names} are hydrogens bonded to each other, as in rigid water models; give a flexible topology, with "
                "an angle instead"
            )
        length = float(np.linalg.norm(positions[bond.atom1.idx] - positions[bond.atom2.idx]))
        if abs(length - bond.type.req) > BOND_TOLERANCE_A:
            raise PhysEmbedError(
                f"{names} are bonded (length at rest {bond.type.req:.3g} Å), but {length:.3g} Å apart in the "
                "coordinates; these are of another molecule or order of atoms, in another unit, or cut at the wall of "
                "a box"
            )
    radii = covalent_radii[[atom.atomic_number for atom in atoms]]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    near = np.triu(distances < TOO_NEAR * (radii[:, None] + radii[None]), 1)
    for first, second in zip(*np.nonzero(near), strict=True):
        if not graph.has_edge(int(first), int(second)):
            raise PhysEmbedError(
                f"{_name(atoms[first])} and {_name(atoms[second])} are {distances[first, second]:.3g} Å apart in the "
                "coordinates, but not bonded in the topology; add the bond or fix the coordinates"
            )
