"""Bond-length sampling: the paper's limits, the laws of the draws, and the geometry of each change."""

import io
import json
import logging

import ase.io
import networkx
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from scipy import stats

from physembed.config import Arm
from physembed.errors import PhysEmbedError
from physembed.molecules.angles import COLUMNS
from physembed.molecules.bonds import bond_lengths, bond_table, bond_types, equilibrium_length_matrix
from physembed.molecules.structure import from_smiles, write_sdf
from physembed.molecules.topology import gaff_topology
from physembed.sampling.arm import References, SampledFrames, sample_frames
from physembed.sampling.bond_sampling import BondModification, BondSampler
from physembed.sampling.ranges import bond_ranges, reference_force_constant

K_REF = 300.0
NO_ANGLES = pd.DataFrame({name: [] for name in COLUMNS}).astype(COLUMNS)
FORCE_CONSTANTS = {
    "c-c": 300.0,
    "c-h": 330.0,
    "c-o": 310.0,
    "h-o": 370.0,
    "c-f": 360.0,
    "h-n": 390.0,
    "c-n": 320.0,
}
DRAWS = 20_000
SIGNIFICANCE = 1e-3


@pytest.fixture(scope="module")
def paracetamol(tmp_path_factory: pytest.TempPathFactory) -> tuple[Atoms, pd.DataFrame]:
    """Its structure and its bonds from GAFF 1.81."""
    sdf = tmp_path_factory.mktemp("topology") / "paracetamol.sdf"
    write_sdf(sdf, from_smiles("CC(=O)Nc1ccc(O)cc1", seed=1), "paracetamol")
    structure = gaff_topology(sdf, parameter_set="gaff", charges="gasteiger")
    numbers = [atom.atomic_number for atom in structure.atoms]
    return Atoms(numbers=numbers, positions=structure.coordinates), bond_table(structure)


def molecule(smiles: str) -> tuple[Atoms, pd.DataFrame]:
    """Atoms and a bond table with the elements as types; rings from RDKit."""
    structure = from_smiles(smiles, seed=1, conformers=1)
    symbols = [atom.GetSymbol() for atom in structure.GetAtoms()]
    atoms = Atoms(symbols, structure.GetConformer().GetPositions())
    rows = []
    for bond in structure.GetBonds():
        i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        types = symbols[i].lower(), symbols[j].lower()
        k = FORCE_CONSTANTS.get("-".join(sorted(types)), 350.0)
        terminal = bool({"h", "f", "cl"} & set(types))
        rows.append((i, j, *types, k, atoms.get_distance(i, j), bond.IsInRing(), terminal))
    names = ["i", "j", "type_i", "type_j", "k_kcal_mol_A2", "r_eq_A", "in_ring", "terminal"]
    return atoms, pd.DataFrame(rows, columns=names)


def sampler_of(atoms: Atoms, bonds: pd.DataFrame, **settings: object) -> BondSampler:
    arm = Arm(**settings)
    return BondSampler(atoms.numbers, bonds, arm, bond_ranges(atoms.positions[None], bonds, arm, K_REF))


def sample_bonds(
    frames: list[Atoms], bonds: pd.DataFrame, arm: Arm, seed: int, reference_k: float = float("nan")
) -> SampledFrames:
    """`sample_frames` of a molecule without angles."""
    return sample_frames(frames, bonds, NO_ANGLES, arm, seed, References(reference_k, float("nan")))


def row_of(bonds: pd.DataFrame, i: int, j: int) -> int:
    (row,) = np.flatnonzero((bonds["i"] == min(i, j)) & (bonds["j"] == max(i, j)))
    return int(row)


def modifications(frames: list[Atoms]) -> list[list[dict]]:
    return [json.loads(frame.info["modifications"]) for frame in frames]


def distances(positions: np.ndarray, atoms: list[int]) -> np.ndarray:
    return np.linalg.norm(positions[atoms][:, None] - positions[atoms][None, :], axis=2)


def chi_squared_p(observed: list[int], probabilities: np.ndarray) -> float:
    return float(stats.chisquare(observed, np.sum(observed) * probabilities).pvalue)


# Ranges


