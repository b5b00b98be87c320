"""What --help says of each verb in one line, and the example with which its own page ends."""

from __future__ import annotations

import typer

LINES = {
    "new": ("Begin an experiment: a file to fill in.", "study new head_size"),
    "sweep": ("Train every variant with every seed, and rank them.", "study sweep --dataset cifar100 --seeds 0-4"),
    "transfer": ("Fine-tune every network of a finished sweep.", "study transfer results/generalization-cifar100"),
    "tune": ("Choose each variant's learning rate.", "study tune --dataset cifar100 --train-size 10000"),
    "status": ("How far a sweep is.", "study status results/generalization-cifar100"),
    "stop": ("Ask the agents of a sweep to leave.", "study stop results/generalization-cifar100"),
    "merge": ("Bring the records of results folders together.", "study merge results/mine results/theirs"),
    "rank": ("The readouts, and each claimed relation tested.", "study rank results/generalization-cifar100"),
    "compare": (
        "What differs between two results folders.",
        "study compare results/relative_attention-fractals-bf16 results/layout_depths-fractals-bf16",
    ),
    "report": ("One page with the answer and every number.", "study report results/generalization-cifar100"),
    "plot": ("Remake the figures.", "study plot results/generalization-cifar100 stages"),
    "scale": ("Accuracy against training images.", "study scale results/data_scale-fractals"),
    "runs": ("List the runs of a results folder, or show one.", "study runs results/generalization-cifar100 4f0c"),
    "export": ("Take trained networks out: safetensors, ONNX.", "study export results/generalization-cifar100"),
    "models": ("The variants, matched in size, and their cost.", "study models --budget 1.5M --variants cctt,ViT_REL"),
    "bench": ("Speed, as ratios against timm.", "study bench --rounds 3"),
    "data show": ("A contact sheet.", "study data show fractals"),
    "data prepare": ("Prepare a data set once, for all runs.", "study data prepare folder:~/pets --image-size 64"),
    "data list": ("What is prepared, where, and how large.", "study data list"),
    "data rm": ("Remove a prepared set.", "study data rm folder-pets"),
    "wandb push": ("Replay finished runs into W&B.", "study wandb push results/generalization-cifar100"),
}


def describe(app: typer.Typer, before: str = "") -> None:
    """Give the verbs of `app`, and of those below it, their line and their example."""
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        if (known := LINES.get(f"{before}{name}")) is not None:
            command.short_help, example = known
            command.epilog = f"Example: {example}"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            describe(group.typer_instance, f"{before}{group.name} ")
