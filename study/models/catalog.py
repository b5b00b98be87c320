"""From a variant's name to a network's description: the layouts by size matching, the published ones by table."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from pydantic import ValidationError

from study.config import (
    STUDY_VARIANTS,
    CoAtNetVariant,
    CoaTVariant,
    TimmVariant,
    Variant,
    ViTRelVariant,
    override,
    own_reference,
    parse_variant,
    sentence,
)
from study.errors import StudyError
from study.models.attention import check_blocks
from study.models.coat_sizing import MEMBERS, matched_coat
from study.models.own_networks import check_network, own_variant
from study.models.published import PUBLISHED
from study.models.shared_depths import matched_at_shared_depths
from study.models.sizing import Budget, Five, matched
from study.models.timm_networks import registered
from study.parsing import amount


def resolve(text: str, budget: Budget, files: Mapping[str, str] = MappingProxyType({})) -> Variant:
    """The network that `text` names; `files` are the experiment's (`Experiment.files`).

    | text | network |
    | --- | --- |
    | `C-C-T-T`, `cctt`, any four letters C and T (no C after T but with `attention_first=true`) | matched to `budget` |
    | `ViT_REL` | matched to `budget` |
    | `coat`, `coat_lite`, `coat_lite:1.5M` | CoaT and CoaT-Lite, matched to `budget` or to the amount |
    | `coatnet_0`, `coatnet_2_v1`, `coat_lite_tiny`, ... | as published (study/models/published.py) |
    | `timm:resnet18` | timm's, by its name there |
    | `mine.py:MyNet`, `package.module:MyNet` | the user's own (study/models/own_networks.py) |

    Switches follow in brackets, `C-C-T-T[relative_bias=none,head_dim=64]`: any field of `Blocks`; for matched layouts
    also `depths=2-2-3-5-2`, the blocks of S0-S4, of which widths are then found that meet the budget; for published
    networks and CoaT any field of their description. Lists are written with dashes.

    A matched network's switches are set before matching, so that it still meets the budget. Raises StudyError for a
    name or switch that does not exist or does not fit, and for one that changes nothing in a layout at this geometry.
    """
    name, switches = parse_variant(text)
    where = f"variant {text}: "
    plain, colon, own_amount = _plain(name).partition(":")
    if plain == "timm" and colon:
        if switches or not own_amount:
            raise StudyError(f"{where}timm: is followed by the name of one of timm's networks, without switches")
        return _timm(name.partition(":")[2], budget)
    if (reference := own_reference(name)) is not None:
        return own_variant(reference, switches, budget, files, where)
    if "?" in switches.values():
        raise StudyError(f"{where}only networks of one's own have free switches; the layouts' sizes are always found")
    values = {key: _json(value) for key, value in switches.items()}
    if plain in MEMBERS:
        own_budget = replace(budget, amount=amount(own_amount)) if colon else budget
        return _coat(plain, own_budget, values, where)
    if colon:
        raise StudyError(f"{where}only coat, coat_lite and timm are followed by a colon; --budget sizes the layouts")
    if plain in PUBLISHED:
        published = PUBLISHED[plain].variant
        described = override(published, {_field(key, published): value for key, value in values.items()}, where)
        if isinstance(described, CoAtNetVariant):
            check_blocks(described.blocks, where)
        return described
    if name in STUDY_VARIANTS or set(name) <= set("CT-"):
        return _layout(name, budget, values, where)
    known = [*STUDY_VARIANTS, "any layout such as T-T-T-T", *MEMBERS, *PUBLISHED, "timm:NAME", "FILE.py:NAME"]
    raise StudyError(f"there is no variant {name!r}: known are {', '.join(known)}")


def is_published(text: str) -> bool:
    """Whether a variant is one of the published networks, with or without switches."""
    return _plain(parse_variant(text)[0]) in PUBLISHED


def _plain(name: str) -> str:
    """`CoAtNet-0` is `coatnet_0`."""
    return name.lower().replace("-", "_").replace(" ", "_")


def _layout(name: str, budget: Budget, values: dict[str, str], where: str) -> CoAtNetVariant | ViTRelVariant:
    depths: Five | None = None
    if "depths" in values and name != "ViT_REL":
        numbers = values.pop("depths")
        if not re.fullmatch(r"\[\d{1,3}(,\d{1,3}){4}\]", numbers):
            raise StudyError(f"{where}depths are five numbers of blocks, for S0 to S4, such as depths=2-2-3-5-2")
        a, b, c, d, e = (int(number) for number in numbers[1:-1].split(","))
        depths = a, b, c, d, e
    blocks = override(budget.blocks, values, where)
    for key in values:
        if needed := _lacking(key, name, replace(budget, blocks=blocks)):
            raise StudyError(f"{where}{key} changes nothing in {name}, which has no {needed}: leave it plain")
    check_blocks(blocks, where)
    try:
        if budget.depths == "shared" and name != "ViT_REL":
            return matched_at_shared_depths(name, budget, blocks, depths)
        return matched(name, replace(budget, blocks=blocks), depths)
    except ValidationError as error:
        raise StudyError(where + sentence(error)) from None


def _lacking(key: str, name: str, budget: Budget) -> str:
    """What a layout would need for a switch to change anything in it, if it has none of it; else nothing."""
    blocks, letters = budget.blocks, name.replace("-", "")
    if key in {"se_ratio", "stride_in"} and "C" not in name:
        return "MBConv blocks"
    stages = zip(letters, budget.strides[1:], strict=False)
    if key == "stride_in" and all(stride == 1 for letter, stride in stages if letter == "C"):
        return "MBConv block with a stride"
    if key in {"conv_norm", "batch_norm_momentum", "batch_norm_epsilon"} and name == "ViT_REL":
        return "norm between convolutions"
    if key in {"batch_norm_momentum", "batch_norm_epsilon"} and blocks.conv_norm == "layer":
        return "BatchNorm"
    if key in {"head_dim", "relative_bias", "absolute_positions", "attention", "window"} and "T" not in name:
        return "attention"
    if key == "attention" and blocks.attention == "local":
        first = 3 if name == "ViT_REL" else letters.index("T") + 1  # later stages have smaller grids
        if budget.image_size // math.prod(budget.strides[: first + 1]) <= blocks.window // 2 + 1:
            return f"positions beyond the window of {blocks.window}"
    if key == "attention_first" and "T-C" not in name:
        return "T before C"
    return "local attention" if key == "window" and blocks.attention != "local" else ""


def _coat(family: str, budget: Budget, values: dict[str, str], where: str) -> CoaTVariant:
    if "widths" in values:
        raise StudyError(f"{where}widths are found by size matching: give depths, or name a published network")
    return matched_coat(family, budget, override(MEMBERS[family][0], values, where), values)


def _timm(model: str, budget: Budget) -> TimmVariant:
    """timm itself is asked only for names that others may have registered: it need not be installed to plan."""
    if "timm" not in sys.modules:
        return TimmVariant(model=model)
    variant = registered(model)
    if variant.source:
        check_network(variant, budget.classes, budget.image_size)
    return variant


def _field(key: str, variant: Variant) -> str:
    """Switches of blocks may be written without `blocks.`."""
    blocks = getattr(variant, "blocks", None)
    return f"blocks.{key}" if blocks is not None and key in type(blocks).model_fields else key


def _json(value: str) -> str:
    """`2-2-6-14-2` as a list; all else as it is."""
    return f"[{value.replace('-', ',')}]" if re.fullmatch(r"\d+(-\d+)+", value) else value
