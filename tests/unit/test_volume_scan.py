"""Rigid scaling of molecules, and a volume scan of a potential that is known."""

import math

import ase.io
import numpy as np
import pandas as pd
import pytest
from ase import Atoms, units
from scipy.spatial.transform import Rotation

from physembed.analysis.volume_scan import scan_points, volume_scan
from physembed.errors import PhysEmbedError
from physembed.liquids.rigid import centres_of_mass, scale_rigid, whole_positions
from physembed.trajectory import write_trajectory

CUBE = np.eye(3) * 10
SKEWED = np.array([[10.0, 0, 0], [4, 9, 0], [-3, 2, 9.5]])
CHAIN = Atoms("OC6F", positions=[[1.25 * i, 0.4 * (-1) ** i, 0.1 * i] for i in range(8)])
WATER = Atoms("OH2", positions=[[0, 0, 0], [0.9572, 0, 0], [-0.2400, 0.9266, 0]])
EPSILON_EV, SIGMA_A = 0.01, 3.4


def box(molecules, cell, places=None, seed=0):
    """Whole molecules, turned at random, with their centres of mass at `places` (or at random)."""
    rng = np.random.default_rng(seed)
    places = rng.random((len(molecules), 3)) @ cell if places is None else np.asarray(places, dtype=float)
    parts = []
    for molecule, place in zip(molecules, places, strict=True):
        turned = Rotation.random(random_state=rng).apply(molecule.positions - molecule.get_center_of_mass())
        parts.append(turned + place)
    atoms = Atoms(np.concatenate([m.numbers for m in molecules]), np.concatenate(parts), cell=cell, pbc=True)
    atoms.arrays["molecule"] = np.repeat(np.arange(len(molecules)), [len(m) for m in molecules])
    return atoms


def wrapped(atoms):
    broken = atoms.copy()
    broken.wrap()
    assert abs(broken.positions - atoms.positions).max() > 5  # or nothing is broken
    return broken


def internal_distances(atoms, positions):
    molecule = atoms.arrays["molecule"]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    return distances[molecule[:, None] == molecule[None]]


def lattice_difference(atoms, difference):
    """How far differences are from lattice vectors, in fractions."""
    fractions = atoms.cell.scaled_positions(difference)
    return abs(fractions - np.round(fractions)).max()


@pytest.mark.parametrize("cell", [CUBE, SKEWED])
def test_broken_molecules_are_made_whole(cell):
    # The chain is 8.8 Å long, so its ends are nearer to each other's images than to each other.
    whole = box([CHAIN, WATER, CHAIN, WATER], cell)
    broken = wrapped(whole)
    positions = whole_positions(broken)
    assert internal_distances(broken, positions) == pytest.approx(internal_distances(whole, whole.positions), abs=1e-12)
    assert lattice_difference(broken, positions - broken.positions) < 1e-12
    assert lattice_difference(broken, centres_of_mass(broken) - centres_of_mass(whole)) < 1e-12


def test_whole_molecules_stay_where_they_are():
    atoms = box([CHAIN, WATER, CHAIN], SKEWED)
    atoms.positions += [30, -20, 7]
    assert whole_positions(atoms) == pytest.approx(atoms.positions, abs=1e-12)


def test_centres_of_mass_are_those_of_ase():
    atoms = box([WATER, CHAIN, WATER], SKEWED)
    order = np.random.default_rng(1).permutation(len(atoms))  # the atoms of a molecule need not be neighbours
    expected = [atoms[atoms.arrays["molecule"] == m].get_center_of_mass() for m in range(3)]
    assert centres_of_mass(atoms[order]) == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.07, 1.9])
