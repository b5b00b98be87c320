"""Fixtures that several test files use."""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType

import pytest
import torch

from study.models.timm_networks import import_timm

# Several test processes share the cores: more than one thread each would only be in the others' way.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    """The timm package, an independent implementation of the published networks."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    return import_timm()
