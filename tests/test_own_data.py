"""Data of one's own: FILE.py:NAME, hf:, npz:; large trees by several processes; what is wrong is one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from study.cli import app
from study.config import Blocks, Data, Run, TimmVariant, Training
from study.data import arrays, decode, hub, load, parse_name, prepared
from study.data.arrays import Rows, count_levels
from study.data.batches import Batches, order
from study.data.pictures import read
from study.errors import StudyError
from study.models.catalog import resolve
from study.models.sizing import Budget, strides_of
from study.sweep.plan import Facts
from study.training.evaluate import Normalisation
from study.training.loop import probe_indices, train
from tests.test_sweep import wait_for


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("STUDY_DATA_DIR", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))


RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(30, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3
GOOD = {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES[:9], "test_labels": LABELS[:9]}


def get(name: str, tmp_path: Path, side: int = 8, **more):
    return load(Data(name=name, image_size=side, **more), tmp_path / "data")


def saved(tmp_path: Path, **changed) -> str:
    np.savez_compressed(
        tmp_path / "x.npz", **{key: value for key, value in (GOOD | changed).items() if value is not None}
    )
    return f"npz:{tmp_path / 'x.npz'}"


def python(tmp_path: Path, body: str, name: str = "mine.py") -> str:
    (tmp_path / name).write_text("import numpy as np\nimport torch\nfrom PIL import Image\n" + body)
    return f"{tmp_path / name}:pets"


def nothing_written(tmp_path: Path) -> bool:
    return not [path for path in tmp_path.glob("data/prepared/*") if path.suffix != ".lock"]


# ---------------------------------------------------------------- npz


def test_an_npz_gives_its_images_channels_first_or_last(tmp_path):
    last = get(saved(tmp_path), tmp_path)
    assert np.array_equal(last.train_images, IMAGES.transpose(0, 3, 1, 2))
    assert last.test_labels.tolist() == LABELS[:9].tolist()
    first = get(saved(tmp_path, train_images=IMAGES.transpose(0, 3, 1, 2), train_labels=LABELS[:, None]), tmp_path)
    assert first.fingerprint == last.fingerprint
    grey = get(saved(tmp_path, train_images=IMAGES[..., 0], test_images=IMAGES[:9, ..., :1]), tmp_path)
    assert np.array_equal(grey.train_images, np.repeat(IMAGES[:, None, ..., 0], 3, 1))
    smaller = get(saved(tmp_path), tmp_path, side=4)
    expected = np.asarray(Image.fromarray(IMAGES[5]).resize((4, 4), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(smaller.train_images[5], expected)


def test_grey_images_are_resized_as_pillow_does_and_thin_ones_keep_their_colours(tmp_path):
    flat = IMAGES[..., 0]
    grey = get(saved(tmp_path, train_images=flat, test_images=flat[:9, ..., None]), tmp_path, side=4)
    for images in (grey.train_images, grey.test_images):
        expected = np.asarray(Image.fromarray(flat[5]).resize((4, 4), Image.Resampling.BICUBIC))
        assert np.array_equal(images[5], np.stack([expected] * 3))
    line = np.zeros((30, 8, 1, 3), np.uint8) + np.array([10, 20, 30], np.uint8)  # one pixel wide: of one colour
    thin = get(saved(tmp_path, train_images=line, test_images=line[:9]), tmp_path, side=4)
    assert np.array_equal(thin.train_images[7], np.broadcast_to([[[10]], [[20]], [[30]]], (3, 4, 4)))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"test_labels": None}, "has no test_labels"),
        ({"train_images": IMAGES / 255}, "float64, not uint8"),
        ({"train_images": IMAGES.astype(np.int32)}, "int32, not uint8"),
        ({"train_images": IMAGES[0]}, r"30 training labels|has 8 train images and 30 labels"),
        ({"train_images": IMAGES[..., :2]}, r"have shape \(30, 8, 8, 2\)"),
        ({"train_images": IMAGES[:20]}, "20 train images and 30 labels"),
        ({"train_labels": LABELS - 1}, "run from -1 to 1, out of the range"),
        ({"test_labels": LABELS[:9] + 1}, "test labels run from 1 to 3, out of the range of its 3 classes"),
        ({"train_labels": LABELS + 1, "test_labels": LABELS[:9] + 1}, "class 0 of 4 has no training images"),
        ({"train_labels": LABELS * 10**15}, "class 1 of .* has no training images"),
        ({"train_labels": LABELS / 1}, "float64: whole numbers"),
        ({"train_labels": np.full(30, np.nan)}, "float64: whole numbers"),
        ({"train_labels": np.eye(3)[LABELS]}, r"shape \(30, 3\)"),
        ({"train_labels": np.array(["a"] * 30)}, "not a picture, an array|whole numbers"),
        ({"train_labels": np.zeros(30, int), "test_labels": np.zeros(9, int)}, "one class alone"),
        ({"test_images": IMAGES[:0], "test_labels": LABELS[:0]}, "has no test images"),
        ({"train_labels": np.array([{}] * 30)}, "of object: one whole number an image"),
    ],
)
def test_a_wrong_npz_is_one_sentence_and_leaves_nothing(tmp_path, changed, says):
    with pytest.raises(StudyError, match=says):
        get(saved(tmp_path, **changed), tmp_path)
    assert nothing_written(tmp_path)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:600] + bytes(90) + b[690:]])
def test_a_damaged_npz_is_named(tmp_path, damage):
    name = saved(tmp_path)
    (tmp_path / "x.npz").write_bytes(damage((tmp_path / "x.npz").read_bytes()))
    with pytest.raises(StudyError, match=r"x\.npz is not a readable \.npz file"):
        get(name, tmp_path)
    assert nothing_written(tmp_path)
    with pytest.raises(StudyError, match="there is no file"):
        get("npz:nowhere.npz", tmp_path)


# ---------------------------------------------------------------- FILE.py:NAME

KINDS = {
    "arrays": "def pets():\n    return (X, Y), (X[:9], Y[:9])",
    "tensors": "def pets():\n    return (torch.tensor(X).movedim(3, 1), torch.tensor(Y)), (torch.tensor(X[:9]), Y[:9])",
    "pictures": "def pets():\n    s = [(Image.fromarray(x), int(y)) for x, y in zip(X, Y)]\n    return s, s[:9]",
    "dataset": """class D(torch.utils.data.Dataset):
    classes = ["a", "b", "c"]
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i): return torch.tensor(X[i]).movedim(2, 0), torch.tensor(Y[i])
def pets(): return D(30), D(9)""",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_of_ones_own_gives_arrays_or_pairs(tmp_path, kind):
    np.savez(tmp_path / "xy.npz", X=IMAGES, Y=LABELS)
    found = get(python(tmp_path, f"X, Y = np.load({str(tmp_path / 'xy.npz')!r}).values()\n{KINDS[kind]}"), tmp_path)
    assert np.array_equal(found.train_images, IMAGES.transpose(0, 3, 1, 2))
    assert np.array_equal(found.test_images, IMAGES[:9].transpose(0, 3, 1, 2))
    assert found.train_labels.tolist() == LABELS.tolist()
    assert found.class_names == (("a", "b", "c") if kind == "dataset" else ("class 0", "class 1", "class 2"))
    assert isinstance(found.train_images, np.memmap)


def test_a_picture_that_is_cut_off_and_a_file_that_is_no_utf_8_are_named(tmp_path):
    Image.fromarray(IMAGES[0]).resize((64, 64)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    pairs = f"[(Image.open({str(tmp_path / 'a.png')!r}), 0), (Image.new('RGB', (8, 8)), 1)]"
    with pytest.raises(StudyError, match="is not a readable picture"):
        get(python(tmp_path, f"def pets():\n    return {pairs}, {pairs}"), tmp_path)
    (tmp_path / "latin.py").write_bytes("# caf\xe9\ndef pets(): pass\n".encode("latin-1"))
    with pytest.raises(StudyError, match="cannot be read as Python"):
        get(f"{tmp_path / 'latin.py'}:pets", tmp_path)
    assert nothing_written(tmp_path)


def test_a_cut_without_test_images_is_refused(tmp_path):
    body = """class D:
    classes = ["a", "b", "c"]
    def __init__(self, y): self.y = y
    def __len__(self): return len(self.y)
    def __getitem__(self, i): return np.zeros((8, 8, 3), np.uint8), range(9)[self.y[i]]
