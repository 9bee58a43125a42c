"""Angle sampling: the limits, the laws of the draws, and the geometry of each bend."""

import json
import logging

import networkx
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from scipy import stats

from physembed.config import Arm
from physembed.errors import PhysEmbedError
from physembed.molecules.angles import (
    angle_table,
    angle_type,
    angle_types,
    angle_values,
    read_angle_table,
    write_angle_table,
)
from physembed.molecules.bonds import bond_lengths, bond_table, equilibrium_length_matrix
from physembed.molecules.structure import from_smiles, write_sdf
from physembed.molecules.topology import gaff_topology
from physembed.sampling.angle_ranges import angle_ranges, reference_angle_constant
from physembed.sampling.angle_sampling import AngleModification, AngleSampler
from physembed.sampling.arm import References, sample_frames
from physembed.sampling.geometry import ClashCheck
from physembed.sampling.modifier import modifications_of

K_REF = 60.0
REFERENCES = References(300.0, K_REF)
DRAWS = 20_000
SIGNIFICANCE = 1e-6
BENDS = {"bonds_per_frame": 0, "angles_per_frame": 1}

Molecule = tuple[Atoms, pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def paracetamol(tmp_path_factory: pytest.TempPathFactory) -> Molecule:
    """Its structure, bonds and angles from GAFF 1.81."""
    sdf = tmp_path_factory.mktemp("topology") / "paracetamol.sdf"
    write_sdf(sdf, from_smiles("CC(=O)Nc1ccc(O)cc1", seed=1), "paracetamol")
    structure = gaff_topology(sdf, parameter_set="gaff", charges="gasteiger")
    numbers = [atom.atomic_number for atom in structure.atoms]
    bonds = bond_table(structure)
    return Atoms(numbers=numbers, positions=structure.coordinates), bonds, angle_table(structure, bonds)


def molecule(smiles: str, k: float = 50.0) -> Molecule:
    """Atoms, bonds and angles with the elements as types; rings from RDKit."""
    structure = from_smiles(smiles, seed=1, conformers=1)
    symbols = [atom.GetSymbol() for atom in structure.GetAtoms()]
    atoms = Atoms(symbols, structure.GetConformer().GetPositions())
    bonds, terminal_atoms, ring = [], set(), set()
    for bond in structure.GetBonds():
        i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        terminal = {atom for atom in (i, j) if symbols[atom] in {"H", "F", "Cl"}}
        terminal_atoms |= terminal
        ring |= {(i, j)} if bond.IsInRing() else set()
        types = symbols[i].lower(), symbols[j].lower()
        bonds.append((i, j, *types, 300.0, atoms.get_distance(i, j), bond.IsInRing(), bool(terminal)))
    names = ["i", "j", "type_i", "type_j", "k_kcal_mol_A2", "r_eq_A", "in_ring", "terminal"]
    table = pd.DataFrame(bonds, columns=names)
    graph = networkx.Graph([row[:2] for row in bonds])
    angles = []
    for apex in sorted(graph):
        ends = sorted(graph[apex])
        for number, i in enumerate(ends):
            for end in ends[number + 1 :]:
                in_ring = all(tuple(sorted((apex, atom))) in ring for atom in (i, end))
                types = symbols[i].lower(), symbols[apex].lower(), symbols[end].lower()
                theta = atoms.get_angle(i, apex, end)
                angles.append((i, apex, end, *types, k, theta, in_ring, bool({i, end} & terminal_atoms)))
    names = "i j k type_i type_j type_k k_kcal_mol_rad2 theta_eq_degrees in_ring terminal".split()
    return atoms, table, pd.DataFrame(angles, columns=names)


def sampler_of(made: Molecule, **settings: object) -> AngleSampler:
    atoms, bonds, angles = made
    arm = Arm(**{**BENDS, **settings})
    return AngleSampler(atoms.numbers, bonds, angles, arm, angle_ranges(atoms.positions[None], angles, arm, K_REF))


def row_of(angles: pd.DataFrame, i: int, j: int, k: int) -> int:
    (row,) = np.flatnonzero((angles["i"] == min(i, k)) & (angles["j"] == j) & (angles["k"] == max(i, k)))
    return int(row)


def bent(
    sampler: AngleSampler, row: int, degrees: float, turn: float = 0.0, moving: int | None = None
) -> AngleModification:
    (move, *_) = [move for index, move in sampler.moves if index == row and moving in (None, move.moving)]
    return AngleModification(row, move, "", degrees, turn)


def distances(positions: np.ndarray, atoms: list[int]) -> np.ndarray:
    return np.linalg.norm(positions[atoms][:, None] - positions[atoms][None, :], axis=2)


def chi_squared_p(observed: list[int], probabilities: np.ndarray) -> float:
    return float(stats.chisquare(observed, np.sum(observed) * probabilities).pvalue)


# The table


def test_angle_table_of_gaff(paracetamol, tmp_path) -> None:
    _, _, angles = paracetamol
    assert len(angles) == 31
    row = angles.iloc[row_of(angles, 7, 8, 17)]
    # gaff.dat 1.81: ca-oh-ho 49.0 kcal/mol/rad^2, 108.58 degrees.
    assert angle_type(row["type_i"], row["type_j"], row["type_k"]) == "ca-oh-ho"
    assert row["k_kcal_mol_rad2"] == pytest.approx(49.0, abs=0.1)
    assert row["theta_eq_degrees"] == pytest.approx(108.58, abs=0.1)
    assert row["terminal"] and not row["in_ring"]
    in_ring = angles[angles["in_ring"]]
    assert len(in_ring) == 6
    assert set(angle_types(in_ring)) == {"ca-ca-ca"}
    assert not in_ring["terminal"].any()
    write_angle_table(tmp_path / "angles.csv", angles)
    pd.testing.assert_frame_equal(read_angle_table(tmp_path / "angles.csv"), angles, check_exact=True)


def test_a_molecule_of_two_atoms_has_a_table_without_rows(tmp_path) -> None:
    _, _, angles = molecule("F")
    write_angle_table(tmp_path / "angles.csv", angles)
    assert read_angle_table(tmp_path / "angles.csv").empty


def test_a_file_that_is_no_angle_table_is_an_error(tmp_path) -> None:
    (tmp_path / "angles.csv").write_text("i,j\n0,1\n")
    with pytest.raises(PhysEmbedError, match=r"angles.csv: not an angle table: columns missing: k, type_i"):
        read_angle_table(tmp_path / "angles.csv")
    (tmp_path / "angles.csv").write_text("i,j,k\n0,1,x\n")
    with pytest.raises(PhysEmbedError, match=r"angles.csv: not an angle table: .*x"):
        read_angle_table(tmp_path / "angles.csv")


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 60.0, 90.0, 104.5, 179.99999, 180.0])
def test_angle_values(degrees: float) -> None:
    theta = np.radians(degrees)
    positions = np.array([[[1.1, 0, 0], [0, 0, 0], [0.9 * np.cos(theta), 0.9 * np.sin(theta), 0]]])
    table = pd.DataFrame({"i": [0], "j": [1], "k": [2]})
    assert angle_values(positions, table)[0, 0] == pytest.approx(degrees, abs=1e-9)


