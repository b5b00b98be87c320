"""The embedded data set against hand-worked cases, a chaos game and numpy."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from study.config import Fractals
from study.data import counter, fractals

DRAWS = sum(fractals.LOOK.values())
SMALL = Fractals(classes=20, train_images=400, test_images=400)


def draw(indices: list[int] | torch.Tensor, split: fractals.Split = "train", side: int = 32) -> torch.Tensor:
    return fractals.batch(torch.as_tensor(indices), SMALL, split, side)[0]


def hashes(images: torch.Tensor) -> set[str]:
    return {hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images}


def test_random_numbers_are_splitmix64s():
    """The first outputs for seed 1234567 that Rosetta Code lists."""
    state = 1234567 + counter.GOLDEN * torch.arange(1, 6)
    outputs = [value % 2**64 for value in counter.splitmix64(state).tolist()]
    assert outputs == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_no_two_draws_share_a_counter():
    indices, draws = torch.tensor([0, 1, 2, 10**6, 2**48 - 1]), 256
    used = torch.cat([counter.counters(stream, indices, draws) for stream in fractals.STREAMS.values()]).flatten()
    assert len(set(used.tolist())) == 3 * 5 * 256
    assert len(set(counter.splitmix64(used).tolist())) == 3 * 5 * 256
    assert used.min() >= 0
    assert DRAWS <= 256


def test_draws_are_uniform():
    draws = counter.uniform(0, 0, torch.arange(2000), 50)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert torch.histc(draws, 20, 0, 1).sub(5000).abs().max() < 5 * 5000**0.5
    assert np.abs(np.corrcoef(draws.numpy(), rowvar=False) - np.eye(50)).max() < 0.12


@pytest.mark.parametrize("side", [32, 21])
def test_an_image_is_the_same_in_every_batch_and_order(side):
    whole = draw(torch.arange(200), side=side)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(order, side=side), whole[order])
    for index in (0, 1, 7, 133):
        assert torch.equal(draw([index], side=side), whole[index : index + 1])
    assert torch.equal(draw(torch.arange(50, 67), side=side), whole[50:67])


def test_test_images_never_repeat_training_images():
    train, test = hashes(draw(torch.arange(3000))), hashes(draw(torch.arange(3000), "test"))
    assert len(train) == len(test) == 3000
    assert not train & test


def test_another_seed_gives_other_classes_and_images():
    other = SMALL.model_copy(update={"seed": 1})
    assert not hashes(draw(torch.arange(100))) & hashes(fractals.batch(torch.arange(100), other, "train", 32)[0])
    assert not torch.equal(fractals.codes(0, 1)[0], fractals.codes(1, 1)[0])


def test_images_of_this_version_have_not_changed():
    """If this fails on purpose, raise fractals.VERSION: prepared arrays and runs are bound to the bytes."""
    images = torch.cat((draw(torch.arange(100)), draw(torch.arange(100), "test")))
    assert (fractals.VERSION, hashlib.sha256(images.numpy().tobytes()).hexdigest()[:12]) == (2, "0dc7ce2a22e2")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_torchs_default_type_changes_no_image(dtype):
    """A user's own file may set it."""
    expected = draw(torch.arange(400))
    try:
        torch.set_default_dtype(dtype)
        fractals.codes.cache_clear()
        fractals.addresses.cache_clear()
        assert torch.equal(draw(torch.arange(400)), expected)
    finally:
        torch.set_default_dtype(torch.float32)
        fractals.codes.cache_clear()
        fractals.addresses.cache_clear()


def test_square_roots_are_exactly_rounded():
    """A float64's root, rounded to float32, is the exactly rounded one; torch's, by MKL, is not on some processors."""
    numbers = torch.rand(1_000_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fractals.root(numbers), torch.from_numpy(np.sqrt(numbers.double().numpy())).float())


def test_classes_take_turns_and_more_classes_keep_the_first():
    _, labels = fractals.batch(torch.arange(43), SMALL, "train", 8)
    assert labels.tolist() == [index % 20 for index in range(43)]
    for few, many in zip(fractals.codes(0, 10), fractals.codes(0, 30), strict=False):
        assert torch.equal(few, many)


def test_all_words_of_four_halvings_of_the_square_are_a_grid():
    half, shifts = 0.5 * torch.eye(2), torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5], [0.5, 0.5]])
    maps = torch.cat((half.expand(4, 2, 2), shifts[..., None]), -1)
    x, y = fractals.attractor(maps[None], 200)
    assert sorted(zip(x[0].tolist(), y[0].tolist(), strict=True)) == [
        (i / 16, j / 16) for i in range(16) for j in range(16)
    ]


