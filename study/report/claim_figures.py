"""Figures of a tested claim: differences of all pairs with intervals and margins, and probabilities of ranks."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from study.analysis.verdicts import ClaimVerdict, Pair
from study.report.style import RC, TEXT
from study.report.table import joined_unit, scale_of

# A verdict's colour; its marker says the same without one.
VERDICTS = {
    "confirmed": ("#1A7F5A", "o"),
    "contradicted": ("#C0392B", "X"),
    "undecided": ("#8A6D00", "D"),
    "": ("#8C8C8C", "|"),
}


@mpl.rc_context(RC)
def forest_plot(verdict: ClaimVerdict, unit: str) -> Figure:
    """The difference of every pair with the interval that decided it, against ±ε (shaded) and Δ (dashed).

    The claimed relations come first. Differences are positive if the first variant is better; `unit` is the readout's,
    and accuracies are drawn in points. Filled markers are decided relations, open ones undecided.
    """
    pairs, scale = in_order(verdict), scale_of(unit)
    epsilon, delta = scale * verdict.claim.epsilon, scale * verdict.claim.delta
    figure = Figure(figsize=(0.54 * TEXT, 0.55 + 0.19 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-epsilon, epsilon, color="#000000", alpha=0.06, linewidth=0, gid="margin")
    axes.axvline(0, color="#444444", linewidth=0.6)
    if any(pair.relation == "≫" for pair in pairs):
        axes.axvline(delta, color="#444444", linewidth=0.6, dashes=(4, 3))
        axes.annotate("Δ", (delta, 1), (0, 1), xycoords=axes.get_xaxis_transform(), **_ABOVE)
    axes.annotate("±ε", (0, 1), (0, 1), xycoords=axes.get_xaxis_transform(), **_ABOVE)
    for row, pair in enumerate(pairs):
        colour, marker = VERDICTS[pair.verdict]
        axes.plot([scale * pair.low, scale * pair.high], [row, row], color=colour, linewidth=1.1)
        fill = colour if pair.verdict in ("confirmed", "contradicted") else "#FFFFFF"
        axes.plot([scale * pair.difference], [row], marker, color=colour, markersize=4, markerfacecolor=fill)
        words = pair.verdict or "not claimed"
        axes.annotate(words, (1.02, row), xycoords=axes.get_yaxis_transform(), va="center", color=colour, fontsize=6)
    axes.set_yticks(range(len(pairs)), [relation_of(pair) for pair in pairs])
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelcolor="#000000")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0"))
    axes.set_xlabel(f"difference{joined_unit(', ', unit, difference=True)}: first better →")
    return figure


@mpl.rc_context(RC)
def rank_heat_map(verdict: ClaimVerdict) -> Figure:
    """P(variant has rank r) by parametric bootstrap: variants in published order, ranks from the best."""
    assert verdict.ranks is not None, "a tested claim with draws has ranks"
    matrix, variants = verdict.ranks.matrix, [variant.variant for variant in verdict.variants]
    count = len(variants)
    figure = Figure(figsize=(0.38 * TEXT, 0.5 + 0.25 * count), layout="constrained")
    axes = figure.subplots()
    for row in range(count):
        for rank in range(count):
            p = matrix[row][rank]
            cell = Rectangle((rank - 0.5, row - 0.5), 1, 1, facecolor="#0072B2", alpha=p, linewidth=0)
            axes.add_patch(cell)
            words = f"{p:.2f}" if p >= 0.005 else "<.01" if p > 0 else "·"
            colour = "#FFFFFE" if p > 0.55 else "#000000" if p >= 0.005 else "#8C8C8C"
            axes.annotate(words.removeprefix("0"), (rank, row), ha="center", va="center", fontsize=6.5, color=colour)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xticks(range(count), [str(rank + 1) for rank in range(count)])
    axes.set_yticks(range(count), variants)
    axes.tick_params(length=0, labelcolor="#000000")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("rank")
    return figure


_ABOVE: dict[str, Any] = {
    "textcoords": "offset points",
    "ha": "center",
    "va": "bottom",
    "fontsize": 6,
    "color": "#666666",
}


def in_order(verdict: ClaimVerdict) -> list[Pair]:
    """The pairs, those first of which the ranking says something, and of these its own before the implied ones."""
    return sorted(verdict.pairs, key=lambda pair: (pair.relation is None, not pair.adjacent))


def relation_of(pair: Pair) -> str:
    """A pair in the ranking's notation, with a dot where nothing is claimed."""
    return f"{pair.first} {pair.relation or '·'} {pair.second}"
