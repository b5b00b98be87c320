"""Who holds a run: attempts, with a heartbeat and a fence. No file lock is needed, so it holds on any shared folder.

    runs/<run id>/attempts/   3.json  created exclusively: where and by whom; the highest number holds the run
                              3.beat  rewritten every few seconds: a counter, progress, and at last how it ended
                              3.step  the step at work, written at every one

A holder is gone if it said so, if its own machine has no such process, or if its counter stood still for PATIENCE
seconds on the observer's own clock: clocks of different machines are never compared. Whoever takes the run over makes
the next attempt. A holder that was only away finds a higher attempt before its next write, and leaves without it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from study.environment import now
from study.errors import Gone
from study.files import write_json

BEAT = 2.0  # seconds between two heartbeats
PATIENCE = 60.0  # seconds without one after which a holder elsewhere is taken for gone
KILLS = 3  # at one and the same step, after which a run is failed


class Fenced(Exception):
    """Another attempt holds the run by now: leave, and write nothing."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run, as its files tell. What cannot be read yet is empty."""

    number: int
    token: str = ""
    machine: str = ""
    host: str = ""
    pid: int = 0
    born: str = ""  # when its process started, in the machine's own terms
    agent: str = ""
    code: str = ""  # version of the code
    beat: dict[str, Any] = field(default_factory=dict)  # count, live (the progress that train tells), ended ("" or how)

    @property
    def ended(self) -> str:
        """How it ended, by its own word: `done`, `stopped`, `failed`; empty while at work, and after a kill."""
        return str(self.beat.get("ended", ""))

    @property
    def live(self) -> dict[str, Any]:
        """The progress that it told last."""
        return self.beat.get("live") or {}

    @property
    def gone(self) -> bool:
        """Whether it ended, or died on this machine. False also means: not known from here."""
        if self.ended:
            return True
        return self.machine == machine() and born(self.pid) != self.born


def numbers(folder: Path) -> list[int]:
    """The attempts of a run, ascending."""
    try:
        names = os.listdir(folder / "attempts")
    except FileNotFoundError:
        return []
    return sorted(int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit())


def last(folder: Path) -> Attempt | None:
    """The attempt that holds the run, or held it last."""
    found = numbers(folder)
    return read(folder, found[-1]) if found else None


def read(folder: Path, number: int) -> Attempt:
    """An attempt. Never raises for what is half written: that is empty."""
    claim, beat = (_peek(folder / "attempts" / f"{number}.{kind}") for kind in ("json", "beat"))
    return Attempt(number, **{key: claim[key] for key in _CLAIM if key in claim}, beat=beat)


def at_work(folder: Path) -> bool:
    """Whether somebody seems to hold the run, in a single look: for showing, never for taking a run over."""
    attempt = last(folder)
    if attempt is None or attempt.gone:
        return False
    if attempt.machine == machine() and attempt.machine:
        return True  # its process is there
    for kind in ("beat", "json"):
        with suppress(OSError):
            since = (folder / "attempts" / f"{attempt.number}.{kind}").stat().st_mtime
            return abs(time.time() - since) < 2 * PATIENCE
    return False


def step_of(folder: Path, number: int) -> int:
    """The step that an attempt was at; -1 if it had not begun."""
    try:
        return int((folder / "attempts" / f"{number}.step").read_text())
    except (OSError, ValueError):
        return -1


class Watch:
    """Judges by its own clock which holders live: it remembers each heartbeat, and when it last saw it change."""

    def __init__(self, patience: float = PATIENCE):
        self.patience = patience
        self.seen: dict[Path, tuple[object, float, bool]] = {}  # last beat, when it came, whether it was seen to change

    def holder(self, folder: Path) -> Attempt | None:
        """The attempt that holds the run; None if it is free."""
        attempt = last(folder)
        if attempt is None or attempt.gone:
            self.seen.pop(folder, None)
            return None
        sign, now = (attempt.number, attempt.token, attempt.beat.get("count")), time.monotonic()
        before = self.seen.get(folder)
        if before is None or before[0] != sign:
            self.seen[folder] = (sign, now, before is not None)
        return attempt if now - self.seen[folder][1] < self.patience else None

    def sure(self, folder: Path) -> bool:
        """Whether the holder, as last looked at, was seen to live: its heart beat while we watched."""
        return folder in self.seen and self.seen[folder][2]


