"""Run damaged files and odd options through the tools; exit status 1 unless each ends in a result
or in one line.

A case follows from its seed alone. `--table FILE` saves the results after every batch; the same call
then goes on.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
from collections import Counter
from multiprocessing.pool import ThreadPool
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from spiking_yolo.io.tables import columns
from tests.fuzz.children import run_quietly
from tests.fuzz.judge import ALLOWED, BATCH, work_through
from tests.fuzz.subjects import SUBJECTS, make_every_call, write_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="cases")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first case; the n-th has seed + n"
    )
    parser.add_argument("--jobs", type=int, default=1, help="cases at the same time")
    parser.add_argument(
        "--table", type=Path, help="a .json with the results so far, read and written"
    )
    parser.add_argument(
        "--again", action="store_true", help="only what failed by the table, to see it mended"
    )
    options = parser.parse_args()
    findings = Findings(options.seed, options.table)
    seeds = range(findings.next, options.seed + options.count)
    if options.again:
        seeds = [int(seed) for seed in findings.failures]
    with (
        tempfile.TemporaryDirectory(dir=memory_disk()) as folder,
        patch.dict(os.environ, XDG_CACHE_HOME=folder),
    ):
        place, good = Path(folder) / "cases", Path(folder) / "good"
        place.mkdir()
        good.mkdir()
        torch.set_num_threads(1)
        warm_up(good, Path(folder) / "log")
        batches = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
        with ThreadPool(options.jobs) as pool:
            results = pool.imap(lambda batch: work_through(batch, good, place), batches)
            for batch, ends in zip(batches, results, strict=True):
                for seed, end in zip(batch, ends, strict=True):
                    findings.add(seed, *end)
                findings.save()
    print(findings)
    return int(bool(findings.failures))


class Findings:
    """How the cases so far have ended, saved in a file if there is one.

    Attributes:
        next: The seed that comes next.
        table: Counts by kind of file and verdict.
        failures: What is wrong, by seed.
    """

    def __init__(self, first: int, path: Path | None) -> None:
        earlier = json.loads(path.read_text()) if path and path.exists() else {}
        self.path = path
        self.next = earlier.get("next", first)
        self.table = Counter[str](earlier.get("table"))
        self.failures = earlier.get("failures", {})

    def add(self, seed: int, kind: str, end: str, output: str) -> None:
        """Count a case, or count it anew, and print it if it failed."""
        if before := self.failures.pop(str(seed), ""):
            self.table[" ".join(before.split(": ")[:2])] -= 1
        self.table[f"{kind} {end}"] += 1
        self.next = max(self.next, seed + 1)
        if end not in ALLOWED:
            self.failures[str(seed)] = f"{kind}: {end}: {output}"
            print(f"--seed {seed} --count 1: {self.failures[str(seed)]}", flush=True)

    def save(self) -> None:
        if self.path:
            content = {
                "next": self.next,
                "table": dict(sorted((+self.table).items())),
                "failures": self.failures,
            }
            self.path.write_text(json.dumps(content, indent=1))

    def __str__(self) -> str:
        ends = {key.split()[1] for key in +self.table}
        ends = sorted(ends, key=lambda end: (end not in ALLOWED, end))
        rows = [["", *ends]]
        totals = dict.fromkeys(ends, 0)
        for kind in SUBJECTS:
            counts = [self.table[f"{kind} {end}"] for end in ends]
            rows.append([kind, *map(str, counts)])
            for end, count in zip(ends, counts, strict=True):
                totals[end] += count
        return columns([*rows, ["all", *map(str, totals.values())]])


def memory_disk() -> str | None:
    """A folder in memory, where there is one: a case makes and removes some dozens of files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def warm_up(good: Path, log: Path) -> None:
    """Write the good files, and make every call once, so that what it imports need not be imported
    in each child.
    """

    def work() -> None:
        write_all(good)
        make_every_call(good, log.parent)

    if run_quietly(work, log):
        sys.exit(f"the good files are not:\n{log.read_text()[-2000:]}")
    gc.collect()
    # Collections in children would otherwise copy every page.
    gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
