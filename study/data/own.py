"""`FILE.py:NAME`: data from a callable in the user's own file, which is run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from study.data.sources import (
    AT_ONCE,
    Blocks,
    Pieces,
    Source,
    as_array,
    channels_last,
    in_pieces,
    one_image,
    whole_labels,
)
from study.errors import StudyError
from study.own_files import OwnFile, beside, blamed, import_own, plain_value

Blame = Callable[[], AbstractContextManager[None]]  # whatever is raised within is the user's code's fault


def recipe(path: Path, name: str, switches: Mapping[str, str]) -> list[Any]:
    """What tells a changed source: the file, what it imports from its own folder, the name and its switches.

    Files that the callable reads are not in it. Raises StudyError if there is no such file.
    """
    return [OwnFile(path=str(path)).source, name, dict(switches)]


def source(path: Path, name: str, switches: Mapping[str, str], side: int) -> Source:
    """Both splits that the callable gives.

    It is called with the switches, and with `image_size` if it takes that, and returns `train, test` or `train, test,
    class_names`. A split is a pair of arrays (images, labels), or a sequence of (image, label): pictures of Pillow,
    arrays or tensors, all uint8. Raises StudyError for anything else, and for whatever the file raises.
    """
    file = OwnFile(path=str(path))
    make = getattr(import_own(file, file.source), name, None)
    if not callable(make):
        raise StudyError(f"{path} defines no function {name}")
    blame = partial(blamed, str(path), name)
    with blame(), beside(file, file.source):
        given: dict[str, Any] = {key: plain_value(text) for key, text in switches.items()}
        if "image_size" in inspect.signature(make).parameters:
            given.setdefault("image_size", side)
        result = make(**given)
    what = f"{path.name}:{name}"
    if not isinstance(result, tuple | list) or len(result) not in (2, 3):
        raise StudyError(
            f"{what} must return train, test or train, test, class_names; it returned {type(result).__name__}"
        )
    train, test = result[:2]
    names = result[2] if len(result) == 3 else getattr(train, "classes", None)
    return Source(
        _split(train, f"{what}, train", blame, side),
        _split(test, f"{what}, test", blame, side),
        None if names is None else tuple(map(str, names)),
    )


def _split(split: Any, what: str, blame: Blame, side: int) -> Blocks:
    if isinstance(split, tuple | list) and len(split) == 2 and getattr(split[0], "ndim", 0) >= 3:
        images, labels = as_array(split[0], f"{what} images"), whole_labels(split[1], f"{what} labels")
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise StudyError(f"{what} images hold values that are not finite (NaN or infinite): give uint8 images")
        last = channels_last(images.dtype, images.shape, f"{what} images")
        if len(images) != len(labels):
            raise StudyError(f"{what} has {len(images)} images and {len(labels)} labels")
        return in_pieces(images, labels, last, side)
    if not hasattr(split, "__len__") or not hasattr(split, "__getitem__"):
        raise StudyError(f"{what} is {type(split).__name__}: give images and labels, or a sequence of (image, label)")
    with blame():
        count = len(split)
    return Blocks(count, _pieces(split, count, what, blame, side))


def _pieces(split: Any, count: int, what: str, blame: Blame, side: int) -> Pieces:
    images, labels = [], []
    for number in tqdm(range(count), f"preparing {what}", disable=None, leave=False):
        with blame():
            pair = split[number]
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise StudyError(f"item {number} of {what} is {type(pair).__name__}, not a pair (image, label)")
        images.append(one_image(pair[0], side, f"image {number} of {what}"))
        labels.append(_label(pair[1], f"label {number} of {what}"))
        if len(images) == AT_ONCE or number == count - 1:
            yield np.stack(images), np.array(labels, np.int64)
            images, labels = [], []


def _label(label: Any, what: str) -> int:
    value = as_array(label, what)
    if value.size != 1 or value.dtype.kind not in "iu":
        raise StudyError(f"{what} is {value.dtype} of shape {value.shape}: a whole number from 0 is wanted")
    return int(value.reshape(()))
