"""CoAtNet of any layout, and ViT_REL, from one set of blocks (arXiv 2106.04803).

Shapes: B images, C channels (I in, D hidden), H x W positions, N = H*W tokens, h heads of width d. Convolutions see
x_BCHW in channels_last memory, which is x_BHWC without a copy: the two views are exchanged freely.

What the paper leaves open is read as in MaxViT's official code (google-research/maxvit), the follow-up by the same
group, wherever that reproduces the published parameter counts:

- expansion, attention and squeeze-excitation are sized from a block's *output* width, also in the widening block;
- pooling is max, window = stride, on both branches (Eq. 4 and 5); the shortcut is projected only where widths differ;
- BatchNorm before, after the expansion and after the depthwise convolution, GELU after the latter two, and none after
  the last 1x1; eps 1e-3 (BatchNorm) and 1e-5 (LayerNorm). BatchNorm's momentum is torch's 0.1, not TensorFlow's 0.01:
  short trainings would be evaluated with statistics that have not arrived;
- biases everywhere but in the two convolutions that a BatchNorm follows;
- the stem is convolution, BatchNorm, GELU, convolution;
- LayerNorm after the last stage, since blocks are pre-activation and leave their sum unnormalised.

Initialisation (`initialise`): convolutions normal with variance 2 / fan-out, dense layers Xavier-uniform (timm's
`vit_eff`), relative-bias tables, absolute positions and the classifier normal with standard deviation 0.02 (MaxViT),
biases zero. GELU is the exact form.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.config import Blocks, CoAtNetVariant, ViTRelVariant
from study.errors import StudyError
from study.models.attention import Attention


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of x_BCHW (Table 8's alternative to BatchNorm in MBConv)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def conv_norm(width: int, kind: str) -> nn.Module:
    """The norm of MBConv and of the stem."""
    return nn.BatchNorm2d(width, eps=1e-3) if kind == "batch" else ChannelNorm(width, eps=1e-5)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training a branch is dropped for a whole image, else scaled up."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x_B: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x_B
        keep_B = torch.rand(x_B.shape[0], *[1] * (x_B.ndim - 1), device=x_B.device) >= self.rate
        return x_B * keep_B / (1 - self.rate)


class SqueezeExcitation(nn.Module):
    """Channel gates from the global mean (Hu et al. 2018): x_BDHW -> x_BDHW."""

    def __init__(self, hidden: int, squeezed: int):
        super().__init__()
        self.squeeze = nn.Conv2d(hidden, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, hidden, 1)

    def forward(self, x_BDHW: Tensor) -> Tensor:
        # a sum: the gradient of `mean` is written out as a whole x_BDHW, five times as slow in channels_last memory
        mean_BD11 = x_BDHW.sum((2, 3), keepdim=True) / (x_BDHW.shape[2] * x_BDHW.shape[3])
        gate_BD11 = self.excite(F.silu(self.squeeze(mean_BD11)))
        return x_BDHW * gate_BD11.sigmoid()


class MBConv(nn.Module):
    """Inverted bottleneck (appendix A.1, Eq. 5): x_BIHW -> x_BCH'W', H' = H / stride.

    Proj(Pool(x)) + Conv(SE(DepthConv(Conv(Norm(x), stride)))), or the stride in the depthwise convolution (Table 9).
    """

    def __init__(self, width_in: int, width: int, stride: int, blocks: Blocks, drop_rate: float = 0.0):
        super().__init__()
        hidden = blocks.expansion * width
        first, second = (stride, 1) if blocks.stride_in == "expand" else (1, stride)
        self.stride = stride
        self.norm = conv_norm(width_in, blocks.conv_norm)
        self.expand = nn.Conv2d(width_in, hidden, 1, stride=first, bias=False)
        self.expand_norm = conv_norm(hidden, blocks.conv_norm)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride=second, padding=1, groups=hidden, bias=False)
        self.depthwise_norm = conv_norm(hidden, blocks.conv_norm)
        squeezed = squeeze_width(width, blocks)
        self.se = SqueezeExcitation(hidden, squeezed) if squeezed else nn.Identity()
        self.shrink = nn.Conv2d(hidden, width, 1)
        self.shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        self.drop_path = DropPath(drop_rate)

    def forward(self, x_BIHW: Tensor) -> Tensor:
        y = F.gelu(self.expand_norm(self.expand(self.norm(x_BIHW))))
        y = F.gelu(self.depthwise_norm(self.depthwise(y)))
        y_BCHW = self.drop_path(self.shrink(self.se(y)))
        return self.shortcut(max_pool(x_BIHW, self.stride)) + y_BCHW


class TransformerBlock(nn.Module):
    """Relative attention, then a feed-forward network (appendix A.1, Eq. 4): x_BHWI -> x_BH'W'C.

    Proj(Pool(x)) + Attention(Pool(Norm(x))), then x + FFN(Norm(x)). `side` is (H', W'); `hidden` is the FFN's inner
    width, by default `expansion` times the block's.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        stride: int,
        side: tuple[int, int],
        blocks: Blocks,
        drop_rate: float = 0.0,
        hidden: int | None = None,
    ):
        super().__init__()
        hidden = hidden or blocks.expansion * width
        self.stride = stride
        self.attention_norm = nn.LayerNorm(width_in, eps=1e-5)
        self.attention = Attention(width_in, width, side, blocks)
        self.shortcut = nn.Linear(width_in, width) if width_in != width else nn.Identity()
        self.ffn_norm = nn.LayerNorm(width, eps=1e-5)
        self.ffn_expand = nn.Linear(width, hidden)
        self.ffn_shrink = nn.Linear(hidden, width)
        self.drop_path = DropPath(drop_rate)

    def forward(self, x_BHWI: Tensor) -> Tensor:
        attended_BHWC = self.attention(self.pool(self.attention_norm(x_BHWI)))
        x_BHWC = self.shortcut(self.pool(x_BHWI)) + self.drop_path(attended_BHWC)
        hidden_BHWD = F.gelu(self.ffn_expand(self.ffn_norm(x_BHWC)))
        return x_BHWC + self.drop_path(self.ffn_shrink(hidden_BHWD))

    def pool(self, x_BHWC: Tensor) -> Tensor:
        return max_pool(x_BHWC.permute(0, 3, 1, 2), self.stride).permute(0, 2, 3, 1)


