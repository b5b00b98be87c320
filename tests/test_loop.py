"""What the loop writes down, and what an update does, held against plain loops, formulas and clocks that are known."""

from __future__ import annotations

import hashlib
import json
import math
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from study.config import Blocks, CoAtNetVariant, CoaTVariant, Training, Variant, ViTRelVariant
from study.data import load
from study.models import build
from study.training import loop
from study.training.evaluate import Normalisation, evaluate
from study.training.loop import train
from study.training.optimizer import learning_rate, make_optimizer
from study.training.step import Stepper
from tests.test_training import RECIPE, TINY, rows, tiny_run, weights

SMALL = ViTRelVariant(patch=4, depth=1, width=32)
FIVE = {"depths": (1,) * 5, "widths": (16,) * 5, "strides": (1, 1, 2, 2, 2)}


def run_of(**recipe: object):
    """A short run of a small network, with an evaluation every four of its 15 steps."""
    return tiny_run("ViT_REL", recipe=RECIPE.model_copy(update=recipe)).model_copy(update={"variant": SMALL})


# ---------------------------------------------------------------- what is measured


def test_test_images_and_the_probe_are_measured_as_a_plain_loop_measures_them(tmp_path: Path):
    """Every readout rests on the probe: 32 of the 80 training images, the same in every run. One at a time, in eval."""
    train(run := tiny_run(), tmp_path)
    data = load(run.data)
    chosen = np.random.default_rng(0).permutation(80)[:32]
    network = build(run.variant, 4, 16)
    network.load_state_dict(weights(tmp_path))
    network.eval()
    pixels = data.train_images.astype("float64")
    mean, std = pixels.mean((0, 2, 3), keepdims=True), pixels.std((0, 2, 3), keepdims=True)
    last = rows(tmp_path)[-1]
    probe, test = (data.train_images[chosen], data.train_labels[chosen]), (data.test_images, data.test_labels)
    for name, (images, labels) in {"probe": probe, "test": test}.items():
        losses, correct = [], 0
        with torch.no_grad():
            for image, label in zip(images, labels, strict=True):
                logits = network(torch.tensor((image[None] - mean) / std, dtype=torch.float32))[0]
                losses.append(float(-logits.log_softmax(0)[label]))
                correct += int(logits.argmax() == label)
        assert last[f"{name}_loss"] == pytest.approx(sum(losses) / len(labels), rel=1e-4)
        assert last[f"{name}_accuracy"] == correct / len(labels)
    assert last["probe_loss"] != pytest.approx(last["test_loss"], rel=1e-3)


def test_a_probe_larger_than_the_data_is_all_of_them_and_never_one_twice():
    assert loop.probe_indices(50, 2000).tolist() == list(range(50))
    chosen = loop.probe_indices(2000, 100)
    assert len(set(chosen.tolist())) == 100
    assert chosen.tolist() == sorted(chosen.tolist())


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_network_in_the_mode_in_which_it_came(training: bool):
    data = load(TINY)
    network = build(tiny_run("C-C-C-C").variant, 4, 16).train(training)
    normalise = Normalisation.from_levels(data.levels, torch.device("cpu"))
    modes: list[bool] = []
    network.register_forward_hook(lambda module, *_: modes.append(module.training))
    evaluate(network, data.test_images, torch.from_numpy(data.test_labels), normalise, "fp32")
    assert modes == [False]
    assert all(module.training == training for module in network.modules())


def test_the_classifier_alone_is_trained_in_eval_mode_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Evaluation must not wake the frozen network's BatchNorms."""
    modes: list[bool] = []

    class Watching(Stepper):
        def step(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor, lr: float) -> torch.Tensor:
            modes.append(any(module.training for module in self.network.modules()))
            return super().step(images_BCHW, labels_B, lr)

    monkeypatch.setattr(loop, "Stepper", Watching)
    train(run_of(freeze=True), tmp_path)
    assert modes == [False] * 15


