"""Where a process begins. While it imports, which nothing is lost by, Ctrl-C and SIGTERM end it at
once.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

STATUSES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SAID = {130: "interrupted", 143: "terminated"}


def main(*tool: str) -> NoReturn:
    """`spiking-yolo VERB ...`. tool: of a file of tools/, its verb, and what goes before what is
    typed.
    """
    end_at_once()
    from spiking_yolo.cli.main import run

    status = run(*tool)
    end_at_once()
    sys.exit(status)


def end_at_once() -> None:
    """Let no library see the signals: some lose them, and some print where they were."""
    handle_signals(end)


def handle_signals(handler: Callable[[int, FrameType | None], NoReturn]) -> None:
    """Call the handler at Ctrl-C and SIGTERM, unless they are ignored, as behind nohup."""
    for number in STATUSES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def end(number: int, _: FrameType | None = None) -> NoReturn:
    """Say what happened, and leave without cleaning up."""
    status = STATUSES[signal.Signals(number)]
    os.write(2, f"{SAID[status]}\n".encode())
    os._exit(status)
