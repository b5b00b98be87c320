"""The verbs about sweeps that were begun: how far they are, stopping them, bringing their records together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.cli.options import Folder, Json, answer, app
from study.errors import StudyError
from study.report.table import Table, plural

if TYPE_CHECKING:
    from study.sweep.status import Status


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """How far a sweep is: done, running, failed and missing runs; who is at work on what, and where runs were made."""
    from study.sweep.status import status_of

    found = status_of(folder)
    answer(_lines(found), found[0] if len(found) == 1 else found, as_json)


def _lines(found: Sequence[Status]) -> Iterator[object]:
    """Of each results folder a table of states, who is at work on what, what went wrong, and where runs were made."""
    from study.sweep.display import line_of

    for each in found:
        rates = f", {each['rates']} learning rates" if each["rates"] else ""
        seeds = dict.fromkeys(row["seed"] for row in each["runs"])
        states: dict[str, list[str]] = {row["variant"]: [] for row in each["runs"]}
        for row in each["runs"]:
            states[row["variant"]].append(row["state"])
        header = ("variant", *(f"seed {seed}" for seed in seeds))
        rows = tuple((label, *own) for label, own in states.items())
        yield Table(f"{each['folder']}{rates}" if len(found) > 1 else "", header, rows, words=len(header))
        yield ", ".join(f"{count} {state}" for state, count in each["counts"].items())
        for row in each["runs"]:
            name = f"{row['variant']} seed {row['seed']}"
            if row["state"] == "running" and "host" in row:
                how_far = line_of(row["live"]) if row["live"] else "starting"
                yield f"{name}: {how_far} ({row['agent']} on {row['host']})"
            elif row.get("why"):
                yield f"{name} {row['state']}: {row['why']}"
        made = Counter(
            (row["host"], row.get("code", "")) for row in each["runs"] if "host" in row and row["state"] != "running"
        )
        for (host, code), count in made.items():
            yield f"made on {host} by {code or 'an unknown version'}: {plural(count, 'run')}"


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
