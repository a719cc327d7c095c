"""Cases in children of a process in which everything is loaded, with limits of memory, time and disk; their ends."""

import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spiking_yolo.io.names import shown
from tests.fuzz.nonsense import nonsense
from tests.fuzz.subjects import SUBJECTS, prepared

BATCH = 50  # cases in one child, since a fork costs as much as a case
MEMORY, SECONDS, DISK = 4 << 30, 60, 256 << 20
End = tuple[str, str, str]  # kind of file, what became of the case, the end of what it said
_LOCAL = ("127.", "localhost", "::1")


def work_through(seeds: Sequence[int], good: Path, place: Path) -> list[End]:
    """What became of the cases of these seeds. place: a folder for what they need.

    One that fails is run again alone, which is what can be repeated, unless it was good then.
    """
    found: list[End] = []
    with tempfile.TemporaryDirectory(dir=place) as own:
        cases = Path(own) / "cases"  # what goes up two steps from a case is still seen here
        cases.mkdir()
        while len(found) < len(seeds):
            left = seeds[len(found) :]
            ended, status = in_child(lambda tell: [tell(judged(seed, good, cases)) for seed in left])  # noqa: B023
            found += ended
            if len(found) < len(seeds):  # the child did not survive this one
                found.append(buried(seeds[len(found)], status, cases))
    for i, (seed, (kind, end, _)) in enumerate(zip(seeds, found, strict=True)):
        if end not in ("result", "refused") and len(seeds) > 1:
            (alone,) = work_through([seed], good, place)
            found[i] = alone if alone[1] == end else (kind, end, f"as the {i}-th of a batch; alone {alone[1:]}")
    return found


def drawn(seed: int) -> tuple[str, np.random.Generator]:
    """What the case of a seed is about, and the rest of its chance."""
    rng = np.random.default_rng(seed)
    shares = np.array([subject.share for subject in SUBJECTS.values()])
    return list(SUBJECTS)[rng.choice(len(shares), p=shares / shares.sum())], rng


def in_child(work: Callable[[Callable[[Any], None]], Any]) -> tuple[list[Any], int | None]:
    """What the work tells before it ends, and the status of the child that does it, None if it had to be killed."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            confine()
            work(lambda told: os.write(write, json.dumps(told).encode() + b"\n"))
        finally:
            os._exit(0)
    os.close(write)
    said, part = b"", b""
    while (waiting := select.select([read], [], [], 2 * SECONDS)[0]) and (part := os.read(read, 1 << 16)):
        said += part
    os.close(read)
    if not waiting:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [tuple(json.loads(line)) for line in said.splitlines()], status if waiting else None


def confine() -> None:
    """Set the limits of this process, and have it say so when it would reach for another computer."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {resource.RLIMIT_AS: used + MEMORY, resource.RLIMIT_FSIZE: DISK, resource.RLIMIT_CORE: 0}
    for which, most in limits.items():
        resource.setrlimit(which, (most, most))

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo"):
            address = args[1] if event == "socket.connect" else args[0]
            host = str(address[0] if isinstance(address, tuple) else address)
            if not host.startswith((*_LOCAL, "/")):
                print(f"reaches for {host}", file=sys.stderr)
                raise ConnectionRefusedError(host)

    sys.addaudithook(watch)


def judged(seed: int, good: Path, cases: Path) -> End:
    """Run the case of this seed in this process."""
    kind, rng = drawn(seed)
    case, log = cases / f"{seed}", cases / f"{seed}.log"
    call = prepared(kind, rng, good, case)
    hidden, outside = set(case.rglob(".*")), around(case)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of processor time, after which the process ends
    os.chdir(case)
    status = run_quietly(call, log)
    os.chdir(cases)
    signal.setitimer(signal.ITIMER_PROF, 0)
    said = log.read_text(errors="replace")
    log.unlink()
    end = verdict(status, said)
    if escaped := around(case) - outside:
        end, said = "escape", f"{escaped} {said}"
        for path in escaped:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    elif end in ("result", "refused") and (left := set(case.rglob(".*")) - hidden):
        end, said = "half-written", f"{left} {said}"
    elif end == "result" and (wrong := nonsense(case)):
        end, said = "nonsense", wrong
    shutil.rmtree(case)
    return kind, end, shown(" | ".join(said[-400:].splitlines()))


def buried(seed: int, status: int | None, cases: Path) -> End:
    """The end of a case that took its process with it, and what it left is removed."""
    kind, _ = drawn(seed)
    case, log = cases / f"{seed}", cases / f"{seed}.log"
    said = log.read_text(errors="replace")[-300:] if log.exists() else ""
    log.unlink(missing_ok=True)
    shutil.rmtree(case, ignore_errors=True)
    hangs = status is None or status == -signal.SIGPROF
    return kind, "hang" if hangs else "crash", shown(f"status {status}: {' | '.join(said.splitlines())}")


def around(case: Path) -> set[Path]:
    """What is where the paths of `mutate.TEXTS` lead from the folder of a case, or from one inside of it."""
    cases = case.parent
    return {
        path for folder in (case / "out", case, cases, cases.parent, Path("/tmp")) for path in folder.glob("escaped*")
    }


def verdict(status: int, said: str) -> str:
    if "reaches for" in said:
        return "download"
    if "MemoryError" in said or "allocate" in said:
        return "memory"
    if "File too large" in said:
        return "disk"
    if "Traceback" in said or status not in (0, 1, 2):
        return "traceback"
    if re.search(r"\w+Warning: ", said):
        return "warning"
    return "result" if status == 0 else "refused"


def run_quietly(call: Callable[[], Any], log: Path) -> int:
    """The status of a call whose output goes to a file; 70 for an exception, which is written there too."""
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
