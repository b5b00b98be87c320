"""Tuning: the same grid for all, on a validation split; test images and claimed seeds decide nothing."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from study.cli import app
from study.config import Claim, Data, Experiment, Fractals, Run, Training
from study.data import load
from study.designs import COMPLETE, FAILURES, INCOMPLETE, Grid, Options, Plain, Rates, carry_out
from study.errors import StudyError
from study.files import write_json
from study.report.console import finish_sweep, rank
from study.report.provenance import provenance
from study.report.sections import read_sections
from study.report.tuning_table import tuning_table
from study.results import load as load_results
from study.sweep.claims import read_claims
from study.sweep.merge import merge
from study.sweep.plan import Facts, make_plan
from study.sweep.status import status_of
from study.sweep.store import Store, stop_token
from study.sweep.tuned import Tuned, at_tuned_rates, choose, read_tuned, write_tuned
from tests.finished import pretend

DATA = Data(image_size=16, fractals=Fractals(classes=4, train_images=100, test_images=40))
EXPERIMENT = Experiment(
    name="tiny",
    data=DATA,
    training=Training(epochs=2, batch_size=16, probe_size=32, lr=1e-3),
    variants=("C-C-T-T", "ViT_REL"),
    seeds=(0, 1),
    budget=60_000,
    claims=(Claim(ranking="C-C-T-T > ViT_REL", readout="final_test_accuracy"),),
)
QUIET = Console(quiet=True)
GRID = Grid(grow=False)


def tune(experiment: Experiment, grid: Grid, folder: Path) -> tuple[dict[Path, Tuned], int]:
    """What was frozen, by results folder, and the exit code."""
    options = Options(out=folder, device="cpu")
    design = Rates(experiment, options, grid, Facts())
    code = carry_out(design, options, QUIET).code
    return design.tuned, code


def sweep(experiment: Experiment, folder: Path) -> Store:
    """The sweep into a folder, at the rates that were tuned there."""
    options = Options(out=folder, device="cpu")
    carry_out(Plain(experiment, options), options, QUIET)
    return Store(folder)


BEST = {"C-C-T-T": 3e-3, "ViT_REL": 1e-3 / 3}


def accuracy(run: Run) -> float | None:
    """Highest at each variant's best rate, lower by 0.1 for each factor of 10 from it; at 0.1 a run diverges."""
    if run.training.lr == 0.1:
        return None
    away = abs(np.log10(run.training.lr / BEST[run.label]))
    return float({"C-C-T-T": 0.5, "ViT_REL": 0.52}[run.label] - 0.1 * away + 0.001 * (run.seed % 2))


# ---------------------------------------------------------------- the split


def images(array: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in array}


def test_the_validation_split_is_carved_from_the_training_images_and_the_test_images_are_gone() -> None:
    whole, split = load(DATA), load(DATA.model_copy(update={"validation": 20}))
    assert images(split.test_images) | images(split.train_images) == images(whole.train_images)
    assert not images(split.test_images) & images(split.train_images)
    assert not images(split.test_images) & images(whole.test_images)
    assert np.bincount(split.test_labels).tolist() == [5] * 4
    assert len(split.train_labels) == 80
    of = {image.tobytes(): label for image, label in zip(whole.train_images, whole.train_labels, strict=True)}
    for image, label in zip(split.test_images, split.test_labels, strict=True):
        assert of[image.tobytes()] == label


def test_the_split_follows_the_seed_alone_and_lies_within_the_subset() -> None:
    data = DATA.model_copy(update={"validation": 20, "train_size": 60})
    assert load(data).fingerprint == load(data).fingerprint
    other = load(data.model_copy(update={"subset_seed": 1}))
    assert load(data).fingerprint != other.fingerprint
    subset = load(DATA.model_copy(update={"train_size": 60}))
    split = load(data)
    assert images(split.train_images) | images(split.test_images) == images(subset.train_images)
    with pytest.raises(StudyError, match="leave none"):
        load(data.model_copy(update={"validation": 60}))


# ---------------------------------------------------------------- the choice


def test_the_best_mean_is_chosen_and_a_rate_that_diverged_is_not() -> None:
    assert choose({"0.001": (0.5, 0.6), "0.003": (0.52, 0.62), "0.01": (0.9, None)}) == 0.003
    assert choose({"0.001": (0.5,), "0.003": (0.5,)}) == 0.001
    assert choose({"0.001": (None,), "0.003": ()}) is None


