"""`FILE.py:NAME`: data from a callable in the user's own file, which is run."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from study.data.sources import (
    Blocks,
    Pieces,
    Source,
    as_array,
    channels_last,
    fit,
    one_image,
    whole_labels,
)
from study.errors import StudyError

AT_ONCE = 256  # images that are made before they are written


def recipe(path: Path, name: str, switches: Mapping[str, str]) -> list[Any]:
    """What tells a changed source: the file, what it imports from its own folder, the name and its switches.

    Files that the callable reads are not in it. Raises StudyError if there is no such file.
    """
    if not path.is_file():
        raise StudyError(f"there is no file {path}")
    content = hashlib.sha256()
    for file in sorted(_own_files(path)):
        content.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return [content.hexdigest(), name, dict(switches)]


def _own_files(path: Path) -> set[Path]:
    """The file and the modules beside it that it imports, directly or by way of each other."""
    found, todo = set(), [path]
    while todo:
        file = todo.pop()
        found.add(file)
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, RecursionError):
            continue  # running it says what is wrong
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            else:
                continue
            for module in modules:
                beside = path.parent.joinpath(*module.split("."))
                near = {beside.with_suffix(".py"), beside / "__init__.py"}
                todo += [other for other in near if other.is_file() and other not in found]
    return found


def source(path: Path, name: str, switches: Mapping[str, str], side: int) -> Source:
    """Both splits that the callable gives.

    It is called with the switches, and with `image_size` if it takes that, and returns `train, test` or `train, test,
    class_names`. A split is a pair of arrays (images, labels), or a sequence of (image, label): pictures of Pillow,
    arrays or tensors, all uint8. Raises StudyError for anything else, and for whatever the file raises.
    """
    with _blamed(path, name):
        make = _callable(path, name)
        given: dict[str, Any] = {key: _value(text) for key, text in switches.items()}
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
        _split(train, f"{what}, train", path, name, side),
        _split(test, f"{what}, test", path, name, side),
        _names(names),
    )


def _names(names: Any) -> tuple[str, ...] | None:
    return None if names is None else tuple(str(each) for each in names)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _callable(path: Path, name: str) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(f"data_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise StudyError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))  # for what lies beside it
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    found = getattr(module, name, None)
    if not callable(found):
        raise StudyError(f"{path} defines no function {name}")
    return found


class _blamed:  # noqa: N801
    """Whatever the user's code raises becomes one sentence that names its line."""

    def __init__(self, path: Path, name: str):
        self.path, self.name = path, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, StudyError | KeyboardInterrupt | GeneratorExit):
            return
        lines = [frame.lineno for frame in traceback.extract_tb(trace) if frame.filename == str(self.path)]
        where = f"{self.path}, line {lines[-1]}," if lines else str(self.path)
        message = " ".join(str(error).split())
        raise StudyError(f"{where} {self.name} raised {type(error).__name__}: {message}") from error


def _split(split: Any, what: str, path: Path, name: str, side: int) -> Blocks:
    if isinstance(split, tuple | list) and len(split) == 2 and getattr(split[0], "ndim", 0) >= 3:
        images, labels = as_array(split[0], f"{what} images"), whole_labels(split[1], f"{what} labels")
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise StudyError(f"{what} images hold values that are not finite (NaN or infinite): give uint8 images")
        last = channels_last(images.dtype, images.shape, f"{what} images")
        if len(images) != len(labels):
            raise StudyError(f"{what} has {len(images)} images and {len(labels)} labels")
        starts = range(0, len(labels), AT_ONCE)
        pieces = ((fit(images[at : at + AT_ONCE], last, side), labels[at : at + AT_ONCE]) for at in starts)
        return Blocks(len(labels), pieces)
    if not hasattr(split, "__len__") or not hasattr(split, "__getitem__"):
        raise StudyError(f"{what} is {type(split).__name__}: give images and labels, or a sequence of (image, label)")
    with _blamed(path, name):
        count = len(split)
    return Blocks(count, _pieces(split, count, what, path, name, side))


def _pieces(split: Any, count: int, what: str, path: Path, name: str, side: int) -> Pieces:
    images, labels = [], []
    for number, (image, label) in enumerate(
        tqdm(_pairs(split, count, what, path, name), f"preparing {what}", count, disable=None, leave=False)
    ):
        images.append(one_image(image, side, f"image {number} of {what}"))
        labels.append(_label(label, f"label {number} of {what}"))
        if len(images) == AT_ONCE or number == count - 1:
            yield np.stack(images), np.array(labels, np.int64)
            images, labels = [], []


def _pairs(split: Any, count: int, what: str, path: Path, name: str) -> Iterator[tuple[Any, Any]]:
    for number in range(count):
        with _blamed(path, name):
            pair = split[number]
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise StudyError(f"item {number} of {what} is {type(pair).__name__}, not a pair (image, label)")
        yield pair[0], pair[1]


def _label(label: Any, what: str) -> int:
    value = as_array(label, what)
    if value.size != 1 or value.dtype.kind not in "iu":
        raise StudyError(f"{what} is {value.dtype} of shape {value.shape}: a whole number from 0 is wanted")
    return int(value.reshape(()))
