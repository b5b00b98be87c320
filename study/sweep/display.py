"""What a sweep shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.config import Run
from study.sweep.drive import Display
from study.sweep.store import OVER

PLAIN_SECONDS = 30  # between two lines about one run


def duration(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if seconds < 3600 else text


@contextmanager
def display(console: Console, total: int) -> Iterator[Display]:
    """The display that suits the console, for `total` runs."""
    if not console.is_terminal:
        yield PlainDisplay(console, total)
        return
    live = LiveDisplay(total)
    with Live(live, console=console, refresh_per_second=4):
        yield live


class PlainDisplay:
    """A line when a run starts and ends, and every half minute in between."""

    def __init__(self, console: Console, total: int):
        self.console, self.total, self.ended_runs = console, total, 0
        self.said: dict[str, float] = {}

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)  # labels have brackets

    def started(self, run: Run) -> None:
        self.said[run.id] = time.monotonic()
        self.say(f"{run.label} seed {run.seed}: started ({run.id})")

    def progress(self, run: Run, live: dict[str, Any]) -> None:
        if time.monotonic() - self.said[run.id] >= PLAIN_SECONDS:
            self.said[run.id] = time.monotonic()
            self.say(f"{run.label} seed {run.seed}: {line_of(live)}")

    def ended(self, run: Run, how: str) -> None:
        self.ended_runs += how in OVER
        self.say(f"{run.label} seed {run.seed}: {how} ({self.ended_runs} of {self.total} runs ended)")

    def stopping(self, why: str) -> None:
        self.say(f"stopping ({why}): the running runs checkpoint first")


class LiveDisplay:
    """One line a running run, and the sweep's own progress."""

    def __init__(self, total: int):
        self.total = total
        self.running: dict[str, tuple[Run, dict[str, Any]]] = {}
        self.finished = 0
        self.began = time.monotonic()
        self.note = ""

    def started(self, run: Run) -> None:
        self.running[run.id] = (run, {})

    def progress(self, run: Run, live: dict[str, Any]) -> None:
        self.running[run.id] = (run, live)

    def ended(self, run: Run, how: str) -> None:
        self.running.pop(run.id, None)  # it may have come from elsewhere, never seen to run
        self.finished += how in OVER
        if how != "done":
            self.note = f"{run.label} seed {run.seed}: {how}"

    def stopping(self, why: str) -> None:
        self.note = f"stopping ({why}): the running runs checkpoint first"

    def __rich__(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for run, live in self.running.values():
            bar = ProgressBar(total=live.get("steps", 1), completed=live.get("step", 0), width=20)
            table.add_row(escape(run.label), f"seed {run.seed}", bar, line_of(live) if live else "starting")
        parts = sum(live["step"] / live["steps"] for _, live in self.running.values() if live)
        table.add_row(
            "[bold]sweep",
            f"{self.finished}/{self.total}",
            ProgressBar(self.total, self.finished + parts, width=20),
            self._time_left(parts),
        )
        return Group(table, Text(self.note, style="yellow")) if self.note else Group(table)

    def _time_left(self, parts: float) -> str:
        elapsed, progress = time.monotonic() - self.began, self.finished + parts
        left = f", about {duration(elapsed / progress * (self.total - progress))} left" if progress > 0.1 else ""
        return f"{duration(elapsed)}{left}"


def line_of(live: dict[str, Any]) -> str:
    """How far a run is, in a line."""
    accuracy = "" if live["test_accuracy"] is None else f"test accuracy {live['test_accuracy']:.3f}  "
    return (
        f"step {live['step']}/{live['steps']}  loss {live['loss']:.3f}  {accuracy}"
        f"{live['images_per_second']:,.0f} images/s  {duration(live['seconds_left'])} left"
    )
