"""The tables of a transfer, as the paper's Table 2 has them: pretraining, then transfer at each image side."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study.config import canonical_label, parse_variant
from study.report.drawing import accuracy_axis, canvas, mean_and_interval
from study.report.style import RC, styles
from study.report.table import Table, number
from study.results import Results

COLUMNS = ("row", "data", "image_size", "start", "variant", "seed", "accuracy")


def transfer_tables(results: Results, frame: pd.DataFrame) -> list[Table]:
    """The table over all sides, and for each claim the differences between its first and last variant, seed by seed."""
    freeze = results.experiment.training.freeze
    variants = [label for label in results.experiment.variants if not is_control(label)]
    ends = dict.fromkeys((claim.order.variants[0], claim.order.variants[-1]) for claim in results.experiment.claims)
    differences = [seed_differences(frame, *each, freeze) for each in ends if set(each) <= set(frame["variant"])]
    return [transfer_table(frame, variants, freeze), *differences]


def is_control(label: str) -> bool:
    """Whether a label is that of a control: the same network trained from its first weights."""
    return "start" in parse_variant(label)[1]


def pretrained_label(label: str) -> str:
    """The label of a control's pretrained twin; any other's is its own.

    >>> pretrained_label("C-C-T-T[head_dim=16,start=scratch]")
    'C-C-T-T[head_dim=16]'
    """
    name, switches = parse_variant(label)
    return canonical_label(f"{name}[{','.join(f'{key}={switches[key]}' for key in switches if key != 'start')}]")


def transfer_frame(results: Results) -> pd.DataFrame:
    """What the sources reached in pretraining and what the runs of each side reached: COLUMNS, a row a run.

    `row` numbers the rows of the table; `start` is "pretraining", "pretrained" or "scratch"; `variant` is the label of
    the pretraining, for the controls too. The accuracy is NaN for a run that diverged.
    """
    joined, pretraining = results.joined, results.experiment.pretraining
    origin = pretraining.data if pretraining else None
    reached = pd.DataFrame([each.model_dump() for each in joined.pretraining] if joined else [])
    frames = []
    if origin is not None and len(reached):
        known = reached.rename(columns={"value": "accuracy"})
        frames.append(known.assign(row=0, data=origin.name, image_size=origin.image_size, start="pretraining"))
    for place, member in enumerate(results.members):
        if not len(member.runs):
            continue
        data = member.experiment.data
        values = member.readout("final_test_accuracy").rename(columns={"value": "accuracy"})
        scratch = values["variant"].map(is_control)
        start, row = np.where(scratch, "scratch", "pretrained"), 1 + 2 * place + scratch
        labels = values["variant"].map(pretrained_label)
        frames.append(values.assign(variant=labels, row=row, data=data.name, image_size=data.image_size, start=start))
    frame = pd.concat(frames, ignore_index=True)
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


TITLE = "Accuracy before and after transfer"
CAPTION = "Mean over pretraining seeds with its 95% t-interval, the variants beside one another at each place."


@mpl.rc_context(RC)
def transfer_figure(frame: pd.DataFrame, freeze: bool) -> Figure:
    """Final test accuracy of each variant in each row of the transfer's table, with its interval."""
    parts, variants = _parts(frame, freeze), styles(frame["variant"])
    figure, (axes,) = canvas(frame)
    for place, (label, style) in enumerate(variants.items()):
        beside = (place - (len(variants) - 1) / 2) * min(0.12, 0.6 / len(variants))
        for column, (_, part) in enumerate(parts):
            own = part.loc[part["variant"] == label, "accuracy"].dropna().to_numpy(dtype=float)
            mean, low, high = (end[0] for end in mean_and_interval(own[:, None]))
            axes.plot([column + beside] * 2, [low, high], color=style.colour)
            axes.plot([column + beside], [mean], color=style.colour, marker=style.marker, markersize=4)
    names = [name.split(", ", 1)[1].replace(", ", "\n") for name, _ in parts]
    axes.set_xticks(range(len(parts)), names, fontsize=6)
    axes.set_xlim(-0.5, len(parts) - 0.5)
    accuracy_axis(axes, "test accuracy")
    return figure


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
