"""Sweeps that are disturbed while they are at work, wherever their agents are, and what must come of them."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from study.config import Experiment, Training
from study.models.interop import read_weights
from study.sweep import attempts
from study.sweep.drive import Outcome, drive
from study.sweep.executors import Executor
from study.sweep.plan import make_plan
from study.sweep.store import Store
from study.training.loop import train
from study.training.start import fingerprint
from tests.test_sweep import EXPERIMENT, Recorder
from tests.test_training import rows

SHORT = EXPERIMENT.model_copy(update={"name": "short", "seeds": (0, 1)})
LONG = SHORT.model_copy(  # one run of 240 steps
    update={
        "training": Training(epochs=60, batch_size=16, probe_size=32, evaluations=2),
        "variants": ("ViT_REL",),
        "seeds": (0,),
    }
)


def undisturbed(experiment: Experiment, folder: Path) -> dict[str, Path]:
    """The runs of an experiment, trained here one after another, by run id."""
    runs = make_plan(experiment).runs
    for run in runs:
        train(run, folder / run.id, device="cpu")
    return {run.id: folder / run.id for run in runs}


def sweep(
    folder: Path, experiment: Experiment, executor: Executor, disturb: Callable[[Store, str], None] | None = None
) -> tuple[Outcome, Store]:
    """The same command each time; `disturb` is called once, when the first run is some steps on its way."""
    plan = make_plan(experiment)
    store = Store.create(folder, plan.experiment)
    trouble: list[BaseException] = []
    over = threading.Event()

    def watch() -> None:
        path = store.path(plan.runs[0].id)
        began = attempts.numbers(path)
        try:
            while disturb is not None and not over.is_set():
                now = attempts.numbers(path)
                if len(now) > len(began) and attempts.step_of(path, now[-1]) >= 5:
                    return disturb(store, plan.runs[0].id)
                time.sleep(0.05)
            assert disturb is None, "the run was over before it could be disturbed"
        except BaseException as error:
            trouble.append(error)
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGINT)  # the sweep might wait for ever

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        outcome = drive([(store, plan.runs)], executor, Recorder())
    finally:
        over.set()
        thread.join()
    if trouble:
        raise trouble[0]
    return outcome, store


def holder(store: Store, run_id: str) -> attempts.Attempt:
    """The attempt that holds a run, or held it last."""
    last = attempts.last(store.path(run_id))
    assert last is not None
    return last


def pause_until_asked(store: Store, run_id: str) -> None:
    """Stop the agent that holds a run until it is asked to leave: it shall not end before, on any machine.

    It is asked by the end of its standard input.
    """
    pid = holder(store, run_id).pid
    os.kill(pid, signal.SIGSTOP)

    def go_on_once_asked() -> None:
        leash = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY)
        poll = select.poll()
        poll.register(leash, 0)  # for the other end to be closed
        poll.poll(120_000)
        os.close(leash)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    threading.Thread(target=go_on_once_asked, daemon=True).start()


def assert_same(store: Store, reference: dict[str, Path]) -> None:
    """All runs are done, and curves and weights are those of the undisturbed runs, bit for bit."""
    for run_id, expected in reference.items():
        assert store.state(run_id) == "done"
        found = store.path(run_id)
        assert rows(found) == rows(expected)
        assert fingerprint(read_weights(found / "weights.pt")) == fingerprint(read_weights(expected / "weights.pt"))


def how_attempts_ended(store: Store, run_id: str) -> list[str]:
    """By their own word; empty for an attempt that was killed."""
    path = store.path(run_id)
    return [attempts.read(path, number).ended for number in attempts.numbers(path)]


def parent_of(pid: int) -> int:
    """The process that started a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
