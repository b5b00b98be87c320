"""Relative attention (arXiv 2106.04803, section 2.1, Eq. 3, and appendix A.1), with the paper's alternatives.

Shapes: B images, H x W positions, N = H*W tokens, h heads of width d, I = h*d the inner width, C channels.
"""

from __future__ import annotations

from typing import Self

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from study.config import Blocks
from study.errors import StudyError

FUSED_ABOVE = 256  # positions


def inner_width(width: int, head_dim: int) -> int:
    """Width of all heads together: the multiple of `head_dim` nearest to the block's output width (half up)."""
    return max(1, (2 * width + head_dim) // (2 * head_dim)) * head_dim


def offsets(height: int, width: int) -> tuple[Tensor, Tensor]:
    """How many rows and how many columns a query lies below and right of a key: int64 (N, N) each."""
    row_N = torch.arange(height).repeat_interleave(width)
    column_N = torch.arange(width).repeat(height)
    return row_N[:, None] - row_N, column_N[:, None] - column_N


def relative_index(height: int, width: int) -> Tensor:
    """Where in a flattened (2H-1) x (2W-1) table the bias of a pair of positions stands: int64 (N, N).

    Query (i, j) and key (i', j') read the entry [i - i' + H - 1, j - j' + W - 1] (appendix A.1, counted from 0).
    """
    rows_NN, columns_NN = offsets(height, width)
    return (rows_NN + height - 1) * (2 * width - 1) + columns_NN + width - 1


def neighbourhood(height: int, width: int, window: int) -> Tensor:
    """Which keys lie in the `window` x `window` square around a query: bool (N, N)."""
    rows_NN, columns_NN = offsets(height, width)
    return (rows_NN.abs() <= window // 2) & (columns_NN.abs() <= window // 2)


def resample(table_CHW: Tensor, sides: tuple[int, ...]) -> Tensor:
    """A learned table for other sides, by bilinear interpolation (appendix A.1): (C, H, W) -> (C, H', W').

    With half-pixel centres and without antialiasing, TensorFlow's default; the paper does not say. So the middle of a
    bias table, offset 0, stays in the middle.
    """
    return F.interpolate(table_CHW[None], size=tuple(sides), mode="bilinear", align_corners=False)[0]


def check_blocks(blocks: Blocks, where: str = "") -> None:
    """Raises StudyError for switches of attention that exclude each other."""
    if blocks.attention == "linear" and blocks.relative_bias != "none":
        raise StudyError(f"{where}attention=linear scores no pair of positions: it goes with relative_bias=none only")


class Attention(nn.Module):
    """Multi-head attention over a grid of `side` = (H, W) positions: x_BHWI -> x_BHWC.

    - `relative_bias` "pre": softmax(q k / sqrt(d) + w) v, the paper's choice; "post": (softmax(q k / sqrt(d)) + w) v,
      the other form of Eq. 3; "none". w is a scalar for each offset, head and layer.
    - `attention` "global"; "local": only keys in a window around the query (section 2.2, option B; computed densely
      under a mask, so it shows what locality does to accuracy, not to cost); "linear": factorized attention
      q (softmax over tokens of k)^T v / sqrt(d) (option C, in the form of CoaT, arXiv 2104.06399, Eq. 3), where no
      pair of positions is ever scored, so that it has no relative bias.

    `mix` writes the formula out and is the reference. Torch's fused kernel computes the same to rounding, forward and
    backward. How many times as long as `mix` it took on one core of an AMD EPYC (torch 2.13, interleaved; 16 to 1024
    positions, 2 to 24 heads, batches of 4 to 500 images):

    | | float32, forward | float32, training | bfloat16, forward | bfloat16, training |
    | --- | --- | --- | --- | --- |
    | with a bias | 0.4-0.9 | 0.9-1.3 | 0.3-1.3 | 1.1-3.1 |
    | without | 0.2-0.7 | 0.4-0.9 | 1.0-1.3 | 1.4-8.3 |

    So it serves float32 attention without a bias, and with one where no gradients are asked for and there are more than
    `FUSED_ABOVE` positions, so many that their logits weigh in memory too. Below that the saving is a small part of a
    network's time, and the formula stays.

    In eval mode without gradients the bias is gathered once and kept, until the table changes, a mode is set, or a pass
    with gradients comes. Changes are noticed by torch's version counter, which misses what is written through `.data`:
    call `eval()` after that. (It misses fused optimizers too, but no step is taken without a pass with gradients.)
    """

    index: Tensor
    near: Tensor

    def __init__(self, width_in: int, width: int, side: tuple[int, int], blocks: Blocks):
        super().__init__()
        inner = inner_width(width, blocks.head_dim)
        self.heads, self.scale = inner // blocks.head_dim, blocks.head_dim**-0.5
        self.scope, self.form = blocks.attention, blocks.relative_bias
        self.window = blocks.window
        self.qkv = nn.Linear(width_in, 3 * inner)
        self.out = nn.Linear(inner, width)
        check_blocks(blocks)
        if self.form != "none":
            self.bias_table = nn.Parameter(torch.zeros(self.heads, 2 * side[0] - 1, 2 * side[1] - 1))
        self._lay_out(side)

    def _lay_out(self, side: tuple[int, int]) -> None:
        """What depends on the grid and is not learned."""
        self.side = side
        device = self.qkv.weight.device
        if self.form != "none":
            self.register_buffer("index", relative_index(*side).flatten().to(device), persistent=False)
        if self.scope == "local":
            self.register_buffer("near", neighbourhood(*side, self.window).to(device), persistent=False)
        self._cached: tuple[tuple[object, ...], Tensor] | None = None

    def resize(self, side: tuple[int, int]) -> None:
        """Attend over another grid from now on, with the bias table resampled: a new parameter."""
        if self.form != "none":
            sides = (2 * side[0] - 1, 2 * side[1] - 1)
            self.bias_table = nn.Parameter(resample(self.bias_table.detach(), sides), self.bias_table.requires_grad)
        self._lay_out(side)

    def forward(self, x_BHWI: Tensor) -> Tensor:
        _, height, width, _ = x_BHWI.shape
        if self.scope != "linear" and (height, width) != self.side:
            raise StudyError(
                f"attention was built for {self.side} positions and got {(height, width)}: resize it first"
            )
        q_BhNd, k_BhNd, v_BhNd = rearrange(self.qkv(x_BHWI), "B H W (t h d) -> t B h (H W) d", t=3, h=self.heads)
        if self.scope == "linear":
            mixed_BhNd = (q_BhNd * self.scale) @ (k_BhNd.softmax(2).transpose(2, 3) @ v_BhNd)
        elif self.prefers_fused(q_BhNd):
            bias_1hNN = self.bias()[None] if self.form == "pre" else None
            mixed_BhNd = F.scaled_dot_product_attention(q_BhNd, k_BhNd, v_BhNd, attn_mask=bias_1hNN)
        else:
            mixed_BhNd = self.mix(q_BhNd, k_BhNd, v_BhNd)
        out: Tensor = self.out(rearrange(mixed_BhNd, "B h (H W) d -> B H W (h d)", H=height))
        return out

    def mix(self, q_BhNd: Tensor, k_BhNd: Tensor, v_BhNd: Tensor) -> Tensor:
        """Eq. 3 as written: every query's mixture of values."""
        bias_hNN = self.bias() if self.form != "none" else None
        logits_BhNN = (q_BhNd * self.scale) @ k_BhNd.transpose(2, 3)
        if bias_hNN is not None and self.form == "pre":
            logits_BhNN = logits_BhNN + bias_hNN
        if self.scope == "local":
            logits_BhNN = logits_BhNN.masked_fill(~self.near, -torch.inf)
        weights_BhNN = logits_BhNN.softmax(-1)
        if bias_hNN is not None and self.form == "post":
            weights_BhNN = weights_BhNN + (bias_hNN if self.scope == "global" else bias_hNN * self.near)
        return weights_BhNN.to(v_BhNd.dtype) @ v_BhNd

    def prefers_fused(self, q_BhNd: Tensor) -> bool:
        """Whether torch's fused kernel computes this attention, and faster (see the class)."""
        if self.scope != "global" or self.form == "post" or q_BhNd.dtype != torch.float32:
            return False
        return self.form == "none" or (not torch.is_grad_enabled() and q_BhNd.shape[2] > FUSED_ABOVE)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode and forgets the kept bias."""
        self._cached = None
        return super().train(mode)

    def bias(self) -> Tensor:
        """The relative bias of every pair of positions: (h, N, N)."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            self._cached = None
            return self.gather()
        key = (self.bias_table._version, self.bias_table.data_ptr(), self.bias_table.dtype)
        if self._cached is None or self._cached[0] != key:
            self._cached = (key, self.gather())
        return self._cached[1]

    def gather(self) -> Tensor:
        """`bias`, read from the table anew."""
        positions = self.side[0] * self.side[1]
        table_hP = self.bias_table.flatten(1)
        return table_hP.index_select(1, self.index).view(self.heads, positions, positions)
