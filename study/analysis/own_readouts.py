"""Readouts of the user's own: found, tried before any run, measured when a sweep ends, and from then on read as data.

A results folder names a readout's file and never runs it: `readouts.json` holds the values. Only who names a file or a
function, in an experiment, by `--readout` or in a notebook, has it run.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from study.analysis.readouts import Measurement, Readout, name_runs
from study.config import Experiment, Frozen, OwnReadout, facts_of, own_reference, parse_model
from study.errors import StudyError
from study.files import check_seal, damaged, read_json, sealed, write_json
from study.own_files import OwnFile, beside, blamed, find_file, import_own

NAME = "readouts.json"
Function = Callable[[pd.DataFrame], Any]


# ---------------------------------------------------------------- found and tried


def find_own(reference: str, files: Mapping[str, str]) -> tuple[Function, OwnReadout]:
    """The function that `FILE.py:NAME` or `package.module:NAME` names, whose file is run, and what it says of itself.

    Raises StudyError if there is none, for what its file raises, and if it cannot be called with a curve.
    """
    parts = own_reference(reference)
    if parts is None:
        raise StudyError(f"{reference!r} names no readout: write FILE.py:NAME")
    file = find_file(files.get(parts[0], parts[0]))
    source = file.source
    function = getattr(import_own(file, source), parts[1], None)
    if not callable(function):
        raise StudyError(f"{file.module or file.path} defines no function {parts[1]}")
    _check_signature(function, reference)
    return _in_its_folder(function, file, source), facts_of(function, source)


def _in_its_folder(function: Function, file: OwnFile, source: str) -> Function:
    def call(curve: pd.DataFrame) -> Any:
        with blamed(file.path, function.__name__), beside(file, source):
            return function(curve)

    return call


def _check_signature(function: Function, name: str) -> None:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise StudyError(
            f"{name} takes {inspect.signature(function)}: a readout is called with one argument, the curve of a run"
        ) from None
    except ValueError:
        return  # of what is built in, nothing is known


def with_readouts(experiment: Experiment, train_images: int) -> Experiment:
    """The experiment with what its claims' own readouts are, each tried on a made-up curve of its length.

    Raises StudyError for a readout that cannot be found, called, or measured.
    """
    found = {}
    for name in dict.fromkeys(claim.readout for claim in experiment.claims if own_reference(claim.readout)):
        function, found[name] = find_own(name, experiment.files)
        value_of(function, made_up(experiment, train_images), name)
    return experiment.model_copy(update={"readouts": found})


def made_up(experiment: Experiment, train_images: int) -> pd.DataFrame:
    """A curve as a run of the experiment will leave it, evaluation by evaluation, of a network that learns."""
    recipe = experiment.training
    steps = np.array(recipe.evaluation_points(train_images))
    part = steps / steps[-1]
    loss, right = 0.1 + 2.2 * np.exp(-3 * part), 0.1 + 0.8 * part
    return pd.DataFrame(
        {
            "run": "0" * 12, "variant": experiment.variants[0], "seed": experiment.seeds[0],
            "step": steps, "epoch": steps / recipe.steps_per_epoch(train_images), "samples": steps * recipe.batch_size,
            "running_loss": loss, "probe_loss": loss, "probe_accuracy": right, "test_loss": loss + 0.1,
            "test_accuracy": right - 0.05, "lr": recipe.lr * (1 - part), "seconds": steps / 10.0,
            "images_per_second": 10.0 * recipe.batch_size,
        }
    )  # fmt: skip


# ---------------------------------------------------------------- measured


def value_of(function: Function, curve: pd.DataFrame, name: str) -> float:
    """The readout of one run; NaN if the function says None or NaN: not reached.

    Raises StudyError for anything else that is not one finite number, and for what the function raises.
    """
    with blamed(name, name):
        value = function(curve.copy())
    if getattr(value, "shape", None) == ():
        value = value.item()
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        what = f"an array of shape {value.shape}" if hasattr(value, "shape") else type(value).__name__
    elif abs(value) > sys.float_info.max:  # an int may be larger than any float
        what = "inf" if value > 0 else "-inf"
    else:
        return float(value)
    raise StudyError(f"{name} returned {what}: a readout is one finite number, or None where a run has none")


def _run_by_run(function: Function, curves: pd.DataFrame, name: str) -> Iterator[tuple[str, float, str]]:
    """Each run's id and value, and a sentence that names it where the function fails on it; the value is NaN then."""
    for run, curve in curves.sort_values("step", kind="stable").groupby("run", sort=False):
        try:
            yield str(run), value_of(function, curve.reset_index(drop=True), name), ""
        except StudyError as error:
            yield str(run), math.nan, f"{name_runs(curve.head(1))}: {error}"


