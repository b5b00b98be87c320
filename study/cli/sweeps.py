"""The verbs that train: sweep, transfer, tune."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from study.cli.options import (
    Address,
    Agents,
    BatchSize,
    Budget,
    DataDir,
    Dataset,
    Device,
    DryRun,
    Epochs,
    FailFast,
    File,
    Geometry,
    ImageSize,
    Json,
    Match,
    On,
    OrAuto,
    Out,
    Precision,
    Ray,
    RetryFailed,
    Samples,
    Settings,
    Slurm,
    TimeLimit,
    TrainSize,
    Variants,
    Wandb,
    app,
    chosen_experiment,
    console,
    remarks,
)
from study.errors import StudyError
from study.report.table import print_json
from study.report.table import say as tell

if TYPE_CHECKING:
    from study.config import Experiment
    from study.designs import Design, Options


@app.command()
def sweep(
    file: File = None,
    dataset: Dataset = None,
    variants: Variants = None,
    seeds: Annotated[str | None, typer.Option(help="Such as 0,1,2 or 0-4.")] = None,
    epochs: Epochs = None,
    samples: Samples = None,
    train_size: TrainSize = None,
    budget: Budget = None,
    match: Match = None,
    geometry: Geometry = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    precision: OrAuto = None,
    settings: Settings = None,
    out: Out = None,
    on: On = "local",
    agents: Agents = None,
    slurm: Slurm = None,
    ray: Ray = None,
    address: Address = None,
    device: Device = "auto",
    data_dir: DataDir = None,
    wandb: Wandb = "off",
    dry_run: DryRun = False,
    fail_fast: FailFast = False,
    retry_failed: RetryFailed = False,
    time_limit: TimeLimit = None,
    until_decided: Annotated[bool, typer.Option(help="Add seeds in stated looks until the claim is decided.")] = False,
    max_seeds: Annotated[
        int | None, typer.Option(min=2, help="The most seeds of --until-decided; 20 if unsaid.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train every variant with every seed, and rank them. The same command continues what was interrupted."""
    from study.designs import InLooks, Plain, Sizes
    from study.sweep.plan import Facts, experiment_file

    experiment = chosen_experiment(
        file, dataset, variants, seeds=seeds, budget=budget, match=match, geometry=geometry, image_size=image_size,
        epochs=epochs, samples=samples, train_size=train_size, batch_size=batch_size, precision=said(precision),
        settings=settings,
    )  # fmt: skip
    options = chosen_options(
        out=out, on=on, agents=agents, slurm=slurm, ray=ray, address=address, device=device, data_dir=data_dir,
        wandb=wandb, dry_run=dry_run, fail_fast=fail_fast, retry_failed=retry_failed, time_limit=time_limit,
    )  # fmt: skip
    say = remarks if as_json else console
    if file is None and experiment.name == "generalization":
        tell(f"a smaller one, of an hour on two cores: study sweep {experiment_file('generalization_small')}", say)
    experiment = at_precision(experiment, precision, file, settings, options, say)
    design: Design
    if max_seeds and not until_decided:
        raise StudyError("--max-seeds goes with --until-decided")
    if until_decided:
        design = InLooks(experiment, options, say, max_seeds or 20)
    elif experiment.parts:
        design = Sizes(experiment, options, Facts(data_dir))
    else:
        design = Plain(experiment, options)
    carry_out_and_show(design, options, say, as_json)


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
    epochs: Epochs = None,
    lr: Annotated[float | None, typer.Option(help="The constant learning rate.")] = None,
    batch_size: BatchSize = None,
    train_size: TrainSize = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="Linear probing: train the classifier alone.")] = False,
    scratch: Annotated[bool, typer.Option(help="Train the same networks from scratch too, as the control.")] = True,
    settings: Settings = None,
    out: Out = None,
    on: On = "local",
    agents: Agents = None,
    slurm: Slurm = None,
    ray: Ray = None,
    address: Address = None,
    device: Device = "auto",
    precision: Precision = None,
    data_dir: DataDir = None,
    wandb: Wandb = "off",
    dry_run: DryRun = False,
    fail_fast: FailFast = False,
    retry_failed: RetryFailed = False,
    time_limit: TimeLimit = None,
    as_json: Json = False,
) -> None:
    """Fine-tune every network of a finished sweep on other images, and compare. The same command continues."""
    from study import parsing
    from study.designs import SIZES, Transfer, source_of_file, sources_of_folder
    from study.sweep.plan import customise, experiment_file, load_experiment

    if (folder is None) == (weights is None) or (weights is None) != (variant is None):
        raise StudyError("name either the results folder of a pretraining sweep, or --weights FILE with its --variant")
    if weights is not None and variants:
        raise StudyError("--variants goes with a results folder: the network of --weights is its --variant")
    given: dict[str, Any] = {
        "training.epochs": epochs,
        "training.lr": lr,
        "training.batch_size": batch_size,
        "training.precision": precision,
        "data.train_size": train_size,
    }
    chosen = {key: str(value) for key, value in given.items() if value is not None}
    chosen |= parsing.assignments(settings or [])
    taken = ("data.image_size", "variants", "seeds", "rates", *(SIZES if weights is None else ()))
    if useless := [key for key in chosen if key in taken or key.split(".")[0] in taken]:
        raise StudyError(
            f"-o {useless[0]}: a transfer takes that from its pretraining (--variants, --seeds and --image-size choose)"
        )
    template = load_experiment(file or experiment_file("transfer"), "linear_probe" if freeze else "transfer")
    template = customise(template, dataset, None, chosen)
    wanted = parsing.whole_numbers(seeds) if seeds else None
    if weights is not None and variant is not None:
        sources = source_of_file(weights, variant, weights_image_size, wanted or (0, 1, 2), template)
    else:
        assert folder is not None
        sources = sources_of_folder(folder, parsing.names(variants) if variants else None, wanted)
    options = chosen_options(
        out=out, on=on, agents=agents, slurm=slurm, ray=ray, address=address, device=device, data_dir=data_dir,
        wandb=wandb, dry_run=dry_run, fail_fast=fail_fast, retry_failed=retry_failed, time_limit=time_limit,
    )  # fmt: skip
    say = remarks if as_json else console
    sides = tuple(image_size or [sources.networks[0].start.image_size])
    carry_out_and_show(Transfer(template, options, sources, sides, scratch, say), options, say, as_json)


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
    grow: Annotated[bool, typer.Option(help="Try further rates where a choice lies at the grid's edge.")] = True,
    tuning_epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the tuning runs alone.")] = None,
    epochs: Annotated[int | None, typer.Option(help="The recipe's passes over the training images.")] = None,
    samples: Samples = None,
    train_size: TrainSize = None,
    budget: Budget = None,
    match: Match = None,
    geometry: Geometry = None,
    image_size: ImageSize = None,
    batch_size: BatchSize = None,
    settings: Settings = None,
    out: Out = None,
    on: On = "local",
    agents: Agents = None,
    slurm: Slurm = None,
    ray: Ray = None,
    address: Address = None,
    device: Device = "auto",
    precision: OrAuto = None,
    data_dir: DataDir = None,
    dry_run: DryRun = False,
    fail_fast: FailFast = False,
    retry_failed: RetryFailed = False,
    time_limit: TimeLimit = None,
    as_json: Json = False,
) -> None:
    """Choose each variant's learning rate on a validation split; a sweep into the same folder then uses the choice."""
    from study import parsing
    from study.designs import Grid, Rates
    from study.designs.rates import SEEDS
    from study.sweep.plan import Facts

    experiment = chosen_experiment(
        file, dataset, variants, budget=budget, match=match, geometry=geometry, image_size=image_size,
        epochs=epochs, samples=samples, train_size=train_size, batch_size=batch_size, precision=said(precision),
        settings=settings,
    )  # fmt: skip
    grid = Grid(
        rates=parsing.numbers(rates) if rates else None,
        seeds=parsing.whole_numbers(seeds) if seeds else SEEDS,
        part=part,
        epochs=tuning_epochs,
        grow=grow,
    )
    options = chosen_options(
        out=out, on=on, agents=agents, slurm=slurm, ray=ray, address=address, device=device, data_dir=data_dir,
        wandb="off", dry_run=dry_run, fail_fast=fail_fast, retry_failed=retry_failed, time_limit=time_limit,
    )  # fmt: skip
    say = remarks if as_json else console
    experiment = at_precision(experiment, precision, file, settings, options, say)
    carry_out_and_show(Rates(experiment, options, grid, Facts(data_dir)), options, say, as_json)


