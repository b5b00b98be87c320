"""Storms by hand: what survives a kill must survive a full disk, a flipped bit, a hostile folder and any argument.

    python tests/storm.py --kills 500                  agents, sweeps and both are sent SIGKILL, SIGTERM and SIGINT
    python tests/storm.py --disk                       sweeps onto disks that are full, from 8 kB to 2 MB left
    python tests/storm.py --resumes 25                 runs go on from damaged checkpoints and curves
    python tests/storm.py --files 500                  damaged files, read by status, rank and report
    python tests/storm.py --arguments 800              any arguments (tests/test_fuzz.py)
    python tests/storm.py --hostile                    a results folder and a current folder that want their code run

Each prints what it did and what it found as one line of JSON, and leaves with 1 if anything is not as it should be:
numbers bit-equal to those of the undisturbed reference, or named as missing or damaged; no traceback, no hang, no code
run, no exit of 0 with something missing. `--seed` draws another storm, `--minutes` ends it early.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402

from study.config import Experiment, Run  # noqa: E402
from study.models.interop import read_weights  # noqa: E402
from study.sweep.plan import load_experiment, make_plan  # noqa: E402
from study.sweep.records import read_record, sound_weights  # noqa: E402
from study.sweep.store import Store  # noqa: E402
from study.training import checkpoint  # noqa: E402
from study.training.loop import train  # noqa: E402
from study.training.start import fingerprint  # noqa: E402
from tests.test_fuzz import spoken  # noqa: E402
from tests.test_sweep import agents_of, trained  # noqa: E402
from tests.test_training import interrupt_after, rows, tiny_run  # noqa: E402

HANG = 180  # seconds without an end, on a busy machine, of what takes ten
A_FOLDER = 6  # kills, before its sweep is left alone and must come to its end
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EXPERIMENT = """
from study import Claim, Data, Experiment, Fractals, Training