def test_a_plan_of_other_networks_that_was_never_begun_is_in_nobodys_way(tmp_path: Path, monkeypatch) -> None:
    pretend(monkeypatch, accuracy)
    plan = make_plan(EXPERIMENT)
    first = next(run for run in plan.runs if run.label == "C-C-T-T")
    wider = plan.variants["C-C-T-T"].model_copy(update={"widths": (8, 8, 16, 32, 72)})
    Store.create(tmp_path / "tiny", plan.experiment).plan([first.model_copy(update={"variant": wider})])
    tune(EXPERIMENT, GRID, tmp_path / "tiny")
    assert len(sweep(EXPERIMENT, tmp_path / "tiny").runs()) == 8


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two results folders: `tuned`, and `swept`, after a sweep at the rates that were tuned there."""
    place = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        pretend(patch, accuracy)
        found, code = tune(EXPERIMENT, GRID, place / "tuned")
        assert code == COMPLETE
        assert list(found) == [place / "tuned"]
        sweep(EXPERIMENT, Path(shutil.copytree(place / "tuned", place / "swept")))
    load_results(place / "swept").write_tables()
    return place


@pytest.fixture
def tuned(tmp_path: Path, once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy; further runs end as they did there."""
    pretend(monkeypatch, accuracy)
    return Path(shutil.copytree(once / "tuned", tmp_path / "tiny"))


