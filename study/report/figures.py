"""Figures of a sweep, one function each: they take the tidy tables `curves` and `runs` and return a matplotlib Figure.

Lines are means over the seeds of a variant, bands are 95% t-intervals of that mean. Both are computed point by point,
across runs: a band says where the mean lies at that point, not where the whole curve lies. A single seed has no band.
Losses are averaged as logarithms, which is how their axes are drawn. A diverged run takes no part in means and bands;
it is drawn by itself as a thin line that ends in a cross.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy import stats

from study.analysis.curves import at_losses, loss_ranges, matched_region, not_diverged, of_runs
from study.analysis.curves import difference_at_loss as at_equal_loss
from study.files import atomic
from study.report.style import COLUMN, RC, TEXT, Style, styles

Array = NDArray[np.float64]

LEVEL = 0.95  # of the bands
MARKERS = 8  # about as many on a line, however many evaluations it has


def mean_and_interval(values: Array, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """Mean over runs and the ends of its t-interval at each point. `values`: (runs, points), NaN where a run has none.

    mean +- t_{(1 + level) / 2, n - 1} sd / sqrt(n) over the n runs that are there; the ends are NaN for a single one.
    """
    count = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / np.where(count, count, np.nan)
    squares = np.nansum((values - mean) ** 2, axis=0)
    more = np.where(count > 1, count, np.nan)
    half = stats.t.ppf((1 + level) / 2, more - 1) * np.sqrt(squares / (more - 1) / more)
    return mean, mean - half, mean + half


# ---------------------------------------------------------------- the figures


def loss_curve(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Train (probe) loss against step, the loss on a logarithmic axis: Fig. 1 of CoAtNet (arXiv 2106.04803), top."""
    with mpl.rc_context(RC):
        figure, (axes,) = canvas(curves)
        _draw_train_loss(axes, curves, runs)
    return figure


