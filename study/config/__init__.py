"""The nouns of a study: variant, data, training, run, experiment, claim.

All are frozen, strict pydantic models: an unknown key or a wrong type is an error, never ignored. A run's `id` is a
hash of everything that decides its result and of nothing else.
"""

from study.config.base import Frozen, digest, identity, override, parse_model, read_model, sentence
from study.config.experiments import MOST_SEEDS, Claim, Experiment, Pretraining, Rate, check_budget
from study.config.notation import Ranking, Relation, parse_ranking
from study.config.readouts import OwnReadout, facts_of, readout
from study.config.runs import IMAGES_OF_A_STREAM, STREAMS, Data, Fractals, Run, Start, Training
from study.config.variants import (
    LAYOUTS,
    STUDY_VARIANTS,
    Blocks,
    CoAtNetVariant,
    CoaTVariant,
    OwnVariant,
    TimmVariant,
    Variant,
    ViTRelVariant,
    canonical_label,
    canonical_layout,
    label_with,
    own_reference,
    parse_variant,
    scratch_label,
)
