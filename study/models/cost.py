"""What a network costs: parameters, multiply-adds and activation memory, counted on the network itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from study.config import Variant
from study.models import build, place


@dataclass(frozen=True)
class NetworkCost:
    """Counts of one network at one image side."""

    parameters: int
    macs: int  # of one image's forward pass: torch's flop counter, halved (convolutions and matrix products)
    activation_bytes: int  # kept by autograd for the backward pass, an image's share


def network_cost(variant: Variant, classes: int, image_size: int, precision: str = "fp32") -> NetworkCost:
    """Count a variant without computing anything (on torch's meta device).

    Activation memory is every distinct tensor that autograd keeps in a training step, parameters excluded, at
    `precision`, for one image of a batch of 8.
    """
    with torch.device("meta"):
        network = place(build(variant, classes, image_size), torch.device("meta"))
        own = {p.untyped_storage()._cdata for p in network.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                kept[storage._cdata] = storage.nbytes()
            tensors.append(tensor)  # alive until the end, so that no storage's address is used twice
            return tensor

        tensors: list[torch.Tensor] = []
        images = torch.empty(8, 3, image_size, image_size).to(memory_format=torch.channels_last)
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"),
        ):
            network(images)
        network.eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(images[:1])
    return NetworkCost(
        parameters=sum(p.numel() for p in network.parameters()),
        macs=counter.get_total_flops() // 2,
        activation_bytes=sum(kept.values()) // len(images),
    )
