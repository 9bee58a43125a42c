"""Survival statistics against analytic results, published worked examples and exhaustive enumeration."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from physembed.analysis.survival import (
    collapse_causes,
    collapse_fractions,
    compare_arms,
    holm,
    log_rank_scores,
    rearranged_runs,
    restricted_mean_times,
    survival_curves,
)
from physembed.errors import PhysEmbedError

# Weeks in remission of leukaemia, and whether the remission ended: E. J. Freireich et al., Blood 1963, 21, 699,
# as in every textbook of survival analysis.
MERCAPTOPURINE = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
MERCAPTOPURINE_ENDED = [True] * 9 + [False] * 12
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def runs(arm, times_ps, collapsed, seed=1):
    """Runs of one arm and seed."""
    return pd.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "replica": range(len(times_ps)),
            "collapsed": np.broadcast_to(np.asarray(collapsed, dtype=bool), len(times_ps)),
            "time_fs": np.asarray(times_ps, dtype=float) * 1000,
        }
    )


def pooled(curves, arm=None):
    """Rows of the arms as a whole."""
    whole = curves[curves["seed"] == "all"]
    return whole if arm is None else whole[whole["arm"] == arm]


@pytest.fixture
def leukaemia():
    return pd.concat(
        [runs("6-MP", MERCAPTOPURINE, MERCAPTOPURINE_ENDED), runs("placebo", PLACEBO, True)], ignore_index=True
    )


def test_kaplan_meier_gives_the_published_curve(leukaemia):
    curve = pooled(survival_curves(leukaemia), "6-MP").set_index("time_ps")
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    for week, survival in published.items():
        assert curve.loc[week, "survival"] == pytest.approx(survival, abs=6e-4)
    assert [curve.loc[week, "at_risk"] for week in published] == [21, 17, 15, 12, 11, 7, 6]
    assert [curve.loc[week, "collapsed"] for week in published] == [3, 4, 5, 6, 7, 8, 9]
    # censored, so no step
    assert curve.loc[9, "survival"] == curve.loc[7, "survival"]


def test_band_is_exponential_greenwood(leukaemia):
    """At 10 weeks, from the definition: Var(ln S) = sum d / (n (n - d)), limits S^exp(+-z se / ln S)."""
    curve = pooled(survival_curves(leukaemia), "6-MP").set_index("time_ps")
    survival = (18 / 21) * (16 / 17) * (14 / 15)
    error = math.sqrt(3 / (21 * 18) + 1 / (17 * 16) + 1 / (15 * 14)) / math.log(survival)
    z = stats.norm.ppf(0.975)
    assert curve.loc[10, "low"] == pytest.approx(survival ** math.exp(-z * error))
    assert curve.loc[10, "high"] == pytest.approx(survival ** math.exp(z * error))
    assert curve.loc[10, "low"] < survival < curve.loc[10, "high"]


def test_log_rank_gives_the_published_statistic(leukaemia):
    (row,) = compare_arms(leukaemia).to_dict("records")
    assert (row["arm_a"], row["arm_b"]) == ("6-MP", "placebo")
    assert row["statistic"] == pytest.approx(16.79, abs=0.005)
    assert row["p_value"] == pytest.approx(stats.chi2.sf(row["statistic"], 1))
    assert row["observed_minus_expected"] == pytest.approx(9 - 19.25, abs=0.005)
    # one seed an arm: the seeds show nothing, however small the p-value of the runs
    assert (row["p_value_seeds"], row["smallest_p_value_seeds"], row["assignments"]) == (1.0, 1.0, 2)
    assert "this few seeds" in row["note"]


def test_without_censoring_kaplan_meier_is_the_empirical_distribution():
    times = np.random.default_rng(1).integers(1, 30, size=80)
    curve = pooled(survival_curves(runs("a", times, True)))
    for time, survival in zip(curve["time_ps"], curve["survival"], strict=True):
        assert survival == pytest.approx((times > time).mean())


def test_exponential_collapse_gives_exp_minus_t():
    """Censored at random from 1.5 on: the Dvoretzky-Kiefer-Wolfowitz bound before, the band mostly after."""
    generator = np.random.default_rng(2)
    collapse, end = generator.exponential(size=4000), generator.uniform(1.5, 4, size=4000)
    curve = pooled(survival_curves(runs("a", np.minimum(collapse, end), collapse <= end)))
    early = curve[curve["time_ps"] < 1.5]
    assert len(early) > 2000
    bound = math.sqrt(math.log(2 / 1e-6) / (2 * 4000))
    assert np.abs(early["survival"] - np.exp(-early["time_ps"])).max() < bound
    inner = curve[(curve["time_ps"] > 0.05) & (curve["at_risk"] > 50)]
    inside = (inner["low"] < np.exp(-inner["time_ps"])) & (np.exp(-inner["time_ps"]) < inner["high"])
    assert inside.mean() > 0.8


@pytest.mark.long
def test_pointwise_band_covers_at_its_level():
    """Coverage of S(0.7) by the band of 100 runs in 400 repetitions, which the binomial law bounds."""
    generator = np.random.default_rng(3)
    tables = [
        runs("a", np.minimum(times, 1.0), times < 1.0, seed=seed)
        for seed, times in enumerate(generator.exponential(size=(400, 100)))
    ]
    curves = survival_curves(pd.concat(tables, ignore_index=True))
    last = curves[(curves["seed"] != "all") & (curves["time_ps"] <= 0.7)].groupby("seed").last()
    covered = ((last["low"] <= math.exp(-0.7)) & (math.exp(-0.7) <= last["high"])).mean()
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 400))


def test_band_without_any_collapse_is_the_exact_binomial_one():
    curve = pooled(survival_curves(runs("a", [100.0] * 100, False)))
    assert curve["survival"].tolist() == [1.0, 1.0]
    assert curve["high"].tolist() == [1.0, 1.0]
    assert curve["low"].tolist() == [1.0, pytest.approx(0.025 ** (1 / 100))]


def test_band_after_every_run_collapsed_is_the_exact_binomial_one():
    last = pooled(survival_curves(runs("a", [1.0, 2.0, 3.0, 3.0], True))).iloc[-1]
    assert (last["survival"], last["low"]) == (0.0, 0.0)
    assert last["high"] == pytest.approx(1 - 0.025 ** (1 / 4))


def test_curves_are_complete_and_monotone():
    generator = np.random.default_rng(4)
    tables = [
        runs(arm, np.minimum(times, 2.0), times < 2.0, seed=seed)
        for (arm, seed), times in zip(
            itertools.product("ab", (1, 2, 3)), generator.exponential(size=(6, 20)), strict=True
        )
    ]
    curves = survival_curves(pd.concat(tables, ignore_index=True))
    assert not curves.isna().any().any()
    assert set(zip(curves["arm"], curves["seed"], strict=True)) == set(itertools.product("ab", ("all", "1", "2", "3")))
    for _, curve in curves.groupby(["arm", "seed"]):
        assert curve.iloc[0][["time_ps", "survival", "collapsed"]].tolist() == [0.0, 1.0, 0]
        assert (curve["survival"].diff().dropna() <= 0).all()
        assert ((curve["low"] <= curve["survival"]) & (curve["survival"] <= curve["high"])).all()


@pytest.mark.parametrize("count", [1, 20, 100])
def test_fraction_without_collapse_has_the_closed_form(count):
    row = collapse_fractions(runs("a", [1.0] * count, False)).iloc[0]
    assert (row["seed"], row["runs"], row["collapsed"], row["fraction"], row["low"]) == ("all", count, 0, 0, 0)
    assert row["high"] == pytest.approx(1 - 0.025 ** (1 / count))
    assert row["upper_one_sided"] == pytest.approx(1 - 0.05 ** (1 / count))


def test_a_hundred_stable_runs_show_97_percent():
    assert collapse_fractions(runs("a", [1.0] * 100, False)).loc[0, "upper_one_sided"] == pytest.approx(
        0.0295, abs=5e-5
    )


def test_fraction_limits_solve_the_binomial_tails():
    collapsed = np.arange(50) < 11
    row = collapse_fractions(runs("a", np.ones(50), collapsed)).iloc[0]
    assert stats.binom.sf(10, 50, row["low"]) == pytest.approx(0.025)
    assert stats.binom.cdf(11, 50, row["high"]) == pytest.approx(0.025)
    assert stats.binom.cdf(11, 50, row["upper_one_sided"]) == pytest.approx(0.05)


def test_fractions_of_seeds_add_up_to_the_arm():
    both = pd.concat([runs("a", [1, 2, 9], [True, True, False], 1), runs("a", [9, 9], False, 2)])
    table = collapse_fractions(both).set_index("seed")
    assert table.loc[["all", "1", "2"], "runs"].tolist() == [5, 3, 2]
    assert table.loc[["all", "1", "2"], "collapsed"].tolist() == [2, 2, 0]


def test_restricted_mean_without_censoring_is_the_plain_mean_and_its_error():
    """Greenwood's formula is then the population variance over n."""
    times = np.random.default_rng(5).exponential(size=60)
    both = pd.concat([runs("a", times, True), runs("b", [0.8] * 5, False)])
    row = restricted_mean_times(both).iloc[0]
    assert row["up_to_ps"] == pytest.approx(0.8)
    assert row["mean_ps"] == pytest.approx(np.minimum(times, 0.8).mean())
    assert row["standard_error_ps"] == pytest.approx(np.minimum(times, 0.8).std() / math.sqrt(60))


