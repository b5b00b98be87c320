"""Everything that continuing a run needs, written atomically, with a checksum; the last two are kept.

A checkpoint ends with the SHA-256 of all before it, and holds that of the curve so far. One that is damaged, or whose
curve is, is passed over: the previous one continues the run, to the same numbers.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from study.files import atomic, checksum

NAME = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"
MARK = b"sha256:"
SEAL = len(MARK) + 64  # bytes at the end of the file; archives of zip's kind may be followed by others


@dataclass
class Progress:
    """Where a run stands. The data order follows from the step, the learning rate too: neither needs storing."""

    step: int = 0
    seconds: float = 0.0  # of training, evaluation excluded
    metrics_bytes: int = 0  # length of metrics.jsonl: rows written after the checkpoint are cut off on resuming
    evaluated_at: float = 0.0  # seconds at the last evaluation
    metrics_sha256: str = ""  # of these bytes


def save(
    folder: Path, run_id: str, progress: Progress, losses: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write `checkpoint.pt`; the one before it stays. `losses` are those of the steps since the last evaluation."""
    state = {
        "run": run_id,
        "progress": asdict(progress),
        "losses": losses.cpu(),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with atomic(folder / NAME) as temporary:
        write(state, temporary)
        seal = MARK + checksum(temporary).encode()
        with temporary.open("ab") as file:
            file.write(seal)
        if (folder / NAME).exists():
            (folder / NAME).replace(folder / PREVIOUS)


def load(
    folder: Path, run_id: str, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, Tensor] | None:
    """Put network, optimizer and generators back where the last sound `save` found them; None if there is none.

    What is not sound is said in a sentence on the standard error, the run's log.
    """
    found = [name for name in (NAME, PREVIOUS) if (folder / name).exists()]
    for name in found:
        try:
            state = _read(folder / name, run_id, folder / "metrics.jsonl")
        except _Unsound as why:
            print(f"{folder / name} is damaged ({why}) and is passed over", file=sys.stderr, flush=True)
            continue
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        for device, rng in enumerate(state["cuda_rng"][: torch.cuda.device_count()]):  # fewer may be visible now
            torch.cuda.set_rng_state(rng, device)
        return Progress(**state["progress"]), state["losses"]
    if found:
        print("no checkpoint of this run is sound: it starts again", file=sys.stderr, flush=True)
    return None


def write(value: Any, path: Path) -> None:
    """`torch.save`, the same bytes under every name. A full disk is an OSError, whatever torch makes of it."""
    try:
        with path.open("wb") as file:
            torch.save(value, file)
    except RuntimeError:
        with path.open("ab") as file:
            file.write(bytes(2**20))
            os.fsync(file.fileno())
        raise


def remove(folder: Path) -> None:
    """Drop the checkpoints of a run that is done."""
    for name in (NAME, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


class _Unsound(Exception):
    pass


def _read(path: Path, run_id: str, curve: Path) -> dict[str, Any]:
    size = path.stat().st_size - SEAL
    with path.open("rb") as file:
        file.seek(max(size, 0))
        seal = file.read()
    if size <= 0 or seal != MARK + checksum(path, size).encode():
        raise _Unsound("its checksum is not that of its content")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of another version of torch, say
        raise _Unsound(" ".join(str(error).split())[:200]) from None
    if state["run"] != run_id:
        raise _Unsound(f"it belongs to run {state['run']}, not {run_id}")
    progress = Progress(**state["progress"])
    known = progress.metrics_bytes
    if known and not (
        curve.exists() and curve.stat().st_size >= known and checksum(curve, known) == progress.metrics_sha256
    ):
        raise _Unsound(f"{curve.name} is not the curve that it continues")
    return state