@pytest.mark.parametrize(("types", "limit"), [("ca-oh", 0.20), ("c-o", 0.12), ("c3-hc", 0.29)])
def test_stretch_limits_of_the_paper(paracetamol, types: str, limit: float) -> None:
    atoms, bonds = paracetamol
    reference_k = reference_force_constant(Arm(), bonds, "gaff")
    ranges = sample_bonds([atoms], bonds, Arm(), 1, reference_k).ranges.set_index("types").loc[types]
    assert ranges["stretch_high_A"] - ranges["r_mean_A"] == pytest.approx(limit, abs=0.01)


def test_ranges_follow_from_frames_and_force_constants() -> None:
    atoms, bonds = molecule("CO")
    frames = [Atoms(atoms.numbers, factor * atoms.positions) for factor in (0.97, 1.0, 1.04)]
    ranges = sample_bonds(frames, bonds, Arm(), 1, K_REF).ranges
    lengths_columns = "r_eq_A r_min_A r_mean_A r_max_A compression_low_A stretch_high_A"
    assert list(ranges) == f"types bonds k_kcal_mol_A2 {lengths_columns} terminal stretch_empty".split()
    assert ranges["types"].tolist() == ["c-h", "c-o", "h-o"]
    assert ranges["bonds"].tolist() == [3, 1, 1]
    assert ranges["terminal"].tolist() == [True, False, True]
    lengths = bond_lengths(np.array([frame.positions for frame in frames]), bonds)
    of_type = [lengths[:, np.array(bond_types(bonds)) == name] for name in ranges["types"]]
    assert ranges["r_min_A"].tolist() == pytest.approx([values.min() for values in of_type])
    assert ranges["r_mean_A"].tolist() == pytest.approx([values.mean() for values in of_type])
    assert ranges["r_max_A"].tolist() == pytest.approx([values.max() for values in of_type])
    assert ranges["compression_low_A"].tolist() == pytest.approx([0.95 * values.min() for values in of_type])
    beyond = [0.25 * 300 / (0.8 * 330), 0.25 * 300 / 310, 0.25 * 300 / (0.8 * 370)]
    assert (ranges["stretch_high_A"] - ranges["r_mean_A"]).tolist() == pytest.approx(beyond)


def test_empty_stretching_segment_is_logged_and_only_compressed(caplog) -> None:
    atoms, bonds = molecule("CO")
    wide = atoms.copy()
    oxygen, hydrogen = bonds.loc[bonds["type_i"] == "o", ["i", "j"]].to_numpy()[0]
    wide.set_distance(oxygen, hydrogen, 1.6, fix=0)
    with caplog.at_level(logging.WARNING, logger="physembed"):
        sampled = sample_bonds([atoms, wide] * 200, bonds, Arm(clash_margin_A=0.0), 1, K_REF)
    row = sampled.ranges.set_index("types").loc["h-o"]
    assert row["stretch_empty"]
    (message,) = [record.getMessage() for record in caplog.records]
    assert "h-o" in message
    for number in (row["stretch_high_A"], row["r_mean_A"], row["r_max_A"]):
        assert f"{number:.3f} Å" in message
    drawn = [record for (record,) in modifications(sampled.frames)]
    assert {record["segment"] for record in drawn if record["types"] == "h-o"} == {"compression"}
    assert {record["segment"] for record in drawn if record["types"] != "h-o"} == {"compression", "stretching"}


def test_arm_without_modification_samples_the_lengths_of_the_data() -> None:
    atoms, bonds = molecule("CO")
    atoms.info["source_frame"] = 7
    sampled = sample_bonds([atoms], bonds, Arm(bonds_per_frame=0), 1, K_REF)
    assert (sampled.ranges["compression_low_A"] == sampled.ranges["r_min_A"]).all()
    assert (sampled.ranges["stretch_high_A"] == sampled.ranges["r_max_A"]).all()
    (frame,) = sampled.frames
    assert frame.info == {"source_frame": 7, "modifications": "[]"}
    assert (frame.positions == atoms.positions).all()


# The reference force constant


def test_reference_is_taken_from_settings_molecule_or_parameter_set(paracetamol) -> None:
    _, bonds = paracetamol
    assert reference_force_constant(Arm(reference_k_kcal_mol_A2=250.0), bonds, "gaff") == 250.0
    assert reference_force_constant(Arm(reference_bond="c3-c"), bonds, "gaff") == pytest.approx(313.0)
    assert reference_force_constant(Arm(), bonds, "gaff") == pytest.approx(300.9)