def test_restricted_mean_of_stable_runs_is_the_duration():
    row = restricted_mean_times(runs("a", [100.0] * 10, False)).iloc[0]
    assert (row["mean_ps"], row["standard_error_ps"], row["up_to_ps"]) == (100.0, 0.0, 100.0)


def test_restricted_mean_of_runs_that_all_collapsed_is_their_mean():
    row = restricted_mean_times(runs("a", [1.0, 2.0, 6.0], True)).iloc[0]
    assert (row["mean_ps"], row["up_to_ps"]) == (pytest.approx(3.0), 6.0)


def test_log_rank_scores_are_observed_minus_expected(leukaemia):
    scores = log_rank_scores(leukaemia)
    assert scores.sum() == pytest.approx(0, abs=1e-12)
    assert scores[leukaemia["arm"] == "placebo"].sum() == pytest.approx(21 - 10.75, abs=0.005)


def test_comparison_does_not_depend_on_the_order_of_arms(leukaemia):
    forward = compare_arms(leukaemia).iloc[0]
    back = compare_arms(leukaemia.iloc[::-1]).iloc[0]
    assert back["arm_a"] == "placebo"
    assert back["statistic"] == pytest.approx(forward["statistic"])
    assert back["p_value"] == pytest.approx(forward["p_value"])
    assert back["observed_minus_expected"] == pytest.approx(-forward["observed_minus_expected"])