def pets(): return D([0, 1, 2]), D([2, 2])"""
    name = python(tmp_path, body)
    assert len(get(f"{name}[1:3]", tmp_path).test_labels) == 2
    with pytest.raises(StudyError, match="has no test images: name other classes"):
        get(f"{name}[0:2]", tmp_path)


RANDOM = "X, Y = np.random.default_rng(0).integers(256, size=(30, 8, 8, 3), dtype=np.uint8), np.arange(30) % 3\n"


def test_a_function_takes_switches_and_the_side_and_is_called_again_only_when_changed(tmp_path):
    body = RANDOM + "def pets(n=30, image_size=0):\n    open({log!r}, 'a').write(f'{{n}} {{image_size}};')\n"
    body += "    return (X[:n], Y[:n]), (X[:9], Y[:9])"
    log = tmp_path / "log"
    name = python(tmp_path, "import helper\n" + body.format(log=str(log)))
    (tmp_path / "helper.py").write_text("")
    assert get(name + "[n=12]", tmp_path).train_images.shape == (12, 3, 8, 8)
    get(name + "[n=12]", tmp_path)
    cut = get(name + "[n=12][0:2]", tmp_path)
    assert (cut.classes, len(cut.train_labels)) == (2, 8)
    assert log.read_text() == "12 8;"
    (tmp_path / "helper.py").write_text("changed = 1")
    get(name + "[n=12]", tmp_path)
    assert log.read_text() == "12 8;12 8;"


def test_switches_are_values_as_python_and_json_write_them(tmp_path):
    log = tmp_path / "log"
    body = f"def pets(**given):\n    open({str(log)!r}, 'w').write(repr(given))\n    return (X, Y), (X[:9], Y[:9])"
    get(python(tmp_path, RANDOM + body) + "[a=False,b=true,c=None,d=0.5,e=x,f=1e999]", tmp_path)
    assert log.read_text() == repr({"a": False, "b": True, "c": None, "d": 0.5, "e": "x", "f": "1e999"})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("pets = 3", "defines no function pets"),
        ("1/0", r"mine\.py, line 4: running it raised ZeroDivisionError"),
        ("def pets(", "SyntaxError"),
        ("def pets():\n    raise KeyError('no')", r"line 5: pets raised KeyError"),
        ("def pets():\n    import sys; sys.exit(0)", "pets raised SystemExit"),
        ("def pets(): return 3", "must return train, test"),
        (RANDOM + "def pets(): return (X, Y), 3", "test is int"),
        (RANDOM + "def pets(): return {1, 2}, (X, Y)", "train is set"),
        (RANDOM + "def pets(): return (X / 255, Y), (X, Y)", "float64, not uint8"),
        (RANDOM + "def pets(): return (X * np.nan, Y), (X, Y)", "not finite"),
        (RANDOM + "def pets(): return [(x * np.nan, 0) for x in X], (X, Y)", "image 0 of .* not finite"),
        (RANDOM + "def pets(): return [(x, 0.5) for x in X], (X, Y)", "label 0 of .* whole number"),
        (RANDOM + "def pets(): return [(x, np.eye(3)[0].astype(int)) for x in X], (X, Y)", r"shape \(3,\)"),
        (RANDOM + "def pets(): return [x for x in X], (X, Y)", "not a pair"),
        (RANDOM + "def pets(): return [('a.png', 0)] * 3, (X, Y)", "is str, not a picture"),
        (RANDOM + "def pets(): return [], (X, Y)", "no training images"),
        (RANDOM + "def pets(): return (X, Y[:3]), (X, Y)", "30 images and 3 labels"),
        (RANDOM + "def pets(): return (X, Y), (X, Y), ['a']", "out of the range of its 1 classes"),
        (RANDOM + "def pets(a): return (X, Y), (X, Y)", "TypeError"),
    ],
)
def test_a_wrong_function_is_one_sentence_and_leaves_nothing(tmp_path, body, says):
    with pytest.raises(StudyError, match=says):
        get(python(tmp_path, body), tmp_path)
    assert nothing_written(tmp_path)


def run_on(name: str, fingerprint: str) -> Run:
    data = Data(name=name, image_size=8, fingerprint=fingerprint)
    return Run(variant=TimmVariant(model="resnet18"), data=data, training=Training(), seed=0)


def test_own_data_are_known_by_their_content(tmp_path):
    one = get(saved(tmp_path), tmp_path)
    two = get(python(tmp_path, RANDOM + "def pets(): return (X, Y), (X[:9], Y[:9])"), tmp_path)
    assert one.fingerprint == two.fingerprint
    names = ("npz:a.npz", "npz:/b/a.npz", "hf:a/b", "x.py:pets[n=1]")
    assert len({run_on(name, one.fingerprint).id for name in names}) == 1
    assert run_on("npz:a.npz", "0" * 12).id != run_on("npz:a.npz", "1" * 12).id
    assert run_on("folder:a", "0" * 12).id != run_on("folder:b", "0" * 12).id


def test_a_run_finds_its_images_by_their_fingerprint_though_the_source_is_gone(tmp_path):
    name = saved(tmp_path)
    whole, part = get(name, tmp_path), get(name, tmp_path, train_size=12)
    (tmp_path / "x.npz").unlink()
    assert np.array_equal(get(name, tmp_path, fingerprint=whole.fingerprint).train_images, whole.train_images)
    again = get("npz:elsewhere.npz", tmp_path, train_size=12, fingerprint=part.fingerprint)
    assert np.array_equal(again.train_images, part.train_images)
    with pytest.raises(StudyError, match="there is no file"):
        get(name, tmp_path, fingerprint="0" * 12)


# ---------------------------------------------------------------- opened without reading


@pytest.mark.parametrize("more", [{}, {"train_size": 12}, {"validation": 6}, {"train_size": 12, "validation": 3}])
@pytest.mark.parametrize("cut", ["", "[0:2]"])
def test_a_prepared_set_is_opened_without_hashing_or_counting_its_images(tmp_path, monkeypatch, more, cut):
    name = saved(tmp_path)
    before = get(name + cut, tmp_path, **more)
    plain = arrays.Arrays(*(np.asarray(part) for part in (before.train_images, before.train_labels)),
                          *(np.asarray(part) for part in (before.test_images, before.test_labels)), ())  # fmt: skip
    assert before.fingerprint == arrays.fingerprint(plain)
    assert np.array_equal(before.levels, count_levels(plain.train_images))
    for function in ("study.data.prepared.fingerprint", "study.data.prepared.count_levels", "study.data.count_levels"):
        monkeypatch.setattr(function, None)
    after = get(name + cut, tmp_path, **more)
    assert (after.fingerprint, after.levels.tolist()) == (before.fingerprint, before.levels.tolist())


def test_the_stored_levels_give_the_normalisation_of_all_images(tmp_path):
    data = get(saved(tmp_path), tmp_path)
    stored = Normalisation.from_levels(data.levels, torch.device("cpu"))
    pixels = np.asarray(data.train_images).astype("float64")
    assert np.allclose(stored.mean.flatten(), pixels.mean((0, 2, 3)))
    assert np.allclose(stored.std.flatten(), pixels.std((0, 2, 3)))


def test_a_set_prepared_before_there_were_facts_gets_them(tmp_path):
    name = saved(tmp_path)
    before = get(name, tmp_path)
    (file,) = tmp_path.glob("data/prepared/*/facts.json")
    file.unlink()
    assert get(name, tmp_path).fingerprint == before.fingerprint
    assert json.loads(file.read_text())["fingerprint"] == before.fingerprint


@pytest.mark.parametrize("content", ["[]", "{", '{"fingerprint": "0", "levels": 3}', '{"fingerprint": "0"}'])
def test_damaged_facts_are_named(tmp_path, content):
    name = saved(tmp_path)
    get(name, tmp_path)
    next(tmp_path.glob("data/prepared/*/facts.json")).write_text(content)
    with pytest.raises(StudyError, match=r"damaged.*study data rm"):
        get(name, tmp_path)


def test_rows_of_a_map_are_those_of_the_array(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    rows = np.array([5, 3, 29, 3])
    lazy = arrays.pick(np.load(tmp_path / "a.npy", mmap_mode="r"), rows)
    assert isinstance(lazy, Rows)
    assert np.array_equal(lazy, IMAGES[rows])
    assert np.array_equal(arrays.pick(lazy, np.array([2, 0])), IMAGES[[29, 5]])
    assert np.array_equal(lazy[1:3], IMAGES[[3, 29]])
    assert np.array_equal(np.stack(list(lazy)), IMAGES[rows])
    assert (lazy.shape, len(lazy), lazy.nbytes) == ((4, 8, 8, 3), 4, 4 * 192)


def test_batches_of_rows_read_ahead_are_those_of_the_array(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    rows, labels = np.random.default_rng(1).permutation(30)[:25], np.arange(25)
    lazy = arrays.pick(np.load(tmp_path / "a.npy", mmap_mode="r"), rows)
    ahead, plain = Batches(lazy, labels, 4, 3), Batches(IMAGES[rows], labels, 4, 3)
    for step in (*range(14), 3, 4, 0, 40, 39):
        for one, other in zip(ahead.at(step), plain.at(step), strict=True):
            assert torch.equal(one, other)
    assert ahead.at(2)[1].tolist() == order(3, 0, 25)[8:12].tolist()


# ---------------------------------------------------------------- many files, several processes


def noise_tree(root: Path, train: int = 40, test: int = 10, side: int = 40) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for label in ("a", "b"):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(256, size=(side, side + number % 7, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number:04}.jpg", quality=90)
    return root


def test_several_processes_decode_what_one_does(tmp_path, monkeypatch):
    root = noise_tree(tmp_path / "tree")
    alone = load(Data(name=f"folder:{root}", image_size=16), tmp_path / "one")
    monkeypatch.setattr(decode, "ALONE", 10)
    monkeypatch.setattr(decode, "usable_cores", lambda: 2)
    monkeypatch.setattr(decode, "block_size", lambda side: 7)
    several = load(Data(name=f"folder:{root}", image_size=16), tmp_path / "two")
    assert np.array_equal(alone.train_images, several.train_images)
    assert alone.fingerprint == several.fingerprint
    assert np.array_equal(alone.levels, several.levels)
    assert np.array_equal(alone.train_images[41], read(root / "train" / "b" / "0001.jpg", 16))


def test_preparing_continues_after_a_kill_where_its_blocks_are_whole(tmp_path, monkeypatch):
    root, name = noise_tree(tmp_path / "tree"), f"folder:{tmp_path / 'tree'}"
    expected = load(Data(name=name, image_size=16), tmp_path / "whole").fingerprint
    monkeypatch.setattr(decode, "block_size", lambda side: 8)
    monkeypatch.setattr(decode, "ALONE", 1)
    monkeypatch.setattr(decode, "usable_cores", lambda: 1000)
    decoded, limit, asked = [], 5, []
    real, pool = decode.decode, decode.Pool
    monkeypatch.setattr(decode, "Pool", lambda processes: asked.append(processes) or pool(0))

    def counted(job):
        if len(decoded) == limit:
            raise KeyboardInterrupt
        decoded.append(job)
        return real(job)

    monkeypatch.setattr(decode, "decode", counted)
    with pytest.raises(KeyboardInterrupt):
        load(Data(name=name, image_size=16), tmp_path / "data")
    (partial,) = tmp_path.glob("data/prepared/*.partial")
    finished = (partial / "train_images.npy.blocks").read_text().splitlines()
    assert 3 <= len(finished) <= 5
    with (partial / "train_images.npy").open("r+b") as file:  # a block whose pixels never reached the disk
        file.seek(200)
        file.write(bytes(100))
    decoded, limit = [], 1000
    assert load(Data(name=name, image_size=16), tmp_path / "data").fingerprint == expected
    assert len(decoded) == 13 - len(finished) + 1  # 10 and 3 blocks, less the finished ones, and the lost one
    assert asked == [80, 80 - 8 * len(finished), 20]  # a process for each image that is missing, were there the cores
    assert not list(tmp_path.glob("data/prepared/*.partial"))
    assert not list(tmp_path.glob("data/prepared/*/*.blocks"))
    assert root.is_dir()


def living(session: int) -> list[str]:
    """Processes of a session, but for those that only wait to be buried."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, own = path.read_text().rpartition(")")[2].split()[:4]
            found += [path.parent.name] * (int(own) == session and state not in "ZX")
    return found


