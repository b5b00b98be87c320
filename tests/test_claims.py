"""Claims: the notation, the words, and whether the words can be trusted."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.analysis import claims
from study.analysis.claims import leave_one_seed_out, paired_by_seed
from study.analysis.decisions import decide, equality_weights
from study.analysis.sequential import decided, plan_looks
from study.analysis.tables import read_table
from study.analysis.verdicts import ClaimVerdict, Pair
from study.config import Claim
from study.config.notation import Relation, parse_ranking
from study.errors import StudyError
from tests.scripts import script

simulation = script("results/statistics/simulate.py")
PAPER = "C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL"
SEEDS = stats.norm.ppf((np.arange(8) + 0.5) / 8)  # eight values with mean 0 and the shape of a normal sample
SEEDS /= SEEDS.std(ddof=1)


def table(means: dict[str, float], sd: float = 1.0, seeds: np.ndarray = SEEDS) -> pd.DataFrame:
    """One row per variant and seed: exact means, the same spread for all, seeds in an order of each variant's own."""
    rows = []
    for number, (variant, mean) in enumerate(means.items()):
        values = mean + sd * np.roll(seeds, 3 * number)
        rows += [(variant, seed, value) for seed, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["variant", "seed", "value"])


def claim(ranking: str, epsilon: float = 2.0, delta: float = 5.0) -> Claim:
    return Claim(ranking=ranking, epsilon=epsilon, delta=delta)


def only_pair(relation: str, difference: float, **arguments: float) -> Pair:
    verdict = claims.test_claim(table({"A": difference, "B": 0}), claim(f"A {relation} B", **arguments), draws=0)
    return verdict.pairs[0]


# ---------------------------------------------------------------- notation


@pytest.mark.parametrize(
    "text",
    [
        PAPER,
        "C-C-C-C ~ C-C-C-T >= C-C-T-T > C-T-T-T >> ViT_REL",
        "cccc~=ccct>=cctt>cttt>>vitrel",
        "  C-C-C-C ≈ C_C_C_T>=cctt >C-T-T-T≫vit-rel ",
    ],
)
def test_a_ranking_reads_the_same_in_unicode_and_ascii(text: str):
    assert str(parse_ranking(text)) == PAPER


def test_labels_may_be_published_names_and_carry_switches():
    text = "cctt[relative_bias=none, head_dim=64] >= coatnet_0 > timm:resnet18 ≫ coat_lite:1.5M"
    assert parse_ranking(text).variants == (
        "C-C-T-T[head_dim=64,relative_bias=none]",
        "coatnet_0",
        "timm:resnet18",
        "coat_lite:1.5M",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"at its end where a variant's name is expected"),
        ("A >", r"at its end where a variant's name is expected"),
        ("> B", r"at character 1, '> B', where a variant's name"),
        ("A >>> B", r"at character 5, '> B', where a variant's name"),
        ("A ≥≥ B", r"at character 4, '≥ B', where a variant's name"),
        ("A = B", r"at character 3, '= B', where one of the relations"),
        ("A < B", r"at character 3, '< B', where one of the relations"),
        ("A > C[x=1] B", r"at character 12, 'B', where one of the relations"),
        ("A > C[x=1", r"at character 6, '\[x=1', where one of the relations"),
        ("A > C[x]", r"'x' is not switch=value"),
        ("A > C[x=1, x=2]", r"C\[x=1, x=2\]' sets x twice"),
        ("A", r"names one variant"),
        ("A > B > A", r"names A twice"),
        ("cctt > C-C-T-T", r"names C-C-T-T twice"),
    ],
)
def test_a_malformed_ranking_gets_a_sentence_that_points_at_the_place(text: str, message: str):
    with pytest.raises(StudyError, match=message):
        parse_ranking(text)


def test_implied_relations_are_the_strongest_on_the_way_and_equality_does_not_add_up():
    ranking = parse_ranking("A ≈ B ≈ C ≥ D > E ≫ F ≈ G")
    implied = {(0, 2): None, (0, 3): "≥", (2, 4): ">", (0, 4): ">", (3, 5): "≫", (0, 6): "≫", (5, 6): "≈"}
    assert {pair: ranking.relation(*pair) for pair in implied} == implied


