"""Classical topology of one molecule: generated with AmberTools (GAFF), or the user's own.

Both are written as `topology.prmtop` and `topology.inpcrd` (AMBER) and a bond table (`physembed.molecules.bonds`).
"""

from __future__ import annotations

import logging
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import parmed
from rdkit import Chem

from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.molecules import ambertools
from physembed.molecules.checks import check_given, check_structure
from physembed.molecules.openmm_md import potential_energy
from physembed.molecules.reading import load_topology, read_topology
from physembed.molecules.structure import from_file

log = logging.getLogger(__name__)
RESIDUE = "MOL"


def gaff_topology(
    structure_file: str | Path,
    *,
    parameter_set: Literal["gaff", "gaff2"],
    charges: Literal["bcc", "gasteiger"],
    multiplicity: int | None = None,
) -> parmed.Structure:
    """Topology of the molecule of an SDF file: atom types and charges from antechamber, parameters from GAFF.

    Raises:
        PhysEmbedError: if one of AmberTools' programs fails.
    """
    charge = Chem.GetFormalCharge(from_file(structure_file))
    with tempfile.TemporaryDirectory(prefix="physembed-topology-") as temporary:
        folder = Path(temporary)
        (folder / "in.sdf").write_bytes(Path(structure_file).read_bytes())
        ambertools.run(
            "antechamber", "-i", "in.sdf", "-fi", "sdf", "-o", "typed.mol2", "-fo", "mol2", "-at", parameter_set,
            "-c", {"bcc": "bcc", "gasteiger": "gas"}[charges], "-nc", str(charge), "-m", str(multiplicity or 1),
            "-rn", RESIDUE, "-pf", "y", "-dr", "no", folder=folder,
        )  # fmt: skip
        ambertools.run(
            "parmchk2", "-i", "typed.mol2", "-f", "mol2", "-o", "extra.frcmod", "-s", parameter_set, folder=folder
        )
        (folder / "leap.in").write_text(
            f"source leaprc.{parameter_set}\n"
            f"{RESIDUE} = loadmol2 typed.mol2\n"
            "loadamberparams extra.frcmod\n"
            f"saveamberparm {RESIDUE} out.prmtop out.inpcrd\n"
            "quit\n"
        )
        fill_gaps(folder / "extra.frcmod", parameter_set)
        ambertools.run("tleap", "-f", "leap.in", folder=folder)
        warn_of_guesses(folder / "extra.frcmod")
        structure = load_topology(folder / "out.prmtop", folder / "out.inpcrd")
        try:
            check_structure(structure, trusted={atom.type for atom in structure.atoms})
        except PhysEmbedError as error:
            raise PhysEmbedError(f"topology: {structure_file}: made with {parameter_set}: {error}") from error
        return structure


def fill_gaps(frcmod: Path, parameter_set: Literal["gaff", "gaff2"]) -> None:
    """Give bonds and angles for which parmchk2 has no guess (it writes zeros) the parameters of the other GAFF version.

    Raises:
        PhysEmbedError: neither has them; without a force constant the atoms would be unbound.
    """
    other = {"gaff": "gaff2", "gaff2": "gaff"}[parameter_set]
    lines, section = frcmod.read_text().splitlines(), ""
    for index, line in enumerate(lines):
        section = line.strip() or section
        entry = FRCMOD_ENTRY.match(line)
        if section not in ("BOND", "ANGLE") and not entry:
            continue
        if entry is None or float(entry["k"]) > 0:
            continue
        types = [part.strip() for part in entry["types"].split("-")]
        kind = {2: "bond", 3: "angle"}[len(types)]
        found = _parameters(other).get(min(tuple(types), tuple(reversed(types))))
        if found is None:
            raise PhysEmbedError(
                f"topology: {parameter_set} has no parameters for the {kind} {'-'.join(types)}, parmchk2 has no guess "
                f"and {other} does not have it either; give a topology of your own for this molecule"
            )
        lines[index] = f"{entry['types']} {found[0]:10.3f} {found[1]:10.3f}   {other}"
        log.warning(
            "%s lacks the %s %s; those of %s are taken: %g, %g", parameter_set, kind, "-".join(types), other, *found
        )
    frcmod.write_text("\n".join(lines) + "\n")