def test_preparing_killed_outright_leaves_no_process_and_is_continued(tmp_path):
    root = noise_tree(tmp_path / "tree", train=700, test=5, side=160)
    code = (
        "import sys; from pathlib import Path; from study.data import decode, load; from study.config import Data\n"
        "decode.ALONE, decode.usable_cores, decode.block_size = 10, lambda: 2, lambda side: 16\n"
        "print(load(Data(name=f'folder:{sys.argv[1]}', image_size=64), Path(sys.argv[2])).fingerprint)"
    )
    command = [sys.executable, "-c", code, str(root)]
    process = subprocess.Popen([*command, str(tmp_path / "data")], stdout=subprocess.PIPE, start_new_session=True)
    notes = None
    while process.poll() is None and (notes is None or notes.read_text().count("\n") < 5):
        notes = next(tmp_path.glob("data/prepared/*.partial/train_images.npy.blocks"), None)
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert notes is not None
    kept = notes.read_text().count("\n")
    wait_for(lambda: not living(process.pid))
    assert 5 <= kept < 88
    ends = [subprocess.run([*command, str(tmp_path / place)], stdout=subprocess.PIPE) for place in ("data", "new")]
    assert ends[0].stdout == ends[1].stdout
    assert len(ends[0].stdout) == 13


