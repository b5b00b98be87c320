"""The command line: parse, call, print. Heavy imports stand inside the verbs, so that --help is instant."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from study.config import sentence
from study.errors import StudyError

if TYPE_CHECKING:
    from study.config import Experiment
    from study.models.table import Column
    from study.sweep.store import Store

app = typer.Typer(
    help="How should convolution and attention be stacked in a vision network? Sweeps, rankings, figures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets.", no_args_is_help=True)
wandb_app = typer.Typer(help="The Weights & Biases mirror.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(wandb_app, name="wandb")
console = Console(width=None if sys.stdout.isatty() else 160)  # files and pipes have no width: tables stay whole

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Where data sets are kept; by default $STUDY_DATA_DIR, else a per-user cache.")
]
Settings = Annotated[list[str] | None, typer.Option("--set", "-o", help="Any setting: -o training.lr=3e-4")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]
File = Annotated[Path | None, typer.Argument(metavar="[EXPERIMENT.py]", help="By default the generalization study.")]
Dataset = Annotated[
    str | None,
    typer.Option(help="fractals, cifar100, cifar100-coarse, cifar10 or folder:PATH; cut by class: NAME[0:80]"),
]
Variants = Annotated[str | None, typer.Option(help="Such as ViT_REL,cctt,coatnet_0,C-C-T-T[relative_bias=none]")]
Budget = Annotated[str | None, typer.Option(help="Size of every layout, such as 1.5M.")]
Match = Annotated[str | None, typer.Option(help="What the budget counts: parameters or macs.")]
Geometry = Annotated[str | None, typer.Option(help="Strides of the stages: auto, paper, fine or cheap.")]
ImageSize = Annotated[int | None, typer.Option(help="Side of the images in pixels.")]
BatchSize = Annotated[int | None, typer.Option(help="Images in a training step.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[str | None, typer.Option(help="fp32, or bf16 for autocast.")]
Samples = Annotated[str | None, typer.Option(help="Images seen in training, such as 200K, instead of --epochs.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Runs at a time: in all on CPU, per GPU on CUDA.")]


def main() -> None:
    """Run the command line. What the user can mend is one sentence and exit code 2."""
    try:
        app()
    except (StudyError, ValidationError) as error:  # the latter: a noun of config.py refuses what it was given
        said = str(error) if isinstance(error, StudyError) else sentence(error)
        Console(stderr=True).print(f"[red]error:[/red] {escape(said)}", soft_wrap=True, highlight=False)
        sys.exit(2)


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
    from study.session import Options, Session
    from study.sweep.display import duration

    began = time.monotonic()
    experiment = _experiment(
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
        _finish(store, say, as_json)
        say.print(f"{duration(time.monotonic() - began)} in all")
    raise typer.Exit(code)


def _finish(store: Store, say: Console, as_json: bool) -> None:
    """Tables, figures and the ranking at the end of a sweep."""
    from study import printing

    written = store.write_tables()
    runs, curves = store.results(), store.curves()
    if len(runs):
        from study.report.figures import plot_all

        figures = plot_all(curves, runs, store.folder / "figures")
        printing.rankings(printing.readouts_of(store.experiment), curves, runs, console, as_json)
        say.print("figures: " + ", ".join(str(path) for path in figures if path.suffix == ".png"), soft_wrap=True)
    say.print("tables:  " + ", ".join(map(str, written)), soft_wrap=True)


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
    experiment = _experiment(
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
        _print_json({str(folder): tuned.model_dump(mode="json") for folder, tuned in found.items()})
    else:
        show_tuned(found, console)
    raise typer.Exit(code)


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
        _print_json(scaling_json(results))
        return
    show_scaling(folder, console)


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """How far a sweep is: done, running, failed, diverged and missing runs."""
    from study.sweep.status import status_of

    found = status_of(folder)
    if as_json:
        _print_json(found[0] if len(found) == 1 else found)
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
    printing.folder_ranking(folder, readout or [], claim, own, alpha, console, as_json)


@app.command()
def plot(
    folder: Folder, which: Annotated[str, typer.Argument(metavar="[gap|curves|all]", help="Which figures.")] = "all"
) -> None:
    """Remake the figures of a results folder as PNG and SVG."""
    from study.report.figures import FIGURES, plot_all
    from study.sweep.store import read_tables

    groups = {"all": list(FIGURES), "gap": ["gap_curve", "accuracy_at_loss"]}
    groups["curves"] = [name for name in FIGURES if name not in groups["gap"]]
    if which not in groups:
        raise StudyError(f"there are no figures {which!r}: choose gap, curves or all")
    results, curves = read_tables(folder)
    if not len(results):
        raise StudyError(f"{folder} has no finished run to plot")
    for path in plot_all(curves, results, folder / "figures", groups[which]):
        console.print(str(path), soft_wrap=True)


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
def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One network, stage by stage.")] = None,
    dataset: Dataset = None,
    variants: Variants = None,
    budget: Budget = None,
    match: Match = None,
    geometry: Geometry = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    settings: Settings = None,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Outputs of the classifier: by default 100, published networks 1000.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="CoAtNet-0 to -7 and CoaT, counted beside what was published.")
    ] = False,
    device: Device = "auto",
    precision: Precision = None,
    speed: Annotated[bool, typer.Option(help="Measure images per second of training.")] = True,
    as_json: Json = False,
) -> None:
    """The variants, matched in size: depths, widths, resolutions, parameters, multiply-adds, memory, speed.

    Published networks that are named have their own 224 pixels and 1000 classes, where nothing else is said.
    """
    from study.models.catalog import is_published
    from study.models.table import COLUMNS, PUBLISHED_COLUMNS, STAGE_COLUMNS, describe, published_rows, stage_rows
    from study.sweep.local import slots
    from study.sweep.measure import measure
    from study.sweep.plan import resolve_variants

    counted = "Multiply-adds: one image's forward pass, torch's flop counter halved (convolutions and matrix products)."
    if published:
        rows = list(published_rows())
        if as_json:
            _print_json(rows)
            return
        _print_rows("1000 classes; published counts as printed, differences from these", PUBLISHED_COLUMNS, rows)
        console.print(counted + " The CoAtNet paper seems to count softmax and bias too.", soft_wrap=True)
        return
    own = {"image_size": 224, "classes": 1000} if name and is_published(name) else {}
    image_size, classes = image_size or own.get("image_size"), classes or own.get("classes", 100)
    experiment = _experiment(
        None, dataset, name or variants, budget, match, geometry, image_size, batch_size, precision, settings
    )
    networks = resolve_variants(experiment, classes)
    training, side = experiment.training, experiment.data.image_size
    if name:
        if len(networks) > 1:
            raise StudyError(f"{name} are several networks: study models shows one by NAME, several by --variants")
        ((label, network),) = networks.items()
        rows = stage_rows(network, classes, side)
        if as_json:
            _print_json({"variant": label, "image_size": side, "classes": classes, "stages": rows})
            return
        _print_rows(f"{label}, {side} pixels, {classes} classes", STAGE_COLUMNS, rows)
        console.print(counted, soft_wrap=True)
        return
    speeds = measure(networks, training, classes, side, slots(device, 1)[:1]) if speed else {}
    rows = [
        describe(label, network, classes, side, training)
        | {"images_per_second": round(training.batch_size / speeds[label].step) if speed else None}
        for label, network in networks.items()
    ]
    if as_json:
        _print_json(rows)
        return
    title = f"{side} pixels, {classes} classes, {experiment.match} matched to {experiment.budget:,} within 1 %"
    _print_rows(title, COLUMNS, rows)
    console.print(
        f"{counted} Memory: activations kept for the backward pass of {training.batch_size} images in "
        f"{training.precision}. Images/s: training steps measured on this machine, one process.",
        soft_wrap=True,
    )


def _print_rows(title: str, columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=title)
    for column in columns:
        table.add_column(column.title, justify="left" if column.left else "right")
    for row in rows:
        table.add_row(*(escape(column.show(row[column.key])) for column in columns))
    console.print(table)


@app.command()
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds; the minimum and median are given.")] = 7,
    variants: Annotated[str | None, typer.Option(help="Layouts to compare with timm's; by default all five.")] = None,
    as_json: Json = False,
) -> None:
    """Speed as ratios: our networks against timm's, the harness against a bare loop. Needs the extra timm."""
    from study import parsing
    from study.bench import run_bench
    from study.config import STUDY_VARIANTS, canonical_layout

    layouts = tuple(canonical_layout(name) for name in parsing.names(variants)) if variants else STUDY_VARIANTS
    if unknown := [name for name in layouts if name not in STUDY_VARIANTS]:
        raise StudyError(f"the benchmark knows {', '.join(STUDY_VARIANTS)}, not {', '.join(unknown)}")
    found = run_bench(rounds, layouts)
    if as_json:
        _print_json(found)
        return
    table = Table("ours / other", "minimum", "median", "our images/s")
    for row in found["ratios"]:
        table.add_row(row["name"], f"{row['minimum']:.2f}", f"{row['median']:.2f}", f"{row['speed']:,.0f}")
    console.print(table)
    machine = found["environment"]
    console.print(
        f"{rounds} rounds, one thread, {machine['processor']}, torch {machine['torch']}; "
        f"fractals: {found['fractals_per_second']:,.0f} images/s",
        soft_wrap=True,
        highlight=False,
    )


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(help="A data set, as in --dataset.")],
    image_size: ImageSize = None,
    out: Annotated[Path | None, typer.Option(help="The PNG to write; by default NAME.png here.")] = None,
    settings: Settings = None,
    data_dir: DataDir = None,
) -> None:
    """Write a contact sheet of a data set as PNG, a row a class."""
    from study.data import load
    from study.data.show import contact_sheet

    experiment = _experiment(None, name, None, None, None, None, image_size, None, None, settings)
    path = out or Path(f"{experiment.data.slug}.png")
    contact_sheet(load(experiment.data, data_dir), path)
    console.print(str(path), soft_wrap=True)


