"""How far a sweep is, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from study.config import Run
from study.errors import last_line
from study.sweep import attempts
from study.sweep.members import results_folders, tuning_folders
from study.sweep.store import DONE, STATES, Store
from study.sweep.tuned import read_tuned

Status = dict[str, Any]  # folder, rates ("", or "tuned" and "shared"), counts by state, runs


def status_of(folder: Path) -> list[Status]:
    """One entry for a results folder; two where learning rates are tuned; those of all started members.

    While a tuning has not ended, one for each rate that it has begun. Raises StudyError for a folder without results.
    """
    found = []
    for store in map(Store, results_folders(folder)):
        found += [_status(store, rates) for rates in (("tuned", "shared") if store.experiment.runs_twice else ("",))]
    unfrozen = [path for path in tuning_folders(folder) if read_tuned(path.parents[1]) is None]
    return found + [_status(Store(path), "") for path in unfrozen]


def _status(store: Store, rates: str) -> Status:
    started = {
        (run.label, run.seed): run.id for run in store.runs_at({} if rates == "shared" else store.experiment.rates)
    }
    rows = []
    for label in store.experiment.variants:
        for seed in store.experiment.seeds:
            run_id = started.get((label, seed))
            state = store.state(run_id) if run_id else "missing"
            rows.append({"variant": label, "seed": seed, "run": run_id, "state": state, **_where(store, run_id, state)})
    counts = {state: sum(row["state"] == state for row in rows) for state in STATES}
    return {"folder": str(store.folder), "rates": rates, "counts": counts, "runs": rows}


def _where(store: Store, run_id: str | None, state: str) -> dict[str, Any]:
    """Where a run was made, or is being made and how far it is; what is wrong with it, if something is."""
    if run_id is None:
        return {}
    if state in DONE:
        made = store.result(run_id).get("environment", {})
        return {key: made[key] for key in ("host", "code", "device") if key in made}
    if state == "failed":
        return {"why": last_line(str(store.failure(run_id).get("log", "")))}
    if state == "damaged":
        return {"why": store.fault(run_id)}
    last = attempts.last(store.path(run_id))
    if state == "running" and last is not None:
        return {"host": last.host, "code": last.code, "agent": last.agent, "live": last.live}
    return {}


def makers(store: Store, runs: Iterable[Run]) -> list[str]:
    """The versions of the code by which runs were made, or begun where they have no result, each once."""
    found = dict[str, None]()
    for run in runs:
        if result := store.result(run.id):
            found[str(result["environment"].get("code", "unknown"))] = None
        elif last := attempts.last(store.path(run.id)):
            found[last.code] = None
    return list(found)
