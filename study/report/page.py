"""The report of one or several results folders: `report.html`, one file that needs nothing else, and its tables alone.

    write_all([Path("results/generalization-cifar100")], Path("report.html"))

What it says is made in sections.py as plain data; the template (report.html.j2 with report.css and report.js) only
sets it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from study.files import write_text
from study.report.sections import Answer, Section, read_sections
from study.report.style import styles
from study.report.table import to_latex, to_markdown
from study.results import load

SIGNS = {"confirmed": "✓", "contradicted": "✗", "undecided": "?"}  # a verdict without its colour


def write_all(folders: Sequence[Path], path: Path, latex: bool = False) -> list[Path]:
    """The page at `path`, the Markdown and, if asked, the LaTeX beside it, all from one reading and testing.

    Raises StudyError for a folder that holds no results, or no finished run.
    """
    sections = read_sections(list(map(load, folders)))
    written = [write_page(sections, path), write_markdown(sections, path.with_suffix(".md"))]
    return [*written, *([write_latex(sections, path.with_suffix(".tex"))] if latex else [])]


def write_page(sections: Sequence[Section], path: Path) -> Path:
    """Write one self-contained HTML page; returns `path`."""
    environment = Environment(
        loader=PackageLoader("study.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    labels = [variant for section in sections for variant in section.variants]
    curves = json.dumps({section.key: section.curves for section in sections}, separators=(",", ":"), allow_nan=False)
    page = environment.get_template("report.html.j2").render(
        sections=sections,
        signs=SIGNS,
        colours={label: style.colour for label, style in styles(labels).items()},
        curves=Markup(curves.replace("<", "\\u003c")),  # a label cannot end the script element
    )
    write_text(path, page.lstrip())
    return path


def write_markdown(sections: Sequence[Section], path: Path) -> Path:
    """The same answers and tables for a repository's page, with those figures that `study plot` has left."""
    parts: list[str] = []
    for section in sections:
        parts.append(f"# {section.title}\n\n{section.subtitle}\n")
        parts += [f"- {caution}\n" for caution in section.cautions]
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


def write_latex(sections: Sequence[Section], path: Path) -> Path:
    """The same tables as LaTeX `table` environments, to \\input with the package booktabs."""
    tables = [table for section in sections for table in section.all_tables]
    write_text(path, "\n".join(map(to_latex, tables)))
    return path
