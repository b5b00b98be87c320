"""CoAtNet of any layout, and ViT_REL, from one set of blocks (arXiv 2106.04803; the blocks: study/models/blocks.py).

Shapes: B images, C channels, H x W positions. Convolutions see x_BCHW in channels_last memory, which is x_BHWC without
a copy: the two views are exchanged freely.

What the paper leaves open is read as in MaxViT's official code (google-research/maxvit), the follow-up by the same
group, wherever that reproduces the published parameter counts:

- expansion, attention and squeeze-excitation are sized from a block's *output* width, also in the widening block;
- the shortcut is projected only where widths differ, after its pooling;
- BatchNorm before, after the expansion and after the depthwise convolution, GELU after the latter two, and none after
  the last 1x1; eps 1e-3 (BatchNorm) and 1e-5 (LayerNorm);
- squeeze-excitation between the depthwise convolution's GELU and the last 1x1, with SiLU inside and a sigmoid gate;
- biases everywhere but in MBConv's expansion and depthwise convolution, which a norm follows;
- the stem is convolution, BatchNorm, GELU, convolution;
- logits of attention are scaled by head_dim^-0.5;
- stochastic depth, where it is asked for, rises linearly from 0 over the blocks (see `_ramp`).

Other than MaxViT's code:

- pooling is max, window = stride, on both branches: "standard max pooling of stride 2" is said of Eq. 4, and Eq. 5 does
  not say which; MaxViT's shortcuts average;
- LayerNorm after the last stage, then pooling, then the classifier, since blocks are pre-activation and leave their sum
  unnormalised; MaxViT's order, with its dense layer, is the switch `dense_head`, the published networks' default;
- BatchNorm's momentum is torch's 0.1, not TensorFlow's 0.01: short trainings would be evaluated with statistics that
  have not arrived (`batch_norm_momentum` sets it, `batch_norm_epsilon` the eps);
- GELU is the exact form, not the tanh approximation.

How weights are drawn at first is a switch: see `initialise`.

Numerics: weights are float32. Under bf16 autocast on a CPU activations are bfloat16, but for attention with a relative
bias (before the softmax it is added, and the softmax taken, in float32; after it, it is added in float32) and for what
follows absolute positions, which are float32. CUDA's autocast takes norms and softmax in float32 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, nn

from study.config import Blocks, CoAtNetVariant, ViTRelVariant
from study.errors import StudyError
from study.models.blocks import (
    ConvStage,
    Head,
    MBConv,
    PositionTable,
    TransformerBlock,
    TransformerStage,
    conv_norm,
)


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
        self.variant = variant
        blocks, widths = variant.blocks, variant.widths
        sides = stage_sides(variant, image_size)
        stages = list(
            zip(variant.layout.split("-"), variant.depths[1:], widths[1:], variant.strides[1:], sides[1:], strict=True)
        )
        if variant.split is not None:  # CoAtNet-6/7 open S3 with MBConv blocks (appendix A.2)
            letter, depth, width, stride, side = stages[2]
            stages[2:3] = [("C", *variant.split, stride, side), (letter, depth, width, 1, side)]
        drop_rates = _ramp(blocks.stochastic_depth, sum(depth for _, depth, *_ in stages))
        self.stem = _stem(variant.depths[0], widths[0], variant.strides[0], blocks)
        self.stages = nn.ModuleList()
        width_in, positions = widths[0], blocks.absolute_positions
        for letter, depth, width, stride, side in stages:
            shapes = [(width_in, stride)] + [(width, 1)] * (depth - 1)
            if letter == "C":
                self.stages.append(ConvStage(*[MBConv(w, width, s, blocks, next(drop_rates)) for w, s in shapes]))
            else:
                table = PositionTable(width_in, (side * stride, side * stride)) if positions else None
                positions = False  # before the first T alone
                layers = [TransformerBlock(w, width, s, (side, side), blocks, next(drop_rates)) for w, s in shapes]
                self.stages.append(TransformerStage(layers, table))
            width_in = width
        self.head = Head(width_in, classes, blocks.dense_head)
        initialise(self, blocks.initialisation)

    def get_classifier(self) -> nn.Linear:
        """The last layer, whose outputs are the classes."""
        return self.head.classifier

    def no_weight_decay(self) -> set[str]:
        """Names of the position tables: they get none."""
        return {name for name, _ in self.named_parameters() if name.endswith(("bias_table", "table_HWC"))}

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
        self.variant = variant
        (side,) = stage_sides(variant, image_size)
        width, blocks = variant.width, variant.blocks
        self.stem = nn.Conv2d(3, width, variant.patch, stride=variant.patch)
        positions = PositionTable(width, (side, side)) if blocks.absolute_positions else None
        drop_rates = _ramp(blocks.stochastic_depth, variant.depth)
        layers = [
            TransformerBlock(width, width, 1, (side, side), blocks, next(drop_rates), variant.hidden)
            for _ in range(variant.depth)
        ]
        self.stages = nn.ModuleList([TransformerStage(layers, positions)])
        self.head = Head(width, classes, blocks.dense_head)
        initialise(self, blocks.initialisation)

    forward = CoAtNet.forward
    get_classifier = CoAtNet.get_classifier
    no_weight_decay = CoAtNet.no_weight_decay


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


def initialise(network: nn.Module, form: str = "timm") -> None:
    """Draw all weights from torch's default generator, in one of the field's usual forms (`Blocks.initialisation`).

    | form | convolutions | dense layers | classifier, tables | ViT_REL's patches | biases |
    | --- | --- | --- | --- | --- | --- |
    | `timm` | normal, variance 2 / fan-out | Xavier-uniform | normal, 0.02 | 2 / fan-out | 0 |
    | `xavier` | the same | the same | the same | normal, 1 / fan-in | 0 |
    | `fan_in` | uniform, variance 1 / (3 fan-in) | the same | the same; tables 0 | the same | uniform, the same |
    | `normal` | normal, 0.02 | normal, 0.02 | normal, 0.02 | normal, 1 / fan-in | 0 |

    `timm` is timm's for its CoAtNets (`vit_eff`) and the default, that of the first records: it takes the patches for a
    convolution like any other, although they do not overlap, and so leaves them little signal. `xavier` is the same but
    for that. `fan_in` is torch's default for every layer (kaiming_uniform with a = sqrt(5); biases too). `normal` is
    MaxViT's. Patches by 1 / fan-in are ViT's (flax's default, LeCun). Tables are relative biases and absolute
    positions; norms begin as 1 and 0.
    """
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if form == "fan_in":
            module.reset_parameters()
            continue
        is_patches = isinstance(network, ViTRel) and name == "stem"
        if is_patches and form != "timm":
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        elif form == "normal" or name.endswith("classifier"):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        else:
            nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for name, parameter in network.named_parameters():
        if form != "fan_in" and name.endswith(("bias_table", "table_HWC")):
            nn.init.normal_(parameter, std=0.02)


def _stem(depth: int, width: int, stride: int, blocks: Blocks) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, stride=stride, padding=1)]
    for _ in range(depth - 1):
        layers += [conv_norm(width, blocks), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*layers)


def _ramp(rate: float, depth: int) -> Iterator[float]:
    """Drop rates that rise linearly from 0 in the first block to `rate` in the last (MaxViT's code: almost to it)."""
    return (rate * i / max(1, depth - 1) for i in range(depth))
