"""The compiled form of events.c, built once per machine where there is a C compiler."""

import ctypes
import hashlib
import os
import shlex
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("events.c")
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
NATIVE = "-march=native"
PARALLEL = "-fopenmp"  # compiled so, but not linked: OpenMP is PyTorch's, with which it then shares its threads


@cache
def library() -> ctypes.CDLL | None:
    """The functions of events.c; None where there is no C compiler, or none that can compile it.

    The file lies in the user's cache ($XDG_CACHE_HOME, or ~/.cache), under a name made of the source, the compiler and
    the processor's instructions, so that another machine with the same home makes its own.
    """
    compiler = tuple(shlex.split(os.environ.get("CC", "cc")))  # perhaps with a wrapper before it
    for more in ((NATIVE, PARALLEL), (NATIVE,), (PARALLEL,), ()):
        try:
            return ctypes.CDLL(str(_built(compiler, (*FLAGS, *more))))
        except (OSError, RuntimeError, subprocess.SubprocessError):
            continue  # no compiler, no home or no cache, or the compiler or OpenMP is not what it takes
    return None


def _built(compiler: tuple[str, ...], flags: tuple[str, ...]) -> Path:
    source = SOURCE.read_bytes()
    machine = _run(*compiler, *flags, "-dM", "-E", "-x", "c", os.devnull)
    key = hashlib.sha256(b"\0".join((source, machine, *map(str.encode, (*compiler, *flags))))).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spiking_yolo"
    target = folder / f"events-{key}.so"
    if not target.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            compiled, linked = Path(work, "events.o"), Path(work, "events.so")
            _run(*compiler, *flags, "-c", str(SOURCE), "-o", str(compiled))
            _run(*compiler, "-shared", str(compiled), "-lm", "-o", str(linked))
            linked.replace(target)  # at once, whoever else is building it
    return target


def _run(*command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
