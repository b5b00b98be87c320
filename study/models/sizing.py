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
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from study.config import Blocks, CoAtNetVariant, ViTRelVariant, check_budget
from study.errors import StudyError
from study.models.closed_forms import Cost, Number, coatnet_cost, vit_cost
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

    def costs(self, layout: str, depths: Any, widths: Any) -> tuple[Number, Number]:
        """What a CoAtNet has of the cost that is matched, and of the other; of many, five arrays each, as arrays."""
        return self.pair(coatnet_cost(layout, depths, widths, self.strides, self.blocks, self.classes, self.image_size))

    def pair(self, cost: Cost) -> tuple[Number, Number]:
        """The cost that is matched, and the other."""
        return (cost.parameters, cost.macs) if self.match == "parameters" else (cost.macs, cost.parameters)


def matched(name: str, budget: Budget, depths: Five | None = None) -> CoAtNetVariant | ViTRelVariant:
    """The network of layout `name` (`C-C-T-T`, ..., or `ViT_REL`) that fits `budget`; `depths` of S0-S4 may be given.

    Raises StudyError if the side does not divide, or if nothing comes within 1 % (naming the nearest that does).
    """
    check_budget(budget.amount, budget.match)
    if name == "ViT_REL":
        patch = math.prod(budget.strides[:4])
        stage_sides(ViTRelVariant(patch=patch, depth=1, width=8), budget.image_size)
        depth, width, hidden = _choose(name, _vit_candidates(budget, patch), budget, reference=True)
        special = hidden if hidden != budget.blocks.expansion * width else None
        return ViTRelVariant(patch=patch, depth=depth, width=width, hidden=special, blocks=budget.blocks)
    smallest = CoAtNetVariant(
        layout=name, depths=depths or (1,) * 5, widths=(8,) * 5, strides=budget.strides, blocks=budget.blocks
    )
    stage_sides(smallest, budget.image_size)
    candidates = _coatnet_candidates(name, budget, depths, WIDTH_GROWTH)
    if depths is not None and not meets(candidates.amounts, budget).any():
        candidates = _coatnet_candidates(name, budget, depths, WIDTH_GROWTH_OF_GIVEN_DEPTHS)
    chosen = _choose(name, candidates, budget, reference=name != "C-C-T-T" or depths is not None)
    return smallest.model_copy(update={"depths": tuple(chosen[:5]), "widths": tuple(chosen[5:])})


@dataclass(frozen=True)
class Candidates:
    """Many shapes of one layout, a row each, with their costs and their distance from the published proportions."""

    shapes: np.ndarray
    amounts: np.ndarray  # of the cost that is matched
    others: np.ndarray  # of the other
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


def _choose(name: str, candidates: Candidates, budget: Budget, reference: bool) -> list[int]:
    """The shape that fits and lies nearest to the published proportions; with `reference`, first to the other cost of
    C-C-T-T, the paper's own layout, whose shape is found by proportions alone."""
    distance = np.where(fitting(name, candidates.amounts, budget), candidates.distance, np.inf)
    if reference and (other := _reference(budget)) is not None:
        # whole percents first, so that a shape far off the proportions is not taken for a gain of a few multiply-adds
        distance += 1e3 * np.round(np.abs(np.log(candidates.others / other)), 2)
    chosen: list[int] = candidates.shapes[distance.argmin()].tolist()
    return chosen


@lru_cache
def _reference(budget: Budget) -> float | None:
    """What C-C-T-T, the paper's own layout, has of the cost that is not matched; None if it cannot meet the budget."""
    try:
        network = matched("C-C-T-T", budget)
    except StudyError:
        return None
    assert isinstance(network, CoAtNetVariant)
    return float(budget.costs("C-C-T-T", network.depths, network.widths)[1])


def _coatnet_candidates(layout: str, budget: Budget, depths: Five | None, growth: tuple[float, float]) -> Candidates:
    widths = np.vstack([_widths(w1, *growth) for w1 in _scales(layout, budget, depths)])
    shallow, deep = _depths_tried(widths, depths)
    least, most = (budget.costs(layout, rows.T, widths.T)[0] for rows in (shallow, deep))
    # only widths whose depths have the budget between them
    near = (least <= 1.02 * budget.amount) & (most >= 0.98 * budget.amount)
    tried = near if near.any() else slice(None)
    shapes = _within_budget(layout, budget, widths[tried], shallow[tried], deep[tried])
    relative_widths = np.log(shapes[:, 5:].T / np.array(WIDTH_PROPORTIONS)[:, None])
    relative_depths = np.log(shapes[:, 1:5].T / np.array(DEPTH_PROPORTIONS)[:, None])
    distance = relative_widths.var(0) + relative_depths.var(0)
    return Candidates(shapes, *budget.costs(layout, shapes[:, :5].T, shapes[:, 5:].T), distance)


def _scales(layout: str, budget: Budget, depths: Five | None) -> list[int]:
    """Widths of S1 worth trying: those whose published proportions come within a factor of four of the budget."""
    scales = np.arange(8, 513, 8)
    widths = np.maximum(8, 8 * np.round(scales[:, None] * WIDTH_PROPORTIONS / 8).astype(int))
    shallow, deep = _depths_tried(widths, depths)
    ratios = budget.costs(layout, (shallow + deep).T / 2, widths.T)[0] / budget.amount
    found: list[int] = scales[(ratios > 1 / 4) & (ratios < 4)].tolist()
    return found or [8 if ratios[-1] > 1 else 512]


