"""The mathematics of comparing variants over seeds: arrays in, arrays out (decisions.py makes words of it).

A sample is one variant's readouts, one value a seed. Sources: simultaneous intervals by Tukey and Kramer (equal
variances) and by Tamhane's T2 (Welch t at Šidák's level; Tamhane 1979); Holm 1979; equivalence by two one-sided tests,
Schuirmann 1987; Brown and Forsythe 1974; Hedges 1981; Brunner and Munzel 2000; Kendall 1945 (τ_b).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.intp]

# When the variance may be pooled. Pooling gains power only with few seeds, and where sds differ by a factor of 1.5 to 2
# it declares false differences two to three times as often as it may; the usual check (Brown-Forsythe, or sds differing
# by a factor of 3) does not see that at 5 to 10 seeds. These bounds keep the error at 5 %: results/statistics.
POOLED_AT_MOST_SEEDS = 5
POOLED_AT_MOST_SD_RATIO = 1.8
BROWN_FORSYTHE_LEVEL = 0.01

# ---------------------------------------------------------------- one-way layout, all pairs


@dataclass(frozen=True)
class Spread:
    """How the variance is estimated, and what the check of equal variances saw.

    Paired: of the differences seed by seed. `brown_forsythe_p` is None below 3 seeds, where the test is empty;
    `sd_ratio` is largest over smallest sd.
    """

    model: Literal["pooled", "welch", "paired"]
    brown_forsythe_p: float | None
    sd_ratio: float


def check_spread(samples: Sequence[Floats]) -> Spread:
    """Pooled variance, or Welch's, by the check above: few seeds, similar sds, no sign from Brown-Forsythe."""
    sds = np.sqrt(_variances(samples))
    ratio = float(sds.max() / sds.min()) if sds.min() > 0 else float("inf")
    p = None
    if min(len(sample) for sample in samples) >= 3 and sds.max() > 0:
        with np.errstate(invalid="ignore", divide="ignore"):
            p = float(scipy.stats.levene(*samples, center="median").pvalue)
    few = max(len(sample) for sample in samples) <= POOLED_AT_MOST_SEEDS
    similar = ratio <= POOLED_AT_MOST_SD_RATIO and (p is None or p >= BROWN_FORSYTHE_LEVEL)
    return Spread("pooled" if few and similar else "welch", p, ratio)


@dataclass(frozen=True)
class Comparison:
    """All m = k(k-1)/2 pairs of k variants; positive differences favour the first of a pair. Arrays have length m."""

    spread: Spread
    variants: int
    first: Ints
    second: Ints
    difference: Floats
    standard_error: Floats
    df: Floats

    def p_above(self, bound: float) -> Floats:
        """One-sided p that the difference is above `bound`."""
        return np.asarray(scipy.special.stdtr(self.df, -(self.difference - bound) / self.standard_error))

    def p_below(self, bound: float) -> Floats:
        """One-sided p that the difference is below `bound`."""
        return np.asarray(scipy.special.stdtr(self.df, (self.difference - bound) / self.standard_error))

    def p_different(self) -> Floats:
        """Two-sided p that the difference is not 0."""
        return 2 * np.minimum(self.p_above(0), self.p_below(0))

    def p_equivalent(self, margin: float) -> Floats:
        """p of the two one-sided tests (TOST) that the difference lies within ±margin."""
        return np.maximum(self.p_above(-margin), self.p_below(margin))

    def reach(self, tail: float | Floats) -> Floats:
        """Half the width of each pair's own interval that leaves out `tail` on either side."""
        with np.errstate(invalid="ignore"):
            return np.asarray(t_critical(tail, self.df) * self.standard_error)

    def intervals(self, alpha: float) -> tuple[Floats, Floats]:
        """Simultaneous intervals of all differences: together they cover with probability 1 - alpha or more.

        Tukey-Kramer where the variance is pooled. Under Welch: Tamhane's T2, because the more usual Games-Howell
        intervals cover less than they promise with few values (Dunnett 1980).
        """
        if self.spread.model == "pooled":
            reach = tukey_critical(alpha, self.variants, float(self.df[0])) * self.standard_error
        else:
            reach = self.reach(sidak(alpha, len(self.df)) / 2)
        return self.difference - reach, self.difference + reach


