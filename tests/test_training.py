"""Training: resuming changes nothing, seeds are seeds, what diverges says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from study.config import STUDY_VARIANTS, Blocks, Data, Fractals, Run, Training
from study.data import load
from study.models import build
from study.models.catalog import resolve
from study.models.sizing import Budget, strides_of
from study.training import loop
from study.training.evaluate import Normalisation, evaluate
from study.training.loop import train

TINY = Data(image_size=16, fractals=Fractals(classes=4, train_images=80, test_images=40))
RECIPE = Training(epochs=3, batch_size=16, eval_every=4, probe_size=32)
TIMES = ("seconds", "images_per_second")


def tiny_run(name: str = "C-C-T-T", seed: int = 0, recipe: Training = RECIPE, **switches: object) -> Run:
    budget = Budget(60_000, "parameters", strides_of("fine", 16), 4, 16, Blocks(**switches))
    return Run(variant=resolve(name, budget), data=TINY, training=recipe, seed=seed, label=name)


def rows(folder: Path) -> list[dict[str, float]]:
    """The metrics without the times, which no two runs share."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def interrupt_after(steps: int):
    """A `should_stop` that says yes at the given step of this attempt."""
    calls = iter(range(1, 1000))
    return lambda: next(calls) >= steps


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "weights.pt", weights_only=True)


@pytest.mark.parametrize("name", ["C-C-T-T", "ViT_REL"])
def test_a_run_stopped_at_any_step_ends_with_the_same_numbers_bit_for_bit(tmp_path: Path, name: str) -> None:
    run = tiny_run(name, stochastic_depth=0.3)  # random branches, so that the generator's state matters too
    whole = train(run, tmp_path / "whole")
    attempts = 0
    while (pieces := train(run, tmp_path / "pieces", should_stop=interrupt_after(attempts % 3 + 1))) is None:
        attempts += 1  # stops after 1, 2, 3, 1, ... steps: before, at and after the evaluations at every fourth
    assert attempts >= 6
    assert rows(tmp_path / "pieces") == rows(tmp_path / "whole")
    assert whole is not None
    assert pieces["steps"] == whole["steps"] == 15
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "pieces")
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_rows_written_after_the_last_checkpoint_are_measured_again_not_twice(tmp_path: Path) -> None:
    run = tiny_run()
    train(run, tmp_path / "whole")
    assert train(run, tmp_path / "killed", should_stop=interrupt_after(6)) is None
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "test_accuracy": 0.99}\n{"step": 12, "tes')  # as a kill amid writing leaves it
    train(run, tmp_path / "killed")
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


def test_random_branches_follow_the_runs_seed_and_not_the_callers_generator(tmp_path: Path) -> None:
    run = tiny_run(stochastic_depth=0.3)
    for state in (1, 2):
        torch.manual_seed(state)
        train(run, tmp_path / str(state))
    assert rows(tmp_path / "1") == rows(tmp_path / "2")


def test_training_leaves_the_callers_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(tiny_run(recipe=RECIPE.model_copy(update={"epochs": 1})), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_seed_0_is_a_seed_and_two_seeds_differ(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"epochs": 1})
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tiny_run(seed=seed, recipe=recipe), tmp_path / folder)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert rows(tmp_path / "a") != rows(tmp_path / "c")


def test_all_variants_of_a_seed_see_the_same_images_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[list[int]]] = {}

    class Watching(loop.Batches):
        def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
            images, labels = super().at(step)
            seen[name].append(images.flatten(1).long().sum(1).tolist())
            return images, labels

    monkeypatch.setattr(loop, "Batches", Watching)
    recipe = RECIPE.model_copy(update={"epochs": 2, "eval_every": 10})
    for name in STUDY_VARIANTS:
        seen[name] = []
        train(tiny_run(name, recipe=recipe), tmp_path / name)
    assert len(seen["ViT_REL"]) == 10
    assert all(order == seen["ViT_REL"] for order in seen.values())


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged_with_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exploding(loop.Stepper):
        steps = 0

        def step(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor, lr: float) -> torch.Tensor:
            self.steps += 1
            return super().step(images_BCHW, labels_B, lr) * (float("nan") if self.steps >= 6 else 1)

    monkeypatch.setattr(loop, "Stepper", Exploding)
    result = train(tiny_run(), tmp_path)
    assert result is not None
    assert (result["status"], result["diverged_at_step"], result["steps"]) == ("diverged", 6, 6)  # noticed at step 8
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "diverged"
    assert [row["step"] for row in rows(tmp_path)] == [4]


def test_evaluation_does_not_depend_on_its_batch_size_nor_move_batchnorm() -> None:
    run, data = tiny_run("C-C-C-C"), load(TINY)
    network = build(run.variant, 4, 16).train()
    images, labels = torch.from_numpy(data.test_images), torch.from_numpy(data.test_labels)
    normalise = Normalisation.of(torch.from_numpy(data.train_images), torch.device("cpu"))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    results = [evaluate(network, images, labels, normalise, "fp32", size) for size in (7, 40)]
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_bf16_trains_close_to_fp32(tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):  # one epoch: without the processor's help a step in bf16 is 70 times as long
        train(tiny_run(recipe=RECIPE.model_copy(update={"precision": precision, "epochs": 1})), tmp_path / precision)
    full, half = (rows(tmp_path / precision)[-1] for precision in ("fp32", "bf16"))
    assert full != half
    assert half["probe_loss"] == pytest.approx(full["probe_loss"], rel=0.1)


def test_one_update_is_torchs_adamw_on_the_clipped_gradient() -> None:
    network = build(tiny_run("ViT_REL").variant, 4, 16)
    oracle = build(tiny_run("ViT_REL").variant, 4, 16)
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 4
    loss = loop.Stepper(network, RECIPE).step(images, labels, 0.01)
    expected = F.cross_entropy(oracle(images), labels)
    expected.backward()
    norm = torch.sqrt(sum((p.grad**2).sum() for p in oracle.parameters()))
    for parameter in oracle.parameters():
        parameter.grad *= min(1.0, 1.0 / float(norm))
    torch.optim.AdamW(oracle.parameters(), lr=0.01, weight_decay=0, fused=False, foreach=False).step()
    assert float(loss) == pytest.approx(expected.item(), rel=1e-6)
    for found, wanted in zip(network.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains_close_to_the_cpu_and_resumes(tmp_path: Path, precision: str) -> None:
    run = tiny_run(recipe=RECIPE.model_copy(update={"precision": precision}))
    train(run, tmp_path / "cpu")
    assert train(run, tmp_path / "gpu", device="cuda", should_stop=interrupt_after(6)) is None
    train(run, tmp_path / "gpu", device="cuda")
    cpu, gpu = rows(tmp_path / "cpu")[-1], rows(tmp_path / "gpu")[-1]
    assert gpu["probe_loss"] == pytest.approx(cpu["probe_loss"], rel=0.05)
