"""Agents as processes of this machine: one thread each on CPU, a number of processes per GPU on CUDA."""

from __future__ import annotations

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from study.environment import usable_cores
from study.errors import StudyError, last_line
from study.sweep.executors import AGENT, Ended, Order

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Slot:
    """A place where one run can be at a time: what torch calls the device, and the environment that selects it."""

    device: str
    environment: dict[str, str]

    @property
    def key(self) -> tuple[str, str]:
        """What two slots share if they are places on the same device."""
        return self.device, self.environment.get("CUDA_VISIBLE_DEVICES", "")


def slots(device: str, jobs: int | None) -> list[Slot]:
    """The places that `--device` and `--jobs` give; `auto` is CUDA, then MPS, then CPU.

    `jobs` counts processes per GPU on CUDA (default 1), processes in all elsewhere (on CPU one per usable core).
    Raises StudyError for a device that is not here.
    """
    if device == "cpu":
        return [Slot("cpu", ONE_THREAD)] * (jobs or usable_cores())
    import torch

    cuda, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    if device == "auto":
        return slots("cuda" if cuda else "mps" if mps else "cpu", jobs)
    if device.startswith("cuda"):
        if not cuda:
            raise StudyError("--device cuda: torch sees no CUDA GPU on this machine")
        index = device.partition(":")[2]
        if index and (not index.isdigit() or int(index) >= cuda):
            raise StudyError(f"--device {device}: this machine's GPUs are cuda:0 to cuda:{cuda - 1}")
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(cuda)))).split(",")
        chosen = [visible[int(index)]] if index else visible[:cuda]
        gpus = [Slot("cuda", {**ONE_THREAD, "CUDA_VISIBLE_DEVICES": gpu}) for gpu in chosen]
        return gpus * (jobs or 1)
    if device == "mps":
        if not mps:
            raise StudyError("--device mps: torch sees no Apple GPU on this machine")
        return [Slot("mps", ONE_THREAD)] * (jobs or 1)
    raise StudyError(f"--device {device}: choose auto, cpu, mps, cuda or cuda:N")


class Local:
    """Agents as processes of this machine, one in each slot, in sessions of their own: Ctrl-C reaches the sweep alone.

    They are on a leash: they checkpoint and leave when the sweep dies.
    """

    name, detached = "local", False

    def __init__(self, slots: Sequence[Slot]):
        self.slots = list(slots)
        self.agents = len(self.slots)
        self.processes: dict[str, tuple[subprocess.Popen[bytes], Slot, Path]] = {}
        self.started = 0

    def attach(self, order: Order) -> None:
        """There are none: agents here die with their sweep."""

    def start(self, order: Order, count: int) -> None:
        taken = Counter(slot.key for _, slot, _ in self.processes.values())
        free = []
        for slot in self.slots:
            if taken[slot.key]:
                taken[slot.key] -= 1
            else:
                free.append(slot)
        for slot in free[:count]:
            self.started += 1
            name = f"{order.agent or f'{platform.node()}-{os.getpid()}'}-{self.started}"
            log = Path(next(iter(order.folders))) / "agents" / f"{name}.log"
            log.parent.mkdir(exist_ok=True)
            with log.open("ab") as file:
                process = subprocess.Popen(
                    [*AGENT, order.json(agent=order.agent or name, device=slot.device, leash=True)],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                    env={**os.environ, **slot.environment},
                    start_new_session=True,
                )
            self.processes[name] = (process, slot, log)

    def alive(self) -> set[str]:
        return set(self.processes)

    def ended(self) -> list[Ended]:
        found = []
        for name, (process, _, log) in list(self.processes.items()):
            if (status := process.poll()) is None:
                continue
            del self.processes[name]
            self._let_go(process)
            text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            if not text.strip():
                log.unlink(missing_ok=True)
            found.append(Ended(name, status, last_line(text)))
        return found

    def stop(self) -> None:
        for process, _, _ in self.processes.values():
            self._let_go(process)

    def release(self) -> None:
        """All have begun."""

    def kill(self) -> None:
        for process, _, _ in self.processes.values():
            process.kill()

    @staticmethod
    def _let_go(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()


def make(*, device: str, agents: int | None, settings: Mapping[str, str], address: str | None) -> Local:
    """What `--on local` gives. Raises StudyError for a device that is not here, and for settings: there are none."""
    if settings or address is not None:
        given = ", ".join([*settings, *(["--address"] if address is not None else [])])
        raise StudyError(f"agents on this machine take no settings ({given}): --on slurm or --on ray does")
    return Local(slots(device, agents))
