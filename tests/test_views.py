"""What is said of a folder: which seeds, at which level, which claims; and what no view leaves out."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from study import tracking
from study.analysis import readouts
from study.cli import app
from study.config import Claim
from study.report.console import finish_sweep, rank
from study.report.page import write_all
from study.report.sections import read_sections
from study.report.table import Table, show
from study.results import load
from study.sweep.store import Store
from tests.synthetic import results, results_folder

CLAIM = Claim(ranking="C-C-C-C > C-C-T-T > ViT_REL", readout="final_test_accuracy")


def printed(folder: Path) -> str:
    console = Console(file=StringIO(), width=200)
    rank(load(folder), console)
    return console.file.getvalue()


def in_looks(tmp_path: Path, taken: int) -> Path:
    """Eight seeds in looks at 5 and 8, of which some were taken."""
    folder = results_folder(tmp_path / "looks", results(seeds=range(8), noise=4), claims=(CLAIM,))
    planned = [{"number": 1, "seeds": 5, "alpha": 0.004}, {"number": 2, "seeds": 8, "alpha": 0.048}]
    looks = {"planned": planned, "taken": [{**look, "verdicts": ["as it was"]} for look in planned[:taken]]}
    (folder / "looks.json").write_text(json.dumps(looks))
    return folder


def test_after_a_look_everything_is_tested_at_its_level_on_its_seeds(tmp_path: Path) -> None:
    """Promise 1: it was tested again at the full α, on whatever seeds were there."""
    folder = in_looks(tmp_path, taken=1)
    (view,) = load(folder).views
    assert set(view.runs["seed"]) == set(range(5)) == set(view.curves["seed"])
    verdict = view.verdict(CLAIM)
    assert (verdict.alpha, verdict.variants[0].n) == (0.004, 5)
    assert len(load(folder).runs) == 40  # nothing is lost
    assert "α = 0.004" in printed(folder)
    assert read_sections([load(folder)])[0].claims[0].sentence == verdict.sentence
    other = load(folder).test("C-C-C-C > ViT_REL", readout="final_test_accuracy")
    assert other.alpha == 0.004  # what is thought of later does not peek either


def test_before_the_first_look_nothing_is_tested(tmp_path: Path) -> None:
    folder = in_looks(tmp_path, taken=0)
    out = printed(folder)
    assert "untested: its seeds come in looks, the first after 5, and nothing is tested before" in out
    assert "p (≠)" not in out


@pytest.mark.usefixtures("one_figure")
def test_a_subset_of_variants_says_what_is_not_tested_and_explores_all_pairs(tmp_path: Path) -> None:
    """Promise 3: the claims were left out without a word."""
    folder = results_folder(tmp_path / "subset", results(["C-C-T-T", "ViT_REL"], seeds=range(5)), claims=(CLAIM,))
    console = Console(file=StringIO(), width=200)
    finish_sweep(folder, console, console, as_json=False)
    out = console.file.getvalue()
    assert f"claimed   {CLAIM.ranking}" in out
    assert "untested: this experiment is without C-C-C-C" in out
    assert "no test of a claim made before" in out
    assert "C-C-T-T · ViT_REL" in out
    assert load(folder).view.explorations[0].verdict == "explored"
    assert "All pairs, explored" in write_all([folder], folder / "report.html")[1].read_text()


@pytest.mark.usefixtures("one_figure")
def test_variants_of_unlike_size_are_warned_about_in_the_terminal_and_in_the_report(tmp_path: Path) -> None:
    """Promise 10."""
    curves, runs = results(seeds=range(3))
    runs.loc[runs["variant"] == "ViT_REL", "parameters"] = 11_200_000
    folder = results_folder(tmp_path / "unlike", (curves, runs))
    warning = "Variants of unlike size: ViT_REL has 11,200,000 parameters"
    assert warning in printed(folder)
    assert warning in "".join(path.read_text() for path in write_all([folder], folder / "report.html")[1:])
    assert warning in (folder / "report.html").read_text()
    alike = results_folder(tmp_path / "alike", results(seeds=range(3)))
    assert not load(alike).view.cautions


def test_finished_runs_are_found_however_their_variants_are_spelt(tmp_path: Path) -> None:
    """Promise 5: "Without a result" of finished runs."""
    folder = results_folder(tmp_path / "spelt", results(["C-C-T-T", "ViT_REL"]))
    state = json.loads((folder / "experiment.json").read_text())
    del state["checksums"]  # as the first folders were written
    state["variants"] = ["cctt", "vit-rel"]
    (folder / "experiment.json").write_text(json.dumps(state))
    assert read_sections([load(folder)])[0].provenance.troubles == ()
    committed = folder / "runs"
    committed.rename(folder / "elsewhere")
    table = pd.read_csv(folder / "runs.csv")
    table.assign(variant=table["variant"].str.replace("C-C-T-T", "cctt")).to_csv(folder / "runs.csv", index=False)
    assert read_sections([load(folder)])[0].provenance.troubles == ()


def test_a_column_that_a_run_logs_reaches_the_tables_by_itself(tmp_path: Path) -> None:
    folder = results_folder(tmp_path / "logged", results(["C-C-T-T"], seeds=[0]))
    (run,) = (folder / "runs").iterdir()
    rows = [json.loads(line) | {"gradient_norm": 0.5} for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = json.loads((run / "result.json").read_text()) | {"final": rows[-1], "peak_memory": 7}
    (run / "result.json").write_text(json.dumps(result))
    load(folder).write_tables()
    assert (pd.read_csv(folder / "curves.csv")["gradient_norm"] == 0.5).all()
    assert pd.read_csv(folder / "runs.csv")[["final_gradient_norm", "peak_memory"]].to_numpy().tolist() == [[0.5, 7]]


def test_a_damaged_run_is_named_and_in_no_table(tmp_path: Path) -> None:
    folder = results_folder(tmp_path / "damaged", results(["C-C-C-C", "C-C-T-T"]))
    run = sorted((folder / "runs").iterdir())[0]
    (run / "metrics.jsonl").write_text("")
    found = load(folder)
    assert len(found.runs) == 5
    assert str(run) in found.damaged[0]
    assert str(run) in printed(folder).replace("\n", "")
    assert any(str(run) in trouble for trouble in read_sections([found])[0].provenance.troubles)


@pytest.mark.parametrize(("whole", "damaged"), [(b"epoch", b"epoc\xe8"), (b'"samples"', b'"sampler"')])
def test_a_run_with_a_flipped_bit_in_its_curve_is_shown_as_far_as_it_goes(
    tmp_path: Path, whole: bytes, damaged: bytes
) -> None:
    """It was a traceback."""
    folder = results_folder(tmp_path / "flipped", results(["C-C-T-T"], seeds=[0]))
    (curve,) = folder.glob("runs/*/metrics.jsonl")
    lines = curve.read_bytes().splitlines(keepends=True)
    curve.write_bytes(b"".join([*lines[:7], lines[7].replace(whole, damaged, 1), *lines[8:]]))
    answer = CliRunner().invoke(app, ["runs", str(folder), curve.parent.name])
    assert (answer.exit_code, answer.exception) == (0, None)
    assert "•" in answer.output


def test_each_readout_is_measured_once_and_each_file_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = results_folder(tmp_path / "once", results(seeds=range(3)))
    read, measured = [], []
    text, once = Path.read_text, readouts.measure
    monkeypatch.setattr(Path, "read_text", lambda path, *a, **k: read.append(path) or text(path, *a, **k))
    monkeypatch.setattr("study.analysis.views.measure", lambda name, *a: measured.append(name) or once(name, *a))
    write_all([folder], folder / "report.html", latex=True)
    own = [path for path in read if path.parent.parent == folder / "runs"]
    assert len(own) == len(set(own)) == 3 * 15
    assert len(measured) == len(set(measured)) == 3


def test_a_push_that_failed_is_told_by_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 7: it was 0."""
    folder = results_folder(tmp_path / "pushed", results(["C-C-T-T"], seeds=[0]))
    good, bad = tracking.Pushed("a", "C-C-T-T", 0, 20), tracking.Pushed("b", "C-C-T-T", 1, 0, error="no network")
    monkeypatch.setattr(tracking, "check", lambda mode: None)
    for found, code in (([good], 0), ([good, bad], 1)):
        monkeypatch.setattr(tracking, "push", lambda *given, found=found: found)
        answer = CliRunner().invoke(app, ["wandb", "push", str(folder)])
        assert answer.exit_code == code
    assert "1 of 2 runs were not pushed" in answer.output
    assert "no network" in answer.output


def test_labels_with_switches_survive_the_console() -> None:
    console = Console(file=StringIO(), width=100)
    show(Table("[bold]T", ("a[x=1]",), (("C-C-T-T[relative_bias=none]",),), ("see [relative_bias=none]",)), console)
    out = console.file.getvalue()
    assert out.count("[relative_bias=none]") == 2
    assert "[bold]T" in out
    assert "a[x=1]" in out


def test_the_store_and_the_reader_agree_on_where_results_are(tmp_path: Path) -> None:
    folder = results_folder(tmp_path / "plain", results(["C-C-T-T"]))
    assert load(folder).experiment == Store(folder).experiment
    assert [record.run.seed for record in load(folder).records] == [0, 1, 2]
