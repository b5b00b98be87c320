"""What the documentation shows is run: the examples in docstrings, and the README's commands and Python."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import study
from study.cli import app
from study.designs import Options
from study.designs.base import folder_of
from study.sweep.plan import load_experiment
from tests.synthetic import results, results_folder

ROOT = Path(__file__).parents[1]
MODULES = [module.name for module in pkgutil.walk_packages(study.__path__, "study.")]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with made-up curves of five variants and three seeds."""
    return results_folder(tmp_path_factory.mktemp("example") / "results", results())


def test_examples_in_docstrings_hold(example: Path) -> None:
    attempted = 0
    for name in MODULES:
        outcome = doctest.testmod(importlib.import_module(name), extraglobs={"example": example})
        assert not outcome.failed, name
        attempted += outcome.attempted
    assert attempted >= 15


DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path
    for pattern in ("README.md", "docs/*.md", "results/*/README.md", "experiments/*.py")
    for path in sorted(ROOT.glob(pattern))
}


def commands(text: str) -> list[str]:
    """The `study ...` lines of a text, without comments; `a && b` are two."""
    lines = re.sub(r"\\+\n\s*", "", text).splitlines()
    found = [re.match(r"(?:Command)?\s*(study (?:.*?))(?:\s+#.*|\s{2,}\(.*\))?$", line) for line in lines]
    return [part.strip() for line in found if line for part in line[1].split("&&")]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_documented_command_exists_with_its_options(name: str) -> None:
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    stated = commands(DOCUMENTS[name].read_text(encoding="utf-8"))
    assert stated or name == "results/statistics/README.md"
    for command in stated:
        _, verb, *words = shlex.split(command)
        known = verbs[verb]
        if verb in ("data", "wandb"):
            known, words = known.commands[words[0]], words[1:]
        options = {option for parameter in known.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, command
        for path in (word for word in words if word.startswith("experiments/")):
            assert (ROOT / path).is_file(), command


def test_commands_that_read_results_work_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = 0
    for page in ("how-rankings-are-tested", "reading-the-report"):
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        for line in re.findall(r"^printf .*$", text, re.MULTILINE):
            subprocess.run(line, shell=True, check=True)
        for command in dict.fromkeys(commands(text)):
            _, verb, *words = shlex.split(command)
            for folder in (word for word in words if word.startswith("results/")):
                shutil.copytree(ROOT / folder, folder, dirs_exist_ok=True)
            if verb not in ("sweep", "report"):  # these take their time, and have tests of their own
                answer = CliRunner().invoke(app, [verb, *words])
                assert answer.exit_code == 0, command
                given += 1
    assert given >= 6


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda path: path.stem)
def test_the_default_folder_of_a_sweep_is_free_in_a_fresh_clone_or_continues(path: Path) -> None:
    experiment = load_experiment(path)
    for dataset in {experiment.data.name, "fractals", "cifar100", "cifar100-coarse", "cifar10"}:
        data = experiment.data.model_copy(update={"name": dataset})
        folder = folder_of(experiment.model_copy(update={"data": data}), Options())
        # what is committed there, which a README marks, has its records: the same command continues it
        committed = (ROOT / folder / "README.md").exists()
        of_sizes = (ROOT / folder / "members.json").exists()
        found = ["*/runs/*/result.json"] if of_sizes else ["runs/*/result.json", "tuning/*/runs/*/result.json"]
        records = [path for pattern in found for path in (ROOT / folder).glob(pattern)]
        assert not committed or (records and (of_sizes or (ROOT / folder / "experiment.json").exists()))


def test_links_of_the_documentation_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "LOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("results/**/*.md")]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    ]
    inside = [(page, link) for page, link in links if not link.startswith(("http", "#"))]
    assert len(inside) >= 10
    assert not [(page, link) for page, link in inside if not (page.parent / link.partition("#")[0]).exists()]


def written_tables(page: str) -> list[list[list[str]]]:
    """Rows with a deviation, of every table of a page that has some."""
    blocks = (ROOT / "results" / page).read_text().split("\n\n")
    rows = [[line.strip("| ").split(" | ") for line in block.splitlines() if line.startswith("|")] for block in blocks]
    return [found for each in rows if (found := [row for row in each if "±" in "".join(row[1:])])]


def told_cells(folder: str, readout: str) -> dict[str, str]:
    """`mean ± sd` in percent, by variant."""
    rows = study.load(ROOT / "results" / folder).summary(readout).itertuples()
    return {row.variant: f"{100 * row.mean:.2f} ± {100 * row.sd:.2f}" for row in rows}


@pytest.mark.parametrize(
    ("page", "folders", "others"),
    [
        ("REPORT.md", ["generalization-cifar100", "generalization_data-cifar100/50000-images"], 1),
        ("generalization-cifar100/README.md", ["generalization-cifar100"], 0),
        ("generalization_data-cifar100/README.md", ["generalization_data-cifar100/50000-images"], 0),
        ("generalization_small-cifar100-0-20/README.md", ["generalization_small-cifar100-0-20"], 0),
    ],
)
def test_the_main_tables_are_what_the_records_say(page: str, folders: list[str], others: int) -> None:
    """All cells with a deviation, of every table that has some, but for `others` at the page's end."""
    tables = written_tables(page)
    written = [{row[0]: sorted(cell for cell in row if "±" in cell) for row in rows} for rows in tables]
    told: list[dict[str, list[str]]] = []
    for folder in folders:
        final, matched = (told_cells(folder, each) for each in ("final_test_accuracy", "accuracy_at_matched_loss"))
        assert len(final) == 5
        told.append({variant: sorted([final[variant], matched[variant]]) for variant in final})
    assert written[: len(written) - others] == told


def test_the_tables_of_the_transfer_are_what_the_records_say() -> None:
    ends = {"pretrain": ("pretraining-cifar100-0-80", ""), "linear probe of random": ("probe", "[start=scratch]")}
    ends |= {"linear probe": ("probe", "")}
    for side in ("32", "48"):
        ends[f"fine-tuned, {side} px"] = (f"cifar100-80-100/{side}px", "")
        ends[f"from scratch, {side} px"] = (f"cifar100-80-100/{side}px", "[start=scratch]")
    probe = told_cells("linear-probe_cifar100-cifar100-80-100/32px", "final_test_accuracy")
    for page, rows in (("REPORT.md", 6), ("transfer_cifar100-pretraining-cifar100-0-80/README.md", 7)):
        table = written_tables(page)[-1]
        assert len(table) == rows
        for name, *cells in table:
            folder, start = next(end for prefix, end in ends.items() if name.startswith(prefix))
            told = probe if folder == "probe" else told_cells(f"transfer_cifar100-{folder}", "final_test_accuracy")
            assert cells[:3] == [told[layout + start] for layout in ("C-C-C-C", "C-C-T-T", "C-T-T-T")]
    (table,) = written_tables("linear-probe_cifar100-cifar100-80-100/README.md")
    assert table == [[layout, probe[layout], probe[f"{layout}[start=scratch]"]] for layout, *_ in table]
    assert len(table) == 3


def test_the_readmes_python_runs(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(block.replace("results/generalization-cifar100", str(example)), {})
    assert (tmp_path / "figure.pdf").exists()


def test_ci_runs_the_readmes_own_test_command() -> None:
    commands = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert [("pytest" in command, "study sweep" in command) for command in commands] == [(False, True), (True, False)]
    assert "README.md" in (ROOT / ".ci" / "run").read_text()