FRCMOD_ENTRY = re.compile(r"^(?P<types>..-..(-..)?)\s+(?P<k>\d+\.\d*)\s+(?P<equilibrium>\d+\.\d*)")
"""A bond or angle in a parameter file: types, force constant and equilibrium value."""


@cache
def _parameters(parameter_set: str) -> dict[tuple[str, ...], tuple[float, float]]:
    """Force constants and equilibrium values of the bonds and angles of GAFF or GAFF2, by their sorted types."""
    text = (ambertools.amber_home() / "dat" / "leap" / "parm" / f"{parameter_set}.dat").read_text(errors="replace")
    found = {}
    for entry in filter(None, map(FRCMOD_ENTRY.match, text.splitlines())):
        types = tuple(part.strip() for part in entry["types"].split("-"))
        found[min(types, types[::-1])] = float(entry["k"]), float(entry["equilibrium"])
    return found


def warn_of_guesses(frcmod: Path) -> None:
    """Log the parameters that parmchk2 guessed."""
    for line in frcmod.read_text().splitlines():
        if "ATTN" in line:
            log.warning("GAFF lacks a parameter, parmchk2 guessed it: %s", line.strip())


def convert_topology(
    topology: str | Path, coordinates: str | Path, prmtop: str | Path, inpcrd: str | Path
) -> parmed.Structure:
    """Check a user's topology and write it as AMBER files, whose energies must equal those of the original.

    Raises:
        PhysEmbedError: it is no single connected molecule of the AMBER form (`physembed.molecules.checks`), or the
            energies of the written files differ.
    """
    try:
        check_given(topology, coordinates)
        structure = read_topology(topology, coordinates)
        positions = np.asarray(structure.coordinates)
        moved = [positions, positions + np.random.default_rng(0).normal(0, 0.05, positions.shape)]
        before = [potential_energy(structure, frame) for frame in moved]
        write_topology(structure, prmtop, inpcrd)
        written = read_topology(prmtop, inpcrd)
        after = [potential_energy(written, frame) for frame in moved]
        if not np.allclose(before, after, rtol=1e-4, atol=0.02):
            raise PhysEmbedError(
                f"its energies differ from those of the same molecule in AMBER's format ({before[0]:.3f} and "
                f"{after[0]:.3f} kJ/mol): it has terms or exclusions that the format lacks; give a topology of the "
                "AMBER or OPLS form"
            )
    except PhysEmbedError as error:
        raise PhysEmbedError(f"topology: {topology}: {str(error).removeprefix('topology: ')}") from error
    return written


def write_topology(
    structure: parmed.Structure, prmtop: str | Path, inpcrd: str | Path, *, periodic: bool = False
) -> None:
    """Write a topology from any source as AMBER files: with its box, or as an isolated molecule.

    Raises:
        PhysEmbedError: if it has terms that AMBER's format lacks (CHARMM's Urey-Bradley terms, say).
    """
    try:
        amber = structure if _is_amber(structure) else parmed.amber.AmberParm.from_structure(structure)
    except TypeError as error:
        raise PhysEmbedError(
            f"topology: cannot be written in AMBER's format: {error}; give a topology of the AMBER or OPLS form"
        ) from error
    if not periodic:
        amber.box = None
    with atomic(prmtop) as temporary:
        amber.write_parm(str(temporary))
    with atomic(inpcrd) as temporary:
        amber.save(str(temporary), format="rst7", overwrite=True)


def _is_amber(structure: parmed.Structure) -> bool:
    return isinstance(structure, parmed.amber.AmberParm)


def total_charge(structure: parmed.Structure) -> int:
    """Net charge of the molecule in units of e.

    Raises:
        PhysEmbedError: if the partial charges do not add up to an integer within 0.05.
    """
    charge = sum(atom.charge for atom in structure.atoms)
    if abs(charge - round(charge)) > 0.05:
        raise PhysEmbedError(f"topology: the partial charges add up to {charge:.3f}, not to an integer")
    return round(charge)
