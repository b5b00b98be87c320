"""Runs as processes of this machine: one thread each on CPU, a number of processes per GPU on CUDA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

from study.config import Run
from study.errors import StudyError

# glibc returns large blocks to the kernel and fetches them again at every step: up to 1.7 times slower. Keep them.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Slot:
    """A place where one run can be at a time: what torch calls the device, and the environment that selects it."""

    device: str
    environment: dict[str, str]


def slots(device: str, jobs: int | None) -> list[Slot]:
    """The places that `--device` and `--jobs` give; `auto` is CUDA, then MPS, then CPU.

    `jobs` counts processes per GPU on CUDA (default 1), processes in all elsewhere (default on CPU: one per core).
    Raises StudyError for a device that is not here.
    """
    import torch

    cuda, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    if device == "auto":
        device = "cuda" if cuda else "mps" if mps else "cpu"
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
    if device != "cpu":
        raise StudyError(f"--device {device}: choose auto, cpu, mps, cuda or cuda:N")
    return [Slot("cpu", {**ONE_THREAD, **ALLOCATOR})] * (jobs or usable_cores())


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Worker:
    """One run's process. Puts (run id, progress) into `events` as it goes, and (run id, None) when it has ended."""

    def __init__(self, run: Run, folder: Path, slot: Slot, order: dict[str, Any], events: Queue[Any]):
        self.run, self.folder, self.slot = run, folder, slot
        order = {**order, "folder": str(folder), "device": slot.device}
        with (folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "study.sweep.worker", json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **slot.environment},
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which asks its workers to checkpoint
            )
        threading.Thread(target=self._forward, args=(events,), daemon=True).start()

    def _forward(self, events: Queue[Any]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            events.put((self.run.id, json.loads(line)))
        self.process.wait()
        events.put((self.run.id, None))

    def stop(self) -> None:
        """Ask it to checkpoint and leave."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        self.process.kill()

    def log_tail(self, lines: int = 30) -> str:
        """The end of the run's log."""
        text = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])
