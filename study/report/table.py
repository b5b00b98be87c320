"""The one kind of table: cells as they are printed, for the console, HTML (by the template), Markdown and LaTeX."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text


@dataclass(frozen=True)
class Table:
    """Cells as they are printed. The first `words` columns are words, the others numbers, aligned on the right."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1


def number(value: float | None, unit: str, sign: str = "") -> str:
    """A value as it is printed: accuracies in percent, others with the decimals of their unit. `sign` "+": signed."""
    if value is None or math.isnan(value):
        return "–"
    match unit:
        case "accuracy" | "points":
            text = f"{100 * value:{sign}.2f}"
        case "samples":
            text = f"{value:{sign},.0f}"
        case "nats":
            text = f"{value:{sign}.4f}"
        case "τ":
            text = f"{value:{sign}.2f}"
        case _:
            text = f"{value:{sign}.4g}"
    return text.replace("-", "−")


def scale_of(unit: str) -> float:
    """What a unit's values are multiplied with to be printed: 100 where they are fractions."""
    return 100 if unit in ("accuracy", "points") else 1


def p_value(p: float | None, alpha: float = 0.05) -> str:
    """A p-value as papers print it; with as many more digits as tell on which side of `alpha` it lies.

    >>> p_value(0.0004), p_value(0.0416), p_value(0.0497), p_value(0.0503)
    ('<.001', '.042', '.0497', '.050')
    """
    if p is None or math.isnan(p):
        return "–"
    if p < min(0.001, alpha):
        return "<.001"
    digits = next(digits for digits in range(3, 18) if (round(p, digits) < alpha) == (p < alpha))
    return f"{p:.{digits}f}".removeprefix("0")


def shown_unit(unit: str, difference: bool = False) -> str:
    """The unit beside printed numbers: accuracies are printed in percent, their differences in points."""
    if unit == "accuracy":
        return "points" if difference else "%"
    return unit


def joined_unit(joint: str, unit: str, difference: bool = False) -> str:
    """The unit behind `joint`, such as ", " or " in "; empty for numbers that have none."""
    shown = shown_unit(unit, difference)
    return f"{joint}{shown}" if shown else ""


def capitalised(text: str) -> str:
    """A sentence's first letter made large, the rest left as it is; symbols such as ε stay what they are."""
    return text[:1].upper() + text[1:] if text[:1].isascii() else text


def plural(count: int, what: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def show(table: Table, console: Console) -> None:
    """Print a table and its notes as they are: no cell is markup, so that `[relative_bias=none]` stays."""
    grid = Grid(title=Text(table.title, style="italic") if table.title else None, title_justify="left", box=box.ROUNDED)
    for place, header in enumerate(table.header):
        grid.add_column(Text(header), justify="left" if place < table.words else "right")
    for row in table.rows:
        grid.add_row(*map(Text, row))
    console.print(grid)
    for note in table.notes:
        say(note, console)


def say(text: str, console: Console, style: str | None = None) -> None:
    """Print one paragraph as it is."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON document. What is not finite is null: JSON has no such numbers."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_markdown(table: Table) -> str:
    """A GitHub table under its title, its notes below."""
    rules = ["---" if column < table.words else "---:" for column in range(len(table.header))]
    lines = [f"### {table.title}", "", _bar(table.header), _bar(rules), *map(_bar, table.rows), ""]
    return "\n".join([*lines, *(f"{note}  " for note in table.notes)]).rstrip() + "\n"


def _bar(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


_LATEX = {
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", ">": "$>$", "<": "$<$", "≈": r"$\approx$", "≥": r"$\geq$",
    "≫": r"$\gg$", "≳": r"$\stackrel{>}{\sim}$", "≠": r"$\neq$", "±": r"$\pm$", "×": r"$\times$",
    "·": r"$\cdot$", "−": "$-$", "ε": r"$\varepsilon$", "Δ": r"$\Delta$", "τ": r"$\tau$", "α": r"$\alpha$",
    "–": "--", "…": r"\dots{}",
}  # fmt: skip


def latex_escape(text: str) -> str:
    """Text as LaTeX source, with the signs of the ranking notation in mathematics."""
    return "".join(_LATEX.get(character, character) for character in text)


def to_latex(table: Table) -> str:
    """A `table` environment with booktabs rules; title and notes are its caption."""
    columns = "l" * table.words + "r" * (len(table.header) - table.words)
    header, *rows = (" & ".join(map(latex_escape, row)) + r" \\" for row in (table.header, *table.rows))
    caption = latex_escape(" ".join((f"{table.title}.", *table.notes)))
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\toprule", header, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)
