"""Figures of an experiment at several sizes: accuracy and gap against training images, and what the laws say beyond.

Points and bands are as in figures.py: means over seeds with 95% t-intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from study.analysis.scaling_types import Scaling
from study.report.drawing import accuracy_axis, canvas, draw_band, name_lines, spread_in_words
from study.report.style import RC, TEXT, styles


def accuracy_by_images(points: pd.DataFrame, scaling: Scaling) -> Figure:
    """Test accuracy against training images; crossings marked, with the bootstrap's interval as a bar."""
    figure, (axes,) = canvas(points)
    _draw_points(axes, points, "accuracy")
    colours = styles(points["variant"])
    accuracy = {(point.variant, point.images): point.accuracy.value for point in scaling.points}
    for crossing in scaling.crossings:
        at = crossing.images
        line = [accuracy[crossing.overtakes, size] for size in scaling.sizes]
        height = float(np.interp(np.log(at.value), np.log(scaling.sizes), line))
        drawn: Any = {"color": colours[crossing.overtakes].colour, "zorder": 4}
        if at.low is not None and at.high is not None:
            axes.plot([at.low, at.high], [height, height], linewidth=0.9, solid_capstyle="butt", **drawn)
        axes.plot([at.value], [height], marker="o", markersize=4.5, markerfacecolor="white", **drawn)
    _images_axis(axes, scaling.sizes)
    accuracy_axis(axes, "test accuracy")
    name_lines(figure)
    return figure


def gap_by_images(points: pd.DataFrame, scaling: Scaling) -> Figure:
    """Train (probe) minus test accuracy at the end of training against training images."""
    figure, (axes,) = canvas(points)
    _draw_points(axes, points, "gap")
    axes.axhline(0, color="#444444", linewidth=0.6, zorder=1)
    _images_axis(axes, scaling.sizes)
    accuracy_axis(axes, "train − test accuracy", "points")
    name_lines(figure)
    return figure


def extrapolation(points: pd.DataFrame, scaling: Scaling) -> Figure:
    """The fitted laws over the data, and beyond them dashed, on a shaded ground that says so."""
    figure, (axes,) = canvas(points, width=TEXT)
    end = scaling.sizes[-1]
    beyond = scaling.band_images >= end
    axes.axvspan(end, scaling.band_images[-1] * 1.3, color="#000000", alpha=0.05, linewidth=0, gid="extrapolated")
    axes.axvline(end, color="#444444", linewidth=0.6)
    note: Any = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "fontsize": 6, "va": "top"}
    axes.annotate("data end here", (end, 1), (-3, -2), ha="right", color="#666666", **note)
    axes.annotate("extrapolated", (end, 1), (3, -2), ha="left", color="#666666", **note)
    for label, style in styles(points["variant"]).items():
        own = [point for point in scaling.points if point.variant == label]
        marks: Any = {"color": style.colour, "marker": style.marker, "linestyle": "none", "markeredgewidth": 0}
        axes.plot([point.images for point in own], [point.accuracy.value for point in own], **marks)
        best, low, high = scaling.bands[label]
        axes.plot(scaling.band_images[~beyond], best[~beyond], color=style.colour)
        axes.plot(scaling.band_images[beyond], best[beyond], color=style.colour, linestyle=(0, (4, 2)))
        axes.fill_between(scaling.band_images, low, high, color=style.colour, alpha=0.12, linewidth=0)
    for each in scaling.extrapolations:
        axes.axvline(each.published.images, color="#888888", linewidth=0.5, linestyle=(0, (1, 2)))
        axes.annotate(each.published.data, (each.published.images, 0), (-2, 3), ha="right", color="#666666",
                      **{**note, "va": "bottom"})  # fmt: skip
    axes.set_xlim(scaling.sizes[0] / 1.2, scaling.band_images[-1] * 1.3)
    _images_axis(axes, (scaling.sizes[0], int(scaling.band_images[-1])))
    accuracy_axis(axes, "test accuracy")
    return figure