def test_reference_that_does_not_fit_the_molecule_is_an_error(paracetamol) -> None:
    _, bonds = paracetamol
    remedy = "set arms.<arm>.reference_bond to .* or arms.<arm>.reference_k_kcal_mol_A2"
    with pytest.raises(PhysEmbedError, match=rf"arms.<arm>.reference_bond: 'CT-CT' is .*neither.*gaff.dat.*{remedy}"):
        reference_force_constant(Arm(reference_bond="CT-CT"), bonds, "gaff")
    opls = bonds.assign(type_i=bonds["type_i"].str.upper())
    with pytest.raises(PhysEmbedError, match=rf"reference_bond: 'c3-c3'.*atom types C, C3, CA, N, OH are.*{remedy}"):
        reference_force_constant(Arm(), opls, "gaff")
    # The topology is of GAFF 1.81, whose c-c3 is 313.0.
    with pytest.raises(PhysEmbedError, match=rf"gaff2.dat does not go.*k of c-c3 is 313.0, not .*{remedy}"):
        reference_force_constant(Arm(), bonds, "gaff2")


# The laws of the draws


@pytest.fixture(scope="module")
def draws() -> tuple[BondSampler, pd.DataFrame, pd.DataFrame]:
    """Many draws for ethanolamine: sampler, bonds, one row per draw."""
    atoms, bonds = molecule("NCCO")
    sampler = sampler_of(atoms, bonds)
    generator = np.random.default_rng(2026)
    return sampler, bonds, pd.DataFrame([vars(sampler.draw(generator)) for _ in range(DRAWS)])


def test_bond_is_chosen_in_proportion_to_its_softness(draws) -> None:
    _, bonds, drawn = draws
    softness = 1 / (bonds["k_kcal_mol_A2"] * np.where(bonds["terminal"], 0.8, 1.0))
    counts = np.bincount(drawn["row"], minlength=len(bonds)).tolist()
    assert chi_squared_p(counts, (softness / softness.sum()).to_numpy()) > SIGNIFICANCE
    # The same test distinguishes the factor 0.8 of the terminal bonds from 1.
    plain = 1 / bonds["k_kcal_mol_A2"]
    assert chi_squared_p(counts, (plain / plain.sum()).to_numpy()) < SIGNIFICANCE


def test_compression_to_stretching_is_one_to_four(draws) -> None:
    _, _, drawn = draws
    counts = drawn["segment"].value_counts()
    assert chi_squared_p([counts["compression"], counts["stretching"]], np.array([0.2, 0.8])) > SIGNIFICANCE


def test_lengths_are_uniform_in_their_segment(draws) -> None:
    sampler, _, drawn = draws
    for segment, limits in (("compression", sampler.compression), ("stretching", sampler.stretching)):
        of_segment = drawn[drawn["segment"] == segment]
        low, high = limits[of_segment["row"]].T
        assert (high > low).all()
        assert stats.kstest((of_segment["length_A"] - low) / (high - low), "uniform").pvalue > SIGNIFICANCE


def test_terminal_groups_turn_four_times_in_five_by_15_to_30_degrees_either_way(draws) -> None:
    _, bonds, drawn = draws
    # NH2 and OH turn; the hydrogens of the two CH2 have no axis.
    elements = bonds[["type_i", "type_j"]].to_numpy()[drawn["row"]]
    turnable = (elements == "h").any(axis=1) & (elements != "c").all(axis=1)
    assert (drawn["turn_degrees"][~turnable] == 0).all()
    turns = drawn["turn_degrees"][turnable]
    turned = turns[turns != 0]
    assert chi_squared_p([len(turned), len(turns) - len(turned)], np.array([0.8, 0.2])) > SIGNIFICANCE
    assert chi_squared_p([(turned > 0).sum(), (turned < 0).sum()], np.array([0.5, 0.5])) > SIGNIFICANCE
    assert stats.kstest((turned.abs() - 15) / 15, "uniform").pvalue > SIGNIFICANCE


