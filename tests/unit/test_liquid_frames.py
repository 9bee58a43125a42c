"""Frames of liquids to be labelled: contents, rigid and modified molecules, and contacts under periodicity."""

import json
import logging
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from scipy.spatial.transform import Rotation

from physembed.config import Arm
from physembed.config.liquids import Reference
from physembed.errors import PhysEmbedError
from physembed.liquids.reference_frames import Component, ContactCheck, reference_frames
from physembed.liquids.reference_runs import constant_volume_runs
from physembed.liquids.rigid import centres_of_mass, scale_rigid
from physembed.molecules.angles import angle_table, angle_types
from physembed.molecules.bonds import bond_table, bond_types
from physembed.molecules.structure import from_smiles, write_sdf
from physembed.molecules.topology import gaff_topology
from physembed.sampling.ranges import reference_force_constant

COUNTS = {"CO": 3, "COC": 2}
"""Methanol and dimethyl ether."""
MOLECULES = sum(COUNTS.values())
SETTINGS = Reference(
    molecules=MOLECULES, frames_per_run=5, modified_bonds=3, volume_scan_scales=[0.97, 1.1], stretch_A=0.25
)
G_CM3 = 1 / (units.kg * 1e-3 / 1e24)
"""u/Å^3 in g/cm^3, from ASE's constants."""


@pytest.fixture(scope="module")
def structures(tmp_path_factory):
    """GAFF structures of the components."""
    folder = tmp_path_factory.mktemp("topology")
    made = []
    for smiles in COUNTS:
        write_sdf(folder / f"{smiles}.sdf", from_smiles(smiles, seed=1), smiles)
        made.append(gaff_topology(folder / f"{smiles}.sdf", parameter_set="gaff", charges="gasteiger"))
    return made


@pytest.fixture(scope="module")
def components(structures):
    made = []
    for structure, count in zip(structures, COUNTS.values(), strict=True):
        bonds = bond_table(structure)
        made.append(Component(bonds, angle_table(structure, bonds), count))
    return made


def liquid(structures, rng, spacing=6.0, jitter=0.02, cut=True):
    """Molecules on a cubic grid, turned at random and jittered; cut at the faces of the box as MD programs do."""
    corners = [np.array([x, y, z]) for x in range(2) for y in range(2) for z in range(2)]
    numbers, positions, names = [], [], []
    for structure, count in zip(structures, COUNTS.values(), strict=True):
        for _ in range(count):
            own = structure.coordinates - structure.coordinates.mean(axis=0)
            own = Rotation.random(random_state=rng).apply(own) + rng.normal(0, jitter, own.shape)
            positions.append(own + spacing * corners[len(names)])
            numbers += [atom.atomic_number for atom in structure.atoms]
            names.append(np.full(len(own), len(names)))
    frame = Atoms(numbers, np.concatenate(positions), cell=[2 * spacing] * 3, pbc=True)
    frame.arrays["molecule"] = np.concatenate(names)
    frame.info["density_g_cm3"] = frame.get_masses().sum() / frame.get_volume() * G_CM3
    if cut:
        frame.wrap()
    return frame


def run_of(structures, seed, frames=5, temperature=300.0, **geometry):
    rng = np.random.default_rng(seed)
    run = [liquid(structures, rng, **geometry) for _ in range(frames)]
    for index, frame in enumerate(run):
        frame.info |= {"temperature_K": temperature, "time_ps": index, "potential_energy_eV": -1.0}
        frame.arrays["momenta"] = np.ones((len(frame), 3))
    return run


@pytest.fixture(scope="module")
def runs(structures):
    return [run_of(structures, 1, spacing=6.0), run_of(structures, 2, spacing=5.0, temperature=600.0)]


@pytest.fixture(scope="module")
def frames(runs, components):
    return reference_frames(runs, SETTINGS, components, seed=5)


def source_of(frame, runs):
    return [source for run in runs for source in run][frame.info["source_frame"]]


def internal(frame, molecule):
    """Distances within a molecule without minimum image."""
    own = frame.positions[frame.arrays["molecule"] == molecule]
    return np.linalg.norm(own[:, None] - own[None], axis=2)


def internal_of_source(frame, molecule):
    """The same of a molecule that may be cut; it is smaller than half of the box."""
    own = np.flatnonzero(frame.arrays["molecule"] == molecule)
    return np.array([frame.get_distances(atom, own, mic=True) for atom in own])


def records(frame):
    return json.loads(frame.info["modifications"])


