"""Maps of learned relative biases: what did attention learn, does it look local (arXiv 2106.04803, Eq. 3)?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from study.config import Run, Variant, parse_model
from study.errors import StudyError
from study.export import CONFIG, WEIGHTS
from study.files import read_json
from study.models.attention import relative_index
from study.models.interop import read_weights
from study.models.table import stages_of_modules
from study.report.drawing import Array
from study.report.style import COLUMN, RC, TEXT
from study.sweep.records import read_run, sound_weights

CAPTION = (
    "Learned relative bias of each head (columns) in each attention layer (rows): how much more a key is attended for "
    "where it lies, seen from the query in the middle, in positions; less the head's mean, which the softmax ignores. "
)
REACH = (
    "Numbers: mean distance of what the bias alone would attend to, over that of attending everywhere alike; below 1 "
    "is local."
)


@dataclass(frozen=True)
class Trained:
    """A trained network: what it is, and its weights by name."""

    label: str
    seed: int
    variant: Variant
    image_size: int
    weights: Mapping[str, Tensor]


def read_trained(folder: Path) -> Trained:
    """The network of a finished run's folder, or of one that `study export` wrote.

    Raises StudyError if there are no weights, or damaged ones.
    """
    if (folder / CONFIG).exists():
        described = read_json(folder / CONFIG)
        run, path = parse_model(Run, json.dumps(described.get("run")), f"{folder / CONFIG}: "), folder / WEIGHTS
    else:
        run, path = read_run(folder), sound_weights(folder)
    if not path.is_file():
        raise StudyError(f"{folder} has no weights: they are not committed, train the run again or bring them")
    return Trained(run.label, run.seed, run.variant, run.data.image_size, read_weights(path))


@mpl.rc_context(RC)
def bias_maps(trained: Trained) -> Figure:
    """A map for each head, a row for each layer. Raises StudyError for a network without learned relative biases."""
    tables = bias_tables(trained)
    if not tables:
        raise StudyError(f"{trained.label} has no relative biases: there is nothing to draw")
    form = getattr(getattr(trained.variant, "blocks", None), "relative_bias", "none")
    heads = max(len(table) for table in tables.values())
    shown = {name: table - table.mean(axis=(1, 2), keepdims=True) for name, table in tables.items()}
    most = max(float(np.abs(table).max()) for table in shown.values()) or 1.0
    cell = min(0.62, (TEXT - 1.4) / heads)
    width = max(COLUMN, 1.4 + cell * heads)
    figure = Figure(figsize=(width, 0.35 + (cell + 0.16) * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), heads, squeeze=False)
    for row, (name, table) in zip(grid, shown.items(), strict=True):
        reach = reaches(tables[name]) if form == "pre" else None
        for head, axes in enumerate(row):
            axes.set_axis_off()
            if head < len(table):
                half = (np.array(table.shape[1:]) / 2).tolist()
                axes.imshow(table[head], cmap="PuOr_r", norm=Normalize(-most, most), interpolation="none",
                            extent=(-half[1], half[1], half[0], -half[0]))  # fmt: skip
                axes.plot([0], [0], "+", color="#000000", markersize=2.5, markeredgewidth=0.5)
                if reach is not None:
                    axes.set_title(f"{reach[head]:.2f}", fontsize=6, pad=2)
        side = (table.shape[1] + 1) // 2
        row[0].annotate(f"{name}\n{side} × {side}", (0, 0.5), (-4, 0), xycoords="axes fraction",
                        textcoords="offset points", ha="right", va="center", fontsize=6)  # fmt: skip
    bar = figure.colorbar(mpl.cm.ScalarMappable(Normalize(-most, most), "PuOr_r"), ax=grid, aspect=30, pad=0.02)
    bar.set_label("bias, less its mean (logits)" if form == "pre" else "bias, less its mean", fontsize=6)
    bar.outline.set_visible(False)
    said = CAPTION + (REACH if form == "pre" else "")
    figure.set_label(f"{trained.label}, seed {trained.seed}. {said.strip()} n = 1 seed.")
    return figure


def bias_tables(trained: Trained) -> dict[str, Array]:
    """The bias of each layer by its name, such as `S3 block 2`: (heads, 2H - 1, 2W - 1), from the query's place.

    Row and column say where the key lies, from above to below and from left to right of the query.
    """
    stages = stages_of_modules(trained.variant, trained.image_size)
    found = {}
    for name, table in trained.weights.items():
        if match := re.fullmatch(r"(.+)\.blocks\.(\d+)\.attention\.bias_table", name):
            stage = stages.get(match[1], match[1])
            words = f"{stage} block" if stage != "blocks" else "block"
            # the table is read at query minus key (attention.relative_index): turned round, at key minus query
            found[f"{words} {int(match[2]) + 1}"] = table.double().numpy()[:, ::-1, ::-1]
    return found


def reaches(table: Array) -> Array:
    """How far each head would look by its bias alone, over how far without one: (heads, 2H - 1, 2W - 1) -> (heads,).

    Mean distance between query and key, over all queries of the grid and the softmax of the bias over keys; the same
    with equal weights is 1.
    """
    height, width = ((side + 1) // 2 for side in table.shape[1:])
    index_NN = relative_index(height, width).numpy()
    logits_hNN = table[:, ::-1, ::-1].reshape(len(table), -1)[:, index_NN]
    weights_hNN = np.exp(logits_hNN - logits_hNN.max(axis=-1, keepdims=True))
    weights_hNN /= weights_hNN.sum(axis=-1, keepdims=True)
    place_N2 = np.stack(np.divmod(np.arange(height * width), width), axis=1)
    distance_NN = np.linalg.norm(place_N2[:, None] - place_N2[None], axis=-1)
    found: Array = (weights_hNN * distance_NN).sum(axis=(1, 2)) / (distance_NN.mean(axis=1).sum() or 1.0)
    return found
