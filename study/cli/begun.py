"""The verbs about sweeps that were begun: how far they are, stopping them, bringing their records together."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from study.cli.options import Folder, Json, answer, app
from study.errors import StudyError
from study.report.table import Table


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """How far a sweep is: done, running, failed and missing runs; who is at work on what, and where runs were made."""
    from study.sweep.display import line_of
    from study.sweep.status import status_of

    found = status_of(folder)
    told: list[object] = []
    for each in found:
        rates = f", {each['rates']} learning rates" if each["rates"] else ""
        seeds = dict.fromkeys(row["seed"] for row in each["runs"])
        states: dict[str, list[str]] = {row["variant"]: [] for row in each["runs"]}
        for row in each["runs"]:
            states[row["variant"]].append(row["state"])
        header = ("variant", *(f"seed {seed}" for seed in seeds))
        rows = tuple((label, *own) for label, own in states.items())
        title = f"{each['folder']}{rates}" if len(found) > 1 else ""
        told.append(Table(title, header, rows, words=len(header)))
        told.append(", ".join(f"{count} {state}" for state, count in each["counts"].items()))
        for row in each["runs"]:
            name = f"{row['variant']} seed {row['seed']}"
            if row["state"] == "running" and "host" in row:
                how_far = line_of(row["live"]) if row["live"] else "starting"
                told.append(f"{name}: {how_far} ({row['agent']} on {row['host']})")
            elif row.get("why"):
                told.append(f"{name} {row['state']}: {row['why']}")
        made = Counter(
            (row["host"], row.get("code", "")) for row in each["runs"] if "host" in row and row["state"] != "running"
        )
        for (host, code), count in made.items():
            told.append(f"made on {host} by {code or 'an unknown version'}: {count} runs")
    answer(told, found[0] if len(found) == 1 else found, as_json)


@app.command()
def stop(folder: Folder, as_json: Json = False) -> None:
    """Ask everyone at work on a results folder, on any machine, to checkpoint and leave."""
    from study.sweep.members import results_folders, tuning_folders
    from study.sweep.store import stop as ask

    folders = [*results_folders(folder), *tuning_folders(folder)]
    for each in folders:
        ask(each)
    lines = [f"asked all at work on {each} to checkpoint and leave" for each in folders]
    answer(lines, [str(each) for each in folders], as_json)


@app.command()
def merge(
    into: Annotated[Path, typer.Argument(help="The results folder that takes the runs.")],
    sources: Annotated[list[Path], typer.Argument(metavar="FROM...", help="Folders of the same experiment.")],
    as_json: Json = False,
) -> None:
    """Take finished runs of the same experiment from other folders, each once."""
    from study.report.console import write_tables_and_figures
    from study.results import load
    from study.sweep.merge import merge as merge_runs

    merged = merge_runs(into, sources)
    if merged.refused and not (merged.added or merged.same):
        raise StudyError("; ".join([*merged.refused, *merged.differing]))
    if merged.added:
        write_tables_and_figures(load(into))
    told = f"{len(merged.added)} runs taken into {into}, {len(merged.same)} were there"
    answer([told, *merged.differing, *merged.refused], asdict(merged), as_json)
