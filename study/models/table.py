"""The table of `study models`: what each variant is and costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from study.config import CoAtNetVariant, CoaTVariant, Training, Variant, ViTRelVariant
from study.models.coatnet import stage_sides
from study.models.cost import network_cost


@dataclass(frozen=True)
class Column:
    """A column: its key in the rows, its title, and how a value is shown."""

    key: str
    title: str
    show: Callable[[Any], str] = str


def _numbers(values: tuple[int, ...]) -> str:
    return "-".join(map(str, values))


COLUMNS = (
    Column("variant", "variant"),
    Column("depths", "depths", _numbers),
    Column("widths", "widths", _numbers),
    Column("sides", "sides", _numbers),
    Column("parameters", "parameters", "{:,}".format),
    Column("macs", "multiply-adds", lambda macs: f"{macs / 1e6:,.2f}M"),
    Column("activation_bytes", "memory of a step", lambda size: f"{size / 2**20:,.0f} MiB"),
    Column("images_per_second", "images/s", lambda speed: "-" if speed is None else f"{speed:,}"),
)


def describe(label: str, variant: Variant, classes: int, image_size: int, training: Training) -> dict[str, Any]:
    """A row: depths and widths by stage, sides of the stages' grids, and counts; memory is of a whole batch."""
    cost = network_cost(variant, classes, image_size, training.precision)
    depths: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()
    sides: tuple[int, ...] = ()
    match variant:
        case CoAtNetVariant():
            depths, widths, sides = variant.depths, variant.widths, stage_sides(variant, image_size)
        case ViTRelVariant():
            depths, widths, sides = (variant.depth,), (variant.width,), stage_sides(variant, image_size)
        case CoaTVariant():
            depths, widths = variant.depths, variant.widths
            sides = tuple(image_size // variant.patch // 2**i for i in range(4))
    return {
        "variant": label,
        "depths": depths,
        "widths": widths,
        "sides": sides,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes * training.batch_size,
    }
