"""Starting from trained weights: fine-tuning, and linear probing.

Transfer in the paper (arXiv 2106.04803, section 2.2, Table 2) is fine-tuning on other images, at the side of
pretraining and at a larger one. The new images are normalised by their own statistics, as in training from scratch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from study.config import OwnVariant, Start, TimmVariant, Variant
from study.errors import StudyError
from study.models import build
from study.models.interop import classifier_names, load_weights, read_weights
from study.models.resize import resize


def build_from(start: Start, folder: Path, variant: Variant, classes: int, image_size: int, seed: int) -> nn.Module:
    """The network of `variant` with the weights of `start`, its position tables resized to `image_size`.

    Their path is seen from the run's `folder`, unless it is absolute.
    The classifier is new: (B, `classes`) outputs, drawn from `seed` as in training from scratch. Raises StudyError if
    the file is missing, if it has changed since the run was planned, or if its weights do not fit.
    """
    path = (folder / start.path).resolve()
    if not path.is_file():
        raise StudyError(
            f"the weights that this run starts from are not at {path}: bring them back, or give study transfer the "
            "folder in which they lie now"
        )
    if (found := fingerprint(read_weights(path))) != start.weights:
        raise StudyError(
            f"the weights in {path} are not those that this run was planned with (their fingerprint is {found}, not "
            f"{start.weights}): bring the old file back, or give the same study transfer again for a run from the new"
        )
    ours = not isinstance(variant, TimmVariant | OwnVariant)  # the others take any side if they have no position tables
    network = build(variant, classes, start.image_size if ours else image_size, seed)
    load_weights(network, path, new_classifier=True)
    return resize(network, image_size) if ours else network


def freeze(network: nn.Module) -> None:
    """Leave only the classifier to train (linear probing).

    The network is put in eval mode, so that BatchNorm keeps its statistics and nothing is dropped.
    """
    trained = classifier_names(network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
    network.eval()


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """12 hexadecimal digits of SHA-256 over names, types, shapes and values: whichever file they are stored in."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()[:12]
