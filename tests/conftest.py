"""Fixtures that several test files use."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from study.models.timm_networks import import_timm


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    """The timm package, an independent implementation of the published networks."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    return import_timm()
