"""What is tabulated of a sweep: relations, readouts, accuracies at equal losses, who leads where, size and cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from study.analysis.curves import at_losses, difference_at_loss, ended_well, loss_ranges, not_diverged
from study.analysis.decisions import MAX_SEEDS
from study.analysis.verdicts import ClaimVerdict, Pair
from study.analysis.views import View
from study.report.claim_figures import in_order, relation_of
from study.report.drawing import round_losses
from study.report.style import study_order
from study.report.table import Table, capitalised, joined_unit, number, p_value, plural


def relations(verdict: ClaimVerdict, unit: str) -> Table:
    """Every pair of a claim's variants: what is claimed, measured and shown. The claimed relations come first."""
    rows = []
    for pair in in_order(verdict):
        interval = f"{number(pair.low, unit, '+')} to {number(pair.high, unit, '+')}"
        rows.append(
            (
                relation_of(pair),
                pair.verdict or "not claimed",
                _shown_or_needed(pair),
                number(pair.difference, unit, "+"),
                interval,
                p_value(pair.different_p, verdict.alpha),
                p_value(pair.equivalent_p, verdict.alpha),
                f"{pair.improvement.probability:.2f}",
            )
        )
    header = ("relation", "verdict", "shown, or needed", "difference", "interval", "p (≠)", "p (≈)", "P(better)")
    notes = (
        f"Differences{joined_unit(' in ', unit, difference=True)}, positive if the first is better, each with the "
        "interval that its verdict was decided by: at the level at which Holm's sequence tested it, "
        f"α = {verdict.alpha:g} over all pairs (≫, and what differs by more than a margin: simultaneous). p-values "
        "adjusted by Holm: of no difference, and of a difference beyond ±ε. P(better): that a seed of the first beats "
        "one of the second.",
        *["Needed: about so many seeds of each of the two, for a power of 0.8 at the measured difference and sds."]
        * any(pair.verdict == "undecided" for pair in verdict.pairs),
    )
    title = "Relations, one by one" if verdict.relations else "All pairs, explored: nothing was claimed of them"
    return Table(title, header, tuple(rows), notes, words=3)


def _shown_or_needed(pair: Pair) -> str:
    """What a pair shows, or how many seeds it would take to show something."""
    if pair.verdict != "undecided":
        return pair.shown or "–"
    if pair.more_seeds is None:
        return f"over {MAX_SEEDS} seeds"
    return plural(pair.more_seeds, "more seed")


def readout_summary(name: str, view: View) -> Table:
    """One readout: mean, sd and every seed's value of each variant, the best first."""
    readout = view.find(name)
    wide = view.summary(name)
    seeds = [column for column in wide.columns if column.startswith("seed ")]
    status = view.runs.set_index(["variant", "seed"])["status"].to_dict()
    rows = []
    for row in wide.to_dict("records"):
        cells = [row["variant"], str(row["n"]), number(row["mean"], readout.unit), number(row["sd"], readout.unit)]
        for column in seeds:
            how = status.get((row["variant"], int(column.removeprefix("seed "))), "")
            without = {"diverged": "diverged", "ok": "not reached"}.get(how, "–")
            cells.append(without if math.isnan(row[column]) else number(row[column], readout.unit))
        rows.append(tuple(cells))
    title = f"{capitalised(readout.title)}{name.removeprefix(readout.name)}{joined_unit(', ', readout.unit)}"
    notes = (f"{capitalised(readout.description)}.", *view.measure(name).notes)
    return Table(title, ("variant", "n", "mean", "sd", *seeds), tuple(rows), notes)


