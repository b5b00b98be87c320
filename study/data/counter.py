"""Random numbers without state: splitmix64 (Steele, Lea, Flood 2014) at a counter, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # splitmix64's constants as int64, whose products wrap around
MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
MIX_2 = 0x94D049BB133111EB - 2**64


def splitmix64(x: Tensor) -> Tensor:
    """The output function of splitmix64: a bijection of 64-bit integers, held in int64."""
    x = (x ^ _shift(x, 30)) * MIX_1
    x = (x ^ _shift(x, 27)) * MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; int64's own would copy the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def counters(stream: int, indices_B: Tensor, draws: int) -> Tensor:
    """int64 (B, D), a number of its own for each (stream, index, draw).

    The stream (below 128) stands in the upper 8 bits, then the index (below 2^48), then the draw (below 256).
    """
    return (stream << 56) + (indices_B[:, None] << 8) + torch.arange(draws, device=indices_B.device)


def uniform(seed: int, stream: int, indices_B: Tensor, draws: int) -> Tensor:
    """float32 (B, D) in [0, 1). Under one seed no two of (stream, index, draw) come from the same 64-bit number.

    For counters differ, and each step from counter to number is a bijection.
    """
    key = splitmix64(torch.tensor(seed, device=indices_B.device) * GOLDEN)
    return _shift(splitmix64(key + counters(stream, indices_B, draws) * GOLDEN), 40).float() * 2.0**-24
