"""Figures of a sweep, from the tidy tables `curves` and `runs`: `FIGURES[name].draw(curves, runs)`.

Lines are means over the seeds of a variant, bands are 95% t-intervals of that mean. Both are computed point by point,
across runs: a band says where the mean lies at that point, not where the whole curve lies. Of three seeds or fewer
every one is drawn instead. Losses are averaged as logarithms, which is how their axes are drawn. A diverged run takes
no part in means and bands; it is drawn by itself as a thin line that ends in a cross.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from study.analysis.curves import at_losses, ended_well, log_spaced, loss_ranges, matched_region, not_diverged, of_runs
from study.analysis.curves import difference_at_loss as at_equal_loss
from study.report.drawing import (
    accuracy_axis,
    canvas,
    count_axis,
    draw_band,
    draw_seeds,
    loss_axis,
    mean_and_interval,
    name_lines,
    round_losses,
    save,
    spread_in_words,
)
from study.report.style import COLUMN, FEW, RC, TEXT, Style, styles

VISIBLE_GAP = 0.02  # of accuracy: a gap that stays below, such as that of a stream, has nothing to show
MOST_PAIRS = 15  # of six variants
FORMATS = ("svg", "pdf")


@dataclass(frozen=True)
class FigureKind:
    """A figure as reports name it: how it is made, its title, what a reader must know to read it, and what in it is a
    mean over seeds."""

    make: Callable[[pd.DataFrame, pd.DataFrame], Figure]
    title: str
    caption: str
    means: str = "Lines"

    @mpl.rc_context(RC)
    def draw(self, curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
        """The figure, with its caption, which says n, as its label."""
        figure = self.make(curves, runs)
        n = spread_in_words(ended_well(runs).groupby("variant").size(), self.means)
        figure.set_label(" ".join(filter(None, (self.caption, str(figure.get_label()), n))))
        return figure


def plot_all(
    curves: pd.DataFrame,
    runs: pd.DataFrame,
    folder: Path,
    names: Iterable[str] | None = None,
    formats: Iterable[str] = FORMATS,
) -> list[Path]:
    """Write each figure that shows something as `folder/NAME.svg` and `.pdf`; the paths, in order.

    The same tables give the same bytes, and files appear whole.
    """
    paths = []
    for name in drawable(FIGURES if names is None else names, curves, runs):
        figure = FIGURES[name].draw(curves, runs)
        paths += [save(figure, folder / f"{name}.{kind}", FIGURES[name].title) for kind in formats]
    return paths


def drawable(names: Iterable[str], curves: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """Those figures that show something: any takes curves, differences take two variants with a run that did not
    diverge, and a gap must be there."""
    if curves.empty:
        return []
    gaps = (curves["probe_accuracy"] - curves["test_accuracy"]).groupby([curves["variant"], curves["step"]]).mean()
    absent = {
        "difference_at_loss": not_diverged(curves, runs)["variant"].nunique() < 2,
        "gap_curve": not gaps.abs().max() >= VISIBLE_GAP,
    }
    return [name for name in names if not absent.get(name)]


# ---------------------------------------------------------------- along training


def _along_training(*panels: Callable[[Axes, pd.DataFrame, pd.DataFrame], None]) -> Callable[..., Figure]:
    """What makes a figure of these panels, side by side."""

    def make(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
        figure, all_axes = canvas(curves, panels=len(panels))
        for axes, draw in zip(all_axes, panels, strict=True):
            draw(axes, curves, runs)
        name_lines(figure)
        return figure

    return make


def _draw_train_loss(axes: Axes, curves: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Train (probe) loss against step, the loss on a logarithmic axis: Fig. 1 of CoAtNet (arXiv 2106.04803), top."""
    _draw_means(axes, curves, runs, "step", "probe_loss", logarithmic=True)
    loss_axis(axes, curves, "y")
    count_axis(axes, "step")


