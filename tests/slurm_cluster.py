"""SLURM itself, on this machine: a controller and two nodes, everything in one folder, each process ended by its id.

The nodes are called n1 and n2 and have two cores each. Jobs of the partition `high` preempt those of `main`.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
AuthInfo=socket={at}/munge/socket,cred_expire=5
SlurmctldPort={ports[0]}
StateSaveLocation={at}/state
SlurmdSpoolDir={at}/spool-%n
SlurmctldPidFile={at}/slurmctld.pid
SlurmdPidFile={at}/slurmd-%n.pid
SlurmctldLogFile={at}/log/slurmctld.log
SlurmdLogFile={at}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=60
SlurmdTimeout=30
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MaxArraySize=2
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=2 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=high Nodes=ALL PriorityTier=10
"""


def missing() -> str:
    """What has to be installed; empty if all is here."""
    absent = [program for program in PROGRAMS if _find(program) is None]
    return f"SLURM is not installed ({', '.join(absent)}): apt-get install slurmctld slurmd munge slurm-client" * bool(
        absent
    )


class Cluster:
    def __init__(self, folder: Path):
        self.at = folder
        folder.chmod(0o755)  # munged wants the way to its socket open to everybody
        for name in ("munge", "state", "log", "spool-n1", "spool-n2"):
            (folder / name).mkdir()
            (folder / name).chmod(0o755)  # whatever the umask
        key = folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(at=folder, host=platform.node().split(".")[0], user=_user(), ports=_free_ports())
        )
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        try:
            self.start()
        except BaseException:
            self.end()
            raise

    def start(self) -> None:
        munge = self.at / "munge"
        files = [f"--{what}={munge / what.split('-')[0]}" for what in ("key-file", "socket", "pid-file", "log-file")]
        self._run("munged", *files, f"--seed-file={munge / 'seed'}", "--num-threads=1")
        self.start_controller()
        for node in ("n1", "n2"):
            self.start_node(node)
        wait(lambda: self.nodes() == {"n1": "idle", "n2": "idle"}, 120, self.nodes)

    def start_controller(self) -> None:
        self._run("slurmctld")
        ping = ["scontrol", "ping"]
        wait(lambda: b"is UP" in subprocess.run(ping, env=self.environment, capture_output=True).stdout, 120)
        wait((self.at / "slurmctld.pid").exists, 60)

    def start_node(self, node: str) -> None:
        self._run("slurmd", "-N", node)

    def stop_controller(self) -> None:
        _end(self.at / "slurmctld.pid", signal.SIGTERM)

    def kill_node(self, node: str) -> None:
        """What a power cut leaves of a node: nothing."""
        (self.at / f"slurmd-{node}.pid").unlink(missing_ok=True)
        for pid in self.processes(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self, node: str) -> list[int]:
        """Ids of a node's daemon, of its steps' daemons and of all that they started."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes().split(b"\0")
                if command[0].startswith(b"slurmstepd"):  # it has written its title over its environment
                    logs = {os.readlink(file) for file in (folder / "fd").iterdir()}
                    mine = f"{self.at}/log/{node}.log" in logs
                else:
                    variables = (folder / "environ").read_bytes().split(b"\0")
                    daemon = command[0].endswith(b"slurmd") and command[2] == node.encode()
                    mine = f"SLURM_CONF={self.at}/slurm.conf".encode() in variables and (
                        daemon or f"SLURMD_NODENAME={node}".encode() in variables
                    )
                if mine:
                    found.append(int(folder.name))
        return found

    def nodes(self) -> dict[str, str]:
        return dict(line.split() for line in self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t").splitlines())

    def jobs(self) -> dict[str, str]:
        """States of the jobs in the queue, by id."""
        return dict(line.split() for line in self.ask("squeue", "-h", "-r", "-o", "%i %T").splitlines())

    def ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def end(self) -> None:
        _end(self.at / "slurmctld.pid", signal.SIGTERM)
        for node in ("n1", "n2"):
            self.kill_node(node)
        _end(self.at / "munge" / "pid", signal.SIGTERM)

    def _run(self, program: str, *arguments: str) -> None:
        command = [_find(program) or program, *arguments]
        log = self.at / "log" / f"{program}.start"
        with log.open("ab") as file:  # a pipe would stay open in the daemon
            done = subprocess.run(command, env=self.environment, stdout=file, stderr=file, timeout=60, check=False)
        assert done.returncode == 0, log.read_text()


def wait(condition: Callable[[], object], seconds: float, describe: Callable[[], object] = lambda: "") -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} seconds: {describe()}"
        time.sleep(0.1)


def _end(path: Path, number: int) -> None:
    """End the process in a pid file, and see it go."""
    try:
        pid = int(path.read_text())
        os.kill(pid, number)
    except (OSError, ValueError):
        return
    with suppress(AssertionError):
        wait(lambda: not Path(f"/proc/{pid}").exists(), 60)


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _user() -> str:
    import getpass

    return getpass.getuser()


def _free_ports() -> list[int]:
    """Three ports that nobody listens on, the last two in a row; below those that the system gives to connections."""
    while True:
        first = 20000 + secrets.randbelow(12000)
        try:
            for port in range(first, first + 3):
                with socket.socket() as place:
                    place.bind(("", port))
        except OSError:
            continue
        return [first, first + 1, first + 2]
