"""The verbs about single runs: what a results folder has, one run whole, and a trained network out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from study.cli import completion
from study.cli.options import DataDir, Folder, Json, answer, app, console
from study.errors import StudyError
from study.report.table import Table, print_json, say

if TYPE_CHECKING:
    from study.config import Run
    from study.sweep.store import Store

LOG_LINES = 15
PLOT_WIDTH, PLOT_HEIGHT = 60, 10


@app.command()
def runs(
    folder: Folder,
    run: Annotated[str | None, typer.Argument(metavar="[ID]", help="One run, by the start of its id.")] = None,
    as_json: Json = False,
) -> None:
    """List the runs of a results folder, or show one whole."""
    from study.sweep.members import results_folders
    from study.sweep.store import Store

    found = [(store, each) for store in map(Store, results_folders(folder)) for each in store.runs()]
    if run is None:
        rows = [summary(store, each) for store, each in found]
        answer([_table(rows)], rows, as_json)
        return
    named = [(store, each) for store, each in found if each.id.startswith(run)]
    if len(named) != 1:
        what = "no run" if not named else f"{len(named)} runs"
        raise StudyError(f"{folder} has {what} whose id begins with {run!r}: study runs {folder} lists them")
    shown = whole(*named[0])
    if as_json:
        print_json(shown)
    else:
        _print_whole(shown)


def summary(store: Store, run: Run) -> dict[str, Any]:
    """A row of the list: what a run is, how far, and how it ended."""
    state = store.state(run.id)
    result = store.result(run.id)
    final = result.get("final") or {}
    row = {"run": run.id, "variant": run.label, "seed": run.seed, "state": state, "lr": run.training.lr}
    ended = {key: final.get(key) for key in ("test_accuracy", "probe_loss")}
    return row | ended | {"seconds": result.get("seconds"), "folder": str(store.path(run.id))}


def whole(store: Store, run: Run) -> dict[str, Any]:
    """Everything that is known of a run: its configuration, its curve, its result, the end of its log."""
    folder = store.path(run.id)
    state = store.state(run.id)
    curve, log = folder / "metrics.jsonl", folder / "log.txt"
    lines = curve.read_text(encoding="utf-8", errors="replace").splitlines() if curve.exists() else []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # a row that is being written, or one that is damaged
    told = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    result = store.result(run.id)
    return {
        "run": run.id,
        "folder": str(folder),
        "state": state,
        "configuration": run.model_dump(mode="json"),
        "curve": rows,
        "result": {key: value for key, value in result.items() if key not in ("run", "final", "environment")},
        "environment": result.get("environment", {}),
        "log": told,
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    header = ("run", "variant", "state", "seed", "rate", "test accuracy", "probe loss", "minutes")
    cells = []
    for row in rows:
        minutes = row["seconds"] and row["seconds"] / 60
        forms = (("{:.4f}", row["test_accuracy"]), ("{:.4f}", row["probe_loss"]), ("{:.1f}", minutes))
        numbers = ("-" if value is None else form.format(value) for form, value in forms)
        cells.append((row["run"], row["variant"], row["state"], str(row["seed"]), f"{row['lr']:g}", *numbers))
    return Table("", header, tuple(cells), words=3)


def _print_whole(shown: dict[str, Any]) -> None:
    run = shown["configuration"]
    console.print(Text.assemble((run["label"], "bold"), f", seed {run['seed']}: {shown['state']}"))
    say(shown["folder"], console)
    for title, values in (("Configuration", run), ("Result", shown["result"]), ("Made by", shown["environment"])):
        if values:
            say(f"\n{title}", console, "bold")
            for key, value in dotted(values):
                say(f"  {key:32} {value}", console)
    for key in ("test_accuracy", "probe_loss"):
        found = ((row.get("samples"), row.get(key)) for row in shown["curve"])
        points = [(samples, value) for samples, value in found if samples is not None and value is not None]
        if points:
            say(f"\n{key.replace('_', ' ')} against samples seen", console, "bold")
            say(plot(points), console)
    if shown["log"]:
        say("\nThe end of its log", console, "bold")
        say("\n".join(shown["log"]), console)


def dotted(values: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Nested settings in one list, by dotted names; what is not set is left out.

    >>> dotted({"seed": 0, "data": {"name": "fractals", "train_size": None}})
    [('seed', 0), ('data.name', 'fractals')]
    """
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += dotted(value, f"{before}{key}.")
        elif value is not None and value != "":
            found.append((before + key, value))
    return found


def plot(points: list[tuple[float, float]], width: int = PLOT_WIDTH, height: int = PLOT_HEIGHT) -> str:
    """Points (x, y) as a picture of characters, with the range of both axes.

    >>> print(plot([(0, 0.0), (5, 0.5), (10, 1.0)], width=5, height=3))
         1 |    •
           |  •
         0 |•
            0  10
    """
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(ys)
    cells = [[" "] * width for _ in range(height)]
    for x, y in points:
        column = round((x - xs[0]) / ((xs[-1] - xs[0]) or 1) * (width - 1))
        row = round((high - y) / ((high - low) or 1) * (height - 1))
        cells[row][column] = "•"
    marks = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    lines = [f"{marks.get(number, ''):>6} |{''.join(row)}".rstrip() for number, row in enumerate(cells)]
    first, last = f"{xs[0]:,.6g}", f"{xs[-1]:,.6g}"
    return "\n".join([*lines, " " * 8 + first + " " * max(1, width - len(first) - len(last)) + last])


@app.command()
def export(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|DIR", help="A run's folder, or all of a results folder.", autocompletion=completion.folders
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write; by default DIR/export.")] = None,
    onnx: Annotated[bool, typer.Option(help="ONNX too (the extra export), compared with torch.")] = True,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write trained networks as safetensors, with configuration and ONNX."""
    from study.export import export_run, folder_name
    from study.sweep.members import results_folders
    from study.sweep.records import read_run
    from study.sweep.store import Store

    found: list[tuple[Run, Path]]
    if (folder / "run.json").is_file():
        found = [(read_run(folder.resolve()), folder.resolve())]
        into = out or folder.resolve().parents[1] / "export"
    else:
        stores = [Store(each) for each in results_folders(folder)]
        found = [(run, store.path(run.id)) for store in stores for run in store.runs() if store.state(run.id) == "done"]
        into = out or folder / "export"
    if not found:
        raise StudyError(f"{folder} has no finished run to export")
    written = [str(file) for run, path in found for file in export_run(path, into / folder_name(run), onnx, data_dir)]
    answer(written, written, as_json)
