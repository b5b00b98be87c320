"""What the report says about a results folder, as plain data: answers, figures, tables, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from study.analysis.curves import difference_at_loss, ended_well, not_diverged
from study.analysis.views import View
from study.config import Experiment
from study.errors import StudyError
from study.report import answer, explore, tables
from study.report.card import Card, card_of
from study.report.claims import Answer, Shown, answers_of
from study.report.explore import PLOTS
from study.report.figures import FIGURES, FigureKind, drawable
from study.report.inline import inline_svg
from study.report.provenance import Provenance, provenance
from study.report.scaling_figures import ScalingFigure
from study.report.scaling_figures import drawable as drawable_over_sizes
from study.report.scaling_tables import scaling_tables
from study.report.style import study_order
from study.report.table import Table, capitalised, plural
from study.report.transfer import CAPTION, TITLE, transfer_figure, transfer_frame, transfer_tables
from study.report.tuning_table import tuning_table
from study.report.variants import VariantCard, contact_sheet, strip, variant_cards
from study.results import Results

FIGURES_SHOWN = (
    "accuracy_at_loss",
    "train_loss",
    "test_accuracy",
    "gap_curve",
    "difference_at_loss",
    "accuracy_by_cost",
)
READOUTS_SHOWN = ("accuracy_at_matched_loss", "final_test_accuracy", "final_gap")  # after those of the claims
LEADS = (("accuracy_at", "accuracy_at_loss"), ("loss", "train_loss"), ("accuracy", "test_accuracy"))  # by the readout


@dataclass(frozen=True)
class Section:
    """One sweep, or what is said of members together. The first of `figures` answers and stands at the top.

    `lines` is what the page's script draws (explore.py).
    """

    key: str
    folder: Path
    title: str
    subtitle: str
    answer: str
    cautions: list[str]
    variants: list[str]
    claims: list[Answer]
    figures: list[Shown]
    tables: list[Table]
    provenance: Provenance
    lines: dict[str, explore.Lines]
    card: Card = field(default_factory=Card)
    members: list[Section] = field(default_factory=list)
    cards: list[VariantCard] = field(default_factory=list)
    strip: Shown | None = None
    sheet: str = ""  # the contact sheet as a data: URL

    @property
    def all_tables(self) -> list[Table]:
        """Every table, those of the claims first."""
        return [view.relations for view in self.claims if view.relations] + self.tables

    @property
    def all_figures(self) -> list[Shown]:
        """Every figure, those of the claims last."""
        return [*self.figures, *(figure for view in self.claims for figure in view.figures)]

    @property
    def all_sections(self) -> Iterator[Section]:
        """This one, then its members."""
        yield self
        yield from self.members


def read_sections(folders: Sequence[Results]) -> list[Section]:
    """A section for each results folder; one with members holds a section for each that has a finished run.

    Raises StudyError for a folder without any.
    """
    found: list[Section] = []
    for place, results in enumerate(folders, 1):
        members = finished(results)
        if not members:
            raise StudyError(f"{results.folder} has no finished run: start its runs with study sweep, then report")
        made = _section_of_members if results.joined else _section
        found.append(made(results, f"s{place}"))
    return found


def finished(results: Results) -> list[Results]:
    """The sweeps of a folder that have a finished run: its members or itself."""
    sweeps = results.members if results.joined else [results]
    return [each for each in sweeps if len(each.runs) and len(each.curves)]


def _section(results: Results, key: str, member: str = "") -> Section:
    """What there is to say of one sweep. `key`, unique in the report, keeps its ids apart; `member` is its name."""
    experiment, view = results.experiment, results.view
    runs, curves = view.runs, view.curves
    readouts = dict.fromkeys([*(claim.readout for claim in experiment.claims), *READOUTS_SHOWN])
    shown = [
        tables.size_and_cost(runs),
        tables.accuracy_by_loss(curves, runs),
        tables.who_leads(curves, runs),
        *(tables.readout_summary(name, view) for name in readouts),
        *([tuning_table(results.tuned)] if results.tuned else []),
    ]
    explored = [
        tables.relations(verdict, view.find(verdict.claim.readout).unit)
        for verdict in view.explorations
        if verdict.pairs
    ]
    card, sheet = (Card(), "") if member else (card_of(results), contact_sheet(experiment.data))
    claims = answers_of(results, key)
    return Section(
        key=key,
        folder=results.folder,
        title=member or title_of(experiment),
        subtitle=_subtitle(experiment, runs),
        answer=answer.of_sweep(results),
        cautions=[
            *filter(None, [card.caveat]),
            *(f"{caution}." for caution in view.cautions),
            *dict.fromkeys(caution for claim in claims for caution in claim.cautions),
        ],
        variants=study_order(runs["variant"]),
        claims=claims,
        figures=[_curve_figure(name, curves, runs, key) for name in _figures_of(view, bool(member))],
        tables=[*explored, *(table for table in shown if table)],
        provenance=provenance(results, images_missing=not (member or sheet)),
        lines=explore.of_curves(curves, runs),
        card=card,
        cards=variant_cards(curves, runs),
        strip=strip(results, key),
        sheet=sheet,
    )


def _figures_of(view: View, brief: bool) -> list[str]:
    """The figure of the first claim's readout before the others; of a member only those that can be explored."""
    readout = view.claims[0].readout if view.claims else "accuracy_at_matched_loss"
    lead = next((figure for part, figure in LEADS if part in readout), FIGURES_SHOWN[0])
    names = [lead, *(name for name in FIGURES_SHOWN if name != lead)]
    return [name for name in drawable(names, view.curves, view.runs) if not brief or name in PLOTS]


