"""Costs of networks as closed forms, so that sizes can be searched for without building any.

Every formula takes numbers, or arrays of numbers for many networks at once. Multiply-adds are those that torch's flop
counter counts, convolutions and matrix products, of one image's forward pass. Tests hold all of it against networks
that were built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from study.config import Blocks, CoaTVariant
from study.models.coat import heads_of_windows

Number = Any  # an int, or an array of ints: the closed forms work for one network and for many at once


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-adds of one image's forward pass (matrix products and convolutions, as torch counts)."""

    parameters: Number
    macs: Number

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.parameters + other.parameters, self.macs + other.macs)

    def __mul__(self, count: Number) -> Cost:
        """So many of them; none where `count` is False."""
        return Cost(count * self.parameters, count * self.macs)


def linear(width_in: Number, width: Number, places: int) -> Cost:
    """A dense layer or 1x1 convolution with bias at `places` positions."""
    return Cost(width_in * width + width, width_in * width * places)


def mbconv(width_in: Number, width: Number, side: int, stride: int, blocks: Blocks) -> Cost:
    """One MBConv block whose output has `side` x `side` positions."""
    hidden, places, places_in = blocks.expansion * width, side**2, (side * stride) ** 2
    expand_places = places if blocks.stride_in == "expand" else places_in
    squeezed = np.maximum(1, np.floor(blocks.se_ratio * np.asarray(width)).astype(int)) if blocks.se_ratio else 0
    norms = 2 * (width_in + 2 * hidden)
    cost = Cost(norms + (width_in + 9) * hidden, width_in * hidden * expand_places + 9 * hidden * places)
    cost = cost + linear(hidden, width, places)
    if blocks.se_ratio:
        cost = cost + linear(hidden, squeezed, 1) + linear(squeezed, hidden, 1)
    return cost + linear(width_in, width, places) * (width_in != width)


def transformer(width_in: Number, width: Number, side: int, blocks: Blocks, hidden: Number | None = None) -> Cost:
    """One Transformer block whose output has `side` x `side` positions."""
    places, d = side**2, blocks.head_dim
    heads = np.maximum(1, (2 * np.asarray(width) + d) // (2 * d))
    inner = heads * d
    hidden = blocks.expansion * width if hidden is None else hidden
    cost = Cost(2 * width_in + 2 * width, 2 * inner * places * (d if blocks.attention == "linear" else places))
    cost = cost + linear(width_in, 3 * inner, places) + linear(inner, width, places)
    cost = cost + linear(width, hidden, places) + linear(hidden, width, places)
    if blocks.relative_bias != "none":
        cost = cost + Cost(heads * (2 * side - 1) ** 2, 0)
    return cost + linear(width_in, width, places) * (width_in != width)


def coatnet_cost(
    layout: str, depths: Any, widths: Any, strides: tuple[int, ...], blocks: Blocks, classes: int, image_size: int
) -> Cost:
    """Cost of a CoAtNet without `split`; `depths` and `widths` are five numbers, or five arrays of equal length."""
    side, width_in = image_size // strides[0], widths[0]
    places = side**2
    convolutions = 9 * width_in * (3 + (depths[0] - 1) * width_in)
    cost = Cost(convolutions + depths[0] * width_in + (depths[0] - 1) * 2 * width_in, convolutions * places)
    letters = layout.replace("-", "")
    for i, letter in enumerate(letters, start=1):
        depth, width, stride = depths[i], widths[i], strides[i]
        if blocks.absolute_positions and letters.find("T") == i - 1:
            cost = cost + Cost(width_in * side**2, 0)
        side //= stride
        if letter == "C":
            first, later = mbconv(width_in, width, side, stride, blocks), mbconv(width, width, side, 1, blocks)
        else:
            first, later = transformer(width_in, width, side, blocks), transformer(width, width, side, blocks)
        cost = cost + first + later * (depth - 1)
        width_in = width
    return cost + head(width_in, classes, blocks)


def vit_cost(depth: Any, width: Any, hidden: Any, patch: int, blocks: Blocks, classes: int, image_size: int) -> Cost:
    """Cost of a ViT_REL; `depth`, `width` and `hidden` are numbers or arrays of equal length."""
    side = image_size // patch
    block = transformer(width, width, side, blocks, hidden)
    positions = width * side**2 if blocks.absolute_positions else 0
    cost = linear(3 * patch**2, width, side**2) + block * depth + Cost(positions, 0)
    return cost + head(width, classes, blocks)


def head(width: Number, classes: int, blocks: Blocks) -> Cost:
    """Norm, optional dense layer, classifier."""
    cost = Cost(2 * width, 0) + linear(width, classes, 1)
    return cost + linear(width, width, 1) if blocks.dense_head else cost


def coat_cost(
    widths: Any, depths: Any, parallel_depth: Number, variant: CoaTVariant, classes: int, image_size: int
) -> Cost:
    """Cost of a CoaT or CoaT-Lite; `variant` says the rest. `widths` and `depths` are four numbers or four arrays."""
    cost = Cost(0, 0)
    width_in: Number = 3
    side = image_size
    for i, (width, depth, ratio) in enumerate(zip(widths, depths, variant.mlp_ratios, strict=True)):
        patch = variant.patch if i == 0 else 2
        side //= patch
        uses = depth + parallel_depth * (i > 0)  # blocks: each calls its scale's position encodings once
        cost = cost + linear(patch**2 * width_in, width, side**2) + _positions(width, variant.heads, side, uses)
        cost = cost + Cost((2 + 1 + 2) * width, 0)  # norm, token, last norm
        feed_forward = _coat_ffn(width, ratio, side)
        cost = cost + (_coat_attention(width, variant.heads, side) + feed_forward) * uses
        if i > 1:  # the three scales share the feed-forward network, but not its norm
            cost = cost + Cost(-parallel_depth * (feed_forward.parameters - 2 * width), 0)
        width_in = width
    return cost + linear(width_in, classes, 1) + Cost(4, 3 * width_in) * (parallel_depth > 0)


def _positions(width: Number, heads: int, side: int, uses: Number) -> Cost:
    """A scale's convolutional position encoding, 3x3, and relative encoding, with `uses` calls each."""
    taps = 9 * width
    biases = 2 * width
    for window, count in heads_of_windows(heads).items():
        taps = taps + window**2 * count * (width // heads)
    return Cost(taps + biases, taps * side**2 * uses)


def _coat_attention(width: Number, heads: int, side: int) -> Cost:
    """Norm, queries, keys and values, factorized attention, output."""
    tokens = side**2 + 1
    cost = Cost(2 * width, 2 * width * (width // heads) * tokens)
    return cost + linear(width, 3 * width, tokens) + linear(width, width, tokens)


def _coat_ffn(width: Number, ratio: int, side: int) -> Cost:
    tokens = side**2 + 1
    return Cost(2 * width, 0) + linear(width, ratio * width, tokens) + linear(ratio * width, width, tokens)
