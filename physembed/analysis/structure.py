"""Structure of a liquid: radial distributions between molecules, and distributions of angles within them.

Radial distributions only count pairs of atoms of different molecules. In each frame the count in a shell is divided
by the expected count of the same number of pairs distributed uniformly in that frame's volume; g(r) is the mean over
frames. So g is 1 for an ideal gas of any number of molecules, without the factor 1 - 1/N that results from a density
that includes the atom itself.

Angles are those between two bonds at an atom. Their density per degree integrates to 1; sin(theta) is not divided out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from ase import Atoms
from MDAnalysis.lib.distances import distance_array
from MDAnalysis.lib.mdamath import triclinic_vectors
from numpy.typing import ArrayLike, NDArray

from physembed.config.liquids import Structure
from physembed.errors import PhysEmbedError
from physembed.liquids.rigid import centres_of_mass, molecule_numbers
from physembed.progress import Progress

log = logging.getLogger(__name__)

BLOCKS = 10
"""Blocks of successive frames for a standard error; its own relative error is 1 / sqrt(2 (10 - 1)) = 24 %."""
CENTRES = "COM-COM"
"""Name of the pair of centres of mass."""
RDF_COLUMNS = ["pair", "r_A", "g", "g_standard_error"]
"""`r_A` is the middle of a shell."""
ADF_COLUMNS = ["triplet", "angle_degrees", "density_per_degree", "standard_error_per_degree"]
"""`angle_degrees` is the middle of a bin."""


def radial_distributions(frames: Sequence[Atoms], settings: Structure) -> pd.DataFrame:
    """Radial distribution functions between different molecules, by pair of elements and of their centres of mass.

    Args:
        frames: periodic frames of one liquid with the array `molecule`; volumes may differ.
        settings: `rdf_pairs`, `rdf_range_A` and `bins`, which determine the width of a shell. The range ends with the
            last shell within half of the smallest height of any frame's box.

    Returns:
        Table with the columns of `RDF_COLUMNS`: the pairs in the order of the settings, then COM-COM. g has no unit;
        its standard error is from 10 blocks of successive frames (fewer if there are fewer frames; nan for one).

    Raises:
        PhysEmbedError: frames that do not belong together; a box that is too small for a shell, or fewer than two
            molecules.
    """
    molecules = _check_frames(frames)
    width = settings.rdf_range_A / settings.bins
    n_shells = _shells_within_boxes(frames, settings, width)
    edges = width * np.arange(n_shells + 1)
    shell_volumes = 4 / 3 * math.pi * np.diff(edges**3)

    symbols = np.array(frames[0].get_chemical_symbols())
    sites: dict[str, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]] = {}
    for pair in settings.rdf_pairs:
        first, second = (np.flatnonzero(symbols == element) for element in pair.split("-"))
        apart = molecules[first][:, None] != molecules[second]
        if apart.any():
            sites[pair] = first, second, apart
        else:
            log.info("structure: the liquid has no pair %s between different molecules; skipped", pair)
    different = ~np.eye(int(molecules.max()) + 1, dtype=bool)
    if not different.any():
        raise PhysEmbedError("structure: a single molecule has no intermolecular distribution; give a liquid")

    def normalised(
        a: NDArray[np.float64], b: NDArray[np.float64], apart: NDArray[np.bool_], box: Box
    ) -> NDArray[np.float64]:
        """g of one frame; pairs of the same element are counted twice, in `counts` and in `apart`."""
        distances = distance_array(a, b, box=box.dimensions)[apart]
        counts = np.histogram(distances, bins=n_shells, range=(0, edges[-1]))[0]
        return counts * box.volume / (np.count_nonzero(apart) * shell_volumes)

    values = np.empty((len(frames), len(sites) + 1, n_shells))
    progress = Progress("radial distributions", len(frames), "frames")
    for index, frame in enumerate(frames):
        box = Box(frame)
        positions = box.wrapped(frame.positions)
        for row, (first, second, apart) in enumerate(sites.values()):
            values[index, row] = normalised(positions[first], positions[second], apart, box)
        centres = box.wrapped(centres_of_mass(frame))
        values[index, -1] = normalised(centres, centres, different, box)
        progress.update(index + 1)
    progress.finish()
    return _table(RDF_COLUMNS, [*sites, CENTRES], (edges[1:] + edges[:-1]) / 2, values)


class Box:
    """A frame's box as used by MDAnalysis: lengths and angles, in MDAnalysis's own orientation."""

    def __init__(self, frame: Atoms) -> None:
        self.cell = frame.cell
        self.volume = frame.get_volume()
        self.dimensions = frame.cell.cellpar()

    def wrapped(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions, (n, 3) Å, wrapped into the box and rotated with it; distances are unchanged."""
        fractional = self.cell.scaled_positions(positions)
        return (fractional - np.floor(fractional)) @ triclinic_vectors(self.dimensions, dtype=np.float64)


