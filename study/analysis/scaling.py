"""What changes as data grow: crossings of variants, a scaling law for each, and rankings beyond the data that one has.

    scaling = scale(points, published=PUBLISHED)      # points: columns variant, seed, images, accuracy
    for crossing in scaling.crossings: print(crossing)

Uncertainty comes from a parametric bootstrap of the means over seeds, independent at each size: mean + sd / √n · t with
n - 1 degrees of freedom, as the bands of the figures. It says nothing about whether the law holds where nobody has
measured: for that the largest sizes are held out.

Shape suffixes: D draws (none where a variant has a single seed somewhere), S sizes, V variants, N numbers of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from study.analysis.laws import PARAMETERS, fit_law
from study.analysis.scaling_types import (
    PUBLISHED,
    Crossing,
    Estimate,
    Extrapolation,
    HeldOut,
    Point,
    Published,
    Scaling,
    TooFewSizes,
    VariantLaw,
)
from study.analysis.statistics import Floats, draw_means, rank_probabilities, tau_b
from study.config import parse_ranking

DRAWS = 400
LEVEL = 0.95
ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def scale(
    points: pd.DataFrame,
    published: Sequence[Published] = PUBLISHED,
    draws: int = DRAWS,
    seed: int = 0,
    samples_seen: int | None = None,
) -> Scaling:
    """Analyse accuracy against training images. `points`: columns variant, seed, images, accuracy (fractions).

    `samples_seen` is what each run saw in all, of which a note is made: none of these runs could see more images.
    Sizes at which a variant has no value are left out, and named in the notes. Raises TooFewSizes if fewer than 2
    remain.
    """
    points = points[np.isfinite(points["accuracy"].astype(float))]
    variants = tuple(dict.fromkeys(points["variant"]))
    counts = points.pivot_table(index="images", columns="variant", values="accuracy", aggfunc="count")
    sizes = tuple(int(size) for size in counts.index[counts.notna().all(axis=1)])
    partial = [int(size) for size in counts.index if size not in sizes]
    notes = [f"Left out, since a variant has no value there: {size:,} images." for size in partial]
    if len(sizes) < 2:
        raise TooFewSizes(f"sizes with a finished run of every variant: {len(sizes)}; scaling needs at least 2")

    samples = {
        (size, variant): rows["accuracy"].to_numpy(dtype=float)
        for (size, variant), rows in points.groupby(["images", "variant"])
    }
    mean_SV = np.array([[samples[size, variant].mean() for variant in variants] for size in sizes])
    drawn_DSV: Floats = np.empty((0, *mean_SV.shape))
    if min(len(samples[size, variant]) for size in sizes for variant in variants) >= 2:
        random = np.random.default_rng(seed)
        drawn = [draw_means([samples[size, v] for v in variants], "welch", draws, random) for size in sizes]
        drawn_DSV = np.clip(np.stack(drawn, axis=1), 0, 1)
    else:
        notes.append("Without intervals: somewhere a variant has a single seed.")

    laws = _Laws(np.array(sizes, dtype=float), variants, mean_SV, drawn_DSV) if len(sizes) > PARAMETERS else None
    if laws is None:
        notes.append(f"Without scaling laws: three parameters need at least {PARAMETERS + 1} sizes.")
    else:
        notes.append("The laws' intervals are those of the seeds alone: beyond the data they hold if the law does.")
        if samples_seen is not None and samples_seen < max((each.images for each in published), default=0):
            notes.append(
                f"Each run saw {samples_seen:,} images: trained like this none could see more different ones, so that "
                "the laws, read beyond, speak of runs that go on as long as they must."
            )
    band_images = np.geomspace(sizes[0], max([sizes[-1], *(each.images for each in published)]), 120)
    return Scaling(
        sizes=sizes,
        variants=variants,
        points=tuple(
            Point(variant, size, len(samples[size, variant]), _estimate(mean_SV[s, v], drawn_DSV[:, s, v]))
            for v, variant in enumerate(variants)
            for s, size in enumerate(sizes)
        ),
        crossings=tuple(_crossings(np.array(sizes, dtype=float), variants, mean_SV, drawn_DSV)),
        laws=laws.summary() if laws else (),
        held_out=tuple(_held_out(sizes, variants, mean_SV, drawn_DSV)) if len(sizes) > PARAMETERS + 1 else (),
        extrapolations=tuple(laws.extrapolate(each) for each in published) if laws else (),
        bands=laws.bands(band_images) if laws else {},
        band_images=band_images,
        notes=tuple(notes),
    )


def _estimate(value: float, drawn: Floats) -> Estimate:
    if not len(drawn):
        return Estimate(float(value))
    low, high = np.quantile(drawn, ENDS)
    return Estimate(float(value), float(low), float(high))


# ---------------------------------------------------------------- crossings


def zero_crossings(images: Floats, difference: Floats) -> list[tuple[float, int]]:
    """Where a difference, measured at rising numbers of images, changes its sign: (images, +1 upwards or -1).

    Linear in log images between two sizes. Where the difference is exactly 0 on the way, the middle of these sizes, in
    log images; a touch is no crossing.
    """
    known = np.flatnonzero(difference)
    found = []
    for before, after in pairwise(known):
        if difference[before] * difference[after] < 0:
            start, end = np.log(images[[before, after]])
            log = start + (end - start) * difference[before] / (difference[before] - difference[after])
            if after > before + 1:
                log = np.log(images[[before + 1, after - 1]]).mean()
            found.append((float(np.exp(log)), 1 if difference[after] > 0 else -1))
    return found


def _crossings(images: Floats, variants: Sequence[str], mean_SV: Floats, drawn_DSV: Floats) -> list[Crossing]:
    """All crossings of all pairs. A draw's crossing is the nearest one, in log images, of the same direction."""
    found = []
    for i, j in combinations(range(len(variants)), 2):
        for place, direction in zero_crossings(images, mean_SV[:, i] - mean_SV[:, j]):
            nearest: list[float] = []
            for draw_S in drawn_DSV[:, :, i] - drawn_DSV[:, :, j]:
                same = [x for x, way in zero_crossings(images, draw_S) if way == direction]
                nearest += [min(same, key=lambda x: abs(np.log(x / place)))] if same else []
            winner, loser = (i, j) if direction > 0 else (j, i)
            share = len(nearest) / len(drawn_DSV) if len(drawn_DSV) else None
            found.append(Crossing(variants[winner], variants[loser], _estimate(place, np.array(nearest)), share))
    return sorted(found, key=lambda crossing: crossing.images.value)


