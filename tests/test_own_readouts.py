"""Readouts of the user's own: tried before any run, measured when a sweep ends, read as data ever after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

import study
from study.analysis.own_readouts import NAME, find_own, made_up, value_of
from study.config import Claim, Run
from study.designs import COMPLETE, InLooks, Options, Plain, Sizes, carry_out
from study.errors import StudyError
from study.report.console import rank, scale
from study.report.page import write_all
from study.results import load
from study.sweep.claims import read_claims
from study.sweep.plan import Facts, load_experiment
from tests.finished import pretend
from tests.synthetic import results, results_folder

FILE = '''
import study

@study.readout(unit="epochs", larger_is_better=False)
def epochs_to_half(curve):
    """Epochs until the train loss is at half of its first value."""
    below = curve[curve["probe_loss"] <= curve["probe_loss"].iloc[0] / 2]
    return None if below.empty else below["epoch"].iloc[0]

experiment = study.Experiment(
    name="tiny",
    data=study.Data(image_size=16, fractals=study.Fractals(classes=4, train_images=100, test_images=40)),
    training=study.Training(epochs=2, batch_size=16, probe_size=32),
    variants=("C-C-T-T", "ViT_REL"),
    seeds=(0, 1, 2),
    budget=60_000,
    claims=(study.Claim(ranking="C-C-T-T > ViT_REL", readout=epochs_to_half, epsilon=0.1, delta=0.5),),
)
'''
KEY = "own.py:epochs_to_half"
QUIET = Console(quiet=True)


def accuracy(run: Run) -> float:
    return 0.5 + 0.1 * (run.label == "C-C-T-T") + 0.01 * run.seed


pytestmark = pytest.mark.usefixtures("one_figure")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment file with a readout of its own; sweeps of it end at once."""
    pretend(monkeypatch, accuracy)
    (tmp_path / "own.py").write_text(FILE)
    return tmp_path / "own.py"


def sweep(file: Path) -> Path:
    options = Options(out=file.parent / "out", device="cpu")
    assert carry_out(Plain(load_experiment(file), options), options, QUIET).code == COMPLETE
    return file.parent / "out"


