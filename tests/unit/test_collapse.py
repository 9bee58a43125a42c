"""The collapse detector on hand-made geometries of known lengths."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from physembed.collapse.detector import QUANTITIES, Collapse, CollapseDetector, SampledRanges, in_sampled_range
from physembed.errors import PhysEmbedError

# A bent chain H-C-O-H: bonds 1.1, 1.4, 1.0 Å with right angles between them.
CHAIN = torch.tensor([[0.0, 1.1, 0.0], [0.0, 0.0, 0.0], [1.4, 0.0, 0.0], [1.4, -1.0, 0.0]], dtype=torch.float64)
BONDS = pd.DataFrame({"i": [0, 1, 2], "j": [1, 2, 3], "type_i": ["h1", "c3", "oh"], "type_j": ["c3", "oh", "ho"]})
MEANS = np.array([1.1, 1.4, 1.0])
# H-H 0.7, C-H 1.1, O-H 1.0, C-O 1.4, C-C 1.5, O-O 1.4
EQUILIBRIUM = np.array([[0.7, 1.1, 1.0, 0.7], [1.1, 1.5, 1.4, 1.1], [1.0, 1.4, 1.4, 1.0], [0.7, 1.1, 1.0, 0.7]])


@pytest.fixture
def detector():
    return CollapseDetector(BONDS, MEANS, EQUILIBRIUM, bond_tolerance_A=0.5, overlap_margin_A=0.0)


def quantities(*geometries):
    """Positions of the given geometries with energies, forces and temperatures that are in order."""
    positions = torch.stack(geometries)
    ones = torch.ones(len(positions), dtype=positions.dtype)
    return positions, -100 * ones, torch.zeros_like(positions), 800 * ones


def moved(atom, *shift):
    """The chain with one atom moved."""
    geometry = CHAIN.clone()
    geometry[atom] += torch.tensor(shift, dtype=CHAIN.dtype)
    return geometry


STRETCHED = moved(3, 0, -0.6, 0)
"""O-H at 1.6 Å."""
COMPRESSED = moved(0, 0, -0.55, 0)
"""C-H at 0.55 Å; the H is then 1.5 Å from the O."""
OVERLAPPING = moved(3, -0.9, 1.7, 0)
"""Atom 3 at (0.5, 0.7): O-H is 1.140 Å and intact; H0-H3 at 0.640 Å and C-H3 at 0.860 Å are both too close."""


def test_sound_geometry_passes(detector):
    assert not detector.check(*quantities(CHAIN)).collapsed.any()


@pytest.mark.parametrize("geometry, length", [(STRETCHED, 1.6), (COMPRESSED, 0.55)])
def test_bond_beyond_the_tolerance_is_named(detector, geometry, length):
    atoms, types, mean = ((2, 3), "ho-oh", 1.0) if geometry is STRETCHED else ((0, 1), "c3-h1", 1.1)
    collapse = detector.describe(detector.check(*quantities(geometry)), 0)
    assert (collapse.cause, collapse.types, collapse.atom_i, collapse.atom_j) == ("bond", types, *atoms)
    assert collapse.length_A == pytest.approx(length)
    assert collapse.reference_A == pytest.approx(mean)
    assert f"{types} ({atoms[0]}-{atoms[1]}) is {length:.3f} Å long" in collapse.detail


@pytest.mark.parametrize("shift, collapsed", [(-0.499, False), (-0.501, True), (0.499, False), (0.501, True)])
def test_bond_tolerance_is_where_it_is_set(shift, collapsed):
    detector = CollapseDetector(BONDS, MEANS, np.zeros((4, 4)), bond_tolerance_A=0.5, overlap_margin_A=0.0)
    assert detector.check(*quantities(moved(3, 0, shift, 0))).collapsed.tolist() == [collapsed]


def test_bond_with_the_largest_deviation_is_named(detector):
    geometry = moved(3, 0, -0.6, 0)
    geometry[0, 1] += 0.7
    collapse = detector.describe(detector.check(*quantities(geometry)), 0)
    assert (collapse.atom_i, collapse.atom_j) == (0, 1)
    assert collapse.length_A == pytest.approx(1.8)


def test_overlap_furthest_below_its_limit_is_named(detector):
    collapse = detector.describe(detector.check(*quantities(OVERLAPPING)), 0)
    assert (collapse.cause, collapse.types, collapse.atom_i, collapse.atom_j) == ("overlap", "c3-ho", 1, 3)
    assert collapse.length_A == pytest.approx(math.hypot(0.5, 0.7))
    assert collapse.reference_A == pytest.approx(1.1)
    assert "not bonded" in collapse.detail


@pytest.mark.parametrize("separation", [2, 3])
def test_pairs_two_and_three_bonds_apart_can_overlap(separation):
    """All limits but one are zero, so only that pair can be the cause."""
    limits = np.zeros((4, 4))
    limits[1 if separation == 2 else 0, 3] = 1.1
    detector = CollapseDetector(BONDS, MEANS, limits, bond_tolerance_A=0.5, overlap_margin_A=0.0)
    collapse = detector.describe(detector.check(*quantities(OVERLAPPING)), 0)
    assert (collapse.atom_i, collapse.atom_j) == (3 - separation, 3)


def test_overlap_margin_moves_the_limit():
    """The nearest pairs of the chain: C-H 1.720 Å (limit 1.1), O-H 1.780 Å (limit 1.0)."""
    nearest = math.hypot(1.4, 1.0) - 1.1
    for margin, collapsed in ((nearest - 0.001, False), (nearest + 0.001, True)):
        detector = CollapseDetector(BONDS, MEANS, EQUILIBRIUM, 0.5, margin)
        assert detector.check(*quantities(CHAIN)).collapsed.tolist() == [collapsed]


def test_bonded_pair_is_never_an_overlap():
    """The bonds are far below these limits, but no other pair is."""
    limits = np.zeros((4, 4))
    limits[[0, 1, 2], [1, 2, 3]] = limits[[1, 2, 3], [0, 1, 2]] = 50.0
    detector = CollapseDetector(BONDS, MEANS, limits, bond_tolerance_A=0.5, overlap_margin_A=0.0)
    assert not detector.check(*quantities(CHAIN)).collapsed.any()


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("quantity", range(4))
def test_a_single_value_that_is_not_finite_is_a_collapse(detector, quantity, poison):
    values = list(quantities(CHAIN, CHAIN, CHAIN))
    values[quantity] = values[quantity].clone()
    values[quantity][(1, 2, 0) if values[quantity].ndim == 3 else 1] = poison
    check = detector.check(*values)
    assert check.collapsed.tolist() == [False, True, False]
    collapse = detector.describe(check, 1)
    name = QUANTITIES[quantity]
    assert collapse == Collapse("non_finite", None, None, "", None, None, f"not finite: {name}")


def test_values_not_finite_come_before_bonds_and_bonds_before_overlaps(detector):
    both = OVERLAPPING.clone()
    both[0, 1] += 0.7
    assert detector.describe(detector.check(*quantities(both)), 0).cause == "bond"
    positions, energies, forces, temperatures = quantities(both)
    check = detector.check(positions, energies * math.nan, forces, temperatures * math.inf)
    assert detector.describe(check, 0).detail == "not finite: energy, temperature"


def test_a_hot_but_finite_replica_has_not_collapsed(detector):
    positions, energies, forces, temperatures = quantities(CHAIN)
    assert not detector.check(positions, energies * 1e6, forces + 1e6, temperatures * 1e6).collapsed.any()


def test_float32_overflow_of_a_distance_is_a_collapse(detector):
    far = CHAIN.clone().float()
    far[3] = 1e30
    assert detector.describe(detector.check(*quantities(far)), 0).cause == "bond"


def test_each_replica_of_a_batch_is_judged_by_itself(detector):
    geometries = [CHAIN, STRETCHED, CHAIN, OVERLAPPING, COMPRESSED, CHAIN]
    check = detector.check(*quantities(*geometries))
    assert check.collapsed.tolist() == [False, True, False, True, True, False]
    for replica in (1, 3, 4):
        alone = detector.check(*quantities(geometries[replica]))
        assert detector.describe(check, replica) == detector.describe(alone, 0)
    with pytest.raises(ValueError, match="replica 2 has not collapsed"):
        detector.describe(check, 2)


def random_rotation(generator):
    orthogonal, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    return torch.as_tensor(orthogonal * np.sign(np.linalg.det(orthogonal)))


def test_verdict_does_not_depend_on_place_and_orientation(detector):
    generator = np.random.default_rng(1)
    geometries = [CHAIN, STRETCHED, OVERLAPPING, COMPRESSED]
    reference = detector.check(*quantities(*geometries))
    for _ in range(20):
        rotation, shift = random_rotation(generator), torch.as_tensor(generator.normal(scale=50, size=3))
        turned = [geometry @ rotation.T + shift for geometry in geometries]
        check = detector.check(*quantities(*turned))
        assert check.collapsed.equal(reference.collapsed)
        torch.testing.assert_close(check.bond_lengths, reference.bond_lengths)
        torch.testing.assert_close(check.pair_distances, reference.pair_distances)


def test_verdict_agrees_with_plain_loops_over_random_geometries():
    """Every pair of every replica by hand, for 200 distorted chains of which a good part collapses."""
    generator = torch.Generator().manual_seed(2)
    geometries = CHAIN + 0.35 * torch.randn(200, 4, 3, generator=generator, dtype=CHAIN.dtype)
    detector = CollapseDetector(BONDS, MEANS, EQUILIBRIUM, bond_tolerance_A=0.5, overlap_margin_A=0.1)
    check = detector.check(*quantities(*geometries))
    means = {(0, 1): 1.1, (1, 2): 1.4, (2, 3): 1.0}
    expected = []
    for geometry in geometries.numpy():
        causes = []
        for i in range(4):
            for j in range(i + 1, 4):
                distance = math.dist(geometry[i], geometry[j])
                if (i, j) in means:
                    causes += ["bond"] if abs(distance - means[i, j]) > 0.5 else []
                else:
                    causes += ["overlap"] if distance < EQUILIBRIUM[i, j] + 0.1 else []
        expected.append(min(causes, default=None))
    found = [
        detector.describe(check, replica).cause if collapsed else None
        for replica, collapsed in enumerate(check.collapsed.tolist())
    ]
    assert found == expected
    assert {None, "bond", "overlap"} == set(found)


def test_check_never_waits_for_the_device():
    """Tensors on the meta device have no values: any step that reads one on the host would raise."""
    detector = CollapseDetector(BONDS, MEANS, EQUILIBRIUM, 0.5, 0.0, device="meta")
    check = detector.check(*(values.to("meta") for values in quantities(CHAIN, CHAIN)))
    assert check.collapsed.is_meta
    assert check.collapsed.shape == (2,)


@pytest.mark.parametrize("spoilt", range(4))
def test_shapes_that_do_not_fit_are_refused(detector, spoilt):
    values = list(quantities(CHAIN, CHAIN))
    values[spoilt] = values[spoilt][:, :3] if values[spoilt].ndim == 3 else values[spoilt][:1]
    with pytest.raises(ValueError, match="of shapes"):
        detector.check(*values)


@pytest.mark.parametrize(
    "bonds, means, equilibrium, message",
    [
        (BONDS, MEANS[:2], EQUILIBRIUM, r"mean bond lengths of shape \(2,\)"),
        (BONDS, np.array([1.1, math.nan, 1.0]), EQUILIBRIUM, "mean bond lengths"),
        (BONDS, MEANS, EQUILIBRIUM * math.nan, "equilibrium lengths"),
        (BONDS, MEANS, np.ones((5, 5)), r"atoms \[4\]"),
        (BONDS, MEANS, np.ones((3, 3)), r"atoms \[3\]"),
    ],
)
def test_limits_of_another_molecule_are_refused(bonds, means, equilibrium, message):
    with pytest.raises(PhysEmbedError, match=message) as caught:
        CollapseDetector(bonds, means, equilibrium, 0.5, 0.0)
    assert "\n" not in str(caught.value)


RANGES = SampledRanges(
    pd.DataFrame(
        {
            "types": ["c-o", "c3-hc"],
            "compression_low_A": [1.1, 1.0],
            "r_max_A": [1.3, 1.4],
            "stretch_high_A": [1.35, 1.37],  # c3-hc: an empty stretching segment
        }
    ),
    pd.DataFrame(
        {
            "types": ["ca-oh-ho", "c1-c3-hc"],
            "closing_low_degrees": [69.0, 100.0],  # c1-c3-hc: both segments are empty
            "opening_high_degrees": [147.0, 110.0],
            "theta_min_degrees": [97.0, 98.0],
            "theta_max_degrees": [120.0, 113.0],
        }
    ),
)


@pytest.mark.parametrize(
    "types, length, where",
    [
        ("c-o", 1.1, "inside"),
        ("c-o", 1.2, "inside"),
        ("c-o", 1.35, "inside"),
        ("c-o", 1.0999, "outside"),
        ("c-o", 1.3501, "outside"),
        ("c3-hc", 1.4, "inside"),
        ("c3-hc", 1.4001, "outside"),
    ],
)
def test_sampled_range_includes_its_ends(types, length, where):
    collapse = Collapse("bond", 0, 1, types, length, 1.2, "")
    assert in_sampled_range(collapse, RANGES) == where


@pytest.mark.parametrize(
    "types, degrees, where",
    [
        ("ca-oh-ho", 69.0, "inside"),
        ("ca-oh-ho", 68.9, "outside"),
        ("ca-oh-ho", 147.0, "inside"),
        ("ca-oh-ho", 147.1, "outside"),
        ("c1-c3-hc", 98.0, "inside"),
        ("c1-c3-hc", 97.9, "outside"),
        ("c1-c3-hc", 113.1, "outside"),
    ],
)
def test_an_overlap_across_an_angle_is_judged_by_the_angle(types, degrees, where):
    collapse = Collapse("overlap", 0, 2, "ca-ho", 1.0, 1.1, "", types, degrees)
    assert in_sampled_range(collapse, RANGES) == where


def test_an_angle_type_without_a_sampled_range_is_an_error():
    with pytest.raises(PhysEmbedError, match=r"angle type 'c-n-hn' has 0 rows .*ca-oh-ho, c1-c3-hc"):
        in_sampled_range(Collapse("overlap", 0, 2, "c-hn", 1.0, 1.1, "", "c-n-hn", 50.0), RANGES)


def test_the_angle_across_which_two_atoms_overlap_is_named(detector):
    """C-O-H with arms of 1.4 and 1.140 Å and 0.860 Å between the ends."""
    collapse = detector.describe(detector.check(*quantities(OVERLAPPING)), 0)
    first, second = np.array([-1.4, 0.0]), np.array([-0.9, 0.7])
    expected = np.degrees(np.arccos(first @ second / np.linalg.norm(first) / np.linalg.norm(second)))
    assert collapse.angle_types == "c3-oh-ho"
    assert collapse.angle_degrees == pytest.approx(expected)
    assert f"the angle c3-oh-ho is {expected:.1f} degrees" in collapse.detail


def test_an_overlap_of_atoms_without_a_common_neighbour_has_no_angle(detector):
    """Both ends of the chain 0.6 Å apart, and nothing else too near."""
    collapse = detector.describe(detector.check(*quantities(moved(3, -0.8, 2.1, 0))), 0)
    assert (collapse.cause, collapse.atom_i, collapse.atom_j) == ("overlap", 0, 3)
    assert (collapse.angle_types, collapse.angle_degrees) == ("", None)
    assert in_sampled_range(collapse, RANGES) == ""


def test_sampled_range_is_empty_for_other_causes():
    assert in_sampled_range(Collapse("overlap", 0, 1, "c-o", 1.2, 1.3, ""), RANGES) == ""
    assert in_sampled_range(Collapse("non_finite", None, None, "", None, None, ""), RANGES) == ""


def test_bond_type_without_a_sampled_range_is_an_error():
    with pytest.raises(PhysEmbedError, match=r"bond type 'ca-oh' has 0 rows .*c-o, c3-hc"):
        in_sampled_range(Collapse("bond", 0, 1, "ca-oh", 1.9, 1.4, ""), RANGES)
