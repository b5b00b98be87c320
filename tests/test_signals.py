"""Signals and gradients at the start, against a network that is worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from study.config import Blocks, CoAtNetVariant, CoaTVariant, Variant, ViTRelVariant
from study.models import build
from study.models.signals import signals
from study.models.table import shared_depths_in_words, signal_columns, stage_rows, stage_signals


class Toy(nn.Module):
    """Doubles the images, takes their mean over channels and places, and makes two logits (a x, b x) of it."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 1, groups=3, bias=False)
        nn.init.constant_(self.twice.weight, 2)
        self.unused = nn.Identity()
        self.norm = nn.BatchNorm2d(3)
        self.classifier = nn.Linear(1, 2, bias=False)
        self.classifier.weight.data.copy_(torch.tensor([[3.0], [-1.0]]))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        doubled = self.twice(x_BCHW)
        self.norm(doubled)
        logits: torch.Tensor = self.classifier(doubled.mean((1, 2, 3))[:, None])
        return logits


def test_signals_are_those_of_a_network_worked_by_hand() -> None:
    toy, batch, side = Toy().eval(), 16, 4
    found = signals(toy, ("twice", "classifier", "unused"), side, batch)
    assert set(found) == {"twice", "classifier"}
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, side, side, generator=generator)
    labels = torch.randint(2, (batch,), generator=generator).tolist()
    assert found["twice"].deviation == pytest.approx(2 * images.std(correction=0).item(), rel=1e-5)
    squares_of_logits, squares_of_places, values = 0.0, 0.0, []
    for image, label in zip(images, labels, strict=True):
        mean = 2 * image.mean().item()
        p = 1 / (1 + math.exp(-4 * mean))  # softmax of (3 m, -m), the first class
        values += [3 * mean, -mean]
        of_first = p - (label == 0)  # the second has the opposite
        squares_of_logits += 2 * of_first**2
        of_mean = 3 * of_first + of_first
        squares_of_places += of_mean**2 / (3 * side**2)  # each of 48 places has 1/48 of it
    assert found["classifier"].deviation == pytest.approx(torch.tensor(values).std(correction=0).item(), rel=1e-4)
    assert found["classifier"].gradient == pytest.approx(math.sqrt(squares_of_logits / batch), rel=1e-4)
    assert found["twice"].gradient == pytest.approx(math.sqrt(squares_of_places / batch), rel=1e-4)


def test_looking_leaves_the_network_and_the_generator_as_they_were() -> None:
    toy = Toy().eval()
    before = {name: value.clone() for name, value in toy.state_dict().items()}
    state = torch.get_rng_state()
    signals(toy, ("twice",), 4)
    assert all(torch.equal(before[name], value) for name, value in toy.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not toy.training
    assert all(parameter.grad is None for parameter in toy.parameters())


SMALL: list[Variant] = [
    CoAtNetVariant(layout="C-C-T-T", depths=(2, 1, 1, 1, 1), widths=(8, 8, 16, 24, 32), strides=(1, 1, 2, 2, 2)),
    ViTRelVariant(patch=4, depth=2, width=32),
    CoaTVariant(widths=(16, 24, 24, 24), depths=(1, 1, 1, 1), parallel_depth=1, mlp_ratios=(2, 2, 2, 2)),
]


@pytest.mark.parametrize("variant", SMALL, ids=lambda variant: variant.family)
def test_every_row_of_a_network_has_its_signal_beside_it(variant: Variant) -> None:
    rows, found = stage_rows(variant, 10, 32), stage_signals(variant, 10, 32)
    assert [row["stage"] for row in found] == [row["stage"] for row in rows]
    shown = [row["stage"] for row in found if row["signal"] is not None]
    if variant.family == "coatnet":
        assert shown == ["S0", "S1", "S2", "S3", "S4", "head"]
    if variant.family == "vit_rel":
        assert shown == ["stem", "blocks", "head"]
    assert "head" in shown
    assert all(row["signal"] > 0 and row["gradient"] > 0 for row in found if row["signal"] is not None)


def test_the_first_form_leaves_the_patches_of_vit_rel_little_signal_and_the_others_do_not() -> None:
    def stem(form: str) -> float:
        blocks = Blocks.model_validate({"initialisation": form})
        rows = stage_signals(ViTRelVariant(patch=4, depth=1, width=96, blocks=blocks), 10, 32)
        return float(rows[0]["signal"])

    assert stem("timm") == pytest.approx(math.sqrt(48 * 2 / (16 * 96)), rel=0.1)
    assert stem("xavier") == pytest.approx(1, rel=0.1)
    assert stem("fan_in") == pytest.approx(math.sqrt(1 / 3 + 1 / 144), rel=0.1)  # a variance of 1 / 3, and biases'


def test_a_row_of_the_overview_names_its_stages() -> None:
    row = signal_columns(SMALL[0], 10, 32)
    assert [part.split()[0] for part in row["signals"].split(", ")] == ["S0", "S1", "S2", "S3", "S4", "head"]


def test_the_networks_that_are_looked_at_are_those_that_are_trained() -> None:
    network = build(SMALL[1], 10, 32, seed=0)
    assert signals(network, ("stem",), 32)["stem"].deviation == stage_signals(SMALL[1], 10, 32)[0]["signal"]


def test_the_overview_says_depths_once_and_how_far_costs_come_apart() -> None:
    layouts: dict[str, Variant] = {"C-C-T-T": SMALL[0], "ViT_REL": SMALL[1]}
    layouts["C-C-C-C"] = SMALL[0].model_copy(update={"layout": "C-C-C-C"})
    costs = {"C-C-T-T": 1_000_000, "C-C-C-C": 1_100_000, "ViT_REL": 2_100_000}
    rows = [{"variant": label, "macs": amount} for label, amount in costs.items()]
    said = shared_depths_in_words(layouts, rows, "parameters")
    assert said is not None
    assert "Blocks of S0-S4: 2-1-1-1-1 in all 2 multi-stage variants." in said
    assert "multiply-adds lie within 10.0 % (C-C-C-C has the most)" in said
    assert "ViT_REL has 2 blocks and +100.0 % of multiply-adds" in said
    layouts["C-C-C-C"] = layouts["C-C-C-C"].model_copy(update={"depths": (2, 1, 2, 1, 1)})
    assert shared_depths_in_words(layouts, rows, "parameters") is None


def test_what_is_before_the_first_parameter_has_no_gradient_and_is_left_out() -> None:
    assert set(signals(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), ("0", "1"), 4)) == {"1"}