# Ranges


def test_limits_in_paracetamol(paracetamol) -> None:
    """31 degrees * sqrt(62.9 / k), with 0.8 k for angles that end in hydrogen (GAFF 1.81)."""
    atoms, bonds, angles = paracetamol
    references = References.of(Arm(angles_per_frame=1), bonds, angles, "gaff")
    assert references.angle_kcal_mol_rad2 == pytest.approx(62.9)
    sampled = sample_frames([atoms], bonds, angles, Arm(angles_per_frame=1), 1, references)
    ranges = sampled.angle_ranges.set_index("types")
    limits = {"ca-oh-ho": 39.27, "hc-c3-hc": 43.79, "ca-ca-ha": 39.59, "ca-ca-oh": 29.49, "n-c-o": 28.54}
    for types, limit in limits.items():
        row = ranges.loc[types]
        assert row["theta_mean_degrees"] - row["closing_low_degrees"] == pytest.approx(limit, abs=0.01)
        assert row["opening_high_degrees"] - row["theta_mean_degrees"] == pytest.approx(limit, abs=0.01)
    ring = ranges.loc["ca-ca-ca"]
    assert not ring["bendable"]
    assert (ring["closing_low_degrees"], ring["opening_high_degrees"]) == (
        ring["theta_min_degrees"], ring["theta_max_degrees"],
    )  # fmt: skip


