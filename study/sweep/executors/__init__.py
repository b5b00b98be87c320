"""Executors start agents somewhere, and know no more of a sweep than that.

An executor is a file here and a row in EXECUTORS. What the agents do, and how far they are, stands in the results
folders alone: the driver and the display read it there, wherever the agents are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from study.errors import StudyError
from study.sweep.attempts import PATIENCE
from study.sweep.store import stop_token

# How an agent leaves: its exit status. A negative one is the signal that killed it.
FINISHED = 0  # no run is left that it could take
WORN = 1  # a run failed in a way that may have harmed the process: start another one if there is work
BROKEN = 2  # it cannot work here, or no longer: the last line of its log says why, and another one would fare alike
FULL = 4  # there is no space left in the folder of its run, which stays at its last checkpoint
STOPPED = 3  # it was asked to leave, by a signal, by the end of its input or by `study stop`; its run is checkpointed
LOST = -9  # it did not leave by itself, and nobody knows which signal it was

Wandb = Literal["off", "offline", "online"]

# -P: a queue.py or einops.py in the current folder is never executed
AGENT = (sys.executable, "-P", "-m", "study.sweep.agent")


@dataclass(frozen=True)
class Order:
    """What an agent is told, as JSON in its only argument: `python -P -m study.sweep.agent ORDER`."""

    folders: Mapping[str, str]  # results folders in the order of work, each with the last stop that was asked for there
    skip: Sequence[str] = ()  # runs that were left there by earlier sweeps and that nobody asked for now
    data_dir: str = ""
    wandb: Wandb = "off"
    device: str = "cpu"
    agent: str = ""  # its name, in the claims of its runs
    leash: bool = False  # whether it leaves when its standard input ends, as it does when its parent dies
    patience: float = PATIENCE

    def json(self, **changes: Any) -> str:
        """The order with some things changed, as text."""
        return json.dumps({**asdict(self), **changes})

    @classmethod
    def of(cls, text: str) -> Order:
        """The order that `json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Ended:
    """An agent that has left: its name, its exit status, and the last line that it said."""

    agent: str
    status: int
    words: str


class Executor(Protocol):
    """Starts agents, says which have ended, asks them to leave, kills them. Only the driver calls it, from one thread.

    A method raises StudyError for what a user can mend: a scheduler that is not there, a partition that is unknown.
    """

    name: str
    agents: int  # how many to have at work at a time, if there is so much work
    detached: bool  # whether the agents stay at work when the sweep that started them is left by a signal

    def attach(self, order: Order) -> None:
        """Called first: find the agents that an earlier sweep of these folders left at work."""

    def start(self, order: Order, count: int) -> None:
        """Start `count` agents; each gets the order with its own name, and device where it is chosen here."""

    def alive(self) -> set[str]:
        """Names of the agents that were started and have not ended: queued ones too, and those of an earlier sweep."""

    def ended(self) -> list[Ended]:
        """The agents that ended since the last call, each once."""

    def stop(self) -> None:
        """Ask all agents to checkpoint and leave. Can be called again."""

    def release(self) -> None:
        """No work is left: call off the agents that have not begun. The others leave by themselves."""

    def kill(self) -> None:
        """End all agents at once."""


def lasting(order: Order, device: str) -> Order:
    """The order as it can be read on another machine, from another folder: with whole paths."""
    folders = {str(Path(folder).resolve()): token for folder, token in order.folders.items()}
    data_dir = str(Path(order.data_dir).resolve()) if order.data_dir else ""
    return replace(order, folders=folders, data_dir=data_dir, device=device)


def stale(order: Order) -> bool:
    """Whether a stop was asked for since the order was given: who follows it leaves at once."""
    return any(stop_token(Path(folder)) != known for folder, known in order.folders.items())


# Modules with a function `make`, which make_executor calls
EXECUTORS = {
    "local": "study.sweep.executors.local",
    "slurm": "study.sweep.executors.slurm",
    "ray": "study.sweep.executors.ray",
}


def make_executor(
    on: str, *, device: str, agents: int | None, settings: Mapping[str, str], address: str | None
) -> Executor:
    """The executor that `--on` names.

    `device` is what torch calls it, or `auto`; `agents` how many to have at work; `settings` and `address` are the
    executor's own (`--slurm`, `--ray`, `--address`). Raises StudyError for an unknown name, setting or device.
    """
    if on not in EXECUTORS:
        raise StudyError(f"--on {on}: there is no such executor; choose {', '.join(EXECUTORS)}")
    if agents is not None and agents < 1:
        raise StudyError(f"--agents {agents}: at least one agent has to work")
    made = import_module(EXECUTORS[on]).make(device=device, agents=agents, settings=settings, address=address)
    return cast(Executor, made)
