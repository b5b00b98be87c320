"""Sequential seeds: looks are stated beforehand, each at its own level, and the sweep stops when all is decided."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from study.analysis.sequential import plan_looks
from study.config import Claim, Experiment
from study.errors import StudyError
from study.session import COMPLETE, INCOMPLETE, Options, Session
from study.sweep.store import Store
from tests.synthetic import results, results_folder

EASY = Claim(ranking="C-C-C-C >> ViT_REL", readout="final_test_accuracy", epsilon=0.01, delta=0.02)
HARD = Claim(ranking="twin_a ≈ twin_b", readout="final_test_accuracy", epsilon=0.0001, delta=0.02)

VARIANTS = ("C-C-C-C", "ViT_REL", "twin_a", "twin_b")  # the twins differ by noise alone


def session(tmp_path: Path, claim: Claim, monkeypatch: pytest.MonkeyPatch, codes: tuple[int, ...] = ()) -> Session:
    """A session whose sweeps are made up: every stage leaves results of the seeds that it was asked for."""
    asked: list[tuple[int, ...]] = []
    leave = iter(codes)

    def stage(self: Session, experiment: Experiment) -> tuple[Store, int]:
        asked.append(experiment.seeds)
        folder = tmp_path / f"results-{len(experiment.seeds)}"
        results_folder(folder, results(VARIANTS, seeds=experiment.seeds), claims=(claim,))
        return Store(folder), next(leave, COMPLETE)

    monkeypatch.setattr(Session, "_stage", stage)
    made = Session(
        Experiment(name="sequential", claims=(claim,)),
        Options(until_decided=True, max_seeds=20, device="cpu"),
        Console(file=(tmp_path / "said.txt").open("w")),
    )
    made.asked = asked  # type: ignore[attr-defined]
    return made


def test_a_clear_claim_is_decided_before_the_last_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = session(tmp_path, EASY, monkeypatch)
    store, code = made.run()
    assert code == COMPLETE
    assert made.asked[0] == (0, 1, 2, 3, 4)
    assert len(made.asked) < 4
    assert store is not None
    looks = json.loads((store.folder / "looks.json").read_text())
    planned = plan_looks(20, EASY.alpha)
    assert [look["alpha"] for look in looks["planned"]] == [look.alpha for look in planned]
    assert len(looks["taken"]) == len(made.asked)
    assert "reproduced" in looks["taken"][-1]["verdicts"][0]


def test_an_undecided_claim_uses_every_look_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = session(tmp_path, HARD, monkeypatch)
    made.run()
    assert [len(seeds) for seeds in made.asked] == [look.seeds for look in plan_looks(20, HARD.alpha)]


def test_an_interrupted_stage_ends_the_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = session(tmp_path, HARD, monkeypatch, codes=(COMPLETE, INCOMPLETE))
    _, code = made.run()
    assert code == INCOMPLETE
    assert len(made.asked) == 2


def test_seeds_beyond_a_look_are_left_out_of_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = session(tmp_path, EASY, monkeypatch)
    folder = results_folder(tmp_path / "more", results(seeds=range(10)), claims=(EASY,))
    (verdict,) = made._verdicts(Store(folder), plan_looks(20, EASY.alpha)[0])
    assert [variant.n for variant in verdict.variants] == [5, 5]
    assert verdict.alpha == plan_looks(20, EASY.alpha)[0].alpha


def test_without_a_claim_there_is_nothing_to_decide() -> None:
    with pytest.raises(StudyError, match="states no claim"):
        Session(Experiment(name="aimless"), Options(until_decided=True, device="cpu"), Console())