def test_only_equality_ties_two_variants_in_the_published_order():
    assert parse_ranking(PAPER).levels == (0, 0, -1, -2, -3)


# ---------------------------------------------------------------- the verdict on a relation


@pytest.mark.parametrize(
    ("relation", "difference", "verdict", "shown"),
    [
        # Eight seeds of sd 1: an error of 0.5, and an interval of ±1.07 around the difference.
        (">", 1.5, "confirmed", "better"),
        (">", 0.0, "contradicted", "equal within ε"),
        (">", -1.5, "contradicted", "the reverse is shown"),
        ("≫", 6.2, "confirmed", "better by more than Δ"),
        ("≫", 5.5, "undecided", "neither"),
        ("≫", 2.0, "contradicted", "not better by as much as Δ"),
        ("≫", -2.0, "contradicted", "the reverse is shown"),
        ("≈", 0.5, "confirmed", "equal within ε"),
        ("≈", -0.5, "confirmed", "equal within ε"),
        ("≈", 2.0, "undecided", "neither"),
        ("≈", 3.2, "contradicted", "they differ by more than ε"),
        ("≈", -3.2, "contradicted", "they differ by more than ε"),
        ("≥", 3.0, "confirmed", "better"),
        ("≥", -0.5, "confirmed", "not worse by ε"),
        ("≥", -2.0, "undecided", "neither"),
        ("≥", -3.2, "contradicted", "worse by more than ε"),
    ],
)
def test_the_verdict_on_a_relation(relation: str, difference: float, verdict: str, shown: str):
    pair = only_pair(relation, difference)
    assert pair.verdict == verdict
    assert pair.shown.startswith(shown)


def test_a_real_difference_below_epsilon_confirms_both_greater_and_equal_and_says_so():
    assert only_pair(">", 1.5, epsilon=2.6, delta=5.2).shown == "better, by less than ε"
    assert only_pair("≈", 1.5, epsilon=2.6, delta=5.2).shown == "equal within ε, though a smaller difference is real"
    verdict = claims.test_claim(table({"A": 1.5, "B": 0}), claim("A > B", 2.6, 5.2), draws=0)
    assert verdict.measured == "A ≳ B"


def test_a_difference_neither_shown_nor_ruled_out_is_undecided_whatever_its_p():
    pair = only_pair(">", 1.05, epsilon=1.0, delta=2.0)
    assert 0.05 < pair.different_p < 0.06
    assert (pair.verdict, pair.shown) == ("undecided", "neither it nor its opposite is shown")


def test_two_variants_are_tested_as_textbooks_do(rng: np.random.Generator):
    for _ in range(30):
        a, b = rng.standard_normal(6) + 1, rng.standard_normal(9)
        rows = [("A", seed, value) for seed, value in enumerate(a)] + [
            ("B", seed, value) for seed, value in enumerate(b)
        ]
        frame = pd.DataFrame(rows, columns=["variant", "seed", "value"])
        pair = claims.test_claim(frame, claim("A > B"), draws=0).pairs[0]
        expected = stats.ttest_ind(a, b, equal_var=False)
        assert pair.different_p == pytest.approx(expected.pvalue)
        assert (pair.verdict == "confirmed") == (expected.pvalue < 0.05 and expected.statistic > 0)


def test_pairs_claimed_equal_hold_four_fifths_of_the_error_rate():
    equal, other = Relation.EQUAL, Relation.GREATER
    assert equality_weights([equal, None, other, equal]) == pytest.approx([0.4, 0.1, 0.1, 0.4])
    assert equality_weights([other, None, other]) == pytest.approx([1 / 3] * 3)
    assert equality_weights([equal, equal]) == pytest.approx([1 / 2] * 2)


# ---------------------------------------------------------------- the verdict on a claim

TRUE = {"C-C-C-C": 16.0, "C-C-C-T": 16.0, "C-C-T-T": 16.0, "C-T-T-T": 12.0, "ViT_REL": 2.0}


