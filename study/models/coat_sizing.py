"""Size matching of CoaT and CoaT-Lite: widths and depths that bring either family to a budget.

`coat_lite:1.5M` and `coat:1.5M` take part in sweeps beside the size-matched layouts. Shapes stay in the family of the
published ones (arXiv 2104.06399):

- widths are multiples of 8 and of the number of heads;
- CoaT-Lite widens from scale to scale by 1.5 to 2.5, 1.25 to 2.5 and 1.25 to 1.6 (published: 2; 1.25 to 2.5; 1.25 to
  1.6); CoaT has one width in scales 2-4, 1 to 2.25 times that of scale 1 (published: 1 to 2.1);
- serial depths are the published ones, or 2 or 3 at each scale; CoaT has 4 to 8 parallel blocks (published: 6), since
  its two widths alone move in steps of several percent;
- every scale has at least two blocks: with one, the relative encoding of CoaT-Lite's last scale, which skips the class
  token, would get no gradient.

Of what fits, the shape nearest to a published network of the family is taken: at 224 pixels and 1000 classes, the
published networks' own budgets give these networks (but CoaT-Lite Medium, which has other MLP ratios).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator

import numpy as np

from study.config import CoaTVariant
from study.errors import StudyError
from study.models.closed_forms import coat_cost
from study.models.coat import check_sides
from study.models.published import COAT
from study.models.sizing import Budget, fitting

MEMBERS = {
    family: [
        entry.variant
        for name, entry in COAT.items()
        if name.rpartition("_")[0] == family and isinstance(entry.variant, CoaTVariant)
    ]
    for family in ("coat", "coat_lite")
}
GROWTH = {"coat": ((1, 2.25), (1, 1), (1, 1)), "coat_lite": ((1.5, 2.5), (1.25, 2.5), (1.25, 1.6))}
SERIAL_DEPTHS, PARALLEL_DEPTHS = (2, 3), range(4, 9)
WIDEST = 320  # of scale 1


def matched_coat(family: str, budget: Budget, template: CoaTVariant, pinned: Collection[str] = ()) -> CoaTVariant:
    """The CoaT (`coat`) or CoaT-Lite (`coat_lite`) that fits `budget`, with heads, patch and MLP ratios of `template`.

    `pinned` may name `depths` and `parallel_depth`, which are then the template's too. Raises StudyError if the patches
    do not divide the side, if the heads divide no such width, or if nothing comes within 1 % (naming the nearest).
    """
    check_sides(template.patch, budget.image_size, budget.image_size)
    depths_D5 = _depths(family, template, pinned)
    shapes, amounts = [], []
    for widths_N4 in _widths(family, math.lcm(8, template.heads)):
        cost = coat_cost(
            widths_N4.T[:, :, None], depths_D5.T[:4, None], depths_D5[:, 4], template, budget.classes, budget.image_size
        )
        amounts_ND, _ = budget.pair(cost)
        off_ND = np.abs(np.log(amounts_ND / budget.amount))
        n, d = np.nonzero(off_ND <= max(0.011, off_ND.min()))  # all that may fit, else the nearest
        shapes.append(np.concatenate([widths_N4[n], depths_D5[d]], axis=1))
        amounts.append(amounts_ND[n, d])
        if amounts_ND.min() > 1.01 * budget.amount:  # wider ones only have more
            break
    if not shapes:
        raise StudyError(
            f"no {family} with sensible proportions has {template.heads} heads: its widths are multiples of "
            f"{math.lcm(8, template.heads)}, of at most {WIDEST} at scale 1"
        )
    shapes_N9 = np.concatenate(shapes)
    fits = fitting(family, np.concatenate(amounts), budget)
    chosen = shapes_N9[np.where(fits, _distance(family, shapes_N9), np.inf).argmin()].tolist()
    return template.model_copy(
        update={"widths": tuple(chosen[:4]), "depths": tuple(chosen[4:8]), "parallel_depth": chosen[8]}
    )


def _depths(family: str, template: CoaTVariant, pinned: Collection[str]) -> np.ndarray:
    """Serial depths of the four scales and parallel depths worth trying: int (D, 5)."""
    serial = {*itertools.product(SERIAL_DEPTHS, repeat=4), *(network.depths for network in MEMBERS[family])}
    parallel = PARALLEL_DEPTHS if family == "coat" else (0,)
    if "depths" in pinned:
        serial = {template.depths}
    if "parallel_depth" in pinned:
        parallel = (template.parallel_depth,)
    return np.array([(*depths, blocks) for depths in sorted(serial) for blocks in parallel])


def _widths(family: str, multiple: int) -> Iterator[np.ndarray]:
    """Widths of the four scales worth trying, int (N, 4), for one width of scale 1 after the other."""
    for first in range(multiple, WIDEST + 1, multiple):
        rows: list[tuple[int, ...]] = [(first,)]
        for low, high in GROWTH[family]:
            rows = [(*row, width) for row in rows for width in _multiples(low * row[-1], high * row[-1], multiple)]
        if rows:
            yield np.array(rows)


def _multiples(low: float, high: float, of: int) -> range:
    """Widths in [low, high]: multiples of 8 (and of the heads), of coarser steps from 256 on."""
    step = of * 2 ** max(0, int(math.log2(low / 128)))
    return range(math.ceil(low / step) * step, int(high) + 1, step)


def _distance(family: str, shapes_N9: np.ndarray) -> np.ndarray:
    """How far each shape is from the published network that it is nearest to: in its proportions, then in its scale."""
    distances = []
    for network in MEMBERS[family]:
        wider = np.log(shapes_N9[:, :4] / np.array(network.widths))
        deeper = np.log(shapes_N9[:, 4:8] / np.array(network.depths))
        more_parallel = np.log1p(shapes_N9[:, 8]) - np.log1p(network.parallel_depth)
        distances.append(wider.var(1) + (deeper**2).sum(1) + more_parallel**2 + 0.01 * wider.mean(1) ** 2)
    return np.min(distances, axis=0)
