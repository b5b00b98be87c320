"""A page that follows a sweep while it runs, from files alone: wherever its agents are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from study.analysis.scaling_types import TooFewSizes
from study.report.page import Report, read_report, write_markdown, write_page
from study.report.sections import finished
from study.results import load
from study.sweep.status import status_of

ENDED = ("done", "diverged", "failed", "damaged")


def watch(folders: Sequence[Path], path: Path, every: float, say: Callable[[str], None]) -> bool:
    """Rewrite the page every so many seconds until all runs have ended; returns whether all of them have a result.

    The open page renews itself and stays where it was scrolled and unfolded. Results are read and tested again only
    when a run has ended. However this ends, the page that stays asks for itself no more. Raises StudyError for a folder
    that holds no results, or whose experiment or claims are damaged; damaged runs are counted.
    """
    report, known, counts = Report(()), -1, Counter[str]()
    try:
        while True:
            counts = _counts(folders)
            ended = sum(counts[state] for state in ENDED)
            if ended != known:
                known = ended
                if all(finished(load(folder)) for folder in folders):
                    with suppress(TooFewSizes) if ended < counts.total() else nullcontext():
                        report = read_report(folders)
                say(f"{path}: {_progress(counts)}")
            if ended == counts.total():
                return not (counts["failed"] or counts["damaged"])
            now = f"{_progress(counts)}, as of {time.strftime('%H:%M:%S')}; renewed every {every:g} seconds"
            write_page(replace(report, refresh=every, progress=now), path)
            time.sleep(every)
    finally:
        if report.sections:
            write_markdown(report, path.with_suffix(".md"))
        if counts:
            write_page(report if report.sections else replace(report, progress=_progress(counts)), path)


def _counts(folders: Sequence[Path]) -> Counter[str]:
    """Runs by state. A folder of tables without its runs is as done as it is."""
    found: Counter[str] = Counter()
    for each in (one for folder in folders for one in status_of(folder)):
        there = Path(each["folder"])
        if (there / "runs").is_dir() or not (there / "runs.csv").exists():
            queued = [row["state"] for row in each["runs"] if row["run"]]  # others may never come: weights may lack
            found.update(queued or [row["state"] for row in each["runs"]])
    return found


def _progress(counts: Counter[str]) -> str:
    results = counts["done"] + counts["diverged"]
    others = [f"{counts[state]} {state}" for state in ("running", "interrupted", "failed", "damaged") if counts[state]]
    return ", ".join([f"{results} of {counts.total()} runs have a result", *others])