def test_a_true_ranking_is_reproduced_with_all_ten_relations():
    verdict = claims.test_claim(table(TRUE), claim(PAPER))
    assert verdict.sentence == "reproduced: 10 confirmed, 0 contradicted, 0 undecided of 10 relations"
    assert verdict.measured.endswith("> C-T-T-T ≫ ViT_REL")
    assert verdict.kendall is not None
    assert verdict.kendall.attainable == pytest.approx(np.sqrt(0.9))
    assert verdict.ranks is not None
    assert verdict.ranks.order_holds > 0.99
    assert np.sum(verdict.ranks.matrix, axis=0) == pytest.approx(np.ones(5))


def test_one_contradicted_relation_contradicts_the_claim():
    verdict = claims.test_claim(table(TRUE | {"ViT_REL": 14.0}), claim(PAPER), draws=0)
    assert verdict.verdict == "contradicted"
    assert verdict.count("contradicted") >= 1
    assert verdict.measured.index("ViT_REL") < verdict.measured.index("C-T-T-T")


def test_words_of_a_claim_follow_from_the_counts():
    verdict = claims.test_claim(table(TRUE), claim(PAPER), draws=0)

    def with_verdicts(*words: str) -> ClaimVerdict:
        changed = [replace(pair, verdict=word) for pair, word in zip(verdict.pairs, words, strict=True)]
        return replace(verdict, pairs=tuple(changed))

    c, u = "confirmed", "undecided"  # the relations are ≈ ≥ > ≫, ≥ > ≫, > ≫, ≫
    assert with_verdicts(u, u, c, c, u, c, c, c, c, c).verdict == "reproduced"
    assert with_verdicts(c, c, u, u, c, c, u, c, c, c).verdict == "consistent"
    assert with_verdicts(u, u, u, u, u, u, u, c, c, c).verdict == "undecided"
    assert with_verdicts(u, u, u, u, u, u, u, c, c, "contradicted").verdict == "contradicted"


def test_a_claim_without_strict_relations_is_reproduced_only_if_all_are_confirmed():
    assert claims.test_claim(table({"A": 0, "B": 0}), claim("A ≈ B"), draws=0).verdict == "reproduced"
    assert claims.test_claim(table({"A": 2, "B": 0}), claim("A ≈ B"), draws=0).verdict == "undecided"


def test_losses_are_better_when_smaller():
    accuracies = table(TRUE)
    losses = accuracies.assign(value=-accuracies["value"])
    higher = claims.test_claim(accuracies, claim(PAPER))
    lower = claims.test_claim(losses, claim(PAPER), larger_is_better=False)
    assert lower.pairs == higher.pairs
    assert lower.measured == higher.measured
    assert lower.variants[0].mean == pytest.approx(-16)


def test_unit_and_origin_of_a_readout_do_not_matter():
    frame = table(TRUE | {"C-C-C-T": 15.0, "C-T-T-T": 14.4})
    first = claims.test_claim(frame, claim(PAPER, 2, 5))
    second = claims.test_claim(frame.assign(value=0.3 + 0.01 * frame["value"]), claim(PAPER, 0.02, 0.05))
    assert [pair.verdict for pair in first.pairs] == [pair.verdict for pair in second.pairs]
    assert first.ranks is not None
    assert second.ranks is not None
    assert second.ranks.order_holds == pytest.approx(first.ranks.order_holds, abs=1e-3)
    assert [pair.hedges_g for pair in second.pairs] == pytest.approx([pair.hedges_g for pair in first.pairs])


def test_the_order_of_rows_and_the_spelling_of_labels_do_not_matter():
    frame = table(TRUE)
    shuffled = frame.sample(frac=1, random_state=0).replace({"variant": {"C-C-T-T": "cctt", "ViT_REL": "vit-rel"}})
    assert claims.test_claim(shuffled, claim(PAPER)) == claims.test_claim(frame, claim(PAPER))


