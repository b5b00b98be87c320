"""An experiment's card, the docstring of its file, read without running the file: its question and what it says of it.

Generalization, little data: which stacking has the highest test accuracy at equal training loss?

Claim     ...
Caveat    ...
"""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from study.errors import StudyError
from study.files import read_text
from study.report.table import capitalised
from study.results import Results
from study.sweep.plan import experiment_file


@dataclass(frozen=True)
class Card:
    """`question` is the first sentence, without its topic before a colon; `fields` are the labelled paragraphs."""

    question: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def caveat(self) -> str:
        """What a reader must not overlook, as a sentence; empty if the card does not say."""
        told = self.fields.get("Caveat", "")
        return f"{capitalised(told).rstrip('.')}." if told else ""


def card_of(results: Results) -> Card:
    """The card of the file that the first command names, a folder's or its members', else of the project's of its name.

    What is in the file now: a card is prose and may be mended after the runs. What cannot be read gives an empty card.
    """
    for path in _files(results):
        try:
            return parse_card(ast.get_docstring(ast.parse(read_text(path))) or "")
        except (OSError, SyntaxError, ValueError, StudyError):
            continue
    return Card()


def _files(results: Results) -> list[Path]:
    commands = next((each.commands for each in (results, *results.members) if each.commands), [])
    try:
        named = [Path(word) for word in shlex.split(" ".join(commands[:1])) if word.endswith(".py")]
    except ValueError:  # a quotation that does not end
        named = []
    found = [path for path in named if path.is_file()]
    names = (*(path.stem for path in named), results.experiment.name)
    for name in dict.fromkeys(name.removeprefix("transfer-") for name in names):
        try:
            found.append(experiment_file(name))
        except StudyError:
            continue
    return found


def parse_card(docstring: str) -> Card:
    """The first line and the labelled paragraphs of a docstring.

    >>> card = parse_card("Little data: which is best?\\n\\nCaveat    one\\n          rate")
    >>> card.question, card.caveat
    ('Which is best?', 'One rate.')
    """
    first, _, rest = docstring.strip().partition("\n\n")
    first = " ".join(first.split())
    question = capitalised(first.partition(": ")[2]) if first.endswith("?") and ": " in first else first
    fields: dict[str, str] = {}
    label = ""
    for line in rest.splitlines():
        if match := re.match(r"([A-Z]\w+)  +(\S.*)", line):
            label, line = match.groups()
        if label and line.strip():
            fields[label] = " ".join([*filter(None, [fields.get(label)]), line.strip()])
    return Card(question.rstrip("."), fields)
