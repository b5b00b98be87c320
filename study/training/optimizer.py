"""AdamW and the schedule of its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from study.config import Training


def make_optimizer(network: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW on the parameters that are not frozen; weight decay, if any, spares biases and norms, and more by name.

    That is, parameters of fewer than two axes, and those that the network's method `no_weight_decay()` names, if it has
    one: ours name their position tables and class tokens, as the official codes of MaxViT and CoaT do, and timm's too.
    The fused step is the same arithmetic in one kernel: used where torch has it, on CPU and CUDA.
    """
    find = getattr(network, "no_weight_decay", None)
    named = set(find()) if callable(find) else set()
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        group = spared if parameter.ndim < 2 or name in named else decayed
        group.append(parameter)
    groups = [{"params": decayed, "weight_decay": training.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    fused = next(network.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=training.lr, betas=training.betas, fused=fused
    )


def learning_rate(training: Training, step: int, steps: int) -> float:
    """Rate of update number `step` (counted from 0) of `steps`: linear warm-up, then cosine decay or constant.

    The peak is reached at the last warm-up step; the last update has `min_lr_ratio` of it (CoAtNet, Table 10: 1e-5 of
    1e-3).

    >>> recipe = Training(lr=1.0, warmup=0.1, min_lr_ratio=0.01)
    >>> [round(learning_rate(recipe, step, 100), 3) for step in (0, 9, 54, 99)]
    [0.1, 1.0, 0.505, 0.01]
    """
    warmup = round(training.warmup * steps)
    if step < warmup:
        return training.lr * (step + 1) / warmup
    if training.decay == "constant":
        return training.lr
    progress = (step + 1 - warmup) / max(1, steps - warmup)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return training.lr * (training.min_lr_ratio + (1 - training.min_lr_ratio) * cosine)