def test_runs_are_made_at_each_temperature_and_density(structures, components):
    settings = SETTINGS.model_copy(
        update={
            "frames_per_run": 2, "frame_interval_ps": 0.01, "temperatures_K": [300.0, 500.0],
            "densities_g_cm3": [0.4, 0.7], "volume_scan_scales": [1.05], "modified_bonds": 1,
        }
    )  # fmt: skip
    runs = constant_volume_runs(structures, list(COUNTS.values()), settings, seed=3)
    assert [len(run) for run in runs] == [2] * 4
    found = [(run[1].info["temperature_K"], run[1].get_masses().sum() / run[1].get_volume() * G_CM3) for run in runs]
    np.testing.assert_allclose(found, [(300, 0.4), (300, 0.7), (500, 0.4), (500, 0.7)], rtol=1e-4)
    # Each run has a different start.
    fractional = [run[0].get_scaled_positions() for run in runs]
    assert all(np.abs(fractional[0] - other).max() > 0.1 for other in fractional[1:])
    frames = reference_frames(runs, settings, components, seed=3)
    assert Counter(frame.info["origin"] for frame in frames) == {"md": 4, "bonds": 4, "volume_scan": 4}


def test_each_run_gives_frames_of_each_origin(frames, runs):
    for index, run in enumerate(runs):
        mine = frames[7 * index : 7 * (index + 1)]
        assert [frame.info["origin"] for frame in mine] == ["md"] * 3 + ["bonds"] * 2 + ["volume_scan"] * 2
        first = 5 * index
        assert [frame.info["source_frame"] for frame in mine] == [*range(first, first + 5), first, first]
        assert {frame.info["temperature_K"] for frame in mine} == {run[0].info["temperature_K"]}
        for frame in mine:
            density = frame.get_masses().sum() / frame.get_volume() * G_CM3
            assert frame.info["density_g_cm3"] == pytest.approx(density, rel=1e-6)
    for frame in frames:
        np.testing.assert_array_equal(frame.arrays["molecule"], runs[0][0].arrays["molecule"])
        np.testing.assert_array_equal(frame.numbers, runs[0][0].numbers)
        # Nothing that GAFF computed for the old positions.
        keys = {"origin", "temperature_K", "density_g_cm3", "source_frame", "modifications"}
        assert set(frame.info) == keys and set(frame.arrays) == {"numbers", "positions", "molecule"}


def test_untouched_molecules_keep_their_geometry(frames, runs):
    untouched = 0
    for frame in frames:
        source = source_of(frame, runs)
        touched = {record["molecule"] for record in records(frame)}
        assert len(touched) == (3 if frame.info["origin"] == "bonds" else 0)
        for molecule in set(range(MOLECULES)) - touched:
            np.testing.assert_allclose(internal(frame, molecule), internal_of_source(source, molecule), atol=1e-9)
            untouched += 1
    assert untouched == 10 * MOLECULES + 4 * (MOLECULES - 3)


def test_molecules_of_md_frames_stay_where_they_are(frames, runs):
    for frame in (frame for frame in frames if frame.info["origin"] == "md"):
        source = source_of(frame, runs)
        np.testing.assert_array_equal(frame.cell, source.cell)
        steps = (frame.positions - source.positions) @ np.linalg.inv(source.cell)
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)


def test_volume_scans_are_rigid(frames, runs):
    scans = [frame for frame in frames if frame.info["origin"] == "volume_scan"]
    for frame, scale in zip(scans, SETTINGS.volume_scan_scales * 2, strict=True):
        source = source_of(frame, runs)
        np.testing.assert_allclose(frame.cell, scale * source.cell)
        assert frame.info["density_g_cm3"] == pytest.approx(source.info["density_g_cm3"] / scale**3)
        steps = centres_of_mass(frame) @ np.linalg.inv(frame.cell) - centres_of_mass(source) @ np.linalg.inv(
            source.cell
        )
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)