def _widths(w1: int, low: float, high: float) -> np.ndarray:
    """Widths of S0-S4 for one of S1, a row each: every stage from `low` to `high` times as wide as the one before."""
    later = np.meshgrid(*(multiples(low**i * w1, high**i * w1) for i in (1, 2, 3)), indexing="ij")
    rows = np.column_stack([np.full(later[0].size, w1), *(each.ravel() for each in later)])
    growth = rows[:, 1:] / rows[:, :-1]
    rows = rows[((low <= growth) & (growth <= high)).all(1)]
    return np.insert(rows, 0, stem_width(w1), axis=1)


def stem_width(w1: int, of: int = 8) -> int:
    """The width of S0 beside one of S1, in CoAtNet-0's proportions: a multiple of `of`."""
    return max(of, round(2 / 3 * w1 / of) * of)


def multiples(low: float, high: float, of: int = 8) -> range:
    """Widths in [low, high]: multiples of `of`, of coarser steps where widths are large."""
    step = of * max(1, int(low) // 64)
    return range(math.ceil(low / step) * step, int(high) + 1, step)


def _depths_tried(widths: np.ndarray, depths: Five | None) -> tuple[np.ndarray, np.ndarray]:
    """The fewest and the most blocks of S0-S4 worth trying at widths, a row each: two convolutions and the published
    ranges, or the given depths."""
    if depths is not None:
        given = np.tile(depths, (len(widths), 1))
        return given, given
    stem = np.full(len(widths), 2)
    ends = [(stem, stem), *(depth_ends(stage, widths[:, stage]) for stage in range(1, 5))]
    fewest, most = (np.column_stack(each) for each in zip(*ends, strict=True))
    return fewest, most


def depth_ends(stage: int, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fewest and the most blocks of one of S1-S4 that the published ranges allow at each of its widths."""
    low, high = DEPTH_OVER_WIDTH[stage - 1]
    return np.maximum(1, np.ceil(low * widths)).astype(int), np.maximum(2, np.floor(high * widths)).astype(int)


def _within_budget(
    layout: str, budget: Budget, widths: np.ndarray, shallow: np.ndarray, deep: np.ndarray
) -> np.ndarray:
    """The shapes within the tolerance of the budget, or the nearest alone, in the order of widths and then of depths.

    One sum for each of a stage's depths serves all of its shapes.
    """
    base, further = linear_costs(layout, budget, shallow, widths)

    def shapes(n: int, places: np.ndarray) -> np.ndarray:
        return np.hstack([shallow[n] + places, np.tile(widths[n], (len(places), 1))])

    found: list[np.ndarray] = []
    nearest, distance = np.zeros((1, 10), dtype=int), math.inf
    for n, most in enumerate(deep - shallow):
        grid = base[0, n]
        for block, count in zip(further[:, 0, n], most, strict=True):
            grid = np.add.outer(grid, block * np.arange(count + 1))
        places = np.argwhere(meets(grid, budget))
        if len(places):
            found.append(shapes(n, places))
        elif not found:
            off = np.abs(np.log(grid / budget.amount))
            if off.min() < distance:
                nearest, distance = shapes(n, np.argwhere(off == off.min())[:1]), float(off.min())
    return np.vstack(found) if found else nearest


def linear_costs(layout: str, budget: Budget, depths: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Budget.costs` at depths and widths, rows of five: (2, N); and those of one more block in each stage: (5, 2, N).

    A cost is linear in the depths, so that these evaluations of the closed form give those of all depths.
    """
    base = np.array(budget.costs(layout, depths.T, widths.T), dtype=float)
    deeper = [budget.costs(layout, (depths + block).T, widths.T) for block in np.eye(5, dtype=int)]
    return base, np.array(deeper, dtype=float) - base


def _vit_candidates(budget: Budget, patch: int) -> Candidates:
    expansion = budget.blocks.expansion
    low, high = VIT_DEPTH_OVER_WIDTH

    def costs(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        depth, width, hidden = shapes.T
        cost = vit_cost(depth, width, hidden, patch, budget.blocks, budget.classes, budget.image_size)
        return budget.pair(cost)

    pairs = [(d, w, expansion * w) for w in range(8, 2049, 8) for d in range(math.ceil(low * w), int(high * w) + 1)]
    off = np.abs(np.log(costs(np.array(pairs))[0] / budget.amount))
    near = [pair for pair, far in zip(pairs, off, strict=True) if far < 0.1] or [pairs[off.argmin()]]
    rows = []
    for depth, width, hidden in near:
        slack = int(VIT_EXPANSION_SLACK * hidden / 8) * 8
        rows += [(depth, width, h) for h in range(hidden - slack, hidden + slack + 1, 8)]
    shapes = np.array(rows)
    aspect = np.log(shapes[:, 0] / shapes[:, 1] / math.sqrt(low * high)) ** 2
    stretch = np.abs(shapes[:, 2] / (expansion * shapes[:, 1]) - 1)
    # an expansion of exactly 4 goes before everything else
    return Candidates(shapes, *costs(shapes), aspect + 1e6 * stretch)