def test_all_types_store_the_same_harmonic_energy_at_their_limits(paracetamol) -> None:
    atoms, _, angles = paracetamol
    arm = Arm(angles_per_frame=1)
    ranges = angle_ranges(atoms.positions[None], angles, arm, 62.9)
    ranges = ranges[ranges["bendable"]]
    k = ranges["k_kcal_mol_rad2"] * np.where(ranges["terminal"], 0.8, 1.0)
    limits = np.radians(ranges["opening_high_degrees"] - ranges["theta_mean_degrees"])
    assert (k * limits**2).to_numpy() == pytest.approx(62.9 * np.radians(31) ** 2)
    # It is that of the paper's limit for the reference bond, k_ref s_stretch^2, to a few percent.
    assert 62.9 * np.radians(31) ** 2 == pytest.approx(300.9 * 0.25**2, rel=0.03)


def test_ranges_follow_from_frames_and_force_constants() -> None:
    atoms, bonds, angles = molecule("O")
    frames = []
    for degrees in (100.0, 104.0, 109.5):
        frames.append(atoms.copy())
        frames[-1].set_angle(1, 0, 2, degrees)
    ranges = sample_frames(frames, bonds, angles, Arm(**BENDS), 1, REFERENCES).angle_ranges
    assert (
        list(ranges)
        == (
            "types angles k_kcal_mol_rad2 theta_eq_degrees theta_min_degrees theta_mean_degrees theta_max_degrees "
            "closing_low_degrees opening_high_degrees terminal bendable closing_empty opening_empty"
        ).split()
    )
    (row,) = ranges.to_dict("records")
    mean, limit = (100 + 104 + 109.5) / 3, 31 * np.sqrt(60 / (0.8 * 50))
    assert (row["types"], row["angles"]) == ("h-o-h", 1)
    found = [row[f"{name}_degrees"] for name in ("theta_min", "theta_mean", "theta_max", "closing_low", "opening_high")]
    assert found == pytest.approx([100.0, mean, 109.5, mean - limit, mean + limit])
    assert (row["terminal"], row["bendable"], row["closing_empty"], row["opening_empty"]) == (True, True, False, False)


def test_arm_without_bends_samples_the_angles_of_the_data() -> None:
    atoms, bonds, angles = molecule("CO")
    sampled = sample_frames([atoms], bonds, angles, Arm(bonds_per_frame=0), None)
    with pytest.raises(PhysEmbedError, match="modifies frames and has no seed"):
        sample_frames([atoms], bonds, angles, Arm(), None, REFERENCES)
    ranges = sampled.angle_ranges
    assert (ranges["closing_low_degrees"] == ranges["theta_min_degrees"]).all()
    assert (ranges["opening_high_degrees"] == ranges["theta_max_degrees"]).all()
    assert (sampled.frames[0].positions == atoms.positions).all()


def test_even_draws_leave_no_type_out(paracetamol) -> None:
    atoms, bonds, angles = paracetamol
    arm = Arm(**BENDS, draws="even")
    for seed in range(5):
        sampled = sample_frames([atoms] * 45, bonds, angles, arm, seed)
        made = pd.DataFrame([json.loads(frame.info["modifications"])[0] for frame in sampled.frames])
        movable = {sampled.angle_ranges["types"].iloc[row] for row in range(len(sampled.angle_ranges))}
        counts = made["types"].value_counts()
        assert set(counts.index) <= movable and counts.max() - counts.min() <= 3, dict(counts)
        assert abs((made["segment"] == "closing").mean() - 0.5) < 0.12


