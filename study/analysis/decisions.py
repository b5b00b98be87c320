"""From samples to words: which relations of a ranking are shown, at which error rate.

Four families of tests, one for each word, each with the family-wise error rate α:

- `>`: two-sided t tests of all pairs, Holm.
- `≈`: two one-sided tests at ±ε (TOST) of all pairs, weighted Holm: the pairs that the ranking calls ≈ hold 4/5 of α,
  the others, of which the measured ranking may say ≈ and whose claimed > may be refuted by it, the rest.
- `≥`: one-sided t tests at -ε (non-inferiority) of the pairs that the ranking calls ≥, Holm.
- `≫`, and every "by more than" or "by less than": simultaneous intervals of all pairs.

A relation's verdict (d is the difference, positive if the first is better; the interval is the simultaneous one; shown
beside a verdict is the interval that decided it, `Decisions.interval`):

| claimed | confirmed                        | contradicted                                                |
| ------- | -------------------------------- | ----------------------------------------------------------- |
| `A ≈ B` | TOST passes                      | the interval lies wholly outside ±ε                         |
| `A ≥ B` | non-inferior, or shown A > B     | the interval lies wholly below -ε                           |
| `A > B` | shown different, d > 0           | shown different, d < 0; or not different and TOST passes    |
| `A ≫ B` | the interval lies wholly above Δ | the interval lies wholly below Δ                            |

Anything else is undecided: the absence of significance is never ≈. A difference that is real and yet within ε is
written `≳`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.analysis.power import OneSided, seeds_for_power
from study.analysis.statistics import Comparison, Floats, Spread, compare, holm, holm_levels, sidak
from study.config import Claim
from study.config.notation import Ranking, Relation

Word = Literal["confirmed", "contradicted", "undecided"]
CLAIMED_SHARE = 0.8  # of α, for the pairs that are claimed ≈
_BY_SIMULTANEOUS = {
    (Relation.EQUAL, "contradicted"),
    (Relation.AT_LEAST, "contradicted"),
    (Relation.MUCH_GREATER, "confirmed"),
}  # said of "by more than"
MAX_SEEDS = 100  # the search for the number of seeds that a verdict needs ends here


@dataclass(frozen=True)
class Decisions:
    """The tests of all pairs of a ranking's variants, in published order; arrays have one entry a pair.

    `different_p`, `equivalent_p` and `not_worse_p` are adjusted by Holm; the last is NaN where no ≥ is claimed.
    """

    ranking: Ranking
    claim: Claim
    alpha: float
    comparison: Comparison
    claimed: tuple[Relation | None, ...]
    low: Floats
    high: Floats
    different_p: Floats
    equivalent_p: Floats
    not_worse_p: Floats

    @property
    def different(self) -> NDArray[np.bool_]:
        """Pairs whose difference is shown not to be 0."""
        return self.different_p < self.alpha

    @property
    def equal(self) -> NDArray[np.bool_]:
        """Pairs whose difference is shown to lie within ±ε."""
        return self.equivalent_p < self.alpha

    def verdict(self, pair: int) -> tuple[Word, str]:
        """The verdict on the relation claimed of a pair, by the table above, and what was shown."""
        epsilon, delta = self.claim.epsilon, self.claim.delta
        low, high = self.low[pair], self.high[pair]
        different, equal = self.different[pair], self.equal[pair]
        better = different and self.comparison.difference[pair] > 0
        match self.claimed[pair]:
            case Relation.EQUAL if equal:
                return "confirmed", "equal within ε" + (", though a smaller difference is real" if different else "")
            case Relation.EQUAL if low > epsilon or high < -epsilon:
                return "contradicted", "they differ by more than ε"
            case Relation.AT_LEAST if self.not_worse_p[pair] < self.alpha or better:
                return "confirmed", "better" if better else "not worse by ε"
            case Relation.AT_LEAST if high < -epsilon:
                return "contradicted", "worse by more than ε"
            case Relation.GREATER if better:
                return "confirmed", "better" + (", by less than ε" if equal else "")
            case Relation.GREATER if different:
                return "contradicted", "the reverse is shown"
            case Relation.GREATER if equal:
                return "contradicted", "equal within ε"
            case Relation.MUCH_GREATER if low > delta:
                return "confirmed", "better by more than Δ"
            case Relation.MUCH_GREATER if high < delta:
                reverse = different and not better
                return "contradicted", "the reverse is shown" if reverse else "not better by as much as Δ"
        return "undecided", "neither it nor its opposite is shown"

    # ------------------------------------------------------------ the interval that decided

    def interval(self, pair: int) -> tuple[float, float]:
        """The interval that a pair's verdict was decided by; of a pair without a claim, that decided its word.

        Each family of tests has its own, at the level at which Holm's sequence compared the pair (`holm_levels`); the
        simultaneous one decides what is said of "by more than". What is shown lies in the interval of its family; where
        two things are shown, in the narrower one, which shows both. What is shown to be equal and not to be different
        includes 0, as Berger and Hsu's (1996) interval of a TOST does. What is undecided has the interval that might
        have decided it, the widest where there are several.
        """
        claimed, word = self.claimed[pair], self.word(pair)
        verdict = self.verdict(pair)[0] if claimed else ""
        reach = {family: float(each[pair]) for family, each in self._reaches.items()}
        if verdict == "undecided" or (not claimed and word == "?"):
            return self._undecided(pair, reach)
        if (not claimed and word == "≫") or (claimed, verdict) in _BY_SIMULTANEOUS:
            return self._around(pair, reach["simultaneous"])
        different = bool(self.different[pair])
        shown = {
            "different": different,
            "equal": bool(self.equal[pair]),
            "not worse": bool(self.not_worse_p[pair] < self.alpha),  # NaN, not claimed, compares false
            "simultaneous": claimed is Relation.MUCH_GREATER or word == "≫",
        }
        low, high = self._around(pair, min(reach[family] for family, is_shown in shown.items() if is_shown))
        return (low, high) if different or word == "≫" else (min(low, 0.0), max(high, 0.0))

    def _undecided(self, pair: int, reach: Mapping[str, float]) -> tuple[float, float]:
        """The widest of the intervals that might have decided; its near end moved where a difference is shown."""
        claimed, margin = self.claimed[pair], 0.0
        low, high = self._around(pair, reach["different"])
        within = -self.claim.epsilon < low and high < self.claim.epsilon
        families = ["different", "equal"] if within else ["different"]
        match claimed:
            case Relation.EQUAL:
                families, margin = ["simultaneous", "equal"], self.claim.epsilon
            case Relation.AT_LEAST:
                families, margin = ["simultaneous", "not worse"], self.claim.epsilon
            case Relation.MUCH_GREATER:
                families, margin = ["simultaneous"], self.claim.delta
        low, high = self._around(pair, max(reach[family] for family in families))
        near_low, near_high = self._around(pair, reach["different"])
        if not self.different[pair]:
            return (low, high) if claimed is Relation.MUCH_GREATER else (min(low, near_low), max(high, near_high))
        if near_low > 0:  # at most at the margin, beyond which nothing is shown
            return max(low, min(near_low, margin)), high
        return low, high if claimed is Relation.MUCH_GREATER else min(high, max(near_high, -margin))

    def _around(self, pair: int, reach: float) -> tuple[float, float]:
        difference = float(self.comparison.difference[pair])
        return difference - reach, difference + reach

    @cached_property
    def _reaches(self) -> dict[str, Floats]:
        """Half the width of each pair's interval, family by family."""
        comparison, epsilon = self.comparison, self.claim.epsilon
        equal = holm_levels(comparison.p_equivalent(epsilon), self.alpha, equality_weights(self.claimed))
        not_worse, at_least = np.full(len(self.claimed), np.nan), np.isfinite(self.not_worse_p)
        not_worse[at_least] = holm_levels(comparison.p_above(-epsilon)[at_least], self.alpha)
        return {
            "different": comparison.reach(holm_levels(comparison.p_different(), self.alpha) / 2),
            "equal": comparison.reach(equal),
            "not worse": comparison.reach(not_worse),
            "simultaneous": self.high - comparison.difference,
        }

    def word(self, pair: int) -> str:
        """What is shown of a pair, the better mean first: ≫, >, ≳ (real but below ε), ≈, or ? for undecided."""
        if max(self.low[pair], -self.high[pair]) > self.claim.delta:
            return "≫"
        if self.different[pair]:
            return "≳" if self.equal[pair] else ">"
        return "≈" if self.equal[pair] else "?"

    def holds(self, means: Floats) -> NDArray[np.bool_]:
        """Whether all relations hold, by their definitions, for each row of given means (rows, variants)."""
        epsilon, delta = self.claim.epsilon, self.claim.delta
        held = np.ones(len(means), dtype=bool)
        for first, second, relation in zip(self.comparison.first, self.comparison.second, self.claimed, strict=True):
            difference = means[:, first] - means[:, second]
            match relation:
                case Relation.EQUAL:
                    held &= np.abs(difference) < epsilon
                case Relation.AT_LEAST:
                    held &= difference > -epsilon
                case Relation.GREATER:
                    held &= difference > 0
                case Relation.MUCH_GREATER:
                    held &= difference > delta
        return held

    def more_seeds(self, pair: int, samples: Sequence[Floats]) -> int | None:
        """Seeds to add to each of a pair's variants to decide its claimed relation with a power of 0.8.

        Taken at the measured difference and sds, which are themselves uncertain, with Welch's t and the levels of
        the families as they stand now. None: more than MAX_SEEDS in all.
        """
        a, b = samples[self.comparison.first[pair]], samples[self.comparison.second[pair]]
        now = min(len(a), len(b))
        difference, variances = float(self.comparison.difference[pair]), (float(a.var(ddof=1)), float(b.var(ddof=1)))
        if sum(variances) == 0:
            return None
        seeds = seeds_for_power(self._ways(pair), difference, variances, now + 1, MAX_SEEDS)
        return None if seeds is None else seeds - now

    def _ways(self, pair: int) -> list[list[OneSided]]:
        """The ways in which the claimed relation of a pair can be decided: what must be shown, at which level."""
        epsilon, delta = self.claim.epsilon, self.claim.delta
        interval = sidak(self.alpha, len(self.low)) / 2
        weights = equality_weights(self.claimed)
        equal_level = self.alpha * weights[pair] / weights[~self.equal | (np.arange(len(weights)) == pair)].sum()
        equal = [OneSided("above", -epsilon, equal_level), OneSided("below", epsilon, equal_level)]
        match self.claimed[pair]:
            case Relation.EQUAL:
                return [equal, [OneSided("above", epsilon, interval)], [OneSided("below", -epsilon, interval)]]
            case Relation.AT_LEAST:
                open_pairs = int((self.not_worse_p >= self.alpha).sum())  # NaN, not claimed, compares false
                level = self.alpha / max(1, open_pairs)
                return [[OneSided("above", -epsilon, level)], [OneSided("below", -epsilon, interval)]]
            case Relation.GREATER:
                level = self.alpha / 2 / int((~self.different).sum())
                return [[OneSided("above", 0, level)], [OneSided("below", 0, level)], equal]
            case Relation.MUCH_GREATER:
                return [[OneSided("above", delta, interval)], [OneSided("below", delta, interval)]]
        raise ValueError(f"nothing is claimed of pair {pair}")


