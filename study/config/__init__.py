"""The nouns of a study: variant, data, training, run, experiment, claim.

All are frozen, strict pydantic models: an unknown key or a wrong type is an error, never ignored. A run's `id` is a
hash of everything that decides its result and of nothing else.
"""

from study.config.base import Frozen, digest, identity, override, parse_model, sentence
from study.config.experiments import Claim, Experiment, Pretraining
from study.config.notation import Ranking, Relation, parse_ranking
from study.config.runs import FORMAT, Data, Fractals, Run, Start, Training
from study.config.variants import (
    LAYOUTS,
    STUDY_VARIANTS,
    Blocks,
    CoAtNetVariant,
    CoaTVariant,
    TimmVariant,
    Variant,
    ViTRelVariant,
    canonical_label,
    canonical_layout,
    parse_variant,
    scratch_label,
)

__all__ = [
    "FORMAT",
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
    "Ranking",
    "Relation",
    "Run",
    "Start",
    "TimmVariant",
    "Training",
    "Variant",
    "ViTRelVariant",
    "canonical_label",
    "canonical_layout",
    "digest",
    "identity",
    "override",
    "parse_model",
    "parse_ranking",
    "parse_variant",
    "scratch_label",
    "sentence",
]
