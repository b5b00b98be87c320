"""`hf:NAME[@REVISION]`: data sets of the Hugging Face hub, or a local folder of parquet or images, by `datasets`.

Nothing of the data set is run: `datasets` reads parquet, archives and folders, and no scripts since its version 4.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from study.data.sources import Files, Source, whole_labels
from study.environment import install
from study.errors import StudyError

OPTIONS = ("train", "test", "image", "label", "config")
TEST_SPLITS = ("test", "validation", "valid", "val")


def recipe(name: str, options: Mapping[str, str]) -> list[Any]:
    """What tells a changed source: name, revision and options; of a local folder also its files, sizes and times.

    A name of the hub without a revision stands for what was there when it was first prepared. Raises StudyError if an
    option is unknown or a local path is not there.
    """
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise StudyError(f"hf:{name} knows the options {', '.join(OPTIONS)}, not {', '.join(unknown)}")
    if (folder := local(name)) is None:
        return [name, dict(options)]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [[str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return [str(folder), facts, dict(options)]


def local(name: str) -> Path | None:
    """The folder that a name stands for, None for one of the hub."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path.absolute()
    if name.startswith(("/", "./", "../", "~")):
        raise StudyError(f"there is no folder {path}")
    return None


def source(name: str, options: Mapping[str, str], cache: Path) -> Source:
    """Train and test as encoded images, decoded later by several processes like any file.

    Splits, and columns of images and of labels, are found by their names and types, or named by `options`. What
    `datasets` makes of a local folder is kept in `cache`. Raises StudyError if the data set or the library cannot be
    had, and if splits or columns are not there or not the only ones.
    """
    splits = _load(name, options, cache)
    what = f"hf:{name}"
    train = _split(splits, [options["train"]] if "train" in options else ["train"], "train", what)
    test = _split(splits, [options["test"]] if "test" in options else list(TEST_SPLITS), "test", what)
    image, label = _column(train, "image", options, what), _column(train, "label", options, what)
    names: tuple[str, ...] | None = None
    feature = train.features[label]
    if hasattr(feature, "names"):  # ClassLabel
        names = tuple(feature.names)
    elif getattr(feature, "dtype", "") in ("string", "large_string"):
        names = tuple(sorted({value for value in train.with_format(None)[label] if value is not None}))
    return Source(
        _files(train, image, label, names, f"{what}, train"), _files(test, image, label, names, f"{what}, test"), names
    )


def _load(name: str, options: Mapping[str, str], cache: Path) -> Any:
    try:
        import datasets
        from datasets.exceptions import DatasetNotFoundError
    except ImportError:
        raise StudyError(f"hf: needs the library datasets, this project's extra hf: {install('hf')}") from None
    folder = local(name)
    path, _, revision = (str(folder), "", "") if folder else name.partition("@")
    quiet = datasets.utils.logging.get_verbosity()
    datasets.utils.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(
            path, options.get("config"), revision=revision or None, cache_dir=str(cache) if folder else None
        )
    except DatasetNotFoundError as error:
        raise StudyError(f"the hub has no data set {name!r}, or it is private ({_first_line(error)})") from error
    except Exception as error:  # some dozen kinds, of as many libraries
        if _offline(error):
            raise StudyError(
                f"hf:{name} cannot be fetched: no network? Then name a local folder of parquet or images, as hf:PATH"
            ) from error
        raise StudyError(f"hf:{name} cannot be read ({type(error).__name__}: {_first_line(error)})") from error
    finally:
        datasets.utils.logging.set_verbosity(quiet)


def _offline(error: BaseException | None) -> bool:
    while error is not None:
        unreachable = isinstance(error, ConnectionError | TimeoutError)
        if unreachable or re.search("Connect|Offline|Timeout", type(error).__name__):
            return True
        error = error.__cause__ or error.__context__
    return False


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _split(splits: Any, wanted: list[str], role: str, what: str) -> Any:
    for name in wanted:
        if name in splits:
            return splits[name]
    raise StudyError(
        f"{what} has no split {' or '.join(wanted)}; it has {', '.join(splits)}: name one, as {what}[{role}=SPLIT]"
    )


def _column(split: Any, role: str, options: Mapping[str, str], what: str) -> str:
    """The column of images, or of labels: the named one, else the only one of its type, else the one of that name."""
    if role in options:
        if options[role] not in split.features:
            raise StudyError(f"{what} has no column {options[role]!r}; it has {', '.join(split.features)}")
        return options[role]
    kind = {"image": "Image", "label": "ClassLabel"}[role]
    found = [name for name, feature in split.features.items() if type(feature).__name__ == kind]
    if not found:
        usual = {"image": ("image", "images", "img"), "label": ("label", "labels", "class")}[role]
        found = [name for name in usual if name in split.features][:1]
    if len(found) != 1:
        several = f"several columns of {role}s" if found else f"no column of {role}s that is known by its type or name"
        raise StudyError(
            f"{what} has {several}: name one of {', '.join(found or split.features)}, as {what}[{role}=COLUMN]"
        )
    return found[0]


def _files(split: Any, image: str, label: str, names: tuple[str, ...] | None, what: str) -> Files:
    import datasets

    values = list(split.with_format(None)[label])
    if any(value is None for value in values):
        raise StudyError(f"{what} has images without a label")
    if names is not None and len(split) and isinstance(values[0], str):
        position = {name: number for number, name in enumerate(names)}
        if strange := sorted({value for value in values if value not in position})[:3]:
            raise StudyError(f"{what} has labels that the training images have not: {', '.join(strange)}")
        values = [position[value] for value in values]
    labels = whole_labels(np.array(values), f"{what}: labels")
    try:
        encoded = split.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    except Exception as error:
        raise StudyError(f"{what}: column {image} holds no images ({_first_line(error)})") from error

    def items(first: int, last: int) -> list[tuple[str, str | bytes]]:
        found: list[tuple[str, str | bytes]] = []
        for number, cell in enumerate(encoded[first:last][image], first):
            cell = cell or {}
            file = cell.get("bytes") or cell.get("path") or b""
            found.append((cell.get("path") or f"image {number} of {what}", file))
        return found

    return Files(labels, items)
