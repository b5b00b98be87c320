"""The command line: parse, call, print. Heavy imports stand inside the verbs, so that --help is instant."""

from __future__ import annotations

import os
import signal
import sys

from pydantic import ValidationError
from rich.text import Text

from study.cli import help as help_lines
from study.cli.options import app, remarks
from study.config import sentence
from study.errors import StudyError
from study.report.table import say

# in the order in which --help lists their verbs
# isort: off
from study.cli import new as new
from study.cli import sweeps as sweeps
from study.cli import begun as begun
from study.cli import results as results
from study.cli import runs as runs
from study.cli import networks as networks
from study.cli import data as data
# isort: on

help_lines.describe(app)

__all__ = ["app", "main"]


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM outside a running sweep, which has its own way to stop."""


def main() -> None:
    """Run the command line. What the user can mend is one sentence and exit code 2; a signal is exit code 3."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except (StudyError, ValidationError) as error:  # the latter: a noun of config refuses what it was given
        _leave(str(error) if isinstance(error, StudyError) else sentence(error))
    except BrokenPipeError:  # who reads our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
    except OSError as error:
        _leave(f"{error.filename or 'the system'}: {(error.strerror or str(error)).lower()}")
    except Interrupted as why:
        say(f"stopped by {why}; the same command continues", remarks)
        sys.exit(3)


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted(signal.strsignal(number) or "a signal")


def _leave(said: str) -> None:
    remarks.print(Text.assemble(("error:", "red"), f" {said}"), soft_wrap=True)
    sys.exit(2)
