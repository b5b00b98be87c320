"""CoAtNet and ViT_REL: attention and blocks against explicit formulas, symmetries, gradients, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from study.config import (
    STUDY_VARIANTS,
    Blocks,
    CoAtNetVariant,
    Data,
    Run,
    Training,
    Variant,
    ViTRelVariant,
    parse_variant,
)
from study.errors import StudyError
from study.models import build
from study.models.attention import FUSED_ABOVE, Attention, neighbourhood, relative_index
from study.models.blocks import ConvStage, DropPath, Head, MBConv, PositionTable, TransformerBlock
from study.models.catalog import resolve
from study.models.sizing import Budget, strides_of
from tests.oracles import randomise

CLASSES = 5
SIDE = 32
BUDGET = Budget(100_000, "parameters", strides_of("cheap", SIDE), CLASSES, SIDE, Blocks())


def blocks(**switches: object) -> Blocks:
    return Blocks.model_validate({"head_dim": 8, **switches})


def small(layout: str, **switches: object) -> Variant:
    """A network of the layout with sides 16, 16, 8, 4, 2 at 32 pixels (ViT_REL: 4)."""
    if layout == "ViT_REL":
        return ViTRelVariant(patch=8, depth=2, width=24, blocks=blocks(**switches))
    widths = (8, 8, 16, 24, 32)
    return CoAtNetVariant(
        layout=layout, depths=(2, 1, 2, 2, 1), widths=widths, strides=(2, 1, 2, 2, 2), blocks=blocks(**switches)
    )


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def random_attention(side: tuple[int, int], **switches: object) -> Attention:
    attention = Attention(12, 16, side, blocks(**switches))
    randomise(attention, seed=1)
    return attention.eval()


# ---------------------------------------------------------------- relative attention


@pytest.mark.parametrize("side", [(1, 1), (2, 3), (3, 2), (5, 7), (4, 4)], ids=str)
def test_relative_index_gives_every_offset_an_entry_of_its_own(side: tuple[int, int]) -> None:
    height, width = side
    index_NN = relative_index(height, width)
    entry_of_offset: dict[tuple[int, int], int] = {}
    for n in range(height * width):
        for m in range(height * width):
            offset = (n // width - m // width, n % width - m % width)
            assert entry_of_offset.setdefault(offset, int(index_NN[n, m])) == index_NN[n, m]
    assert sorted(entry_of_offset.values()) == list(range((2 * height - 1) * (2 * width - 1)))


def attention_by_loops(attention: Attention, x_BHWI: Tensor) -> Tensor:
    """Eq. 3 with a sum for every query, as slow as it is plain: B, heads, queries (i, j), keys (p, q)."""
    batch, height, width, _ = x_BHWI.shape
    heads, near = attention.heads, attention.window // 2
    q, k, v = attention.qkv(x_BHWI).view(batch, height, width, 3, heads, -1).unbind(3)
    d = q.shape[-1]
    keys = [(p, r) for p in range(height) for r in range(width)]
    mixed = torch.zeros(batch, height, width, heads, d, dtype=x_BHWI.dtype)
    for b in range(batch):
        for h in range(heads):
            for i in range(height):
                for j in range(width):
                    seen = [
                        (p, r)
                        for p, r in keys
                        if attention.scope == "global" or (abs(i - p) <= near and abs(j - r) <= near)
                    ]
                    score = {(p, r): float(q[b, i, j, h] @ k[b, p, r, h]) / math.sqrt(d) for p, r in seen}
                    w = dict.fromkeys(seen, 0.0)
                    if attention.form != "none":
                        w = {
                            (p, r): float(attention.bias_table[h, i - p + height - 1, j - r + width - 1])
                            for p, r in seen
                        }
                    inside = w if attention.form == "pre" else dict.fromkeys(seen, 0.0)
                    outside = w if attention.form == "post" else dict.fromkeys(seen, 0.0)
                    total = sum(math.exp(score[key] + inside[key]) for key in seen)
                    for key in seen:
                        weight = math.exp(score[key] + inside[key]) / total + outside[key]
                        mixed[b, i, j, h] += weight * v[b, *key, h]
    return attention.out(mixed.flatten(3))


@pytest.mark.parametrize("form", ["pre", "post", "none"])
@pytest.mark.parametrize(
    ("scope", "side"), [("global", (2, 3)), ("global", (4, 2)), ("local", (2, 5)), ("local", (4, 3))]
)
def test_attention_is_equation_3_written_as_loops(form: str, scope: str, side: tuple[int, int]) -> None:
    attention = random_attention(side, relative_bias=form, attention=scope, window=3)
    x_BHWI = randn(2, *side, 12)
    with torch.no_grad():
        torch.testing.assert_close(attention(x_BHWI), attention_by_loops(attention, x_BHWI), rtol=1e-10, atol=1e-10)


def test_a_window_that_covers_everything_is_global_attention() -> None:
    local = random_attention((3, 4), attention="local", window=7)
    everywhere = random_attention((3, 4))
    assert neighbourhood(3, 4, 7).all()
    assert not neighbourhood(3, 4, 5).all()
    x_BHWI = randn(2, 3, 4, 12)
    torch.testing.assert_close(local(x_BHWI), everywhere(x_BHWI))


def test_linear_attention_mixes_values_through_one_matrix_a_head() -> None:
    attention = random_attention((2, 3), attention="linear", relative_bias="none")
    x_BHWI = randn(2, 2, 3, 12)
    q, k, v = attention.qkv(x_BHWI).view(2, 6, 3, 2, 8).unbind(2)
    mixed = torch.zeros(2, 6, 2, 8, dtype=torch.float64)
    for b in range(2):
        for h in range(2):
            share = k[b, :, h].exp() / k[b, :, h].exp().sum(0)  # of each token, in every channel of the keys
            context = sum(torch.outer(share[m], v[b, m, h]) for m in range(6))
            for n in range(6):
                mixed[b, n, h] = q[b, n, h] @ context / math.sqrt(8)
    torch.testing.assert_close(attention(x_BHWI), attention.out(mixed.view(2, 2, 3, 16)))


def test_linear_attention_with_a_relative_bias_is_refused() -> None:
    with pytest.raises(StudyError, match="scores no pair of positions: it goes with relative_bias=none"):
        Attention(16, 16, (2, 2), blocks(attention="linear"))
    with pytest.raises(StudyError, match=r"variant cctt\[attention=linear\]: .* relative_bias=none"):
        resolve("cctt[attention=linear]", BUDGET)


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("vitrel[stride_in=depthwise]", "stride_in changes nothing in ViT_REL, which has no MBConv"),
        ("vitrel[conv_norm=layer]", "conv_norm changes nothing in ViT_REL"),
        ("cccc[head_dim=64]", "head_dim changes nothing in C-C-C-C, which has no attention: leave it plain"),
        ("cccc[relative_bias=none]", "relative_bias changes nothing"),
        ("cctt[window=3]", "window changes nothing in C-C-T-T, which has no local attention"),
        ("cctt[conv_norm=layer,batch_norm_momentum=0.3]", "has no BatchNorm"),
        ("cctt[attention_first=true]", "has no T before C"),
        ("cttt[stride_in=depthwise]", "which has no MBConv block with a stride: leave it plain"),
        ("ccct[attention=local,window=3]", "attention changes nothing in C-C-C-T, which has no positions beyond"),
        ("vitrel[attention=local]", "which has no positions beyond the window of 7: leave it plain"),
    ],
)
def test_switches_that_change_nothing_are_refused(text: str, lacking: str) -> None:
    with pytest.raises(StudyError, match=lacking):
        resolve(text, BUDGET)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("tttt[conv_norm=layer]", "conv_norm", "layer"),  # of the stem
        ("cctt[window=3,attention=local]", "window", 3),
        ("cctt[window=5,attention=local]", "attention", "local"),  # S3 has 4 x 4 positions
        ("cctt[stride_in=depthwise]", "stride_in", "depthwise"),
        ("ccct[head_dim=16]", "head_dim", 16),
    ],
)
def test_switches_that_change_a_part_are_taken(text: str, field: str, value: object) -> None:
    variant = resolve(text, BUDGET)
    assert isinstance(variant, CoAtNetVariant)
    assert getattr(variant.blocks, field) == value


@pytest.mark.parametrize(("width", "inner"), [(8, 32), (24, 32), (48, 64), (80, 96), (96, 96), (104, 96), (112, 128)])
def test_inner_width_is_the_multiple_of_the_head_size_nearest_to_the_width(width: int, inner: int) -> None:
    attention = Attention(16, width, (2, 2), Blocks(head_dim=32))
    assert attention.heads * 32 == inner == attention.out.in_features


def test_attention_refuses_another_grid_than_its_own() -> None:
    with pytest.raises(StudyError, match=r"built for \(2, 3\) positions and got \(3, 2\): resize it first"):
        random_attention((2, 3))(randn(1, 3, 2, 12))


# ---------------------------------------------------------------- the fused kernel


def with_gradients(attention: Attention, x_BHWI: Tensor) -> list[Tensor]:
    """The output and, where they are asked for, gradients of a sum of it."""
    if not torch.is_grad_enabled():
        return [attention(x_BHWI)]
    inputs = [x_BHWI.requires_grad_(), *attention.parameters()]
    y_BHWC = attention(x_BHWI)
    upstream = torch.randn(y_BHWC.shape, generator=torch.Generator().manual_seed(3))
    return [y_BHWC.detach(), *torch.autograd.grad((y_BHWC * upstream).sum(), inputs)]


@pytest.mark.parametrize(
    ("form", "side", "gradients"),
    [("none", (4, 5), True), ("none", (4, 5), False), ("pre", (17, 16), False)],
    ids=["none, training", "none, inference", "pre, inference"],
)
def test_the_fused_kernel_computes_the_formula_forward_and_backward(
    monkeypatch: pytest.MonkeyPatch, form: str, side: tuple[int, int], gradients: bool
) -> None:
    attention = random_attention(side, relative_bias=form).float()
    calls = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or fused(*a, **k))
    x_BHWI = randn(2, *side, 12).float()
    with torch.set_grad_enabled(gradients):
        quick = with_gradients(attention, x_BHWI)
        assert calls
        monkeypatch.setattr(Attention, "prefers_fused", lambda *_: False)
        reference = with_gradients(attention, x_BHWI)
    assert len(calls) == 1
    for a, b in zip(quick, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())


def test_the_formula_serves_wherever_the_fused_kernel_is_slower_or_another_thing() -> None:
    few, many = torch.zeros(1, 1, FUSED_ABOVE, 8), torch.zeros(1, 1, FUSED_ABOVE + 1, 8)
    biased, plain = random_attention((2, 2)), random_attention((2, 2), relative_bias="none")
    assert not biased.prefers_fused(many)  # gradients are on: the fused kernel would be slower
    assert plain.prefers_fused(few)
    assert not plain.prefers_fused(few.bfloat16())
    with torch.no_grad():
        assert biased.prefers_fused(many)
        assert not biased.prefers_fused(few)
        assert not random_attention((2, 2), relative_bias="post").prefers_fused(many)
        assert not random_attention((2, 2), attention="local", relative_bias="none").prefers_fused(many)


# ---------------------------------------------------------------- the kept bias


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one each time that a bias is read from its table."""
    calls: list[int] = []
    gather = Attention.gather
    monkeypatch.setattr(Attention, "gather", lambda self: calls.append(1) or gather(self))
    return calls


