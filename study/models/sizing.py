"""Size matching: depths and widths that bring every layout to one budget.

The paper compares layouts of "similar parameter size and computational cost" (arXiv 2106.04803, Fig. 1) and prints no
sizes. Swapping block types at fixed widths does not match them, so each layout is searched for: within 1 % of the
budget in what is matched (parameters, or multiply-adds), and as close to C-C-T-T as it can come in the other. Shapes
stay in the family of the published networks (Table 3):

- widths are multiples of 8 and grow from stage to stage by 1.5 to 2.5 (the published ones double; CoAtNet-5 has 2.5);
- a stage's depth over its width stays in the range of CoAtNet-0 to -5, at least one block and two always allowed;
- ViT_REL's depth over width stays in the range of ViT-B/16 (12/768) to CaiT-XXS-24 (24/192). It has one depth and one
  width, which move in steps of several percent; where no pair meets the budget, its FFN's expansion leaves 4 by the
  least that does, at most a sixteenth (`ViTRelVariant.hidden`).

Costs are closed forms, so that the search needs no networks; tests hold them against networks that were built.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from study.config import Blocks, CoAtNetVariant, ViTRelVariant
from study.errors import StudyError
from study.models.coatnet import stage_sides

GEOMETRIES: dict[str, tuple[int, int, int, int, int]] = {
    "paper": (2, 2, 2, 2, 2),  # 112, 56, 28, 14, 7 at 224 px; ViT_REL's patches of 16
    "fine": (1, 1, 2, 2, 2),  # 32, 32, 16, 8, 4 at 32 px; patches of 4
    "cheap": (2, 1, 2, 2, 2),  # 16, 16, 8, 4, 2 at 32 px; patches of 8
}
TOLERANCE = 0.01

WIDTH_PROPORTIONS = (2 / 3, 1, 2, 4, 8)  # CoAtNet-0: 64, 96, 192, 384, 768
DEPTH_PROPORTIONS = (2, 3, 5, 2)  # CoAtNet-0, S1-S4
DEPTH_OVER_WIDTH = ((2 / 256, 2 / 96), (3 / 192, 6 / 192), (5 / 384, 14 / 384), (2 / 2048, 2 / 768))  # CoAtNet-0 to -5
VIT_DEPTH_OVER_WIDTH = (12 / 768, 24 / 192)
VIT_EXPANSION_SLACK = 1 / 16

Number = Any  # an int, or an array of ints: the closed forms work for one network and for many at once


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-adds of one image's forward pass (matrix products and convolutions, as torch counts)."""

    parameters: Number
    macs: Number

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.parameters + other.parameters, self.macs + other.macs)


def strides_of(geometry: str, image_size: int) -> tuple[int, int, int, int, int]:
    """Strides of S0-S4; `auto` is "fine" below 64 pixels, "cheap" below 128, else the paper's."""
    if geometry == "auto":
        geometry = "fine" if image_size < 64 else "cheap" if image_size < 128 else "paper"
    return GEOMETRIES[geometry]


# ---------------------------------------------------------------- closed forms


def linear(width_in: Number, width: Number, places: int) -> Cost:
    """A dense layer or 1x1 convolution with bias at `places` positions."""
    return Cost(width_in * width + width, width_in * width * places)


def mbconv(width_in: Number, width: Number, side: int, stride: int, blocks: Blocks) -> Cost:
    """One MBConv block whose output has `side` x `side` positions."""
    hidden, places, places_in = blocks.expansion * width, side**2, (side * stride) ** 2
    expand_places = places if blocks.stride_in == "expand" else places_in
    squeezed = np.maximum(1, np.floor(blocks.se_ratio * np.asarray(width)).astype(int)) if blocks.se_ratio else 0
    norms = 2 * (width_in + 2 * hidden)
    cost = Cost(norms + (width_in + 9) * hidden, width_in * hidden * expand_places + 9 * hidden * places)
    cost = cost + linear(hidden, width, places)
    if blocks.se_ratio:
        cost = cost + linear(hidden, squeezed, 1) + linear(squeezed, hidden, 1)
    return cost + _when(width_in != width, linear(width_in, width, places))