@wandb_app.command("push")
def wandb_push(
    folder: Folder,
    project: Annotated[str | None, typer.Option(help="W&B project; by default $WANDB_PROJECT, else study.")] = None,
    mode: Annotated[str, typer.Option(help="online, or offline to write directories to sync later.")] = "online",
) -> None:
    """Replay finished runs from the local files into W&B. Can be repeated: nothing appears twice."""
    from study import tracking

    tracking.check(mode)
    pushed = tracking.push(folder, project, "offline" if mode == "offline" else "online")
    for item in pushed:
        console.print(str(item), soft_wrap=True)


# ---------------------------------------------------------------- shared by the verbs


def _experiment(
    file: Path | None,
    dataset: str | None,
    variants: str | None,
    budget: str | None,
    match: str | None,
    geometry: str | None,
    image_size: int | None,
    batch_size: int | None,
    precision: str | None,
    settings: list[str] | None,
    seeds: str | None = None,
    epochs: int | None = None,
    train_size: int | None = None,
    samples: str | None = None,
) -> Experiment:
    """The experiment of a file, or the default one, with the options' changes; -o comes last and wins."""
    if epochs and samples:
        raise StudyError("training lasts for --epochs or for --samples: give one of them")
    from study import parsing
    from study.sweep.plan import customise, experiment_file, load_experiment

    chosen: dict[str, Any] = {
        "variants": json.dumps(parsing.names(variants)) if variants else None,
        "seeds": json.dumps(parsing.whole_numbers(seeds)) if seeds else None,
        "budget": parsing.amount(budget) if budget else None,
        "match": match,
        "geometry": geometry,
        "data.train_size": train_size,
        "training.epochs": "null" if samples else epochs,
        "training.samples": parsing.amount(samples) if samples else "null" if epochs else None,
        "training.batch_size": batch_size,
        "training.precision": precision,
    }
    given = {key: str(value) for key, value in chosen.items() if value is not None}
    given |= parsing.assignments(settings or [])
    return customise(load_experiment(file or experiment_file()), dataset, image_size, given)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
