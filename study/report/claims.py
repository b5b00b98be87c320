"""What the report says of a sweep's claims: published and measured, what was tested and how, and its figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from study.analysis.claims import leave_one_seed_out, paired_by_seed
from study.analysis.verdicts import ClaimVerdict
from study.analysis.views import View
from study.config import Claim, Experiment
from study.report import tables
from study.report.claim_figures import forest_plot, in_order, rank_heat_map, relation_of
from study.report.inline import inline_svg
from study.report.table import Table, capitalised, joined_unit, number, p_value
from study.results import Results


@dataclass(frozen=True)
class Shown:
    """A figure on the page, as it is printed.

    `plot`, as JSON, says how the script draws it (explore.PLOTS), if it does; else `csv` holds its numbers.
    """

    name: str
    title: str
    caption: str
    svg: Markup
    plot: str = ""
    csv: str = ""


@dataclass(frozen=True)
class Answer:
    """A claim with its verdict, or with the sentence that says why there is none."""

    claim: Claim
    readout: str
    published: list[tuple[str, str, str]]  # the relation to the one before ("" for the first), its verdict, a variant
    measured: list[tuple[str, str, str]]  # the sign to the one before, nothing, a variant
    word: str
    sentence: str
    facts: list[str]
    cautions: list[str]
    relations: Table | None
    figures: list[Shown]


def answers_of(results: Results, key: str) -> list[Answer]:
    """Every claim in every view of a sweep; `key`, unique in the report, keeps the ids of figures apart."""
    return [
        _answer(claim, view, results.claims_history, f"{key}-{'shared' if second else 'claim'}{place}")
        for second, view in enumerate(results.views)
        if len(view.runs)
        for place, claim in enumerate(results.experiment.claims, 1)
    ]


def _answer(claim: Claim, view: View, history: Sequence[dict[str, Any]], key: str) -> Answer:
    """A claim tested on a view; what cannot be tested says why."""
    readout = view.find(claim.readout)
    verdict = view.verdict(claim)
    table, measurement = view.measure_claim(claim)
    cautions, stated = _when_stated(claim, view.experiment, history)
    words = {pair.second: pair.verdict for pair in verdict.pairs if pair.adjacent}
    parts = re.split(r" ([≈≳>≫?]) ", verdict.measured)
    facts = [*(_facts(verdict, table, readout.title, readout.unit) if verdict.variants else []), *stated]
    if verdict.variants:
        (facts if verdict.pairs else cautions).extend(measurement.notes)  # where nothing was tested they say why
    cautions += [f"{capitalised(caution)}." for caution in verdict.cautions]
    if view.title:
        facts = [f"{view.title}.", *facts]
    return Answer(
        claim=claim,
        readout=readout.title + (f", {view.title[0].lower()}{view.title[1:]}" if view.title else ""),
        published=[
            (relation, words.get(variant, ""), variant)
            for relation, variant in zip(["", *map(str, claim.order.relations)], claim.order.variants, strict=True)
        ],
        measured=[(sign, "", variant) for sign, variant in zip(["", *parts[1::2]], parts[::2], strict=True) if variant],
        word=verdict.verdict,
        sentence=verdict.sentence,
        facts=facts,
        cautions=cautions,
        relations=tables.relations(verdict, readout.unit) if verdict.pairs else None,
        figures=_claim_figures(verdict, readout.unit, key) if verdict.pairs else [],
    )


def _facts(verdict: ClaimVerdict, table: pd.DataFrame, title: str, unit: str) -> list[str]:
    """What was tested, how, and what is known of the order as a whole."""
    claim, behind = verdict.claim, joined_unit(" ", unit, difference=True)
    seeds = sorted({variant.n for variant in verdict.variants})
    margins = f"ε = {number(claim.epsilon, unit)} and Δ = {number(claim.delta, unit)}{behind}"
    facts = [
        f"Readout: {title}. Margins: {margins}. Family-wise α = {verdict.alpha:g}. "
        f"Seeds with a value: {' to '.join(str(n) for n in seeds[:: max(1, len(seeds) - 1)])}."
    ]
    if verdict.spread:
        how = "pooled over the variants" if verdict.spread.model == "pooled" else "of each variant by itself (Welch)"
        facts.append(f"Spread over seeds: {how}; the largest sd is {verdict.spread.sd_ratio:.1f} times the smallest.")
    if verdict.kendall and len(verdict.variants) > 2:  # of two, τ only says which is ahead
        order = verdict.kendall
        tau, most, low, high = (number(value, "τ") for value in (order.tau, order.attainable, order.low, order.high))
        facts.append(
            f"Kendall's τ_b with the published order: {tau} of at most {most} "
            f"(95% interval {low} to {high}, one-sided p {p_value(order.p)})."
        )
    if verdict.ranks:
        facts.append(f"Probability that the whole ranking holds within its margins: {verdict.ranks.order_holds:.2f}.")
    if verdict.pairs and min(seeds) > 2:
        without = Counter(leave_one_seed_out(table, claim, verdict).values())
        words = ", ".join(f"{word} {count} times" for word, count in without.most_common())
        facts.append(f"With any one seed left out: {words}.")
    if verdict.pairs and (paired := paired_by_seed(table, claim, verdict)):
        facts.append(f"Differences taken seed by seed instead: {paired.sentence}.")
    return facts


def _when_stated(
    claim: Claim, experiment: Experiment, history: Sequence[dict[str, Any]]
) -> tuple[list[str], list[str]]:
    """Cautions and facts on when a claim was stated: before the runs, as it should be, or with results at hand."""
    dump = experiment.model_dump(mode="json", include={"readouts"})["readouts"]
    plain, readout = claim.model_dump(mode="json"), dump.get(claim.readout)
    for entry in history:
        if plain in entry["claims"] and entry.get("readouts", {}).get(claim.readout) == readout:
            if entry["runs_done"]:
                return [f"Stated or changed on {entry['stated'][:10]}, when {entry['runs_done']} runs were done."], []
            return [], [f"Stated on {entry['stated'][:10]}, before any run was done."]
    return [], []


def _claim_figures(verdict: ClaimVerdict, unit: str, key: str) -> list[Shown]:
    told = "; ".join(
        f"{relation_of(pair)}: {number(pair.difference, unit, '+')} "
        f"({number(pair.low, unit, '+')} to {number(pair.high, unit, '+')}) {pair.verdict or 'not claimed'}"
        for pair in in_order(verdict)
    )
    forest = Shown(
        f"{key.partition('-')[2]}-forest",
        "Differences",
        f"Difference of each pair{joined_unit(' in ', unit, difference=True)} with the interval that decided its "
        "verdict; ±ε shaded"
        f"{', Δ dashed' if any(pair.relation == '≫' for pair in verdict.pairs) else ''}.",
        inline_svg(forest_plot(verdict, unit), f"{key}-forest", f"Forest plot{joined_unit(', ', unit, True)}. {told}."),
        csv=pd.DataFrame(verdict.rows()).to_csv(index=False),
    )
    if verdict.ranks is None:
        return [forest]
    likely = "; ".join(
        f"{variant.variant} is most likely of rank {row.index(max(row)) + 1} ({max(row):.2f})"
        for variant, row in zip(verdict.variants, verdict.ranks.matrix, strict=True)
    )
    variants = pd.Index([variant.variant for variant in verdict.variants], name="variant")
    ranks = pd.DataFrame(verdict.ranks.matrix, variants, [f"rank {rank}" for rank in range(1, len(variants) + 1)])
    heat = Shown(
        f"{key.partition('-')[2]}-ranks",
        "Probability of each rank",
        f"Parametric bootstrap of the means, {verdict.ranks.draws:,} draws; rank 1 is the best.",
        inline_svg(rank_heat_map(verdict), f"{key}-ranks", f"Heat map of rank probabilities. {likely}."),
        csv=ranks.to_csv(),
    )
    return [forest, heat]
