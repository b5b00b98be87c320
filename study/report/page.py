"""The report of one or several results folders: `report.html`, one file that needs nothing else, and its tables alone.

    write_all([Path("results/generalization-cifar100")], Path("report.html"))

What it says is made in sections.py as plain data; the template (report.html.j2 with report.css and report.js) only
sets it. On a screen the curves are drawn by uPlot (vendor/), which lies in the page; where no script runs, and on
paper, matplotlib's figures stand in their places.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from study.files import write_text
from study.report.answer import compare
from study.report.claims import Answer
from study.report.sections import Section, finished, read_sections
from study.report.style import FEW, Style, styles
from study.report.table import Table, to_latex, to_markdown
from study.results import Results, load

SIGNS = {"confirmed": "✓", "contradicted": "✗", "undecided": "?"}  # a verdict without its colour


@dataclass(frozen=True)
class Report:
    """A page: a section a study and, where there are several, what they say of the same claims.

    `refresh`: after how many seconds the page asks for itself again while its sweep runs, 0 for never; `progress` says
    how far it is.
    """

    sections: Sequence[Section]
    answer: str = ""
    comparison: Table | None = None
    refresh: float = 0
    progress: str = ""


def read_report(folders: Sequence[Path]) -> Report:
    """All that the page says. Raises StudyError for a folder that holds no results, or no finished run."""
    studies = list(map(load, folders))
    sections = read_sections(studies)
    if len(studies) == 1:
        return Report(sections)
    columns: dict[str, Results] = {}
    for title, results in zip(_told_apart(sections), studies, strict=True):
        for sweep in finished(results):
            columns[title if sweep is results else f"{title}, {sweep.folder.name}"] = sweep
    return Report(sections, *compare(columns))


def _told_apart(sections: Sequence[Section]) -> list[str]:
    """A name for each section: its title, its folder's name where another has that title, its path if that name too."""
    names = [(each.title, each.folder.name, str(each.folder)) for each in sections]
    counts = Counter(name for each in names for name in set(each))
    return [next((name for name in each if counts[name] == 1), each[-1]) for each in names]


def write_all(folders: Sequence[Path], path: Path, latex: bool = False) -> list[Path]:
    """The page at `path`, the Markdown and, if asked, the LaTeX beside it, all from one reading and testing.

    Raises StudyError for a folder that holds no results, or no finished run.
    """
    report = read_report(folders)
    written = [write_page(report, path), write_markdown(report, path.with_suffix(".md"))]
    return [*written, *([write_latex(report, path.with_suffix(".tex"))] if latex else [])]


def write_page(report: Report, path: Path) -> Path:
    """Write one self-contained HTML page; returns `path`."""
    environment = Environment(
        loader=PackageLoader("study.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [each for section in report.sections for each in section.all_sections]
    styled = styles(variant for section in sections for variant in section.variants)
    shown = [(section, figure) for section in sections for figure in section.all_figures]
    environment.filters["whole"] = lambda text: _unbroken(text, styled)
    data = {
        "lines": {section.key: section.lines for section in sections},
        "csv": {f"{section.key}-{figure.name}": figure.csv for section, figure in shown if figure.csv},
        "few": FEW,
        "styles": {label: [style.colour, _dashes(style)] for label, style in styled.items()},
    }
    page = environment.get_template("report.html.j2").render(
        report=report,
        sections=report.sections,
        signs=SIGNS,
        colours={label: style.colour for label, style in styled.items()},
        data=Markup(json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")),
    )  # so that a label cannot end the script element
    write_text(path, page.lstrip())
    return path


def _unbroken(text: str, labels: Iterable[str]) -> Markup:
    """Text in which no line ends within a variant's name."""
    names = "|".join(map(re.escape, sorted(labels, key=len, reverse=True)))
    pieces = re.split(f"({names})", text) if names else [text]
    kept = (Markup('<span class="name">{}</span>').format(piece) for piece in pieces[1::2])
    return Markup("").join(each for pair in zip_longest(map(escape, pieces[::2]), kept, fillvalue="") for each in pair)


def _dashes(style: Style) -> list[float]:
    """As a canvas wants them: in pixels, on and off; none for a solid line."""
    return [] if style.dashes == "-" else [2 * length for length in style.dashes[1]]


def write_markdown(report: Report, path: Path) -> Path:
    """The same answers and tables for a repository's page, with those figures that `study plot` has left."""
    parts: list[str] = [f"**{report.answer}**\n"] if report.answer else []
    parts += [to_markdown(report.comparison)] if report.comparison else []
    for section in (each for study in report.sections for each in study.all_sections):
        question = [f"**{section.card.question}**\n"] if section.card.question else []
        parts += [f"# {section.title}\n\n{section.subtitle}\n", *question, f"{section.answer}\n"]
        told = {caution for view in section.claims for caution in view.cautions}
        parts += [f"- {caution}\n" for caution in section.cautions if caution not in told]
        parts += map(_claim_in_words, section.claims)
        for figure in section.figures:
            image = section.folder / "figures" / f"{figure.name}.svg"
            if image.exists():
                link = Path(os.path.relpath(image, path.parent)).as_posix()
                parts.append(f"![{figure.title}]({link})\n\n*{figure.caption}*\n")
        parts += map(to_markdown, [*section.all_tables, section.provenance.table])
        parts += [f"- {trouble}\n" for trouble in section.provenance.troubles]
    write_text(path, "\n".join(parts))
    return path


def _claim_in_words(view: Answer) -> str:
    published = " ".join(part for relation, _, variant in view.published for part in (relation, variant) if part)
    measured = " ".join(part for step in view.measured for part in step if part)
    source = f" ({view.claim.source})" if view.claim.source else ""
    lines = [f"**{view.sentence}**", "", f"- published: `{published}`{source}"]
    if measured:
        lines.append(f"- measured: `{measured}`")
    return "\n".join([*lines, *(f"- {line}" for line in [*view.facts, *view.cautions]), ""])


def write_latex(report: Report, path: Path) -> Path:
    """The same tables as LaTeX `table` environments, to \\input with the package booktabs."""
    sections = (each for study in report.sections for each in study.all_sections)
    tables = [table for section in sections for table in section.all_tables]
    tables = [*([report.comparison] if report.comparison else []), *tables]
    write_text(path, "\n".join(map(to_latex, tables)))
    return path