def test_the_bootstrap_is_seeded_and_leaves_the_global_generator_alone():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    verdict = claims.test_claim(table(TRUE), claim(PAPER), seed=1)
    assert verdict == claims.test_claim(table(TRUE), claim(PAPER), seed=1)
    assert verdict.ranks != claims.test_claim(table(TRUE), claim(PAPER), seed=2).ranks
    assert (np.random.get_state()[1] == state).all()


def test_a_verdict_is_plain_data_for_json_and_tables():
    frame = table(TRUE)
    frame.loc[3, "value"] = np.inf
    verdict = claims.test_claim(frame, claim(PAPER))
    plain = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert plain["verdict"] == "reproduced"
    assert plain["claim"]["ranking"] == PAPER
    assert plain["variants"][0]["values"]["3"] is None
    assert plain["pairs"][0]["relation"] == "≈"
    assert pd.DataFrame(verdict.rows())["verdict"].eq("confirmed").all()


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_a_variant_is_summarised_by_the_mean_and_sample_sd_of_the_seeds_that_it_has(seeds: int) -> None:
    frame = table({"A": 1, "B": 0}).query("seed < 3").copy()
    frame.loc[(frame["variant"] == "A") & (frame["seed"] >= seeds), "value"] = np.nan
    summary = claims.test_claim(frame, claim("A > B"), draws=0).variants[0]
    values = list(frame.loc[frame["variant"] == "A", "value"][:seeds])
    assert (summary.variant, summary.n, summary.mean) == ("A", seeds, pytest.approx(statistics.fmean(values)))
    assert summary.sd == (pytest.approx(statistics.stdev(values)) if seeds > 1 else None)
    assert summary.values == {**dict.fromkeys(range(3)), **dict(enumerate(values))}


# ---------------------------------------------------------------- what cannot be tested


def test_fewer_than_two_seeds_give_no_verdicts_and_say_why():
    frame = table({"A": 1, "B": 0})
    verdict = claims.test_claim(frame[(frame["variant"] == "A") | (frame["seed"] == 0)], claim("A > B"))
    assert verdict.verdict == "untested"
    assert verdict.sentence == "untested: a verdict needs values from at least 2 seeds of each variant, and B has 1"
    assert not verdict.pairs
    assert not decided(verdict)
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_value_that_is_not_finite_is_named_never_dropped_silently():
    frame = table({"A": 4, "B": 0})
    frame.loc[[1, 9], "value"] = [np.nan, np.inf]
    verdict = claims.test_claim(frame, claim("A > B"), draws=0)
    assert verdict.missing == (("A", 1), ("B", 1))
    assert verdict.sentence.endswith("no value for A seed 1, B seed 1")
    assert "no value for A seed 1, B seed 1" in verdict.cautions[0]
    assert [variant.n for variant in verdict.variants] == [7, 7]
    frame.loc[frame["variant"] == "B", "value"] = np.nan
    verdict = claims.test_claim(frame, claim("A > B"))
    assert verdict.verdict == "untested"
    assert "B has 0; no value for A seed 1, B seed 0 to 7" in verdict.sentence


def test_seeds_without_any_spread_give_no_verdicts():
    verdict = claims.test_claim(table({"A": 1, "B": 0}, sd=0), claim("A > B"))
    assert verdict.verdict == "untested"
    assert "no spread" in verdict.sentence


def test_variants_without_spread_beside_one_that_has_some_stay_undecided_between_them():
    frame = table({"A": 4, "B": 1, "C": 0})
    frame.loc[frame["variant"] == "A", "value"] = 4.0
    frame.loc[frame["variant"] == "B", "value"] = 0.5
    verdict = claims.test_claim(frame, claim("A > B > C", 0.5, 1), draws=100)
    assert [(pair.first, pair.second, pair.verdict) for pair in verdict.pairs] == [
        ("A", "B", "undecided"),
        ("A", "C", "confirmed"),
        ("B", "C", "undecided"),
    ]
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_variant_that_the_table_lacks_is_named():
    with pytest.raises(StudyError, match=r"names C, D, which the table lacks: it has A, B"):
        claims.test_claim(table({"A": 1, "B": 0}), claim("A > B > C > D"))


