"""A sweep for each number of training images: how the ranking changes as data grow (`Experiment.parts`).

The subsets are nested, and each member's runs are those that a sweep with that `--train-size` would make.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console

from study.config import Experiment
from study.designs.base import Design, Member
from study.designs.plain import member_of
from study.errors import StudyError
from study.report.console import finish_sizes
from study.sweep.members import Members, join_members
from study.sweep.plan import Facts, with_found_sizes


@dataclass
class Sizes(Design):
    """An experiment with parts, the smallest member first."""

    facts: Facts

    def __post_init__(self) -> None:
        self.experiment = with_found_sizes(self.experiment, self.facts)

    @cached_property
    def parts(self) -> dict[int, Experiment]:
        """The experiment on each of its parts, by number of training images."""
        return on_parts(self.experiment, self.facts)

    @property
    def members(self) -> Members:
        return Members(design="sizes", experiment=self.experiment, numbers=tuple(self.parts))

    @property
    def experiments(self) -> dict[Path, Experiment]:
        """The same by the results folder of each member."""
        return {self.members.folder(self.folder, images): each for images, each in self.parts.items()}

    def prepare(self) -> None:
        join_members(self.folder, self.members)

    def stages(self) -> Iterator[Sequence[Member]]:
        yield [member_of(folder, experiment, self.facts) for folder, experiment in self.experiments.items()]

    def show(self, console: Console, say: Console, as_json: bool, complete: bool) -> None:
        """Each member's tables; then the crossings and laws, if every variant has a run at two sizes."""
        finish_sizes(self.folder, console, say, as_json)


def on_parts(experiment: Experiment, facts: Facts) -> dict[int, Experiment]:
    """The experiment on each of its parts, by number of training images, the smallest first.

    On all of them its data stay as they are. Raises StudyError if two parts come to the same number of images.
    """
    total = facts(experiment.data).train_images
    sizes = [round(part * total) for part in sorted(experiment.parts)]
    if len(set(sizes)) < len(sizes) or sizes[0] < 1:
        raise StudyError(f"parts {list(experiment.parts)} of {total} training images do not give different numbers")
    found = {}
    for size in sizes:
        whole = size + (experiment.data.validation or 0)  # which are taken out of them
        data = experiment.data if size == total else experiment.data.model_copy(update={"train_size": whole})
        found[size] = experiment.model_copy(update={"name": f"{experiment.name}-{size}", "data": data, "parts": ()})
    return found
