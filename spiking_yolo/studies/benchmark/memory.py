"""Peak memory of a process that does one run and nothing else. Linux only."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from spiking_yolo.studies.benchmark.cases import Case, ann_pass, photographs
from spiking_yolo.studies.benchmark.options import BenchmarkOptions
from spiking_yolo.studies.options import load_ann


def peak_memory(options: BenchmarkOptions, case: Case | None, batch: int, T: int) -> float | None:
    """MB of the process, PyTorch and weights included, during a run of T steps; case None: an ANN's forward pass.

    None where the system does not tell.
    """
    if sys.platform != "linux":
        return None
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, options, case, batch, T).result()


def _peak(options: BenchmarkOptions, case: Case | None, batch: int, T: int) -> float | None:
    ann = load_ann(options)
    x = photographs(options, ann.spec, batch)
    run = ann_pass(ann, x) if case is None else case.run(ann, x, T)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        run()
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