def test_all_unreadable_files_are_named_at_once_and_nothing_is_kept(tmp_path):
    root = noise_tree(tmp_path / "tree")
    (root / "train" / "a" / "0003.jpg").write_bytes(b"\xff\xd8 not a picture")
    (root / "train" / "b" / "0007.jpg").write_bytes(b"")
    with pytest.raises(StudyError, match=r"2 files cannot be read: .*a/0003\.jpg.*b/0007\.jpg"):
        load(Data(name=f"folder:{root}", image_size=16), tmp_path / "data")
    assert nothing_written(tmp_path)


def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(tmp_path):
    side = np.linspace(0, 6, 400)
    smooth = (127 + 120 * np.sin(side[:, None, None] + side[None, :, None] * [1.0, 2.0, 0.5])).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(smooth).save(tmp_path / "a.png")
    drafted, whole = read(tmp_path / "a.jpg", 32), read(tmp_path / "a.png", 32)
    assert np.abs(drafted.astype(int) - whole).max() <= 6
    assert np.array_equal(drafted, read((tmp_path / "a.jpg").read_bytes(), 32))
    with Image.open(tmp_path / "a.jpg") as image:
        image.draft(None, (64, 64))
        assert image.size == (100, 100)  # a quarter: the smallest scale that leaves twice the side


