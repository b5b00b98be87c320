"""The experiments that ship with the project: each one has its card, states claims that can be tested, and runs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from study.analysis.notation import canonical_label, parse_ranking
from study.analysis.readouts import find_readout
from study.config import Experiment
from study.sweep.plan import label_of, load_experiment, make_plan
from study.training.loop import train

FILES = sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))
ALL = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def shrunk(experiment: Experiment) -> Experiment:
    """The same networks, trained for two steps of eight images on one size of a handful of fractals."""
    fractals = experiment.data.fractals
    assert fractals is not None  # experiments run without a download
    few = {"train_images": 2 * fractals.classes, "test_images": fractals.classes}
    short = {"epochs": None, "samples": 16, "batch_size": 8, "eval_every": 2, "probe_size": 8}
    changes = {
        "data": experiment.data.model_copy(update={"train_size": None, "fractals": fractals.model_copy(update=few)}),
        "training": experiment.training.model_copy(update=short),
        "parts": (),
    }
    return experiment.model_copy(update=changes)


def test_the_papers_study_and_its_ablations_are_there() -> None:
    names = {path.stem for path in FILES}
    assert {"generalization", "transfer", "relative_attention", "layout_depths", "head_size_and_norm"} <= names
    assert {"stride_location", "attention_scope", "coat_lite"} <= names


@ALL
def test_an_experiment_has_a_card_and_claims_that_its_variants_can_answer(path: Path) -> None:
    card = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    for heading in ("Claim ", "Paper ", "Here ", "Command "):
        assert f"\n{heading}" in card
    experiment = load_experiment(path)
    labels = {canonical_label(label_of(name)) for name in experiment.variants}
    for claim in experiment.claims:
        assert labels >= set(parse_ranking(claim.ranking).variants)
        assert find_readout(claim.readout)
        assert claim.delta >= 2 * claim.epsilon
        assert claim.source


@ALL
def test_every_variant_of_an_experiment_takes_two_steps(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.data.stream.BLOCK", 16)  # images made at once
    plan = make_plan(shrunk(load_experiment(path)))
    runs = {run.label: run for run in plan.runs}
    assert runs.keys() == plan.variants.keys()
    for run in runs.values():
        result = train(run, tmp_path / run.id)
        assert result is not None
        assert (result["status"], result["steps"]) == ("ok", 2)
