"""What tools/benchmark.py does: measure the chosen parts, print them, save them, and compare them with limits."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking_yolo import cli
from spiking_yolo.convert.registry import list_methods
from spiking_yolo.errors import UserError
from spiking_yolo.io.sizes import STRIDE, Size, size_name
from spiking_yolo.models.load import Ann
from spiking_yolo.studies.benchmark import text
from spiking_yolo.studies.benchmark.cases import DEFAULTS, Case, Source, executed
from spiking_yolo.studies.benchmark.limits import Limit, read_limits
from spiking_yolo.studies.benchmark.memory import peak_memory
from spiking_yolo.studies.benchmark.shares import shares
from spiking_yolo.studies.benchmark.timing import Timing, interleaved
from spiking_yolo.studies.benchmark.twin import relu_twin, spikingjelly_run
from spiking_yolo.studies.evaluate.report import versions, write_json

PARTS: tuple[str, ...] = ("steps", "batch", "shares", "memory", "spikingjelly", "growth")
BATCH = 8


def benchmark(args: argparse.Namespace) -> int:
    """Exit status 1 when a limit is broken."""
    limits = read_limits(args.limits) if args.limits else []
    chosen = parts(args.parts)
    if args.threads:
        torch.set_num_threads(args.threads)
    directory = cli.run_directory(args.project, args.name)
    bench = Bench.of(args)
    results: dict[str, Any] = {"machine": machine(), "call": bench.call()}
    print(text.machine(results["machine"]))
    for part in chosen:
        results[part] = getattr(bench, part)()
        print(f"\n{text.PARTS[part](results[part])}")
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "benchmark.json", results, indent=1)
    print(f"\nresults saved to {directory}")
    return verdict(limits, results)


def verdict(limits: list[Limit], results: dict[str, Any]) -> int:
    """Print one line per broken limit and per limit that was not measured; 1 if any is broken."""
    broken = [line for limit in limits if (line := limit.violation(results))]
    for limit in limits:
        if limit.value(results) is None:
            print(f"not measured here: {' / '.join(limit.of)}")
    for line in broken:
        print(f"too slow: {line}", file=sys.stderr)
    return 1 if broken else 0


def parts(names: str) -> list[str]:
    chosen = list(PARTS) if names == "all" else [name.strip() for name in names.split(",")]
    if unknown := [name for name in chosen if name not in PARTS]:
        raise UserError(f"--parts: no part {unknown[0]!r}; choose from {', '.join(PARTS)}, or all")
    return chosen


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        **versions(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@dataclass(frozen=True)
class Bench:
    """The parts of a benchmark, one method each. All figures are milliseconds, MB, or multiples of an ANN forward."""

    source: Source
    ann: Ann
    methods: tuple[Case, ...]
    T: int
    repeats: int
    progress: Callable[[str], Any]

    @classmethod
    def of(cls, args: argparse.Namespace) -> Bench:
        source = Source(args.weights, args.images, args.imgsz, args.device)
        names = list(list_methods()) if args.methods == "all" else args.methods.split(",")
        methods = tuple(Case(name.strip()) for name in names if name)
        return cls(source, source.ann(), methods, args.T, args.repeats, progress())

    def call(self) -> dict[str, Any]:
        return {"weights": self.ann.weights.name, "imgsz": list(self.ann.imgsz), "T": self.T, "repeats": self.repeats}

    def photographs(self, n: int, size: Size | None = None) -> Tensor:
        return self.source.photographs(self.ann.spec, n, size)

    def steps(self) -> dict[str, Any]:
        """Every method, per timestep, one image; the default also in bf16 and compiled, where this machine can."""
        return self._against_ann((*executed(DEFAULTS, self.source.device), *self.methods), 1)

    def batch(self) -> dict[str, Any]:
        """The default with several images at once, per timestep; the ANN gets the same batch."""
        return self._against_ann(executed(DEFAULTS, self.source.device, compiled=False), BATCH)

    def shares(self) -> dict[str, Any]:
        """Where the time of a step goes."""
        x, found = self.photographs(1), {}
        for case in (*DEFAULTS, *self.methods):
            self.progress(case.name)
            found[case.name] = shares(case.convert(self.ann), x, self.T, self.repeats)
        return found

    def memory(self) -> dict[str, Any]:
        """Peak memory, which does not depend on T."""
        found = {}
        for batch in (1, BATCH):
            for case in (None, Case("default"), *self.methods):
                name = case.name if case else "ANN"
                self.progress(name)
                found[f"{name}/batch {batch}"] = peak_memory(self.source, case, batch, min(self.T, 4))
        return found

    def spikingjelly(self) -> dict[str, Any]:
        """T steps of ours as a multiple of T steps of its twin; empty where it is not installed."""
        x = self.photographs(1)
        theirs = spikingjelly_run(self.ann.graph, x, self.T)
        if theirs is None:
            return {}
        what, run = theirs
        cases = {case.full_name: case.run(self.ann, x, self.T) for case in executed(DEFAULTS, self.source.device)}
        twin = Ann(relu_twin(self.ann.graph), self.ann.spec, self.ann.weights, self.ann.sha256)
        cases["p-norm on the twin"] = Case("p-norm").run(twin, x, self.T)
        timings = self._interleaved(cases, run, calls=1)
        return {"twin": what, "runs": {name: {**_row(t), "faster": t.faster} for name, t in timings.items()}}

    def events(self) -> dict[str, Any]:
        """Convolutions that visit single events, by spike rate, beside dense ones."""
        return event_curves(torch.device(self.source.device), self.repeats)

    def growth(self) -> dict[str, Any]:
        """A run's time with T, and a step's with the image's size, as thresholds of the network's own size allow."""
        found = {}
        times = sorted({max(self.T // 8, 1), max(self.T // 4, 1), max(self.T // 2, 1), self.T})
        x = self.photographs(1)
        for case in DEFAULTS:
            runs = {f"{case.name}/T={T}": case.run(self.ann, x, T) for T in times}
            found |= {k: _row(t) for k, t in self._interleaved(runs, self.source.ann_pass(self.ann, x)).items()}
        for size in sorted({scaled(self.ann.imgsz, factor) for factor in (0.5, 0.75, 1, 1.5)}):
            x = self.photographs(1, size)
            runs = {f"{case.name}/{size_name(size)} px": case.run(self.ann, x, self.T) for case in DEFAULTS}
            found |= {k: _row(t) for k, t in self._interleaved(runs, self.source.ann_pass(self.ann, x)).items()}
        return found

    def _against_ann(self, cases: tuple[Case, ...], batch: int) -> dict[str, Any]:
        x = self.photographs(batch)
        runs = {case.full_name: case.run(self.ann, x, self.T) for case in cases}
        timings = self._interleaved(runs, self.source.ann_pass(self.ann, x))
        return {name: _row(timing) for name, timing in timings.items()}

    def _interleaved(self, runs: dict[str, Any], reference: Any, calls: int = 3) -> dict[str, Timing]:
        device = torch.device(self.source.device)
        return interleaved(runs, reference, self.repeats, device, calls, self.progress)


def scaled(size: Size, factor: float) -> Size:
    """The allowed size nearest to a multiple of another."""
    height, width = (STRIDE * max(1, round(side * factor / STRIDE)) for side in size)
    return height, width


def _row(t: Timing) -> dict[str, Any]:
    ms = 1e3 * t.run
    return {"ratio": t.ratio, "ratios": t.ratios, "ms_per_step": ms / t.steps, "ms_of_run": ms, "steps": t.steps}


def progress() -> Callable[[str], Any]:
    """Shows what is being timed, on a terminal."""
    from tqdm import tqdm

    bar = tqdm(bar_format="{desc} [{elapsed}]", leave=False, disable=None)
    return lambda name: bar.set_description_str(name)
