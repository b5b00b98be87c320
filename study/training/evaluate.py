"""Loss and accuracy in eval mode: one function, for probe and test images alike."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.data.arrays import Images, Levels, Rows, count_levels
from study.data.batches import tensor


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and standard deviation of the training images, in grey levels: (1, C, 1, 1) each."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, images_NCHW: Tensor, device: torch.device) -> Normalisation:
        """Measured exactly, from each channel's histogram of 256 levels. A constant channel gets deviation 1."""
        return cls.from_levels(count_levels(images_NCHW.cpu().numpy()), device)

    @classmethod
    def from_levels(cls, levels_C256: Levels, device: torch.device) -> Normalisation:
        """From how often each grey level occurs in each channel, as a prepared data set knows it (`Dataset.levels`)."""
        levels = torch.arange(256, dtype=torch.float64)
        moments = []
        for counts in torch.from_numpy(levels_C256).double():
            mean = (counts * levels).sum() / counts.sum()
            variance = (counts * (levels - mean) ** 2).sum() / counts.sum()
            moments.append((mean, variance.sqrt() if variance > 0 else torch.ones_like(variance)))
        mean_1C11, std_1C11 = (
            torch.stack(m).float().view(1, len(levels_C256), 1, 1).to(device) for m in zip(*moments, strict=True)
        )
        return cls(mean_1C11, std_1C11)

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """uint8 images -> normalised float32 in channels_last memory."""
        images = images_BCHW.to(torch.float32, memory_format=torch.channels_last)
        return images.sub_(self.mean).div_(self.std)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """bf16 autocast, or nothing for fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    images_NCHW: Tensor | Images | Rows,
    labels_N: Tensor,
    normalise: Normalisation,
    precision: str,
    batch_size: int = 500,
) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy (fraction) over uint8 images, in eval mode.

    Sums are taken in float64 and every image counts once, so the batch size does not matter beyond rounding. The
    network is left in the mode in which it came.
    """
    device = normalise.mean.device
    was_training = network.training
    network.eval()
    loss = torch.zeros((), dtype=torch.float64)
    correct = torch.zeros((), dtype=torch.int64)
    for start in range(0, len(labels_N), batch_size):
        some = images_NCHW[start : start + batch_size]
        images = (some if isinstance(some, Tensor) else tensor(some)).to(device)
        labels_B = labels_N[start : start + batch_size].to(device)
        with autocast(precision, device):
            logits_BK = network(normalise(images))
        losses_B = F.cross_entropy(logits_BK.float(), labels_B, reduction="none")
        loss += losses_B.cpu().double().sum()
        correct += (logits_BK.argmax(1) == labels_B).sum().cpu()
    network.train(was_training)
    return float(loss) / len(labels_N), float(correct) / len(labels_N)
