"""Run damaged files and odd options through the tools; exit status 1 unless each ends in a result
or in one line.

A case follows from its seed alone. `--table FILE` keeps what was found after every batch; the same
call then goes on.
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
        "--table", type=Path, help="a .json of what was found so far, read and written"
    )
    parser.add_argument(
        "--again", action="store_true", help="only what failed by the table, to see it mended"
    )
    options = parser.parse_args()
    found = Findings(options.seed, options.table)
    end = options.seed + options.count
    seeds = [int(seed) for seed in found.failures] if options.again else range(found.next, end)
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
            for batch, ends in zip(
                batches, pool.imap(lambda b: work_through(b, good, place), batches), strict=True
            ):
                for seed, became in zip(batch, ends, strict=True):
                    found.add(seed, *became)
                found.save()
    print(found)
    return int(bool(found.failures))


class Findings:
    """What became of the cases so far, kept in a file where there is one.

    next: the seed that comes next. table: counts by kind and end. failures: what is wrong, by seed.
    """

    def __init__(self, first: int, path: Path | None) -> None:
        kept = json.loads(path.read_text()) if path and path.exists() else {}
        self.path, self.next = path, kept.get("next", first)
        self.table, self.failures = Counter[str](kept.get("table")), kept.get("failures", {})

    def add(self, seed: int, kind: str, end: str, said: str) -> None:
        """Count a case, or count it anew, and print it if it failed."""
        if before := self.failures.pop(str(seed), ""):
            self.table[" ".join(before.split(": ")[:2])] -= 1
        self.table[f"{kind} {end}"] += 1
        self.next = max(self.next, seed + 1)
        if end not in ALLOWED:
            self.failures[str(seed)] = f"{kind}: {end}: {said}"
            print(f"--seed {seed} --count 1: {self.failures[str(seed)]}", flush=True)

    def save(self) -> None:
        if self.path:
            kept = {
                "next": self.next,
                "table": dict(sorted((+self.table).items())),
                "failures": self.failures,
            }
            self.path.write_text(json.dumps(kept, indent=1))

    def __str__(self) -> str:
        ends = sorted(
            {key.split()[1] for key in +self.table}, key=lambda end: (end not in ALLOWED, end)
        )
        rows = [["", *ends]]
        rows += [[kind, *(str(self.table[f"{kind} {end}"]) for end in ends)] for kind in SUBJECTS]
        rows += [
            ["all", *(str(sum(self.table[f"{kind} {end}"] for kind in SUBJECTS)) for end in ends)]
        ]
        return columns(rows)


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
