"""What a network costs: parameters, multiply-adds and activation memory, counted on the network itself.

Everything is counted on torch's meta device, where nothing is computed (a network of the user's own that needs values
is run on the CPU). Multiply-adds are torch's flop counter, halved:
convolutions and matrix products of one image's forward pass in eval mode. Attention is counted as its formula is
written, for multiply-adds and memory alike, also where a fused kernel would take its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from study.config import OwnVariant, TimmVariant, Variant
from study.models import build, place
from study.own_files import blamed


@dataclass(frozen=True)
class NetworkCost:
    """Counts of one network at one image side."""

    parameters: int
    macs: int  # of one image's forward pass
    activation_bytes: int  # kept by autograd for the backward pass, an image's share


def network_cost(variant: Variant, classes: int, image_size: int) -> NetworkCost:
    """Count a variant.

    Activation memory is every distinct tensor that autograd keeps in a training step, parameters excluded, in fp32,
    for one image of a batch of 8.
    """
    network = skeleton(variant, classes, image_size)
    return NetworkCost(
        parameters=count_parameters(network),
        activation_bytes=activation_bytes(network, image_size),
        macs=macs_by_module(network, image_size)["Global"],
    )


def amount_of(variant: Variant, classes: int, image_size: int, match: Literal["parameters", "macs"]) -> int:
    """Parameters or multiply-adds of a variant: what sizes are matched in."""
    network = skeleton(variant, classes, image_size)
    return count_parameters(network) if match == "parameters" else macs_by_module(network, image_size)["Global"]


def skeleton(variant: Variant, classes: int, image_size: int) -> nn.Module:
    """The network without memory: all its tensors are on the meta device.

    The user's own network that cannot be built or run there is returned as it is, on the CPU, and counted by running.
    """
    if isinstance(variant, OwnVariant) or (isinstance(variant, TimmVariant) and variant.source):
        return _own_skeleton(variant, classes, image_size)
    with torch.device("meta"):
        return place(build(variant, classes, image_size), torch.device("meta"))


def _own_skeleton(variant: OwnVariant | TimmVariant, classes: int, image_size: int) -> nn.Module:
    try:
        with (meta := torch.device("meta")):
            network = place(build(variant, classes, image_size), meta)
        # a stranger's forward may make tensors: where it says nothing, on the meta device too
        network.register_forward_pre_hook(lambda *_: meta.__enter__(), prepend=True)
        network.register_forward_hook(lambda *_: meta.__exit__(None, None, None), always_call=True)
        macs_by_module(network, image_size)
        activation_bytes(network, image_size)  # in training mode, which may branch on values where the other does not
    except Exception:  # whatever a stranger's code does that needs values
        network = place(build(variant, classes, image_size), torch.device("cpu"))
        what = variant.path if isinstance(variant, OwnVariant) else f"timm:{variant.model}"
        with blamed(what, "the forward pass"):
            macs_by_module(network, image_size)
    return network


def _device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def count_parameters(module: nn.Module) -> int:
    """Distinct parameters, with and without gradient."""
    return sum(parameter.numel() for parameter in module.parameters())


def macs_by_module(network: nn.Module, image_size: int) -> dict[str, int]:
    """Multiply-adds within each module of a skeleton, by its path from the class name on, and in all: "Global"."""
    training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, image_size, image_size, device=_device_of(network)))
    network.train(training)
    return {name: sum(by_operator.values()) // 2 for name, by_operator in counter.get_flop_counts().items()}


def activation_bytes(network: nn.Module, image_size: int) -> int:
    """What autograd keeps of a skeleton's training step, for one image, in fp32: autocast knows no meta tensors."""
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, int] = {}
    tensors: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        tensors.append(tensor)  # alive until the end, so that no storage's address is used twice
        return tensor

    images = torch.zeros(8, 3, image_size, image_size, device=_device_of(network))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images.to(memory_format=torch.channels_last))
    return sum(kept.values()) // len(images)
