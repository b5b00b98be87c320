"""Shuffled batches from arrays: no loader workers, no state. Of arrays on disk the next batch is read ahead."""

from __future__ import annotations

import warnings
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from study.data.arrays import AT_ONCE, Images, Labels, Rows


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


def tensor(images: Images) -> Tensor:
    """The same bytes as a tensor; of a read-only map too, which torch has a warning for: nothing here writes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(images)


class Batches:
    """Whole shuffled batches of one epoch after another; what remains of an epoch is left out.

    The order of an epoch is `order(seed, epoch, n)`: the same for every variant and device, so that the number of the
    step is all that a run needs in order to continue. Images are uint8 (N, C, H, W) and stay so.

    If they fit by `fits`, all images live on the device; else each batch is picked on the CPU, where the images may be
    a memory map, and copied. Batches that are read from a map or copied to a device are picked one ahead, by a thread,
    while the step before runs; on CUDA into pinned memory, so that the copy does not wait either.
    """

    def __init__(
        self,
        images: Tensor | Images | Rows,
        labels: Tensor | Labels,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
    ):
        if not 0 < batch_size <= len(images):
            raise ValueError(f"there is no whole batch of {batch_size} in {len(images)} images")
        self.device = torch.device(device)
        self.count = len(images)
        mapped = isinstance(images, Rows | np.memmap)
        self._rows = torch.from_numpy(images.rows) if isinstance(images, Rows) else None
        whole = images.images if isinstance(images, Rows) else images
        self.images = whole if isinstance(whole, Tensor) else tensor(whole)
        if self.images.device.type != self.device.type and fits(images.nbytes, self.device):
            self.images, self._rows = self._moved(images.nbytes), None
        self.labels = torch.as_tensor(labels).to(self.device)
        self.batch_size = batch_size
        self.seed = seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)  # the last one used, to save drawing it again
        ahead = self.images.device.type == "cpu" and (mapped or self.device.type != "cpu")
        self._thread = ThreadPoolExecutor(1, "next batch") if ahead else None
        self._next: tuple[int, Future[tuple[Tensor, Tensor]]] | None = None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.count // self.batch_size

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step, counted from 0 over all epochs: uint8 images (B, C, H, W) and int64 labels (B,)."""
        if self._thread is None:
            images_BCHW, chosen_B = self._pick(step)
        else:
            known = self._next[1] if self._next is not None and self._next[0] == step else None
            images_BCHW, chosen_B = (known or self._thread.submit(self._pick, step)).result()
            self._next = step + 1, self._thread.submit(self._pick, step + 1)
        labels_B = self.labels.index_select(0, chosen_B.to(self.device))
        return images_BCHW.to(self.device, non_blocking=images_BCHW.is_pinned()), labels_B

    def _pick(self, step: int) -> tuple[Tensor, Tensor]:
        """Images of a step's batch, and their positions. Only ever called by one thread."""
        epoch, batch = divmod(step, len(self))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, order(self.seed, epoch, self.count).to(self.images.device)
        chosen_B = self._order[batch * self.batch_size : (batch + 1) * self.batch_size]
        rows_B = chosen_B if self._rows is None else self._rows.index_select(0, chosen_B)
        out = torch.empty(
            (self.batch_size, *self.images.shape[1:]),
            dtype=self.images.dtype,
            device=self.images.device,
            pin_memory=self.device.type == "cuda" and self.images.device.type == "cpu",
        )
        # index_select copies rows of bytes about ten times as fast as images[chosen] on the CPU
        return torch.index_select(self.images, 0, rows_B, out=out), chosen_B

    def _moved(self, size: int) -> Tensor:
        """All images on the device, copied in pieces: of a map no second copy is made on the way."""
        moved = torch.empty((self.count, *self.images.shape[1:]), dtype=self.images.dtype, device=self.device)
        step = max(1, AT_ONCE * self.count // max(1, size))
        for start in range(0, self.count, step):
            part = slice(start, start + step)
            moved[part] = self.images[part] if self._rows is None else self.images.index_select(0, self._rows[part])
        return moved
