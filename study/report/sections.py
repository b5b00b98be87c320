"""What the report says about one results folder, as plain data: answers, figures, tables, and how it was made."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from study.analysis.claims import leave_one_seed_out, paired_by_seed, test_claim
from study.analysis.readouts import find_readout, measure_claim
from study.analysis.verdicts import ClaimVerdict
from study.config import Claim, Experiment
from study.errors import StudyError
from study.report import tables
from study.report.claim_figures import forest_plot, in_order, rank_heat_map, relation_of
from study.report.figures import FIGURES
from study.report.inline import inline_svg, panels
from study.report.provenance import Provenance, provenance
from study.report.style import study_order
from study.report.tables import Table, capitalised, number, p_value, scale_of, shown_unit
from study.report.tuning_table import tuning_table
from study.sweep.store import Store, read_tables
from study.sweep.tuned import read_tuned

FIGURES_SHOWN = ("train_loss", "test_accuracy", "accuracy_at_loss", "gap_curve")
READOUTS_SHOWN = ("accuracy_at_matched_loss", "final_test_accuracy", "final_gap")  # after those of the claims
EXPLORED = ("step", "epoch", "probe_loss", "probe_accuracy", "test_loss", "test_accuracy", "gap")


@dataclass(frozen=True)
class Shown:
    """A figure on the page. `panels`, as JSON, says where its curves lie, if they can be explored."""

    name: str
    title: str
    caption: str
    svg: Markup
    panels: str = ""


@dataclass(frozen=True)
class ClaimView:
    """A claim with its verdict, or with the sentence that says why there is none."""

    claim: Claim
    readout: str
    published: list[tuple[str, str, str]]  # the relation to the one before ("" for the first), its verdict, a variant
    measured: list[tuple[str, str]]  # the sign to the one before, a variant
    word: str
    sentence: str
    facts: list[str]
    cautions: list[str]
    relations: Table | None
    figures: list[Shown]


@dataclass(frozen=True)
class Section:
    """One results folder."""

    key: str
    title: str
    subtitle: str
    variants: list[str]
    claims: list[ClaimView]
    figures: list[Shown]
    tables: list[Table]
    provenance: Provenance
    curves: list[dict[str, Any]]
    without_claims: str = "This experiment states no claim, so nothing is tested; curves and values follow."

    @property
    def all_tables(self) -> list[Table]:
        """Every table, those of the claims first."""
        return [view.relations for view in self.claims if view.relations] + self.tables


def read_section(folder: Path, key: str) -> Section:
    """Read a results folder and say what there is to say. `key`, unique in the report, keeps its ids apart.

    Raises StudyError for a folder that holds no results, or no finished run.
    """
    store = Store(folder)
    runs, curves = read_tables(folder)
    if runs.empty or curves.empty:
        raise StudyError(f"{folder} has no finished run: start its runs with study sweep, then report")
    experiment = store.experiment
    readouts = dict.fromkeys([*(claim.readout for claim in experiment.claims), *READOUTS_SHOWN])
    shown = [
        tables.accuracy_by_loss(curves, runs),
        tables.size_and_cost(runs),
        *(tables.readout_summary(name, curves, runs) for name in readouts),
    ]
    history = store.claims_history()
    claims = [
        read_claim(claim, curves, runs, history, f"{key}-claim{place}")
        for place, claim in enumerate(experiment.claims, 1)
    ]
    if experiment.rates:
        claims += _claims_at_shared_rate(store, history, key)
    if tuned := read_tuned(folder):
        shown.append(tuning_table(tuned))
    return Section(
        key=key,
        title=title_of(experiment),
        subtitle=_subtitle(experiment, runs),
        variants=study_order(runs["variant"]),
        claims=claims,
        figures=[_curve_figure(name, curves, runs, key) for name in FIGURES_SHOWN],
        tables=[table for table in shown if table],
        provenance=provenance(store, runs),
        curves=_explorable(curves),
    )


def title_of(experiment: Experiment) -> str:
    """What a section is called, such as `Data scale on fractals`."""
    name = experiment.name.replace("_", " ")
    return f"{capitalised(name)} on {experiment.data.name}"


def _subtitle(experiment: Experiment, runs: pd.DataFrame) -> str:
    data, recipe = experiment.data, experiment.training
    images = f"{data.train_size:,} training images" if data.train_size else "all training images"
    images = "a stream that repeats none" if data.stream else images
    seeds = runs["seed"].nunique()
    return (
        f"{runs['variant'].nunique()} variants of {experiment.budget:,} {experiment.match}, {seeds} "
        f"seed{'s' if seeds > 1 else ''}, {recipe.duration} of {images} at {data.image_size} pixels"
    )


# ---------------------------------------------------------------- claims


def _claims_at_shared_rate(store: Store, history: Sequence[dict[str, Any]], key: str) -> list[ClaimView]:
    """Where learning rates are tuned: the claims once more, at the rate that all variants share."""
    runs, curves = read_tables(store.folder, shared_rate=True)
    if runs.empty or curves.empty:
        return []
    rate = f"at the shared learning rate {store.experiment.training.lr:g}"
    views = []
    for place, claim in enumerate(store.experiment.claims, 1):
        view = read_claim(claim, curves, runs, history, f"{key}-shared{place}")
        said = f"{capitalised(rate)}, not at tuned ones as above."
        views.append(replace(view, readout=f"{view.readout}, {rate}", cautions=[said, *view.cautions]))
    return views


def read_claim(
    claim: Claim, curves: pd.DataFrame, runs: pd.DataFrame, history: Sequence[dict[str, Any]], key: str
) -> ClaimView:
    """Test a claim on the runs of the variants that it names; what cannot be tested says why."""
    ranking = claim.order
    readout, _ = find_readout(claim.readout)
    table, measurement = measure_claim(claim, curves, runs)
    cautions, stated = _when_stated(claim, history)
    chain = list(zip(["", *map(str, ranking.relations)], ranking.variants, strict=True))
    try:
        verdict = test_claim(table, claim, readout.larger_is_better)
    except StudyError as error:
        published = [(relation, "", variant) for relation, variant in chain]
        sentence = f"untested: {error}"
        return ClaimView(claim, readout.title, published, [], "untested", sentence, stated, cautions, None, [])
    words = {pair.second: pair.verdict for pair in verdict.pairs if pair.adjacent}
    parts = re.split(r" ([≈≳>≫?]) ", verdict.measured)
    facts = [*_facts(verdict, table, readout.title, readout.unit), *stated]
    cautions += [f"{capitalised(caution)}." for caution in verdict.cautions]
    (facts if verdict.pairs else cautions).extend(measurement.notes)  # where nothing was tested they say why
    return ClaimView(
        claim=claim,
        readout=readout.title,
        published=[(relation, words.get(variant, ""), variant) for relation, variant in chain],
        measured=list(zip(["", *parts[1::2]], parts[::2], strict=True)) if verdict.measured else [],
        word=verdict.verdict,
        sentence=verdict.sentence,
        facts=facts,
        cautions=cautions,
        relations=tables.relations(verdict, readout.unit) if verdict.pairs else None,
        figures=_claim_figures(verdict, readout.unit, key) if verdict.pairs else [],
    )


def _facts(verdict: ClaimVerdict, table: pd.DataFrame, title: str, unit: str) -> list[str]:
    """What was tested, how, and what is known of the order as a whole."""
    claim, unit_shown = verdict.claim, shown_unit(unit, difference=True)
    seeds = sorted({variant.n for variant in verdict.variants})
    margins = f"ε = {number(claim.epsilon, unit)} and Δ = {number(claim.delta, unit)} {unit_shown}"
    facts = [
        f"Readout: {title}. Margins: {margins}. Family-wise α = {verdict.alpha:g}. "
        f"Seeds with a value: {' to '.join(str(n) for n in seeds[:: max(1, len(seeds) - 1)])}."
    ]
    if verdict.spread:
        how = "pooled over the variants" if verdict.spread.model == "pooled" else "of each variant by itself (Welch)"
        facts.append(f"Spread over seeds: {how}; the largest sd is {verdict.spread.sd_ratio:.1f} times the smallest.")
    if verdict.kendall and len(verdict.variants) > 2:  # of two, τ only says which is ahead
        order = verdict.kendall
        ends = [math.nan if end is None else end for end in (order.low, order.high)]
        tau, most, low, high = (number(value, "τ") for value in (order.tau, order.attainable, *ends))
        facts.append(
            f"Kendall's τ_b with the published order: {tau} of at most {most} "
            f"(95% interval {low} to {high}, one-sided p {p_value(order.p)})."
        )
    if verdict.ranks:
        facts.append(f"Probability that the whole ranking holds within its margins: {verdict.ranks.order_holds:.2f}.")
    if verdict.pairs and min(seeds) > 2:
        without = Counter(v.verdict for v in leave_one_seed_out(table, claim, verdict.larger_is_better).values())
        words = ", ".join(f"{word} {count} times" for word, count in without.most_common())
        facts.append(f"With any one seed left out: {words}.")
    if verdict.pairs and (paired := paired_by_seed(table, claim, verdict.larger_is_better)):
        facts.append(f"Differences taken seed by seed instead: {paired.sentence}.")
    return facts


def _when_stated(claim: Claim, history: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Cautions and facts on when a claim was stated: before the runs, as it should be, or with results at hand."""
    plain = claim.model_dump(mode="json")
    for entry in history:
        if plain in entry["claims"]:
            if entry["runs_done"]:
                return [f"Stated or changed on {entry['stated'][:10]}, when {entry['runs_done']} runs were done."], []
            return [], [f"Stated on {entry['stated'][:10]}, before any run was done."]
    return [], []


