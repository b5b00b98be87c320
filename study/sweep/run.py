"""Drive the runs that are not done through this machine's slots, with live progress, until done or told to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Protocol

from study.config import Run
from study.files import write_json
from study.sweep import worker
from study.sweep.local import Slot, Worker
from study.sweep.store import Store

STOP_SECONDS = 120  # a worker finishes its step, or its evaluation, before it checkpoints


class Display(Protocol):
    """What a sweep tells whoever watches."""

    def started(self, run: Run) -> None: ...
    def progress(self, run: Run, live: dict[str, Any]) -> None: ...
    def ended(self, run: Run, how: str) -> None: ...
    def stopping(self, why: str) -> None: ...


@dataclass
class Outcome:
    """How the runs of a sweep ended, by run id."""

    done: list[str] = field(default_factory=list)  # diverged ones included: they have a result
    failed: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)  # by a signal; continued by the next sweep
    elsewhere: list[str] = field(default_factory=list)  # another sweep holds their lock
    stopped: str = ""  # why the sweep left before all was done


def pending(store: Store, runs: Sequence[Run], retry_failed: bool) -> list[Run]:
    """The runs that a sweep has to start or continue, in order."""
    wanted = {"running", "interrupted", "missing"} | ({"failed"} if retry_failed else set())
    return [run for run in runs if store.state(run.id) in wanted]


def sweep(
    store: Store,
    runs: Sequence[Run],
    slots: Sequence[Slot],
    display: Display,
    *,
    data_dir: Path | None = None,
    wandb: str = "off",
    fail_fast: bool = False,
    deadline: float | None = None,
) -> Outcome:
    """Run `runs`, each in a process of its own, as many at a time as there are slots.

    On Ctrl-C (or SIGTERM), at `deadline` (of time.monotonic) and, with `fail_fast`, after a failure, every running run
    is asked to checkpoint and the sweep ends; starting the same sweep again continues. A second Ctrl-C kills. A run
    that fails is recorded, with the end of its log, and the others go on.
    """
    order = {"data_dir": str(data_dir) if data_dir else "", "wandb": wandb, "experiment": store.experiment.name}
    waiting, free, active = list(runs), list(slots), dict[str, Worker]()
    events: Queue[tuple[str, dict[str, Any] | None]] = Queue()
    outcome, kill_at = Outcome(), float("inf")
    with interruptions() as interrupts:
        while active or (waiting and not outcome.stopped):
            while waiting and free and not outcome.stopped:
                run = waiting.pop(0)
                active[run.id] = Worker(run, store.add(run), free.pop(0), order, events)
                display.started(run)
            if not outcome.stopped and (why := _reason_to_stop(interrupts, deadline, fail_fast and outcome.failed)):
                outcome.stopped, kill_at = why, time.monotonic() + STOP_SECONDS
                display.stopping(why)
                for running in active.values():
                    running.stop()
            if len(interrupts) > 1 or time.monotonic() > kill_at:
                for running in active.values():
                    running.kill()
            try:
                run_id, live = events.get(timeout=0.2)
            except Empty:
                continue
            if live is not None:
                display.progress(active[run_id].run, live)
                continue
            ended = active.pop(run_id)
            free.append(ended.slot)
            display.ended(ended.run, _record(ended, store, outcome))
    return outcome


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of raising them (in the main thread; elsewhere they never arrive)."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, frame: received.append(number)) for number in signals]
    try:
        yield received
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _reason_to_stop(interrupts: list[int], deadline: float | None, failure: object) -> str:
    if interrupts:
        return signal.strsignal(interrupts[0]) or "a signal"
    if deadline is not None and time.monotonic() > deadline:
        return "the time limit"
    return "a failed run, with --fail-fast" if failure else ""


def _record(ended: Worker, store: Store, outcome: Outcome) -> str:
    """Sort an ended worker into the outcome; a failure is written to `failed.json`. Returns what to show."""
    code, run = ended.process.returncode, ended.run
    if code == worker.DONE:
        outcome.done.append(run.id)
        return store.state(run.id)
    if code == worker.STOPPED:
        return "checkpointed"
    if code == worker.BUSY:
        outcome.elsewhere.append(run.id)
        return "runs in another sweep"
    if code < 0:
        outcome.killed.append(run.id)
        return f"killed by signal {-code}"
    outcome.failed.append(run.id)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(store.path(run.id) / "failed.json", {"when": when, "exit_code": code, "log": ended.log_tail()})
    return "failed"
