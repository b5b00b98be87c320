"""The W&B mirror: one W&B run (wandb.ai) per run, under the same id. The local files stay the record.

A mirror may never stop or slow a run, so W&B lives in a process of its own: the training process starts it and writes
one JSON line per row into its pipe; it neither imports wandb nor waits for it. The pipe is the bounded queue: when it
is full, the mirror is switched off. Whatever fails ends as one warning line on the run's stderr, and `push` makes up
for it later from the local files.

Every mirror begins with the rows that metrics.jsonl already holds. That keeps resumed runs whole: W&B cannot resume
offline, and of two offline directories with one id the second replaces the first when synced; so the new one is
complete by itself and the earlier one is removed. Online, the W&B run is resumed and gets only the rows past its last
step, so that no row appears twice. W&B cannot rewrite rows: where a GPU repeats the steps after a checkpoint with
slightly other numbers, W&B keeps the first and metrics.jsonl the second.

WANDB_API_KEY, WANDB_BASE_URL, WANDB_ENTITY and WANDB_PROJECT keep their usual meaning.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from study.config import Data, Experiment, Run, digest
from study.errors import StudyError

JSON = dict[str, Any]

GRACE = 10.0  # seconds that a run waits at its end until W&B has taken the last rows
PUSH_GRACE = 600.0  # the same for `push`, which has nothing better to do
PUSH_PROCESSES = 4  # runs pushed at a time: mostly they wait for the network
LONGEST_TAG = 64  # characters that W&B takes
FAILED = 3  # exit code of a mirror process that has said itself what went wrong

# ---------------------------------------------------------------- beside a run


def check(mode: str) -> None:
    """To be called before any run starts: raises StudyError if the mode is unknown, wandb missing or not logged in."""
    if mode not in ("off", "offline", "online"):
        raise StudyError(f"W&B mode {mode!r} is not one of off, offline, online")
    if mode == "off":
        return
    spec = importlib.util.find_spec("wandb")
    if spec is None or spec.origin is None:  # without an origin it is a mere folder, such as W&B itself leaves behind
        raise StudyError(f"W&B mode {mode} needs the package wandb: install it with `pip install wandb`")
    if mode == "online":
        login = f"import sys, wandb; sys.exit(0 if wandb.login(verify=False, prompt=False) else {FAILED})"
        answer = subprocess.run([sys.executable, "-P", "-c", login], env=_environment(), capture_output=True)
        if answer.returncode == FAILED:
            raise StudyError("W&B is not logged in on this machine: run `wandb login`, or choose the mode offline")


def open_mirror(mode: Literal["off", "offline", "online"], run: Run, experiment: str, folder: Path) -> Mirror:
    """The mirror of one run: W&B's id is the run's, the group experiment and data, the name label-seed, the config the
    run; tags are the variant, the data and the experiment, and the job type is train, fine-tune or probe.

    To be called when metrics.jsonl in `folder` is as the run will continue it. W&B's own files go to `folder`/wandb.
    The project is that of $WANDB_PROJECT, else `study`. What is missing is found by `check`, not here.
    """
    return Mirror(_of_run(mode, run, experiment, folder, None))


class Mirror:
    """A run's view of its mirror process. No method raises, and none waits but `finish`, GRACE seconds at most."""

    def __init__(self, request: JSON) -> None:
        self._id = request["id"]
        self._process: subprocess.Popen[bytes] | None = None
        if request["mode"] == "off":
            return
        try:
            self._process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                bufsize=0,
                env=_environment(),
                start_new_session=True,  # Ctrl-C ends the run, and the mirror only by that
            )
            assert self._process.stdin is not None
            self._pipe = self._process.stdin
            os.set_blocking(self._pipe.fileno(), False)
        except Exception as error:
            self._switch_off(f"its process did not start: {error}")
        self._send(request | {"grace": 2 * GRACE})

    def log(self, row: JSON) -> None:
        """Mirror a row, once it is written to metrics.jsonl. Its `step` is W&B's step too."""
        self._send({"row": row})

    def finish(self, result: JSON | None) -> None:
        """End with the content of result.json, or with None if the run is left unfinished (`failed` in W&B's words)."""
        if result is not None:
            self._send({"result": result})
        if self._process is None:
            return
        self._pipe.close()
        try:
            if self._process.wait(GRACE) != 0:
                self._switch_off("its process failed")
        except subprocess.TimeoutExpired:
            self._switch_off(f"W&B did not finish within {GRACE:g} s")

    def _send(self, message: JSON) -> None:
        if self._process is None:
            return
        try:
            line = json.dumps(message).encode() + b"\n"
            if self._pipe.write(line) != len(line):  # a part of it or none: the pipe is full
                self._switch_off("W&B takes no more rows")
        except Exception as error:
            self._switch_off(f"its process takes no rows: {error}")

    def _switch_off(self, why: str) -> None:
        """End the process, with one line on stderr unless it has written its own."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._pipe.close()
        if process is None or process.wait() != FAILED:
            print(_warning(self._id, why), file=sys.stderr, flush=True)


def _warning(run_id: str, why: str) -> str:
    why = " ".join(why.split())
    return f"warning: run {run_id} is no longer mirrored to W&B ({why}); `study wandb push` does it later"


# ---------------------------------------------------------------- finished runs


@dataclass(frozen=True)
class Pushed:
    """What `push` did with a run: how many rows W&B did not have yet, or why it failed. A damaged one has no seed."""

    id: str
    label: str
    seed: int | None
    rows: int
    error: str = ""


def push(folder: Path, project: str | None = None, mode: Literal["offline", "online"] = "online") -> list[Pushed]:
    """Replay the finished runs of a results folder into W&B, from their metrics.jsonl and result.json.

    It can be repeated, and completes what a live mirror left incomplete, without duplicates: a run's id is its W&B id;
    online only rows past W&B's last step are sent, offline the run's one directory (in runs/*/wandb, for `wandb sync`)
    is written anew. W&B itself is asked what it has: no local mark could know. A run that fails, or is damaged, does
    not stop the others. Raises StudyError if `folder` is not a results folder, and as `check` does.
    """
    from study.sweep.records import Damaged, read_record  # not for the mirror process, of which each run starts one
    from study.sweep.store import Store

    check(mode)
    experiment = Store(folder).experiment

    def push_run(path: Path) -> Pushed:
        try:
            record = read_record(path.parent)
        except Damaged as why:
            return Pushed(path.parent.name, "damaged", None, 0, str(why))
        request = _of_run(mode, record.run, experiment.name, path.parent, project)
        return Pushed(record.run.id, record.run.label, record.run.seed, *_replayed(request, {"result": record.result}))

    with ThreadPoolExecutor(PUSH_PROCESSES) as pool:
        pushed = list(pool.map(push_run, sorted(folder.glob("runs/*/result.json"))))
    files = [*sorted(folder.glob("report.*")), *sorted(folder.glob("figures/*"))]  # as far as study report made them
    if pushed and files:
        pushed.append(_push_report(folder, experiment, files, project, mode))
    return pushed


def _push_report(folder: Path, experiment: Experiment, files: list[Path], project: str | None, mode: str) -> Pushed:
    """A W&B run of its own, `report`, whose artifact has the files; W&B keeps a new version only if they changed."""
    name = folder.resolve().name
    request = _request(
        mode, experiment.name, experiment.data, folder, project,
        name=f"{name}-report",
        job_type="report",
        tags=[experiment.name[:LONGEST_TAG]],
        artifact={str(path.relative_to(folder)): str(path.resolve()) for path in files},
    )  # fmt: skip
    request["id"] = digest(["report", request["group"], name])
    return Pushed(request["id"], "report", 0, *_replayed(request))


def _replayed(request: JSON, *messages: JSON) -> tuple[int, str]:
    """What came of a mirror process that gets all its messages at once: how many rows were new, or why it failed."""
    lines = "".join(f"{json.dumps(message)}\n" for message in (request | {"grace": PUSH_GRACE}, *messages))
    done = subprocess.run(_COMMAND, input=lines, env=_environment(), capture_output=True, text=True)
    if done.returncode != 0:
        return 0, done.stderr.strip() or f"W&B did not finish within {PUSH_GRACE:g} s"
    return int(done.stdout), ""


# ---------------------------------------------------------------- the mirror process

_COMMAND = (sys.executable, "-P", "-c", "from study.tracking import mirror_process; mirror_process()")


def _environment() -> dict[str, str]:
    """For a mirror process: quiet, nothing of another W&B run's, no error reports (they go out even offline)."""
    others = ("WANDB_SERVICE", "WANDB_SWEEP_ID", "WANDB_MODE", "WANDB_DISABLED")
    ours = {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_ERROR_REPORTING": "false"}
    return {name: value for name, value in os.environ.items() if name not in others} | ours


def _request(mode: str, experiment: str, data: Data, folder: Path, project: str | None, **own: Any) -> JSON:
    """The first line to a mirror process: the arguments of wandb.init, and how much of metrics.jsonl is to be read.

    The group is what W&B shows together: the runs of one experiment on one data set, at one size and side.
    """
    metrics = folder / "metrics.jsonl"
    size = f"-{data.train_size}-images" if data.train_size is not None else ""
    return {
        "mode": mode,
        "group": f"{experiment}-{data.slug}{size}-{data.image_size}px",
        "project": project or os.environ.get("WANDB_PROJECT") or "study",
        "dir": str(folder.resolve()),
        "bytes": metrics.stat().st_size if metrics.exists() else 0,
        **own,
    }


def _of_run(mode: str, run: Run, experiment: str, folder: Path, project: str | None) -> JSON:
    return _request(
        mode, experiment, run.data, folder, project,
        id=run.id,
        name=f"{run.label}-{run.seed}",
        job_type="train" if run.start is None else "probe" if run.training.freeze else "fine-tune",
        tags=[tag[:LONGEST_TAG] for tag in dict.fromkeys((run.label, run.data.name, experiment))],
        config=run.model_dump(mode="json"),
    )  # fmt: skip


GROUPS = {
    "running_loss": "train/running_loss",
    "lr": "train/lr",
    "epoch": "progress/epoch",
    "samples": "progress/samples",
    "steps": "progress/steps",
    "seconds": "speed/seconds",
    "images_per_second": "speed/images_per_second",
    "best_test_accuracy": "test/best_accuracy",
    "parameters": "cost/parameters",
    "macs": "cost/macs",
    "activation_bytes": "cost/activation_bytes",
}


def wandb_names(row: JSON) -> JSON:
    """A row, or a result, under W&B's names: flat, in groups by which W&B arranges its panels.

    >>> wandb_names({"step": 31, "test_accuracy": 0.5, "lr": 0.001, "environment": {"torch": "2.6"}})
    {'step': 31, 'test/accuracy': 0.5, 'train/lr': 0.001, 'environment/torch': '2.6'}
    """
    named: JSON = {}
    for key, value in row.items():
        group, _, rest = key.partition("_")
        if isinstance(value, dict):
            named |= {f"{key}/{inner}": item for inner, item in value.items()}
        elif group in ("test", "probe") and rest:
            named[f"{group}/{rest}"] = value
        else:
            named[GROUPS.get(key, key)] = value
    return named


def mirror_process() -> None:
    """Main of a mirror process: a request, rows, perhaps a result come as JSON lines; prints how many rows were new."""
    log = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # W&B's own lines are in its debug logs
    messages: Iterator[JSON] = map(json.loads, sys.stdin)
    request = next(messages)
    try:
        print(_record(request, messages), flush=True)
    except BaseException as error:
        print(_warning(request["id"], f"{type(error).__name__}: {error}"), file=log, flush=True)
        os._exit(FAILED)  # past W&B's exit hooks, which would wait for what has just failed


def _record(request: JSON, messages: Iterator[JSON]) -> int:
    """Write one W&B run until the messages end; the number of rows that W&B did not have yet."""
    import wandb

    grace, size, folder = request.pop("grace"), request.pop("bytes"), Path(request["dir"])
    files: dict[str, str] = request.pop("artifact", {})
    earlier = list(folder.glob(f"wandb/*run-*-{request['id']}"))
    # the result says what the machine was, and nothing is sampled beside the training
    settings = wandb.Settings(disable_git=True, x_disable_machine_info=True, x_disable_stats=True, symlink=False)
    run = wandb.init(**request, resume="allow", settings=settings)
    for directory in earlier:
        shutil.rmtree(directory)

    lines = (folder / "metrics.jsonl").read_bytes()[:size].splitlines() if size else []
    rows, result = 0, None
    for message in chain(({"row": json.loads(line)} for line in lines), messages):
        result = message.get("result")
        if "row" in message and message["row"]["step"] >= run.starting_step:
            run.log(wandb_names(message["row"]), step=message["row"]["step"], commit=True)
            rows += 1

    deadline = threading.Timer(grace, os._exit, (1,))  # if the run was killed, nobody else ends this process
    deadline.daemon = True
    deadline.start()
    told = ("id", "label", "seed", "run", "final", "checksums")
    run.summary.update(wandb_names({key: value for key, value in (result or {}).items() if key not in told}))
    if files:
        artifact = wandb.Artifact(request["name"], type="report")
        for name, path in files.items():
            artifact.add_file(path, name=name)
        run.log_artifact(artifact)
    run.finish(exit_code=1 if result is None and not files else 0)
    return rows
