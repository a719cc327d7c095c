"""Run cases, and judge them by their exit status, their output and their files."""

import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spiking_yolo.io.names import printable
from tests.fuzz.children import SECONDS, in_child, run_quietly
from tests.fuzz.nonsense import nonsense
from tests.fuzz.subjects import SUBJECTS, prepare

# Cases in one child, since a fork costs as much as a case.
BATCH = 50
ALLOWED = ("result", "refused")
# Kind of file, verdict, the last characters of the output.
End = tuple[str, str, str]


def work_through(seeds: Sequence[int], good: Path, place: Path) -> list[End]:
    """Run the cases of these seeds.

    A case that fails is run again alone, which is what can be repeated; its end says so if it does
    not fail then.

    Args:
        seeds: Of the cases, which run in one child.
        good: The folder of good files.
        place: A folder for the files of the cases.
    """
    ends: list[End] = []
    with tempfile.TemporaryDirectory(dir=place) as own:
        # What goes up two steps from a case is still seen here.
        cases = Path(own) / "cases"
        cases.mkdir()
        while len(ends) < len(seeds):
            rest = seeds[len(ends) :]
            new, status = in_child(
                lambda tell, rest=rest: [tell(run_case(seed, good, cases)) for seed in rest],
                place.parent,
            )
            ends += map(tuple, new)
            if len(ends) < len(seeds):
                # The child did not survive this one.
                ends.append(crash(seeds[len(ends)], status, cases))
    for i, seed in enumerate(seeds):
        kind, end, _ = ends[i]
        if end not in ALLOWED and len(seeds) > 1:
            (alone,) = work_through([seed], good, place)
            if alone[1] == end:
                ends[i] = alone
            else:
                ends[i] = kind, end, f"as the {i}-th of a batch; alone {alone[1:]}"
    return ends


def subject_of(seed: int) -> tuple[str, np.random.Generator]:
    """The kind of file that the case of a seed damages, and the generator of all other choices."""
    rng = np.random.default_rng(seed)
    shares = np.array([subject.share for subject in SUBJECTS.values()])
    return list(SUBJECTS)[rng.choice(len(shares), p=shares / shares.sum())], rng


def run_case(seed: int, good: Path, cases: Path) -> End:
    """Run the case of this seed in this process."""
    kind, rng = subject_of(seed)
    case = cases / f"{seed}"
    log = cases / f"{seed}.log"
    call = prepare(kind, rng, good, case)
    hidden = set(case.rglob(".*"))
    outside = around(case)
    # Of processor time, after which the process ends.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    os.chdir(case)
    status = run_quietly(call, log)
    os.chdir(cases)
    signal.setitimer(signal.ITIMER_PROF, 0)
    output = log.read_text(errors="replace")
    log.unlink()
    end = verdict(status, output)
    if escaped := around(case) - outside:
        end, output = "escape", f"{escaped} {output}"
        for path in escaped:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
    elif end in ALLOWED and (leftovers := set(case.rglob(".*")) - hidden):
        end, output = "half-written", f"{leftovers} {output}"
    elif end == "result" and (wrong := nonsense(case)):
        end, output = "nonsense", wrong
    shutil.rmtree(case)
    return kind, end, printable(" | ".join(output[-400:].splitlines()))


def crash(seed: int, status: int | None, cases: Path) -> End:
    """The end of a case that took its process with it; its files are removed."""
    kind, _ = subject_of(seed)
    log = cases / f"{seed}.log"
    output = log.read_text(errors="replace")[-300:] if log.exists() else ""
    log.unlink(missing_ok=True)
    shutil.rmtree(cases / f"{seed}", ignore_errors=True)
    end = "hang" if status is None or status == -signal.SIGPROF else "crash"
    return kind, end, printable(f"status {status}: {' | '.join(output.splitlines())}")


def around(case: Path) -> set[Path]:
    """The files where the paths of `values.TEXTS` lead from the folder of a case, or from one
    inside of it.
    """
    cases = case.parent
    escaped: set[Path] = set()
    for folder in (case / "out", case, cases, cases.parent, Path("/tmp")):
        escaped.update(folder.glob("escaped*"))
    return escaped


def verdict(status: int, output: str) -> str:
    """How a call ended, in one word."""
    if "reaches for" in output:
        return "download"
    if "changes /" in output:
        return "escape"
    if "MemoryError" in output or "allocate" in output:
        return "memory"
    if "File too large" in output:
        return "disk"
    if "Traceback" in output or status not in (0, 1, 2):
        return "traceback"
    if "Warning: " in output:
        return "warning"
    if status == 2 and "error: " not in output:
        return "silent"
    return "result" if status == 0 else "refused"
