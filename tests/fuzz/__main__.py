"""Run damaged files and odd options through the tools; exit status 1 unless each ends in a result or in one line.

A case follows from its seed alone. `--table FILE` keeps what was found after every batch; the same call then goes on.
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

from tests.fuzz.children import run_quietly
from tests.fuzz.judge import ALLOWED, BATCH, work_through
from tests.fuzz.subjects import SUBJECTS, make_every_call, write_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="cases")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the n-th has seed + n")
    parser.add_argument("--jobs", type=int, default=1, help="cases at the same time")
    parser.add_argument("--table", type=Path, help="a .json of what was found so far, read and written")
    parser.add_argument("--again", action="store_true", help="only what failed by the table, to see it mended")
    options = parser.parse_args()
    first, end = options.seed, options.seed + options.count
    table, failures = Counter[str](), dict[str, str]()
    if options.table and options.table.exists():
        kept = json.loads(options.table.read_text())
        first, table, failures = kept["next"], Counter(kept["table"]), kept["failures"]
    seeds = [int(seed) for seed in failures] if options.again else range(first, end)
    with tempfile.TemporaryDirectory(dir=memory_disk()) as folder, patch.dict(os.environ, XDG_CACHE_HOME=folder):
        place, good = Path(folder) / "cases", Path(folder) / "good"
        place.mkdir()
        good.mkdir()
        torch.set_num_threads(1)
        warm_up(good, Path(folder) / "log")
        batches = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
        with ThreadPool(options.jobs) as pool:
            ended = pool.imap(lambda batch: work_through(batch, good, place), batches)
            for batch, found in zip(batches, ended, strict=True):
                for seed, (kind, became, said) in zip(batch, found, strict=True):
                    if before := failures.pop(str(seed), ""):
                        table[" ".join(before.split(": ")[:2])] -= 1
                    table[f"{kind} {became}"] += 1
                    if became not in ALLOWED:
                        failures[str(seed)] = f"{kind}: {became}: {said}"
                        print(f"--seed {seed} --count 1: {failures[str(seed)]}", flush=True)
                first = first if options.again else batch[-1] + 1
                if options.table:
                    kept = {"next": first, "table": dict(sorted((+table).items())), "failures": failures}
                    options.table.write_text(json.dumps(kept, indent=1))
    print_table(+table)
    return int(bool(failures))


def memory_disk() -> str | None:
    """A folder in memory, where there is one: a case makes and removes some dozens of files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def warm_up(good: Path, log: Path) -> None:
    """Write the good files, and make every call once, so that what it imports need not be imported in each child."""

    def work() -> None:
        write_all(good)
        make_every_call(good, log.parent)

    if run_quietly(work, log):
        sys.exit(f"the good files are not:\n{log.read_text()[-2000:]}")
    gc.collect()
    gc.freeze()  # collections in children would otherwise copy every page


def print_table(table: Counter[str]) -> None:
    ends = sorted({key.split()[1] for key in table}, key=lambda end: (end not in ALLOWED, end))
    print(f"{'':14}" + "".join(f"{end:>14}" for end in ends))
    for kind in SUBJECTS:
        print(f"{kind:14}" + "".join(f"{table[f'{kind} {end}']:14}" for end in ends))
    print(f"{'all':14}" + "".join(f"{sum(table[f'{kind} {end}'] for kind in SUBJECTS):14}" for end in ends))


if __name__ == "__main__":
    sys.exit(main())