# ---------------------------------------------------------------- Hugging Face


def parquet(
    folder: Path, label: str = "label", images: str = "img", test: str = "test", names=True, labels=LABELS
) -> str:
    datasets = pytest.importorskip("datasets")
    kind = datasets.ClassLabel(names=["x", "y", "z"]) if names else datasets.Value("int64")
    features = datasets.Features({images: datasets.Image(), label: kind})
    folder.mkdir()
    for split, count in (("train", 30), (test, 9)):
        rows = {images: [Image.fromarray(image) for image in IMAGES[:count]], label: labels[:count].tolist()}
        datasets.Dataset.from_dict(rows, features).to_parquet(folder / f"{split}-0000.parquet")
    return f"hf:{folder}"


def test_local_parquet_becomes_arrays_once(tmp_path, monkeypatch):
    name = parquet(tmp_path / "a")
    found = get(name, tmp_path)
    assert np.array_equal(found.train_images, IMAGES.transpose(0, 3, 1, 2))
    assert found.test_labels.tolist() == LABELS[:9].tolist()
    assert found.class_names == ("x", "y", "z")
    assert found.fingerprint == get(saved(tmp_path), tmp_path).fingerprint
    monkeypatch.setattr(hub, "source", None)
    assert get(name, tmp_path).fingerprint == found.fingerprint
    assert get(name + "[1:3]", tmp_path).class_names == ("y", "z")
    assert not list(tmp_path.glob("data/prepared/.hf*"))


