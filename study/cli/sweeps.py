"""The verbs that train: sweep, transfer, tune."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from study.cli.options import (
    BatchSize,
    DataDir,
    Dataset,
    Device,
    Epochs,
    Json,
    Precision,
    Settings,
    TrainSize,
    What,
    app,
    console,
    grouped,
    remarks,
)
from study.errors import StudyError
from study.report.table import print_json
from study.report.table import say as tell

if TYPE_CHECKING:
    from study.designs import Design, Options

Wandb = Annotated[str, typer.Option(help="off, offline or online.")]


@dataclass(frozen=True)
class How:
    """How it is run: the options that sweep, transfer and tune share."""

    out: Annotated[Path | None, typer.Option(help="Results folder; by default results/EXPERIMENT-DATASET.")] = None
    on: Annotated[str, typer.Option(help="Where agents run: local, slurm or ray.")] = "local"
    agents: Annotated[
        int | None, typer.Option("--agents", "--jobs", min=1, help="Agents at a time: in all on CPU, per GPU on CUDA.")
    ] = None
    slurm: Annotated[list[str] | None, typer.Option(help="An option of sbatch: --slurm partition=gpu")] = None
    ray: Annotated[list[str] | None, typer.Option(help="A resource of each agent: --ray num_gpus=1")] = None
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster: ray://HOST:PORT or auto.")] = None
    device: Device = "auto"
    data_dir: DataDir = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, say how long it will take, and stop.")] = False
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")] = False
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed runs again.")] = False
    time_limit: Annotated[str | None, typer.Option(help="Checkpoint and leave after this long, such as 9m.")] = None

    def options(self, wandb: str = "off") -> Options:
        """As designs take them. Raises StudyError for settings of an executor that is not the one chosen."""
        from study import parsing, tracking
        from study.designs import Options

        given: dict[str, Any] = vars(self) | {"wandb": wandb}
        chosen: dict[str, str] = {}
        for name, example in (("slurm", "partition=gpu"), ("ray", "num_gpus=1")):
            settings = given.pop(name) or []
            if settings and self.on != name:
                raise StudyError(f"--{name} {settings[0]} goes with --on {name}")
            chosen |= parsing.assignments(settings, f"--{name}", example)
        tracking.check(wandb)
        time_limit = given.pop("time_limit")
        deadline = time.monotonic() + parsing.seconds(time_limit) if time_limit else None
        command = shlex.join(["study", *sys.argv[1:]])
        return Options(**given, settings=chosen, deadline=deadline, command=command)


@app.command()
@grouped
def sweep(
    *,
    seeds: Annotated[str | None, typer.Option(help="Such as 0,1,2 or 0-4.")] = None,
    what: What,
    how: How,
    wandb: Wandb = "off",
    until_decided: Annotated[bool, typer.Option(help="Add seeds in stated looks until the claim is decided.")] = False,
    max_seeds: Annotated[
        int | None, typer.Option(min=2, help="The most seeds of --until-decided; 20 if unsaid.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train every variant with every seed, and rank them. The same command continues what was interrupted."""
    from study.designs import InLooks, Plain, Sizes
    from study.sweep.plan import Facts, experiment_file

    experiment = what.experiment(seeds, or_auto=True)
    options = how.options(wandb)
    say = remarks if as_json else console
    if what.file is None and experiment.name == "generalization":
        tell(f"a smaller one, of an hour on two cores: study sweep {experiment_file('generalization_small')}", say)
    experiment = what.at_precision(experiment, options, say)
    design: Design
    if max_seeds and not until_decided:
        raise StudyError("--max-seeds goes with --until-decided")
    if until_decided:
        design = InLooks(experiment, options, say, max_seeds or 20)
    elif experiment.parts:
        design = Sizes(experiment, options, Facts(how.data_dir))
    else:
        design = Plain(experiment, options)
    carry_out_and_show(design, options, say, as_json)


@app.command()
@grouped
def transfer(
    *,
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
    precision: Precision = None,
    settings: Settings = None,
    how: How,
    wandb: Wandb = "off",
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
    options = how.options(wandb)
    say = remarks if as_json else console
    sides = tuple(image_size or [sources.networks[0].start.image_size])
    carry_out_and_show(Transfer(template, options, sources, sides, scratch, say), options, say, as_json)


@app.command()
@grouped
def tune(
    *,
    what: What,
    seeds: Annotated[str | None, typer.Option(help="Those of the tuning runs, apart from the experiment's.")] = None,
    rates: Annotated[
        str | None, typer.Option(help="The grid, such as 3e-4,1e-3,3e-3; by default the recipe's, a third, 3 times it.")
    ] = None,
    part: Annotated[float, typer.Option(min=0.01, max=0.5, help="Of the training images, to validate on.")] = 0.2,
    grow: Annotated[bool, typer.Option(help="Try further rates where a choice lies at the grid's edge.")] = True,
    tuning_epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the tuning runs alone, instead of the recipe's.")
    ] = None,
    how: How,
    as_json: Json = False,
) -> None:
    """Choose each variant's learning rate on a validation split; a sweep into the same folder then uses the choice."""
    from study import parsing
    from study.designs import Grid, Rates
    from study.designs.rates import SEEDS
    from study.sweep.plan import Facts

    experiment = what.experiment(or_auto=True)
    grid = Grid(
        rates=parsing.numbers(rates) if rates else None,
        seeds=parsing.whole_numbers(seeds) if seeds else SEEDS,
        part=part,
        epochs=tuning_epochs,
        grow=grow,
    )
    options = how.options()
    say = remarks if as_json else console
    experiment = what.at_precision(experiment, options, say)
    carry_out_and_show(Rates(experiment, options, grid, Facts(how.data_dir)), options, say, as_json)


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
