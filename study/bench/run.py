"""The benchmark: ratios of speeds, both sides interleaved in one process with one thread and one allocator setting.

- Networks: ours, trained as the harness trains, against timm's of the same layout, widths, depths and strides, trained
  the plain way (fp32, contiguous memory, default AdamW).
- Harness: `train` with its checkpoints, logging and progress, evaluation excluded, against a bare loop around the same
  network.
- Fractals: images a second on one core, and what making them takes of a training step in the capacity experiment.
- Further runs: what an agent needs for one run more, of one step and a small evaluation, beside a whole run of the
  quick experiment.

A ratio above 1 means that ours is faster. Times depend on the machine, ratios much less; minimum and median over the
rounds are given, because another program can only slow a round down.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from study.config import STUDY_VARIANTS, CoAtNetVariant, Data, Fractals, Run, Training, Variant, ViTRelVariant, override
from study.errors import StudyError, last_line
from study.sweep.executors.local import ONE_THREAD

Ratio = dict[str, Any]  # of `ratio`
BATCH, SIDE, CLASSES = 128, 32, 100
DEPTHS, WIDTHS, STRIDES = (2, 2, 2, 2, 2), (32, 48, 96, 192, 256), (2, 1, 2, 2, 2)  # timm needs heads that fit


def bench_variant(name: str) -> Variant:
    """The network of a layout in the benchmark: the same widths for all, so that timm can build it too."""
    if name == "ViT_REL":
        return ViTRelVariant(patch=8, depth=6, width=192)
    return CoAtNetVariant(layout=name, depths=DEPTHS, widths=WIDTHS, strides=STRIDES)


def networks(name: str, rounds: int) -> list[Ratio]:
    """Ours in fp32 and in bf16 against timm's plain training of the same network."""
    import torch
    from torch.nn import functional as F

    from study.bench.timm_twins import timm_coatnet, timm_vit_rel
    from study.models import build, place
    from study.training.step import Stepper

    variant = bench_variant(name)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    steppers = {
        precision: Stepper(
            place(build(variant, CLASSES, SIDE), torch.device("cpu")).train(), Training(precision=precision)
        )
        for precision in ("fp32", "bf16")
    }
    make = timm_vit_rel if isinstance(variant, ViTRelVariant) else timm_coatnet
    other = make(variant, CLASSES, SIDE).train()
    optimizer = torch.optim.AdamW(other.parameters(), lr=1e-3)

    def plain() -> None:
        optimizer.zero_grad()
        F.cross_entropy(other(images), labels).backward()
        optimizer.step()

    sides: dict[str, Callable[[], object]] = {"timm": plain}
    for precision, stepper in steppers.items():
        sides[precision] = partial(stepper.step, channels_last, labels, 1e-3)
    times = interleaved(sides, rounds)
    return [ratio(f"{name} {p} / timm plain fp32", times[p], times["timm"], BATCH) for p in steppers]


