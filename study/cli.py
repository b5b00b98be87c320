"""The command line: parse, call, print. Heavy imports stand inside the verbs, so that --help is instant."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from study.config import Experiment

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

INCOMPLETE, FAILURES = 3, 1  # exit codes: stopped before the end; some runs failed

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
Jobs = Annotated[int | None, typer.Option(min=1, help="Runs at a time: in all on CPU, per GPU on CUDA.")]


def main() -> None:
    """Run the command line. What the user can mend is one sentence and exit code 2."""
    try:
        app()
    except StudyError as error:
        Console(stderr=True).print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)


@app.command()
def sweep(
    file: File = None,
    dataset: Dataset = None,
    variants: Variants = None,
    seeds: Annotated[str | None, typer.Option(help="Such as 0,1,2 or 0-4.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
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
    as_json: Json = False,
) -> None:
    """Train every variant with every seed, and rank them. The same command continues what was interrupted."""
    from study import parsing, tracking
    from study.sweep.display import display, duration
    from study.sweep.local import slots
    from study.sweep.measure import estimate, measure
    from study.sweep.plan import make_plan
    from study.sweep.run import pending
    from study.sweep.run import sweep as run_sweep
    from study.sweep.store import Store

    began = time.monotonic()
    say = Console(stderr=True) if as_json else console
    deadline = began + parsing.seconds(time_limit) if time_limit else None
    experiment = _experiment(
        file, dataset, variants, budget, match, geometry, image_size, batch_size, precision, settings,
        seeds=seeds, epochs=epochs, train_size=train_size,
    )  # fmt: skip
    tracking.check(wandb)
    places = slots(device, jobs)
    plan = make_plan(experiment, data_dir)
    folder = out or Path("results") / f"{experiment.name}-{experiment.data.slug}"
    store = None if dry_run and not (folder / "experiment.json").exists() else Store.create(folder, plan.experiment)
    missing = pending(store, plan.runs, retry_failed) if store else plan.runs
    done = len(plan.runs) - len(missing)
    say.print(f"{experiment.name} on {experiment.data.name}: {len(plan.runs)} runs, {done} already ended, in {folder}")

    if missing:
        places = places[: len(missing)]
        speeds = measure(plan.variants, experiment.training, plan.classes, experiment.data.image_size, places)
        expected = estimate(missing, plan, speeds, len(places))
        say.print(
            f"{len(missing)} runs to go, {len(places)} at a time on {places[0].device}: about {duration(expected)}"
        )
    if dry_run or store is None:
        return
    with display(say, len(missing), len(places)) as shown:
        outcome = run_sweep(
            store, missing, places, shown,
            data_dir=data_dir, wandb=wandb, fail_fast=fail_fast, deadline=deadline,
        )  # fmt: skip
    written = store.write_tables()
    results = store.results()
    if len(results):
        from study.report.figures import plot_all

        curves = store.curves()
        figures = plot_all(curves, results, store.folder / "figures")
        _print_ranking(_readouts_of(store.experiment), results, curves, as_json)
        say.print("figures: " + ", ".join(str(path) for path in figures if path.suffix == ".png"), soft_wrap=True)
    say.print("tables:  " + ", ".join(map(str, written)), soft_wrap=True)
    for run_id in outcome.failed:
        failure = store.failure(run_id)
        say.print(f"[red]failed:[/red] {store.path(run_id) / 'log.txt'}: {escape(failure['log'].strip()[-300:])}")
    for run_id in outcome.killed:
        say.print(f"[red]killed:[/red] {store.path(run_id)}; the same command continues it")
    for run_id in outcome.elsewhere:
        say.print(f"another sweep is running {store.path(run_id)}")
    if outcome.stopped:
        say.print(f"stopped by {outcome.stopped}; the same command continues")
    say.print(f"{len(outcome.done)} runs ended in {duration(time.monotonic() - began)}")
    failed = [run for run in plan.runs if store.state(run.id) == "failed"]
    if failed or outcome.killed:
        raise typer.Exit(FAILURES)
    if outcome.stopped or outcome.elsewhere:
        raise typer.Exit(INCOMPLETE)


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """How far a sweep is: done, running, failed, diverged and missing runs."""
    from study.sweep.plan import label_of
    from study.sweep.store import STATES, Store

    store = Store(folder)
    started = {(run.label, run.seed): run.id for run in store.runs()}
    rows = []
    for label in map(label_of, store.experiment.variants):
        for seed in store.experiment.seeds:
            run_id = started.get((label, seed))
            rows.append(
                {"variant": label, "seed": seed, "run": run_id, "state": store.state(run_id) if run_id else "missing"}
            )
    counts = {state: sum(row["state"] == state for row in rows) for state in STATES}
    if as_json:
        _print_json({"folder": str(folder), "counts": counts, "runs": rows})
        return
    seeds = store.experiment.seeds
    table = Table("variant", *(f"seed {seed}" for seed in seeds))
    for label in map(label_of, store.experiment.variants):
        table.add_row(escape(label), *(str(row["state"]) for row in rows if row["variant"] == label))
    console.print(table)
    console.print(", ".join(f"{count} {state}" for state, count in counts.items()))


@app.command()
def rank(
    folder: Folder,
    readout: Annotated[
        list[str] | None, typer.Option(help="Readouts to show; by default the claims' and the final.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Mean, standard deviation, n and every seed's value of the readouts, the best variant first."""
    from study.sweep.store import Store, read_tables

    results, curves = read_tables(folder)
    names = readout or (_readouts_of(Store(folder).experiment) if (folder / "experiment.json").exists() else [])
    _print_ranking(names or ["final_test_accuracy"], results, curves, as_json)


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
def models(
    dataset: Dataset = None,
    variants: Variants = None,
    budget: Budget = None,
    match: Match = None,
    geometry: Geometry = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    settings: Settings = None,
    classes: Annotated[int, typer.Option(min=2, help="Outputs of the classifier.")] = 100,
    device: Device = "auto",
    precision: Precision = None,
    speed: Annotated[bool, typer.Option(help="Measure images per second of training.")] = True,
    as_json: Json = False,
) -> None:
    """The variants, matched in size: depths, widths, resolutions, parameters, multiply-adds, memory, speed."""
    from study.models.table import COLUMNS, describe
    from study.sweep.local import slots
    from study.sweep.measure import measure
    from study.sweep.plan import resolve_variants

    experiment = _experiment(
        None, dataset, variants, budget, match, geometry, image_size, batch_size, precision, settings
    )
    networks = resolve_variants(experiment, classes)
    training, side = experiment.training, experiment.data.image_size
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
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(
            column.title, justify="left" if column.key in ("variant", "depths", "widths", "sides") else "right"
        )
    for row in rows:
        table.add_row(*(escape(column.show(row[column.key])) for column in COLUMNS))
    console.print(table)
    console.print(
        "Multiply-adds: one image's forward pass, torch's flop counter halved (convolutions and matrix products). "
        f"Memory: activations kept for the backward pass of {training.batch_size} images in {training.precision}. "
        "Images/s: training steps measured on this machine, one process.",
        soft_wrap=True,
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
) -> Experiment:
    """The experiment of a file, or the default one, with the options' changes; -o comes last and wins."""
    from study import parsing
    from study.sweep.plan import customise, experiment_file, load_experiment

    chosen: dict[str, Any] = {
        "variants": json.dumps(parsing.names(variants)) if variants else None,
        "seeds": json.dumps(parsing.whole_numbers(seeds)) if seeds else None,
        "budget": parsing.amount(budget) if budget else None,
        "match": match,
        "geometry": geometry,
        "data.train_size": train_size,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.precision": precision,
    }
    given = {key: str(value) for key, value in chosen.items() if value is not None}
    given |= parsing.assignments(settings or [])
    return customise(load_experiment(file or experiment_file()), dataset, image_size, given)


def _readouts_of(experiment: Experiment) -> list[str]:
    """The claims' readouts, then the final accuracy."""
    return list(dict.fromkeys([*(claim.readout for claim in experiment.claims), "final_test_accuracy"]))


def _print_ranking(names: list[str], results: pd.DataFrame, curves: pd.DataFrame, as_json: bool) -> None:
    from study.analysis.readouts import find_readout, measure, summary

    tables = {name: summary(curves, results, name) for name in names}
    notes = {name: measure(name, curves, results).notes for name in names}
    if as_json:
        rows = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        _print_json({name: {"ranking": rows[name], "notes": notes[name]} for name in names})
        return
    for name, ranking in tables.items():
        table = Table(title=find_readout(name)[0].title, title_justify="left")
        for column in ranking.columns:
            table.add_column(column, justify="left" if column == "variant" else "right")
        for row in ranking.itertuples(index=False):
            table.add_row(*(_cell(value) for value in row))
        console.print(table)
        for note in notes[name]:
            console.print(note, soft_wrap=True, highlight=False)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return escape(str(value))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
