"""Parts of a data set: some classes, a balanced subset of the training images, a validation split."""

from __future__ import annotations

import numpy as np

from study.config import Data, digest
from study.data.arrays import Arrays, Labels, pick
from study.errors import StudyError


def part(arrays: Arrays, data: Data, first: int, last: int | None) -> Arrays:
    """What `data` takes of all images: classes `first` to `last` - 1, then the subset, then the validation split."""
    if last is not None:
        arrays = cut_classes(arrays, data.name, first, last)
    if data.train_size is not None:
        kept = subset(arrays.train_labels, len(arrays.class_names), data.train_size, data.subset_seed)
        arrays = arrays._replace(train_images=pick(arrays.train_images, kept), train_labels=arrays.train_labels[kept])
    if data.validation is not None:
        arrays = keep_back(arrays, data.validation, data.subset_seed)
    return arrays


def view_of(data: Data, first: int, last: int | None) -> str:
    """A name for what `part` takes; empty if it is all."""
    if last is None and data.train_size is None and data.validation is None:
        return ""
    seed = None if data.train_size is None and data.validation is None else data.subset_seed
    return digest([first, last, data.train_size, data.validation, seed])


def check_cut(name: str, first: int, last: int, classes: int) -> None:
    """Raises StudyError if there are no classes `first` to `last` - 1."""
    if not first < last <= classes:
        raise StudyError(f"{name}: FIRST:LAST must lie in 0:{classes} with FIRST below LAST (LAST itself is left out)")


def cut_classes(arrays: Arrays, name: str, first: int, last: int) -> Arrays:
    """Classes `first` to `last` - 1 alone, labelled from 0. Raises StudyError if there are no such classes."""
    check_cut(name, first, last, len(arrays.class_names))
    train = (arrays.train_labels >= first) & (arrays.train_labels < last)
    test = (arrays.test_labels >= first) & (arrays.test_labels < last)
    if not (train.any() and test.any()):
        raise StudyError(f"{name} has no {'test' if train.any() else 'training'} images: name other classes")
    return Arrays(
        pick(arrays.train_images, np.flatnonzero(train)),
        arrays.train_labels[train] - first,
        pick(arrays.test_images, np.flatnonzero(test)),
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
    return Arrays(pick(images, rest), labels[rest], pick(images, back), labels[back], arrays.class_names)


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
            f"{size} images in balance are up to {share.max()} of each of the {classes} classes, but the smallest "
            f"has {available.min()}: at most {available.min() * classes} can be taken in balance"
        )
    chosen = []
    for label in range(classes):
        positions = np.flatnonzero(labels == label)
        order = np.random.default_rng([seed, classes, label]).permutation(len(positions))
        chosen.append(positions[order[: share[label]]])
    return np.sort(np.concatenate(chosen))