def test_in_eval_mode_the_bias_is_gathered_once_and_equals_the_uncached(gathered: list[int]) -> None:
    attention, x_BHWI = random_attention((2, 3)), randn(2, 2, 3, 12)
    uncached = attention(x_BHWI).detach()  # with gradients nothing is kept
    gathered.clear()
    with torch.inference_mode():
        first, second = attention(x_BHWI), attention(x_BHWI)
    assert len(gathered) == 1
    assert torch.equal(first, uncached)
    assert torch.equal(second, uncached)


def step(attention: Attention, fused: bool = False) -> None:
    optimizer = torch.optim.AdamW(attention.parameters(), lr=0.1, fused=fused)
    attention(randn(2, 2, 3, 12)).square().sum().backward()
    optimizer.step()


def load(attention: Attention, assign: bool = False) -> None:
    attention.load_state_dict(randomise(random_attention((2, 3)), seed=9).state_dict(), assign=assign)


def write_through_data(attention: Attention) -> None:
    attention.bias_table.data.mul_(2)
    attention.eval()


CHANGES: dict[str, Callable[[Attention], object]] = {
    "an optimizer's step": step,
    "a fused optimizer's step": lambda attention: step(attention, fused=True),
    "load_state_dict": load,
    "load_state_dict that assigns": lambda attention: load(attention, assign=True),
    "resizing": lambda attention: attention.resize((3, 2)),
    "writing through .data, then eval()": write_through_data,
    "another precision": lambda attention: attention.float(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_kept_bias_is_dropped_when_the_table_changes(change: str, gathered: list[int]) -> None:
    attention = random_attention((2, 3))
    with torch.no_grad():
        attention(randn(2, 2, 3, 12))
    CHANGES[change](attention)
    gathered.clear()
    x_BHWI = randn(2, *attention.side, 12).to(attention.qkv.weight.dtype)
    with torch.no_grad():
        kept = attention(x_BHWI)
    assert len(gathered) == 1
    assert torch.equal(kept, attention(x_BHWI))  # with gradients: uncached


def test_training_does_not_use_the_kept_bias(gathered: list[int]) -> None:
    attention, x_BHWI = random_attention((2, 3)), randn(2, 2, 3, 12)
    with torch.no_grad():
        attention(x_BHWI)
        attention.train()
        gathered.clear()
        attention(x_BHWI)
        attention(x_BHWI)
        assert len(gathered) == 2
    attention.train()
    attention(x_BHWI).sum().backward()
    assert attention.bias_table.grad is not None


# ---------------------------------------------------------------- blocks


def test_attention_sees_the_pooled_norm_not_the_norm_of_the_pooled() -> None:
    """Eq. 4: Proj(Pool(x)) + Attention(Pool(Norm(x)))."""
    block = TransformerBlock(12, 16, 2, (2, 3), blocks()).double()
    randomise(block, seed=2)
    seen: list[Tensor] = []
    block.attention.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for part in (block.ffn_shrink.weight, block.ffn_shrink.bias):
        part.data.zero_()
    x_BHWI = randn(2, 4, 6, 12)
    got_BHWC = block(x_BHWI)

    def pooled(y_BHWI: Tensor) -> Tensor:
        return y_BHWI.view(2, 2, 2, 3, 2, 12).amax((2, 4))

    expected_BHWI = pooled(block.attention_norm(x_BHWI))
    torch.testing.assert_close(seen[0], expected_BHWI)
    assert not torch.allclose(seen[0], block.attention_norm(pooled(x_BHWI)))
    torch.testing.assert_close(got_BHWC, block.shortcut(pooled(x_BHWI)) + block.attention(expected_BHWI))


@pytest.mark.parametrize("width", [6, 8], ids=["same width", "wider"])
def test_shortcuts_are_max_pooled_then_projected_where_widths_differ(width: int) -> None:
    x_BIHW = randn(2, 6, 4, 6)
    pooled_BIHW = x_BIHW.view(2, 6, 2, 2, 3, 2).amax((3, 5))
    block = MBConv(6, width, 2, blocks()).double().eval()
    randomise(block, seed=3)
    for part in (block.shrink.weight, block.shrink.bias):
        assert part is not None
        part.data.zero_()
    assert isinstance(block.shortcut, nn.Identity if width == 6 else nn.Conv2d)
    torch.testing.assert_close(block(x_BIHW), block.shortcut(pooled_BIHW))


def test_feed_forward_takes_the_attended_sum_through_its_own_norm() -> None:
    block = TransformerBlock(16, 16, 1, (2, 2), blocks()).double()
    randomise(block, seed=4)
    x_BHWC = randn(2, 2, 2, 16)
    attended = x_BHWC + block.attention(block.attention_norm(x_BHWC))
    hidden = block.ffn_expand(block.ffn_norm(attended))
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))  # the exact form
    torch.testing.assert_close(block(x_BHWC), attended + block.ffn_shrink(gelu))


