"""Readouts of the user's own: functions of one run's curve, named as files name networks, `FILE.py:NAME`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from study.config.base import Frozen
from study.errors import StudyError

F = TypeVar("F", bound=Callable[..., Any])


class OwnReadout(Frozen):
    """What is said of a readout of the user's own wherever its values are shown.

    Values of the units "accuracy" and "points" are fractions, printed in percent.
    """

    title: str = Field(min_length=1, max_length=100)
    unit: str = Field(default="", max_length=100)
    larger_is_better: bool = True
    description: str = Field(default="", max_length=1000)
    source: str = Field(default="", description="hash of the text of its file: study/own_files.py")


def readout(*, unit: str = "", larger_is_better: bool = True, title: str = "") -> Callable[[F], F]:
    """Mark a function of a run's curve as a readout with a unit and a direction (docs/your-own-readout.md).

    Its title is its name, in words, unless one is given; its description the first line of its docstring.

    >>> @readout(unit="epochs", larger_is_better=False)
    ... def epochs_to_half(curve): ...
    >>> facts_of(epochs_to_half).title, facts_of(epochs_to_half).unit
    ('epochs to half', 'epochs')
    """

    def mark(function: F) -> F:
        function.study_readout = {"unit": unit, "larger_is_better": larger_is_better, "title": title}  # type: ignore[attr-defined]
        return function

    return mark


def facts_of(function: Callable[..., Any], source: str = "") -> OwnReadout:
    """What a function says of itself, marked by `readout` or not. Raises StudyError if that is no text."""
    said = dict(getattr(function, "study_readout", {}))
    name = getattr(function, "__name__", "readout")
    said["title"] = said.get("title") or name.replace("_", " ")
    first = (inspect.getdoc(function) or "").partition("\n")[0].rstrip(".")
    try:
        return OwnReadout(**said, description=first, source=source)
    except ValueError as error:
        raise StudyError(f"the readout {name}: {error}") from None


def reference_to(function: Callable[..., Any]) -> str:
    """`FILE.py:NAME` or `package.module:NAME`, by which other processes find a function.

    Raises StudyError if there is none: of a lambda, a method, a function within another, or one of a notebook.
    """
    name, module = getattr(function, "__qualname__", ""), getattr(function, "__module__", "") or ""
    if not name.isidentifier():
        raise StudyError(
            f"the readout {name or function!r} has no name by which it is found again: define it with `def` at the "
            "top level of a file"
        )
    file = getattr(sys.modules.get(module), "__file__", None) or inspect.unwrap(function).__code__.co_filename
    if not Path(file).is_file():
        raise StudyError(
            f"the readout {name} is in no file: put it into one, or give it to results.test(RANKING, readout={name})"
        )
    return f"{module}:{name}" if "." in module else f"{Path(file).absolute()}:{name}"
