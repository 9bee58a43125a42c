"""Distributions of gases, lattices and rigid molecules whose structure is known."""

import logging
import math

import MDAnalysis
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from MDAnalysis.analysis.rdf import InterRDF
from scipy import stats
from scipy.spatial.transform import Rotation

from physembed.analysis.structure import angle_distributions, radial_distributions
from physembed.config import load
from physembed.config.liquids import Structure
from physembed.errors import PhysEmbedError

ANGLE = 104.52
WATER = Atoms("OH2", positions=[[0, 0, 0], [0.9572, 0, 0], [-0.2400, 0.9266, 0]])  # an angle of 104.52 degrees
SILANE = Atoms("SiH3F", positions=[[0, 0, 0], [1.4, 0, 0.5], [-0.7, 1.2, 0.5], [-0.7, -1.2, 0.5], [0, 0, -1.6]])
SKEWED = np.array([[14.0, 0, 0], [5, 12, 0], [-4, 3, 13]])


def settings(**values):
    return Structure(**{"rdf_pairs": [], "adf_triplets": [], **values})


def gas(rng, molecules, cell, wrapped=True):
    """Molecules at independent uniform places, turned at random."""
    positions, numbers, owner = [], [], []
    for index, molecule in enumerate(molecules):
        turned = Rotation.random(random_state=rng).apply(molecule.positions)
        positions.append(turned + rng.random(3) @ np.asarray(cell))
        numbers.append(molecule.numbers)
        owner += [index] * len(molecule)
    atoms = Atoms(np.concatenate(numbers), np.concatenate(positions), cell=cell, pbc=True)
    atoms.arrays["molecule"] = np.array(owner)
    if wrapped:
        atoms.wrap()
    return atoms


def lattice(symbols, places, repeats, constant):
    """Cubic lattice of atoms, each of which is a molecule."""
    unit = Atoms(symbols, scaled_positions=places, cell=[constant] * 3, pbc=True)
    atoms = unit.repeat(repeats)
    atoms.arrays["molecule"] = np.arange(len(atoms))
    return atoms


def of(table, pair):
    return table[table["pair"] == pair].reset_index(drop=True)


def shells(table, width):
    """Volumes of the shells around `r_A`."""
    r = table["r_A"].to_numpy()
    return 4 / 3 * math.pi * ((r + width / 2) ** 3 - (r - width / 2) ** 3)


def neighbours(table, width, density):
    """Neighbours in each shell, for neighbours of a number density per Å^3."""
    return table["g"].to_numpy() * density * shells(table, width)


@pytest.mark.parametrize(("n_molecules", "n_frames"), [(2, 6000), (60, 20)])
def test_ideal_gas_is_1_within_the_counting_error(n_molecules, n_frames):
    rng = np.random.default_rng(0)
    frames = [gas(rng, [Atoms("Ar")] * n_molecules, np.eye(3) * 20) for _ in range(n_frames)]
    table = of(radial_distributions(frames, settings(bins=25)), "COM-COM")
    pairs = len(frames) * n_molecules * (n_molecules - 1) / 2
    expected = pairs * shells(table, 0.4) / 20**3
    deviations = ((table["g"] - 1) * np.sqrt(expected))[expected > 20]
    assert len(deviations) >= 15
    assert stats.chi2.sf((deviations**2).sum(), len(deviations)) > 0.01
    error = math.sqrt(1 / expected.sum())  # a density that counts the atom itself gives 1 - 1/N, 0.5 for two
    assert abs((table["g"] * expected).sum() / expected.sum() - 1) < 3 * error < 0.06
    # Frames are independent, so the error of 10 blocks is the counting error, to 24 % in each shell.
    ratio = (table["g_standard_error"] * np.sqrt(expected))[expected > 20]
    assert ratio.mean() == pytest.approx(1, abs=0.2)