def test_margins_must_stand_clear_of_each_other():
    with pytest.raises(StudyError, match="delta 3 is below twice epsilon 2"):
        claims.test_claim(table({"A": 1, "B": 0}), claim("A > B", 2, 3))


def test_a_pilot_and_a_small_margin_are_cautioned_about():
    verdict = claims.test_claim(table({"A": 1, "B": 0}, seeds=SEEDS[::3]), claim("A ≈ B", 1, 2), draws=0)
    assert verdict.cautions[0].startswith("3 seeds are a pilot")
    assert "3 seeds hardly show ≈" in verdict.cautions[1]
    assert not claims.test_claim(table({"A": 1, "B": 0}), claim("A ≈ B"), draws=0).cautions


# ---------------------------------------------------------------- more seeds, fewer seeds, looks


def test_more_seeds_are_as_many_as_give_the_relation_a_power_of_four_fifths(rng: np.random.Generator):
    pair = only_pair(">", 0.9, epsilon=1.0, delta=2.0)
    assert pair.verdict == "undecided"
    assert pair.more_seeds is not None
    n = 8 + pair.more_seeds
    assert pair.more_seeds_text == f"{n - 8} more"

    def power(n: int) -> float:
        values = rng.standard_normal((4000, 2, n)) + np.array([0.9, 0])[:, None]
        return float((stats.ttest_ind(values[:, 0], values[:, 1], axis=1, equal_var=False).pvalue < 0.05).mean())

    assert power(n) == pytest.approx(0.81, abs=0.025)
    assert power(n - 2) < power(n + 2)


def test_a_relation_at_its_threshold_needs_more_seeds_than_anybody_has():
    pair = only_pair("≫", 5.01)
    assert pair.more_seeds is None
    assert pair.more_seeds_text == "more than 100 in all"
    assert only_pair("≫", 9).more_seeds_text == ""


def test_every_undecided_relation_gets_a_number_of_seeds():
    frame = table(TRUE | {"C-C-C-T": 14.6, "C-T-T-T": 15.0, "ViT_REL": 8.9})
    undecided = [p for p in claims.test_claim(frame, claim(PAPER), draws=0).pairs if p.verdict == "undecided"]
    assert {pair.relation for pair in undecided} >= {"≥", ">", "≫"}
    assert all(pair.more_seeds_text for pair in undecided)


def test_leaving_one_seed_out_shows_a_claim_that_hangs_on_it():
    frame = table({"A": 1.15, "B": 0})
    stated = claim("A > B", 0.5, 1)
    verdict = claims.test_claim(frame, stated, draws=0)
    assert verdict.verdict == "reproduced"
    without = leave_one_seed_out(frame, stated, verdict)
    assert without == {
        seed: claims.test_claim(frame[frame["seed"] != seed], stated, draws=0).verdict for seed in range(8)
    }
    assert set(without.values()) == {"reproduced", "undecided"}


def test_pairing_by_seed_sees_a_small_difference_under_a_large_spread_that_is_shared():
    noise = 0.01 * np.arange(8) % 0.03
    frame = pd.concat(
        [
            pd.DataFrame({"variant": "A", "seed": range(8), "value": SEEDS + 0.2 + noise}),
            pd.DataFrame({"variant": "B", "seed": range(8), "value": SEEDS}).iloc[::-1],  # rows in another order
        ]
    )
    stated = claim("A > B", 0.1, 0.5)
    verdict = claims.test_claim(frame, stated, draws=0)
    assert verdict.verdict == "undecided"
    paired = paired_by_seed(frame, stated, verdict)
    assert paired is not None
    assert paired.sentence == "reproduced: 1 confirmed, 0 contradicted, 0 undecided of 1 relations"
    p = stats.ttest_rel(frame["value"][:8], frame["value"][:7:-1]).pvalue
    for level, word in ((1.001 * p, "reproduced"), (0.999 * p, "undecided")):
        paired = paired_by_seed(frame, stated, replace(verdict, alpha=level))
        assert paired is not None
        assert paired.word == word


