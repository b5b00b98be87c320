"""Other people's networks, imported so that tests can compare ours with them."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from types import ModuleType

import torch
from torch import nn

from study.config import CoAtNetVariant, ViTRelVariant

# torchvision names these operators while it is imported, before it knows whether its compiled library was loaded.
TORCHVISION_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[torch.library.Library] = []  # an operator lives as long as the Library that defines it


def import_timm() -> ModuleType:
    """timm, also where torchvision was compiled for another torch and so fails to import.

    A torchvision for CUDA beside a CPU build of torch raises `operator torchvision::nms does not exist` and takes
    timm with it, although no network of timm calls these operators. Only then are their signatures registered, without
    a kernel, and the import is tried once more; where torchvision works, nothing is registered.
    """
    try:
        return importlib.import_module("timm")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, signature in TORCHVISION_OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(signature)
    _libraries.append(library)
    return importlib.import_module("timm")


def timm_coatnet(variant: CoAtNetVariant, classes: int, image_size: int) -> nn.Module:
    """timm's network with the options that make it the CoAtNet of `variant`, where timm has such options."""
    blocks = variant.blocks
    assert variant.depths[0] == 2, "timm's stem has two convolutions"
    assert variant.strides == (2, 2, 2, 2, 2), "timm strides by 2 in every stage"
    assert variant.split is None, "timm has no stage of two widths"
    assert blocks.attention == "global"
    assert blocks.relative_bias != "post"
    assert not blocks.absolute_positions
    maxxvit = importlib.import_module("timm.models.maxxvit")
    convolutions = maxxvit.MaxxVitConvCfg(
        expand_ratio=blocks.expansion,
        stride_mode="1x1" if blocks.stride_in == "expand" else "dw",
        pool_type="max2",
        attn_layer="se" if blocks.se_ratio else "",
        attn_ratio=blocks.se_ratio,
        norm_layer="batchnorm2d" if blocks.conv_norm == "batch" else "layernorm2d",
        norm_eps=1e-3 if blocks.conv_norm == "batch" else 1e-5,
    )
    attention = maxxvit.MaxxVitTransformerCfg(
        dim_head=blocks.head_dim,
        expand_ratio=blocks.expansion,
        pool_type="max2",
        rel_pos_type="bias" if blocks.relative_bias == "pre" else "",
        norm_eps=1e-5,
    )
    options = maxxvit.MaxxVitCfg(
        embed_dim=variant.widths[1:],
        depths=variant.depths[1:],
        block_type=tuple(variant.layout.split("-")),
        stem_width=variant.widths[0],
        stem_bias=True,
        conv_cfg=convolutions,
        transformer_cfg=attention,
        head_hidden_size=variant.widths[4] if blocks.dense_head else None,
    )
    network: nn.Module = maxxvit.MaxxVit(options, img_size=image_size, num_classes=classes)
    return network


def timm_vit_rel(variant: ViTRelVariant, classes: int, image_size: int) -> nn.Module:
    """timm's Vision Transformer with a relative bias, with the options that make it the ViT_REL of `variant`."""
    blocks = variant.blocks
    assert not blocks.dense_head
    relpos = importlib.import_module("timm.models.vision_transformer_relpos")
    network: nn.Module = relpos.VisionTransformerRelPos(
        img_size=image_size,
        patch_size=variant.patch,
        num_classes=classes,
        embed_dim=variant.width,
        depth=variant.depth,
        num_heads=variant.width // blocks.head_dim,
        mlp_ratio=blocks.expansion,
        init_values=None,
        rel_pos_type="bias",
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    )
    return network


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
