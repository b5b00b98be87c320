"""Agents as tasks of Ray, for clouds and Kubernetes: a lost node's agent starts again on another one.

The results folder lies on a file system that all nodes mount, under the same path; Ray itself carries nothing but
paths and JSON. A task starts the agent as a process of its own and watches it: what Ray does to its workers ends the
task, and the agent, whose standard input ends, checkpoints its runs and leaves. For that, the nodes need ENVIRONMENT
when their `ray start` is given; without it, Ray kills the agents, and their runs go on from the last checkpoint.
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from study.environment import install
from study.errors import StudyError, last_line
from study.files import write_text
from study.sweep.executors import BROKEN, FINISHED, LOST, STOPPED, WORN, Ended, Order, lasting
from study.sweep.executors.allocation import ASIDE

ENVIRONMENT = {
    "RAY_kill_child_processes_on_worker_exit": "0",
    "RAY_process_group_cleanup_enabled": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
OBJECT_STORE = 80 * 2**20  # bytes, about the least that Ray accepts: we store nothing there
LOOK = 1.0  # seconds between two looks at the tasks
NUMBERS = ("num_cpus", "num_gpus", "memory")


class Ray:
    """Agents as tasks of a Ray cluster. They checkpoint and leave when the sweep does."""

    name, detached = "ray", False

    def __init__(self, agents: int, device: str, options: Mapping[str, Any], runs: int, address: str | None):
        self.agents, self.device, self.options, self.runs, self.address = agents, device, options, runs, address
        self.token = uuid.uuid4().hex[:8]
        self.tasks: dict[str, Any] = {}  # references to the tasks that have not ended, by the agent's name
        self.released: set[str] = set()  # called off for want of work
        self.over: list[Ended] = []
        self.started, self.looked, self.stopping = 0, float("-inf"), False

    def attach(self, order: Order) -> None:
        _connect(self.address)
        self.order = lasting(order, self.device)
        self.path = Path(next(iter(self.order.folders))) / "agents" / f"ray-{self.token}.json"
        write_text(self.path, self.order.json(leash=True))
        self.stopping = False

    def start(self, order: Order, count: int) -> None:
        import ray

        task = ray.remote(max_retries=-1, **self.options)(_agent)
        for _ in range(count):
            self.started += 1
            name = f"ray-{self.token}-{self.started}"
            cpus = math.ceil(self.options.get("num_cpus", 1))
            self.tasks[name] = task.options(name=name).remote(str(self.path), name, cpus, self.runs)

    def alive(self) -> set[str]:
        self._look()
        return set(self.tasks)

    def ended(self) -> list[Ended]:
        self._look()
        found, self.over = self.over, []
        return found

    def stop(self) -> None:
        if not self.stopping:  # a second one would interrupt the task that waits for the checkpoint
            self._cancel(force=False)
        self.stopping = True

    def release(self) -> None:
        """A task that waits for its place would find nothing to do; the others leave by themselves."""
        import ray

        for name, reference in self.tasks.items():
            if not self.path.with_name(f"{name}.log").exists():
                self.released.add(name)
                ray.cancel(reference)

    def kill(self) -> None:
        self._cancel(force=True)

    def _cancel(self, force: bool) -> None:
        import ray

        for reference in self.tasks.values():
            with suppress(ray.exceptions.RayError, ValueError):
                ray.cancel(reference, force=force)

    def _look(self) -> None:
        import ray

        now = time.monotonic()
        if not self.tasks or now - self.looked < LOOK:
            return
        self.looked = now
        ready, _ = ray.wait(list(self.tasks.values()), num_returns=len(self.tasks), timeout=0)
        for name in [name for name, reference in self.tasks.items() if reference in ready]:
            ended = _how(name, self.tasks.pop(name))
            self.over.append(replace(ended, status=FINISHED) if name in self.released else ended)


def _how(name: str, reference: Any) -> Ended:
    """How a task ended."""
    import ray

    try:
        told = json.loads(ray.get(reference))
    except ray.exceptions.TaskCancelledError:
        return Ended(name, STOPPED, "it was cancelled")
    except ray.exceptions.RayError as error:
        return Ended(name, LOST, last_line(str(error)))
    return Ended(name, told["status"], told["words"])


def _agent(order: str, name: str, cpus: int, runs: int) -> str:
    """The task, on a node: an agent's status and last words, as JSON. Polls, since a cancel comes between two calls."""
    path = Path(order)
    if not path.exists():
        words = f"{platform.node()} sees no {path}: the results folder must lie where all nodes of the cluster mount it"
        return json.dumps({"status": BROKEN, "words": words})
    # A cancel comes as Ctrl-C, which is ignored in a cluster that a script has started in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = path.with_name(f"{name}.log")
    command = [sys.executable, "-P", "-m", "study.sweep.executors.allocation", order, name, str(cpus), str(runs)]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True)
    cancelled = False
    while True:
        try:
            if process.poll() is not None:
                break
            time.sleep(0.2)
        except KeyboardInterrupt:  # ray.cancel
            cancelled = True
            process.terminate()
    words = last_line(log.read_text(encoding="utf-8", errors="replace"))
    status = process.returncode
    if status == ASIDE:
        status = STOPPED if cancelled else WORN  # its node asked it to leave: another one takes its place
    return json.dumps({"status": status, "words": words})


def _connect(address: str | None) -> None:
    """Be a driver of the cluster there, or of a new one on this machine."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import ray

    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **(local if address == "local" else {}))
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StudyError(f"--on ray: no cluster at {address}: {' '.join(str(error).split())}") from None


def make(*, device: str, agents: int | None, settings: Mapping[str, str], address: str | None) -> Ray:
    """What `--on ray` gives. `settings` are what a task needs of its node, and `runs`, the number of runs at a time.

    Raises StudyError if Ray is not installed, for unknown settings, and if nobody says how many agents.
    """
    if find_spec("ray") is None:
        raise StudyError(f"--on ray needs Ray: {install('ray')}")
    if agents is None:
        raise StudyError("--on ray needs --agents N, the number of tasks to have at work")
    options: dict[str, Any] = {}
    runs = 0
    for key, value in settings.items():
        if key == "runs" and value.isdigit():
            runs = int(value)
        elif key == "accelerator_type" and value:
            options[key] = value
        elif (key in NUMBERS or key.startswith("resources.")) and _is_amount(value):
            if key in NUMBERS:
                options[key] = float(value)
            else:
                options.setdefault("resources", {})[key.removeprefix("resources.")] = float(value)
        else:
            known = ", ".join([*NUMBERS, "accelerator_type", "resources.NAME", "runs"])
            raise StudyError(f"--ray {key}={value}: give {known}, each with a number (accelerator_type: with its name)")
    if device == "auto":
        device = "cuda" if options.get("num_gpus") else "cpu"
    return Ray(agents, device, options, runs, address)


def _is_amount(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False
