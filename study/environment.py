"""Where a result is made: versions, machine, code, cores. Recorded beside every result, never part of its identity."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from study import __version__

NAME = "conv-attention-study"  # of the distribution
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of mallopt, in glibc's malloc.h
LIBRARIES = ("torch", "numpy", "pandas", "scipy", "pydantic", "einops", "timm")


@lru_cache
def environment(device: str = "cpu") -> dict[str, str | int]:
    """Names and versions, as a flat dict that JSON can hold."""
    import torch

    found: dict[str, str | int] = {
        "study": __version__,
        "code": code_version(),
        "host": platform.node(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
    }
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    return found


def now() -> str:
    """The moment as records have it: in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def usable_cores() -> int:
    """Cores that this process may use, by its affinity and by the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return math.ceil(min(cores, quota()))


def quota(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Cores' worth of processor time that Linux's control groups (v2) grant this process; infinite without a limit."""
    least = math.inf
    with suppress(OSError):
        group = groups / own.read_text().rpartition("0::/")[2].strip()
        for each in (group, *group.parents[: len(group.parts) - len(groups.parts)]):
            with suppress(OSError, ValueError):  # the topmost has no limit; "max" is none
                granted, period = map(int, (each / "cpu.max").read_text().split())
                least = min(least, granted / period)
    return least


def use_one_core() -> None:
    """Compute with one thread in this process, and keep the memory that it frees; to be called before it takes any.

    So a run's numbers do not depend on how many run beside it. Linux's C library (glibc) returns large blocks to the
    system and fetches them again at every step: up to 1.7 times slower in training, 2.9 in evaluation. Others have no
    `mallopt`.
    """
    import torch

    torch.set_num_threads(1)
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 2**26)):
            mallopt(option, value)


def install(extra: str) -> str:
    """The command that installs an extra: of a checkout, or of the distribution (the import's name is another's)."""
    here = Path(__file__).parents[1]
    return f"pip install -e '.[{extra}]'" if (here / "pyproject.toml").exists() else f"pip install '{NAME}[{extra}]'"


def code_version() -> str:
    """The git commit of this code, with `+changes` if the tree differs from it; "released" outside a checkout."""
    folder = Path(__file__).parent
    if not (folder.parent / ".git").exists():
        return "released"
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if _git(folder, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def same_code(recorded: str) -> bool:
    """Whether the package is as it was at a recorded version: commits that leave it alone do not count."""
    present, folder = code_version(), Path(__file__).parent
    if "+changes" in recorded + present or recorded == present or not (folder.parent / ".git").exists():
        return recorded == present
    try:
        _git(folder, "diff", "--quiet", recorded, present, "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return False  # it differs, or this checkout does not know that commit
    return True


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
