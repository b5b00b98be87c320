"""The verbs that read results: rank, report, plot, scale, and the mirror of them in W&B."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from study.cli.options import Folder, Json, app, console, print_json, wandb_app
from study.errors import StudyError


@app.command()
def rank(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="A results folder.")] = None,
    readout: Annotated[list[str] | None, typer.Option(help="Readouts to show, or what --claim is about.")] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Instead of DIR, any table with columns variant, seed, value.")
    ] = None,
    claim: Annotated[str | None, typer.Option(help="A ranking to test instead of the experiment's own.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Margin of ≈ and ≥, in the values' unit.")] = None,
    delta: Annotated[float | None, typer.Option(help="Margin of ≫.")] = None,
    alpha: Annotated[float, typer.Option(help="Family-wise error rate.")] = 0.05,
    smaller_is_better: Annotated[bool, typer.Option(help="Of --csv: smaller values are better.")] = False,
    as_json: Json = False,
) -> None:
    """Mean, deviation, n and every seed's value of the readouts; then the claims, tested relation by relation."""
    from study import printing

    if (folder is None) == (csv is None):
        raise StudyError("name either a results folder or --csv FILE")
    if csv is not None:
        if claim is None or epsilon is None or delta is None:
            raise StudyError("--csv needs --claim, --epsilon and --delta: margins are chosen before one looks")
        stated = printing.stated_claim(claim, (readout or ["value"])[0], epsilon, delta, alpha)
        printing.csv_claim(csv, stated, not smaller_is_better, console, as_json)
        return
    assert folder is not None
    given = {"epsilon": epsilon, "delta": delta}
    own = {key: value for key, value in given.items() if value is not None}
    printing.folder_ranking(folder, console, as_json, readout or (), claim, own, alpha)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders, all on one page.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; by default report.html in the first folder.")
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Write the tables as LaTeX too.")] = False,
) -> None:
    """One self-contained report.html with the answer, the figures and every number, and report.md beside it."""
    from study.report.page import write_latex, write_markdown, write_report

    path = out or folders[0] / "report.html"
    written = [write_report(folders, path), write_markdown(folders, path.with_suffix(".md"))]
    if latex:
        written.append(write_latex(folders, path.with_suffix(".tex")))
    for file in written:
        console.print(str(file), soft_wrap=True)


@app.command()
def plot(
    folder: Folder, which: Annotated[str, typer.Argument(metavar="[gap|curves|all]", help="Which figures.")] = "all"
) -> None:
    """Remake the figures of a results folder, or of each size of a family, as PNG and SVG."""
    from study.report.figures import FIGURES, plot_all
    from study.sweep.family import results_folders
    from study.sweep.store import read_tables

    groups = {"all": list(FIGURES), "gap": ["gap_curve", "accuracy_at_loss"]}
    groups["curves"] = [name for name in FIGURES if name not in groups["gap"]]
    if which not in groups:
        raise StudyError(f"there are no figures {which!r}: choose gap, curves or all")
    found = {each: read_tables(each) for each in results_folders(folder)}
    finished = {each: tables for each, tables in found.items() if len(tables[0])}
    if not finished:
        raise StudyError(f"{folder} has no finished run to plot")
    for each, (results, curves) in finished.items():
        for path in plot_all(curves, results, each / "figures", groups[which]):
            console.print(str(path), soft_wrap=True)


@app.command()
def scale(folder: Folder, as_json: Json = False) -> None:
    """Accuracy against training images: crossings, scaling laws, rankings by size, and where they lead.

    DIR is what a sweep of an experiment with parts has left, such as experiments/data_scale.py.
    """
    from study.report.family_section import read_family
    from study.scale import scaling_json, show_scaling, write_scaling

    if as_json:
        results = read_family(folder)
        write_scaling(results)
        print_json(scaling_json(results))
        return
    show_scaling(folder, console)


@wandb_app.command("push")
def wandb_push(
    folder: Folder,
    project: Annotated[str | None, typer.Option(help="W&B project; by default $WANDB_PROJECT, else study.")] = None,
    mode: Annotated[str, typer.Option(help="online, or offline to write directories to sync later.")] = "online",
) -> None:
    """Replay finished runs from the local files into W&B. Can be repeated: nothing appears twice."""
    from study import tracking
    from study.sweep.family import results_folders

    tracking.check(mode)
    upload: Literal["offline", "online"] = "offline" if mode == "offline" else "online"
    pushed = [item for each in results_folders(folder) for item in tracking.push(each, project, upload)]
    if not pushed:
        raise StudyError(f"{folder} has no finished run to push: its tables stay here, W&B takes whole runs")
    for item in pushed:
        console.print(str(item), soft_wrap=True)
