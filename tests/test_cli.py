"""The command line: what users can mend is one sentence and exit code 2; what works prints tables or JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from study import environment
from study.config import Claim, Run
from study.sweep.store import STATES, Store
from tests.finished import pretend
from tests.test_sweep import EXPERIMENT, curves, wait_for, write_experiment

FAST = ["--jobs", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def experiment_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("experiment") / "tiny.py")


BAD_INPUT = {
    "an unknown data set": (["sweep", "--dataset", "cifar1000"], "cifar1000"),
    "an unknown variant": (["sweep", "--variants", "resnet"], "no variant 'resnet'"),
    "T before C": (["sweep", "--variants", "TTCC"], "constrains convolution stages to come before"),
    "no name after timm:": (["sweep", "--variants", "timm:"], "followed by the name of one of timm's networks"),
    "an unknown switch": (["sweep", "--variants", "cctt[colour=red]"], "'colour' is not one of"),
    "a switch's bad value": (["sweep", "--variants", "cctt[attention=nonlocal]"], "'global', 'local' or 'linear'"),
    "a variant named twice": (["sweep", "--variants", "cctt,C-C-T-T"], "named twice"),
    "an impossible budget": (["sweep", "--budget", "1K"], "the nearest has"),
    "a budget that is no number": (["sweep", "--budget", "huge"], "'huge' is not an amount"),
    "a side that does not divide": (["sweep", "--image-size", "36"], "32 and 40 would"),
    "an unknown setting": (["sweep", "-o", "training.momentum=0.9"], "'momentum' is not one of epochs"),
    "a setting of the wrong type": (["sweep", "-o", "training.lr=fast"], "training.lr"),
    "a setting without value": (["sweep", "-o", "training.lr"], "-o 'training.lr' is not key=value"),
    "a scheduler's without value": (["sweep", "--on", "slurm", "--slurm", "gpu"], "--slurm 'gpu' is not key=value"),
    "a setting of another executor": (["sweep", "--ray", "num_gpus=1"], "--ray num_gpus=1 goes with --on ray"),
    "no seeds": (["sweep", "--seeds", "none"], "list of whole numbers"),
    "a bad duration": (["sweep", "--time-limit", "soon"], "not a duration"),
    "a device that is not here": (["sweep", "--device", "cuda:99"], "cuda"),
    "an experiment file that is missing": (["sweep", "nowhere.py"], "no experiment file nowhere.py"),
    "a batch larger than the data": (["sweep", "--batch-size", "5000"], "fewer than one batch of 5000"),
    "more images than there are": (["sweep", "--train-size", "1000000"], "1000000"),
    "an unknown W&B mode": (["sweep", "--wandb", "maybe"], "off, offline, online"),
    "looks without a claim": (["sweep", "TINY", "--until-decided"], "states no claim"),
    "a folder without results": (["status", "."], "not a results folder"),
    "a ranking without margins": (["rank", "--csv", "x.csv", "--claim", "a > b"], "margins are chosen before"),
    "nothing to rank": (["rank"], "either a results folder or --csv"),
    "an unknown figure": (["plot", ".", "pie"], "the figures are train_loss, "),
    "an unknown published size": (["models", "--variants", "coatnet_9"], "coatnet_9"),
    "a cut to no class": (["models", "--dataset", "cifar100[80:20]", "--no-speed"], "FIRST:LAST must lie in 0:100"),
    "a W&B mode to push with": (["wandb", "push", ".", "--mode", "off"], "choose online or offline"),
    "a side among a transfer's settings": (["transfer", ".", "-o", "data.image_size=64"], "--image-size choose"),
    "a size of what is pretrained": (["transfer", ".", "-o", "blocks.head_dim=64"], "takes that from its pretraining"),
    "a folder of images without classes": (["data", "show", "folder:."], "train"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_sentence_and_exit_code_2(case: str, study, experiment_file: Path, tmp_path: Path) -> None:
    arguments, expected = BAD_INPUT[case]
    arguments = [str(experiment_file) if argument == "TINY" else argument for argument in arguments]
    if arguments[0] == "sweep":
        arguments = [*arguments, "--out", str(tmp_path / "results")]
    answer = study(*arguments)
    assert answer.code == 2
    assert expected in answer.err
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert "Traceback" not in answer.err
    assert not (tmp_path / "results").exists()


def test_a_corrupt_archive_is_one_sentence(study, tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(b"\x1f\x8b truncated on the way")
    answer = study("sweep", "--dataset", "cifar100", "--data-dir", tmp_path, "--out", tmp_path / "results")
    assert answer.code == 2
    assert "cifar-100-python.tar.gz" in answer.err
    assert answer.err.count("\n") == 1


def test_an_archive_that_holds_something_else_is_one_sentence(study, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not images")
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "note.txt", "note.txt")
    answer = study("data", "show", "cifar100", "--data-dir", tmp_path, "--out", tmp_path / "sheet.png")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "sheet.png").exists()


def test_a_dry_run_says_how_long_it_will_take_and_writes_nothing(
    study, experiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda run: 0.5)
    answer = study("sweep", experiment_file, "--dry-run", "--out", tmp_path / "results", *FAST)
    assert answer.code == 0
    assert "2 runs to go, 1 at a time on cpu: about " in answer.out
    assert not (tmp_path / "results").exists()


@pytest.fixture(scope="module")
def swept(experiment_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A real `study sweep` as a user starts it, with two seeds."""
    folder = tmp_path_factory.mktemp("swept") / "results"
    command = [sys.executable, "-m", "study", "sweep", experiment_file, "--out", folder, "--seeds", "0,1", *FAST]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_sweep_ends_with_the_ranking_and_the_paths(swept: tuple[Path, str]) -> None:
    folder, out = swept
    assert "4 runs to go, 1 at a time on cpu: about " in out  # measured
    assert "Final test accuracy" in out
    assert out.index("C-C-T-T seed 0") < out.index("Final test accuracy")
    for path in (folder / "runs.csv", folder / "curves.csv", folder / "figures" / "accuracy_at_loss.svg"):
        assert str(path) in out
        assert path.stat().st_size > 0
    assert (folder / "figures" / "gap_curve.svg").exists()
    assert json.loads((folder / "environments.json").read_text())[0]["device"] == "cpu"
    assert "sweep" in (folder / "commands.txt").read_text()
    assert f"study report {folder}" in out