def test_frames_follow_the_same_laws() -> None:
    atoms, bonds = molecule("CO")
    frames = [atoms] * 3000
    sampled = sample_bonds(frames, bonds, Arm(clash_margin_A=0.0), 5, K_REF)
    drawn = pd.DataFrame([record for (record,) in modifications(sampled.frames)]).merge(sampled.ranges, on="types")
    stretched = drawn["segment"] == "stretching"
    assert chi_squared_p([(~stretched).sum(), stretched.sum()], np.array([0.2, 0.8])) > SIGNIFICANCE
    softness = {"c-h": 3 / (0.8 * 330), "c-o": 1 / 310, "h-o": 1 / (0.8 * 370)}
    expected = np.array(list(softness.values())) / sum(softness.values())
    assert chi_squared_p([(drawn["types"] == types).sum() for types in softness], expected) > SIGNIFICANCE
    low = np.where(stretched, drawn["r_max_A"], drawn["compression_low_A"])
    high = np.where(stretched, drawn["stretch_high_A"], drawn["r_min_A"])
    # `to_A` is written with six decimals.
    assert ((drawn["to_A"] >= low - 1e-6) & (drawn["to_A"] <= high + 1e-6)).all()


def test_even_draws_leave_no_type_out(paracetamol) -> None:
    """Of 45 frames, one bond each, 10 types: drawn at random, some set in a few hundred has no stretched c-c3."""
    atoms, bonds = paracetamol
    types = sorted(set(bond_types(bonds)))
    missed = {"random": 0, "even": 0}
    for draws in missed:
        for seed in range(30):
            sampled = sample_bonds([atoms] * 45, bonds, Arm(draws=draws), seed, K_REF)
            made = pd.DataFrame([record for (record,) in modifications(sampled.frames)])
            counts = made["types"].value_counts().reindex(types, fill_value=0)
            stretched = made.loc[made["segment"] == "stretching", "types"].value_counts().reindex(types, fill_value=0)
            missed[draws] += int((stretched == 0).sum())
            if draws == "even":
                assert counts.max() - counts.min() <= 3, dict(counts)
                assert abs((made["segment"] == "compression").mean() - 0.2) < 0.1
    assert missed["even"] == 0 and missed["random"] > 10


# The geometry of a change


def test_outside_rings_one_length_changes_and_the_smaller_side_is_rigid(paracetamol) -> None:
    atoms, bonds = paracetamol
    sampler = sampler_of(atoms, bonds)
    lengths = bond_lengths(atoms.positions[None], bonds)[0]
    graph = networkx.Graph(list(zip(bonds["i"], bonds["j"], strict=True)))
    outside = np.flatnonzero(~bonds["in_ring"])
    assert len(outside) == 14
    for row in outside:
        i, j = bonds.loc[row, ["i", "j"]]
        moved = sampler.apply(atoms.positions, BondModification(row, "stretching", lengths[row] + 0.2, 0.0))
        expected = lengths.copy()
        expected[row] += 0.2
        assert bond_lengths(moved[None], bonds)[0] == pytest.approx(expected, abs=1e-10)
        cut = graph.copy()
        cut.remove_edge(i, j)
        smaller, larger = sorted(map(sorted, networkx.connected_components(cut)), key=len)
        assert (moved[larger] == atoms.positions[larger]).all()
        assert distances(moved, smaller) == pytest.approx(distances(atoms.positions, smaller), abs=1e-10)
        shifts = moved[smaller] - atoms.positions[smaller]
        axis = (atoms.positions[j] - atoms.positions[i]) * (1 if j in smaller else -1) / lengths[row]
        assert shifts == pytest.approx(np.tile(0.2 * axis, (len(smaller), 1)), abs=1e-10)


@pytest.mark.parametrize(
    ("smiles", "bond", "moving"),
    [
        ("CC", (0, 1), 0),  # equal in all: that of the lower index
        ("FC(F)(F)C", (1, 4), 4),  # four atoms each: the lighter
        ("OC", (0, 1), 0),  # OH has two atoms, CH3 four
        ("F", (0, 1), 1),  # hydrogen is lighter than fluorine
    ],
)
def test_which_side_moves(smiles: str, bond: tuple[int, int], moving: int) -> None:
    atoms, bonds = molecule(smiles)
    moved = sampler_of(atoms, bonds).apply(atoms.positions, BondModification(row_of(bonds, *bond), "", 2.0, 0.0))
    (resting,) = set(bond) - {moving}
    assert (moved[resting] == atoms.positions[resting]).all()
    assert np.linalg.norm(moved[moving] - atoms.positions[moving]) > 0.1


