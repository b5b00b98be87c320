"""Agents as tasks of Ray, on a cluster of two nodes: whatever happens to them, the same command ends alike."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.errors import StudyError
from study.sweep import attempts
from study.sweep.executors import make_executor
from study.sweep.executors.ray import ENVIRONMENT, Ray
from study.sweep.store import Store
from tests.disturbed import (
    LONG,
    SHORT,
    assert_same,
    holder,
    how_attempts_ended,
    parent_of,
    pause_until_asked,
    sweep,
    undisturbed,
)
from tests.test_sweep import wait_for


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for agents, and a node with room for two."""
    if importlib.util.find_spec("ray") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Ray is not installed: pip install -e '.[ray]'")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as folder:
        settings = {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": folder}
        settings["RAY_worker_niceness"] = "0"  # else its workers starve beside the other tests
        for key, value in {**ENVIRONMENT, **settings}.items():
            patch.setenv(key, value)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        import ray
        from ray.cluster_utils import Cluster

        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
        try:
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
            cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
        finally:
            signal.signal(signal.SIGINT, before)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return undisturbed(LONG, tmp_path_factory.mktemp("long"))


def tasks(cluster: Any, agents: int = 1, **settings: str) -> Ray:
    executor = make_executor("ray", device="cpu", agents=agents, settings=settings, address=cluster.address)
    assert isinstance(executor, Ray)
    return executor


def worker_of(store: Store, run_id: str) -> int:
    """The process of Ray that watches the agent that holds a run."""
    return parent_of(parent_of(holder(store, run_id).pid))


def pids_of(node: Any) -> set[int]:
    return {process.process.pid for kind in node.all_processes.values() for process in kind}


def test_agents_complete_a_sweep(cluster: Any, tmp_path: Path) -> None:
    outcome, store = sweep(tmp_path / "results", SHORT, tasks(cluster, agents=3))
    assert len(outcome.done) == 4
    assert not outcome.stopped  # there was no place for the third, which was called off
    assert_same(store, undisturbed(SHORT, tmp_path / "undisturbed"))


@pytest.mark.slow
def test_an_agent_whose_worker_dies_checkpoints_and_starts_again(
    cluster: Any, tmp_path: Path, long: dict[str, Path]
) -> None:
    def kill(store: Store, run_id: str) -> None:
        os.kill(worker_of(store, run_id), signal.SIGKILL)

    outcome, store = sweep(tmp_path / "results", LONG, tasks(cluster), kill)
    assert_same(store, long)
    assert how_attempts_ended(store, outcome.done[0]) == ["stopped", "done"]


@pytest.mark.slow
def test_an_agent_whose_node_dies_continues_on_another(cluster: Any, tmp_path: Path, long: dict[str, Path]) -> None:
    cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)

    def kill(store: Store, run_id: str) -> None:
        agent = holder(store, run_id).pid
        raylet = parent_of(worker_of(store, run_id))
        (lost,) = (node for node in cluster.worker_nodes if raylet in pids_of(node))
        os.kill(parent_of(agent), signal.SIGKILL)
        os.kill(agent, signal.SIGKILL)
        cluster.remove_node(lost, allow_graceful=False)

    outcome, store = sweep(tmp_path / "results", LONG, tasks(cluster), kill)
    assert_same(store, long)
    assert how_attempts_ended(store, outcome.done[0]) == ["", "done"]


def test_a_cancel_is_a_checkpoint_and_the_same_command_continues(
    cluster: Any, tmp_path: Path, long: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(store: Store, run_id: str) -> None:
        pause_until_asked(store, run_id)
        os.kill(os.getpid(), signal.SIGINT)  # what the driver then asks of Ray is a cancel

    monkeypatch.setattr(Ray, "kill", lambda ray: pytest.fail("the cancel did not arrive"))
    outcome, store = sweep(tmp_path / "results", LONG, tasks(cluster), leave)
    assert outcome.stopped == "Interrupt"
    (run_id,) = long
    wait_for(lambda: attempts.read(store.path(run_id), 1).ended)
    assert how_attempts_ended(store, run_id) == ["stopped"]
    outcome, store = sweep(tmp_path / "results", LONG, tasks(cluster))
    assert outcome.done == [run_id]
    assert_same(store, long)


DRIVER = """
import sys
from pathlib import Path
from study.sweep.executors import make_executor
from tests.disturbed import LONG, sweep
sweep(Path(sys.argv[1]), LONG, make_executor("ray", device="cpu", agents=1, settings={}, address=sys.argv[2]))
"""


@pytest.mark.slow
def test_a_driver_that_is_killed_lets_its_agents_checkpoint(
    cluster: Any, tmp_path: Path, long: dict[str, Path]
) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path / "results"), cluster.address])
    (run_id,) = long
    path = tmp_path / "results" / "runs" / run_id
    wait_for(lambda: attempts.step_of(path, 1) >= 5)
    driver.kill()
    driver.wait()
    wait_for(lambda: attempts.read(path, 1).ended)
    assert attempts.read(path, 1).ended == "stopped"
    outcome, store = sweep(tmp_path / "results", LONG, tasks(cluster))
    assert outcome.done == [run_id]
    assert_same(store, long)


def test_what_ray_cannot_do_is_said_in_a_sentence(cluster: Any) -> None:
    with pytest.raises(StudyError, match="num_gpu=1: give num_cpus, num_gpus"):
        tasks(cluster, num_gpu="1")
    with pytest.raises(StudyError, match="num_cpus=many"):
        tasks(cluster, num_cpus="many")
    with pytest.raises(StudyError, match="--agents N"):
        make_executor("ray", device="cpu", agents=None, settings={}, address=None)
