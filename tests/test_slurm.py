"""Agents as jobs of SLURM, with SLURM itself: whatever happens to them, the same command ends with the same numbers."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.errors import StudyError
from study.sweep import attempts
from study.sweep.executors import make_executor
from study.sweep.executors.slurm import Slurm
from study.sweep.store import Store, stop
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
from tests.slurm_cluster import Cluster, missing, wait
from tests.test_sweep import agents_of


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing())
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
        patch.setattr(Slurm, "look", 0.3)
        yield cluster
    cluster.end()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return undisturbed(LONG, tmp_path_factory.mktemp("long"))


def slurm(agents: int = 1, **settings: str) -> Slurm:
    executor = make_executor("slurm", device="cpu", agents=agents, settings=settings, address=None)
    assert isinstance(executor, Slurm)
    return executor


def job_of(store: Store, run_id: str) -> str:
    """The id of the job whose agent holds a run."""
    return holder(store, run_id).agent.removeprefix("slurm-")


def test_arrays_of_agents_that_fill_their_jobs_complete_a_sweep_though_the_controller_restarts(
    cluster: Cluster, tmp_path: Path
) -> None:
    def restart(store: Store, run_id: str) -> None:
        paused: set[int] = set()

        def three_began() -> bool:
            """Else one or two might do the work of all before the others are there."""
            for pid in set(agents_of(store.folder)) - paused:
                os.kill(pid, signal.SIGSTOP)
                paused.add(pid)
            last = [attempts.last(store.path(run.id)) for run in store.runs()]
            return len({attempt.pid for attempt in last if attempt is not None and attempt.pid}) > 2

        try:
            wait(three_began, 50)
        finally:
            for pid in paused:
                os.kill(pid, signal.SIGCONT)
        cluster.stop_controller()
        time.sleep(1)
        cluster.start_controller()

    outcome, store = sweep(tmp_path / "with a space", SHORT, slurm(agents=3, cpus_per_task="2"), restart)
    assert len(outcome.done) == 4
    assert not outcome.stopped
    assert_same(store, undisturbed(SHORT, tmp_path / "undisturbed"))
    scripts = list((store.folder / "agents").glob("*.sh"))
    assert len(scripts) == 1
    assert "--cpus-per-task=2" in scripts[0].read_text()
    agents = {attempts.read(store.path(run_id), 1).agent for run_id in outcome.done}
    processes = {attempts.read(store.path(run_id), 1).pid for run_id in outcome.done}
    assert len(agents) <= 2 < len(processes)  # two nodes of two cores
    wait(lambda: not cluster.jobs(), 90, cluster.jobs)  # the third agent was called off


@pytest.mark.slow
def test_an_agent_that_has_to_make_way_continues_later(cluster: Cluster, tmp_path: Path, long: dict[str, Path]) -> None:
    def preempt(store: Store, run_id: str) -> None:
        pause_until_asked(store, run_id)
        cluster.ask("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")

    outcome, store = sweep(tmp_path / "results", LONG, slurm(), preempt)
    assert_same(store, long)
    assert how_attempts_ended(store, outcome.done[0]) == ["stopped", "done"]
    assert len(list((store.folder / "agents").glob("*.sh"))) == 1  # the job itself came back, no other was submitted


def test_an_agent_that_is_warned_before_its_limit_continues(
    cluster: Cluster, tmp_path: Path, long: dict[str, Path]
) -> None:
    def warn(store: Store, run_id: str) -> None:
        pause_until_asked(store, run_id)
        cluster.ask("scancel", "--signal=USR1", job_of(store, run_id))

    outcome, store = sweep(tmp_path / "results", LONG, slurm(), warn)
    assert_same(store, long)
    assert how_attempts_ended(store, outcome.done[0]) == ["stopped", "done"]
    assert len(list((store.folder / "agents").glob("*.sh"))) == 1


@pytest.mark.slow
def test_a_job_whose_step_is_killed_is_replaced_by_another(
    cluster: Cluster, tmp_path: Path, long: dict[str, Path]
) -> None:
    def kill(store: Store, run_id: str) -> None:
        os.kill(parent_of(holder(store, run_id).pid), signal.SIGKILL)

    outcome, store = sweep(tmp_path / "results", LONG, slurm(), kill)
    assert_same(store, long)
    assert how_attempts_ended(store, outcome.done[0]) in (["stopped", "done"], ["", "done"])
    assert len(list((store.folder / "agents").glob("*.sh"))) == 2


@pytest.mark.parametrize("how", ["scancel", pytest.param("study stop", marks=pytest.mark.slow)])
def test_what_the_user_ends_does_not_come_back(
    cluster: Cluster, tmp_path: Path, long: dict[str, Path], how: str
) -> None:
    def end(store: Store, run_id: str) -> None:
        pause_until_asked(store, run_id)
        if how == "scancel":
            cluster.ask("scancel", job_of(store, run_id))
        else:
            stop(store.folder)

    outcome, store = sweep(tmp_path / "results", LONG, slurm(), end)
    assert outcome.stopped == ("a signal to its agents" if how == "scancel" else "study stop")
    wait(lambda: not cluster.jobs(), 90, cluster.jobs)
    time.sleep(2)
    assert not cluster.jobs()
    (run_id,) = long
    assert how_attempts_ended(store, run_id) == ["stopped"]
    outcome, store = sweep(tmp_path / "results", LONG, slurm())
    assert outcome.done == [run_id]
    assert_same(store, long)


@pytest.mark.slow
def test_an_agent_whose_node_dies_continues_on_another(cluster: Cluster, tmp_path: Path, long: dict[str, Path]) -> None:
    died: list[str] = []

    def kill(store: Store, run_id: str) -> None:
        told = cluster.ask("scontrol", "show", "job", job_of(store, run_id)).split()
        died.extend(word.removeprefix("BatchHost=") for word in told if word.startswith("BatchHost="))
        cluster.kill_node(died[0])

    outcome, store = sweep(tmp_path / "results", LONG, slurm(), kill)
    assert_same(store, long)
    assert how_attempts_ended(store, outcome.done[0]) == ["", "done"]
    cluster.start_node(died[0])
    wait(lambda: cluster.nodes()[died[0]] == "idle", 120, cluster.nodes)


def test_leaving_the_display_leaves_the_jobs_at_work_and_the_same_command_shows_them_again(
    cluster: Cluster, tmp_path: Path, long: dict[str, Path]
) -> None:
    paused: list[int] = []

    def leave(store: Store, run_id: str) -> None:
        paused.append(holder(store, run_id).pid)
        os.kill(paused[0], signal.SIGSTOP)  # its job shall not end before it was looked for
        os.kill(os.getpid(), signal.SIGINT)

    try:
        outcome, store = sweep(tmp_path / "results", LONG, slurm(), leave)
        assert outcome.stopped == "Interrupt"
        (job,) = cluster.jobs()
    finally:
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
    again = slurm()
    outcome, store = sweep(tmp_path / "results", LONG, again)
    assert again.jobs.keys() <= {job}  # empty if the run had ended before the job was asked for
    assert len(list((store.folder / "agents").glob("*.sh"))) == 1  # no other was submitted
    assert_same(store, long)
    assert how_attempts_ended(store, outcome.done[0]) == ["done"]


def test_a_controller_that_does_not_answer_is_a_sentence(cluster: Cluster, tmp_path: Path) -> None:
    cluster.stop_controller()
    try:
        with pytest.raises(StudyError, match="SLURM does not answer"):
            sweep(tmp_path / "results", SHORT, slurm())
    finally:
        cluster.start_controller()


def test_what_cannot_be_submitted_is_said_in_a_sentence(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="invalid partition"):
        sweep(tmp_path / "results", SHORT, slurm(partition="nowhere"))
    with pytest.raises(StudyError, match="--agents N"):
        make_executor("slurm", device="cpu", agents=None, settings={}, address=None)
    with pytest.raises(StudyError, match="array=3"):
        slurm(array="3")
    with pytest.raises(StudyError, match="signal=KILL"):
        slurm(signal="KILL")
