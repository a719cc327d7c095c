"""Ratios that can be trusted on a machine that others use too: each run is timed beside a reference
of its own.
"""

import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.apps.benchmark import BenchmarkOptions
from spiking_yolo.apps.benchmark.cases import Case, ann_pass, photographs
from spiking_yolo.convert.converted import Converted
from spiking_yolo.options import load_ann
from spiking_yolo.snn.neurons import NeuronLayer
from spiking_yolo.snn.pooling import CumulativeMaxPool
from spiking_yolo.snn.synapses import LinearMap


@dataclass(frozen=True)
class Timing:
    """Runs of one case. seconds: of each run; reference: of one reference call beside it; steps:
    timesteps of a run.
    """

    seconds: tuple[float, ...]
    reference: tuple[float, ...]
    steps: int = 1

    @property
    def run(self) -> float:
        """Seconds of a run, the median."""
        return median(self.seconds)

    @property
    def ratios(self) -> list[float]:
        """One step as a multiple of the reference, for each run."""
        return [s / self.steps / r for s, r in zip(self.seconds, self.reference, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios, which a machine that is busy for a while does not move."""
        return median(self.ratios)

    @property
    def faster(self) -> float:
        """The reference as a multiple of a whole run."""
        return median(r / s for s, r in zip(self.seconds, self.reference, strict=True))


def seconds(f: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Seconds that f takes, with the work that it leaves on a GPU, and what it returns."""
    synchronize(device)
    start = time.perf_counter()
    value = f()
    synchronize(device)
    return time.perf_counter() - start, value


def synchronize(device: torch.device) -> None:
    """Wait for a GPU; a CPU has done its work when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    cases: Mapping[str, Callable[[], int]],
    reference: Callable[[], Any],
    repeats: int,
    device: torch.device,
    calls: int = 3,
    progress: Callable[[str], Any] = lambda name: None,
) -> dict[str, Timing]:
    """Time the cases in turn, `repeats` rounds of them after one that does not count.

    cases: name -> a run, which returns its timesteps. reference: called `calls` times before and
    after each run; the median of both counts, so that a machine that becomes faster or slower does
    not favour either side. progress(name) is called before every run.
    """
    runs: dict[str, list[float]] = {name: [] for name in cases}
    beside: dict[str, list[float]] = {name: [] for name in cases}
    steps = dict.fromkeys(cases, 1)
    before = [seconds(reference, device)[0] for _ in range(calls)]
    for turn in range(repeats + 1):
        for name, case in cases.items():
            progress(name)
            taken, steps[name] = seconds(case, device)
            after = [seconds(reference, device)[0] for _ in range(calls)]
            if turn:
                runs[name].append(taken)
                beside[name].append(median(before + after))
            before = after
    return {name: Timing(tuple(runs[name]), tuple(beside[name]), steps[name]) for name in cases}


def peak_memory(options: BenchmarkOptions, case: Case | None, batch: int, T: int) -> float | None:
    """MB of the process, PyTorch and weights included, during a run of T steps; case None: an ANN's
    forward pass.

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
        # The peak starts again from here.
        Path("/proc/self/clear_refs").write_text("5")
        run()
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))


KINDS: dict[type[nn.Module], str] = {
    LinearMap: "convolutions",
    NeuronLayer: "neurons",
    CumulativeMaxPool: "pooling",
}


class Stopwatch:
    """Adds up the seconds of a network's modules, by kind and by node, with forward hooks."""

    def __init__(self, network: nn.Module, device: torch.device):
        self._device, self._started = device, 0.0
        self.clear()
        for path, module in network.named_modules():
            kind = next((name for type_, name in KINDS.items() if isinstance(module, type_)), None)
            if kind is not None and path.count(".") <= 2:  # not the members of a pair
                module.register_forward_pre_hook(self._start)
                module.register_forward_hook(self._stop(kind, path.rpartition(".")[2]))

    def clear(self) -> None:
        self.by_kind: dict[str, float] = defaultdict(float)
        self.by_node: dict[str, float] = defaultdict(float)

    def kinds(self, whole: float, n: int) -> dict[str, float]:
        """Milliseconds by kind, and of all else, of one of n parts that took `whole` seconds
        together.
        """
        taken = {kind: self.by_kind[kind] for kind in KINDS.values()}
        taken["everything else"] = whole - sum(taken.values())
        return {kind: 1e3 * each / n for kind, each in taken.items()}

    def _start(self, module: nn.Module, args: Any) -> None:
        synchronize(self._device)
        self._started = time.perf_counter()

    def _stop(self, kind: str, node: str) -> Any:
        def stop(module: nn.Module, args: Any, output: Any) -> None:
            synchronize(self._device)
            taken = time.perf_counter() - self._started
            self.by_kind[kind] += taken
            self.by_node[node] += taken

        return stop


def shares(converted: Converted, x: Tensor, T: int, repeats: int) -> dict[str, Any]:
    """Milliseconds per timestep by kind, the means over `repeats` runs after a first one, and the
    same by node.
    """
    network = converted.network(x.device)
    stopwatch, device = Stopwatch(network, x.device), torch.device(x.device)
    whole, steps = 0.0, 1
    for turn in range(repeats + 1):
        if turn < 2:
            whole = 0.0
            stopwatch.clear()
        taken, run = seconds(lambda: network.run(x, T), device)
        whole, steps = whole + taken, run.steps
    n = max(repeats, 1) * steps
    by_node = {node: 1e3 * taken / n for node, taken in stopwatch.by_node.items()}
    return {"steps": steps, "ms_per_step": stopwatch.kinds(whole, n), "by_node": by_node}
