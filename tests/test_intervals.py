"""The interval beside a verdict is the one that decided it: it never says anything else than the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from study.analysis.decisions import Decisions, decide
from study.analysis.statistics import holm, holm_levels
from study.config import Claim
from study.config.notation import Relation, parse_ranking
from study.results import load

RESULTS = Path(__file__).parents[1] / "results"


@st.composite
def decisions_on_random_samples(draw: st.DrawFn) -> Decisions:
    """Random samples of random rankings, sizes, margins and levels, from clear to hopeless."""
    variants = "ABCDE"[: draw(st.integers(2, 5))]
    relations = [draw(st.sampled_from(list(Relation))) for _ in variants[1:]]
    rest = zip(relations, variants[1:], strict=True)
    ranking = variants[0] + "".join(f" {relation} {variant}" for relation, variant in rest)
    epsilon = draw(st.sampled_from([0.1, 0.5, 1.0, 2.0, 4.0]))
    delta = epsilon * draw(st.sampled_from([2.0, 3.0, 4.0]))
    claim = Claim(ranking=ranking, epsilon=epsilon, delta=delta, alpha=draw(st.sampled_from([0.003, 0.05, 0.2])))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    apart, seeds = draw(st.sampled_from([0.3, 1.0, 2.0, 5.0])), draw(st.integers(2, 9))
    uneven = draw(st.booleans())
    samples = [
        random.normal(
            apart * random.normal(), random.choice([1, 1, 1, 2, 0.3]), seeds + uneven * int(random.integers(3))
        )
        for _ in variants
    ]
    return decide(samples, parse_ranking(ranking), claim)


def _narrower_than_holm() -> Decisions:
    """A case in which Tukey's interval shows B ≫ D, and Holm's first step does not show that they differ."""
    means, halves = (0.0, 1.68, -0.91, -2.1, 0.15), np.array([-0.3082, 0.3082])  # two seeds of sd 0.436 each
    ranking = "A ≈ B ≈ C ≥ D ≈ E"
    claim = Claim(ranking=ranking, epsilon=0.1, delta=0.2, alpha=0.003)
    decisions = decide([mean + halves for mean in means], parse_ranking(ranking), claim)
    assert (decisions.word(5), bool(decisions.different[5]), decisions.verdict(5)[0]) == ("≫", False, "confirmed")
    return decisions


@given(decisions_on_random_samples())
@settings(max_examples=400, deadline=None)
def test_the_interval_agrees_with_the_verdict_of_every_relation(decisions: Decisions) -> None:
    epsilon, delta = decisions.claim.epsilon, decisions.claim.delta
    for pair, relation in enumerate(decisions.claimed):
        if relation is None:
            continue
        low, high = decisions.interval(pair)
        inside, outside, holds_0 = -epsilon < low and high < epsilon, low > epsilon or high < -epsilon, low <= 0 <= high
        agrees = {
            (Relation.EQUAL, "confirmed"): inside,
            (Relation.EQUAL, "contradicted"): outside,
            (Relation.EQUAL, "undecided"): not inside and not outside,
            (Relation.AT_LEAST, "confirmed"): low > -epsilon,
            (Relation.AT_LEAST, "contradicted"): high < -epsilon,
            (Relation.AT_LEAST, "undecided"): low <= -epsilon <= high,
            (Relation.GREATER, "confirmed"): low > 0,
            (Relation.GREATER, "contradicted"): high < 0 or (inside and holds_0),
            (Relation.GREATER, "undecided"): holds_0 and not inside,
            (Relation.MUCH_GREATER, "confirmed"): low > delta,
            (Relation.MUCH_GREATER, "contradicted"): high < delta,
            (Relation.MUCH_GREATER, "undecided"): low <= delta <= high,
        }
        word, shown = decisions.verdict(pair)
        assert agrees[relation, word], (str(relation), word, low, high)
        if shown == "the reverse is shown":
            assert high < 0
        if shown in ("better", "better, by less than ε"):
            assert low > 0
        if "less than ε" in shown or "smaller difference" in shown:
            assert inside
            assert not holds_0


@given(decisions_on_random_samples())
@example(_narrower_than_holm())
@settings(max_examples=400, deadline=None)
def test_the_interval_agrees_with_the_word_between_two_variants(decisions: Decisions) -> None:
    """Of what is shown. `?` beside a claim says less than the claim's verdict may, which then has the interval."""
    epsilon, delta = decisions.claim.epsilon, decisions.claim.delta
    for pair, relation in enumerate(decisions.claimed):
        low, high = decisions.interval(pair)
        difference = decisions.comparison.difference[pair]
        inside, holds_0 = -epsilon < low and high < epsilon, low <= 0 <= high
        match decisions.word(pair):
            case "≫":
                assert max(low, -high) > delta or (relation and decisions.verdict(pair)[0] == "undecided")
            case ">" if relation is not Relation.MUCH_GREATER or difference > 0:
                assert not holds_0
            case "≳":
                assert inside
                assert not holds_0
            case "≈" if relation is None or decisions.verdict(pair)[0] != "undecided":
                assert inside
                assert holds_0
            case "?" if relation is None:
                assert holds_0
                assert not inside


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8), st.booleans(), st.sampled_from([0.01, 0.05, 0.2]))
@settings(deadline=None)
def test_a_p_value_lies_below_its_level_exactly_where_holm_rejects(
    values: list[float], even: bool, alpha: float
) -> None:
    p = np.array(values)
    weights = np.full(len(p), 1 / len(p)) if even else np.arange(1.0, len(p) + 1)
    adjusted = holm(p, weights)
    clear = np.abs(adjusted - alpha) > 1e-12
    np.testing.assert_array_equal((p < holm_levels(p, alpha, weights))[clear], (adjusted < alpha)[clear])


def test_the_last_step_of_holm_is_a_plain_t_interval() -> None:
    """Of three pairs, two of them clear, the third is tested at α itself."""
    seeds = np.linspace(-1, 1, 9)
    decisions = decide([seeds + 0.5, seeds, seeds - 50], parse_ranking("A > B > C"), Claim(ranking="A > B > C"))
    low, high = decisions.interval(0)
    error = float(np.sqrt(2 * seeds.var(ddof=1) / 9))
    assert decisions.verdict(0)[0] == "undecided"
    assert (high - low) / 2 == pytest.approx(stats.t.isf(0.025, 16) * error)


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in RESULTS.glob("*/claims.json")))
def test_committed_verdicts_stand_beside_intervals_that_agree(folder: str) -> None:
    for view in load(RESULTS / folder).views:
        for verdict in view.verdicts:
            for pair in verdict.relations:
                if pair.relation == ">" and pair.verdict == "confirmed":
                    assert pair.low > 0
                if pair.relation == ">" and pair.shown == "the reverse is shown":
                    assert pair.high < 0
            json.dumps(verdict.to_dict(), allow_nan=False)
