"""Relative attention (arXiv 2106.04803, section 2.1, Eq. 3, and appendix A.1), with the paper's alternatives.

Shapes: B images, H x W positions, N = H*W tokens, h heads of width d, I = h*d the inner width, C channels.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from study.config import Blocks
from study.errors import StudyError


def inner_width(width: int, head_dim: int) -> int:
    """Width of all heads together: the multiple of `head_dim` nearest to the block's output width (half up)."""
    return max(1, (2 * width + head_dim) // (2 * head_dim)) * head_dim


def relative_index(height: int, width: int) -> Tensor:
    """Where in a flattened (2H-1) x (2W-1) table the bias of a pair of positions stands: int64 (N, N).

    Query (i, j) and key (i', j') read the entry [i - i' + H - 1, j - j' + W - 1] (appendix A.1, counted from 0).
    """
    row_N = torch.arange(height).repeat_interleave(width)
    column_N = torch.arange(width).repeat(height)
    row_NN = row_N[:, None] - row_N[None, :] + height - 1
    column_NN = column_N[:, None] - column_N[None, :] + width - 1
    return row_NN * (2 * width - 1) + column_NN


def neighbourhood(height: int, width: int, window: int) -> Tensor:
    """Which keys lie in the `window` x `window` square around a query: bool (N, N)."""
    row_N = torch.arange(height).repeat_interleave(width)
    column_N = torch.arange(width).repeat(height)
    far_rows = (row_N[:, None] - row_N[None, :]).abs() > window // 2
    far_columns = (column_N[:, None] - column_N[None, :]).abs() > window // 2
    return ~(far_rows | far_columns)


class Attention(nn.Module):
    """Multi-head attention over a grid of `side` = (H, W) positions: x_BHWI -> x_BHWC.

    - `relative_bias` "pre": softmax(q k / sqrt(d) + w) v, the paper's choice; "post": (softmax(q k / sqrt(d)) + w) v,
      the other form of Eq. 3; "none". w is a scalar for each offset, head and layer.
    - `attention` "global"; "local": only keys in a window around the query (section 2.2, option B; computed densely
      under a mask, so it shows what locality does to accuracy, not to cost); "linear": factorized attention
      q (softmax over tokens of k)^T v / sqrt(d) (option C, in the form of CoaT, arXiv 2104.06399, Eq. 3), where no
      pair of positions is ever scored, so that it has no relative bias.

    In eval mode without gradients the bias is gathered once and kept until the table changes or training resumes.
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
        self.side = side
        height, columns = side
        if self.scope == "linear" and self.form != "none":
            raise StudyError("linear attention scores no pair of positions: it goes with relative_bias=none only")
        if self.form != "none":
            self.bias_table = nn.Parameter(torch.zeros(self.heads, 2 * height - 1, 2 * columns - 1))
            self.register_buffer("index", relative_index(height, columns).flatten(), persistent=False)
        if self.scope == "local":
            self.register_buffer("near", neighbourhood(height, columns, self.window), persistent=False)
        self._cached: tuple[tuple[object, ...], Tensor] | None = None

    def forward(self, x_BHWI: Tensor) -> Tensor:
        _, height, width, _ = x_BHWI.shape
        if self.scope != "linear" and (height, width) != self.side:
            raise StudyError(
                f"attention was built for {self.side} positions and got {(height, width)}: resize it first"
            )
        q_BhNd, k_BhNd, v_BhNd = rearrange(self.qkv(x_BHWI), "B H W (t h d) -> t B h (H W) d", t=3, h=self.heads)
        if self.scope == "linear":
            mixed_BhNd = (q_BhNd * self.scale) @ (k_BhNd.softmax(2).transpose(2, 3) @ v_BhNd)
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
        positions = self.side[0] * self.side[1]
        table_hP = self.bias_table.flatten(1)
        return table_hP.index_select(1, self.index).view(self.heads, positions, positions)