@dataclass(frozen=True)
class ScalingFigure:
    """A figure over sizes: how it is made, its title, what a reader must know to read it, what is a mean over seeds."""

    make: Callable[[pd.DataFrame, Scaling], Figure]
    title: str
    caption: str
    means: str = "Points"

    @mpl.rc_context(RC)
    def draw(self, points: pd.DataFrame, scaling: Scaling) -> Figure:
        """The figure, with its caption, which says n, as its label."""
        figure = self.make(points, scaling)
        counts = points.dropna(subset=["accuracy"]).groupby(["variant", "images"]).size()
        figure.set_label(f"{self.caption} {spread_in_words(counts, self.means)}")
        return figure


SCALING_FIGURES = {
    "accuracy_by_images": ScalingFigure(
        accuracy_by_images,
        "Test accuracy against training images",
        "At an equal number of samples seen. Circles: crossings, with their 95% bootstrap interval. Where a "
        "variant or size has fewer seeds than others, n stands there.",
    ),
    "gap_by_images": ScalingFigure(
        gap_by_images, "Gap against training images", "Train (probe) minus test accuracy at the end."
    ),
    "extrapolation": ScalingFigure(
        extrapolation,
        "Scaling laws, and where they lead",
        "Lines: error = a · images^-b + c, fitted to all sizes; bands: 95% bootstrap over seeds. On grey nothing was "
        "measured: the dashed lines hold only if the laws do. Dotted: the sizes of the published rankings.",
        means="",
    ),
}


def drawable(scaling: Scaling) -> dict[str, ScalingFigure]:
    """The figures that can be drawn: without laws there is no extrapolation."""
    return {name: kind for name, kind in SCALING_FIGURES.items() if name != "extrapolation" or scaling.laws}


# ---------------------------------------------------------------- how they are drawn


def _draw_points(axes: Axes, points: pd.DataFrame, column: str) -> None:
    """Mean and band of each variant at every size at which it has a value, over the seeds that are there.

    Where there are fewer seeds than elsewhere, their number n stands above the size, or at the variant that has fewer
    than the others.
    """
    counts = points.dropna(subset=[column]).groupby(["images", "variant"]).size().unstack(fill_value=0)
    usual = counts.max(axis="columns")
    note: Any = {"textcoords": "offset points", "fontsize": 5.5, "ha": "center", "gid": "n"}
    for images, n in usual[usual < usual.max()].items():
        axes.annotate(f"n={n}", (images, 1), (0, 1), xycoords=axes.get_xaxis_transform(), color="#666666", **note)
    for label, style in styles(points["variant"]).items():
        own = points[points["variant"] == label]
        table = own.pivot(index="seed", columns="images", values=column).dropna(axis="columns", how="all")
        draw_band(axes, table.columns.to_numpy(dtype=float), table.to_numpy(dtype=float), label, style)
        for images, n, mean in zip(table.columns, table.count(), table.mean(), strict=True):
            if n < usual[images]:
                axes.annotate(f"n={n}", (images, mean), (0, 4), color=style.colour, **note)


def _images_axis(axes: Axes, sizes: tuple[int, ...]) -> None:
    """Training images, logarithmic: the measured sizes where they are few, else powers of ten."""
    axes.set_xscale("log")
    decades = [10.0**power for power in range(1, 10) if min(sizes) / 1.3 <= 10.0**power <= max(sizes) * 1.3]
    axes.xaxis.set_major_locator(FixedLocator([float(size) for size in sizes] if 2 < len(sizes) <= 8 else decades))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda images, _: short(images)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("training images")


def short(images: float) -> str:
    """A number of images on an axis.

    >>> short(500), short(2500), short(12_500), short(99_800), short(1_281_167), short(3e8)
    ('500', '2.5k', '12.5k', '99.8k', '1.28M', '300M')
    """
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if images >= unit:
            return f"{images / unit:.3g}{name}" if images < 999.5 * unit else f"{images / unit:.0f}{name}"
    return f"{images:.0f}"
