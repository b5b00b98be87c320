"""Tuned learning rates: what `study tune` froze into a results folder, and an experiment at these rates.

The learning rate is a nuisance: a ranking at one shared rate may only say which variant that rate suits. So each
variant gets the best of one small grid, by accuracy on validation images that were carved from the training images, and
by seeds that no claim is tested on. The test images decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from study.config import Experiment, Frozen, Rate, read_model
from study.errors import StudyError
from study.files import write_text

NAME = "tuned.json"


class Tuned(Frozen):
    """The grid, every value that was measured on it, and the choice. Values: by label, by rate, a seed each."""

    grid: tuple[Rate, ...] = Field(min_length=1)
    shared_rate: Rate
    seeds: tuple[int, ...]
    duration: str
    training_images: int
    validation_images: int
    subset_seed: int
    values: dict[str, dict[str, tuple[float | None, ...]]]
    rates: dict[str, Rate]

    @field_validator("values")
    @classmethod
    def _by_rate(cls, values: dict[str, Any]) -> dict[str, Any]:
        for rate in {rate for by_rate in values.values() for rate in by_rate}:
            float(rate)
        return values

    @property
    def policy(self) -> str:
        """How the rates were chosen, in a sentence."""
        grid, seeds = ", ".join(f"{rate:g}" for rate in self.grid), ", ".join(map(str, self.seeds))
        tried = grid if all(len(of_one) == len(self.grid) for of_one in self.values.values()) else f"its own of {grid}"
        return (
            f"each variant's rate is the best of {tried} by mean accuracy on {self.validation_images:,} validation "
            f"images, class-balanced out of the training images (seed {self.subset_seed}), after {self.duration} on "
            f"the other training images with seeds {seeds}, on which no claim is tested; the test images took no part"
        )

    @property
    def at_edge(self) -> list[str]:
        """Variants whose choice is the smallest or largest rate that they were run at: a better one may lie beyond."""
        tried = {label: [float(rate) for rate in of_one] for label, of_one in self.values.items()}
        return [label for label, rate in self.rates.items() if rate in (min(tried[label]), max(tried[label]))]


def key(rate: float) -> str:
    """A rate as it names values and folders."""
    return f"{rate:g}"


def choose(values: dict[str, tuple[float | None, ...]]) -> float | None:
    """The rate with the highest mean over seeds, the smaller one of equals; None if no rate has a value of every seed.

    >>> choose({"0.001": (0.5, 0.7), "0.003": (0.9, None), "0.01": (0.2, 0.3)})
    0.001
    """
    means = {float(rate): found for rate, seeds in values.items() if (found := mean(seeds)) is not None}
    return min(means, key=lambda rate: (-means[rate], rate)) if means else None


def mean(values: Sequence[float | None]) -> float | None:
    """Over seeds; None if one of them has no value, or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def read_tuned(folder: Path) -> Tuned | None:
    """What was tuned in a results folder; None if nothing was."""
    path = folder / NAME
    return read_model(Tuned, path) if path.exists() else None


def write_tuned(folder: Path, tuned: Tuned) -> Tuned:
    """Freeze the choice, and return all that is frozen: more variants may join, over a grid that has grown for them.

    Raises StudyError if another one is frozen there already.
    """
    old = read_tuned(folder)
    if old is not None:
        before, now = (each.model_dump(exclude={"values", "rates", "grid"}) for each in (old, tuned))
        if before != now or any(tuned.rates.get(label, rate) != rate for label, rate in old.rates.items()):
            raise StudyError(f"{folder / NAME} was tuned otherwise and is frozen: choose another folder with --out")
        joined = {
            "grid": tuple(sorted({*old.grid, *tuned.grid})),
            "values": {**old.values, **tuned.values},
            "rates": {**old.rates, **tuned.rates},
        }
        tuned = tuned.model_copy(update=joined)
    write_text(folder / NAME, tuned.model_dump_json(indent=2) + "\n")
    return tuned


def check_seeds(tuning_seeds: tuple[int, ...], experiment: Experiment) -> None:
    """Raises StudyError if a seed of the experiment was, or shall be, tuned with."""
    if both := sorted(set(tuning_seeds) & set(experiment.seeds)):
        raise StudyError(
            f"seeds {', '.join(map(str, both))} are for tuning and claims are tested on them too: name other --seeds"
        )


def at_tuned_rates(experiment: Experiment, tuned: Tuned | None) -> Experiment:
    """The experiment with the frozen rates of its variants, as it is if nothing was tuned.

    Raises StudyError if a variant was not tuned, if the recipe's own rate is not the one around which it was, or if a
    tuning seed is among the experiment's.
    """
    if tuned is None:
        return experiment
    check_seeds(tuned.seeds, experiment)
    labels = experiment.variants
    if missing := [label for label in labels if label not in tuned.rates]:
        raise StudyError(f"the learning rates are tuned, but those of {', '.join(missing)} not: study tune them first")
    if experiment.training.lr != tuned.shared_rate:
        raise StudyError(
            f"the recipe's learning rate is {experiment.training.lr:g}, it was tuned around {tuned.shared_rate:g}: "
            "choose another folder with --out"
        )
    return experiment.model_copy(update={"rates": {label: tuned.rates[label] for label in labels}})
