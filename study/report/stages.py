"""A strip that draws networks stage by stage, to scale: what a layout such as C-C-T-T is, at a glance."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import mode
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from study.config import Variant, own_reference, parse_variant
from study.errors import StudyError
from study.report.style import COLUMN, RC, TEXT, styles
from study.results import Results

# Kinds of blocks (study/models/table.py): letter, colour, hatching, name in the key.
_CONVOLUTION, _ATTENTION = (styles([label])[label].colour for label in ("C-C-C-C", "ViT_REL"))
KINDS = {
    "stem": ("", "#7F877B", "", "stem"),
    "MBConv": ("C", _CONVOLUTION, "", "C: convolution (MBConv)"),
    "Transformer": ("T", _ATTENTION, "//////", "T: attention (Transformer)"),
    "serial": ("CoaT", "#8E4FCD", "xxxxxx", "CoaT block"),
    "parallel": ("parallel", "#8E4FCD", "xxxxxx", "CoaT block"),
}
SMALLEST = 0.004  # points a channel
UNKNOWN = "stages not known: not one of the study's own networks"
NOTE = ("Blocks are as high as their grid of positions, as wide as their channels.", "Below: blocks × channels.")

# In points: letters, lines of them, gaps between stages, the tallest block, the margin.
_LETTERS, _LINE, _GAP, _TALLEST, _EDGE = 6.0, 8.5, 8.0, 26.0, 2.0


@dataclass(frozen=True)
class Group:
    """Equal blocks of a stage. `column` is the stage's place, 0 for the stem; None goes on after the one before."""

    column: int | None
    kind: str
    depth: int
    width: int
    side: int


@mpl.rc_context(RC)
def stage_strip(variants: Mapping[str, Variant], image_size: int = 32, width: float | None = None) -> Figure:
    """The stages of each variant, under one another and on one scale; of a single one, without its name.

    A rectangle is a block: as high as the side of its grid of positions, as wide as its channels, blue and plain for
    MBConv, red and hatched for Transformer. Networks whose stages are not known (timm's, the user's own) say so.
    `width` is in inches, by default a column's for one variant and the text's for more, and grows where labels need it.
    Raises StudyError if a variant does not take images of that side.
    """
    rows = {label: groups(variant, image_size) for label, variant in variants.items()}
    drawn = [group for row in rows.values() for group in row]
    room = 72 * (width or (COLUMN if len(rows) == 1 else TEXT))
    left = _EDGE if len(rows) == 1 else _EDGE + _GAP + max(_wide(label, weight="bold") for label in rows)
    strip = _Strip.fitted(list(rows.values()), left, room - _EDGE)
    room = max(room, strip.end + _EDGE)  # where even labels do not fit
    lines = _key({group.kind for group in drawn}, room) if drawn else []
    head, pitch = 2.2 * _LINE, _TALLEST + _LINE + _GAP
    height = head + pitch * len(rows) + _LINE * len(lines)
    figure = Figure(figsize=(room / 72, height / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, room), ylim=(0, height))
    axes.set_axis_off()
    for column, start in strip.starts.items():
        _write(axes, start, height - _EDGE, f"S{column}", weight="bold", va="top")
        side = f"{strip.sides[column]} × {strip.sides[column]}"
        _write(axes, start, height - _EDGE - _LINE, side, color="#666666", va="top")
    for place, (label, row) in enumerate(rows.items()):
        middle = height - head - pitch * place - _TALLEST / 2
        if len(rows) > 1:
            _write(axes, _EDGE, middle, label, weight="bold", va="center_baseline")
        strip.draw(axes, row, middle)
        if not row:
            _write(axes, left, middle, UNKNOWN, color="#666666", va="center_baseline")
    _draw_key(axes, lines)
    figure.set_label(" ".join(NOTE))
    return figure


def networks_of(results: Results) -> dict[str, Variant]:
    """The networks of a results folder by label: those of its records; where only tables are here, sized anew.

    One whose size cannot be told, or would come out another than in the tables, is left out.
    """
    from study.data import known_classes
    from study.models.cost import amount_of
    from study.sweep.plan import resolve_variants

    if results.members:
        return {label: each for member in reversed(results.members) for label, each in networks_of(member).items()}
    found = {record.run.label: record.run.variant for record in results.records}
    data, experiment = results.experiment.data, results.experiment
    classes = known_classes(data)
    if found or classes is None or not len(results.runs):
        return found
    for label, parameters in results.runs.groupby("variant")["parameters"].first().items():
        if label not in experiment.variants or own_reference(parse_variant(str(label))[0]):
            continue  # nothing of the user's is run to draw it
        try:
            alone = experiment.model_copy(update={"variants": (label,)})
            ((_, variant),) = resolve_variants(alone, classes).items()
            if amount_of(variant, classes, data.image_size, "parameters") == parameters:
                found[str(label)] = variant
        except StudyError:  # such as a control of a transfer, whose network is that of its pretraining
            continue
    return found


def groups(variant: Variant, image_size: int) -> list[Group]:
    """The stages as `stage_strip` draws them, the head left out; none for a network whose stages are not known."""
    from study.models.table import stages

    found: list[Group] = []
    for stage in stages(variant, image_size):
        name, kind, depth, width = (stage[key] for key in ("stage", "kind", "depth", "width"))
        if name in ("S0", "stem"):
            found.append(Group(0 if name == "S0" else None, "stem", depth, width, stage["side"]))
        elif kind in KINDS:  # of CoaT's parallel blocks the side is that of the last scale
            column = int(name[-1]) if name[-1].isdigit() and kind != "parallel" else None
            found.append(Group(column, kind, depth, width, stage["side"] or found[-1].side))
    return found