experiment = Experiment(
    name="storm",
    data=Data(image_size=16, fractals=Fractals(classes=4, train_images=64, test_images=32)),
    training=Training(epochs=10, batch_size=16, probe_size=32, eval_every=8),
    variants=("C-C-T-T", "ViT_REL"),
    seeds=(0,),
    budget=60_000,
    claims=(Claim(ranking="C-C-T-T > ViT_REL", readout="final_test_accuracy"),),
)
"""
# the command, but for what it measures and draws before and after its runs
SWEEP = """
from study.__main__ import listen
listen()
from study import cli
from study.designs import base
from study.report import console
from study.sweep.measure import Speed
base.measure = lambda networks, *rest: dict.fromkeys(networks, Speed(0.01, 0.01))
console.plot_all = lambda *rest, **more: []
cli.main()
"""


class Storm:
    """What was done, counted, and every sentence on what went wrong."""

    def __init__(self, seed: int, minutes: float):
        self.random, self.seed = random.Random(seed), seed
        self.until = time.monotonic() + 60 * minutes
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    def expect(self, right: bool, what: str) -> None:
        """Note what is not as it should be."""
        if not right:
            self.wrong.append(what[-1500:])

    def told(self) -> dict[str, Any]:
        return {"seed": self.seed, **dict(sorted(self.counts.items())), "wrong": self.wrong}


# ---------------------------------------------------------------- kills


def numbers_of(folder: Path) -> tuple[Any, ...]:
    """All that a finished run says, but for times and the machine: its curve, its result, a hash of its weights."""
    record = read_record(folder)
    left = {"seconds", "images_per_second", "environment", "checksums", "final"}
    result = {key: value for key, value in record.result.items() if key not in left and "bytes" not in key}
    return rows(folder), result, fingerprint(read_weights(sound_weights(folder)))


def reference(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """The numbers of every run, trained here one after another and left alone."""
    store = trained(folder, experiment)
    return {run.id: numbers_of(store.path(run.id)) for run in store.runs()}


def kills(storm: Storm, count: int, work: Path, agents: int = 2) -> None:
    """Sweeps of two runs each, disturbed A_FOLDER times and then left alone; the same command each time."""
    file = work / "storm.py"
    file.write_text(EXPERIMENT)
    expected = reference(load_experiment(file), work / "reference")
    while storm.counts["kills"] < count and not storm.over:
        folder = work / f"sweep{storm.counts['sweeps']}"
        storm.counts["sweeps"] += 1
        disturbed_sweep(storm, folder, min(A_FOLDER, count - storm.counts["kills"]), expected, file, agents)
        shutil.rmtree(folder, ignore_errors=True)


def disturbed_sweep(storm: Storm, folder: Path, count: int, expected: dict[str, Any], file: Path, agents: int) -> None:
    log, sent, failed = folder.with_suffix(".log"), 0, False
    for call in range(4 * A_FOLDER):
        command = [sys.executable, "-P", "-c", SWEEP, "sweep", file, "--out", folder, "--device", "cpu"]
        command += ["--agents", str(agents), *["--retry-failed"] * failed]
        with log.open("wb") as out:
            process = subprocess.Popen([*map(str, command)], stdout=out, stderr=out, start_new_session=True)
        stopped, here = disturb(storm, process, folder, count - sent)
        sent += here
        try:
            code = process.wait(HANG)
        except subprocess.TimeoutExpired:
            process.kill()
            storm.expect(False, f"hangs: {folder}: {log.read_text()[-1000:]}")
            return
        said = f"call {call} of {folder.name}, exit code {code}, {stopped}: {log.read_text(errors='replace')}"
        store = Store(folder) if (folder / "experiment.json").exists() else None
        states = Counter(store.state(run_id) if store else "missing" for run_id in expected)
        storm.counts[f"exit {code}"] += 1
        failed = states["failed"] > 0  # thrice killed at one step: by design the run's failure
        storm.counts["failed by three kills at one step"] += states["failed"]
        storm.expect("Traceback" not in said, said)
        right = {3, *([0] if states["done"] == len(expected) else []), *([1] if failed else [])}
        if signal.SIGKILL in stopped:
            right.add(-signal.SIGKILL)
        elif not stopped and not here:
            right.discard(3)
        storm.expect(code in right, f"exit code {code}, not of {sorted(right)}: {states}: {said}")
        if code == 0:
            break
    else:
        storm.expect(False, f"{folder} does not come to its end")
        return
    for run_id, numbers in expected.items():
        found = numbers_of(store.path(run_id)) if store else None
        storm.expect(found == numbers, f"{run_id} in {folder} has other numbers: {found} for {numbers}")
        storm.counts["runs compared"] += 1
    leftovers = [str(path) for path in folder.rglob("*.tmp")]
    storm.expect(not leftovers, f"leftovers: {leftovers}")


def disturb(storm: Storm, process: subprocess.Popen[bytes], folder: Path, most: int) -> tuple[list[int], int]:
    """Send signals while a sweep lives, at most so many; those that the sweep itself was sent, and how many in all."""
    stopped: list[int] = []
    sent, limit = 0, time.monotonic() + HANG
    while sent < most and process.poll() is None and not stopped and time.monotonic() < limit:
        at_work = agents_of(folder) if folder.exists() else []
        if not at_work:
            time.sleep(0.05)
            continue
        time.sleep(storm.random.choice((0.0, storm.random.uniform(0, 0.3), storm.random.uniform(0, 2))))
        target, number = storm.random.choice(("agent", "agent", "sweep", "both")), storm.random.choice(SIGNALS)
        victims = [storm.random.choice(at_work)] if target != "sweep" else []
        if target != "agent" and process.poll() is None:
            victims.append(process.pid)
            stopped.append(number)
        try:
            for pid in victims:
                os.kill(pid, number)
        except ProcessLookupError:
            continue
        sent += 1
        storm.counts["kills"] += 1
        storm.counts[f"{signal.Signals(number).name} to {target}"] += 1
        if target == "agent" and number != signal.SIGKILL:  # it leaves, and the sweep starts no other in its place
            break
    return stopped, sent


# ---------------------------------------------------------------- full disk


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path | None]:
    """A file system of its own; None where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def disk(storm: Storm, work: Path) -> None:
    """The same sweep with 8 kB to 2 MB left: one sentence and exit code 3; with room again the same numbers."""
    file = work / "storm.py"
    file.write_text(EXPERIMENT.replace("epochs=10", "epochs=4"))
    expected = reference(load_experiment(file), work / "reference")
    command = [sys.executable, "-P", "-c", SWEEP, "sweep", str(file), "--device", "cpu", "--agents", "1", "--out"]
    with small_disk(work / "disk", 6) as place:
        if place is None:
            storm.expect(False, "a small file system cannot be mounted here")
            return
        for left in (8_000, 16_000, 64_000, 100_000, 250_000, 500_000, 1_000_000, 2_000_000):
            room = os.statvfs(place)
            (place / "ballast").write_bytes(bytes(max(0, room.f_bavail * room.f_frsize - left)))
            for full in (True, False):
                done = subprocess.run(
                    [*command, str(place / "out")], capture_output=True, text=True, timeout=HANG, check=False
                )
                said = f"{left} bytes left, exit code {done.returncode}: {done.stdout[-500:]}{done.stderr[-1000:]}"
                storm.counts[f"exit {done.returncode} " + ("when full" if full else "with room")] += 1
                whole = all((place / "out" / "runs" / run_id / "result.json").exists() for run_id in expected)
                storm.expect("Traceback" not in said, said)
                storm.expect(done.returncode == 0 if not full else done.returncode in (2, 3) or whole, said)
                (place / "ballast").unlink(missing_ok=True)
            for run_id, numbers in expected.items():
                storm.expect(numbers_of(place / "out" / "runs" / run_id) == numbers, f"other numbers at {left} bytes")
            shutil.rmtree(place / "out")
            storm.counts["disks"] += 1