def _claim_figures(verdict: ClaimVerdict, unit: str, key: str) -> list[Shown]:
    level, unit_shown = f"{100 * (1 - verdict.alpha):g}%", shown_unit(unit, difference=True)
    told = "; ".join(
        f"{relation_of(pair)}: {number(pair.difference, unit, '+')} "
        f"({number(pair.low, unit, '+')} to {number(pair.high, unit, '+')}) {pair.verdict or 'not claimed'}"
        for pair in in_order(verdict)
    )
    forest = Shown(
        "forest",
        "Differences",
        f"Difference of each pair in {unit_shown} with simultaneous {level} intervals; ±ε shaded"
        f"{', Δ dashed' if any(pair.relation == '≫' for pair in verdict.pairs) else ''}.",
        inline_svg(
            forest_plot(verdict, unit_shown, scale_of(unit)), f"{key}-forest", f"Forest plot, {unit_shown}. {told}."
        ),
    )
    if verdict.ranks is None:
        return [forest]
    likely = "; ".join(
        f"{variant.variant} is most likely of rank {row.index(max(row)) + 1} ({max(row):.2f})"
        for variant, row in zip(verdict.variants, verdict.ranks.matrix, strict=True)
    )
    heat = Shown(
        "ranks",
        "Probability of each rank",
        f"Parametric bootstrap of the means, {verdict.ranks.draws:,} draws; rank 1 is the best.",
        inline_svg(rank_heat_map(verdict), f"{key}-ranks", f"Heat map of rank probabilities. {likely}."),
    )
    return [forest, heat]


