"""Writing files so that a reader, or a crash, never meets half of one; reading them so that damage is one sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.errors import StudyError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well it is synced and renamed to `path`, else removed."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically. Numbers that are not finite are an error: JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises StudyError, naming the file, for whatever is wrong with it."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None


def read_text(path: Path) -> str:
    """A whole text file. Raises StudyError, naming the file, for whatever is wrong with it."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(
            f"{path} is missing: bring it back from a copy, or give the command that made it again"
        ) from None
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # bytes that are no UTF-8
        raise damaged(path, error) from None


def damaged(path: Path, why: object) -> StudyError:
    """The sentence on a file that does not hold what we wrote."""
    return StudyError(f"{path} is damaged ({why}): bring it back from a copy, or delete it and give the command again")


def checksum(path: Path, size: int | None = None) -> str:
    """SHA-256 of a file, or of its first `size` bytes, in hexadecimal digits."""
    sha, left = hashlib.sha256(), size
    with path.open("rb") as file:
        while chunk := file.read(2**20 if left is None else min(left, 2**20)):
            sha.update(chunk)
            left = None if left is None else left - len(chunk)
    return sha.hexdigest()


def seal(value: dict[str, Any]) -> str:
    """SHA-256 of a JSON object, whatever the order of its keys, but for its own `checksums`."""
    rest = {key: part for key, part in value.items() if key != "checksums"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sealed(path: Path, value: dict[str, Any]) -> dict[str, Any]:
    """With the checksum of itself, so that no digit changes without a word."""
    return {**value, "checksums": {path.name: seal(value)}}


def check_seal(path: Path, value: dict[str, Any]) -> None:
    """Raises StudyError if a value is not what was written; what was written before there were checksums has none."""
    if "checksums" in value and value["checksums"] != {path.name: seal(value)}:
        raise damaged(path, "its checksum is not that of its content")


def remove_temporaries(folder: Path) -> None:
    """What writers left that were killed amid `atomic`. To be called by whoever alone may write there."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
