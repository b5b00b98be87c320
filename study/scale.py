"""Families of sweeps from above: run every member, then say what changes as data grow (`study scale`)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from study.config import Experiment
from study.errors import StudyError
from study.files import write_json
from study.report.family_section import FamilyResults, read_family
from study.report.figures import save
from study.report.scaling_figures import drawable
from study.report.scaling_tables import scaling_tables
from study.session import COMPLETE, Options, Session, folder_of
from study.sweep.family import Family, members
from study.sweep.measure import Speed


def run_family(experiment: Experiment, options: Options, say: Console) -> tuple[Family | None, int]:
    """Sweep an experiment on each of its parts, the smallest first; the family (None for a dry run) and the exit code.

    The same command resumes, as with one sweep. Raises StudyError for an experiment that adds seeds until decided.
    """
    if options.until_decided:
        raise StudyError("--until-decided goes with one sweep: name one size with --train-size and -o parts=[]")
    sizes = members(experiment, options.data_dir)
    folder = folder_of(experiment, options)
    family = None if options.dry_run else Family.create(folder, experiment, list(sizes))
    code: int = COMPLETE
    speeds: dict[str, Speed] = {}
    for size, member in sizes.items():
        out = Family.member_folder(folder, size)
        session = Session(member, replace(options, out=out), say)
        session.speeds = speeds
        store, ended = session.run()
        speeds, code = session.speeds, code if ended == COMPLETE else ended
        if store is not None and not options.dry_run:
            store.write_tables()
        if session.stopped:
            return family, code
    return family, code


def finish_family(family: Family, console: Console, say: Console, as_json: bool) -> None:
    """What a sweep of a family shows at its end: the scaling if two sizes have all their runs, else how to go on."""
    try:
        if as_json:
            results = read_family(family.folder)
            write_scaling(results)
            print(json.dumps(scaling_json(results), indent=2))
        else:
            show_scaling(family.folder, console)
    except StudyError as error:
        say.print(f"no scaling yet: {error}", soft_wrap=True, highlight=False)


def write_scaling(results: FamilyResults) -> list[Path]:
    """Write `points.csv`, `scaling.json` and the figures (PNG, SVG) into the family's folder; the paths."""
    folder = results.family.folder
    write_json(folder / "scaling.json", scaling_json(results))
    written = [results.family.write_points(results.points), folder / "scaling.json"]
    for name, kind in drawable(results.scaling).items():
        figure = kind.draw(results.points, results.scaling)
        written += [save(figure, folder / "figures" / f"{name}.{suffix}") for suffix in ("png", "svg")]
    return written


def scaling_json(results: FamilyResults) -> dict[str, Any]:
    """Everything that is said of a family, as JSON values."""
    return {**results.scaling.to_dict(), "rankings": [each.to_dict() for each in results.ranked]}


def show_scaling(folder: Path, console: Console) -> None:
    """Print a family's tables and crossings, and write them with the figures."""
    from study.printing import rich_table

    results = read_family(folder)
    for table in scaling_tables(results.points, results.scaling, results.ranked):
        console.print(rich_table(table, table.title))
        for note in table.notes:
            console.print(note, soft_wrap=True, highlight=False)
    for crossing in results.scaling.crossings:
        console.print(str(crossing), soft_wrap=True, highlight=False)
    console.print("written: " + ", ".join(map(str, write_scaling(results))), soft_wrap=True, highlight=False)
