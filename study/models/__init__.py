"""Networks: `build` makes any variant, with its own stream of random numbers for the initial weights."""

from __future__ import annotations

import torch
from torch import nn

from study.config import CoAtNetVariant, CoaTVariant, OwnVariant, TimmVariant, Variant, ViTRelVariant
from study.models.coat import CoaT, check_sides
from study.models.coatnet import CoAtNet, ViTRel


def build(variant: Variant, classes: int, image_size: int, seed: int = 0) -> nn.Module:
    """The network of `variant`: images (B, 3, S, S) with S = `image_size` -> logits (B, `classes`).

    The initial weights depend on `seed` alone: they are drawn from a generator of their own, and torch's default
    generator is left as it was. Raises StudyError for a side that does not divide, for a missing timm, and for what is
    wrong with a network of the user's own.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if isinstance(variant, OwnVariant):
            from study.models.own_networks import own_network

            return own_network(variant, classes, image_size)
        if isinstance(variant, TimmVariant):
            from study.models.timm_networks import timm_network

            return timm_network(variant, classes, image_size)
        if isinstance(variant, CoaTVariant):
            check_sides(variant.patch, image_size, image_size)
            return CoaT(**variant.model_dump(exclude={"family"}), classes=classes)
        if isinstance(variant, CoAtNetVariant):
            return CoAtNet(variant, classes, image_size)
        assert isinstance(variant, ViTRelVariant)
        return ViTRel(variant, classes, image_size)


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, its convolutions in channels_last memory (what every device here is fastest with)."""
    network.to(device)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
