"""Networks: `build` makes any variant, with its own stream of random numbers for the initial weights."""

from __future__ import annotations

import torch
from torch import nn

from study.config import CoAtNetVariant, CoaTVariant, TimmVariant, Variant, ViTRelVariant
from study.errors import StudyError


def build(variant: Variant, classes: int, image_size: int, seed: int = 0) -> nn.Module:
    """The network of `variant`: images (B, 3, S, S) with S = `image_size` -> logits (B, `classes`).

    The initial weights depend on `seed` alone: they are drawn from a generator of their own, and torch's default
    generator is left as it was. Raises StudyError for a side that does not divide, and for a missing timm.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(variant, TimmVariant):
            return _timm(variant, classes, image_size)
        if isinstance(variant, CoaTVariant):
            from study.models.coat import CoaT

            network = CoaT(**variant.model_dump(exclude={"family"}), classes=classes)
            network.check_sides(image_size, image_size)
            return network
        from study.models.coatnet import CoAtNet, ViTRel

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


def _timm(variant: TimmVariant, classes: int, image_size: int) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise StudyError("timm:NAME variants need timm: install the extra, pip install 'study[timm]'") from None
    if not timm.is_model(variant.model):
        raise StudyError(f"timm {timm.__version__} has no model named {variant.model!r}: see timm.list_models()")
    try:
        return timm.create_model(variant.model, num_classes=classes, img_size=image_size)
    except TypeError:  # networks without position tables, such as ResNets, take any side and no img_size
        return timm.create_model(variant.model, num_classes=classes)
