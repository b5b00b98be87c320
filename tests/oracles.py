"""What several tests hold the networks against."""

from __future__ import annotations

import torch
from torch import nn


def randomise(network: nn.Module, seed: int) -> nn.Module:
    """Every parameter and every running statistic random, so that no two can be mistaken for each other; float64."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double()
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_scale = parameter.ndim == 1 and name == "weight"
            parameter.data.normal_(float(is_scale), 0.1, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network
