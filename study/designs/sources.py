"""From trained networks to the runs of a transfer experiment: fine-tune each one, and train its like from scratch.

Labels: a fine-tuned network keeps the label of its pretraining, `C-C-T-T`; the control, the same network trained from
its first weights under the same recipe, is `C-C-T-T[start=scratch]`. With a frozen network (linear probing) the control
is a classifier on random features. A run has the seed of its pretraining run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.config import Data, Experiment, Pretraining, Run, Start, Variant, canonical_label, scratch_label
from study.errors import StudyError
from study.models.catalog import resolve
from study.models.cost import skeleton
from study.models.interop import classifier_names, read_weights
from study.results import load
from study.sweep.members import Reached
from study.sweep.plan import Facts, Plan, budget_of
from study.sweep.records import Damaged, sound_weights
from study.sweep.store import Store
from study.training.start import fingerprint

SIZES = ("budget", "match", "depths", "geometry", "blocks")  # which a transfer shares with its pretraining


@dataclass(frozen=True)
class Source:
    """A trained network to start from, and the seed of the runs that do."""

    label: str
    seed: int
    variant: Variant
    start: Start


@dataclass(frozen=True)
class Sources:
    """Networks trained alike, and what they reached in pretraining."""

    networks: tuple[Source, ...]
    pretraining: Pretraining
    reached: tuple[Reached, ...]
    experiment: Experiment | None = None
    skipped: tuple[str, ...] = ()  # a sentence for each run that cannot be started from


def sources_of_folder(
    folder: Path, variants: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> Sources:
    """The finished runs of a pretraining sweep, of all its variants and seeds or of some.

    Raises StudyError if the folder holds no results, lacks a variant or seed that is asked for, or has no run to start
    from.
    """
    store = Store(folder)
    experiment = store.experiment
    wanted = [canonical_label(name) for name in variants or experiment.variants]
    known = experiment.variants
    if unknown := [label for label in wanted if label not in known]:
        raise StudyError(f"{folder} has no variant {', '.join(unknown)}: it has {', '.join(known)}")
    if missing := [str(seed) for seed in seeds or () if seed not in experiment.seeds]:
        there = ", ".join(map(str, experiment.seeds))
        raise StudyError(f"{folder} has no seed {', '.join(missing)}: it has {there}")
    networks, skipped, bare = [], [], []
    for run in store.runs_at(experiment.rates):  # at tuned rates, if there are any
        if run.label not in wanted or (seeds is not None and run.seed not in seeds):
            continue
        path = store.path(run.id).absolute() / "weights.pt"
        state = store.state(run.id)
        if state != "done":
            skipped.append(f"{run.label} seed {run.seed} is {state}")
            continue
        if not path.is_file():
            bare.append(f"{run.label} seed {run.seed}")
            continue
        try:
            sound_weights(path.parent)
        except Damaged as damaged:
            skipped.append(f"{run.label} seed {run.seed}: {damaged}")
            continue
        start = Start(
            run=run.id, weights=fingerprint(read_weights(path)), image_size=run.data.image_size, path=str(path)
        )
        networks.append(Source(run.label, run.seed, run.variant, start))
    if bare:
        again = (
            "which are not committed: make the pretraining again with another --out, or delete their folders and go on"
        )
        skipped.append(f"{', '.join(bare)} without weights, {again}")
    if not networks:
        raise StudyError(f"{folder} has no finished run to start from{': ' if skipped else ''}{', '.join(skipped)}")
    runs = load(folder).runs
    values = dict(zip(runs["run"], runs["final_test_accuracy"].astype(float), strict=True))
    reached = tuple(Reached(variant=each.label, seed=each.seed, value=values[each.start.run]) for each in networks)
    pretraining = Pretraining(
        name=experiment.name, data=experiment.data, training=experiment.training, rates=experiment.rates
    )
    return Sources(tuple(networks), pretraining, reached, experiment, tuple(skipped))


def source_of_file(
    path: Path, variant: str, image_size: int, seeds: Sequence[int], template: Experiment, classes: int = 1000
) -> Sources:
    """A file of weights that were trained as `variant` on images of side `image_size`; one run for each seed.

    A layout, whose sizes are searched for, is matched as `template` says, for `classes` classes. Raises StudyError if
    the file cannot be read or the variant is unknown; whether the weights fit shows when a run starts.
    """
    network, label = resolve(variant, budget_of(template, classes, image_size)), canonical_label(variant)
    start = Start(weights=fingerprint(read_weights(path)), image_size=image_size, path=str(path.absolute()))
    networks = tuple(Source(label, seed, network, start) for seed in seeds)
    return Sources(networks, Pretraining(name=f"{path.name} {start.weights}"), ())


# ---------------------------------------------------------------- the plan


@dataclass(frozen=True)
class TransferPlan(Plan):
    """A plan whose runs start from `sources`, and, for the control, from scratch."""

    sources: tuple[Source, ...] = ()
    scratch: bool = True

    @property
    def runs(self) -> list[Run]:
        """For every source its fine-tuning, then its control; all variants of a seed before the next seed."""
        recipe, data = self.experiment.training, self.experiment.data
        runs = []
        for source in sorted(self.sources, key=lambda source: source.seed):  # stable: variants keep their order
            run = Run(variant=source.variant, data=data, training=recipe, seed=source.seed, label=source.label)
            runs.append(run.model_copy(update={"start": source.start}))
            if self.scratch:
                runs.append(run.model_copy(update={"label": scratch_label(source.label)}))
        return runs


def transfer_experiment(template: Experiment, sources: Sources, data: Data, scratch: bool) -> Experiment:
    """What a results folder records of a transfer: `template`'s recipe and claims on `data`, and where it starts."""
    labels = list(dict.fromkeys(source.label for source in sources.networks))
    seeds = sorted({source.seed for source in sources.networks})
    origin = sources.experiment or template
    sizes = {key: getattr(origin, key) for key in SIZES}
    variants = labels + ([scratch_label(label) for label in labels] if scratch else [])
    changes = {"variants": tuple(variants), "seeds": tuple(seeds), "data": data, "pretraining": sources.pretraining}
    return template.model_copy(update={**changes, **sizes})


def plan_transfer(experiment: Experiment, sources: Sources, scratch: bool, facts: Facts) -> TransferPlan:
    """The runs on data of known classes and fingerprint; every network is checked to take their side.

    Raises StudyError for data that cannot be had and for sides that do not divide.
    """
    data = facts(experiment.data)
    experiment.training.steps_per_epoch(data.train_images)
    networks = {source.label: source.variant for source in sources.networks}
    for network in networks.values():
        classifier_names(skeleton(network, data.classes, experiment.data.image_size))
    if scratch:
        networks |= {scratch_label(label): network for label, network in networks.items()}
    known = experiment.model_copy(update={"data": experiment.data.model_copy(update={"fingerprint": data.fingerprint})})
    sizes = (data.classes, data.train_images, data.test_images)
    return TransferPlan(known, networks, *sizes, sources=sources.networks, scratch=scratch)
