"""A matplotlib figure as part of a page: SVG that takes the page's font and colours.

The page is dark or light and the figure must be both, so its few neutral colours and those of the verdicts
become CSS variables (`THEME`); the variants' colours stay. Letters stay letters, drawn in the page's font.
"""

from __future__ import annotations

import io
import re

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from study.report.claim_figures import VERDICTS
from study.report.style import RC

THEME = {
    "#000000": "ink",
    "#444444": "muted",
    "#666666": "muted",
    "#ffffff": "paper",
    **{colour.lower(): word for word, (colour, _) in VERDICTS.items() if word},
}


def inline_svg(figure: Figure, name: str, alternative: str) -> Markup:
    """The figure as an `<svg>` element with a text alternative. `name`, unique in the page, keeps its ids apart."""
    buffer = io.StringIO()
    with mpl.rc_context(RC):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    size = re.search(r'viewBox="[^"]+"', svg)
    assert size, "matplotlib writes a viewBox"
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font-family: [^;\"]*;?|transform=\"rotate\(-0 [^)]*\)\"", "", body)
    body = re.sub(r"((?:fill|stroke): )(#[0-9a-f]{6})", _themed, body)
    body = re.sub(r"<[^>]+>", lambda tag: re.sub(r"\d+\.\d{3,}", _rounded, tag[0]), body)  # letters keep their digits
    body = re.sub(r"\s*\n\s*", " ", body)
    inches = f"--inches: {figure.get_figwidth():g}"
    opening = f'<svg {size[0]} style="{inches}" role="img" aria-label="{escape(alternative)}">'
    return Markup(opening + body)


def _rounded(match: re.Match[str]) -> str:
    """Points: a hundredth is enough."""
    return f"{float(match[0]):.2f}"


def _themed(match: re.Match[str]) -> str:
    variable = THEME.get(match[2])
    return f"{match[1]}var(--{variable})" if variable else match[0]
