"""Training one run: `train(run, folder)`. Every variant of every experiment goes through this one function."""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from study.config import Run, digest
from study.data import Dataset, load
from study.data.batches import Batches, tensor
from study.data.stream import Stream
from study.environment import environment
from study.errors import Gone
from study.files import atomic, checksum, seal, write_json, write_text
from study.models import build, place
from study.models.cost import NetworkCost, network_cost
from study.training import checkpoint
from study.training.checkpoint import Progress
from study.training.evaluate import Normalisation, evaluate
from study.training.optimizer import learning_rate
from study.training.start import build_from
from study.training.step import Stepper

CHECKPOINT_SECONDS = 60  # between two checkpoints

Row = dict[str, Any]


@torch.random.fork_rng()
def train(
    run: Run,
    folder: Path,
    *,
    device: str = "cpu",
    data_dir: Path | None = None,
    data: Dataset | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[int], None] = lambda step: None,
    on_progress: Callable[[Row], None] = lambda live: None,
    on_row: Callable[[Row], None] = lambda row: None,
    before_write: Callable[[], None] = lambda: None,
) -> Row | None:
    """Train `run` to its end in `folder` and return its result, or None if `should_stop` said so on the way.

    Continues from the folder's checkpoint if there is a sound one; on CPU, interrupted or not, the numbers are the same
    bit for bit. Each evaluation adds a row to `metrics.jsonl`; `result.json` is written last, and only it means done. A
    loss that is not finite ends the run as "diverged", which is a result too.

    `data` are those of the run, if they are loaded already. `on_step` is called with the number of each step before it
    is made, `on_row` with each new row of metrics once it is written, `on_progress` with a small dict about once a
    second. `before_write` is called before anything is written, and what it raises leaves the run as it is. Raises
    StudyError for data, or weights to start from, that cannot be had or have changed, Gone if `metrics.jsonl` vanishes.
    """
    recipe, where = run.training, torch.device(device)

    # Data: whole arrays, nothing random in the input. The order of epoch e depends on the run's seed and on e alone.
    data = data or load(run.data, data_dir)
    train_images, train_labels = data.train_images, torch.from_numpy(data.train_labels)
    test_images, test_labels = data.test_images, torch.from_numpy(data.test_labels)
    normalise = Normalisation.from_levels(data.levels, where)
    batches: Batches | Stream
    if run.data.stream:  # fresh images at every step; the probe are the first ones, all seen once the first block is
        batches, images_in_epoch = Stream(run.data, recipe.batch_size, run.seed, where), recipe.samples or 0
        probe_images, probe_labels = batches.first(recipe.probe_size)
    else:
        batches = Batches(train_images, train_labels, recipe.batch_size, run.seed, where)
        images_in_epoch = len(train_labels)
        probe = probe_indices(images_in_epoch, recipe.probe_size)
        probe_images, probe_labels = tensor(train_images[probe.numpy()]), train_labels[probe]

    # Network: its initial weights have a generator of their own. Fine-tuning draws the classifier alone.
    make = build if run.start is None else partial(build_from, run.start, folder)
    network = make(run.variant, data.classes, run.data.image_size, seed_of(run.seed, "weights"))
    cost = network_cost(run.variant, data.classes, run.data.image_size)
    network = place(network, where).train()
    stepper = Stepper(network, recipe)
    torch.manual_seed(seed_of(run.seed, "noise"))  # of stochastic depth, for those who switch it on

    # Durations, all in steps.
    per_epoch = recipe.steps_per_epoch(images_in_epoch)
    steps = recipe.steps(images_in_epoch)
    points = recipe.evaluation_points(images_in_epoch)

    # Continue where the last attempt stopped.
    progress = Progress()
    longest = max(after - before for before, after in pairwise((0, *points)))
    losses = torch.zeros(longest, device=where)  # of the steps since the last evaluation; read only now and then
    if (resumed := checkpoint.load(folder, run.id, network, stepper.optimizer)) is not None:
        progress, earlier = resumed
        losses[: len(earlier)] = earlier.to(where)
    before_write()
    metrics = Metrics(folder / "metrics.jsonl", progress.metrics_bytes)
    clock = Clock(progress.seconds, where)
    saved = reported = time.monotonic()

    while progress.step < steps:
        on_step(progress.step)
        images_BCHW, labels_B = batches.at(progress.step)
        lr = learning_rate(recipe, progress.step, steps)
        loss = stepper.step(normalise(images_BCHW), labels_B, lr)
        progress.step += 1
        next_point = bisect.bisect_left(points, progress.step)
        since = progress.step - (points[next_point - 1] if next_point else 0)  # steps since the last evaluation
        losses[since - 1] = loss

        evaluates = progress.step == points[next_point]
        if evaluates or time.monotonic() - reported > 1:  # reading losses waits for the device, so not at every step
            finite = torch.isfinite(losses[:since])
            progress.seconds = clock.seconds()
            if not finite.all():
                diverged_at = progress.step - since + int((~finite).nonzero()[0]) + 1
                return finish(run, folder, network, cost, progress, metrics, before_write, diverged_at)
            on_progress(live(run, progress, steps, float(losses[since - 1]), since, metrics))
            reported = time.monotonic()
        if evaluates:
            with clock.paused():
                probe_loss, probe_accuracy = evaluate(network, probe_images, probe_labels, normalise, recipe.precision)
                test_loss, test_accuracy = evaluate(network, test_images, test_labels, normalise, recipe.precision)
            if not math.isfinite(probe_loss + test_loss):
                return finish(run, folder, network, cost, progress, metrics, before_write, progress.step)
            row = {
                "step": progress.step,
                "epoch": progress.step / per_epoch,
                "samples": progress.step * recipe.batch_size,
                "running_loss": float(losses[:since].cpu().double().mean()),
                "probe_loss": probe_loss,
                "probe_accuracy": probe_accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
                "lr": lr,
                "seconds": progress.seconds,
                "images_per_second": since * recipe.batch_size / (progress.seconds - progress.evaluated_at),
            }
            before_write()
            metrics.append(row)
            on_row(row)
            progress.evaluated_at = progress.seconds
            progress.metrics_bytes, progress.metrics_sha256 = metrics.bytes, metrics.sha.hexdigest()

        stops = should_stop() and progress.step < steps
        if stops or time.monotonic() - saved > CHECKPOINT_SECONDS:
            progress.seconds = clock.seconds()
            unread = losses[: 0 if evaluates else since]
            before_write()
            checkpoint.save(folder, run.id, progress, unread, network, stepper.optimizer)
            saved = time.monotonic()
        if stops:
            return None

    return finish(run, folder, network, cost, progress, metrics, before_write)


