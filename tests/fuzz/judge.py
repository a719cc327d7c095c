"""What became of a case: the verdict on its exit status, on what it said, and on the files that it
left.
"""

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
from tests.fuzz.subjects import SUBJECTS, prepared

# Cases in one child, since a fork costs as much as a case.
BATCH = 50
ALLOWED = ("result", "refused")
# Kind of file, what became of the case, the end of what it said.
End = tuple[str, str, str]


def work_through(seeds: Sequence[int], good: Path, place: Path) -> list[End]:
    """What became of the cases of these seeds. place: a folder for what they need.

    One that fails is run again alone, which is what can be repeated, unless it was good then.
    """
    found: list[End] = []
    with tempfile.TemporaryDirectory(dir=place) as own:
        # What goes up two steps from a case is still seen here.
        cases = Path(own) / "cases"
        cases.mkdir()
        while len(found) < len(seeds):
            left = seeds[len(found) :]
            ended, status = in_child(
                lambda tell, seeds=left: [tell(judged(seed, good, cases)) for seed in seeds],
                place.parent,
            )
            found += map(tuple, ended)
            if len(found) < len(seeds):  # the child did not survive this one
                found.append(buried(seeds[len(found)], status, cases))
    for i, (seed, (kind, end, _)) in enumerate(zip(seeds, found, strict=True)):
        if end not in ALLOWED and len(seeds) > 1:
            (alone,) = work_through([seed], good, place)
            found[i] = (
                alone
                if alone[1] == end
                else (kind, end, f"as the {i}-th of a batch; alone {alone[1:]}")
            )
    return found


def drawn(seed: int) -> tuple[str, np.random.Generator]:
    """What the case of a seed is about, and the rest of its chance."""
    rng = np.random.default_rng(seed)
    shares = np.array([subject.share for subject in SUBJECTS.values()])
    return list(SUBJECTS)[rng.choice(len(shares), p=shares / shares.sum())], rng


def judged(seed: int, good: Path, cases: Path) -> End:
    """Run the case of this seed in this process."""
    kind, rng = drawn(seed)
    case, log = cases / f"{seed}", cases / f"{seed}.log"
    call = prepared(kind, rng, good, case)
    hidden, outside = set(case.rglob(".*")), around(case)
    # Of processor time, after which the process ends.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
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
    elif end in ALLOWED and (left := set(case.rglob(".*")) - hidden):
        end, said = "half-written", f"{left} {said}"
    elif end == "result" and (wrong := nonsense(case)):
        end, said = "nonsense", wrong
    shutil.rmtree(case)
    return kind, end, printable(" | ".join(said[-400:].splitlines()))


def buried(seed: int, status: int | None, cases: Path) -> End:
    """The end of a case that took its process with it, and what it left is removed."""
    kind, _ = drawn(seed)
    case, log = cases / f"{seed}", cases / f"{seed}.log"
    said = log.read_text(errors="replace")[-300:] if log.exists() else ""
    log.unlink(missing_ok=True)
    shutil.rmtree(case, ignore_errors=True)
    hangs = status is None or status == -signal.SIGPROF
    return (
        kind,
        "hang" if hangs else "crash",
        printable(f"status {status}: {' | '.join(said.splitlines())}"),
    )


def around(case: Path) -> set[Path]:
    """What is where the paths of `mutate.TEXTS` lead from the folder of a case, or from one inside
    of it.
    """
    cases = case.parent
    return {
        path
        for folder in (case / "out", case, cases, cases.parent, Path("/tmp"))
        for path in folder.glob("escaped*")
    }


def verdict(status: int, said: str) -> str:
    if "reaches for" in said:
        return "download"
    if "changes /" in said:
        return "escape"
    if "MemoryError" in said or "allocate" in said:
        return "memory"
    if "File too large" in said:
        return "disk"
    if "Traceback" in said or status not in (0, 1, 2):
        return "traceback"
    if "Warning: " in said:
        return "warning"
    if status == 2 and "error: " not in said:
        return "silent"
    return "result" if status == 0 else "refused"
