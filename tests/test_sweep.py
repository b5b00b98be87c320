"""Sweeps: what is done stays done, what was killed is not done, and the same command continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from study.config import Claim, Data, Experiment, Fractals, Run, Start, Training
from study.errors import StudyError
from study.models.interop import read_weights
from study.results import load
from study.sweep import attempts
from study.sweep.claims import read_claims
from study.sweep.drive import drive
from study.sweep.executors.local import Local, slots
from study.sweep.plan import make_plan
from study.sweep.store import Store, stop
from study.training import checkpoint
from study.training.loop import train
from study.training.start import fingerprint
from tests.test_training import rows

TIMES = ["seconds", "images_per_second"]
EXPERIMENT = Experiment(
    name="tiny",
    data=Data(image_size=16, fractals=Fractals(classes=4, train_images=64, test_images=32)),
    training=Training(epochs=2, batch_size=16, probe_size=32),
    variants=("C-C-T-T", "ViT_REL"),
    seeds=(0,),
    budget=60_000,
)
MEDIUM = EXPERIMENT.model_copy(
    update={"training": EXPERIMENT.training.model_copy(update={"epochs": 40}), "variants": ("ViT_REL",)}
)
LONG = EXPERIMENT.model_copy(update={"training": EXPERIMENT.training.model_copy(update={"epochs": 2000})})


def write_experiment(path: Path, experiment: Experiment = EXPERIMENT) -> Path:
    """An experiment as a file that the command line takes."""
    text = f"from study import Experiment\nexperiment = Experiment.model_validate({experiment.model_dump()!r})\n"
    path.write_text(text)
    return path


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
    with mock.patch("study.sweep.drive.TICK", 0.05):  # runs here are short: none shall end between two looks
        outcome = drive([(store, plan.runs)], Local(slots("cpu", options.pop("jobs", 1))), display, **options)
    return store, plan.runs, outcome, display


def trained(folder: Path, experiment: Experiment) -> Store:
    """A results folder whose runs were trained here, one after another."""
    plan = make_plan(experiment)
    store = Store.create(folder, plan.experiment)
    for run in plan.runs:
        train(run, store.add(run), device="cpu")
    return store


def curves(store: Store) -> pd.DataFrame:
    return load(store.folder).curves.drop(columns=TIMES)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A sweep that nobody disturbed."""
    store, runs, outcome, _ = run_all(tmp_path_factory.mktemp("finished") / "results")
    assert sorted(outcome.done) == sorted(run.id for run in runs)
    return store


def test_a_sweep_leaves_runs_curves_and_claims(finished: Store) -> None:
    results = load(finished.folder)
    runs, points = results.runs, results.curves
    assert list(runs["variant"]) == ["C-C-T-T", "ViT_REL"]
    assert list(runs["status"]) == ["ok", "ok"]
    assert len(points) == 2 * 2
    assert (points.groupby("run")["step"].max() == 8).all()
    assert not runs.drop(columns=TIMES).isna().any().any()
    assert {path.name for path in results.write_tables()} == {"runs.csv", "curves.csv"}
    assert pd.read_csv(finished.folder / "runs.csv")["run"].tolist() == runs["run"].tolist()


def test_the_same_command_again_has_nothing_to_do(finished: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("result.json")}
    _, _, outcome, display = run_all(finished.folder)
    assert display.events == []
    assert not outcome.done
    assert before == {path: path.stat().st_mtime_ns for path in finished.folder.rglob("result.json")}


def test_a_sweep_whose_time_is_over_starts_nothing_and_says_so(tmp_path: Path) -> None:
    store, runs, outcome, _ = run_all(tmp_path / "results", deadline=time.monotonic())
    assert outcome.stopped == "the time limit"
    assert not outcome.done
    assert [store.state(run.id) for run in runs] == ["missing", "missing"]


def agents_of(folder: Path) -> list[int]:
    """Process ids of the agents that hold a run in a results folder, as the folder tells."""
    held = [attempts.last(path) for path in (folder / "runs").glob("*/")]
    known = [attempt for attempt in held if attempt is not None and attempt.pid]  # a claim that is just made has none
    return [attempt.pid for attempt in known if not attempt.gone]


def kill_at_first(folder: Path, number: int, times: int = 1):
    """A display's `on_progress` that sends a signal to an agent at work."""
    sent: list[int] = []

    def on_progress(display: Recorder) -> None:
        for pid in agents_of(folder)[:1]:
            if len(sent) < times and pid not in sent:
                sent.append(pid)
                os.kill(pid, number)

    return Recorder(on_progress)


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """The curve of the one run of MEDIUM, trained here and left alone."""
    store = trained(tmp_path_factory.mktemp("medium") / "results", MEDIUM)
    return rows(store.path(store.runs()[0].id))