# ---------------------------------------------------------------- curves


def _curve_figure(name: str, curves: pd.DataFrame, runs: pd.DataFrame, key: str) -> Shown:
    kind = FIGURES[name]
    figure: Figure = kind.draw(curves, runs)
    whole = curves[curves["run"].isin(runs.loc[runs["status"] != "diverged", "run"])]
    last = whole.sort_values("step").drop_duplicates("run", keep="last").groupby("variant")
    means = last[["probe_loss", "probe_accuracy", "test_accuracy"]].mean().to_dict("index")
    told = "; ".join(
        f"{variant} train loss {means[variant]['probe_loss']:.3g}, train accuracy "
        f"{means[variant]['probe_accuracy']:.1%}, test accuracy {means[variant]['test_accuracy']:.1%}"
        for variant in study_order(map(str, means))
    )
    svg = inline_svg(figure, f"{key}-{name}", f"Line chart: {kind.title}. Means at the last evaluation: {told}.")
    where = json.dumps(panels(figure, kind.panels))  # known once the figure has been drawn
    return Shown(name, kind.title, kind.caption, svg, where)


def _explorable(curves: pd.DataFrame) -> list[dict[str, Any]]:
    """Each run's curve for the page's script: lists of numbers with five digits; what is not finite is null."""
    curves = curves.assign(gap=curves["probe_accuracy"] - curves["test_accuracy"]).sort_values("step")
    return [
        {"variant": rows["variant"].iloc[0], "seed": int(rows["seed"].iloc[0])}
        | {column: [_five_digits(value) for value in rows[column]] for column in EXPLORED}
        for _, rows in curves.groupby("run", sort=False)
    ]


def _five_digits(value: float) -> float | None:
    return float(f"{value:.5g}") if abs(value) < float("inf") else None
