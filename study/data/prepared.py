"""Data sets prepared once on disk, mapped into memory from then on: made, found, listed, removed.

A folder `prepared/SLUG-HASH` holds `train_images.npy`, `train_labels.npy`, the same of the test images,
`class_names.json`, and `facts.json`: what the images are, their fingerprint and their grey levels, so that who opens it
reads none of them. `views/` holds the same facts of subsets that were asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from study.config import digest
from study.data.arrays import (
    Arrays,
    Images,
    Labels,
    Levels,
    count_levels,
    fingerprint,
    header,
    user_data_dir,
    writable,
)
from study.data.decode import decoded
from study.data.sources import Blocks, Files, Source, check_labels, whole_labels
from study.errors import StudyError
from study.files import write_json

SPLITS = ("train", "test")


class Whole(NamedTuple):
    """All images of a data set, and the folder that they lie in, if they are prepared."""

    arrays: Arrays
    folder: Path | None = None


# ---------------------------------------------------------------- make


def prepare(data_dir: Path, slug: str, recipe: Any, make: Callable[[], Source], title: str, side: int) -> Whole:
    """The images of side `side` that `make` gives, from disk if some process prepared them before.

    `recipe` is a JSON value that says, with `side`, all that decides them; its hash names the folder below the data
    folder, or below the user's cache where the data folder is read-only. The folder gets its name when it is complete;
    processes that want the same at the same time wait for the first. Of a source of files, what was decoded before a
    kill is kept; of any other nothing is. `title` names the data set for people.
    """
    name = f"prepared/{slug}-{digest([recipe, side])}"
    folder = data_dir / name
    if not folder.is_dir():
        folder = writable(data_dir) / name
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not folder.is_dir():
                    _make(folder, make(), title, side)
        except OSError as error:
            raise StudyError(f"cannot keep prepared images in {folder}: {error}; name another --data-dir") from error
    return Whole(_read(folder), folder)


def _make(folder: Path, source: Source, title: str, side: int) -> None:
    """Write everything into `folder`.partial and give it its name. We hold the lock."""
    partial = Path(f"{folder}.partial")
    resumable = isinstance(source.train, Files)
    if not resumable:
        shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(exist_ok=True)
        facts = {"name": title, "image_size": side}
        write_json(partial / "facts.json", facts)
        _check_room(source, side, partial, title)
        write_json(partial / "facts.json", facts | _write(partial, source, title, side))
        for file in (*partial.glob("*.npy"), partial):
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        partial.rename(folder)
    except BaseException as error:
        if not resumable or isinstance(error, StudyError):
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _check_room(source: Source, side: int, partial: Path, title: str) -> None:
    there = sum(file.stat().st_blocks * 512 for file in partial.glob("*.npy"))
    needed = (source.train.count + source.test.count) * 3 * side**2 - there
    free = shutil.disk_usage(partial).free
    if needed > free:
        raise StudyError(
            f"{title} at {side} pixels needs {needed / 1e9:,.1f} GB in {partial.parent}, where {free / 1e9:,.1f} GB "
            "are free: make room, or name another --data-dir"
        )


def _write(partial: Path, source: Source, title: str, side: int) -> dict[str, Any]:
    """Write images, labels and names; what is to be known of them without reading them."""
    content, labels = hashlib.sha256(), []
    counts = np.zeros((3, 256), np.int64)
    if isinstance(source.train, Files) and isinstance(source.test, Files):  # known before anything is decoded
        check_labels(source.train.labels, source.test.labels, source.class_names, title)
    for name, split in zip(SPLITS, (source.train, source.test), strict=True):
        found = []
        content.update(header(np.dtype(np.uint8), (split.count, 3, side, side)))
        progress = f"preparing {title}, {name}"
        for images, levels, own in _images(split, partial / f"{name}_images.npy", side, progress):
            content.update(images.data)
            counts += levels if name == "train" else 0
            found.append(own)
        every = whole_labels(np.concatenate(found) if found else np.empty(0, np.int64), f"{title}: {name} labels")
        if len(every) != split.count:
            raise StudyError(f"{title}: {len(every)} of {split.count} {name} images came")
        content.update(header(every.dtype, every.shape))
        content.update(every.data)
        np.save(partial / f"{name}_labels.npy", every)
        labels.append(every)
    names = check_labels(labels[0], labels[1], source.class_names, title)
    (partial / "class_names.json").write_text(json.dumps(names))
    return {"fingerprint": content.hexdigest()[:12], "levels": counts.tolist()}


def _images(split: Files | Blocks, path: Path, side: int, title: str) -> Iterator[tuple[Images, Levels, Labels]]:
    """Write a split's images as .npy; each piece of them once it is written, with its grey levels and labels."""
    shape = (split.count, 3, side, side)
    described = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("r+b" if path.exists() else "w+b") as file:
        np.lib.format.write_array_header_1_0(file, described)
        offset = file.tell()
        if isinstance(split, Files):
            file.truncate(offset + int(np.prod(shape)))
            file.flush()
            first = 0
            for images, levels in decoded(split, path, offset, side, title):
                yield images, levels, split.labels[first : first + len(images)]
                first += len(images)
        else:
            for images, labels in split.pieces:
                plain = np.ascontiguousarray(images)
                file.write(plain.data)
                yield plain, count_levels(plain), labels
    Path(f"{path}.blocks").unlink(missing_ok=True)


