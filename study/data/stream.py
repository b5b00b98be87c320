"""A stream of fractals: training images that never repeat, in any number, made as training needs them.

A run of seed s sees the training indices from s · 2^32 on, each once: its images are its own, no seed shares one with
another, and all variants of a seed see the same ones in the same order. They are made in blocks of about 2,000 on the
device that trains, at a cost that `study.sweep.measure.stream_share` measures. What a step sees follows from the seed
and the number of the step, so that a run resumes without any state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from study.config import IMAGES_OF_A_STREAM, STREAMS, Data
from study.data import fractals
from study.data.batches import order
from study.errors import StudyError

BLOCK = 2048  # images made at once, or as many as make whole batches
assert STREAMS * IMAGES_OF_A_STREAM <= 2**48  # fractals have indices below 2^48


class Stream:
    """Batches of fresh fractals by the number of the step, as `Batches` has them of an array.

    Within a block the images are shuffled by `order`, so that the classes, which follow the index, do not take turns.
    """

    def __init__(self, data: Data, batch_size: int, seed: int, device: torch.device | str = "cpu"):
        if data.fractals is None:
            raise ValueError(f"{data.name} is no stream")
        if seed >= STREAMS:
            raise StudyError(f"seed {seed} has no stream of fractals: seeds are below {STREAMS:,}")
        self.fractals, self.side = data.fractals, data.image_size
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)
        self.batches_per_block = max(1, BLOCK // batch_size)
        self._block, self._images, self._labels = -1, torch.empty(0), torch.empty(0)  # the last one used

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step, counted from 0: uint8 images (B, 3, S, S) and int64 labels (B,), on the device."""
        block, batch = divmod(step, self.batches_per_block)
        if block != self._block:
            self._images, self._labels = self._make(self.indices(block))
            self._block = block
        chosen = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
        return self._images[chosen], self._labels[chosen]

    def indices(self, block: int) -> Tensor:
        """The training indices of a block in the order in which they are seen, int64."""
        size = self.batches_per_block * self.batch_size
        return self._first + block * size + order(self.seed, block, size)

    def first(self, size: int) -> tuple[Tensor, Tensor]:
        """The `size` training images of the lowest indices, with their labels: those that are seen first."""
        return self._make(self._first + torch.arange(size))

    @property
    def _first(self) -> int:
        return self.seed * IMAGES_OF_A_STREAM

    def _make(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return fractals.batch(indices, self.fractals, "train", self.side, self.device)