def test_modified_bonds_lie_in_the_segments_of_chain_a(frames, runs, structures, components):
    """Ranges are recomputed here from the bonds of all molecules of a component in all frames of the runs."""
    limits, table_of = {}, []
    start = 0
    for structure, component in zip(structures, components, strict=True):
        bonds, count = component.bonds, component.molecules
        arm = Arm(stretch_A=SETTINGS.stretch_A)
        lengths = []
        for run in runs:
            for source in run:
                for molecule in range(start, start + count):
                    own = np.flatnonzero(source.arrays["molecule"] == molecule)
                    pairs = own[bonds[["i", "j"]].to_numpy()]
                    lengths.append([source.get_distance(i, j, mic=True) for i, j in pairs])
        lengths = np.array(lengths)
        reference_k = reference_force_constant(arm, bonds, "gaff")
        for name in set(bond_types(bonds)):
            rows = np.array(bond_types(bonds)) == name
            of_type = lengths[:, rows]
            k = bonds["k_kcal_mol_A2"][rows].mean() * (0.8 if bonds["terminal"][rows].any() else 1.0)
            limits[start, name] = {
                "compression": (0.95 * of_type.min(), of_type.min()),
                "stretching": (of_type.max(), of_type.mean() + SETTINGS.stretch_A * reference_k / k),
            }
        table_of += [(start, bonds)] * count
        start += count
        assert len(structure.atoms) == bonds["j"].max() + 1
    seen = Counter()
    for frame in (frame for frame in frames if frame.info["origin"] == "bonds"):
        for record in records(frame):
            i, j = record["bond"]
            assert frame.arrays["molecule"][i] == frame.arrays["molecule"][j] == record["molecule"]
            offset = np.flatnonzero(frame.arrays["molecule"] == record["molecule"])[0]
            component, bonds = table_of[record["molecule"]]
            row = bonds[(bonds["i"] == i - offset) & (bonds["j"] == j - offset)]
            assert bond_types(row) == [record["types"]]
            length = np.linalg.norm(frame.positions[j] - frame.positions[i])
            assert length == pytest.approx(record["to_A"], abs=1e-6)
            low, high = limits[component, record["types"]][record["segment"]]
            assert low - 1e-6 <= length <= high + 1e-6
            before = source_of(frame, runs).get_distance(i, j, mic=True)
            assert before == pytest.approx(record["from_A"], abs=1e-6)
            seen[record["segment"]] += 1
    assert sum(seen.values()) == 12


def test_modifications_are_spread_over_the_molecules(runs, components):
    settings = SETTINGS.model_copy(update={"modified_bonds": 7, "volume_scan_scales": []})
    modified = [f for f in reference_frames(runs, settings, components, seed=1) if f.info["origin"] == "bonds"]
    assert len(modified) == 4
    for frame in modified:
        counts = Counter(record["molecule"] for record in records(frame))
        assert sorted(counts.values()) == [1, 1, 1, 2, 2]
        assert len({tuple(record["bond"]) for record in records(frame)}) == 7


def test_angles_are_bent_after_the_bonds(frames, runs, components):
    settings = SETTINGS.model_copy(update={"modified_angles": 6, "volume_scan_scales": []})
    made = [f for f in reference_frames(runs, settings, components, seed=5) if f.info["origin"] == "bonds"]
    only_bonds = [f for f in frames if f.info["origin"] == "bonds"]
    tables = [component.angles for component in components for _ in range(component.molecules)]
    for frame, without in zip(made, only_bonds, strict=True):
        bends = [record for record in records(frame) if "angle" in record]
        # Bonds are those of a frame without bends, and are as long at the end.
        bonds = [record for record in records(frame) if "bond" in record]
        assert bonds == records(without)
        for record in bonds:
            length = np.linalg.norm(np.subtract(*frame.positions[record["bond"]]))
            assert length == pytest.approx(record["to_A"], abs=1e-6)
        counts = Counter(record["molecule"] for record in bends)
        assert sorted(counts.values()) == [1, 1, 1, 1, 2]
        for record in bends:
            offset = np.flatnonzero(frame.arrays["molecule"] == record["molecule"])[0]
            table, (i, j, k) = tables[record["molecule"]], np.array(record["angle"]) - offset
            row = table[(table["j"] == j) & (table["i"] == min(i, k)) & (table["k"] == max(i, k))]
            assert angle_types(row) == [record["types"]]
            assert frame.get_angle(*record["angle"]) == pytest.approx(record["to_degrees"], abs=1e-3)


def test_frames_with_bends_alone_are_called_so(runs, components):
    settings = SETTINGS.model_copy(update={"modified_bonds": 0, "modified_angles": 2, "volume_scan_scales": []})
    made = reference_frames(runs, settings, components, seed=1)
    assert Counter(frame.info["origin"] for frame in made) == {"md": 6, "angles": 4}
    assert {len(records(frame)) for frame in made if frame.info["origin"] == "angles"} == {2}


