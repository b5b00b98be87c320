"""CoaT and CoaT-Lite: the mechanisms against explicit loops, image sides."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.errors import StudyError
from study.models import build
from study.models.coat import CoaT, ConvAttention, ConvRelativePositionEncoding, Scale, resample
from study.models.published import COAT

LITE: dict[str, Any] = {"widths": (16, 24, 32, 40), "depths": (1, 1, 1, 1), "mlp_ratios": (2, 2, 2, 2), "classes": 5}
PARALLEL: dict[str, Any] = {**LITE, "widths": (16, 24, 24, 24), "parallel_depth": 2}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(**arguments: Any) -> CoaT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CoaT(**arguments)


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("name", ["coat_tiny", "coat_mini", "coat_small"])
def test_coat_would_have_the_counts_of_other_tables_if_scales_did_not_share_the_feed_forward_network(name: str) -> None:
    # PaddleViT prints 7.7M, 14.8M and 31.5M: three feed-forward networks in each of the six parallel blocks
    with torch.device("meta"):
        network = build(COAT[name].variant, 1000, 224)
    assert isinstance(network, CoaT)
    copies = 2 * sum(parameter.numel() for block in network.parallel for parameter in block.ffn.parameters())
    counted_thrice = {"coat_tiny": 7.7e6, "coat_mini": 14.8e6, "coat_small": 31.5e6}[name]
    assert COAT[name].exact_parameters is not None
    assert COAT[name].exact_parameters + copies == pytest.approx(counted_thrice, rel=0.005)


# ---------------------------------------------------------------- mechanisms


def test_conv_attention_is_factorized_attention_plus_q_times_a_convolution_of_v() -> None:
    """Against loops over images, heads, tokens and window offsets."""
    heads, d, (height, columns) = 4, 2, (3, 4)
    width, tokens = heads * d, 1 + height * columns
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention = ConvAttention(width, heads).double()
        relative = ConvRelativePositionEncoding(width, heads).double()
    attention.out = nn.Identity()
    x_BND = randn(2, tokens, width).double()
    got_BND = attention(x_BND, (height, columns), relative)

    window_of_head = [3, 5, 7, 7]  # 4 heads are divided 1, 1, 2, as 8 are 2, 3, 3
    kernels = torch.cat(
        [nn.functional.pad(conv.weight, [(7 - conv.kernel_size[0]) // 2] * 4) for conv in relative.convs]
    )
    offsets = torch.cat([conv.bias for conv in relative.convs])
    assert [conv.kernel_size[0] for conv in relative.convs for _ in range(conv.out_channels // d)] == window_of_head
    for b in range(2):
        q, k, v = attention.qkv(x_BND[b]).split(width, dim=1)
        for h in range(heads):
            mine = slice(h * d, (h + 1) * d)
            share = k[:, mine].exp() / k[:, mine].exp().sum(0)
            context = sum(torch.outer(share[n], v[n, mine]) for n in range(tokens))
            for n in range(tokens):
                expected = q[n, mine] @ context / math.sqrt(d)
                if n > 0:  # not for the class token
                    row, column = divmod(n - 1, columns)
                    for c in range(d):
                        convolved = offsets[h * d + c]
                        for i in range(max(0, row - 3), min(height, row + 4)):
                            for j in range(max(0, column - 3), min(columns, column + 4)):
                                weight = kernels[h * d + c, 0, i - row + 3, j - column + 3]
                                convolved = convolved + weight * v[1 + i * columns + j, h * d + c]
                        expected[c] = expected[c] + q[n, h * d + c] * convolved
                torch.testing.assert_close(got_BND[b, n, mine], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("heads", "split"), [(8, (2, 3, 3)), (4, (1, 1, 2)), (2, (0, 1, 1)), (1, (0, 0, 1))])
def test_heads_are_divided_among_the_windows_as_in_the_paper(heads: int, split: tuple[int, int, int]) -> None:
    relative = ConvRelativePositionEncoding(16, heads)
    channels = {conv.kernel_size[0]: conv.out_channels for conv in relative.convs}
    assert channels == {window: n * 16 // heads for window, n in zip((3, 5, 7), split, strict=True) if n}


def test_resampling_between_scales_keeps_the_class_token_and_halves_by_the_mean_of_four() -> None:
    x_BND = randn(1, 1 + 4 * 6, 3)
    small_BND = resample(x_BND, (4, 6), (2, 3))
    torch.testing.assert_close(small_BND[:, 0], x_BND[:, 0])
    means = x_BND[0, 1:].view(2, 2, 3, 2, 3).mean((1, 3)).view(6, 3)
    torch.testing.assert_close(small_BND[0, 1:], means)
    quarter_BND = resample(randn(1, 1 + 64, 3), (8, 8), (2, 2))  # no antialiasing: the middle four of sixteen
    middle = randn(1, 1 + 64, 3)[0, 1:].view(2, 4, 2, 4, 3)[:, 1:3, :, 1:3].mean((1, 3)).view(4, 3)
    torch.testing.assert_close(quarter_BND[0, 1:], middle)


def test_serial_and_parallel_blocks_share_the_position_encodings_of_a_scale() -> None:
    """Every block calls the two encodings of its scale once: one serial block, and on scales 2-4 two parallel ones."""
    network = seeded(**PARALLEL)
    uses = dict.fromkeys(range(4), 0)
    for i, scale in enumerate(network.scales):
        assert isinstance(scale, Scale)

        def count(*_: object, i: int = i) -> None:
            uses[i] += 1

        scale.position.register_forward_hook(count)
        scale.relative_position.register_forward_hook(count)
    network(randn(1, 3, 32, 32))
    assert uses == {0: 2, 1: 6, 2: 6, 3: 6}
    assert not [name for name, _ in network.parallel.named_parameters() if "position" in name]


@pytest.mark.parametrize("arguments", [LITE, PARALLEL], ids=["lite", "parallel"])
def test_every_parameter_but_the_unread_norms_gets_a_gradient(arguments: dict[str, Any]) -> None:
    # with a single block, scale 4 of CoaT-Lite would never see its relative encoding, which skips the class token
    network = seeded(**{**arguments, "depths": (1, 1, 1, 2)})
    (network(randn(2, 3, 64, 64)) * randn(2, 5)).sum().backward()
    idle = {name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()}
    unread = 1 if arguments.get("parallel_depth") else 3
    assert idle == {f"norms.{i}.{kind}" for i in range(unread) for kind in ("weight", "bias")}


def test_stochastic_depth_acts_in_training_only() -> None:
    network = seeded(**PARALLEL, drop_path=0.5)
    x_BCHW = randn(4, 3, 32, 32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert not torch.equal(network(x_BCHW), network(x_BCHW))
    torch.testing.assert_close(network.eval()(x_BCHW), seeded(**PARALLEL)(x_BCHW))


def test_initial_weights_are_those_of_the_official_code() -> None:
    network = seeded(**{**PARALLEL, "widths": (64, 128, 128, 128)})
    for module in network.modules():
        if isinstance(module, nn.Linear):
            assert module.bias.count_nonzero() == 0
            if module.weight.numel() > 10_000:
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
    tokens = torch.cat([scale.class_token.flatten() for scale in network.scales])
    assert tokens.std().item() == pytest.approx(0.02, rel=0.2)
    patch_embedding = network.scales[0].embed.weight
    assert patch_embedding.abs().max() <= 1 / math.sqrt(3 * 4 * 4)  # Kaiming-uniform, a = sqrt(5): +-1 / sqrt(fan-in)


# ---------------------------------------------------------------- image sides


@pytest.mark.parametrize("arguments", [LITE, PARALLEL], ids=["lite", "parallel"])
@pytest.mark.parametrize("sides", [(32, 32), (64, 64), (96, 32)], ids=str)
def test_any_side_that_the_patches_divide_is_taken(arguments: dict[str, Any], sides: tuple[int, int]) -> None:
    logits = seeded(**arguments)(randn(2, 3, *sides))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()


def test_scales_of_a_32_pixel_image_are_8_4_2_1() -> None:
    network = seeded(**LITE)
    grids: list[tuple[int, int]] = []
    for scale in network.scales:
        scale.register_forward_hook(lambda module, inputs, output: grids.append(output[1]))
    network(randn(1, 3, 32, 32))
    assert grids == [(8, 8), (4, 4), (2, 2), (1, 1)]


@pytest.mark.parametrize(
    ("patch", "sides", "advice"),
    [
        (4, (40, 32), "2, 2 and 2 do not divide an image of 40 x 32: a side of 32 or 64 instead of 40 would fit"),
        (4, (32, 16), "a side of 32 instead of 16 would fit"),
        (2, (32, 40), "a side of 32 or 48 instead of 40 would fit"),
    ],
)
def test_another_side_is_refused_with_the_sides_that_fit(patch: int, sides: tuple[int, int], advice: str) -> None:
    with pytest.raises(StudyError, match=advice):
        seeded(**LITE, patch=patch)(randn(1, 3, *sides))


def test_widths_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(StudyError, match="8 heads do not divide the width 20: choose multiples of 8"):
        CoaT(**{**LITE, "widths": (16, 20, 32, 40)})
    with pytest.raises(StudyError, match=r"equal widths and MLP ratios, not \(24, 32, 40\)"):
        CoaT(**LITE, parallel_depth=1)


@pytest.mark.parametrize("arguments", [pytest.param(LITE, marks=pytest.mark.slow), PARALLEL], ids=["lite", "parallel"])
def test_coat_exports(arguments: dict[str, Any]) -> None:
    network = seeded(**arguments).eval()
    exported = torch.export.export(network, (randn(2, 3, 32, 32),)).module()
    x_BCHW = randn(2, 3, 32, 32, seed=1)
    torch.testing.assert_close(exported(x_BCHW), network(x_BCHW))


@pytest.mark.parametrize("arguments", [LITE, PARALLEL], ids=["lite", "parallel"])
@pytest.mark.slow
def test_coat_compiles(arguments: dict[str, Any]) -> None:
    """Traced whole, without a break; inductor, which comes after that, takes half a minute a network on a CPU."""
    torch.compiler.reset()
    network = seeded(**{**arguments, "parallel_depth": min(1, arguments.get("parallel_depth", 0))}).eval()
    x_BCHW = randn(2, 3, 32, 32)
    with torch.no_grad():
        compiled = torch.compile(network, backend="aot_eager", fullgraph=True)(x_BCHW)
        torch.testing.assert_close(compiled, network(x_BCHW))
