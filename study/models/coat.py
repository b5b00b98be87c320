"""CoaT and CoaT-Lite: co-scale conv-attentional image Transformers (arXiv 2104.06399).

Shapes: B images, N = 1 + H*W tokens (a class token, then an image of H x W positions, the grid), D channels,
h heads of width d (e where a second such axis is meant).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from study.errors import StudyError
from study.models.blocks import DropPath

Grid = tuple[int, int]


class ConvPositionEncoding(nn.Module):
    """Convolution as position encoding: a depthwise 3x3 convolution added to the image tokens, x_BND -> x_BND."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x_BND: Tensor, grid: Grid) -> Tensor:
        class_B1D, image_BDHW = split(x_BND, grid)
        return join(class_B1D, image_BDHW + self.conv(image_BDHW))


class ConvRelativePositionEncoding(nn.Module):
    """Relative position encoding as a convolution: q * depthwise_conv(v), and zero for the class token.

    The heads are divided among three windows, 3x3, 5x5 and 7x7, as 2, 3 and 3 of the paper's 8.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        channels_of_window = {window: n * (width // heads) for window, n in heads_of_windows(heads).items() if n}
        self.channels = list(channels_of_window.values())
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, window, padding=window // 2, groups=channels)
            for window, channels in channels_of_window.items()
        )

    def forward(self, q_BhNd: Tensor, v_BhNd: Tensor, grid: Grid) -> Tensor:
        v_BDHW = rearrange(v_BhNd[:, :, 1:], "B h (H W) d -> B (h d) H W", H=grid[0])
        parts = zip(self.convs, v_BDHW.split_with_sizes(self.channels, dim=1), strict=True)
        mixed_BDHW = torch.cat([conv(part) for conv, part in parts], dim=1)
        mixed_BhMd = rearrange(mixed_BDHW, "B (h d) H W -> B h (H W) d", h=q_BhNd.shape[1])  # M = H*W
        return F.pad(q_BhNd[:, :, 1:] * mixed_BhMd, (0, 0, 1, 0))


class ConvAttention(nn.Module):
    """Factorized attention with relative position encoding: x_BND -> x_BND.

    q (softmax over tokens of k)^T v / sqrt(d) + q * depthwise_conv(v): linear in the number of tokens.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BND: Tensor, grid: Grid, relative_position: ConvRelativePositionEncoding) -> Tensor:
        q_BhNd, k_BhNd, v_BhNd = rearrange(self.qkv(x_BND), "B N (t h d) -> t B h N d", t=3, h=self.heads)
        context_Bhde = k_BhNd.softmax(dim=2).transpose(2, 3) @ v_BhNd
        y_BhNd = self.scale * (q_BhNd @ context_Bhde) + relative_position(q_BhNd, v_BhNd, grid)
        return self.out(rearrange(y_BhNd, "B h N d -> B N (h d)"))


class SerialBlock(nn.Module):
    """A pre-norm Transformer block at one scale: position encoding, conv-attention, feed-forward: x_BND -> x_BND."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, drop_path: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = ConvAttention(width, heads)
        self.ffn_norm = nn.LayerNorm(width, eps=1e-6)
        self.ffn = feed_forward(width, mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BND: Tensor, grid: Grid, scale: Scale) -> Tensor:
        x_BND = scale.position(x_BND, grid)
        x_BND = x_BND + self.drop_path(self.attention(self.attention_norm(x_BND), grid, scale.relative_position))
        return x_BND + self.drop_path(self.ffn(self.ffn_norm(x_BND)))


class ParallelBlock(nn.Module):
    """Scales 2, 3 and 4 side by side, attention with feature interpolation: three x_BND -> three x_BND.

    Each scale attends to itself; what it finds is resampled bilinearly to the other two and added there (class tokens
    are added as they are). The feed-forward network is one for the three scales, their norms and attention are not.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int, drop_path: float):
        super().__init__()
        self.attention_norm = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.attention = nn.ModuleList(ConvAttention(width, heads) for _ in range(3))
        self.ffn_norm = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.ffn = feed_forward(width, mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, xs: list[Tensor], grids: list[Grid], scales: Sequence[Scale]) -> list[Tensor]:
        three = range(3)
        xs = [scales[i].position(xs[i], grids[i]) for i in three]
        attended = [
            self.attention[i](self.attention_norm[i](xs[i]), grids[i], scales[i].relative_position) for i in three
        ]
        for i in three:
            gathered = [resample(attended[j], grids[j], grids[i]) for j in three]
            xs[i] = xs[i] + self.drop_path(torch.stack(gathered).sum(0))
        return [xs[i] + self.drop_path(self.ffn(self.ffn_norm[i](xs[i]))) for i in three]