def measured_by(function: Function, facts: OwnReadout, name: str) -> Readout:
    """A readout that calls the function now. Its measurement raises StudyError as `value_of` does, naming the run."""

    def measure(curves: pd.DataFrame, runs: pd.DataFrame, at: float | None) -> Measurement:
        values = {}
        for run, value, wrong in _run_by_run(function, curves, name):
            if wrong:
                raise StudyError(wrong)
            values[run] = value
        return _noted(pd.Series(values, dtype=float), runs)

    return _readout(name, facts, measure)


def of_function(function: Function) -> Readout:
    """A function at hand, in a notebook, as a readout."""
    name = getattr(function, "__name__", "readout")
    _check_signature(function, name)
    return measured_by(function, facts_of(function), name)


def _readout(
    name: str, facts: OwnReadout, measure: Callable[[pd.DataFrame, pd.DataFrame, float | None], Measurement]
) -> Readout:
    described = facts.description or f"{facts.title}, a readout of this experiment's own ({name})"
    return Readout(name, facts.title, facts.unit, facts.larger_is_better, described, measure)


def _noted(values: pd.Series[float], runs: pd.DataFrame) -> Measurement:
    without = runs[runs["run"].isin(values.index[values.isna()])]
    return Measurement(values, notes=(f"Not reached: {name_runs(without)}.",) if len(without) else ())


# ---------------------------------------------------------------- kept as data


class Measured(Frozen):
    """A readout's values by run id; None where a run has none. `wrong`: a sentence for each run that it failed on."""

    source: str
    values: dict[str, float | None]
    wrong: dict[str, str] = Field(default={})


class Kept(Frozen):
    """What `readouts.json` holds, with the checksum of itself."""

    readouts: dict[str, Measured]
    checksums: dict[str, str]


def keep(folder: Path, experiment: Experiment, curves: pd.DataFrame) -> list[str]:
    """Measure the experiment's own readouts on all its finished runs, and write the values into its folder.

    What a function raises on a run is that run's alone: a sentence for each, which stands in the file too.
    """
    found = {}
    for name in experiment.readouts:
        function, facts = find_own(name, experiment.files)
        if facts.source != experiment.readouts[name].source:
            raise StudyError(f"{name} changed while its runs were trained: give the same command again")
        told = list(_run_by_run(function, curves, name))
        values = {run: None if math.isnan(value) else value for run, value, _ in told}
        wrong = {run: sentence for run, _, sentence in told if sentence}
        found[name] = Measured(source=facts.source, values=values, wrong=wrong).model_dump(mode="json")
    if found:
        write_json(folder / NAME, sealed(folder / NAME, {"readouts": found}))
    return [sentence for measured in found.values() for sentence in measured["wrong"].values()]


def kept_readouts(folder: Path, experiment: Experiment) -> dict[str, Readout]:
    """The own readouts of a results folder, by name, from the values that lie in it: nothing is run.

    Raises StudyError for a damaged file.
    """
    if not experiment.readouts:
        return {}
    known: dict[str, Measured] = {}
    path = folder / NAME
    if path.exists():
        value = read_json(path)
        try:
            kept = parse_model(Kept, json.dumps(value))
        except StudyError as error:
            raise damaged(path, error) from None
        check_seal(path, value)
        known = kept.readouts
    return {name: _from_values(name, facts, known.get(name)) for name, facts in experiment.readouts.items()}


def _from_values(name: str, facts: OwnReadout, kept: Measured | None) -> Readout:
    current = kept if kept is not None and kept.source == facts.source else Measured(source="", values={})

    def measure(curves: pd.DataFrame, runs: pd.DataFrame, at: float | None) -> Measurement:
        known = [run for run in runs["run"] if run in current.values]
        values = pd.Series({run: current.values[run] for run in known}, dtype=float)
        reached = _noted(values.drop([run for run in known if run in current.wrong]), runs)
        notes = [*reached.notes, *(f"No value of {current.wrong[run]}." for run in known if run in current.wrong)]
        later = runs[~runs["run"].isin(known)]
        if len(later):
            notes.append(f"Not measured: {name_runs(later)}; the sweep's own command measures what is missing.")
        return Measurement(values, notes=tuple(notes))

    return _readout(name, facts, measure)
