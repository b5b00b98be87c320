"""`--precision auto`: what the results folder holds, else whichever of fp32 and bf16 trains faster here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from study.cli import sweeps
from study.config import Training
from study.designs import Options, precision
from study.designs.precision import with_precision
from study.sweep.measure import Speed
from study.sweep.plan import customise, experiment_file, load_experiment, make_plan
from study.sweep.store import Store
from tests.test_designs import QUIET
from tests.test_fuzz import spoken

QUICK = load_experiment(experiment_file("quick"))


def measured(monkeypatch: pytest.MonkeyPatch, ratio: float, capability: str = "AVX512") -> list[Training]:
    """Recipes that were timed, where a step in fp32 takes `ratio` times as long as one in bf16."""
    timed: list[Training] = []

    def measure(networks, recipe, *rest):  # type: ignore[no-untyped-def]
        timed.append(recipe)
        return {label: Speed(ratio if recipe.precision == "fp32" else 1.0, 1.0) for label in networks}

    monkeypatch.setattr(precision, "measure", measure)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    return timed


@pytest.mark.parametrize(("ratio", "chosen"), [(1.9, "bf16"), (1.05, "fp32"), (0.02, "fp32")])
def test_the_faster_one_is_taken_where_it_is_worth_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: float, chosen: str
) -> None:
    timed = measured(monkeypatch, ratio)
    found = with_precision(QUICK, Options(out=tmp_path / "new", device="cpu"), QUIET)
    assert found.training == QUICK.training.model_copy(update={"precision": chosen})
    assert [recipe.precision for recipe in timed] == ["fp32", "bf16"]
    assert not (tmp_path / "new").exists()


def test_processors_without_instructions_for_it_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = measured(monkeypatch, 3.0, capability="AVX2")
    assert with_precision(QUICK, Options(out=tmp_path / "new", device="cpu"), QUIET) == QUICK
    assert timed == []


@pytest.mark.parametrize("held", ["fp32", "bf16"])
@pytest.mark.parametrize("where", [".", "tuning/a"])
def test_a_results_folder_keeps_its_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str, where: str
) -> None:
    timed = measured(monkeypatch, {"fp32": 5.0, "bf16": 0.1}[held])  # the other one would be chosen
    theirs = customise(QUICK, None, None, {"training.precision": held})
    Store.create(tmp_path / "old" / where, make_plan(theirs).experiment)
    found = with_precision(QUICK, Options(out=tmp_path / "old", device="cpu"), QUIET)
    assert found.training.precision == held
    assert timed == []


def test_agents_elsewhere_are_not_measured_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = measured(monkeypatch, 3.0)
    stated = customise(QUICK, None, None, {"training.precision": "bf16"})
    assert with_precision(stated, Options(out=tmp_path / "new", on="slurm"), QUIET) == stated
    assert with_precision(QUICK, Options(out=tmp_path / "new", on="slurm"), QUIET) == QUICK
    assert timed == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dataset", "npz:x.npz"], "bf16"),  # the study itself
        (["--dataset", "npz:x.npz", "--precision", "fp32"], "fp32"),
        (["--dataset", "npz:x.npz", "-o", "training.precision=fp32"], "fp32"),
        (["--precision", "auto"], "bf16"),
        ([], "fp32"),  # quick is as it is written
        (["--dataset", "npz:x.npz", "--precision", "auto", "--out", "old"], "fp32"),
    ],
)
@pytest.mark.parametrize("verb", ["sweep", "tune"])
def test_which_commands_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(precision, "_faster", lambda *_: ("bf16", "here"))
    Store.create(tmp_path / "old", make_plan(QUICK).experiment)
    designs: list[Any] = []
    monkeypatch.setattr(sweeps, "carry_out_and_show", lambda design, *_: designs.append(design))
    code, out, err = spoken(verb, *arguments)
    assert (code, [design.experiment.training.precision for design in designs]) == (0, [expected]), err
    assert ("precision " in out) == ("auto" in arguments or arguments == ["--dataset", "npz:x.npz"])


def test_other_verbs_do_not_know_auto() -> None:
    code, _, err = spoken("models", "--precision", "auto", "--no-speed")
    assert code == 2
    assert "fp32" in err
