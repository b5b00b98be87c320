"""Networks of timm with the options that make them ours: what the benchmark and the tests hold ours against."""

from __future__ import annotations

import importlib
import math
from functools import partial
from typing import Any

from torch import nn

from study.config import CoAtNetVariant, Variant, ViTRelVariant
from study.errors import StudyError
from study.models.timm_networks import import_timm


def timm_coatnet(variant: Variant, classes: int, image_size: int) -> nn.Module:
    """timm's network with the options that make it the CoAtNet of `variant` (study/models/interop.py maps its weights).

    timm strides by 2 at every stage. Strides of 1 in S0 and in an S1 of MBConv blocks are set afterwards, on a network
    that was built for a larger side, so that its bias tables are those of the stages' real sides.

    Raises StudyError for what timm cannot express.
    """
    if not isinstance(variant, CoAtNetVariant):
        raise StudyError(f"timm's CoAtNet is no {variant.family}")
    _check_coatnet(variant)
    import_timm()
    maxxvit = importlib.import_module("timm.models.maxxvit")
    blocks = variant.blocks
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
    built_for = image_size * 32 // math.prod(variant.strides)
    network: nn.Module = maxxvit.MaxxVit(options, img_size=built_for, num_classes=classes)
    parts: Any = network
    if variant.strides[0] == 1:
        parts.stem.conv1.stride = (1, 1)
    if variant.strides[1] == 1:
        block = parts.stages[0].blocks[0]
        strided = block.conv1_1x1 if blocks.stride_in == "expand" else block.conv2_kxk
        strided.stride = (1, 1)
        block.shortcut.pool = nn.Identity()
    return network


def _check_coatnet(variant: CoAtNetVariant) -> None:
    blocks = variant.blocks
    widths: dict[str, list[int]] = {"C": [], "T": []}
    for width, letter in zip(variant.widths[1:], variant.layout[::2], strict=True):
        widths[letter].append(width)
    strides_fit = variant.strides[0] in (1, 2) and variant.strides[1] in (1, 2) and variant.strides[2:] == (2, 2, 2)
    cannot = {
        "a stem of other than two convolutions": variant.depths[0] != 2,
        f"strides of {variant.strides}": not strides_fit or (variant.strides[1] == 1 and variant.layout[0] == "T"),
        "stages of two widths": variant.split is not None,
        f"heads of {blocks.head_dim} in widths of {widths['T']}": any(w % blocks.head_dim for w in widths["T"]),
        "expanded widths that 8 does not divide": any(blocks.expansion * w % 8 for w in widths["C"]),
        f"{blocks.attention} attention": blocks.attention != "global",
        "a bias after the softmax": blocks.relative_bias == "post",
        "absolute positions": blocks.absolute_positions,
    }
    if found := [what for what, does_not_fit in cannot.items() if does_not_fit]:
        raise StudyError(f"timm's CoAtNet cannot have {' or '.join(found)}")


def timm_vit_rel(variant: Variant, classes: int, image_size: int) -> nn.Module:
    """timm's Vision Transformer with a relative bias, with the options that make it the ViT_REL of `variant`.

    Raises StudyError for what timm cannot express.
    """
    if not isinstance(variant, ViTRelVariant):
        raise StudyError(f"timm's Vision Transformer with a relative bias is no {variant.family}")
    blocks, hidden = variant.blocks, variant.hidden or variant.blocks.expansion * variant.width
    plain = blocks.relative_bias == "pre" and blocks.attention == "global" and not blocks.absolute_positions
    if blocks.dense_head or not plain or variant.width % blocks.head_dim:
        raise StudyError(
            "timm's Vision Transformer with a relative bias cannot have a dense head, another attention or bias, "
            f"absolute positions, or heads of {blocks.head_dim} in a width of {variant.width}"
        )
    import_timm()
    relpos = importlib.import_module("timm.models.vision_transformer_relpos")
    network: nn.Module = relpos.VisionTransformerRelPos(
        img_size=image_size,
        patch_size=variant.patch,
        num_classes=classes,
        embed_dim=variant.width,
        depth=variant.depth,
        num_heads=variant.width // blocks.head_dim,
        mlp_ratio=(hidden + 0.5) / variant.width,  # timm multiplies and rounds down
        init_values=None,
        rel_pos_type="bias",
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    )
    return network
