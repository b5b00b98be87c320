"""Data sets from disk and from the net, subsets, fingerprints, batches and the contact sheet."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import itertools
import os
import pickle
import shutil
import struct
import tarfile
import threading
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from study.config import Data, Fractals
from study.data import arrays, cifar, decode, known_classes, load, parse_name, prepared
from study.data.batches import Batches, fits, order
from study.data.parts import subset
from study.data.pictures import read
from study.data.show import TILE, at_hand, contact_sheet
from study.data.sources import Blocks, Source
from study.errors import StudyError
from study.training.loop import probe_indices

OFFICIAL = Path(os.environ.get("STUDY_DATA_DIR", "/nonexistent")) / "cifar-100-python"


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    """No test touches the user's cache."""
    monkeypatch.setattr(arrays.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("STUDY_DATA_DIR", raising=False)


# ---------------------------------------------------------------- a small CIFAR-100 in the official format


def python2_pickle(value) -> bytes:
    """The opcodes with which Python 2 pickled CIFAR: byte strings, lists, dictionaries and a uint8 array."""

    def text(content: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(content)) + content

    def body(item) -> bytes:
        if isinstance(item, dict):
            return b"}(" + b"".join(text(key) + body(entry) for key, entry in item.items()) + b"u"
        if isinstance(item, list):
            return b"](" + b"".join(map(body, item)) + b"e"
        if isinstance(item, bytes):
            return text(item)
        if isinstance(item, int):
            return b"J" + struct.pack("<i", item)
        shape = b"(" + b"".join(map(body, item.shape)) + b"t"
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
        kind = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xff"
        kind += b"J\xff\xff\xff\xffK\x00tb"
        return empty + b"(K\x01" + shape + kind + b"\x89" + text(item.tobytes()) + b"tb"

    return b"\x80\x02" + body(value) + b"."


def make_split(images: int, seed: int) -> dict[bytes, object]:
    rng = np.random.default_rng(seed)
    fine = [number % 10 for number in range(images)]
    return {
        b"data": rng.integers(256, size=(images, 3072), dtype=np.uint8),
        b"fine_labels": fine,
        b"coarse_labels": [label // 5 for label in fine],
    }


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    names = {b"fine_label_names": [b"class %d" % n for n in range(10)], b"coarse_label_names": [b"low", b"high"]}
    splits = {"train": make_split(60, 0), "test": make_split(20, 1), "meta": names}
    return {name: python2_pickle(value) for name, value in splits.items()}


@pytest.fixture(scope="module")
def archive(contents) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def small_cifar(contents, archive, monkeypatch):
    """The checksums of the small files in the place of the official ones."""
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    for name in ("cifar100", "cifar100-coarse"):
        source = dataclasses.replace(
            cifar.SOURCES[name],
            archive_md5=hashlib.md5(archive).hexdigest(),
            train={"train": md5["train"]},
            test={"test": md5["test"]},
            meta={"meta": md5["meta"]},
        )
        monkeypatch.setitem(cifar.SOURCES, name, source)
    return cifar.SOURCES["cifar100"]


def unpack(contents: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def web(tmp_path):
    """A function that serves a file under a base URL on this machine."""
    servers = []

    def serve(name: str, content: bytes) -> str:
        (tmp_path / "web").mkdir(exist_ok=True)
        (tmp_path / "web" / name).write_bytes(content)

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=str(tmp_path / "web"))

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


# ---------------------------------------------------------------- CIFAR


def test_cifar_is_the_same_from_folder_archive_and_net(small_cifar, contents, archive, tmp_path, web, monkeypatch):
    expected = make_split(60, 0)
    unpack(contents, tmp_path / "a" / "cifar-100-python")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / small_cifar.archive).write_bytes(archive)
    monkeypatch.setattr(cifar.load, "__defaults__", (web(small_cifar.archive, archive),))
    places = [tmp_path / "a", tmp_path / "a" / "cifar-100-python", tmp_path / "b", tmp_path / "c"]
    loaded = [load(Data(name="cifar100"), place) for place in places]
    for data in loaded:
        assert np.array_equal(data.train_images.reshape(60, 3072), expected[b"data"])
        assert data.train_labels.tolist() == expected[b"fine_labels"]
        assert data.test_images.shape == (20, 3, 32, 32)
        assert data.class_names == tuple(f"class {n}" for n in range(10))
        assert data.classes == 10
    assert len({data.fingerprint for data in loaded}) == 1
    assert (tmp_path / "c" / small_cifar.archive).read_bytes() == archive


def test_coarse_labels_are_the_superclasses(small_cifar, contents, tmp_path):
    unpack(contents, tmp_path / "cifar-100-python")
    data = load(Data(name="cifar100-coarse"), tmp_path)
    assert data.class_names == ("low", "high")
    assert data.train_labels.tolist() == make_split(60, 0)[b"coarse_labels"]


def test_the_data_folder_may_come_from_the_environment(small_cifar, contents, tmp_path, monkeypatch):
    unpack(contents, tmp_path / "elsewhere" / "cifar-100-python")
    monkeypatch.setenv("STUDY_DATA_DIR", str(tmp_path / "elsewhere"))
    assert load(Data(name="cifar100")).classes == 10


def test_other_sizes_are_pillows_bicubic_and_made_once(small_cifar, contents, tmp_path, monkeypatch):
    unpack(contents, tmp_path / "cifar-100-python")
    small = load(Data(name="cifar100", image_size=16), tmp_path)
    original = make_split(60, 0)[b"data"].reshape(60, 3, 32, 32)[7].transpose(1, 2, 0)
    expected = np.asarray(Image.fromarray(original).resize((16, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(small.train_images[7], expected)
    monkeypatch.setattr(cifar, "load", None)
    again = load(Data(name="cifar100", image_size=16), tmp_path)
    assert again.fingerprint == small.fingerprint
    assert isinstance(again.train_images, np.memmap)


def test_resized_images_are_made_anew_when_pictures_are_resized_otherwise(small_cifar, contents, tmp_path, monkeypatch):
    unpack(contents, tmp_path / "cifar-100-python")
    for version in (98, 99, 99):
        monkeypatch.setattr("study.data.VERSION", version)
        load(Data(name="cifar100", image_size=16), tmp_path)
    assert len(list(tmp_path.glob("prepared/cifar100-*/"))) == 2


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "test").unlink(), "test is missing"),
        (lambda folder: (folder / "train").write_bytes((folder / "train").read_bytes()[:-5000]), "cut short"),
        (lambda folder: (folder / "meta").write_bytes(pickle.dumps({})), "damaged or not the official file"),
    ],
)
def test_an_incomplete_or_damaged_folder_is_named(small_cifar, contents, tmp_path, damage, says):
    damage(unpack(contents, tmp_path / "cifar-100-python"))
    with pytest.raises(StudyError, match=says):
        load(Data(name="cifar100"), tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:300] + bytes(100) + content[400:],
        lambda content: b"<html>not found</html>",
        lambda content: b"",
    ],
)
def test_a_damaged_archive_is_named(small_cifar, archive, tmp_path, damage):
    (tmp_path / small_cifar.archive).write_bytes(damage(archive))
    with pytest.raises(StudyError, match=r"not the official archive.*delete it"):
        load(Data(name="cifar100"), tmp_path)
    assert not list(tmp_path.glob("prepared/*/"))