def test_straight_angles_are_only_closed(caplog) -> None:
    made = molecule("C#N")
    atoms, bonds, angles = made
    atoms.positions = [[0, 0, 0], [0, 0, 1.15], [0, 0, -1.06]]
    with caplog.at_level(logging.WARNING, logger="physembed"):
        sampled = sample_frames([atoms] * 50, bonds, angles, Arm(**BENDS), 1, REFERENCES)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "h-c-n: the opening segment is empty" in message
    assert "180.0" in message
    drawn = [modifications_of(frame, "angle")[0] for frame in sampled.frames]
    assert {record["segment"] for record in drawn} == {"closing"}
    for frame, record in zip(sampled.frames, drawn, strict=True):
        assert frame.get_angle(1, 0, 2) == pytest.approx(record["to_degrees"], abs=1e-3)


def test_a_sliver_below_180_degrees_is_no_segment() -> None:
    """Frames of a nearly straight molecule reach 178 degrees: what is left up to 180 would teach nothing."""
    _, _, angles = molecule("C#N")
    frames = []
    for degrees in (170.0, 178.0):
        theta = np.radians(degrees)
        frames.append([[0, 0, 0], [0, 0, 1.15], [0, 1.06 * np.sin(theta), 1.06 * np.cos(theta)]])
    (row,) = angle_ranges(np.array(frames), angles, Arm(**BENDS), K_REF).to_dict("records")
    assert row["theta_max_degrees"] == pytest.approx(178.0)
    assert (row["opening_high_degrees"], row["opening_empty"], row["closing_empty"]) == (180.0, True, False)
    frames[1] = frames[0]
    (row,) = angle_ranges(np.array(frames), angles, Arm(**BENDS), K_REF).to_dict("records")
    assert not row["opening_empty"]  # from 170 degrees


def test_angles_that_cannot_be_bent_further_are_left_alone(caplog) -> None:
    made = molecule("O")
    atoms, bonds, angles = made
    narrow, wide = atoms.copy(), atoms.copy()
    narrow.set_angle(1, 0, 2, 70.0)
    wide.set_angle(1, 0, 2, 140.0)
    arm = Arm(**BENDS, bend_degrees=1.0)
    with (
        caplog.at_level(logging.WARNING, logger="physembed"),
        pytest.raises(PhysEmbedError, match="1 angles at distinct atoms wanted, but the molecule can be bent at 0"),
    ):
        sample_frames([narrow, wide], bonds, angles, arm, 1, REFERENCES)
    assert "the closing segment and the opening segment is empty" in caplog.text
    assert "not bent" in caplog.text


def test_a_force_constant_of_zero_is_an_error_only_where_angles_are_bent() -> None:
    atoms, bonds, angles = molecule("O", k=0.0)
    sample_frames([atoms], bonds, angles, Arm(), 1, REFERENCES)
    with pytest.raises(PhysEmbedError, match=r"angle type h-o-h has the force constant 0 kcal/mol/rad\^2.*set"):
        sample_frames([atoms], bonds, angles, Arm(**BENDS), 1, REFERENCES)


# The reference force constant


def test_reference_is_taken_from_settings_molecule_or_parameter_set(paracetamol) -> None:
    _, bonds, angles = paracetamol
    assert reference_angle_constant(Arm(reference_k_kcal_mol_rad2=50.0), bonds, angles, "gaff") == 50.0
    assert reference_angle_constant(Arm(reference_angle="ho-oh-ca"), bonds, angles, "gaff") == pytest.approx(49.0)
    assert reference_angle_constant(Arm(), bonds, angles, "gaff") == pytest.approx(62.9)


def test_reference_that_does_not_fit_the_molecule_is_an_error(paracetamol) -> None:
    _, bonds, angles = paracetamol
    remedy = "set arms.<arm>.reference_angle to .* or arms.<arm>.reference_k_kcal_mol_rad2"
    with pytest.raises(PhysEmbedError, match=rf"reference_angle: 'CT-CT-CT' is .*neither.*gaff.dat.*{remedy}"):
        reference_angle_constant(Arm(reference_angle="CT-CT-CT"), bonds, angles, "gaff")
    opls = bonds.assign(type_i=bonds["type_i"].str.upper())
    with pytest.raises(PhysEmbedError, match=rf"'c3-c3-c3'.*does not go with its topology.*atom types C.*{remedy}"):
        reference_angle_constant(Arm(), opls, angles, "gaff")


