"""The mathematics against cases worked by hand, brute force, published tables, scipy and statsmodels."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import chain, combinations, permutations

import numpy as np
import pytest
from scipy import integrate, stats
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.multicomp import pairwise_tukeyhsd
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.nonparametric import rank_compare_2indep
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.weightstats import ttost_ind

from study.analysis.power import OneSided, power, seeds_for_power
from study.analysis.sequential import nominal_levels, plan_looks, spent
from study.analysis.statistics import (
    Spread,
    check_spread,
    compare,
    draw_means,
    hedges_g,
    holm,
    kendall,
    probability_of_improvement,
    rank_probabilities,
    sidak,
    tau_b,
    welch_df,
)
from study.errors import StudyError

POOLED, WELCH, PAIRED = Spread("pooled", None, 1.0), Spread("welch", None, 1.0), Spread("paired", None, 1.0)
HAND = [np.array([7.0, 8.0, 9.0]), np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0])]


@pytest.fixture
def uneven() -> list[np.ndarray]:
    """Four samples of different sizes, means and spreads."""
    rng = np.random.default_rng(11)
    return [mean + sd * rng.standard_normal(n) for mean, sd, n in [(0, 1, 4), (0.8, 1.3, 6), (2, 0.7, 5), (2, 2, 9)]]


# ---------------------------------------------------------------- all pairs


def test_pooled_comparison_of_a_case_worked_by_hand():
    # Every sample variance is 1, so s = 1 with 6 degrees of freedom, and the error of a difference is sqrt(2/3).
    comparison = compare(HAND, POOLED)
    assert comparison.difference == pytest.approx([4, 6, 2])
    assert comparison.standard_error == pytest.approx([np.sqrt(2 / 3)] * 3)
    assert comparison.df == pytest.approx([6] * 3)
    assert comparison.p_different()[2] == pytest.approx(0.0498, abs=1e-4)  # t = 2.449 with 6 df
    low, high = comparison.intervals(0.05)
    assert (high - low) / 2 == pytest.approx([4.339 / np.sqrt(3)] * 3, abs=1e-3)  # printed tables: q(.05; 3, 6) = 4.339


def test_pooled_intervals_are_tukeys_by_scipy_and_statsmodels(uneven: list[np.ndarray]):
    comparison = compare(uneven, POOLED)
    low, high = comparison.intervals(0.05)
    expected = stats.tukey_hsd(*uneven).confidence_interval(0.95)
    assert low == pytest.approx(expected.low[comparison.first, comparison.second], rel=1e-6)
    assert high == pytest.approx(expected.high[comparison.first, comparison.second], rel=1e-6)
    groups = np.repeat(np.arange(4), [len(sample) for sample in uneven])
    oracle = pairwise_tukeyhsd(np.concatenate(uneven), groups).confint
    assert np.stack([-high, -low], axis=1) == pytest.approx(oracle, abs=2e-3)  # theirs is second minus first


def test_welch_p_values_are_scipys_for_each_pair(uneven: list[np.ndarray]):
    comparison = compare(uneven, WELCH)
    for index, (first, second) in enumerate(combinations(uneven, 2)):
        expected = stats.ttest_ind(first, second, equal_var=False)
        assert comparison.p_different()[index] == pytest.approx(expected.pvalue)
        assert comparison.df[index] == pytest.approx(expected.df)
        assert comparison.p_above(0)[index] == pytest.approx(
            stats.ttest_ind(first, second, equal_var=False, alternative="greater").pvalue
        )


@pytest.mark.parametrize(("spread", "usevar"), [(POOLED, "pooled"), (WELCH, "unequal")])
def test_equivalence_is_statsmodels_tost(uneven: list[np.ndarray], spread: Spread, usevar: str):
    for first, second in combinations(uneven, 2):
        p, above, below = ttost_ind(first, second, -1.5, 1.5, usevar=usevar)
        comparison = compare([first, second], spread)
        assert comparison.p_equivalent(1.5)[0] == pytest.approx(p)
        assert comparison.p_above(-1.5)[0] == pytest.approx(above[1])
        assert comparison.p_below(1.5)[0] == pytest.approx(below[1])


def test_welch_intervals_hold_together_by_sidaks_level(uneven: list[np.ndarray]):
    level = sidak(0.05, 6)
    assert (1 - level) ** 6 == pytest.approx(0.95)
    low, high = compare(uneven, WELCH).intervals(0.05)
    for index, (first, second) in enumerate(combinations(uneven, 2)):
        expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(1 - level)
        assert (low[index], high[index]) == pytest.approx((expected.low, expected.high))


def test_paired_p_values_and_intervals_are_scipys_for_each_pair():
    rng = np.random.default_rng(3)
    samples = list(rng.standard_normal((3, 6)) + rng.standard_normal(6))
    comparison = compare(samples, PAIRED)
    low, high = comparison.intervals(0.05)
    for index, (first, second) in enumerate(combinations(samples, 2)):
        expected = stats.ttest_rel(first, second)
        assert comparison.p_different()[index] == pytest.approx(expected.pvalue)
        assert comparison.df[index] == expected.df == 5
        interval = expected.confidence_interval(1 - sidak(0.05, 3))
        assert (low[index], high[index]) == pytest.approx((interval.low, interval.high))


def test_a_difference_that_never_varies_shows_nothing_when_paired():
    first = np.array([0.1, 0.2, 0.3])
    assert compare([first, first - 1], PAIRED).p_different() == pytest.approx([1])


def test_two_variants_need_no_correction(uneven: list[np.ndarray]):
    first, second = uneven[:2]
    for spread, equal_var in ((POOLED, True), (WELCH, False)):
        low, high = compare([first, second], spread).intervals(0.05)
        expected = stats.ttest_ind(first, second, equal_var=equal_var).confidence_interval(0.95)
        assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), rel=1e-6)


def test_variants_without_any_spread_show_nothing_under_welch():
    constant = np.full(4, 0.1)
    comparison = compare([constant, constant + 1, np.array([0.0, 1.0, 2.0, 4.0])], WELCH)
    assert comparison.p_different()[0] == 1
    assert np.isinf(comparison.intervals(0.05)[1][0])
    assert comparison.df[1] == pytest.approx(3)  # all of the spread is the third variant's


# ---------------------------------------------------------------- the check of variances


def test_brown_forsythe_is_an_f_test_of_distances_to_the_median(uneven: list[np.ndarray]):
    distances = [np.abs(sample - np.median(sample)) for sample in uneven]
    assert check_spread(uneven).brown_forsythe_p == pytest.approx(stats.f_oneway(*distances).pvalue)


def test_few_seeds_of_similar_spread_are_pooled():
    sample = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert check_spread([sample, 1.7 * sample]).model == "pooled"
    assert check_spread([sample, 1.9 * sample]).model == "welch"
    assert check_spread([sample, np.append(sample, 3)]).model == "welch"
    assert check_spread([sample, sample]).sd_ratio == 1


def test_two_seeds_have_no_brown_forsythe():
    spread = check_spread([np.array([1.0, 2.0]), np.array([1.0, 2.5])])
    assert spread.brown_forsythe_p is None
    assert spread.model == "pooled"


def test_a_variant_without_spread_asks_for_welch():
    spread = check_spread([np.full(3, 0.1), np.array([1.0, 2.0, 3.0])])
    assert spread.model == "welch"
    assert spread.sd_ratio == float("inf")


# ---------------------------------------------------------------- Holm


@pytest.fixture
def nothing_old_is_garbage() -> Iterator[None]:
    """statsmodels collects garbage at every call, which takes long where all test files are imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("nothing_old_is_garbage")