@pytest.mark.parametrize(
    ("smiles", "bond", "following"),
    [
        # Which atoms follow each end, without its hydrogens.
        ("c1ccccc1", (0, 1), ([], [])),
        ("Oc1ccccc1", (1, 2), ([0], [])),
        ("CC(=O)Nc1ccc(O)cc1", (4, 5), ([0, 1, 2, 3], [])),
        ("c1ccc2ccccc2c1", (3, 8), ([], [])),  # the bond that two rings share
        ("c1ccccc1-c1ccccc1", (4, 5), ([], [6, 7, 8, 9, 10, 11])),  # a ring as substituent
        ("C1CC11CC1", (1, 2), ([], [3, 4])),  # spiro: the other ring hangs on the shared atom
        ("C1C2CC1C2", (0, 1), ([], [])),  # bridged
    ],
)
def test_in_rings_both_ends_move_by_half_with_what_hangs_on_them(smiles, bond, following) -> None:
    atoms, bonds = molecule(smiles)
    row = row_of(bonds, *bond)
    assert bonds.loc[row, "in_ring"]
    before = atoms.positions
    vector = before[bond[1]] - before[bond[0]]
    length = np.linalg.norm(vector)
    moved = sampler_of(atoms, bonds).apply(before, BondModification(row, "stretching", length + 0.2, 0.0))
    expected = before.copy()
    for end, sign, others in zip(bond, (-1, 1), following, strict=True):
        group = [end, *others]
        # RDKit puts hydrogens last, so that they are `j`.
        group += bonds.loc[bonds["i"].isin(group) & (bonds["type_j"] == "h"), "j"].tolist()
        expected[group] += sign * 0.1 * vector / length
    assert moved == pytest.approx(expected, abs=1e-10)
    assert np.linalg.norm(moved[bond[1]] - moved[bond[0]]) == pytest.approx(length + 0.2)


@pytest.mark.parametrize(
    ("smiles", "bond", "expected"),
    [
        ("CCO", (0, 3), (1, 0, [3, 4, 5])),  # CH3
        ("CCO", (2, 8), (1, 2, [8])),  # OH
        ("CN", (1, 5), (0, 1, [5, 6])),  # NH2
        ("CC(F)(F)F", (1, 2), (0, 1, [2, 3, 4])),  # CF3
        ("CCO", (1, 6), None),  # CH2 in a chain
        ("c1ccccc1", (0, 6), None),  # aromatic CH
        ("C", (0, 1), None),
        ("CCO", (0, 1), None),  # not terminal
    ],
)
def test_which_group_turns(smiles: str, bond: tuple[int, int], expected: tuple | None) -> None:
    atoms, bonds = molecule(smiles)
    group = sampler_of(atoms, bonds).groups[row_of(bonds, *bond)]
    assert (group and (group.neighbour, group.centre, group.atoms)) == expected


@pytest.mark.parametrize("degrees", [-30.0, 22.5])
def test_turn_changes_the_dihedrals_of_the_group_alone(degrees: float) -> None:
    atoms, bonds = molecule("CCO")
    sampler = sampler_of(atoms, bonds)
    row = row_of(bonds, 0, 3)
    moved = Atoms(atoms.numbers, sampler.apply(atoms.positions, BondModification(row, "stretching", 1.4, degrees)))
    for hydrogen in (3, 4, 5):
        change = moved.get_dihedral(2, 1, 0, hydrogen) - atoms.get_dihedral(2, 1, 0, hydrogen)
        assert (change - degrees + 180) % 360 - 180 == pytest.approx(0, abs=1e-8)
    rest = [0, 1, 2, 6, 7, 8]
    assert (moved.positions[rest] == atoms.positions[rest]).all()
    lengths = bond_lengths(atoms.positions[None], bonds)[0]
    lengths[row] = 1.4
    assert bond_lengths(moved.positions[None], bonds)[0] == pytest.approx(lengths, abs=1e-10)


# Frames


