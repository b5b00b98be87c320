"""What verdicts, crossings and tables rest on and show, held against values that are put together by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.analysis import claims, readouts, scaling
from study.analysis.curves import difference_at_loss
from study.analysis.run_tables import points_of
from study.analysis.statistics import draw_means
from study.analysis.verdicts import ClaimVerdict
from study.config import Claim
from study.report.answer import of_sweep
from study.report.claim_figures import forest_plot
from study.report.claims import _claim_figures, _facts
from study.report.table import number, shown_unit
from study.report.tables import readout_summary, relations, size_and_cost, who_leads
from study.results import load
from tests.synthetic import curve, diverge, results, results_folder


def table_of(values: dict[str, list[float]]) -> pd.DataFrame:
    rows = [(variant, seed, value) for variant, own in values.items() for seed, value in enumerate(own)]
    return pd.DataFrame(rows, columns=["variant", "seed", "value"])


# ---------------------------------------------------------------- what a claim is tested on


def runs_of(curves: pd.DataFrame) -> pd.DataFrame:
    first = curves.drop_duplicates("run")[["run", "variant", "seed"]].reset_index(drop=True)
    return first.assign(status="ok", parameters=500_000, macs=1)


def test_a_claims_losses_are_matched_over_the_variants_that_it_names(tmp_path: Path) -> None:
    """A third variant that never learns leaves no loss that all pass, and takes nothing from a claim on two others."""
    falling = {"A 0": 0.5, "A 1": 0.52, "B 0": 0.4, "B 1": 0.42}
    curves = pd.concat(curve(run, [2.0, 1.0, 0.5], [0.1, best / 2, best]) for run, best in falling.items())
    alone, _ = readouts.measure_claim(claim := Claim(ranking="A > B"), curves, runs_of(curves))
    curves = pd.concat([curves, *(curve(f"C {seed}", [4.0, 3.0, 2.5], [0.1, 0.1, 0.1]) for seed in (0, 1))])
    table, _ = readouts.measure_claim(claim, curves, runs_of(curves))
    assert set(table["variant"]) == {"A", "B"}
    assert table["value"].notna().all()
    pd.testing.assert_frame_equal(table, alone)
    view = load(results_folder(tmp_path / "x", (curves.assign(lr=0.1), _runs_for(curves)), (claim,))).views[0]
    assert view.measure_claim(claim)[0]["value"].tolist() == pytest.approx(alone["value"].tolist())
    assert view.verdict(claim).untested == ""


def _runs_for(curves: pd.DataFrame) -> pd.DataFrame:
    _, like = results(["C-C-C-C"], seeds=(0,))
    first = curves.drop_duplicates("run")
    rows = [{**like.iloc[0].to_dict(), "run": r, "variant": v, "seed": s}
            for r, v, s in zip(first["run"], first["variant"], first["seed"], strict=True)]  # fmt: skip
    return pd.DataFrame(rows)


def test_each_claim_is_tested_at_its_own_level(tmp_path: Path) -> None:
    two = (Claim(ranking="C-C-C-C > ViT_REL", alpha=0.01), Claim(ranking="C-C-C-C > C-T-T-T", alpha=0.1))
    folder = results_folder(tmp_path / "x", results(["C-C-C-C", "C-T-T-T", "ViT_REL"]), two)
    assert [verdict.alpha for verdict in load(folder).views[0].verdicts] == [0.01, 0.1]


def test_leaving_a_seed_out_keeps_the_readouts_direction() -> None:
    """Losses: the smaller ones are better, with all seeds and without any of them."""
    table = table_of({"A": [1.0, 1.01, 0.99, 1.02, 0.98], "B": [2.0, 2.01, 1.99, 2.02, 1.98]})
    claim = Claim(ranking="A > B", epsilon=0.05, delta=0.2)
    for larger, word in ((False, "reproduced"), (True, "contradicted")):
        verdict = claims.test_claim(table, claim, larger, draws=0)
        assert verdict.verdict == word
        assert claims.leave_one_seed_out(table, claim, verdict) == dict.fromkeys(range(5), word)
        paired = claims.paired_by_seed(table, claim, verdict)
        assert paired is not None
        assert paired.word == word


# ---------------------------------------------------------------- intervals


def test_the_bootstrap_gives_each_variant_its_own_spread_unless_it_is_pooled() -> None:
    """The draws of a mean of n values are t-distributed with n - 1 degrees: their variance is s²/n · (n-1)/(n-3)."""
    narrow, wide = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8]) / 100, np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8])
    own = draw_means([narrow, wide], "welch", 200_000, np.random.default_rng(0)).std(axis=0)
    expected = [sample.std(ddof=1) / 3 * np.sqrt(8 / 6) for sample in (narrow, wide)]
    assert own == pytest.approx(expected, rel=0.02)
    pooled = draw_means([narrow, wide], "pooled", 200_000, np.random.default_rng(0)).std(axis=0)
    both = np.sqrt((narrow.var(ddof=1) + wide.var(ddof=1)) / 2) / 3 * np.sqrt(16 / 14)
    assert pooled == pytest.approx([both, both], rel=0.02)


def test_kendalls_interval_leaves_two_and_a_half_percent_on_either_side() -> None:
    """Of τ over the same draws; four variants, so that τ has steps between its ends."""
    random = np.random.default_rng(0)
    table = table_of(
        {name: list(mean + random.standard_normal(5)) for name, mean in (("A", 3), ("B", 2), ("C", 1), ("D", 0))}
    )
    verdict = claims.test_claim(table, Claim(ranking="A > B > C > D"), seed=3, draws=4000)
    samples = [own["value"].to_numpy() for _, own in table.groupby("variant")]
    assert verdict.spread is not None
    means = draw_means(samples, verdict.spread.model, 4000, np.random.default_rng(3))
    taus = [stats.kendalltau([3, 2, 1, 0], row).statistic for row in means]
    assert verdict.kendall is not None
    assert (verdict.kendall.low, verdict.kendall.high) == pytest.approx(np.quantile(taus, (0.025, 0.975)))


def test_a_difference_at_equal_loss_has_welchs_interval_of_95_percent() -> None:
    ends = {"A": [0.5, 0.52, 0.57], "B": [0.4, 0.41, 0.48]}
    curves = pd.concat(
        curve(f"{name} {seed}", [2.0, 1.0], [0.1, best]) for name, own in ends.items() for seed, best in enumerate(own)
    )
    last = difference_at_loss(curves, "A", "B", points=5).iloc[-1]
    expected = stats.ttest_ind(ends["A"], ends["B"], equal_var=False).confidence_interval(0.95)
    assert (last["low"], last["high"]) == pytest.approx((expected.low, expected.high))


def test_an_estimate_over_draws_has_an_interval_of_95_percent() -> None:
    found = scaling._estimate(0.5, np.arange(1001) / 1000)
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))


# ---------------------------------------------------------------- over sizes


def test_a_draws_crossing_is_the_nearest_of_the_same_direction_not_the_first() -> None:
    """Differences that rise through 0 twice, at 10^2.5 and 10^6.5, in the means and in every draw alike."""
    images = 10.0 ** np.arange(2, 8)
    difference = np.array([-1.0, 1, 1, -1, -1, 1])
    mean_SV = np.stack([difference, np.zeros(6)], axis=1)
    found = scaling._crossings(images, ("A", "B"), mean_SV, np.stack([mean_SV, 2 * mean_SV]))
    places = {round(np.log10(each.images.value), 3): each for each in found}
    assert sorted(places) == [2.5, 4.5, 6.5]
    for log, each in places.items():
        assert (each.images.low, each.images.high) == pytest.approx((10**log, 10**log))
        assert each.overtakes == ("B" if log == 4.5 else "A")


def test_a_diverged_run_is_no_point_over_sizes() -> None:
    curves, runs = results(["C-C-C-C"], seeds=(0, 1, 2))
    _, runs = diverge(curves, runs, "C-C-C-C-1")
    points = points_of(runs, 5000)
    assert points["seed"].tolist() == [0, 2]
    assert (points["images"] == 5000).all()
    alive = runs[runs["seed"] != 1]
    assert points["accuracy"].tolist() == alive["final_test_accuracy"].tolist()
    gaps = alive["final_probe_accuracy"] - alive["final_test_accuracy"]
    assert points["gap"].tolist() == pytest.approx(gaps.tolist())


# ---------------------------------------------------------------- tables


@pytest.fixture(scope="module")
def verdict() -> ClaimVerdict:
    """A is better than B beyond doubt, and further than ε; C is B's equal."""
    random = np.random.default_rng(1)
    values = {
        name: list(mean + 0.004 * random.standard_normal(8)) for name, mean in (("A", 0.62), ("B", 0.5), ("C", 0.5))
    }
    return claims.test_claim(table_of(values), Claim(ranking="A > B ~ C", epsilon=0.02, delta=0.05), draws=0)