def test_molecules_are_moved_into_contact(runs, components):
    plain = SETTINGS.model_copy(update={"modified_bonds": 0, "volume_scan_scales": []})
    settings = plain.model_copy(update={"modified_contacts": 3})
    made, as_they_are = (reference_frames(runs, each, components, seed=1) for each in (settings, plain))
    assert Counter(frame.info["origin"] for frame in made) == {"md": 6, "contacts": 4}
    for frame, before in zip(made, as_they_are, strict=True):
        moved = records(frame)
        assert len({record["molecule"] for record in moved}) == len(moved)
        assert moved or frame.info["origin"] == "md"
        steps = frame.positions - before.positions
        for molecule in range(frame.arrays["molecule"].max() + 1):
            # Rigidly, and only those.
            own = steps[frame.arrays["molecule"] == molecule]
            assert np.ptp(own, axis=0).max() < 1e-9
            assert (np.abs(own).max() > 1e-6) == (molecule in {record["molecule"] for record in moved})
        if moved:
            # The last one is as close as it says; those before it may have lost their neighbour to it.
            last = moved[-1]
            assert frame.get_distance(*last["contact"], mic=True) == pytest.approx(last["to_A"], abs=1e-6)
            assert last["to_A"] <= last["from_A"]


def test_no_modified_bonds_leaves_all_frames_as_they_are(runs, components):
    settings = SETTINGS.model_copy(update={"modified_bonds": 0, "volume_scan_scales": []})
    assert [frame.info["origin"] for frame in reference_frames(runs, settings, components, seed=1)] == ["md"] * 10


def test_same_seed_same_frames(frames, runs, components):
    again = reference_frames(runs, SETTINGS, components, seed=5)
    other = reference_frames(runs, SETTINGS, components, seed=6)
    for one, same, different in zip(frames, again, other, strict=True):
        np.testing.assert_array_equal(one.positions, same.positions)
        assert one.info == same.info
        assert np.array_equal(one.positions, different.positions) == (one.info["origin"] != "bonds")


def shortfall(frame, limits):
    """How far the worst contact lies below its limit, by looking at all pairs and 125 images."""
    worst = -np.inf
    names = frame.arrays["molecule"]
    for image in np.ndindex(5, 5, 5):
        shift = (np.array(image) - 2) @ frame.cell.array
        distances = np.linalg.norm(frame.positions[None] + shift - frame.positions[:, None], axis=2)
        apart = (names[:, None] != names[None]) | (image != (2, 2, 2))
        pairs = limits[frame.numbers[:, None], frame.numbers[None]] - distances
        worst = max(worst, pairs[apart].max(initial=-np.inf))
    return worst


def limits_of(components):
    """Bond between the elements, else covalent radii (ASE's table), plus 0.25 Å."""
    radii = {1: 0.31, 6: 0.76, 8: 0.66}
    limits = np.zeros((9, 9))
    for first, second in [(a, b) for a in radii for b in radii]:
        limits[first, second] = radii[first] + radii[second] + 0.25
    for first, second, pair in [(6, 1, "c3-h1"), (6, 8, "c3-oh c3-os"), (8, 1, "ho-oh")]:
        lengths = [
            length for bonds in (component.bonds for component in components)
            for length, name in zip(bonds["r_eq_A"], bond_types(bonds), strict=True) if name in pair.split()
        ]  # fmt: skip
        limits[first, second] = limits[second, first] = np.mean(lengths) + 0.25
    return limits


def check_of(structures, components):
    numbers = [np.array([atom.atomic_number for atom in structure.atoms]) for structure in structures]
    return ContactCheck(components, numbers, Arm().clash_margin_A)


def test_contacts_agree_with_a_search_of_all_images(structures, components):
    check, limits = check_of(structures, components), limits_of(components)
    rng = np.random.default_rng(8)
    clashes = 0
    for spacing in np.linspace(2.6, 6.0, 30):
        # In the smallest boxes molecules touch their own images.
        frame = liquid(structures, rng, spacing=spacing, cut=False)
        found, expected = check.worst(frame), shortfall(frame, limits)
        if expected > 0:
            clashes += 1
            assert found.limit_A - found.distance_A == pytest.approx(expected)
        else:
            assert found is None
    assert 5 <= clashes <= 25


def with_info(frame):
    frame.info["temperature_K"] = 300.0
    return frame


