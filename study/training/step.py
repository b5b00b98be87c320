"""One update of the weights: the same for every variant, in training, in measuring and in the benchmark."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.config import Training
from study.training.evaluate import autocast
from study.training.optimizer import make_optimizer
from study.training.start import freeze


class Stepper:
    """Forward at the recipe's precision, cross-entropy in float32, backward, clipping of the gradient's norm, AdamW.

    With `training.freeze` the network is put in eval mode and only its classifier is trained.
    """

    def __init__(self, network: nn.Module, training: Training):
        self.network, self.training = network, training
        if training.freeze:
            freeze(network)
        self.forward = torch.compile(network) if training.compile else network
        self.optimizer = make_optimizer(network, training)
        self.parameters = list(network.parameters())
        self.device = self.parameters[0].device

    def step(self, images_BCHW: Tensor, labels_B: Tensor, lr: float) -> Tensor:
        """Update on normalised images (B, C, H, W) at learning rate `lr`; the loss of the batch, on its device."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with autocast(self.training.precision, self.device):
            logits_BK = self.forward(images_BCHW)
        loss = F.cross_entropy(logits_BK.float(), labels_B)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.training.clip)
        self.optimizer.step()
        return loss.detach()