class Scale(nn.Module):
    """One scale: patch embedding, class token, the two position encodings that all its blocks share, serial blocks.

    Takes the image x_BCHW of the scale before and returns tokens x_BND with their grid. The parallel blocks use
    `position` and `relative_position` too.
    """

    def __init__(self, width_in: int, width: int, patch: int, depth: int, heads: int, mlp_ratio: int, drop_path: float):
        super().__init__()
        self.embed = nn.Conv2d(width_in, width, patch, stride=patch)
        self.norm = nn.LayerNorm(width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = ConvPositionEncoding(width)
        self.relative_position = ConvRelativePositionEncoding(width, heads)
        self.blocks = nn.ModuleList(SerialBlock(width, heads, mlp_ratio, drop_path) for _ in range(depth))

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Grid]:
        image_BDHW = self.embed(x_BCHW)
        batch, _, height, columns = image_BDHW.shape
        tokens_BMD = self.norm(rearrange(image_BDHW, "B D H W -> B (H W) D"))
        x_BND = torch.cat([self.class_token.expand(batch, -1, -1), tokens_BMD], dim=1)
        for block in self.blocks:
            x_BND = block(x_BND, (height, columns), self)
        return x_BND, (height, columns)


class CoaT(nn.Module):
    """CoaT (`parallel_depth` above 0) and CoaT-Lite (0): arXiv 2104.06399, section "Model Architecture" and its table.

    | stage | what | side at 224 px | side at 32 px |
    | --- | --- | --- | --- |
    | scale 1 | patches of 4x4, `depths[0]` serial blocks of `widths[0]` | 56 | 8 |
    | scales 2-4 | patches of 2x2, `depths[i]` serial blocks of `widths[i]` | 28, 14, 7 | 4, 2, 1 |
    | parallel | `parallel_depth` blocks over scales 2-4 together (not in CoaT-Lite) | 28, 14, 7 | 4, 2, 1 |
    | head | norm of the class token of scale 4 (Lite), or of scales 2-4, merged by a 1x1 convolution; linear | | |

    `forward` takes x_BCHW (B, 3, H, W), any sides that are multiples of 8 `patch`, and returns logits (B, classes).

    What the paper leaves open follows the official code (mlpc-ucsd/CoaT), which reproduces the published counts:

    - q, k, v have biases; the scale 1 / sqrt(d) stands on the product with the context, not on the relative term;
    - LayerNorm has eps 1e-6 in the blocks and before the head, 1e-5 after the patch embedding;
    - 8 heads at every scale, so that their width grows with the scale's; another number is divided among the windows
      in the same proportion, the remainder to the large ones;
    - each scale has its own class token, which is dropped before the next scale's patch embedding;
    - the position encodings are those of the scale, in serial and parallel blocks alike;
    - the parallel blocks leave scale 1 out and share one feed-forward network among their scales, so that these
      need equal widths and MLP ratios; resampling is bilinear without antialiasing or aligned corners;
    - the published counts include a final norm for each scale, also for those whose class token is not read; it is
      kept, without a gradient;
    - stochastic depth has one rate for all blocks, where other networks let it rise.

    Initialisation, also as in the official code: linear weights and class tokens from a normal distribution with
    standard deviation 0.02 (cut at +-2, which never matters), biases 0, norms 1 and 0; convolutions keep torch's
    default, Kaiming-uniform with a = sqrt(5). All from torch's default generator.

    Raises StudyError for widths that the heads do not divide, for unequal widths or ratios under parallel blocks, and
    in `forward` for sides that the patches do not divide.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        mlp_ratios: tuple[int, int, int, int],
        parallel_depth: int = 0,
        heads: int = 8,
        patch: int = 4,
        drop_path: float = 0.0,
        classes: int = 1000,
    ):
        super().__init__()
        _check(widths, mlp_ratios, parallel_depth, heads)
        self.patch = patch
        patches = (patch, 2, 2, 2)
        self.scales = nn.ModuleList(
            Scale(width_in, width, patches[i], depths[i], heads, mlp_ratios[i], drop_path)
            for i, (width_in, width) in enumerate(pairwise((3, *widths)))
        )
        self.parallel = nn.ModuleList(
            ParallelBlock(widths[3], heads, mlp_ratios[3], drop_path) for _ in range(parallel_depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for width in widths)
        self.first_read = 1 if parallel_depth else 3  # the class tokens of this scale and of those after it are read
        self.norms[: self.first_read].requires_grad_(False)
        self.merge = nn.Conv1d(3, 1, 1) if parallel_depth else nn.Identity()
        self.classifier = nn.Linear(widths[3], classes)
        self.apply(_initialise)

    def get_classifier(self) -> nn.Linear:
        """The last layer, whose outputs are the classes."""
        return self.classifier

    def no_weight_decay(self) -> set[str]:
        """Names of the class tokens: they get none."""
        return {name for name, _ in self.named_parameters() if name.endswith("class_token")}

    def forward(self, x_BCHW: Tensor) -> Tensor:
        check_sides(self.patch, x_BCHW.shape[2], x_BCHW.shape[3])
        xs: list[Tensor] = []
        grids: list[Grid] = []
        for scale in self.scales:
            x_BND, grid = scale(split(xs[-1], grids[-1])[1] if xs else x_BCHW)
            xs.append(x_BND)
            grids.append(grid)
        xs, grids = xs[self.first_read :], grids[self.first_read :]
        for block in self.parallel:
            xs = block(xs, grids, list(self.scales)[self.first_read :])
        norms = list(self.norms)[self.first_read :]
        class_BSD = torch.stack([norm(x_BND[:, 0]) for norm, x_BND in zip(norms, xs, strict=True)], dim=1)
        return self.classifier(self.merge(class_BSD).squeeze(1))


def heads_of_windows(heads: int) -> dict[int, int]:
    """How many heads have relative encodings of 3x3, 5x5 and 7x7: of the paper's 8, 2, 3 and 3."""
    small = heads // 4
    medium = (heads - small) // 2
    return {3: small, 5: medium, 7: heads - small - medium}


