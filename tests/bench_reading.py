"""How long it takes to rank, plot and report a folder of many runs, as a ratio to reading its files once.

    python -m tests.bench_reading --seeds 200

Five variants, 12 evaluations a run, made up; processor time, the less of two rounds.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from study.report.console import rank
from study.report.figures import plot_all
from study.report.page import write_all
from study.results import load
from tests.synthetic import results, results_folder


def reading_times(folder: Path) -> dict[str, float]:
    """Seconds of processor time of each thing that is done with a results folder."""

    def read() -> None:
        for path in folder.glob("runs/*/*.json*"):
            path.read_bytes()

    def plot() -> None:
        view = load(folder).view
        plot_all(view.curves, view.runs, folder / "figures")

    return {
        "read": _least(read),
        "rank": _least(lambda: rank(load(folder), Console(file=io.StringIO(), width=4000))),
        "plot": _least(plot),
        "report": _least(lambda: write_all([folder], folder / "report.html")),
    }


def _least(work: Callable[[], object]) -> float:
    found = []
    for _ in range(2):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    seeds = parser.parse_args().seeds
    with tempfile.TemporaryDirectory() as temporary:
        times = reading_times(results_folder(Path(temporary) / "many", results(seeds=range(seeds), epochs=12)))
    for name, seconds in times.items():
        print(f"{name:<7} {seconds:6.2f} s  {seconds / times['read']:6.1f} times reading the files of {5 * seeds} runs")


if __name__ == "__main__":
    main()