def test_a_killed_agent_is_replaced_and_its_run_ends_with_the_same_numbers(
    tmp_path: Path, medium: list[dict[str, float]]
) -> None:
    store, runs, outcome, display = run_all(tmp_path / "killed", MEDIUM, kill_at_first(tmp_path / "killed", 9), jobs=1)
    assert display.count("killed") == 1
    assert outcome.done == [runs[0].id]
    assert (outcome.killed, outcome.stopped) == ([], "")
    assert len(attempts.numbers(store.path(runs[0].id))) == 2
    assert rows(store.path(runs[0].id)) == medium


def test_an_agent_that_others_ask_to_leave_is_not_replaced_and_the_sweep_not_complete(
    tmp_path: Path,
) -> None:
    display = kill_at_first(tmp_path / "results", signal.SIGTERM)
    store, runs, outcome, _ = run_all(tmp_path / "results", LONG, display, jobs=1)
    assert outcome.stopped == "a signal to its agents"
    assert not outcome.done
    assert store.state(runs[0].id) == "interrupted"


def test_a_killed_sweep_takes_its_agents_along_and_leaves_nothing_marked_done(tmp_path: Path) -> None:
    script = "import sys; from tests.test_sweep import *; run_all(Path(sys.argv[1]), LONG, jobs=2)"
    command = [sys.executable, "-c", script, str(tmp_path / "results")]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    try:
        wait_for(lambda: len(agents_of(tmp_path / "results")) == 2)
        wait_for(lambda: len(list(tmp_path.rglob("metrics.jsonl"))) == 2)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not agents_of(tmp_path / "results"))  # the orphans notice, checkpoint and leave
    assert not list(tmp_path.rglob("result.json"))
    store = Store(tmp_path / "results")
    for run in store.runs():
        assert store.state(run.id) == "interrupted"
        assert (store.path(run.id) / checkpoint.NAME).stat().st_size > checkpoint.SEAL


def test_ctrl_c_checkpoints_and_says_so(tmp_path: Path) -> None:
    sent: list[int] = []

    def interrupt(display: Recorder) -> None:
        if not sent:  # once: a second one would kill the agent
            sent.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    store, runs, outcome, display = run_all(tmp_path / "results", LONG, Recorder(interrupt), jobs=1)
    assert outcome.stopped == "Interrupt"
    assert display.count("checkpointed") == 1
    assert [store.state(run.id) for run in runs] == ["interrupted", "missing"]


def test_stop_reaches_a_sweep_from_outside_and_not_the_next_one_which_ends_with_the_same_numbers(
    tmp_path: Path, medium: list[dict[str, float]]
) -> None:
    def ask(display: Recorder) -> None:
        if not display.count("stopping"):
            stop(tmp_path / "results")

    store, runs, outcome, _ = run_all(tmp_path / "results", MEDIUM, Recorder(ask), jobs=1)
    assert outcome.stopped == "study stop"
    assert store.state(runs[0].id) == "interrupted"
    _, _, outcome, _ = run_all(tmp_path / "results", MEDIUM, jobs=1)
    assert outcome.done == [runs[0].id]
    assert rows(store.path(runs[0].id)) == medium


def test_two_sweeps_on_one_folder_share_the_runs_and_run_none_twice(tmp_path: Path, finished: Store) -> None:
    command = [sys.executable, "-c", "import sys; from tests.test_sweep import *; run_all(Path(sys.argv[1]), jobs=1)"]
    other = subprocess.Popen([*command, str(tmp_path / "both")], cwd=Path(__file__).parents[1])
    wait_for((tmp_path / "both" / "experiment.json").exists)  # it starts its agent now, as we do
    store, *_ = run_all(tmp_path / "both", jobs=1)
    assert other.wait(120) == 0
    assert [store.state(run.id) for run in store.runs()] == ["done", "done"]
    assert [attempts.numbers(store.path(run.id)) for run in store.runs()] == [[1], [1]]
    pd.testing.assert_frame_equal(curves(store), curves(finished))