def test_every_frame_is_modified_as_recorded_and_free_of_clashes(paracetamol) -> None:
    atoms, bonds = paracetamol
    frames = [atoms.copy() for _ in range(100)]
    for index, frame in enumerate(frames):
        frame.rattle(0.02, seed=index)
        frame.info["source_frame"] = 1000 + index
    sampled = sample_bonds(frames, bonds, Arm(), 1, 300.9)
    limits = equilibrium_length_matrix(bonds, atoms.numbers) + 0.25
    limits[bonds["i"], bonds["j"]] = limits[bonds["j"], bonds["i"]] = 0
    np.fill_diagonal(limits, 0)
    assert len(sampled.frames) == 100
    for before, after, (record,) in zip(frames, sampled.frames, modifications(sampled.frames), strict=True):
        assert after.info["source_frame"] == before.info["source_frame"]
        assert before.get_distance(*record["bond"]) == pytest.approx(record["from_A"], abs=1e-6)
        assert after.get_distance(*record["bond"]) == pytest.approx(record["to_A"], abs=1e-6)
        assert record["types"] == bond_types(bonds)[row_of(bonds, *record["bond"])]
        assert (after.get_all_distances() >= limits).all()


def test_seed_and_index_decide() -> None:
    atoms, bonds = molecule("CCO")
    arm = Arm(clash_margin_A=0.0)

    def positions(count: int, seed: int) -> np.ndarray:
        sampled = sample_bonds([atoms] * count, bonds, arm, seed, K_REF)
        return np.array([frame.positions for frame in sampled.frames])

    assert (positions(20, 1) == positions(20, 1)).all()
    # Not to the last bit: the mean lengths are over more frames.
    assert positions(30, 1)[:20] == pytest.approx(positions(20, 1), abs=1e-12)
    assert len(np.unique(positions(20, 1), axis=0)) == 20
    assert not (positions(20, 1) == positions(20, 2)).all(axis=(1, 2)).any()


def test_several_bonds_are_distinct_and_change_one_after_the_other() -> None:
    atoms, bonds = molecule("CCO")
    sampled = sample_bonds([atoms] * 50, bonds, Arm(bonds_per_frame=4, clash_margin_A=0.0), 1, K_REF)
    before = bond_lengths(atoms.positions[None], bonds)[0]
    for frame, records in zip(sampled.frames, modifications(sampled.frames), strict=True):
        assert len({tuple(record["bond"]) for record in records}) == 4
        expected = before.copy()
        for record in records:
            expected[row_of(bonds, *record["bond"])] = record["to_A"]
        # Without rings nothing but the modified lengths changes.
        assert bond_lengths(frame.positions[None], bonds)[0] == pytest.approx(expected, abs=2e-6)


def test_all_bonds_but_no_more_can_be_modified() -> None:
    atoms, bonds = molecule("O")
    (records,) = modifications(sample_bonds([atoms], bonds, Arm(bonds_per_frame=2), 1, K_REF).frames)
    assert sorted(record["bond"] for record in records) == [[0, 1], [0, 2]]
    with pytest.raises(PhysEmbedError, match=r"arms.<arm>.bonds_per_frame: 3 distinct bonds wanted.*has 2; lower"):
        sample_bonds([atoms], bonds, Arm(bonds_per_frame=3), 1, K_REF)


def test_unmodified_frames_are_kept_beside_the_modified() -> None:
    atoms, bonds = molecule("CO")
    sampled = sample_bonds([atoms] * 3, bonds, Arm(keep_unmodified=True), 1, K_REF).frames
    assert [frame.info["source_frame"] for frame in sampled] == [0, 0, 1, 1, 2, 2]
    assert [len(records) for records in modifications(sampled)] == [0, 1, 0, 1, 0, 1]
    assert all((frame.positions == atoms.positions).all() for frame in sampled[::2])
    alone = sample_bonds([atoms] * 3, bonds, Arm(), 1, K_REF).frames
    assert [frame.info for frame in sampled[1::2]] == [frame.info for frame in alone]


def test_nothing_computed_for_the_old_positions_stays_with_a_modified_frame() -> None:
    atoms, bonds = molecule("CO")
    atoms.info.update(source_frame=3, REF_energy=-1.0, potential_energy_eV=-2.0)
    atoms.arrays["REF_forces"] = np.ones((len(atoms), 3))
    atoms.set_velocities(np.ones((len(atoms), 3)))
    (frame,) = sample_bonds([atoms], bonds, Arm(), 1, K_REF).frames
    assert set(frame.info) == {"source_frame", "modifications"}
    assert set(frame.arrays) == {"numbers", "positions"}
    assert "modifications" not in atoms.info