def test_holm_is_statsmodels_holm():
    rng = np.random.default_rng(3)
    for _ in range(20):
        p = rng.uniform(size=10) ** 3
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_weighted_holm_is_the_closed_test_of_weighted_bonferroni():
    # A hypothesis falls if every intersection that contains it falls; brute force over all subsets.
    rng = np.random.default_rng(4)
    for _ in range(20):
        p, weights = rng.uniform(size=5) ** 3, rng.dirichlet(np.ones(5))
        subsets = list(chain.from_iterable(combinations(range(5), size) for size in range(1, 6)))
        intersection = {s: min(p[i] / weights[i] for i in s) * sum(weights[i] for i in s) for s in subsets}
        closed = [min(1, max(intersection[s] for s in subsets if i in s)) for i in range(5)]
        assert holm(p, weights) == pytest.approx(closed)


# ---------------------------------------------------------------- sizes of effects


def test_hedges_correction_for_two_and_two_seeds_is_one_over_root_pi():
    assert hedges_g(np.array([3.0, 5.0]), np.array([1.0, 3.0])) == pytest.approx(2 / np.sqrt(2) / np.sqrt(np.pi))


def test_hedges_g_is_near_statsmodels_approximation(uneven: list[np.ndarray]):
    for a, b in combinations(uneven, 2):
        arguments = [f(x) for x in (a, b) for f in (np.mean, lambda x: x.std(ddof=1), len)]
        expected, _ = effectsize_smd(*arguments)
        assert hedges_g(a, b) == pytest.approx(expected, rel=2e-3)


def test_hedges_g_without_spread_is_not_a_number():
    assert np.isnan(hedges_g(np.full(3, 1.0), np.full(3, 2.0)))


