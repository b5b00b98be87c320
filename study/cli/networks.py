"""The verbs about what is trained: models, and the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from study.cli.options import (
    BatchSize,
    Budget,
    Dataset,
    Device,
    Geometry,
    ImageSize,
    Json,
    Match,
    Precision,
    Settings,
    Variants,
    What,
    answer,
    app,
)
from study.errors import StudyError
from study.report.table import Table

if TYPE_CHECKING:
    from study.config import Experiment, Variant
    from study.models.table import Column

COUNTED = "Multiply-adds: one image's forward pass, torch's flop counter halved (convolutions and matrix products)."
SIGNALS = (
    "Signal: standard deviation of a stage's output at the start, from white noise of mean 0 and deviation 1, in "
    "training mode. Gradient: norm of an image's loss's gradient with respect to it."
)


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
        int | None,
        typer.Option(min=2, help="Outputs of the classifier: by default those of a built-in --dataset, else 100."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="CoAtNet-0 to -7 and CoaT, counted beside what was published.")
    ] = False,
    device: Device = "auto",
    precision: Precision = None,
    speed: Annotated[bool, typer.Option(help="Measure images per second of training.")] = True,
    signals: Annotated[
        bool | None,
        typer.Option(help="Signal and gradient of each stage at the start; of NAME by default, if it is not large."),
    ] = None,
    draw: Annotated[Path | None, typer.Option(help="Draw the stages to scale, as FILE.svg, .pdf or .png.")] = None,
    as_json: Json = False,
) -> None:
    """The variants, matched in size: depths, widths, resolutions, parameters, multiply-adds, memory, speed.

    Published networks that are named have their own 224 pixels and 1000 classes, where nothing else is said.
    """
    from study.data import known_classes
    from study.models.catalog import is_published
    from study.sweep.plan import resolve_variants

    if published:
        _show_published(as_json)
        return
    own = {"image_size": 224, "classes": 1000} if name and is_published(name) else {}
    experiment = What(
        dataset=dataset, variants=name or variants, budget=budget, match=match, geometry=geometry,
        image_size=image_size or own.get("image_size"), batch_size=batch_size, precision=precision, settings=settings,
    ).experiment()  # fmt: skip
    classes = classes or own.get("classes") or (known_classes(experiment.data) if dataset else None) or 100
    networks = resolve_variants(experiment, classes)
    if draw:
        draw_stages(networks, experiment.data.image_size, draw)
    if name and len(networks) > 1:
        raise StudyError(f"{name} are several networks: study models shows one by NAME, several by --variants")
    if name:
        _show_stages(networks, classes, experiment.data.image_size, signals, as_json)
    else:
        _show_overview(experiment, networks, classes, device if speed else None, bool(signals), as_json)


def _show_published(as_json: bool) -> None:
    from study.models.table import PUBLISHED_COLUMNS, published_rows

    rows = list(published_rows())
    table = table_of("1000 classes; published counts as printed, differences from these", PUBLISHED_COLUMNS, rows)
    answer([table, f"{COUNTED} The CoAtNet paper seems to count softmax and bias too."], rows, as_json)


def _show_stages(networks: Mapping[str, Variant], classes: int, side: int, signals: bool | None, as_json: bool) -> None:
    """One network; with its signals if asked for, or if it is not said and they take little."""
    from study.models.table import SIGNAL_COLUMNS, STAGE_COLUMNS, stage_rows, stage_signals, takes_little_to_run

    ((label, network),) = networks.items()
    rows = stage_rows(network, classes, side)
    columns: tuple[Column, ...] = STAGE_COLUMNS
    if signals is None:
        signals = takes_little_to_run(network, classes, side)
    if signals:
        columns += SIGNAL_COLUMNS
        rows = [row | more for row, more in zip(rows, stage_signals(network, classes, side), strict=True)]
    table = table_of(f"{label}, {side} pixels, {classes} classes", columns, rows)
    found = {"variant": label, "image_size": side, "classes": classes, "stages": rows}
    answer([table, COUNTED + (f" {SIGNALS}" if signals else "")], found, as_json)


def _show_overview(
    experiment: Experiment,
    networks: Mapping[str, Variant],
    classes: int,
    device: str | None,
    signals: bool,
    as_json: bool,
) -> None:
    """A row a network; speeds are measured on `device`, if there is one."""
    from study.models.table import COLUMNS, OVERVIEW_OF_SIGNALS, describe, shared_depths_in_words, signal_columns
    from study.sweep.executors.local import slots
    from study.sweep.measure import measure

    training, side = experiment.training, experiment.data.image_size
    speeds = measure(networks, training, classes, side, slots(device, 1)[:1]) if device else {}
    rows = [
        describe(label, network, classes, side, training)
        | {"images_per_second": round(training.batch_size / speeds[label].step) if speeds else None}
        | (signal_columns(network, classes, side) if signals else {})
        for label, network in networks.items()
    ]
    title = f"{side} pixels, {classes} classes, layouts matched to {experiment.budget:,} {experiment.match} within 1 %"
    shared = shared_depths_in_words(networks, rows, experiment.match)
    told: list[object] = [table_of(title, [each for each in COLUMNS if shared is None or each.key != "depths"], rows)]
    if shared:
        told.append(shared)
    if signals:
        told += [table_of("At the start", OVERVIEW_OF_SIGNALS, rows), SIGNALS]
    told.append(
        f"{COUNTED} Memory: activations kept for the backward pass of {training.batch_size} images in "
        "fp32. Images/s: training steps measured on this machine, one process."
    )
    answer(told, rows, as_json)


def draw_stages(networks: Mapping[str, Variant], side: int, path: Path) -> None:
    """Convolution first. Raises StudyError for a kind of file that is not written."""
    from study.report.drawing import save
    from study.report.stages import stage_strip
    from study.report.style import study_order

    if path.suffix not in (".svg", ".pdf", ".png"):
        raise StudyError(f"--draw writes .svg, .pdf and .png, not {path.name}")
    save(stage_strip({label: networks[label] for label in study_order(networks)}, side), path, "Stages to scale")


def table_of(title: str, columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> Table:
    cells = tuple(tuple(column.show(row[column.key]) for column in columns) for row in rows)
    header, words = tuple(column.title for column in columns), sum(column.left for column in columns)
    return Table(title, header, cells, words=words)


@app.command()
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds; the minimum and median are given.")] = 7,
    variants: Annotated[str | None, typer.Option(help="Layouts to compare with timm's; by default all five.")] = None,
    as_json: Json = False,
) -> None:
    """Speed as ratios: our networks against timm's, the harness against a bare loop. Needs the extra timm."""
    from study import parsing
    from study.bench.run import run_bench
    from study.config import STUDY_VARIANTS, canonical_layout

    layouts = tuple(canonical_layout(name) for name in parsing.names(variants)) if variants else STUDY_VARIANTS
    if unknown := [name for name in layouts if name not in STUDY_VARIANTS]:
        raise StudyError(f"the benchmark knows {', '.join(STUDY_VARIANTS)}, not {', '.join(unknown)}")
    found = run_bench(rounds, layouts)
    numbers = ("{minimum:.2f}", "{median:.2f}", "{speed:,.0f}")
    rows = tuple((row["name"], *(form.format_map(row) for form in numbers)) for row in found["ratios"])
    table = Table("", ("ours / other", "minimum", "median", "our images/s"), rows)
    machine = found["environment"]
    conditions = (
        f"{rounds} rounds, one thread, {machine['processor']}, torch {machine['torch']}; "
        f"fractals: {found['fractals_per_second']:,.0f} images/s; making them takes of a capacity step: "
        + ", ".join(f"{label} {share:.1%}" for label, share in found["stream_share"].items())
        + "; a further run of an agent, of one step: {:.2f} s, {:.1%} of a run of the quick sweep".format(
            *found["further_run"]
        )
    )
    answer([table, conditions], found, as_json)
