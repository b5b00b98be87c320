"""What all verbs share: --json is one document, errors of the system are one sentence; and new, compare and status."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from study.config import Claim, Data, Run, TimmVariant, Training
from study.sweep import attempts
from study.sweep.attempts import Watch
from study.sweep.display import LiveDisplay, PlainDisplay
from study.sweep.plan import make_plan
from study.sweep.store import Store
from tests.conftest import Answer
from tests.finished import pretend
from tests.synthetic import results, results_folder
from tests.test_sweep import EXPERIMENT, write_experiment

TAKEN = "a/file/stands/here"
OF_FOLDERS = {
    **{verb: [verb] for verb in ("status", "stop", "rank", "report", "plot", "scale", "runs", "export", "transfer")},
    **{f"merge {what}": ["merge"] for what in ("into", "from")},
    **{f"compare {what}": ["compare"] for what in ("first", "second")},
    "wandb push": ["wandb", "push", "--mode", "offline"],
}


def is_a_sentence(answer: Answer) -> None:
    *remarks, last = answer.err.splitlines()
    assert (answer.code, answer.out, last[:7]) == (2, "", "error: "), answer.err
    assert "Traceback" not in "".join(remarks)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two results folders with made-up curves: one with three seeds, one with five and another margin."""
    folder, labels = tmp_path_factory.mktemp("small"), ("C-C-C-C", "ViT_REL")
    first, second = (
        (Claim(ranking="C-C-C-C >> ViT_REL", readout="final_test_accuracy", epsilon=0.01, delta=delta),)
        for delta in (0.03, 0.5)
    )
    return (
        results_folder(folder / "first", results(labels), claims=first),
        results_folder(folder / "second", results(labels, seeds=range(5)), claims=second),
    )