def _draw_test_accuracy(axes: Axes, curves: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Test accuracy against step: Fig. 1 of CoAtNet (arXiv 2106.04803), bottom."""
    _draw_means(axes, curves, runs, "step", "test_accuracy")
    count_axis(axes, "step")
    accuracy_axis(axes, "test accuracy")


def _draw_gap(axes: Axes, curves: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Train (probe) minus test accuracy against epoch."""
    gaps = curves.assign(gap=curves["probe_accuracy"] - curves["test_accuracy"])
    _draw_means(axes, gaps, runs, "epoch", "gap")
    axes.axhline(0, color="#444444", linewidth=0.6, zorder=1)
    count_axis(axes, "epoch")
    accuracy_axis(axes, "train − test accuracy", "points")


def _draw_means(
    axes: Axes, curves: pd.DataFrame, runs: pd.DataFrame, x: str, y: str, logarithmic: bool = False
) -> None:
    """Mean line and band of `y` at each `x` that all seeds of a variant measured; diverged runs by themselves."""
    alive = not_diverged(curves, runs)
    ended = of_runs(curves, runs.loc[runs["status"] == "diverged", "run"])
    for label, style in styles(curves["variant"]).items():
        table = alive[alive["variant"] == label].pivot(index="run", columns=x, values=y).dropna(axis="columns")
        draw_band(axes, table.columns.to_numpy(dtype=float), table.to_numpy(dtype=float), label, style, logarithmic)
        for _, curve in ended[ended["variant"] == label].groupby("run"):
            finite = curve[np.isfinite(curve[y])].sort_values(x)
            axes.plot(finite[x], finite[y], color=style.colour, linewidth=0.6)
            axes.plot(finite[x].tail(1), finite[y].tail(1), color=style.colour, marker="x", markersize=5)


# ---------------------------------------------------------------- along the train loss


def accuracy_at_loss(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Test accuracy against train loss, training going to the right: at equal loss, the higher line generalizes better.

    A variant's mean line covers the losses that all of its seeds pass (`readouts.at_losses`); what single seeds cover
    beyond is drawn thin. Shaded is the matched region, the losses that all runs of all variants pass.
    """
    figure, (axes,) = canvas(curves)
    alive = not_diverged(curves, runs)
    region = matched_region(alive)
    if region and alive["variant"].nunique() > 1:
        axes.axvspan(*region, color="#000000", alpha=0.06, linewidth=0, gid="matched-region")
        note: Any = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "fontsize": 6}
        middle = float(np.sqrt(region[0] * region[1]))
        axes.annotate("matched", (middle, 1), (0, 1), ha="center", va="bottom", color="#666666", **note)
    for label, style in styles(curves["variant"]).items():
        _draw_at_losses(axes, alive[alive["variant"] == label], label, style)
    loss_axis(axes, curves, "x")
    axes.invert_xaxis()
    accuracy_axis(axes, "test accuracy")
    name_lines(figure)
    return figure


def _draw_at_losses(axes: Axes, curves: pd.DataFrame, label: str, style: Style) -> None:
    """Accuracy of one variant over the losses that all its seeds pass, and single seeds beyond, thin."""
    if curves.empty:
        return
    ranges = loss_ranges(curves)
    everything = np.geomspace(ranges["first"].max(), ranges["lowest"].min(), 200)
    values = at_losses(curves, "test_accuracy", everything).to_numpy(copy=True)
    region = matched_region(curves)
    if region:
        at = log_spaced(region, 200)
        draw_band(axes, at, at_losses(curves, "test_accuracy", at).to_numpy(), label, style, seeds=False)
        if len(values) > FEW:
            values[:, (everything <= region[0]) & (everything >= region[1])] = np.nan
    draw_seeds(axes, everything, values[np.isfinite(values).any(axis=1)], style.colour)


def difference_at_loss(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Where the ranking turns over: a panel a pair, mean test accuracy of the one minus the other over train loss.

    The line has the colour of the variant that is ahead; the band is Welch's pointwise t-interval over seeds
    (`curves.difference_at_loss`), so that a lead is told from noise where the band leaves 0. Of few seeds the
    differences of each seed that both have stand in its place. Of many variants each is compared with that alone which
    is the most accurate in the end.
    """
    alive = not_diverged(curves, runs)
    variants = styles(curves["variant"])
    pairs, compared = list(combinations(variants, 2)), ""
    if len(pairs) > MOST_PAIRS:
        best = str(ended_well(runs).groupby("variant")["final_test_accuracy"].mean().idxmax())
        pairs = [(best, other) for other in variants if other != best]
        compared = f"Each is compared with {best}, the most accurate in the end."
    longest = max((len(label) for pair in pairs for label in pair), default=1)
    columns = min(max(1, len(pairs)), 4, int(145 / longest) or 1)  # by letters that stand above one another's panels
    rows = max(1, -(-len(pairs) // columns))
    figure = Figure(figsize=(max(COLUMN, TEXT * columns / 4), 0.6 + 1.2 * rows), label=compared, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, pair in zip(grid.flat, pairs, strict=False):
        _draw_difference(axes, alive, variants, *pair)
        axes.tick_params(labelbottom=axes in grid[-1] or axes in grid.flat[len(pairs) - columns :])
    for axes in grid.flat[len(pairs) :]:
        axes.set_axis_off()
    first = grid.flat[0]
    loss_axis(first, alive, "x")
    first.set_xlabel("")
    if min(first.get_xlim()) > 0:  # there is a loss that both of some pair pass
        low, high = first.get_xlim()
        first.xaxis.set_major_locator(FixedLocator(round_losses(low, high, most=4)))
        first.invert_xaxis()
    first.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    signed = FuncFormatter(lambda part, _: f"{100 * part:+g}".replace("-", "−") if abs(part) > 1e-9 else "0")
    first.yaxis.set_major_formatter(signed)
    figure.supxlabel("train loss of the probe (nats)", fontsize=7)
    figure.supylabel("difference of test accuracy (points)", fontsize=7)
    return figure


def _draw_difference(axes: Axes, alive: pd.DataFrame, variants: dict[str, Style], first: str, second: str) -> None:
    table = at_equal_loss(alive, first, second, points=100)
    axes.axhline(0, color="#444444", linewidth=0.6, zorder=1)
    axes.set_title(f"{first} − {second}" if len(first + second) < 24 else f"{first}\n− {second}", fontsize=6)
    loss, difference = (table[name].to_numpy(dtype=float) for name in ("loss", "difference"))
    for label, ahead in ((first, difference >= 0), (second, difference <= 0)):
        axes.plot(loss, np.where(ahead, difference, np.nan), color=variants[label].colour)
    own = [alive[alive["variant"] == label] for label in (first, second)]
    if min(each["run"].nunique() for each in own) > FEW:
        axes.fill_between(loss, table["low"], table["high"], color="#444444", alpha=0.15, linewidth=0)
    elif len(table):
        a, b = (
            at_losses(each, "test_accuracy", loss).set_axis(each.drop_duplicates("run")["seed"].to_numpy())
            for each in own
        )
        shared = a.index.intersection(b.index)
        if len(shared) > 1:
            draw_seeds(axes, loss, (a.loc[shared] - b.loc[shared]).to_numpy(), "#666666")


# ---------------------------------------------------------------- against what it costs


_COSTS = (
    ("macs", "multiply-adds an image (millions)", 1e6),
    ("parameters", "parameters (thousands)", 1e3),
    ("seconds", "training time (s)", 1.0),
)


def accuracy_by_cost(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Final test accuracy against multiply-adds, parameters and seconds of training, a point a variant.

    Bars are 95% t-intervals over seeds, across too where the cost varies; of few seeds they reach from the lowest to
    the highest.
    """
    costs, alive = [cost for cost in _COSTS if runs[cost[0]].notna().any()], ended_well(runs)
    figure, panels = canvas(runs, panels=max(2, len(costs)), sharey=True)
    for axes, (column, label, unit) in zip(panels, costs, strict=False):
        for variant, style in styles(runs["variant"]).items():
            own = alive[alive["variant"] == variant].dropna(subset=[column])
            x, y = own[column].to_numpy(dtype=float) / unit, own["final_test_accuracy"].to_numpy(dtype=float)
            if len(own):
                _draw_cross(axes, x, y, style)
        axes.set_xlabel(label)
        _cost_axis(axes)
    for axes in panels[len(costs) :]:
        axes.set_axis_off()
    accuracy_axis(panels[0], "final test accuracy")
    return figure


def _draw_cross(axes: Axes, x: np.ndarray, y: np.ndarray, style: Style) -> None:
    """The mean of points, with a bar each way."""
    ends = []
    for values in (x, y):
        mean, low, high = (float(end[0]) for end in mean_and_interval(values[:, None]))
        few = len(values) <= FEW
        ends.append((mean, values.min() if few else low, values.max() if few else high))
    (x0, left, right), (y0, low, high) = ends
    axes.plot([x0, x0], [low, high], color=style.colour, linewidth=0.8)
    axes.plot([left, right], [y0, y0], color=style.colour, linewidth=0.8)
    axes.plot([x0], [y0], color=style.colour, marker=style.marker, markersize=4, markeredgewidth=0)


def _cost_axis(axes: Axes) -> None:
    """Logarithmic from a factor of ten on; equal costs stay visibly equal: the axis spans a fifth at least."""
    spans = [np.asarray(line.get_xdata(), dtype=float) for line in axes.lines]
    low, high = (float(end(np.concatenate(spans or [np.array([1.0])]))) for end in (np.nanmin, np.nanmax))
    if low > 0 and high > 10 * low:
        axes.set_xscale("log")
    elif high < 1.2 * low:
        middle = (low + high) / 2
        axes.set_xlim(0.88 * middle, 1.12 * middle)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


# ---------------------------------------------------------------- by name

FIGURES = {
    "train_loss": FigureKind(
        _along_training(_draw_train_loss),
        "Train loss",
        "Loss of the probe, train images in eval mode, as in the paper's Fig. 1.",
    ),
    "test_accuracy": FigureKind(
        _along_training(_draw_test_accuracy),
        "Test accuracy",
        "Accuracy on the test images, as in the paper's Fig. 1.",
    ),
    "loss_and_accuracy": FigureKind(
        _along_training(_draw_train_loss, _draw_test_accuracy),
        "Train loss and test accuracy",
        "The two panels of the paper's Fig. 1, remade.",
    ),
    "accuracy_at_loss": FigureKind(
        accuracy_at_loss,
        "Test accuracy at equal train loss",
        "Training goes to the right; at equal loss, the higher line generalizes better. Shaded: the losses that all "
        "runs pass. Mean lines end where not all seeds of a variant pass; what lies beyond is thin.",
    ),
    "difference_at_loss": FigureKind(
        difference_at_loss,
        "Where the ranking turns over",
        "Difference of mean test accuracy at equal train loss, a panel a pair, over the losses that all runs of both "
        "pass; training goes to the right. The line has the colour of the variant that is ahead; where what surrounds "
        "it holds 0, neither is shown to lead at that loss.",
    ),
    "gap_curve": FigureKind(_along_training(_draw_gap), "Gap", "Train (probe) minus test accuracy."),
    "accuracy_by_cost": FigureKind(
        accuracy_by_cost,
        "Accuracy and what it costs",
        "Final test accuracy against multiply-adds of an image's forward pass, parameters, and seconds of training on "
        f"whatever machine it was. Bars: 95% t-interval over seeds; from the lowest to the highest where n is {FEW} or "
        "fewer.",
        means="",
    ),
}
