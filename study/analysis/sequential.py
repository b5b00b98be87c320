"""Seeds added in stated looks without spending the error rate twice: a group-sequential design.

A claim may be tested after 5, 10, 15 and 20 seeds and the runs stopped when all is decided, if each look uses a
stricter level than α. Lan and DeMets (1983) spend α along a function of the information t (here: seeds so far over the
most that are planned); the one used here has the shape of O'Brien and Fleming's boundaries: hardly anything is spent
early, and the last look keeps nearly all. A look is then `test_claim` at its nominal level: every p-value is compared
with that level, and the intervals are the repeated confidence intervals of Jennison and Turnbull (1989). The verdict of
the look at which one stops is the verdict; earlier looks leave no word standing.

The levels are exact for one two-sided test. Within a family of m tests Holm's shares of them add up to at most 5.4 % at
α = 5 % (four looks, m = 10, nothing gained from the tests' dependence), and to less than 5 % in what is simulated
(results/statistics).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from study.analysis.statistics import Floats
from study.analysis.verdicts import ClaimVerdict
from study.errors import StudyError
from study.sweep.looks import PlannedLook

LEAST_SEEDS = 5  # of a first look: with fewer, neither > nor ≈ is shown at an early look's level
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)


def plan_looks(max_seeds: int, alpha: float) -> tuple[PlannedLook, ...]:
    """The looks of a sweep of up to `max_seeds` seeds: at each quarter from LEAST_SEEDS on, and at the end.

    Raises StudyError for fewer than 2 seeds.

    >>> [(look.number, look.seeds, round(look.alpha, 5)) for look in plan_looks(20, alpha=0.05)]
    [(1, 5, 1e-05), (2, 10, 0.00305), (3, 15, 0.01832), (4, 20, 0.044)]
    """
    if max_seeds < 2:
        raise StudyError(f"looks need 2 seeds or more, not {max_seeds}")
    quarters = [-(-max_seeds * part // 4) for part in (1, 2, 3)]
    seeds = [count for count in quarters if LEAST_SEEDS <= count < max_seeds] + [max_seeds]
    levels = nominal_levels([count / max_seeds for count in seeds], alpha)
    looks = enumerate(zip(seeds, levels, strict=True), start=1)
    return tuple(PlannedLook(number=number, seeds=count, alpha=level) for number, (count, level) in looks)


def decided(verdict: ClaimVerdict) -> bool:
    """Whether every relation of the claim is confirmed or contradicted, so that no further seeds are needed."""
    return not verdict.untested and verdict.count("undecided") == 0


def spent(information: float, alpha: float) -> float:
    """Lan and DeMets' O'Brien-Fleming-type function, half of α on each side: how much may be spent by `information`."""
    return float(4 * scipy.stats.norm.sf(scipy.stats.norm.isf(alpha / 4) / np.sqrt(information)))


def nominal_levels(information_fractions: Sequence[float], alpha: float) -> tuple[float, ...]:
    """Two-sided nominal levels of looks at the given fractions of the planned information, the last of them 1.

    A test that looks at each level in turn errs with probability alpha in all. By Armitage, McPherson and Rowe's
    recursion: the density of the score S(t), a Brownian motion, over the paths that have not crossed yet is carried
    from look to look by Gauss-Legendre quadrature, and each boundary is solved so that exactly the increment of
    `spent` crosses it.

    Raises StudyError unless the fractions rise from above 0 to 1.

    >>> [round(level, 4) for level in nominal_levels([0.5, 1], 0.05)]
    [0.0031, 0.049]
    """
    fractions = [float(fraction) for fraction in information_fractions]
    if not fractions or fractions != sorted(set(fractions)) or fractions[0] <= 0 or fractions[-1] != 1:
        raise StudyError(f"the looks' fractions of the information, {fractions}, must rise from above 0 to 1")
    scores, mass = np.zeros(1), np.ones(1)  # quadrature points of S at the last look, and the probability at each
    before, levels = 0.0, []
    for fraction in fractions:
        increment = spent(fraction, alpha) - (spent(before, alpha) if before else 0)
        step = float(np.sqrt(fraction - before))
        bound = _boundary(scores, mass, step, increment)
        levels.append(float(2 * scipy.stats.norm.sf(bound / np.sqrt(fraction))))
        points = _NODES * bound
        mass = _WEIGHTS * bound * (scipy.stats.norm.pdf(points[:, None], scores[None, :], step) @ mass)
        scores, before = points, fraction
    return tuple(levels)


def _boundary(scores: Floats, mass: Floats, step: float, increment: float) -> float:
    """The |S| that the paths at `scores`, one normal step of sd `step` later, exceed with probability `increment`."""

    def excess(bound: float) -> float:
        crossing = scipy.stats.norm.sf((bound - scores) / step) + scipy.stats.norm.cdf((-bound - scores) / step)
        return float((mass * crossing).sum() - increment)

    return float(scipy.optimize.brentq(excess, 0, 40, xtol=1e-12))