def test_splits_and_columns_are_found_or_named(tmp_path):
    assert get(parquet(tmp_path / "a", test="validation"), tmp_path).test_images.shape[0] == 9
    odd = parquet(tmp_path / "b", label="kind", images="picture", names=False)
    with pytest.raises(StudyError, match=r"no column of labels.*picture, kind.*\[label=COLUMN\]"):
        get(odd, tmp_path)
    assert get(odd + "[label=kind,test=train]", tmp_path).test_images.shape[0] == 30
    assert get(odd + "[label=kind,test=train][0:2]", tmp_path).classes == 2
    for options, says in {
        "[label=kind,test=dev]": "no split dev; it has train, test",
        "[label=nose]": "no column 'nose'",
        "[image=kind,label=kind]": "holds no images",
        "[colour=1]": "knows the options train, test, image, label, config",
    }.items():
        with pytest.raises(StudyError, match=says):
            get(odd + options, tmp_path)


def test_hidden_labels_are_named(tmp_path):
    with pytest.raises(StudyError, match="labels of -1 are hidden"):
        get(parquet(tmp_path / "a", names=False, labels=LABELS - 1), tmp_path)
    assert nothing_written(tmp_path)


@pytest.mark.parametrize("kind", ["int64", "string"])
def test_labels_that_are_missing_are_named(tmp_path, kind):
    datasets = pytest.importorskip("datasets")
    labels = [1, None, 0, 1] if kind == "int64" else ["b", None, "a", "b"]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value(kind)})
    (tmp_path / "a").mkdir()
    for split in ("train", "test"):
        rows = {"img": [Image.fromarray(image) for image in IMAGES[:4]], "label": labels}
        datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "a" / f"{split}-0000.parquet")
    with pytest.raises(StudyError, match="train has images without a label"):
        get(f"hf:{tmp_path / 'a'}[label=label]", tmp_path)
    assert nothing_written(tmp_path)


