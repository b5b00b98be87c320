"""At most one writer of a run has effect, whoever is paused, killed or late, and without a file lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from study.errors import Gone
from study.sweep import attempts
from study.sweep.agent import Agent
from study.sweep.attempts import Fenced, Watch
from study.sweep.executors import AGENT, BROKEN, FINISHED, STOPPED, Order
from study.sweep.plan import make_plan
from study.sweep.store import Store, stop, stop_token
from study.training.loop import train
from tests.test_sweep import MEDIUM, wait_for
from tests.test_training import rows


def test_one_of_several_takes_a_run_and_the_next_only_when_it_is_let_go(tmp_path: Path) -> None:
    first = attempts.take(tmp_path, Watch())
    assert first is not None
    assert attempts.take(tmp_path, Watch()) is None
    first.check()
    first.end("stopped")
    second = attempts.take(tmp_path, Watch())
    assert second is not None
    assert second.number == 2
    with pytest.raises(Fenced, match="attempt 2"):
        first.check()


def claim_of(folder: Path, number: int, **changes: object) -> None:
    """An attempt as another process would have made it."""
    (folder / "attempts").mkdir(exist_ok=True)
    here = {"token": "t", "machine": attempts.machine(), "pid": os.getpid(), "born": attempts.born(os.getpid())}
    (folder / "attempts" / f"{number}.json").write_text(json.dumps(here | changes))


def test_a_holder_of_this_machine_that_died_is_gone_at_once(tmp_path: Path) -> None:
    died = subprocess.Popen([sys.executable, "-c", ""])
    born = attempts.born(died.pid)
    claim_of(tmp_path, 1, pid=died.pid, born=born)
    died.wait()
    assert attempts.take(tmp_path, Watch()) is not None
    claim_of(tmp_path, 7, born="another process had this number")
    taken = attempts.take(tmp_path, Watch())
    assert taken is not None
    assert taken.number == 8


def test_a_holder_elsewhere_is_gone_when_its_counter_stands_still_on_our_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = 1000.0
    monkeypatch.setattr(attempts, "time", SimpleNamespace(monotonic=lambda: ours))
    claim_of(tmp_path, 1, machine="elsewhere")
    beat = tmp_path / "attempts" / "1.beat"
    watch = Watch(patience=50)
    for count in range(5):  # it beats, with a clock that is years behind ours
        beat.write_text(json.dumps({"count": count}))
        os.utime(beat, (0, 0))
        assert attempts.take(tmp_path, watch) is None
        ours += 20
    assert watch.sure(tmp_path)
    assert attempts.take(tmp_path, watch) is None
    ours += 40
    assert attempts.take(tmp_path, Watch(patience=50)) is None  # who has just come has to watch first
    taken = attempts.take(tmp_path, watch)
    assert taken is not None
    assert taken.number == 2


def test_a_holder_notices_that_its_folder_is_gone(tmp_path: Path) -> None:
    hold = attempts.take(tmp_path / "run", Watch())
    assert hold is not None
    subprocess.run(["rm", "-r", str(tmp_path / "run")], check=True)
    with pytest.raises(Gone, match="was removed"):
        hold.check()
    assert not (tmp_path / "run").exists()


def agent(store: Store, name: str, patience: float = 60.0, here: Path | None = None) -> subprocess.Popen[bytes]:
    order = Order(folders={str(store.folder): stop_token(store.folder)}, agent=name, patience=patience)
    with (store.folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen([*AGENT, order.json()], cwd=here, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@pytest.fixture
def planned(tmp_path: Path) -> Store:
    plan = make_plan(MEDIUM)
    store = Store.create(tmp_path / "results", plan.experiment)
    store.plan(plan.runs)
    return store


def test_a_holder_that_slept_past_its_heartbeat_leaves_and_the_numbers_are_the_undisturbed_ones(
    tmp_path: Path, planned: Store
) -> None:
    (run,) = planned.runs()
    folder = planned.path(run.id)
    sleeper = agent(planned, "sleeper")
    heir = None
    try:
        wait_for(lambda: (folder / "metrics.jsonl").exists() and len(rows(folder)) > 3)
        sleeper.send_signal(signal.SIGSTOP)
        heir = agent(planned, "heir", patience=1.0)
        wait_for(lambda: attempts.numbers(folder) == [1, 2] and len(rows(folder)) > 2)
        sleeper.send_signal(signal.SIGCONT)
        assert heir.wait(90) == FINISHED
        assert sleeper.wait(90) == FINISHED
    finally:
        for process in (sleeper, heir):
            if process is not None:
                process.kill()
                process.wait()
    assert "taken over by attempt 2" in (planned.folder / "sleeper.log").read_text()
    assert planned.state(run.id) == "done"
    train(run, tmp_path / "whole" / run.id)
    assert rows(folder) == rows(tmp_path / "whole" / run.id)
    assert (folder / "weights.pt").read_bytes() == (tmp_path / "whole" / run.id / "weights.pt").read_bytes()


def test_a_run_that_is_killed_three_times_at_one_step_is_failed(planned: Store) -> None:
    (run,) = planned.runs()
    folder = planned.path(run.id)
    for number in (1, 2, 3):
        claim_of(folder, number, born="gone")
        (folder / "attempts" / f"{number}.step").write_text("7                   ")
    over = threading.Event()
    assert Agent(Order(folders={str(planned.folder): ""}), over).work() == FINISHED
    over.set()
    assert planned.state(run.id) == "failed"
    assert "killed 3 times at step 7" in planned.failure(run.id)["log"]
    (folder / "failed.json").unlink()  # as --retry-failed does
    assert attempts.killed_in_place(folder, 5) is None


def test_kills_at_different_steps_are_bad_luck(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        claim_of(tmp_path, number, born="gone")
        (tmp_path / "attempts" / f"{number}.step").write_text(f"{number:<20}")
    assert attempts.killed_in_place(tmp_path, 4) is None


def test_an_agent_leaves_as_its_exit_status_says_and_executes_no_file_of_the_current_folder(
    tmp_path: Path,
) -> None:
    endless = MEDIUM.model_copy(update={"training": MEDIUM.training.model_copy(update={"epochs": 5000})})
    plan = make_plan(endless)
    planned = Store.create(tmp_path / "results", plan.experiment)
    planned.plan(plan.runs)
    (tmp_path / "here").mkdir()
    for name in ("queue", "einops", "study"):
        (tmp_path / "here" / f"{name}.py").write_text("raise SystemExit('executed')")  # with 1: no status of these
    asked = agent(planned, "asked", here=tmp_path / "here")
    wait_for(lambda: attempts.step_of(planned.path(planned.runs()[0].id), 1) >= 5)
    stop(planned.folder)
    assert asked.wait(60) == STOPPED
    assert planned.state(planned.runs()[0].id) == "interrupted"
    order = Order(folders={str(tmp_path / "nowhere"): ""})
    broken = subprocess.run([*AGENT, order.json()], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert broken.returncode == BROKEN
    assert broken.stderr.strip().splitlines()[-1].endswith("is not a results folder: it has no experiment.json")
