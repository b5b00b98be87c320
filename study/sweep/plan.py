"""From an experiment to its runs: load the file, resolve sizes and data, cross variants with seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from study.config import (
    Data,
    Experiment,
    Run,
    Training,
    Variant,
    override,
    own_reference,
    parse_model,
    parse_variant,
    sentence,
)
from study.errors import StudyError
from study.own_files import OwnFile, beside, run_file

if TYPE_CHECKING:
    from study.models.sizing import Budget


def experiment_file(name: str) -> Path:
    """An experiment that ships with the project: beside the package in a checkout, inside it once installed."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "experiments", package / "experiments"):
        if (path := folder / f"{name}.py").exists():
            return path
    raise StudyError(f"the experiment {name}.py did not come with this installation: name a file")


def load_experiment(path: Path, name: str = "experiment") -> Experiment:
    """The experiment that a Python file defines under a name. Raises StudyError if there is none."""
    if not path.is_file():
        raise StudyError(f"there is no experiment file {path}")
    if path.suffix != ".py":
        raise StudyError(f"{path} is not a Python file")
    try:
        with beside(OwnFile(path=str(path.absolute()))):
            module = run_file(path, f"experiment_{path.stem}")
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None
    except ValidationError as error:
        raise StudyError(f"{path}: {sentence(error)}") from None
    except (Exception, SystemExit) as error:
        raise StudyError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    experiment = getattr(module, name, None)
    if not isinstance(experiment, Experiment):
        raise StudyError(f"{path} defines no `{name} = study.Experiment(...)`")
    folder = path.absolute().parent
    claims = tuple(
        claim.model_copy(update={"readout": claim.readout.removeprefix(f"{folder}/")}) for claim in experiment.claims
    )  # a function of this file, or of one beside it, is known by its file's name, as networks are
    named = [*(parse_variant(label)[0] for label in experiment.variants), *(claim.readout for claim in claims)]
    near = {file: folder / file for file, _ in filter(None, map(own_reference, named))}
    files = {file: str(lies) for file, lies in near.items() if file.endswith(".py") and lies.is_file()}
    return experiment.model_copy(update={"files": {**files, **experiment.files}, "claims": claims})


@dataclass(frozen=True)
class Plan:
    """An experiment whose data are known and whose variants have their sizes."""

    experiment: Experiment  # its data carry their fingerprint
    variants: dict[str, Variant]
    classes: int
    train_images: int  # different ones that a run sees
    test_images: int

    @property
    def runs(self) -> list[Run]:
        """Every variant with every seed; all variants of a seed before the next seed, so that comparisons fill up.

        Where learning rates are tuned, first all runs at these, then, with_shared_rate, those at the recipe's.
        """
        shared, rates = self.experiment.training, self.experiment.rates
        tuned = {label: shared.model_copy(update={"lr": rates.get(label, shared.lr)}) for label in self.variants}
        others = rates if self.experiment.runs_twice else ()
        return self._runs(tuned) + self._runs({label: shared for label in others if tuned.get(label, shared) != shared})

    def _runs(self, recipes: Mapping[str, Training]) -> list[Run]:
        return [
            Run(variant=self.variants[label], data=self.experiment.data, training=recipe, seed=seed, label=label)
            for seed in self.experiment.seeds
            for label, recipe in recipes.items()
        ]

    @property
    def steps(self) -> int:
        """Updates in one run."""
        return self.experiment.training.steps(self.train_images)


@dataclass(frozen=True)
class DataFacts:
    """What planning must know of a data set."""

    classes: int
    train_images: int
    test_images: int
    fingerprint: str


class Facts:
    """The facts of data sets, each loaded and checked once in a planning, not once for each of its subsets.

    Raises StudyError where they cannot be had, and for prepared images that were damaged since.
    """

    def __init__(self, data_dir: Path | None = None):
        self.data_dir = data_dir
        self._known: dict[Data, DataFacts] = {}
        self._checked: set[object] = set()

    def __call__(self, data: Data) -> DataFacts:
        if data not in self._known:
            from study.data import load

            whole = (data.name, data.image_size, data.fractals)
            loaded = load(data, self.data_dir, check=whole not in self._checked)
            self._checked.add(whole)
            counts = (loaded.classes, len(loaded.train_labels), len(loaded.test_labels))
            self._known[data] = DataFacts(*counts, loaded.fingerprint)
        return self._known[data]