def split(x_BND: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Tokens as class token and image: x_BND -> (class_B1D, image_BDHW)."""
    return x_BND[:, :1], rearrange(x_BND[:, 1:], "B (H W) D -> B D H W", H=grid[0])


def join(class_B1D: Tensor, image_BDHW: Tensor) -> Tensor:
    """Class token and image as tokens: (class_B1D, image_BDHW) -> x_BND."""
    return torch.cat([class_B1D, rearrange(image_BDHW, "B D H W -> B (H W) D")], dim=1)


def resample(x_BND: Tensor, source: Grid, target: Grid) -> Tensor:
    """The image tokens resampled bilinearly from one grid to another; the class token stays."""
    if source == target:
        return x_BND
    class_B1D, image_BDHW = split(x_BND, source)
    return join(class_B1D, F.interpolate(image_BDHW, size=target, mode="bilinear", align_corners=False))


def feed_forward(width: int, mlp_ratio: int) -> nn.Sequential:
    """Linear, GELU, linear; hidden width `mlp_ratio * width`."""
    return nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))


def check_sides(patch: int, height: int, columns: int) -> None:
    """Raises StudyError if the patches, `patch` and then 2, 2 and 2, do not divide the sides of an image."""
    total = 8 * patch
    for side in (height, columns):
        if side % total or not side:
            below = side // total * total
            fitting = " or ".join(str(fit) for fit in (below, below + total) if fit)
            raise StudyError(
                f"CoaT's patches of {patch}, 2, 2 and 2 do not divide an image of {height} x {columns}: "
                f"a side of {fitting} instead of {side} would fit"
            )


def _check(widths: Sequence[int], mlp_ratios: Sequence[int], parallel_depth: int, heads: int) -> None:
    for width in widths:
        if width % heads:
            raise StudyError(f"CoaT's {heads} heads do not divide the width {width}: choose multiples of {heads}")
    if parallel_depth and (len(set(widths[1:])) > 1 or len(set(mlp_ratios[1:])) > 1):
        raise StudyError(
            "CoaT's parallel blocks share one feed-forward network among scales 2-4: give these equal widths and "
            f"MLP ratios, not {tuple(widths[1:])} and {tuple(mlp_ratios[1:])}, or set parallel_depth=0 (CoaT-Lite)"
        )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, Scale):
        nn.init.trunc_normal_(module.class_token, std=0.02)