def test_modifications_survive_extended_xyz() -> None:
    atoms, bonds = molecule("CO")
    sampled = sample_bonds([atoms] * 3, bonds, Arm(keep_unmodified=True), 1, K_REF).frames
    file = io.StringIO()
    ase.io.write(file, sampled, format="extxyz")
    file.seek(0)
    back = ase.io.read(file, ":", format="extxyz")
    assert modifications(back) == modifications(sampled)


# What cannot be done


def hydrogen_fluoride_and_helium(gap_A: float) -> tuple[Atoms, pd.DataFrame]:
    """H-F, whose hydrogen moves, and a helium atom that is `gap_A` further from it than the limit of a clash."""
    atoms, bonds = molecule("F")
    helium = equilibrium_length_matrix(bonds, [9, 1, 2])[1, 2] + 0.25 + gap_A
    bond = atoms.positions[1] - atoms.positions[0]
    atoms += Atoms("He", [atoms.positions[1] + bond / np.linalg.norm(bond) * helium])
    return atoms, bonds


def test_rejected_draws_are_drawn_anew() -> None:
    # Four draws in five stretch the bond towards helium.
    atoms, bonds = hydrogen_fluoride_and_helium(1e-9)
    sampled = sample_bonds([atoms] * 50, bonds, Arm(), 1, K_REF)
    assert {record["segment"] for (record,) in modifications(sampled.frames)} == {"compression"}


def test_frame_without_valid_modification_is_an_error() -> None:
    atoms, bonds = hydrogen_fluoride_and_helium(1e-9)
    arm = Arm(compression_to_stretching=[0.0, 1.0])
    far, _ = hydrogen_fluoride_and_helium(5.0)
    with pytest.raises(PhysEmbedError) as caught:
        sample_bonds([far, far, atoms, far], bonds, arm, 1, K_REF)
    assert str(caught.value) == (
        "bond_sampling: frame 2: no valid modification in 200 tries (bonds tried: f-h 200); "
        "lower stretch_A or clash_margin_A of the arm"
    )
    assert len(sample_bonds([far, far, far], bonds, arm, 1, K_REF).frames) == 3


def test_error_names_the_pair_that_is_too_near_from_the_start() -> None:
    atoms, bonds = hydrogen_fluoride_and_helium(-0.5)
    limit = equilibrium_length_matrix(bonds, atoms.numbers)[1, 2] + 0.25
    pair = rf"before it atoms 1 and 2 \(H and He, not bonded\) are {limit - 0.5:.3f} Å apart already"
    message = rf"frame 0: .*f-h 20\); {pair}, the limit is {limit:.3f} Å; lower clash_margin_A"
    with pytest.raises(PhysEmbedError, match=message):
        sample_bonds([atoms], bonds, Arm(tries=20), 1, K_REF)


def test_error_says_how_many_modifications_were_found() -> None:
    atoms, bonds = molecule("CO")
    message = r"frame 0: only 2 of 3 valid modifications in 2 tries \(bonds .*\).*bonds_per_frame, or raise tries$"
    with pytest.raises(PhysEmbedError, match=message):
        sample_bonds([atoms], bonds, Arm(bonds_per_frame=3, tries=2), 1, K_REF)


def test_input_that_does_not_fit_is_an_error() -> None:
    atoms, bonds = molecule("CO")
    water, _ = molecule("O")
    with pytest.raises(PhysEmbedError, match=r"frame 1: OH2 is not COH4 of frame 0"):
        sample_bonds([atoms, water], bonds, Arm(), 1, K_REF)
    with pytest.raises(PhysEmbedError, match=r"names atom 5, but the frames have 3 atoms"):
        sample_bonds([water], bonds, Arm(), 1, K_REF)
    with pytest.raises(PhysEmbedError, match=r"0 frames and 5 bonds given"):
        sample_bonds([], bonds, Arm(), 1, K_REF)
    atoms.positions[2, 1] = np.nan
    with pytest.raises(PhysEmbedError, match=r"frame 0: a position is not finite"):
        sample_bonds([atoms], bonds, Arm(), 1, K_REF)
    with pytest.raises(PhysEmbedError, match=r"arms.<arm>.compression_to_stretching: \[0, 0\]"):
        sampler_of(*molecule("CO"), compression_to_stretching=[0.0, 0.0])