def said(precision: str | None) -> str | None:
    """What `--precision` says of the recipe: `auto` says nothing yet."""
    return None if precision == "auto" else precision


def at_precision(
    experiment: Experiment,
    asked: str | None,
    file: Path | None,
    settings: list[str] | None,
    options: Options,
    say: Console,
) -> Experiment:
    """With `--precision auto` resolved, which is the default of the study itself: `study sweep --dataset cifar100`."""
    from study import parsing
    from study.designs import with_precision

    if "training.precision" in parsing.assignments(settings or []):  # -o comes last and wins
        return experiment
    if asked == "auto" or (asked is None and file is None and experiment.name == "generalization"):
        return with_precision(experiment, options, say)
    return experiment


def chosen_options(*, time_limit: str | None, slurm: list[str] | None, ray: list[str] | None, **given: Any) -> Options:
    """How to run, from the command line. Raises StudyError for settings of an executor that is not the one chosen."""
    from study import parsing, tracking
    from study.designs import Options

    chosen: dict[str, str] = {}
    for name, settings, example in (("slurm", slurm, "partition=gpu"), ("ray", ray, "num_gpus=1")):
        if settings and given["on"] != name:
            raise StudyError(f"--{name} {settings[0]} goes with --on {name}")
        chosen |= parsing.assignments(settings or [], f"--{name}", example)
    tracking.check(given["wandb"])
    deadline = time.monotonic() + parsing.seconds(time_limit) if time_limit else None
    command = shlex.join(["study", *sys.argv[1:]])
    return Options(**given, settings=chosen, deadline=deadline, command=command)


def carry_out_and_show(design: Design, options: Options, say: Console, as_json: bool) -> None:
    """Run a design and show what is read from it; leaves with its exit code."""
    from study.designs import COMPLETE, carry_out
    from study.sweep.display import duration

    began = time.monotonic()
    ended = carry_out(design, options, say)
    if options.dry_run:
        if as_json:
            print_json(ended.planned)
    else:
        design.show(console, say, as_json, ended.code == COMPLETE)
        say.print(f"{duration(time.monotonic() - began)} in all")
    raise typer.Exit(ended.code)
