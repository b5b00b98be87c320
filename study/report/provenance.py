"""How the results of a folder were made: settings, code, libraries, machine, data, and which runs did not end well."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.config import Experiment
from study.report.tables import Table
from study.sweep.store import Store
from study.sweep.tuned import read_tuned

# What `study.environment` records, in the words of the report; what is not named here is a library's version.
PLACES = {
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


def provenance(store: Store, runs: pd.DataFrame) -> Provenance:
    """All that the folder knows about how it came to be."""
    rows = [
        *_commands(store),
        *_looks(store),
        *_settings(store.experiment),
        _rates(store),
        *_environment(_recorded(store)),
    ]
    minutes = runs["seconds"].sum() / 60
    took = f"{minutes:.1f} minutes" if minutes < 120 else f"{minutes / 60:,.1f} hours"
    rows.append(("training time", f"{took} over {len(runs)} runs, evaluation excluded"))
    table = Table("How it was made", ("what", "how"), tuple(rows), words=2)
    return Provenance(table, tuple(_troubles(store, runs)))


def _commands(store: Store) -> Iterable[tuple[str, str]]:
    """The commands that were given, one a line of `commands.txt`."""
    path = store.folder / "commands.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in dict.fromkeys(filter(None, map(str.strip, lines))):
        yield "command", line


def _looks(store: Store) -> Iterable[tuple[str, str]]:
    """The looks of `study sweep --until-decided`, from `looks.json`: those planned, and what each one taken showed."""
    path = store.folder / "looks.json"
    if not path.exists():
        return
    looks = json.loads(path.read_text(encoding="utf-8"))
    planned = ", ".join(f"{look['seeds']} seeds at level {look['alpha']:.5f}" for look in looks["planned"])
    yield "looks planned", planned
    for look in looks["taken"]:
        yield f"look {look['number']}", "; ".join(look["verdicts"])


def _settings(experiment: Experiment) -> Iterable[tuple[str, str]]:
    data = experiment.data
    yield "data", f"{data.name}, {data.image_size} pixels, fingerprint {data.fingerprint or 'not recorded'}"
    if data.train_size:
        yield "training images", f"{data.train_size:,}, class-balanced, subset seed {data.subset_seed}"
    if data.fractals:
        yield "fractals", _list(data.fractals.model_dump())
    yield "recipe", _list(experiment.training.model_dump())
    if (origin := experiment.pretraining) is not None:
        images = f" on {origin.data.name}, {origin.data.image_size} pixels" if origin.data else ""
        yield "starts from", f"{origin.name}{images}"
        if origin.training is not None:
            yield "recipe of the pretraining", _list(origin.training.model_dump())
    yield "sizes", f"{experiment.budget:,} {experiment.match}, geometry {experiment.geometry}"
    yield "blocks", _list(experiment.blocks.model_dump())
    yield "variants", ", ".join(experiment.variants)
    yield "seeds", ", ".join(map(str, experiment.seeds))
    yield (
        "test images",
        "measured along training as the probe is, and plotted; no rate, epoch or variant is chosen on them",
    )


def _rates(store: Store) -> tuple[str, str]:
    """How the learning rates were chosen, and on which images."""
    shared, tuned = store.experiment.training.lr, read_tuned(store.folder)
    if not store.experiment.rates:
        return "learning rates", f"{shared:g} for every variant, not tuned"
    rates = ", ".join(f"{label} {rate:g}" for label, rate in store.experiment.rates.items())
    how = tuned.policy if tuned else "how they were chosen is not recorded here"
    return "learning rates", f"{rates}: {how}. All variants were run at {shared:g} too."


def _list(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)


def _recorded(store: Store) -> list[dict[str, Any]]:
    """What the finished runs recorded of their environments; where only the tables are here, `environments.json`."""
    ids = [run.id for run in store.runs_at()]
    found = [store.result(run)["environment"] for run in ids if store.state(run) in ("done", "diverged")]
    path = store.folder / "environments.json"
    if not found and path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
    return found


def _environment(recorded: list[dict[str, Any]]) -> Iterable[tuple[str, str]]:
    """Each thing once, or all its values if the runs differ in it."""
    if not recorded:
        yield "environment", "not here: it stands in the runs' own folders"
        return
    values = {key: ", ".join(dict.fromkeys(str(one[key]) for one in recorded if key in one)) for key in recorded[0]}
    yield from ((words, values[key]) for key, words in PLACES.items() if key in values)
    yield "libraries", ", ".join(f"{key} {value}" for key, value in values.items() if key not in PLACES)


def _troubles(store: Store, runs: pd.DataFrame) -> Iterable[str]:
    """A sentence for each run that diverged, failed, or has no result."""
    for run in runs[runs["status"] == "diverged"].itertuples():
        yield f"{run.variant} seed {run.seed} diverged within {run.steps:,} steps: its loss was not finite."
    for other in store.runs():
        state = store.state(other.id)
        if state == "failed":
            failure = store.failure(other.id)
            last = (str(failure.get("log", "")).strip().splitlines() or ["it left no words"])[-1]
            yield f"{other.label} seed {other.seed} failed (exit code {failure.get('exit_code')}): {last}"
    there = set(zip(runs["variant"], runs["seed"], strict=True))
    missing = [
        f"{variant} seed {seed}"
        for variant in store.experiment.variants
        for seed in store.experiment.seeds
        if (variant, seed) not in there
    ]
    if missing:
        yield f"Without a result: {', '.join(missing)}."
