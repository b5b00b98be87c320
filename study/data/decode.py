"""Encoded images into rows of a file: by several processes, in order, and continued where a kill came between.

The processes are given blocks of files over a pipe and write pixels into the array's file themselves. Each finished
block is noted with its checksum; on resuming, a block whose pixels still have it is not decoded again.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from study.data.arrays import Images, Levels, count_levels
from study.data.pictures import UnreadableImageError, read
from study.data.sources import Files
from study.environment import usable_cores
from study.errors import StudyError

Job = tuple[str, int, int, list[tuple[str, "str | bytes"]]]  # file, offset in it, side of the images, names and files
Done = tuple[int, Levels, list[str]]  # checksum of the pixels, their grey levels, what could not be read

ALONE = 600  # images that are decoded in this process before another is worth its start
NAMED = 20  # unreadable files after which no more are sought


def block_size(side: int) -> int:
    """Images in a block: about 4 MiB of pixels."""
    return min(256, max(16, 4 * 2**20 // (3 * side**2)))


def decode(job: Job) -> Done:
    """Decode a block, write its pixels at an offset of a file, and say what they are."""
    path, offset, side, items = job
    images = np.zeros((len(items), 3, side, side), np.uint8)
    unreadable = []
    for number, (name, file) in enumerate(items):
        try:
            images[number] = read(file, side, name)
        except UnreadableImageError as error:
            unreadable.append(str(error))
    with open(path, "r+b", buffering=0) as out:
        left = memoryview(images.tobytes())
        while left:
            written = os.pwrite(out.fileno(), left, offset)
            left, offset = left[written:], offset + written
    return zlib.crc32(images.data), count_levels(images), unreadable


def decoded(files: Files, path: Path, offset: int, side: int, title: str) -> Iterator[tuple[Images, Levels]]:
    """Decode all files into `path` from `offset` on; each block's pixels and grey levels, in order, once on disk.

    Raises StudyError that names files which are no readable images: all of them, up to NAMED.
    """
    size, image_bytes = block_size(side), 3 * side**2
    notes = Path(f"{path}.blocks")
    finished = dict(_notes(notes))
    blocks = [(first, min(first + size, files.count)) for first in range(0, files.count, size)]
    missing = sum(last - first for first, last in blocks if first not in finished)
    processes = min(usable_cores(), missing // ALONE)
    unreadable: list[str] = []
    with ExitStack() as stack:
        note = stack.enter_context(notes.open("a"))
        pixels = stack.enter_context(path.open("rb", buffering=0))  # a buffer would hold what was there before
        bar = stack.enter_context(tqdm(total=files.count, desc=title, unit="images", disable=None, leave=False))
        submit = stack.enter_context(Pool(processes)).submit
        ahead: deque[Future[Done] | None] = deque()
        todo = iter(blocks)

        def job(first: int, last: int) -> Job:
            return str(path), offset + first * image_bytes, side, files.items(first, last)

        def stored(first: int, last: int) -> bytes:
            pixels.seek(offset + first * image_bytes)
            return pixels.read((last - first) * image_bytes)

        for first, last in blocks:
            while len(ahead) < processes + 2 and (block := next(todo, None)) is not None:
                ahead.append(None if block[0] in finished else submit(job(*block)))
            future = ahead.popleft()
            block_bytes = stored(first, last) if future is None else b""
            levels = None
            if future or zlib.crc32(block_bytes) != finished[first]:  # the latter: lost with the power, or damaged
                checksum, levels, bad = future.result() if future else decode(job(first, last))
                unreadable += bad
                block_bytes = stored(first, last)
            bar.update(last - first)
            if len(unreadable) >= NAMED:
                break
            images = np.frombuffer(block_bytes, np.uint8).reshape(-1, 3, side, side)
            if levels is None:
                levels = count_levels(images)
            elif not unreadable:
                note.write(f"{first} {checksum}\n")
                note.flush()
            if not unreadable:
                yield images, levels
    if len(unreadable) == 1:
        raise UnreadableImageError(unreadable[0])
    if unreadable:
        more = "or more " if len(unreadable) >= NAMED else ""
        raise UnreadableImageError(f"{len(unreadable)} {more}files cannot be read: " + "; ".join(unreadable[:5]))


def _notes(path: Path) -> Iterator[tuple[int, int]]:
    for line in path.read_text().splitlines() if path.exists() else ():
        first, _, checksum = line.partition(" ")
        if first.isdigit() and checksum.isdigit():  # the last line may be cut; its block then fails its checksum
            yield int(first), int(checksum)


# ---------------------------------------------------------------- processes


class Pool:
    """Decodes blocks in so many processes; in a thread of this one if there are none."""

    def __init__(self, processes: int):
        self.threads = ThreadPoolExecutor(max(1, processes))
        self.processes = [_start() for _ in range(processes)]
        self.idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for process in self.processes:
            self.idle.put(process)

    def submit(self, job: Job) -> Future[Done]:
        work: Callable[[Job], Done] = self._send if self.processes else decode
        return self.threads.submit(work, job)

    def _send(self, job: Job) -> Done:
        process = self.idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(job, process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError):
            first, last = job[3][0][0], job[3][-1][0]
            raise StudyError(
                f"the process that decoded {first} to {last} ended (exit code {process.wait()}): out of memory, or one "
                "of these files is damaged"
            ) from None
        finally:
            self.idle.put(process)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: Any) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        for process in self.processes:
            process.kill()
        self.threads.shutdown()
        for process in self.processes:
            process.communicate()


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", "from study.data.decode import serve; serve()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def serve() -> None:
    """What a decoding process does: answer jobs until its parent closes the pipe, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
            try:
                answer: Done | OSError = decode(job)
            except OSError as error:
                answer = error
            pickle.dump(answer, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except (EOFError, BrokenPipeError):
            os._exit(0)
