"""Pooling: the finished runs of one experiment, from several results folders, in one."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from study.config import Experiment, Run
from study.errors import StudyError
from study.files import atomic, checksum
from study.sweep import attempts
from study.sweep.attempts import Watch
from study.sweep.claims import read_claims, write_claims
from study.sweep.joining import joined
from study.sweep.looks import read_looks, same_plan, write_looks
from study.sweep.records import FILES, Damaged, Record, read_record
from study.sweep.store import Store, is_free
from study.sweep.tuned import check_seeds, read_tuned, write_tuned

LOSS_TOLERANCE = 0.05  # relative: another machine rounds otherwise, and training amplifies it
ACCURACY_TOLERANCE = 0.02  # absolute


@dataclass
class Merged:
    """What became of the finished runs of the sources."""

    added: list[str] = field(default_factory=list)  # ids
    same: list[str] = field(default_factory=list)  # ids of those that were there with the same numbers
    differing: list[str] = field(default_factory=list)  # a sentence each: there with other numbers, the first is kept
    refused: list[str] = field(default_factory=list)  # a sentence each


def merge(into: Path, sources: Sequence[Path]) -> Merged:
    """Take over the finished runs of `sources` that `into` does not have; nothing of the sources changes.

    One id is one run, also if another machine rounded otherwise: numbers of the last evaluation agree if losses are
    within LOSS_TOLERANCE and accuracies within ACCURACY_TOLERANCE. If `into` is not there yet, it is begun with the
    first source's experiment, claims and looks. Tuned rates come along. Experiments may differ in name and claims, on
    which no run depends: `into` keeps its own. Raises StudyError if it holds something else.
    """
    found = Merged()
    for source in sources:
        try:
            store = _join(into, Store(source))
        except StudyError as why:
            if not (into / "experiment.json").exists():
                raise
            found.refused.append(f"{source} is left out: {why}")
            continue
        for folder in sorted((source / "runs").glob("*/")):
            _take_over(store, folder, found)
    return found


def _join(into: Path, other: Store) -> Store:
    """`into` with the other's variants, seeds and tuned rates. Raises StudyError where both cannot be one sweep."""
    tuned, looks = read_tuned(other.folder), read_looks(other.folder)
    if is_free(into):
        Store.create(into, other.experiment)
        write_claims(into, read_claims(other.folder))
        if looks:
            write_looks(into, looks)
    store, ours = Store(into), read_looks(into)
    if looks and (ours is None or not same_plan(ours.planned, looks.planned)):
        raise StudyError(f"its seeds came in looks that {into} does not have")
    keys = ("name", "claims", "readouts", "files", "with_shared_rate")
    own = {key: getattr(store.experiment, key) for key in keys}
    both = joined(store.experiment, other.experiment.model_copy(update=own), into)
    store.check_networks(other.runs())
    if tuned:
        check_seeds(tuned.seeds, both)
        write_tuned(into, tuned)
    return Store.create(into, both)


def _take_over(store: Store, source: Path, found: Merged) -> None:
    if not (source / "result.json").exists():
        if (source / "metrics.jsonl").exists():
            found.refused.append(f"{source} is left out: its run is not finished")
        return
    try:
        record = read_record(source)
        _check(record.run, store.experiment, source)
    except StudyError as why:
        found.refused.append(f"{source} is left out: {why}")
        return
    if record.run.training.lr not in store.experiment.rates_of(record.run.label):
        return  # at the shared rate, which is not asked for here
    run_id, target = record.run.id, store.path(record.run.id)
    try:
        mine = read_record(target) if (target / "result.json").exists() else None
    except Damaged:
        mine = None  # the other one takes its place
    if mine is not None:
        if differs := _difference(mine, record):
            found.differing.append(
                f"run {run_id} of {source} differs from that in {store.folder} ({differs}): kept ours"
            )
        else:
            found.same.append(run_id)
        return
    hold = attempts.take(target, Watch(), agent="merge")
    if hold is None:
        found.refused.append(f"{source} is left out: an agent is at work on this run in {store.folder}")
        return
    try:
        store.clear(run_id)
        weights = source / "weights.pt"
        known = record.result.get("checksums", {}).get("weights.pt")
        if weights.exists() and known == checksum(weights):
            _copy(weights, target)
        for name in FILES:  # the result last: only it means done
            _copy(source / name, target)
    finally:
        hold.end("done")
    found.added.append(run_id)


def _check(run: Run, experiment: Experiment, source: Path) -> None:
    """Raises StudyError for a run of another experiment."""
    recipe = run.training.model_copy(update={"lr": experiment.training.lr})
    rates = {experiment.training.lr, *experiment.rates_of(run.label)}
    if run.data != experiment.data or recipe != experiment.training or run.training.lr not in rates:
        raise StudyError(f"the run in {source} is not of this experiment: its data or its recipe differ")


def _difference(mine: Record, other: Record) -> str:
    """The first number of the last evaluation in which two records of one run do not agree; empty if all do."""
    if mine.result["status"] != other.result["status"]:
        return f"{mine.result['status']}, there {other.result['status']}"
    ends = mine.result["final"] or {}, other.result["final"] or {}
    for key in ends[0].keys() & ends[1].keys():
        here, there = (end[key] for end in ends)
        if key.endswith("accuracy"):
            agrees = abs(here - there) <= ACCURACY_TOLERANCE
        elif key.endswith("loss"):
            agrees = math.isclose(here, there, rel_tol=LOSS_TOLERANCE)
        else:
            agrees = key not in ("step", "samples") or here == there
        if not agrees:
            return f"{key} {here:.4g}, there {there:.4g}"
    return ""


def _copy(path: Path, folder: Path) -> None:
    with atomic(folder / path.name) as temporary:
        shutil.copyfile(path, temporary)