def test_comparison_pairs_all_arms_and_needs_two():
    table = pd.concat([runs(arm, [1.0, 2.0], True) for arm in "abc"])
    pairs = compare_arms(table)[["arm_a", "arm_b"]].to_numpy().tolist()
    assert pairs == [["a", "b"], ["a", "c"], ["b", "c"]]
    alone = compare_arms(runs("a", [1.0, 2.0], True))
    assert alone.empty
    assert {"p_value_seeds", "p_value_seeds_holm", "comparisons", "note"} <= set(alone.columns)


def test_comparison_without_any_collapse_says_so():
    row = compare_arms(pd.concat([runs(arm, [100.0] * 20, False) for arm in "ab"])).iloc[0]
    assert (row["statistic"], row["p_value"], row["p_value_seeds"]) == (0.0, 1.0, 1.0)
    assert "no run of either arm collapsed" in row["note"]


def test_comparison_of_runs_that_all_collapse_at_once_says_so():
    row = compare_arms(pd.concat([runs(arm, [0.01] * 20, True) for arm in "ab"])).iloc[0]
    assert (row["statistic"], row["p_value"]) == (0.0, 1.0)
    assert "no difference to test" in row["note"]


def test_log_rank_p_values_are_uniform_for_independent_runs_of_equal_arms():
    generator = np.random.default_rng(6)
    p_values = []
    for times in generator.exponential(size=(400, 80)):
        table = runs("a", np.minimum(times, 1.0), times < 1.0)
        p_values.append(compare_arms(table.assign(arm=["a", "b"] * 40)).loc[0, "p_value"])
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def seeds_of(arm, scales, generator, replicas=8):
    """Runs of one arm whose seeds collapse after times of different scales."""
    tables = []
    for seed, scale in enumerate(scales):
        times = generator.exponential(scale, size=replicas)
        tables.append(runs(arm, np.minimum(times, 1.0), times < 1.0, seed=seed))
    return pd.concat(tables)