@pytest.mark.parametrize("cell", [CUBE, SKEWED])
@pytest.mark.parametrize("break_up", [False, True])
def test_scaling_moves_centres_and_deforms_nothing(scale, cell, break_up):
    whole = box([CHAIN, WATER, CHAIN, WATER], cell)
    given = wrapped(whole) if break_up else whole
    before = given.copy()
    scaled = scale_rigid(given, scale)
    assert scaled.cell.array == pytest.approx(scale * np.asarray(cell), rel=1e-15)
    assert internal_distances(scaled, scaled.positions) == pytest.approx(
        internal_distances(whole, whole.positions), abs=1e-12
    )
    fractions = given.cell.scaled_positions(centres_of_mass(given))
    assert scaled.cell.scaled_positions(centres_of_mass(scaled)) == pytest.approx(fractions, abs=1e-12)
    molecule = scaled.arrays["molecule"]
    for m in range(4):  # not turned either
        vectors = whole.positions[molecule == m] - whole.positions[molecule == m][0]
        assert scaled.positions[molecule == m] - scaled.positions[molecule == m][0] == pytest.approx(vectors, abs=1e-12)
    grams, volume_cm3 = whole.get_masses().sum() * 1.66053904e-24, given.get_volume() * 1e-24
    assert scaled.info["density_g_cm3"] == pytest.approx(grams / volume_cm3 / scale**3, rel=1e-8)
    assert np.array_equal(given.positions, before.positions)


def test_what_belongs_to_the_old_geometry_is_left_out():
    atoms = box([WATER, WATER], CUBE)
    atoms.info |= {"liquid": "water", "REF_energy": -1.0, "density_g_cm3": 9.0}
    atoms.arrays["REF_forces"] = np.ones((6, 3))
    atoms.set_velocities(np.ones((6, 3)))
    scaled = scale_rigid(atoms, 1.1)
    assert set(scaled.info) == {"liquid", "density_g_cm3"}
    assert set(scaled.arrays) == {"numbers", "positions", "molecule"}


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_scale_that_is_no_factor_is_refused(scale):
    with pytest.raises(PhysEmbedError, match="of the box length; give a positive number"):
        scale_rigid(box([WATER], CUBE), scale)


def test_frames_without_sound_molecules_are_refused():
    water = box([WATER, WATER], CUBE)
    isolated, unnumbered, gap = water.copy(), water.copy(), water.copy()
    isolated.pbc = False
    del unnumbered.arrays["molecule"]
    gap.arrays["molecule"] = np.array([0, 0, 0, 2, 2, 2])
    chain = Atoms("C8", [[1.25 * i, 0, 0] for i in range(8)], cell=CUBE, pbc=True)  # its ends are bonded
    chain.arrays["molecule"] = np.zeros(8, dtype=int)
    for atoms, message in (
        (isolated, "no cell that is periodic"),
        (unnumbered, "no array `molecule`"),
        (gap, "has 2 values from 0 to 2"),
        (chain, r"molecule 0 \(8 atoms\) touches its own image in a box of 10.0 x 10.0 x 10.0 Å"),
    ):
        with pytest.raises(PhysEmbedError, match=message):
            centres_of_mass(atoms)


def lennard_jones(r):
    """Energy (eV) and its derivative (eV/Å)."""
    six = (SIGMA_A / r) ** 6
    return 4 * EPSILON_EV * (six**2 - six), 4 * EPSILON_EV * (6 * six - 12 * six**2) / r


def between_centres(frames):
    """Lennard-Jones energy and forces between the centres of mass of nearest images."""
    energies, forces = [], []
    for frame in frames:
        centres, molecule, masses = centres_of_mass(frame), frame.arrays["molecule"], frame.get_masses()
        total, net = 1000.0, np.zeros_like(centres)  # the energy of the atoms, which must cancel
        for a in range(len(centres)):
            for b in range(a):
                fractions = frame.cell.scaled_positions(centres[a] - centres[b])
                vector = (fractions - np.round(fractions)) @ frame.cell
                r = np.linalg.norm(vector)
                energy, slope = lennard_jones(r)
                total += energy
                net[a] -= slope * vector / r
                net[b] += slope * vector / r
        energies.append(total)
        forces.append(net[molecule] * (masses / np.bincount(molecule, masses)[molecule])[:, None])
    return np.array(energies), forces


def plus(evaluate, error_eV_A):
    """Another variant whose forces differ by this in every component, with energies twice as deep."""

    def shifted(frames):
        energies, forces = evaluate(frames)
        return 2 * energies, [force + error_eV_A for force in forces]

    return shifted


