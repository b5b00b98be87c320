"""From a variant's name to a network's description: the layouts by size matching, the published ones by table."""

from __future__ import annotations

from study.config import STUDY_VARIANTS, TimmVariant, Variant, override, parse_variant
from study.errors import StudyError
from study.models.published import COAT, COATNET
from study.models.sizing import Budget, matched


def resolve(text: str, budget: Budget) -> Variant:
    """The network that `text` names: `C-C-T-T` (any letters C and T, matched to `budget`), `ViT_REL`, `coatnet_0`,
    `coat_lite_tiny`, `timm:resnet18`; switches in brackets, `C-C-T-T[relative_bias=none]`.

    A matched network's switches are set before matching, so that it still meets the budget. Raises StudyError for a
    name or switch that does not exist.
    """
    name, switches = parse_variant(text)
    where = f"variant {text}: "
    if name.startswith("timm:"):
        if switches:
            raise StudyError(f"{where}timm's networks have no switches here")
        return TimmVariant(model=name.removeprefix("timm:"))
    if name in COATNET or name in COAT:
        published = COATNET[name].variant if name in COATNET else COAT[name].variant
        return override(published, {_field(key, published): value for key, value in switches.items()}, where)
    if name in STUDY_VARIANTS or set(name) <= set("CT-"):
        blocks = override(budget.blocks, switches, where)
        return matched(name, Budget(**{**budget.__dict__, "blocks": blocks}))
    known = ", ".join([*STUDY_VARIANTS, "any layout such as C-T-C-T", *COATNET, *COAT, "timm:NAME"])
    raise StudyError(f"there is no variant {name!r}: known are {known}")


def _field(key: str, variant: Variant) -> str:
    """Switches of blocks may be written without `blocks.`."""
    blocks = getattr(variant, "blocks", None)
    return f"blocks.{key}" if blocks is not None and key in type(blocks).model_fields else key
