"""A run's curve as a function of its train loss, and the losses that runs have in common.

CoAtNet (arXiv 2106.04803, section 2.2) compares networks at equal training loss. Train loss is the probe's (a fixed set
of training images measured in eval mode); `curves` has one row an evaluation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def improvements(curve: pd.DataFrame) -> pd.DataFrame:
    """The evaluations of one run at which the probe loss is lower than ever before.

    These are the corners of the running minimum: loss falls strictly from row to row, so that accuracy and samples are
    functions of it. The untrained network (step 0) and losses without a logarithm take no part.
    """
    curve = curve.sort_values("step")
    curve = curve[(curve["step"] > 0) & (curve["probe_loss"] > 0) & np.isfinite(curve["probe_loss"])]
    losses = curve["probe_loss"].astype(float)
    return curve[losses < losses.cummin().shift(fill_value=np.inf)]


def at_losses(curves: pd.DataFrame, column: str, losses: ArrayLike) -> pd.DataFrame:
    """`column` as a function of probe loss: one row a run, one column a loss; NaN outside of what the run reaches.

    Linear in log loss between the run's improvements. Linear, because it is monotone between neighbours and never
    leaves the measured values, while test accuracy itself may rise and fall.
    """
    at = np.atleast_1d(np.asarray(losses, dtype=float))
    rows = {}
    for run, curve in curves.groupby("run", sort=False):
        corners = improvements(curve)
        progress = -np.log(corners["probe_loss"].to_numpy(dtype=float))  # rises along training
        measured = corners[column].to_numpy(dtype=float)
        rows[run] = (
            np.interp(-np.log(at), progress, measured, np.nan, np.nan) if len(corners) else np.full(len(at), np.nan)
        )
    return pd.DataFrame.from_dict(rows, orient="index", columns=at).rename_axis("run")


def loss_ranges(curves: pd.DataFrame) -> pd.DataFrame:
    """What each run covers of the loss axis: columns variant, seed, `first` (its first evaluation's loss), `lowest`."""
    rows = {}
    for run, curve in curves.groupby("run", sort=False):
        losses = improvements(curve)["probe_loss"]
        ends = (losses.iloc[0], losses.iloc[-1]) if len(losses) else (np.nan, np.nan)
        rows[run] = (curve["variant"].iloc[0], curve["seed"].iloc[0], *ends)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["variant", "seed", "first", "lowest"]).rename_axis(
        "run"
    )


def matched_region(curves: pd.DataFrame) -> tuple[float, float] | None:
    """The losses that every run passes, as (high, low): low = max over runs of min_k l_k, high = min over runs of l_1.

    None if there is no such loss: some run ends above where another one is first measured.
    """
    ranges = loss_ranges(curves)
    if ranges.empty or ranges[["first", "lowest"]].isna().to_numpy().any():
        return None
    high, low = float(ranges["first"].min()), float(ranges["lowest"].max())
    return (high, low) if low <= high else None