def accuracy_by_loss(curves: pd.DataFrame, runs: pd.DataFrame) -> Table | None:
    """Mean test accuracy of each variant at round train losses, from early to late in training; None without curves."""
    alive = not_diverged(curves, runs)
    ranges = loss_ranges(alive)
    if ranges["lowest"].isna().all():
        return None
    losses = round_losses(float(ranges["lowest"].min()), float(ranges["first"].max()), most=9)[::-1]
    values = at_losses(alive, "test_accuracy", losses)
    rows = []
    for variant in study_order(ranges["variant"]):
        means = values[ranges["variant"] == variant].to_numpy().mean(axis=0)  # NaN unless all seeds pass the loss
        rows.append((variant, *(number(mean, "accuracy") for mean in means)))
    note = "Mean over seeds, linear in log loss between evaluations; – where not all seeds of a variant pass that loss."
    header = ("train loss", *(f"{loss:g}" for loss in losses))
    return Table("Test accuracy at equal train loss, %", header, tuple(rows), (note,))


def who_leads(curves: pd.DataFrame, runs: pd.DataFrame) -> Table | None:
    """For each pair: who is ahead at which train losses, early to late in training; None if no pair shares a loss."""
    alive = not_diverged(curves, runs)
    rows = []
    for first, second in combinations(study_order(alive["variant"]), 2):
        found = difference_at_loss(alive, first, second)
        if len(found):
            loss = found["loss"].to_numpy()
            shown = np.sign(found["low"]) + np.sign(found["high"])
            words = [_spans(loss, shown == 2 * sign) for sign in (1, -1)]
            ahead = np.sign(found["difference"].to_numpy())
            apart = np.flatnonzero(ahead)  # a tie has no leader, and turns nothing over
            turns = [f"{loss[place]:.3g}" for place in apart[1:][np.diff(ahead[apart]) != 0]]
            rows.append((first, second, *words, _ends(turns), f"{loss[0]:.3g} to {loss[-1]:.3g}"))
    header = ("first", "second", "first shown ahead at", "second shown ahead at", "turns over at", "compared at")
    note = (
        "Train losses, from early to late in training. Shown ahead: Welch's 95% t-interval of the difference of mean "
        "test accuracy, loss by loss and not simultaneous, leaves out 0. An exploration: where curves turn over, "
        "not a test of a claim."
    )
    return Table("Who leads at which train loss", header, tuple(rows), (note,), words=6) if rows else None


def _spans(loss: np.ndarray, inside: np.ndarray) -> str:
    """The stretches of losses in which something holds, such as `3.1 to 2.4, 0.9 to 0.5`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    spans = [f"{loss[start]:.3g} to {loss[end - 1]:.3g}" for start, end in zip(edges[::2], edges[1::2], strict=True)]
    return _ends(spans)


def _ends(items: Sequence[str]) -> str:
    """A list in a cell: of more than three, the first and the last."""
    return ", ".join(items) or "–" if len(items) <= 3 else f"{items[0]}, … ({len(items) - 2} more), {items[-1]}"


def size_and_cost(runs: pd.DataFrame) -> Table:
    """Equal size is not equal cost: what each variant needs, next to what it reaches."""
    rows = []
    for variant in study_order(runs["variant"]):
        own = runs[runs["variant"] == variant]
        whole = ended_well(own)
        accuracy, gmacs = whole["final_test_accuracy"].mean(), own["macs"].iloc[0] / 1e9
        rows.append(
            (
                variant,
                f"{own['parameters'].iloc[0]:,}",
                f"{1000 * gmacs:,.1f}",
                _fixed(whole["images_per_second"].mean(), 0),
                _fixed(whole["seconds"].mean() / 60, 1),
                number(accuracy, "accuracy"),
                _fixed(100 * accuracy / gmacs, 0),
            )
        )
    header = ("variant", "parameters", "M multiply-adds", "images/s", "minutes/run", "final accuracy, %", "% per GMAC")
    note = (
        "Means over runs that did not diverge. Multiply-adds of one image's forward pass; images per second and "
        "minutes of training, evaluation excluded."
    )
    return Table("Size and cost", header, tuple(rows), (note,))


def _fixed(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:,.{decimals}f}"
