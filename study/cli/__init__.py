"""The command line: parse, call, print. Heavy imports stand inside the verbs, so that --help is instant."""

from __future__ import annotations

import sys

from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from study.cli import help as help_lines
from study.cli.options import app
from study.config import sentence
from study.errors import StudyError

# in the order in which --help lists their verbs
# isort: off
from study.cli import sweeps as sweeps
from study.cli import results as results
from study.cli import runs as runs
from study.cli import networks as networks
from study.cli import data as data
# isort: on

help_lines.describe(app)

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line. What the user can mend is one sentence and exit code 2."""
    try:
        app()
    except (StudyError, ValidationError) as error:  # the latter: a noun of config.py refuses what it was given
        said = str(error) if isinstance(error, StudyError) else sentence(error)
        Console(stderr=True).print(f"[red]error:[/red] {escape(said)}", soft_wrap=True, highlight=False)
        sys.exit(2)
