"""study: how should convolution and attention be stacked in a vision network?

The public names, for notebooks and experiment files, each loaded when first used: the command hears signals before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from study.errors import StudyError

if TYPE_CHECKING:
    from study.config import (
        LAYOUTS,
        STUDY_VARIANTS,
        Blocks,
        Claim,
        CoAtNetVariant,
        CoaTVariant,
        Data,
        Experiment,
        Fractals,
        OwnVariant,
        Run,
        TimmVariant,
        Training,
        ViTRelVariant,
        readout,
    )

__version__ = "0.1.0"

_LAZY = {  # the other public names are nouns, of study.config
    "build": "study.models",
    "load": "study.results",
    "load_data": "study.data",
    "train": "study.training.loop",
    "make_plan": "study.sweep.plan",
    "Store": "study.sweep.store",
}

__all__ = [
    "LAYOUTS",
    "STUDY_VARIANTS",
    "Blocks",
    "Claim",
    "CoAtNetVariant",
    "CoaTVariant",
    "Data",
    "Experiment",
    "Fractals",
    "OwnVariant",
    "Run",
    "StudyError",
    "TimmVariant",
    "Training",
    "ViTRelVariant",
    "readout",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'study' has no attribute {name!r}")
    home = import_module(_LAZY.get(name, "study.config"))
    return getattr(home, "load" if name == "load_data" else name)
