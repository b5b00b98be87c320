"""The tables of `study models`: what each variant is and costs, the published networks, one network stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from study.config import CoAtNetVariant, CoaTVariant, Training, Variant, ViTRelVariant
from study.models import build
from study.models.coatnet import stage_sides
from study.models.cost import count_parameters, macs_by_module, network_cost, skeleton
from study.models.published import PUBLISHED
from study.models.signals import signals

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column: its key in the rows, its title, and how a value is shown; None is shown as a dash."""

    key: str
    title: str
    form: Callable[[Any], str] = str
    left: bool = False

    def show(self, value: Any) -> str:
        """The cell's text."""
        return "-" if value is None or value == () else self.form(value)


def _numbers(values: tuple[int, ...]) -> str:
    return "-".join(map(str, values))


def _percent(difference: float) -> str:
    return f"{difference:+.2f} %"


def _large(number: float) -> str:
    return f"{number / 1e9:,.4g}G" if number >= 1e9 else f"{number / 1e6:,.4g}M"


_count = "{:,}".format


def _macs(number: int) -> str:
    return f"{number / 1e6:,.2f}M"


COLUMNS = (
    Column("variant", "variant", left=True),
    Column("depths", "depths", _numbers, left=True),
    Column("widths", "widths", _numbers, left=True),
    Column("sides", "sides", _numbers, left=True),
    Column("parameters", "parameters", _count),
    Column("macs", "multiply-adds", _macs),
    Column("activation_bytes", "memory of a step", lambda size: f"{size / 2**20:,.0f} MiB"),
    Column("images_per_second", "images/s", _count),
)

PUBLISHED_COLUMNS = (
    Column("variant", "variant", left=True),
    Column("depths", "depths", _numbers, left=True),
    Column("widths", "widths", _numbers, left=True),
    Column("image_size", "side"),
    Column("parameters", "parameters", _count),
    Column("published_parameters", "published", _large),
    Column("parameters_difference", "difference", _percent),
    Column("macs", "multiply-adds", _macs),
    Column("published_macs", "published", _large),
    Column("macs_difference", "difference", _percent),
)

STAGE_COLUMNS = (
    Column("stage", "stage", left=True),
    Column("kind", "kind", left=True),
    Column("depth", "depth"),
    Column("width", "width"),
    Column("side", "side"),
    Column("parameters", "parameters", _count),
    Column("macs", "multiply-adds", _macs),
)

_signal = "{:.2g}".format

SIGNAL_COLUMNS = (
    Column("signal", "signal", _signal),
    Column("gradient", "gradient", _signal),
)

OVERVIEW_OF_SIGNALS = (
    Column("variant", "variant", left=True),
    Column("signals", "signal by stage", left=True),
    Column("gradients", "gradient by stage", left=True),
)


def describe(label: str, variant: Variant, classes: int, image_size: int, training: Training) -> Row:
    """A row: depths and widths by stage, sides of the stages' grids, and counts; memory is of a whole batch."""
    cost = network_cost(variant, classes, image_size)
    depths, widths, sides = shape(variant, image_size)
    return {
        "variant": label,
        "depths": depths,
        "widths": widths,
        "sides": sides,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes * training.batch_size,
    }


