"""What is damaged, gone or full is noticed, named, and mended by the same command; nothing wrong is ever counted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.errors import Gone, StudyError
from study.sweep.drive import drive
from study.sweep.executors.local import Local, slots
from study.sweep.merge import merge
from study.sweep.plan import make_plan
from study.sweep.records import Damaged, read_record, sound_weights
from study.sweep.store import Store
from study.training import checkpoint
from study.training.loop import train
from tests.test_sweep import EXPERIMENT, LONG, Recorder, run_all, trained
from tests.test_training import interrupt_after, rows, tiny_run


def flip(path: Path, part: float = 0.5) -> None:
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[int(part * (len(content) - 1))] ^= 1
    path.write_bytes(content)


# ---------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed."""
    run = tiny_run()
    folder = tmp_path_factory.mktemp("whole") / run.id
    assert train(run, folder) is not None
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run, stopped after 5 steps and again after 10: two checkpoints, two evaluations."""
    run = tiny_run()
    folder = tmp_path_factory.mktemp("stopped") / run.id
    for _ in range(2):
        assert train(run, folder, should_stop=interrupt_after(5)) is None
    assert (folder / checkpoint.PREVIOUS).exists()
    return folder


@pytest.fixture
def twice(tmp_path: Path, stopped: Path) -> Path:
    """A copy of it to be harmed."""
    return Path(shutil.copytree(stopped, tmp_path / stopped.name))


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_flipped_bit_in_a_checkpoint_changes_no_number(
    whole: Path, twice: Path, part: float, capfd: pytest.CaptureFixture[str]
) -> None:
    flip(twice / checkpoint.NAME, part)
    begun: list[int] = []
    train(tiny_run(), twice, on_step=begun.append)
    assert begun[0] == 5  # from the previous checkpoint
    assert "checkpoint.pt is damaged" in capfd.readouterr().err
    assert rows(twice) == rows(whole)
    assert (twice / "weights.pt").read_bytes() == (whole / "weights.pt").read_bytes()
    assert not list(twice.glob("checkpoint*"))


def test_without_a_sound_checkpoint_a_run_starts_again(
    whole: Path, twice: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (twice / checkpoint.NAME).write_bytes(b"")
    (twice / checkpoint.PREVIOUS).write_bytes(bytes(4096))
    begun: list[int] = []
    train(tiny_run(), twice, on_step=begun.append)
    assert begun[0] == 0
    assert "it starts again" in capfd.readouterr().err
    assert rows(twice) == rows(whole)


@pytest.mark.parametrize("harm", ["shorter", "a digit"])
def test_a_curve_that_is_not_the_checkpoints_is_measured_again_and_never_filled_up(
    whole: Path, twice: Path, harm: str
) -> None:
    curve = twice / "metrics.jsonl"
    text = curve.read_text()
    curve.write_text(text[:20] if harm == "shorter" else text.replace('"step": 4', '"step": 5'))
    train(tiny_run(), twice)
    assert b"\0" not in curve.read_bytes()
    assert rows(twice) == rows(whole)


@pytest.mark.parametrize("last_seen", [0, -1], ids=["before a further row", "after the last one"])
def test_a_curve_that_vanishes_stops_the_run_and_leaves_no_result(tmp_path: Path, whole: Path, last_seen: int) -> None:
    step = rows(whole)[last_seen]["step"]
    metrics = tmp_path / "metrics.jsonl"
    with pytest.raises(Gone, match=r"metrics.jsonl was removed while its run was at work"):
        train(tiny_run(), tmp_path, on_row=lambda row: metrics.unlink() if row["step"] == step else None)
    assert not (tmp_path / "result.json").exists()


# ---------------------------------------------------------------- records


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("finished") / "results", EXPERIMENT).folder


@pytest.fixture
def store(tmp_path: Path, finished: Path) -> Store:
    """A finished sweep to be harmed."""
    shutil.copytree(finished, tmp_path / "results")
    return Store(tmp_path / "results")


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


HARMS = {
    "a digit of the curve": lambda folder: flip(folder / "metrics.jsonl", 0.9),
    "an emptied curve": lambda folder: (folder / "metrics.jsonl").write_text(""),
    "a curve that is gone": lambda folder: (folder / "metrics.jsonl").unlink(),
    "a digit of the configuration": lambda folder: change(folder / "run.json", '"seed": 0', '"seed": 1'),
    "a configuration that is gone": lambda folder: (folder / "run.json").unlink(),
    "a digit of the result": lambda folder: change(folder / "result.json", '"samples": 1', '"samples": 7'),
    "half a result": lambda folder: (folder / "result.json").write_text('{"id": '),
    "a list for a result": lambda folder: (folder / "result.json").write_text("[]"),
    "no result": lambda folder: (folder / "result.json").write_text("null"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_record_is_named_and_counts_in_nothing(store: Store, harm: str) -> None:
    first, second = store.runs()
    HARMS[harm](store.path(first.id))
    assert store.state(first.id) == "damaged"
    assert store.state(second.id) == "done"
    assert list(store.damaged()) == [first.id]
    assert store.damaged()[first.id].endswith("the same command trains this run again, or bring back a copy")
    with pytest.raises(Damaged):
        read_record(store.path(first.id))


def test_the_same_command_trains_a_damaged_run_again_and_removes_what_killed_writers_left(
    store: Store, finished: Path
) -> None:
    first, second = store.runs()
    flip(store.path(first.id) / "metrics.jsonl")
    (store.path(first.id) / ".checkpoint.pt.0123.tmp").write_bytes(bytes(1000))
    (store.path(second.id) / "run.json").unlink()
    again, _, outcome, _ = run_all(store.folder)
    assert outcome.done == [first.id]  # the plan has the configuration that was gone
    assert again.damaged() == {}
    assert not list(store.folder.rglob("*.tmp"))
    for run in (first, second):
        assert rows(again.path(run.id)) == rows(finished / "runs" / run.id)


def test_flipped_weights_are_noticed_where_they_are_read(store: Store) -> None:
    folder = store.path(store.runs()[0].id)
    assert sound_weights(folder) == folder / "weights.pt"
    flip(folder / "weights.pt")
    with pytest.raises(Damaged, match=r"weights.pt is damaged"):
        sound_weights(folder)


def test_records_of_a_fresh_clone_count_as_done(store: Store, tmp_path: Path) -> None:
    clone = Store(Path(shutil.copytree(store.folder, tmp_path / "clone" / "results" / "tiny")))
    shutil.copy(Path(__file__).parents[1] / ".gitignore", tmp_path / "clone")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "clone", check=True)

    def kept() -> set[Path]:
        mine = f"core.excludesFile={os.devnull}"  # not what whoever runs the tests ignores everywhere
        listing = ["git", "-c", mine, "ls-files", "--others", "--exclude-standard"]
        told = subprocess.run(listing, cwd=tmp_path / "clone", capture_output=True, text=True, check=True).stdout
        files = {tmp_path / "clone" / path for path in told.split()}
        assert {file.name for file in files if "runs" in file.parts} == {"run.json", "metrics.jsonl", "result.json"}
        return files

    for path in {path for path in clone.folder.rglob("*") if path.is_file()} - kept():
        path.unlink()
    assert [clone.state(run.id) for run in clone.runs()] == ["done", "done"]
    more = EXPERIMENT.model_copy(update={"variants": ("ViT_REL",), "seeds": (0, 1)})
    _, runs, outcome, _ = run_all(clone.folder, more, jobs=1)
    assert outcome.done == [run.id for run in runs if run.seed == 1]
    kept()  # without what an agent leaves beside a record


def test_a_folder_of_tables_alone_is_not_swept_into(store: Store, tmp_path: Path) -> None:
    (store.folder / "runs.csv").write_text("variant,seed\n")
    shutil.rmtree(store.folder / "runs")
    with pytest.raises(StudyError, match="tables without the runs"):
        Store.create(store.folder, store.experiment)
    assert (store.folder / "runs.csv").read_text() == "variant,seed\n"


# ---------------------------------------------------------------- pooling


def test_merge_takes_what_is_sound_and_says_what_is_not(store: Store, tmp_path: Path, finished: Path) -> None:
    first, second = store.runs()
    into = tmp_path / "into"
    assert merge(into, [store.folder]).added == [run.id for run in sorted([first, second], key=lambda run: run.id)]
    assert [Store(into).state(run.id) for run in (first, second)] == ["done", "done"]
    assert merge(into, [finished]).same == sorted([first.id, second.id])

    flip(store.path(first.id) / "metrics.jsonl")
    shutil.rmtree(into / "runs" / second.id)
    found = merge(into, [store.folder])
    assert found.added == [second.id]
    assert len(found.refused) == 1
    assert "metrics.jsonl is damaged" in found.refused[0]


def test_merge_keeps_the_first_of_two_and_says_how_they_differ(store: Store, tmp_path: Path, finished: Path) -> None:
    (folder, *_) = [store.path(run.id) for run in store.runs()]
    result = json.loads((folder / "result.json").read_text())
    del result["checksums"]
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    end = {**json.loads(lines[-1]), "test_accuracy": 0.999}
    (folder / "metrics.jsonl").write_text("\n".join([*lines[:-1], json.dumps(end)]) + "\n")
    (folder / "result.json").write_text(json.dumps({**result, "final": end}))
    shutil.copytree(finished, tmp_path / "into")
    found = merge(tmp_path / "into", [store.folder])
    assert (len(found.differing), len(found.same), found.added) == (1, 1, [])
    assert "test_accuracy" in found.differing[0]
    assert rows(tmp_path / "into" / "runs" / folder.name) == rows(finished / "runs" / folder.name)


def test_merge_refuses_another_experiment_and_takes_the_rest(store: Store, tmp_path: Path, finished: Path) -> None:
    other = EXPERIMENT.model_copy(update={"training": EXPERIMENT.training.model_copy(update={"lr": 0.1})})
    Store.create(tmp_path / "other", other)
    run = store.runs()[0]
    shutil.rmtree(store.path(run.id))
    found = merge(store.folder, [tmp_path / "other", finished])
    assert found.added == [run.id]
    assert len(found.refused) == 1
    assert "training.lr" in found.refused[0]


def test_merge_refuses_runs_whose_label_stands_for_another_network(store: Store, tmp_path: Path) -> None:
    first, second = store.runs()
    other = Store.create(tmp_path / "other", store.experiment)
    other.plan([first.model_copy(update={"variant": second.variant, "seed": 9})])
    found = merge(store.folder, [other.folder])
    assert found.added == []
    assert len(found.refused) == 1
    assert f"has runs of {first.label} as another network" in found.refused[0]


# ---------------------------------------------------------------- folders


def test_sweeps_that_start_at_the_same_moment_all_join(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path;"
        "from study.config import Experiment; from study.sweep.store import Store;"
        "e = Experiment(name='tiny', seeds=(int(sys.argv[2]),)); print('ready', flush=True); sys.stdin.readline();"
        "Store.create(Path(sys.argv[1]), e)"
    )
    here = Path(__file__).parents[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "results"), str(seed)],
            cwd=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for seed in range(5)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(60) for process in processes] == [0] * 5
    for process in processes:
        process.stdin.close()
        process.stdout.close()
    assert sorted(Store(tmp_path / "results").experiment.seeds) == list(range(5))


def test_a_folder_in_which_no_run_has_started_is_replaced(tmp_path: Path, finished: Path) -> None:
    plan = make_plan(EXPERIMENT)
    Store.create(tmp_path / "results", plan.experiment).plan(plan.runs)
    other = EXPERIMENT.model_copy(update={"budget": 70_000, "variants": ("ViT_REL",)})
    assert Store.create(tmp_path / "results", other).experiment == other
    assert Store(tmp_path / "results").runs() == []
    with pytest.raises(StudyError, match="another experiment"):
        Store.create(finished, other)


def test_a_folder_that_is_removed_under_a_sweep_stops_it_with_a_sentence(tmp_path: Path) -> None:
    def remove(display: Recorder) -> None:
        shutil.rmtree(tmp_path / "results" / "runs", ignore_errors=True)

    _, _, outcome, _ = run_all(tmp_path / "results", LONG, Recorder(remove), jobs=1)
    assert "removed" in outcome.stopped or "removal" in outcome.stopped
    assert not outcome.done
    assert not list(tmp_path.rglob("result.json"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    (tmp_path / "disk").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "disk")])
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield tmp_path / "disk"
    subprocess.run(["umount", str(tmp_path / "disk")], check=True)


@pytest.mark.parametrize("left", [0, *(pytest.param(left, marks=pytest.mark.slow) for left in (8_000, 100_000))])
def test_a_full_disk_is_an_interruption_that_the_same_command_ends(small_disk: Path, left: int) -> None:
    plan = make_plan(EXPERIMENT.model_copy(update={"variants": ("ViT_REL",)}))
    store = Store.create(small_disk / "results", plan.experiment)
    store.plan(plan.runs)
    (store.folder / "agents").mkdir()
    room = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(max(0, room.f_bavail * room.f_frsize - left)))
    outcome = drive([(store, plan.runs)], Local(slots("cpu", 1)), Recorder())
    assert (outcome.done, outcome.failed) == ([], [])
    assert "full disk" in outcome.stopped
    (small_disk / "ballast").unlink()
    outcome = drive([(store, plan.runs)], Local(slots("cpu", 1)), Recorder())
    assert outcome.done == [plan.runs[0].id]
    assert not list(store.folder.rglob("*.tmp"))