def test_an_arm_without_bends_needs_no_reference(paracetamol) -> None:
    _, bonds, angles = paracetamol
    references = References.of(Arm(reference_angle="CT-CT-CT"), bonds, angles, "gaff")
    assert np.isnan(references.angle_kcal_mol_rad2)
    assert np.isnan(References.of(Arm(bonds_per_frame=0), bonds, angles, "gaff").bond_kcal_mol_A2)


# The laws of the draws


def test_bonds_are_bent_in_proportion_to_their_softness() -> None:
    """Methanol: O-H is in one angle, each C-H in three, C-O about O moves no smaller side."""
    made = molecule("CO")
    sampler = sampler_of(made)
    generator = np.random.default_rng(2026)
    drawn = [sampler.draw(generator) for _ in range(DRAWS)]
    moving = pd.Series([(item.move.apex, item.move.moving) for item in drawn])
    # Each angle has k = 50 and is terminal, so that K is a multiple of 40.
    softness = {(1, 5): 1.0, (0, 2): 1 / 3, (0, 3): 1 / 3, (0, 4): 1 / 3}
    assert set(moving) == set(softness)
    expected = np.array(list(softness.values())) / sum(softness.values())
    assert chi_squared_p([(moving == bond).sum() for bond in softness], expected) > SIGNIFICANCE
    # Of the three angles of a hydrogen, with equal force constants, each is as likely.
    of_one = pd.Series([item.row for item in drawn if item.move.moving == 2]).value_counts()
    assert len(of_one) == 3
    assert chi_squared_p(of_one.tolist(), np.full(3, 1 / 3)) > SIGNIFICANCE


def test_stiff_angles_are_drawn_less_often() -> None:
    made = molecule("CO")
    atoms, bonds, angles = made
    stiff = angles.copy()
    stiff.loc[stiff["j"] == 1, "k_kcal_mol_rad2"] *= 4
    generator = np.random.default_rng(2026)
    sampler = sampler_of((atoms, bonds, stiff))
    hydroxyl = sum(sampler.draw(generator).move.apex == 1 for _ in range(DRAWS))
    assert chi_squared_p([hydroxyl, DRAWS - hydroxyl], np.array([0.25, 1.0]) / 1.25) > SIGNIFICANCE


@pytest.mark.parametrize(("odds", "share"), [([1.0, 1.0], 0.5), ([3.0, 1.0], 0.75), ([1.0, 0.0], 1.0)])
def test_segments_and_values(odds: list[float], share: float) -> None:
    made = molecule("NCCO")
    sampler = sampler_of(made, closing_to_opening=odds)
    generator = np.random.default_rng(2026)
    drawn = pd.DataFrame([vars(sampler.draw(generator)) for _ in range(DRAWS)])
    closing = drawn["segment"] == "closing"
    if share == 1.0:
        assert closing.all()
    else:
        assert chi_squared_p([closing.sum(), (~closing).sum()], np.array([share, 1 - share])) > SIGNIFICANCE
    for segment, limits in (("closing", sampler.closing), ("opening", sampler.opening)):
        of_segment = drawn[drawn["segment"] == segment]
        if len(of_segment):
            low, high = limits[of_segment["row"]].T
            assert (high > low).all()
            assert stats.kstest((of_segment["degrees"] - low) / (high - low), "uniform").pvalue > SIGNIFICANCE
    turned = drawn.loc[drawn["turn_degrees"] != 0, "turn_degrees"]
    assert chi_squared_p([len(turned), DRAWS - len(turned)], np.array([0.5, 0.5])) > SIGNIFICANCE
    assert chi_squared_p([(turned > 0).sum(), (turned < 0).sum()], np.array([0.5, 0.5])) > SIGNIFICANCE
    assert stats.kstest((turned.abs() - 15) / 15, "uniform").pvalue > SIGNIFICANCE