# ---------------------------------------------------------------- laws


class _Laws:
    """The law of every variant, and of every draw of its means."""

    def __init__(self, images: Floats, variants: Sequence[str], mean_SV: Floats, drawn_DSV: Floats):
        self.variants = tuple(variants)
        self.best = [fit_law(images, 1 - mean_S) for mean_S in mean_SV.T]
        self.drawn = [[fit_law(images, 1 - draw_S) for draw_S in drawn_DSV[:, :, v]] for v in range(len(variants))]

    def summary(self) -> tuple[VariantLaw, ...]:
        def estimate(v: int, name: str) -> Estimate:
            return _estimate(getattr(self.best[v], name), np.array([getattr(law, name) for law in self.drawn[v]]))

        return tuple(
            VariantLaw(variant, estimate(v, "a"), estimate(v, "b"), estimate(v, "c"), self.best[v].rmse)
            for v, variant in enumerate(self.variants)
        )

    def accuracy(self, images: Floats) -> tuple[Floats, Floats]:
        """At some numbers of images: the best laws' (V, N) and the draws' (V, D, N)."""
        drawn = np.array([[1 - law(images) for law in laws] for laws in self.drawn])
        best_VN = np.array([1 - law(images) for law in self.best])
        return best_VN, drawn.reshape(len(best_VN), -1, len(images))

    def bands(self, images: Floats) -> dict[str, tuple[Floats, Floats, Floats]]:
        found = {}
        for variant, best, drawn in zip(self.variants, *self.accuracy(images), strict=True):
            low, high = np.quantile(drawn, ENDS, axis=0) if len(drawn) else np.full((2, len(images)), np.nan)
            found[variant] = (best, low, high)
        return found

    def extrapolate(self, published: Published) -> Extrapolation:
        best_VN, drawn_VDN = self.accuracy(np.array([float(published.images)]))
        best_V, drawn_DV = best_VN[:, 0], drawn_VDN[:, :, 0].T
        order = np.argsort(-best_V, kind="stable")
        ranks = rank_probabilities(drawn_DV)[order].tolist() if len(drawn_DV) else ()
        ranking = parse_ranking(published.ranking)
        tau = attainable = None
        if set(ranking.variants) <= set(self.variants):
            places = [self.variants.index(variant) for variant in ranking.variants]
            levels = np.array(ranking.levels, dtype=float)
            tau = _estimate(float(tau_b(levels, best_V[places])), tau_b(levels, drawn_DV[:, places]))
            attainable = float(tau_b(levels, -np.arange(len(levels), dtype=float)))
        return Extrapolation(
            published,
            tuple(self.variants[v] for v in order),
            tuple(_estimate(best_V[v], drawn_DV[:, v]) for v in order),
            tuple(map(tuple, ranks)),
            tau,
            attainable,
        )


def _held_out(sizes: Sequence[int], variants: Sequence[str], mean_SV: Floats, drawn_DSV: Floats) -> list[HeldOut]:
    """Laws of all sizes but the largest (the two largest where 6 or more are there), checked on these."""
    kept = len(sizes) - (2 if len(sizes) >= PARAMETERS + 3 else 1)
    images = np.array(sizes, dtype=float)
    best_VN, drawn_VDN = _Laws(images[:kept], variants, mean_SV[:kept], drawn_DSV[:, :kept]).accuracy(images[kept:])
    found = []
    for v, variant in enumerate(variants):
        for s, size in enumerate(sizes[kept:]):
            measured, predicted = mean_SV[kept + s, v], best_VN[v, s]
            off = _estimate(predicted - measured, drawn_VDN[v, :, s] - drawn_DSV[:, kept + s, v])
            refuted = None if off.low is None or off.high is None else not off.low <= 0 <= off.high
            found.append(HeldOut(variant, size, float(measured), float(predicted), off, refuted))
    return found
