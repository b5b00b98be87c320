"""The blocks that CoAtNet and ViT_REL are made of: MBConv, Transformer block, stages, head (arXiv 2106.04803).

Shapes: B images, C channels (I in, D hidden), H x W positions, N = H*W tokens, h heads of width d. Convolutions see
x_BCHW in channels_last memory, which is x_BHWC without a copy: the two views are exchanged freely.

What the paper leaves open is stated, with its source, at the top of study/models/coatnet.py.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from study.config import Blocks
from study.errors import StudyError
from study.models.attention import Attention, resample


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of x_BCHW (Table 8's alternative to BatchNorm in MBConv)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def conv_norm(width: int, blocks: Blocks) -> nn.Module:
    """The norm of MBConv and of the stem."""
    if blocks.conv_norm == "layer":
        return ChannelNorm(width, eps=1e-5)
    return nn.BatchNorm2d(width, eps=blocks.batch_norm_epsilon, momentum=blocks.batch_norm_momentum)


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


def gelu(x_BCHW: Tensor) -> Tensor:
    """GELU (Hendrycks & Gimpel 2016): oneDNN's is faster by a third, and takes what is contiguous as a view x_BHWC."""
    return F.gelu(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


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
        self.norm = conv_norm(width_in, blocks)
        self.expand = nn.Conv2d(width_in, hidden, 1, stride=first, bias=False)
        self.expand_norm = conv_norm(hidden, blocks)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride=second, padding=1, groups=hidden, bias=False)
        self.depthwise_norm = conv_norm(hidden, blocks)
        squeezed = max(1, int(blocks.se_ratio * width))  # of the output width, as in MaxViT's code
        self.se = SqueezeExcitation(hidden, squeezed) if blocks.se_ratio else nn.Identity()
        self.shrink = nn.Conv2d(hidden, width, 1)
        self.shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        self.drop_path = DropPath(drop_rate)

    def forward(self, x_BIHW: Tensor) -> Tensor:
        y = gelu(self.expand_norm(self.expand(self.norm(x_BIHW))))
        y = gelu(self.depthwise_norm(self.depthwise(y)))
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
        if x_BHWC.shape[1:] != self.table_HWC.shape:
            raise StudyError(f"positions of {(*self.table_HWC.shape,)} got {(*x_BHWC.shape[1:],)}: resize them first")
        return x_BHWC + self.table_HWC

    def resize(self, side: tuple[int, int]) -> None:
        """Positions of another grid from now on, the table resampled: a new parameter."""
        table_CHW = resample(rearrange(self.table_HWC.detach(), "H W C -> C H W"), side)
        self.table_HWC = nn.Parameter(rearrange(table_CHW, "C H W -> H W C").contiguous(), self.table_HWC.requires_grad)


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


def max_pool(x_BCHW: Tensor, stride: int) -> Tensor:
    """Max pooling with window = stride; the identity at stride 1."""
    return x_BCHW if stride == 1 else F.max_pool2d(x_BCHW, stride)