def test_a_local_folder_of_images_becomes_the_same_arrays_as_folder(tmp_path):
    pytest.importorskip("datasets")
    root = noise_tree(tmp_path / "tree", 4, 2)
    by_hub, by_folder = get(f"hf:{root}", tmp_path, 16), get(f"folder:{root}", tmp_path, 16)
    assert by_hub.fingerprint == by_folder.fingerprint
    assert by_hub.class_names == ("a", "b")


def test_what_the_hub_cannot_give_is_one_sentence(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    with pytest.raises(StudyError, match="there is no folder"):
        get(f"hf:{tmp_path}/nowhere", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match=r"hf:|the hub has"):
        get(f"hf:{tmp_path}/empty", tmp_path)

    def missing(*args, **options):
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'no/such' doesn't exist on the Hub")

    def offline(*args, **options):
        raise ConnectionError("Couldn't reach 'no/such' on the Hub")

    for fails, says in ((missing, "the hub has no data set 'no/such@main'"), (offline, "no network")):
        monkeypatch.setattr(datasets, "load_dataset", fails)
        with pytest.raises(StudyError, match=says):
            get("hf:no/such@main", tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(StudyError, match="extra hf"):
        get("hf:no/such", tmp_path)
    assert nothing_written(tmp_path)


# ---------------------------------------------------------------- names, verbs


def test_names_are_taken_apart():
    assert parse_name("hf:a/b@v1[label=fine][0:8]")[:5] == ("hf", "a/b@v1", "", {"label": "fine"}, 0)
    assert parse_name("d/mine.py:pets[n=3,kind=a]")[1:4] == ("d/mine.py", "pets", {"n": "3", "kind": "a"})
    assert parse_name("folder:/x.py:y").kind == "folder"
    refused = {"npz:": "needs a path", "mine.py": "no data set", "npz:a[b=1]": "takes no options"}
    for wrong, says in {**refused, "mine.py:pets[n=3,n=4]": "sets n twice"}.items():
        with pytest.raises(StudyError, match=says):
            parse_name(wrong)
    assert Data(name="hf:org/pets[label=a]").slug == "hf-pets-label-a"
    assert Data(name="/home/me/mine.py:pets").slug == "mine-py-pets"
    assert Data(name="folder:/a/b").slug == "folder-a-b"


def run(*arguments: str):
    return CliRunner().invoke(app, ["data", *arguments])


def test_prepare_list_and_rm(tmp_path):
    name, where = saved(tmp_path), ("--data-dir", str(tmp_path / "data"))
    made = json.loads(run("prepare", name, "--image-size", "8", "--json", *where).stdout)
    assert (made["train_images"], made["classes"]) == (30, 3)
    run("prepare", name, "--image-size", "16", *where)
    listed = json.loads(run("list", "--json", *where).stdout)
    assert sorted(entry["image_size"] for entry in listed) == [8, 16]
    assert {entry["state"] for entry in listed} == {"complete"}
    assert made["fingerprint"] in run("list", *where).stdout.replace("\n", "")
    shown = run("show", name, "--image-size", "8", "--json", "--out", str(tmp_path / "s.png"), *where)
    assert json.loads(shown.stdout)["fingerprint"] == made["fingerprint"]
    refused = run("rm", name, *where)
    assert "--yes" in str(refused.exception)
    assert len(json.loads(run("list", "--json", *where).stdout)) == 2
    gone = json.loads(run("rm", name, "--image-size", "8", "--yes", "--json", *where).stdout)
    assert [Path(folder).exists() for folder in gone] == [False]
    assert [entry["image_size"] for entry in json.loads(run("list", "--json", *where).stdout)] == [16]
    assert "nothing is prepared" in str(run("rm", str(tmp_path), "--yes", *where).exception)
    assert (tmp_path / "x.npz").exists()


def test_unfinished_and_damaged_sets_are_listed_and_removed(tmp_path):
    name = saved(tmp_path)
    get(name, tmp_path)
    (folder,) = (path for path in tmp_path.glob("data/prepared/*") if path.is_dir())
    (folder / "train_labels.npy").write_bytes(b"")
    Path(f"{folder}.partial").mkdir()
    (tmp_path / "data" / "prepared" / "link").symlink_to(tmp_path)
    found = prepared.entries(tmp_path / "data")
    assert [entry.state for entry in found] == ["damaged", "unfinished"]
    for entry in found:
        prepared.remove(entry.folder)
    assert prepared.entries(tmp_path / "data") == []
    assert (tmp_path / "x.npz").exists()


def test_a_flipped_bit_is_noticed_by_the_list_and_before_a_sweep(tmp_path):
    name, where = saved(tmp_path), ("--data-dir", str(tmp_path / "data"))
    run("prepare", name, "--image-size", "8", *where)
    assert run("list", "--check", *where).exit_code == 0
    Facts(tmp_path / "data")(Data(name=name, image_size=8))
    (folder,) = (path for path in tmp_path.glob("data/prepared/*") if path.is_dir())
    content = bytearray((folder / "train_images.npy").read_bytes())
    content[-100] ^= 16
    (folder / "train_images.npy").write_bytes(content)
    assert (
        json.loads(run("list", "--json", *where).stdout)[0]["state"] == "complete"
    )  # sizes alone: every byte is there
    listed = run("list", "--check", "--json", *where)
    assert json.loads(listed.stdout)[0]["state"] == "damaged"
    assert isinstance(listed.exception, StudyError)
    for data in (Data(name=name, image_size=8), Data(name=name, image_size=8, train_size=6)):
        with pytest.raises(StudyError, match=r"is damaged|are damaged"):
            Facts(tmp_path / "data")(data)


# ---------------------------------------------------------------- training on it


def test_the_probe_of_class_sorted_data_holds_all_classes():
    """A folder's images are sorted by class: the first ones would all be of one class."""
    labels = np.repeat(np.arange(20), 100)[probe_indices(2000, 200)]
    counts = np.bincount(labels, minlength=20)
    assert counts.min() >= 2
    assert counts.max() <= 22


def test_a_run_on_prepared_rows_is_the_run_on_the_same_arrays_and_resumes(tmp_path, monkeypatch):
    """Bit for bit: a subset of a map read ahead, stopped on the way or not, against arrays in memory."""
    name = saved(tmp_path, train_images=np.repeat(IMAGES, 2, 1).repeat(2, 2), test_images=IMAGES[:9])
    data = Data(name=name, image_size=16, train_size=24)
    place = tmp_path / "data"
    data = data.model_copy(update={"fingerprint": load(data, place).fingerprint})
    cctt = resolve("C-C-T-T", Budget(60_000, "parameters", strides_of("fine", 16), 3, 16, Blocks()))
    run = Run(variant=cctt, data=data, training=Training(epochs=2, batch_size=8, probe_size=8), seed=0)

    def finish(folder: str, stops: int = 0) -> dict:
        if stops:
            calls = iter(range(100))
            assert train(run, tmp_path / folder, data_dir=place, should_stop=lambda: next(calls) == stops) is None
        result = train(run, tmp_path / folder, data_dir=place)
        assert result is not None
        return {key: value for key, value in result["final"].items() if "second" not in key}

    mapped, stopped = finish("a"), finish("b", stops=3)
    assert mapped == stopped
    monkeypatch.setattr("study.data.parts.pick", lambda images, rows: np.array(images)[rows])
    assert finish("c") == mapped