def test_an_archive_that_only_looks_right_is_refused(small_cifar, archive, tmp_path, monkeypatch):
    monkeypatch.setitem(cifar.SOURCES, "cifar100", dataclasses.replace(small_cifar, archive_md5="0" * 32))
    (tmp_path / small_cifar.archive).write_bytes(archive)
    monkeypatch.setattr(cifar.tarfile, "open", None)  # it may unpack to thousands of times its size
    with pytest.raises(StudyError, match="not the official archive"):
        load(Data(name="cifar100"), tmp_path)


def test_a_download_with_a_wrong_checksum_is_not_kept(small_cifar, tmp_path, web):
    with pytest.raises(StudyError, match="sent is not the official archive"):
        cifar.load(small_cifar, tmp_path / "data", base_url=web(small_cifar.archive, b"something else"))
    assert not (tmp_path / "data" / small_cifar.archive).exists()


def test_a_machine_that_is_offline_says_what_to_do(small_cifar, tmp_path):
    with pytest.raises(StudyError, match=r"no network.*--data-dir"):
        cifar.load(small_cifar, tmp_path, base_url="http://127.0.0.1:9")


def test_a_server_without_the_file_is_named(small_cifar, tmp_path, web):
    with pytest.raises(StudyError, match="404"):
        cifar.load(small_cifar, tmp_path / "data", base_url=web("other", b""))


