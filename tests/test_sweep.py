"""Sweeps: what is done stays done, what was killed is not done, and the same command continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from study.config import Claim, Data, Experiment, Fractals, Run, Training
from study.errors import StudyError
from study.sweep.local import slots
from study.sweep.plan import make_plan
from study.sweep.run import pending, sweep
from study.sweep.store import Store, can_lock, locked

TIMES = ["seconds", "images_per_second"]
EXPERIMENT = Experiment(
    name="tiny",
    data=Data(image_size=16, fractals=Fractals(classes=4, train_images=64, test_images=32)),
    training=Training(epochs=2, batch_size=16, probe_size=32),
    variants=("C-C-T-T", "ViT_REL"),
    seeds=(0,),
    budget=60_000,
)
LONG = EXPERIMENT.model_copy(update={"training": EXPERIMENT.training.model_copy(update={"epochs": 2000})})


class Recorder:
    """A display that remembers, and calls `on_progress` with itself."""

    def __init__(self, on_progress=lambda recorder: None):
        self.events: list[tuple[str, str]] = []
        self.on_progress = on_progress

    def started(self, run: Run) -> None:
        self.events.append(("started", run.id))

    def progress(self, run: Run, live: dict[str, object]) -> None:
        self.events.append(("progress", run.id))
        self.on_progress(self)

    def ended(self, run: Run, how: str) -> None:
        self.events.append((how, run.id))

    def stopping(self, why: str) -> None:
        self.events.append(("stopping", why))

    def count(self, what: str) -> int:
        return sum(event == what for event, _ in self.events)


def run_all(folder: Path, experiment: Experiment = EXPERIMENT, display: Recorder | None = None, **options):
    plan = make_plan(experiment)
    store = Store.create(folder, plan.experiment)
    display = display or Recorder()
    retry = options.pop("retry_failed", False)
    outcome = sweep(store, pending(store, plan.runs, retry), slots("cpu", 2), display, **options)
    return store, plan.runs, outcome, display


def curves(store: Store) -> pd.DataFrame:
    return store.curves().drop(columns=TIMES)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A sweep that nobody disturbed."""
    store, runs, outcome, _ = run_all(tmp_path_factory.mktemp("finished") / "results")
    assert sorted(outcome.done) == sorted(run.id for run in runs)
    return store


def test_a_sweep_leaves_runs_curves_and_claims(finished: Store) -> None:
    runs, points = finished.results(), finished.curves()
    assert list(runs["variant"]) == ["C-C-T-T", "ViT_REL"]
    assert list(runs["status"]) == ["ok", "ok"]
    assert len(points) == 2 * 2
    assert (points.groupby("run")["step"].max() == 8).all()
    assert not runs.drop(columns=TIMES).isna().any().any()
    assert {path.name for path in finished.write_tables()} == {"runs.csv", "curves.csv"}
    assert pd.read_csv(finished.folder / "runs.csv")["run"].tolist() == runs["run"].tolist()


def test_the_same_command_again_has_nothing_to_do(finished: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("result.json")}
    _, _, outcome, display = run_all(finished.folder)
    assert display.events == []
    assert not outcome.done
    assert before == {path: path.stat().st_mtime_ns for path in finished.folder.rglob("result.json")}


def test_a_sweep_stopped_at_its_deadline_continues_to_the_same_numbers(tmp_path: Path, finished: Store) -> None:
    deadline = time.monotonic()  # before the first step: the workers checkpoint as soon as they can
    store, runs, outcome, _ = run_all(tmp_path / "results", deadline=deadline)
    assert outcome.stopped == "the time limit"
    assert not outcome.done
    assert {store.state(run.id) for run in runs} <= {"interrupted", "missing"}
    store, _, outcome, _ = run_all(tmp_path / "results")
    assert len(outcome.done) == 2
    pd.testing.assert_frame_equal(curves(store), curves(finished))


