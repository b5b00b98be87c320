"""A results folder of members: one experiment in several sweeps, a results folder for each below a common one.

    results/data_scale-fractals/     members.json  1000-images/  5000-images/ ...   points.csv  scaling.json  figures/
    results/transfer-cifar100-80-100/    members.json  32px/  48px/   transfer.csv

What a member's number means is its design's: training images (`sizes`) or the side of the images (`transfer`). The
names of the folders follow from the numbers, so that a file leads nowhere else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from study.config import Experiment, Frozen, parse_model, read_model
from study.errors import StudyError
from study.files import damaged, read_json, write_text
from study.sweep.joining import comparable, differences, joined_pretraining
from study.sweep.store import TUNING, Store, is_free

NAME = "members.json"
OLD_NAME = "family.json"  # what the first sweeps over sizes wrote: `experiment` and `images`
FORMS = {"sizes": "{}-images", "transfer": "{}px"}


class Reached(Frozen):
    """The test accuracy that a pretrained network, from which a transfer starts, has on its own data."""

    variant: str
    seed: int
    value: float | None


class Members(Frozen):
    """What `members.json` holds: the experiment that all members share, and each member's number."""

    design: Literal["sizes", "transfer"]
    experiment: Experiment
    numbers: tuple[Annotated[int, Field(ge=1, le=10**9)], ...] = Field(
        description="training images, or side in pixels, of each member, ascending"
    )
    pretraining: tuple[Reached, ...] = ()

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.numbers or list(self.numbers) != sorted(set(self.numbers)):
            raise ValueError(f"members have different numbers above 0, ascending, not {list(self.numbers)}")
        return self

    def folder(self, root: Path, number: int) -> Path:
        """The results folder of a member."""
        return root / FORMS[self.design].format(number)

    def started(self, root: Path) -> dict[int, Path]:
        """The results folders that are there, by number."""
        folders = {number: self.folder(root, number) for number in self.numbers}
        return {number: path for number, path in folders.items() if (path / "experiment.json").is_file()}


def read_members(root: Path) -> Members | None:
    """The members of a results folder; None for a folder that has none. Raises StudyError for a damaged file."""
    if (root / NAME).exists():
        return read_model(Members, root / NAME)
    if not (root / OLD_NAME).exists():
        return None
    old = read_json(root / OLD_NAME)
    try:
        experiment = {"depths": "free", **old["experiment"]}  # so experiments were sized that do not say
        new = {"design": "sizes", "experiment": experiment, "numbers": sorted(set(old["images"]))}
        return parse_model(Members, json.dumps(new))
    except (KeyError, TypeError, StudyError) as error:
        raise damaged(root / OLD_NAME, error) from None


def join_members(root: Path, members: Members) -> None:
    """Start a folder of members, or join one of the same experiment: numbers, variants and seeds may be added.

    Another experiment takes its place if no run of any member was ever begun. Raises StudyError, naming what differs,
    if one was, or if the folder holds no members.
    """
    old = read_members(root)
    if old is not None and any(Store(folder).has_started() for folder in old.started(root).values()):
        known, asked = comparable(old.experiment, members.experiment, "parts")
        if old.design != members.design or (found := differences(known, asked)):
            what = found if old.design == members.design else f"its members are {old.design}"
            raise StudyError(f"{root} holds another experiment ({what}): choose another folder with --out")
        joined = {
            key: tuple(dict.fromkeys([*getattr(old.experiment, key), *getattr(members.experiment, key)]))
            for key in ("variants", "seeds", "parts")
        }
        origin = joined_pretraining(old.experiment, members.experiment)
        reached = {(each.variant, each.seed): each for each in (*old.pretraining, *members.pretraining)}
        members = members.model_copy(
            update={
                "experiment": members.experiment.model_copy(update={**joined, "pretraining": origin}),
                "numbers": tuple(sorted({*old.numbers, *members.numbers})),
                "pretraining": tuple(reached.values()),
            }
        )
    elif old is None and not is_free(root, {members.folder(root, number) for number in members.numbers}):
        raise StudyError(f"{root} exists and holds no members of an experiment: choose another folder with --out")
    write_text(root / NAME, members.model_dump_json(indent=2) + "\n")


def results_folders(folder: Path) -> list[Path]:
    """The results folders that a folder stands for: its started members, or itself."""
    members = read_members(folder)
    return [folder] if members is None else list(members.started(folder).values())


def tuning_folders(folder: Path) -> list[Path]:
    """The results folders of the rates that `study tune` tries or has tried, of a results folder or of its members."""
    parts = results_folders(folder)
    return [path.parent for part in parts for path in sorted((part / TUNING).glob("*/experiment.json"))]
