"""What a data set is once prepared, and how arrays that cost something to prepare are kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import platformdirs
from filelock import FileLock

from study.config import digest
from study.errors import StudyError

Images = npt.NDArray[np.uint8]  # (N, C, H, W)
Labels = npt.NDArray[np.int64]  # (N,)


class Arrays(NamedTuple):
    """A data set: uint8 images (N, C, H, W), int64 labels (N,), the names of the classes in the labels' order."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    class_names: tuple[str, ...]


def fingerprint(arrays: Arrays) -> str:
    """12 hexadecimal digits of SHA-256 over type, shape and bytes of images and labels. The names are not in it."""
    content = hashlib.sha256()
    for array in arrays[:4]:
        content.update(f"{array.dtype.str} {array.shape}\n".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()[:12]


# ---------------------------------------------------------------- places on disk


def default_data_dir() -> Path:
    """$STUDY_DATA_DIR if it is set, else a folder in the user's cache."""
    return Path(os.environ.get("STUDY_DATA_DIR") or user_data_dir())


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


# ---------------------------------------------------------------- prepared once, mapped into memory from then on


def empty_images(shape: tuple[int, ...], split: str, folder: Path | None) -> Images:
    """Room for a split's images: in memory, or in the file of a folder that `prepared` will keep."""
    if folder is None:
        return np.empty(shape, np.uint8)
    return np.lib.format.open_memmap(folder / f"{split}_images.npy", "w+", np.uint8, shape)


def prepared(data_dir: Path, slug: str, recipe: Any, make: Callable[[Path], Arrays]) -> Arrays:
    """The arrays that `make` makes, from disk if some process made them before.

    `recipe` is a JSON value that says all that decides them; its hash names the folder `prepared/SLUG-HASH` below the
    data folder, or below the user's cache where the data folder is read-only. `make` is given a folder in which it may
    put images by `empty_images`. The folder gets its name when it is complete; processes that want the same arrays at
    the same time wait for the first. Images come back as memory maps.
    """
    name = f"prepared/{slug}-{digest(recipe)}"
    folder = data_dir / name
    if not folder.is_dir():
        folder = writable(data_dir) / name
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not folder.is_dir():
                    partial = Path(f"{folder}.partial")
                    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed: we hold the lock
                    partial.mkdir()
                    try:
                        _write(make(partial), partial)
                        partial.rename(folder)
                    finally:
                        shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise StudyError(f"cannot keep prepared images in {folder}: {error}; name another --data-dir") from error
    return _read(folder)


def _write(arrays: Arrays, folder: Path) -> None:
    for name, value in arrays._asdict().items():
        if name == "class_names":
            (folder / "class_names.json").write_text(json.dumps(value))
        elif isinstance(value, np.memmap):
            value.flush()
        else:
            np.save(folder / f"{name}.npy", value)


def _read(folder: Path) -> Arrays:
    try:
        names = tuple(json.loads((folder / "class_names.json").read_text()))
        # "c": pages are shared until somebody writes, and never reach the disk; torch warns of read-only arrays
        train, test = (np.load(folder / f"{split}_images.npy", mmap_mode="c") for split in ("train", "test"))
        train_labels, test_labels = (np.load(folder / f"{split}_labels.npy") for split in ("train", "test"))
    except (OSError, ValueError) as error:
        raise StudyError(f"the prepared images in {folder} are damaged ({error}): delete this folder") from error
    return Arrays(train, train_labels, test, test_labels, names)