def test_evaluations_are_where_the_recipe_has_them_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Counting(Stepper):
        def __init__(self, network: nn.Module, training: Training):
            super().__init__(network, training)
            self.made = count(1)

        def step(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor, lr: float) -> torch.Tensor:
            super().step(images_BCHW, labels_B, lr)
            return torch.tensor(float(next(self.made)))  # the loss of step k is k

    monkeypatch.setattr(loop, "Stepper", Counting)
    result = train(run_of(warmup=0.2), tmp_path)
    found = rows(tmp_path)
    assert [row["step"] for row in found] == [4, 8, 12, 15]
    assert [row["samples"] for row in found] == [64, 128, 192, 240]
    assert [row["epoch"] for row in found] == [0.8, 1.6, 2.4, 3.0]
    assert [row["running_loss"] for row in found] == [2.5, 6.5, 10.5, 14.0]  # of the steps since the row before
    half = (1 + math.cos(math.pi / 12)) / 2
    assert found[0]["lr"] == pytest.approx(1e-3 * (0.01 + 0.99 * half))  # step 4 of 15: the first after 3 of warm-up
    assert found[-1]["lr"] == pytest.approx(1e-5)
    assert result is not None
    assert (result["steps"], result["samples"], result["status"]) == (15, 240, "ok")
    assert result["final"].items() >= found[-1].items()


def test_the_best_accuracy_is_the_largest_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values = iter([0.1, 0.2, 0.3, 0.9, 0.5, 0.4, 0.6, 0.35])  # probe and test, probe and test, ...
    monkeypatch.setattr(loop, "evaluate", lambda *_: (1.0, next(values)))
    result = train(run_of(), tmp_path)
    assert result is not None
    assert result["best_test_accuracy"] == 0.9
    assert result["final"]["test_accuracy"] == 0.35
    assert result["final"]["probe_accuracy"] == 0.6


