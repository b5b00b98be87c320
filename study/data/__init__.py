"""Data sets: `load(data)` gives train and test, one uint8 array (N, C, H, W) and one label vector each.

Names: cifar10, cifar100, cifar100-coarse, fractals, folder:PATH, hf:NAME, npz:PATH and FILE.py:NAME; each may be cut to
some classes, as `cifar100[0:80]`. All but small fractals and extracted CIFAR at its own size are prepared once on disk.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from study.config import Data, Fractals, digest
from study.data import cifar, folders, hub, npz, own
from study.data.arrays import Images, Labels, Levels, Rows, count_levels, data_folder, writable
from study.data.parts import check_cut, part, view_of
from study.data.pictures import VERSION
from study.data.prepared import Whole, facts_of, find, prepare
from study.data.prepared import check as check_prepared
from study.errors import StudyError

BUILT_IN = (*cifar.SOURCES, "fractals")
NAMES = (*BUILT_IN, "folder:PATH", "hf:NAME[@REVISION]", "npz:PATH", "FILE.py:NAME")
CHECKED = 2 * 10**9  # bytes of a prepared set that planning reads whole: a few seconds
QUICK_FRACTALS = 20_000 * 32**2  # pixels that take a few seconds to draw: up to here fractals are not kept on disk


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a run sees. Images are uint8 (N, C, H, W), perhaps read-only maps of files; labels are int64 (N,)."""

    train_images: Images | Rows
    train_labels: Labels
    test_images: Images | Rows
    test_labels: Labels
    class_names: tuple[str, ...]
    fingerprint: str
    known_levels: Levels | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @cached_property
    def levels(self) -> Levels:
        """How often each of 256 grey levels occurs in each channel (C, 256) of the training images.

        Of a prepared set it is known; other images are counted.
        """
        return count_levels(self.train_images) if self.known_levels is None else self.known_levels


def load(data: Data, data_dir: Path | None = None, check: bool = False) -> Dataset:
    """The data set that `data` describes: found, fetched or made; cut by class; then the subset of the training images.

    With `data.validation`, so many of these training images, class-balanced, take the place of the test images, which
    are then not looked at. Of a stream the training images are those that give the normalisation: a run makes its own.

    Data of the user's own whose fingerprint is given are taken from any prepared set that has it, wherever its images
    came from; the folder, file or hub is not looked at again.

    With `check`, every byte of a prepared set of up to CHECKED bytes is read: is it still what was prepared?

    Raises StudyError if the name is unknown, if files are missing or damaged, if more images are asked for than there
    are, and if `data.fingerprint` is given and what was loaded differs from it.
    """
    name = parse_name(data.name)
    view = view_of(data, name.first, name.last)
    place = data_folder(data_dir)
    whole = find(place, data.fingerprint, data.image_size, view) if name.own and data.fingerprint else None
    whole = whole or _whole(name, data, place)
    if check and whole.folder and whole.arrays.train_images.nbytes + whole.arrays.test_images.nbytes <= CHECKED:
        check_prepared(whole.folder)
    arrays = part(whole.arrays, data, name.first, name.last)
    found, levels = facts_of(whole, view, arrays)
    if data.fingerprint not in ("", found):
        remedy = "an earlier version drew those:" if name.kind == "fractals" else "bring the old images back or"
        raise StudyError(
            f"the images of {data.name} are not those of the experiment: their fingerprint is {found}, it has "
            f"{data.fingerprint}; {remedy} start a new --out"
        )
    return Dataset(*arrays, found, levels)


class Name(NamedTuple):
    """A data set's name, taken apart."""

    kind: str  # one of BUILT_IN, or folder, hf, npz, file
    source: str  # path or name
    function: str  # of a file
    options: dict[str, str]
    first: int  # class
    last: int | None  # the class after the last one; None: all

    @property
    def own(self) -> bool:
        """Whether it is the user's own: known by its content alone."""
        return self.kind not in BUILT_IN


