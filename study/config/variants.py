"""Variants: networks that can be built, and how users name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from study.config.base import Frozen
from study.errors import StudyError

LAYOUTS = ("C-C-C-C", "C-C-C-T", "C-C-T-T", "C-T-T-T")
STUDY_VARIANTS = ("ViT_REL", *LAYOUTS)

DEEPEST = 256  # blocks of a network: the deepest that were published (CoAtNet-6 and -7) have 60

Depth = Annotated[int, Field(ge=1, le=DEEPEST, description="blocks of a stage")]
Width = Annotated[int, Field(ge=1, le=2**14, description="channels of a stage")]
Stride = Annotated[int, Field(ge=1, le=1024)]
Ratio = Annotated[int, Field(ge=1, le=64, description="hidden width over a block's width")]


class Blocks(Frozen):
    """How the blocks are built: the switches that the paper's ablations turn. The defaults are the paper's.

    Sources: CoAtNet (arXiv 2106.04803) section 2, appendix A.1 and Tables 3, 6, 8, 9.
    """

    in_every_id: ClassVar = frozenset({
        "head_dim", "expansion", "se_ratio", "relative_bias", "absolute_positions", "attention",
        "window", "conv_norm", "stride_in", "dense_head", "stochastic_depth", "attention_first",
    })  # fmt: skip

    head_dim: int = Field(
        default=32, ge=1, le=2**14, description="width of an attention head (Table 3; Table 8 tries 64)"
    )
    expansion: int = Field(
        default=4, ge=1, le=64, description="hidden width over the block's output width, MBConv and FFN"
    )
    se_ratio: float = Field(default=0.25, ge=0, le=1, description="squeeze width over output width; 0 is no SE")
    relative_bias: Literal["pre", "post", "none"] = Field(
        default="pre", description="relative attention before or after the softmax (Eq. 3), or none (Table 6)"
    )
    absolute_positions: bool = Field(default=False, description="a learned position added before the first T block")
    attention: Literal["global", "local", "linear"] = Field(default="global", description="section 2.2: A, B, C")
    window: int = Field(default=7, ge=1, le=2047, description="side of the neighbourhood of local attention, odd")
    conv_norm: Literal["batch", "layer"] = Field(default="batch", description="norm in MBConv (Table 8)")
    stride_in: Literal["expand", "depthwise"] = Field(
        default="expand", description="stride in the first 1x1 (Eq. 5) or in the depthwise convolution (Table 9)"
    )
    dense_head: bool = Field(default=False, description="pool, norm, dense, tanh before the classifier, as in MaxViT")
    stochastic_depth: float = Field(default=0.0, ge=0, lt=1, description="drop rate of the last block; 0 in the study")
    attention_first: bool = Field(default=False, description="allow T before C, against the paper's constraint")
    initialisation: Literal["timm", "xavier", "fan_in", "normal"] = Field(
        default="timm", description="how initial weights are drawn: `initialise` in study/models/coatnet.py"
    )
    batch_norm_momentum: float = Field(
        default=0.1, gt=0, le=1, description="weight of a batch in BatchNorm's running statistics, as torch counts it"
    )
    batch_norm_epsilon: float = Field(default=1e-3, gt=0, le=1, description="added to BatchNorm's variance")

    @model_validator(mode="after")
    def _window_is_odd(self) -> Self:
        if self.window % 2 == 0:
            raise ValueError("window must be odd: a neighbourhood has a centre")
        return self


class CoAtNetVariant(Frozen):
    """A multi-stage network: stages S0 (stem) to S4, each with its depth, width and stride.

    `layout` names S1 to S4, for example `C-C-T-T`.
    """

    in_every_id: ClassVar = frozenset({"layout", "depths", "widths", "strides", "split", "blocks"})

    family: Literal["coatnet"] = "coatnet"
    layout: str
    depths: tuple[Depth, Depth, Depth, Depth, Depth]
    widths: tuple[Width, Width, Width, Width, Width]
    strides: tuple[Stride, Stride, Stride, Stride, Stride]
    split: tuple[Depth, Width] | None = Field(
        default=None, description="CoAtNet-6/7: (depth, width) of the MBConv blocks that open S3 before its T blocks"
    )
    blocks: Blocks = Blocks()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not re.fullmatch(r"[CT](-[CT]){3}", self.layout):
            raise ValueError(f"layout {self.layout!r} is not four letters C or T, such as C-C-T-T")
        if "T-C" in self.layout and not self.blocks.attention_first:
            raise ValueError(
                f"{self.layout} has T before C; the paper (section 2.2) constrains convolution stages to come before "
                "Transformer stages (set attention_first=true to insist)"
            )
        if sum(self.depths) > DEEPEST:
            raise ValueError(f"depths add up to {sum(self.depths)} blocks: networks have {DEEPEST} at the most")
        return self


class ViTRelVariant(Frozen):
    """ViT_REL: a patch stem, then Transformer blocks with the same relative attention (section 2.2)."""

    in_every_id: ClassVar = frozenset({"patch", "depth", "width", "hidden", "blocks"})

    family: Literal["vit_rel"] = "vit_rel"
    patch: Stride
    depth: Depth
    width: Width
    hidden: int | None = Field(
        default=None, ge=1, le=2**20, description="width inside the FFN; None is expansion x width"
    )
    blocks: Blocks = Blocks()


class CoaTVariant(Frozen):
    """CoaT (parallel depth above 0) or CoaT-Lite (0): arXiv 2104.06399."""

    in_every_id: ClassVar = frozenset(
        {"widths", "depths", "parallel_depth", "mlp_ratios", "heads", "patch", "drop_path"}
    )

    family: Literal["coat"] = "coat"
    widths: tuple[Width, Width, Width, Width]
    depths: tuple[Depth, Depth, Depth, Depth]
    parallel_depth: int = Field(default=0, ge=0, le=64)
    mlp_ratios: tuple[Ratio, Ratio, Ratio, Ratio]
    heads: int = Field(default=8, ge=1, le=2**14)
    patch: Stride = 4
    drop_path: float = Field(default=0.0, ge=0, lt=1)


class TimmVariant(Frozen):
    """Any network of timm, by its name there (the extra `timm`), or one that a file of the user's registers with it."""

    in_every_id: ClassVar = frozenset({"model"})

    in_no_id: ClassVar = frozenset({"path", "module"})

    family: Literal["timm"] = "timm"
    model: str
    source: str = Field(default="", description="of a network that timm itself lacks: as in OwnVariant")
    path: str = ""
    module: str = ""