def angle_distributions(frames: Sequence[Atoms], bonds: ArrayLike, settings: Structure) -> pd.DataFrame:
    """Distributions of the angles between two bonds at an atom, by the elements of the three atoms.

    Args:
        frames: periodic frames of one liquid with the array `molecule`.
        bonds: (n_bonds, 2) atoms of each bond, 0-based.
        settings: `adf_triplets`, and `bins` between 0 and 180 degrees.

    Returns:
        Table with the columns of `ADF_COLUMNS`, triplets in the order of the settings; the standard error is as for
        `radial_distributions`. A triplet that does not occur in the liquid is skipped, so the table may be empty.

    Raises:
        PhysEmbedError: frames that do not belong together; bonds that do not belong to these atoms.
    """
    molecules = _check_frames(frames)
    angles = _bonded_triplets(bonds, molecules)
    symbols = np.array(frames[0].get_chemical_symbols())
    selected: dict[str, NDArray[np.int64]] = {}
    for triplet in settings.adf_triplets:
        elements = np.array(triplet.split("-"))
        of = symbols[angles]
        same = (of == elements).all(axis=1) | (of == elements[::-1]).all(axis=1)
        if same.any():
            selected[triplet] = angles[same]
        else:
            log.info("structure: no molecule of the liquid has bonded atoms %s; skipped", triplet)
    edges = np.linspace(0, 180, settings.bins + 1)
    values = np.empty((len(frames), len(selected), settings.bins))
    for index, frame in enumerate(frames):
        for row, atoms in enumerate(selected.values()):
            degrees = frame.get_angles(atoms, mic=True)
            values[index, row] = np.histogram(degrees, bins=edges, density=True)[0]
    return _table(ADF_COLUMNS, list(selected), (edges[1:] + edges[:-1]) / 2, values)


def _check_frames(frames: Sequence[Atoms]) -> NDArray[np.int64]:
    """Molecule index of each atom, the same in each frame."""
    if not frames:
        raise PhysEmbedError("structure: no frames; check the trajectory")
    molecules = molecule_numbers(frames[0])
    for index, frame in enumerate(frames):
        if not (
            np.array_equal(frame.numbers, frames[0].numbers) and np.array_equal(molecule_numbers(frame), molecules)
        ):
            raise PhysEmbedError(f"structure: frame {index} has other atoms than frame 0; give frames of one liquid")
        if not np.isfinite(frame.positions).all():
            raise PhysEmbedError(f"structure: frame {index} has a position that is not finite; give valid frames only")
    return molecules


def _shells_within_boxes(frames: Sequence[Atoms], settings: Structure, width: float) -> int:
    """Number of complete shells up to the range, or to half of the smallest height of a box."""
    half = min(0.5 / np.linalg.norm(frame.cell.reciprocal(), axis=1).max() for frame in frames)
    if half >= settings.rdf_range_A:
        return settings.bins
    shells = int(half / width)
    if not shells:
        raise PhysEmbedError(
            f"structure.bins: {settings.bins} bins give shells of {width:g} Å, more than half of the smallest box "
            f"({half:.2f} Å); use more bins"
        )
    log.info(
        "structure: radial distributions to %.2f Å, not %g Å (structure.rdf_range_A): half of the smallest box",
        shells * width, settings.rdf_range_A,
    )  # fmt: skip
    return shells


def _bonded_triplets(bonds: ArrayLike, molecules: NDArray[np.int64]) -> NDArray[np.int64]:
    """All pairs of bonds that share an atom, (n_angles, 3), with the shared atom in the middle."""
    pairs = np.asarray(bonds, dtype=np.int64).reshape(-1, 2)
    n_atoms = len(molecules)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= n_atoms):
        raise PhysEmbedError(
            f"structure: bonds refer to atoms {pairs.min()} to {pairs.max()}, a frame has {n_atoms} atoms (0-based); "
            "give the bonds of the whole box"
        )
    neighbours: list[list[int]] = [[] for _ in range(n_atoms)]
    for i, j in np.unique(np.sort(pairs, axis=1), axis=0):
        if molecules[i] != molecules[j]:
            raise PhysEmbedError(
                f"structure: atoms {i} and {j} are bonded, but belong to molecules {molecules[i]} and {molecules[j]}; "
                "fix the bonds or the array `molecule`"
            )
        neighbours[i].append(int(j))
        neighbours[j].append(int(i))
    found = [(a, apex, b) for apex, ends in enumerate(neighbours) for a, b in combinations(ends, 2)]
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def _table(
    columns: list[str], names: list[str], middles: NDArray[np.float64], values: NDArray[np.float64]
) -> pd.DataFrame:
    """Long table of the mean over frames and its standard error; `values` is (n_frames, n_names, n_bins)."""
    blocks = np.array([block.mean(axis=0) for block in np.array_split(values, min(BLOCKS, len(values)))])
    error = (
        blocks.std(axis=0, ddof=1) / math.sqrt(len(blocks)) if len(blocks) > 1 else np.full(blocks.shape[1:], np.nan)
    )
    rows = [np.repeat(names, len(middles)), np.tile(middles, len(names)), values.mean(axis=0).ravel(), error.ravel()]
    return pd.DataFrame(dict(zip(columns, rows, strict=True)))