def compare(samples: Sequence[Floats], spread: Spread | None = None) -> Comparison:
    """Differences of all pairs of samples (at least 2 values each) with standard errors and degrees of freedom.

    Paired samples hold the same seeds in the same order. Two variants that both have no spread at all under Welch, or
    whose differences have none, get an infinite standard error: nothing is shown of them.
    """
    spread = spread or check_spread(samples)
    counts = np.array([len(sample) for sample in samples])
    means = np.array([sample.mean() for sample in samples])
    variances = _variances(samples)
    first, second = np.triu_indices(len(samples), 1)
    if spread.model == "paired":
        values = np.stack(samples)
        spreads = _variances(values[first] - values[second])
        error = np.where(spreads > 0, np.sqrt(spreads / counts[0]), np.inf)
        df = np.full(len(first), float(counts[0] - 1))
        return Comparison(spread, len(samples), first, second, means[first] - means[second], error, df)
    if spread.model == "pooled":
        df_all = counts.sum() - len(samples)
        variances = np.full(len(samples), ((counts - 1) * variances).sum() / df_all)
        df = np.full(len(first), float(df_all))
    else:
        df = welch_df(variances[first], variances[second], counts[first], counts[second])
    squared = variances[first] / counts[first] + variances[second] / counts[second]
    error = np.where(squared > 0, np.sqrt(squared), np.inf)
    return Comparison(spread, len(samples), first, second, means[first] - means[second], error, df)


def _variances(samples: Iterable[Floats]) -> Floats:
    """Sample variances; exactly 0 where all values are the same, which rounding of the mean may hide."""
    return np.array([sample.var(ddof=1) if np.ptp(sample) > 0 else 0.0 for sample in samples])


def welch_df(variance_a: Floats, variance_b: Floats, n_a: Floats | Ints, n_b: Floats | Ints) -> Floats:
    """Welch-Satterthwaite degrees of freedom; 1 where neither sample varies."""
    a, b = variance_a / n_a, variance_b / n_b
    below = a**2 / (n_a - 1) + b**2 / (n_b - 1)
    df: Floats = np.ones(len(below))
    np.divide((a + b) ** 2, below, out=df, where=below > 0)
    return df


@lru_cache(maxsize=4096)
def tukey_critical(alpha: float, variants: int, df: float) -> float:
    """Tukey's critical value on the scale of t: the studentized range's upper quantile over √2."""
    return float(scipy.stats.studentized_range.isf(alpha, variants, df)) / np.sqrt(2)


def t_critical(level: float | Floats, df: Floats) -> Floats:
    """The upper `level` quantile of Student's t."""
    return np.asarray(-scipy.special.stdtrit(df, level), dtype=np.float64)


def sidak(alpha: float, tests: int) -> float:
    """Šidák's level of each of `tests` tests for a family-wise `alpha`."""
    return float(-np.expm1(np.log1p(-alpha) / tests))


def holm(p: Floats, weights: Floats | None = None) -> Floats:
    """Holm's adjusted p-values, optionally weighted: test i first meets its share weights[i] of alpha.

    Rejecting where the result is below alpha keeps the family-wise error at alpha under any dependence. What a
    rejected test held passes to the rest in proportion (Holm 1979).
    """
    order, _, _, in_order = _holm_sequence(p, weights)
    adjusted = np.empty(len(p))
    adjusted[order] = in_order
    return np.minimum(adjusted, 1)


def holm_levels(p: Floats, alpha: float, weights: Floats | None = None) -> Floats:
    """The level at which Holm's sequence compared each p-value: its share of alpha among those not rejected before it.

    What comes after the first that is not rejected is held to its share at that step. So a p-value lies below its level
    exactly where `holm` adjusts it to below alpha, and an interval at that level agrees with the decision.
    """
    order, shares, remaining, adjusted = _holm_sequence(p, weights)
    kept = np.flatnonzero(adjusted >= alpha)
    last = kept[0] if len(kept) else len(p) - 1
    levels = np.empty(len(p))
    levels[order] = alpha * shares / remaining[np.minimum(np.arange(len(p)), last)]
    return levels


def _holm_sequence(p: Floats, weights: Floats | None) -> tuple[Ints, Floats, Floats, Floats]:
    """The order in which Holm tests; in it the weights, what is left of them at each test, the adjusted p-values."""
    weights = np.ones(len(p)) if weights is None else weights
    order = np.argsort(p / weights, kind="stable")
    shares = weights[order]
    remaining = np.cumsum(shares[::-1])[::-1]
    return order, shares, remaining, np.maximum.accumulate(p[order] / shares * remaining)


# ---------------------------------------------------------------- sizes of effects


def hedges_g(a: Floats, b: Floats) -> float:
    """Standardized difference of means over the pair's pooled sd, with Hedges' exact correction; NaN without spread."""
    df = len(a) + len(b) - 2
    variance_a, variance_b = _variances([a, b])
    sd = np.sqrt(((len(a) - 1) * variance_a + (len(b) - 1) * variance_b) / df)
    if sd == 0:
        return float("nan")
    correction = np.exp(scipy.special.gammaln(df / 2) - scipy.special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)
    return float((a.mean() - b.mean()) / sd * correction)