@pytest.mark.parametrize("stride_in", ["expand", "depthwise"])
def test_a_stride_in_the_first_1x1_reads_one_position_in_four(stride_in: str) -> None:
    """Table 9: the residual branch of Eq. 5 never sees the others; a strided depthwise convolution sees all."""
    block = MBConv(4, 8, 2, blocks(stride_in=stride_in, se_ratio=0)).double().eval()
    nn.init.zeros_(block.shortcut.weight)
    x_BIHW = randn(1, 4, 6, 6).requires_grad_()
    block(x_BIHW).square().sum().backward()
    assert x_BIHW.grad is not None
    seen = (x_BIHW.grad != 0).any(1)[0]
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[::2, ::2] = True
    assert torch.equal(seen, expected if stride_in == "expand" else torch.ones(6, 6, dtype=torch.bool))


def test_squeeze_excitation_gates_channels_by_their_mean() -> None:
    block = MBConv(8, 8, 1, blocks()).double()
    randomise(block, seed=5)
    se = block.se
    x_BDHW = randn(2, 32, 3, 5)
    squeezed = se.squeeze.weight[:, :, 0, 0] @ x_BDHW.mean((2, 3)).T + se.squeeze.bias[:, None]
    assert squeezed.shape == (2, 2)  # a quarter of the output width, not of the hidden width
    excited = se.excite.weight[:, :, 0, 0] @ (squeezed * squeezed.sigmoid()) + se.excite.bias[:, None]
    torch.testing.assert_close(se(x_BDHW), x_BDHW * excited.sigmoid().T[:, :, None, None])


