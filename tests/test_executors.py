"""Executors by name: what `--on`, `--agents` and their settings give, and the sentences for what they cannot."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

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


FAULTS = """
import ctypes, json, resource, torch
from study.environment import use_one_core

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would come with a single fault

def pages():  # fetched for 64 MB that were there, and free, a moment before: the last ten times of twenty
    found = []
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return sum(found[10:])

given_back = pages()
use_one_core()
print(json.dumps([given_back, pages(), torch.get_num_threads()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_an_agent_has_one_thread_and_keeps_the_memory_that_it_frees() -> None:
    two = {**os.environ, "OMP_NUM_THREADS": "2"}
    said = subprocess.run([sys.executable, "-c", FAULTS], env=two, capture_output=True, text=True, check=True).stdout
    given_back, kept, threads = json.loads(said)
    assert threads == 1
    assert kept < 1000 < given_back