# The geometry of a bend


@pytest.mark.parametrize("turn", [0.0, 25.0])
def test_a_bend_reaches_its_angle_and_moves_one_side_rigidly(paracetamol, turn: float) -> None:
    atoms, bonds, angles = paracetamol
    sampler = sampler_of(paracetamol)
    graph = networkx.Graph(list(zip(bonds["i"], bonds["j"], strict=True)))
    before = angle_values(atoms.positions[None], angles)[0]
    assert {row for row, _ in sampler.moves} == set(np.flatnonzero(~angles["in_ring"]))
    for row, move in sampler.moves:
        degrees = before[row] - 35.0
        moved = sampler.apply(atoms.positions, AngleModification(row, move, "closing", degrees, turn))
        after = angle_values(moved[None], angles)[0]
        assert after[row] == pytest.approx(degrees, abs=1e-9)
        assert bond_lengths(moved[None], bonds) == pytest.approx(bond_lengths(atoms.positions[None], bonds), abs=1e-12)
        # Only angles at the apex change.
        elsewhere = angles["j"] != move.apex
        assert after[elsewhere] == pytest.approx(before[elsewhere], abs=1e-9)
        cut = graph.copy()
        cut.remove_edge(move.apex, move.moving)
        smaller = sorted(networkx.node_connected_component(cut, move.moving))
        larger = sorted(set(range(len(atoms))) - set(smaller))
        assert move.atoms == smaller
        assert (moved[larger] == atoms.positions[larger]).all()
        assert distances(moved, [*smaller, move.apex]) == pytest.approx(
            distances(atoms.positions, [*smaller, move.apex]), abs=1e-12
        )
        # Handedness: rigid, not mirrored.
        if len(smaller) > 3:
            volume = [np.linalg.det(p[smaller[1:4]] - p[smaller[0]]) for p in (atoms.positions, moved)]
            assert volume[0] == pytest.approx(volume[1], abs=1e-9)


def test_a_turn_takes_the_group_out_of_the_plane_and_keeps_the_angle(paracetamol) -> None:
    atoms, _, angles = paracetamol
    sampler = sampler_of(paracetamol)
    row = row_of(angles, 4, 5, 15)  # ca-ca-ha, planar
    for turn in (-30.0, 0.0, 20.0):
        item = bent(sampler, row, 110.0, turn)
        resting, apex, moving = item.move.resting, item.move.apex, item.move.moving
        moved = Atoms(atoms.numbers, sampler.apply(atoms.positions, item))
        assert moved.get_angle(resting, apex, moving) == pytest.approx(110.0, abs=1e-9)
        # About the axis from the resting end to the apex the dihedral changes by the turn, right-handed.
        (other,) = {4, 6} - {resting}
        change = moved.get_dihedral(3, resting, apex, moving) - atoms.get_dihedral(3, resting, apex, moving)
        assert (change - turn + 180) % 360 - 180 == pytest.approx(0, abs=1e-8)
        in_plane = np.cross(
            moved.positions[resting] - moved.positions[apex], moved.positions[other] - moved.positions[apex]
        )
        height = (moved.positions[moving] - moved.positions[apex]) @ in_plane / np.linalg.norm(in_plane)
        expected = moved.get_distance(apex, moving) * np.sin(np.radians(110)) * abs(np.sin(np.radians(turn)))
        assert abs(height) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("smiles", "angle", "moving"),
    [
        ("CCO", (0, 1, 2), {2}),  # OH is smaller than CH3
        ("O", (1, 0, 2), {1, 2}),  # alike: either
        ("CCC", (0, 1, 2), {0, 2}),
        ("C(F)(F)F", (1, 0, 4), {4}),  # hydrogen is lighter
        ("Oc1ccccc1", (0, 1, 2), {0}),  # never the ring
        ("C1CC11CC1", (0, 2, 3), set()),  # both bonds in rings
    ],
)
def test_which_side_moves(smiles: str, angle: tuple[int, int, int], moving: set[int]) -> None:
    made = molecule(smiles)
    row = row_of(made[2], *angle)
    assert {move.moving for index, move in sampler_of(made).moves if index == row} == moving


