"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the official Python archives: found or fetched, verified, read.

The files are pickles of Python 2. They are read only after their MD5 matched, and by an unpickler that knows the three
names which an array needs and no other, so that a pickle from elsewhere runs nothing.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from study.data.arrays import Arrays, Images, Labels, writable
from study.data.sources import Source, in_pieces
from study.errors import StudyError

BASE_URL = "https://www.cs.toronto.edu/~kriz"
SIDE = 32


@dataclass(frozen=True)
class Official:
    """An official archive, the files in it with their MD5, and the keys of the labels to take from them."""

    title: str
    archive: str
    archive_md5: str
    folder: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    meta: Mapping[str, str]
    labels: bytes
    names: bytes
    classes: int

    @property
    def files(self) -> dict[str, str]:
        """MD5 of every file."""
        return {**self.train, **self.test, **self.meta}


def _cifar100(labels: bytes, names: bytes, classes: int) -> Official:
    return Official(
        title="CIFAR-100",
        archive="cifar-100-python.tar.gz",
        archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train={"train": "16019d7e3df5f24257cddd939b257f8d"},
        test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        meta={"meta": "7973b15100ade9c7d40fb424638fde48"},
        labels=labels,
        names=names,
        classes=classes,
    )


SOURCES = {
    "cifar10": Official(
        title="CIFAR-10",
        archive="cifar-10-python.tar.gz",
        archive_md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        test={"test_batch": "40351d587109b95175f43aff81a1287e"},
        meta={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
        labels=b"labels",
        names=b"label_names",
        classes=10,
    ),
    "cifar100": _cifar100(b"fine_labels", b"fine_label_names", classes=100),
    "cifar100-coarse": _cifar100(b"coarse_labels", b"coarse_label_names", classes=20),
}


def extracted(source: Official, data_dir: Path) -> Path | None:
    """The folder of the extracted files: below the data folder or the data folder itself; None if there is none."""
    if (data_dir / source.folder).is_dir():
        return data_dir / source.folder
    return data_dir if any((data_dir / name).is_file() for name in source.files) else None


def load(source: Official, data_dir: Path, base_url: str = BASE_URL) -> Arrays:
    """The data set at its own size: files from the extracted folder, else from the archive, else downloaded.

    Raises StudyError if files are missing, cut short, damaged or not the official ones, and if there is no network.
    """
    unpacked = extracted(source, data_dir)
    if unpacked is not None:
        contents = _read_folder(source, unpacked)
    else:
        contents = _read_archive(source, _find_archive(source, data_dir, base_url))
    meta = unpickle(contents[next(iter(source.meta))], source.title)
    train_images, train_labels = _examples(source, [contents[name] for name in source.train])
    test_images, test_labels = _examples(source, [contents[name] for name in source.test])
    names = tuple(name.decode() for name in meta[source.names])
    return Arrays(train_images, train_labels, test_images, test_labels, names)


def resized(arrays: Arrays, side: int) -> Source:
    """The images at another size, by Pillow's bicubic filter."""
    train, test = (in_pieces(*split, False, side) for split in (arrays[:2], arrays[2:4]))
    return Source(train, test, arrays.class_names)


def _examples(source: Official, contents: list[bytes]) -> tuple[Images, Labels]:
    batches = [unpickle(content, source.title) for content in contents]
    pixels = batches[0][b"data"] if len(batches) == 1 else np.concatenate([batch[b"data"] for batch in batches])
    labels = np.concatenate([np.array(batch[source.labels], np.int64) for batch in batches])
    return pixels.reshape(-1, 3, SIDE, SIDE), labels


# ---------------------------------------------------------------- files


def _read_folder(source: Official, folder: Path) -> dict[str, bytes]:
    contents = {}
    for name, md5 in source.files.items():
        path = folder / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise StudyError(f"{source.title}: {path} is missing; unpack {source.archive} again") from None
        except OSError as error:
            raise StudyError(f"{source.title}: {path} cannot be read ({error.strerror})") from None
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5:
            short = not content.endswith(pickle.STOP)
            problem = f"is cut short at {len(content):,} bytes" if short else "is damaged or not the official file"
            raise StudyError(
                f"{source.title}: {path} {problem} (MD5 {found}, not {md5}); unpack {source.archive} again"
            )
        contents[name] = content
    return contents


def _read_archive(source: Official, path: Path) -> dict[str, bytes]:
    """The archive's files. What has another MD5 is not unpacked: it may hold thousands of times its size."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != source.archive_md5:
        raise StudyError(
            f"{source.title}: {path} is cut short, damaged or not the official archive ({path.stat().st_size:,} bytes, "
            f"MD5 {found}, not {source.archive_md5}); delete it, and it will be downloaded again"
        )
    with tarfile.open(path, "r:gz") as tar:
        members = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        contents = {name: members[f"{source.folder}/{name}"] for name in source.files}
        return {name: file.read() for name, file in contents.items() if file is not None}


def _find_archive(source: Official, data_dir: Path, base_url: str) -> Path:
    """The archive in the data folder (or, where that is read-only, in the user's cache), downloaded if need be."""
    place = writable(data_dir)
    for folder in (data_dir, place):
        if (folder / source.archive).is_file():
            return folder / source.archive
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / f"{source.archive}.lock"):
            if not (place / source.archive).is_file():
                _download(source, place, base_url)
    except OSError as error:
        raise StudyError(f"{source.title}: cannot write to {place}: {error}; name another --data-dir") from error
    return place / source.archive


def _download(source: Official, place: Path, base_url: str) -> None:
    import pooch
    import requests

    url = f"{base_url}/{source.archive}"
    advice = f"put {source.archive} into {place} or point --data-dir to it"
    try:
        pooch.retrieve(url, f"md5:{source.archive_md5}", source.archive, place, progressbar=True)
    except requests.HTTPError as error:
        raise StudyError(f"{source.title}: {url} cannot be had ({error}); {advice}") from error
    except requests.RequestException as error:
        raise StudyError(
            f"{source.title} is not there and {url} cannot be reached: no network? Then {advice}"
        ) from error
    except ValueError as error:
        raise StudyError(
            f"{source.title}: what {url} sent is not the official archive (its MD5 is not {source.archive_md5}); "
            f"try again, or {advice}"
        ) from error


# ---------------------------------------------------------------- pickles


class _ArraysOnly(pickle.Unpickler):
    """Knows the three names that an array of numpy is rebuilt from; they are found without importing by name."""

    KNOWN = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return self.KNOWN[module, name]


def unpickle(content: bytes, title: str) -> dict[bytes, Any]:
    """The dictionary in a pickle of Python 2, its strings as bytes. Raises StudyError if it holds anything else.

    Nothing but arrays, lists, numbers and strings can be made by it, and nothing in it is run.
    """
    try:
        value = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise almost anything
        raise StudyError(f"{title}: a file is refused as unsafe or damaged: {error}") from error
    if not isinstance(value, dict):
        raise StudyError(f"{title}: a file holds {type(value).__name__} where a dictionary belongs")
    return value