# ---------------------------------------------------------------- damaged checkpoints and files


def damaged(content: bytes, luck: random.Random) -> tuple[str, bytes]:
    """A way in which a file may be damaged, and what it then holds."""
    place = luck.randrange(max(1, len(content)))
    kind = luck.choice(("flipped", "flipped", "flipped", "cut", "emptied", "zeros", "replaced"))
    match kind:
        case "flipped":
            turned = bytearray(content)
            turned[place] ^= 1 << luck.randrange(8)
            return kind, bytes(turned)
        case "cut":
            return kind, content[:place]
        case "emptied":
            return kind, b""
        case "zeros":
            return kind, content[:place] + bytes(min(4096, len(content) - place)) + content[place + 4096 :]
    return kind, luck.choice((b"null", b"[]", b"{}", b'"text"', b"[" * 100_000, b"\xff\xfe", b"9" * 6000))


def resumes(storm: Storm, count: int, work: Path) -> None:
    """A run stopped twice and its last checkpoint, or both, damaged: the numbers are those of the undisturbed one."""
    run = tiny_run()
    assert train(run, work / "whole" / run.id) is not None
    for _ in range(2):
        assert train(run, work / "twice" / run.id, should_stop=interrupt_after(5)) is None
    expected = (work / "whole" / run.id / "weights.pt").read_bytes()
    for number in range(count):
        folder = work / f"resume{number}" / run.id
        shutil.copytree(work / "twice" / run.id, folder)
        for name in storm.random.choice(
            ((checkpoint.NAME,), (checkpoint.NAME, checkpoint.PREVIOUS), ("metrics.jsonl",))
        ):
            kind, content = damaged((folder / name).read_bytes(), storm.random)
            (folder / name).write_bytes(content)
            storm.counts[f"{name} {kind}"] += 1
        train(run, folder)
        storm.expect(rows(folder) == rows(work / "whole" / run.id), f"another curve after {folder}")
        storm.expect((folder / "weights.pt").read_bytes() == expected, f"other weights after {folder}")
        storm.counts["resumes"] += 1