def test_a_malicious_pickle_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(StudyError, match="refused as unsafe"):
            cifar.unpickle(pickle.dumps({"data": Evil()}, protocol), "CIFAR")
    assert not (tmp_path / "owned").exists()
    with pytest.raises(StudyError, match="refused"):
        cifar.unpickle(b"cnumpy\nload\n.", "CIFAR")
    with pytest.raises(StudyError, match="dictionary"):
        cifar.unpickle(python2_pickle([1]), "CIFAR")


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="$STUDY_DATA_DIR has no cifar-100-python")
def test_the_official_cifar100_has_its_published_counts():
    """50,000 and 10,000 images, 500 and 100 a class, 5 classes a superclass; channel means as widely published."""
    fine, coarse = (load(Data(name=name), OFFICIAL.parent) for name in ("cifar100", "cifar100-coarse"))
    assert fine.train_images.shape == (50_000, 3, 32, 32)
    assert set(Counter(fine.train_labels.tolist()).values()) == {500}
    assert set(Counter(fine.test_labels.tolist()).values()) == {100}
    pairs = set(zip(fine.train_labels.tolist(), coarse.train_labels.tolist(), strict=True))
    assert set(Counter(superclass for _, superclass in pairs).values()) == {5}
    assert np.allclose(fine.train_images.mean((0, 2, 3)) / 255, (0.5071, 0.4865, 0.4409), atol=1e-4)
    assert fine.class_names[:2] == ("apple", "aquarium_fish")


# ---------------------------------------------------------------- names, cuts, subsets, fingerprints

FRACTALS = Data(image_size=8, fractals=Fractals(classes=5, train_images=103, test_images=21))


@pytest.mark.parametrize(
    "name", ["cifar1000", "", "Fractals", "folder", "cifar100[0:80", "cifar100[a:b]", "cifar100[:8]"]
)
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(StudyError, match=r"known are cifar10, cifar100, cifar100-coarse, fractals, folder:PATH, hf:"):
        parse_name(name)


def test_the_classes_of_built_in_sets_are_known_without_loading_them():
    of = {"cifar10": 10, "cifar100": 100, "cifar100-coarse": 20, "cifar100[80:100]": 20, "fractals[2:5]": 3}
    assert {name: known_classes(Data(name=name)) for name in of} == of
    assert known_classes(FRACTALS) == 5
    assert known_classes(Data(name="folder:x")) is None


def test_a_folder_needs_a_path_that_exists(tmp_path):
    with pytest.raises(StudyError, match="needs a path"):
        load(Data(name="folder:"), tmp_path)
    with pytest.raises(StudyError, match="there is no folder"):
        load(Data(name=f"folder:{tmp_path}/nowhere"), tmp_path)


def test_a_cut_keeps_its_classes_and_labels_them_from_zero(small_cifar, contents, tmp_path):
    unpack(contents, tmp_path / "cifar-100-python")
    whole, cut = (load(Data(name=name), tmp_path) for name in ("cifar100", "cifar100[3:7]"))
    chosen = [number for number, label in enumerate(whole.train_labels) if 3 <= label < 7]
    assert np.array_equal(cut.train_images, whole.train_images[chosen])
    assert cut.train_labels.tolist() == [whole.train_labels[number] - 3 for number in chosen]
    assert set(cut.test_labels.tolist()) == {0, 1, 2, 3}
    assert cut.class_names == ("class 3", "class 4", "class 5", "class 6")