def parse_name(text: str) -> Name:
    """A data set's name: what it is, its options, and the classes that it is cut to.

    >>> parse_name("cifar100[0:80]")[0], parse_name("cifar100[0:80]")[4:]
    ('cifar100', (0, 80))
    >>> parse_name("mine.py:pets[size=3][0:2]")
    Name(kind='file', source='mine.py', function='pets', options={'size': '3'}, first=0, last=2)
    """
    match = re.fullmatch(r"(?s)(.*?)(?:\[([^\[\]=]+=[^\[\]]*)\])?(?:\[(\d+):(\d+)\])?", text)
    assert match  # every text has this form
    whole, switches, first, last = match.groups()
    kind, colon, rest = whole.partition(":")
    file = re.fullmatch(r"(?s)(.+\.py):([A-Za-z_]\w*)", whole)
    function = ""
    if colon and kind in ("folder", "hf", "npz"):
        source = rest
        if not rest:
            example = {"folder": "~/pets with ~/pets/train/CLASS/IMAGE", "hf": "cifar100 or hf:PATH", "npz": "pets.npz"}
            raise StudyError(f"{kind}: needs a path, as in {kind}:{example[kind]}")
    elif file:
        kind, (source, function) = "file", file.groups()
    elif whole in BUILT_IN:
        kind, source = whole, whole
    else:
        known = ", ".join(NAMES)
        raise StudyError(f"there is no data set {text!r}; known are {known}, and each with [FIRST:LAST] after its name")
    options = {}
    for item in switches.split(",") if switches else ():
        key, equals, value = (each.strip() for each in item.partition("="))
        if not equals or not key.isidentifier():
            raise StudyError(f"{text}: {item!r} is not key=value")
        if key in options:
            raise StudyError(f"{text} sets {key} twice")
        options[key] = value
    if options and kind not in ("hf", "file"):
        raise StudyError(f"{whole} takes no options: only hf:NAME and FILE.py:NAME do")
    return Name(kind, source, function, options, int(first or 0), int(last) if last else None)


def known_classes(data: Data) -> int | None:
    """How many classes a built-in data set has, or the part that it is cut to; None for one of the user's own."""
    name = parse_name(data.name)
    if name.own:
        return None
    whole = cifar.SOURCES[name.kind].classes if name.kind in cifar.SOURCES else (data.fractals or Fractals()).classes
    last = whole if name.last is None else name.last
    check_cut(data.name, name.first, last, whole)
    return last - name.first


def _whole(name: Name, data: Data, data_dir: Path) -> Whole:
    """All classes and images of a data set, kept on disk if they cost something to prepare."""
    side = data.image_size
    if name.kind in cifar.SOURCES:
        source = cifar.SOURCES[name.kind]
        if side == cifar.SIDE and cifar.extracted(source, data_dir):
            return Whole(cifar.load(source, data_dir))  # half a second: nothing to keep
        recipe = [VERSION, source.archive_md5, source.labels.decode()]
        return prepare(
            data_dir, name.kind, recipe, lambda: cifar.resized(cifar.load(source, data_dir), side), name.kind, side
        )
    if name.kind == "fractals":
        from study.data import fractals  # by torch, which the processes that decode images do without

        settings = data.fractals or Fractals()
        if (settings.train_images + settings.test_images) * side**2 <= QUICK_FRACTALS:
            return Whole(fractals.arrays(settings, side))
        facts = [fractals.VERSION, settings.model_dump(exclude={"stream"})]
        return prepare(data_dir, name.kind, facts, lambda: fractals.blocks(settings, side), name.kind, side)
    return _own(name, side, data_dir)


def _own(name: Name, side: int, data_dir: Path) -> Whole:
    path = Path(name.source).expanduser().absolute()
    last = path.stem if name.kind in ("npz", "file") else path.name
    slug = re.sub(r"[^a-z0-9]+", "-", f"{name.kind}-{last}".lower()).strip("-")
    title = {"file": f"{path}:{name.function}", "hf": f"hf:{name.source}"}.get(name.kind, f"{name.kind}:{path}")
    if name.options:
        title += "[" + ",".join(f"{key}={value}" for key, value in name.options.items()) + "]"

    def keep(recipe: Any, make: Any) -> Whole:
        return prepare(data_dir, slug, [VERSION, name.kind, recipe], make, title, side)

    if name.kind == "folder":
        source, facts = folders.scan(path)
        return keep([str(path), facts], lambda: source)
    if name.kind == "npz":
        return keep(npz.recipe(path), lambda: npz.source(path, side))
    if name.kind == "file":
        recipe = own.recipe(path, name.function, name.options)
        return keep(recipe, lambda: own.source(path, name.function, name.options, side))
    recipe = hub.recipe(name.source, name.options)
    cache = writable(data_dir) / "prepared" / f".hf-{digest(recipe)}"  # what `datasets` makes of a local folder
    try:
        whole = keep(recipe, lambda: hub.source(name.source, name.options, cache))
    except StudyError:
        shutil.rmtree(cache, ignore_errors=True)
        raise
    shutil.rmtree(cache, ignore_errors=True)
    return whole