def test_every_column_of_the_relations_holds_what_its_header_says(verdict: ClaimVerdict) -> None:
    table = relations(verdict, "accuracy")
    rows = {cells[0]: dict(zip(table.header, cells, strict=True)) for cells in table.rows}
    assert table.header[3:] == ("difference", "interval", "p (≠)", "p (≈)", "P(better)")
    shown = rows["A > B"]
    assert (shown["p (≠)"], shown["P(better)"]) == ("<.001", "1.00")
    assert shown["p (≈)"] not in ("<.001", "")
    equal = rows["B ≈ C"]
    assert equal["p (≈)"] == "<.001"
    assert float(equal["p (≠)"]) > 0.05
    for pair in verdict.pairs[:1]:
        assert shown["difference"] == f"{100 * pair.difference:+.2f}"
        assert shown["interval"] == f"{100 * pair.low:+.2f} to {100 * pair.high:+.2f}".replace("-", "−")
    assert any("Differences in points" in note for note in table.notes)


def test_an_undecided_pair_says_how_many_more_seeds_it_needs(verdict: ClaimVerdict) -> None:
    for more, said in ((1, "1 more seed"), (2, "2 more seeds"), (17, "17 more seeds"), (None, "over 100 seeds")):
        pairs = tuple(replace(pair, verdict="undecided", more_seeds=more) for pair in verdict.pairs)
        table = relations(replace(verdict, pairs=pairs), "accuracy")
        assert {dict(zip(table.header, row, strict=True))["shown, or needed"] for row in table.rows} == {said}
        assert any(note.startswith("Needed: about so many seeds of each of the two") for note in table.notes)
    decided = relations(verdict, "accuracy")
    assert not any(note.startswith("Needed:") for note in decided.notes)