def test_pairing_takes_the_seeds_that_all_variants_have_and_needs_three():
    frame = table({"A": 2, "B": 0})
    frame.loc[(frame["variant"] == "A") & (frame["seed"] == 1), "value"] = np.nan
    stated = claim("A > B", 0.1, 0.2)
    verdict = claims.test_claim(frame, stated, draws=0)
    some = frame[(frame["variant"] == "A") | (frame["seed"] < 4)]
    common = frame[frame["seed"].isin([0, 2, 3])]
    p = stats.ttest_rel(*(common.loc[common["variant"] == name, "value"] for name in "AB")).pvalue
    for level, word in ((1.001 * p, "reproduced"), (0.999 * p, "undecided")):
        paired = paired_by_seed(some, stated, replace(verdict, alpha=level))
        assert paired is not None
        assert paired.word == word
    assert paired_by_seed(frame[(frame["variant"] == "A") | (frame["seed"] < 3)], stated, verdict) is None


def test_a_look_tests_at_its_own_level():
    frame = table({"A": 1.4, "B": 0})
    looks = plan_looks(16, 0.05)
    at_look = claims.test_claim(frame, claim("A > B"), alpha=looks[0].alpha, draws=0)
    at_the_end = claims.test_claim(frame, claim("A > B"), alpha=looks[-1].alpha, draws=0)
    assert not decided(at_look)
    assert decided(at_the_end)
    assert at_look.pairs[0].different_p == at_the_end.pairs[0].different_p
    assert at_look.pairs[0].low < at_the_end.pairs[0].low


# ---------------------------------------------------------------- tables


def test_a_csv_file_is_read_with_canonical_labels_and_empty_values(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text("\ufeffseed, variant, value, note\n0,cctt,0.5,x\n1,cctt,,\n0,ViT_REL,nan,\n")
    frame = read_table(path)
    assert frame["variant"].tolist() == ["C-C-T-T", "C-C-T-T", "ViT_REL"]
    assert frame["seed"].tolist() == [0, 1, 0]
    assert frame["value"].isna().tolist() == [False, True, True]
    assert list(frame) == ["variant", "seed", "value"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("variant,seed,value\n", "has no rows"),
        ("variant,value\nA,1\n", "lacks the column seed: it has variant, value"),
        ("variant,seed,value\nA,0,1\nA,first,2\n", "line 3: seed 'first' is not a whole number"),
        ("variant,seed,value\nA,0.5,1\n", "line 2: seed '0.5' is not a whole number"),
        ("variant,seed,value\nA,0,good\n", "line 2: value 'good' is not a number"),
        ("variant,seed,value\n,0,1\n", "line 2: variant 'nan' is missing"),
        ("variant,seed,value\ncctt,0,1\nC-C-T-T,0,2\n", "line 3: seed '0' is given twice"),
        ("variant,seed,value,value \nA,0,1,2\n", "has the column value twice"),
        ('variant,seed,value\n"A,0,1\n', "is not a CSV file"),
    ],
)
def test_a_table_that_is_anything_else_gets_a_sentence(tmp_path: Path, text: str, message: str):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(StudyError, match=message):
        read_table(path)


