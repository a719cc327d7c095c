"""Clocks: runs beside a reference, the share of each kind of module, peak memory, later frames of a
video.

Every run is timed beside calls of a reference, so that ratios hold on a machine that others use
too.
"""

import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.apps.benchmark import BenchmarkOptions
from spiking_yolo.apps.benchmark.cases import Case, ann_pass, photographs
from spiking_yolo.convert.converted import Converted
from spiking_yolo.options import load_ann
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.neurons import NeuronLayer
from spiking_yolo.snn.pooling import CumulativeMaxPool
from spiking_yolo.snn.stream import FrameRun, Stream
from spiking_yolo.snn.synapses import LinearMap

# First frames of a video, which build what the later ones use.
WARM = 3


@dataclass(frozen=True)
class Timing:
    """Runs of one case.

    Attributes:
        seconds: Of each run.
        reference: Seconds of one call of the reference beside each run.
        steps: Timesteps of a run.
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

    Args:
        cases: Name -> a run, which returns its timesteps.
        reference: Called before and after each run. The median of both counts, so that a machine
            that becomes faster or slower favours neither side.
        repeats: Runs of each case.
        device: That the runs use.
        calls: Of the reference, before and after a run.
        progress: Called with the name before every run.
    """
    runs: dict[str, list[float]] = {name: [] for name in cases}
    beside: dict[str, list[float]] = {name: [] for name in cases}
    steps = dict.fromkeys(cases, 1)
    before = [seconds(reference, device)[0] for _ in range(calls)]
    for turn in range(repeats + 1):
        for name, case in cases.items():
            progress(name)
            duration, steps[name] = seconds(case, device)
            after = [seconds(reference, device)[0] for _ in range(calls)]
            if turn:
                runs[name].append(duration)
                beside[name].append(median(before + after))
            before = after
    return {name: Timing(tuple(runs[name]), tuple(beside[name]), steps[name]) for name in cases}


def peak_memory(options: BenchmarkOptions, case: Case | None, batch: int, T: int) -> float | None:
    """Peak memory of a process that runs a case, PyTorch and weights included.

    Args:
        options: Of the benchmark.
        case: None: a forward pass of the ANN.
        batch: Number of photographs.
        T: Timesteps.

    Returns:
        MB; None where the system does not tell.
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
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


KINDS: dict[type[nn.Module], str] = {
    LinearMap: "convolutions",
    NeuronLayer: "neurons",
    CumulativeMaxPool: "pooling",
}


class Stopwatch:
    """Adds up the seconds of a network's modules, by kind and by node, with forward hooks."""

    def __init__(self, network: nn.Module, device: torch.device):
        self._device = device
        self._started = 0.0
        self.clear()
        for path, module in network.named_modules():
            # Deeper are the members of a pair.
            if path.count(".") > 2:
                continue
            for module_type, kind in KINDS.items():
                if isinstance(module, module_type):
                    module.register_forward_pre_hook(self._start)
                    module.register_forward_hook(self._stop(kind, path.rpartition(".")[2]))

    def clear(self) -> None:
        self.by_kind: dict[str, float] = defaultdict(float)
        self.by_node: dict[str, float] = defaultdict(float)

    def kinds(self, whole: float, n: int) -> dict[str, float]:
        """Milliseconds by kind and of all else, the mean of n parts.

        whole: Seconds of all parts together.
        """
        milliseconds = {kind: 1e3 * self.by_kind[kind] / n for kind in KINDS.values()}
        milliseconds["everything else"] = 1e3 * (whole - sum(self.by_kind.values())) / n
        return milliseconds

    def _start(self, module: nn.Module, args: Any) -> None:
        synchronize(self._device)
        self._started = time.perf_counter()

    def _stop(self, kind: str, node: str) -> Any:
        def stop(module: nn.Module, args: Any, output: Any) -> None:
            synchronize(self._device)
            duration = time.perf_counter() - self._started
            self.by_kind[kind] += duration
            self.by_node[node] += duration

        return stop


def shares(converted: Converted, x: Tensor, T: int, repeats: int) -> dict[str, Any]:
    """Milliseconds per timestep by kind of module and by node.

    These are means over `repeats` runs after a first one.
    """
    network = converted.network(x.device)
    stopwatch = Stopwatch(network, x.device)
    steps = network(x, T).steps
    stopwatch.clear()
    whole = sum(seconds(lambda: network(x, T), x.device)[0] for _ in range(repeats))
    n = repeats * steps
    by_node = {node: 1e3 * duration / n for node, duration in stopwatch.by_node.items()}
    return {"steps": steps, "ms_per_step": stopwatch.kinds(whole, n), "by_node": by_node}


def timed_frames(
    stream: Callable[[Tensor], FrameRun], x: list[Tensor], reference: Callable[[], None]
) -> dict[str, Any]:
    """Time every frame but the first WARM + 1, each between two calls of the reference.

    Returns:
        "mean": a later frame as a multiple of a call; "ratios" of each with their median "ratio"
        and first and last "tenths"; "ms", "ann_ms", "frames" and "cuts".
    """
    for frame in x[:WARM]:
        stream(frame)
    later = iter(x[WARM:])
    fresh = []

    def run() -> int:
        fresh.append(stream(next(later)).fresh)
        return 1

    timing = interleaved({"": run}, reference, len(x) - WARM - 1, x[0].device, calls=1)[""]
    tenths = quantiles(timing.ratios, n=10, method="inclusive")
    return {
        "mean": mean(timing.seconds) / mean(timing.reference),
        "ratio": timing.ratio,
        "tenths": [tenths[0], tenths[-1]],
        "ratios": timing.ratios,
        "ms": 1e3 * mean(timing.seconds),
        "ann_ms": 1e3 * mean(timing.reference),
        "frames": len(timing.seconds),
        "cuts": sum(fresh),
    }


def frame_shares(network: SpikingNetwork, x: list[Tensor]) -> dict[str, float]:
    """Milliseconds of a later frame by kind of module."""
    device = x[0].device
    stream = Stream(network)
    stopwatch = Stopwatch(network, device)
    for frame in x[:WARM]:
        stream(frame)
    stopwatch.clear()
    whole = 0.0
    for frame in x[WARM:]:
        whole += seconds(lambda frame=frame: stream(frame), device)[0]
    return stopwatch.kinds(whole, len(x) - WARM)
