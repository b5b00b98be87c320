"""The verbs that train: sweep, transfer, tune; and status, how far they are."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from study.cli.options import (
    BatchSize,
    Budget,
    DataDir,
    Dataset,
    Device,
    File,
    Folder,
    Geometry,
    ImageSize,
    Jobs,
    Json,
    Match,
    Precision,
    Samples,
    Settings,
    Variants,
    app,
    chosen_experiment,
    console,
    print_json,
)
from study.errors import StudyError

if TYPE_CHECKING:
    from study.sweep.store import Store


@app.command()
def sweep(
    file: File = None,
    dataset: Dataset = None,
    variants: Variants = None,
    seeds: Annotated[str | None, typer.Option(help="Such as 0,1,2 or 0-4.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    samples: Samples = None,
    train_size: Annotated[int | None, typer.Option(help="A class-balanced subset of the training images.")] = None,
    budget: Budget = None,
    match: Match = None,
    geometry: Geometry = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Results folder; by default results/EXPERIMENT-DATASET.")] = None,
    jobs: Jobs = None,
    device: Device = "auto",
    precision: Precision = None,
    data_dir: DataDir = None,
    wandb: Annotated[str, typer.Option(help="off, offline or online.")] = "off",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, say how long it will take, and stop.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed runs again.")] = False,
    time_limit: Annotated[str | None, typer.Option(help="Checkpoint and leave after this long, such as 9m.")] = None,
    until_decided: Annotated[bool, typer.Option(help="Add seeds in stated looks until the claim is decided.")] = False,
    max_seeds: Annotated[int, typer.Option(min=2, help="The most seeds of --until-decided.")] = 20,
    as_json: Json = False,
) -> None:
    """Train every variant with every seed, and rank them. The same command continues what was interrupted."""
    from study import parsing, tracking
    from study.session import COMPLETE, Options, Session
    from study.sweep.display import duration

    began = time.monotonic()
    experiment = chosen_experiment(
        file, dataset, variants, budget, match, geometry, image_size, batch_size, precision, settings,
        seeds=seeds, epochs=epochs, train_size=train_size, samples=samples,
    )  # fmt: skip
    tracking.check(wandb)
    options = Options(
        out=out, jobs=jobs, device=device, data_dir=data_dir, wandb=wandb, dry_run=dry_run, fail_fast=fail_fast,
        retry_failed=retry_failed, deadline=began + parsing.seconds(time_limit) if time_limit else None,
        until_decided=until_decided, max_seeds=max_seeds, command=shlex.join(["study", *sys.argv[1:]]),
    )  # fmt: skip
    say = Console(stderr=True) if as_json else console
    if experiment.parts:
        from study.scale import finish_family, run_family

        family, code = run_family(experiment, options, say)
        if family is not None:
            finish_family(family, console, say, as_json)
        raise typer.Exit(code)
    store, code = Session(experiment, options, say).run()
    if store is not None and not dry_run:
        _finish(store, say, as_json, claims=code == COMPLETE and not until_decided)
        say.print(f"{duration(time.monotonic() - began)} in all")
    raise typer.Exit(code)


def _finish(store: Store, say: Console, as_json: bool, claims: bool) -> None:
    """Tables, figures and the ranking at the end of a sweep; the verdicts on its claims if that is due.

    It is not before the last run: who looks at every run that ends, and stops when a verdict pleases, is fooled. Looks
    (--until-decided) have said their verdicts at their own levels.
    """
    from study import printing

    written = store.write_tables()
    runs, curves = store.results(), store.curves()
    if len(runs):
        from study.report.figures import plot_all

        figures = plot_all(curves, runs, store.folder / "figures")
        if claims:
            printing.folder_ranking(store.folder, console, as_json)
        else:
            printing.rankings(printing.readouts_of(store.experiment), curves, runs, console, as_json)
        say.print("figures: " + ", ".join(str(path) for path in figures if path.suffix == ".png"), soft_wrap=True)
    say.print("tables:  " + ", ".join(map(str, written)), soft_wrap=True)
    say.print(f"next:    study report {store.folder}", soft_wrap=True)


@app.command()
def transfer(
    folder: Annotated[Path | None, typer.Argument(metavar="[FROM_DIR]", help="A pretraining sweep's results.")] = None,
    file: Annotated[
        Path | None, typer.Option("--experiment", help="Defines `transfer` and `linear_probe`, the two recipes.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Instead of FROM_DIR, a file of trained weights.")] = None,
    variant: Annotated[str | None, typer.Option(help="The network of --weights, such as coatnet_0.")] = None,
    weights_image_size: Annotated[int, typer.Option(help="Side that --weights were trained at.")] = 224,
    dataset: Dataset = None,
    image_size: Annotated[list[int] | None, typer.Option(help="Side of the images; can be given repeatedly.")] = None,
    variants: Annotated[str | None, typer.Option(help="Some of FROM_DIR's; by default all.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Some of FROM_DIR's; for --weights 0,1,2 by default.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    lr: Annotated[float | None, typer.Option(help="The constant learning rate.")] = None,
    batch_size: BatchSize = None,
    train_size: Annotated[int | None, typer.Option(help="A class-balanced subset of the training images.")] = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="Linear probing: train the classifier alone.")] = False,
    scratch: Annotated[bool, typer.Option(help="Train the same networks from scratch too, as the control.")] = True,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option(help="Results folder, without its -SIDEpx; by default results/transfer-DATASET.")
    ] = None,
    jobs: Jobs = None,
    device: Device = "auto",
    precision: Precision = None,
    data_dir: DataDir = None,
    wandb: Annotated[str, typer.Option(help="off, offline or online.")] = "off",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, say how long it will take, and stop.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed runs again.")] = False,
    time_limit: Annotated[str | None, typer.Option(help="Checkpoint and leave after this long, such as 9m.")] = None,
    as_json: Json = False,
) -> None:
    """Fine-tune every network of a finished sweep on other images, and compare. The same command continues."""
    from study import parsing, tracking
    from study.session import Options
    from study.sweep.display import duration
    from study.sweep.plan import customise, experiment_file, load_experiment
    from study.sweep.transfer import source_of_file, sources_of_folder
    from study.transfer import report_transfer, run_transfer

    began = time.monotonic()
    if (folder is None) == (weights is None) or (weights is None) != (variant is None):
        raise StudyError("name either the results folder of a pretraining sweep, or --weights FILE with its --variant")
    tracking.check(wandb)
    given: dict[str, Any] = {
        "training.epochs": epochs,
        "training.lr": lr,
        "training.batch_size": batch_size,
        "training.precision": precision,
        "data.train_size": train_size,
    }
    chosen = {key: str(value) for key, value in given.items() if value is not None}
    chosen |= parsing.assignments(settings or [])
    template = load_experiment(file or experiment_file("transfer"), "linear_probe" if freeze else "transfer")
    template = customise(template, dataset, None, chosen)
    wanted = parsing.whole_numbers(seeds) if seeds else None
    if folder is not None:
        sources = sources_of_folder(folder, parsing.names(variants) if variants else None, wanted)
    else:
        assert weights is not None
        assert variant is not None
        sources = source_of_file(weights, variant, weights_image_size, wanted or (0, 1, 2), template)
    options = Options(
        out=out, jobs=jobs, device=device, data_dir=data_dir, wandb=wandb, dry_run=dry_run, fail_fast=fail_fast,
        retry_failed=retry_failed, deadline=began + parsing.seconds(time_limit) if time_limit else None,
        command=shlex.join(["study", *sys.argv[1:]]),
    )  # fmt: skip
    say = Console(stderr=True) if as_json else console
    sides = list(dict.fromkeys(image_size or [sources.networks[0].start.image_size]))
    stores, code = run_transfer(template, sources, sides, options, say, scratch)
    if not dry_run:
        report_transfer(sources, stores, console, as_json)
        say.print(f"{duration(time.monotonic() - began)} in all")
    raise typer.Exit(code)


@app.command()
def tune(
    file: File = None,
    dataset: Dataset = None,
    variants: Variants = None,
    seeds: Annotated[str | None, typer.Option(help="Those of the tuning runs, apart from the experiment's.")] = None,
    rates: Annotated[
        str | None, typer.Option(help="The grid, such as 3e-4,1e-3,3e-3; by default the recipe's, a third, 3 times it.")
    ] = None,
    part: Annotated[float, typer.Option(min=0.01, max=0.5, help="Of the training images, to validate on.")] = 0.2,
    tuning_epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the tuning runs alone.")] = None,
    epochs: Annotated[int | None, typer.Option(help="The recipe's passes over the training images.")] = None,
    samples: Samples = None,
    train_size: Annotated[int | None, typer.Option(help="A class-balanced subset of the training images.")] = None,
    budget: Budget = None,
    match: Match = None,
    geometry: Geometry = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Results folder; by default results/EXPERIMENT-DATASET.")] = None,
    jobs: Jobs = None,
    device: Device = "auto",
    precision: Precision = None,
    data_dir: DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, say how long it will take, and stop.")] = False,
    time_limit: Annotated[str | None, typer.Option(help="Checkpoint and leave after this long, such as 9m.")] = None,
    as_json: Json = False,
) -> None:
    """Choose each variant's learning rate on a validation split; a sweep into the same folder then uses the choice."""
    from study import parsing
    from study.session import Options
    from study.tuning import Grid, show_tuned
    from study.tuning import tune as tune_rates

    began = time.monotonic()
    experiment = chosen_experiment(
        file, dataset, variants, budget, match, geometry, image_size, batch_size, precision, settings,
        epochs=epochs, train_size=train_size, samples=samples,
    )  # fmt: skip
    grid = Grid(parsing.numbers(rates) if rates else None, epochs=tuning_epochs, part=part)
    if seeds:
        grid = replace(grid, seeds=parsing.whole_numbers(seeds))
    options = Options(
        out=out, jobs=jobs, device=device, data_dir=data_dir, dry_run=dry_run,
        deadline=began + parsing.seconds(time_limit) if time_limit else None,
        command=shlex.join(["study", *sys.argv[1:]]),
    )  # fmt: skip
    found, code = tune_rates(experiment, grid, options, Console(stderr=True) if as_json else console)
    if as_json:
        print_json({str(folder): tuned.model_dump(mode="json") for folder, tuned in found.items()})
    else:
        show_tuned(found, console)
    raise typer.Exit(code)


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """How far a sweep is: done, running, failed, diverged and missing runs."""
    from study.sweep.status import status_of

    found = status_of(folder)
    if as_json:
        print_json(found[0] if len(found) == 1 else found)
        return
    for each in found:
        if len(found) > 1:
            rates = f", {each['rates']} learning rates" if each["rates"] else ""
            console.print(f"[bold]{escape(each['folder'])}[/bold]{rates}")
        seeds = dict.fromkeys(row["seed"] for row in each["runs"])
        table = Table("variant", *(f"seed {seed}" for seed in seeds))
        for label in dict.fromkeys(row["variant"] for row in each["runs"]):
            table.add_row(escape(label), *(row["state"] for row in each["runs"] if row["variant"] == label))
        console.print(table)
        console.print(", ".join(f"{count} {state}" for state, count in each["counts"].items()))
