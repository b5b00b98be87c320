"""Shuffled batches from arrays: no loader workers, no state."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from study.data.arrays import Images, Labels


def order(seed: int, epoch: int, n: int) -> Tensor:
    """The order of an epoch, a permutation of 0 to n-1 as int64 on the CPU: a pure function of its arguments."""
    mixed = np.random.SeedSequence([seed, epoch]).generate_state(1)[0]
    return torch.randperm(n, generator=torch.Generator().manual_seed(int(mixed)))


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes shall live on the device: at most half of what is free there. The CPU's own always do."""
    if device.type == "cuda":
        return size <= torch.cuda.mem_get_info(device)[0] // 2
    if device.type == "mps":
        return size <= (torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()) // 2
    return True


class Batches:
    """Whole shuffled batches of one epoch after another; what remains of an epoch is left out.

    The order of an epoch is `order(seed, epoch, n)`: the same for every variant and device, so that the number of the
    step is all that a run needs in order to continue. Images are uint8 (N, C, H, W) and stay so.

    If they fit by `fits`, all images live on the device; else each batch is picked on the CPU, where the images may be
    a memory map, and copied.
    """

    def __init__(
        self,
        images: Tensor | Images,
        labels: Tensor | Labels,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
    ):
        if not 0 < batch_size <= len(images):
            raise ValueError(f"there is no whole batch of {batch_size} in {len(images)} images")
        self.device = torch.device(device)
        images = torch.as_tensor(images)
        self.images = images.to(self.device) if fits(images.nbytes, self.device) else images
        self.labels = torch.as_tensor(labels).to(self.device)
        self.batch_size = batch_size
        self.seed = seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)  # the last one used, to save drawing it again

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.images) // self.batch_size

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step, counted from 0 over all epochs: uint8 images (B, C, H, W) and int64 labels (B,)."""
        epoch, batch = divmod(step, len(self))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, order(self.seed, epoch, len(self.images)).to(self.images.device)
        chosen_B = self._order[batch * self.batch_size : (batch + 1) * self.batch_size]
        # index_select copies rows of bytes about ten times as fast as images[chosen] on the CPU
        images_BCHW = self.images.index_select(0, chosen_B).to(self.device)
        return images_BCHW, self.labels.index_select(0, chosen_B.to(self.device))
