"""Preparing and loading data larger than memory, measured: `python tests/bench_data.py [--folder DIR]`.

Writes trees of JPEGs (60,000 of 96 x 96, prepared at 64 pixels; 5,000 of 500 x 375, at 224: fractals with noise),
prepares each in a process of its own, and trains some steps of C-C-T-T (300K parameters, the paper's strides) on each
with images from the memory map and with the same images in memory, side by side in one run. Prints images a second,
peak memory of all its processes together and the loader's part of a step.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from study.environment import use_one_core

CLASSES = 20
DISTINCT = 400  # fractals; each picture adds noise of its own


def write_tree(root: Path, count: int, size: tuple[int, int]) -> None:
    """`count` JPEGs of (width, height) `size`, a sixth of them test images: fractals with a little noise."""
    from study.config import Fractals
    from study.data.fractals import batch

    rng = np.random.default_rng(0)
    fractals = batch(torch.arange(DISTINCT), Fractals(classes=CLASSES), "train", 96)[0].permute(0, 2, 3, 1).numpy()
    pictures = [Image.fromarray(image).resize(size, Image.Resampling.BICUBIC) for image in fractals]
    for number in range(count):
        label = number % CLASSES
        folder = root / ("test" if number // CLASSES % 6 == 5 else "train") / f"{label:02}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.asarray(pictures[number % DISTINCT], np.int16)
        noisy = (pixels + rng.integers(-12, 13, (*pixels.shape[:2], 1), np.int16)).clip(0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{number:06}.jpg", quality=90)


PREPARE = """
import json, sys, threading, time
from pathlib import Path
import psutil
from study.config import Data
from study.data import load
me, peak, done = psutil.Process(), [0], threading.Event()
def watch():
    while not done.wait(0.1):
        total = 0
        for process in (me, *me.children()):
            try: total += process.memory_full_info().uss
            except psutil.Error: pass
        peak[0] = max(peak[0], total)
base = me.memory_full_info().uss
threading.Thread(target=watch, daemon=True).start()
began = time.perf_counter()
data = load(Data(name="folder:" + sys.argv[1], image_size=int(sys.argv[2])), Path(sys.argv[3]))
seconds = time.perf_counter() - began
done.set()
print(json.dumps({"seconds": seconds, "private_mib_all": peak[0] / 2**20, "private_mib_before": base / 2**20,
                  "fingerprint": data.fingerprint}))
"""


def prepare(root: Path, side: int, place: Path) -> dict[str, float]:
    command = [sys.executable, "-c", PREPARE, str(root), str(side), str(place)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def training(root: Path, side: int, place: Path, batch_size: int, steps: int) -> dict[str, float]:
    """Seconds of a step of C-C-T-T and of waiting for its batch, images mapped (read ahead, and not) and in memory."""
    from study.config import Data, Training
    from study.data import load
    from study.data.batches import Batches
    from study.models import build
    from study.models import place as placed
    from study.sweep.plan import experiment_file, load_experiment, resolve_variants
    from study.training.evaluate import Normalisation
    from study.training.step import Stepper

    began = time.perf_counter()
    data = load(Data(name=f"folder:{root}", image_size=side), place)
    opened = time.perf_counter() - began
    experiment = load_experiment(experiment_file("generalization")).model_copy(update={"variants": ("C-C-T-T",)})
    sized = experiment.data.model_copy(update={"image_size": side})
    experiment = experiment.model_copy(update={"data": sized, "geometry": "paper"})
    variant = next(iter(resolve_variants(experiment, data.classes).values()))
    network = placed(build(variant, data.classes, side), torch.device("cpu")).train()
    stepper, normalise = (
        Stepper(network, Training(batch_size=batch_size)),
        Normalisation.from_levels(data.levels, torch.device("cpu")),
    )
    ahead = Batches(data.train_images, data.train_labels, batch_size, 0)
    mapped = Batches(data.train_images, data.train_labels, batch_size, 0)
    mapped._thread = None
    kinds = {"ahead": ahead, "mapped": mapped}
    if data.train_images.nbytes < 2**30:
        kinds["memory"] = Batches(np.array(data.train_images), data.train_labels, batch_size, 0)
    waits: dict[str, list[float]] = {kind: [] for kind in kinds}
    totals: dict[str, list[float]] = {kind: [] for kind in kinds}
    for step in range(steps + 1):
        for kind, batches in kinds.items():
            began = time.perf_counter()
            images, labels = batches.at(step)
            waited = time.perf_counter() - began
            stepper.step(normalise(images), labels, 1e-3).item()
            if step:  # the first warms up
                waits[kind].append(waited)
                totals[kind].append(time.perf_counter() - began)
    found = {"open_s": opened}
    for kind in kinds:
        found[f"{kind}_step_s"] = statistics.median(totals[kind])
        found[f"{kind}_wait_share"] = sum(waits[kind]) / sum(totals[kind])
        found[f"{kind}_images_per_s"] = batch_size / found[f"{kind}_step_s"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the trees and arrays go; by default a temporary one")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the images, for a first try")
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    use_one_core()  # as agents do
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for side, count, size, batch_size in ((64, 60_000, (96, 96), 64), (224, 5_000, (500, 375), 16)):
            root, images = Path(folder) / f"tree{side}", round(count * given.scale)
            write_tree(root, images, size)
            made = prepare(root, side, Path(folder) / "data")
            made["images_per_s"] = images / made["seconds"]
            trained = training(root, side, Path(folder) / "data", batch_size, given.steps)
            print(json.dumps({"side": side, "images": images, "prepare": made, "train": trained}), flush=True)
    print(json.dumps({"peak_mib_of_training": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