def test_the_head_norms_pools_and_classifies_and_the_dense_one_pools_first() -> None:
    x_BCHW = randn(2, 8, 3, 3)

    def norm(y_BC: Tensor) -> Tensor:
        return (y_BC - y_BC.mean(-1, keepdim=True)) / (y_BC.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    plain, dense = Head(8, 5, dense=False).double(), Head(8, 5, dense=True).double()
    positions_BNC = x_BCHW.flatten(2).transpose(1, 2)
    torch.testing.assert_close(plain(x_BCHW), plain.classifier(norm(positions_BNC).mean(1)))
    assert dense.dense is not None
    expected = dense.classifier(dense.dense(norm(positions_BNC.mean(1))).tanh())
    torch.testing.assert_close(dense(x_BCHW), expected)


# ---------------------------------------------------------------- symmetry


def conv_stage(**switches: object) -> ConvStage:
    variant = small("C-C-T-T", **switches)
    stage = build(variant, CLASSES, SIDE).stages[1]
    assert isinstance(stage, ConvStage)
    randomise(stage, seed=6)
    return stage.eval()


@pytest.mark.parametrize("switches", [{}, {"stride_in": "depthwise"}, {"conv_norm": "layer"}], ids=str)
def test_shifting_the_input_by_a_c_stages_stride_shifts_its_output_alike(switches: dict[str, object]) -> None:
    """On a torus, where nothing is lost at the border and squeeze-excitation sees the same mean."""
    stage = conv_stage(**switches)
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.padding_mode = "circular"
            module._reversed_padding_repeated_twice = [1, 1, 1, 1]
    x_BIHW = randn(1, 8, 12, 12)
    y_BCHW = stage(x_BIHW)
    moved_BCHW = stage(x_BIHW.roll((2, 4), (2, 3)))
    torch.testing.assert_close(moved_BCHW, y_BCHW.roll((1, 2), (2, 3)))
    assert not torch.allclose(stage(x_BIHW.roll(1, 2)), y_BCHW)  # less than the stride is another image


def test_with_real_borders_a_c_stage_without_squeezing_shifts_alike_in_the_interior() -> None:
    stage = conv_stage(se_ratio=0)  # two blocks: what a border changes reaches two positions into the 10 x 10
    x_BIHW = randn(1, 8, 20, 20)
    y_BCHW, moved_BCHW = stage(x_BIHW), stage(x_BIHW.roll((2, 4), (2, 3)))
    torch.testing.assert_close(moved_BCHW[..., 3:8, 4:8], y_BCHW[..., 2:7, 2:6])
    assert not torch.allclose(moved_BCHW[..., 1:, 2:], y_BCHW[..., :-1, :-2])


# ---------------------------------------------------------------- gradients


SWITCHES: list[dict[str, object]] = [
    {"relative_bias": "post"},
    {"relative_bias": "none"},
    {"absolute_positions": True},
    {"attention": "local", "window": 3},
    {"attention": "linear", "relative_bias": "none"},
    {"head_dim": 16},
    {"conv_norm": "layer"},
    {"stride_in": "depthwise"},
    {"se_ratio": 0.0},
    {"dense_head": True},
    {"stochastic_depth": 0.2},
    {"expansion": 2},
]


def idle_parameters(network: nn.Module) -> set[str]:
    """Names of the parameters whose gradient is zero or missing.

    In eval mode: with batch statistics, the gradient of a bias in front of a BatchNorm is zero but for rounding.
    """
    randomise(network.eval(), seed=7)
    (network(randn(2, 3, SIDE, SIDE)) * randn(2, CLASSES, seed=8)).sum().backward()
    largest = {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in network.named_parameters()}
    return {name for name, value in largest.items() if value < 1e-9}


@pytest.mark.parametrize("layout", STUDY_VARIANTS)
def test_every_parameter_and_every_offset_of_every_variant_gets_a_gradient(layout: str) -> None:
    network = build(small(layout), CLASSES, SIDE)
    assert idle_parameters(network) == set()
    for module in network.modules():
        if isinstance(module, Attention):
            assert module.bias_table.grad is not None
            assert module.bias_table.grad.count_nonzero() == module.bias_table.numel()


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_every_parameter_gets_a_gradient_with_each_switch(switches: dict[str, object]) -> None:
    assert idle_parameters(build(small("C-C-T-T", **switches), CLASSES, SIDE)) == set()


@pytest.mark.parametrize("layout", ["C-T-C-T", "T-T-C-C"])
def test_every_parameter_gets_a_gradient_in_a_layout_that_the_paper_excludes(layout: str) -> None:
    assert idle_parameters(build(small(layout, attention_first=True), CLASSES, SIDE)) == set()


def test_every_parameter_gets_a_gradient_where_s3_opens_with_mbconv_blocks() -> None:
    variant = small("C-C-T-T").model_copy(update={"split": (2, 16)})
    network = build(variant, CLASSES, SIDE)
    assert [type(stage).__name__ for stage in network.stages][2:4] == ["ConvStage", "TransformerStage"]
    assert idle_parameters(network) == set()


@pytest.mark.parametrize("layout", STUDY_VARIANTS)
def test_training_reaches_every_parameter_too(layout: str) -> None:
    network = build(small(layout), CLASSES, SIDE).train()
    network(randn(4, 3, SIDE, SIDE).float()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


# ---------------------------------------------------------------- switches


def test_head_size_64_halves_the_heads_of_head_size_32() -> None:
    for head_dim, heads in ((32, 4), (64, 2)):
        assert Attention(64, 128, (2, 2), Blocks(head_dim=head_dim)).heads == heads


def test_without_squeeze_excitation_there_is_none() -> None:
    names = [name for name, _ in build(small("C-C-C-C", se_ratio=0.0), CLASSES, SIDE).named_parameters()]
    assert not [name for name in names if ".se." in name]


@pytest.mark.parametrize("layout", ["C-C-T-T", "C-C-C-T", "ViT_REL"])
def test_absolute_positions_are_added_once_before_the_first_transformer_block(layout: str) -> None:
    network = build(small(layout, absolute_positions=True), CLASSES, SIDE)
    tables = {name: module for name, module in network.named_modules() if isinstance(module, PositionTable)}
    place, shape = {
        "C-C-T-T": ("stages.2.positions", (8, 8, 16)),
        "C-C-C-T": ("stages.3.positions", (4, 4, 24)),
        "ViT_REL": ("stages.0.positions", (4, 4, 24)),
    }[layout]
    assert {name: tuple(module.table_HWC.shape) for name, module in tables.items()} == {place: shape}
    x_BHWC = randn(2, *shape)
    torch.testing.assert_close(tables[place].double()(x_BHWC)[1], x_BHWC[1] + tables[place].table_HWC)


def test_stochastic_depth_is_off_by_default() -> None:
    for layout in STUDY_VARIANTS:
        network = build(small(layout), CLASSES, SIDE).train()
        rates = {module.rate for module in network.modules() if isinstance(module, DropPath)}
        assert rates == {0.0}


def test_stochastic_depth_rises_linearly_over_the_blocks_and_acts_in_training_only() -> None:
    network = build(small("C-C-T-T", stochastic_depth=0.5), CLASSES, SIDE)
    rates = [module.rate for module in network.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    x_BCHW = randn(4, 3, SIDE, SIDE).float()
    network.eval()
    assert torch.equal(network(x_BCHW), network(x_BCHW))


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        y_BCHW = DropPath(0.25).train()(torch.ones(4000, 2, 3, 1))
    assert y_BCHW.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (y_BCHW == y_BCHW[:, :1, :1, :1]).all()
    assert y_BCHW.mean().item() == pytest.approx(1, abs=0.04)


# ---------------------------------------------------------------- names and refusals


@pytest.mark.parametrize("text", ["C-C-T-T", "cctt", "CCTT", "c-c-t-t", "C_C_T_T", " Cc-tT "])
def test_layouts_are_named_in_any_case_with_or_without_dashes(text: str) -> None:
    assert parse_variant(text) == ("C-C-T-T", {})
    assert resolve(text, BUDGET) == resolve("C-C-T-T", BUDGET)


@pytest.mark.parametrize("text", ["ViT_REL", "vit_rel", "ViTREL", "vit-rel"])
def test_vit_rel_is_named_in_any_case_with_or_without_dashes(text: str) -> None:
    assert resolve(text, BUDGET) == resolve("ViT_REL", BUDGET)


@pytest.mark.parametrize("text", ["ctct", "T-C-C-C", "T-T-T-C", "CTTC"])
def test_t_before_c_is_refused_with_the_papers_constraint(text: str) -> None:
    constraint = r"section 2.2\) constrains convolution stages to come before Transformer stages .*attention_first=true"
    with pytest.raises(StudyError, match=constraint):
        resolve(text, BUDGET)
    with pytest.raises(ValidationError, match=constraint):
        small("-".join(text.replace("-", "").upper()))


def test_attention_first_insists_on_t_before_c() -> None:
    variant = resolve("C-T-C-T[attention_first=true]", BUDGET)
    assert isinstance(variant, CoAtNetVariant)
    assert variant.layout == "C-T-C-T"
    network = build(variant, CLASSES, SIDE)
    assert [type(stage).__name__[0] for stage in network.stages] == ["C", "T", "C", "T"]
    assert network(randn(2, 3, SIDE, SIDE).float()).shape == (2, CLASSES)


@pytest.mark.parametrize("text", ["C-C-T", "C-C-T-T-T", "CCXT", "resnet18", "coatnet_9", ""])
def test_an_unknown_name_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match=r"is not four letters|there is no variant|is not NAME"):
        resolve(text, BUDGET)


@pytest.mark.parametrize(
    ("layout", "side", "advice"),
    [
        ("C-C-T-T", 36, "side 36 do not divide by the network's stride of 16: 32 and 48 would"),
        ("C-T-T-T", 8, "do not divide by the network's stride of 16: 16 would"),
        ("ViT_REL", 36, "stride of 8: 32 and 40 would"),
    ],
)
def test_a_side_that_does_not_divide_is_refused_with_the_sides_that_would(layout: str, side: int, advice: str) -> None:
    with pytest.raises(StudyError, match=advice):
        build(small(layout), CLASSES, side)


# ---------------------------------------------------------------- initial weights


def weights(seed: int, layout: str = "C-C-T-T") -> dict[str, Tensor]:
    return build(small(layout), CLASSES, SIDE, seed=seed).state_dict()


def test_initial_weights_depend_on_the_seed_alone_and_seed_0_is_a_seed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        first = weights(0)
        torch.manual_seed(321)
        again = weights(0)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = weights(1)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])
    assert not torch.equal(first["head.classifier.weight"], other["head.classifier.weight"])


