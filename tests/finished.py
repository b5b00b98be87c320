"""Runs that ended without being trained: what a sweep would have left, with accuracies that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from study.config import Run
from study.designs import base
from study.files import write_json, write_text
from study.sweep.drive import Display, Outcome, Work
from study.sweep.executors import Executor
from study.sweep.measure import Speed
from study.sweep.store import Store
from tests.synthetic import ENVIRONMENT


def finish(store: Store, run: Run, accuracy: float | None) -> None:
    """Leave what `train` leaves; None is a run that diverged."""
    folder = store.add(run)
    row = {
        "step": 10, "epoch": 1.0, "samples": 320, "running_loss": 1.0, "probe_loss": 1.0, "probe_accuracy": 0.9,
        "test_loss": 1.2, "test_accuracy": accuracy, "lr": run.training.lr, "seconds": 1.0, "images_per_second": 320.0,
    }  # fmt: skip
    earlier = {**row, "step": 5, "epoch": 0.5, "samples": 160, "probe_loss": 2.0, "test_accuracy": (accuracy or 0) / 2}
    rows = [] if accuracy is None else [earlier, row]
    write_text(folder / "metrics.jsonl", "".join(json.dumps(one) + "\n" for one in rows))
    result = {
        "id": run.id, "label": run.label, "seed": run.seed, "status": "diverged" if accuracy is None else "ok",
        "parameters": 60_000, "macs": 1_000_000, "activation_bytes": 1, "steps": 10, "samples": 320, "seconds": 1.0,
        "final": rows[-1] if rows else None, "best_test_accuracy": accuracy, "environment": ENVIRONMENT,
    }  # fmt: skip
    write_json(folder / "result.json", result)


class FakeDrive:
    """In the place of `study.sweep.drive.drive`: it finishes every run at once, and stops after so many."""

    def __init__(self, accuracy_of: Callable[[Run], float | None], stop_after: int = 10**6):
        self.accuracy_of, self.left = accuracy_of, stop_after
        self.ended: list[tuple[Path, Run]] = []

    def __call__(self, work: Work, executor: Executor, shown: Display, **options: object) -> Outcome:
        outcome = Outcome()
        for store, runs in work:
            store.plan(runs)
            for run in runs:
                if self.left == 0:
                    outcome.stopped = "the time limit"
                    return outcome
                self.left -= 1
                finish(store, run, self.accuracy_of(run))
                outcome.done.append(run.id)
                self.ended.append((store.folder, run))
        return outcome


def pretend(
    monkeypatch: pytest.MonkeyPatch, accuracy_of: Callable[[Run], float | None], stop_after: int = 10**6
) -> FakeDrive:
    """From now on sweeps end at once, with the accuracies that a test chooses, and nothing is measured."""
    fake = FakeDrive(accuracy_of, stop_after)
    monkeypatch.setattr(base, "drive", fake)
    monkeypatch.setattr(base, "measure", lambda networks, *rest: dict.fromkeys(networks, Speed(0.01, 0.01)))
    return fake
