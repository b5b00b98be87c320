"""`study tune`: one small grid of learning rates, the same for every variant, on a validation split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from study.config import Experiment
from study.data import load
from study.errors import StudyError
from study.printing import rich_table
from study.report.tuning_table import tuning_table
from study.session import COMPLETE, Options, Session, folder_of
from study.sweep.family import Family, members
from study.sweep.measure import Speed
from study.sweep.plan import make_plan
from study.sweep.store import TUNING, Store
from study.sweep.tuned import NAME, Tuned, check_seeds, choose, key, read_tuned, write_tuned

FACTORS = (1 / 3, 1.0, 3.0)  # of the recipe's rate
SEEDS = (1000, 1001)
PART = 0.2  # of the training images, for validation


@dataclass(frozen=True)
class Grid:
    """What is tried for every variant: rates (None: a third, once and three times the recipe's), seeds, how long.

    `epochs` shortens (or lengthens) the tuning runs alone; `part` of the training images is kept back to validate on.
    """

    rates: tuple[float, ...] | None = None
    seeds: tuple[int, ...] = SEEDS
    part: float = PART
    epochs: int | None = None

    def around(self, rate: float) -> tuple[float, ...]:
        """The rates, ascending, the shared one among them. Raises StudyError if it is not, or if they are too few."""
        rates = self.rates or tuple(float(f"{rate * factor:.3g}") for factor in FACTORS)
        if rate not in rates or len(set(rates)) < 2 or min(rates) <= 0:
            raise StudyError(f"rates {list(rates)} are not two or more above 0 with the recipe's {rate:g} among them")
        return tuple(sorted(set(rates)))


def tune(experiment: Experiment, grid: Grid, options: Options, say: Console) -> tuple[dict[Path, Tuned], int]:
    """Tune an experiment, or each member of a family: what was frozen, by results folder, and the exit code.

    Runs that are not done yet are trained, in `tuning/lr-RATE` of the results folder, each a results folder like any
    other; the same command resumes. Nothing is frozen before all are done. Raises StudyError for seeds that claims are
    tested on, for a grid without the recipe's rate, and if every rate of a variant diverged.
    """
    folder, parts = folder_of(experiment, options), {}
    if experiment.parts:
        sizes = members(experiment, options.data_dir)
        if not options.dry_run:
            Family.create(folder, experiment, list(sizes))
        parts = {Family.member_folder(folder, size): member for size, member in sizes.items()}
    found: dict[Path, Tuned] = {}
    speeds: Mapping[str, Speed] = {}
    for out, member in (parts or {folder: experiment}).items():
        tuned, code, speeds = _tune(member, grid, replace(options, out=out), say, speeds)
        if tuned is None and not options.dry_run:
            return found, code
        if tuned is not None:
            found[out] = tuned
    return found, COMPLETE


def _tune(
    experiment: Experiment, grid: Grid, options: Options, say: Console, speeds: Mapping[str, Speed]
) -> tuple[Tuned | None, int, Mapping[str, Speed]]:
    """One experiment: None if not all runs ended."""
    assert options.out is not None
    rates = grid.around(experiment.training.lr)
    check_seeds(grid.seeds, experiment)
    if not options.dry_run:  # the experiment and its claims are recorded before anything is known of its rates
        whole = Store.create(options.out, make_plan(experiment, options.data_dir).experiment)
        check_seeds(grid.seeds, whole.experiment)
    images = len(load(experiment.data, options.data_dir).train_labels)
    back = max(1, round(grid.part * images))
    stores = {}
    for rate in rates:
        tried = _experiment_at(experiment, rate, back, grid)
        session = Session(tried, replace(options, out=options.out / TUNING / f"lr-{key(rate)}"), say)
        session.speeds = dict(speeds)
        store, code = session.run()
        speeds = session.speeds
        if options.dry_run or store is None:
            continue
        if code != COMPLETE:
            return None, code, speeds
        store.write_tables()
        stores[rate] = store
    if options.dry_run:
        return None, COMPLETE, speeds
    values = {label: _values(label, stores, grid.seeds) for label in experiment.variants}
    chosen = {label: choose(tried) for label, tried in values.items()}
    if hopeless := [label for label, rate in chosen.items() if rate is None]:
        raise StudyError(f"at every rate a run of {', '.join(hopeless)} diverged: give lower --rates")
    tuned = Tuned(
        grid=rates,
        shared_rate=experiment.training.lr,
        seeds=grid.seeds,
        duration=_experiment_at(experiment, rates[0], back, grid).training.duration,
        training_images=images - back,
        validation_images=back,
        subset_seed=experiment.data.subset_seed,
        values=values,
        rates={label: rate for label, rate in chosen.items() if rate is not None},
    )
    write_tuned(options.out, tuned)
    return read_tuned(options.out), COMPLETE, speeds


def _experiment_at(experiment: Experiment, rate: float, back: int, grid: Grid) -> Experiment:
    """The experiment at one rate of the grid, validated on `back` of its training images."""
    recipe = experiment.training.model_copy(update={"lr": rate})
    if grid.epochs is not None:
        recipe = recipe.model_copy(update={"epochs": grid.epochs, "samples": None})
    data = experiment.data.model_copy(update={"validation": back, "fingerprint": ""})
    changes = {"name": f"{experiment.name}-tuning", "training": recipe, "data": data, "seeds": grid.seeds}
    return experiment.model_copy(update={**changes, "claims": (), "rates": {}, "parts": ()})


def _values(label: str, stores: Mapping[float, Store], seeds: Sequence[int]) -> dict[str, tuple[float | None, ...]]:
    """Validation accuracy at the end of each tuning run, by rate; None where it diverged."""
    found = {}
    for rate, store in stores.items():
        runs = store.results()
        alive = runs[(runs["variant"] == label) & (runs["status"] != "diverged")]
        reached = dict(zip(alive["seed"], alive["final_test_accuracy"].astype(float), strict=True))
        found[key(rate)] = tuple(reached.get(seed) for seed in seeds)
    return found


def show_tuned(found: Mapping[Path, Tuned], console: Console) -> None:
    """Print what was frozen: the mean validation accuracy of every rate, and each variant's choice."""
    for folder, tuned in found.items():
        table = tuning_table(tuned)
        console.print(rich_table(table, table.title))
        for note in table.notes:
            console.print(note, soft_wrap=True, highlight=False)
        console.print(f"frozen in {folder / NAME}", soft_wrap=True, highlight=False)