@pytest.mark.parametrize("folder", ["", "/", "/dev/null", "x" * 300, "/proc/1/mem"])
@pytest.mark.parametrize("verb", OF_FOLDERS)
def test_folders_that_are_none_are_a_sentence_for_every_verb(
    study, small: tuple[Path, Path], verb: str, folder: str
) -> None:
    arguments = [*OF_FOLDERS[verb], folder]
    if verb.startswith(("merge", "compare")):
        arguments.insert(1 if verb.endswith(("from", "second")) else 2, str(small[0]))
    is_a_sentence(study(*arguments))


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize(
    "arguments",
    [
        ["new", "x" * 300],
        ["new", "nowhere/mine"],
        ["new", ""],
        ["new", f"{TAKEN}/mine"],
        ["sweep", ""],
        ["sweep", "."],
        ["sweep", "TINY", "--out", TAKEN],
        ["sweep", "TINY", "--out", "/dev/full"],
        ["tune", "TINY", "--out", TAKEN],
        ["report", "FOLDER", "--out", "."],
        ["report", "FOLDER", "--out", f"{TAKEN}/report.html"],
        ["report", "FOLDER", "--out", ""],
        ["rank", "--csv", ".", "--claim", "a > b", "--epsilon", "1", "--delta", "2"],
        ["rank", "--csv", "", "--claim", "a > b", "--epsilon", "1", "--delta", "2"],
        ["rank", "FOLDER", "--claim", "C-C-T-T > resnet"],
        ["rank", "FOLDER", "--readout", "happiness"],
        ["export", "FOLDER", "--out", TAKEN],
        ["data", "show", "fractals", "-o", "data.fractals.test_images=20", "--out", "."],
        ["data", "show", "fractals", "-o", "data.fractals.test_images=20", "--out", "/dev/null/x.png"],
        ["data", "prepare", "folder:"],
        ["data", "prepare", "folder:.", "--data-dir", TAKEN],
        ["data", "rm", "", "--yes"],
        ["transfer", "--weights", ".", "--variant", "coatnet_0"],
    ],
    ids=" ".join,
)
def test_errors_of_the_system_are_sentences(
    study, small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / TAKEN).parent.mkdir(parents=True)
    (tmp_path / TAKEN).write_text("")
    named = {"TINY": str(write_experiment(tmp_path / "tiny.py")), "FOLDER": str(small[0])}
    is_a_sentence(study(*(named.get(argument, argument) for argument in arguments), "--json"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_is_a_sentence(
    study, small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path, *rest: object, **more: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_text", refuse)
    answer = study("stop", small[0])
    is_a_sentence(answer)
    assert os.strerror(number).lower() in answer.err


READ = {
    "status": ["status", "FIRST"],
    "stop": ["stop", "FIRST"],
    "merge": ["merge", "SECOND", "SECOND"],
    "rank": ["rank", "FIRST"],
    "rank --claim": ["rank", "FIRST", "--claim", "C-C-C-C ~ ViT_REL"],
    "compare": ["compare", "FIRST", "SECOND"],
    "report": ["report", "FIRST", "--out", "REPORT"],
    "plot": ["plot", "FIRST", "gap_curve"],
    "runs": ["runs", "FIRST"],
    "data list": ["data", "list"],
    "new": ["new", "head_size"],
}


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize("verb", READ)
def test_json_is_one_document_and_nothing_else(
    study, small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_DATA_DIR", str(tmp_path / "data"))
    named = {"FIRST": small[0], "SECOND": small[1], "REPORT": tmp_path / "report.html"}
    answer = study(*(named.get(argument, argument) for argument in READ[verb]), "--json")
    assert answer.code == 0, answer.err
    json.loads(answer.out, parse_constant=pytest.fail)


def test_a_new_experiment_runs_as_it_stands_and_is_never_overwritten(
    study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "head_size.py" in study("new", "head_size").out
    text = (tmp_path / "head_size.py").read_text()
    assert all(f"\n{heading} " in text for heading in ("Claim", "Paper", "Here", "Readout", "Cost", "Command"))
    pretend(monkeypatch, lambda run: 0.5)
    dry = study("sweep", "head_size.py", "--dry-run")
    assert dry.code == 0, dry.err
    assert "head_size on fractals: 10 runs" in dry.out
    answer = study("new", "head_size.py")
    is_a_sentence(answer)
    assert "not overwritten" in answer.err
    assert (tmp_path / "head_size.py").read_text() == text
    is_a_sentence(study("new", "Head Size"))


def test_compare_says_what_differs_in_configuration_and_in_verdict(study, small: tuple[Path, Path]) -> None:
    found = json.loads(study("compare", *small, "--json").out)
    differing = {row["setting"]: row["values"] for row in found["settings"]}
    assert differing["seeds"] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert differing["delta of C-C-C-C ≫ ViT_REL in final_test_accuracy"] == [0.03, 0.5]
    assert differing["finished runs"] == [6, 10]
    assert "training.epochs" not in differing
    (claim,) = found["claims"]
    assert claim["relations"][0]["verdicts"] == ["confirmed", "contradicted"]
    assert [sentence.partition(":")[0] for sentence in claim["sentences"]] == ["reproduced", "contradicted"]
    out = study("compare", *small).out
    assert "confirmed +" in out
    assert "0 other relations have the same verdict" in out
    assert "no setting differs" in study("compare", small[0], small[0]).out


def test_whole_numbers_and_switches_that_differ_are_compared_in_json_too(study, tmp_path: Path) -> None:
    for name, changed in (("first", {}), ("second", {"budget": 40_000, "with_shared_rate": False})):
        Store.create(tmp_path / name, make_plan(EXPERIMENT.model_copy(update=changed)).experiment)
    found = json.loads(study("compare", tmp_path / "first", tmp_path / "second", "--json").out)
    differing = {row["setting"]: row["values"] for row in found["settings"]}
    assert differing == {"budget": [EXPERIMENT.budget, 40_000], "with_shared_rate": [True, False]}


def test_a_ranking_stated_now_takes_the_margins_of_the_claim_of_its_readout(study, tmp_path: Path) -> None:
    ranking, by = "C-C-C-C > ViT_REL", {"accuracy_at_matched_loss": 0.02, "final_test_accuracy": 0.01}
    claims = [Claim(ranking=ranking, readout=readout, epsilon=epsilon, delta=0.05) for readout, epsilon in by.items()]
    folder = results_folder(tmp_path / "two", results(("C-C-C-C", "ViT_REL")), claims)
    named = [word for readout in reversed(by) for word in ("--readout", readout)]
    for level in (0.05, 0.01):
        (verdict,) = json.loads(study("rank", folder, *named, "--claim", ranking, "--alpha", level, "--json").out)[
            "claims"
        ]
        stated = verdict["claim"]
        assert (stated["readout"], stated["epsilon"], stated["alpha"]) == ("final_test_accuracy", 0.01, level)
    for option in ("--alpha", "--epsilon", "--delta"):
        refused = study("rank", folder, option, 0.01)
        is_a_sentence(refused)
        assert "go with --claim" in refused.err


def test_what_was_not_claimed_is_one_labelled_line(study, small: tuple[Path, Path]) -> None:
    label = "not claimed beforehand: by train loss after equal samples C-C-C-C > ViT_REL (1 of 1 pairs apart)"
    said = [line for line in study("rank", small[0]).out.splitlines() if line.startswith(label)]
    assert len(said) == 1
    assert json.loads(study("rank", small[0], "--json").out)["not_claimed"] == said[0]
    assert "not claimed beforehand" not in study("rank", small[0], "--claim", "C-C-C-C > ViT_REL").out


def test_runs_that_were_stopped_are_not_counted_as_ended() -> None:
    run = Run(variant=TimmVariant(model="x"), data=Data(), training=Training(), seed=0, label="C-C-T-T")
    said, live = io.StringIO(), LiveDisplay(2)
    for display in (PlainDisplay(Console(file=said), 2), live):
        for how in ("checkpointed", "killed", "done"):
            display.started(run)
            display.ended(run, how)
    assert [line.rpartition(": ")[2] for line in said.getvalue().splitlines()[1::2]] == [
        "checkpointed (0 of 2 runs ended)", "killed (0 of 2 runs ended)", "done (1 of 2 runs ended)",
    ]  # fmt: skip
    assert live.finished == 1
    live.ended(run, "done")  # its record came from elsewhere: it was never seen to run
    assert live.finished == 2


def test_status_shows_step_and_time_left_of_a_run_at_work(study, tmp_path: Path) -> None:
    store = Store.create(tmp_path / "results", EXPERIMENT)
    run = make_plan(EXPERIMENT).runs[0]
    hold = attempts.take(store.add(run), Watch(60), "an-agent", "code")
    assert hold is not None
    assert f"{run.label} seed {run.seed}: starting (an-agent on" in study("status", store.folder).out
    hold.live = {"step": 3, "steps": 9, "loss": 1, "test_accuracy": None, "images_per_second": 5, "seconds_left": 61}
    hold.beat()
    assert "step 3/9" in study("status", store.folder).out
    assert "1:01 left" in study("status", store.folder).out
    shown = [row["live"] for row in json.loads(study("status", store.folder, "--json").out)["runs"] if "live" in row]
    assert [(live["step"], live["seconds_left"]) for live in shown] == [(3, 61)]
    hold.end("stopped")