class OwnVariant(Frozen):
    """The user's own network: a callable in a Python file or module (study/models/own_networks.py).

    Where the file lies is not part of the identity, only what is in it.
    """

    in_every_id: ClassVar = frozenset({"name", "switches", "source"})

    in_no_id: ClassVar = frozenset({"path", "module"})

    family: Literal["own"] = "own"
    name: str = Field(description="of the callable")
    switches: dict[str, JsonValue] = Field(default={}, description="what it is called with, beside classes and size")
    source: str = Field(description="hash of the file and of what it imports from its own folder")
    path: str = Field(description="where the file lies; not part of the identity")
    module: str = Field(default="", description="its dotted name, if it is a module of a package")

    @field_validator("switches")
    @classmethod
    def _in_one_order(cls, switches: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return dict(sorted(switches.items()))


Variant = Annotated[
    CoAtNetVariant | ViTRelVariant | CoaTVariant | TimmVariant | OwnVariant, Field(discriminator="family")
]


def own_reference(name: str) -> tuple[str, str] | None:
    """`FILE.py:NAME` or `package.module:NAME`, without switches, taken apart; None for any other variant.

    >>> own_reference("nets/mine.py:MyNet"), own_reference("timm:resnet18"), own_reference("coat_lite:2M")
    (('nets/mine.py', 'MyNet'), None, None)
    """
    match = re.fullmatch(r"(.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", name)
    return None if match is None or match[1] in ("timm", "coat", "coat_lite") else (match[1], match[2])


def canonical_layout(name: str) -> str:
    """`cctt`, `C-C-T-T` and `c_c_t_t` are `C-C-T-T`; `vit_rel`, `ViTREL` are `ViT_REL`; other names stay.

    >>> canonical_layout("cctt"), canonical_layout("vit-rel"), canonical_layout("coatnet_0")
    ('C-C-T-T', 'ViT_REL', 'coatnet_0')
    """
    plain = re.sub(r"[-_ ]", "", name).upper()
    if plain == "VITREL":
        return "ViT_REL"
    if re.fullmatch(r"[CT]{4}", plain):
        return "-".join(plain)
    return name.strip()


def parse_variant(text: str) -> tuple[str, dict[str, str]]:
    """A variant as users write it: a name, then switches of its blocks in brackets.

    >>> parse_variant("cctt[relative_bias=none, head_dim=64]")
    ('C-C-T-T', {'relative_bias': 'none', 'head_dim': '64'})
    """
    match = re.fullmatch(r"\s*([^\[\]]+?)\s*(?:\[([^\[\]]*)\])?\s*", text)
    if not match:
        raise StudyError(f"variant {text!r} is not NAME or NAME[switch=value,...]")
    switches = {}
    for item in filter(None, (part.strip() for part in (match[2] or "").split(","))):
        key, equals, value = item.partition("=")
        if not equals:
            raise StudyError(f"variant {text!r}: {item!r} is not switch=value")
        if key.strip() in switches:
            raise StudyError(f"variant {text!r} sets {key.strip()} twice")
        switches[key.strip()] = value.strip()
    return canonical_layout(match[1]), switches


def canonical_label(text: str) -> str:
    """A variant's label in one spelling: canonical name, switches sorted.

    >>> canonical_label("cctt[ relative_bias=none, head_dim=64 ]")
    'C-C-T-T[head_dim=64,relative_bias=none]'
    """
    return label_with(*parse_variant(text))


def label_with(name: str, switches: Mapping[str, str]) -> str:
    """A canonical name with its switches, sorted."""
    inside = ",".join(f"{key}={switches[key]}" for key in sorted(switches))
    return f"{name}[{inside}]" if inside else name


def scratch_label(label: str) -> str:
    """The control's label.

    >>> scratch_label("C-C-T-T"), scratch_label("C-C-T-T[head_dim=16]")
    ('C-C-T-T[start=scratch]', 'C-C-T-T[head_dim=16,start=scratch]')
    """
    name, switches = parse_variant(label)
    return label_with(name, {**switches, "start": "scratch"})
