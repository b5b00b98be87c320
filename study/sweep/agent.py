"""The process that trains: `python -P -m study.sweep.agent ORDER` takes runs from results folders until none is left.

It imports torch, opens the device and loads the data once. What it says goes to the log of the run that is at work,
its progress into the run's heartbeat, so that nothing of it depends on who started it. How it leaves: its exit status,
in study/sweep/executors/__init__.py.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.config import Data, Run
from study.environment import environment, use_one_core
from study.errors import Gone, StudyError
from study.files import remove_temporaries
from study.sweep import attempts
from study.sweep.attempts import BEAT, Fenced, Hold, Watch
from study.sweep.executors import BROKEN, FINISHED, FULL, STOPPED, WORN, Order, stale
from study.sweep.store import DONE, OVER, Store

if TYPE_CHECKING:
    from study.data import Dataset

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
TOLD = 30  # lines of a failed run's log that its record has
LOOK_AGAIN = 0.5  # seconds between two looks for a run to take


class Agent:
    """Takes runs and trains them, one after another."""

    def __init__(self, order: Order, stop: threading.Event):
        self.order, self.stop = order, stop
        self.stores = [Store(Path(folder)) for folder in order.folders]
        self.watch = Watch(order.patience)
        self.skip = set(order.skip)  # and what is done: a run that is done stays so
        self.hold: Hold | None = None
        self.loaded: tuple[Data, Dataset] | None = None
        threading.Thread(target=self._beat, daemon=True).start()

    def work(self) -> int:
        """The exit status."""
        self.code = str(environment(self.order.device)["code"])  # now: the checkout may move on under a long sweep
        while not self.stop.is_set():
            taken, waits = self._take()
            if taken is not None:
                if (status := self._attempt(*taken)) != FINISHED:
                    return status
            elif not waits:
                return FINISHED
            else:
                self.stop.wait(LOOK_AGAIN)
        return STOPPED

    def _take(self) -> tuple[tuple[Store, Run, Hold] | None, bool]:
        """The first free run, held by us from now on; and whether to look again, since a holder may be gone."""
        waits = False
        for store in self.stores:
            for run in store.runs():
                if self.stop.is_set():
                    return None, True
                if run.id in self.skip:
                    continue
                if (state := store.state(run.id)) in DONE:
                    self.skip.add(run.id)
                if state in OVER:
                    continue
                folder = store.path(run.id)
                if (hold := attempts.take(folder, self.watch, self.order.agent, self.code)) is not None:
                    return (store, run, hold), False
                waits |= not self.watch.sure(folder)
        return None, waits

    def _attempt(self, store: Store, run: Run, hold: Hold) -> int:
        """Train a run that we hold. The exit status with which to leave, FINISHED to go on."""
        folder = hold.folder
        how, self.hold = "stopped", hold
        try:
            with _output_to(folder / "log.txt"):
                how = self._train(store, run, hold)
        except Fenced as why:
            print(f"{why}: it was left without writing", file=sys.stderr, flush=True)
        except Gone as why:
            return _broken(str(why))
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                return FULL
            how = "failed"
            words = str(error) if isinstance(error, StudyError) else traceback.format_exc()
            try:
                self._fail(folder, words)
            except OSError as why:
                return FULL if why.errno in NO_ROOM else _broken(f"{folder} cannot be written to: {why}")
            if not isinstance(error, StudyError):
                return WORN
        finally:
            self.hold = None
            hold.end(how)
            gc.collect()  # a network holds circles
        return STOPPED if self.stop.is_set() else FINISHED

    def _train(self, store: Store, run: Run, hold: Hold) -> str:
        """How it ended."""
        from study.tracking import Mirror, open_mirror
        from study.training.loop import train

        folder = hold.folder
        if store.state(run.id) in DONE:  # by somebody who was quicker
            return "done"
        if (step := attempts.killed_in_place(folder, hold.number)) is not None:
            where = f"at step {step}" if step >= 0 else "before its first step"
            raise StudyError(f"killed {attempts.KILLS} times {where}: --retry-failed tries it again")
        self._announce(folder, hold)
        remove_temporaries(folder)
        store.clear(run.id)
        mirrors: list[Mirror] = []
        result = None

        def mirror_row(row: dict[str, Any]) -> None:
            if mirrors:
                mirrors[0].log(row)
            else:  # opened with the first row, when the file is past what a resume cuts off; it sends what is there
                mirrors.append(open_mirror(self.order.wandb, run, store.experiment.name, folder))

        try:
            result = train(
                run,
                folder,
                device=self.order.device,
                data=self._data(run.data),
                should_stop=self.stop.is_set,
                on_step=hold.at,
                on_progress=lambda live: setattr(hold, "live", live),
                on_row=mirror_row,
                before_write=hold.check,
            )
        finally:
            for mirror in mirrors:
                mirror.finish(result)
            if run.training.compile:
                import torch

                torch._dynamo.reset()  # else its limits count the networks of earlier runs
        return "stopped" if result is None else "done"

    def _announce(self, folder: Path, hold: Hold) -> None:
        """Say in the log what differs from the attempt before."""
        before = [number for number in attempts.numbers(folder) if number < hold.number]
        if before:
            last = attempts.read(folder, before[-1])
            if last.code != self.code:
                print(f"the code changed from {last.code} to {self.code} since attempt {last.number}", file=sys.stderr)

    def _data(self, data: Data) -> Dataset:
        """The data set of a run: the one at hand, if it is that."""
        from study.data import load

        if self.loaded is None or self.loaded[0] != data:
            self.loaded = None  # not two at a time
            self.loaded = data, load(data, Path(self.order.data_dir) if self.order.data_dir else None)
        return self.loaded[1]

    def _fail(self, folder: Path, words: str) -> None:
        with (folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(words.rstrip() + "\n")
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        attempts.fail(folder, "\n".join(lines[-TOLD:]))

    def _beat(self) -> None:
        """The heart: also while a step takes long, and, between runs, an ear for who asks to stop."""
        while not self.stop.is_set() or self.hold is not None:
            if (hold := self.hold) is not None:
                hold.beat()
            if stale(self.order):
                self.stop.set()
            time.sleep(BEAT)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Whatever is printed in the block, by libraries of C too, goes to the end of a file."""
    sys.stdout.flush()
    before = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield
    finally:
        sys.stdout.flush()
        for descriptor, kept in zip((1, 2), before, strict=True):
            os.dup2(kept, descriptor)
            os.close(kept)


def _broken(words: str) -> int:
    with suppress(OSError):  # the log may lie on a disk that is full, or gone
        print(words, file=sys.stderr, flush=True)
    return BROKEN


def _at_end_of_input(stop: threading.Event) -> None:
    while os.read(0, 1024):  # unbuffered: a buffered read would hold a lock that the interpreter needs to exit
        pass
    stop.set()


def main(order: Order) -> int:
    """Work until there is nothing left, or until told to leave."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: stop.set())
    if order.leash:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
        threading.Thread(target=_at_end_of_input, args=(stop,), daemon=True).start()
    else:
        signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        import torch

        if order.device == "cpu":
            use_one_core()
        torch.empty(1, device=order.device)
        return Agent(order, stop).work()
    except StudyError as error:
        return _broken(str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return FULL
        traceback.print_exc()
        return _broken(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main(Order.of(sys.argv[1])))