def shared_depths_in_words(variants: Mapping[str, Variant], rows: Sequence[Row], match: str) -> str | None:
    """What multi-stage variants of equal depths share, and how far they come apart in the cost that is not matched.

    None if there are fewer than two, or if their depths differ.
    """
    stages = {label: variant for label, variant in variants.items() if isinstance(variant, CoAtNetVariant)}
    if len(stages) < 2 or len({variant.depths for variant in stages.values()}) > 1:
        return None
    depths = next(iter(stages.values())).depths
    other, word = ("macs", "multiply-adds") if match == "parameters" else ("parameters", "parameters")
    costs = {row["variant"]: row[other] for row in rows}
    among = sorted(stages, key=costs.__getitem__)
    cheapest, dearest = costs[among[0]], costs[among[-1]]
    said = [
        f"Blocks of S0-S4: {_numbers(depths)} in all {len(stages)} multi-stage variants. Their {word} lie within "
        f"{100 * (dearest / cheapest - 1):.1f} % ({among[-1]} has the most)."
    ]
    for label, variant in variants.items():
        if isinstance(variant, ViTRelVariant):
            middle = sum(costs[name] for name in among) / len(among)
            blocks = f"{variant.depth} block{'s' * (variant.depth > 1)}"
            said.append(f"{label} has {blocks} and {100 * (costs[label] / middle - 1):+.1f} % of {word} beside them.")
    return " ".join(said)