DISTANCES_A = (3.9, 4.4)
SCALES = (1.1, 0.94, 0.96, 1.0, 0.98, 1.02, 1.04, 1.07)


@pytest.fixture(scope="module")
def points():
    """Two frames of a pair of molecules, in a box so large that images do not matter."""
    frames = [
        box([CHAIN, WATER], np.eye(3) * 40, places=[[1, 1, 1], [1, 1, 1 + distance]], seed=seed)
        for seed, distance in enumerate(DISTANCES_A)
    ]
    return scan_points(frames, SCALES)


def test_scan_of_a_known_potential(points):
    table = volume_scan(points, {"uncorrected": between_centres})
    assert table["frame"].tolist() == [0] * 8 + [1] * 8
    assert table["scale"].tolist() == sorted(SCALES) * 2
    assert table["volume_A3"].to_numpy() == pytest.approx((40 * table["scale"].to_numpy()) ** 3)
    r = table["scale"] * np.array(DISTANCES_A)[table["frame"]]
    energy, slope = lennard_jones(r)
    zero = lennard_jones(np.array(DISTANCES_A))[0][table["frame"]]
    assert table["energy_eV_per_molecule"].to_numpy() == pytest.approx((energy - zero).to_numpy() / 2, abs=1e-11)
    # Two molecules feel F, and one of three components has all of it.
    assert table["molecular_force_rms_meV_A"].to_numpy() == pytest.approx(1000 * abs(slope) / math.sqrt(3), rel=1e-9)
    # dE/dV = dE/ds / (dV/ds) with r = r0 s and V = V0 s^3.
    volume_slope = 3 * table["volume_A3"] / table["scale"]
    pressure = -slope * r / table["scale"] / volume_slope / units.bar
    inner = table["scale"].between(0.95, 1.08)
    assert table["pressure_bar"][inner].to_numpy() == pytest.approx(pressure[inner], abs=0.01 * abs(pressure).max())
    assert table["force_change_rms_meV_A"].tolist() == [0] * 16
    assert table["force_rmse_meV_A"].isna().all()
    assert table["force_rmse_change_meV_A"].isna().all()


def labels(points, leave_out=()):
    """The potential itself as labels."""
    energies, forces = between_centres(points)
    labelled = []
    for index, (point, energy, force) in enumerate(zip(points, energies, forces, strict=True)):
        if index not in leave_out:
            atoms = point.copy()
            atoms.info["REF_energy"] = energy - 500
            atoms.arrays["REF_forces"] = force
            labelled.append(atoms)
    return labelled


VARIANTS = {"uncorrected": plus(between_centres, 0.010), "corrected": plus(between_centres, -0.0125)}


def test_errors_against_labels_are_those_put_in(points, tmp_path):
    # By way of a file, as frames to be labelled go.
    write_trajectory(tmp_path / "labelled.xyz", labels(points)[::-1])
    table = volume_scan(points, VARIANTS, ase.io.read(tmp_path / "labelled.xyz", ":"))
    by = {variant: part.reset_index(drop=True) for variant, part in table.groupby("variant")}
    assert set(by) == {"uncorrected", "corrected", "reference"}
    assert table["variant"].tolist() == ["uncorrected", "corrected", "reference"] * 16
    for variant, error in (("uncorrected", 10), ("corrected", 12.5)):
        assert by[variant]["force_rmse_meV_A"].tolist() == pytest.approx([error] * 16, abs=1e-4)
        # The net errors are 8 and 3 times as large on molecules of 8 and 3 atoms.
        net = error * math.sqrt((8**2 + 3**2) / 2)
        assert by[variant]["molecular_force_rmse_meV_A"].tolist() == pytest.approx([net] * 16, abs=1e-3)
    assert by["corrected"]["force_change_rms_meV_A"].tolist() == pytest.approx([22.5] * 16)
    assert by["corrected"]["force_rmse_change_meV_A"].tolist() == pytest.approx([2.5] * 16, abs=1e-4)
    assert by["uncorrected"]["force_rmse_change_meV_A"].tolist() == [0] * 16
    assert by["reference"]["force_rmse_meV_A"].isna().all()
    for column in ("energy_eV_per_molecule", "pressure_bar"):
        assert by["uncorrected"][column].to_numpy() == pytest.approx(2 * by["reference"][column].to_numpy(), abs=1e-4)


