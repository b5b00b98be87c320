"""Tables of an experiment at several sizes: accuracies, rankings, crossings, laws and what they say beyond the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from study.analysis.scaling_types import Estimate, Scaling, SizeRanking
from study.report.style import study_order
from study.report.table import Table, number


def scaling_tables(points: pd.DataFrame, scaling: Scaling, ranked: Sequence[SizeRanking]) -> list[Table]:
    """All of them that have something to say, in the order in which they are read."""
    found = [accuracies(points, "accuracy", "Test accuracy"), accuracies(points, "gap", "Train minus test accuracy")]
    found += [rankings_by_size(ranked)] if ranked else []
    found += [crossings(scaling)]
    found += [laws(scaling)] if scaling.laws else []
    found += [held_out(scaling)] if scaling.held_out else []
    return [*found, *([extrapolations(scaling)] if scaling.extrapolations else [])]


def accuracies(points: pd.DataFrame, column: str, title: str) -> Table:
    """Mean of a column over seeds, a row for each variant and a column for each size."""
    sizes = sorted(set(points["images"]))
    groups = points.groupby(["variant", "images"])[column]
    means, sds = groups.mean().to_dict(), groups.std().to_dict()
    rows = []
    for variant in study_order(points["variant"]):
        cells = [variant]
        for size in sizes:
            sd = sds.get((variant, size), float("nan"))
            spread = "" if sd != sd else f" ±{number(sd, 'points')}"
            cells.append(number(means.get((variant, size)), "points") + spread)
        rows.append(tuple(cells))
    note = "At the end of training: mean over seeds ± sd."
    return Table(f"{title} by training images, %", ("variant", *(f"{size:,}" for size in sizes)), tuple(rows), (note,))


def rankings_by_size(ranked: Sequence[SizeRanking]) -> Table:
    """Each claim at each size: its verdict, what was measured, and the order of the means."""
    rows = []
    for each in ranked:
        word, measured = str(each.verdict.verdict), each.verdict.measured or each.verdict.untested
        if each.verdict.missing:
            word += f", {len(each.verdict.missing)} without a value"
        rows.append((each.claim.ranking, each.readout, f"{each.images:,}", word, measured or "–", each.by_mean or "–"))
    note = "Every claim is tested at every size with its own error rate; over the sizes nothing is corrected."
    header = ("claim", "readout", "images", "verdict", "measured", "order of the means")
    return Table("Rankings by training images", header, tuple(rows), (note,), words=6)


def crossings(scaling: Scaling) -> Table:
    """Who overtakes whom, and where."""
    rows = [
        (
            crossing.overtakes,
            crossing.overtaken,
            f"{crossing.images.value:,.0f}",
            _interval(crossing.images, lambda images: f"{images:,.0f}"),
            "–" if crossing.share is None else f"{crossing.share:.2f}",
        )
        for crossing in scaling.crossings
    ]
    note = (
        "Test accuracy, linear in log images between two sizes; 95% bootstrap intervals of those draws in which the "
        "first overtakes the second anywhere (share), of several such crossings the one nearest to this."
    )
    if not rows:
        note = f"No two variants change places from {scaling.sizes[0]:,} to {scaling.sizes[-1]:,} training images."
    header = ("overtakes", "overtaken", "at images", "interval", "share")
    notes = () if scaling.laws else scaling.notes  # else they stand with the laws
    return Table("Crossings", header, tuple(rows), (note, *notes), words=2)


def laws(scaling: Scaling) -> Table:
    """error = a · images^-b + c of each variant."""
    rows = []
    for law in scaling.laws:
        parts = (f"{part.value:.3g} ({_interval(part, '{:.3g}'.format)})" for part in (law.a, law.b, law.c))
        rows.append((law.variant, *parts, number(law.rmse, "points")))
    note = "error = a · images^-b + c, error being 1 − test accuracy; 95% bootstrap intervals. RMSE in points."
    return Table("Scaling laws", ("variant", "a", "b", "c", "RMSE"), tuple(rows), (note, *scaling.notes))


def held_out(scaling: Scaling) -> Table:
    """The laws of the smaller sizes, checked on the largest."""
    rows = [
        (
            check.variant,
            f"{check.images:,}",
            number(check.measured, "accuracy"),
            number(check.predicted, "accuracy"),
            number(check.off.value, "points", "+"),
            _interval(check.off, lambda value: number(value, "points", "+")),
            {True: "yes", False: "no", None: "–"}[check.refuted],
        )
        for check in scaling.held_out
    ]
    note = (
        "Laws fitted without the largest sizes, read there. Off: predicted minus measured, with its 95% interval; a "
        "law is refuted where that is without 0. A wide one refutes nothing."
    )
    header = ("variant", "images", "measured, %", "predicted, %", "off", "interval", "refuted")
    return Table("Do the laws predict what was held out?", header, tuple(rows), (note,))


def extrapolations(scaling: Scaling) -> Table:
    """What the laws say at the sizes of the published rankings, beside those."""
    rows = []
    for each in scaling.extrapolations:
        order = [
            f"{variant} {number(at.value, 'accuracy')} ({_interval(at, lambda value: number(value, 'accuracy'))})"
            for variant, at in zip(each.variants, each.accuracies, strict=True)
        ]
        tau = "–"
        if each.tau is not None and each.attainable is not None:
            ends = _interval(each.tau, lambda value: number(value, "τ"))
            tau = f"{number(each.tau.value, 'τ')} of {number(each.attainable, 'τ')} ({ends})"
        first = f"{each.variants[0]}" + (f" ({each.ranks[0][0]:.2f})" if each.ranks else "")
        published = f"{each.published.ranking} ({each.published.data})"
        rows.append((f"{each.published.images:,}", published, ", ".join(order), first, tau))
    note = "Extrapolated, not measured: it holds only if the laws do. First: with the part of the draws that agree."
    header = ("images", "published", "extrapolated, %", "first", "Kendall's τ_b")
    return Table("The rankings extrapolated", header, tuple(rows), (note,), words=5)


def _interval(estimate: Estimate, shown: Callable[[float], str]) -> str:
    if estimate.low is None or estimate.high is None:
        return "–"
    return f"{shown(estimate.low)} to {shown(estimate.high)}"