class Hold:
    """An attempt of our own."""

    def __init__(self, folder: Path, number: int, token: str):
        self.folder, self.number, self.token = folder, number, token
        self.count, self.live, self.ended = 0, dict[str, Any](), ""
        self._lock = threading.Lock()  # between the thread that beats and the one that trains
        self._step = os.open(self._path("step"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)

    def check(self) -> None:
        """To be called before every write. Raises Fenced after a takeover, Gone if the folder is.

        The heartbeat comes first, on purpose: it changes the folder, so that a client of NFS lists it afresh.
        """
        self.beat()
        found = numbers(self.folder)
        if self.number not in found:
            raise Gone(f"{self.folder} was removed while its run was at work: the same command starts it again")
        if found[-1] > self.number or _peek(self._path("json")).get("token") != self.token:
            raise Fenced(f"{self.folder} was taken over by attempt {found[-1]}")

    def beat(self) -> None:
        """Show that we live. A folder that is gone, or full, is for `check` and for the writer to find."""
        with self._lock:
            self.count += 1
            temporary = self._path("beat").with_name(f".{self.number}.{self.token}.tmp")
            try:
                temporary.write_text(json.dumps({"count": self.count, "live": self.live, "ended": self.ended}))
                temporary.replace(self._path("beat"))
            except OSError:
                temporary.unlink(missing_ok=True)

    def at(self, step: int) -> None:
        """Note the step that begins. It outlives a kill: the system has it."""
        os.pwrite(self._step, b"%-20d" % step, 0)

    def end(self, how: str) -> None:
        """Let go of the run."""
        self.ended = how
        self.beat()
        os.close(self._step)

    def _path(self, kind: str) -> Path:
        return self.folder / "attempts" / f"{self.number}.{kind}"


def take(folder: Path, watch: Watch, agent: str = "", code: str = "") -> Hold | None:
    """Hold a run that nobody holds; None if somebody does. The file system lets one of several win."""
    if watch.holder(folder) is not None:
        return None
    number = (numbers(folder) or [0])[-1] + 1
    token = uuid.uuid4().hex
    (folder / "attempts").mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(folder / "attempts" / f"{number}.json", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return None
    claim = {
        "token": token, "machine": machine(), "host": platform.node(), "pid": os.getpid(), "born": born(os.getpid()),
        "agent": agent, "code": code, "started": now(),
    }  # fmt: skip
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(claim, file)
        hold = Hold(folder, number, token)
    except OSError:  # no space: a claim that nobody can read would be waited for
        (folder / "attempts" / f"{number}.json").unlink(missing_ok=True)
        raise
    hold.beat()
    return hold


def killed_in_place(folder: Path, before: int) -> int | None:
    """The step at which each of the KILLS attempts before number `before` was killed, if it was one and the same."""
    found = [number for number in numbers(folder) if number < before][-KILLS:]
    steps = {step_of(folder, number) for number in found}
    if len(found) < KILLS or len(steps) > 1 or any(read(folder, number).ended for number in found):
        return None
    return steps.pop()


def fail(folder: Path, log: str) -> None:
    """Record that the run failed, with the end of what it said."""
    write_json(folder / "failed.json", {"when": now(), "exit_code": 1, "log": log})


# ---------------------------------------------------------------- processes

_CLAIM = ("token", "machine", "host", "pid", "born", "agent", "code")


@lru_cache
def machine() -> str:
    """What tells one space of process numbers from another: the boot of the kernel and the container, or the host."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return platform.node()


def born(pid: int) -> str:
    """When a process of this machine started; empty if there is none, or if it only waits to be buried."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _peek(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