@pytest.mark.parametrize("cut", ["[3:3]", "[5:2]", "[0:11]", "[10:12]"])
def test_a_cut_outside_the_classes_is_refused(small_cifar, contents, tmp_path, cut):
    unpack(contents, tmp_path / "cifar-100-python")
    with pytest.raises(StudyError, match="0:10"):
        load(Data(name=f"cifar100{cut}"), tmp_path)


LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(7), 30))


def test_subsets_are_balanced_and_nested():
    previous: set[int] = set()
    for size in range(1, 211):
        chosen = subset(LABELS, 7, size, seed=3)
        counts = np.bincount(LABELS[chosen], minlength=7)
        assert counts.sum() == len(set(chosen.tolist())) == size
        assert counts.max() - counts.min() <= 1
        assert previous < set(chosen.tolist())
        previous = set(chosen.tolist())


def test_subsets_follow_their_seed():
    assert np.array_equal(subset(LABELS, 7, 40, 0), subset(LABELS, 7, 40, 0))
    assert not np.array_equal(subset(LABELS, 7, 40, 0), subset(LABELS, 7, 40, 1))


def test_a_subset_larger_than_the_smallest_class_allows_is_refused():
    unbalanced = np.repeat([0, 1, 2], [10, 4, 10])
    assert len(subset(unbalanced, 3, 12, 0)) == 12
    for size in (15, 24, 25):
        with pytest.raises(StudyError, match=f"^{size} images in balance are .* at most 12"):  # or validation images
            subset(unbalanced, 3, size, 0)


def test_train_size_leaves_the_test_images_alone():
    whole, part = load(FRACTALS), load(FRACTALS.model_copy(update={"train_size": 50}))
    assert part.train_images.shape == (50, 3, 8, 8)
    assert np.array_equal(part.test_images, whole.test_images)
    everything = {image.tobytes(): label for image, label in zip(whole.train_images, whole.train_labels, strict=True)}
    for image, label in zip(part.train_images, part.train_labels, strict=True):
        assert everything[image.tobytes()] == label


def test_orders_probes_and_subsets_have_not_changed():
    """They are in no id: if a library's stream of random numbers changes, runs of one id would see other images."""
    drawn = order(3, 2, 1000).numpy(), probe_indices(1000, 100).numpy(), subset(np.arange(1000) % 7, 7, 100, 5)
    found = [hashlib.sha256(np.ascontiguousarray(each, np.int64).tobytes()).hexdigest()[:12] for each in drawn]
    assert found == ["eb7fc5b80bd7", "5685e7f0463d", "a64a5a4ec88f"]


def test_the_fingerprint_sees_every_pixel_and_label():
    data = load(FRACTALS)
    base = arrays.Arrays(data.train_images, data.train_labels, data.test_images, data.test_labels, data.class_names)
    assert arrays.fingerprint(base) == data.fingerprint
    others = {data.fingerprint}
    for field in base._fields[:4]:
        changed = getattr(base, field).copy()
        changed.flat[-1] += 1
        others.add(arrays.fingerprint(base._replace(**{field: changed})))
    others.add(arrays.fingerprint(base._replace(train_images=base.train_images.transpose(0, 1, 3, 2))))
    others.add(arrays.fingerprint(base._replace(train_images=base.train_images.reshape(103, 3, 4, 16))))
    assert len(others) == 7
    assert all(len(text) == 12 for text in others)


def test_an_experiment_refuses_other_images_than_its_own():
    found = load(FRACTALS).fingerprint
    assert load(FRACTALS.model_copy(update={"fingerprint": found})).fingerprint == found
    with pytest.raises(StudyError, match=f"{found}.*0123456789ab"):
        load(FRACTALS.model_copy(update={"fingerprint": "0123456789ab"}))