def test_a_code_is_the_attractor_of_the_chaos_game():
    """200 chaos games of 200 steps, in numpy, visit no cell that the words do not, and all but the rarest that do."""
    rng = np.random.default_rng(0)
    for code in fractals.codes(0, 6):
        words = np.stack([axis[0].double().numpy() for axis in fractals.attractor(code[None], 40_000)], 1)
        linear, shift = code.double().numpy()[..., :2], code.double().numpy()[..., 2]
        points, games = np.repeat(words[:1], 200, 0), []
        for _ in range(200):
            choices = rng.integers(len(code), size=200)
            points = (linear[choices] @ points[..., None])[..., 0] + shift[choices]
            games.append(points)
        low, size = words.min(0), np.ptp(words, 0).max()
        limits = [[low[0], low[0] + size], [low[1], low[1] + size]]
        by_words, by_games = (np.histogram2d(*p.T, 16, limits)[0] > 0 for p in (words, np.concatenate(games)))
        assert (by_games & ~by_words).sum() <= 1
        assert by_games.sum() > 0.9 * by_words.sum()


def test_codes_are_contractive_fill_the_image_and_differ():
    codes = fractals.codes(0, 60)
    assert {len(code) for code in codes} == {2, 3, 4}
    cells = []
    for code in codes:
        assert np.linalg.svd(code[:, :, :2].numpy())[1].max() < 0.9 + 1e-5
        x, y = (axis[0].numpy() for axis in fractals.attractor(code[None], 4096))
        size = max(np.ptp(x), np.ptp(y)) * 1.0001
        cells.append(np.histogram2d((x - x.min()) / size, (y - y.min()) / size, 32, [[0, 1], [0, 1]])[0] > 0)
        assert 0.14 < cells[-1].mean() < 0.61
    for one in range(60):
        for other in range(one):
            assert (cells[one] & cells[other]).sum() < 0.55 * (cells[one] | cells[other]).sum()


def test_instances_stay_contractive_at_the_largest_jitter():
    code = fractals.codes(0, 1)[0].expand(200, -1, -1, -1)
    draws = counter.uniform(0, 0, torch.arange(200), DRAWS)
    named = dict(zip(fractals.LOOK, draws.split(list(fractals.LOOK.values()), 1), strict=True))
    maps = fractals.instances(code, named, jitter=1.0)
    assert np.linalg.svd(maps[..., :2].numpy())[1].max() < 0.95 + 1e-5


def test_hsv_is_that_of_the_standard_library():
    import colorsys

    h, s, v = torch.rand(3, 50, 1, generator=torch.Generator().manual_seed(0))
    expected = [colorsys.hsv_to_rgb(*map(float, one)) for one in zip(h, s, v, strict=True)]
    assert np.allclose(fractals.colours(h, s, v)[:, 0].numpy(), expected, atol=1e-5)


def test_the_class_cannot_be_read_from_the_mean_colour():
    """A nearest-centroid classifier on an image's mean colour is at chance (1/20; 3 standard errors are 0.015)."""
    train, test = (draw(torch.arange(2000), split).float().mean((2, 3)) for split in ("train", "test"))
    labels = torch.arange(2000) % 20
    centroids = torch.stack([train[labels == label].mean(0) for label in range(20)])
    accuracy = (torch.cdist(test, centroids).argmin(1) == labels).float().mean()
    assert accuracy < 0.05 + 0.025


def test_the_class_can_be_read_from_the_shape():
    """Without rotation and jitter, but in other places, sizes and colours, images are nearest to their own class.

    Shape is compared by the outline: |pixel - ground| of the brightness, moved to its centre of mass.
    """
    codes = fractals.codes(0, 6)
    draws = counter.uniform(0, 1, torch.arange(24), DRAWS)
    draws[:, fractals.LOOK["jitter"] : fractals.LOOK["jitter"] + fractals.LOOK["rotation"]] = 0.6
    features, labels = [], []
    for label, code in enumerate(codes):
        images = fractals.render(code.expand(24, -1, -1, -1), draws, 32, 0.0).float().mean(1)
        outline = (images - images[:, :1, :1]).abs() > 40
        for one in outline:
            rows, columns = one.nonzero().unbind(1)
            shape = one[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            scaled = torch.nn.functional.interpolate(shape[None, None].float(), (16, 16), mode="area")
            features.append(scaled.flatten())
            labels.append(label)
    distances = torch.cdist(torch.stack(features), torch.stack(features)).fill_diagonal_(torch.inf)
    nearest = torch.tensor(labels)[distances.argmin(1)]
    assert (nearest == torch.tensor(labels)).float().mean() > 0.6


def test_the_whole_data_set_is_made_of_its_batches():
    arrays, source = fractals.arrays(SMALL, 16), fractals.blocks(SMALL, 16)
    assert arrays.train_images.shape == (400, 3, 16, 16)
    assert np.array_equal(arrays.test_images, draw(torch.arange(400), "test", 16).numpy())
    assert np.array_equal(arrays.train_labels, np.arange(400) % 20)
    for split, images, labels in ((source.train, *arrays[:2]), (source.test, *arrays[2:4])):
        pieces = list(split.pieces)
        assert np.array_equal(np.concatenate([piece for piece, _ in pieces]), images)
        assert np.array_equal(np.concatenate([own for _, own in pieces]), labels)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_draws_what_the_cpu_draws():
    on_gpu = fractals.batch(torch.arange(500), SMALL, "train", 32, "cuda")[0].cpu()
    differing = (on_gpu.int() - draw(torch.arange(500)).int()).abs() > 1
    assert differing.float().mean() < 1e-3
