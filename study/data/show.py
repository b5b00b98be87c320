"""A look at a data set: a sheet of its images, a row a class."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from study.data import Dataset
from study.files import atomic

TILE = 64  # pixels; smaller images are enlarged by a whole factor, so that their pixels stay sharp
GAP = 2
FONT = 14


def contact_sheet(
    data: Dataset, path: Path, per_class: int = 10, split: Literal["train", "test"] = "train", max_classes: int = 200
) -> Path:
    """Write a PNG with the first images of each class, the class's name at the left, and return its path.

    A class that has fewer than `per_class` images leaves the rest of its row empty; of more than `max_classes` classes
    the first ones are shown.
    """
    images = data.train_images if split == "train" else data.test_images
    labels = data.train_labels if split == "train" else data.test_labels
    names = data.class_names[:max_classes]
    font = ImageFont.load_default(FONT)
    margin = int(max(font.getlength(name) for name in names)) + 4 * GAP
    zoom = max(1, TILE // images.shape[-1])
    height, width = images.shape[2] * zoom + GAP, images.shape[3] * zoom + GAP

    sheet = Image.new("RGB", (margin + per_class * width + GAP, len(names) * height + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for label, name in enumerate(names):
        top = GAP + label * height
        draw.text((margin - 2 * GAP, top + (height - GAP) // 2), name, "black", font, anchor="rm")
        for column, position in enumerate(np.flatnonzero(labels == label)[:per_class]):
            tile = Image.fromarray(np.ascontiguousarray(images[position].transpose(1, 2, 0)))
            tile = tile.resize((width - GAP, height - GAP), Image.Resampling.NEAREST)
            sheet.paste(tile, (margin + column * width, top))
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")
    return path
