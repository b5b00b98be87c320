"""Executors by name: what `--on`, `--agents` and their settings give, and the sentences for what they cannot."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from study import environment
from study.environment import quota
from study.errors import StudyError
from study.sweep.executors import make_executor
from study.sweep.executors.local import Local


def make(on: str, agents: int | None = 2, address: str | None = None, **settings: str):
    return make_executor(on, device="cpu", agents=agents, settings=settings, address=address)


def test_local_has_as_many_agents_as_asked_for() -> None:
    executor = make("local", agents=3)
    assert isinstance(executor, Local)
    assert executor.agents == 3


@pytest.mark.parametrize(
    ("own", "limits", "cores"),
    [
        ("0::/\n", {"": "150000 100000"}, 1.5),  # in a container
        ("1:cpu:/\n0::/jobs/7\n", {"jobs": "200000 100000", "jobs/7": "max 100000"}, 2.0),  # of a group around ours
        ("0::/jobs/7\n", {"jobs": "800000 100000", "jobs/7": "50000 100000"}, 0.5),
        ("0::/not/seen/here\n", {"": "300000 100000"}, 3.0),
        ("0::/\n", {"": "max 100000"}, math.inf),
        ("9:cpu:/\n", {}, math.inf),  # of version 1
    ],
)
def test_the_quota_of_a_container_is_the_smallest_around_it(
    own: str, limits: dict[str, str], cores: float, tmp_path: Path
) -> None:
    groups, path = tmp_path / "cgroup", tmp_path / "own"
    path.write_text(own)
    for name, limit in limits.items():
        (groups / name).mkdir(parents=True, exist_ok=True)
        (groups / name / "cpu.max").write_text(limit + "\n")
    assert quota(groups, path) == cores


def test_there_are_no_more_agents_than_cores_that_a_container_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for granted, agents in ((0.5, 1), (1.5, 2), (math.inf, 64)):
        monkeypatch.setattr(environment, "quota", lambda granted=granted: granted)
        assert make("local", agents=None).agents == agents


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
