"""Fixtures that several test files use, and what they find alike wherever they run."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from types import ModuleType

# Before anything reads them: colours and widths of whoever's terminal, a backend of whoever's figures, and the
# repository of a hook that runs the tests, in which those that commit would do so.
for name in (
    "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "LINES", "MPLBACKEND", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE",
    "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH",
):  # fmt: skip
    os.environ.pop(name, None)
for name in ("NO_PROXY", "no_proxy"):  # servers of this machine are not asked for elsewhere
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of this process and of those that tests start

import pytest  # noqa: E402
import torch  # noqa: E402

from study import cli  # noqa: E402
from study.environment import usable_cores  # noqa: E402
from study.models.timm_networks import import_timm  # noqa: E402

# Several test processes share the cores: more than one thread each would only be in the others' way.
torch.set_num_threads(1)

LONGEST = (
    "test_slurm", "test_sweep", "test_ray", "test_notebooks", "test_cli", "test_experiments", "test_damage",
    "test_scaling", "test_sizing", "test_report", "test_attempts", "test_published", "test_own_networks",
    "test_tracking", "test_report_browser",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _signals_are_for_pytest_again() -> Iterator[None]:
    """Who calls the command line in this process leaves it its handlers of Ctrl-C and SIGTERM."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports with a single figure, where figures are not what is tested: they take most of the time."""
    monkeypatch.setattr("study.report.sections.FIGURES_SHOWN", ("accuracy_at_loss",))


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    """The timm package, an independent implementation of the published networks."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    return import_timm()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto`: tests of clusters mostly wait, so that there are two processes more than cores.

    At most ten, each a gigabyte: they would not end sooner, and a container has few of the many cores that it sees.
    """
    return min(usable_cores(), 8) + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; with `-n auto` each is run by one process, which shares its clusters and sweeps."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


class Answer:
    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The command line in this process: `study("sweep", "--dry-run")`."""

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["study", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 0
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call
