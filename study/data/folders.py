"""Image trees with a folder per class, and how any picture becomes a square of 8-bit RGB."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm  # type: ignore[import-untyped]

from study.data.arrays import Arrays, Images, Labels, empty_images
from study.errors import StudyError

NOTES = {".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".ini", ".db"}  # what lies beside images in public data sets


class Tree(NamedTuple):
    """The image files of a folder, each with its label, and the classes' names."""

    root: Path
    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]
    class_names: tuple[str, ...]

    @property
    def recipe(self) -> list[Any]:
        """What tells a changed folder: path, size in bytes and time of change of every file."""
        facts = []
        for path, label in (*self.train, *self.test):
            status = path.stat()
            facts.append([str(path.relative_to(self.root)), label, status.st_size, status.st_mtime_ns])
        return facts


def scan(root: Path) -> Tree:
    """The files of `root/train/CLASS/` and `root/test/CLASS/` (`root/val/` where there is no test), in sorted order.

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
    names, test_names = _classes(train), _classes(test)
    if names != test_names:
        apart = ", ".join(sorted(set(names) ^ set(test_names))[:5])
        raise StudyError(f"{train} and {test} must have the same classes, but only one of them has: {apart}")
    return Tree(root, _files(train, names), _files(test, names), names)


def _classes(split: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in split.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise StudyError(f"{split} has no folders: a data set is {split.name}/CLASS/IMAGE")
    return tuple(names)


def _files(split: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    found = []
    for label, name in enumerate(names):
        files = sorted(path for path in (split / name).rglob("*") if path.is_file())
        images = [path for path in files if not path.name.startswith(".") and path.suffix.lower() not in NOTES]
        if not images:
            raise StudyError(f"{split / name} has no images")
        found += [(path, label) for path in images]
    return found


def load(tree: Tree, image_size: int, folder: Path | None = None) -> Arrays:
    """All images of a tree, read once. Raises StudyError that names a file which is no readable image."""
    train, test = (
        _split(files, image_size, split, folder) for files, split in ((tree.train, "train"), (tree.test, "test"))
    )
    return Arrays(*train, *test, tree.class_names)


def _split(files: list[tuple[Path, int]], side: int, split: str, folder: Path | None) -> tuple[Images, Labels]:
    images = empty_images((len(files), 3, side, side), split, folder)

    def place(number: int) -> None:
        images[number] = read(files[number][0], side)

    pool = ThreadPoolExecutor(os.cpu_count())  # Pillow decodes and resizes outside the interpreter's lock
    try:
        numbers = pool.map(place, range(len(files)))
        for _ in tqdm(numbers, f"preparing {split} images", total=len(files), disable=None, leave=False):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    return images, np.array([label for _, label in files], np.int64)


# ---------------------------------------------------------------- pictures


def read(path: Path, side: int) -> Images:
    """The image file as uint8 (3, side, side). Raises StudyError that names the file if Pillow cannot read it."""
    try:
        with Image.open(path) as image:
            return square(image, side)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise StudyError(f"{path} is not a readable image ({error}): mend or remove it") from error


def square(image: Image.Image, side: int) -> Images:
    """uint8 (3, side, side): turned upright by its EXIF, in RGB, the short side resized to `side`, the centre cropped.

    Pillow's bicubic filter, which averages over the source's pixels when it shrinks.
    """
    upright = eight_bit_rgb(ImageOps.exif_transpose(image))
    fitted = ImageOps.fit(upright, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(fitted).transpose(2, 0, 1)


def eight_bit_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow as RGB: transparency over white, 16 bits scaled to 8, other ranges stretched to 0-255."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):  # 32 bits without a unit: the image's own range
        values = np.asarray(image, np.float64)
        low, high = values.min(), values.max()
        image = Image.fromarray((255 * (values - low) / max(high - low, 1e-12) + 0.5).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")