def finished_folder(work: Path) -> tuple[Path, list[Run]]:
    """A results folder of four short runs, trained here."""
    file = work / "storm.py"
    file.write_text(EXPERIMENT.replace("epochs=10", "epochs=2").replace("(0,)", "(0, 1)").replace("every=8", "every=2"))
    experiment = load_experiment(file)
    reference(experiment, work / "sound")
    return work / "sound", make_plan(experiment).runs


def files(storm: Storm, count: int, work: Path) -> None:
    """One file damaged at a time: status, rank and report name it, or give the very answer that they gave before."""
    sound, runs = finished_folder(work)
    names = ["experiment.json", "claims.json"]
    names += [f"runs/{run.id}/{name}" for run in runs for name in ("run.json", "metrics.jsonl", "result.json")]
    before = {verb: answer(verb, sound) for verb in ("status", "rank", "report")}
    storm.expect(all(code == 0 for code, _, _ in before.values()), f"a sound folder is not read: {before}")
    for number in range(count):
        if storm.over:
            break
        name = storm.random.choice(names)
        content = (sound / name).read_bytes()
        kind, changed = damaged(content, storm.random)
        (sound / name).write_bytes(changed)
        storm.counts[kind] += 1
        named = False
        for verb in ("status", "rank", *["report"] * (number % 10 == 0)):
            what, began = f"{verb} with {name} {kind} (file {number})", time.process_time()
            try:
                code, page, said = answer(verb, sound)
            except Exception as error:
                storm.expect(False, f"traceback: {what}: {type(error).__name__}: {error}")
                continue
            storm.counts["calls"] += 1
            storm.expect("Traceback" not in said, f"traceback: {what}: {said}")
            storm.expect(time.process_time() - began < 60, f"slow: {what}")
            here = code == 2 or "damaged" in said + page
            storm.expect(here or (code, page) == before[verb][:2], f"other answer without a word: {what}: {said[:500]}")
            named |= here
        same = changed == content or told(name, changed) == told(name, content)
        storm.expect(named or same, f"unnoticed: {name} {kind} (file {number})")
        storm.counts["named" if named else "the same in meaning"] += 1
        (sound / name).write_bytes(content)
        storm.counts["files"] += 1
    storm.expect({verb: answer(verb, sound) for verb in before} == before, "the folder is not what it was")


def answer(verb: str, folder: Path) -> tuple[int, str, str]:
    """Exit code, what is shown, and what else is said by a verb that reads a folder."""
    code, out, err = spoken(verb, str(folder))
    page = (folder / "report.md").read_text() if verb == "report" and code == 0 else out
    return code, page, err


def told(name: str, content: bytes) -> Any:
    """What a file of JSON says, whatever its spaces."""
    try:
        return [json.loads(line) for line in (content.splitlines() if name.endswith("l") else [content])]
    except (ValueError, RecursionError):
        return content


# ---------------------------------------------------------------- arguments, and folders that mean harm


def arguments(storm: Storm, count: int) -> None:
    """Half of them to `study models`, half to `study sweep --dry-run`, other ones for each seed."""
    from hypothesis import seed

    from tests import test_fuzz

    os.environ["STUDY_FUZZ"] = str(count // 2)  # as many as it is told when it is imported
    importlib.reload(test_fuzz)
    for test in (test_fuzz.test_sizes_of_any_arguments, test_fuzz.test_a_planned_sweep_of_any_arguments):
        try:
            seed(storm.seed)(test)()
        except AssertionError as error:
            storm.expect(False, f"{test.__name__}: {error}")
        storm.counts["arguments"] += count // 2


class Trap:
    """What runs when it is unpickled."""

    def __init__(self, sign: Path):
        self.sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sign,)


