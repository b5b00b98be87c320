"""Designs: one loop over members, one set of stop rules; looks that are frozen; a dry run that writes nothing."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import fields
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from study.analysis.sequential import plan_looks
from study.cli.sweeps import sweep
from study.config import Claim, Data, Experiment, Fractals, Run, Training
from study.designs import COMPLETE, FAILURES, INCOMPLETE, InLooks, Options, Plain, Sizes, base, carry_out, check_claims
from study.designs.sizes import on_parts
from study.errors import StudyError
from study.results import load
from study.sweep import attempts
from study.sweep.looks import Looks, plan_is_free, read_looks, write_looks
from study.sweep.plan import Facts, make_plan
from study.sweep.store import Store, stop
from tests.finished import FakeDrive, pretend

EASY = Claim(ranking="C-C-C-C >> ViT_REL", readout="final_test_accuracy", epsilon=0.01, delta=0.02)
HARD = Claim(ranking="C-C-C-C ≈ C-C-T-T", readout="final_test_accuracy", epsilon=0.0001, delta=0.02)
EXPERIMENT = Experiment(
    name="sequential",
    data=Data(image_size=16, fractals=Fractals(classes=4, train_images=100, test_images=40)),
    training=Training(epochs=1, batch_size=16, probe_size=32),
    variants=("C-C-C-C", "C-C-T-T", "ViT_REL"),
    budget=60_000,
    claims=(EASY,),
)
QUIET = Console(quiet=True)


def accuracy(run: Run) -> float:
    """C-C-C-C and C-C-T-T differ by noise alone, ViT_REL by ten points."""
    noise = (int(run.id[:6], 16) / 16**6 - 0.5) / 100
    return {"C-C-C-C": 0.5, "C-C-T-T": 0.5, "ViT_REL": 0.4}[run.label] + noise


def in_looks(tmp_path: Path, claim: Claim, max_seeds: int = 20, say: Console = QUIET) -> tuple[InLooks, Options]:
    options = Options(out=tmp_path / "looks", device="cpu")
    return InLooks(EXPERIMENT.model_copy(update={"claims": (claim,)}), options, say, max_seeds), options


def seeds_made(drive: FakeDrive) -> int:
    return len({run.seed for _, run in drive.ended})


def test_a_clear_claim_is_decided_before_the_last_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive = pretend(monkeypatch, accuracy)
    said = Console(file=StringIO(), width=200)
    design, options = in_looks(tmp_path, EASY, say=said)
    assert carry_out(design, options, QUIET).code == COMPLETE
    assert seeds_made(drive) < 20
    looks = read_looks(design.folder)
    assert looks is not None
    assert [look.alpha for look in looks.planned] == [look.alpha for look in plan_looks(20, EASY.alpha)]
    assert looks.taken[-1].seeds == seeds_made(drive)
    assert looks.taken[-1].decided
    assert "reproduced" in looks.taken[-1].verdicts[0]
    assert said.file.getvalue().endswith("no further seeds are needed\n")  # type: ignore[attr-defined]


def test_the_headline_after_a_look_is_its_verdict_at_its_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, accuracy)
    design, options = in_looks(tmp_path, EASY)
    carry_out(design, options, QUIET)
    taken = read_looks(design.folder).last  # type: ignore[union-attr]
    (verdict,) = load(design.folder).view.verdicts
    assert verdict.alpha == taken.alpha < EASY.alpha
    assert f"{verdict.ranking}: {verdict.sentence}" == taken.verdicts[0]


def test_an_undecided_claim_uses_every_look_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive = pretend(monkeypatch, accuracy)
    design, options = in_looks(tmp_path, HARD)
    carry_out(design, options, QUIET)
    assert seeds_made(drive) == 20
    taken = read_looks(design.folder).taken  # type: ignore[union-attr]
    assert [look.seeds for look in taken] == [look.seeds for look in plan_looks(20, HARD.alpha)]
    ended = len(drive.ended)
    carry_out(design, options, QUIET)  # a look that was taken is not taken again
    assert len(drive.ended) == ended
    assert read_looks(design.folder).taken == taken  # type: ignore[union-attr]


def test_the_first_look_freezes_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, accuracy)
    design, options = in_looks(tmp_path, HARD, max_seeds=10)
    carry_out(design, options, QUIET)
    before = (design.folder / "looks.json").read_text()
    other, options = in_looks(tmp_path, HARD, max_seeds=20)
    with pytest.raises(StudyError, match="its first look froze"):
        carry_out(other, options, QUIET)
    assert (design.folder / "looks.json").read_text() == before


def test_a_level_that_another_machine_solves_to_other_last_digits_is_the_same_plan(tmp_path: Path) -> None:
    plan = plan_looks(20, 0.05)
    write_looks(tmp_path, Looks(planned=plan))
    there = tuple(look.model_copy(update={"alpha": look.alpha * (1 + 1e-9)}) for look in plan)
    assert plan_is_free(tmp_path, there).planned == plan
    for other in (plan[:-1], (*plan[:-1], plan[-1].model_copy(update={"alpha": plan[-1].alpha * 1.001}))):
        with pytest.raises(StudyError, match="its first look froze"):
            plan_is_free(tmp_path, other)


def test_looks_begin_at_the_experiments_first_seed_and_other_runs_there_change_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = pretend(monkeypatch, accuracy)
    experiment = EXPERIMENT.model_copy(update={"claims": (HARD,), "seeds": (5, 6)})
    options = Options(out=tmp_path / "looks", device="cpu")
    before = EXPERIMENT.model_copy(update={"claims": (HARD,), "seeds": (2, 3)})
    carry_out(Plain(before, options), options, QUIET)
    carry_out(InLooks(experiment, options, QUIET, 10), options, QUIET)
    assert {run.seed for _, run in drive.ended} == {2, 3, *range(5, 15)}
    taken = read_looks(options.out).last  # type: ignore[union-attr, arg-type]
    (verdict,) = load(options.out).view.verdicts  # type: ignore[arg-type]
    assert f"{verdict.ranking}: {verdict.sentence}" == taken.verdicts[0]
    with pytest.raises(StudyError, match="from 5 on, which its first look froze"):
        carry_out(InLooks(before, options, QUIET, 10), options, QUIET)
    with pytest.raises(StudyError, match="one seed after the other"):
        InLooks(EXPERIMENT.model_copy(update={"seeds": (0, 2)}), options, QUIET, 10)


def test_a_look_is_recorded_only_with_all_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, accuracy, stop_after=3 * 5 - 1)
    design, options = in_looks(tmp_path, HARD)
    assert carry_out(design, options, QUIET).code == INCOMPLETE
    assert read_looks(design.folder) is None
    pretend(monkeypatch, accuracy)
    assert carry_out(design, options, QUIET).code == COMPLETE
    assert len(read_looks(design.folder).taken) == 4  # type: ignore[union-attr]


def test_without_a_claim_or_with_sizes_there_are_no_looks() -> None:
    aimless = EXPERIMENT.model_copy(update={"claims": ()})
    with pytest.raises(StudyError, match="states no claim"):
        InLooks(aimless, Options(), QUIET, 20)
    with pytest.raises(StudyError, match="--until-decided"):
        InLooks(EXPERIMENT.model_copy(update={"parts": (0.5, 1.0)}), Options(), QUIET, 20)


def test_a_claim_about_a_variant_that_is_left_out_is_refused_for_no_look_could_decide_it() -> None:
    fewer = EXPERIMENT.model_copy(update={"variants": EXPERIMENT.variants[:-1]})
    with pytest.raises(StudyError, match=f"no look could decide .* without {EXPERIMENT.variants[-1]}"):
        InLooks(fewer, Options(), QUIET, 20)


# ---------------------------------------------------------------- the loop


def test_a_design_made_in_python_runs_as_the_command_without_options_does() -> None:
    asked = {name: each.default for name, each in inspect.signature(sweep).parameters.items()}
    ours = {each.name: getattr(Options(), each.name) for each in fields(Options)}
    assert {name: value for name, value in ours.items() if name in asked and name != "settings"} == {
        name: value for name, value in asked.items() if name in ours and name != "settings"
    }
    assert {"on", "agents", "device", "dry_run", "fail_fast", "retry_failed", "wandb"} <= set(ours) & set(asked)


def test_complete_means_that_every_planned_run_has_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    design, options = Plain(EXPERIMENT, Options(out=tmp_path / "x", device="cpu")), Options(device="cpu")
    fake = pretend(monkeypatch, accuracy)

    def forgetful(work, executor, shown, **rest):  # type: ignore[no-untyped-def]
        """A driver that says that all went well, and leaves a run without its result."""
        outcome = fake(work, executor, shown, **rest)
        folder, run = fake.ended[-1]
        (Store(folder).path(run.id) / "result.json").unlink()
        return outcome

    monkeypatch.setattr("study.designs.base.drive", forgetful)
    assert carry_out(design, options, QUIET).code == INCOMPLETE


def test_a_failed_run_gives_the_exit_code_of_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(out=tmp_path / "x", device="cpu")
    fake = pretend(monkeypatch, accuracy, stop_after=5)

    def failing(work, executor, shown, **rest):  # type: ignore[no-untyped-def]
        outcome = fake(work, executor, shown, **rest)
        ((store, runs),) = work
        folder = store.path(runs[-1].id)
        (folder / "failed.json").write_text(json.dumps({"when": "", "exit_code": 1, "log": "out of luck"}))
        outcome.failed.append(runs[-1].id)
        return outcome

    monkeypatch.setattr("study.designs.base.drive", failing)
    said = Console(file=StringIO(), width=200)
    assert carry_out(Plain(EXPERIMENT, options), options, said).code == FAILURES
    assert "failed: out of luck" in said.file.getvalue()  # type: ignore[attr-defined]


def test_a_stop_is_heard_while_speeds_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive = pretend(monkeypatch, accuracy)
    options = Options(out=tmp_path / "sweep", device="cpu")
    design = Plain(EXPERIMENT, options)
    Store.create(design.folder, EXPERIMENT)
    measured = base.measure

    def asked(*given):  # type: ignore[no-untyped-def]
        stop(design.folder)
        return measured(*given)

    monkeypatch.setattr(base, "measure", asked)
    assert carry_out(design, options, QUIET).code == INCOMPLETE
    assert not drive.ended
    monkeypatch.setattr(base, "measure", measured)
    assert carry_out(design, options, QUIET).code == COMPLETE
    assert drive.ended


def test_a_plan_that_was_never_begun_makes_way_for_one_of_other_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(out=tmp_path / "sweep", device="cpu")
    plan = make_plan(EXPERIMENT)
    wider = plan.variants["C-C-C-C"].model_copy(update={"widths": (8, 8, 16, 32, 72)})
    Store.create(tmp_path / "sweep", plan.experiment).plan([plan.runs[0].model_copy(update={"variant": wider})])
    drive = pretend(monkeypatch, accuracy)
    assert carry_out(Plain(EXPERIMENT, options), options, QUIET).code == COMPLETE
    assert {run.id for run in Store(tmp_path / "sweep").runs()} == {run.id for _, run in drive.ended}


def test_a_members_number_is_that_of_the_images_that_it_trains_on_without_those_for_validation() -> None:
    data = EXPERIMENT.data.model_copy(update={"validation": 20})
    facts = Facts()
    found = on_parts(EXPERIMENT.model_copy(update={"data": data, "parts": (0.5, 1.0)}), facts)
    assert {number: facts(each.data).train_images for number, each in found.items()} == {40: 40, 80: 80}


@pytest.mark.parametrize("exists", [False, True])
def test_a_dry_run_writes_nothing_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    pretend(monkeypatch, accuracy)
    options = Options(out=tmp_path / "x", device="cpu")
    if exists:
        carry_out(Plain(EXPERIMENT, options), options, QUIET)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    dry = Options(out=tmp_path / "x", device="cpu", agents=1, dry_run=True)
    changed = EXPERIMENT.model_copy(update={"seeds": (7, 8), "claims": (HARD,)})
    ended = carry_out(Plain(changed, dry), dry, QUIET)
    # 14 s around 6 runs of 0.5 + 0.01 x (6 steps + 5 batches of one evaluation)
    assert ended.planned == [{"folder": str(tmp_path / "x"), "runs": 6, "ended": 0, "seconds_left_of_all": 18}]
    sizes = EXPERIMENT.model_copy(update={"parts": (0.5, 1.0)})
    other = Options(out=tmp_path / "sizes", device="cpu", dry_run=True)
    carry_out(Sizes(sizes, other, Facts()), other, QUIET)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_is_behind_an_interrupted_run_is_not_counted_as_ahead(tmp_path: Path, monkeypatch) -> None:
    pretend(monkeypatch, accuracy)
    long = EXPERIMENT.training.model_copy(update={"epochs": 2000})
    experiment = EXPERIMENT.model_copy(update={"training": long, "seeds": (0,), "variants": ("C-C-C-C",), "claims": ()})
    plan = make_plan(experiment)
    store = Store.create(tmp_path / "x", plan.experiment)
    hold = attempts.take(store.add(plan.runs[0]), attempts.Watch())
    dry = Options(out=tmp_path / "x", device="cpu", dry_run=True)

    def left() -> float:
        return float(carry_out(Plain(experiment, dry), dry, QUIET).planned[0]["seconds_left_of_all"])

    whole = left()
    assert hold is not None
    hold.live = {"step": plan.steps * 3 // 4}
    hold.beat()
    hold.end("stopped")
    assert whole > 100
    assert left() == pytest.approx(whole / 4, abs=20)  # seconds, of starting and of the figures


def test_data_are_loaded_once_in_a_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr("study.data.load", _counting(loaded))
    facts = Facts()
    for _ in range(3):
        facts(EXPERIMENT.data)
    assert len(loaded) == 1


def _counting(calls: list[Data]) -> Callable[..., object]:
    from study.data import load as original

    def load_data(data: Data, *more: object, **settings: object) -> object:
        calls.append(data)
        return original(data, *more, **settings)

    return load_data


def test_claims_that_could_never_be_tested_are_refused_before_anything_runs() -> None:
    stranger = Claim(ranking="C-C-C-C > coatnet_0", readout="final_test_accuracy")
    unknown = Claim(ranking="C-C-C-C > ViT_REL", readout="accuracy_at_the_moon")
    for claim, said in ((stranger, "coatnet_0"), (unknown, "accuracy_at_the_moon")):
        experiment = EXPERIMENT.model_copy(update={"claims": (claim,)})
        with pytest.raises(StudyError, match=said):
            check_claims(experiment, experiment.variants)
    check_claims(EXPERIMENT, EXPERIMENT.variants)
