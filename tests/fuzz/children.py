"""Children of a process in which everything is loaded, with limits of memory, processor time and
disk.
"""

import errno
import json
import os
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEMORY, SECONDS, DISK = 4 << 30, 30, 256 << 20
_LOCAL = ("127.", "localhost", "::1", "/")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# Event -> its path.
_CHANGES = {"os.rename": 1, "os.remove": 0, "os.link": 1, "os.symlink": 1, "os.truncate": 0}


def in_child(
    work: Callable[[Callable[[Any], None]], Any], place: Path
) -> tuple[list[Any], int | None]:
    """What the work tells before it ends, and the status of the child that does it, None if it had
    to be killed.

    place: the folder below which it may write.
    """
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            confine(place)
            work(lambda told: os.write(write, json.dumps(told).encode() + b"\n"))
        except BaseException:  # a child must not go on as its parent
            traceback.print_exc()
        os._exit(0)
    os.close(write)
    said, part = b"", b""
    while (waiting := select.select([read], [], [], 8 * SECONDS)[0]) and (
        part := os.read(read, 1 << 16)
    ):
        said += part
    os.close(read)
    if not waiting:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [json.loads(line) for line in said.splitlines()], status if waiting else None


def confine(place: Path) -> None:
    """Set the limits of this process, and have it say so when it would reach for another computer,
    or change a file that lies neither below the place nor among the system's temporary files; it
    does not get there.
    """
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: used + MEMORY,
        resource.RLIMIT_FSIZE: DISK,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in limits.items():
        resource.setrlimit(which, (most, most))

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo"):
            address = args[1] if event == "socket.connect" else args[0]
            host = str(address[0] if isinstance(address, tuple) else address)
            if not host.startswith(_LOCAL):
                print(f"reaches for {host}", file=sys.stderr)
                raise ConnectionRefusedError(host)
        elif path := changed(event, args):
            print(f"changes {path}", file=sys.stderr)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    def changed(event: str, args: tuple[Any, ...]) -> str:
        """The path of a file that the event would change, if it is none of the process's own."""
        if event == "open":
            name = args[0] if args[2] & _WRITES and args[0] != os.devnull else None
        else:
            name = args[_CHANGES[event]] if event in _CHANGES else None
        in_a_folder = event == "os.remove" and args[1] != -1  # given by its descriptor
        if in_a_folder or not isinstance(name, str | bytes | os.PathLike):
            return ""
        path = Path(os.path.abspath(os.fsdecode(name)))
        own = (
            path.is_relative_to(place)
            or path.is_relative_to(tempfile.gettempdir())
            or path.parts[1:2] == ("proc",)
        )
        return "" if own else str(path)

    sys.dont_write_bytecode = True
    sys.addaudithook(watch)


def run_quietly(call: Callable[[], Any], log: Path) -> int:
    """The status of a call whose output goes to a file; 70 for an exception, which is written there
    too.
    """
    saved = sys.stdout, sys.stderr, os.dup(1), os.dup(2)
    with open(log, "w", errors="backslashreplace", buffering=1) as file:
        sys.stdout = sys.stderr = file
        for stream in (1, 2):  # of libraries in C
            os.dup2(file.fileno(), stream)
        try:
            return call() or 0
        except SystemExit as leaving:
            return int(leaving.code or 0)
        except BaseException:
            traceback.print_exc(file=file)
            return 70
        finally:
            sys.stdout, sys.stderr = saved[:2]
            for stream in (1, 2):
                os.dup2(saved[stream + 1], stream)
                os.close(saved[stream + 1])
