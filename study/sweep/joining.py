"""Which experiments may share a results folder: those that differ in no more than what can be added, or in name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study.config import Experiment, Pretraining
from study.errors import StudyError

# what may differ in an experiment that joins: what can be added, and what no run depends on
JOINABLE = {"name", "variants", "seeds", "claims", "readouts", "files", "sources", "with_shared_rate"}


def comparable(old: Experiment, new: Experiment, *besides: str) -> list[dict[str, Any]]:
    """Of both what must be the same in one folder, but for `besides`.

    Rates of a pretraining are compared where both have them: earlier code did not record them.
    """
    found = [each.model_dump(exclude={*JOINABLE, *besides}) for each in (old, new)]
    rates = [(each["pretraining"] or {}).pop("rates", {}) for each in found]
    for each, own in zip(found, rates, strict=True):
        each["pretraining rates"] = {label: own[label] for label in rates[0].keys() & rates[1].keys()}
    return found


def joined_pretraining(old: Experiment, new: Experiment) -> Pretraining | None:
    """Where both start from, with all rates that either knows."""
    if old.pretraining is None or new.pretraining is None:
        return new.pretraining
    return new.pretraining.model_copy(update={"rates": {**old.pretraining.rates, **new.pretraining.rates}})


def joined(old: Experiment, new: Experiment, folder: Path) -> Experiment:
    """The experiment with the variants, seeds and tuned rates of both. StudyError, naming what differs otherwise."""
    rates, sources = {**old.rates, **new.rates}, {**old.sources, **new.sources}
    for label, source in old.sources.items():
        if sources[label] != source:
            raise StudyError(
                f"{label} has changed since {folder} was planned: choose another folder with --out, or bring the old "
                "text back"
            )
    fixed, asked = comparable(old, new)
    fixed["rates"], asked["rates"] = {**rates, **old.rates}, rates
    if differs := differences(fixed, asked):
        raise StudyError(f"{folder} holds another experiment ({differs}): choose another folder with --out")
    variants, seeds = (dict.fromkeys([*a, *b]) for a, b in ((old.variants, new.variants), (old.seeds, new.seeds)))
    both = {"variants": tuple(variants), "seeds": tuple(seeds), "rates": rates, "sources": sources}
    return new.model_copy(update={**both, "pretraining": joined_pretraining(old, new)})


def differences(old: Any, new: Any, where: str = "") -> str:
    """The first few settings that differ, as `training.epochs 10, asked for 20`."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = [differences(old.get(key), new.get(key), f"{where}.{key}".lstrip(".")) for key in {**old, **new}]
        return ", ".join(filter(None, found))
    return "" if old == new else f"{where} is {old}, asked for {new}"
