"""What the report says about a results folder, as plain data: answers, figures, tables, and how it was made."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from study.analysis.claims import leave_one_seed_out, paired_by_seed
from study.analysis.curves import not_diverged
from study.analysis.verdicts import ClaimVerdict
from study.analysis.views import View
from study.config import Claim, Experiment
from study.errors import StudyError
from study.report import tables
from study.report.claim_figures import forest_plot, in_order, rank_heat_map, relation_of
from study.report.figures import FIGURES, drawable
from study.report.inline import inline_svg, panels
from study.report.provenance import Provenance, provenance
from study.report.scaling_figures import drawable as drawable_over_sizes
from study.report.scaling_tables import scaling_tables
from study.report.style import study_order
from study.report.table import Table, capitalised, number, p_value, scale_of, shown_unit
from study.report.transfer import transfer_frame, transfer_tables
from study.report.tuning_table import tuning_table
from study.results import Results

FIGURES_SHOWN = ("train_loss", "test_accuracy", "accuracy_at_loss", "difference_at_loss", "gap_curve")
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
class Answer:
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
    """One sweep, or what is said of members together."""

    key: str
    folder: Path
    title: str
    subtitle: str
    variants: list[str]
    claims: list[Answer]
    figures: list[Shown]
    tables: list[Table]
    provenance: Provenance
    curves: list[dict[str, Any]]
    cautions: Sequence[str] = ()
    without_claims: str = "This experiment states no claim, so nothing is tested; curves and values follow."

    @property
    def all_tables(self) -> list[Table]:
        """Every table, those of the claims first."""
        return [view.relations for view in self.claims if view.relations] + self.tables


def read_sections(folders: Sequence[Results]) -> list[Section]:
    """A section for each results folder; one with members is followed by a section for each that has a finished run.

    Raises StudyError for a folder without any.
    """
    found: list[Section] = []
    for results in folders:
        members = [member for member in results.members if len(member.runs) and len(member.curves)]
        if not (members if results.joined else len(results.runs) and len(results.curves)):
            raise StudyError(f"{results.folder} has no finished run: start its runs with study sweep, then report")
        key = f"s{len(found) + 1}"
        found.append(_section_of_members(results, members, key) if members else _section(results, key))
        found += [_section(member, f"s{len(found) + 1 + place}") for place, member in enumerate(members)]
    return found


def _section(results: Results, key: str) -> Section:
    """What there is to say of one sweep. `key`, unique in the report, keeps its ids apart."""
    experiment, view = results.experiment, results.view
    runs, curves = view.runs, view.curves
    readouts = dict.fromkeys([*(claim.readout for claim in experiment.claims), *READOUTS_SHOWN])
    shown = [
        tables.accuracy_by_loss(curves, runs),
        tables.who_leads(curves, runs),
        tables.size_and_cost(runs),
        *(tables.readout_summary(name, view) for name in readouts),
        *([tuning_table(results.tuned)] if results.tuned else []),
    ]
    answers = [
        _answer(claim, each, results.claims_history, f"{key}-claim{place}" if each is view else f"{key}-shared{place}")
        for each in results.views
        if len(each.runs)
        for place, claim in enumerate(experiment.claims, 1)
    ]
    explored = [
        tables.relations(verdict, view.find(verdict.claim.readout).unit)
        for verdict in view.explorations
        if verdict.pairs
    ]
    return Section(
        key=key,
        folder=results.folder,
        title=title_of(experiment),
        subtitle=_subtitle(experiment, runs),
        variants=study_order(runs["variant"]),
        claims=answers,
        figures=[_curve_figure(name, curves, runs, key) for name in drawable(FIGURES_SHOWN, curves)],
        tables=[*explored, *(table for table in shown if table)],
        provenance=provenance(results),
        curves=_explorable(curves),
        cautions=[f"{caution}." for caution in view.cautions],
    )


def _section_of_members(results: Results, members: Sequence[Results], key: str) -> Section:
    """What is said of members together; each of them has a section of its own, in which its claims are tested."""
    experiment, figures = results.experiment, []
    if results.design == "sizes":
        scaling = results.scaling
        told = "; ".join(map(str, scaling.crossings)) or "no crossings"
        figures = [
            Shown(name, kind.title, kind.caption,
                  inline_svg(kind.draw(results.points, scaling), f"{key}-{name}", f"Line chart: {kind.title}. {told}."))
            for name, kind in drawable_over_sizes(scaling).items()
        ]  # fmt: skip
        shown = scaling_tables(results.points, scaling, results.by_size)
        what = f"{len(scaling.sizes)} numbers of training images from {scaling.sizes[0]:,} to {scaling.sizes[-1]:,}"
    else:
        shown = transfer_tables(results, transfer_frame(results))
        what = f"images of {', '.join(str(member.number) for member in members)} pixels"
    variants = study_order(variant for member in members for variant in member.runs["variant"])
    return Section(
        key=key,
        folder=results.folder,
        title=title_of(experiment),
        subtitle=f"{len(variants)} variants of {experiment.budget:,} {experiment.match}, {what}, each trained "
        f"for {experiment.training.duration}",
        variants=variants,
        claims=[],
        figures=figures,
        tables=shown,
        provenance=provenance(results),
        curves=[],
        without_claims="Claims are tested in each of the sections that follow.",
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
    unit_shown = shown_unit(unit, difference=True)
    told = "; ".join(
        f"{relation_of(pair)}: {number(pair.difference, unit, '+')} "
        f"({number(pair.low, unit, '+')} to {number(pair.high, unit, '+')}) {pair.verdict or 'not claimed'}"
        for pair in in_order(verdict)
    )
    forest = Shown(
        "forest",
        "Differences",
        f"Difference of each pair in {unit_shown} with the interval that decided its verdict; ±ε shaded"
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
    whole = not_diverged(curves, runs)
    last = whole.sort_values("step").drop_duplicates("run", keep="last").groupby("variant")
    means = last[["probe_loss", "probe_accuracy", "test_accuracy"]].mean().to_dict("index")
    told = "; ".join(
        f"{variant} train loss {means[variant]['probe_loss']:.3g}, train accuracy "
        f"{means[variant]['probe_accuracy']:.1%}, test accuracy {means[variant]['test_accuracy']:.1%}"
        for variant in study_order(map(str, means))
    )
    svg = inline_svg(figure, f"{key}-{name}", f"Line chart: {kind.title}. Means at the last evaluation: {told}.")
    where = json.dumps(panels(figure, kind.panels)) if kind.panels else ""  # known once the figure has been drawn
    return Shown(name, kind.title, kind.caption, svg, where)


def _explorable(curves: pd.DataFrame) -> list[dict[str, Any]]:
    """Each run's curve for the page's script: lists of numbers with five digits; what is not finite is null."""
    curves = curves.assign(gap=curves["probe_accuracy"] - curves["test_accuracy"]).sort_values("step", kind="stable")
    told = {column: [_five_digits(value) for value in curves[column].tolist()] for column in EXPLORED}
    variants, seeds = curves["variant"].tolist(), curves["seed"].tolist()
    return [
        {"variant": variants[rows[0]], "seed": int(seeds[rows[0]])}
        | {column: [told[column][row] for row in rows] for column in EXPLORED}
        for rows in curves.groupby("run", sort=False).indices.values()
    ]


def _five_digits(value: float) -> float | None:
    return float(f"{value:.5g}") if abs(value) < float("inf") else None
