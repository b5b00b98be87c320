"""Made-up results with the shape of real ones: the tidy tables that readouts, figures and the report read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from study.analysis.readouts import measure
from study.analysis.run_tables import RUN_COLUMNS
from study.config import Claim, Data, Experiment, Run, TimmVariant, Training
from study.files import write_json, write_text
from study.results import load
from study.sweep.store import Store

CLASSES = 100

# variant: (how fast the train loss falls, test accuracy at low train loss, parameters, multiply-adds)
VARIANTS = {
    "ViT_REL": (0.055, 0.33, 498_212, 31_250_000),
    "C-C-C-C": (0.36, 0.47, 501_720, 24_100_000),
    "C-C-C-T": (0.31, 0.46, 500_416, 25_300_000),
    "C-C-T-T": (0.2, 0.43, 499_104, 27_800_000),
    "C-T-T-T": (0.13, 0.38, 500_888, 29_900_000),
}


def results(
    variants: Iterable[str] = VARIANTS, seeds: Sequence[int] = (0, 1, 2), epochs: int = 20, noise: float = 1.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`curves` and `runs` of a made-up sweep: an evaluation an epoch, 78 steps of 128 images an epoch."""
    curves, runs = [], []
    for variant in variants:
        speed, best, parameters, macs = VARIANTS.get(variant, (0.3, 0.4, 500_000, 27_000_000))
        for seed in seeds:
            random = np.random.default_rng([seed, *variant.encode()])
            epoch = np.arange(1.0, epochs + 1)
            steps = (78 * epoch).astype(int)
            drift = noise * (0.03 * random.standard_normal() + 0.02 * random.standard_normal(epochs))
            probe_loss = np.log(CLASSES) * np.exp(-speed * epoch**0.95 + drift)
            fitted = np.maximum(0.01, 1 - probe_loss / np.log(CLASSES))
            shift = noise * (0.006 * random.standard_normal() + 0.003 * random.standard_normal(epochs))
            test_accuracy = best * fitted**1.5 - 0.04 * fitted**12 + shift
            curve = pd.DataFrame(
                {
                    "run": f"{variant}-{seed}",
                    "variant": variant,
                    "seed": seed,
                    "step": steps,
                    "epoch": epoch,
                    "samples": 128 * steps,
                    "running_loss": probe_loss * 1.1,
                    "probe_loss": probe_loss,
                    "probe_accuracy": np.clip(1.02 * fitted**1.4, 0.01, 1.0),
                    "test_loss": 3.2 - 1.5 * fitted + 2.5 * fitted**6,
                    "test_accuracy": np.clip(test_accuracy, 0.01, 1.0),
                    "lr": 1e-3 * (1 + np.cos(np.pi * epoch / epochs)) / 2,
                    "seconds": epoch * macs / 2.5e6,
                    "images_per_second": 128 * 78 * 2.5e6 / macs,
                }
            )
            curves.append(curve)
            last = curve.iloc[-1]
            runs.append(
                {
                    "run": f"{variant}-{seed}",
                    "variant": variant,
                    "seed": seed,
                    "status": "ok",
                    "parameters": parameters,
                    "macs": macs,
                    "steps": int(last["step"]),
                    "samples": int(last["samples"]),
                    "seconds": last["seconds"],
                    "images_per_second": last["images_per_second"],
                    "final_probe_loss": last["probe_loss"],
                    "final_probe_accuracy": last["probe_accuracy"],
                    "final_test_loss": last["test_loss"],
                    "final_test_accuracy": last["test_accuracy"],
                    "best_test_accuracy": curve["test_accuracy"].max(),
                }
            )
    return pd.concat(curves, ignore_index=True), pd.DataFrame(runs)


def curve(run: str, losses: Sequence[float], accuracies: Sequence[float], first_step: int = 1) -> pd.DataFrame:
    """One run worked by hand, named "variant seed": one epoch, 10 samples and one step between evaluations."""
    count = len(losses)
    variant, seed = run.split()
    steps = np.arange(first_step, first_step + count)
    return pd.DataFrame(
        {
            "run": run,
            "variant": variant,
            "seed": int(seed),
            "step": steps,
            "epoch": steps.astype(float),
            "samples": 10 * steps,
            "probe_loss": losses,
            "probe_accuracy": np.linspace(0.1, 0.9, count),
            "test_loss": losses,
            "test_accuracy": accuracies,
        }
    )


def diverge(curves: pd.DataFrame, runs: pd.DataFrame, run: str, after: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same tables, with one run ended by a non-finite loss after some evaluations."""
    evaluation = curves.groupby("run").cumcount()
    curves = curves[(curves["run"] != run) | (evaluation < after)]
    return curves.reset_index(drop=True), runs.assign(status=runs["status"].where(runs["run"] != run, "diverged"))


PUBLISHED = "C-C-C-C ≈ C-C-C-T ≥ C-C-T-T > C-T-T-T ≫ ViT_REL"
ENVIRONMENT = {
    "study": "0.1.0",
    "code": "0123456789ab",
    "python": "3.11.2",
    "processor": "A Processor",
    "torch": "2.6.0",
}


def results_folder(
    folder: Path,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    claims: Sequence[Claim] = (Claim(ranking=PUBLISHED, source="a paper, section 1"),),
    name: str = "generalization",
) -> Path:
    """A results folder that holds these tables as finished runs, as a sweep would have left it."""
    curves, runs = tables
    experiment = Experiment(
        name=name,
        data=Data(name="cifar100", train_size=10_000, fingerprint="fedcba987654"),
        training=Training(epochs=20),
        variants=tuple(dict.fromkeys(runs["variant"])),
        seeds=tuple(sorted({int(seed) for seed in runs["seed"]})),
        claims=tuple(claims),
    )
    store = Store.create(folder, experiment)
    for row in runs.to_dict("records"):
        run = made_up_run(experiment, row["variant"], row["seed"])
        path = store.add(run)
        own = curves[curves["run"] == row["run"]].drop(columns=["run", "variant", "seed"])
        lines = [json.dumps(line) for line in own.to_dict("records")]
        write_text(path / "metrics.jsonl", "".join(line + "\n" for line in lines))
        result = {
            key: row[key] for key in RUN_COLUMNS if key in row and not key.startswith(("run", "final", "variant"))
        }
        final = json.loads(lines[-1]) if lines else None
        result |= {"id": run.id, "label": run.label, "final": final, "environment": ENVIRONMENT}
        write_json(path / "result.json", result)
    load(folder).write_tables()
    write_text(folder / "commands.txt", "study sweep --dataset cifar100 --train-size 10000\n")
    return folder


def made_up_run(experiment: Experiment, label: str, seed: int) -> Run:
    """A run of that label; what network it names does not matter to those who read results."""
    variant = TimmVariant(model=label)
    return Run(variant=variant, data=experiment.data, training=experiment.training, seed=seed, label=label)


def readout_table(name: str, curves: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Columns variant, seed, value; one row a run, indexed by run id. The value is NaN where the run has none."""
    return runs.set_index("run")[["variant", "seed"]].assign(value=measure(name, curves, runs).values)
