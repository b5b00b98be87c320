"""What the verbs share: the application, their options, and the experiment that these make."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.console import Console

from study.cli import completion
from study.errors import StudyError
from study.report.table import Table, print_json, say, show

if TYPE_CHECKING:
    from study.config import Experiment
    from study.designs import Options

app = typer.Typer(
    help="How should convolution and attention be stacked in a vision network? Sweeps, rankings, figures.",
    epilog="Example: study sweep --dataset cifar100 --seeds 0-4, then study report results/generalization-cifar100",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut words at 80 columns
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Data sets.", no_args_is_help=True, rich_markup_mode=None)
wandb_app = typer.Typer(help="The Weights & Biases mirror.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")
app.add_typer(wandb_app, name="wandb")
PLAIN: Any = {"markup": False, "highlight": False}  # what is printed is text: labels have brackets
console = Console(width=None if sys.stdout.isatty() else 160, **PLAIN)  # files have no width: tables stay whole
remarks = Console(stderr=True, **PLAIN)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Where data sets are kept; by default $STUDY_DATA_DIR, else a per-user cache.")
]
Settings = Annotated[list[str] | None, typer.Option("--set", "-o", help="Any setting: -o training.lr=3e-4")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.", autocompletion=completion.folders)]
Dataset = Annotated[
    str | None,
    typer.Option(
        help="fractals, cifar100, cifar100-coarse, cifar10, folder:PATH, hf:NAME, npz:PATH or FILE.py:NAME (which is "
        "run); cut by class: NAME[0:80]",
        autocompletion=completion.datasets,
    ),
]
Variants = Annotated[
    str | None,
    typer.Option(
        help="Such as ViT_REL, cctt, coatnet_0, C-C-T-T[relative_bias=none] or FILE.py:NAME (which is run), separated "
        "by commas.",
        autocompletion=completion.variants,
    ),
]
Readouts = Annotated[
    list[str] | None,
    typer.Option("--readout", help="Readouts to show, or what --claim is about.", autocompletion=completion.readouts),
]
Budget = Annotated[str | None, typer.Option(help="Size of every layout, such as 1.5M.")]
Match = Annotated[str | None, typer.Option(help="What the budget counts: parameters or macs.")]
Geometry = Annotated[str | None, typer.Option(help="Strides of the stages: auto, paper, fine or cheap.")]
ImageSize = Annotated[int | None, typer.Option(help="Side of the images in pixels.")]
BatchSize = Annotated[int | None, typer.Option(help="Images in a training step.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[str | None, typer.Option(help="fp32, or bf16 for autocast.")]
OrAuto = Annotated[
    str | None, typer.Option(help="fp32, bf16 for autocast, or auto: the faster one here, unless the folder has one.")
]
Samples = Annotated[str | None, typer.Option(help="Images seen in training, such as 200K, instead of --epochs.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training images.")]
TrainSize = Annotated[int | None, typer.Option(help="A class-balanced subset of the training images.")]


def _say_version(asked: bool) -> None:
    if asked:
        from study import __version__

        print(f"study {__version__}")
        raise typer.Exit


@app.callback()
def study(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Before any verb."""


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb that takes dataclasses: on the command line each of their fields is an option of its own."""
    kinds = get_type_hints(verb, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in kinds.items() if is_dataclass(kind)}
    parameters = []
    for name, own in inspect.signature(verb).parameters.items():
        if name not in groups:
            parameters.append(own.replace(annotation=kinds[name]))
            continue
        inside = get_type_hints(groups[name], include_extras=True)
        for each in fields(groups[name]):
            parameters.append(own.replace(name=each.name, default=each.default, annotation=inside[each.name]))

    @wraps(verb)
    def taken_apart(**given: Any) -> None:
        taken = {
            name: kind(**{each.name: given.pop(each.name) for each in fields(kind)}) for name, kind in groups.items()
        }
        verb(**taken, **given)

    taken_apart.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    taken_apart.__annotations__ = {each.name: each.annotation for each in parameters}
    return taken_apart


@dataclass(frozen=True)
class What:
    """What is trained: the options that make an experiment, of a file or the default one; -o comes last and wins."""

    file: Annotated[
        Path | None, typer.Argument(metavar="[EXPERIMENT.py]", help="By default quick; with --dataset generalization.")
    ] = None
    dataset: Dataset = None
    variants: Variants = None
    epochs: Epochs = None
    samples: Samples = None
    train_size: TrainSize = None
    budget: Budget = None
    match: Match = None
    geometry: Geometry = None
    image_size: ImageSize = None
    batch_size: BatchSize = None
    precision: OrAuto = None
    settings: Settings = None

    def experiment(self, seeds: str | None = None, or_auto: bool = False) -> Experiment:
        """The experiment. With `or_auto`, `--precision auto` may be said, which says nothing of it yet."""
        if self.epochs and self.samples:
            raise StudyError("training lasts for --epochs or for --samples: give one of them")
        from study import parsing
        from study.designs import check_claims
        from study.sweep.plan import customise, experiment_file, load_experiment

        chosen: dict[str, Any] = {
            "variants": json.dumps(parsing.names(self.variants)) if self.variants else None,
            "seeds": json.dumps(parsing.whole_numbers(seeds)) if seeds else None,
            "budget": parsing.amount(self.budget) if self.budget else None,
            "match": self.match,
            "geometry": self.geometry,
            "data.train_size": self.train_size,
            "training.epochs": "null" if self.samples else self.epochs,
            "training.samples": parsing.amount(self.samples) if self.samples else "null" if self.epochs else None,
            "training.batch_size": self.batch_size,
            "training.precision": None if or_auto and self.precision == "auto" else self.precision,
        }
        given = {key: str(value) for key, value in chosen.items() if value is not None}
        given |= parsing.assignments(self.settings or [])
        embedded = self.dataset is None or self.dataset.startswith("fractals")
        written = load_experiment(self.file or experiment_file("quick" if embedded else "generalization"))
        experiment = customise(written, self.dataset, self.image_size, given)
        check_claims(experiment, tuple(dict.fromkeys([*written.variants, *experiment.variants])))
        return experiment

    def at_precision(self, experiment: Experiment, options: Options, say: Console) -> Experiment:
        """With `--precision auto` resolved, the default of the study itself: `study sweep --dataset cifar100`."""
        from study import parsing
        from study.designs import with_precision

        if "training.precision" in parsing.assignments(self.settings or []):
            return experiment
        by_default = self.precision is None and self.file is None and experiment.name == "generalization"
        return with_precision(experiment, options, say) if self.precision == "auto" or by_default else experiment


def answer(told: Iterable[object], value: Any, as_json: bool) -> None:
    """What a verb did or found: tables and lines, which are made only now, or with --json one JSON document."""
    if as_json:
        print_json(value)
        return
    for each in told:
        if isinstance(each, Table):
            show(each, console)
        else:
            say(str(each), console)