@dataclass(frozen=True)
class _Strip:
    """Where everything lies, in points; `unit` is a channel."""

    rows: Sequence[Sequence[Group]]
    left: float
    unit: float

    @classmethod
    def fitted(cls, rows: Sequence[Sequence[Group]], left: float, right: float) -> _Strip:
        """On the largest scale on which every row ends before `right`."""
        low, high = SMALLEST, 4.0
        for _ in range(40):
            unit = (low + high) / 2
            low, high = (unit, high) if cls(rows, left, unit).end <= right else (low, unit)
        return cls(rows, left, low)

    @cached_property
    def sides(self) -> dict[int, int]:
        """The usual side in each column."""
        found = [(group.column, group.side) for row in self.rows for group in row if group.column is not None]
        return {column: mode(side for each, side in found if each == column) for column, _ in sorted(found)}

    @cached_property
    def starts(self) -> dict[int, float]:
        """Where the columns start; one is as wide as what any row has in it, and its header."""
        starts, at = {}, self.left
        for column, side in self.sides.items():
            starts[column] = at
            own = [[self._room(group) + _GAP for group in row if group.column == column] for row in self.rows]
            at += max(_wide(f"{side} × {side}") + _GAP, *map(sum, own), 0.0)
        return starts

    def _room(self, group: Group) -> float:
        return max(self.unit * group.depth * group.width, _wide(self._label(group)))

    def _label(self, group: Group) -> str:
        """Blocks times channels; and the side, where it is not that of the column."""
        usual = group.column is not None and self.sides[group.column] == group.side
        side = "" if usual else f" at {group.side} × {group.side}"
        return f"{KINDS[group.kind][0]} {group.depth} × {group.width}{side}".strip()

    def places(self, row: Sequence[Group]) -> list[tuple[float, float]]:
        """Where each group starts, and where it ends with its label."""
        found, end = [], self.left
        for group in row:
            start = end if group.column is None else max(end, self.starts[group.column])
            found.append((start, start + self._room(group)))
            end = found[-1][1] + _GAP
        return found

    @cached_property
    def end(self) -> float:
        """Where the longest row ends."""
        return max((self.places(row)[-1][1] for row in self.rows if row), default=self.left)

    def draw(self, axes: Axes, row: Sequence[Group], middle: float) -> None:
        """The blocks of a network around `middle`, and what they are below."""
        tallest = max((group.side for each in self.rows for group in each), default=1)
        for group, (start, _) in zip(row, self.places(row), strict=True):
            width, height = self.unit * group.width, _TALLEST * group.side / tallest
            for block in range(group.depth):
                axes.add_patch(_block(group.kind, (start + width * block, middle - height / 2), width, height))
            _write(axes, start, middle - _TALLEST / 2 - 2, self._label(group), va="top")


def _block(kind: str, corner: tuple[float, float], width: float, height: float) -> Rectangle:
    """One block; a plain one's edge, which parts it from the next, is thin where the block is."""
    _, colour, hatch, _ = KINDS[kind]
    face, edge = ("#FFFFFF", colour) if hatch else (colour, "#FFFFFF")
    line = 0.5 if hatch else min(0.6, 0.2 * width, 0.2 * height)
    return Rectangle(corner, width, height, facecolor=face, edgecolor=edge, hatch=hatch, linewidth=line, label=kind)


@lru_cache(maxsize=512)
def _wide(text: str, weight: str = "normal") -> float:
    """Points that a text takes."""
    font = mpl.font_manager.FontProperties(family=mpl.rcParams["font.family"], weight=weight)
    return float(TextPath((0, 0), text, size=_LETTERS, prop=font).get_extents().width) if text else 0.0


def _write(axes: Axes, x: float, y: float, words: str, **how: Any) -> None:
    axes.text(x, y, words, **{"size": _LETTERS, "ha": "left", **how})


_Item = tuple[str, str]  # kind of block, or nothing, and words


def _key(kinds: Collection[str], room: float) -> list[list[_Item]]:
    """What the marks mean, and the note from a new line on, as many in a line as fit."""
    marks = {KINDS[kind][3]: kind for kind in KINDS if kind in kinds}  # CoaT's two kinds of blocks have one
    lines: list[list[_Item]] = []
    for items in ([(kind, words) for words, kind in marks.items()], [("", words) for words in NOTE]):
        lines.append([])
        for item in items:
            if lines[-1] and _reach([*lines[-1], item]) > room:
                lines.append([])
            lines[-1].append(item)
    return lines


def _reach(items: Sequence[_Item]) -> float:
    return _EDGE + sum((14 if kind else 0) + _wide(words) + _GAP for kind, words in items) - _GAP


def _draw_key(axes: Axes, lines: Sequence[Sequence[_Item]]) -> None:
    for row, items in enumerate(reversed(lines)):
        y = _LINE * row + 3
        for place, (kind, words) in enumerate(items):
            x = _reach(items[:place]) + _GAP if place else _EDGE
            if kind:
                axes.add_patch(_block(kind, (x, y - 0.5), 11, 6))
            _write(axes, x + (14 if kind else 0), y, words, va="baseline", color="#000000" if kind else "#666666")