def test_a_missing_file_gets_a_sentence(tmp_path: Path):
    with pytest.raises(StudyError, match="there is no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(StudyError, match="cannot be read"):
        read_table(tmp_path)


# ---------------------------------------------------------------- can the words be trusted?

REPETITIONS = 250
ERRORS = list(simulation.ERRORS)


def at_most(rate: float, repetitions: int) -> float:
    """A rate that a procedure with error `rate` or less exceeds once in ten thousand."""
    return float(stats.binom.ppf(1 - 1e-4, repetitions, rate)) / repetitions


@pytest.mark.parametrize(
    ("design", "truth"),
    [
        ("3 seeds", "all equal, unequal sds"),
        ("5 seeds", "one tie, sds 2"),
        ("5 seeds", "two at ε"),
        ("5 seeds", "steps of ε"),
        ("8 seeds", "one at ε, one claimed"),
        ("8 seeds", "worse by ε"),
        ("10 seeds", "all equal"),
        ("looks at 5, 10, 15, 20", "one at ε"),
        ("looks at 5, 10, 15, 20", "two at ε"),
    ],
)
def test_error_rates_are_kept_where_the_truth_is_known(design: str, truth: str, rng: np.random.Generator):
    designs = {item.name: item for item in simulation.designs()}
    truths = {item.name: item for item in simulation.TRUTHS}
    rates = simulation.simulate(truths[truth], designs[design], REPETITIONS, rng)
    for error in ERRORS:
        assert rates[error] <= at_most(0.05, REPETITIONS)
    assert 1 - rates["coverage"] <= at_most(0.05, REPETITIONS)


def test_the_scores_of_a_simulation_notice_errors():
    # Samples that lie about the truth: B is drawn far above A, C near A although it is far off.
    ranking, wrong = parse_ranking("A ≈ B ≥ C"), claim("A ≈ B ≥ C")
    samples = [SEEDS, SEEDS + 9, SEEDS[::-1].copy()]
    target = simulation.Target(np.array([0.0, 9.0, -9.0]), np.array([False, True, True]))
    scores = simulation.score(decide(samples, ranking, wrong), target)
    assert [scores[error] for error in ERRORS] == [1, 1, 1, 1]
    assert scores["coverage"] == 0


def test_pooling_without_a_check_would_break_the_error_rate(rng: np.random.Generator):
    # The simulation can see a procedure that fails: the same truth under the textbook's pooled variance.
    designs = {item.name: item for item in simulation.designs()}
    truths = {item.name: item for item in simulation.TRUTHS}
    rates = simulation.simulate(truths["one tie, sds 2"], designs["8 seeds, always pooled"], REPETITIONS, rng)
    assert rates["false_greater"] > at_most(0.05, REPETITIONS)


def test_the_committed_simulation_covers_all_designs_and_keeps_the_rates():
    path = Path(__file__).parents[1] / "results" / "statistics" / "simulation.csv"
    frame = pd.read_csv(path)
    expected = {(design.name, truth.name) for design in simulation.designs() for truth in design.truths}
    assert set(zip(frame["design"], frame["truth"], strict=True)) == expected
    assert (frame["repetitions"] >= 2000).all()
    shipped = frame[~frame["design"].str.contains("pooled|usual")]
    for row in shipped.to_dict("records"):
        bound = at_most(0.05, row["repetitions"])
        assert max(row[error] for error in ERRORS) <= bound
        assert 1 - row["coverage"] <= bound


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(2024)


@pytest.mark.parametrize("ending", ["zip", "xz", "gz", "bz2", "tar", "zst"])
def test_a_broken_archive_of_a_table_is_one_sentence(tmp_path: Path, ending: str):
    path = tmp_path / f"table.csv.{ending}"
    path.write_bytes(bytes(range(7, 250)) * 3)
    with pytest.raises(StudyError, match="cannot be read") as error:
        read_table(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("larger_is_better", [True, False])
def test_second_opinions_are_at_the_claims_own_margins(larger_is_better: bool) -> None:
    """A and B differ by six tenths of ε: equal within it, and not if values were scaled by two."""
    noise = 0.0005 * np.array([-2, -1, 0, 1, 2])
    rows = [("A", seed, 0.5 + noise[seed]) for seed in range(5)]
    rows += [("B", seed, 0.506 - noise[(seed + 2) % 5]) for seed in range(5)]
    table = pd.DataFrame(rows, columns=["variant", "seed", "value"])
    claim = Claim(ranking="A ≈ B", epsilon=0.01, delta=0.03)
    verdict = claims.test_claim(table, claim, larger_is_better, draws=0)
    paired = claims.paired_by_seed(table, claim, verdict)
    assert verdict.verdict == "reproduced"
    assert paired is not None
    assert paired.word == "reproduced"
    assert set(claims.leave_one_seed_out(table, claim, verdict).values()) == {"reproduced"}