def test_probability_of_improvement_counts_pairs_and_half_of_ties():
    a, b = np.array([1.0, 2.0, 4.0, 4.0]), np.array([0.0, 2.0, 3.0])
    wins = sum((x > y) + 0.5 * (x == y) for x in a for y in b)
    assert probability_of_improvement(a, b).probability == pytest.approx(wins / 12)
    assert wins == stats.mannwhitneyu(a, b).statistic


def test_interval_of_improvement_is_brunner_munzels(uneven: list[np.ndarray]):
    for a, b in [(uneven[0], uneven[1]), (uneven[1], uneven[3])]:
        low, high = rank_compare_2indep(a, b, use_t=True).conf_int(alpha=0.05)
        improvement = probability_of_improvement(a, b)
        assert (improvement.low, improvement.high) == pytest.approx((max(0, low), min(1, high)))


def test_complete_separation_of_five_seeds_leaves_a_wide_interval():
    improvement = probability_of_improvement(np.arange(5.0) + 10, np.arange(5.0))
    assert improvement.probability == improvement.high == 1
    assert improvement.low == pytest.approx(0.025 ** (1 / 5))


# ---------------------------------------------------------------- order


@pytest.mark.parametrize(
    ("measured", "tau", "p"),
    [([5, 4, 3, 2, 1], 1, 1 / 120), ([5, 4, 3, 1, 2], 0.8, 5 / 120), ([5, 4, 1, 3, 2], 0.6, 14 / 120)],
)
def test_one_sided_p_of_tau_among_five_variants(measured: list[float], tau: float, p: float):
    result = kendall([0, -1, -2, -3, -4], np.array(measured, dtype=float))
    assert result is not None
    assert (result.tau, result.attainable, result.p) == pytest.approx((tau, 1, p))


@pytest.mark.parametrize(
    ("levels", "attainable"), [([2, 2, 1, 0, -1], 0.949), ([2, 2, 1, 1, 0], 0.894), ([2, 2, 2, 1, 0], 0.837)]
)
def test_ties_in_the_published_order_limit_tau(levels: list[int], attainable: float):
    result = kendall(levels, np.arange(5, 0, -1.0))
    assert result is not None
    assert result.attainable == pytest.approx(attainable, abs=5e-4)
    assert result.tau == pytest.approx(result.attainable)


def test_tau_and_its_p_by_brute_force_over_all_permutations():
    levels, measured = [3, 3, 2, 1, 1], np.array([0.7, 0.4, 0.6, 0.5, 0.1])
    result = kendall(levels, measured)
    taus = [stats.kendalltau(levels, order).statistic for order in permutations(measured)]
    assert result is not None
    assert result.tau == pytest.approx(stats.kendalltau(levels, measured).statistic)
    assert result.p == pytest.approx(np.mean([tau >= result.tau - 1e-12 for tau in taus]))
    assert tau_b(np.array(levels, dtype=float), np.array(list(permutations(measured)))) == pytest.approx(taus)


def test_an_order_of_ties_alone_has_no_tau():
    assert kendall([0, 0, 0], np.array([1.0, 2.0, 3.0])) is None
    assert tau_b(np.array([2.0, 1.0, 0.0]), np.array([[0.5, 0.5, 0.5], [0.5, 0.4, 0.3]])).tolist() == [0, 1]


def test_probability_of_the_better_rank_is_students_t_where_the_variance_is_pooled():
    a, b = np.array([1.0, 2.0, 3.0, 4.5]), np.array([0.5, 1.0, 2.5, 3.0])
    matrix = rank_probabilities(draw_means([a, b], "pooled", 100_000, np.random.default_rng(0)))
    comparison = compare([a, b], POOLED)
    expected = stats.t.cdf(comparison.difference / comparison.standard_error, 6)[0]
    assert matrix == pytest.approx(np.array([[expected, 1 - expected], [1 - expected, expected]]), abs=0.005)


def test_probability_of_the_better_rank_is_behrens_and_fishers_elsewhere():
    a, b = np.array([1.0, 2.0, 3.0, 4.5]), np.array([0.5, 1.0, 2.5, 3.0, 1.0])
    matrix = rank_probabilities(draw_means([a, b], "welch", 100_000, np.random.default_rng(0)))
    error_a, error_b = a.std(ddof=1) / 2, b.std(ddof=1) / np.sqrt(5)
    expected, _ = integrate.quad(
        lambda t: stats.t.pdf(t, 3) * stats.t.cdf((a.mean() + t * error_a - b.mean()) / error_b, 4), -np.inf, np.inf
    )
    assert matrix[0, 0] == pytest.approx(expected, abs=0.005)


def test_drawn_means_spread_as_students_t():
    sample = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0])
    draws = draw_means([sample, sample], "welch", 50_000, np.random.default_rng(1))[:, 0]
    low, high = stats.t.interval(0.95, 5, sample.mean(), sample.std(ddof=1) / np.sqrt(6))
    assert np.quantile(draws, [0.025, 0.975]) == pytest.approx([low, high], abs=0.05)