def test_building_leaves_the_callers_generator_alone() -> None:
    before = torch.get_rng_state()
    weights(5)
    assert torch.equal(torch.get_rng_state(), before)


# Of the first records: a run's id, and sums over the seeded weights, a ramp from 1 to 2 times their sizes and values.
RECORDED = {
    "ViT_REL": ("507049ff79e8", 3037.03789, 199.80543),
    "C-C-C-C": ("5d3a28b35310", 13761.30958, 3031.84697),
    "C-C-C-T": ("2032220334ff", 11129.29405, 2130.94462),
    "C-C-T-T": ("7b196a1c1487", 8248.04830, 1128.60382),
    "C-T-T-T": ("14bf9dd2d2d6", 6840.18023, 506.88225),
}


@pytest.mark.parametrize("layout", STUDY_VARIANTS)
def test_ids_and_initial_weights_are_those_of_the_first_records(layout: str) -> None:
    variant = small(layout)
    run_id, sizes, values = RECORDED[layout]
    assert Run(variant=variant, data=Data(), training=Training(), seed=0).id == run_id
    flat = torch.cat(
        [value.flatten().double() for value in build(variant, CLASSES, SIDE, seed=7).state_dict().values()]
    )
    ramped = flat * torch.linspace(1, 2, len(flat), dtype=torch.float64)
    assert ramped.abs().sum().item() == pytest.approx(sizes, rel=1e-6)
    assert ramped.sum().item() == pytest.approx(values, rel=1e-6)
    changed = small(layout, initialisation="fan_in")
    assert Run(variant=changed, data=Data(), training=Training(), seed=0).id != run_id