def test_modified_molecules_keep_clear_of_their_neighbours(structures, components, monkeypatch):
    """In a dense liquid some modifications clash with a neighbour; without the check they get through."""
    limits, rng = limits_of(components), np.random.default_rng(3)
    dense = [with_info(liquid(structures, rng, spacing=3.6, cut=False)) for _ in range(50)]
    dense = [frame for frame in dense if -0.15 < shortfall(frame, limits) < 0]
    assert len(dense) >= 5
    runs = [[frame, frame] for frame in dense]
    settings = SETTINGS.model_copy(update={"modified_bonds": 5, "volume_scan_scales": [], "frames_per_run": 2})
    frames = reference_frames(runs, settings, components, seed=1)
    assert len(frames) == 2 * len(dense)
    assert max(shortfall(frame, limits) for frame in frames) <= 1e-9
    monkeypatch.setattr(ContactCheck, "worst", lambda *_: None)
    unchecked = reference_frames(runs, settings, components, seed=1)
    assert max(shortfall(frame, limits) for frame in unchecked) > 0


def test_frames_with_short_contacts_are_left_out(structures, components, caplog):
    scales = [0.8, 1.0, 1.1]
    settings = SETTINGS.model_copy(update={"volume_scan_scales": scales, "modified_bonds": 0, "frames_per_run": 1})
    limits, rng = limits_of(components), np.random.default_rng(4)
    runs = [[with_info(liquid(structures, rng, spacing=spacing, cut=False))] for spacing in [3.5] * 8 + [4.4] * 8]
    kept = {
        "md": [shortfall(run[0], limits) <= 0 for run in runs],
        "volume_scan": [shortfall(scale_rigid(run[0], scale), limits) <= 0 for run in runs for scale in scales],
    }
    left_out = {origin: values.count(False) for origin, values in kept.items()}
    assert all(0 < left_out[origin] < len(values) for origin, values in kept.items())
    with caplog.at_level(logging.WARNING):
        frames = reference_frames(runs, settings, components, seed=1)
    assert Counter(frame.info["origin"] for frame in frames) == {k: v.count(True) for k, v in kept.items()}
    assert max(shortfall(frame, limits) for frame in frames) <= 1e-9
    (message,) = [record.getMessage() for record in caplog.records if "removed" in record.getMessage()]
    assert all(f"'{origin}': {count}" in message for origin, count in left_out.items())


def test_a_liquid_without_a_frame_free_of_clashes_is_an_error(structures, components):
    rng = np.random.default_rng(4)
    runs = [[with_info(liquid(structures, rng, spacing=2.6, cut=False))]]
    settings = SETTINGS.model_copy(update={"volume_scan_scales": [], "frames_per_run": 1})
    with pytest.raises(PhysEmbedError, match=r"every frame .* lower reference\.densities_g_cm3"):
        reference_frames(runs, settings, components, seed=1)


def test_a_frame_that_has_no_room_for_a_modification_is_an_error(structures, components, monkeypatch):
    run = run_of(structures, 1)
    calls = []

    def worst(*_):
        """The five sources are clear, and whatever is changed in one clashes."""
        calls.append(1)
        return None if len(calls) <= 4 else "a clash"

    monkeypatch.setattr(ContactCheck, "worst", worst)
    settings = SETTINGS.model_copy(update={"volume_scan_scales": []})
    with pytest.raises(
        PhysEmbedError, match=r"frame 3, molecule \d: no modification without a clash with other molecules in 200 tries"
    ):
        reference_frames([run], settings, components, seed=1)


def test_what_does_not_fit_is_an_error(runs, components):
    def refused(message, runs=runs, components=components, **settings):
        with pytest.raises(PhysEmbedError, match=message):
            reference_frames(runs, SETTINGS.model_copy(update=settings), components, seed=1)

    refused("run 0 has 5 frames, reference.frames_per_run is 6", frames_per_run=6)
    refused("no runs given", runs=[])
    refused("are no molecule of component 0; give the components in the order", components=components[::-1])
    refused(
        "the components have 6 molecules, the frames 5", components=[replace(components[0], molecules=4), components[1]]
    )
    refused("modified_bonds 26: requires 6 in a molecule, but there is one with 5 bonds", modified_bonds=26)
    refused(
        "modified_angles 11: requires 3 in a molecule, but there is one with 2 atoms to bend at", modified_angles=11
    )
    refused("modified_contacts 6: there are 5 molecules", modified_contacts=6)
    other = [[frame.copy() for frame in run] for run in runs]
    other[1][2].numbers[0] = 7
    refused("the frames differ in their atoms", runs=other)
    for frame in other[0]:
        del frame.arrays["molecule"]
    refused("no array `molecule`", runs=other)