def test_point_without_a_label_is_left_open(points, caplog):
    at_1 = sorted(SCALES).index(1.0)
    table = volume_scan(points, VARIANTS, labels(points, leave_out=[at_1]))
    first = table[table["frame"] == 0].set_index(["variant", "scale"])
    needs_label = ["energy_eV_per_molecule", "pressure_bar", "molecular_force_rms_meV_A"]
    assert first.loc[("reference", 1.0), needs_label].isna().all()
    assert np.isnan(first.loc[("corrected", 1.0), "force_rmse_change_meV_A"])
    assert first.loc[("corrected", 0.98), "force_rmse_change_meV_A"] == pytest.approx(2.5)
    # Energies are zero at the nearest point that all have, so that they can be compared.
    energies = first["energy_eV_per_molecule"].unstack("variant")
    assert energies.loc[[0.98, 1.02]].abs().max(axis=1).min() == 0
    assert energies["uncorrected"].to_numpy() == pytest.approx(2 * energies["reference"].fillna(
        energies["uncorrected"] / 2).to_numpy(), abs=1e-10)  # fmt: skip
    second = table[(table["frame"] == 1) & (table["scale"] == 1)]
    assert second["energy_eV_per_molecule"].tolist() == [0, 0, 0]
    assert "1 of 16 points have no label: frame 0 at scale 1" in caplog.text


def test_frame_without_any_label_keeps_its_models(points):
    table = volume_scan(points, VARIANTS, labels(points, leave_out=range(8)))
    first = table[table["frame"] == 0]
    assert first[first["variant"] == "reference"]["energy_eV_per_molecule"].isna().all()
    models = first[first["variant"] != "reference"]
    pd.testing.assert_frame_equal(
        models.dropna(axis=1).reset_index(drop=True),
        volume_scan(points[:8], VARIANTS).dropna(axis=1),
    )


def test_change_of_the_rmse_is_within_the_change_of_the_forces(points):
    rng = np.random.default_rng(3)

    def noisy(frames):
        energies, forces = between_centres(frames)
        return energies, [force + rng.normal(0, 0.01, force.shape) for force in forces]

    table = volume_scan(points, {"uncorrected": noisy, "corrected": noisy}, labels(points))
    corrected = table[table["variant"] == "corrected"]
    assert (corrected["force_rmse_change_meV_A"].abs() < corrected["force_change_rms_meV_A"]).all()
    assert corrected["force_change_rms_meV_A"].mean() == pytest.approx(10 * math.sqrt(2), rel=0.1)


def test_bad_scans_are_refused(points):
    frame = box([WATER], CUBE)
    for frames, scales, message in (
        ([], SCALES, "no frames to scan"),
        ([frame], [0.9, 1.0, 1.0], "1 is listed twice"),
        ([frame], [0.9, 1.0], "2 scales; give at least three"),
    ):
        with pytest.raises(PhysEmbedError, match=message):
            scan_points(frames, scales)


def test_bad_energies_and_labels_are_refused(points):
    def no_number(frames):
        energies, forces = between_centres(frames)
        energies[0] = math.nan
        return energies, forces

    for evaluate, message in (
        (no_number, "corrected gives a non-finite energy or force for frame 0 at scale 0.94"),
        (lambda frames: (between_centres(frames)[0][:1], []), r"corrected gives energies of shape \(1,\)"),
    ):
        with pytest.raises(PhysEmbedError, match=message):
            volume_scan(points, {"uncorrected": between_centres, "corrected": evaluate})
    double, foreign = labels(points[:2]), labels(points[:1])
    foreign[0].info["volume_scan_scale"] = 1.3
    for labelled, message in (
        ([*double, double[1]], "frame 0 at scale 0.96 is labelled twice"),
        (foreign, "frame 0 at scale 1.3 is not a point of the scan"),
    ):
        with pytest.raises(PhysEmbedError, match=message):
            volume_scan(points, {"uncorrected": between_centres}, labelled)