def test_code_that_changed_between_two_starts_is_said(
    study, experiment_file: Path, swept: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    again = ("sweep", experiment_file, "--out", swept[0], "--seeds", "0,1", "--dry-run")
    assert "other code" not in study(*again).out
    for module in ("study.environment", "study.designs.base"):
        monkeypatch.setattr(f"{module}.code_version", lambda: "0123456789ab")
    was = json.loads((swept[0] / "environments.json").read_text())[0]["code"]
    said = f"runs here were made or begun by other code ({was}); this is 0123456789ab"
    assert said in study(*again).out


def test_commits_that_leave_the_package_alone_are_the_same_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(path: str, text: str) -> str:
        (tmp_path / path).write_text(text)
        git("add", ".")
        git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", path)
        return environment.code_version()

    def git(*arguments: str) -> None:
        plain = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}  # nobody's hooks, and no signature
        subprocess.run(["git", *arguments], cwd=tmp_path, env=plain, check=True)

    git("init", "-q")
    (tmp_path / "study").mkdir()
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "study" / "environment.py"))
    first, second = commit("study/a.py", "1"), commit("README.md", "2")
    assert first != second
    assert environment.same_code(first)
    third = commit("study/a.py", "3")
    assert [environment.same_code(each) for each in (first, second, third, "unknown")] == [False, False, True, False]
    (tmp_path / "study" / "a.py").write_text("4")
    assert not environment.same_code(third)


