"""The table of a transfer study, as the paper's Table 2 has it: pretraining, then transfer at each image side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from study.analysis.readouts import readout_table
from study.report.tables import Table, number
from study.sweep.store import Store
from study.sweep.transfer import Sources, scratch_label

COLUMNS = ("row", "data", "image_size", "start", "variant", "seed", "accuracy")


def transfer_frame(sources: Sources, stores: Sequence[Store]) -> pd.DataFrame:
    """What the sources reached in pretraining and what the runs of each folder reached: COLUMNS, a row a run.

    `row` numbers the rows of the table; `start` is "pretraining", "pretrained" or "scratch"; `variant` is the label of
    the pretraining, for the controls too. The accuracy is NaN for a run that diverged.
    """
    labels = list(dict.fromkeys(source.label for source in sources.networks))
    frames = []
    if sources.pretraining.data is not None:
        origin = sources.pretraining.data
        known = sources.accuracies.assign(row=0, data=origin.name, image_size=origin.image_size, start="pretraining")
        frames.append(known.rename(columns={"value": "accuracy"}))
    for place, store in enumerate(stores):
        data = store.experiment.data
        values = readout_table("final_test_accuracy", store.curves(), store.results())
        for offset, start in enumerate(("pretrained", "scratch")):
            names = {(scratch_label(label) if start == "scratch" else label): label for label in labels}
            own = values[values["variant"].isin(names)].replace({"variant": names})
            own = own.assign(row=1 + 2 * place + offset, data=data.name, image_size=data.image_size, start=start)
            frames.append(own.rename(columns={"value": "accuracy"}))
    frame = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    return frame[list(COLUMNS)].sort_values(["row", "seed"], kind="stable", ignore_index=True)


def transfer_table(frame: pd.DataFrame, variants: Sequence[str], freeze: bool) -> Table:
    """Mean, deviation over pretraining seeds and number of seeds of each variant, a row for each thing measured."""
    rows = []
    for name, part in _parts(frame, freeze):
        cells = [_cell(part.loc[part["variant"] == variant, "accuracy"].to_numpy(dtype=float)) for variant in variants]
        rows.append((name, *cells))
    note = "Mean ± standard deviation over pretraining seeds, and their number; final test accuracy."
    return Table("Transfer", ("accuracy, %", *variants), tuple(rows), (note,))


def seed_differences(frame: pd.DataFrame, first: str, second: str, freeze: bool) -> Table:
    """First minus second for every pretraining seed that both have, in points of accuracy."""
    seeds = sorted(frame["seed"].unique())
    rows = []
    for name, part in _parts(frame, freeze):
        wide = part.pivot(index="seed", columns="variant", values="accuracy").reindex(columns=[first, second])
        differences = (wide[first] - wide[second]).reindex(seeds).to_numpy(dtype=float)
        cells = [number(difference, "points", "+") for difference in differences]
        rows.append((name, *cells, _cell(differences, "+")))
    header = ("points", *(f"seed {seed}" for seed in seeds), "mean")
    return Table(f"{first} minus {second}, by pretraining seed", header, tuple(rows))


def _parts(frame: pd.DataFrame, freeze: bool) -> list[tuple[str, pd.DataFrame]]:
    words = {"pretrained": "fine-tuned", "scratch": "from scratch", "pretraining": "pretraining"}
    if freeze:
        words |= {"pretrained": "linear probe", "scratch": "linear probe of random features"}
    parts = []
    for _, part in frame.groupby("row"):
        first = part.iloc[0]
        parts.append((f"{first['data']}, {first['image_size']} px, {words[first['start']]}", part))
    return parts


def _cell(values: np.ndarray, sign: str = "") -> str:
    found = values[np.isfinite(values)]
    if not len(found):
        return "–"
    spread = f" ± {number(float(found.std(ddof=1)), 'points')}" if len(found) > 1 else ""
    return f"{number(float(found.mean()), 'points', sign)}{spread} ({len(found)})"
