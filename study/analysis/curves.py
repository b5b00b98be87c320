"""Curves as functions of train loss: what a run reaches, what runs have in common, and who leads from which loss on.

CoAtNet (arXiv 2106.04803, section 2.2) compares networks at equal training loss. Train loss is the probe's (a fixed set
of training images measured in eval mode); `curves` has one row an evaluation, of any number of runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from study.analysis.statistics import Floats, t_critical, welch_df

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

LEVEL = 0.95  # of the intervals of differences


def improvements(curves: pd.DataFrame) -> pd.DataFrame:
    """The evaluations at which a run's probe loss is lower than ever before, by step.

    These are the corners of the running minimum: loss falls strictly from row to row of a run, so that accuracy and
    samples are functions of it. The untrained network (step 0) and losses without a logarithm take no part.
    """
    curves = curves.sort_values("step", kind="stable").astype({"probe_loss": float})  # of no rows it is object
    curves = curves[(curves["step"] > 0) & (curves["probe_loss"] > 0) & np.isfinite(curves["probe_loss"])]
    losses = curves["probe_loss"]
    lowest = losses.groupby(curves["run"]).cummin()
    return curves[losses < lowest.groupby(curves["run"]).shift(fill_value=np.inf)]


def of_runs(curves: pd.DataFrame, runs: Iterable[str]) -> pd.DataFrame:
    """The evaluations of these runs."""
    wanted = set(runs)
    return curves[np.array([run in wanted for run in curves["run"].to_numpy(dtype=object)], dtype=bool)]


def ended_well(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that did not diverge."""
    return runs[runs["status"] != "diverged"]


def not_diverged(curves: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The evaluations of runs that did not diverge."""
    return of_runs(curves, ended_well(runs)["run"])


def interpolated(table: pd.DataFrame, runs: ArrayLike, x: Floats, y: Floats, at: ArrayLike) -> pd.DataFrame:
    """`y` as a linear function of `x`, run by run: a row for each of `runs`, a column for each of `at`.

    `x` and `y` belong to the rows of `table`, in which `x` rises within every run. NaN outside of what a run covers.
    """
    runs, at = np.asarray(runs), np.atleast_1d(np.asarray(at, dtype=float))
    of_run = pd.Categorical(table["run"], categories=runs).codes
    order = np.argsort(of_run, kind="stable")
    ends = np.searchsorted(of_run[order], np.arange(len(runs) + 1))
    x, y = np.asarray(x, dtype=float)[order], np.asarray(y, dtype=float)[order]
    found = np.full((len(runs), len(at)), np.nan)
    for row, (start, end) in enumerate(pairwise(ends)):
        if end > start:
            found[row] = np.interp(at, x[start:end], y[start:end], np.nan, np.nan)
    return pd.DataFrame(found, index=pd.Index(runs, name="run"), columns=at)


def at_losses(curves: pd.DataFrame, column: str, losses: ArrayLike) -> pd.DataFrame:
    """`column` as a function of probe loss: one row a run, one column a loss; NaN outside of what the run reaches.

    Linear in log loss between the run's improvements. Linear, because it is monotone between neighbours and never
    leaves the measured values, while test accuracy itself may rise and fall.
    """
    at = np.atleast_1d(np.asarray(losses, dtype=float))
    corners = improvements(curves)
    progress = -np.log(corners["probe_loss"].to_numpy(dtype=float))  # rises along training
    found = interpolated(corners, curves["run"].unique(), progress, corners[column].to_numpy(dtype=float), -np.log(at))
    return found.set_axis(at, axis="columns")


def loss_ranges(curves: pd.DataFrame) -> pd.DataFrame:
    """What each run covers of the loss axis: columns variant, seed, `first` (its first evaluation's loss), `lowest`."""
    found = curves.drop_duplicates("run").set_index("run")[["variant", "seed"]]
    losses = improvements(curves).groupby("run")["probe_loss"]
    return found.assign(first=losses.first().astype(float), lowest=losses.last().astype(float))


def matched_region(curves: pd.DataFrame) -> tuple[float, float] | None:
    """The losses that every run passes, as (high, low): low = max over runs of min_k l_k, high = min over runs of l_1.

    None if there is no such loss: some run ends above where another one is first measured.
    """
    ranges = loss_ranges(curves)
    if ranges.empty or ranges[["first", "lowest"]].isna().to_numpy().any():
        return None
    high, low = float(ranges["first"].min()), float(ranges["lowest"].max())
    return (high, low) if low <= high else None


def log_spaced(region: tuple[float, float], points: int) -> Floats:
    """So many losses from high to low, none of them a rounding outside."""
    high, low = region
    return np.geomspace(high, low, points).clip(low, high)


def difference_at_loss(curves: pd.DataFrame, first: str, second: str, points: int = 200) -> pd.DataFrame:
    """Mean test accuracy of `first` minus that of `second` at equal train loss, from early to late in training.

    Columns loss, difference, low, high; `points` losses, log-spaced, from the highest to the lowest that every run of
    both passes (none if there is no such loss). [low, high] is Welch's t-interval over seeds, loss by loss, not
    simultaneous; NaN where a variant has a single run.
    """
    own = [curves[curves["variant"] == variant] for variant in (first, second)]
    region = matched_region(pd.concat(own))
    if region is None or any(each.empty for each in own):
        return pd.DataFrame(columns=["loss", "difference", "low", "high"], dtype=float)
    losses = log_spaced(region, points)
    a, b = (at_losses(each, "test_accuracy", losses).to_numpy() for each in own)
    difference = a.mean(axis=0) - b.mean(axis=0)
    reach = np.full(points, np.nan)
    if min(len(a), len(b)) > 1:
        variances, counts = (a.var(axis=0, ddof=1), b.var(axis=0, ddof=1)), (np.array(len(a)), np.array(len(b)))
        df = welch_df(*variances, *counts)
        reach = t_critical((1 - LEVEL) / 2, df) * np.sqrt(variances[0] / counts[0] + variances[1] / counts[1])
    return pd.DataFrame(
        {"loss": losses, "difference": difference, "low": difference - reach, "high": difference + reach}
    )