@dataclass(frozen=True)
class Improvement:
    """P(a seed of A beats a seed of B), ties counting half: Mann-Whitney's U over n_A n_B, with a 95 % interval."""

    probability: float
    low: float
    high: float


def probability_of_improvement(a: Floats, b: Floats, level: float = 0.95) -> Improvement:
    """Mann-Whitney's U / (n m) with Brunner and Munzel's interval, pairwise (not simultaneous).

    Where the placements have no spread (as when one sample lies wholly above the other) that interval has no width;
    then the exact binomial interval of the min(n, m) independent couples of seeds stands in, which is wider.
    """
    beats, beaten = _share_below(a, b), 1 - _share_below(b, a)
    probability = float(beats.mean())
    parts = np.array([beats.var(ddof=1) / len(a), beaten.var(ddof=1) / len(b)])
    if parts.sum() == 0:
        couples = min(len(a), len(b))
        exact = scipy.stats.binomtest(round(probability * couples), couples).proportion_ci(level, method="exact")
        return Improvement(probability, float(exact.low), float(exact.high))
    df = parts.sum() ** 2 / (parts**2 / np.array([len(a) - 1, len(b) - 1])).sum()
    reach = float(scipy.stats.t.isf((1 - level) / 2, df) * np.sqrt(parts.sum()))
    return Improvement(probability, max(0.0, probability - reach), min(1.0, probability + reach))


def _share_below(values: Floats, others: Floats) -> Floats:
    """Of each value: the part of the others that it exceeds, ties counting half. By sorting: no matrix of all pairs."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    return np.asarray(below / (2 * len(others)))


# ---------------------------------------------------------------- order as a whole


@dataclass(frozen=True)
class Kendall:
    """τ_b of published against measured order, the most it could be given the published ties, one-sided p.

    `low` and `high` are the 95 % interval of τ_b over the bootstrap's draws; None without draws.
    """

    tau: float
    attainable: float
    p: float
    low: float | None = None
    high: float | None = None


def kendall(published: Sequence[int], measured: Floats) -> Kendall | None:
    """Agreement of two orders, higher is better in both; None where either has no order (all tied).

    p is the part of the permutations of the measured values that agree at least as well: all of them up to 7
    variants, 10,000 random ones (seed 0) beyond.
    """
    levels = np.asarray(published, dtype=float)
    if np.ptp(levels) == 0 or np.ptp(measured) == 0:
        return None
    pairs = np.triu_indices(len(levels), 1)

    def concordance(values: Floats, axis: int) -> Floats:
        return tau_b(levels, np.moveaxis(values, axis, -1), pairs)

    test = scipy.stats.permutation_test(
        (measured,),
        concordance,
        permutation_type="pairings",
        alternative="greater",
        vectorized=True,
        n_resamples=10_000,
        rng=np.random.default_rng(0),
    )
    attainable = scipy.stats.kendalltau(levels, -np.arange(len(levels))).statistic
    return Kendall(float(test.statistic), float(attainable), float(test.pvalue))


def tau_b(levels: Floats, values: Floats, pairs: tuple[Ints, Ints] | None = None) -> Floats:
    """Kendall's τ_b of `levels` (k,) against each row of `values` (..., k); 0 where either has no order."""
    i, j = pairs or np.triu_indices(len(levels), 1)
    signs, order = np.sign(levels[i] - levels[j]), np.sign(values[..., i] - values[..., j])
    most = np.sqrt(np.abs(signs).sum() * np.abs(order).sum(-1))
    return np.asarray((order * signs).sum(-1) / np.where(most, most, 1))


def draw_means(samples: Sequence[Floats], model: str, draws: int, rng: np.random.Generator) -> Floats:
    """Parametric bootstrap of the means, (draws, k): mean + sd / √n · t, one sd for all where it is pooled."""
    counts = np.array([len(sample) for sample in samples])
    variances = _variances(samples)
    df = counts - 1
    chi2 = rng.chisquare(df, size=(draws, len(samples)))
    if model == "pooled":
        variances = np.full(len(samples), (df * variances).sum() / df.sum())
        chi2, df = chi2.sum(axis=1, keepdims=True), df.sum()
    means = np.array([sample.mean() for sample in samples])
    normal = rng.standard_normal((draws, len(samples)))
    return np.asarray(means + normal * np.sqrt(variances * df / chi2 / counts))


def rank_probabilities(means: Floats) -> Floats:
    """From draws of means (draws, k): the matrix (k, k) of P(variant has rank r), rank 0 the best."""
    ranks = np.argsort(np.argsort(-means, axis=1, kind="stable"), axis=1)
    variants = means.shape[1]
    return np.stack([(ranks == rank).mean(axis=0) for rank in range(variants)], axis=1)