def hostile(storm: Storm, work: Path) -> None:
    """Modules in the current folder, pickles where weights and checkpoints lie, and code that JSON names: none runs."""
    sound, runs = finished_folder(work)
    sign, here = work / "it-was-run", work / "here"
    here.mkdir()
    spring = f"import pathlib; pathlib.Path({str(sign)!r}).touch()\ndef spring(*a, **k): return 1.0\n"
    for module in ("study", "torch", "numpy", "queue", "einops", "pandas", "json", "sitecustomize", "trap"):
        (here / f"{module}.py").write_text(spring)
    for path in sound.glob("runs/*"):
        for name in ("weights.pt", checkpoint.NAME, checkpoint.PREVIOUS):
            (path / name).write_bytes(pickle.dumps({"model": Trap(sign)}))
            storm.counts["pickles"] += 1
    torch.save({"model": Trap(sign)}, work / "trap.pt")
    state = json.loads((sound / "experiment.json").read_text())
    del state["checksums"]
    state["claims"][0] |= {"readout": "trap.py:spring", "source": "<script>document.title='run'</script>"}
    facts = {"title": "<img src=x onerror=alert(1)>", "source": "0" * 12, "description": "<script>1</script>"}
    state |= {"readouts": {"trap.py:spring": facts}, "files": {"trap.py": str(here / "trap.py")}}
    (sound / "experiment.json").write_text(json.dumps(state))
    out = str(work / "exported")
    for verb in (
        ("status", sound), ("rank", sound), ("report", sound), ("plot", sound), ("runs", sound), ("scale", sound),
        ("runs", sound, runs[0].id), ("export", sound, "--no-onnx", "--out", out), ("merge", work / "into", sound),
        ("transfer", sound, "--out", str(work / "t"), "--dry-run", "--dataset", "fractals", "--image-size", "16"),
        ("transfer", "--weights", work / "trap.pt", "--variant", "coatnet_0", "--dataset", "fractals", "--dry-run"),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-P", "-c", "from study.cli import main; main()", *map(str, verb)],
            cwd=here, capture_output=True, text=True, timeout=HANG, check=False,
        )  # fmt: skip
        storm.counts["verbs"] += 1
        storm.expect("Traceback" not in done.stderr, f"{verb}: {done.stderr}")
        storm.expect(done.returncode in (0, 2), f"{verb}: exit code {done.returncode}: {done.stderr}")
        storm.expect(not sign.exists(), f"code was run by {verb}")
    for run in runs:  # the agents' way in, from the folder with the traps: the pickled checkpoint is refused
        (sound / "runs" / run.id / "result.json").unlink()
    done = subprocess.run(
        [sys.executable, "-P", "-c", SWEEP, "sweep", str(work / "storm.py"), "--out", str(work / "sound2"), "--device",
         "cpu"], cwd=here, capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip
    storm.expect(done.returncode == 0, f"a sweep from a hostile folder: {done.returncode}: {done.stderr}")
    train(runs[0], sound / "runs" / runs[0].id)
    storm.expect(not sign.exists(), "code was run by an agent or a checkpoint")
    page = (sound / "report.html").read_text()
    storm.expect(
        "<script>1" not in page and "<script>document.title" not in page and "<img src=x" not in page, "live markup"
    )


# ---------------------------------------------------------------- the command


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("kills", "resumes", "files", "arguments"):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N")
    for name in ("disk", "hostile"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e6)
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    parts: dict[str, Callable[[Storm, Path], None]] = {
        "kills": lambda storm, work: kills(storm, asked.kills, work),
        "disk": disk,
        "resumes": lambda storm, work: resumes(storm, asked.resumes, work),
        "files": lambda storm, work: files(storm, asked.files, work),
        "arguments": lambda storm, work: arguments(storm, asked.arguments),
        "hostile": hostile,
    }
    wrong = 0
    for name, part in parts.items():
        if getattr(asked, name):
            began, storm = time.monotonic(), Storm(asked.seed, asked.minutes)
            with tempfile.TemporaryDirectory(prefix="storm-") as work:
                part(storm, Path(work))
            print(json.dumps({"storm": name, "seconds": round(time.monotonic() - began), **storm.told()}), flush=True)
            wrong += len(storm.wrong)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