def make_plan(experiment: Experiment, data_dir: Path | None = None, facts: Facts | None = None) -> Plan:
    """Match every variant's size, for data whose `facts` may be known already.

    Raises StudyError for whatever does not fit: unknown variants, impossible budgets, sides that do not divide, data
    that are missing, two labels for one network.
    """
    data = (facts or Facts(data_dir))(experiment.data)
    seen = data.train_images if not experiment.data.stream else experiment.training.samples or 0
    experiment.training.steps_per_epoch(seen)
    variants = resolve_variants(experiment, data.classes)
    experiment = relabelled(experiment, dict(zip(experiment.variants, variants, strict=True)))
    if experiment.rates and (missing := [label for label in variants if label not in experiment.rates]):
        raise StudyError(f"rates name no learning rate of {', '.join(missing)}")
    sources = {label: source for label, variant in variants.items() if (source := getattr(variant, "source", ""))}
    changes = {"data": experiment.data.model_copy(update={"fingerprint": data.fingerprint}), "sources": sources}
    return Plan(experiment.model_copy(update=changes), variants, data.classes, seen, data.test_images)


def resolve_variants(experiment: Experiment, classes: int) -> dict[str, Variant]:
    """Each variant of the experiment under its label, in their order, sized for the data's side and number of classes.

    A free switch, `mine.py:MyNet[width=?]`, stands in the label with the number that was found.
    """
    from study.models.catalog import resolve
    from study.models.own_networks import label_of

    budget = budget_of(experiment, classes, experiment.data.image_size)
    resolved = {text: resolve(text, budget, experiment.files) for text in experiment.variants}
    variants = {label_of(text, variant): variant for text, variant in resolved.items()}
    if len(variants) < len(resolved):
        raise StudyError(f"two of the variants {', '.join(resolved)} are the same network")
    for label, variant in variants.items():
        for other, network in variants.items():
            if label < other and variant == network:
                raise StudyError(f"variants {label} and {other} are the same network")
    return variants


def budget_of(experiment: Experiment, classes: int, side: int) -> Budget:
    """What the experiment's layouts are matched to, as classifiers of so many classes of images of that side."""
    from study.models.sizing import Budget, strides_of

    strides = strides_of(experiment.geometry, side)
    return Budget(experiment.budget, experiment.match, strides, classes, side, experiment.blocks, experiment.depths)


def with_found_sizes(experiment: Experiment, facts: Facts) -> Experiment:
    """The experiment whose free switches, `mine.py:MyNet[width=?]`, have the numbers that meet its budget.

    So all that knows variants by their labels, tuned rates and members, knows them by the ones that runs will have.
    """
    if not any("?" in label for label in experiment.variants):
        return experiment
    found = resolve_variants(experiment, facts(experiment.data).classes)
    return relabelled(experiment, dict(zip(experiment.variants, found, strict=True)))


def relabelled(experiment: Experiment, labels: Mapping[str, str]) -> Experiment:
    """The experiment with other labels for its variants, in its claims and learning rates too."""
    if all(old == new for old, new in labels.items()):
        return experiment
    claims = []
    for claim in experiment.claims:
        order = claim.order
        named = tuple(labels.get(label, label) for label in order.variants)
        claims.append(claim.model_copy(update={"ranking": str(replace(order, variants=named))}))
    rates = {labels.get(label, label): rate for label, rate in experiment.rates.items()}
    changes = {"variants": tuple(labels[label] for label in experiment.variants), "rates": rates}
    return experiment.model_copy(update={**changes, "claims": tuple(claims)})


def customise(
    experiment: Experiment, dataset: str | None, image_size: int | None, settings: dict[str, str]
) -> Experiment:
    """The experiment with another data set, another side and any settings by their dotted names."""
    data = experiment.data
    if dataset is not None and dataset != data.name:
        data = parse_model(Data, json.dumps({"name": dataset, "image_size": data.image_size}), "--dataset: ")
    if image_size is not None:
        data = override(data, {"image_size": str(image_size)}, "--image-size: ")
    return override(experiment.model_copy(update={"data": data}), settings)