# ---------------------------------------------------------------- prepared arrays


def tiny(value: int = 0) -> Source:
    images, labels = np.full((4, 3, 2, 2), value, np.uint8), np.arange(4)
    return Source(Blocks(4, iter([(images, labels)])), Blocks(2, iter([(images[:2], labels[:2])])), tuple("abcd"))


def prepare(place: Path, make=tiny, recipe=(1,), side: int = 2) -> arrays.Arrays:
    return prepared.prepare(place, "x", list(recipe), make, "x", side).arrays


def test_processes_that_want_the_same_arrays_make_them_once(tmp_path):
    made = []

    def make() -> Source:
        made.append(1)
        threading.Event().wait(0.2)
        return tiny(7)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: prepare(tmp_path, make), range(6)))
    assert len(made) == 1
    assert all((result.train_images == 7).all() and result.train_images.shape == (4, 3, 2, 2) for result in results)
    assert all(result.class_names == ("a", "b", "c", "d") for result in results)


def test_what_is_prepared_is_known_by_its_recipe_and_its_side(tmp_path):
    prepare(tmp_path, lambda: tiny(1))
    assert prepare(tmp_path, lambda: tiny(2)).train_images.max() == 1
    assert prepare(tmp_path, lambda: tiny(2), recipe=(2,)).train_images.max() == 2

    def larger() -> Source:
        images, labels = np.full((4, 3, 4, 4), 3, np.uint8), np.arange(4)
        return Source(Blocks(4, iter([(images, labels)])), Blocks(4, iter([(images, labels)])), tuple("abcd"))

    assert prepare(tmp_path, larger, side=4).train_images.shape == (4, 3, 4, 4)


def test_what_a_killed_process_left_is_made_anew(tmp_path):
    prepare(tmp_path)
    (complete,) = tmp_path.glob("prepared/x-*/")
    complete.rename(f"{complete}.partial")
    (Path(f"{complete}.partial") / "test_images.npy").write_bytes(b"half")
    assert (prepare(tmp_path, lambda: tiny(5)).test_images == 5).all()
    assert not list(tmp_path.glob("prepared/*.partial"))


def test_preparing_that_fails_leaves_nothing_that_looks_done(tmp_path):
    def fail() -> Source:
        raise StudyError("no")

    def broken():
        yield from tiny().train.pieces
        raise StudyError("no more")

    with pytest.raises(StudyError, match="no"):
        prepare(tmp_path, fail)
    with pytest.raises(StudyError, match="no more"):
        prepare(tmp_path, lambda: tiny()._replace(train=Blocks(8, broken())))
    assert [path.suffix for path in (tmp_path / "prepared").iterdir()] == [".lock"]
    assert prepare(tmp_path, lambda: tiny(3)).train_images[0, 0, 0, 0] == 3


@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy", "class_names.json"])
def test_damaged_prepared_arrays_are_named(tmp_path, name):
    prepare(tmp_path)
    (file,) = tmp_path.glob(f"prepared/x-*/{name}")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(StudyError, match="damaged"):
        prepare(tmp_path)


def test_a_read_only_data_folder_is_left_alone(tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    data_dir.chmod(0o555)
    try:
        prepare(data_dir)
        assert not list(data_dir.iterdir())
        assert len(list((tmp_path / "cache").glob("study/data/prepared/x-*/"))) == 1
    finally:
        data_dir.chmod(0o755)


def test_a_full_disk_is_known_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 1, 9))
    with pytest.raises(StudyError, match=r"needs 0\.0 GB.*make room"):
        prepare(tmp_path)


def test_prepared_arrays_cannot_be_written_to(tmp_path):
    with pytest.raises(ValueError, match="read-only"):
        prepare(tmp_path).train_images[0] = 9


