"""Transfer: a run says what it starts from, starts from exactly that, and trains what it should."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

from study.cli import app
from study.config import Claim, Data, Experiment, Fractals, Run, Start, Training, ViTRelVariant
from study.designs import COMPLETE, Options, Transfer, base, carry_out, source_of_file, sources_of_folder
from study.designs.sources import plan_transfer, transfer_experiment
from study.errors import StudyError
from study.models import build
from study.models.interop import classifier_names, read_weights
from study.report.answer import of_transfer
from study.report.page import write_all
from study.report.sections import read_sections
from study.report.transfer import seed_differences, transfer_frame, transfer_tables
from study.results import load as load_results
from study.sweep.measure import Speed
from study.sweep.plan import Facts, experiment_file, load_experiment, make_plan
from study.sweep.store import Store
from study.training.loop import seed_of, train
from study.training.start import build_from, fingerprint, freeze
from study.training.step import Stepper
from tests.finished import pretend
from tests.test_damage import flip
from tests.test_sweep import trained
from tests.test_training import rows, weights

FRACTALS = Fractals(classes=7, train_images=140, test_images=70)
PRETRAINING = Experiment(
    name="pretraining",
    data=Data(name="fractals[0:4]", image_size=16, fractals=FRACTALS),
    training=Training(epochs=1, batch_size=16, probe_size=32),
    variants=("C-C-T-T", "C-T-T-T"),
    seeds=(0, 1),
    budget=60_000,
)
TRANSFER = Experiment(
    name="transfer",
    data=Data(name="fractals[4:7]", image_size=16, fractals=FRACTALS),
    training=Training(epochs=1, batch_size=16, probe_size=32, lr=1e-3, decay="constant", warmup=0.0),
    claims=(
        Claim(ranking="C-C-T-T > C-T-T-T", readout="final_test_accuracy"),
        Claim(ranking="C-C-T-T > ViT_REL", readout="final_test_accuracy"),
    ),
)
QUIET = Console(quiet=True)
PROBE = TRANSFER.model_copy(update={"training": TRANSFER.training.model_copy(update={"freeze": True})})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A finished pretraining sweep of two variants and two seeds."""
    return trained(tmp_path_factory.mktemp("pretrained") / "results", PRETRAINING)


def transfer_runs(store: Store, template: Experiment = TRANSFER, **options) -> list[Run]:
    sources = sources_of_folder(store.folder)
    scratch = options.get("scratch", True)
    experiment = transfer_experiment(template, sources, template.data, scratch)
    return plan_transfer(experiment, sources, scratch, Facts()).runs


# ---------------------------------------------------------------- identity


def test_what_a_run_starts_from_is_in_its_identity_and_where_the_file_lies_is_not() -> None:
    scratch = Run(variant=ViTRelVariant(patch=4, depth=5, width=128), data=Data(), training=Training(), seed=0)
    start = Start(run="a" * 12, weights="b" * 12, image_size=32, path="/here/weights.pt")
    runs = [scratch, scratch.model_copy(update={"training": Training(freeze=True)})]
    for changes in ({}, {"run": "c" * 12}, {"weights": "c" * 12}, {"image_size": 48}):
        runs.append(scratch.model_copy(update={"start": start.model_copy(update=changes)}))
    assert len({run.id for run in runs}) == len(runs)
    moved = scratch.model_copy(update={"start": start.model_copy(update={"path": "/there/weights.pt"})})
    assert moved.id == runs[2].id
    assert Run.model_validate_json(moved.model_dump_json()) == moved


def test_a_fingerprint_is_of_the_weights_and_not_of_the_file(tmp_path: Path) -> None:
    network = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7)}
    for name in ("one.pt", "two.pt"):
        torch.save(network, tmp_path / name)
    assert (tmp_path / "one.pt").read_bytes() != (tmp_path / "two.pt").read_bytes()  # torch stores the file's name
    known = fingerprint(read_weights(tmp_path / "one.pt"))
    assert fingerprint(read_weights(tmp_path / "two.pt")) == known
    others = (
        {"a": network["a"], "c": network["b"]},
        {"a": network["a"].view(3, 2), "b": network["b"]},
        {"a": network["a"].double(), "b": network["b"]},
        {"a": network["a"], "b": torch.tensor(8)},
    )
    assert len({known, *map(fingerprint, others)}) == 5


