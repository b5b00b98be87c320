"""What a data set is in memory or mapped into it: arrays, rows of arrays, their fingerprint and their grey levels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import platformdirs

Images = npt.NDArray[np.uint8]  # (N, C, H, W)
Labels = npt.NDArray[np.int64]  # (N,)
Levels = npt.NDArray[np.int64]  # (C, 256): how often each grey level occurs in each channel

AT_ONCE = 32 * 2**20  # bytes of images that are read at a time where all of them are


class Rows:
    """Some images of a memory map, in any order, of which only those that are indexed are read.

    Indexing gives plain arrays; `np.asarray` reads all.
    """

    def __init__(self, images: Images, rows: Labels):
        self.images, self.rows = images, rows
        self.shape, self.dtype, self.ndim = (len(rows), *images.shape[1:]), images.dtype, images.ndim
        self.nbytes = len(rows) * int(np.prod(images.shape[1:])) * images.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Images:
        return np.asarray(self.images[self.rows[key]])

    def __iter__(self) -> Iterator[Images]:
        return (self[number] for number in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)


def pick(images: Images | Rows, rows: Labels) -> Images | Rows:
    """The images at these positions: copied from memory, but of a memory map remembered only (`Rows`)."""
    if isinstance(images, Rows):
        return Rows(images.images, images.rows[rows])
    return Rows(images, rows) if isinstance(images, np.memmap) else images[rows]


class Arrays(NamedTuple):
    """A data set: uint8 images (N, C, H, W), int64 labels (N,), the names of the classes in the labels' order."""

    train_images: Images | Rows
    train_labels: Labels
    test_images: Images | Rows
    test_labels: Labels
    class_names: tuple[str, ...]


def fingerprint(arrays: Arrays) -> str:
    """12 hexadecimal digits of SHA-256 over type, shape and bytes of images and labels. The names are not in it."""
    content = hashlib.sha256()
    for array in arrays[:4]:
        content.update(header(array.dtype, array.shape))
        for part in parts(array):
            content.update(np.ascontiguousarray(part).data)
    return content.hexdigest()[:12]


def header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What a fingerprint hashes before the bytes of an array."""
    return f"{dtype.str} {shape}\n".encode()


def count_levels(images: Images | Rows) -> Levels:
    """How often each of 256 grey levels occurs in each channel (C, 256), of images (N, C, H, W)."""
    counts = np.zeros((images.shape[1], 256), np.int64)
    for part in parts(images, AT_ONCE // 32):  # numpy counts in 8 bytes what is stored in one
        for channel, row in enumerate(counts):
            row += np.bincount(part[:, channel].ravel(), minlength=256)
    return counts


def parts(array: npt.NDArray[Any] | Rows, size: int = AT_ONCE) -> Iterator[npt.NDArray[Any]]:
    """The array in pieces of about `size` bytes, along its first axis."""
    step = max(1, size * len(array) // max(1, array.nbytes))
    return (array[start : start + step] for start in range(0, len(array), step))


# ---------------------------------------------------------------- places on disk


def data_folder(named: Path | None) -> Path:
    """The folder that is named, else $STUDY_DATA_DIR if it is set, else one in the user's cache."""
    return (named or Path(os.environ.get("STUDY_DATA_DIR") or user_data_dir())).expanduser()


def user_data_dir() -> Path:
    """Where data go that have no other place: `study/data` in the user's cache."""
    return platformdirs.user_cache_path("study") / "data"


def writable(data_dir: Path) -> Path:
    """The data folder itself if files can be written there, else the one in the user's cache.

    A folder whose write bits are all off counts as read-only for the superuser too.
    """
    existing = next(folder for folder in (data_dir, *data_dir.absolute().parents) if folder.exists())
    allowed = os.access(existing, os.W_OK) and existing.stat().st_mode & 0o222
    return data_dir if allowed else user_data_dir()
