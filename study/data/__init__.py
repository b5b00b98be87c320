"""Data sets: `load(data)` gives train and test, one uint8 array (N, C, H, W) and one label vector each.

Names: cifar10, cifar100, cifar100-coarse, fractals, folder:PATH; each may be cut to some classes, as `cifar100[0:80]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.config import Data, Fractals
from study.data import cifar, folders, fractals
from study.data.arrays import Arrays, Images, Labels, default_data_dir, fingerprint, prepared
from study.errors import StudyError

__all__ = ["NAMES", "Dataset", "default_data_dir", "load"]

NAMES = (*cifar.SOURCES, "fractals", "folder:PATH")
QUICK_FRACTALS = 20_000 * 32**2  # pixels that take a few seconds to draw: up to here fractals are not kept on disk


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a run sees. Images are uint8 (N, C, H, W), perhaps read-only memory maps; labels are int64 (N,)."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    class_names: tuple[str, ...]
    fingerprint: str

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def load(data: Data, data_dir: Path | None = None) -> Dataset:
    """The data set that `data` describes: found, fetched or made; cut by class; then the subset of the training images.

    With `data.validation`, so many of these training images, class-balanced, take the place of the test images, which
    are then not looked at. Of a stream the training images are those that give the normalisation: a run makes its own.

    Raises StudyError if the name is unknown, if files are missing or damaged, if more images are asked for than there
    are, and if `data.fingerprint` is given and what was loaded differs from it.
    """
    name, first, last = parse_name(data.name)
    arrays = _whole(name, data, (data_dir or default_data_dir()).expanduser())
    if last is not None:
        arrays = cut_classes(arrays, data.name, first, last)
    if data.train_size is not None:
        kept = subset(arrays.train_labels, len(arrays.class_names), data.train_size, data.subset_seed)
        arrays = arrays._replace(train_images=arrays.train_images[kept], train_labels=arrays.train_labels[kept])
    if data.validation is not None:
        arrays = keep_back(arrays, data.validation, data.subset_seed)
    found = fingerprint(arrays)
    if data.fingerprint not in ("", found):
        raise StudyError(
            f"the images of {data.name} are not those of the experiment: their fingerprint is {found}, it has "
            f"{data.fingerprint}; bring the old images back or start a new --out"
        )
    return Dataset(*arrays, found)


def parse_name(text: str) -> tuple[str, int, int | None]:
    """A data set's name, and the first class and the one after the last that it is cut to (0 and None: all).

    >>> parse_name("cifar100[0:80]"), parse_name("folder:~/pets")
    (('cifar100', 0, 80), ('folder:~/pets', 0, None))
    """
    match = re.fullmatch(r"(?s)(.*?)(?:\[(\d+):(\d+)\])?", text)
    assert match  # every text has this form
    name, first, last = match.groups()
    if name == "folder:":
        raise StudyError("folder: needs a path, as in folder:~/pets with ~/pets/train/CLASS/IMAGE")
    if name not in NAMES[:-1] and not name.startswith("folder:"):
        known = ", ".join(NAMES)
        raise StudyError(f"there is no data set {text!r}; known are {known}, and each with [FIRST:LAST] after its name")
    return name, int(first or 0), int(last) if last else None


def _whole(name: str, data: Data, data_dir: Path) -> Arrays:
    """All classes and images of a data set, kept on disk if they cost something to prepare."""
    side = data.image_size
    if name in cifar.SOURCES:
        source = cifar.SOURCES[name]
        if side == cifar.SIDE and cifar.extracted(source, data_dir):
            return cifar.load(source, data_dir)  # half a second: nothing to keep
        recipe = [source.archive_md5, source.labels.decode(), side]
        return prepared(data_dir, name, recipe, lambda folder: cifar.load(source, data_dir, side, folder))
    if name == "fractals":
        settings = data.fractals or Fractals()
        if (settings.train_images + settings.test_images) * side**2 <= QUICK_FRACTALS:
            return fractals.arrays(settings, side)
        recipe = [fractals.VERSION, settings.model_dump(exclude={"stream"}), side]
        return prepared(data_dir, name, recipe, lambda folder: fractals.arrays(settings, side, folder))
    tree = folders.scan(Path(name.removeprefix("folder:")).expanduser().absolute())
    slug = "folder-" + re.sub(r"[^a-z0-9]+", "-", tree.root.name.lower()).strip("-")
    return prepared(
        data_dir, slug, [str(tree.root), tree.recipe, side], lambda folder: folders.load(tree, side, folder)
    )


def cut_classes(arrays: Arrays, name: str, first: int, last: int) -> Arrays:
    """Classes `first` to `last` - 1 alone, labelled from 0. Raises StudyError if there are no such classes."""
    classes = len(arrays.class_names)
    if not first < last <= classes:
        raise StudyError(f"{name}: FIRST:LAST must lie in 0:{classes} with FIRST below LAST (LAST itself is left out)")
    train = (arrays.train_labels >= first) & (arrays.train_labels < last)
    test = (arrays.test_labels >= first) & (arrays.test_labels < last)
    return Arrays(
        arrays.train_images[train],
        arrays.train_labels[train] - first,
        arrays.test_images[test],
        arrays.test_labels[test] - first,
        arrays.class_names[first:last],
    )


def keep_back(arrays: Arrays, size: int, seed: int) -> Arrays:
    """A validation split: `size` training images, class-balanced, in place of the test images; the others to train on.

    Raises StudyError if it would leave nothing to train on.
    """
    if size >= len(arrays.train_labels):
        raise StudyError(f"{size} validation images leave none of the {len(arrays.train_labels)} to train on")
    back = subset(arrays.train_labels, len(arrays.class_names), size, seed)
    rest = np.delete(np.arange(len(arrays.train_labels)), back)
    images, labels = arrays.train_images, arrays.train_labels
    return Arrays(images[rest], labels[rest], images[back], labels[back], arrays.class_names)


def subset(labels: Labels, classes: int, size: int, seed: int) -> Labels:
    """Positions, ascending, of `size` examples whose classes' counts differ by at most one.

    Each class has an order of its own, drawn from (seed, class), and gives its first ones; the seed also draws which
    classes give one more. So for one seed a smaller subset is contained in every larger one. Raises StudyError if a
    class has too few.
    """
    turn = np.random.default_rng([seed, classes]).permutation(classes)
    share = np.full(classes, size // classes)
    share[turn[: size % classes]] += 1
    available = np.bincount(labels, minlength=classes)
    if (share > available).any():
        raise StudyError(
            f"--train-size {size} takes up to {share.max()} images of each of the {classes} classes, but the smallest "
            f"has {available.min()}: at most {available.min() * classes} can be taken in balance"
        )
    chosen = []
    for label in range(classes):
        positions = np.flatnonzero(labels == label)
        order = np.random.default_rng([seed, classes, label]).permutation(len(positions))
        chosen.append(positions[order[: share[label]]])
    return np.sort(np.concatenate(chosen))
