"""What the page's script draws: the measured curves and their means, as plain numbers; what is not finite is null.

Each table of lines is {"runs": [...], "means": [...]}: a run has a number for each of its evaluations in each column, a
mean has [mean, low, high] where a run has one number; "region", of lines over loss, is the matched one. Nothing is
computed in the page but multiply-adds from samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from study.analysis.curves import at_losses, loss_ranges, matched_region, not_diverged
from study.report.drawing import mean_and_interval
from study.report.style import study_order

Lines = dict[str, list[Any]]

COUNTED = ("step", "epoch", "samples", "seconds")  # what may be on the x axis
MEASURED = ("probe_loss", "probe_accuracy", "test_loss", "test_accuracy", "gap")
AVERAGED = ("probe_loss", "test_accuracy", "gap")  # what is drawn against it
LOGARITHMIC = ("probe_loss",)  # in the mean, as its axis is
POINTS = 50  # of a line over the loss axis

# figure: which table of lines, what is on its axes at first, whether they are logarithmic, whether x can be chosen
PLOTS: dict[str, dict[str, Any]] = {
    "train_loss": {"of": "time", "x": "step", "y": "probe_loss", "ylog": True, "choose": True},
    "test_accuracy": {"of": "time", "x": "step", "y": "test_accuracy", "choose": True},
    "gap_curve": {"of": "time", "x": "epoch", "y": "gap", "choose": True},
    "accuracy_at_loss": {"of": "loss", "x": "probe_loss", "y": "test_accuracy", "xlog": True, "flip": True},
    "accuracy_by_images": {"of": "images", "x": "images", "y": "accuracy", "xlog": True},
    "gap_by_images": {"of": "images", "x": "images", "y": "gap", "xlog": True},
}


def of_curves(curves: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Lines]:
    """Lines over time and over train loss, of all runs of a sweep; means are of those that did not diverge."""
    curves = curves.assign(gap=curves["probe_accuracy"] - curves["test_accuracy"]).sort_values("step", kind="stable")
    alive = not_diverged(curves, runs)
    columns = [name for name in (*COUNTED, *MEASURED) if name in curves and curves[name].notna().any()]
    macs = runs.set_index("variant")["macs"].to_dict()
    time: Lines = {"runs": [{**run, "macs": macs.get(run["variant"])} for run in _runs(curves, columns)], "means": []}
    loss: Lines = {"runs": [], "means": []}
    for variant in study_order(alive["variant"]):
        own = alive[alive["variant"] == variant]
        steps = _means(own, "step", AVERAGED)
        common = own[own["step"].isin(steps.pop("at"))].groupby("step")
        counted = {name: _digits(common[name].mean()) for name in COUNTED if name in columns}
        time["means"].append({"variant": variant, "n": own["run"].nunique(), "macs": macs[variant], **counted, **steps})
        _add_at_losses(loss, own, variant)
    region = matched_region(alive)
    if region and alive["variant"].nunique() > 1:
        loss["region"] = list(region)
    return {"time": time, "loss": loss}


def of_sizes(points: pd.DataFrame) -> dict[str, Lines]:
    """Lines over training images, a run for each seed of a variant (`Results.points`)."""
    measured = ("accuracy", "gap")
    points = points.assign(run=points["variant"] + " " + points["seed"].astype(str)).sort_values("images")
    means = []
    for variant in study_order(points["variant"]):
        own = points[points["variant"] == variant]
        found = _means(own, "images", measured, complete=False)
        means.append({"variant": variant, "n": own["seed"].nunique(), "images": found.pop("at"), **found})
    return {"images": {"runs": _runs(points, ["images", *measured]), "means": means}}


def _runs(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"variant": str(own["variant"].iloc[0]), "seed": int(own["seed"].iloc[0])}
        | {column: _digits(own[column]) for column in columns}
        for _, own in table.groupby("run", sort=False)
    ]


def _means(own: pd.DataFrame, x: str, columns: Sequence[str], complete: bool = True) -> dict[str, Any]:
    """[mean, low, high] of each column at each `x` (under "at") that all runs, or without `complete` any, measured."""
    wide = own.pivot(index="run", columns=x, values=list(columns))
    tables = {column: wide[column] for column in columns}
    if complete:
        whole = wide.notna().all().groupby(level=x).all()
        tables = {column: table.loc[:, whole[whole].index] for column, table in tables.items()}
    found: dict[str, Any] = {"at": [float(at) for at in tables[columns[0]].columns]}
    for column, table in tables.items():
        values = table.to_numpy(dtype=float)
        ends = mean_and_interval(np.log(values) if column in LOGARITHMIC else values)
        found[column] = [_digits(np.exp(end) if column in LOGARITHMIC else end) for end in ends]
    return found


def _add_at_losses(loss: Lines, own: pd.DataFrame, variant: str) -> None:
    """Test accuracy of one variant's runs where each passes a loss, and their mean where all do."""
    ranges = loss_ranges(own)
    if ranges["first"].isna().all():
        return
    ends = (ranges["first"].max(), ranges["first"].min(), ranges["lowest"].max(), ranges["lowest"].min())
    at = np.unique(np.concatenate([np.geomspace(ends[0], ends[3], POINTS), ends]))[::-1]
    values = at_losses(own, "test_accuracy", at).to_numpy(dtype=float)
    for seed, row in zip(ranges["seed"], values, strict=True):
        there = np.isfinite(row)
        line = {"probe_loss": _digits(at[there]), "test_accuracy": _digits(row[there])}
        loss["runs"].append({"variant": variant, "seed": int(seed), **line})
    there = np.isfinite(values).all(axis=0)
    mean = [_digits(end) for end in mean_and_interval(values[:, there])]
    both = {"probe_loss": _digits(at[there]), "test_accuracy": mean}
    loss["means"].append({"variant": variant, "n": len(values), **both})


def _digits(values: Any) -> list[float | None]:
    """Five digits of each number: what a screen can show."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in np.asarray(values, dtype=float)]