def shape(variant: Variant, image_size: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Depths, widths and sides of a network's stages; nothing for timm's."""
    match variant:
        case CoAtNetVariant():
            return variant.depths, variant.widths, stage_sides(variant, image_size)
        case ViTRelVariant():
            return (variant.depth,), (variant.width,), stage_sides(variant, image_size)
        case CoaTVariant():
            return variant.depths, variant.widths, tuple(image_size // variant.patch // 2**i for i in range(4))
        case _:
            return (), (), ()


def published_rows() -> Iterator[Row]:
    """The published networks, counted at 224 pixels and at every other side with published multiply-adds.

    Differences are in percent of what was published. The printed parameters are of whatever side the paper means: a
    network has a few more at a larger one, in its bias tables.
    """
    for name, published in PUBLISHED.items():
        depths, widths, _ = shape(published.variant, 224)
        for side in sorted({224, *published.macs}):
            network = skeleton(published.variant, 1000, side)
            parameters, macs = count_parameters(network), macs_by_module(network, side)["Global"]
            yield {
                "variant": name,
                "depths": depths,
                "widths": widths,
                "image_size": side,
                "parameters": parameters,
                "published_parameters": published.parameters,
                "parameters_difference": _difference(parameters, published.parameters),
                "macs": macs,
                "published_macs": published.macs.get(side),
                "macs_difference": _difference(macs, published.macs.get(side)),
                "source": published.source,
            }


def _difference(counted: int, published: float | None) -> float | None:
    return None if published is None else 100 * (counted / published - 1)


# ---------------------------------------------------------------- stage by stage


def stage_rows(variant: Variant, classes: int, image_size: int) -> list[Row]:
    """One network, a row a stage: kind, depth, width, side of its grid, parameters, multiply-adds; last, the total."""
    network = skeleton(variant, classes, image_size)
    macs = macs_by_module(network, image_size)
    root = type(network).__name__
    rows = []
    for stage, names in _stages(variant, network, image_size):
        modules = {name: network.get_submodule(name) for name in names}
        counts = {
            "parameters": sum(count_parameters(module) for module in modules.values()),
            "macs": sum(_macs_of(module, f"{root}.{name}", macs) for name, module in modules.items()),
        }
        rows.append(stage | counts)
    if own := sum(parameter.numel() for parameter in network.parameters(recurse=False)):
        rows.append(_stage("-", "tensors of the whole") | {"parameters": own, "macs": 0})
    rows.append(_stage("all", root) | {"parameters": count_parameters(network), "macs": macs["Global"]})
    return rows


def stage_signals(variant: Variant, classes: int, image_size: int) -> list[Row]:
    """Signal and gradient at the start (study/models/signals.py), seed 0, a row for each of `stage_rows`.

    They are those at the output of a stage's last module; None where that is no tensor, and for the total.
    """
    network = build(variant, classes, image_size)
    stages = [(row["stage"], names[-1]) for row, names in _stages(variant, network, image_size)]
    found = signals(network, [name for _, name in stages], image_size)
    rows: list[Row] = [
        {"stage": stage, "signal": at and at.deviation, "gradient": at and at.gradient}
        for stage, at in ((stage, found.get(name)) for stage, name in stages)
    ]
    if any(True for _ in network.parameters(recurse=False)):
        rows.append({"stage": "-", "signal": None, "gradient": None})
    return [*rows, {"stage": "all", "signal": None, "gradient": None}]


def takes_little_to_run(variant: Variant, classes: int, image_size: int) -> bool:
    """Whether a step of 32 images needs less than about 2 GiB, so that signals can be measured in passing."""
    cost = network_cost(variant, classes, image_size)
    return 32 * cost.activation_bytes + 8 * cost.parameters < 2 * 2**30


def signal_columns(variant: Variant, classes: int, image_size: int) -> Row:
    """`stage_signals` in one row, a text of stages and numbers for each."""
    rows = [row for row in stage_signals(variant, classes, image_size) if row["signal"] is not None]
    return {
        "signals": ", ".join(f"{row['stage']} {_signal(row['signal'])}" for row in rows),
        "gradients": ", ".join(f"{row['stage']} {_signal(row['gradient'])}" for row in rows),
    }


def _stage(stage: str, kind: str, depth: int | None = None, width: int | None = None, side: int | None = None) -> Row:
    return {"stage": stage, "kind": kind, "depth": depth, "width": width, "side": side}


def stages(variant: Variant, image_size: int) -> list[Row]:
    """The stages by description alone, without counts: none of timm's networks and of the user's own."""
    return [stage for stage, _ in _stages(variant, nn.Module(), image_size)]


def stages_of_modules(variant: Variant, image_size: int) -> dict[str, str]:
    """The stage that a module belongs to, by both names: `stages.2` is S3 of a CoAtNet."""
    return {name: str(stage["stage"]) for stage, names in _stages(variant, nn.Module(), image_size) for name in names}


def _stages(variant: Variant, network: nn.Module, image_size: int) -> Iterator[tuple[Row, tuple[str, ...]]]:
    """The stages of a network, each with the names of its modules."""
    depths, widths, sides = shape(variant, image_size)
    match variant:
        case CoAtNetVariant():
            yield _stage("S0", "convolution", depths[0], widths[0], sides[0]), ("stem",)
            stages = [
                _stage(f"S{i}", "MBConv" if letter == "C" else "Transformer", depths[i], widths[i], sides[i])
                for i, letter in enumerate(variant.layout.split("-"), start=1)
            ]
            if variant.split is not None:
                stages.insert(2, _stage("S3", "MBConv", *variant.split, sides[3]))
            for number, stage in enumerate(stages):
                yield stage, (f"stages.{number}",)
            yield (
                _stage("head", "dense, classifier" if variant.blocks.dense_head else "classifier", 1, widths[4]),
                ("head",),
            )
        case ViTRelVariant():
            yield _stage("stem", f"patches of {variant.patch}", 1, widths[0], sides[0]), ("stem",)
            yield _stage("blocks", "Transformer", depths[0], widths[0], sides[0]), ("stages.0",)
            yield _stage("head", "classifier", 1, widths[0]), ("head",)
        case CoaTVariant():
            for i in range(4):
                yield _stage(f"scale {i + 1}", "serial", depths[i], widths[i], sides[i]), (f"scales.{i}",)
            if variant.parallel_depth:
                yield _stage("scales 2-4", "parallel", variant.parallel_depth, widths[3]), ("parallel",)
            yield _stage("head", "classifier", 1, widths[3]), ("norms", "merge", "classifier")
        case _:
            for name, module in network.named_children():
                yield _stage(name, type(module).__name__), (name,)


def _macs_of(module: nn.Module, path: str, macs: Mapping[str, int]) -> int:
    """Multiply-adds within a module; one that only holds others, and is never called, is not among the counted."""
    if path in macs:
        return macs[path]
    return sum(_macs_of(child, f"{path}.{name}", macs) for name, child in module.named_children())