def _section_of_members(results: Results, key: str) -> Section:
    """What is said of members together; each of them has a section of its own, in which its claims are tested."""
    experiment, members = results.experiment, finished(results)
    sizes = results.design == "sizes"
    if sizes:
        shown, told = scaling_tables(results.points, results.scaling, results.by_size), answer.of_sizes(results)
        numbers = results.scaling.sizes
        what = f"{len(numbers)} numbers of training images from {numbers[0]:,} to {numbers[-1]:,}"
    else:
        frame = transfer_frame(results)
        shown, told = transfer_tables(results, frame), answer.of_transfer(results)
        what = f"images of {', '.join(str(member.number) for member in members)} pixels"
    variants = study_order(variant for member in members for variant in member.runs["variant"])
    card, sheet = card_of(results), contact_sheet(members[-1].experiment.data)
    names = [f"{each.number:,} {'training images' if sizes else 'pixels'}" for each in members]
    return Section(
        key=key,
        folder=results.folder,
        title=title_of(experiment),
        subtitle=f"{len(variants)} variants of {experiment.budget:,} {experiment.match}, {what}, each trained "
        f"for {experiment.training.duration}",
        answer=told,
        cautions=[*filter(None, [card.caveat]), *dict.fromkeys(map("{}.".format, members[0].view.cautions))],
        variants=variants,
        claims=[],
        figures=_figures_over_sizes(results, key) if sizes else [_figure_of_transfer(frame, results, key)],
        tables=shown,
        provenance=provenance(results, images_missing=not sheet),
        lines=explore.of_sizes(results.points) if sizes else {},
        card=card,
        members=[
            _section(each, f"{key}m{place}", name)
            for place, (each, name) in enumerate(zip(members, names, strict=True), 1)
        ],
        sheet=sheet,
    )


def title_of(experiment: Experiment) -> str:
    """What a section is called, such as `Data scale on fractals`."""
    name = experiment.name.replace("_", " ")
    return f"{capitalised(name)} on {experiment.data.name}"


def _subtitle(experiment: Experiment, runs: pd.DataFrame) -> str:
    data, recipe = experiment.data, experiment.training
    kept = f", {data.validation:,} of them for validation" if data.validation else ""
    images = f"{data.train_size:,} training images" if data.train_size else "all training images"
    images = "a stream that repeats none" if data.stream else images
    return (
        f"{runs['variant'].nunique()} variants of {experiment.budget:,} {experiment.match}, "
        f"{plural(runs['seed'].nunique(), 'seed')}, {recipe.duration} of {images} at {data.image_size} pixels{kept}"
    )


# ---------------------------------------------------------------- figures


def _curve_figure(name: str, curves: pd.DataFrame, runs: pd.DataFrame, key: str) -> Shown:
    kind = FIGURES[name]
    last = not_diverged(curves, runs).sort_values("step").drop_duplicates("run", keep="last").groupby("variant")
    means = last[["probe_loss", "probe_accuracy", "test_accuracy"]].mean().to_dict("index")
    told = "; ".join(
        f"{variant} train loss {means[variant]['probe_loss']:.3g}, train accuracy "
        f"{means[variant]['probe_accuracy']:.1%}, test accuracy {means[variant]['test_accuracy']:.1%}"
        for variant in study_order(map(str, means))
    )
    csv = CSV[name](curves, runs) if name in CSV else ""
    return _shown(name, kind, kind.draw(curves, runs), key, f"Means at the last evaluation: {told}.", csv)


def _differences(curves: pd.DataFrame, runs: pd.DataFrame) -> str:
    alive = not_diverged(curves, runs)
    pairs = combinations(study_order(alive["variant"]), 2)
    found = [difference_at_loss(alive, *pair, points=50).assign(first=pair[0], second=pair[1]) for pair in pairs]
    return pd.concat(found).to_csv(index=False, float_format="%.5g", columns=["first", "second", *found[0].columns[:4]])


def _costs(curves: pd.DataFrame, runs: pd.DataFrame) -> str:
    columns = ["variant", "seed", "parameters", "macs", "seconds", "final_test_accuracy"]
    return ended_well(runs).to_csv(index=False, columns=columns)


CSV = {"difference_at_loss": _differences, "accuracy_by_cost": _costs}  # of figures that no script draws


def _figures_over_sizes(results: Results, key: str) -> list[Shown]:
    scaling = results.scaling
    told = "; ".join(map(str, scaling.crossings)) or "no crossings"
    return [
        _shown(name, kind, kind.draw(results.points, scaling), key, f"{told}.", _laws(results) * (name not in PLOTS))
        for name, kind in drawable_over_sizes(scaling).items()
    ]


def _laws(results: Results) -> str:
    """What the laws say at each number of images, as CSV."""
    at, bands = results.scaling.band_images, results.scaling.bands
    ends = ("accuracy", "low", "high")
    found = [
        pd.DataFrame({"variant": each, "images": at, **dict(zip(ends, bands[each], strict=True))}) for each in bands
    ]
    return pd.concat(found).to_csv(index=False, float_format="%.5g") if found else ""


def _shown(name: str, kind: FigureKind | ScalingFigure, figure: Figure, key: str, told: str, csv: str = "") -> Shown:
    plot = json.dumps(PLOTS[name]) if name in PLOTS else ""
    svg = inline_svg(figure, f"{key}-{name}", f"Line chart: {kind.title}. {told}")
    return Shown(name, kind.title, str(figure.get_label()) or kind.caption, svg, plot, csv)


def _figure_of_transfer(frame: pd.DataFrame, results: Results, key: str) -> Shown:
    figure = transfer_figure(frame, results.experiment.training.freeze)
    svg = inline_svg(
        figure, f"{key}-transfer", f"Dot chart: accuracy before and after transfer. {answer.of_transfer(results)}"
    )
    return Shown("transfer", TITLE, CAPTION, svg, csv=frame.to_csv(index=False))