def test_many_fractals_are_kept_and_few_are_not(tmp_path, monkeypatch):
    few = load(FRACTALS, tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("study.data.QUICK_FRACTALS", 0)
    kept = load(FRACTALS, tmp_path)
    assert isinstance(kept.train_images, np.memmap)
    assert kept.fingerprint == few.fingerprint


# ---------------------------------------------------------------- folders


def picture(mode: str, colour, path: Path, size: tuple[int, int] = (12, 9), **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


@pytest.fixture
def tree(tmp_path) -> Path:
    root = tmp_path / "pets"
    for split in ("train", "test"):
        for number in range(3):
            picture("RGB", (10 * number, 0, 0), root / split / "cat" / f"{number}.png")
            picture("RGB", (0, 10 * number, 0), root / split / "dog" / "more" / f"{number}.jpg")
    (root / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    (root / "train" / "dog" / "boxes.txt").write_text("0 0 1 1")
    return root


def load_tree(root: Path, tmp_path: Path, side: int = 8):
    return load(Data(name=f"folder:{root}", image_size=side), tmp_path / "data")


def test_a_folder_per_class_becomes_arrays(tree, tmp_path):
    data = load_tree(tree, tmp_path)
    assert data.class_names == ("cat", "dog")
    assert data.train_images.shape == data.test_images.shape == (6, 3, 8, 8)
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train_images[2, :, 4, 4].tolist() == [20, 0, 0]


def test_val_stands_in_for_test(tree, tmp_path):
    expected = load_tree(tree, tmp_path).fingerprint
    (tree / "test").rename(tree / "val")
    assert load_tree(tree, tmp_path).fingerprint == expected


def test_test_is_preferred_to_val(tree, tmp_path):
    before = load_tree(tree, tmp_path)
    for label in ("cat", "dog"):
        picture("RGB", (255, 255, 255), tree / "val" / label / "0.png")
    data = load_tree(tree, tmp_path)
    assert data.fingerprint == before.fingerprint
    assert data.test_images.shape[0] == 6
    assert data.test_images.max() < 255


def test_accents_apart_from_their_letters_change_no_order(tmp_path):
    made = []
    for form in ("NFC", "NFD"):
        names = [unicodedata.normalize(form, "élan"), "zebra"]
        for split in ("train", "test"):
            for number, (label, file) in enumerate(itertools.product(names, names)):
                picture("RGB", (50 * number, 0, 0), tmp_path / form / split / label / f"{file}.png")
        made.append(load_tree(tmp_path / form, tmp_path))
    assert made[0].fingerprint == made[1].fingerprint
    assert [data.class_names[0] for data in made] == ["zebra", "zebra"]


def test_a_tree_is_read_once_and_again_when_a_file_changes(tree, tmp_path, monkeypatch):
    before = load_tree(tree, tmp_path).fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(decode, "decode", None)
        assert load_tree(tree, tmp_path).fingerprint == before
    picture("RGB", (99, 99, 99), tree / "train" / "cat" / "0.png")
    changed = load_tree(tree, tmp_path).fingerprint
    assert changed != before
    picture("RGB", (99, 99, 99), tree / "test" / "dog" / "new.png")
    assert load_tree(tree, tmp_path).test_images.shape[0] == 7


def test_a_file_that_is_no_image_is_named(tree, tmp_path):
    (tree / "train" / "dog" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a JPEG")
    with pytest.raises(StudyError, match=r"broken\.jpg is not a readable image"):
        load_tree(tree, tmp_path)


def test_an_image_that_is_cut_short_is_named(tree, tmp_path):
    path = tree / "test" / "cat" / "noise.png"
    Image.effect_noise((64, 64), 100).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(StudyError, match=r"noise\.png is not a readable image"):
        load_tree(tree, tmp_path)


def test_trees_that_are_no_data_set_are_refused(tree, tmp_path):
    (tree / "train" / "owl").mkdir()
    with pytest.raises(StudyError, match=r"same classes.*owl"):
        load_tree(tree, tmp_path)
    (tree / "test" / "owl").mkdir()
    with pytest.raises(StudyError, match="owl has no images"):
        load_tree(tree, tmp_path)
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(StudyError, match="test/ or val/"):
        load_tree(tmp_path / "empty", tmp_path)
    (tmp_path / "empty" / "test").mkdir()
    with pytest.raises(StudyError, match="has no folders"):
        load_tree(tmp_path / "empty", tmp_path)


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("L", 100, "png", (100, 100, 100)),
        ("1", 1, "png", (255, 255, 255)),
        ("LA", (100, 255), "png", (100, 100, 100)),
        ("RGBA", (200, 0, 0, 0), "png", (255, 255, 255)),  # transparent: the white behind it
        ("RGBA", (200, 0, 0, 255), "webp", (200, 0, 0)),
        ("RGBA", (0, 0, 0, 51), "png", (204, 204, 204)),
        ("I;16", 51400, "png", (200, 200, 200)),
        ("I;16", 51400, "tiff", (200, 200, 200)),
        ("CMYK", (255, 0, 0, 0), "tiff", (0, 255, 255)),
        ("YCbCr", (128, 128, 128), "tiff", (128, 128, 128)),
        ("RGB", (1, 2, 3), "bmp", (1, 2, 3)),
    ],
)
def test_every_mode_becomes_rgb(mode, colour, suffix, expected, tmp_path):
    path = tmp_path / f"image.{suffix}"
    picture(mode, colour, path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.abs(read(path, 4).reshape(3, -1).T.astype(int) - expected).max() <= 1


def test_palettes_and_their_transparency_become_rgb(tmp_path):
    image = Image.new("P", (6, 6), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "palette.gif")
    image.save(tmp_path / "transparent.png", transparency=1)
    assert read(tmp_path / "palette.gif", 4)[:, 0, 0].tolist() == [40, 50, 60]
    assert read(tmp_path / "transparent.png", 4)[:, 0, 0].tolist() == [255, 255, 255]


def test_floats_are_stretched_over_their_range(tmp_path):
    Image.fromarray(np.linspace(-3, 5, 64, dtype=np.float32).reshape(8, 8)).save(tmp_path / "floats.tiff")
    image = read(tmp_path / "floats.tiff", 8)[0]
    assert (image[0, 0], image[-1, -1]) == (0, 255)


def test_the_short_side_is_resized_and_the_centre_kept(tmp_path):
    wide = np.random.default_rng(0).integers(256, size=(10, 30, 3), dtype=np.uint8)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    whole = np.asarray(Image.fromarray(wide).resize((15, 5), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    centre = whole[:, :, 5:10].astype(int)
    assert np.abs(read(tmp_path / "wide.png", 5) - centre).max() <= 1
    assert np.abs(read(tmp_path / "tall.png", 5) - centre.transpose(0, 2, 1)).max() <= 1


def test_exif_turns_the_image_upright(tmp_path):
    half = np.zeros((8, 8, 3), np.uint8)
    half[:4] = 255  # stored with the bright half above; orientation 3 is a half turn
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(half).save(tmp_path / "turned.png", exif=exif)
    image = read(tmp_path / "turned.png", 8)
    assert image[:, :3].max() == 0
    assert image[:, 5:].min() == 255


# ---------------------------------------------------------------- batches

IMAGES = torch.arange(50 * 12, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(50, 3, 2, 2)
NUMBERS = torch.arange(50)


def test_an_epochs_order_is_a_permutation_of_seed_and_epoch_alone():
    orders = {(seed, epoch): order(seed, epoch, 100).tolist() for seed in range(4) for epoch in range(4)}
    assert all(sorted(numbers) == list(range(100)) for numbers in orders.values())
    assert len({tuple(numbers) for numbers in orders.values()}) == 16
    torch.manual_seed(99)
    assert order(2, 3, 100).tolist() == orders[2, 3]


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    Batches(IMAGES, NUMBERS, 8, 0).at(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_epoch_shows_each_image_at_most_once_with_its_label():
    batches = Batches(IMAGES, NUMBERS, 8, seed=1)
    assert len(batches) == 6
    for epoch in range(3):
        seen = []
        for step in range(epoch * 6, (epoch + 1) * 6):
            images, labels = batches.at(step)
            assert images.dtype == torch.uint8
            assert labels.dtype == torch.int64
            assert torch.equal(images, IMAGES[labels])
            seen += labels.tolist()
        assert seen == order(1, epoch, 50)[:48].tolist()
        assert len(set(seen)) == 48


def test_a_run_can_continue_at_any_step():
    whole = Batches(IMAGES, NUMBERS, 8, seed=1)
    expected = [whole.at(step)[1].tolist() for step in range(20)]
    for step in (0, 5, 6, 7, 19, 3):
        assert Batches(IMAGES, NUMBERS, 8, seed=1).at(step)[1].tolist() == expected[step]
        assert whole.at(step)[1].tolist() == expected[step]


def test_arrays_and_memory_maps_give_the_same_batches(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES.numpy())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="c")
    for images in (IMAGES.numpy(), mapped):
        assert torch.equal(Batches(images, NUMBERS.numpy(), 8, 1).at(9)[0], Batches(IMAGES, NUMBERS, 8, 1).at(9)[0])


def test_images_that_do_not_fit_stay_on_the_cpu(monkeypatch):
    monkeypatch.setattr("study.data.batches.fits", lambda size, device: False)
    batches = Batches(IMAGES, NUMBERS, 8, 0, "meta")
    assert batches.images.device.type == "cpu"
    assert batches.at(0)[0].device.type == "meta"


def test_whatever_lies_on_the_cpu_fits_there():
    assert fits(2**60, torch.device("cpu"))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="no whole batch of 51"):
        Batches(IMAGES, NUMBERS, 51, 0)


# ---------------------------------------------------------------- the contact sheet


def test_the_contact_sheet_has_a_row_a_class(tmp_path):
    data = load(FRACTALS)
    sheet = Image.open(contact_sheet(data, tmp_path / "new" / "sheet.png", per_class=4))
    pixels = np.asarray(sheet)
    for label in range(5):
        for column, position in enumerate(np.flatnonzero(data.train_labels == label)[:4]):
            top, left = 2 + label * (TILE + 2), sheet.width - (4 - column) * (TILE + 2)
            tile = pixels[top : top + TILE : TILE // 8, left : left + TILE : TILE // 8]
            assert np.array_equal(tile, data.train_images[position].transpose(1, 2, 0))
    names = pixels[:, : sheet.width - 4 * (TILE + 2) - 2]
    assert names.min() < 100
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]


def test_the_contact_sheet_shows_short_classes_and_test_images(tmp_path):
    data = load(FRACTALS)
    sheet = Image.open(contact_sheet(data, tmp_path / "sheet.png", per_class=8, split="test"))
    last = np.asarray(sheet)[2 + 4 * (TILE + 2) :, -(TILE + 2) :]
    assert (last == 255).all()  # 4 test images in the last class


def test_what_is_at_hand_is_shown_and_nothing_is_fetched(tmp_path):
    whole = load(FRACTALS)
    few = at_hand(FRACTALS, tmp_path, per_class=2, classes=3)
    assert few is not None
    assert few.class_names == whole.class_names[:3]
    for label in range(3):
        first = whole.train_images[whole.train_labels == label][:2]
        assert np.array_equal(few.train_images[few.train_labels == label], first)
    assert at_hand(Data(name="cifar100", fingerprint="0" * 12), tmp_path) is None
    assert at_hand(Data(name="folder:~/none", fingerprint="0" * 12), tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_ten_images_of_each_of_the_first_ten_classes_are_at_hand_unless_told_otherwise(tmp_path):
    many = Data(image_size=8, fractals=Fractals(classes=11, train_images=132, test_images=11))
    few = at_hand(many, tmp_path)
    assert few is not None
    assert few.class_names == tuple(f"fractal {label}" for label in range(10))
    assert np.bincount(few.train_labels).tolist() == [10] * 10
