"""Packed boxes: number of molecules of each component, and their positions from packmol."""

from __future__ import annotations

import logging
import operator
import sys
import tempfile
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
import parmed
from ase import Atoms
from ase.data import atomic_masses
from ase.io import read, write
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from physembed.errors import PhysEmbedError
from physembed.liquids.composition import cube_length_A
from physembed.programs import run_program

log = logging.getLogger(__name__)
PACKMOL_LOOPS = 20
"""Rounds of packmol; a box that can be packed takes one or two, one that cannot takes long to fail."""
PACKMOL_S = 1500
"""Time limit of packmol; the rule has half an hour."""


def composition_table(
    names: Sequence[str],
    smiles: Sequence[str],
    mass_fractions: Sequence[float],
    components: Sequence[parmed.Structure],
    counts: Sequence[int],
) -> pd.DataFrame:
    """Composition of a box: component, smiles, molecules, atoms (in total), mass_fraction_wanted, mass_fraction."""
    masses = np.array([mass_u(molecule) for molecule in components]) * np.asarray(counts)
    return pd.DataFrame(
        {
            "component": list(names),
            "smiles": list(smiles),
            "molecules": list(counts),
            "atoms": [count * len(molecule.atoms) for molecule, count in zip(components, counts, strict=True)],
            "mass_fraction_wanted": list(mass_fractions),
            "mass_fraction": masses / masses.sum(),
        }
    )


def mass_u(structure: parmed.Structure) -> float:
    """Mass of all atoms, u, with ASE's atomic masses, which are used for all densities in this program."""
    return float(atomic_masses[[atom.atomic_number for atom in structure.atoms]].sum())


def molecule_index(structure: parmed.Structure) -> NDArray[np.int64]:
    """Molecule index of each atom, (n_atoms,), 0-based in the order of their first atoms, from the bonds."""
    bonds = np.array([(bond.atom1.idx, bond.atom2.idx) for bond in structure.bonds], dtype=np.int64).reshape(-1, 2)
    size = len(structure.atoms)
    graph = coo_array((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(size, size))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def pack(
    components: Sequence[parmed.Structure],
    counts: Sequence[int],
    density_g_cm3: float,
    seed: int,
    tolerance_A: float = 2.0,
) -> parmed.Structure:
    """A cubic periodic box of rigid molecules, packed by packmol.

    Martínez, Andrade, Birgin, Martínez, J. Comput. Chem. 2009, 30, 2157.

    Args:
        components: topology and coordinates of one molecule of each kind.
        counts: number of molecules of each.
        density_g_cm3: density of the box.
        seed: determines the box.
        tolerance_A: minimum distance between atoms of different molecules, including across the boundary.

    Returns:
        Topology, coordinates and box vectors; the molecules of the first component come first. Molecules are whole,
        and each is a residue: L01 for the first component, L02 for the second, and so on.

    Raises:
        PhysEmbedError: if packmol fails.
    """
    packed = reduce(operator.add, [molecule * count for molecule, count in zip(components, counts, strict=True)])
    length = cube_length_A(mass_u(packed), density_g_cm3)
    packed.coordinates = _packmol(components, counts, length, density_g_cm3, seed, tolerance_A)
    packed.box = [length] * 3 + [90.0] * 3
    residues = [len(molecule.residues) * count for molecule, count in zip(components, counts, strict=True)]
    for residue, kind in zip(packed.residues, np.repeat(np.arange(1, len(counts) + 1), residues), strict=True):
        residue.name = f"L{kind:02d}"
    log.info("packed %d molecules in a box of %.2f Å (%.3g g/cm^3)", sum(counts), length, density_g_cm3)
    return packed


def _packmol(
    components: Sequence[parmed.Structure],
    counts: Sequence[int],
    length: float,
    density: float,
    seed: int,
    tolerance: float,
) -> NDArray[np.float64]:
    """Packed positions, (n_atoms, 3) Å."""
    with tempfile.TemporaryDirectory(prefix="physembed-box-") as temporary:
        folder = Path(temporary)
        lines = [f"tolerance {tolerance}", f"seed {seed}", f"nloop {PACKMOL_LOOPS}", "filetype xyz", "output out.xyz"]
        lines.append(f"pbc {length:.8f} {length:.8f} {length:.8f}")
        for kind, (molecule, count) in enumerate(zip(components, counts, strict=True)):
            numbers = [atom.atomic_number for atom in molecule.atoms]
            write(folder / f"{kind}.xyz", Atoms(numbers=numbers, positions=molecule.coordinates), format="xyz")
            lines += [f"structure {kind}.xyz", f"  number {count}", "end structure"]
        (folder / "in.inp").write_text("\n".join(lines) + "\n")
        # The package's own command line, which finds its program wherever the package is installed.
        code, output = run_program(
            [sys.executable, "-m", "packmol.cli", "-i", "in.inp"],
            folder=folder,
            limit_s=PACKMOL_S,
            what=f"box: packmol with {sum(counts)} molecules",
            advice="lower gaff_npt.packing_density_g_cm3, or give the liquid fewer molecules",
        )
        for line in output.splitlines():
            log.debug("packmol: %s", line)
        if code != 0 or "Success!" not in output:
            raise PhysEmbedError(
                f"box: packmol cannot put {sum(counts)} molecules into a box of {length:.2f} Å ({density:g} g/cm^3) "
                f"with {tolerance:g} Å between them (exit {code}); lower the packing density"
            )
        return np.asarray(read(folder / "out.xyz", format="xyz").positions)
