"""The published configurations as tables of data, and what was published about them.

CoAtNet: arXiv 2106.04803, Tables 3, 11 and 12 (configurations), 4, 5, 13 and 14 (figures). Sizes include the dense
layer before the classifier, without which the printed counts of CoAtNet-0, -2, -3 and -4 are missed. `coatnet_2_v1`,
`coatnet_2_v2` and `coatnet_3_v1` are Table 7's other distributions of the same blocks over S2 and S3; the paper gives
their accuracies and no sizes.
CoaT: the official code, mlpc-ucsd/CoaT (configurations, parameters, accuracies); the multiply-adds are timm's counts.

What the printed widths give: every count comes out as printed within 0.7 % but one (167M for the 168M of CoAtNet-3, as
the camera-ready has it; 687 to 689M, by side, for the 688M of CoAtNet-5). Table 12 prints a width of 2048 for S4 of
CoAtNet-6, with which it has 1.348B parameters at 224 pixels; with 3072, double the width of S3 as the paper's rule has
it, there are 1.471B, and the paper says 1.47B. `coatnet_6` therefore has 3072.
"""

from __future__ import annotations

from dataclasses import dataclass

from study.config import Blocks, CoAtNetVariant, CoaTVariant

Four = tuple[int, int, int, int]
Five = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Published:
    """A published network and what its authors report of it.

    `parameters` as printed, for 1000 classes; `macs` (multiply-adds of one image) by image side; `exact_parameters`
    where code was published; `source` of the figures. What was not published is None or missing.

    The paper calls its multiply-adds FLOPs. They lie 1 to 4 % above a count of convolutions and matrix products, the
    more the larger the image: softmax and bias, which grow with the square of the positions, must be counted too.
    """

    variant: CoAtNetVariant | CoaTVariant
    source: str
    parameters: float | None
    macs: dict[int, float]
    exact_parameters: int | None = None


def _coatnet(
    source: str,
    depths: Five,
    widths: Five,
    parameters: float | None = None,
    macs: dict[int, float] | None = None,
    head_dim: int = 32,
    split: tuple[int, int] | None = None,
) -> Published:
    blocks, strides = Blocks(dense_head=True, head_dim=head_dim), (2, 2, 2, 2, 2)
    variant = CoAtNetVariant(
        layout="C-C-T-T", depths=depths, widths=widths, strides=strides, split=split, blocks=blocks
    )
    return Published(variant, source, parameters, macs or {})


_4_13, _4_14 = "Tables 4 and 13", "Tables 4 and 14"

COATNET = {  # source; depths and widths of S0-S4; parameters as printed, multiply-adds
    "coatnet_0": _coatnet(_4_13, (2, 2, 3, 5, 2), (64, 96, 192, 384, 768), 25e6, {224: 4.2e9, 384: 13.4e9}),
    "coatnet_1": _coatnet(_4_13, (2, 2, 6, 14, 2), (64, 96, 192, 384, 768), 42e6, {224: 8.4e9, 384: 27.4e9}),
    "coatnet_2": _coatnet(
        _4_13, (2, 2, 6, 14, 2), (128, 128, 256, 512, 1024), 75e6, {224: 15.7e9, 384: 49.8e9, 512: 96.7e9}
    ),
    "coatnet_3": _coatnet(  # parameters of arXiv v2; the NeurIPS camera-ready prints 167M
        _4_13, (2, 2, 6, 14, 2), (192, 192, 384, 768, 1536), 168e6, {224: 34.7e9, 384: 107.4e9, 512: 203.1e9}
    ),
    "coatnet_4": _coatnet(_4_14, (2, 2, 12, 28, 2), (192, 192, 384, 768, 1536), 275e6, {384: 189.5e9, 512: 360.9e9}),
    "coatnet_5": _coatnet("Table 5", (2, 2, 12, 28, 2), (192, 256, 512, 1280, 2048), 688e6, {512: 812e9}, head_dim=64),
    "coatnet_6": _coatnet(
        "Table 5", (2, 2, 4, 42, 2), (192, 192, 384, 1536, 3072), 1.47e9, {512: 1521e9}, head_dim=128, split=(8, 768)
    ),
    "coatnet_7": _coatnet(
        "Table 5", (2, 2, 4, 42, 2), (192, 256, 512, 2048, 3072), 2.44e9, {512: 2586e9}, head_dim=128, split=(8, 1024)
    ),
    "coatnet_2_v1": _coatnet("Table 7, V1", (2, 2, 2, 18, 2), (128, 128, 256, 512, 1024)),
    "coatnet_2_v2": _coatnet("Table 7, V2", (2, 2, 8, 12, 2), (128, 128, 256, 512, 1024)),
    # trained on ImageNet-21K: 53.0 there, 87.4 fine-tuned
    "coatnet_3_v1": _coatnet("Table 7, V1", (2, 2, 2, 18, 2), (192, 192, 384, 768, 1536)),
}


def _coat(
    parallel_depth: int,
    widths: Four,
    depths: Four,
    mlp_ratios: Four,
    parameters: float,
    macs: dict[int, float],
    exact_parameters: int,
) -> Published:
    variant = CoaTVariant(widths=widths, depths=depths, parallel_depth=parallel_depth, mlp_ratios=mlp_ratios)
    source = "mlpc-ucsd/CoaT, README; multiply-adds counted by timm"
    return Published(variant, source, parameters, macs, exact_parameters)


COAT = {  # parallel depth, widths, depths, MLP ratios; parameters as printed, multiply-adds, parameters of the code
    "coat_tiny": _coat(6, (152, 152, 152, 152), (2, 2, 2, 2), (4, 4, 4, 4), 5.5e6, {224: 4.35e9}, 5_498_844),
    "coat_mini": _coat(6, (152, 216, 216, 216), (2, 2, 2, 2), (4, 4, 4, 4), 10e6, {224: 6.82e9}, 10_337_308),
    "coat_small": _coat(6, (152, 320, 320, 320), (2, 2, 2, 2), (4, 4, 4, 4), 22e6, {224: 12.61e9}, 21_694_212),
    "coat_lite_tiny": _coat(0, (64, 128, 256, 320), (2, 2, 2, 2), (8, 8, 4, 4), 5.7e6, {224: 1.60e9}, 5_722_856),
    "coat_lite_mini": _coat(0, (64, 128, 320, 512), (2, 2, 2, 2), (8, 8, 4, 4), 11e6, {224: 2.00e9}, 11_012_584),
    "coat_lite_small": _coat(0, (64, 128, 320, 512), (3, 4, 6, 3), (8, 8, 4, 4), 20e6, {224: 3.96e9}, 19_839_528),
    "coat_lite_medium": _coat(
        0, (128, 256, 320, 512), (3, 6, 10, 8), (4, 4, 4, 4), 45e6, {224: 9.81e9, 384: 28.73e9}, 44_572_456
    ),
}

PUBLISHED = {**COATNET, **COAT}