def test_gas_of_molecules_has_nothing_of_the_molecules_in_it():
    rng = np.random.default_rng(1)
    molecules = [WATER] * 8 + [SILANE] * 4
    frames = [gas(rng, molecules, np.eye(3) * 16) for _ in range(600)]
    table = radial_distributions(frames, settings(rdf_pairs=["H-H", "O-H", "Si-F", "F-H"], rdf_range_A=5, bins=10))
    for pair in ("H-H", "O-H", "Si-F", "F-H", "COM-COM"):
        part = of(table, pair)[2:]  # 1 Å to 5 Å: bonds and angles would be at 1.0, 1.5, 1.6, 2.4 and 2.5 Å
        z = (part["g"] - 1) / part["g_standard_error"]
        assert abs(z).max() < 5
        assert abs(part["g"] - 1).max() < 0.4
    assert abs(table["g"][table["r_A"] > 2] - 1).mean() < 0.05


def test_simple_cubic_lattice_has_6_12_and_8_neighbours():
    constant, repeats, width = 3.07, 6, 0.05
    table = radial_distributions([lattice("Ar", [[0, 0, 0]], repeats, constant)], settings(rdf_pairs=["Ar-Ar"]))
    atoms = of(table, "Ar-Ar")
    counts = neighbours(atoms, width, (repeats**3 - 1) / (repeats * constant) ** 3)
    found = np.flatnonzero(counts)[:3]
    radii = constant * np.sqrt([1, 2, 3])
    assert abs(atoms["r_A"][found] - radii).max() <= width / 2 + 1e-5
    assert counts[found] == pytest.approx([6, 12, 8], rel=1e-9)
    assert of(table, "COM-COM")["g"].to_numpy() == pytest.approx(atoms["g"].to_numpy())
    assert atoms["g_standard_error"].isna().all()


def test_unlike_neighbours_of_caesium_chloride():
    constant, repeats, width = 4.123, 4, 0.05
    frame = lattice("CsCl", [[0, 0, 0], [0.5] * 3], repeats, constant)
    table = radial_distributions([frame], settings(rdf_pairs=["Cs-Cl", "Cl-Cl"]))
    for pair, radius, number, others in (
        ("Cs-Cl", math.sqrt(3) / 2, 8, repeats**3),
        ("Cl-Cl", 1, 6, repeats**3 - 1),
    ):
        part = of(table, pair)
        counts = neighbours(part, width, others / (repeats * constant) ** 3)
        first = np.flatnonzero(counts)[0]
        assert abs(part["r_A"][first] - radius * constant) <= width / 2 + 1e-5
        assert counts[first] == pytest.approx(number, rel=1e-9)


@pytest.mark.parametrize("turned", [False, True])
def test_counts_in_a_skewed_box_are_those_of_a_neighbour_list(turned):
    rng = np.random.default_rng(2)
    cell = SKEWED @ (Rotation.random(random_state=rng).as_matrix() if turned else np.eye(3))
    frame = gas(rng, [WATER, SILANE] * 20, cell)
    range_A, bins = 5.0, 20
    part = of(radial_distributions([frame], settings(rdf_pairs=["O-H"], rdf_range_A=range_A, bins=bins)), "O-H")
    i, j, distances = neighbor_list("ijd", frame, range_A)
    symbols, molecule = np.array(frame.get_chemical_symbols()), frame.arrays["molecule"]
    wanted = (symbols[i] == "O") & (symbols[j] == "H") & (molecule[i] != molecule[j])
    n_pairs = 20 * (20 * 2 + 20 * 3) - 20 * 2
    counts = part["g"] * n_pairs / frame.get_volume() * shells(part, range_A / bins)
    assert counts.to_numpy() == pytest.approx(np.histogram(distances[wanted], bins, (0, range_A))[0], abs=1e-6)


def test_agrees_with_interrdf_of_mdanalysis():
    rng = np.random.default_rng(3)
    n_molecules, edge = 30, 15.0
    frames = [gas(rng, [WATER] * n_molecules, np.eye(3) * edge) for _ in range(20)]
    universe = MDAnalysis.Universe.empty(3 * n_molecules, trajectory=True)
    universe.add_TopologyAttr("name", frames[0].get_chemical_symbols())
    boxes = np.tile([edge] * 3 + [90.0] * 3, (len(frames), 1))
    universe.load_new(np.array([frame.positions for frame in frames]), dimensions=boxes)
    theirs = InterRDF(
        universe.select_atoms("name O"), universe.select_atoms("name H"), nbins=30, range=(0, 6), exclusion_block=(1, 2)
    ).run()
    ours = of(radial_distributions(frames, settings(rdf_pairs=["O-H"], rdf_range_A=6, bins=30)), "O-H")
    assert ours["r_A"].to_numpy() == pytest.approx(theirs.results.bins)
    assert ours["g"].to_numpy() == pytest.approx(theirs.results.rdf, rel=1e-5)


