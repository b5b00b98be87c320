"""The style of all figures: a variant's colour and marker, a paper's column widths, fonts and lines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

COLUMN = 3.3  # inches: one column of a two-column paper
TEXT = 6.8  # inches: both columns
FEW = 3  # seeds, up to which every one is drawn, and no interval


Dashes = Literal["-"] | tuple[float, tuple[float, ...]]  # solid, or (offset, lengths on and off)


@dataclass(frozen=True)
class Style:
    """How one variant is drawn, the same in every figure."""

    colour: str
    marker: str
    dashes: Dashes = "-"


# From cold for convolution to warm for attention. On white and on the page's dark ground alike every colour stands out
# by a contrast of 3 to 1 (WCAG 2.2, 1.4.11), which leaves them little lightness to differ in: these were searched for
# as those that stay furthest apart, with each kind of colour blindness too. Markers and labels do without colours.
_STUDY = {
    "C-C-C-C": Style("#1F62E6", "o"),
    "C-C-C-T": Style("#1697CC", "s"),
    "C-C-T-T": Style("#087B50", "^"),
    "C-T-T-T": Style("#C07F0C", "D"),
    "ViT_REL": Style("#CF2E1A", "v"),
}
# For every other label: further colours that stay apart from these, then the same again with other lines and markers.
_COLOURS = ("#B93A9A", "#7F877B", "#8E4FCD", "#DC62B0")
_LINES: tuple[tuple[Dashes, tuple[str, ...]], ...] = (
    ("-", ("P", "X", "h", "p")),
    ((0, (4, 1.5)), ("<", ">", "8", "d")),
    ((0, (1, 1)), ("*", "H", "P", "X")),
)
_OTHERS = tuple(
    Style(colour, marker, dashes)
    for dashes, markers in _LINES
    for colour, marker in zip(_COLOURS, markers, strict=True)
)

# Letters stay letters in SVG and PDF, for editors and for searching. What journals ask for (Arial or Helvetica), what
# takes the same room on Linux (Liberation Sans), and last what every matplotlib brings along, which has all signs.
FONTS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")

# Set before drawing and before saving.
RC: Any = {
    "font.family": ["sans-serif", "DejaVu Sans"],  # the second one sign by sign, where the first lacks it
    "font.sans-serif": FONTS,
    "font.size": 7,
    "axes.grid": False,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.2,
    "savefig.dpi": 300,
    "svg.fonttype": "none",
    "svg.hashsalt": "study",  # the same figure is the same file
    "pdf.fonttype": 42,
}


def study_order(labels: Iterable[str]) -> list[str]:
    """Labels without repeats: the study's variants from convolution to attention, then all others by name."""
    labels = set(labels)
    return [label for label in _STUDY if label in labels] + sorted(labels - set(_STUDY))


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """A style for every label, in `study_order`.

    The study's variants have theirs. Another label's follows from a hash of its name, so that it is the same in every
    experiment; only where two names of one figure fall on the same style, or on one colour while another is free, does
    the later one move on to the next.
    """
    chosen: dict[str, Style] = {}
    taken: set[int] = set()
    for label in study_order(labels):
        if label in _STUDY:
            chosen[label] = _STUDY[label]
            continue
        slot = int(hashlib.sha256(label.encode()).hexdigest(), 16) % len(_OTHERS)
        colours = {each % len(_COLOURS) for each in taken}
        while slot in taken or (slot % len(_COLOURS) in colours and len(colours) < len(_COLOURS)):
            slot = (slot + 1) % len(_OTHERS)
            if len(taken) == len(_OTHERS):
                break
        taken.add(slot)
        chosen[label] = _OTHERS[slot]
    return chosen