def test_units_are_those_of_the_printed_numbers() -> None:
    assert (shown_unit("accuracy"), shown_unit("accuracy", difference=True)) == ("%", "points")
    assert (shown_unit("nats"), shown_unit("nats", difference=True)) == ("nats", "nats")
    assert (number(0.1234, "accuracy"), number(0.1234, "points", "+"), number(0.1234, "nats")) == (
        "12.34", "+12.34", "0.1234",
    )  # fmt: skip


def test_sentences_about_numbers_without_a_unit_have_no_hole(verdict: ClaimVerdict, tmp_path: Path) -> None:
    table = table_of({variant.variant: list(variant.values.values()) for variant in verdict.variants})
    figures = _claim_figures(verdict, "", "s1-claim1")
    told = [
        *relations(verdict, "").notes,
        *_facts(verdict, table, "peak", ""),
        *(words for each in figures for words in (each.caption, *re.findall('aria-label="(.*?)"', each.svg))),
        forest_plot(verdict, "").axes[0].get_xlabel(),
    ]
    found = load(results_folder(tmp_path / "x", results(["C-C-T-T", "ViT_REL"], epochs=8), claims=()))
    found.experiment = found.experiment.model_copy(
        update={"claims": (Claim(ranking="A > B", readout=found.key(peak)),)}
    )
    told += [readout_summary("peak", found.view).title, of_sweep(found)]
    assert "difference: first better →" in told
    assert "Peak" in told
    assert [words for words in told if re.search(r" [,.;:]( |$)|  |[,:] ?$|, :", words)] == []


def peak(curve: pd.DataFrame) -> float:
    return float(curve["test_accuracy"].max() * 100)


@pytest.mark.parametrize(("last", "turns"), [(0.6, "1"), (0.4, "–")])
def test_curves_turn_over_behind_the_losses_at_which_they_are_equal_and_not_where_they_touch(
    last: float, turns: str
) -> None:
    curves = pd.concat(
        [curve("A 0", [4, 2, 1, 0.5], [0.2, 0.3, 0.3, 0.5]), curve("B 0", [4, 2, 1, 0.5], [0.1, 0.3, 0.3, last])]
    )
    table = who_leads(curves, runs_of(curves))
    assert table is not None
    told = dict(zip(table.header, table.rows[0], strict=True))["turns over at"]
    assert told.startswith(("0.99", turns))
    assert "," not in told


def test_size_and_cost_are_in_the_units_of_their_headers() -> None:
    _, runs = results(["C-C-C-C"], seeds=(0, 1))
    runs = runs.assign(macs=24_100_000, seconds=[60.0, 180.0], images_per_second=[1000.0, 3000.0])
    runs = runs.assign(final_test_accuracy=[0.4, 0.5], parameters=501_720)
    table = size_and_cost(runs)
    assert dict(zip(table.header, table.rows[0], strict=True)) == {
        "variant": "C-C-C-C", "parameters": "501,720", "M multiply-adds": "24.1", "images/s": "2,000",
        "minutes/run": "2.0", "final accuracy, %": "45.00", "% per GMAC": "1,867",
    }  # fmt: skip


def test_the_digits_of_size_and_cost_are_those_of_the_runs() -> None:
    """Long runs of a large network, in numbers with more digits than a rounding could hide."""
    _, runs = results(["C-C-C-C"], seeds=(0, 1))
    runs = runs.assign(macs=4_567_800_000, seconds=[6 * 3600.0, 7 * 3600.0], images_per_second=[123_456.0, 123_458.0])
    runs = runs.assign(final_test_accuracy=[0.75, 0.77], parameters=25_012_345)
    table = size_and_cost(runs)
    assert dict(zip(table.header, table.rows[0], strict=True)) == {
        "variant": "C-C-C-C", "parameters": "25,012,345", "M multiply-adds": "4,567.8", "images/s": "123,457",
        "minutes/run": "390.0", "final accuracy, %": "76.00", "% per GMAC": "17",
    }  # fmt: skip
