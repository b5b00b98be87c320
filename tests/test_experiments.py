"""The experiments that ship with the project: each one has its card, states claims that can be tested, and runs."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import cast

import pytest

from study.analysis.readouts import find_readout
from study.config import Experiment, Fractals
from study.config.notation import parse_ranking
from study.designs.sizes import on_parts
from study.errors import StudyError
from study.sweep.plan import DataFacts, Facts, load_experiment, make_plan
from study.sweep.tuned import read_tuned
from study.training.loop import train

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
FILES = sorted(EXPERIMENTS.glob("*.py"))
ALL = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def shrunk(experiment: Experiment) -> Experiment:
    """The same networks, trained for two steps of eight images on one size of a handful of fractals."""
    fractals = experiment.data.fractals or Fractals(classes=10)  # in the place of data that have to be fetched
    few = {"train_images": 2 * fractals.classes, "test_images": fractals.classes}
    name = experiment.data.name if experiment.data.fractals else "fractals"
    data = {"name": name, "train_size": None, "validation": None, "fractals": fractals.model_copy(update=few)}
    short = {"epochs": None, "samples": 16, "batch_size": 8, "eval_every": 2, "evaluations": None, "probe_size": 8}
    changes = {
        "data": experiment.data.model_copy(update=data),
        "training": experiment.training.model_copy(update=short),
        "parts": (),
    }
    return experiment.model_copy(update=changes)


def test_the_papers_study_and_its_ablations_are_there() -> None:
    names = {path.stem for path in FILES}
    assert {"generalization", "transfer", "relative_attention", "layout_depths", "head_size_and_norm"} <= names
    assert {"stride_location", "attention_scope", "coat_lite"} <= names


def test_data_as_an_axis_has_the_study_itself_among_its_sizes() -> None:
    """Its runs at 10,000 images are those of `study sweep --dataset cifar100` at the frozen rates, by id."""
    cifar100 = DataFacts(classes=100, train_images=50_000, test_images=10_000, fingerprint="")
    few = DataFacts(classes=100, train_images=10_000, test_images=10_000, fingerprint="")
    facts = cast(Facts, lambda data: few if data.train_size else cifar100)
    axis = load_experiment(EXPERIMENTS / "generalization_data.py")
    main = load_experiment(EXPERIMENTS / "generalization.py")
    tuned = read_tuned(EXPERIMENTS.parent / "results/generalization-cifar100")
    assert tuned
    members = on_parts(axis, facts)
    assert list(members) == [2000, 10_000, 50_000]
    assert [run.id for run in make_plan(members[10_000], facts=facts).runs] == [
        run.id for run in make_plan(main.model_copy(update={"rates": tuned.rates}), facts=facts).runs[:25]
    ]


@ALL
def test_an_experiment_has_a_card_and_claims_that_its_variants_can_answer(path: Path) -> None:
    card = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    for heading in ("Claim ", "Paper ", "Here ", "Command "):
        assert f"\n{heading}" in card
    experiment = load_experiment(path)
    labels = set(experiment.variants)
    for claim in experiment.claims:
        assert labels >= set(parse_ranking(claim.ranking).variants)
        assert find_readout(claim.readout)
        assert claim.delta >= 2 * claim.epsilon
        assert claim.source


@pytest.fixture(scope="module")
def stepped() -> set[str]:
    """Ids of the runs that took their steps: shrunk, several experiments have the same ones."""
    return set()


@ALL
def test_every_variant_of_an_experiment_takes_two_steps(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stepped: set[str]
) -> None:
    monkeypatch.setattr("study.data.stream.BLOCK", 16)  # images made at once
    plan = make_plan(shrunk(load_experiment(path)))
    runs = {run.label: run for run in plan.runs}
    assert runs.keys() == plan.variants.keys()
    for run in runs.values():
        if run.id not in stepped:
            result = train(run, tmp_path / run.id)
            assert result is not None
            assert (result["status"], result["steps"]) == ("ok", 2)
            stepped.add(run.id)


def test_an_experiment_file_may_use_dataclasses_with_postponed_annotations(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from __future__ import annotations\nimport dataclasses\nfrom typing import ClassVar\nimport study\n"
        "@dataclasses.dataclass\nclass Sizes:\n    kind: ClassVar[str] = 'x'\n    budget: int = 1000\n"
        "experiment = study.Experiment(name='mine', budget=Sizes().budget)\n"
    )
    assert load_experiment(path).budget == 1000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("study.Claim(ranking='C-C-T-T >')", "malformed"),
        ("study.Claim(ranking='A > B', epsilon=0.02, delta=0.03)", "below twice epsilon"),
        ("study.Claim(ranking='A > B', alpha=2.0)", "alpha"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_a_file_that_cannot_be_used_gives_one_sentence_with_its_name(tmp_path: Path, line: str, said: str):
    path = tmp_path / "mine.py"
    path.write_text(f"import study\n{line}\nexperiment = study.Experiment(name='mine')\n")
    with pytest.raises(StudyError, match=said) as error:
        load_experiment(path)
    assert "mine.py" in str(error.value)
    assert "\n" not in str(error.value)