def accuracy_curve(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Test accuracy against step: Fig. 1 of CoAtNet (arXiv 2106.04803), bottom."""
    with mpl.rc_context(RC):
        figure, (axes,) = canvas(curves)
        _draw_test_accuracy(axes, curves, runs)
    return figure


def loss_and_accuracy(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Fig. 1 of CoAtNet (arXiv 2106.04803) remade: train loss and test accuracy against step, side by side."""
    with mpl.rc_context(RC):
        figure, (left, right) = canvas(curves, panels=2)
        _draw_train_loss(left, curves, runs)
        _draw_test_accuracy(right, curves, runs)
    return figure


def accuracy_at_loss(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Test accuracy against train loss, training going to the right: at equal loss, the higher line generalizes better.

    A variant's mean line covers the losses that all of its seeds pass (`readouts.at_losses`); what single seeds cover
    beyond is drawn thin. Shaded is the matched region, the losses that all runs of all variants pass.
    """
    with mpl.rc_context(RC):
        figure, (axes,) = canvas(curves)
        alive = not_diverged(curves, runs)
        region = matched_region(alive)
        if region and alive["variant"].nunique() > 1:
            axes.axvspan(*region, color="#000000", alpha=0.06, linewidth=0, gid="matched-region")
            note: Any = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "fontsize": 6}
            middle = float(np.sqrt(region[0] * region[1]))
            axes.annotate("matched", (middle, 1), (0, -2), ha="center", va="top", color="#666666", **note)
        for label, style in styles(curves["variant"]).items():
            _draw_at_losses(axes, alive[alive["variant"] == label], label, style)
        _loss_axis(axes, curves, "x")
        axes.invert_xaxis()
        axes.set_xlabel("train loss (probe), nats")
        accuracy_axis(axes, "test accuracy")
    return figure


def difference_at_loss(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Where the ranking turns over: a panel a pair, mean test accuracy of the one minus the other over train loss.

    The line has the colour of the variant that is ahead; the band is Welch's pointwise t-interval over seeds
    (`curves.difference_at_loss`), so that a lead is told from noise where the band leaves 0.
    """
    alive = not_diverged(curves, runs)
    variants = styles(curves["variant"])
    pairs = list(combinations(variants, 2))
    columns = min(4, max(1, len(pairs)))
    rows = max(1, -(-len(pairs) // columns))
    with mpl.rc_context(RC):
        figure = Figure(figsize=(max(COLUMN, TEXT * columns / 4), 0.7 + 1.35 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, pair in zip(grid.flat, pairs, strict=False):
            _draw_difference(axes, at_equal_loss(alive, *pair, points=100), variants, *pair)
        for axes in grid.flat[len(pairs) :]:
            axes.set_axis_off()
        first = grid.flat[0]
        _loss_axis(first, alive, "x")
        first.xaxis.set_major_locator(FixedLocator(first.xaxis.get_major_locator()()[::2]))
        first.invert_xaxis()
        first.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        first.yaxis.set_major_formatter(FuncFormatter(lambda part, _: f"{100 * part:+g}".replace("-", "−")))
        _keep_lines_in_view(*grid.flat[: max(1, len(pairs))])
        figure.supxlabel("train loss (probe), nats", fontsize=7)
        figure.supylabel("difference of test accuracy, points", fontsize=7)
    return figure


def _draw_difference(axes: Axes, table: pd.DataFrame, variants: dict[str, Style], first: str, second: str) -> None:
    axes.axhline(0, color="#444444", linewidth=0.6, zorder=1)
    axes.set_title(f"{first} − {second}", fontsize=6)
    loss, difference = (table[name].to_numpy(dtype=float) for name in ("loss", "difference"))
    if table["low"].notna().any():
        axes.fill_between(loss, table["low"], table["high"], color="#444444", alpha=0.15, linewidth=0)
    for label, ahead in ((first, difference >= 0), (second, difference <= 0)):
        axes.plot(loss, np.where(ahead, difference, np.nan), color=variants[label].colour)


def gap_curve(curves: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Train (probe) minus test accuracy against epoch."""
    with mpl.rc_context(RC):
        figure, (axes,) = canvas(curves)
        gaps = curves.assign(gap=curves["probe_accuracy"] - curves["test_accuracy"])
        _draw_means(axes, gaps, runs, "epoch", "gap")
        axes.axhline(0, color="#444444", linewidth=0.6, zorder=1)
        _count_axis(axes, "epoch")
        accuracy_axis(axes, "train − test accuracy, points")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda part, _: f"{100 * part:g}".replace("-", "−")))
    return figure


@dataclass(frozen=True)
class FigureKind:
    """A figure as reports name it: its function, a title, what a reader must know to read it, and the columns of
    `curves` on the axes (x, y) of each panel."""

    draw: Callable[[pd.DataFrame, pd.DataFrame], Figure]
    title: str
    caption: str
    panels: tuple[tuple[str, str], ...]


_BAND = "Lines: mean over seeds; bands: 95% t-interval of the mean, point by point."
FIGURES = {
    "train_loss": FigureKind(
        loss_curve,
        "Train loss",
        f"Loss of the probe, train images in eval mode, as in the paper's Fig. 1. {_BAND}",
        (("step", "probe_loss"),),
    ),
    "test_accuracy": FigureKind(
        accuracy_curve,
        "Test accuracy",
        f"Accuracy on the test images, as in the paper's Fig. 1. {_BAND}",
        (("step", "test_accuracy"),),
    ),
    "loss_and_accuracy": FigureKind(
        loss_and_accuracy,
        "Train loss and test accuracy",
        f"The two panels of the paper's Fig. 1, remade. {_BAND}",
        (("step", "probe_loss"), ("step", "test_accuracy")),
    ),
    "accuracy_at_loss": FigureKind(
        accuracy_at_loss,
        "Test accuracy at equal train loss",
        "Training goes to the right; at equal loss, the higher line generalizes better. Shaded: the losses that all "
        f"runs pass. {_BAND} Thin: seeds beyond the losses that all seeds of their variant pass.",
        (("probe_loss", "test_accuracy"),),
    ),
    "difference_at_loss": FigureKind(
        difference_at_loss,
        "Where the ranking turns over",
        "Difference of mean test accuracy at equal train loss, a panel a pair, over the losses that all runs of both "
        "pass; training goes to the right. The line has the colour of the variant that is ahead; bands: 95% t-interval "
        "over seeds, point by point: where it holds 0, neither is shown to lead at that loss.",
        (),
    ),
    "gap_curve": FigureKind(gap_curve, "Gap", f"Train (probe) minus test accuracy. {_BAND}", (("epoch", "gap"),)),
}


def drawable(names: Iterable[str], curves: pd.DataFrame) -> list[str]:
    """Those figures that show something: differences take two variants."""
    return [name for name in names if name != "difference_at_loss" or curves["variant"].nunique() > 1]


def plot_all(
    curves: pd.DataFrame, runs: pd.DataFrame, folder: Path, names: Iterable[str] = tuple(FIGURES)
) -> list[Path]:
    """Write each figure as `folder/NAME.png` (200 dpi) and `folder/NAME.svg`; the paths, in order.

    The same tables give the same bytes, and files appear whole.
    """
    paths = []
    for name in drawable(names, curves):
        figure = FIGURES[name].draw(curves, runs)
        paths += [save(figure, folder / f"{name}.{kind}") for kind in ("png", "svg")]
    return paths


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as `path`'s suffix says (png, svg or pdf), without dates, in one piece."""
    undated: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    kind = path.suffix[1:]
    with mpl.rc_context(RC), atomic(path) as unfinished:
        figure.savefig(unfinished, format=kind, metadata=undated.get(kind))
    return path


# ---------------------------------------------------------------- how they are drawn


def canvas(curves: pd.DataFrame, panels: int = 1, width: float | None = None) -> tuple[Figure, list[Axes]]:
    """An empty figure of a column's width (two panels: both columns) with the legend of all variants above."""
    variants = styles(curves["variant"])
    width = width or (COLUMN if panels == 1 else TEXT)
    columns = _legend_columns(list(variants), width)
    figure = Figure(figsize=(width, 2.25 + 0.15 * np.ceil(len(variants) / columns)), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    handles = [
        mpl.lines.Line2D([], [], color=style.colour, marker=style.marker, linestyle=style.dashes, label=label)
        for label, style in variants.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, handlelength=2.2, columnspacing=1.4)
    return figure, axes


def _legend_columns(labels: list[str], width: float) -> int:
    """The most columns of legend entries that fit into `width` inches."""
    for columns in range(len(labels), 1, -1):
        rows = -(-len(labels) // columns)
        widest = [max(map(len, labels[start : start + rows])) for start in range(0, len(labels), rows)]
        if sum(0.46 + 0.056 * letters for letters in widest) <= width:
            return -(-len(labels) // rows)  # as few as these rows need, so that the rows are of like length
    return 1


def _draw_train_loss(axes: Axes, curves: pd.DataFrame, runs: pd.DataFrame) -> None:
    _draw_means(axes, curves, runs, "step", "probe_loss", logarithmic=True)
    _loss_axis(axes, curves, "y")
    _keep_lines_in_view(axes)
    _count_axis(axes, "step")
    axes.set_ylabel("train loss (probe), nats")


def _draw_test_accuracy(axes: Axes, curves: pd.DataFrame, runs: pd.DataFrame) -> None:
    _draw_means(axes, curves, runs, "step", "test_accuracy")
    _count_axis(axes, "step")
    accuracy_axis(axes, "test accuracy")


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


def _draw_at_losses(axes: Axes, curves: pd.DataFrame, label: str, style: Style) -> None:
    """Accuracy of one variant over the losses that all its seeds pass, and single seeds beyond, thin."""
    if curves.empty:
        return
    ranges = loss_ranges(curves)
    everything = np.geomspace(ranges["first"].max(), ranges["lowest"].min(), 200)
    at = everything
    region = matched_region(curves)
    if region:
        at = np.geomspace(*region, 200)
        draw_band(axes, at, at_losses(curves, "test_accuracy", at).to_numpy(), label, style)
    values = at_losses(curves, "test_accuracy", everything).to_numpy(copy=True)
    if region:
        values[:, (everything <= region[0]) & (everything >= region[1])] = np.nan
    x = np.append(everything, np.nan)  # all runs as one line with gaps
    y = np.column_stack([values, np.full(len(values), np.nan)])
    axes.plot(np.tile(x, len(y)), y.ravel(), color=style.colour, linewidth=0.6, alpha=0.6)


def draw_band(axes: Axes, x: Array, values: Array, label: str, style: Style, logarithmic: bool = False) -> None:
    """Mean over the rows of `values` (runs, points) with its interval, in the style of a variant."""
    if values.size == 0:
        return
    transformed = np.log(values) if logarithmic else values
    centre, low, high = (np.exp(v) if logarithmic else v for v in mean_and_interval(transformed))
    every = max(1, len(x) // MARKERS)
    line: Any = {"color": style.colour, "marker": style.marker, "linestyle": style.dashes}
    axes.plot(x, centre, label=label, markevery=(every - 1, every), markeredgewidth=0, **line)
    if len(values) > 1:
        axes.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)


def _count_axis(axes: Axes, label: str) -> None:
    """Steps or epochs, from 0, in thousands where there are many."""
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    thousands = axes.get_xlim()[1] >= 10_000
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n / 1000:g}k" if thousands and n else f"{n:,.0f}"))


def accuracy_axis(axes: Axes, label: str) -> None:
    """Fractions, in percent."""
    _keep_lines_in_view(axes)
    axes.set_ylabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda part, _: f"{100 * part:g}%".replace("-", "−")))


def _keep_lines_in_view(axes: Axes, *others: Axes) -> None:
    """The frame holds all lines, but of the bands only what is near: two seeds' would leave no room for them.

    `others` share the axes.
    """
    scale = axes.yaxis.get_transform()
    drawn = [np.asarray(line.get_ydata(), dtype=float) for each in (axes, *others) for line in each.lines]
    lines = scale.transform(np.concatenate([np.array([np.nan]), *drawn]))
    if np.isfinite(lines).any():
        low, high = np.nanmin(lines), np.nanmax(lines)
        if low == high:  # level lines: matplotlib's own frame
            return
        bottom, top = scale.transform(np.array(axes.get_ylim()))
        near = 0.1 * (high - low)
        axes.set_ylim(*scale.inverted().transform(np.array([max(bottom, low - near), min(top, high + near)])))


def _loss_axis(axes: Axes, curves: pd.DataFrame, which: str) -> None:
    """A logarithmic axis with about six round labels, whether it spans a third of a decade or four decades."""
    losses = curves.loc[np.isfinite(curves["probe_loss"]) & (curves["probe_loss"] > 0), "probe_loss"]
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(FixedLocator(round_losses(float(losses.min()), float(losses.max()))))
    axis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    axis.set_minor_locator(NullLocator())


def round_losses(low: float, high: float, most: int = 7) -> Sequence[float]:
    """Round numbers from `low` to `high` for a logarithmic axis: the finest of a few series with at most `most`."""
    series = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 4, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks: list[float] = []
    for digits in series:
        ticks = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            break
    if len(ticks) < 3:  # so narrow that it is as good as linear
        even = MaxNLocator(most - 1, steps=[1, 2, 5, 10]).tick_values(low, high)
        return [float(f"{tick:.6g}") for tick in even if low <= tick <= high]
    return ticks[:: -(-len(ticks) // most)]