def broken_plan(folder: Path, experiment: Experiment, store: Store) -> tuple[Store, list[Run], Path]:
    """A planned sweep whose first run starts from weights that are not there; the third value is where they belong."""
    weights = store.path(store.runs()[0].id) / "weights.pt"
    plan = make_plan(experiment)
    start = Start(weights=fingerprint(read_weights(weights)), image_size=16, path=str(folder / "weights.pt"))
    first = plan.runs[0].model_copy(update={"start": start, "variant": store.runs()[0].variant})
    return Store.create(folder / "results", plan.experiment), [first, *plan.runs[1:]], weights


def test_a_failed_run_is_recorded_with_its_log_and_does_not_stop_the_others(tmp_path: Path, finished: Store) -> None:
    store, runs, weights = broken_plan(tmp_path, EXPERIMENT, finished)
    local = Local(slots("cpu", 1))
    outcome = drive([(store, runs)], local, Recorder())
    assert (outcome.failed, outcome.done) == ([runs[0].id], [runs[1].id])
    assert store.state(runs[0].id) == "failed"
    assert "the weights that this run starts from are not at" in store.failure(runs[0].id)["log"]

    outcome = drive([(store, runs)], local, Recorder())  # failed runs are left alone ...
    assert (outcome.failed, outcome.done) == ([], [])
    (tmp_path / "weights.pt").write_bytes(weights.read_bytes())
    outcome = drive([(store, runs)], local, Recorder(), retry_failed=True)  # ... until asked for
    assert outcome.done == [runs[0].id]
    assert store.state(runs[0].id) == "done"


def test_fail_fast_stops_the_others_at_a_checkpoint(tmp_path: Path, finished: Store) -> None:
    store, runs, _ = broken_plan(tmp_path, LONG, finished)
    outcome = drive([(store, runs)], Local(slots("cpu", 2)), Recorder(), fail_fast=True)
    assert outcome.failed == [runs[0].id]
    assert "--fail-fast" in outcome.stopped
    assert store.state(runs[1].id) in ("interrupted", "missing")


def test_numbers_do_not_depend_on_what_ran_before_in_the_process(tmp_path: Path, finished: Store) -> None:
    three = EXPERIMENT.model_copy(update={"variants": ("ViT_REL", "C-C-C-C", "C-C-T-T")})
    store, runs, _, _ = run_all(tmp_path / "three", three, jobs=1)
    assert len({attempts.last(store.path(run.id)).pid for run in runs}) == 1  # one process, one after another
    run = finished.runs()[0]  # the first of its process, here the third
    assert run.id == runs[2].id
    assert rows(store.path(run.id)) == rows(finished.path(run.id))
    assert (store.path(run.id) / "weights.pt").read_bytes() == (finished.path(run.id) / "weights.pt").read_bytes()


def wait_for(condition, seconds: float = 90) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


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


def test_a_label_that_stands_for_another_network_by_now_is_refused(finished: Store) -> None:
    (run, *_) = (each for each in finished.runs() if each.label == "C-C-T-T")
    finished.check_networks([run, run.model_copy(update={"seed": 9}), run.model_copy(update={"label": "C-T-T-T"})])
    wider = run.variant.model_copy(update={"widths": (8, 8, 16, 32, 72)})
    with pytest.raises(StudyError, match=r"runs of C-C-T-T as another network \(widths is .*, asked for .*72.*--out"):
        finished.check_networks([run.model_copy(update={"variant": wider, "seed": 9})])


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
    Store.create(tmp_path / "results", EXPERIMENT.model_copy(update={"claims": claims}))
    Store.create(tmp_path / "results", EXPERIMENT.model_copy(update={"claims": claims}))
    (tmp_path / "results" / "runs").mkdir()
    run = finished.runs()[0]
    os.symlink(finished.path(run.id), tmp_path / "results" / "runs" / run.id)
    edited = (Claim(ranking="ViT_REL > C-C-T-T"),)
    Store.create(tmp_path / "results", EXPERIMENT.model_copy(update={"claims": edited}))
    history = read_claims(tmp_path / "results")
    assert [entry["runs_done"] for entry in history] == [0, 1]
    assert [entry["claims"][0]["ranking"] for entry in history] == ["C-C-T-T > ViT_REL", "ViT_REL > C-C-T-T"]


def test_every_result_says_where_it_was_made(finished: Store) -> None:
    result = finished.result(finished.runs()[0].id)
    environment = result["environment"]
    assert {"study", "code", "python", "torch", "processor", "device", "threads"} <= environment.keys()
    assert environment["threads"] == 1
    assert result["run"] == json.loads((finished.path(result["id"]) / "run.json").read_text())