WIDE = {
    "C-C-T-T": CoAtNetVariant(
        layout="C-C-T-T", depths=(2, 1, 1, 1, 1), widths=(64, 64, 128, 256, 256), strides=(1, 1, 2, 2, 2)
    ),
    "ViT_REL": ViTRelVariant(patch=4, depth=1, width=128),
}


@pytest.mark.parametrize("layout", WIDE)
@pytest.mark.parametrize("form", ["timm", "xavier", "fan_in", "normal"])
def test_initial_weights_have_the_stated_deviations(layout: str, form: str) -> None:
    blocks = Blocks.model_validate({"initialisation": form, "absolute_positions": True})
    network = build(WIDE[layout].model_copy(update={"blocks": blocks}), 100, SIDE)
    checked = 0
    for name, value in network.named_parameters():
        if value.ndim > 1 and value.numel() > 1000:
            expected = stated_deviation(form, name, value)
            assert value.std().item() == pytest.approx(expected, rel=0.12), name
            checked += 1
    assert checked >= (7 if layout == "ViT_REL" else 16)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            assert bool(module.bias.any()) == (form == "fan_in")
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            assert (module.weight == 1).all()
            assert not module.bias.any()


def stated_deviation(form: str, name: str, value: Tensor) -> float:
    """Worked by hand: fan-out and fan-in of the weights, outputs first; depthwise kernels are (D, 1, 3, 3)."""
    fan_in = value[0].numel()
    if name.endswith(("bias_table", "table_HWC")):
        return 0.0 if form == "fan_in" else 0.02
    if form == "fan_in":
        return math.sqrt(1 / (3 * fan_in))
    if value.ndim == 4 and value.shape[-1] == 4 and form != "timm":  # patches
        return math.sqrt(1 / fan_in)
    if form == "normal" or "classifier" in name:
        return 0.02
    if value.ndim == 4:
        groups = value.shape[0] if value.shape[1] == 1 else 1
        return math.sqrt(2 * groups / (value.shape[0] * value.shape[2] * value.shape[3]))
    return math.sqrt(2 / (value.shape[0] + value.shape[1]))


