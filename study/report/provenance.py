"""How the results of a folder were made: settings, code, libraries, machine, data, and which runs did not end well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.analysis.run_tables import without_result
from study.config import Experiment
from study.errors import last_line
from study.report.table import Table
from study.results import SHARED, Results

# What `study.environment` records, in the words of the report; what is not named here is a library's version.
PLACES = {
    "host": "machine",
    "study": "study",
    "code": "code version",
    "python": "Python",
    "system": "system",
    "processor": "processor",
    "cores": "cores",
    "threads": "threads a run",
    "device": "device",
}


@dataclass(frozen=True)
class Provenance:
    """`table` has two columns, what and how; `troubles` one sentence for each run without a good end."""

    table: Table
    troubles: tuple[str, ...]


def provenance(results: Results, images_missing: bool = False) -> Provenance:
    """All that a folder knows about how it came to be; of members, what they are together.

    `images_missing`: the page would show some, but the data are not here.
    """
    sweeps = results.members or [results]
    parts = [each for each in sweeps if len(each.runs)] or [results]
    recorded = [environment for each in parts for environment in each.environments]
    commands = [command for each in parts for command in each.commands]
    rows = [
        *(("command", command) for command in dict.fromkeys(commands)),
        *_looks(results),
        *_settings(results.experiment, parts),
        *dict.fromkeys(_rates(each) for each in parts),
        *_environment(recorded),
        _time(parts),
    ]
    if images_missing:
        rows.append(("images", f"none shown: {results.experiment.data.name} was not at hand where this page was made"))
    troubles = [
        trouble if each.number is None else f"{each.folder.name}: {trouble}"
        for each in sweeps
        for trouble in _troubles(each)
    ]
    if results.joined:
        started = results.joined.started(results.folder)
        absent = (results.joined.folder(results.folder, each) for each in results.joined.numbers if each not in started)
        troubles += [f"{folder.name}: not begun." for folder in absent]
    return Provenance(Table("How it was made", ("what", "how"), tuple(rows), words=2), tuple(troubles))


def _time(parts: Sequence[Results]) -> tuple[str, str]:
    """Minutes of all runs, those of every member among them and those at the shared rate, each run once."""
    runs = pd.concat([runs for each in parts for runs, _ in each.tables.values()]).drop_duplicates("run")
    minutes = runs["seconds"].sum() / 60
    took = f"{minutes:.1f} minutes" if minutes < 120 else f"{minutes / 60:,.1f} hours"
    return "training time", f"{took} over {len(runs)} runs, evaluation excluded"


def _looks(results: Results) -> Iterable[tuple[str, str]]:
    """The looks of `study sweep --until-decided`: those planned, and what each one taken showed."""
    if results.looks is None:
        return
    planned = ", ".join(f"{look.seeds} seeds at level {look.alpha:.5f}" for look in results.looks.planned)
    yield "looks planned", planned
    for look in results.looks.taken:
        yield f"look {look.number}", "; ".join(look.verdicts)


def _settings(experiment: Experiment, parts: Sequence[Results]) -> Iterable[tuple[str, str]]:
    data = experiment.data
    sides = ", ".join(dict.fromkeys(str(each.experiment.data.image_size) for each in parts))
    prints = ", ".join(filter(None, dict.fromkeys(each.experiment.data.fingerprint for each in parts)))
    yield "data", f"{data.name}, {sides} pixels, fingerprint {prints or 'not recorded'}"
    if data.train_size:
        without = f", {data.validation:,} of them for validation" if data.validation else ""
        yield "training images", f"{data.train_size:,}, class-balanced, subset seed {data.subset_seed}{without}"
    if data.fractals:
        yield "fractals", _list(data.fractals.model_dump())
    yield "recipe", _list(experiment.training.model_dump())
    if (origin := experiment.pretraining) is not None:
        images = f" on {origin.data.name}, {origin.data.image_size} pixels" if origin.data else ""
        yield "starts from", f"{origin.name}{images}"
        if origin.training is not None:
            yield "recipe of the pretraining", _list(origin.training.model_dump())
        if origin.rates:
            yield "learning rates of the pretraining", _list(origin.rates)
    yield "sizes", f"{experiment.budget:,} {experiment.match}, geometry {experiment.geometry}"
    yield "blocks", _list(experiment.blocks.model_dump())
    yield "variants", ", ".join(experiment.variants)
    yield "seeds", ", ".join(map(str, experiment.seeds))
    if data.validation:
        yield "test images", f"not looked at; in their place {data.validation:,} of the training images, for validation"
        return
    best = any(claim.readout == "best_test_accuracy" for claim in experiment.claims)
    chosen = "rate or variant" if best else "rate, epoch or variant"
    yield "test images", f"measured along training as the probe is, and plotted; no {chosen} is chosen on them"


def _rates(results: Results) -> tuple[str, str]:
    """How the learning rates were chosen, and on which images."""
    shared, tuned, own = results.experiment.training.lr, results.tuned, results.experiment.rates
    if not own:
        return "learning rates", f"{shared:g} for every variant, not tuned"
    rates = ", ".join(f"{label} {rate:g}" for label, rate in own.items())
    how = tuned.policy if tuned else "how they were chosen is not recorded here"
    also = f"None was run at {shared:g} too."
    if SHARED in results.tables:
        ended = len(results.tables[SHARED][0])
        planned = len(results.experiment.variants) * len(results.experiment.seeds)
        also = f"At {shared:g} {ended} of {planned} runs have a result."
        if ended == planned:
            also = f"All variants were run at {shared:g} too."
    return "learning rates", f"{rates}: {how}. {also}"


def _list(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)


def _environment(recorded: list[dict[str, Any]]) -> Iterable[tuple[str, str]]:
    """Each thing once, or all its values if the runs differ in it."""
    if not recorded:
        yield "environment", "not here: it stands in the runs' own folders"
        return
    keys = dict.fromkeys(key for one in recorded for key in one)  # what one of them lacks another may have
    values = {key: ", ".join(dict.fromkeys(str(one[key]) for one in recorded if key in one)) for key in keys}
    yield from ((words, values[key]) for key, words in PLACES.items() if key in values)
    yield "libraries", ", ".join(f"{key} {value}" for key, value in values.items() if key not in PLACES)


def _troubles(results: Results) -> Iterable[str]:
    """A sentence for each run that diverged, failed, is damaged, or has no result; with its rate where these are tuned.

    A variant whose own rate is the shared one has one run, which both tables hold.
    """
    experiment, shared = results.experiment, results.experiment.training.lr

    def named(label: str, seed: int, lr: float) -> str:
        return f"{label} seed {seed}" + (f" at {lr:g}" if experiment.rates else "")

    diverged, missing = [], []
    for end, (runs, _) in results.tables.items():
        own = {} if end else experiment.rates
        for run in runs[runs["status"] == "diverged"].to_dict("records"):
            name = named(run["variant"], run["seed"], own.get(run["variant"], shared))
            diverged.append(f"{name} diverged within {run['steps']:,} steps: its loss was not finite.")
        absent = without_result(runs, experiment.variants, experiment.seeds)
        missing += [named(label, seed, own.get(label, shared)) for label, seed in absent]
    yield from dict.fromkeys(diverged)
    for other, failure in results.failed:
        name = named(other.label, other.seed, other.training.lr)
        yield f"{name} failed (exit code {failure.get('exit_code')}): {last_line(str(failure.get('log', '')))}"
    yield from results.damaged
    if missing:
        yield f"Without a result: {', '.join(dict.fromkeys(missing))}."
