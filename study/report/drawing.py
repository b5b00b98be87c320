"""How figures are drawn: canvases, means with their bands or seeds, names at the ends of lines, axes, files.

A figure carries its caption, which says n, as its label (`figure.get_label()`): pages show it, files hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import scipy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from study.files import atomic
from study.report.style import COLUMN, FEW, RC, TEXT, Style, styles

Array = NDArray[np.float64]

LEVEL = 0.95  # of the bands
MARKERS = 8  # about as many on a line, however many evaluations it has
LONGEST = 14  # letters of a name that stands at a line's end
FARTHEST = 9.0  # points that a name may stand off its line's end, up or down


def mean_and_interval(values: Array) -> tuple[Array, Array, Array]:
    """Mean over runs and the ends of its t-interval at each point. `values`: (runs, points), NaN where a run has none.

    mean +- t_{(1 + LEVEL) / 2, n - 1} sd / sqrt(n) over the n runs that are there; the ends are NaN for a single one.
    """
    count = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / np.where(count, count, np.nan)
    squares = np.nansum((values - mean) ** 2, axis=0)
    more = np.where(count > 1, count, np.nan)
    half = scipy.stats.t.ppf((1 + LEVEL) / 2, more - 1) * np.sqrt(squares / (more - 1) / more)
    return mean, mean - half, mean + half


def spread_in_words(counts: Iterable[int], what: str = "Lines") -> str:
    """What is drawn of so many seeds a variant, for captions.

    >>> spread_in_words([3, 3])
    'Lines: mean over n = 3 seeds; thin: every seed.'
    >>> spread_in_words([5])
    'Lines: mean over n = 5 seeds; bands: its pointwise 95% t-interval.'
    >>> spread_in_words([3, 5], ""), spread_in_words([1])
    ('n = 3 to 5 seeds.', 'n = 1 seed.')
    """
    counts = [count for count in counts if count]
    low, high = min(counts, default=0), max(counts, default=0)
    seeds = f"n = {low} to {high} seeds" if low < high else f"n = {high} seed{'s' * (high != 1)}"
    if not what or high < 2:
        return f"{seeds}."
    seeds = f"{what}: mean over {seeds}"
    if high <= FEW:
        return f"{seeds}; thin: every seed."
    few = f" where n > {FEW}, else thin: every seed" if low <= FEW else ""
    return f"{seeds}; bands: its pointwise 95% t-interval{few}."


def canvas(
    curves: pd.DataFrame, panels: int = 1, width: float | None = None, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """An empty figure with the legend of all variants above.

    It has a column's width; that of both, where panels are more or the legend would be high.
    """
    variants = styles(curves["variant"])
    high = len(variants) > 4 * _legend_columns(list(variants), COLUMN)
    width = width or (TEXT if panels > 1 or high else COLUMN)
    columns = _legend_columns(list(variants), width)
    figure = Figure(figsize=(width, 2.25 + 0.15 * np.ceil(len(variants) / columns)), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False, sharey=sharey)[0])
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, linestyle=style.dashes, label=label)
        for label, style in variants.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, handlelength=2.2, columnspacing=1.4)
    return figure, axes


def name_lines(figure: Figure) -> None:
    """Put the names to the ends of the lines instead of the legend, where all of them find room and collide nowhere.

    A name may be moved up or down a little, with a thin line to where it belongs.
    """
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    ends = [(axes, line) for axes in figure.axes for line in axes.lines if line.get_label() in names]
    if len(ends) < len(names) * len(figure.axes) or max(map(len, names)) > LONGEST:
        return
    height = figure.get_figheight()
    legend.set(visible=False, in_layout=False)
    figure.set_figheight(2.25)
    notes = [_name_at_end(axes, line) for axes, line in ends]
    figure.draw_without_rendering()
    point = figure.dpi / 72
    if all(_moved_apart(axes, [note for note in notes if note.axes is axes], point) for axes in figure.axes):
        legend.remove()
        return
    for note in notes:
        note.remove()
    legend.set(visible=True, in_layout=True)
    figure.set_figheight(height)


def _name_at_end(axes: Axes, line: Line2D) -> Annotation:
    points = np.column_stack([np.asarray(each, dtype=float) for each in line.get_data()])
    end = points[np.isfinite(points).all(axis=1)][-1]
    pointer = {"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.5, "shrinkA": 0, "shrinkB": 1}
    return axes.annotate(
        str(line.get_label()), (end[0], end[1]), (8, 0), textcoords="offset points", va="center", fontsize=6.5,
        color=str(line.get_color()), annotation_clip=False, arrowprops={**pointer, "relpos": (0, 0.5)},
    )  # fmt: skip


def _moved_apart(axes: Axes, notes: Sequence[Annotation], point: float) -> bool:
    """Move names off each other, up or down; whether that is not far, and nothing lies below them.

    `point` is one in pixels.
    """
    boxes, moves = [note.get_window_extent() for note in notes], np.zeros(len(notes))
    for _ in range(100):
        for (i, a), (j, b) in combinations(enumerate(boxes), 2):
            up = a.y0 + moves[i] >= b.y0 + moves[j]
            near = (b.y1 + moves[j] - a.y0 - moves[i]) if up else (a.y1 + moves[i] - b.y0 - moves[j])
            if near > 0 and a.x0 < b.x1 and b.x0 < a.x1:
                moves[i] += near / 2 if up else -near / 2
                moves[j] -= near / 2 if up else -near / 2
    boxes = [Bbox.from_extents(box.x0, box.y0 + up, box.x1, box.y1 + up) for box, up in zip(boxes, moves, strict=True)]
    paths = [line.get_path().transformed(line.get_transform()) for line in axes.lines if np.size(line.get_xdata()) > 2]
    overlaps = any(a.padded(-point).overlaps(b.padded(-point)) for a, b in combinations(boxes, 2))
    if overlaps or any(path.intersects_bbox(box, filled=False) for path in paths for box in boxes):
        return False
    for note, up in zip(notes, moves, strict=True):
        note.set_position((8, up / point))
    return bool(np.abs(moves).max(initial=0) <= FARTHEST * point)


def _legend_columns(labels: list[str], width: float) -> int:
    """The most columns of legend entries that fit into `width` inches."""
    for columns in range(len(labels), 1, -1):
        rows = -(-len(labels) // columns)
        widest = [max(map(len, labels[start : start + rows])) for start in range(0, len(labels), rows)]
        if sum(0.46 + 0.056 * letters for letters in widest) <= width:
            return -(-len(labels) // rows)  # as few as these rows need, so that the rows are of like length
    return 1


def draw_band(
    axes: Axes, x: Array, values: Array, label: str, style: Style, logarithmic: bool = False, seeds: bool = True
) -> None:
    """Mean over the rows of `values` (runs, points) in the style of a variant, with its interval.

    Of few runs an interval says little and fills the panel: where they are, every run is drawn, thin, if `seeds`.
    """
    if values.size == 0:
        return
    transformed = np.log(values) if logarithmic else values
    centre, low, high = (np.exp(v) if logarithmic else v for v in mean_and_interval(transformed))
    every = max(1, len(x) // MARKERS)
    line: Any = {"color": style.colour, "marker": style.marker, "linestyle": style.dashes}
    axes.plot(x, centre, label=label, markevery=(every - 1, every), markeredgewidth=0, **line)
    few = np.isfinite(values).sum(axis=0) <= FEW
    if not few.all():
        low, high = np.where(few, np.nan, low), np.where(few, np.nan, high)
        axes.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
    if seeds and few.any() and len(values) > 1:
        draw_seeds(axes, x, values, style.colour)


def draw_seeds(axes: Axes, x: Array, values: Array, colour: str) -> None:
    """Every row of `values` (runs, points) as a thin line."""
    for each in values:
        axes.plot(x, each, color=colour, linewidth=0.5, alpha=0.7, zorder=1.8)


def count_axis(axes: Axes, label: str) -> None:
    """Steps or epochs, from 0, in thousands where there are many."""
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    thousands = axes.get_xlim()[1] >= 10_000
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n / 1000:g}k" if thousands and n else f"{n:,.0f}"))


def accuracy_axis(axes: Axes, label: str, unit: str = "%") -> None:
    """Fractions, in percent or points."""
    axes.set_ylabel(f"{label} ({unit})")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda part, _: f"{100 * part:g}".replace("-", "−")))


def loss_axis(axes: Axes, curves: pd.DataFrame, which: str) -> None:
    """A logarithmic axis with about six round labels, whether it spans a third of a decade or four decades."""
    losses = curves.loc[np.isfinite(curves["probe_loss"]) & (curves["probe_loss"] > 0), "probe_loss"]
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    if len(losses):
        axis.set_major_locator(FixedLocator(round_losses(float(losses.min()), float(losses.max()))))
    axis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    axis.set_minor_locator(NullLocator())
    axes.set(**{f"{which}label": "train loss of the probe (nats)"})


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


def save(figure: Figure, path: Path, title: str = "") -> Path:
    """Write a figure as `path`'s suffix says (svg, pdf, or png at 300 dpi), without dates, in one piece.

    SVG and PDF hold letters, not outlines of them. All hold the title and the caption.
    """
    kind, caption = path.suffix[1:], str(figure.get_label())
    said: dict[str, dict[str, Any]] = {
        "svg": {"Title": title, "Description": caption, "Date": None},
        "pdf": {"Title": title, "Subject": caption, "CreationDate": None},
        "png": {"Title": title, "Description": caption},
    }
    told = {key: value for key, value in said.get(kind, {}).items() if value != ""}
    with mpl.rc_context(RC), atomic(path) as unfinished:
        figure.savefig(unfinished, format=kind, metadata=told)
    return path
