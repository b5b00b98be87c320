"""A family: one experiment on several parts of its training images, a results folder for each under a common one.

    results/<experiment>-<dataset>/
        family.json      the experiment with its parts, and how many training images each member has
        1000-images/     a results folder like any other, and so on for every size
        points.csv  scaling.json  figures/

The subsets are nested, and each member's runs are those that a sweep with that `--train-size` would make.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from study.config import Experiment, parse_model
from study.errors import StudyError
from study.files import atomic, write_json
from study.sweep.store import FAMILY, Store, differences, read_tables

JOINABLE = {"variants", "seeds", "claims", "parts"}
POINT_COLUMNS = ["variant", "seed", "images", "accuracy", "gap", "train_loss", "test_loss"]


def is_family(folder: Path) -> bool:
    """Whether a folder holds a results folder for each size instead of results."""
    return (folder / FAMILY).exists()


def results_folders(folder: Path) -> list[Path]:
    """The results folders that a folder stands for: itself, or the started members of a family, the smallest first."""
    return [store.folder for store in Family(folder).stores().values()] if is_family(folder) else [folder]


def members(experiment: Experiment, data_dir: Path | None = None) -> dict[int, Experiment]:
    """The experiment on each of its parts, by number of training images, the smallest first.

    Raises StudyError if two parts come to the same number of images, and for data that cannot be had.
    """
    from study.data import load

    total = len(load(experiment.data, data_dir).train_labels)
    sizes = [round(part * total) for part in sorted(experiment.parts)]
    if len(set(sizes)) < len(sizes) or sizes[0] < 1:
        raise StudyError(f"parts {list(experiment.parts)} of {total} training images do not give different numbers")
    return {size: member(experiment, size, total) for size in sizes}


def member(experiment: Experiment, size: int, total: int) -> Experiment:
    """The experiment on `size` of its `total` training images; on all of them its data stay as they are."""
    data = experiment.data
    if size < total:
        data = data.model_copy(update={"train_size": size})
    return experiment.model_copy(update={"name": f"{experiment.name}-{size}", "data": data, "parts": ()})


class Family:
    """The folder of a family. Opening an existing one needs nothing else; `create` starts or joins one."""

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            state = json.loads((folder / FAMILY).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StudyError(f"{folder} holds no family of sweeps, as experiments with parts make ({error})") from None
        self.experiment = parse_model(Experiment, json.dumps(state["experiment"]), f"{folder / FAMILY}: ")
        self.sizes: list[int] = sorted(state["images"])

    @classmethod
    def create(cls, folder: Path, experiment: Experiment, sizes: Sequence[int]) -> Family:
        """Start a folder for `experiment`, or join one of the same experiment, which may add sizes, variants, seeds.

        Raises StudyError, naming what differs, if the folder holds another experiment.
        """
        if is_family(folder):
            old = cls(folder)
            known, asked = (each.model_dump(exclude=JOINABLE) for each in (old.experiment, experiment))
            if found := differences(known, asked):
                raise StudyError(f"{folder} holds another experiment ({found}): choose another folder with --out")
            sizes = [*old.sizes, *sizes]
            joined = {key: (*getattr(old.experiment, key), *getattr(experiment, key)) for key in ("variants", "seeds")}
            joined["parts"] = (*old.experiment.parts, *experiment.parts)
            experiment = experiment.model_copy(update={key: tuple(dict.fromkeys(all_)) for key, all_ in joined.items()})
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StudyError(f"{folder} exists and holds no family of sweeps: choose another folder with --out")
        state = {"experiment": experiment.model_dump(mode="json"), "images": sorted(set(sizes))}
        write_json(folder / FAMILY, state)
        return cls(folder)

    @staticmethod
    def member_folder(folder: Path, size: int) -> Path:
        """The results folder of a size in a family's folder."""
        return folder / f"{size}-images"

    def path(self, size: int) -> Path:
        """The results folder of a size."""
        return self.member_folder(self.folder, size)

    def stores(self) -> dict[int, Store]:
        """The results folders that have been started, by number of training images."""
        return {size: Store(self.path(size)) for size in self.sizes if (self.path(size) / "experiment.json").exists()}

    def tables(self) -> dict[int, tuple[pd.DataFrame, pd.DataFrame]]:
        """`runs` and `curves` of every started size (study.sweep.store.read_tables)."""
        return {size: read_tables(store.folder) for size, store in self.stores().items()}

    def write_points(self, points: pd.DataFrame) -> Path:
        """Write `points.csv`: what `points_of` makes of the tables."""
        with atomic(self.folder / "points.csv") as temporary:
            points.to_csv(temporary, index=False)
        return self.folder / "points.csv"


def points_of(tables: Mapping[int, tuple[pd.DataFrame, pd.DataFrame]]) -> pd.DataFrame:
    """One row a finished run that did not diverge, with POINT_COLUMNS: what it reached at the end of training.

    `tables` are a family's. `accuracy` is of the test images, `gap` train (probe) minus test accuracy, both fractions.
    """
    points = []
    for size, (runs, _) in tables.items():
        alive = runs[runs["status"] != "diverged"]
        points.append(
            pd.DataFrame(
                {
                    "variant": alive["variant"],
                    "seed": alive["seed"],
                    "images": size,
                    "accuracy": alive["final_test_accuracy"].astype(float),
                    "gap": (alive["final_probe_accuracy"] - alive["final_test_accuracy"]).astype(float),
                    "train_loss": alive["final_probe_loss"].astype(float),
                    "test_loss": alive["final_test_loss"].astype(float),
                }
            )
        )
    return pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=POINT_COLUMNS)