# Frames


def test_every_frame_is_bent_as_recorded(paracetamol) -> None:
    atoms, bonds, angles = paracetamol
    frames = [atoms.copy() for _ in range(60)]
    for index, frame in enumerate(frames):
        frame.rattle(0.02, seed=index)
        frame.info["source_frame"] = 1000 + index
    arm = Arm(bonds_per_frame=2, angles_per_frame=3)
    sampled = sample_frames(frames, bonds, angles, arm, 1, References(300.9, 62.9))
    ranges = sampled.angle_ranges.set_index("types")
    check = ClashCheck(bonds, atoms.numbers, 0.25, 0.1)
    outside = set(zip(*bonds.loc[~bonds["in_ring"], ["i", "j"]].to_numpy().T.tolist(), strict=True))
    for before, after in zip(frames, sampled.frames, strict=True):
        assert after.info["source_frame"] == before.info["source_frame"]
        bends, stretches = modifications_of(after, "angle"), modifications_of(after, "bond")
        assert (len(bends), len(stretches)) == (3, 2)
        assert len({record["angle"][1] for record in bends}) == 3
        for record in bends:
            row = angles.iloc[row_of(angles, *record["angle"])]
            assert record["types"] == angle_type(row["type_i"], row["type_j"], row["type_k"])
            # All bends of a frame are there at its end, whichever came first.
            assert after.get_angle(*record["angle"]) == pytest.approx(record["to_degrees"], abs=1e-3)
            limits = ranges.loc[record["types"]]
            names = ("closing_low", "theta_min") if record["segment"] == "closing" else ("theta_max", "opening_high")
            low, high = (limits[f"{name}_degrees"] for name in names)
            assert low - 1e-4 <= record["to_degrees"] <= high + 1e-4
        for record in stretches:
            if tuple(record["bond"]) in outside:
                assert after.get_distance(*record["bond"]) == pytest.approx(record["to_A"], abs=1e-6)
        assert check.worst(after.positions) is None


def test_the_angle_before_a_bend_is_recorded() -> None:
    atoms, bonds, angles = molecule("O")
    (frame,) = sample_frames([atoms], bonds, angles, Arm(**BENDS), 1, REFERENCES).frames
    (record,) = modifications_of(frame, "angle")
    assert record["from_degrees"] == pytest.approx(atoms.get_angle(1, 0, 2), abs=1e-4)
    assert set(record) == {"angle", "types", "segment", "from_degrees", "to_degrees", "turn_degrees"}


def test_bends_leave_the_draws_of_bonds_alone_and_the_other_way_round() -> None:
    atoms, bonds, angles = molecule("NCCO")
    frames = [atoms] * 30

    def drawn(kind: str, **settings: int) -> list[list[dict]]:
        sampled = sample_frames(frames, bonds, angles, Arm(**settings, clash_margin_A=0.0), 3, REFERENCES)
        return [modifications_of(frame, kind) for frame in sampled.frames]

    assert drawn("bond", bonds_per_frame=1) == drawn("bond", bonds_per_frame=1, angles_per_frame=2)
    alone, together = drawn("angle", bonds_per_frame=0, angles_per_frame=1), drawn("angle", angles_per_frame=1)
    # A turn of a terminal group changes the angle before the bend, nothing else.
    for one, other in zip(alone, together, strict=True):
        assert [record | {"from_degrees": 0} for record in one] == [record | {"from_degrees": 0} for record in other]


def test_seed_and_frame_decide() -> None:
    atoms, bonds, angles = molecule("CCO")

    def positions(count: int, seed: int) -> np.ndarray:
        sampled = sample_frames([atoms] * count, bonds, angles, Arm(**BENDS), seed, REFERENCES)
        return np.array([frame.positions for frame in sampled.frames])

    assert (positions(20, 1) == positions(20, 1)).all()
    assert positions(30, 1)[:20] == pytest.approx(positions(20, 1), abs=1e-12)
    assert len(np.unique(positions(20, 1), axis=0)) == 20
    assert not (positions(20, 1) == positions(20, 2)).all(axis=(1, 2)).any()