def finish(
    run: Run,
    folder: Path,
    network: nn.Module,
    cost: NetworkCost,
    progress: Progress,
    metrics: Metrics,
    before_write: Callable[[], None],
    diverged_at: int | None = None,
) -> Row:
    """Write the weights, then `result.json`, which marks the run as done; drop the checkpoints."""
    steps = progress.step if diverged_at is None else diverged_at  # which is noticed later, by the clock
    before_write()
    metrics.settle()
    with atomic(folder / "weights.pt") as temporary:
        checkpoint.write(network.state_dict(), temporary)
        weights = checksum(temporary)
    result: Row = {
        "id": run.id,
        "label": run.label,
        "seed": run.seed,
        "status": "ok" if diverged_at is None else "diverged",
        "diverged_at_step": diverged_at,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "activation_bytes": cost.activation_bytes,
        "steps": steps,
        "samples": steps * run.training.batch_size,
        "seconds": progress.seconds,
        "final": metrics.rows[-1] if metrics.rows else None,
        "best_test_accuracy": max((row["test_accuracy"] for row in metrics.rows), default=None),
        "run": run.model_dump(mode="json"),
        "environment": environment(next(network.parameters()).device.type),
    }
    parts = {"metrics.jsonl": metrics.sha.hexdigest(), "weights.pt": weights, "result.json": seal(result)}
    result["checksums"] = parts  # the last: all but itself
    before_write()
    write_json(folder / "result.json", result)
    checkpoint.remove(folder)
    return result


def probe_indices(images: int, size: int) -> torch.Tensor:
    """The probe: the same training images in every run of a data set, in ascending order."""
    chosen = np.random.default_rng(0).permutation(images)[:size]
    return torch.from_numpy(np.sort(chosen))


def seed_of(seed: int, purpose: str) -> int:
    """A seed for one purpose of a run, so that no two of its generators share a stream; seed 0 is like any other."""
    return int(digest([seed, purpose]), 16)


def live(run: Run, progress: Progress, steps: int, loss: float, since: int, metrics: Metrics) -> Row:
    """What a person watching wants to know."""
    speed = since * run.training.batch_size / max(1e-9, progress.seconds - progress.evaluated_at)
    return {
        "step": progress.step,
        "steps": steps,
        "loss": loss,
        "test_accuracy": metrics.rows[-1]["test_accuracy"] if metrics.rows else None,
        "images_per_second": speed,
        "seconds_left": (steps - progress.step) * run.training.batch_size / speed,
    }


class Metrics:
    """`metrics.jsonl`: one synced row an evaluation, each where the rows before it end; what a resume knows is kept.

    The file is opened by its name for each row, so that one that vanished is noticed: StudyError.
    """

    def __init__(self, path: Path, keep_bytes: int):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.truncate(keep_bytes)
            file.seek(0)
            kept = file.read()
        self.bytes, self.sha = len(kept), hashlib.sha256(kept)
        self.rows: list[Row] = [json.loads(line) for line in kept.splitlines()]

    def append(self, row: Row) -> None:
        line = _line(row).encode()
        try:
            with self.path.open("r+b") as file:
                file.seek(self.bytes)
                file.write(line)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError:
            raise Gone(f"{self.path} was removed while its run was at work: start the run again") from None
        self.bytes += len(line)
        self.sha.update(line)
        self.rows.append(row)

    def settle(self) -> None:
        """See that the file holds these rows and no others, whatever a writer that was taken over may have done."""
        if not self.path.exists():
            raise Gone(f"{self.path} was removed while its run was at work: start the run again")
        if checksum(self.path) != self.sha.hexdigest():
            write_text(self.path, "".join(map(_line, self.rows)))


def _line(row: Row) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


class Clock:
    """Seconds of training so far, over all attempts; evaluation pauses it."""

    def __init__(self, before: float, device: torch.device):
        self.device = device
        self.started = time.monotonic() - before

    def seconds(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic() - self.started

    @contextmanager
    def paused(self) -> Iterator[None]:
        before = self.seconds()
        yield
        self.started = time.monotonic() - before
