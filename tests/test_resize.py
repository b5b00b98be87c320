"""Trained networks at other image sides: tables resampled bilinearly, the function kept, accuracy without training."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from study.config import Blocks, CoAtNetVariant, CoaTVariant, Fractals, TimmVariant, Training, Variant, ViTRelVariant
from study.data.fractals import batch
from study.errors import StudyError
from study.models import build, place
from study.models.attention import Attention, resample
from study.models.resize import resize
from study.training.evaluate import Normalisation, evaluate
from study.training.step import Stepper
from tests.oracles import randomise

CPU = torch.device("cpu")
CLASSES = 5
LAYOUTS = ["C-C-T-T", "C-T-T-T", "ViT_REL"]


def small(layout: str, **switches: object) -> Variant:
    blocks = Blocks.model_validate({"head_dim": 16, **switches})
    if layout == "ViT_REL":
        return ViTRelVariant(patch=8, depth=2, width=32, blocks=blocks)
    if layout == "CoaT":
        return CoaTVariant(widths=(8, 16, 16, 16), depths=(1, 1, 1, 1), parallel_depth=1, mlp_ratios=(2, 2, 2, 2))
    return CoAtNetVariant(
        layout=layout, depths=(2, 1, 1, 1, 1), widths=(8, 16, 32, 32, 64), strides=(2, 1, 2, 2, 2), blocks=blocks
    )


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(("sides", "others"), [((3, 5), (7, 4)), ((7, 7), (15, 15)), ((15, 3), (7, 9))], ids=str)
def test_tables_are_resampled_by_the_bilinear_formula(sides: tuple[int, int], others: tuple[int, int]) -> None:
    """Half-pixel centres, clamped at the border: against a loop."""
    table_CHW = randn(2, *sides).double()
    got_CHW = resample(table_CHW, others)

    def corners(place: int, side: int, other: int) -> tuple[int, int, float]:
        centre = min(max((place + 0.5) * side / other - 0.5, 0), side - 1)
        below = math.floor(centre)
        return below, min(below + 1, side - 1), centre - below

    for i in range(others[0]):
        top, bottom, down = corners(i, sides[0], others[0])
        for j in range(others[1]):
            left, right, across = corners(j, sides[1], others[1])
            upper = (1 - across) * table_CHW[:, top, left] + across * table_CHW[:, top, right]
            lower = (1 - across) * table_CHW[:, bottom, left] + across * table_CHW[:, bottom, right]
            torch.testing.assert_close(got_CHW[:, i, j], (1 - down) * upper + down * lower)


def test_offset_0_stays_offset_0_and_mirrored_tables_stay_mirrored() -> None:
    table_CHW = randn(1, 7, 7)
    larger_CHW = resample(table_CHW, (15, 15))
    torch.testing.assert_close(larger_CHW[:, 7, 7], table_CHW[:, 3, 3])
    torch.testing.assert_close(resample(table_CHW.flip(1, 2), (15, 15)), larger_CHW.flip(1, 2))


@pytest.mark.parametrize("layout", [*LAYOUTS, "CoaT"])
def test_at_equal_size_nothing_changes(layout: str) -> None:
    network = build(small(layout), CLASSES, 32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parameters = dict(network.named_parameters())
    assert resize(network, 32) is network
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value is parameters[name] for name, value in network.named_parameters())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("side", [16, 48, 64])
def test_a_resized_network_is_one_built_for_the_other_side(layout: str, side: int) -> None:
    variant = small(layout, absolute_positions=True)
    network = randomise(build(variant, CLASSES, 32), seed=1)
    resized = resize(copy.deepcopy(network), side)
    built = build(variant, CLASSES, side).double()
    expected = {
        name: value
        if value.shape == built.state_dict()[name].shape
        else resample(value, built.state_dict()[name].shape[1:])
        if name.endswith("bias_table")
        else resample(value.permute(2, 0, 1), built.state_dict()[name].shape[:2]).permute(1, 2, 0)
        for name, value in network.state_dict().items()
    }
    built.load_state_dict(expected)
    x_BCHW = randn(2, 3, side, side).double()
    torch.testing.assert_close(resized.eval()(x_BCHW), built.eval()(x_BCHW))
    with pytest.raises(StudyError, match=r"resize (it|them) first"):
        network(x_BCHW)


def test_local_attention_gets_the_neighbourhood_of_the_new_grid() -> None:
    network = resize(build(small("C-C-T-T", attention="local", window=3), CLASSES, 32), 64)
    sides = [module.side for module in network.modules() if isinstance(module, Attention)]
    assert sides == [(8, 8), (4, 4)]
    assert network(randn(1, 3, 64, 64)).isfinite().all()


def test_frozen_tables_stay_frozen_and_resized_ones_learn() -> None:
    network = build(small("C-C-T-T"), CLASSES, 32)
    network.stages[2].requires_grad_(False)
    resize(network, 64)
    assert not any(parameter.requires_grad for parameter in network.stages[2].parameters())
    network(randn(1, 3, 64, 64)).sum().backward()
    table = network.stages[3].blocks[0].attention.bias_table
    assert table.grad is not None
    assert table.grad.shape == (4, 7, 7)


# ---------------------------------------------------------------- the function


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("side", [48, 64])
def test_resized_up_and_back_a_network_keeps_its_function_closely(layout: str, side: int) -> None:
    network = build(small(layout), CLASSES, 32).eval()
    there = resize(copy.deepcopy(network), side)
    x_BCHW = randn(16, 3, 32, 32)
    with torch.no_grad():
        before, after = network(x_BCHW), resize(there, 32)(x_BCHW)
    distance = (after - before).norm() / before.norm()
    assert 0 < distance < 0.02


TASK = Fractals(classes=2, jitter=0.0)


@pytest.fixture(scope="module", params=["C-T-T-T", "ViT_REL"])
def trained(request: pytest.FixtureRequest) -> tuple[nn.Module, Normalisation]:
    """A network that tells two fractals apart at 32 pixels, after a few seconds of training."""
    images, labels = batch(torch.arange(512), TASK, "train", 32)
    normalise = Normalisation.of(images, CPU)
    network = place(build(small(request.param, head_dim=32), 2, 32), CPU).train()
    stepper = Stepper(network, Training(batch_size=32))
    order = torch.Generator().manual_seed(0)
    for epoch in range(8):
        for rows in torch.randperm(512, generator=order).split(32):
            stepper.step(normalise(images[rows]), labels[rows], lr=2e-3 if epoch < 5 else 5e-4)
    return network.eval(), normalise


@pytest.mark.parametrize("side", [32, 48, 64])
def test_a_trained_network_stays_accurate_at_a_larger_side_without_training(
    trained: tuple[nn.Module, Normalisation], side: int
) -> None:
    """The same test fractals, drawn with more pixels. Chance is 0.5, with a standard error of 0.025."""
    network, normalise = trained
    resized = resize(copy.deepcopy(network), side)
    _, accuracy = evaluate(resized, *batch(torch.arange(400), TASK, "test", side), normalise, "fp32")
    assert accuracy > 0.65


def test_a_trained_network_keeps_its_function_closely_too(trained: tuple[nn.Module, Normalisation]) -> None:
    network, normalise = trained
    images, _ = batch(torch.arange(100), TASK, "test", 32)
    back = resize(resize(copy.deepcopy(network), 64), 32)
    with torch.no_grad():
        before, after = network(normalise(images)), back(normalise(images))
    assert 0 < (after - before).norm() / before.norm() < 0.02
    assert (after.argmax(1) == before.argmax(1)).float().mean() >= 0.98


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("layout", "side", "advice"),
    [
        ("C-C-T-T", 40, "stride of 16: 32 and 48 would"),
        ("ViT_REL", 36, "stride of 8: 32 and 40 would"),
        ("CoaT", 40, "a side of 32 or 64 instead of 40 would fit"),
    ],
)
def test_a_side_that_does_not_divide_is_refused_and_nothing_changes(layout: str, side: int, advice: str) -> None:
    network = build(small(layout), CLASSES, 32).eval()
    x_BCHW = randn(1, 3, 32, 32)
    before = network(x_BCHW)
    with pytest.raises(StudyError, match=advice):
        resize(network, side)
    assert torch.equal(network(x_BCHW), before)


def test_coat_takes_another_side_as_it_is() -> None:
    network = build(small("CoaT"), CLASSES, 32).eval()
    assert resize(network, 64)(randn(1, 3, 64, 64)).shape == (1, CLASSES)


def test_networks_of_others_are_refused(timm: object) -> None:
    network = build(TimmVariant(model="resnet18"), CLASSES, 32)
    with pytest.raises(StudyError, match="a ResNet cannot be taken to another image side: build it for that side"):
        resize(network, 64)