@pytest.mark.parametrize("layout", WIDE)
def test_fan_in_is_what_torch_gives_every_layer_by_itself(layout: str) -> None:
    network = build(WIDE[layout].model_copy(update={"blocks": Blocks(initialisation="fan_in")}), 100, SIDE)
    torch.manual_seed(1)
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        plain: nn.Conv2d | nn.Linear
        if isinstance(module, nn.Conv2d):
            plain = nn.Conv2d(module.in_channels, module.out_channels, module.kernel_size, groups=module.groups)
        else:
            plain = nn.Linear(module.in_features, module.out_features)
        bound = 1 / math.sqrt(module.weight[0].numel())
        for ours, theirs in ((module.weight, plain.weight), (module.bias, plain.bias)):
            if ours is None:
                continue
            assert ours.abs().max().item() <= bound
            if ours.numel() >= 1000:
                assert ours.abs().max().item() == pytest.approx(bound, rel=0.02), name
                ours, theirs = (tensor.detach().flatten().sort().values for tensor in (ours, theirs))
                # Kolmogorov-Smirnov at a level of 1e-6: two samples of one distribution
                places = torch.searchsorted(theirs, ours) / len(theirs)
                away = (places - torch.linspace(0, 1, len(ours))).abs().max().item()
                assert away < 2.7 * math.sqrt(2 / len(ours)), name


