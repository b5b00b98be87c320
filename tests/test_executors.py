"""Executors by name: what `--on`, `--agents` and their settings give, and the sentences for what they cannot."""

from __future__ import annotations

import pytest

from study.errors import StudyError
from study.sweep.executors import make_executor
from study.sweep.executors.local import Local


def make(on: str, agents: int | None = 2, address: str | None = None, **settings: str):
    return make_executor(on, device="cpu", agents=agents, settings=settings, address=address)


def test_local_has_as_many_agents_as_asked_for() -> None:
    executor = make("local", agents=3)
    assert isinstance(executor, Local)
    assert executor.agents == 3


def test_what_cannot_be_made_is_said_in_a_sentence() -> None:
    with pytest.raises(StudyError, match="--on pbs: there is no such executor; choose local"):
        make("pbs")
    with pytest.raises(StudyError, match="--agents 0: at least one"):
        make("local", agents=0)
    with pytest.raises(StudyError, match=r"take no settings \(partition\)"):
        make("local", partition="gpu")
    with pytest.raises(StudyError, match=r"take no settings \(--address\)"):
        make("local", address="auto")
