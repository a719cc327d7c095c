"""Kill every tool at moments of all kinds, and run it again: `python -m tests.kills --count 100
--seed 0`.

Each case is a child of a process in which everything is loaded, killed by signal 9 somewhere in the
time that it takes undisturbed. Then whatever has a final name must be whole, and the same call, or
--resume where the tool has it, must give what an undisturbed run gives, bit by bit but for times
and dates. Exit status 1 when it does not.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.tiny import run_tool

import spiking_yolo
from tests.kills.content import results, torn
from tests.kills.subjects import TOOLS, Tool, write_all

IMPORTS = ("matplotlib.pyplot", "matplotlib.backends.backend_agg", "albumentations")
# The verdict on a kill of a process that had ended before.
LATE = "too late"
# Of a case, at most.
SECONDS = 120


def child(case: Path, argv: tuple[str, ...]) -> int:
    """The number of a process in which the tool runs; its output goes to case/log."""
    number = os.fork()
    if number:
        return number
    status = 70
    try:
        os.chdir(case)
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = run_tool(argv[0], *argv[1:])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def run(case: Path, argv: tuple[str, ...]) -> tuple[int, str]:
    """Status and output of an undisturbed run; -14 when it took more than SECONDS."""
    number = child(case, argv)
    end = time.monotonic() + SECONDS
    while (done := os.waitpid(number, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
            return -signal.SIGALRM, "it hangs"
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(done[1]), (case / "log").read_text()


def kill(
    tool: Tool, good: Path, case: Path, seconds: float, expected: dict[str, Any]
) -> tuple[str, str]:
    """Kill a tool after some seconds, and call it again.

    Returns:
        A verdict in one word, and what supports it. expected: results of an undisturbed run.
    """
    shutil.copytree(good, case)
    number = child(case, tool.call)
    time.sleep(seconds)
    os.kill(number, signal.SIGKILL)
    if os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) != -signal.SIGKILL:
        return LATE, ""
    if broken := torn(case):
        return "torn", str(broken)
    status, output = 2, "no unfinished run"
    if tool.resume:
        status, output = run(case, (*tool.call, *tool.resume))
    verdict = "resumed"
    if status == 2 and ("no unfinished run" in output or "holds no training" in output):
        verdict = "again"
        status, output = run(case, tool.call)
    if status:
        return "refused", f"{status}: {output[-300:]}"
    actual = results(case)
    names = actual.keys() | expected.keys()
    differing = [name for name in names if actual.get(name) != expected.get(name)]
    if differing:
        return "differs", f"{sorted(differing)} {verdict}"
    return verdict, ""


def modules() -> Iterator[str]:
    """The modules of the package. Its compiled kernels, which pkgutil takes for some, are none."""
    package = Path(spiking_yolo.__file__).parent
    for path in sorted(package.rglob("*.py")):
        name = ".".join(("spiking_yolo", *path.relative_to(package).with_suffix("").parts))
        if not name.endswith("__main__"):
            yield name.removesuffix(".__init__")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="kills; the tools take turns")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", choices=TOOLS, action="append", help="this tool, or several")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    for module in (*modules(), *IMPORTS):
        import_module(module)
    names = options.only or list(TOOLS)[: options.count]
    table: Counter[tuple[str, str]] = Counter()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as place:
        good = Path(place) / "good"
        good.mkdir()
        write_all(good)
        lengths, expected = {}, {}
        for name in names:
            case = Path(place) / name
            shutil.copytree(good, case)
            start = time.monotonic()
            status, said = run(case, TOOLS[name].call)
            lengths[name] = time.monotonic() - start
            assert status == 0, f"{name}: {said}"
            expected[name] = results(case)
            print(f"{name}: {lengths[name]:.1f} s, {len(expected[name])} files", flush=True)
        for n in range(options.count):
            name = names[n % len(names)]
            end, said, seconds = LATE, "", 0.0
            while end == LATE:
                seconds = lengths[name] * rng.random()
                end, said = kill(TOOLS[name], good, Path(place) / f"{n}", seconds, expected[name])
                shutil.rmtree(Path(place) / f"{n}")
            table[name, end] += 1
            print(
                f"kill {n}, {name} after {seconds:.2f} of {lengths[name]:.2f} s: {end} {said}",
                flush=True,
            )
    for (name, end), count in sorted(table.items()):
        print(f"{name:16}{end:10}{count:5}")
    return int(any(end in ("torn", "refused", "differs") for _, end in table))


if __name__ == "__main__":
    sys.exit(main())
