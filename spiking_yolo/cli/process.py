"""The process around a command: exit statuses, errors in one line, Ctrl-C and SIGTERM."""

import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.files import leave_folders
from spiking_yolo.io.names import printable


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C: half-written files are removed, finished ones stay."""


def prepare_process() -> None:
    """Let SIGTERM raise Terminated, and let any text be printed; not for calls from Python."""
    ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    if threading.current_thread() is threading.main_thread() and not ignored:
        signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def status(call: Callable[[], int | None]) -> int:
    """The exit status of a call.

    What it returns, or 0; 2 and one line on stderr for a UserError and for what the system says
    of a file, or of OpenCV's libraries; 130 after Ctrl-C, 143 after SIGTERM. Warnings are one line
    on stderr each; lines begin below any progress bar.
    """
    other_format = warnings.formatwarning
    warnings.formatwarning = _warning
    try:
        code = call() or 0
        # While an error can still be caught.
        sys.stdout.flush()
        return code
    except UserError as error:
        return _failed(2, f"error: {_one_line(error)}")
    except ImportError as error:
        # A system without libGL, for the OpenCV that opens windows.
        if error.name != "cv2":
            raise
        other = "pip install --force-reinstall opencv-python-headless"
        return _failed(2, f"error: OpenCV does not start ({_one_line(error)}): {other}")
    except Terminated:
        return _failed(143, "terminated")
    except KeyboardInterrupt:
        return _failed(130, "interrupted")
    except BrokenPipeError:
        # As in `--help | head`: nobody reads on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno is None:
            raise
        what = "" if error.filename is None else f"cannot use {_one_line(error.filename)}: "
        return _failed(2, f"error: {what}{error.strerror}; check the path and the free space")
    finally:
        warnings.formatwarning = other_format
        leave_folders()


def _failed(code: int, message: str) -> int:
    print(_alone(message), file=sys.stderr)
    return code


def _warning(message: Warning | str, category: type[Warning], *_: object) -> str:
    kind = "note" if issubclass(category, Notice) else "warning"
    return _alone(f"{kind}: {_one_line(message)}\n")


def _alone(line: str) -> str:
    """A line that takes the place of a progress bar, which only terminals have."""
    return f"\r\x1b[K{line}" if sys.stderr.isatty() else line


def _one_line(text: object) -> str:
    return printable(" ".join(str(text).split()))
