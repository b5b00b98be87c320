"""Drive the runs of results folders to their end: have agents at work, show how far they are, stop in good order.

All that is shown and judged stands in the folders, so agents that others started count as much as one's own.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from study.config import Run
from study.sweep import attempts
from study.sweep.attempts import Watch
from study.sweep.executors import BROKEN, FINISHED, FULL, STOPPED, Ended, Executor, Order, Wandb, stale
from study.sweep.store import DONE, OVER, Store, stop_token

STOP_SECONDS = 120  # an agent finishes its step, or its evaluation, before it checkpoints
TICK = 0.2  # seconds between two looks
STILLBORN = 3  # agents in a row that died without having taken a run: the next one would too

Work = Sequence[tuple[Store, Sequence[Run]]]


class Display(Protocol):
    """What a sweep tells whoever watches."""

    def started(self, run: Run) -> None: ...
    def progress(self, run: Run, live: dict[str, Any]) -> None: ...
    def ended(self, run: Run, how: str) -> None: ...
    def stopping(self, why: str) -> None: ...


@dataclass
class Outcome:
    """How the runs of a sweep ended, by run id, as their files say."""

    done: list[str] = field(default_factory=list)  # diverged ones included: they have a result
    failed: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)  # by a signal, and not continued; the next sweep does
    elsewhere: list[str] = field(default_factory=list)  # an agent of another sweep holds them
    stopped: str = ""  # why the sweep left before all was done


def pending(store: Store, runs: Sequence[Run], retry_failed: bool) -> list[Run]:
    """The runs that a sweep has to start or continue, in order."""
    wanted = {"running", "interrupted", "missing", "damaged"} | ({"failed"} if retry_failed else set())
    return [run for run in runs if store.state(run.id) in wanted]


def drive(
    work: Work,
    executor: Executor,
    display: Display,
    *,
    data_dir: Path | None = None,
    wandb: Wandb = "off",
    fail_fast: bool = False,
    deadline: float | None = None,
    retry_failed: bool = False,
) -> Outcome:
    """See the runs of one or more results folders, in this order, to their end; all folders share the agents.

    On Ctrl-C (or SIGTERM), at `deadline` (of time.monotonic), after `study stop` and, with `fail_fast`, after a
    failure, the agents are asked to checkpoint and the sweep ends; starting the same sweep again continues. A second
    Ctrl-C kills. A run that fails is recorded, with the end of its log, and the others go on; an agent that dies is
    replaced. Agents of other sweeps in the folders share the work, and their runs are waited for.

    A full disk, a folder that vanishes and agents that cannot work stop the sweep too: `Outcome.stopped` says so.
    Raises StudyError as the executor does.
    """
    try:
        return _Drive(work, executor, display, fail_fast, deadline, executor.agents).run(data_dir, wandb, retry_failed)
    except BaseException:
        if not executor.detached:
            executor.stop()
        raise


@dataclass
class _Drive:
    work: Work
    executor: Executor
    display: Display
    fail_fast: bool
    deadline: float | None
    wanted: int  # agents at work at a time
    outcome: Outcome = field(default_factory=Outcome)
    watch: Watch = field(default_factory=Watch)
    stillborn: int = 0
    ours: dict[str, str] = field(default_factory=dict)  # runs that agents of ours held last, with the agent
    names: set[str] = field(default_factory=set)  # of our agents
    killed: set[str] = field(default_factory=set)  # of these, the ones that a signal killed
    shown: set[str] = field(default_factory=set)  # runs that are shown at work
    left: dict[str, tuple[Store, Run]] = field(default_factory=dict)  # runs that have not ended
    free: int = 0  # of these, the ones that nobody holds

    def run(self, data_dir: Path | None, wandb: Wandb, retry_failed: bool) -> Outcome:
        for store, runs in self.work:
            store.plan(runs)
            for run in pending(store, runs, retry_failed):
                self.left[run.id] = store, run
                if retry_failed:
                    (store.path(run.id) / "failed.json").unlink(missing_ok=True)
        if not self.left:
            return self.outcome
        order = Order(
            folders={str(store.folder): stop_token(store.folder) for store, _ in self.work},
            skip=[run_id for store, runs in self.work for run_id in left_behind(store, runs)],
            data_dir=str(data_dir) if data_dir else "",
            wandb=wandb,
        )
        self.executor.attach(order)
        self.names |= self.executor.alive()
        kill_at = float("inf")
        with interruptions() as interrupts:
            while True:
                began = time.monotonic()
                for ended in self.executor.ended():
                    self._agent_ended(ended)
                self._look()
                alive = self.executor.alive()
                if not self.left:
                    self.executor.release()
                    if self.executor.detached or not alive:
                        break
                if not self.outcome.stopped:
                    self.outcome.stopped = self._reason_to_stop(interrupts, order)
                if self.outcome.stopped and kill_at == float("inf"):
                    if interrupts and self.executor.detached:
                        break
                    kill_at = time.monotonic() + STOP_SECONDS
                    self.display.stopping(self.outcome.stopped)
                    self.executor.stop()
                if self.outcome.stopped and not alive:
                    break
                if len(interrupts) > 1 or time.monotonic() > kill_at:
                    self.executor.kill()
                if not self.outcome.stopped:
                    self._start(order, alive)
                time.sleep(max(TICK, 5 * (time.monotonic() - began)) if self.left else TICK / 4)
        self._judge()
        return self.outcome

    def _look(self) -> None:
        """See in the folders what has happened, tell the display, and count the free runs."""
        self.free = 0
        for run_id, (store, run) in list(self.left.items()):
            folder = store.path(run_id)
            holder = self.watch.holder(folder)
            if holder is not None:
                if holder.agent in self.names:
                    self.ours[run_id], self.stillborn = holder.agent, 0
                if run_id not in self.shown:
                    self.display.started(run)
                    self.shown.add(run_id)
                if holder.live:
                    self.display.progress(run, holder.live)
                continue
            state = store.state(run_id)
            last = attempts.last(folder)
            if state in OVER:
                if run_id not in self.shown and last is not None:
                    self.display.started(run)  # it was over between two looks
                    if last.agent in self.names:
                        self.stillborn = 0
                (self.outcome.failed if state == "failed" else self.outcome.done).append(run_id)
                del self.left[run_id]
                self.display.ended(run, state)
            else:
                if not (folder / "run.json").exists():
                    self._stop(f"the removal of {folder} while it was at work")
                self.free += 1
                if run_id in self.shown:
                    self.display.ended(run, _how(last))
            self.shown.discard(run_id)

    def _start(self, order: Order, alive: set[str]) -> None:
        """Have as many agents as there is work for; one that has no run yet is about to take one."""
        held = {self.ours[run_id] for run_id in self.shown if run_id in self.ours}
        idle = len(alive - held)
        if (count := min(self.wanted - len(alive), self.free - idle)) > 0:
            self.executor.start(order, count)
            self.names |= self.executor.alive()

    def _agent_ended(self, ended: Ended) -> None:
        """What an agent's way of leaving means for the others."""
        had_run = ended.agent in self.ours.values()
        if ended.status < 0:
            self.killed.add(ended.agent)
        if ended.status == FULL:
            folder = self.work[0][0].folder
            self._stop(f"a full disk: make room where {folder} lies")
        elif ended.status == BROKEN:
            self._stop(f"an agent that cannot work: {ended.words}")
        elif ended.status == STOPPED:
            if not self.outcome.stopped:  # it was asked to leave by somebody else, and so it is not replaced
                self.wanted -= 1
                if self.wanted <= 0:
                    self._stop("a signal to its agents")
        elif ended.status != FINISHED and not had_run:
            self.stillborn += 1
            if self.stillborn >= STILLBORN:
                self._stop(f"agents that die as they start: {ended.words}")

    def _stop(self, why: str) -> None:
        self.outcome.stopped = self.outcome.stopped or why

    def _reason_to_stop(self, interrupts: list[int], order: Order) -> str:
        if interrupts:
            return signal.strsignal(interrupts[0]) or "a signal"
        if self.deadline is not None and time.monotonic() > self.deadline:
            return "the time limit"
        if stale(order):
            return "study stop"
        return "a failed run, with --fail-fast" if self.fail_fast and self.outcome.failed else ""

    def _judge(self) -> None:
        """Sort what has not ended into the outcome, and end its line on the display."""
        for run_id, (store, run) in self.left.items():
            folder = store.path(run_id)
            last = attempts.last(folder)
            if self.watch.holder(folder) is not None:
                self.outcome.elsewhere.append(run_id)
            elif self.ours.get(run_id) in self.killed:
                self.outcome.killed.append(run_id)
            if run_id in self.shown:
                self.display.ended(run, "runs in another sweep" if run_id in self.outcome.elsewhere else _how(last))


def left_behind(store: Store, runs: Sequence[Run]) -> list[str]:
    """Runs that earlier sweeps planned here, did not end, and nobody asks for now: they are left alone.

    If another sweep is at work, all that is planned is wanted.
    """
    asked = {run.id for run in runs}
    others = [run.id for run in store.runs() if run.id not in asked]
    if any(attempts.at_work(store.path(run_id)) for run_id in [*asked, *others]):
        return []
    return [run_id for run_id in others if store.state(run_id) not in DONE]


def _how(last: attempts.Attempt | None) -> str:
    """How an attempt without a result ended, in a word."""
    return {"stopped": "checkpointed", "failed": "failed"}.get(last.ended, "killed") if last else "gone"


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