def test_seconds_are_of_training_alone_over_all_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A clock on which a step takes a second, and an evaluation a hundred."""
    now = [0.0]

    class Slow(Stepper):
        def step(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor, lr: float) -> torch.Tensor:
            now[0] += 1
            return super().step(images_BCHW, labels_B, lr)

    def slow(*arguments: object) -> tuple[float, float]:
        now[0] += 100
        return 1.0, 0.5

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(loop, "Stepper", Slow)
    monkeypatch.setattr(loop, "evaluate", slow)
    stops = iter([False] * 5 + [True])
    assert train(run_of(), tmp_path, should_stop=lambda: next(stops)) is None  # after step 6
    now[0] += 1000  # between the attempts
    result = train(run_of(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["seconds"] for line in lines] == [4, 8, 12, 15]
    assert [line["images_per_second"] for line in lines] == [16] * 4
    assert result is not None
    assert result["seconds"] == 15


def test_who_watches_is_told_of_every_step_and_row(tmp_path: Path):
    steps: list[int] = []
    told: list[dict[str, object]] = []
    seen: list[dict[str, object]] = []
    train(run_of(), tmp_path, on_step=steps.append, on_row=told.append, on_progress=seen.append)
    assert steps == list(range(15))
    assert [{key: row[key] for key in rows(tmp_path)[0]} for row in told] == rows(tmp_path)
    assert {4, 8, 12, 15} <= {live["step"] for live in seen}


def test_the_curve_is_what_this_run_measured_whatever_another_writer_added(tmp_path: Path):
    """Up to the last moment: one that was taken over may still write a line."""

    metrics, disturbed = tmp_path / "metrics.jsonl", False

    def disturb() -> None:
        nonlocal disturbed
        if not disturbed and metrics.exists() and len(metrics.read_text().splitlines()) == 4:
            disturbed = True
            with metrics.open("a") as file:
                file.write('{"step": 99, "test_accuracy": 1.0}\n')

    result = train(run_of(), tmp_path, before_write=disturb)
    assert result is not None
    assert disturbed
    assert [row["step"] for row in rows(tmp_path)] == [4, 8, 12, 15]
    assert hashlib.sha256((tmp_path / "metrics.jsonl").read_bytes()).hexdigest() == result["checksums"]["metrics.jsonl"]


def test_what_is_seen_while_it_runs_is_the_speed_and_what_is_left():
    progress = loop.Progress(step=6, seconds=10.0, evaluated_at=8.0)
    seen = loop.live(run_of(), progress, 15, 0.5, 2, SimpleNamespace(rows=[{"test_accuracy": 0.25}]))
    assert seen["images_per_second"] == 2 * 16 / 2
    assert seen["seconds_left"] == 9
    assert (seen["step"], seen["steps"], seen["loss"], seen["test_accuracy"]) == (6, 15, 0.5, 0.25)


def test_normalisation_is_the_mean_and_deviation_of_the_training_images_by_channel():
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4), np.uint8)
    images[:, 1] = 77  # constant: its deviation counts as 1
    found = Normalisation.of(torch.from_numpy(images), torch.device("cpu"))(torch.from_numpy(images)).numpy()
    expected = (images - images.mean((0, 2, 3), keepdims=True)) / images.std((0, 2, 3), keepdims=True).clip(1e-9)
    np.testing.assert_allclose(found[:, [0, 2]], expected[:, [0, 2]], atol=1e-5)
    assert (found[:, 1] == 0).all()


# ---------------------------------------------------------------- what an update does


@pytest.mark.parametrize("decay", ["cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_the_rate_warms_up_then_decays_or_stays(decay: str, warmup: float):
    recipe = Training(lr=2.0, warmup=warmup, decay=decay, min_lr_ratio=0.1)
    rates = [learning_rate(recipe, step, 20) for step in range(20)]
    first = round(20 * warmup)
    assert rates[:first] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0][:first])
    after = np.arange(1, 21 - first) / (20 - first)  # part of the decay that is behind
    cosine = 0.2 + (2.0 - 0.2) * (1 + np.cos(np.pi * after)) / 2
    assert rates[first:] == pytest.approx(cosine if decay == "cosine" else [2.0] * (20 - first))


DECAYED = (nn.Linear, nn.Conv2d, nn.Conv1d)
NETWORKS: dict[str, Variant] = {
    "relative bias": CoAtNetVariant(layout="C-C-T-T", **FIVE),
    "absolute positions, dense head": CoAtNetVariant(
        layout="C-T-T-T", **FIVE, blocks=Blocks(absolute_positions=True, dense_head=True, conv_norm="layer")
    ),
    "ViT_REL": SMALL,
    "CoaT": CoaTVariant(
        widths=(16, 16, 16, 16), depths=(1, 1, 1, 1), parallel_depth=1, mlp_ratios=(2, 2, 2, 2), heads=2
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_weight_decay_is_for_weights_not_for_norms_biases_and_tables(name: str):
    network = build(NETWORKS[name], 4, 32)
    weights = {id(module.weight) for module in network.modules() if isinstance(module, DECAYED)}
    optimizer = make_optimizer(network, Training(weight_decay=0.3))
    decays = {id(each): group["weight_decay"] for group in optimizer.param_groups for each in group["params"]}
    trained = {path: each for path, each in network.named_parameters() if each.requires_grad}
    assert len(decays) == len(trained)
    for path, parameter in trained.items():
        assert decays[id(parameter)] == (0.3 if id(parameter) in weights else 0), path


def test_betas_and_decay_are_the_recipes():
    optimizer = make_optimizer(build(SMALL, 4, 16), Training(betas=(0.8, 0.95), lr=0.5, weight_decay=0.1))
    assert optimizer.defaults["betas"] == (0.8, 0.95)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.1, 0}


def test_a_step_is_made_at_the_rate_that_is_given():
    data = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
    moved = []
    for lr in (0.0, 1e-3, 2e-3):
        network = build(SMALL, 4, 16)
        before = network.head.classifier.weight.detach().clone()
        Stepper(network, Training(lr=0.7, weight_decay=0.0)).step(*data, lr)
        moved.append(float((network.head.classifier.weight.detach() - before).abs().max()))
    assert moved[0] == 0
    assert moved[1:] == pytest.approx([1e-3, 2e-3], rel=0.01)  # Adam's first step is lr in each coordinate


def test_gradients_do_not_add_up_over_steps():
    data = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
    stepper = Stepper(build(SMALL, 4, 16), Training(clip=1e9))
    stepper.step(*data, 0.0)
    first = [each.grad.clone() for each in stepper.parameters if each.grad is not None]
    stepper.step(*data, 0.0)
    second = [each.grad for each in stepper.parameters if each.grad is not None]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(first, second, strict=True))