class ConvStage(nn.Sequential):
    """MBConv blocks, the first of which strides and widens: x_BIHW -> x_BCH'W'."""


class TransformerStage(nn.Module):
    """Transformer blocks, the first of which strides and widens: x_BIHW -> x_BCH'W'."""

    def __init__(self, blocks: list[TransformerBlock], positions: PositionTable | None = None):
        super().__init__()
        self.positions = positions
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x_BIHW: Tensor) -> Tensor:
        x_BHWC = x_BIHW.permute(0, 2, 3, 1)
        if self.positions is not None:
            x_BHWC = self.positions(x_BHWC)
        for block in self.blocks:
            x_BHWC = block(x_BHWC)
        return x_BHWC.permute(0, 3, 1, 2)


class PositionTable(nn.Module):
    """A learned absolute position for each place of x_BHWC, as in ViT; not in the paper's networks."""

    def __init__(self, width: int, side: tuple[int, int]):
        super().__init__()
        self.table_HWC = nn.Parameter(torch.zeros(*side, width))

    def forward(self, x_BHWC: Tensor) -> Tensor:
        return x_BHWC + self.table_HWC


class Head(nn.Module):
    """Norm, global average pooling, classifier: x_BCHW -> logits (B, classes).

    The dense form pools first, then norm, dense, tanh, classifier (MaxViT's head; it reproduces the paper's counts).
    """

    def __init__(self, width: int, classes: int, dense: bool):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.dense = nn.Linear(width, width) if dense else None
        self.classifier = nn.Linear(width, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        if self.dense is None:
            return self.classifier(self.norm(x_BHWC).mean((1, 2)))
        return self.classifier(torch.tanh(self.dense(self.norm(x_BHWC.mean((1, 2))))))


class CoAtNet(nn.Module):
    """Stem S0, then stages S1-S4 of MBConv (C) or Transformer (T) blocks (section 2.2, Fig. 4): images -> logits.

    | stage | blocks | side at 224 px |
    | --- | --- | --- |
    | S0 | `depths[0]` 3x3 convolutions | 112 |
    | S1-S4 | `depths[i]` blocks of the layout's letter | 56, 28, 14, 7 |

    `forward` takes x_BCHW (B, 3, S, S), S = `image_size`, and returns (B, classes). Raises StudyError if the side does
    not divide by the product of the strides.
    """

    def __init__(self, variant: CoAtNetVariant, classes: int, image_size: int):
        super().__init__()
        blocks, widths = variant.blocks, variant.widths
        sides = stage_sides(variant, image_size)
        letters = variant.layout.replace("-", "")
        drop_rates = _ramp(blocks.stochastic_depth, sum(variant.depths[1:]) + (variant.split or (0, 0))[0])
        self.stem = _stem(variant.depths[0], widths[0], variant.strides[0], blocks)
        self.stages = nn.ModuleList()
        width_in = widths[0]
        for i, letter in enumerate(letters, start=1):
            stride, depth, side = variant.strides[i], variant.depths[i], (sides[i], sides[i])
            if i == 3 and variant.split is not None:  # CoAtNet-6/7 open S3 with MBConv blocks (appendix A.2)
                split_depth, split_width = variant.split
                self.stages.append(_conv_stage(split_depth, width_in, split_width, stride, blocks, drop_rates))
                width_in, stride = split_width, 1
            if letter == "C":
                stage: nn.Module = _conv_stage(depth, width_in, widths[i], stride, blocks, drop_rates)
            else:
                first_t = letters.index("T") == i - 1
                before = sides[i] * stride
                positions = PositionTable(width_in, (before, before)) if blocks.absolute_positions and first_t else None
                stage = _transformer_stage(depth, width_in, widths[i], stride, side, blocks, drop_rates, positions)
            self.stages.append(stage)
            width_in = widths[i]
        self.head = Head(width_in, classes, blocks.dense_head)
        initialise(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.stem(x_BCHW)
        for stage in self.stages:
            x_BCHW = stage(x_BCHW)
        logits: Tensor = self.head(x_BCHW)
        return logits


class ViTRel(nn.Module):
    """ViT_REL (section 2.2): a convolution of one patch as stem, then `depth` Transformer blocks at one resolution.

    The paper states the aggressive stem (16x16 at 224 px) and the relative attention; depth, width and head are ours:
    size-matched, and the same norm, pooling and classifier as the other variants. Takes (B, 3, S, S), returns
    (B, classes). Raises StudyError if the patch does not divide the side.
    """

    def __init__(self, variant: ViTRelVariant, classes: int, image_size: int):
        super().__init__()
        (side,) = stage_sides(variant, image_size)
        width, blocks = variant.width, variant.blocks
        self.stem = nn.Conv2d(3, width, variant.patch, stride=variant.patch)
        positions = PositionTable(width, (side, side)) if blocks.absolute_positions else None
        drop_rates = _ramp(blocks.stochastic_depth, variant.depth)
        layers = [
            TransformerBlock(width, width, 1, (side, side), blocks, drop_rates(), variant.hidden)
            for _ in range(variant.depth)
        ]
        self.stages = nn.ModuleList([TransformerStage(layers, positions)])
        self.head = Head(width, classes, blocks.dense_head)
        initialise(self)

    forward = CoAtNet.forward


def stage_sides(variant: CoAtNetVariant | ViTRelVariant, image_size: int) -> tuple[int, ...]:
    """Side of the square grid of positions in S0-S4, or ViT_REL's one. Raises StudyError if it does not divide."""
    strides = variant.strides if isinstance(variant, CoAtNetVariant) else (variant.patch,)
    total = math.prod(strides)
    if image_size % total:
        lower = image_size // total * total
        fitting = " and ".join(str(side) for side in (lower, lower + total) if side)
        raise StudyError(
            f"images of side {image_size} do not divide by the network's stride of {total}: {fitting} would"
        )
    return tuple(image_size // math.prod(strides[: i + 1]) for i in range(len(strides)))


def squeeze_width(width: int, blocks: Blocks) -> int:
    """Channels of squeeze-excitation's bottleneck: `se_ratio` of the block's output width, as in MaxViT's code."""
    return max(1, int(blocks.se_ratio * width)) if blocks.se_ratio else 0


def max_pool(x_BCHW: Tensor, stride: int) -> Tensor:
    """Max pooling with window = stride; the identity at stride 1."""
    return x_BCHW if stride == 1 else F.max_pool2d(x_BCHW, stride)


def initialise(network: nn.Module) -> None:
    """Draw all weights (see the module's docstring) from torch's default generator."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear) and name.endswith("classifier"):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for name, parameter in network.named_parameters():
        if name.endswith(("bias_table", "table_HWC")):
            nn.init.normal_(parameter, std=0.02)


def _stem(depth: int, width: int, stride: int, blocks: Blocks) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, stride=stride, padding=1)]
    for _ in range(depth - 1):
        layers += [conv_norm(width, blocks.conv_norm), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*layers)


def _ramp(rate: float, depth: int) -> Callable[[], float]:
    """Drop rates that rise linearly from 0 to `rate` over the blocks, one at a call (as in MaxViT's code)."""
    rates = iter(rate * i / max(1, depth - 1) for i in range(depth))
    return lambda: next(rates)


def _conv_stage(
    depth: int, width_in: int, width: int, stride: int, blocks: Blocks, drop_rate: Callable[[], float]
) -> ConvStage:
    shapes = [(width_in, stride)] + [(width, 1)] * (depth - 1)
    return ConvStage(*[MBConv(w, width, s, blocks, drop_rate()) for w, s in shapes])


def _transformer_stage(
    depth: int,
    width_in: int,
    width: int,
    stride: int,
    side: tuple[int, int],
    blocks: Blocks,
    drop_rate: Callable[[], float],
    positions: PositionTable | None,
) -> TransformerStage:
    shapes = [(width_in, stride)] + [(width, 1)] * (depth - 1)
    return TransformerStage([TransformerBlock(w, width, s, side, blocks, drop_rate()) for w, s in shapes], positions)