def test_each_frame_is_normalised_by_its_own_volume(caplog):
    rng = np.random.default_rng(4)
    # With the mean volume, g would be the ratio of mean volume and mean 1 / V, 2.6.
    frames = [gas(rng, [Atoms("Ar")] * 30, np.eye(3) * edge) for edge in [12.0, 24.0] * 200]
    with caplog.at_level(logging.INFO):
        table = of(radial_distributions(frames, settings(rdf_range_A=10, bins=25)), "COM-COM")
    z = (table["g"] - 1) / table["g_standard_error"]
    assert abs(z[table["r_A"] > 1]).max() < 5
    assert table["g"][table["r_A"] > 3].mean() == pytest.approx(1, abs=0.02)
    assert table["r_A"].tolist() == pytest.approx(np.arange(0.2, 6, 0.4))  # the shells of the whole range, cut
    assert "to 6.00 Å, not 10 Å (structure.rdf_range_A): half of the smallest box" in caplog.text


def test_half_of_a_skewed_box_is_half_of_its_smallest_height():
    frame = gas(np.random.default_rng(5), [Atoms("Ar")] * 5, SKEWED)
    heights = [np.linalg.det(SKEWED) / np.linalg.norm(np.cross(SKEWED[i], SKEWED[i - 1])) for i in range(3)]
    table = radial_distributions([frame], settings(rdf_range_A=10, bins=1000))
    assert table["r_A"].max() == pytest.approx(min(heights) / 2, abs=0.015)
    assert table["r_A"].max() < min(heights) / 2


def test_pair_that_no_two_molecules_have_is_left_out(caplog):
    frames = [gas(np.random.default_rng(6), [SILANE, WATER, WATER], np.eye(3) * 12)]
    with caplog.at_level(logging.INFO):
        table = radial_distributions(frames, settings(rdf_pairs=["Si-F", "N-O", "Si-O"]))
    assert table["pair"].unique().tolist() == ["Si-O", "COM-COM"]
    assert "no pair Si-F between different molecules; skipped" in caplog.text
    assert "pair N-O" in caplog.text


def bonds_of(frame):
    """O-H bonds of waters, Si-H and Si-F bonds of silanes, each atom after the first bonded to the first."""
    molecule = frame.arrays["molecule"]
    first = np.array([np.flatnonzero(molecule == m)[0] for m in molecule])
    return np.array([(a, b) for a, b in zip(first, range(len(frame)), strict=True) if a != b])


def test_angle_of_rigid_molecules_is_one_bin():
    rng = np.random.default_rng(7)
    frames = [gas(rng, [WATER] * 10, np.eye(3) * 9) for _ in range(3)]  # wrapped, so some are broken
    table = angle_distributions(frames, bonds_of(frames[0]), settings(adf_triplets=["H-O-H"], bins=180))
    assert table["density_per_degree"].sum() == pytest.approx(1)
    peak = table.loc[table["density_per_degree"].idxmax()]
    assert (peak["angle_degrees"], peak["density_per_degree"]) == (math.floor(ANGLE) + 0.5, pytest.approx(1))
    assert table["standard_error_per_degree"].tolist() == pytest.approx([0] * 180)


def test_angles_of_two_kinds_share_one_density():
    frame = gas(np.random.default_rng(8), [SILANE] * 4, SKEWED)
    table = angle_distributions([frame], bonds_of(frame), settings(adf_triplets=["H-Si-H", "H-Si-F"], bins=360))
    v = SILANE.positions
    for triplet, ends in (("H-Si-H", [(1, 2), (1, 3), (2, 3)]), ("H-Si-F", [(1, 4), (2, 4), (3, 4)])):
        degrees = [np.degrees(np.arccos(v[a] @ v[b] / np.linalg.norm(v[a]) / np.linalg.norm(v[b]))) for a, b in ends]
        part = table[table["triplet"] == triplet]
        expected = np.histogram(degrees, 360, (0, 180))[0] / 3 / 0.5
        assert part["density_per_degree"].to_numpy() == pytest.approx(expected)


