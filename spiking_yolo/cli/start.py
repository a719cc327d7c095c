"""Where a process begins. While it imports, which nothing is lost by, Ctrl-C and SIGTERM end it at once."""

import os
import signal
import sys
from typing import NoReturn

STATUSES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SAID = {130: "interrupted", 143: "terminated"}


def main() -> NoReturn:
    """`spiking-yolo VERB ...`."""
    end_at_once()
    from spiking_yolo.cli.main import main

    _leave(main())


def tool(verb: str, *preset: str) -> NoReturn:
    """A file of tools/: the verb, with `preset` before what is typed."""
    end_at_once()
    from spiking_yolo.cli.main import tool

    _leave(tool(verb, *preset))


def end_at_once() -> None:
    """Let no library see the signals: some lose them, and some print where they were."""
    for number in STATUSES:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as behind nohup
            signal.signal(number, _end)


def _end(number: int, _: object) -> NoReturn:
    status = STATUSES[signal.Signals(number)]
    os.write(2, f"{SAID[status]}\n".encode())
    os._exit(status)


def _leave(status: int) -> NoReturn:
    end_at_once()
    sys.exit(status)
