"""The verbs that read results: rank, report, plot, scale, and the mirror of them in W&B."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from study.cli import completion
from study.cli.options import Folder, Json, Readouts, answer, app, console, remarks, wandb_app
from study.errors import StudyError
from study.report.table import say


@app.command()
def rank(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="A results folder.")] = None,
    readout: Readouts = None,
    csv: Annotated[
        Path | None, typer.Option(help="Instead of DIR, any table with columns variant, seed, value.")
    ] = None,
    claim: Annotated[str | None, typer.Option(help="A ranking to test instead of the experiment's own.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Margin of ≈ and ≥, in the values' unit.")] = None,
    delta: Annotated[float | None, typer.Option(help="Margin of ≫.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Family-wise error rate, by default 0.05.")] = None,
    smaller_is_better: Annotated[bool, typer.Option(help="Of --csv: smaller values are better.")] = False,
    as_json: Json = False,
) -> None:
    """Mean, deviation, n and every seed's value of the readouts; then the claims, tested relation by relation."""
    from study.report import console as shown
    from study.results import load

    if (folder is None) == (csv is None):
        raise StudyError("name either a results folder or --csv FILE")
    given = {"epsilon": epsilon, "delta": delta, "alpha": alpha}
    own = {key: value for key, value in given.items() if value is not None}
    if csv is not None:
        if claim is None or epsilon is None or delta is None:
            raise StudyError("--csv needs --claim, --epsilon and --delta: margins are chosen before one looks")
        stated = shown.stated_claim(claim, (readout or ["value"])[0], **own)
        shown.rank_csv(csv, stated, not smaller_is_better, console, as_json)
        return
    assert folder is not None
    shown.rank(load(folder), console, as_json, readout or (), claim, own)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A results folder.", autocompletion=completion.folders)],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.", autocompletion=completion.folders)],
    as_json: Json = False,
) -> None:
    """What differs between two results folders: settings, and the verdicts on their claims."""
    from study.report.compare import compare as compared
    from study.report.compare import comparison_tables
    from study.results import load

    found = compared(load(first), load(second))
    equal = () if found["settings"] else ("no setting differs",)
    answer([*comparison_tables(found), *equal], found, as_json)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders, all on one page.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; by default report.html in the first folder.")
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Write the tables as LaTeX too.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow sweeps that run: renew the page until they end.")
    ] = False,
    every: Annotated[float, typer.Option(min=1, help="With --watch: seconds between two looks at the files.")] = 10,
    as_json: Json = False,
) -> None:
    """One self-contained report.html with the answer, the figures and every number, and report.md beside it.

    Several folders are compared on one page: each claimed relation with its verdict in each of them.
    """
    from study.report.live import watch as follow
    from study.report.page import write_all

    path = out or folders[0] / "report.html"
    if watch and (latex or as_json):
        raise StudyError("--latex and --json are for what is done: leave out --watch")
    if watch:
        if not follow(folders, path, every, lambda told: say(told, console)):
            raise typer.Exit(1)
        return
    files = [str(file) for file in write_all(folders, path, latex)]
    answer(files, files, as_json)


@app.command()
def plot(
    folder: Folder,
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KIND]...", help="Which figures; by default all."),
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="PNG of 300 dpi too.")] = False,
    as_json: Json = False,
) -> None:
    """Remake the figures of a results folder, and of each of its members, as SVG and PDF.

    DIR may be the folder of one finished run, or of a network that study export wrote: its stages and biases.
    """
    from study.report import gallery
    from study.report.figures import FORMATS
    from study.results import load

    gallery.check(kinds or ())
    missing: list[str] = []
    formats = (*FORMATS, *(["png"] if png else []))
    if any((folder / name).is_file() for name in ("run.json", "config.json")):
        paths = gallery.plot_trained(folder, formats)
    else:
        results = load(folder)
        if not any(len(each.runs) for each in results.members or [results]):
            raise StudyError(f"{folder} has no finished run to plot")
        paths, missing = gallery.plot(results, kinds or (), formats)
    if not paths:
        raise StudyError("; ".join(missing) or "nothing is to be seen in these figures")
    answer(paths, [str(path) for path in paths], as_json)
    for sentence in missing:
        say(f"not drawn: {sentence}", remarks if as_json else console)


@app.command()
def scale(folder: Folder, as_json: Json = False) -> None:
    """Accuracy against training images: crossings, scaling laws, rankings by size, and where they lead.

    DIR is what a sweep of an experiment with parts has left, such as experiments/data_scale.py.
    """
    from study.report.console import scale as show_scale
    from study.results import load

    show_scale(load(folder), console, as_json)


@wandb_app.command("push")
def wandb_push(
    folder: Folder,
    project: Annotated[str | None, typer.Option(help="W&B project; by default $WANDB_PROJECT, else study.")] = None,
    mode: Annotated[str, typer.Option(help="online, or offline to write directories to sync later.")] = "online",
    as_json: Json = False,
) -> None:
    """Replay finished runs from the local files into W&B. Can be repeated: nothing appears twice."""
    from dataclasses import asdict

    from study import tracking
    from study.sweep.members import results_folders

    if mode not in ("online", "offline"):
        raise StudyError(f"--mode {mode}: choose online or offline")
    tracking.check(mode)
    upload: Literal["offline", "online"] = "offline" if mode == "offline" else "online"
    pushed = [item for each in results_folders(folder) for item in tracking.push(each, project, upload)]
    if not pushed:
        raise StudyError(f"{folder} has no finished run to push: its tables stay here, W&B takes whole runs")
    lines = [
        f"{item.label}{'' if item.seed is None else f' seed {item.seed}'} ({item.id}): "
        + (f"not pushed: {item.error}" if item.error else f"{item.rows} rows were new")
        for item in pushed
    ]
    answer(lines, [asdict(item) for item in pushed], as_json)
    if failed := sum(bool(item.error) for item in pushed):
        say(f"{failed} of {len(pushed)} runs were not pushed; the same command tries them again", remarks, "red")
        raise typer.Exit(1)