def test_verdicts_come_with_the_last_run_and_not_before(study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.report.console.plot_all", lambda *given, **more: [])  # other tests look at figures
    claiming = EXPERIMENT.model_copy(
        update={
            "seeds": (0, 1, 2),
            "claims": (Claim(ranking=" > ".join(EXPERIMENT.variants[:2]), readout="final_test_accuracy"),),
        }
    )
    sweep = ["sweep", write_experiment(tmp_path / "claiming.py", claiming), "--out", tmp_path / "results"]
    runs = len(EXPERIMENT.variants) * 3

    def accuracy(run: Run) -> float:
        return 0.9 - 0.1 * EXPERIMENT.variants.index(run.label) + 0.001 * run.seed

    pretend(monkeypatch, accuracy, stop_after=runs - 1)
    stopped = study(*sweep)
    assert stopped.code == 3
    assert "Final test accuracy" in stopped.out
    assert "claimed " not in stopped.out
    assert json.loads(study(*sweep, "--json").out)["claims"] == []
    pretend(monkeypatch, accuracy)
    done = study(*sweep)
    assert done.code == 0
    assert "reproduced: 1 confirmed" in done.out
    assert json.loads(study(*sweep, "--json").out)["claims"][0]["verdict"] == "reproduced"


def test_status_counts_every_state(swept: tuple[Path, str], study) -> None:
    answer = study("status", swept[0], "--json")
    found = json.loads(answer.out)
    assert found["counts"] == {"done": 4} | dict.fromkeys(set(STATES) - {"done"}, 0)
    assert {(run["variant"], run["seed"]) for run in found["runs"]} == {
        (v, s) for v in EXPERIMENT.variants for s in (0, 1)
    }
    assert "4 done" in study("status", swept[0]).out


def test_rank_gives_mean_sd_n_and_each_seeds_value(swept: tuple[Path, str], study) -> None:
    found = json.loads(study("rank", swept[0], "--readout", "final_test_accuracy", "--json").out)
    ranking = found["readouts"]["final_test_accuracy"]["ranking"]
    last = curves(Store(swept[0])).groupby("run").last()
    for row in ranking:
        values = last[last["variant"] == row["variant"]]["test_accuracy"]
        assert row["n"] == 2
        assert row["mean"] == pytest.approx(values.mean())
        assert row["sd"] == pytest.approx(values.std())
        assert sorted([row["seed 0"], row["seed 1"]]) == pytest.approx(sorted(values))
    assert ranking[0]["mean"] >= ranking[1]["mean"]


def test_a_ranking_stated_after_the_runs_is_called_an_exploration(swept: tuple[Path, str], study) -> None:
    answer = study("rank", swept[0], "--claim", "cctt > vitrel", "--readout", "final_test_accuracy")
    assert answer.code == 0
    assert "C-C-T-T > ViT_REL" in answer.out
    assert "an exploration" in answer.out


def test_rank_takes_any_table(study, tmp_path: Path) -> None:
    rows = [
        f"{variant},{seed},{value + seed / 100}" for variant, value in (("a", 1.0), ("b", 2.0)) for seed in range(5)
    ]
    (tmp_path / "table.csv").write_text("\n".join(["variant,seed,value", *rows]))
    table = ["rank", "--csv", tmp_path / "table.csv", "--epsilon", "0.1", "--delta", "0.2", "--json"]
    assert json.loads(study(*table, "--claim", "b >> a").out)["verdict"] == "reproduced"
    assert json.loads(study(*table, "--claim", "a > b").out)["verdict"] == "contradicted"
    assert json.loads(study(*table, "--claim", "a > b", "--smaller-is-better").out)["verdict"] == "reproduced"


@pytest.mark.usefixtures("one_figure")
def test_plot_and_report_are_remade_from_the_tables_alone(swept: tuple[Path, str], study, tmp_path: Path) -> None:
    copy = tmp_path / "committed"
    copy.mkdir()
    for name in ("experiment.json", "claims.json", "runs.csv", "curves.csv", "environments.json"):
        (copy / name).write_bytes((swept[0] / name).read_bytes())
    assert study("plot", copy, "gap_curve", "stages", "--png").code == 0
    named = {f"{name}.{kind}" for name in ("gap_curve", "stages") for kind in ("svg", "pdf", "png")}
    assert {path.name for path in (copy / "figures").iterdir()} == named
    missing = study("plot", copy, "relative_bias")
    assert (missing.code, "no weights of finished runs are here" in missing.err) == (2, True)
    original = (swept[0] / "figures" / "gap_curve.svg").read_bytes()
    assert (copy / "figures" / "gap_curve.svg").read_bytes() == original
    assert study("report", copy, "--latex").code == 0
    assert {path.suffix for path in copy.glob("report.*")} == {".html", ".md", ".tex"}


def test_a_full_folder_of_another_experiment_is_refused(
    swept: tuple[Path, str], study, experiment_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("study.designs.base.measure")  # it is refused before speeds are measured
    answer = study("sweep", experiment_file, "--epochs", "7", "--out", swept[0], *FAST)
    assert answer.code == 2
    assert "training.epochs is 2, asked for 7" in answer.err


def test_models_lists_sizes_within_one_percent(study) -> None:
    answer = study("models", "--budget", "500K", "--geometry", "cheap", "--no-speed", "--json")
    rows = json.loads(answer.out)
    assert [row["variant"] for row in rows[:5]] == ["ViT_REL", "C-C-C-C", "C-C-C-T", "C-C-T-T", "C-T-T-T"]
    assert all(abs(row["parameters"] / 500_000 - 1) <= 0.01 for row in rows[:5])
    assert all(row["macs"] > 0 and row["activation_bytes"] > 0 for row in rows[:5])


def test_data_show_writes_a_contact_sheet(study, tmp_path: Path) -> None:
    answer = study("data", "show", "fractals", "--out", tmp_path / "sheet.png", "-o", "data.fractals.classes=3")
    assert answer.code == 0
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_help_is_quick_to_import() -> None:
    """The verbs import what is heavy: --help needs none of it."""
    heavy = ["torch", "pandas", "matplotlib", "scipy", "wandb", "timm"]
    code = f"import sys, study.cli; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_while_planning_leaves_with_the_exit_code_of_an_interruption(tmp_path: Path, number: int) -> None:
    path = tmp_path / "slow.py"
    path.write_text(f"import pathlib, time\npathlib.Path({str(tmp_path / 'began')!r}).touch()\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "study", "sweep", path]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    wait_for(lambda: (tmp_path / "began").exists() or process.poll() is not None)
    process.send_signal(number)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 3
    assert "the same command continues" in said
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name != "__pycache__"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_before_anything_heavy_is_imported(number: int) -> None:
    code = f"""
import os, sys

class Signals:
    def find_spec(self, name, *rest):
        assert name not in ("pydantic", "typer", "torch")
        if name == "study.cli":
            os.kill(os.getpid(), {int(number)})

sys.meta_path.insert(0, Signals())
from study.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.endswith("; the same command continues\n")
    assert "Traceback" not in done.stderr