def decide(
    samples: Sequence[Floats],
    ranking: Ranking,
    claim: Claim,
    alpha: float | None = None,
    spread: Spread | None = None,
    explored: bool = False,
) -> Decisions:
    """Test a ranking on samples, larger is better, one a variant in the ranking's order, at least 2 values each.

    `alpha` replaces the claim's own, as at an interim look (sequential.py); `spread` what the check of variances says.
    Where all pairs are `explored`, the ranking gives their order alone, and nothing is claimed of them.
    """
    alpha = claim.alpha if alpha is None else alpha
    comparison = compare(samples, spread)
    places = zip(comparison.first.tolist(), comparison.second.tolist(), strict=True)
    claimed = tuple(None if explored else ranking.relation(first, second) for first, second in places)
    low, high = comparison.intervals(alpha)
    not_worse_p = np.full(len(claimed), np.nan)
    at_least = np.array([relation is Relation.AT_LEAST for relation in claimed])
    not_worse_p[at_least] = holm(comparison.p_above(-claim.epsilon)[at_least])
    return Decisions(
        ranking=ranking,
        claim=claim,
        alpha=alpha,
        comparison=comparison,
        claimed=claimed,
        low=low,
        high=high,
        different_p=holm(comparison.p_different()),
        equivalent_p=holm(comparison.p_equivalent(claim.epsilon), equality_weights(claimed)),
        not_worse_p=not_worse_p,
    )


def equality_weights(claimed: Sequence[Relation | None]) -> Floats:
    """Each pair's share of α in the family of ≈: 4/5 to the pairs claimed ≈, the rest to the others; equal if alone."""
    is_claimed = np.array([relation is Relation.EQUAL for relation in claimed])
    count = int(is_claimed.sum())
    if count in (0, len(claimed)):
        return np.full(len(claimed), 1 / len(claimed))
    return np.where(is_claimed, CLAIMED_SHARE / count, (1 - CLAIMED_SHARE) / (len(claimed) - count))