# ---------------------------------------------------------------- one run


def test_fine_tuning_begins_with_the_pretrained_weights_and_a_classifier_drawn_from_the_seed(pretrained: Store) -> None:
    run = transfer_runs(pretrained)[0]
    assert run.start is not None
    source = weights(Path(run.start.path).parent)
    network = build_from(run.start, Path(), run.variant, 3, 16, seed_of(run.seed, "weights"))
    scratch = build(run.variant, 3, 16, seed_of(run.seed, "weights")).state_dict()
    own = classifier_names(network)
    assert {name.rpartition(".")[0] for name in own} == {"head.classifier"}
    for name, value in network.state_dict().items():
        assert torch.equal(value, scratch[name] if name in own else source[name]), name


def test_at_another_side_only_the_position_tables_are_new(pretrained: Store) -> None:
    start = transfer_runs(pretrained)[0].start
    assert start is not None
    variant = transfer_runs(pretrained)[0].variant
    network = build_from(start, Path(), variant, 3, 24, 0)
    source = weights(Path(start.path).parent)
    differ = {name for name, value in network.state_dict().items() if value.shape != source[name].shape}
    tables = {name for name in source if name.endswith("bias_table")}
    assert tables
    assert differ == tables | classifier_names(network)
    side = 2 * (24 // 4) - 1  # S3 has a quarter of the image's side
    assert network.stages[2].blocks[0].attention.bias_table.shape[1:] == (side, side)
    kept = network.state_dict().keys() - differ
    assert all(torch.equal(network.state_dict()[name], source[name]) for name in kept)
    assert network.eval()(torch.randn(2, 3, 24, 24)).shape == (2, 3)


def test_fine_tuning_trains_every_weight_and_a_linear_probe_the_classifier_alone(
    pretrained: Store, tmp_path: Path
) -> None:
    classifier = {"head.classifier.weight", "head.classifier.bias"}
    for template in (TRANSFER, PROBE):
        run = transfer_runs(pretrained, template)[0]
        assert run.start is not None
        train(run, tmp_path / run.id)
        before, after = read_weights(Path(run.start.path)), weights(tmp_path / run.id)
        changed = {name for name in after if not torch.equal(after[name], before[name])}  # shapes count: new classes
        assert changed == (classifier if template is PROBE else set(after))


def test_a_linear_probe_is_logistic_regression_on_the_pretrained_features(pretrained: Store) -> None:
    run = transfer_runs(pretrained, PROBE)[0]
    assert run.start is not None
    network = build_from(run.start, Path(), run.variant, 3, 16, 0)
    oracle = build_from(run.start, Path(), run.variant, 3, 16, 0).eval()
    last = nn.Linear(*reversed(oracle.head.classifier.weight.shape))
    last.load_state_dict(oracle.head.classifier.state_dict())
    oracle.head.classifier = nn.Identity()
    optimizer = torch.optim.AdamW(last.parameters(), lr=0.01, weight_decay=0, fused=False, foreach=False)
    stepper = Stepper(network.train(), PROBE.training)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        images, labels = torch.randn(8, 3, 16, 16, generator=generator), torch.arange(8) % 3
        found = stepper.step(images, labels, 0.01)
        with torch.no_grad():
            features = oracle(images)
        expected = F.cross_entropy(last(features), labels)
        optimizer.zero_grad()
        expected.backward()
        nn.utils.clip_grad_norm_(last.parameters(), 1.0)
        optimizer.step()
        assert float(found) == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(network.head.classifier.weight, last.weight, rtol=1e-4, atol=1e-6)


def test_fine_tuning_that_was_interrupted_ends_with_the_same_numbers_bit_for_bit(
    pretrained: Store, tmp_path: Path
) -> None:
    run = transfer_runs(pretrained)[0]
    train(run, tmp_path / "whole")
    assert train(run, tmp_path / "pieces", should_stop=lambda: True) is None  # after one step
    train(run, tmp_path / "pieces")
    assert rows(tmp_path / "pieces") == rows(tmp_path / "whole")
    found, expected = weights(tmp_path / "pieces"), weights(tmp_path / "whole")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_weights_that_are_missing_or_have_changed_are_said_so(pretrained: Store, tmp_path: Path) -> None:
    run = transfer_runs(pretrained)[0]
    assert run.start is not None
    path = tmp_path / "weights.pt"
    moved = run.model_copy(update={"start": run.start.model_copy(update={"path": str(path)})})
    with pytest.raises(StudyError, match=r"starts from are not at .*weights.pt: bring them back"):
        train(moved, tmp_path / "run")
    changed = read_weights(Path(run.start.path))
    changed["head.norm.bias"] = changed["head.norm.bias"] + 1
    torch.save(changed, path)
    with pytest.raises(StudyError, match=f"are not those that this run was planned with .*not {run.start.weights}"):
        train(moved, tmp_path / "run")


def test_the_classifier_of_timms_networks_is_found_too(timm) -> None:
    network = timm.create_model("resnet18", num_classes=3)
    assert classifier_names(network) == {"fc.weight", "fc.bias"}
    freeze(network)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {"fc.weight", "fc.bias"}


# ---------------------------------------------------------------- the plan


def test_every_finished_run_is_fine_tuned_and_has_its_control(pretrained: Store) -> None:
    runs = transfer_runs(pretrained)
    both = ["C-C-T-T", "C-C-T-T[start=scratch]", "C-T-T-T", "C-T-T-T[start=scratch]"]
    assert [(run.label, run.seed) for run in runs] == [(label, seed) for seed in (0, 1) for label in both]
    sources = {(run.label, run.seed): run for run in pretrained.runs()}
    for run in runs:
        source = sources[run.label.partition("[")[0], run.seed]
        assert run.variant == source.variant
        assert (run.start and run.start.run) == (None if "scratch" in run.label else source.id)
        assert run.data.name == "fractals[4:7]"
    assert len({run.id for run in runs}) == 8
    assert [run.id for run in transfer_runs(pretrained, scratch=False)] == [run.id for run in runs[::2]]


def test_a_transfer_records_the_sizes_of_its_pretraining(pretrained: Store) -> None:
    sources = sources_of_folder(pretrained.folder)
    free = PRETRAINING.model_copy(update={"depths": "free", "budget": 70_000, "geometry": "cheap"})
    found = transfer_experiment(TRANSFER, replace(sources, experiment=free), TRANSFER.data, scratch=True)
    assert (found.depths, found.budget, found.geometry) == ("free", 70_000, "cheap")


def test_runs_that_have_not_ended_well_are_left_out_and_named(pretrained: Store, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(pretrained.folder, folder)
    first, second, third, fourth = Store(folder).runs_at({})
    (folder / "runs" / first.id / "result.json").unlink()
    path = folder / "runs" / second.id / "result.json"
    diverged = {**json.loads(path.read_text()), "status": "diverged"}
    path.write_text(json.dumps({key: value for key, value in diverged.items() if key != "checksums"}))
    (folder / "runs" / third.id / "weights.pt").unlink()
    sources = sources_of_folder(folder)
    assert [source.start.run for source in sources.networks] == [fourth.id]
    assert sources.skipped == (
        "C-C-T-T seed 0 is missing",
        "C-C-T-T seed 1 is diverged",
        "C-T-T-T seed 0 without weights, which are not committed: make the pretraining again with another --out, or "
        "delete their folders and go on",
    )
    (folder / "runs" / fourth.id / "weights.pt").unlink()
    with pytest.raises(StudyError, match="is diverged, C-T-T-T seed 0, C-T-T-T seed 1 without weights, which"):
        sources_of_folder(folder)
    with pytest.raises(StudyError, match="no finished run to start from: C-C-T-T seed 0 is missing"):
        sources_of_folder(folder, ["cctt"], [0])
    with pytest.raises(StudyError, match="has no variant ViT_REL: it has C-C-T-T, C-T-T-T"):
        sources_of_folder(folder, ["vitrel"])


def test_nothing_starts_from_weights_with_a_flipped_bit(pretrained: Store, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(pretrained.folder, folder)
    flipped, *others = Store(folder).runs_at({})
    flip(folder / "runs" / flipped.id / "weights.pt")
    sources = sources_of_folder(folder)
    assert [source.start.run for source in sources.networks] == [run.id for run in others]
    (said,) = sources.skipped
    assert said.startswith(f"{flipped.label} seed {flipped.seed}: ")
    assert "weights.pt is damaged" in said


def test_sides_that_do_not_divide_are_refused_before_anything_runs(pretrained: Store) -> None:
    template = TRANSFER.model_copy(update={"data": TRANSFER.data.model_copy(update={"image_size": 20})})
    with pytest.raises(StudyError, match="side 20 do not divide"):
        transfer_runs(pretrained, template)


def test_a_file_of_weights_is_a_source_by_the_same_door(tmp_path: Path) -> None:
    trained = build(make_plan(PRETRAINING).variants["C-C-T-T"], 4, 16, seed=5)
    torch.save({"model": trained.state_dict()}, tmp_path / "published.pth")
    sources = source_of_file(tmp_path / "published.pth", "cctt", 16, (0, 1), PRETRAINING, classes=4)
    experiment = transfer_experiment(TRANSFER, sources, TRANSFER.data, scratch=False)
    runs = plan_transfer(experiment, sources, False, Facts()).runs
    assert [(run.label, run.seed) for run in runs] == [("C-C-T-T", 0), ("C-C-T-T", 1)]
    assert experiment.pretraining is not None
    assert experiment.pretraining.name.startswith("published.pth ")
    assert train(runs[0], tmp_path / "run") is not None


# ---------------------------------------------------------------- the whole


def test_the_rates_of_the_pretraining_are_recorded_also_where_earlier_code_began(
    pretrained: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, lambda run: 0.5)
    rates = dict.fromkeys(("C-C-T-T", "C-T-T-T"), PRETRAINING.training.lr)
    folder = Path(shutil.copytree(pretrained.folder, tmp_path / "pretraining"))
    Store.create(folder, pretrained.experiment.model_copy(update={"rates": rates}))
    sources = sources_of_folder(folder)
    assert sources.pretraining.rates == rates
    earlier = replace(sources, pretraining=sources.pretraining.model_copy(update={"rates": {}}))
    options = Options(out=tmp_path / "transfer", device="cpu", agents=1)
    for given in (earlier, sources, earlier):
        carry_out(Transfer(TRANSFER, options, given, (16,), True, QUIET), options, QUIET)
    for each in (options.out, options.out / "16px"):
        table = read_sections([load_results(each)])[0].provenance.table
        assert dict(table.rows)["learning rates of the pretraining"] == "C-C-T-T 0.001, C-T-T-T 0.001"
    other = sources.pretraining.model_copy(update={"rates": {"C-C-T-T": 3e-3}})
    with pytest.raises(StudyError, match=r"pretraining rates\.C-C-T-T is 0\.001, asked for 0\.003"):
        carry_out(Transfer(TRANSFER, options, replace(sources, pretraining=other), (16,), True, QUIET), options, QUIET)


@pytest.mark.usefixtures("one_figure")
def test_a_transfer_study_leaves_a_folder_a_side_and_the_papers_table(
    pretrained: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = pretend(monkeypatch, lambda run: int(run.id[:3], 16) / 4096)
    sources = sources_of_folder(pretrained.folder)
    say = Console(file=StringIO(), width=160)
    options = Options(out=tmp_path / "transfer", device="cpu", agents=1, command="study transfer")
    design = Transfer(TRANSFER, options, sources, (24, 16), True, say)
    assert carry_out(design, options, say).code == COMPLETE
    found = load_results(tmp_path / "transfer")
    assert [member.folder.name for member in found.members] == ["16px", "24px"]
    stores = [Store(member.folder) for member in found.members]
    assert [store.state(run.id) for store in stores for run in store.runs()] == ["done"] * 16

    table, *_ = transfer_tables(found, transfer_frame(found))
    assert [row[0] for row in table.rows] == [
        "fractals[0:4], 16 px, pretraining",
        "fractals[4:7], 16 px, fine-tuned",
        "fractals[4:7], 16 px, from scratch",
        "fractals[4:7], 24 px, fine-tuned",
        "fractals[4:7], 24 px, from scratch",
    ]
    places = [(pretrained, ""), *((store, kind) for store in stores for kind in ("", "[start=scratch]"))]
    for row, (store, kind) in zip(table.rows, places, strict=True):
        for cell, label in zip(row[1:], ("C-C-T-T", "C-T-T-T"), strict=True):
            own = [run.id for run in store.runs() if run.label == label + kind]
            values = [100 * store.result(run)["final"]["test_accuracy"] for run in own]
            assert cell == f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} (2)"

    monkeypatch.setattr("study.report.console.plot_all", lambda *given, **more: [])  # other tests look at figures
    design.show(console := Console(file=StringIO(), width=160), say, as_json=False, complete=True)
    shown = console.file.getvalue()
    assert "24 pixels" in shown
    assert shown.count("C-C-T-T > C-T-T-T") >= 2
    assert "C-C-T-T > ViT_REL" in shown  # not tested, and said so
    assert "<title>Accuracy before and after transfer</title>" in (design.folder / "figures/transfer.svg").read_text()
    assert (design.folder / "transfer.csv").read_text().count("\n") == 1 + 4 + 16
    section = read_sections([found])[0]
    best = table.header[1:][np.argmax([float(cell.split()[0]) for cell in table.rows[1][1:]])]
    assert f"at 16 pixels {best} is first (" in section.answer
    assert "C-C-T-T" in section.figures[0].svg
    assert len(section.figures[0].csv.splitlines()) == 1 + 4 + 16
    controls = tmp_path / "controls"
    shutil.copytree(tmp_path / "transfer", controls)
    for member in (Store(controls / side) for side in ("16px", "24px")):
        for run in member.runs():
            if "start=scratch" not in run.label:
                (member.folder / "runs" / run.id / "result.json").unlink()
    assert of_transfer(load_results(controls)) == "No run from pretrained weights has an accuracy yet."
    page = write_all([stores[1].folder], tmp_path / "report.html")[1].read_text()
    assert "pretraining on fractals[0:4], 16 pixels" in page
    assert "C-T-T-T[start=scratch]" in page

    # the same command has nothing to do; another pretraining does not mix with this one
    ended = len(drive.ended)
    assert carry_out(design, options, say).code == COMPLETE
    assert len(drive.ended) == ended
    other = sources.pretraining.model_copy(update={"training": Training(epochs=9)})
    changed = Transfer(TRANSFER, options, replace(sources, pretraining=other), (16,), True, say)
    with pytest.raises(StudyError, match=r"another experiment \(pretraining.training.epochs is 1, asked for 9"):
        carry_out(changed, options, say)


def test_the_command_line_probes_in_processes_of_their_own(pretrained: Store, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(base, "measure", lambda variants, *rest: dict.fromkeys(variants, Speed(0.01, 0.01)))
    arguments = ["transfer", str(pretrained.folder), "--dataset", "fractals[4:7]", "--variants", "cctt", "--seeds", "1"]
    arguments += ["--freeze", "--no-scratch", "--epochs", "1", "--batch-size", "16", "--out", str(tmp_path / "probe")]
    arguments += ["--device", "cpu", "--jobs", "1", "--json"]
    arguments += [part for key in ("classes=7", "train_images=140") for part in ("-o", f"data.fractals.{key}")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(row["start"], row["variant"], row["seed"]) for row in found["runs"]] == [
        ("pretraining", "C-C-T-T", 1),
        ("pretrained", "C-C-T-T", 1),
    ]
    (run,) = Store(tmp_path / "probe" / "16px").runs()
    assert run.start is not None
    assert run.start.run in {source.id for source in pretrained.runs()}
    assert (run.training.freeze, run.training.lr) == (True, 1e-3)


def test_differences_are_taken_seed_by_seed() -> None:
    values = {("A", 0): 0.5, ("A", 1): 0.7, ("B", 0): 0.4, ("B", 2): 0.1}
    frame = [
        {"row": 1, "data": "d", "image_size": 8, "start": "pretrained", "variant": v, "seed": s, "accuracy": value}
        for (v, s), value in values.items()
    ]
    table = seed_differences(pd.DataFrame(frame), "A", "B", freeze=True)
    assert table.rows == (("d, 8 px, linear probe", "+10.00", "–", "–", "+10.00 (1)"),)


def test_one_label_and_seed_has_one_start_in_a_folder(pretrained: Store, tmp_path: Path, monkeypatch) -> None:
    pretend(monkeypatch, lambda run: 0.5)
    options = Options(out=tmp_path / "out", device="cpu")
    sources = sources_of_folder(pretrained.folder)
    carry_out(Transfer(TRANSFER, options, sources, (16,), False, QUIET), options, QUIET)
    starts = (replace(each, start=each.start.model_copy(update={"weights": "0" * 12})) for each in sources.networks)
    others = replace(sources, networks=tuple(starts))
    before = (tmp_path / "out" / "members.json").read_text()
    for side in (16, 32):  # and what pretraining reached is said of all sides
        with pytest.raises(StudyError, match="from other weights: choose another folder"):
            carry_out(Transfer(TRANSFER, options, others, (side,), False, QUIET), options, QUIET)
    assert (tmp_path / "out" / "members.json").read_text() == before
    carry_out(Transfer(TRANSFER, options, sources, (16,), True, QUIET), options, QUIET)  # a control joins


def test_seeds_and_readouts_that_are_not_there_are_refused(pretrained: Store) -> None:
    with pytest.raises(StudyError, match="has no seed 7, 8: it has 0, 1"):
        sources_of_folder(pretrained.folder, seeds=(0, 7, 8))
    wrong = TRANSFER.model_copy(update={"claims": (Claim(ranking="C-C-T-T > ViT_REL", readout="final_accuracy"),)})
    with pytest.raises(StudyError, match="final_accuracy"):
        Transfer(wrong, Options(), sources_of_folder(pretrained.folder), (16,), True, QUIET)


def test_weights_that_moved_are_found_by_giving_the_same_command_the_new_folder(
    pretrained: Store, tmp_path: Path
) -> None:
    shutil.copytree(pretrained.folder, tmp_path / "first")
    store = Store.create(tmp_path / "out", TRANSFER)
    before = transfer_runs(Store(tmp_path / "first"), scratch=False)[0]
    store.add(before)
    (tmp_path / "first").rename(tmp_path / "second")
    after = transfer_runs(Store(tmp_path / "second"), scratch=False)[0]
    assert after.id == before.id
    store.add(after)
    stored = Run.model_validate_json((store.path(after.id) / "run.json").read_text())
    assert stored.start is not None
    assert (store.path(after.id) / stored.start.path).resolve() == Path(after.start.path)


def test_results_that_move_together_fit_together_and_tell_nobodys_folders(pretrained: Store, tmp_path: Path) -> None:
    """Through a link too, from where `..` leads elsewhere."""
    for place in ("here/disk", "there"):
        (tmp_path / place).mkdir(parents=True)
    shutil.copytree(pretrained.folder, tmp_path / "here" / "first")
    (tmp_path / "here" / "out").symlink_to(tmp_path / "here" / "disk", target_is_directory=True)
    (run,) = transfer_runs(Store(tmp_path / "here" / "first"), scratch=False)[:1]
    Store.create(tmp_path / "here" / "out", TRANSFER).add(run)
    for name in ("first", "disk"):
        (tmp_path / "here" / name).rename(tmp_path / "there" / name)
    store = Store(tmp_path / "there" / "disk")
    (moved,) = store.runs()
    assert train(moved, store.path(moved.id)) is not None
    assert not [path for path in store.folder.rglob("*.json") if str(tmp_path) in path.read_text()]


def test_the_projects_recipes_are_those_of_table_10() -> None:
    path = experiment_file("transfer")
    pretraining, tuning, probing = (load_experiment(path, name) for name in ("experiment", "transfer", "linear_probe"))
    for recipe in (tuning.training, probing.training):
        assert (recipe.decay, recipe.warmup, recipe.weight_decay, recipe.clip) == ("constant", 0, 1e-8, 1)
    assert tuning.training.epochs == 30
    assert tuning.training.lr < pretraining.training.lr
    assert (tuning.training.freeze, probing.training.freeze) == (False, True)
    assert pretraining.data.fractals == tuning.data.fractals
    assert (pretraining.data.name, tuning.data.name) == ("fractals[0:12]", "fractals[12:20]")  # no class in both