# ---------------------------------------------------------------- power


def test_power_of_a_difference_is_statsmodels():
    n = np.array([3, 5, 8, 20])
    ours = power([OneSided("above", 0, 0.025)], 1.5, (1.0, 1.0), n)
    theirs = [TTestIndPower().power(1.5, count, 0.025, alternative="larger") for count in n]
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert power([OneSided("below", 0, 0.025)], -1.5, (1.0, 1.0), n) == pytest.approx(ours)


def test_power_of_equivalence_by_simulation():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((4000, 2, 10)) * np.array([1.0, 1.5])[:, None]
    shown = np.mean([compare(list(pair), WELCH).p_equivalent(2)[0] < 0.05 for pair in values])
    both = [OneSided("above", -2, 0.05), OneSided("below", 2, 0.05)]
    assert power(both, 0, (1.0, 2.25), np.array([10]))[0] == pytest.approx(shown, abs=0.02)


def test_seeds_for_power_are_the_least_that_statsmodels_finds_enough():
    ways = [[OneSided("above", 0, 0.025)], [OneSided("below", 0, 0.025)]]
    needed = TTestIndPower().solve_power(effect_size=1.2, power=0.8, alpha=0.025, alternative="larger")
    assert seeds_for_power(ways, 1.2, (1.0, 1.0), 2, 100) == int(np.ceil(needed))
    assert seeds_for_power(ways, -1.2, (1.0, 1.0), 2, 100) == int(np.ceil(needed))
    assert seeds_for_power(ways, 0.1, (1.0, 1.0), 2, 100) is None


def test_welch_degrees_of_freedom_of_equal_samples_are_those_of_both():
    assert welch_df(np.array([2.0]), np.array([2.0]), np.array([6]), np.array([6])) == pytest.approx([10])


# ---------------------------------------------------------------- sequential looks


@pytest.mark.parametrize(
    ("fractions", "boundaries"),
    [
        ([1 / 2, 1], [2.963, 1.969]),
        ([1 / 3, 2 / 3, 1], [3.710, 2.511, 1.993]),
        ([1 / 4, 1 / 2, 3 / 4, 1], [4.333, 2.963, 2.359, 2.014]),
        ([1 / 5, 2 / 5, 3 / 5, 4 / 5, 1], [4.877, 3.357, 2.680, 2.290, 2.031]),
    ],
)
def test_lan_demets_boundaries_of_equally_spaced_looks_are_the_published_ones(
    fractions: list[float], boundaries: list[float]
):
    # Lan-DeMets spending of O'Brien-Fleming type, two-sided 0.05, as printed in textbooks and by ldbounds and gsDesign
    levels = nominal_levels(fractions, 0.05)
    assert stats.norm.isf(np.array(levels) / 2) == pytest.approx(boundaries, abs=1e-3)


def test_one_look_spends_all():
    assert nominal_levels([1.0], 0.05) == pytest.approx((0.05,))
    assert spent(1.0, 0.05) == pytest.approx(0.05)


def test_crossing_any_boundary_has_probability_alpha_by_the_multivariate_normal():
    fractions = np.array([0.3, 0.65, 1.0])
    bounds = stats.norm.isf(np.array(nominal_levels(list(fractions), 0.1)) / 2)
    correlation = np.sqrt(np.minimum.outer(fractions, fractions) / np.maximum.outer(fractions, fractions))
    inside = stats.multivariate_normal(cov=correlation).cdf(bounds, lower_limit=-bounds)
    assert 1 - inside == pytest.approx(0.1, abs=1e-4)


def test_classic_obrien_fleming_at_two_looks_is_a_little_more_generous_early():
    # O'Brien and Fleming (1979): .0052 and .0480; the spending function keeps more for the end.
    first, last = nominal_levels([0.5, 1], 0.05)
    assert first < 0.0052
    assert last > 0.0480


def test_looks_come_at_the_quarters_from_five_seeds_on():
    assert [look.seeds for look in plan_looks(20, 0.05)] == [5, 10, 15, 20]
    assert [look.seeds for look in plan_looks(10, 0.05)] == [5, 8, 10]
    assert [(look.seeds, look.alpha) for look in plan_looks(4, 0.05)] == [(4, pytest.approx(0.05))]
    with pytest.raises(StudyError, match="2 seeds or more"):
        plan_looks(1, 0.05)


@pytest.mark.parametrize("fractions", [[], [0, 1], [0.5], [0.7, 0.5, 1]])
def test_fractions_must_rise_to_one(fractions: list[float]):
    with pytest.raises(StudyError, match="must rise"):
        nominal_levels(fractions, 0.05)
