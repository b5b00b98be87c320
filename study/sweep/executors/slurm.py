"""Agents as jobs of SLURM: arrays of them, by plain sbatch, squeue, scontrol and scancel, without accounting.

In the first results folder, `agents/` gets for each submission

    study-FOLDER-TOKEN.json       the order that its agents read
    study-FOLDER-TOKEN.sh         the batch script
    study-FOLDER-TOKEN.ID.log     what a job said; an agent is called `slurm-ID`
    study-FOLDER-TOKEN.stop       made when the sweep ends them: none is put in the queue again

FOLDER is a hash of the folder's path, so that the same command finds its jobs again by their name, and no others.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from study.errors import StudyError, last_line
from study.files import write_text
from study.sweep.executors import FINISHED, LOST, STOPPED, Ended, Order, lasting, stale
from study.sweep.executors.allocation import ASIDE

LOOK = 5.0  # seconds between two looks at the queue: the controller serves everybody
PAUSE = 30.0  # seconds after which a refused submission is tried again
SILENCE = 600.0  # seconds without an answer of the controller after which the sweep ends, and its jobs go on
SILENT = ("Unable to contact slurm controller", "Socket timed out", "Connection refused", "Zero Bytes were transmitted")

OURS = ("array", "chdir", "clusters", "error", "job-name", "nodes", "ntasks", "open-mode", "output", "requeue")
SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={job}
#SBATCH --output={log}
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=1
#SBATCH --ntasks=1
{options}
# One agent of `study sweep --on slurm`. Signals are for the step: it checkpoints its runs and leaves, and the job is
# put in the queue again, unless it was cancelled (then it is no longer RUNNING) or its sweep has ended. It is called
# by its place in the array: the array's own id, which is also the id of one of its jobs, would mean all of them.
trap '' TERM USR1
stop={stop}
[ -e "$stop" ] && exit {stopped}
id=${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}
cpus=${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-0}}}}
srun --ntasks=1 ${{SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}} \\
    {python} -P -m study.sweep.executors.allocation {order} "slurm-$id" "$cpus" {runs}
code=$?
case $code in
{aside} | 138 | 143) # 128 + USR1 or TERM: they came before it could listen
    if [ ! -e "$stop" ] && scontrol show job "$id" | grep -q JobState=RUNNING; then
        scontrol requeue "$id"
    fi
    exit {stopped}
    ;;
esac
exit $code
"""


class Silent(StudyError):
    """The controller does not answer."""