def test_a_killed_worker_is_not_done_and_its_run_is_continued(tmp_path: Path, finished: Store) -> None:
    victims: list[int] = []

    def kill_one(display: Recorder) -> None:
        if not victims:
            pids = subprocess.run(["pgrep", "-f", f"study.sweep.worker.*{tmp_path}"], capture_output=True, text=True)
            victims.extend(int(pid) for pid in pids.stdout.split()[:1])
            os.kill(victims[0], signal.SIGKILL)

    slow = EXPERIMENT.model_copy(update={"variants": ("C-C-T-T",), "training": LONG.training})
    store, runs, outcome, _ = run_all(tmp_path / "results", slow, Recorder(kill_one))
    assert outcome.killed == [runs[0].id]
    assert not outcome.failed
    assert store.state(runs[0].id) in ("interrupted", "missing")
    assert not list(tmp_path.rglob("result.json"))


def test_a_killed_sweep_takes_its_workers_along_and_leaves_nothing_marked_done(tmp_path: Path) -> None:
    script = "import sys; from tests.test_sweep import *; run_all(Path(sys.argv[1]), LONG)"
    command = [sys.executable, "-c", script, str(tmp_path / "results")]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    try:
        wait_for(lambda: len(list(tmp_path.rglob("checkpoint.pt"))) == 2)
    finally:
        process.kill()
        process.wait()
    folders = [path.parent for path in tmp_path.rglob("run.json")]
    wait_for(lambda: all(can_lock(folder) for folder in folders))  # the orphans notice, checkpoint and leave
    assert not list(tmp_path.rglob("result.json"))
    assert {Store(tmp_path / "results").state(folder.name) for folder in folders} == {"interrupted"}


def test_ctrl_c_checkpoints_and_says_so(tmp_path: Path) -> None:
    def interrupt(display: Recorder) -> None:
        if not display.count("stopping"):
            os.kill(os.getpid(), signal.SIGINT)

    store, runs, outcome, display = run_all(tmp_path / "results", LONG, Recorder(interrupt))
    assert outcome.stopped == "Interrupt"
    assert display.count("checkpointed") == 2
    assert [store.state(run.id) for run in runs] == ["interrupted"] * 2


def test_two_sweeps_on_one_folder_do_not_run_a_run_twice(tmp_path: Path, finished: Store) -> None:
    plan = make_plan(EXPERIMENT)
    store = Store.create(tmp_path / "results", plan.experiment)
    with locked(store.add(plan.runs[0])) as held:  # as another sweep's worker holds it
        assert held
        assert store.state(plan.runs[0].id) == "running"
        _, _, outcome, _ = run_all(tmp_path / "results")
    assert outcome.elsewhere == [plan.runs[0].id]
    assert outcome.done == [plan.runs[1].id]
    assert store.state(plan.runs[0].id) == "missing"

    command = [sys.executable, "-c", "import sys; from tests.test_sweep import *; run_all(Path(sys.argv[1]))"]
    both = [subprocess.Popen([*command, str(tmp_path / "both")], cwd=Path(__file__).parents[1]) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert all(store.state(run.id) == "done" for store in [Store(tmp_path / "both")] for run in plan.runs)
    pd.testing.assert_frame_equal(curves(Store(tmp_path / "both")), curves(finished))


def test_a_failed_run_is_recorded_with_its_log_and_does_not_stop_the_others(tmp_path: Path, finished: Store) -> None:
    plan = make_plan(EXPERIMENT)
    store = Store.create(tmp_path / "results", plan.experiment)
    broken = store.add(plan.runs[0]) / "checkpoint.pt"
    broken.write_bytes(b"not a checkpoint")
    _, _, outcome, _ = run_all(tmp_path / "results")
    assert (outcome.failed, outcome.done) == ([plan.runs[0].id], [plan.runs[1].id])
    assert store.state(plan.runs[0].id) == "failed"
    assert "checkpoint.pt cannot be read" in store.failure(plan.runs[0].id)["log"]

    _, _, outcome, _ = run_all(tmp_path / "results")  # failed runs are left alone ...
    assert not outcome.failed
    assert not outcome.done
    broken.unlink()
    store, _, outcome, _ = run_all(tmp_path / "results", retry_failed=True)  # ... until asked for
    assert outcome.done == [plan.runs[0].id]
    pd.testing.assert_frame_equal(curves(store), curves(finished))


def test_fail_fast_stops_the_others_at_a_checkpoint(tmp_path: Path) -> None:
    plan = make_plan(LONG)
    store = Store.create(tmp_path / "results", plan.experiment)
    (store.add(plan.runs[0]) / "checkpoint.pt").write_bytes(b"not a checkpoint")
    _, _, outcome, _ = run_all(tmp_path / "results", LONG, fail_fast=True)
    assert outcome.failed == [plan.runs[0].id]
    assert "--fail-fast" in outcome.stopped
    assert store.state(plan.runs[1].id) in ("interrupted", "missing")


def wait_for(condition, seconds: float = 90) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.1)


