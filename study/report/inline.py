"""A matplotlib figure as part of a page: SVG that takes the page's font and colours, and where its curves lie.

The page is dark or light and the figure must be both, so its few neutral colours and those of the verdicts
become CSS variables (`THEME`); the variants' colours stay. Letters stay letters, drawn in the page's font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, TypedDict

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from study.report.claim_figures import VERDICTS
from study.report.style import RC

THEME = {
    "#000000": "ink",
    "#444444": "muted",
    "#666666": "muted",
    "#e4e4e4": "grid",
    "#ffffff": "paper",
    **{colour.lower(): word for word, (colour, _) in VERDICTS.items() if word},
}


class Panel(TypedDict):
    """One pair of axes, for the script that finds the curve under the pointer.

    `x` and `y` name columns of the curves; an axis maps its `limits` (first value, last value; logarithms if `log`)
    linearly onto its `place` (first to last, in the SVG's own units, y downwards).
    """

    x: dict[str, Any]
    y: dict[str, Any]


def inline_svg(figure: Figure, name: str, alternative: str) -> Markup:
    """The figure as an `<svg>` element with a text alternative. `name`, unique in the page, keeps its ids apart."""
    buffer = io.StringIO()
    with mpl.rc_context({**RC, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    size = re.search(r'viewBox="[^"]+"', svg)
    assert size, "matplotlib writes a viewBox"
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font-family: [^;\"]*;?|transform=\"rotate\(-0 [^)]*\)\"", "", body)
    body = re.sub(r"((?:fill|stroke): )(#[0-9a-f]{6})", _themed, body)
    body = re.sub(r"\s*\n\s*", " ", body)
    inches = f"--inches: {figure.get_figwidth():g}"
    opening = f'<svg {size[0]} style="{inches}" role="img" aria-label="{escape(alternative)}">'
    return Markup(opening + body)


def _themed(match: re.Match[str]) -> str:
    variable = THEME.get(match[2])
    return f"{match[1]}var(--{variable})" if variable else match[0]


def panels(figure: Figure, columns: Sequence[tuple[str, str]]) -> list[Panel]:
    """Where the curves of a figure lie, after it has been drawn: one entry a pair of axes, `columns` on its axes."""
    width, height = figure.get_size_inches() * 72  # SVG units are points
    found: list[Panel] = []
    for axes, (x, y) in zip(figure.axes, columns, strict=True):
        box = axes.get_position()
        place_x = [box.x0 * width, box.x1 * width]
        place_y = [height - box.y0 * height, height - box.y1 * height]
        found.append(
            {
                "x": _axis(x, axes.get_xlim(), place_x, axes.get_xscale() == "log"),
                "y": _axis(y, axes.get_ylim(), place_y, axes.get_yscale() == "log"),
            }
        )
    return found


def _axis(column: str, limits: tuple[float, float], place: list[float], log: bool) -> dict[str, Any]:
    return {
        "column": column,
        "limits": [float(limit) for limit in limits],
        "place": [round(float(end), 2) for end in place],
        "log": log,
    }
