"""`npz:PATH`: one file of numpy with four arrays, read piece by piece."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.arrays import Labels
from study.data.sources import AT_ONCE, Blocks, Pieces, Source, channels_last, fit, whole_labels
from study.errors import StudyError

KEYS = ("train_images", "train_labels", "test_images", "test_labels")


def recipe(path: Path) -> list[Any]:
    """What tells a changed file. Raises StudyError if there is none."""
    if not path.is_file():
        raise StudyError(f"there is no file {path}")
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


def source(path: Path, side: int) -> Source:
    """Both splits of the file. Raises StudyError if arrays are missing or no images and labels, or it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
            if missing := [key for key in KEYS if key not in names]:
                raise StudyError(f"{path} has no {', '.join(missing)}: it needs {', '.join(KEYS)}")
            splits = [_split(path, archive, split, side) for split in ("train", "test")]
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return Source(splits[0], splits[1], None)


def _damaged(path: Path, error: Exception) -> StudyError:
    return StudyError(f"{path} is not a readable .npz file ({error})")


def _split(path: Path, archive: zipfile.ZipFile, split: str, side: int) -> Blocks:
    what = f"{split}_images of {path}"
    with archive.open(f"{split}_labels.npy") as file:
        shape, _, dtype = _header(file)
        if len(shape) not in (1, 2) or dtype.hasobject:
            raise StudyError(
                f"{split}_labels of {path} have shape {shape} of {dtype}: one whole number an image is wanted"
            )
        plain = np.frombuffer(file.read(), dtype).reshape(shape)
        labels = whole_labels(plain, f"{split}_labels of {path}")
    with archive.open(f"{split}_images.npy") as file:
        shape, in_order_of_fortran, dtype = _header(file)
    last = channels_last(dtype, shape, what)
    if in_order_of_fortran:
        raise StudyError(f"{what} lie in Fortran's order: save np.ascontiguousarray of them")
    if shape[0] != len(labels):
        raise StudyError(f"{path} has {shape[0]} {split} images and {len(labels)} labels")
    return Blocks(len(labels), _pieces(path, split, shape, last, labels, side))


def _pieces(path: Path, split: str, shape: tuple[int, ...], last: bool | None, labels: Labels, side: int) -> Pieces:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{split}_images.npy") as file:
            _header(file)
            for start in range(0, len(labels), AT_ONCE):
                own = labels[start : start + AT_ONCE]
                size = len(own) * int(np.prod(shape[1:]))
                plain: npt.NDArray[np.uint8] = np.frombuffer(file.read(size), np.uint8).reshape(len(own), *shape[1:])
                yield fit(plain, last, side), own
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError) as error:
        raise _damaged(path, error) from error


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)