# ---------------------------------------------------------------- read


def _read(folder: Path) -> Arrays:
    try:
        names = tuple(json.loads((folder / "class_names.json").read_text()))
        train, test = (np.load(folder / f"{split}_images.npy", mmap_mode="r") for split in SPLITS)
        train_labels, test_labels = (np.load(folder / f"{split}_labels.npy") for split in SPLITS)
        if len(train) != len(train_labels) or len(test) != len(test_labels):
            raise ValueError("images and labels differ in number")
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise _damaged(folder, error) from error
    return Arrays(train, train_labels, test, test_labels, names)


def _damaged(folder: Path, error: object) -> StudyError:
    return StudyError(f"the prepared images in {folder} are damaged ({error}): study data rm {folder.name}")


def facts_of(whole: Whole, view: str, arrays: Arrays) -> tuple[str, Levels | None]:
    """Fingerprint and grey levels of `arrays`, the part of a data set that `view` names ("" is all of it).

    Read from the folder of a prepared set, and put there if they are not yet known.
    """
    if whole.folder is None:
        return fingerprint(arrays), None
    path = whole.folder / "views" / f"{view}.json" if view else whole.folder / "facts.json"
    known = _facts(path)
    try:
        if "fingerprint" in known:
            levels = np.array(known["levels"], np.int64)
            if levels.shape != (arrays.train_images.shape[1], 256):
                raise ValueError(f"{path.name} has other grey levels")
            return str(known["fingerprint"]), levels
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(whole.folder, error) from error
    levels = count_levels(arrays.train_images)
    made = {"fingerprint": fingerprint(arrays), "levels": levels.tolist()}
    if os.access(whole.folder, os.W_OK):  # a read-only set is read again each time
        write_json(path, known | made)
    return made["fingerprint"], levels


def _facts(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(path.parent, error) from error
    if not isinstance(known, dict):
        raise _damaged(path.parent, f"{path.name} is no table")
    return known


def check(folder: Path) -> None:
    """Read every byte of a prepared set: its fingerprint is the one that was stored while it was prepared.

    Raises StudyError if it is not.
    """
    known = _facts(folder / "facts.json").get("fingerprint")
    if known is not None and (found := fingerprint(_read(folder))) != known:
        raise _damaged(folder, f"the fingerprint of its content is {found}, not {known}")


def find(data_dir: Path, wanted: str, side: int, view: str) -> Whole | None:
    """The prepared set whose part `view` has the fingerprint `wanted`, wherever its images came from."""
    for folder in _folders(data_dir):
        try:
            facts = _facts(folder / "facts.json")
            part = _facts(folder / "views" / f"{view}.json") if view else facts
        except StudyError:
            continue  # another one that is damaged is no hindrance
        if facts.get("image_size") == side and part.get("fingerprint") == wanted:
            return Whole(_read(folder), folder)
    return None


# ---------------------------------------------------------------- list and remove


class Entry(NamedTuple):
    """A folder of prepared images, complete or left unfinished by a kill."""

    name: str
    image_size: int | None
    train_images: int | None
    test_images: int | None
    classes: int | None
    bytes: int
    state: str  # complete, unfinished or damaged
    fingerprint: str
    folder: Path


def _folders(data_dir: Path, partial: bool = False) -> Iterator[Path]:
    for place in dict.fromkeys((data_dir / "prepared", user_data_dir() / "prepared")):
        for folder in sorted(place.iterdir()) if place.is_dir() else ():
            wanted = folder.name[0] != "." and (folder.suffix == ".partial") == partial
            if wanted and folder.is_dir() and not folder.is_symlink():
                yield folder


def entries(data_dir: Path, thorough: bool = False) -> list[Entry]:
    """All prepared sets in the data folder and in the user's cache; if `thorough`, with every byte checked."""
    return [_entry(folder, thorough) for partial in (False, True) for folder in _folders(data_dir, partial)]


def _entry(folder: Path, thorough: bool) -> Entry:
    size = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
    facts: dict[str, Any] = {}
    train = test = classes = None
    try:
        facts = _facts(folder / "facts.json")
        if folder.suffix == ".partial":
            state = "unfinished"
        else:
            arrays = _read(folder)
            train, test, classes = len(arrays.train_labels), len(arrays.test_labels), len(arrays.class_names)
            if thorough:
                check(folder)
            state = "complete"
    except StudyError:
        state = "damaged"
    name = str(facts.get("name") or folder.name.rpartition("-")[0])
    side, found = facts.get("image_size"), str(facts.get("fingerprint", ""))
    return Entry(name, side, train, test, classes, size, state, found, folder)


def remove(folder: Path) -> None:
    """Remove a folder that `entries` gave. Raises StudyError if a process is preparing it at this moment."""
    whole = folder.with_suffix("") if folder.suffix == ".partial" else folder
    try:
        with FileLock(f"{whole}.lock", timeout=0):
            shutil.rmtree(folder)
    except Timeout:
        raise StudyError(f"{folder} is being prepared by another process: stop it first") from None
    except OSError as error:
        raise StudyError(f"{folder} cannot be removed: {error}") from error