# ---------------------------------------------------------------- identity


def test_a_runs_id_follows_everything_that_decides_its_result_and_nothing_else() -> None:
    run = make_plan(EXPERIMENT).runs[0]
    changes = {
        "training.lr": 2e-3,
        "training.epochs": 3,
        "training.precision": "bf16",
        "data.fractals.seed": 1,
        "data.train_size": 32,
        "data.fingerprint": "0" * 12,
        "variant.blocks.head_dim": 16,
        "seed": 1,
        "format": run.format + 1,
    }
    ids = {run.id}
    for key, value in changes.items():
        dump = run.model_dump()
        *parents, leaf = key.split(".")
        target = dump
        for parent in parents:
            target = target[parent]
        target[leaf] = value
        ids.add(Run.model_validate(dump).id)
    assert len(ids) == len(changes) + 1
    assert run.model_copy(update={"label": "another name"}).id == run.id
    assert Run.model_validate_json(run.model_dump_json()).id == run.id


def test_a_folder_of_another_experiment_is_refused_and_left_as_it_is(finished: Store) -> None:
    before = (finished.folder / "experiment.json").read_text()
    other = EXPERIMENT.model_copy(update={"training": EXPERIMENT.training.model_copy(update={"lr": 0.1})})
    with pytest.raises(StudyError, match=r"another experiment \(training.lr is 0.001, asked for 0.1\).*--out"):
        run_all(finished.folder, other)
    assert (finished.folder / "experiment.json").read_text() == before


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StudyError, match="holds no results"):
        Store.create(tmp_path, EXPERIMENT)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_variants_and_seeds_can_be_added_to_a_folder(tmp_path: Path) -> None:
    Store.create(tmp_path / "results", EXPERIMENT)
    more = EXPERIMENT.model_copy(update={"variants": ("C-C-C-C",), "seeds": (0, 1)})
    joined = Store.create(tmp_path / "results", more).experiment
    assert joined.variants == ("C-C-T-T", "ViT_REL", "C-C-C-C")
    assert joined.seeds == (0, 1)


def test_claims_keep_their_history_with_the_number_of_runs_done(tmp_path: Path, finished: Store) -> None:
    claims = (Claim(ranking="C-C-T-T > ViT_REL"),)
    store = Store.create(tmp_path / "results", EXPERIMENT.model_copy(update={"claims": claims}))
    Store.create(tmp_path / "results", EXPERIMENT.model_copy(update={"claims": claims}))
    (tmp_path / "results" / "runs").mkdir()
    run = finished.runs()[0]
    os.symlink(finished.path(run.id), tmp_path / "results" / "runs" / run.id)
    edited = (Claim(ranking="ViT_REL > C-C-T-T"),)
    Store.create(tmp_path / "results", EXPERIMENT.model_copy(update={"claims": edited}))
    history = store.claims_history()
    assert [entry["runs_done"] for entry in history] == [0, 1]
    assert [entry["claims"][0]["ranking"] for entry in history] == ["C-C-T-T > ViT_REL", "ViT_REL > C-C-T-T"]


def test_every_result_says_where_it_was_made(finished: Store) -> None:
    result = finished.result(finished.runs()[0].id)
    environment = result["environment"]
    assert {"study", "code", "python", "torch", "processor", "device", "threads"} <= environment.keys()
    assert environment["threads"] == 1
    assert result["run"] == json.loads((finished.path(result["id"]) / "run.json").read_text())
