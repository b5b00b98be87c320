"""Size matching with one vector of depths: the layouts of an experiment differ in block types and widths alone.

Which depths (S1 to S4; S0 has two convolutions) is chosen from the four published layouts together, C-C-C-C to C-T-T-T,
so that it does not depend on which of them an experiment names. For each vector and each layout all widths within 1 %
of the budget are found, with the proportions that study/models/sizing.py asks for. Of all vectors, and of all widths of
the four, those are taken whose sum is least of

- the distance from the published proportions, as in sizing.py: the variance of log depth over CoAtNet-0's, plus the
  mean over the layouts of the variance of log width over CoAtNet-0's;
- the spread of the cost that is not matched (multiply-adds, as a rule): the log of the largest over the smallest;
- five times what of the spread lies beyond 5 %.

A vector of odd proportions is thus taken only for a gain of many percent. Widths are multiples of 8; of 4 where 8 fits
nothing, or leaves a spread beyond 5 % that 4 narrows by at least 2 points. Where still nothing fits, widths may grow by
1 to 3 from stage to stage, instead of 1.5 to 2.5.

One of the four with switches keeps its widths where it still meets the budget with them, and stays within 5 % of the
four in the other cost, so that it differs from the plain one in the switch alone; else, as for other layouts and given
depths, widths are found at these depths.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from study.config import LAYOUTS, Blocks, CoAtNetVariant, check_budget
from study.errors import StudyError
from study.models.coatnet import stage_sides
from study.models.sizing import (
    DEPTH_PROPORTIONS,
    TOLERANCE,
    WIDTH_GROWTH,
    WIDTH_GROWTH_OF_GIVEN_DEPTHS,
    WIDTH_PROPORTIONS,
    Budget,
    Five,
    depth_ends,
    linear_costs,
    meets,
    multiples,
    stem_width,
)

SPREAD = 0.05
BEYOND = 5.0  # the price of spread beyond that, in units of distance
CLEARLY = 0.02  # what multiples of 4 must gain
MOST = (3, 14, 44, 3)  # blocks of S1-S4; CoAtNet-4 has 2, 12, 28, 2 and CoAtNet-6 42 in S3
BIN = 0.0025  # resolution of the spread, in log units
SHALLOWEST = (2, 1, 1, 1, 1)
SPREADS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, 100)  # tried, in percent


@dataclass(frozen=True)
class SharedDepths:
    """What the four published layouts have in common at a budget: depths of S0-S4, and the range of the other cost."""

    depths: Five
    widths: Mapping[str, Five]
    low: float
    high: float
    score: float

    @property
    def spread(self) -> float:
        """How much more the dearest of the four has of the cost that is not matched than the cheapest, as a part."""
        return self.high / self.low - 1


@dataclass(frozen=True)
class Fits:
    """The widths with which a layout of given depths meets the budget, a row each."""

    widths: np.ndarray
    other: np.ndarray  # log of the cost that is not matched
    distance: np.ndarray


def matched_at_shared_depths(name: str, budget: Budget, blocks: Blocks, depths: Five | None = None) -> CoAtNetVariant:
    """The network of a layout at the depths that all share, or at `depths`, near the others in the unmatched cost.

    The shared depths follow from `budget` with its own blocks; `blocks` are the layout's, with its switches.
    Raises StudyError if the side does not divide, or if nothing comes within 1 %.
    """
    check_budget(budget.amount, budget.match)
    variant = CoAtNetVariant(
        layout=name, depths=depths or SHALLOWEST, widths=(8,) * 5, strides=budget.strides, blocks=blocks
    )
    stage_sides(variant, budget.image_size)
    try:
        shared = shared_depths(budget)
    except StudyError:
        if depths is None:
            raise
        shared = None
    own = replace(budget, blocks=blocks)
    if shared is not None and depths in (None, shared.depths) and _keeps_widths(name, own, shared):
        return variant.model_copy(update={"depths": shared.depths, "widths": shared.widths[name]})
    chosen = depths or (shared.depths if shared is not None else SHALLOWEST)
    widths = _widths_of_one(name, own, chosen, shared, any_depth=depths is not None)
    return variant.model_copy(update={"depths": chosen, "widths": widths})


def _keeps_widths(name: str, budget: Budget, shared: SharedDepths) -> bool:
    """Whether one of the four meets the budget with its blocks, and stays within 5 % of the four in the other cost."""
    if (widths := shared.widths.get(name)) is None:
        return False
    amount, other = budget.costs(name, shared.depths, widths)
    near = (1 - SPREAD) * shared.low <= other <= (1 + SPREAD) * shared.high
    return near and bool(meets(amount, budget))


def _widths_of_one(name: str, budget: Budget, depths: Five, shared: SharedDepths | None, any_depth: bool) -> Five:
    """Widths of a layout beside the four: near the published proportions, and near the four in the unmatched cost."""
    found, apart = None, math.inf
    for step, growth in _WIDTHS:
        if found is not None and (apart <= CLEARLY or growth != WIDTH_GROWTH):
            break
        fits = _Layout(name, budget, step, growth, depths[0]).fits(depths, any_depth)
        if fits is None:
            continue
        away = np.zeros(len(fits.other))
        if shared is not None:
            low, high = math.log(shared.low), math.log(shared.high)
            away = np.maximum(0, np.maximum(low - fits.other, fits.other - high))
        best = (fits.distance + BEYOND * away).argmin()
        if away[best] < apart - CLEARLY:
            found, apart = fits.widths[best], float(away[best])
    if found is None:
        raise StudyError(
            f"no {name} of {'-'.join(map(str, depths))} blocks comes within {TOLERANCE:.0%} of a budget of "
            f"{budget.amount:,} {budget.match}"
        )
    return _five(found)


def _five(numbers: np.ndarray) -> Five:
    return cast(Five, tuple(numbers.tolist()))


_WIDTHS = tuple((step, growth) for growth in (WIDTH_GROWTH, WIDTH_GROWTH_OF_GIVEN_DEPTHS) for step in (8, 4))


@lru_cache
def shared_depths(budget: Budget) -> SharedDepths:
    """The depths for all layouts of an experiment (see the module). Raises StudyError if no vector fits all four."""
    found: SharedDepths | None = None
    for step, growth in _WIDTHS:
        if found is not None and (found.spread <= SPREAD or growth != WIDTH_GROWTH):
            break
        finer = _search(budget, step, growth)
        if finer is not None and (found is None or finer.spread < found.spread - CLEARLY):
            found = finer
    if found is None:
        raise StudyError(
            f"no depths bring {', '.join(LAYOUTS)} all within {TOLERANCE:.0%} of a budget of {budget.amount:,} "
            f"{budget.match}: take another budget, or give up equal depths with -o depths=free"
        )
    return found


def _search(budget: Budget, step: int, growth: tuple[float, float]) -> SharedDepths | None:
    narrowest, most = next(_width_rows(step, growth)), (1 + TOLERANCE) * budget.amount
    if all(budget.costs(name, SHALLOWEST, narrowest)[0] > most for name in LAYOUTS):
        return None  # no need to make the table of widths
    layouts = [_Layout(name, budget, step, growth) for name in LAYOUTS]
    found: SharedDepths | None = None
    for distance, depths in _vectors():
        if found is not None and distance >= found.score:
            break  # all others lie further
        fits = []
        for layout in layouts:
            if (of_layout := layout.fits(depths)) is None:
                break
            fits.append(of_layout)
        else:
            score, rows = _nearest(fits)
            if found is None or distance + score < found.score:
                widths = {name: _five(fit.widths[row]) for name, fit, row in zip(LAYOUTS, fits, rows, strict=True)}
                others = [math.exp(fit.other[row]) for fit, row in zip(fits, rows, strict=True)]
                found = SharedDepths(depths, widths, min(others), max(others), distance + score)
    return found


def _vectors() -> Iterator[tuple[float, Five]]:
    """Depths of S0-S4 with their distance from the published proportions, the nearest first."""
    vectors = np.array(list(itertools.product((2,), *(range(1, most + 1) for most in MOST))))
    distances = np.log(vectors[:, 1:] / np.array(DEPTH_PROPORTIONS)).var(1)
    for n in np.argsort(distances, kind="stable"):
        yield float(distances[n]), _five(vectors[n])


class _Layout:
    """All widths worth trying of one layout, with base costs and costs of a further block in each of S1-S4."""

    def __init__(self, name: str, budget: Budget, step: int, growth: tuple[float, float], stem: int = 2):
        self.budget = budget
        table, shallowest = _width_table(step, growth), np.array([stem, 1, 1, 1, 1])
        self.widths = table[budget.costs(name, shallowest, table.T)[0] <= (1 + TOLERANCE) * budget.amount]
        self.base, further = linear_costs(name, budget, shallowest, self.widths)
        self.later = further[1:]
        self.distance = np.log(self.widths / np.array(WIDTH_PROPORTIONS)).var(1)
        self.ends = [depth_ends(stage, self.widths[:, stage]) for stage in range(1, 5)]

    def fits(self, depths: Five, any_depth: bool = False) -> Fits | None:
        """What meets the budget at these depths; `any_depth` has no regard to depth over width."""
        more = np.array(depths[1:]) - 1
        rows = meets(self.base[0] + more @ self.later[:, 0], self.budget)
        if not any_depth:
            for depth, (least, most) in zip(depths[1:], self.ends, strict=True):
                rows &= (least <= depth) & (depth <= most)
        if not rows.any():
            return None
        other = np.log(self.base[1, rows] + more @ self.later[:, 1][:, rows])
        return Fits(self.widths[rows], other, self.distance[rows])


@lru_cache
def _width_table(step: int, growth: tuple[float, float]) -> np.ndarray:
    return np.array(list(_width_rows(step, growth)))


def _width_rows(step: int, growth: tuple[float, float]) -> Iterator[Five]:
    """Widths of S0-S4: multiples of `step`, of coarser steps where widths are large; the narrowest first."""

    def wider(width: int) -> range:
        return multiples(growth[0] * width, growth[1] * width, step)

    for w1 in range(step, 513, step):
        for w2 in wider(w1):
            for w3 in wider(w2):
                for w4 in wider(w3):
                    yield stem_width(w1, step), w1, w2, w3, w4


def _nearest(fits: list[Fits]) -> tuple[float, list[int]]:
    """Mean distance plus price of the spread, at its least, and the row of each layout that makes it."""
    lowest = min(fit.other.min() for fit in fits)
    bins = [((fit.other - lowest) / BIN).astype(int) for fit in fits]
    count = max(int(b.max()) for b in bins) + 1
    nearest = np.full((len(fits), count), np.inf)
    for row, b, fit in zip(nearest, bins, fits, strict=True):
        np.minimum.at(row, b, fit.distance)
    best, window = math.inf, (0, count)
    for percent in (*SPREADS, math.inf):
        spread = min(math.log1p(percent / 100), count * BIN)
        price = spread + BEYOND * max(0.0, spread - math.log1p(SPREAD))
        if price >= best:
            break
        size = min(count, max(1, math.ceil(spread / BIN - 1e-9)))
        means = sliding_window_view(nearest, size, axis=1).min(2).mean(0)
        if price + means.min() < best:
            best, window = price + float(means.min()), (int(means.argmin()), size)
    start, size = window
    rows = []
    for b, fit in zip(bins, fits, strict=True):
        inside = np.where((b >= start) & (b < start + size), fit.distance, np.inf)
        rows.append(int(inside.argmin()))
    return best, rows
