"""Readouts: one number per run, each defined by the formula in its docstring.

They work on two tidy tables: `runs` (one row a run) and `curves` (one row an evaluation). Train loss and accuracy are
those of the probe, a fixed set of training images measured in eval mode as the test images are. Accuracies are
fractions, losses nats per image. Notation: at its evaluation k = 1..K a run has seen n_k samples in e_k epochs and has
probe loss l_k, probe accuracy p_k and test accuracy a_k.

What a run does not reach is NaN with a note that says so; nothing is extrapolated and no run is left out silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from study.analysis.curves import (
    at_losses,
    ended_well,
    improvements,
    interpolated,
    log_spaced,
    loss_ranges,
    matched_region,
    of_runs,
)
from study.config import Claim
from study.errors import StudyError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Values = pd.Series[float]

FEWEST_POINTS = 4  # of a curve of which some are left out
PARTS = 256  # of the matched region: the mean over their middles is the integral within 0.001 points of accuracy


@dataclass(frozen=True)
class Measurement:
    """A readout of some runs: `values` by run id (NaN: not reached), the matched region of losses as (high, low) where
    the readout has one, and notes: whole sentences that belong wherever the values are shown."""

    values: Values
    region: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------- generalization


def accuracy_at_matched_loss(curves: pd.DataFrame) -> Measurement:
    """The generalization readout: mean test accuracy over the losses that all runs pass.

    Per run, a(l) is test accuracy as a function of probe loss (`at_losses`); the readout is the integral of it over
    log l in the matched region [low, high], divided by log(high / low): the mean at the middles of equal parts.
    CoAtNet (arXiv 2106.04803, section 2.2) reads generalization as evaluation accuracy at equal training loss.
    """
    region = matched_region(curves)
    if region is None:
        return _unmatched(curves)
    means, note = _read_at(curves, log_spaced(region, 2 * PARTS + 1)[1::2])
    return Measurement(means, region, (_region_note(curves, region), *note))


def accuracy_at_smallest_common_loss(curves: pd.DataFrame) -> Measurement:
    """a(low): test accuracy at the smallest probe loss that all runs reach, the end of the matched region."""
    region = matched_region(curves)
    if region is None:
        return _unmatched(curves)
    values, note = _read_at(curves, region[1])
    return Measurement(values, region, (_region_note(curves, region), *note))


def accuracy_at_loss(curves: pd.DataFrame, loss: float) -> Measurement:
    """a(loss): test accuracy where the running minimum of the probe loss passes `loss`; NaN for a run that does not."""
    values, note = _read_at(curves, loss)
    missing = _missing(curves, values, f"never measured around a probe loss of {loss:g}")
    return Measurement(values, notes=(*missing, *note))


def reading_errors(curves: pd.DataFrame, losses: ArrayLike) -> Values:
    """What reading between evaluations is wrong by, to expect: for each variant, in accuracy, too high above 0.

    Test accuracy is read at `losses` and averaged over them and over runs, once from all evaluations and once from
    every second one (the first and the last stay; the mean of the two ways to do so). On a smooth curve linear
    interpolation errs by the square of the spacing, so that half of the points err four times as much, and the
    difference is three times the error of reading (Richardson's extrapolation). Runs of fewer than 4 evaluations that
    lower the loss tell nothing of it.
    """
    corners = improvements(curves)
    corners = corners[corners.groupby("run")["step"].transform("size") >= FEWEST_POINTS]
    place = corners.groupby("run").cumcount()
    end = (place == 0) | (place == corners.groupby("run")["step"].transform("size") - 1)
    thinned = [at_losses(corners[end | (place % 2 == kept)], "test_accuracy", losses).mean(axis=1) for kept in (0, 1)]
    errors = (sum(thinned) / 2 - at_losses(corners, "test_accuracy", losses).mean(axis=1)) / 3
    variants = curves.drop_duplicates("run").set_index("run")["variant"]
    return errors.groupby(variants, sort=False).mean().dropna()


def _read_at(curves: pd.DataFrame, losses: ArrayLike) -> tuple[Values, tuple[str, ...]]:
    """Mean test accuracy of each run at these losses, and a sentence on the error of reading between evaluations."""
    values = at_losses(curves, "test_accuracy", losses).mean(axis=1, skipna=False)
    errors = reading_errors(curves, losses).sort_values(kind="stable")
    signed = [f"{100 * error:+.2f}".replace("-", "−") + f" ({variant})" for variant, error in errors.items()]
    told = " to ".join(dict.fromkeys([*signed[:1], *signed[-1:]]))
    return values, (f"Points of error to expect from reading between evaluations: {told}.",) if told else ()


# ---------------------------------------------------------------- gap, capacity, cost


def final_gap(curves: pd.DataFrame) -> Measurement:
    """p_K - a_K: probe accuracy minus test accuracy at the last evaluation K."""
    last = curves.sort_values("step").drop_duplicates("run", keep="last").set_index("run")
    return Measurement(last["probe_accuracy"] - last["test_accuracy"])


def gap_area(curves: pd.DataFrame) -> Measurement:
    """Area under the gap along training, in accuracy x epochs: the trapezoid rule on (e_k, p_k - a_k)."""
    ordered = curves.sort_values("step", kind="stable")
    gap, run = (ordered["probe_accuracy"] - ordered["test_accuracy"]).astype(float), ordered["run"]
    between = (gap + gap.groupby(run).shift()) / 2 * ordered["epoch"].astype(float).groupby(run).diff()
    areas = between.groupby(run).sum().mask(gap.isna().groupby(run).any())
    return Measurement(areas.reindex(curves["run"].unique()))


def after_samples(curves: pd.DataFrame, column: str, samples: float | None = None) -> Measurement:
    """`column` after a fixed number of samples, linear in samples between evaluations.

    Without `samples`: the most that every run has seen, min over runs of n_K. NaN for a run that has not seen as many.
    """
    ordered = curves.sort_values("step", kind="stable")
    if samples is None:
        samples = float(ordered.groupby("run")["samples"].max().min())
    seen, reached = (ordered[name].to_numpy(dtype=float) for name in ("samples", column))
    values = interpolated(ordered, curves["run"].unique(), seen, reached, samples).iloc[:, 0]
    if ordered.empty:  # there is no most that every run has seen
        return Measurement(values)
    note = f"Read after {samples:,.0f} samples."
    return Measurement(values, notes=(note, *_missing(curves, values, f"not measured around {samples:,.0f} samples")))


def samples_to_loss(curves: pd.DataFrame, loss: float | None = None) -> Measurement:
    """Samples seen where the running minimum of the probe loss passes `loss`: n of l, linear in log loss (`at_losses`).

    Without `loss`: the smallest that all runs reach. NaN for a run that does not pass it.
    """
    if loss is None:
        region = matched_region(curves)
        if region is None:
            return _unmatched(curves)
        loss = region[1]
    values = at_losses(curves, "samples", loss).iloc[:, 0]
    missing = _missing(curves, values, f"never measured around a probe loss of {loss:.4g}")
    return Measurement(values, notes=(f"Read at a probe loss of {loss:.4g}.", *missing))


def of_run(runs: pd.DataFrame, column: str) -> Measurement:
    """A number that the run's own record already holds, such as `final_test_accuracy`."""
    return Measurement(runs.set_index("run")[column].astype(float))


def per_cost(measurement: Measurement, runs: pd.DataFrame, cost: str) -> Measurement:
    """A readout over what it cost: `macs` (billions of multiply-adds of one image's forward pass) or `seconds`."""
    unit = 1e9 if cost == "macs" else 1.0
    return replace(measurement, values=measurement.values / (runs.set_index("run")[cost] / unit))


# ---------------------------------------------------------------- by name


@dataclass(frozen=True)
class Readout:
    """A readout as claims name it. `at` names the number that may follow the key, as in `samples_to_loss@0.5`.

    Values of the units "accuracy" and "points" (of accuracy) are fractions, to be printed in percent.
    """

    name: str
    title: str
    unit: str
    larger_is_better: bool
    description: str
    function: Callable[[pd.DataFrame, pd.DataFrame, float | None], Measurement]
    at: str = ""
    needs_at: bool = False


def _needed(at: float | None) -> float:
    assert at is not None, "find_readout refuses a readout without the number it needs"
    return at


# fmt: off
_ALL = (
    Readout("accuracy_at_matched_loss", "accuracy at matched train loss", "accuracy", True,
            "mean test accuracy over the train losses that all runs pass: generalization",
            lambda curves, runs, at: accuracy_at_matched_loss(curves)),
    Readout("accuracy_at_smallest_common_loss", "accuracy at the smallest common train loss", "accuracy", True,
            "test accuracy at the smallest train loss that all runs reach",
            lambda curves, runs, at: accuracy_at_smallest_common_loss(curves)),
    Readout("accuracy_at_loss", "accuracy at a train loss", "accuracy", True,
            "test accuracy where the train loss, at its lowest so far, passes the given one",
            lambda curves, runs, at: accuracy_at_loss(curves, _needed(at)), at="loss", needs_at=True),
    Readout("final_test_accuracy", "final test accuracy", "accuracy", True,
            "test accuracy at the last evaluation; in a transfer experiment, after fine-tuning",
            lambda curves, runs, at: of_run(runs, "final_test_accuracy")),
    Readout("best_test_accuracy", "best test accuracy", "accuracy", True,
            "the highest test accuracy along training: optimistic, since test images chose it",
            lambda curves, runs, at: of_run(runs, "best_test_accuracy")),
    Readout("final_gap", "final gap", "points", False,
            "train minus test accuracy at the last evaluation",
            lambda curves, runs, at: final_gap(curves)),
    Readout("gap_area", "area under the gap", "accuracy x epochs", False,
            "train minus test accuracy, integrated over the epochs of training",
            lambda curves, runs, at: gap_area(curves)),
    Readout("probe_loss_after_samples", "train loss after equal samples", "nats", False,
            "train loss after a number of samples, by default the most that every run has seen: capacity",
            lambda curves, runs, at: after_samples(curves, "probe_loss", at), at="samples"),
    Readout("test_loss_after_samples", "test loss after equal samples", "nats", False,
            "test loss after a number of samples, by default the most that every run has seen: capacity",
            lambda curves, runs, at: after_samples(curves, "test_loss", at), at="samples"),
    Readout("test_accuracy_after_samples", "test accuracy after equal samples", "accuracy", True,
            "test accuracy after a number of samples, by default the most that every run has seen: capacity",
            lambda curves, runs, at: after_samples(curves, "test_accuracy", at), at="samples"),
    Readout("samples_to_loss", "samples to a train loss", "samples", False,
            "samples until the train loss, at its lowest so far, passes a given one, by default one all runs reach",
            lambda curves, runs, at: samples_to_loss(curves, at), at="loss"),
    Readout("accuracy_per_gmac", "final test accuracy per GMAC", "accuracy per GMAC", True,
            "final test accuracy over the billions of multiply-adds of one image's forward pass",
            lambda curves, runs, at: per_cost(of_run(runs, "final_test_accuracy"), runs, "macs")),
    Readout("accuracy_per_second", "final test accuracy per second", "accuracy per second", True,
            "final test accuracy over the seconds of training, evaluation excluded",
            lambda curves, runs, at: per_cost(of_run(runs, "final_test_accuracy"), runs, "seconds")),
    Readout("matched_accuracy_per_gmac", "accuracy at matched train loss per GMAC", "accuracy per GMAC", True,
            "accuracy at matched train loss over the billions of multiply-adds of one image's forward pass",
            lambda curves, runs, at: per_cost(accuracy_at_matched_loss(curves), runs, "macs")),
    Readout("matched_accuracy_per_second", "accuracy at matched train loss per second", "accuracy per second", True,
            "accuracy at matched train loss over the seconds of training, evaluation excluded",
            lambda curves, runs, at: per_cost(accuracy_at_matched_loss(curves), runs, "seconds")),
)
# fmt: on
READOUTS: dict[str, Readout] = {readout.name: readout for readout in _ALL}


Own = Mapping[str, Readout]  # readouts of the user's own, by name: study/analysis/own_readouts.py


def find_readout(name: str, own: Own | None = None) -> tuple[Readout, float | None]:
    """The readout behind a key such as `final_gap` or `samples_to_loss@0.5`, and the number after the @; or one of
    `own`.

    Raises StudyError for an unknown key, and for a number that is missing, out of place or not positive.
    """
    if own and name in own:
        return own[name], None
    key, separator, number = name.partition("@")
    if key not in READOUTS:
        known = ", ".join([*(own or {}), *READOUTS])
        raise StudyError(f"there is no readout {key!r}: the readouts are {known}, or FILE.py:NAME of your own")
    readout = READOUTS[key]
    if not separator:
        if readout.needs_at:
            raise StudyError(f"readout {key!r} needs its {readout.at}: write for example {key}@1.0")
        return readout, None
    if not readout.at:
        raise StudyError(f"readout {key!r} takes no number: write it without @{number}")
    try:
        at = float(number)
    except ValueError:
        at = float("nan")
    if not 0 < at < float("inf"):
        raise StudyError(f"readout {name!r}: {number!r} is not a positive number of its {readout.at}")
    return readout, at


def measure(name: str, curves: pd.DataFrame, runs: pd.DataFrame, own: Own | None = None) -> Measurement:
    """A readout by its key, for every run in `runs`, with its notes.

    A diverged run has no readout: its value is NaN, it takes no part in the matched region, and a note names it.
    """
    readout, at = find_readout(name, own)
    diverged = runs[runs["status"] == "diverged"]
    alive = ended_well(runs)
    result = readout.function(of_runs(curves, alive["run"]), alive, at)
    unmeasured = alive[~alive["run"].isin(curves["run"])]
    reasons = (("Diverged, and so without a value", diverged), ("Never evaluated", unmeasured))
    notes = (*result.notes, *(f"{reason}: {name_runs(rows)}." for reason, rows in reasons if len(rows)))
    return replace(result, values=result.values.reindex(runs["run"]).rename("value"), notes=notes)


def measure_claim(
    claim: Claim, curves: pd.DataFrame, runs: pd.DataFrame, own: Own | None = None
) -> tuple[pd.DataFrame, Measurement]:
    """A claim's readout on the runs of the variants that its ranking names, which are the comparison: the table for
    `claims.test_claim`, and the measurement with its region and notes.

    Raises StudyError for a malformed ranking or an unknown readout.
    """
    named = runs[runs["variant"].isin(claim.order.variants)]
    measured = measure(claim.readout, of_runs(curves, named["run"]), named, own)
    return named.set_index("run")[["variant", "seed"]].assign(value=measured.values), measured


def summary(table: pd.DataFrame, name: str, own: Own | None = None) -> pd.DataFrame:
    """Of a readout's table (variant, seed, value): columns variant, n, mean, sd (n - 1 in the denominator), then
    `seed 0`, `seed 1`, ...; the best variant first. n counts the seeds with a value; one without shows as NaN.
    """
    groups = table.groupby("variant", sort=False)["value"]
    overall = pd.DataFrame({"n": groups.count(), "mean": groups.mean(), "sd": groups.std()})
    seeds = table.pivot(index="variant", columns="seed", values="value")
    joined = overall.join(seeds.rename(columns=lambda seed: f"seed {seed}"))
    best_first = joined.sort_values("mean", ascending=not find_readout(name, own)[0].larger_is_better, kind="stable")
    return best_first.reset_index()


# ---------------------------------------------------------------- what must be said


def name_runs(rows: pd.DataFrame) -> str:
    """Runs as sentences name them, `C-C-T-T seed 0, ViT_REL seed 2`: a row of `runs`, or of `curves`, each."""
    return ", ".join(f"{variant} seed {seed}" for variant, seed in zip(rows["variant"], rows["seed"], strict=True))


def _missing(curves: pd.DataFrame, values: Values, what: str) -> tuple[str, ...]:
    lacking = curves.drop_duplicates("run").set_index("run").loc[values.index[values.isna()]]
    return (f"Not reached ({what}): {name_runs(lacking)}.",) if len(lacking) else ()


def _region_note(curves: pd.DataFrame, region: tuple[float, float]) -> str:
    ranges = loss_ranges(curves)
    slowest = name_runs(ranges.loc[[ranges["lowest"].idxmax()]])
    return f"Matched region: probe loss {region[0]:.4g} down to {region[1]:.4g}; {slowest} goes no lower."


def _unmatched(curves: pd.DataFrame) -> Measurement:
    ranges = loss_ranges(curves)
    blank = ranges[ranges["lowest"].isna()]
    if len(blank) or ranges.empty:
        note = f"No matched region: no loss was measured for {name_runs(blank) or 'any run'}."
    else:
        slowest, fastest = ranges.loc[[ranges["lowest"].idxmax()]], ranges.loc[[ranges["first"].idxmin()]]
        note = (
            f"No matched region: {name_runs(slowest)} goes no lower than a probe loss of "
            f"{slowest['lowest'].iloc[0]:.4g}, and {name_runs(fastest)} is at {fastest['first'].iloc[0]:.4g} when "
            "first measured; evaluate more often or train longer."
        )
    return Measurement(pd.Series(np.nan, index=ranges.index), None, (note,))
