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

Depths can be given (`C-C-T-T[depths=2-1-3-7-1]`, Table 7's question at any size): then widths alone are searched for,
and may grow by 1 to 3 where the usual range has nothing that fits.
Costs are closed forms, so that the search needs no networks; tests hold them against networks that were built.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from study.config import Blocks, CoAtNetVariant, ViTRelVariant, check_budget
from study.errors import StudyError
from study.models.closed_forms import Cost, coatnet_cost, vit_cost
from study.models.coatnet import stage_sides

Five = tuple[int, int, int, int, int]

GEOMETRIES: dict[str, Five] = {
    "paper": (2, 2, 2, 2, 2),  # 112, 56, 28, 14, 7 at 224 px; ViT_REL's patches of 16
    "fine": (1, 1, 2, 2, 2),  # 32, 32, 16, 8, 4 at 32 px; patches of 4
    "cheap": (2, 1, 2, 2, 2),  # 16, 16, 8, 4, 2 at 32 px; patches of 8
}
TOLERANCE = 0.01

WIDTH_GROWTH = (1.5, 2.5)
WIDTH_GROWTH_OF_GIVEN_DEPTHS = (1.0, 3.0)
WIDTH_PROPORTIONS = (2 / 3, 1, 2, 4, 8)  # CoAtNet-0: 64, 96, 192, 384, 768
DEPTH_PROPORTIONS = (2, 3, 5, 2)  # CoAtNet-0, S1-S4
DEPTH_OVER_WIDTH = ((2 / 256, 2 / 96), (3 / 192, 6 / 192), (5 / 384, 14 / 384), (2 / 2048, 2 / 768))  # CoAtNet-0 to -5
VIT_DEPTH_OVER_WIDTH = (12 / 768, 24 / 192)
VIT_EXPANSION_SLACK = 1 / 16


def strides_of(geometry: str, image_size: int) -> Five:
    """Strides of S0-S4; `auto` is "fine" below 64 pixels, "cheap" below 128, else the paper's."""
    if geometry == "auto":
        geometry = "fine" if image_size < 64 else "cheap" if image_size < 128 else "paper"
    return GEOMETRIES[geometry]


# ---------------------------------------------------------------- search


@dataclass(frozen=True)
class Budget:
    """What a layout is matched to, on images of one side and a classifier of `classes` outputs."""

    amount: int
    match: Literal["parameters", "macs"]
    strides: Five
    classes: int
    image_size: int
    blocks: Blocks
    depths: Literal["shared", "free"] = "free"  # one vector for all layouts (shared_depths.py), or one for each

    @property
    def other(self) -> str:
        return "macs" if self.match == "parameters" else "parameters"


def matched(name: str, budget: Budget, depths: Five | None = None) -> CoAtNetVariant | ViTRelVariant:
    """The network of layout `name` (`C-C-T-T`, ..., or `ViT_REL`) that fits `budget`; `depths` of S0-S4 may be given.

    Raises StudyError if the side does not divide, or if nothing comes within 1 % (naming the nearest that does).
    """
    check_budget(budget.amount, budget.match)
    patch = math.prod(budget.strides[:4])
    if name == "ViT_REL":
        stage_sides(ViTRelVariant(patch=patch, depth=1, width=8), budget.image_size)
        depth, width, hidden = (int(x) for x in _choose(name, _vit_candidates(budget), budget, reference=True))
        special = hidden if hidden != budget.blocks.expansion * width else None
        return ViTRelVariant(patch=patch, depth=depth, width=width, hidden=special, blocks=budget.blocks)
    smallest = CoAtNetVariant(
        layout=name, depths=depths or (1,) * 5, widths=(8,) * 5, strides=budget.strides, blocks=budget.blocks
    )
    stage_sides(smallest, budget.image_size)
    candidates = _coatnet_candidates(name, budget, depths, WIDTH_GROWTH)
    if depths is not None and not meets(getattr(candidates.cost, budget.match), budget).any():
        candidates = _coatnet_candidates(name, budget, depths, WIDTH_GROWTH_OF_GIVEN_DEPTHS)
    chosen = [int(x) for x in _choose(name, candidates, budget, reference=name != "C-C-T-T" or depths is not None)]
    return smallest.model_copy(update={"depths": tuple(chosen[:5]), "widths": tuple(chosen[5:])})


@dataclass(frozen=True)
class Candidates:
    """Many shapes of one layout, a row each, with their costs and their distance from the published proportions."""

    shapes: np.ndarray
    cost: Cost
    distance: np.ndarray


def fitting(name: str, amounts: np.ndarray, budget: Budget) -> np.ndarray:
    """Which amounts lie within the tolerance of the budget. Raises StudyError that names the nearest if none does."""
    fits = meets(amounts, budget)
    if not fits.any():
        nearest = int(amounts[np.abs(np.log(amounts / budget.amount)).argmin()])
        raise StudyError(
            f"no {name} with sensible proportions comes within {TOLERANCE:.0%} of a budget of {budget.amount:,} "
            f"{budget.match}: the nearest has {nearest:,}"
        )
    return fits


def meets(amounts: npt.ArrayLike, budget: Budget) -> np.ndarray:
    """Which amounts of the matched cost come as near to the budget as TOLERANCE asks."""
    return np.abs(np.asarray(amounts, dtype=float) / budget.amount - 1) <= TOLERANCE


def _choose(name: str, candidates: Candidates, budget: Budget, reference: bool) -> np.ndarray:
    """The row that fits and lies nearest to the published proportions; with `reference`, first to the other cost of
    C-C-T-T, the paper's own layout, whose shape is found by proportions alone."""
    fits = fitting(name, getattr(candidates.cost, budget.match), budget)
    distance = candidates.distance.copy()
    if reference and (other := _reference(budget)) is not None:
        # whole percents first, so that a shape far off the proportions is not taken for a gain of a few multiply-adds
        ratios = np.asarray(getattr(candidates.cost, budget.other), dtype=float) / other
        distance += 1e3 * np.round(np.abs(np.log(ratios)), 2)
    distance[~fits] = np.inf
    return candidates.shapes[distance.argmin()]


@lru_cache
def _reference(budget: Budget) -> float | None:
    """What C-C-T-T, the paper's own layout, has of the cost that is not matched; None if it cannot meet the budget."""
    try:
        network = matched("C-C-T-T", budget)
    except StudyError:
        return None
    assert isinstance(network, CoAtNetVariant)
    arguments = (network.depths, network.widths, network.strides, network.blocks, budget.classes, budget.image_size)
    return float(getattr(coatnet_cost("C-C-T-T", *arguments), budget.other))


def _coatnet_candidates(layout: str, budget: Budget, depths: Five | None, growth: tuple[float, float]) -> Candidates:
    widths = np.vstack([_widths(w1, *growth) for w1 in _scales(layout, budget, depths)])
    ends = [_ends(i, widths[:, i], depths) for i in range(5)]
    shallow, deep = (np.column_stack([each[end] for each in ends]) for end in (0, 1))
    least, most = (getattr(_cost(layout, np.hstack([d, widths]), budget), budget.match) for d in (shallow, deep))
    # only widths whose depths have the budget between them
    near = (least <= 1.02 * budget.amount) & (most >= 0.98 * budget.amount)
    tried = np.flatnonzero(near) if near.any() else np.arange(len(widths))
    ranges = [_depth_ranges(five, depths) for five in widths[tried].tolist()]
    shapes = _within_budget(layout, budget, widths[tried], ranges)
    relative_widths = np.log(shapes[:, 5:].T / np.array(WIDTH_PROPORTIONS)[:, None])
    relative_depths = np.log(shapes[:, 1:5].T / np.array(DEPTH_PROPORTIONS)[:, None])
    return Candidates(shapes, _cost(layout, shapes, budget), relative_widths.var(0) + relative_depths.var(0))


def _widths(w1: int, low: float, high: float) -> np.ndarray:
    """Widths of S0-S4 for one of S1, a row each: every stage from `low` to `high` times as wide as the one before."""
    later = np.meshgrid(*(multiples(low**i * w1, high**i * w1) for i in (1, 2, 3)), indexing="ij")
    rows = np.column_stack([np.full(later[0].size, w1), *(each.ravel() for each in later)])
    growth = rows[:, 1:] / rows[:, :-1]
    rows = rows[((low <= growth) & (growth <= high)).all(1)]
    return np.insert(rows, 0, max(8, round(2 / 3 * w1 / 8) * 8), axis=1)


def _ends(stage: int, widths: np.ndarray, depths: Five | None) -> tuple[np.ndarray, np.ndarray]:
    """The fewest and the most blocks worth trying in a stage, at each of many widths."""
    known, which = np.unique(widths, return_inverse=True)
    tried = [_stage_depths(stage, width, depths) for width in known.tolist()]
    return np.array([each[0] for each in tried])[which], np.array([each[-1] for each in tried])[which]


def _within_budget(
    layout: str, budget: Budget, widths: np.ndarray, ranges: Sequence[Sequence[Sequence[int]]]
) -> np.ndarray:
    """The shapes within the tolerance of the budget, or the nearest alone, in the order of widths and then of depths.

    What is matched is linear in the depths, so that one sum for each of a stage's depths serves all of its shapes.
    """

    def amounts(deeper: int | None) -> np.ndarray:
        depths = [np.array([r[i][0] + (i == deeper) for r in ranges]) for i in range(5)]
        return np.asarray(getattr(_cost(layout, np.column_stack([*depths, widths]), budget), budget.match))

    base = amounts(None)
    further = [amounts(i) - base for i in range(5)]
    found: list[np.ndarray] = []
    nearest, distance = np.zeros((1, 10), dtype=int), math.inf
    for n, (five, of_stages) in enumerate(zip(widths, ranges, strict=True)):
        grid = base[n]
        for more, depths in zip(further, of_stages, strict=True):
            grid = np.add.outer(grid, more[n] * np.arange(len(depths)))
        places = np.argwhere(meets(grid, budget))
        if len(places):
            found.append(np.hstack([places + [r[0] for r in of_stages], np.tile(five, (len(places), 1))]))
        elif not found:
            off = np.abs(np.log(grid / budget.amount))
            if off.min() < distance:
                place = np.unravel_index(off.argmin(), grid.shape)
                depths_there = [r[k] for r, k in zip(of_stages, place, strict=True)]
                nearest, distance = np.array([[*depths_there, *five]]), float(off.min())
    return np.vstack(found) if found else nearest


def _cost(layout: str, shapes: np.ndarray, budget: Budget) -> Cost:
    """Cost of CoAtNets, a row each: five depths, five widths."""
    depths, widths = tuple(shapes[:, :5].T), tuple(shapes[:, 5:].T)
    return coatnet_cost(layout, depths, widths, budget.strides, budget.blocks, budget.classes, budget.image_size)


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


def _scales(layout: str, budget: Budget, depths: Five | None) -> list[int]:
    """Widths of S1 worth trying: those whose published proportions come within a factor of four of the budget."""
    scales = []
    for w1 in range(8, 513, 8):
        widths = [max(8, round(p * w1 / 8) * 8) for p in WIDTH_PROPORTIONS]
        usual = tuple(np.mean(r) for r in _depth_ranges(widths, depths))
        cost = coatnet_cost(layout, usual, widths, budget.strides, budget.blocks, budget.classes, budget.image_size)
        if 1 / 4 < getattr(cost, budget.match) / budget.amount < 4:
            scales.append(w1)
    return scales or [8 if getattr(cost, budget.match) > budget.amount else 512]


def _depth_ranges(widths: Sequence[int], depths: Five | None) -> list[Sequence[int]]:
    """Depths of S0-S4 worth trying with these widths: the given ones, or two convolutions and the published ranges."""
    return [_stage_depths(stage, width, depths) for stage, width in enumerate(widths)]


def _stage_depths(stage: int, width: int, depths: Five | None) -> Sequence[int]:
    """The same of one stage."""
    if depths is not None or stage == 0:
        return (depths[stage] if depths is not None else 2,)
    low, high = DEPTH_OVER_WIDTH[stage - 1]
    return range(max(1, math.ceil(low * width)), max(2, int(high * width)) + 1)


def multiples(low: float, high: float, of: int = 8) -> range:
    """Widths in [low, high]: multiples of `of`, of coarser steps where widths are large."""
    step = of * max(1, int(low) // 64)
    return range(math.ceil(low / step) * step, int(high) + 1, step)
