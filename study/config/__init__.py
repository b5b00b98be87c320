"""The nouns of a study: variant, data, training, run, experiment, claim.

All are frozen, strict pydantic models: an unknown key or a wrong type is an error, never ignored. A run's `id` is a
hash of everything that decides its result and of nothing else.
"""

from study.config.base import Frozen, digest, override, parse_model, sentence
from study.config.experiments import Claim, Experiment, Pretraining
from study.config.runs import FORMAT, LATER_DEFAULTS, Data, Fractals, Run, Start, Training
from study.config.variants import (
    LAYOUTS,
    STUDY_VARIANTS,
    Blocks,
    CoAtNetVariant,
    CoaTVariant,
    TimmVariant,
    Variant,
    ViTRelVariant,
    canonical_layout,
    parse_variant,
)

__all__ = [
    "FORMAT",
    "LATER_DEFAULTS",
    "LAYOUTS",
    "STUDY_VARIANTS",
    "Blocks",
    "Claim",
    "CoAtNetVariant",
    "CoaTVariant",
    "Data",
    "Experiment",
    "Fractals",
    "Frozen",
    "Pretraining",
    "Run",
    "Start",
    "TimmVariant",
    "Training",
    "Variant",
    "ViTRelVariant",
    "canonical_layout",
    "digest",
    "override",
    "parse_model",
    "parse_variant",
    "sentence",
]
