"""A trained network at another image side: position tables resized bilinearly (arXiv 2106.04803, appendix A.1).

Only tables depend on the side: a head's relative bias, (2H-1) x (2W-1), and absolute positions, H x W (`resample` in
study/models/attention.py). All other weights stay as they are. CoaT has no tables, since its position encodings are
convolutions, and is only asked whether the side fits. Strides and patches stay too: a larger side means more positions,
not larger ones.
"""

from __future__ import annotations

import torch
from torch import nn

from study.errors import StudyError
from study.models import build
from study.models.attention import Attention
from study.models.blocks import PositionTable
from study.models.coat import CoaT, check_sides
from study.models.coatnet import CoAtNet, ViTRel


def resize(network: nn.Module, image_size: int) -> nn.Module:
    """Take `network` to images of another side, in place, and return it.

    At the side that it has, nothing changes. Resized tables are new parameters: make a new optimizer. Raises StudyError
    if the side does not divide, or for a network that is not CoAtNet, ViT_REL or CoaT; the network is then unchanged.
    """
    if isinstance(network, CoaT):
        check_sides(network.patch, image_size, image_size)
        return network
    if not isinstance(network, CoAtNet | ViTRel):
        raise StudyError(f"a {type(network).__name__} cannot be taken to another image side: build it for that side")
    with torch.device("meta"):
        target = build(network.variant, 1, image_size)  # knows the sides of its stages
    for name, module in network.named_modules():
        there = target.get_submodule(name)
        if isinstance(module, Attention) and isinstance(there, Attention) and module.side != there.side:
            module.resize(there.side)
        elif isinstance(module, PositionTable) and isinstance(there, PositionTable):
            height, columns, _ = there.table_HWC.shape
            if module.table_HWC.shape != there.table_HWC.shape:
                module.resize((height, columns))
    return network
