"""A sweep for each learning rate of one small grid, on a validation split (`study tune`): each variant's rate.

The learning rate is a nuisance: a ranking at one shared rate may only say which variant that rate suits. So each
variant gets the best of a grid, by accuracy on validation images carved from the training images, on seeds that no
claim is tested on. Where a choice lies at the edge of the grid, the grid grows in that direction until it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from study.analysis.curves import ended_well
from study.config import Experiment, parse_model
from study.designs.base import Design, Member
from study.designs.sizes import Sizes
from study.errors import StudyError
from study.report.console import show_tuned
from study.results import load
from study.sweep.joining import differences
from study.sweep.plan import Facts, make_plan, with_found_sizes
from study.sweep.store import TUNING, Store
from study.sweep.tuned import NAME, Tuned, check_seeds, choose, key, read_tuned, write_tuned

FACTORS = (1 / 3, 1.0, 3.0)  # of the recipe's rate
SEEDS = (1000, 1001)
PART = 0.2  # of the training images, for validation
MOST_GROWTH = 4  # times that a grid may grow on either side: by a factor of 81


@dataclass(frozen=True)
class Grid:
    """What is tried for every variant: rates (None: a third, once and three times the recipe's), seeds, how long.

    `epochs` shortens (or lengthens) the tuning runs alone; `part` of the training images is kept back to validate on.
    With `grow`, the grid grows by its own factor where a variant's choice lies at its edge.
    """

    rates: tuple[float, ...] | None = None
    seeds: tuple[int, ...] = SEEDS
    part: float = PART
    epochs: int | None = None
    grow: bool = True

    def around(self, rate: float) -> tuple[float, ...]:
        """The rates, ascending, the shared one among them. Raises StudyError if it is not, or if they are too few."""
        rates = self.rates or tuple(rate if factor == 1 else _rounded(rate * factor) for factor in FACTORS)
        if rate not in rates or len(set(rates)) < 2 or not 0 < min(rates) <= max(rates) < float("inf"):
            raise StudyError(f"rates {list(rates)} are not two or more above 0 with the recipe's {rate:g} among them")
        return tuple(sorted(set(rates)))


@dataclass
class Rates(Design):
    """The rates of an experiment, or of each size of one with parts. `tuned`: what was frozen, by results folder.

    Raises StudyError for seeds that claims are tested on and for a grid without the recipe's rate; and, once all runs
    are done, if every rate of a variant diverged.
    """

    grid: Grid
    facts: Facts
    tuned: dict[Path, Tuned] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.experiment = with_found_sizes(self.experiment, self.facts)
        check_seeds(self.grid.seeds, self.experiment)
        self.grid.around(self.experiment.training.lr)
        if self.experiment.data.validation:
            raise StudyError("study tune keeps validation images back itself: leave out data.validation")

    @cached_property
    def sizes(self) -> Sizes | None:
        """The sweeps that the rates are for, if the experiment has parts."""
        return Sizes(self.experiment, self.options, self.facts) if self.experiment.parts else None

    @property
    def experiments(self) -> dict[Path, Experiment]:
        """What is tuned, by the results folder that the choice is frozen into."""
        return self.sizes.experiments if self.sizes else {self.folder: self.experiment}

    def prepare(self) -> None:
        """Record experiments and claims before anything is known of their rates."""
        if self.sizes:
            self.sizes.prepare()
        for folder, experiment in self.experiments.items():
            plan = Member.of(folder, make_plan(experiment, facts=self.facts)).plan
            store = Store.create(folder, plan.experiment, plan.runs)
            check_seeds(self.grid.seeds, store.experiment)

    def stages(self) -> Iterator[Sequence[Member]]:
        """All rates of all experiments together; then, for those whose choice is at an edge, the next rates."""
        rates = {folder: self._rates(folder, each) for folder, each in self.experiments.items()}
        open_ = {}
        for folder, experiment in self.experiments.items():
            frozen = read_tuned(folder)
            left = tuple(each for each in experiment.variants if frozen is None or each not in frozen.rates)
            if left:
                open_[folder] = experiment.model_copy(update={"variants": left})
            elif frozen is not None:
                self.tuned[folder] = frozen
        while open_:
            yield [
                Member(_folder(folder, rate), make_plan(self._trial(each, rate), facts=self.facts))
                for folder, each in open_.items()
                for rate in rates[folder]
            ]
            for folder, experiment in list(open_.items()):
                tuned = self._choice(folder, experiment, rates[folder])
                further = self._further(tuned, experiment)
                if not further:
                    self.tuned[folder] = write_tuned(folder, tuned)
                    del open_[folder]
                rates[folder] = tuple(sorted({*rates[folder], *further}))

    def _rates(self, folder: Path, experiment: Experiment) -> tuple[float, ...]:
        """The grid to begin with; what is frozen already, grown or not, stays. Raises StudyError for another one."""
        frozen, asked = read_tuned(folder), self.grid.around(experiment.training.lr)
        if frozen is None:
            return asked
        terms = self._terms(experiment)
        if differs := differences({key: getattr(frozen, key) for key in terms}, terms):
            raise StudyError(f"{folder / NAME} is frozen ({differs}): ask for the same, or choose another --out")
        if not set(asked) <= set(frozen.grid):
            raise StudyError(f"{folder / NAME} was tuned otherwise and is frozen: choose another folder with --out")
        return frozen.grid

    def _trial(self, experiment: Experiment, rate: float) -> Experiment:
        """The experiment at one rate, validated on images kept back from the training images."""
        recipe = experiment.training.model_copy(update={"lr": rate})
        if self.grid.epochs is not None:
            recipe = recipe.model_copy(update={"epochs": self.grid.epochs, "samples": None})
        data = experiment.data.model_copy(update={"validation": self._kept_back(experiment), "fingerprint": ""})
        changes = {"name": f"{experiment.name}-tuning", "training": recipe, "data": data, "seeds": self.grid.seeds}
        trial = experiment.model_copy(update={**changes, "claims": (), "rates": {}, "parts": ()})
        return parse_model(Experiment, trial.model_dump_json(), "tuning: ")

    def _kept_back(self, experiment: Experiment) -> int:
        return max(1, round(self.grid.part * self.facts(experiment.data).train_images))

    def _choice(self, folder: Path, experiment: Experiment, rates: Sequence[float]) -> Tuned:
        """Each variant's rate, with every value that led to it. All runs are done."""
        reached = {rate: _validation_accuracies(_folder(folder, rate)) for rate in rates}
        values = {
            label: {
                key(rate): tuple(reached[rate].get((label, seed)) for seed in self.grid.seeds) for rate in sorted(rates)
            }
            for label in experiment.variants
        }
        chosen = {label: choose(tried) for label, tried in values.items()}
        if hopeless := [label for label, rate in chosen.items() if rate is None]:
            raise StudyError(f"at every rate a run of {', '.join(hopeless)} diverged: give lower --rates")
        return Tuned(
            **self._terms(experiment),
            grid=tuple(sorted(rates)),
            values=values,
            rates={label: rate for label, rate in chosen.items() if rate is not None},
        )

    def _terms(self, experiment: Experiment) -> dict[str, Any]:
        """On what all rates are tried: what a frozen choice has in common with one that joins it."""
        images, back = self.facts(experiment.data).train_images, self._kept_back(experiment)
        return {
            "shared_rate": experiment.training.lr,
            "seeds": self.grid.seeds,
            "duration": self._trial(experiment, experiment.training.lr).training.duration,
            "training_images": images - back,
            "validation_images": back,
            "subset_seed": experiment.data.subset_seed,
        }

    def _further(self, tuned: Tuned, experiment: Experiment) -> tuple[float, ...]:
        """The rates beyond those ends of the grid at which a variant's choice lies."""
        first = self.grid.around(experiment.training.lr)
        factor = first[-1] / first[-2]
        reach = factor ** (MOST_GROWTH + 0.5)
        low, high = min(tuned.grid), max(tuned.grid)
        found = []
        if low in tuned.rates.values() and low / factor > first[0] / reach:
            found.append(_rounded(low / factor))
        if high in tuned.rates.values() and high * factor < first[-1] * reach:
            found.append(_rounded(high * factor))
        return tuple(found) if self.grid.grow else ()

    def show(self, console: Console, say: Console, as_json: bool, complete: bool) -> None:
        """What was frozen: the mean validation accuracy of every rate, and each variant's choice."""
        show_tuned(self.tuned, console, as_json)


def _folder(folder: Path, rate: float) -> Path:
    """Where the runs at a rate lie."""
    return folder / TUNING / f"lr-{key(rate)}"


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


def _validation_accuracies(folder: Path) -> Mapping[tuple[str, int], float]:
    """Accuracy on the validation images at the end of each tuning run that did not diverge."""
    alive = ended_well(load(folder).runs)
    values = alive["final_test_accuracy"].astype(float)
    return dict(zip(zip(alive["variant"], alive["seed"], strict=True), values, strict=True))
