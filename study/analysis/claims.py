"""Test a claim, a ranking with margins, on a table of one value per variant and seed; say what holds.

    verdict = test_claim(table, Claim(ranking="C-C-T-T > C-T-T-T >> ViT_REL", epsilon=0.01, delta=0.03))
    print(verdict.sentence, verdict.measured)

The tests and the verdict on each relation: decisions.py. The word for the whole claim: verdicts.py.
"""

# ruff: noqa: PT028 (test_claim is no pytest function)

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd

from study.analysis.decisions import Decisions, Word, decide
from study.analysis.statistics import (
    Floats,
    Kendall,
    Spread,
    draw_means,
    hedges_g,
    kendall,
    probability_of_improvement,
    rank_probabilities,
    tau_b,
)
from study.analysis.tables import check_table
from study.analysis.verdicts import (
    ClaimVerdict,
    ClaimWord,
    Counted,
    Pair,
    RankProbabilities,
    VariantSummary,
    claim_word,
    name_missing,
)
from study.config import Claim
from study.config.notation import Ranking, Relation
from study.errors import StudyError

DRAWS = 10_000
PAIRED = Spread("paired", None, float("nan"))


def test_claim(
    table: pd.DataFrame,
    claim: Claim,
    larger_is_better: bool = True,
    *,
    alpha: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> ClaimVerdict:
    """Test a claim on a table with the columns variant, seed, value.

    Variants that the ranking does not name are left aside. A value that is not finite (a run that diverged, a readout
    not reached) is listed as missing and cautioned about; the tests are then of the seeds that have one. `alpha`
    replaces the claim's at an interim look; `draws` (0 for none) and `seed` are the bootstrap's.

    Raises StudyError for a table without its columns, a seed given twice, or a variant that the table lacks.
    """
    return _tested(table, claim, claim.order, larger_is_better, alpha, draws, seed, explored=False)


def explore(
    table: pd.DataFrame, variants: Sequence[str], claim: Claim, larger_is_better: bool, alpha: float | None = None
) -> ClaimVerdict:
    """All pairs of these variants by a claim's readout and margins, in that order; nothing is claimed of them."""
    order = Ranking(tuple(variants), (Relation.EQUAL,) * (len(variants) - 1))
    return _tested(table, claim, order, larger_is_better, alpha, 0, 0, explored=True)


def _tested(
    table: pd.DataFrame, claim: Claim, ranking: Ranking, larger_is_better: bool, alpha: float | None,
    draws: int, seed: int, explored: bool,
) -> ClaimVerdict:  # fmt: skip
    by_variant = _samples(table, ranking.variants)
    variants = tuple(_summary(variant, rows) for variant, rows in by_variant.items())
    sign = 1 if larger_is_better else -1
    samples = [sign * np.array([v for v in variant.values.values() if v is not None]) for variant in variants]
    missing = tuple((v.variant, seed) for v in variants for seed, value in v.values.items() if value is None)
    verdict = ClaimVerdict(
        claim=claim,
        ranking=", ".join(ranking.variants) if explored else str(ranking),
        larger_is_better=larger_is_better,
        alpha=claim.alpha if alpha is None else alpha,
        variants=variants,
        missing=missing,
        cautions=(),
        untested=_why_untested(ranking, samples),
    )
    if verdict.untested:
        return verdict
    decisions = decide(samples, ranking, claim, verdict.alpha, explored=explored)
    order, ranks = (None, None) if explored else _order(samples, decisions, draws, np.random.default_rng(seed))
    return dataclasses.replace(
        verdict,
        cautions=_cautions(decisions, samples, missing),
        spread=decisions.comparison.spread,
        pairs=tuple(_pair(decisions, samples, index) for index in range(len(decisions.claimed))),
        measured=_measured(decisions, samples),
        kendall=order,
        ranks=ranks,
    )


def _samples(table: pd.DataFrame, variants: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The rows of each variant. Raises StudyError as `check_table` does, and for a variant that the table lacks."""
    table = check_table(table, "the table")
    known = list(dict.fromkeys(table["variant"]))
    if absent := [variant for variant in variants if variant not in known]:
        raise StudyError(f"the claim names {', '.join(absent)}, which the table lacks: it has {', '.join(known)}")
    return {variant: table[table["variant"] == variant] for variant in variants}


# ---------------------------------------------------------------- second opinions: the words alone


def leave_one_seed_out(table: pd.DataFrame, claim: Claim, verdict: ClaimVerdict) -> dict[int, ClaimWord]:
    """The claim's word without each seed in turn, at the level of `verdict`: does it hang on one of them?"""
    values = _by_seed(table, claim, verdict)
    return {int(seed): _counted(values.drop(index=seed), claim, verdict).word for seed in values.index}


def paired_by_seed(table: pd.DataFrame, claim: Claim, verdict: ClaimVerdict) -> Counted | None:
    """The verdict on differences seed by seed, over the seeds that every variant of the claim has a value of.

    A second opinion: the variants of a seed see the same images in the same order, and two that differ in a switch may
    begin alike. Across architectures errors are hardly correlated, and pairing halves the degrees of freedom. None with
    fewer than 3 such seeds.
    """
    values = _by_seed(table, claim, verdict).dropna()
    return None if len(values) < 3 else _counted(values, claim, verdict, PAIRED)


def _by_seed(table: pd.DataFrame, claim: Claim, verdict: ClaimVerdict) -> pd.DataFrame:
    """Values, larger is better: a row a seed, a column a variant of the claim; NaN where there is none."""
    named = pd.concat(_samples(table, claim.order.variants).values())
    values = named.pivot(index="seed", columns="variant", values="value")[list(claim.order.variants)]
    return values.where(np.isfinite(values)) * (1 if verdict.larger_is_better else -1)


def _counted(values: pd.DataFrame, claim: Claim, verdict: ClaimVerdict, spread: Spread | None = None) -> Counted:
    samples = [column[np.isfinite(column)] for column in values.to_numpy(dtype=float).T]
    if _why_untested(claim.order, samples):
        return Counted("untested", ())
    decisions = decide(samples, claim.order, claim, verdict.alpha, spread)
    relations = [(relation, decisions.verdict(pair)[0]) for pair, relation in enumerate(decisions.claimed) if relation]
    return Counted(claim_word(relations), tuple(word for _, word in relations))


# ---------------------------------------------------------------- parts of a verdict


def _summary(variant: str, rows: pd.DataFrame) -> VariantSummary:
    rows = rows.sort_values("seed")
    values = {
        int(seed): float(value) if np.isfinite(value) else None
        for seed, value in zip(rows["seed"], rows["value"], strict=True)
    }
    finite = [value for value in values.values() if value is not None]
    mean = float(np.mean(finite)) if finite else None
    sd = float(np.std(finite, ddof=1)) if len(finite) > 1 else None
    return VariantSummary(variant, len(finite), mean, sd, values)


def _why_untested(ranking: Ranking, samples: list[Floats]) -> str:
    few = [
        f"{variant} has {len(sample)}"
        for variant, sample in zip(ranking.variants, samples, strict=True)
        if len(sample) < 2
    ]
    if few:
        return f"a verdict needs values from at least 2 seeds of each variant, and {', '.join(few)}"
    if all(np.ptp(sample) == 0 for sample in samples):
        return "the seeds of each variant have one and the same value, so there is no spread to judge differences by"
    return ""


def _pair(decisions: Decisions, samples: list[Floats], index: int) -> Pair:
    comparison = decisions.comparison
    first, second = int(comparison.first[index]), int(comparison.second[index])
    relation = decisions.claimed[index]
    verdict: Word | Literal[""]
    verdict, shown = decisions.verdict(index) if relation else ("", "")
    low, high = decisions.interval(index)
    g = hedges_g(samples[first], samples[second])
    return Pair(
        first=decisions.ranking.variants[first],
        second=decisions.ranking.variants[second],
        relation=str(relation) if relation else None,
        adjacent=second == first + 1,
        verdict=verdict,
        shown=shown,
        difference=float(comparison.difference[index]),
        low=low,
        high=high,
        simultaneous=(float(decisions.low[index]), float(decisions.high[index])),
        different_p=float(decisions.different_p[index]),
        equivalent_p=float(decisions.equivalent_p[index]),
        not_worse_p=float(decisions.not_worse_p[index]) if relation is Relation.AT_LEAST else None,
        hedges_g=g if np.isfinite(g) else None,
        improvement=probability_of_improvement(samples[first], samples[second]),
        more_seeds=decisions.more_seeds(index, samples) if verdict == "undecided" else None,
    )


def _measured(decisions: Decisions, samples: list[Floats]) -> str:
    """The measured order in the notation, with `?` where nothing is shown and `≳` for real but below ε."""
    comparison = decisions.comparison
    pairs = zip(comparison.first.tolist(), comparison.second.tolist(), strict=True)
    index = {frozenset(pair): number for number, pair in enumerate(pairs)}
    order = sorted(range(len(samples)), key=lambda place: -samples[place].mean())
    text = decisions.ranking.variants[order[0]]
    for better, worse in pairwise(order):
        text += f" {decisions.word(index[frozenset((better, worse))])} {decisions.ranking.variants[worse]}"
    return text


def _order(
    samples: list[Floats], decisions: Decisions, draws: int, rng: np.random.Generator
) -> tuple[Kendall | None, RankProbabilities | None]:
    """Kendall's τ_b with its bootstrap interval, and the probabilities of ranks."""
    levels = decisions.ranking.levels
    order = kendall(levels, np.array([sample.mean() for sample in samples]))
    if draws == 0:
        return order, None
    means = draw_means(samples, decisions.comparison.spread.model, draws, rng)
    if order is not None:
        low, high = np.quantile(tau_b(np.asarray(levels, dtype=float), means), (0.025, 0.975))
        order = dataclasses.replace(order, low=float(low), high=float(high))
    matrix = tuple(tuple(float(p) for p in row) for row in rank_probabilities(means))
    return order, RankProbabilities(matrix, float(decisions.holds(means).mean()), draws)


def _cautions(decisions: Decisions, samples: list[Floats], missing: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    seeds = min(len(sample) for sample in samples)
    sd = float(np.sqrt(np.mean([sample.var(ddof=1) for sample in samples])))
    ratio = decisions.claim.epsilon / sd
    has_margin = any(relation in (Relation.EQUAL, Relation.AT_LEAST) for relation in decisions.claimed)
    cautions = []
    if missing:
        cautions.append(f"{name_missing(missing)}; what is said of these variants is said of their other seeds")
    if seeds < 5:
        cautions.append(f"{seeds} seeds are a pilot: expect most relations to stay undecided, 8 or more tell")
    if has_margin and ratio < 1.5 and seeds <= 8:
        cautions.append(f"ε is {ratio:.2g} times the sd over seeds: {seeds} seeds hardly show ≈ below 1.5 times")
    return tuple(cautions)
