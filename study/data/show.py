"""A look at a data set: a sheet of its images, a row a class."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from study.config import Data, Fractals
from study.data import Dataset, cifar, data_folder, load, parse_name
from study.data.parts import view_of
from study.data.prepared import find
from study.errors import StudyError
from study.files import atomic

TILE = 64  # pixels; smaller images are enlarged by a whole factor, so that their pixels stay sharp
GAP = 2
FONT = 14


def contact_sheet(data: Dataset, path: Path, per_class: int = 10, split: Literal["train", "test"] = "train") -> Path:
    """Write a PNG with the first images of each class, the class's name at the left, and return its path."""
    with atomic(path) as temporary:
        sheet_of(data, per_class, split).save(temporary, format="PNG")
    return path


def sheet_of(
    data: Dataset, per_class: int = 10, split: Literal["train", "test"] = "train", max_classes: int = 200
) -> Image.Image:
    """The first images of each class, the class's name at the left.

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
    return sheet


def at_hand(data: Data, data_dir: Path | None = None, per_class: int = 10, classes: int = 10) -> Dataset | None:
    """The data set if nothing has to be fetched or prepared for it; None if something would, or if it is another now.

    Of fractals only `per_class` images of the first `classes` classes are drawn, and no others are there.
    """
    place = data_folder(data_dir)
    try:
        name = parse_name(data.name)
        if name.kind == "fractals":
            return _few_fractals(data, name.first, name.last, per_class, classes)
        there = name.kind in cifar.SOURCES and data.image_size == cifar.SIDE
        there = there and bool(cifar.extracted(cifar.SOURCES[name.kind], place))
        if there or find(place, data.fingerprint, data.image_size, view_of(data, name.first, name.last)):
            return load(data, place)
    except (StudyError, OSError):
        return None
    return None


def _few_fractals(data: Data, first: int, last: int | None, per_class: int, classes: int) -> Dataset:
    import torch

    from study.data import fractals

    settings = data.fractals or Fractals()
    shown = range(first, min(first + classes, last or settings.classes, settings.classes))
    rows = range(min(per_class, -(-settings.train_images // settings.classes)))
    indices = torch.tensor([settings.classes * row + label for label in shown for row in rows])
    images, labels = fractals.batch(indices, settings, "train", data.image_size)
    names = tuple(f"fractal {label}" for label in shown)
    few = (images.numpy(), (labels - first).numpy())
    return Dataset(*few, few[0][:0], few[1][:0], names, data.fingerprint)
