"""Image trees with a folder per class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from unicodedata import normalize

import numpy as np

from study.data.sources import Files, Source
from study.errors import StudyError

NOTES = {".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".ini", ".db"}  # what lies beside images in public data sets


def scan(root: Path) -> tuple[Source, str]:
    """The files of `root/train/CLASS/` and `root/test/CLASS/` (`root/val/` where there is no test), in sorted order.

    With them what tells a changed folder: SHA-256 of path, label, size in bytes and time of change of every file.
    Folders inside a class's folder belong to the class. Hidden files and notes (.txt, .csv, ...) are left out; any
    other file counts as an image. Raises StudyError if a folder is missing or empty or the splits' classes differ.
    """
    if not root.is_dir():
        raise StudyError(f"there is no folder {root}")
    train = root / "train"
    test = root / "test" if (root / "test").is_dir() else root / "val"
    for split, wanted in ((train, "train/"), (test, "test/ or val/")):
        if not split.is_dir():
            raise StudyError(f"{root} has no {wanted}: a data set is train/CLASS/IMAGE and test/CLASS/IMAGE")
    try:
        names, test_names = _classes(train), _classes(test)
        if names != test_names:
            apart = ", ".join(sorted(set(names) ^ set(test_names))[:5])
            raise StudyError(f"{train} and {test} must have the same classes, but only one of them has: {apart}")
        facts = hashlib.sha256()
        source = Source(_split(train, names, facts), _split(test, names, facts), names)
        return source, facts.hexdigest()
    except OSError as error:
        raise StudyError(f"{root} cannot be read: {error}") from error


def _classes(split: Path) -> tuple[str, ...]:
    folders = (entry.name for entry in split.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    names = sorted(folders, key=_place)
    if not names:
        raise StudyError(f"{split} has no folders: a data set is {split.name}/CLASS/IMAGE")
    return tuple(names)


def _place(path: str) -> list[tuple[str, str]]:
    """Where a path stands in the order, the same if accents are apart from their letters, as some file systems do."""
    return [(normalize("NFC", part), part) for part in path.split("/")]


def _split(split: Path, names: tuple[str, ...], facts: hashlib._Hash) -> Files:
    files: list[str] = []
    counts = []
    for label, name in enumerate(names):
        found = sorted(_walk(split / name, name), key=lambda fact: _place(fact[0]))
        if not found:
            raise StudyError(f"{split / name} has no images")
        for path, size, changed in found:
            facts.update(os.fsencode(f"{split.name}/{path}\0{label} {size} {changed}\n"))
            files.append(path)
        counts.append(len(found))

    def items(first: int, last: int) -> list[tuple[str, str | bytes]]:
        paths = [str(split / file) for file in files[first:last]]
        return [(path, path) for path in paths]

    return Files(np.repeat(np.arange(len(names)), counts), items)


def _walk(folder: Path | str, name: str) -> Iterator[tuple[str, int, int]]:
    """Path from the split on, size in bytes and time of change of every image file below a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{name}/{entry.name}"
            if entry.is_dir():
                yield from _walk(entry.path, path)
            elif entry.name.startswith(".") or os.path.splitext(entry.name)[1].lower() in NOTES:
                continue
            elif entry.is_file():
                status = entry.stat()
                yield path, status.st_size, status.st_mtime_ns
