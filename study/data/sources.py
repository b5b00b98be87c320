"""What a door to data gives: splits as encoded files, or as arrays in pieces; and the checks that both must pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from study.data.arrays import Images, Labels, Rows
from study.data.pictures import square
from study.errors import StudyError

AT_ONCE = 256  # images that are made before they are written

Pieces = Iterator[tuple[Images, npt.NDArray[Any]]]  # uint8 (n, 3, S, S) and n labels


@dataclass(frozen=True)
class Files:
    """Encoded images, which several processes decode; what was decoded before a kill is kept.

    `items(first, last)` gives each its name for errors, and the path or the bytes of the file.
    """

    labels: Labels
    items: Callable[[int, int], list[tuple[str, str | bytes]]]

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.labels)


@dataclass(frozen=True)
class Blocks:
    """Images that come one piece after another, with their labels."""

    count: int
    pieces: Pieces


class Source(NamedTuple):
    """Both splits, and the classes' names; None: the classes are those of the training labels, named by number."""

    train: Files | Blocks
    test: Files | Blocks
    class_names: tuple[str, ...] | None


# ---------------------------------------------------------------- images


def channels_last(dtype: np.dtype[Any], shape: tuple[int, ...], what: str) -> bool | None:
    """Where a stack of images has its channels: last (True), first (False), or none for grey ones (None).

    Raises StudyError if it is no stack of uint8 images (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3.
    """
    if dtype != np.uint8:
        raise StudyError(f"{what} are {dtype}, not uint8: give grey levels of 0 to 255, with nothing normalised")
    if len(shape) == 3 and 0 not in shape[1:]:
        return None
    if len(shape) == 4 and 0 not in shape[1:]:
        if shape[3] in (1, 3):
            return True
        if shape[1] in (1, 3):
            return False
    raise StudyError(
        f"{what} have shape {shape}: (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels is wanted"
    )


def fit(images: npt.NDArray[np.uint8], last: bool | None, side: int) -> Images:
    """A checked stack of images as uint8 (N, 3, side, side); those of another size go through pictures.square."""
    stack = images[:, None] if last is None else images.transpose(0, 3, 1, 2) if last else images
    if stack.shape[2:] == (side, side):
        return np.ascontiguousarray(np.broadcast_to(stack, (len(stack), 3, side, side)))
    fitted = np.empty((len(stack), 3, side, side), np.uint8)
    for number, image in enumerate(stack):
        plain = np.ascontiguousarray(image.transpose(1, 2, 0))
        fitted[number] = square(Image.fromarray(plain[..., 0] if plain.shape[2] == 1 else plain), side)
    return fitted


def one_image(image: Any, side: int, what: str) -> Images:
    """A picture of Pillow, an array or a tensor as uint8 (3, side, side). Raises StudyError if it is none of these."""
    if isinstance(image, Image.Image):
        try:
            return square(image, side)
        except (OSError, SyntaxError) as error:  # Pillow's, for a file that is cut off or broken
            raise StudyError(f"{what} is not a readable picture ({error})") from None
    array = as_array(image, what)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise StudyError(f"{what} holds values that are not finite (NaN or infinite): give uint8 images")
    return fit(array[None], channels_last(array.dtype, (1, *array.shape), what), side)[0]


def as_array(value: Any, what: str) -> npt.NDArray[Any]:
    """An array or a tensor as an array of numbers. Raises StudyError if it is no such thing."""
    if hasattr(value, "detach"):  # a tensor, wherever it lives
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever a stranger's __array__ raises
        raise StudyError(f"{what} cannot be read as an array: {error}") from error
    if array.dtype.kind not in "biuf":
        raise StudyError(f"{what} is {type(value).__name__}, not a picture, an array or a tensor")
    return array


def in_pieces(images: Images | Rows, labels: Labels, last: bool | None, side: int) -> Blocks:
    """A checked stack of images and its labels, each piece brought to size when its turn comes."""
    starts = range(0, len(labels), AT_ONCE)
    pieces = ((fit(images[at : at + AT_ONCE], last, side), labels[at : at + AT_ONCE]) for at in starts)
    return Blocks(len(labels), pieces)


# ---------------------------------------------------------------- labels


def whole_labels(values: Any, what: str) -> Labels:
    """Labels (N,) or (N, 1) as int64 (N,). Raises StudyError if they are not whole numbers or have another shape."""
    labels = as_array(values, what)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise StudyError(f"{what} have shape {labels.shape}: one whole number an image is wanted")
    if labels.dtype.kind not in "iu":
        raise StudyError(f"{what} are {labels.dtype}: whole numbers from 0 are wanted")
    return labels.astype(np.int64)


def check_labels(train: Labels, test: Labels, names: tuple[str, ...] | None, what: str) -> tuple[str, ...]:
    """The classes' names. Raises StudyError if labels lie outside them, or if a class has no training images."""
    for split, labels in (("training", train), ("test", test)):
        if not len(labels):
            raise StudyError(f"{what} has no {split} images")
    classes = len(names) if names is not None else int(train.max()) + 1
    for split, labels in (("training", train), ("test", test)):
        if labels.min() < 0 or labels.max() >= classes:
            hidden = ": labels of -1 are hidden ones; take another split" if labels.min() == -1 else ""
            raise StudyError(
                f"{what}: {split} labels run from {labels.min()} to {labels.max()}, out of the range of its {classes} "
                f"classes, 0 to {classes - 1}{hidden}"
            )
    if classes < 2:
        raise StudyError(f"{what} has one class alone: two are the least")
    if names is None:
        missing = np.setdiff1d(np.arange(min(classes, len(train) + 1)), train)  # of more classes than images some lack
        if len(missing):
            raise StudyError(
                f"{what}: class {missing[0]} of {classes} has no training images; labels count from 0 without gaps"
            )
    return names if names is not None else tuple(f"class {number}" for number in range(classes))