class Slurm:
    """Agents as jobs, one in each. They stay at work when the sweep is left, and the same command finds them again."""

    name, detached = "slurm", True
    look = LOOK

    def __init__(self, agents: int, device: str, options: Mapping[str, str], runs: int):
        self.agents, self.device, self.options, self.runs = agents, device, dict(options), runs
        self.jobs: dict[str, str] = {}  # of the agents that have not ended: the id of the job, and its name
        self.over: list[Ended] = []
        self.looked, self.heard, self.again = float("-inf"), time.monotonic(), float("-inf")

    def attach(self, order: Order) -> None:
        self.order = lasting(order, self.device)
        folder = next(iter(self.order.folders))
        self.folder = Path(folder) / "agents"
        self.prefix = f"study-{hashlib.sha256(folder.encode()).hexdigest()[:10]}-"
        self.jobs, self.over = {}, []
        for job_id, name in self._queue().items():
            path = self.folder / f"{name}.json"
            if not path.exists() or stale(Order.of(path.read_text())):
                _slurm("scancel", "--state=PENDING", job_id)  # it would leave as it starts
            else:
                self.jobs[job_id] = name
        self.looked = self.heard = time.monotonic()

    def start(self, order: Order, count: int) -> None:
        if time.monotonic() < self.again:
            return
        name = self.prefix + uuid.uuid4().hex[:8]
        try:
            limit = self._array_limit()
            write_text(self.folder / f"{name}.json", self.order.json())
            write_text(self.folder / f"{name}.sh", self._script(name, limit > 1))
            while count > 0:
                size = max(1, min(count, limit))
                array = [f"--array=0-{size - 1}"] if limit > 1 else []
                job_id = _slurm("sbatch", "--parsable", *array, str(self.folder / f"{name}.sh")).split(";")[0].strip()
                self.jobs |= {f"{job_id}_{task}": name for task in range(size)} if array else {job_id: name}
                count -= size
        except Silent:
            self.again = time.monotonic() + PAUSE
        except StudyError:
            if not self.jobs:
                raise
            self.again = time.monotonic() + PAUSE  # a limit on the jobs of a user: fewer agents are at work

    def alive(self) -> set[str]:
        self._look()
        return {f"slurm-{job_id}" for job_id in self.jobs}

    def ended(self) -> list[Ended]:
        self._look()
        found, self.over = self.over, []
        return found

    def stop(self) -> None:
        self._end("--signal=TERM", "--state=RUNNING")
        self.release()

    def release(self) -> None:
        if self.jobs:
            with suppress(Silent):  # then they leave as they start
                _slurm("scancel", f"--name={','.join(set(self.jobs.values()))}", "--state=PENDING")

    def kill(self) -> None:
        self._end()

    def _end(self, *how: str) -> None:
        for name in set(self.jobs.values()):
            (self.folder / f"{name}.stop").touch()
        if self.jobs:
            _slurm("scancel", f"--name={','.join(set(self.jobs.values()))}", *how)

    def _look(self) -> None:
        """See now and then which jobs are still in the queue. A controller that is silent for a while is waited for."""
        now = time.monotonic()
        if now - self.looked < self.look:
            return
        self.looked = now
        try:
            here = self._queue()
            for job_id in [job_id for job_id in self.jobs if job_id not in here]:
                self.over.append(self._how(job_id))
                del self.jobs[job_id]
            self.heard = now
        except Silent as why:
            if now - self.heard > SILENCE:
                raise StudyError(f"{why}; the jobs go on, and the same command shows them again") from None

    def _queue(self) -> dict[str, str]:
        """Ids and names of all jobs of this folder that are in the queue, running ones included."""
        text = _slurm("squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i|%j")
        jobs = [line.strip().split("|", 1) for line in text.splitlines()]
        return {job_id: name for job_id, name in jobs if name.startswith(self.prefix)}

    def _how(self, job_id: str) -> Ended:
        """How a job ended that is no longer in the queue; the controller knows for some minutes."""
        agent, path = f"slurm-{job_id}", self.folder / f"{self.jobs[job_id]}.{job_id}.log"
        words = last_line(path.read_text(encoding="utf-8", errors="replace") if path.exists() else "")
        try:
            told = dict(re.findall(r"\b(JobState|ExitCode)=(\S+)", _slurm("scontrol", "show", "job", job_id)))
        except Silent:
            raise
        except StudyError:
            return Ended(agent, FINISHED, words)  # it is long gone; if a run is free, another agent is started
        state, code = told.get("JobState", ""), told.get("ExitCode", "0:0").split(":")[0]
        if state in ("COMPLETED", "FAILED"):
            return Ended(agent, LOST if int(code) > 128 else int(code), words)
        if state == "CANCELLED":
            return Ended(agent, STOPPED, words)
        return Ended(agent, LOST, f"{state}: {words}")  # NODE_FAIL, TIMEOUT, OUT_OF_MEMORY, PREEMPTED

    def _array_limit(self) -> int:
        """How many jobs this site lets into an array; 1 if it has none."""
        told = dict(re.findall(r"^(MaxArraySize|MaxJobCount)\s*=\s*(\d+)", _slurm("scontrol", "show", "config"), re.M))
        return max(1, min(int(told.get("MaxArraySize", 1)), int(told.get("MaxJobCount", 1000))))

    def _script(self, name: str, array: bool) -> str:
        place = str(self.folder / name)
        given = {"signal": "TERM@120", **self.options}
        options = "\n".join(f"#SBATCH --{key}" + f"={shlex.quote(text)}" * bool(text) for key, text in given.items())
        return SCRIPT.format(
            job=name,
            log=shlex.quote(place.replace("%", "%%") + (".%A_%a.log" if array else ".%j.log")),
            options=options,
            stop=shlex.quote(f"{place}.stop"),
            order=shlex.quote(f"{place}.json"),
            python=shlex.quote(sys.executable),
            runs=self.runs,
            stopped=STOPPED,
            aside=ASIDE,
        )


def _slurm(*command: str) -> str:
    """What a command of SLURM prints. Raises StudyError with what it complains of, Silent if nobody answers it."""
    try:  # in a session of its own: Ctrl-C is for the sweep
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, start_new_session=True)
    except subprocess.TimeoutExpired:
        raise Silent(f"{command[0]}: no answer within 60 seconds") from None
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        if any(text in words for text in SILENT):
            raise Silent(f"SLURM does not answer: {words}")
        raise StudyError(f"SLURM refused: {words}")
    return done.stdout


def make(*, device: str, agents: int | None, settings: Mapping[str, str], address: str | None) -> Slurm:
    """What `--on slurm` gives. `settings` are options of sbatch, and `runs`, the number of runs at a time.

    Raises StudyError if SLURM is not here, for settings that cannot be chosen, and if nobody says how many agents.
    """
    if shutil.which("sbatch") is None:
        raise StudyError("--on slurm: there is no sbatch here; give the command on a machine that submits jobs")
    if address is not None:
        raise StudyError("--address is for --on ray; SLURM's commands know their controller")
    if agents is None:
        raise StudyError("--on slurm needs --agents N, the number of jobs to have in the queue")
    options = {key.strip().lstrip("-").replace("_", "-"): value.strip() for key, value in settings.items()}
    runs = options.pop("runs", "0")
    if not runs.isdigit():
        raise StudyError(f"--slurm runs={runs}: a number of runs at a time, per GPU or in all on CPUs")
    for key, value in options.items():
        if key in OURS or not re.fullmatch("[a-z][a-z-]+", key) or "\n" in value:
            raise StudyError(f"--slurm {key}={value}: not an option that can be chosen ({', '.join(OURS)} cannot)")
        if key == "signal" and not re.fullmatch(r"(SIG)?(TERM|USR1)@\d+", value):
            raise StudyError(f"--slurm signal={value}: agents checkpoint at TERM@SECONDS or USR1@SECONDS")
    gpus = any(key.startswith("gpu") or (key == "gres" and "gpu" in value) for key, value in options.items())
    if device == "auto" and gpus:
        device = "cuda"  # where the GPU cannot be used, the agent must say so and not train on CPUs
    return Slurm(agents, device, options, int(runs))
