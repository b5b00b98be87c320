"""The results folder: what is done, running, failed or missing, and the tidy tables read from it.

    results/<experiment>-<dataset>/
        experiment.json  claims.json  commands.txt  environments.json  runs.csv  curves.csv  figures/  stop.json
        agents/          logs of the processes that train
        runs/<run id>/   run.json  metrics.jsonl  result.json      the record: study/sweep/records.py
                         weights.pt  checkpoint.pt  checkpoint.previous.pt  failed.json  log.txt
                         attempts/                                 who holds it: study/sweep/attempts.py

The folder is the queue: a run is planned if its `run.json` exists, done if and only if its `result.json` does too, with
the curve that it knows. It is running if its last attempt lives.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from study.config import Experiment, Run, parse_model
from study.environment import now
from study.errors import StudyError
from study.files import check_seal, read_json, read_text, sealed, write_json, write_text
from study.sweep import attempts
from study.sweep.claims import record_claims
from study.sweep.joining import differences, joined
from study.sweep.records import FILES, Damaged, Record, read_record, read_records, read_run

TUNING = "tuning"  # holds the results folders of the rates that were tried: study/designs/rates.py
T = TypeVar("T")
DONE = ("done", "diverged")  # states of runs that have a result
OVER = (*DONE, "failed")  # for good: others are to be continued
STATES = (*DONE, "running", "failed", "damaged", "interrupted", "missing")


class Store:
    """One results folder. Opening an existing one needs nothing else; `create` starts or joins one."""

    def __init__(self, folder: Path):
        self.folder = folder
        if not (folder / "experiment.json").exists():
            if any((folder / name).exists() for name in ("members.json", "family.json")):
                raise StudyError(f"{folder} holds a results folder for each of its members: name one of them")
            raise StudyError(f"{folder} is not a results folder: it has no experiment.json")
        state = read_json(folder / "experiment.json")
        if isinstance(state, dict):
            check_seal(folder / "experiment.json", state)
            state.pop("checksums", None)
            state.setdefault("depths", "free")  # so experiments were sized that do not say
        self.experiment = parse_model(Experiment, json.dumps(state), f"{folder / 'experiment.json'}: ")
        self._known: dict[tuple[str, object], tuple[object, Any]] = {}  # what was read, with the files' signs of then

    @classmethod
    def create(cls, folder: Path, experiment: Experiment, runs: Sequence[Run] = ()) -> Store:
        """Start a folder for `experiment`, or join one that holds the same experiment: one step, under a lock.

        Joining may add variants and seeds, and tuned rates where there were none. Anything else that differs would put
        runs side by side that cannot be compared, as would `runs`, those that it is for, whose labels stand for other
        networks there: StudyError, naming what differs, unless no run has started yet: then it is replaced. A folder
        that holds something else is refused.
        """
        if not is_free(folder) and not (folder / "experiment.json").exists():
            raise StudyError(f"{folder} exists and holds no results of a study: choose another folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "experiment.json"
        with one_at_a_time(folder):
            if path.exists():
                old = cls(folder)
                try:
                    experiment = old.joined_by(experiment, runs)
                except StudyError:
                    if old.has_started():
                        raise
                    shutil.rmtree(folder / "runs", ignore_errors=True)
                    (folder / "claims.json").unlink(missing_ok=True)
            write_json(path, sealed(path, experiment.model_dump(mode="json")))
            store = cls(folder)
            record_claims(folder, store.experiment)
            return store

    def joined_by(self, asked: Experiment, runs: Sequence[Run] = ()) -> Experiment:
        """What this folder would hold with `asked` as well. StudyError, naming what differs, if it is another one.

        So it is if `asked` leaves out the shared rate where runs at it are there, which would be hidden, or if a label
        of its `runs` stands for another network here.
        """
        if (self.folder / "runs.csv").exists() and not (self.folder / "runs").is_dir():
            raise StudyError(
                f"{self.folder} holds tables without the runs they are of: choose another folder with --out"
            )
        both = joined(self.experiment, asked, self.folder)
        hidden = self.experiment.runs_twice and not both.with_shared_rate
        if hidden and any(run.training.lr not in both.rates_of(run.label) for run in self._planned()):
            raise StudyError(f"{self.folder} has runs at the shared rate: give with_shared_rate=true, or another --out")
        self.check_networks(runs)
        return both

    def check_networks(self, runs: Iterable[Run]) -> None:
        """Raises StudyError for a run whose label stands for another network in the runs that are here."""
        known = {run.label: run.variant for run in self._planned()}
        for run in runs:
            if run.label in known and run.variant != known[run.label]:
                here, asked = (each.model_dump() for each in (known[run.label], run.variant))
                raise StudyError(
                    f"{self.folder} has runs of {run.label} as another network ({differences(here, asked)}): choose "
                    "another folder with --out"
                )

    def has_started(self) -> bool:
        """Whether a run of this folder, or of its tuning, was ever begun: nothing of it may be replaced then."""
        return any(
            next(self.folder.glob(pattern), None) is not None
            for pattern in ("runs/*/attempts/*", "runs/*/result.json", "runs/*/metrics.jsonl", "runs.csv", "tun*")
        )

    # ------------------------------------------------------------ runs

    def path(self, run_id: str) -> Path:
        return self.folder / "runs" / run_id

    def add(self, run: Run) -> Path:
        """The run's folder, with its configuration in it; until it is done, with what is not part of its identity too.

        So a run finds the weights that it starts from after they have moved.
        """
        folder = self.path(run.id)
        run = _seen_from(folder, run)
        text = json.dumps(run.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"
        try:
            same = (folder / "run.json").read_text(encoding="utf-8") == text
        except (OSError, ValueError):
            same = False
        if not same and self.state(run.id) not in DONE:
            write_text(folder / "run.json", text)
        return folder

    def plan(self, runs: Iterable[Run]) -> None:
        """Put runs into the queue."""
        for run in runs:
            self.add(run)

    def runs(self) -> list[Run]:
        """Every run that was ever planned here: seeds in the experiment's order, then its variants in theirs.

        Where learning rates are tuned, first all at these, then those at the recipe's rate. A folder whose `run.json`
        is damaged is left out: see `damaged`.
        """
        experiment = self.experiment
        shared, rates = experiment.training.lr, experiment.rates
        variants = {label: i for i, label in enumerate(experiment.variants)}
        seeds = {seed: i for i, seed in enumerate(experiment.seeds)}

        def place(run: Run) -> tuple[object, ...]:
            tuned = run.training.lr == rates.get(run.label, shared)
            last = len(variants) + len(seeds)
            return not tuned, seeds.get(run.seed, last), run.seed, variants.get(run.label, last), run.label, run.id

        return sorted(self._planned(), key=place)

    def runs_at(self, rates: Mapping[str, float]) -> list[Run]:
        """The runs at these learning rates, and at the recipe's where a label has none; by label."""
        runs = [run for run in self._planned() if run.training.lr == rates.get(run.label, self.experiment.training.lr)]
        order = {label: i for i, label in enumerate(self.experiment.variants)}
        return sorted(runs, key=lambda run: (order.get(run.label, len(order)), run.label, run.seed))

    def _planned(self) -> list[Run]:
        """The runs with a sound `run.json`."""
        found = []
        for path in sorted((self.folder / "runs").glob("*/run.json")):
            with suppress(Damaged):
                found.append(self._read_once(path.parent, FILES[:1], read_run))
        return found

    def fault(self, run_id: str) -> str:
        """What is wrong with a finished run's record, in a sentence; empty if it is sound."""
        try:
            self._record(self.path(run_id))
        except Damaged as why:
            return str(why)
        return ""

    def damaged(self) -> dict[str, str]:
        """The runs, by id, whose record does not fit together, each with a sentence that says what is wrong."""
        return read_records(self.folder)[2]

    def state(self, run_id: str) -> str:
        """One of STATES, by looking alone: nothing is locked or written."""
        folder = self.path(run_id)
        if (folder / "result.json").exists():
            try:
                return "diverged" if self._record(folder).result["status"] == "diverged" else "done"
            except Damaged:
                return "running" if attempts.at_work(folder) else "damaged"
        if attempts.at_work(folder):
            return "running"
        if (folder / "failed.json").exists():
            return "failed"
        return "interrupted" if next(folder.glob("checkpoint*.pt"), None) else "missing"

    def clear(self, run_id: str) -> None:
        """Before an attempt, by its holder: forget an earlier failure, and a result that is damaged."""
        folder = self.path(run_id)
        (folder / "failed.json").unlink(missing_ok=True)
        if (folder / "result.json").exists():
            for name in ("result.json", "metrics.jsonl", "weights.pt"):
                (folder / name).unlink(missing_ok=True)

    def _record(self, folder: Path) -> Record:
        return self._read_once(folder, FILES, read_record)

    def _read_once(self, folder: Path, names: Sequence[str], read: Callable[[Path], T]) -> T:
        """What `read` makes of a run's folder: read and checked once, as long as these files stay the same."""
        sign = []
        for name in names:
            with suppress(OSError):
                stat = (folder / name).stat()
                sign.append((name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
        key = folder.name, read
        if key not in self._known or self._known[key][0] != sign:
            self._known[key] = sign, read(folder)
        found: T = self._known[key][1]
        return found

    def result(self, run_id: str) -> dict[str, Any]:
        """What `result.json` holds; empty for a run without a sound one."""
        try:
            return self._record(self.path(run_id)).result
        except Damaged:
            return {}

    def failure(self, run_id: str) -> dict[str, Any]:
        """The last failed attempt: when, exit code, end of its log."""
        value: dict[str, Any] = read_json(self.path(run_id) / "failed.json")
        return value

    def record_command(self, command: str) -> None:
        """Add a line to `commands.txt`, unless it is there."""
        path = self.folder / "commands.txt"
        lines = read_text(path).splitlines() if path.exists() else []
        if command not in lines:
            write_text(path, "\n".join([*lines, command]) + "\n")


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """A file lock for the block, where the file system has any: a help for sweeps that start at the same moment."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=60)
    except Timeout:
        raise StudyError(f"another program holds {folder / '.lock'}: end it, or delete that file") from None
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise
    try:
        yield
    finally:
        lock.release()


def _seen_from(folder: Path, run: Run) -> Run:
    """A run that starts from another one's weights, with their path seen from its own folder.

    So results that are moved, or committed, together fit together, and records tell nobody's folders.
    """
    if run.start is None or not run.start.run or not os.path.isabs(run.start.path):
        return run
    path = os.path.relpath(os.path.realpath(run.start.path), os.path.realpath(folder))
    return run.model_copy(update={"start": run.start.model_copy(update={"path": path})})


def is_free(folder: Path, members: Collection[Path] = ()) -> bool:
    """Whether a results folder can be made here: nothing is there but what a sweep that just starts has made.

    `members` are the folders of its members to be: study merge may have begun some of them.
    """
    try:
        return all(path.name == ".lock" or path.suffix == ".tmp" or path in members for path in folder.iterdir())
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False


def stop(folder: Path) -> None:
    """Ask every agent that is at work on a results folder, wherever it is, to checkpoint and leave.

    An agent knows the stop that was asked for last when it was ordered, and leaves when it sees another one. So a stop
    also reaches agents that still wait in a queue, and no sweep that is started afterwards. Raises StudyError if it is
    not a results folder.
    """
    Store(folder)
    write_json(folder / "stop.json", {"token": uuid.uuid4().hex, "when": now()})


def stop_token(folder: Path) -> str:
    """The last stop that was asked for; empty if none was."""
    try:
        return str(json.loads((folder / "stop.json").read_text(encoding="utf-8"))["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
