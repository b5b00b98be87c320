"""How fast a training step of each variant is on this machine, measured in processes like the ones that will run."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.config import Data, Frozen, Training, Variant
from study.environment import use_one_core
from study.errors import StudyError, last_line
from study.sweep.executors.local import Slot
from study.sweep.plan import Plan

STEPS = 3
START_SECONDS = 4.0  # of an agent, with its imports and its data
RUN_SECONDS = 0.5  # of a further run in it
END_SECONDS = 10.0  # of a sweep: its tables and figures


@dataclass(frozen=True)
class Speed:
    """Seconds of one training step and of evaluating one batch of the same size."""

    step: float
    evaluation: float


class Measuring(Frozen):
    """What a measuring process is told, as JSON in its first argument; the second one is the device."""

    variants: dict[str, Variant]
    training: Training
    classes: int
    image_size: int


def measure(
    variants: Mapping[str, Variant], training: Training, classes: int, image_size: int, slots: Sequence[Slot]
) -> dict[str, Speed]:
    """Time a few steps of every variant on random images, one process in each slot at the same time, and average.

    Raises StudyError if a variant cannot take a step here, with the end of what its process said.
    """
    told = Measuring(variants=dict(variants), training=training, classes=classes, image_size=image_size)
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "study.sweep.measure", told.model_dump_json(), slot.device],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **slot.environment},
        )
        for slot in slots
    ]
    found: list[dict[str, list[float]]] = []
    try:
        for process in processes:
            out, err = process.communicate()
            if process.returncode:
                why = last_line(err)
                if process.returncode == -signal.SIGKILL:
                    why = "the system killed it, as it does where memory runs out; study models has --no-speed"
                raise StudyError(f"measuring the variants failed: {why}")
            found.append(json.loads(out.splitlines()[-1]))
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return {label: Speed(*(sum(times[label][i] for times in found) / len(found) for i in (0, 1))) for label in variants}


def whole_run(plan: Plan, speed: Speed) -> float:
    """Seconds of a run from its first step: steps and all evaluations."""
    recipe = plan.experiment.training
    evaluations = len(recipe.evaluation_points(plan.train_images))
    parts = (min(recipe.probe_size, plan.train_images), plan.test_images)
    batches = evaluations * sum(math.ceil(images / recipe.batch_size) for images in parts)
    return plan.steps * speed.step + batches * speed.evaluation


def estimate(seconds: Sequence[float], at_once: int) -> float:
    """Seconds that runs of so many will take: starting the agents, the runs, and the figures at the end."""
    each = [RUN_SECONDS + run for run in seconds]
    return START_SECONDS + max(sum(each) / at_once, max(each, default=0.0)) + END_SECONDS


def stream_share(variant: Variant, data: Data, training: Training, rounds: int = 5, device: str = "cpu") -> float:
    """What making the images of a stream takes of a training step on them: median over rounds, in this process.

    Each round makes one block of images and takes one step on its first batch; a block's time is shared by its batches.
    """
    from study.data.stream import Stream
    from study.models import build, place
    from study.training.evaluate import Normalisation
    from study.training.step import Stepper

    stream = Stream(data, training.batch_size, 0, device)
    network = place(build(variant, stream.fractals.classes, data.image_size), stream.device).train()
    stepper = Stepper(network, training)
    normalise = Normalisation.of(stream.first(training.batch_size)[0], stream.device)
    shares = []
    for round_ in range(rounds + 1):
        started = time.perf_counter()
        images, labels = stream.at(round_ * stream.batches_per_block)
        int(images[0, 0, 0, 0])  # waits for the device
        made = time.perf_counter()
        stepper.step(normalise(images), labels, training.lr).item()
        making, stepping = (made - started) / stream.batches_per_block, time.perf_counter() - made
        shares.append(making / (making + stepping))
    return statistics.median(shares[1:])  # the first warms up


def main(told: Measuring, on: str) -> dict[str, tuple[float, float]]:
    """The measuring process: seconds of a step and of an evaluated batch, by label."""
    import torch

    from study.models import build, place
    from study.training.evaluate import Normalisation, evaluate
    from study.training.step import Stepper

    if on == "cpu":
        use_one_core()
    device, training = torch.device(on), told.training
    generator = torch.Generator().manual_seed(0)
    shape = (training.batch_size, 3, told.image_size, told.image_size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.randint(told.classes, (training.batch_size,), generator=generator)
    normalise = Normalisation.of(images, device)
    images, labels = images.to(device), labels.to(device)
    speeds = {}
    for label, variant in told.variants.items():
        network = place(build(variant, told.classes, told.image_size), device).train()
        stepper = Stepper(network, training)
        stepper.step(normalise(images), labels, training.lr).item()
        started = time.perf_counter()
        for _ in range(STEPS):
            loss = stepper.step(normalise(images), labels, training.lr)
        loss.item()  # waits for the device
        stepped = time.perf_counter()
        evaluate(network, images, labels, normalise, training.precision)
        speeds[label] = ((stepped - started) / STEPS, time.perf_counter() - stepped)
    return speeds


if __name__ == "__main__":
    print(json.dumps(main(Measuring.model_validate_json(sys.argv[1]), sys.argv[2])))