def test_a_function_of_the_experiment_file_is_read_from_the_folder_without_the_file(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep(file)
    file.unlink()
    found = load(folder)
    assert found.experiment.claims[0].readout == KEY
    assert found.readout(KEY)["value"].tolist() == [1.0] * 6  # the second row of every made-up run: an epoch
    (verdict,) = found.view.verdicts
    assert not verdict.larger_is_better
    assert "one and the same value" in verdict.untested
    rank(found, Console(width=200))
    assert "Epochs to half, epochs" in capsys.readouterr().out
    write_all([folder], folder / "report.html", False)
    page = (folder / "report.html").read_text()
    assert "epochs to half" in page
    assert "Epochs until the train loss is at half of its first value." in page


def test_its_direction_and_unit_are_those_that_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("def last_lr(curve):\n    return curve['lr'].iloc[-1]\n")
    (tmp_path / "own.py").write_text(FILE)
    files = {name: str(tmp_path / name) for name in ("plain.py", "own.py")}
    _, plain = find_own("plain.py:last_lr", files)
    _, marked = find_own(KEY, files)
    assert (plain.title, plain.unit, plain.larger_is_better) == ("last lr", "", True)
    assert (marked.title, marked.unit, marked.larger_is_better) == ("epochs to half", "epochs", False)


def test_opening_a_folder_runs_nothing_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = results_folder(tmp_path / "out", results(("A", "B")), (Claim(ranking="A > B"),))
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef spring(curve):\n    return 1.0\n")
    monkeypatch.chdir(tmp_path)
    state = json.loads((folder / "experiment.json").read_text())
    del state["checksums"]  # as who means harm would
    state["claims"][0]["readout"], state["files"] = "trap.py:spring", {"trap.py": str(trap)}
    facts = {"title": "spring", "source": "0" * 12}
    for readouts in ({}, {"trap.py:spring": facts}):
        (folder / "experiment.json").write_text(json.dumps(state | {"readouts": readouts}))
        found = load(folder)
        try:
            rank(found, QUIET)
            found.summary(found.experiment.claims[0].readout)
            write_all([folder], folder / "report.html", False)
        except StudyError as error:
            assert "there is no readout 'trap.py:spring'" in str(error)  # noqa: PT017
    assert not (tmp_path / "ran").exists()
    assert "Not measured: A seed 0" in " ".join(load(folder).measure("trap.py:spring").notes)


def test_values_that_were_changed_by_hand_are_noticed(file: Path) -> None:
    folder = sweep(file)
    text = (folder / NAME).read_text()
    (folder / NAME).write_text(text.replace("1.0", "9.0", 1))
    with pytest.raises(StudyError, match=r"readouts\.json is damaged"):
        load(folder).readout(KEY)


def test_an_edited_readout_is_another_claim_and_says_when_it_was_stated(file: Path) -> None:
    folder = sweep(file)
    file.write_text(FILE.replace("iloc[0] / 2]", "iloc[0] / 3]"))
    assert sweep(file) == folder
    assert load(folder).readout(KEY)["value"].isna().all()
    assert [entry["runs_done"] for entry in load(folder).claims_history] == [0, 6]
    write_all([folder], folder / "report.html", False)
    assert "when 6 runs were done" in (folder / "report.html").read_text()


BAD = {
    "two arguments": ("def bad(curve, run):\n    return 1.0", r"takes \(curve, run\): a readout is called with one"),
    "beyond floats": ("def bad(curve):\n    return -(10**400)", "returned -inf: a readout is one finite number"),
    "infinite": ("def bad(curve):\n    return float('inf')", "returned inf: a readout is one finite number"),
    "an array": ("def bad(curve):\n    return curve['lr'].to_numpy()", r"returned an array of shape \(2,\)"),
    "a truth value": ("def bad(curve):\n    return True", "returned bool"),
    "raises": ("def bad(curve):\n    return curve['no column']", r"own\.py, line 5: bad raised KeyError: 'no column'"),
    "no function": ("bad = 3", "defines no function bad"),
}


@pytest.mark.parametrize(("body", "said"), BAD.values(), ids=BAD)
def test_what_does_not_work_is_one_sentence_before_anything_is_written(file: Path, body: str, said: str) -> None:
    text = FILE.replace("readout=epochs_to_half", "readout='own.py:bad'")
    file.write_text(text.replace("\nimport study\n", f"\nimport study\n\n{body}\n", 1))
    with pytest.raises(StudyError, match=said):
        sweep(file)
    assert not (file.parent / "out").exists()


def test_a_function_without_a_name_to_be_found_by_is_refused(file: Path) -> None:
    file.write_text(FILE.replace("readout=epochs_to_half", "readout=lambda curve: 1.0"))
    with pytest.raises(StudyError, match="top level of a file"):
        load_experiment(file)


def test_what_fails_on_a_run_is_said_with_the_run_and_the_others_have_their_values(file: Path) -> None:
    body = "    if curve['seed'].iloc[0] == 2 and curve['step'].iloc[0] == 5:\n        1 / 0\n"
    file.write_text(FILE.replace("    below =", f"{body}    below ="))
    with pytest.raises(StudyError, match=r"C-C-T-T seed 2: .*ZeroDivisionError.* without training again"):
        sweep(file)
    measured = load(file.parent / "out").measure(KEY)
    assert measured.values.notna().sum() == 4
    assert "ZeroDivisionError" in " ".join(measured.notes)
    file.write_text(FILE)
    assert load(sweep(file)).measure(KEY).values.notna().all()


def test_looks_and_sizes_test_it_too(file: Path) -> None:
    experiment, facts = load_experiment(file), Facts()
    options = Options(out=file.parent / "looks", device="cpu")
    carry_out(InLooks(experiment, options, QUIET, 4), options, QUIET)
    assert "one and the same value" in load(file.parent / "looks").looks.last.verdicts[0]  # type: ignore[union-attr]
    options = Options(out=file.parent / "sizes", device="cpu")
    carry_out(Sizes(experiment.model_copy(update={"parts": (0.5, 1.0)}), options, facts), options, QUIET)
    file.unlink()
    found = load(file.parent / "sizes")
    scale(found, QUIET)
    assert [each.readout for each in found.by_size] == ["epochs to half"] * 2


def test_a_notebook_gives_a_function(tmp_path: Path) -> None:
    curves, runs = results(("C-C-T-T", "ViT_REL"))
    found = load(results_folder(tmp_path / "out", (curves, runs), ()))

    @study.readout(unit="nats", larger_is_better=False)
    def lowest(curve):  # type: ignore[no-untyped-def]
        return curve["test_loss"].min()

    first = curves.groupby(["variant", "seed"])["test_loss"].min()
    assert found.readout(lowest).set_index(["variant", "seed"])["value"].to_dict() == pytest.approx(first.to_dict())
    assert found.summary(lowest)["mean"].is_monotonic_increasing
    verdict = found.test("C-C-T-T > ViT_REL", readout=lowest, epsilon=0.001, delta=0.01)
    assert verdict.pairs[0].first == "C-C-T-T"
    assert found.forest(verdict).axes

    def lowest(curve):  # type: ignore[no-untyped-def]
        return 0.0

    assert found.readout(lowest)["value"].eq(0).all()  # the cell was edited: not the old values


def test_the_command_line_names_a_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = results_folder(file.parent / "other", results(("C-C-T-T", "ViT_REL")), ())
    rank(load(folder), Console(width=200), readouts=[f"{file}:epochs_to_half"])
    assert "Epochs to half" in capsys.readouterr().out


def test_the_curve_that_a_readout_is_tried_on_is_as_long_as_those_to_come(file: Path) -> None:
    experiment = load_experiment(file)
    curve = made_up(experiment, 100)
    assert curve["step"].tolist() == list(experiment.training.evaluation_points(100))
    assert curve["epoch"].iloc[-1] == 2.0
    assert value_of(find_own(KEY, experiment.files)[0], curve, KEY) == 2.0


def test_what_the_folder_keeps_of_claims_without_own_readouts_is_what_it_always_was(tmp_path: Path) -> None:
    folder = results_folder(tmp_path / "out", results(("A", "B")), (Claim(ranking="A > B"),))
    assert set(read_claims(folder)[0]) == {"stated", "runs_done", "claims", "checksums"}
