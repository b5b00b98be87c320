"""What a shell may complete: variants, data sets, readouts, results folders. None of it runs a user's file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from study.config import STUDY_VARIANTS

PUBLISHED = (  # as in study/models/published.py, whose import needs torch
    *(f"coatnet_{size}" for size in ("0", "1", "2", "2_v1", "2_v2", "3", "3_v1", "4", "5", "6", "7")),
    *(f"coat_{size}" for size in ("tiny", "mini", "small")),
    *(f"coat_lite_{size}" for size in ("tiny", "mini", "small", "medium")),
)
VARIANTS = (*STUDY_VARIANTS, "coat", "coat_lite", *PUBLISHED, "timm:")
DATA = ("fractals", "cifar100", "cifar100-coarse", "cifar10", "folder:", "hf:", "npz:")
MARKS = ("experiment.json", "members.json", "family.json")  # of results folders


def variants(incomplete: str) -> list[str]:
    """The last of a list of names separated by commas; files as `FILE.py:`."""
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in (*_beginning(VARIANTS, last), *_python_files(last))]


def datasets(incomplete: str) -> list[str]:
    """Names of data sets; files as `FILE.py:`."""
    return [*_beginning(DATA, incomplete), *_python_files(incomplete)]


def readouts(incomplete: str) -> list[str]:
    """Names of readouts."""
    from study.analysis.readouts import READOUTS

    return list(_beginning(READOUTS, incomplete))


def folders(incomplete: str) -> list[str]:
    """Results folders: those that the path leads to, and, if nothing is typed, those in `results`."""
    found = []
    for folder in filter(Path.is_dir, _paths(incomplete or "results/")):
        is_results = any((folder / mark).is_file() for mark in MARKS)
        found.append(str(folder) if is_results else f"{folder}/")
    return found


def _beginning(names: Iterable[str], incomplete: str) -> Iterator[str]:
    return (name for name in names if name.lower().startswith(incomplete.lower()))


def _python_files(incomplete: str) -> Iterator[str]:
    return (f"{path}:" for path in _paths(incomplete) if path.suffix == ".py")


def _paths(incomplete: str) -> Iterator[Path]:
    path = Path(incomplete)
    folder, beginning = (path, "") if incomplete[-1:] in ("", "/") else (path.parent, path.name)
    if folder.is_dir():
        yield from (each for each in sorted(folder.iterdir()) if each.name.startswith(beginning))
