"""A scaling law, error = a · n^-b + c: fitted to errors at several numbers n of training images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from study.analysis.statistics import Floats

PARAMETERS = 3  # at as many sizes every law fits exactly and says nothing
SLOWEST, STEEPEST = 0.01, 3.0  # bounds of b; measured ones lie between 0.1 and 1
GRID = np.geomspace(SLOWEST, STEEPEST, 40)


@dataclass(frozen=True)
class Law:
    """a >= 0, 0.01 <= b <= 3, c >= 0; calling it gives the error at n images. `rmse` is that of the fit."""

    a: float
    b: float
    c: float
    rmse: float = 0.0

    def __call__(self, images: Floats) -> Floats:
        return np.asarray(self.a * images**-self.b + self.c)


def fit_law(images: Floats, errors: Floats) -> Law:
    """Least squares within the bounds.

    At a given b the law is linear in a and c, so the search is over b alone (variable projection, Golub and Pereyra
    1973): the best of a grid, then scipy's bounded minimisation between its neighbours. No start to choose, and no
    other minimum to be caught in.
    """
    scale = float(np.exp(np.log(images).mean()))  # n in its geometric mean: powers near 1

    def fits(b: Floats) -> tuple[Floats, Floats, Floats]:
        """Of each b: the best a and c, neither below 0, and the sum of squares."""
        power = (images / scale) ** -b[:, None]
        centred = power - power.mean(axis=1, keepdims=True)
        a = centred @ errors / (centred**2).sum(axis=1)
        c = errors.mean() - a * power.mean(axis=1)
        a = np.where(c < 0, power @ errors / (power**2).sum(axis=1), np.maximum(a, 0))
        c = np.where(a > 0, np.maximum(c, 0), errors.mean())
        return a, c, ((a[:, None] * power + c[:, None] - errors) ** 2).sum(axis=1)

    best = int(fits(GRID)[2].argmin())
    around = (GRID[max(0, best - 1)], GRID[min(len(GRID) - 1, best + 1)])
    found = scipy.optimize.minimize_scalar(
        lambda b: float(fits(np.array([b]))[2][0]), bounds=around, method="bounded", options={"xatol": 1e-8}
    )
    a, c, squares = (float(value[0]) for value in fits(np.array([found.x])))
    return Law(float(a * scale**found.x), float(found.x), c, float(np.sqrt(squares / len(images))))