def test_angle_of_random_directions_has_the_density_of_the_sine():
    rng = np.random.default_rng(9)
    n = 3000
    directions = rng.normal(size=(2, n, 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    positions = np.zeros((n, 3, 3))
    positions[:, 0], positions[:, 2] = directions
    frames = []
    for _ in range(10):
        rng.shuffle(positions[:, 2])
        frame = Atoms("COH" * n, positions.reshape(-1, 3) + 5, cell=np.eye(3) * 10, pbc=True)
        frame.arrays["molecule"] = np.repeat(np.arange(n), 3)
        frames.append(frame)
    first = 3 * np.arange(n)
    bonds = np.concatenate([np.stack([first, first + 1], 1), np.stack([first + 1, first + 2], 1)])
    for triplet in ("C-O-H", "H-O-C"):
        table = angle_distributions(frames, bonds, settings(adf_triplets=[triplet], bins=18))
        edges = np.radians(np.arange(0, 181, 10))
        probability = (np.cos(edges[:-1]) - np.cos(edges[1:])) / 2
        deviation = (table["density_per_degree"] * 10 - probability) / np.sqrt(probability / (10 * n))
        assert abs(deviation).max() < 4.5
        errors = table["standard_error_per_degree"] * 10 / np.sqrt(probability / (10 * n))
        assert errors.mean() == pytest.approx(1, abs=0.25)


def test_triplets_that_the_liquid_lacks_are_left_out(caplog):
    frame = gas(np.random.default_rng(10), [WATER] * 3, np.eye(3) * 9)
    with caplog.at_level(logging.INFO):
        table = angle_distributions([frame], bonds_of(frame), settings(adf_triplets=["C-O-C", "H-O-H"]))
    assert table["triplet"].unique().tolist() == ["H-O-H"]
    assert "C-O-C; skipped" in caplog.text
    assert angle_distributions([frame], bonds_of(frame), settings()).empty
    assert angle_distributions([frame], bonds_of(frame), settings(adf_triplets=["C-O-C", "O-H-O"])).empty


@pytest.mark.parametrize(
    ("pairs", "triplets", "message"),
    [
        (["C_O"], [], "rdf_pairs: 'C_O': is not 2 element symbols"),
        (["C-O-C"], [], "'C-O-C': is not 2"),
        (["c-O"], [], "'c-O': is not 2"),
        (["X-O"], [], "'X-O': is not 2"),
        ([""], [], "'': is not 2"),
        ([], ["C-O"], "adf_triplets: 'C-O': is not 3 element symbols"),
        (["C-O", "O-C"], [], "'O-C': is listed twice"),
        ([], ["C-O-H", "C-O-C", "H-O-C"], "'H-O-C': is listed twice"),
    ],
)
def test_malformed_names_are_refused(pairs, triplets, message):
    with pytest.raises(PhysEmbedError, match=message):
        load({"structure": {"rdf_pairs": pairs, "adf_triplets": triplets}})


def test_frames_that_cannot_be_right_are_refused():
    rng = np.random.default_rng(12)
    water, silane = (gas(rng, [kind] * 3, np.eye(3) * 9) for kind in (WATER, SILANE))
    lost = water.copy()
    lost.positions[4, 1] = math.nan
    for frames, message in (
        ([], "no frames"),
        ([water, silane], "frame 1 has other atoms than frame 0"),
        ([water, lost], "frame 1 has a position that is not finite"),
        ([gas(rng, [WATER], np.eye(3) * 9)], "a single molecule"),
    ):
        with pytest.raises(PhysEmbedError, match=message):
            radial_distributions(frames, settings())
    with pytest.raises(PhysEmbedError, match=r"shells of 10 Å, more than half of the smallest box \(4.50 Å\)"):
        radial_distributions([water], settings(bins=1))
    for bonds, message in (
        ([[0, 9]], "bonds refer to atoms 0 to 9, a frame has 9 atoms"),
        ([[0, 1], [2, 3]], "atoms 2 and 3 are bonded, but belong to molecules 0 and 1"),
    ):
        with pytest.raises(PhysEmbedError, match=message):
            angle_distributions([water], bonds, settings(adf_triplets=["H-O-H"]))
