"""Runs that ended without being trained: what a sweep would have left, with accuracies that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from study.config import Experiment, Run
from study.files import write_json, write_text
from study.session import COMPLETE, INCOMPLETE, Options, folder_of
from study.sweep.plan import make_plan
from study.sweep.store import Store
from study.sweep.tuned import at_tuned_rates, read_tuned
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


def fake_session(accuracy_of: Callable[[Run], float | None], stop_after: int = 10**6) -> type:
    """A class in the place of `study.session.Session`: it finishes every run at once, and stops after so many."""
    left = [stop_after]

    class FakeSession:
        ended: list[tuple[Path, Run]] = []  # noqa: RUF012 (shared on purpose: what all sessions did)

        def __init__(self, experiment: Experiment, options: Options, say: object):
            self.experiment, self.options = experiment, options
            self.speeds: dict[str, object] = {}
            self.stopped = ""

        def run(self) -> tuple[Store, int]:
            folder = folder_of(self.experiment, self.options)
            plan = make_plan(at_tuned_rates(self.experiment, read_tuned(folder)))
            store = Store.create(folder, plan.experiment)
            for run in plan.runs:
                if store.state(run.id) in ("done", "diverged"):
                    continue
                if left[0] == 0:
                    self.stopped = "the time limit"
                    return store, INCOMPLETE
                left[0] -= 1
                finish(store, run, accuracy_of(run))
                self.ended.append((folder, run))
            return store, COMPLETE

    return FakeSession
