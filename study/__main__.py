"""The command `study`, or `python -m study`: signals are heard from its first line on, before long imports."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """As `study.cli.main`, whose handlers take over."""
    listen()
    from study.cli import main as run

    run()


def listen() -> None:
    """From now on Ctrl-C and SIGTERM are one sentence and exit code 3."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(number: int, frame: object) -> None:
    print(f"stopped by {signal.strsignal(number)}; the same command continues", file=sys.stderr)
    sys.exit(3)


if __name__ == "__main__":
    main()