def test_the_patches_of_vit_rel_reach_the_blocks_with_the_deviation_of_their_form() -> None:
    """White images through a patch of 4: 48 inputs of variance 1 times the weights' variance."""
    images = torch.randn(64, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    for form, expected in {"timm": math.sqrt(48 * 2 / (16 * 128)), "xavier": 1.0, "normal": 1.0}.items():
        variant = WIDE["ViT_REL"].model_copy(update={"blocks": Blocks.model_validate({"initialisation": form})})
        network = build(variant, 100, SIDE)
        assert network.stem(images).std().item() == pytest.approx(expected, rel=0.05)


def test_batch_norm_has_the_momentum_and_epsilon_that_are_asked_for() -> None:
    usual = [m for m in build(small("C-C-T-T"), CLASSES, SIDE).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in usual} == {(0.1, 1e-3)}
    variant = resolve("cctt[batch_norm_momentum=0.01,batch_norm_epsilon=1e-5]", BUDGET)
    norms = [m for m in build(variant, CLASSES, SIDE).modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) > 5
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-5)}


@pytest.mark.parametrize(
    "text", ["cctt[initialisation=he]", "cctt[batch_norm_momentum=0]", "cctt[batch_norm_epsilon=-1]"]
)
def test_initialisations_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(StudyError, match=r"initialisation|batch_norm"):
        resolve(text, BUDGET)


# ---------------------------------------------------------------- compiled and exported


TRACED = pytest.mark.parametrize(
    "layout", [pytest.param(layout, marks=[pytest.mark.slow] * (layout != "C-C-T-T")) for layout in STUDY_VARIANTS]
)


@TRACED
def test_each_variant_exports_and_computes_the_same(layout: str) -> None:
    network = randomise(build(small(layout), CLASSES, SIDE), seed=10).float().eval()
    exported = torch.export.export(network, (torch.zeros(2, 3, SIDE, SIDE),)).module()
    x_BCHW = randn(2, 3, SIDE, SIDE).float()
    torch.testing.assert_close(exported(x_BCHW), network(x_BCHW))


@TRACED
def test_each_variant_compiles_and_computes_the_same(layout: str) -> None:
    """Traced whole, without a break; inductor, which comes after that, takes half a minute a network on a CPU."""
    torch.compiler.reset()
    variant = small(layout)
    fewer = {"depth": 1} if layout == "ViT_REL" else {"depths": (2, 1, 1, 1, 1)}
    network = randomise(build(variant.model_copy(update=fewer), CLASSES, SIDE), seed=10).float().eval()
    x_BCHW = randn(2, 3, SIDE, SIDE).float()
    with torch.no_grad():
        compiled = torch.compile(network, backend="aot_eager", fullgraph=True)(x_BCHW)
        torch.testing.assert_close(compiled, network(x_BCHW))