def test_seed_permutation_is_the_exhaustive_enumeration():
    """Each assignment of 3 + 4 seeds, with the log-rank numerator that scipy's test gives for it."""
    generator = np.random.default_rng(7)
    table = pd.concat([seeds_of("a", [0.2, 0.5, 0.3], generator), seeds_of("b", [0.6, 2, 1, 0.4], generator)])
    row = compare_arms(table).iloc[0]
    models = [group for _, group in table.groupby(["arm", "seed"])]

    def numerator(chosen):
        mine = pd.concat([models[index] for index in chosen])
        rest = pd.concat([models[index] for index in range(7) if index not in chosen])
        both = pd.concat([mine, rest])
        # O - E of the chosen, step by step
        return sum(
            (mine["collapsed"] & (mine["time_fs"] == time)).sum()
            - (mine["time_fs"] >= time).sum()
            * (both["collapsed"] & (both["time_fs"] == time)).sum()
            / (both["time_fs"] >= time).sum()
            for time in both.loc[both["collapsed"], "time_fs"].unique()
        )

    values = np.abs([numerator(chosen) for chosen in itertools.combinations(range(7), 3)])
    assert row["observed_minus_expected"] == pytest.approx(numerator((0, 1, 2)))
    assert row["p_value_seeds"] == (values >= abs(numerator((0, 1, 2))) - 1e-9).mean()
    assert (row["seeds_a"], row["seeds_b"], row["assignments"]) == (3, 4, 35)
    assert row["smallest_p_value_seeds"] == 1 / 35


def test_five_seeds_apart_reach_the_smallest_p_value():
    table = pd.concat(
        [runs(arm, [time] * 20, arm == "a", seed) for arm, time in (("a", 0.5), ("b", 1.0)) for seed in range(5)]
    )
    row = compare_arms(table).iloc[0]
    assert row["p_value_seeds"] == row["smallest_p_value_seeds"] == 2 / 252
    assert row["p_value"] < 1e-30
    assert row["note"] == ""


def test_seed_permutation_holds_its_level_where_the_log_rank_test_does_not():
    """Equal arms whose seeds differ: the permutation test rejects in at most 5 %, the log-rank test too often."""
    generator = np.random.default_rng(8)
    by_seed, by_run = [], []
    for scales in np.exp(generator.normal(scale=1.5, size=(300, 10))):
        table = pd.concat([seeds_of("a", scales[:5], generator), seeds_of("b", scales[5:], generator)])
        row = compare_arms(table).iloc[0]
        by_seed.append(row["p_value_seeds"] <= 0.05)
        by_run.append(row["p_value"] <= 0.05)
    assert np.mean(by_seed) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)
    assert np.mean(by_run) > 0.2


def test_many_seeds_are_sampled_near_the_enumerated_p_value():
    """11 + 11 seeds have 705 432 assignments; the rank-sum law of all-or-nothing seeds is hypergeometric."""
    table = pd.concat(
        [
            runs(arm, [0.5 if seed < failing else 1.0], seed < failing, seed)
            for arm, failing in (("a", 9), ("b", 4))
            for seed in range(11)
        ]
    )
    row = compare_arms(table).iloc[0]
    failing_in_a = stats.hypergeom(22, 13, 11)
    exact = failing_in_a.sf(8) + failing_in_a.cdf(4)
    assert row["assignments"] == 200_000
    assert row["p_value_seeds"] == pytest.approx(exact, abs=5 * math.sqrt(exact / 200_000))
    assert row["smallest_p_value_seeds"] == pytest.approx(1 / 200_001)


