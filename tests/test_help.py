"""--help fits 80 columns, cuts no word and ends with an example; the shell completes names and folders."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import study
from study.analysis.readouts import READOUTS
from study.cli import app, completion
from study.cli.help import LINES
from study.data import BUILT_IN
from study.models.published import PUBLISHED


def verbs(group: click.Group, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found += verbs(command, (*before, name)) if hasattr(command, "commands") else [(*before, name)]
    return found


VERBS = verbs(get_command(app))  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", [(), *VERBS], ids=" ".join)
def test_help_fits_80_columns_cuts_nothing_and_ends_with_an_example(verb: tuple[str, ...]):
    done = CliRunner().invoke(app, [*verb, "-h"], prog_name="study", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert done.exit_code == 0
    lines = done.output.rstrip().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in done.output
    assert not any(line.endswith("...") and "[" not in line for line in lines)
    assert not verb or "--json" in done.output
    example = " ".join(done.output.rpartition("Example: ")[2].split())
    assert example.startswith(" ".join(("study", *verb)))


def test_every_verb_has_a_line_that_fits():
    assert {" ".join(verb) for verb in VERBS} <= LINES.keys()
    listed = CliRunner().invoke(app, ["--help"], prog_name="study").output
    for verb in VERBS:
        if len(verb) == 1:
            assert LINES[verb[0]][0] in listed


def test_the_version_is_said():
    assert CliRunner().invoke(app, ["--version"]).output == f"study {study.__version__}\n"
    root = Path(__file__).parents[1]
    assert f"version: {study.__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"## {study.__version__}\n" in (root / "CHANGELOG.md").read_text()


def test_names_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert set(completion.PUBLISHED) == set(PUBLISHED)
    assert set(BUILT_IN) <= set(completion.DATA)
    (tmp_path / "mine.py").write_text("raise SystemExit")
    (tmp_path / "results" / "first").mkdir(parents=True)
    (tmp_path / "results" / "first" / "experiment.json").write_text("{}")
    (tmp_path / "results" / "more" / "second").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert completion.variants("ViT_REL,c-c-t") == ["ViT_REL,C-C-T-T"]
    assert completion.variants("mi") == ["mine.py:"]
    assert completion.datasets("cifar100") == ["cifar100", "cifar100-coarse"]
    assert completion.readouts("final_g") == ["final_gap"]
    assert "final_gap" in READOUTS
    assert completion.folders("") == ["results/first", "results/more/"]
    assert completion.folders("results/m") == ["results/more/"]
