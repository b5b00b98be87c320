"""The process of one run: `python -m study.sweep.worker JSON`, started by `study.sweep.local`.

It writes its progress to standard output, a JSON line each, and everything else to its log (standard error). When its
standard input ends, it checkpoints and leaves: so it does when it is asked to, and when its parent dies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

DONE, FAILED, STOPPED, BUSY = 0, 1, 3, 4  # exit codes


def main(order: dict[str, Any]) -> int:
    """Train the run whose folder `order` names. Keys: folder, device, data_dir, wandb, experiment."""
    progress = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to the log

    stop = threading.Event()
    threading.Thread(target=_at_end_of_input, args=(stop.set,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle

    import torch

    from study.config import Run, parse_model
    from study.sweep.store import locked
    from study.tracking import Mirror, open_mirror
    from study.training.loop import train

    folder = Path(order["folder"])
    if order["device"] == "cpu":
        torch.set_num_threads(1)  # a run's numbers must not depend on how many run beside it
    with locked(folder) as held:
        if not held:
            return BUSY
        if (folder / "result.json").exists():
            return DONE
        (folder / "failed.json").unlink(missing_ok=True)
        run = parse_model(Run, (folder / "run.json").read_text(encoding="utf-8"))
        mirrors: list[Mirror] = []

        def mirror_row(row: dict[str, Any]) -> None:
            if mirrors:
                mirrors[0].log(row)
            else:  # opened with the first row, when the file is past what a resume cuts off; it sends what is there
                mirrors.append(open_mirror(order["wandb"], run, order["experiment"], folder))

        result = train(
            run,
            folder,
            device=order["device"],
            data_dir=Path(order["data_dir"]) if order["data_dir"] else None,
            should_stop=stop.is_set,
            on_progress=lambda live: print(json.dumps(live), file=progress),
            on_row=mirror_row,
        )
        for mirror in mirrors:
            mirror.finish(result)
        if result is None:
            return STOPPED
    return DONE


def _at_end_of_input(call: Callable[[], None]) -> None:
    while os.read(0, 1024):  # unbuffered: a buffered read would hold a lock that the interpreter needs to exit
        pass
    call()


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