def harness(rounds: int, steps: int = 16) -> Ratio:
    """`train`, evaluation excluded, against a bare loop around the same network on the same images, C-C-T-T in fp32."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from study.data import load
    from study.data.batches import Batches
    from study.models import build, place
    from study.training.evaluate import Normalisation
    from study.training.loop import train
    from study.training.optimizer import make_optimizer

    data = Data(fractals=Fractals(train_images=BATCH * steps // 2, test_images=BATCH))
    recipe = Training(epochs=2, batch_size=BATCH, probe_size=BATCH)
    run = Run(variant=bench_variant("C-C-T-T"), data=data, training=recipe, seed=0)
    arrays = load(data)
    images = torch.from_numpy(arrays.train_images)
    normalise = Normalisation.of(images, torch.device("cpu"))
    seconds: dict[str, list[float]] = {"harness": [], "bare": []}
    for _ in range(rounds):
        network = place(build(run.variant, arrays.classes, SIDE), torch.device("cpu")).train()
        optimizer = make_optimizer(network, recipe)
        batches = Batches(images, arrays.train_labels, BATCH, 0)
        started = time.perf_counter()
        for step in range(steps):
            images_BCHW, labels_B = batches.at(step)
            loss = F.cross_entropy(network(normalise(images_BCHW)), labels_B)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimizer.step()
        seconds["bare"].append((time.perf_counter() - started) / steps)
        with tempfile.TemporaryDirectory() as folder:
            result = train(run, Path(folder), on_progress=partial(print, file=io.StringIO()))
        assert result is not None
        seconds["harness"].append(result["seconds"] / result["steps"])
    return ratio("harness / bare loop", seconds["harness"], seconds["bare"], BATCH)


def fractals(rounds: int, count: int = 2000) -> float:
    """Fractal images a second on this core at 32 pixels, the best of the rounds."""
    import torch

    from study.data.fractals import batch

    settings = Fractals()
    batch(torch.arange(8), settings, "train", SIDE)  # chooses the codes, once
    times = []
    for i in range(rounds):
        started = time.perf_counter()
        batch(torch.arange(i * count, (i + 1) * count), settings, "train", SIDE)
        times.append(time.perf_counter() - started)
    return count / min(times)


def streams(rounds: int) -> dict[str, float]:
    """What making its images takes of a training step, by variant, in the capacity experiment as it ships."""
    from study.sweep.measure import stream_share
    from study.sweep.plan import experiment_file, load_experiment, resolve_variants

    experiment = load_experiment(experiment_file("capacity"))
    assert experiment.data.fractals is not None
    variants = resolve_variants(experiment, experiment.data.fractals.classes)
    return {
        label: stream_share(variant, experiment.data, experiment.training, rounds)
        for label, variant in variants.items()
    }


def further_run(rounds: int) -> tuple[float, float]:
    """Processor seconds of a further run of an agent, of one step, and what part of a run of the quick sweep that is.

    The networks are those of the quick experiment; the images are a batch to train on and one of each class to test.
    """
    from study.sweep.agent import Agent
    from study.sweep.executors import Order
    from study.sweep.executors.local import slots
    from study.sweep.measure import estimate, measure, whole_run
    from study.sweep.plan import experiment_file, load_experiment, make_plan
    from study.sweep.store import Store

    quick = load_experiment(experiment_file("quick"))
    plan = make_plan(quick)
    speeds = measure(plan.variants, quick.training, plan.classes, quick.data.image_size, slots("cpu", 1))
    whole = estimate([whole_run(plan, speeds[run.label]) for run in plan.runs], 1) / len(plan.runs)
    batch = str(quick.training.batch_size)
    once = {"training.epochs": "null", "training.samples": batch, "training.evaluations": "null"}
    few = {"training.probe_size": batch, "data.fractals.train_images": batch}
    short = override(quick, {**once, **few, "data.fractals.test_images": str(plan.classes), "claims": "[]"})
    with tempfile.TemporaryDirectory() as folder:
        for seeds in (range(1), range(1, 1 + rounds)):  # the first of them import and load
            store = Store.create(Path(folder), short.model_copy(update={"seeds": tuple(seeds)}))
            store.plan(make_plan(store.experiment).runs)
            agent = Agent(Order({folder: ""}, device="cpu", agent="bench"), threading.Event())
            began = time.process_time()
            agent.work()
            seconds = (time.process_time() - began) / (len(seeds) * len(short.variants))
    return seconds, seconds / whole


def interleaved(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round, after one call each to warm up."""
    for call in sides.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, call in sides.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return times


def ratio(name: str, ours: list[float], theirs: list[float], images: int) -> Ratio:
    """How many times as fast the first side is as the second, over rounds; `speed` is the first's, in images/s."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "name": name,
        "minimum": min(ratios),
        "median": statistics.median(ratios),
        "speed": images / min(ours),
        "rounds": len(ratios),
    }


def run_bench(rounds: int, layouts: tuple[str, ...] = STUDY_VARIANTS) -> dict[str, Any]:
    """The whole benchmark in a process of its own, with the agents' thread and memory for both sides.

    Raises StudyError, with the last line of what the process said, if it fails.
    """
    order = json.dumps({"rounds": rounds, "layouts": layouts})
    done = subprocess.run(
        [sys.executable, "-m", "study.bench.run", order],
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StudyError(f"the benchmark failed: {last_line(done.stderr)}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(order: dict[str, Any]) -> dict[str, Any]:
    """The benchmark's process."""
    from study.environment import environment, use_one_core

    use_one_core()
    ratios = [ratio for name in order["layouts"] for ratio in networks(name, order["rounds"])]
    ratios.append(harness(order["rounds"]))
    return {
        "ratios": ratios,
        "fractals_per_second": fractals(order["rounds"]),
        "stream_share": streams(order["rounds"]),
        "further_run": further_run(order["rounds"]),
        "environment": environment(),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