def transformer(width_in: Number, width: Number, side: int, blocks: Blocks, hidden: Number | None = None) -> Cost:
    """One Transformer block whose output has `side` x `side` positions."""
    places, d = side**2, blocks.head_dim
    heads = np.maximum(1, (2 * np.asarray(width) + d) // (2 * d))
    inner = heads * d
    hidden = blocks.expansion * width if hidden is None else hidden
    cost = Cost(2 * width_in + 2 * width, 2 * inner * places * (d if blocks.attention == "linear" else places))
    cost = cost + linear(width_in, 3 * inner, places) + linear(inner, width, places)
    cost = cost + linear(width, hidden, places) + linear(hidden, width, places)
    if blocks.relative_bias != "none":
        cost = cost + Cost(heads * (2 * side - 1) ** 2, 0)
    return cost + _when(width_in != width, linear(width_in, width, places))


def coatnet_cost(
    layout: str, depths: Any, widths: Any, strides: tuple[int, ...], blocks: Blocks, classes: int, image_size: int
) -> Cost:
    """Cost of a CoAtNet without `split`; `depths` and `widths` are five numbers, or five arrays of equal length."""
    side, width_in = image_size // strides[0], widths[0]
    places = side**2
    convolutions = 9 * width_in * (3 + (depths[0] - 1) * width_in)
    cost = Cost(convolutions + depths[0] * width_in + (depths[0] - 1) * 2 * width_in, convolutions * places)
    letters = layout.replace("-", "")
    for i, letter in enumerate(letters, start=1):
        depth, width, stride = depths[i], widths[i], strides[i]
        if blocks.absolute_positions and letters.find("T") == i - 1:
            cost = cost + Cost(width_in * side**2, 0)
        side //= stride
        if letter == "C":
            first, later = mbconv(width_in, width, side, stride, blocks), mbconv(width, width, side, 1, blocks)
        else:
            first, later = transformer(width_in, width, side, blocks), transformer(width, width, side, blocks)
        cost = cost + first + Cost((depth - 1) * later.parameters, (depth - 1) * later.macs)
        width_in = width
    return cost + head(width_in, classes, blocks)


def vit_cost(depth: Any, width: Any, hidden: Any, patch: int, blocks: Blocks, classes: int, image_size: int) -> Cost:
    """Cost of a ViT_REL; `depth`, `width` and `hidden` are numbers or arrays of equal length."""
    side = image_size // patch
    block = transformer(width, width, side, blocks, hidden)
    positions = width * side**2 if blocks.absolute_positions else 0
    cost = linear(3 * patch**2, width, side**2) + Cost(depth * block.parameters + positions, depth * block.macs)
    return cost + head(width, classes, blocks)


def head(width: Number, classes: int, blocks: Blocks) -> Cost:
    """Norm, optional dense layer, classifier."""
    cost = Cost(2 * width, 0) + linear(width, classes, 1)
    return cost + linear(width, width, 1) if blocks.dense_head else cost


def _when(condition: Any, cost: Cost) -> Cost:
    return Cost(np.where(condition, cost.parameters, 0), np.where(condition, cost.macs, 0))


# ---------------------------------------------------------------- search


@dataclass(frozen=True)
class Budget:
    """What a layout is matched to, on images of one side and a classifier of `classes` outputs."""

    amount: int
    match: Literal["parameters", "macs"]
    strides: tuple[int, int, int, int, int]
    classes: int
    image_size: int
    blocks: Blocks

    @property
    def other(self) -> str:
        return "macs" if self.match == "parameters" else "parameters"


def matched(name: str, budget: Budget) -> CoAtNetVariant | ViTRelVariant:
    """The network of layout `name` (`C-C-T-T`, ..., or `ViT_REL`) that fits `budget`.

    Raises StudyError if the side does not divide, or if nothing comes within 1 % (naming the nearest that does).
    """
    patch = math.prod(budget.strides[:4])
    if name == "ViT_REL":
        stage_sides(ViTRelVariant(patch=patch, depth=1, width=8), budget.image_size)
        depth, width, hidden = (int(x) for x in _choose(name, _vit_candidates(budget), budget))
        special = hidden if hidden != budget.blocks.expansion * width else None
        return ViTRelVariant(patch=patch, depth=depth, width=width, hidden=special, blocks=budget.blocks)
    smallest = CoAtNetVariant(
        layout=name, depths=(1,) * 5, widths=(8,) * 5, strides=budget.strides, blocks=budget.blocks
    )
    stage_sides(smallest, budget.image_size)
    chosen = [int(x) for x in _choose(name, _coatnet_candidates(name, budget), budget)]
    return smallest.model_copy(update={"depths": (2, *chosen[:4]), "widths": tuple(chosen[4:])})


@dataclass(frozen=True)
class Candidates:
    """Many shapes of one layout, a row each, with their costs and their distance from the published proportions."""

    shapes: np.ndarray
    cost: Cost
    distance: np.ndarray


def _choose(name: str, candidates: Candidates, budget: Budget) -> np.ndarray:
    """The row that fits: C-C-T-T by its proportions alone, every other layout first by C-C-T-T's other cost."""
    amounts = np.asarray(getattr(candidates.cost, budget.match), dtype=float)
    fits = np.abs(amounts / budget.amount - 1) <= TOLERANCE
    if not fits.any():
        nearest = int(amounts[np.abs(np.log(amounts / budget.amount)).argmin()])
        raise StudyError(
            f"no {name} with sensible proportions comes within {TOLERANCE:.0%} of a budget of {budget.amount:,} "
            f"{budget.match}: the nearest has {nearest:,}"
        )
    distance = candidates.distance.copy()
    if name != "C-C-T-T":
        # whole percents first, so that a shape far off the proportions is not taken for a gain of a few multiply-adds
        ratios = np.asarray(getattr(candidates.cost, budget.other), dtype=float) / _reference(budget)
        distance += 1e3 * np.round(np.abs(np.log(ratios)), 2)
    distance[~fits] = np.inf
    return candidates.shapes[distance.argmin()]


@lru_cache
def _reference(budget: Budget) -> float:
    """What C-C-T-T, the paper's own layout, has of the cost that is not matched."""
    network = matched("C-C-T-T", budget)
    assert isinstance(network, CoAtNetVariant)
    arguments = (network.depths, network.widths, network.strides, network.blocks, budget.classes, budget.image_size)
    return float(getattr(coatnet_cost("C-C-T-T", *arguments), budget.other))


def _coatnet_candidates(layout: str, budget: Budget) -> Candidates:
    rows = []
    for w1 in _scales(layout, budget):
        w0 = max(8, round(2 / 3 * w1 / 8) * 8)
        for w2, w3, w4 in itertools.product(*(_multiples(1.5**i * w1, 2.5**i * w1) for i in (1, 2, 3))):
            widths = (w0, w1, w2, w3, w4)
            if all(1.5 <= wide / narrow <= 2.5 for narrow, wide in itertools.pairwise(widths[1:])):
                rows += [(*d, *widths) for d in itertools.product(*map(_depths, widths[1:], DEPTH_OVER_WIDTH))]
    return _with_costs(layout, np.array(rows), budget)


def _with_costs(layout: str, shapes: np.ndarray, budget: Budget) -> Candidates:
    depths, widths = shapes[:, :4].T, shapes[:, 4:].T
    cost = coatnet_cost(
        layout, (2, *depths), tuple(widths), budget.strides, budget.blocks, budget.classes, budget.image_size
    )
    relative_widths = np.log(widths / np.array(WIDTH_PROPORTIONS)[:, None])
    relative_depths = np.log(depths / np.array(DEPTH_PROPORTIONS)[:, None])
    return Candidates(shapes, cost, relative_widths.var(0) + relative_depths.var(0))


def _vit_candidates(budget: Budget) -> Candidates:
    patch, expansion = math.prod(budget.strides[:4]), budget.blocks.expansion
    low, high = VIT_DEPTH_OVER_WIDTH

    def cost_of(shapes: np.ndarray) -> Cost:
        depth, width, hidden = shapes.T
        return vit_cost(depth, width, hidden, patch, budget.blocks, budget.classes, budget.image_size)

    pairs = [(d, w, expansion * w) for w in range(8, 2049, 8) for d in range(math.ceil(low * w), int(high * w) + 1)]
    off = np.abs(np.log(getattr(cost_of(np.array(pairs)), budget.match) / budget.amount))
    near = [pair for pair, far in zip(pairs, off, strict=True) if far < 0.1] or [pairs[off.argmin()]]
    rows = []
    for depth, width, hidden in near:
        slack = int(VIT_EXPANSION_SLACK * hidden / 8) * 8
        rows += [(depth, width, h) for h in range(hidden - slack, hidden + slack + 1, 8)]
    shapes = np.array(rows)
    aspect = np.log(shapes[:, 0] / shapes[:, 1] / math.sqrt(low * high)) ** 2
    stretch = np.abs(shapes[:, 2] / (expansion * shapes[:, 1]) - 1)
    # an expansion of exactly 4 goes before everything else
    return Candidates(shapes, cost_of(shapes), aspect + 1e6 * stretch)


def _scales(layout: str, budget: Budget) -> list[int]:
    """Widths of S1 worth trying: those whose published proportions come within a factor of four of the budget."""
    scales = []
    for w1 in range(8, 513, 8):
        widths = [max(8, round(p * w1 / 8) * 8) for p in WIDTH_PROPORTIONS]
        depths = (2, *(np.mean(_depths(w, r)) for w, r in zip(widths[1:], DEPTH_OVER_WIDTH, strict=True)))
        cost = coatnet_cost(layout, depths, widths, budget.strides, budget.blocks, budget.classes, budget.image_size)
        if 1 / 4 < getattr(cost, budget.match) / budget.amount < 4:
            scales.append(w1)
    return scales or [8 if getattr(cost, budget.match) > budget.amount else 512]


def _multiples(low: float, high: float) -> list[int]:
    """Widths in [low, high]: multiples of 8, of coarser steps where widths are large."""
    step = 8 * max(1, int(low) // 64)
    return list(range(math.ceil(low / step) * step, int(high) + 1, step))


def _depths(width: int, over_width: tuple[float, float]) -> range:
    low, high = over_width
    return range(max(1, math.ceil(low * width)), max(2, int(high * width)) + 1)
