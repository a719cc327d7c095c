"""Run damaged files through the tools; exit status 1 when one of them ends in anything but a result or one line.

Each case is a child of a process in which everything is loaded, with limits of memory, time and disk.
"""

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from helpers.tiny import run_tool

from tests.fuzz.mutate import mutate
from tests.fuzz.subjects import SUBJECTS, Subject, write_all

MEMORY, SECONDS, DISK = 4 << 30, 60, 256 << 20
ALLOWED = ("result", "refused")  # ends of a case


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="cases")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the n-th has seed + n")
    parser.add_argument("--only", choices=SUBJECTS, help="one kind of file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as place:
        good = Path(place) / "good"
        good.mkdir()
        run_quietly(lambda: write_all(good), Path(place) / "log")
        for kind, subject in SUBJECTS.items():
            state, said = judged(subject, None, good, Path(place) / "cases")
            assert state == "result", f"{kind} does not work undamaged: {said}"
        for seed in range(options.seed, options.seed + options.count):
            rng = np.random.default_rng(seed)
            kind = options.only or list(SUBJECTS)[rng.integers(len(SUBJECTS))]
            end, said = judged(SUBJECTS[kind], rng, good, Path(place) / "cases")
            table[kind, end] += 1
            if end not in ALLOWED:
                print(f"--seed {seed} --count 1 --only {kind}: {end}: {said}", flush=True)
    for (kind, end), count in sorted(table.items()):
        print(f"{kind:12}{end:14}{count:6}")
    return int(any(end not in ALLOWED for _, end in table))


def judged(subject: Subject, rng: np.random.Generator | None, good: Path, place: Path) -> tuple[str, str]:
    """What became of a case, and the end of what it said.

    rng: of the damage, if any. place: a folder of the case's own, removed afterwards.
    """
    case = place / "one"
    shutil.copytree(good, case)
    if rng is not None:
        mutate(case / subject.file, rng)
    hidden_before, before = set(case.rglob(".*")), around(place)
    log = place / "log"
    child = os.fork()
    if not child:
        os._exit(confined(subject, case, log))
    status = waited(child)
    said = log.read_text(errors="replace") if log.exists() else ""
    escaped = around(place) - before - {log}
    hidden = set(case.rglob(".*")) - hidden_before
    shutil.rmtree(place)
    return verdict(status, said, bool(escaped), bool(hidden)), said[-300:].replace("\n", " | ")


def around(place: Path) -> set[Path]:
    """What is where the paths of `mutate.TEXTS` lead from a case in this folder, or from a folder of its own."""
    return {*place.iterdir(), *place.parent.iterdir(), *Path("/tmp").glob("escaped*")}


def verdict(status: int | None, said: str, escaped: bool, hidden: bool) -> str:
    if status is None or status == -signal.SIGXCPU:
        return "hang"
    if "MemoryError" in said or "allocate" in said:
        return "memory"
    if "Traceback" in said or status not in (0, 1, 2):
        return "traceback"
    if escaped:
        return "escape"
    if hidden:
        return "half-written"
    return "result" if status == 0 else "refused"


def confined(subject: Subject, case: Path, log: Path) -> int:
    os.chdir(case)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for which, most in (
        (resource.RLIMIT_AS, used + MEMORY),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_FSIZE, DISK),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(which, (most, most))
    return run_quietly(lambda: run_tool(*subject.call), log)


def run_quietly(call: object, log: Path) -> int:
    """The status of a call whose output goes to a file; 70 for an exception, which is written there too."""
    saved = sys.stdout, sys.stderr
    with open(log, "w", errors="backslashreplace") as file:
        sys.stdout = sys.stderr = file
        try:
            return call() or 0  # type: ignore[operator]
        except BaseException:  # a child must not go on as its parent
            traceback.print_exc(file=file)
            return 70
        finally:
            sys.stdout, sys.stderr = saved


def waited(child: int) -> int | None:
    """The exit status of a child, minus the signal that ended it; None when it had to be killed."""
    end = time.monotonic() + 2 * SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    sys.exit(main())