def test_holm_gives_the_hand_computed_example():
    """Of four: 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1, which may not be smaller than the one before it."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, 0.4])), [0.8, 0.8])
    np.testing.assert_allclose(holm(np.array([0.3, 0.5, 0.9])), [0.9, 1, 1])
    assert holm(np.array([0.2])) == [0.2] and len(holm(np.array([]))) == 0


def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferroni():
    generator = np.random.default_rng(9)
    for count in (2, 5, 45):
        p = generator.uniform(0, 0.2, count)
        corrected = holm(p)
        assert (np.diff(corrected[np.argsort(p)]) >= 0).all()
        assert (corrected >= p).all() and (corrected <= np.minimum(1, count * p)).all()
        # whoever asks in another order gets the same
        order = generator.permutation(count)
        np.testing.assert_array_equal(holm(p[order]), corrected[order])
        # a smaller p-value makes no corrected one larger
        assert (holm(np.where(np.arange(count) == 0, p / 10, p)) <= corrected).all()


def test_holm_keeps_false_positives_among_all_pairs_below_the_level():
    """Ten true nulls of independent uniform p-values: in 5 % of the families any is called, without it in 40 %."""
    families = np.random.default_rng(10).uniform(size=(4000, 10))
    any_called = np.mean([holm(p).min() < 0.05 for p in families])
    # The smallest corrected one is 10 times the smallest: P = 1 - (1 - 0.005)^10.
    expected = 1 - (1 - 0.005) ** 10
    assert any_called == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / 4000))


def several_arms(arms, seeds, collapse_ps=0.5):
    """The runs of the first arm all collapse, those of the others none."""
    return pd.concat(
        [
            runs(arm, [collapse_ps if arm == arms[0] else 1.0] * 20, arm == arms[0], seed)
            for arm in arms
            for seed in range(seeds)
        ]
    )


def test_pairs_of_arms_are_corrected_for_their_number():
    table = compare_arms(several_arms("abc", 6)).set_index(["arm_a", "arm_b"])
    smallest = 2 / math.comb(12, 6)
    assert (table["comparisons"] == 3).all()
    np.testing.assert_allclose(table["p_value_seeds"], [smallest, smallest, 1])
    np.testing.assert_allclose(table["p_value_seeds_holm"], [3 * smallest, 3 * smallest, 1])
    np.testing.assert_array_equal(table["p_value_holm"], holm(table["p_value"].to_numpy()))
    assert list(table["note"]) == ["", "", "no run of either arm collapsed: there is nothing to compare"]
    two = compare_arms(several_arms("ab", 6)).iloc[0]
    assert two["p_value_seeds_holm"] == two["p_value_seeds"] and two["p_value_holm"] == two["p_value"]
    assert two["comparisons"] == 1


def test_it_is_said_where_the_correction_leaves_no_result_within_reach():
    """Ten arms of five seeds are 45 pairs: 45 x 2/252 = 0.36. With seven seeds, 45 x 2/3432 = 0.026."""
    table = compare_arms(several_arms("abcdefghij", 5))
    assert table["p_value_seeds_holm"].min() == pytest.approx(45 * 2 / 252)
    limit = "no p-value over seeds can be below 0.36 with this few seeds (7 per arm are needed)"
    assert all(f"corrected for 45 comparisons, {limit}" in note for note in table["note"])
    enough = compare_arms(several_arms("abcdefghij", 7))
    assert enough["p_value_seeds_holm"].min() == pytest.approx(45 * 2 / 3432)
    assert not enough["note"].str.contains("few seeds").any()
    assert compare_arms(several_arms("ab", 3)).loc[0, "note"] == "with this few seeds no p-value can be below 0.1"


def test_causes_are_counted_with_medians_and_the_share_inside():
    table = runs("a", [1.0, 2.0, 6.0, 3.0, 4.0, 9.0], [True] * 5 + [False])
    table["cause"] = ["bond", "bond", "bond", "overlap", "non_finite", ""]
    table["types"] = ["c-o", "c-o", "c-o", "ca-hc", "", ""]
    table["length_A"] = [1.8, 1.9, 2.4, 0.9, np.nan, np.nan]
    table["angle_degrees"] = [np.nan, np.nan, np.nan, 48.0, np.nan, np.nan]
    table["in_sampled_range"] = ["inside", "outside", "outside", "inside", "", ""]
    causes = collapse_causes(table)
    assert causes[["cause", "types", "count"]].to_numpy().tolist() == [
        ["bond", "c-o", 3],
        ["non_finite", "", 1],
        ["overlap", "ca-hc", 1],
    ]
    assert causes.loc[0, ["median_time_ps", "median_length_A"]].tolist() == [2.0, 1.9]
    assert causes.loc[0, "inside_sampled_range"] == pytest.approx(1 / 3)
    assert causes.loc[[0, 1], "median_angle_degrees"].isna().all()
    assert causes.loc[2, ["median_angle_degrees", "inside_sampled_range"]].tolist() == [48.0, 1.0]
    assert np.isnan(causes.loc[1, "inside_sampled_range"])


def test_causes_survive_the_way_through_a_file(tmp_path):
    """An empty text comes back from a CSV file as a missing value; the counts must not lose those runs."""
    table = runs("a", [1.0, 2.0, 9.0], [True, True, False])
    table[["cause", "types", "in_sampled_range"]] = [
        ["non_finite", "", ""],
        ["bond", "c-o", "inside"],
        ["", "", ""],
    ]
    table["length_A"], table["angle_degrees"] = [np.nan, 2.0, np.nan], np.nan
    table.to_csv(tmp_path / "replicas.csv", index=False)
    pd.testing.assert_frame_equal(collapse_causes(pd.read_csv(tmp_path / "replicas.csv")), collapse_causes(table))
    assert collapse_causes(table)["count"].sum() == 2


def test_causes_of_stable_runs_are_an_empty_table():
    table = runs("a", [9.0], False).assign(
        cause="", types="", length_A=np.nan, angle_degrees=np.nan, in_sampled_range=""
    )
    assert collapse_causes(table).empty


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop(columns="time_fs"), "no column 'time_fs'"),
        (lambda table: table.iloc[:0], "is empty"),
        (lambda table: pd.concat([table, table]), "replica 0 .*the run is listed twice"),
        (lambda table: table.assign(time_fs=[1.0, math.nan]), "replica 1 .*not a finite time"),
        (lambda table: table.assign(time_fs=[-1.0, 1.0]), "replica 0 .*not a finite time"),
        (lambda table: table.assign(collapsed=["yes", "no"]), "'collapsed' has type"),
    ],
)
@pytest.mark.parametrize(
    "function", [survival_curves, collapse_fractions, restricted_mean_times, compare_arms, collapse_causes]
)
def test_a_table_that_cannot_be_is_refused(function, spoil, message):
    with pytest.raises(PhysEmbedError, match=message) as caught:
        function(spoil(runs("a", [1.0, 2.0], [True, False])))
    assert "\n" not in str(caught.value)


def test_pairs_that_a_study_names_are_compared_and_corrected_for():
    table = pd.concat([runs(arm, [1.0, 2.0, 3.0 + shift], True) for shift, arm in enumerate("abc")])
    every = compare_arms(table).set_index(["arm_a", "arm_b"])
    named = compare_arms(table, [["a", "b"], ["c", "b"]]).set_index(["arm_a", "arm_b"])
    assert list(named.index) == [("a", "b"), ("c", "b")]
    assert list(named["comparisons"]) == [2, 2]
    assert named.loc[("a", "b"), "p_value"] == every.loc[("a", "b"), "p_value"]
    change = named.loc[("c", "b"), "observed_minus_expected"] + every.loc[("b", "c"), "observed_minus_expected"]
    assert change == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(PhysEmbedError, match=r"no runs of d, an arm to be compared \(there are runs of a, b, c\)"):
        compare_arms(table, [["a", "d"]])


def test_runs_that_rearranged_are_counted_by_arm_and_seed():
    table = pd.concat([runs("a", [1.0] * 4, False), runs("a", [1.0] * 4, True, seed=2), runs("b", [1.0] * 2, False)])
    with pytest.raises(PhysEmbedError, match="no column 'inverted_stereocentres'; run the stability runs again"):
        rearranged_runs(table)
    table = table.assign(
        inverted_stereocentres=[1, 0, 2, 0, 0, 0, 0, 3, 0, 0], cis_trans_changes=[0] * 9 + [1], new_contacts=5
    )
    found = rearranged_runs(table).set_index(["arm", "seed"])
    assert found.loc[("a", "all")].tolist() == [3, 0, 8]
    assert found.loc[("a", "1")].tolist() == [2, 0, 4]
    assert found.loc[("a", "2")].tolist() == [1, 0, 4]
    assert found.loc[("b", "all")].tolist() == [0, 1, 2]