def test_unmodified_frames_are_kept_beside_the_bent() -> None:
    atoms, bonds, angles = molecule("CO")
    sampled = sample_frames([atoms] * 3, bonds, angles, Arm(**BENDS, keep_unmodified=True), 1, REFERENCES).frames
    assert [len(json.loads(frame.info["modifications"])) for frame in sampled] == [0, 1, 0, 1, 0, 1]


# What cannot be done


def test_contacts_across_a_bent_angle_have_a_margin_of_their_own() -> None:
    """The hydrogens of water stop at their own margin: closed to it, never beyond."""
    atoms, bonds, angles = molecule("O")
    length = atoms.get_distance(0, 1)

    def narrowest(margin: float) -> float:
        arm = Arm(**BENDS, bend_degrees=90, closing_to_opening=[1.0, 0.0], bend_clash_margin_A=margin)
        sampled = sample_frames([atoms] * 400, bonds, angles, arm, 1, REFERENCES).frames
        return min(frame.get_distance(1, 2) for frame in sampled)

    # Two covalent radii of hydrogen are 0.62 Å.
    for margin in (0.0, 0.25):
        closest = narrowest(margin)
        assert 0.62 + margin <= closest < 0.62 + margin + 0.05 < 2 * length


def test_the_margin_across_angles_leaves_other_contacts_alone() -> None:
    atoms, bonds, _ = molecule("CCO")
    loose = ClashCheck(bonds, atoms.numbers, 0.25, -0.5)
    positions = atoms.positions.copy()
    # Hydrogens of CH3 and OH, four bonds apart.
    positions[8] = positions[3] + [0.5, 0, 0]
    clash = loose.worst(positions)
    assert clash is not None
    assert (clash.i, clash.j) == (3, 8)
    assert clash.limit_A == pytest.approx(0.62 + 0.25)


def test_a_frame_without_valid_bend_is_an_error() -> None:
    atoms, bonds, angles = molecule("O")
    margin = atoms.get_distance(1, 2) - equilibrium_length_matrix(bonds, atoms.numbers)[1, 2] - 1e-9
    arm = Arm(**BENDS, closing_to_opening=[1.0, 0.0], bend_clash_margin_A=margin, tries=30)
    with pytest.raises(PhysEmbedError) as caught:
        sample_frames([atoms], bonds, angles, arm, 1, REFERENCES)
    assert str(caught.value) == (
        "bond_sampling: frame 0: no valid modification in 30 tries (angles tried: h-o-h 30); "
        "lower bend_degrees or bend_clash_margin_A of the arm"
    )


def test_more_bends_than_places_is_an_error(paracetamol) -> None:
    atoms, bonds, angles = paracetamol
    arm = Arm(bonds_per_frame=0, angles_per_frame=11)
    message = (
        r"arms.<arm>.angles_per_frame: 11 angles at distinct atoms wanted.*bent at 10 \(never within a ring\); lower"
    )
    with pytest.raises(PhysEmbedError, match=message):
        sample_frames([atoms], bonds, angles, arm, 1, References(300.9, 62.9))
    sample_frames([atoms], bonds, angles, arm.model_copy(update={"angles_per_frame": 10}), 1, References(300.9, 62.9))
    diatomic = molecule("F")
    with pytest.raises(PhysEmbedError, match=r"angles_per_frame: 1 angles .* bent at 0"):
        sample_frames([diatomic[0]], *diatomic[1:], Arm(**BENDS), 1, REFERENCES)


def test_an_angle_table_of_another_molecule_is_an_error() -> None:
    atoms, bonds, _ = molecule("O")
    _, _, angles = molecule("CO")
    with pytest.raises(PhysEmbedError, match=r"the angle table names atom 5, but the frames have 3 atoms"):
        sample_frames([atoms], bonds, angles, Arm(**BENDS), 1, REFERENCES)
