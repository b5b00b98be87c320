"""Everything that continuing a run needs, written atomically."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from study.errors import StudyError
from study.files import atomic

NAME = "checkpoint.pt"


@dataclass
class Progress:
    """Where a run stands. The data order follows from the step, the learning rate too: neither needs storing."""

    step: int = 0
    seconds: float = 0.0  # of training, evaluation excluded
    metrics_bytes: int = 0  # length of metrics.jsonl: rows written after the checkpoint are cut off on resuming
    evaluated_at: float = 0.0  # seconds at the last evaluation


def save(
    folder: Path, run_id: str, progress: Progress, losses: Tensor, network: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write `checkpoint.pt`. `losses` are those of the steps since the last evaluation."""
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
        torch.save(state, temporary)


def load(
    folder: Path, run_id: str, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, Tensor] | None:
    """Put network, optimizer and generators back where `save` found them; None if there is no checkpoint.

    Raises StudyError if the checkpoint is of another run or cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StudyError(f"{path} cannot be read ({error}): delete it to start this run again") from None
    if state["run"] != run_id:
        raise StudyError(f"{path} belongs to run {state['run']}, not {run_id}")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return Progress(**state["progress"]), state["losses"]