@pytest.fixture
def swept(tmp_path: Path, once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same of the sweep after tuning."""
    pretend(monkeypatch, accuracy)
    return Path(shutil.copytree(once / "swept", tmp_path / "tiny"))


def frozen(folder: Path) -> Tuned:
    found = read_tuned(folder)
    assert found is not None
    return found


def test_every_variant_gets_the_same_grid_seeds_and_budget_on_the_validation_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = pretend(monkeypatch, accuracy)
    tune(EXPERIMENT, Grid(epochs=1, grow=False), tmp_path / "tiny")
    ended = [run for _, run in session.ended]
    tried = {label: {(run.training.lr, run.seed) for run in ended if run.label == label} for label in BEST}
    assert tried["C-C-T-T"] == tried["ViT_REL"] == {(lr, s) for lr in (0.000333, 0.001, 0.003) for s in (1000, 1001)}
    assert {run.training.epochs for run in ended} == {1}
    assert {run.data.validation for run in ended} == {20}
    assert {run.data.fingerprint for run in ended} == {load(DATA.model_copy(update={"validation": 20})).fingerprint}


def test_the_choice_is_frozen_with_all_that_led_to_it(tuned: Path) -> None:
    found = frozen(tuned)
    assert found.rates == {"C-C-T-T": 0.003, "ViT_REL": 0.000333}
    assert found.values["C-C-T-T"]["0.001"] == pytest.approx((0.5 - 0.1 * np.log10(3), 0.501 - 0.1 * np.log10(3)))
    assert (found.validation_images, found.training_images) == (20, 80)
    assert found.at_edge == ["C-C-T-T", "ViT_REL"]
    assert "the test images took no part" in found.policy


def test_claims_are_recorded_before_anything_is_tuned(tuned: Path) -> None:
    assert read_claims(tuned)[0]["runs_done"] == 0
    assert load_results(tuned).runs.empty  # tuning runs lie apart


def test_nothing_is_frozen_before_all_rates_are_tried_and_the_same_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny"
    first = pretend(monkeypatch, accuracy, stop_after=7)
    found, code = tune(EXPERIMENT, GRID, folder)
    assert (found, code) == ({}, INCOMPLETE)
    assert read_tuned(tmp_path / "tiny") is None
    second = pretend(monkeypatch, accuracy)
    tune(EXPERIMENT, GRID, folder)
    assert len(first.ended) + len(second.ended) == 3 * 2 * 2
    assert frozen(tmp_path / "tiny").rates["C-C-T-T"] == 0.003


def test_what_is_frozen_stays_and_another_variant_can_join(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StudyError, match="frozen"):
        tune(EXPERIMENT, Grid(rates=(1e-3, 1e-2), grow=False), tuned)
    monkeypatch.setitem(BEST, "C-T-T-T", 1e-3)
    pretend(monkeypatch, lambda run: 0.3 - abs(np.log(run.training.lr / 1e-3)))
    tune(EXPERIMENT.model_copy(update={"variants": ("C-T-T-T",)}), GRID, tuned)
    assert frozen(tuned).rates == {"C-C-T-T": 0.003, "ViT_REL": 0.000333, "C-T-T-T": 0.001}


def test_a_variant_that_joins_may_need_a_wider_grid(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BEST, "C-T-T-T", 0.027)
    pretend(monkeypatch, lambda run: 0.5 - 0.1 * abs(np.log10(run.training.lr / BEST[run.label])))
    before = frozen(tuned)
    tune(EXPERIMENT.model_copy(update={"variants": ("C-T-T-T",)}), Grid(), tuned)
    after = frozen(tuned)
    assert after.rates == {**before.rates, "C-T-T-T": 0.027}
    assert set(after.grid) == {*before.grid, 0.009, 0.027, 0.081}
    assert tuning_table(after).rows[-1][-1] == "0.000333"  # ViT_REL's


def test_what_is_frozen_is_not_trained_again_at_rates_that_another_variant_needs(tuned: Path, monkeypatch) -> None:
    monkeypatch.setitem(BEST, "C-T-T-T", 0.027)
    drive = pretend(monkeypatch, lambda run: 0.5 - 0.1 * abs(np.log10(run.training.lr / BEST[run.label])))
    all_three = EXPERIMENT.model_copy(update={"variants": (*EXPERIMENT.variants, "C-T-T-T")})
    found, code = tune(all_three, Grid(), tuned)
    assert (found[tuned].rates, code) == ({"C-C-T-T": 0.003, "ViT_REL": 0.000333, "C-T-T-T": 0.027}, COMPLETE)
    assert {run.label for _, run in drive.ended} == {"C-T-T-T"}
    assert tune(all_three, Grid(), tuned) == (found, COMPLETE)  # nothing is left


def test_an_experiment_on_validation_images_is_not_tuned_on_them(tmp_path: Path) -> None:
    data = EXPERIMENT.data.model_copy(update={"validation": 20})
    with pytest.raises(StudyError, match=r"leave out data\.validation"):
        tune(EXPERIMENT.model_copy(update={"data": data}), GRID, tmp_path / "x")


@pytest.mark.parametrize(
    ("grid", "differs"),
    [
        (Grid(grow=False, seeds=(1000, 1001, 1002)), "seeds"),
        (Grid(grow=False, epochs=1), "duration is 2 epochs, asked for 1 epochs"),
        (Grid(grow=False, part=0.1), "training_images is 80, asked for 90"),
    ],
)
def test_what_was_frozen_at_other_terms_is_refused_before_anything_is_trained(
    tuned: Path, monkeypatch: pytest.MonkeyPatch, grid: Grid, differs: str
) -> None:
    made = pretend(monkeypatch, accuracy)
    with pytest.raises(StudyError, match=f"is frozen .*{differs}"):
        tune(EXPERIMENT, grid, tuned)
    assert made.ended == []


@pytest.mark.parametrize("grid", [Grid(seeds=(1000, 1000)), Grid(rates=(1e-3, 5000.0))])
def test_a_grid_that_cannot_be_leaves_nothing_in_the_way(tmp_path: Path, monkeypatch, grid: Grid) -> None:
    pretend(monkeypatch, accuracy)
    with pytest.raises(StudyError, match="tuning: "):
        tune(EXPERIMENT, grid, tmp_path / "tiny")
    assert tune(EXPERIMENT, GRID, tmp_path / "tiny")[1] == COMPLETE


def test_the_grid_is_around_a_rate_of_any_number_of_digits() -> None:
    assert Grid().around(3.125e-4) == (0.000104, 0.0003125, 0.000937)


def test_a_tuning_is_stopped_and_shown_by_the_folder_that_it_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, accuracy, stop_after=7)
    tune(EXPERIMENT, GRID, tmp_path / "tiny")
    assert CliRunner().invoke(app, ["stop", str(tmp_path / "tiny")]).exit_code == 0
    rates = sorted((tmp_path / "tiny" / "tuning").iterdir())
    assert len(rates) == 3
    assert all(stop_token(folder) for folder in rates)
    shown = {Path(each["folder"]).name: each["counts"]["done"] for each in status_of(tmp_path / "tiny")}
    assert shown == {"tiny": 0, "lr-0.000333": 4, "lr-0.001": 3, "lr-0.003": 0}
    pretend(monkeypatch, accuracy)
    tune(EXPERIMENT, GRID, tmp_path / "tiny")
    assert len(status_of(tmp_path / "tiny")) == 1


def test_a_failed_tuning_run_is_named_until_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, accuracy, stop_after=9)
    tune(EXPERIMENT, GRID, tmp_path / "tiny")
    store = Store(tmp_path / "tiny" / "tuning" / "lr-0.003")
    failed = next(run for run in store.runs() if store.state(run.id) == "missing")
    write_json(store.path(failed.id) / "failed.json", {"log": "trace\nOut of memory\n"})
    pretend(monkeypatch, accuracy)
    out = io.StringIO()
    options = Options(out=tmp_path / "tiny", device="cpu")
    design = Rates(EXPERIMENT, options, GRID, Facts())
    assert carry_out(design, options, Console(file=out, width=300)).code == FAILURES
    assert "failed before: Out of memory" in out.getvalue()
    assert "--retry-failed tries again" in out.getvalue()
    again = replace(options, retry_failed=True)
    assert carry_out(Rates(EXPERIMENT, again, GRID, Facts()), again, QUIET).code == COMPLETE


def test_seeds_of_claims_are_never_tuned_with(tuned: Path) -> None:
    with pytest.raises(StudyError, match="seeds 1 are for tuning"):
        tune(EXPERIMENT, Grid(seeds=(1, 1000)), tuned)
    with pytest.raises(StudyError, match="seeds 1001 are for tuning"):
        at_tuned_rates(EXPERIMENT.model_copy(update={"seeds": (0, 1001)}), frozen(tuned))


def test_a_grid_holds_the_shared_rate_and_a_variant_that_always_diverges_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StudyError, match=r"with the recipe's 0\.001 among them"):
        tune(EXPERIMENT, Grid(rates=(1e-2, 1e-1)), tmp_path / "a")
    pretend(monkeypatch, lambda run: None if run.label == "ViT_REL" else 0.5)
    with pytest.raises(StudyError, match="a run of ViT_REL diverged"):
        tune(EXPERIMENT, GRID, tmp_path / "b")


# ---------------------------------------------------------------- sweeps at tuned rates


def test_a_tuned_sweep_runs_every_variant_at_its_rate_and_at_the_shared_one(tuned: Path) -> None:
    experiment = at_tuned_rates(EXPERIMENT, frozen(tuned))
    runs = make_plan(experiment).runs
    rates = [(run.label, run.seed, run.training.lr) for run in runs]
    assert rates == [
        ("C-C-T-T", 0, 0.003), ("ViT_REL", 0, 0.000333), ("C-C-T-T", 1, 0.003), ("ViT_REL", 1, 0.000333),
        ("C-C-T-T", 0, 0.001), ("ViT_REL", 0, 0.001), ("C-C-T-T", 1, 0.001), ("ViT_REL", 1, 0.001),
    ]  # fmt: skip
    assert len({run.id for run in runs}) == 8
    assert {run.id for run in make_plan(EXPERIMENT).runs} == {run.id for run in runs[4:]}


def test_a_variant_whose_tuned_rate_is_the_shared_one_runs_once() -> None:
    rates = {"C-C-T-T": 1e-3, "ViT_REL": 3e-3}
    runs = make_plan(EXPERIMENT.model_copy(update={"rates": rates, "seeds": (0,)})).runs
    assert [(run.label, run.training.lr) for run in runs] == [("C-C-T-T", 1e-3), ("ViT_REL", 3e-3), ("ViT_REL", 1e-3)]


@pytest.mark.usefixtures("one_figure")
def test_the_runs_at_the_shared_rate_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"C-C-T-T": 3e-3, "ViT_REL": 1e-3}
    experiment = EXPERIMENT.model_copy(update={"rates": rates, "with_shared_rate": False})
    pretend(monkeypatch, accuracy)
    folder = sweep(experiment, tmp_path / "once").folder
    found = load_results(folder)
    assert sorted((run.label, run.training.lr) for run in Store(folder).runs()) == [
        ("C-C-T-T", 3e-3), ("C-C-T-T", 3e-3), ("ViT_REL", 1e-3), ("ViT_REL", 1e-3),
    ]  # fmt: skip
    assert [view.title for view in found.views] == ["At tuned learning rates"]
    assert [(each["rates"], each["counts"]["done"]) for each in status_of(folder)] == [("", 4)]
    (section,) = read_sections([found])
    assert "None was run at 0.001 too." in dict(section.provenance.table.rows)["learning rates"]


def test_tables_at_the_shared_rate_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a merge of the tuned runs of a study at both rates, which a sweep at tuned rates goes on with."""
    both = EXPERIMENT.model_copy(update={"rates": {"C-C-T-T": 3e-3, "ViT_REL": 1e-3}})
    folder, plan = tmp_path / "x", make_plan(both)
    Store.create(folder, plan.experiment).plan([run for run in plan.runs if run.training.lr == 3e-3])
    before = [path.name for path in load_results(folder).write_tables()]
    assert before == ["runs.csv", "curves.csv", "runs-shared-rate.csv", "curves-shared-rate.csv"]
    pretend(monkeypatch, accuracy)
    sweep(both.model_copy(update={"with_shared_rate": False}), folder)
    load_results(folder).write_tables()
    assert sorted(path.name for path in folder.glob("*.csv")) == ["curves.csv", "runs.csv"]


def test_the_shared_rate_is_left_out_after_tuning_but_not_once_its_runs_are_there(tmp_path: Path, monkeypatch) -> None:
    once = EXPERIMENT.model_copy(update={"with_shared_rate": False})
    pretend(monkeypatch, accuracy)
    tune(EXPERIMENT, GRID, tmp_path / "tiny")
    assert {run.training.lr for run in sweep(once, tmp_path / "tiny").runs()} == {0.003, 0.000333}
    assert len(sweep(EXPERIMENT, tmp_path / "tiny").runs()) == 8
    with pytest.raises(StudyError, match="has runs at the shared rate"):
        sweep(once, tmp_path / "tiny")
    assert len(load_results(tmp_path / "tiny").views) == 2


def test_variants_without_a_tuned_rate_and_other_recipes_are_refused(tuned: Path) -> None:
    with pytest.raises(StudyError, match="C-T-T-T not"):
        at_tuned_rates(EXPERIMENT.model_copy(update={"variants": ("C-C-T-T", "C-T-T-T")}), frozen(tuned))
    other = EXPERIMENT.training.model_copy(update={"lr": 0.01})
    with pytest.raises(StudyError, match=r"tuned around 0\.001"):
        at_tuned_rates(EXPERIMENT.model_copy(update={"training": other}), frozen(tuned))
    with pytest.raises(StudyError, match="no learning rate of ViT_REL"):
        make_plan(EXPERIMENT.model_copy(update={"rates": {"C-C-T-T": 1e-3}}))
    assert at_tuned_rates(EXPERIMENT, None) is EXPERIMENT


def test_tables_hold_the_tuned_runs_and_those_at_the_shared_rate_apart(swept: Path) -> None:
    store = Store(swept)
    assert store.experiment.rates == {"C-C-T-T": 0.003, "ViT_REL": 0.000333}
    for shared, expected in ((False, 0.5), (True, 0.5 - 0.1 * np.log10(3))):
        runs, curves = list(load_results(swept).tables.values())[shared]
        assert len(runs) == 4
        row = runs[(runs["variant"] == "C-C-T-T") & (runs["seed"] == 0)].iloc[0]
        assert row["final_test_accuracy"] == pytest.approx(expected)
        assert set(curves["run"]) == set(runs["run"])
    kept = [runs for runs, _ in load_results(swept).tables.values()]
    (swept / "runs").rename(swept / "elsewhere")  # as in a committed folder, which has the tables alone
    again = [runs for runs, _ in load_results(swept).tables.values()]
    assert [list(table["run"]) for table in kept] == [list(table["run"]) for table in again]


def test_the_table_of_a_tuning_has_every_mean_each_choice_and_says_what_lies_at_the_edge() -> None:
    values = {
        "ViT_REL": {"0.001": (0.2, 0.3), "0.003": (0.4, 0.5), "0.009": (0.9, None)},
        "C-C-T-T": {"0.001": (0.35, 0.45), "0.003": (0.3, 0.3), "0.009": (0.1, 0.2)},
    }
    frozen = Tuned(
        grid=(0.001, 0.003, 0.009), shared_rate=0.001, seeds=(7, 8), duration="2 epochs", training_images=80,
        validation_images=20, subset_seed=0, values=values, rates={"ViT_REL": 0.003, "C-C-T-T": 0.001},
    )  # fmt: skip
    table = tuning_table(frozen)
    assert table.header == ("variant", "rate 0.001", "rate 0.003", "rate 0.009", "chosen")
    assert table.rows == (("C-C-T-T", "40.00", "30.00", "15.00", "0.001"), ("ViT_REL", "25.00", "45.00", "–", "0.003"))
    assert table.notes[-1] == "At the edge of the grid, so that a better rate may lie beyond: C-C-T-T."
    inside = frozen.model_copy(update={"rates": {"ViT_REL": 0.003, "C-C-T-T": 0.003}})
    assert not [note for note in tuning_table(inside).notes if "edge" in note]


def test_a_sweep_says_at_which_rates_it_trains(tuned: Path) -> None:
    out = io.StringIO()
    options = Options(out=tuned, device="cpu")
    carry_out(Plain(EXPERIMENT, options), options, Console(file=out, width=200))
    assert "tuned learning rates: C-C-T-T 0.003, ViT_REL 0.000333; then all at 0.001\n" in out.getvalue()


def test_a_sweep_where_tuning_has_not_ended_says_at_which_rate_it_trains(tmp_path: Path, monkeypatch) -> None:
    pretend(monkeypatch, accuracy, stop_after=3)
    assert tune(EXPERIMENT, GRID, tmp_path / "tiny") == ({}, INCOMPLETE)
    out = io.StringIO()
    options = Options(out=tmp_path / "tiny", device="cpu", dry_run=True)
    carry_out(Plain(EXPERIMENT, options), options, Console(file=out, width=200))
    assert f"study tune has not ended in {tmp_path / 'tiny'}: all train at 0.001\n" in out.getvalue()


def test_runs_made_at_the_shared_rate_before_tuning_are_not_made_again(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "tiny"
    pretend(monkeypatch, accuracy)
    sweep(EXPERIMENT, folder)
    assert Store(tmp_path / "tiny").experiment.rates == {}
    pretend(monkeypatch, accuracy)
    tune(EXPERIMENT, GRID, folder)
    assert len(load_results(tmp_path / "tiny").runs) == 4  # untouched so far
    later = pretend(monkeypatch, accuracy)
    sweep(EXPERIMENT, folder)
    assert {run.training.lr for _, run in later.ended} == {0.003, 0.000333}
    assert len(load_results(tmp_path / "tiny").views[1].runs) == 4


def test_the_ranking_is_stated_at_tuned_rates_and_at_the_shared_one(
    swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rank(load_results(swept), QUIET, as_json=True)
    found = json.loads(capsys.readouterr().out)
    tuned_mean = {row["variant"]: row["mean"] for row in found["readouts"]["final_test_accuracy"]["ranking"]}
    shared = found["at_shared_rate"]["readouts"]["final_test_accuracy"]["ranking"]
    assert tuned_mean["C-C-T-T"] - {row["variant"]: row["mean"] for row in shared}["C-C-T-T"] == pytest.approx(
        0.1 * np.log10(3)
    )
    assert len(found["claims"]) == len(found["at_shared_rate"]["claims"]) == 1


def test_a_ranking_whose_runs_have_not_begun_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep that was interrupted at tuned rates; one whose runs were made before there were tuned rates."""
    monkeypatch.setattr("study.report.console.plot_all", lambda *given, **more: [])  # other tests look at figures
    claims = (Claim(ranking="C-C-T-T > ViT_REL", readout="accuracy_at_matched_loss"),)
    plain = EXPERIMENT.model_copy(update={"claims": claims})
    rates = plain.model_copy(update={"rates": BEST})
    pretend(monkeypatch, accuracy, stop_after=4)
    begun = sweep(rates, tmp_path / "begun").folder
    pretend(monkeypatch, accuracy)
    before = sweep(plain, tmp_path / "before").folder
    Store.create(before, make_plan(rates).experiment)
    for folder, place, lacking in (
        (begun, 1, "at the learning rate 0.001 for all"),
        (before, 0, "at tuned learning rates"),
    ):
        out = Console(file=io.StringIO(), width=200)
        finish_sweep(folder, out, QUIET, as_json=False)
        assert f"\nno finished run {lacking} yet.\n" in out.file.getvalue()  # type: ignore[attr-defined]
        rank(load_results(folder), QUIET, as_json=True)
        own = json.loads(capsys.readouterr().out)
        views = [own, own["at_shared_rate"]]
        assert (views[place]["readouts"], views[place]["cautions"]) == ({}, [f"no finished run {lacking} yet"])
        assert (views[place]["claims"], len(views[1 - place]["claims"])) == ([], 1)


@pytest.mark.usefixtures("one_figure")
def test_the_report_states_both_rankings_the_grid_and_the_split_policy(swept: Path) -> None:
    (section,) = read_sections([load_results(swept)])
    assert [view.readout for view in section.claims] == [
        "final test accuracy, at tuned learning rates",
        "final test accuracy, at the learning rate 0.001 for all",
    ]
    (table,) = [table for table in section.tables if table.title.startswith("Learning rates")]
    assert table.header == ("variant", "rate 0.000333", "rate 0.001", "rate 0.003", "chosen")
    assert [row[-1] for row in table.rows] == ["0.003", "0.000333"]
    made = dict(section.provenance.table.rows)
    assert "20 validation images" in made["learning rates"]
    assert "the test images took no part" in made["learning rates"]


def test_troubles_are_told_at_both_rates_and_what_was_run_at_the_shared_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = EXPERIMENT.model_copy(update={"rates": {"C-C-T-T": 1e-3, "ViT_REL": 3e-3}})

    def told(folder: Path) -> tuple[str, tuple[str, ...]]:
        made = provenance(load_results(folder))
        return dict(made.table.rows)["learning rates"].rpartition(". ")[2], made.troubles

    pretend(monkeypatch, accuracy, stop_after=4)
    folder = sweep(rates, tmp_path / "tiny").folder
    without = "Without a result: ViT_REL seed 0 at 0.001, ViT_REL seed 1 at 0.001."
    assert told(folder) == ("At 0.001 2 of 4 runs have a result.", (without,))  # of both tables: C-C-T-T
    pretend(monkeypatch, lambda run: None if run.seed and run.training.lr == 1e-3 else accuracy(run))
    assert told(sweep(rates, tmp_path / "tiny").folder)[0] == "All variants were run at 0.001 too."
    store = sweep(rates, tmp_path / "other")
    (left,) = (run for run in store.runs() if (run.label, run.seed, run.training.lr) == ("ViT_REL", 0, 1e-3))
    (store.folder / "runs" / left.id / "result.json").unlink()
    write_json(store.folder / "runs" / left.id / "failed.json", {"when": "", "exit_code": 1, "log": "no more"})
    assert told(store.folder)[1] == (
        "C-C-T-T seed 1 at 0.001 diverged within 10 steps: its loss was not finite.",
        "ViT_REL seed 1 at 0.001 diverged within 10 steps: its loss was not finite.",
        "ViT_REL seed 0 at 0.001 failed (exit code 1): no more",
        "Without a result: ViT_REL seed 0 at 0.001.",
    )


def test_the_status_counts_both(swept: Path) -> None:
    assert [(each["rates"], each["counts"]["done"]) for each in status_of(swept)] == [("tuned", 4), ("shared", 4)]


@pytest.mark.usefixtures("one_figure")
def test_an_untuned_folder_says_that_one_rate_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, accuracy)
    store = sweep(EXPERIMENT, tmp_path / "plain")
    (section,) = read_sections([load_results(store.folder)])
    assert dict(section.provenance.table.rows)["learning rates"] == "0.001 for every variant, not tuned"
    assert len(section.claims) == 1
    assert status_of(store.folder)[0]["rates"] == ""


def test_every_size_of_a_family_is_tuned_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, accuracy)
    family = EXPERIMENT.model_copy(update={"parts": (0.4, 1.0)})
    found, _ = tune(family, GRID, tmp_path / "grow")
    assert [folder.name for folder in found] == ["40-images", "100-images"]
    assert [each.validation_images for each in found.values()] == [8, 20]


def test_a_grid_grows_where_a_choice_lies_at_its_edge_until_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BEST, "C-C-T-T", 0.027)
    monkeypatch.setitem(BEST, "ViT_REL", 1e-3)
    drive = pretend(monkeypatch, accuracy)
    found, code = tune(EXPERIMENT, Grid(), tmp_path / "grown")
    assert code == COMPLETE
    (tuned,) = found.values()
    assert tuned.rates == {"C-C-T-T": 0.027, "ViT_REL": 0.001}
    assert tuned.grid == (
        0.000333,
        0.001,
        0.003,
        0.009,
        0.027,
        0.081,
    )
    assert not tuned.at_edge
    ended = len(drive.ended)
    tune(EXPERIMENT, Grid(), tmp_path / "grown")  # the same command has nothing to do
    assert len(drive.ended) == ended


def test_a_grid_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, lambda run: float(0.5 + 0.01 * np.log(run.training.lr)))
    (tuned,) = tune(EXPERIMENT, Grid(), tmp_path / "grown")[0].values()
    assert max(tuned.grid) == pytest.approx(0.003 * 81)
    assert tuned.at_edge == ["C-C-T-T", "ViT_REL"]


def test_what_is_said_of_a_joined_grid_is_said_of_the_rates_that_each_variant_was_run_at(tuned: Path) -> None:
    first = frozen(tuned)
    of_new = {"0.001": (0.5, 0.5), "0.003": (0.4, 0.4), "0.009": (0.3, 0.3), "0.027": (0.6, 0.6), "0.081": (0.2, 0.2)}
    joining = {"grid": tuple(map(float, of_new)), "values": {"C-C-C-C": of_new}, "rates": {"C-C-C-C": 0.027}}
    both = write_tuned(tuned, first.model_copy(update=joining))
    assert both.at_edge == first.at_edge == ["C-C-T-T", "ViT_REL"]
    assert "the best of its own of 0.000333, 0.001, 0.003, 0.009, 0.027, 0.081 by" in both.policy
    assert "the best of 0.000333, 0.001, 0.003 by" in first.policy


# ---------------------------------------------------------------- pooling what was tuned


def test_what_was_tuned_and_claimed_comes_along_when_folders_are_pooled(
    swept: Path, tmp_path: Path, monkeypatch
) -> None:
    into = tmp_path / "into"
    assert len(merge(into, [swept]).added) == 8
    assert read_tuned(into) == read_tuned(swept)
    assert read_claims(into) == read_claims(swept)
    more = EXPERIMENT.model_copy(update={"seeds": (0, 1, 2)})
    made = pretend(monkeypatch, accuracy)
    sweep(more, into)
    assert sorted((run.label, run.seed, run.training.lr) for _, run in made.ended) == [
        ("C-C-T-T", 2, 0.001), ("C-C-T-T", 2, 0.003), ("ViT_REL", 2, 0.000333), ("ViT_REL", 2, 0.001),
    ]  # fmt: skip


def test_a_folder_tuned_otherwise_or_whose_seeds_were_tuned_with_takes_nothing(swept: Path, tmp_path: Path) -> None:
    tuned = read_tuned(swept)
    assert tuned
    planned = make_plan(EXPERIMENT).experiment
    Store.create(tmp_path / "a", planned)
    (tmp_path / "a" / "tuned.json").write_text(tuned.model_copy(update={"seeds": (2000,)}).model_dump_json())
    Store.create(tmp_path / "b", planned.model_copy(update={"seeds": (tuned.seeds[0],)}))
    for name, why in (("a", "was tuned otherwise"), ("b", "are for tuning")):
        found = merge(tmp_path / name, [swept])
        assert (found.added, len(found.refused)) == ([], 1)
        assert why in found.refused[0]


def test_a_sweep_at_tuned_rates_does_not_go_on_without_them(swept: Path) -> None:
    (swept / "tuned.json").unlink()
    with pytest.raises(StudyError, match=r"tuned.json .* is gone"):
        sweep(EXPERIMENT.model_copy(update={"seeds": (0, 1, 2)}), swept)


def test_another_study_gives_the_runs_that_are_asked_for_here(swept: Path, tmp_path: Path, monkeypatch) -> None:
    """As 10,000 images of CIFAR-100 are the study itself and a point on the axis of data."""
    rates = {"C-C-T-T": 0.003, "ViT_REL": 0.000333}
    axis = EXPERIMENT.model_copy(update={"name": "axis", "claims": (), "rates": rates, "with_shared_rate": False})
    plan = make_plan(axis)
    Store.create(tmp_path / "axis", plan.experiment)
    assert sorted(merge(tmp_path / "axis", [swept]).added) == sorted(run.id for run in plan.runs)
    made = pretend(monkeypatch, accuracy)
    assert sweep(axis, tmp_path / "axis").experiment.name == "axis"
    assert made.ended == []


def test_a_folder_that_a_merge_began_is_continued_under_another_name(swept: Path, tmp_path: Path, monkeypatch) -> None:
    """The same order in which results/generalization_data-cifar100 says how its 10,000 images are had."""
    added = merge(tmp_path / "axis", [swept]).added
    made = pretend(monkeypatch, accuracy)
    other = EXPERIMENT.model_copy(update={"name": "axis", "claims": ()})
    assert sweep(other, tmp_path / "axis").experiment.name == "axis"
    assert len(added) == 8
    assert made.ended == []
    assert read_claims(tmp_path / "axis")[:-1] == read_claims(swept)  # what was claimed before stays in the history
