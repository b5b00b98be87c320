"""The verb that begins an experiment: a file with its card to fill in, which runs as it stands."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Annotated

import typer

from study.cli.options import Json, answer, app
from study.config import Experiment
from study.errors import StudyError

TEMPLATE = Template('''"""$title: the question, in one sentence that ends with a question mark?

Claim     C-C-T-T > C-C-T-T[relative_bias=none]: what you expect, in the notation A > B, A ≈ B, A ≥ B, A ≫ B
Paper     who says so, where, and measured on what; or "none"
Here      the data, the size of the networks and the training that you chose, and how they differ from the paper's
Readout   what is compared; ε: up to which difference you would say that there is none, Δ: beyond which it is large
Chosen    on which other seeds the settings above were chosen, and what these showed: never on the seeds of the claim
Cost      how long it takes where: study sweep $file --dry-run measures it
Command   study sweep $file
"""

from study import Claim, Data, Experiment, Fractals, Training

experiment = Experiment(
    name="$name",
    # Variants: study models lists them; switches stand in brackets, FILE.py:NAME is a network of your own.
    variants=("C-C-T-T", "C-C-T-T[relative_bias=none]"),
    seeds=(0, 1, 2, 3, 4),  # fewer than 5 rarely decide anything
    budget=200_000,  # parameters of each variant, within 1 %
    # Data: embedded fractals, which need no download. Data(name="cifar100", train_size=10_000) is another choice.
    data=Data(fractals=Fractals(classes=10, train_images=1000, test_images=1000)),
    training=Training(epochs=10, batch_size=64, lr=1e-3, evaluations=8, probe_size=500),
    # What is tested, and nothing else: stated before the first run and kept with the results.
    claims=(
        Claim(
            ranking="C-C-T-T > C-C-T-T[relative_bias=none]",
            readout="accuracy_at_matched_loss",
            epsilon=0.01,
            delta=0.03,
            source="where the claim is published, or who expects it",
        ),
    ),
)
''')


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the experiment; or FOLDER/NAME, where to write it.")],
    as_json: Json = False,
) -> None:
    """Write NAME.py, an experiment with a card to fill in. It runs as it stands; no file is overwritten."""
    path = Path(name.removesuffix(".py") + ".py")
    try:
        Experiment(name=path.stem)
    except ValueError:
        raise StudyError(
            f"{name!r} is no name for an experiment: small letters, digits, - and _, such as head_size"
        ) from None
    text = TEMPLATE.substitute(name=path.stem, title=path.stem.replace("_", " ").capitalize(), file=path)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StudyError(f"{path} exists and is not overwritten: choose another name") from None
    except FileNotFoundError:
        raise StudyError(f"the folder {path.parent} does not exist: make it, or leave it out") from None
    next_step = f"next: fill in its card, then study sweep {path} --dry-run"
    answer([path, next_step], {"file": str(path), "name": path.stem}, as_json)
