"""What each stage receives at the start of training: how large its signal is, and the gradient that comes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Signal:
    """At a module's output: the standard deviation of all its values, and the norm of an image's own gradient."""

    deviation: float
    gradient: float


def signals(network: nn.Module, modules: Iterable[str], image_size: int, batch: int = 32) -> dict[str, Signal]:
    """Signal and gradient at the outputs of `modules`, by name, in one training step's forward and backward pass.

    Images are white noise of mean 0 and standard deviation 1, (batch, 3, S, S), their labels random, both of a fixed
    seed; the network is in training mode, so that BatchNorm has the batch's own statistics. The loss is cross-entropy.
    The gradient is the Euclidean norm, over one image's part of the output, of the gradient of its own loss: the root
    mean square over images. (It does not depend on the batch, but for BatchNorm.) A module that is never called, or
    gives no tensor, is left out.

    The network's weights, statistics and mode, and torch's generator, are left as they were.
    """
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.randn(batch, 3, image_size, image_size, generator=generator)
    deviations: dict[str, float] = {}
    gradients: dict[str, float] = {}

    def watch(name: str, output: object) -> None:
        if not isinstance(output, Tensor):
            return
        deviations[name] = output.detach().float().std(correction=0).item()

        def keep(gradient: Tensor) -> None:
            # the loss is a mean over images: each has a part of 1 / batch in it
            gradients[name] = (gradient.float().square().sum() * batch).sqrt().item()

        if output.requires_grad:  # not of what is before the first parameter
            output.register_hook(keep)

    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: watch(name, output)
        )
        for name in modules
    ]
    state = {name: tensor.clone() for name, tensor in network.named_buffers()}
    training = network.training
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            logits_BK = network.train()(images_BCHW)
        labels_B = torch.randint(logits_BK.shape[1], (batch,), generator=generator)
        torch.autograd.grad(F.cross_entropy(logits_BK, labels_B), parameters, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
        network.train(training)
        with torch.no_grad():
            for name, tensor in network.named_buffers():
                tensor.copy_(state[name])
    return {name: Signal(deviations[name], gradients[name]) for name in deviations if name in gradients}
