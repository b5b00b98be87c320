"""The tables of finished runs: a row a run, and a row an evaluation; made of their records, or read from CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from study.analysis.curves import ended_well
from study.config import canonical_label
from study.errors import StudyError

if TYPE_CHECKING:
    from study.sweep.records import Record

FINAL = ("probe_loss", "probe_accuracy", "test_loss", "test_accuracy")
RUN_COLUMNS = [
    *("run", "variant", "seed", "status", "parameters", "macs", "activation_bytes", "steps", "samples", "seconds"),
    *("images_per_second", *(f"final_{name}" for name in FINAL), "best_test_accuracy"),
]  # and whatever other numbers runs leave
CURVE_COLUMNS = [
    *("run", "variant", "seed", "step", "epoch", "samples", "running_loss"),
    *(*FINAL, "lr", "seconds", "images_per_second"),
]  # and whatever else they log
COUNTERS = {"step", "epoch", "samples", "running_loss", "lr", "seconds", "images_per_second"}  # say nothing at the end
POINT_COLUMNS = ["variant", "seed", "images", "accuracy", "gap", "train_loss", "test_loss"]


def of_records(records: Iterable[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`runs` and `curves`: the columns that all readers know first, then every other number, in the order met."""
    runs, curves = [], []
    for record in records:
        result, who = record.result, {"run": record.run.id, "variant": record.run.label, "seed": record.run.seed}
        numbers = {key: value for key, value in result.items() if isinstance(value, int | float) and key not in who}
        final = {f"final_{key}": value for key, value in (result["final"] or {}).items() if key not in COUNTERS}
        speed = result["samples"] / result["seconds"] if result["seconds"] else None
        runs.append({**numbers, "status": result["status"], "images_per_second": speed, **final, **who})
        curves += [{**row, **who} for row in record.rows]
    return _with_columns(runs, RUN_COLUMNS), _with_columns(curves, CURVE_COLUMNS)


def _with_columns(rows: Sequence[dict[str, Any]], known: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(dict.fromkeys([*known, *(key for row in rows for key in row)])))


def read_csv(path: Path) -> pd.DataFrame:
    """A table as it was written. Raises StudyError for a file that holds anything else."""
    try:
        table = pd.read_csv(path, dtype={"run": str, "variant": str})
        spellings = {variant: canonical_label(variant) for variant in table["variant"].unique()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} cannot be read as a table of runs ({error}): bring the file back") from None
    return table.assign(variant=table["variant"].map(spellings))


def without_result(runs: pd.DataFrame, variants: Iterable[str], seeds: Iterable[int]) -> list[tuple[str, int]]:
    """Of planned runs, by variant and seed, those without a row in `runs`: not made yet, failed or damaged."""
    there = set(zip(runs["variant"], runs["seed"], strict=True))
    return [each for each in product(variants, seeds) if each not in there]


def points_of(runs: pd.DataFrame, images: int | None) -> pd.DataFrame:
    """One row a run that did not diverge, with POINT_COLUMNS: where it ended, after training on so many images."""
    alive = ended_well(runs)
    train, test = (alive[f"final_{which}_accuracy"].astype(float) for which in ("probe", "test"))
    losses = (alive[f"final_{which}_loss"].astype(float) for which in ("probe", "test"))
    columns = (alive["variant"], alive["seed"], images, test, train - test, *losses)
    return pd.DataFrame(dict(zip(POINT_COLUMNS, columns, strict=True)))
