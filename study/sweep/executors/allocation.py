"""What a scheduler starts as one agent: it fills its part of a machine with processes, and leaves when they have.

    python -P -m study.sweep.executors.allocation ORDER.json NAME CPUS RUNS

The order lies in a file, and says with `leash` whether the end of the standard input means to leave. NAME stands in the
claims of all its runs. RUNS (0: one) are at work at a time on each GPU; on CPUs it is RUNS in all (0: CPUS, as far as
this process may use them), with a thread each.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from study.errors import StudyError
from study.sweep.executors import BROKEN, FINISHED, FULL, STOPPED, WORN, Order, stale
from study.sweep.executors.local import Local, slots

ASIDE = 5  # exit status: the scheduler asked it to leave, all is checkpointed, and it would go on elsewhere or later
QUICK = 60.0  # seconds: a process that dies sooner may never have begun
QUICK_DEATHS = 3  # after which none is replaced


def main(order: Order, cpus: int, runs: int, asked: list[int]) -> int:
    """The exit status. A signal number in `asked` means: checkpoint and leave."""
    places = slots(order.device, runs or None)
    if not runs and places[0].device == "cpu":
        places = places[: cpus or None]
    local, born, quick = Local(places), dict[str, float](), 0
    local.start(order, local.agents)
    statuses = set()
    while alive := local.alive():
        now = time.monotonic()
        born = {name: born.get(name, now) for name in alive}
        if order.leash and not asked and _input_ended():
            asked.append(0)
        if asked:
            local.stop()
        for ended in local.ended():
            lost = ended.status not in (FINISHED, STOPPED, FULL, BROKEN)
            if ended.status != FINISHED:
                print(f"{ended.agent} left with {ended.status}: {ended.words}", file=sys.stderr, flush=True)
            quick += lost and now - born[ended.agent] < QUICK
            if lost and quick < QUICK_DEATHS and not asked:
                local.start(order, 1)
            else:
                statuses.add(WORN if lost else ended.status)
        time.sleep(0.2)
    if asked and statuses != {FINISHED}:
        return STOPPED if stale(order) else ASIDE
    return next((status for status in (FULL, BROKEN, STOPPED, WORN) if status in statuses), FINISHED)


def _input_ended() -> bool:
    """Whether whoever started this process has died, or let it go."""
    return bool(select.select([0], [], [], 0)[0]) and not os.read(0, 1024)


if __name__ == "__main__":
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, lambda number, frame: asked.append(number))
    try:
        path, name, cpus, runs = sys.argv[1:]
        order = replace(Order.of(Path(path).read_text()), agent=name)
        status = main(order, int(cpus), int(runs), asked)
    except (StudyError, OSError) as error:
        print(error, file=sys.stderr, flush=True)
        status = BROKEN
    sys.exit(status)
