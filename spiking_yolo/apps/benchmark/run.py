"""How long the command takes before it does anything: to print its help, and to refuse a file that
is not there.
"""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from spiking_yolo.apps.benchmark import BenchmarkOptions
from spiking_yolo.apps.benchmark.cases import (
    ALWAYS,
    Case,
    ann_pass,
    executed,
    photographs,
    relu_twin,
    spikingjelly_run,
)
from spiking_yolo.apps.benchmark.timing import Timing, interleaved, peak_memory, shares
from spiking_yolo.apps.benchmark.video import video
from spiking_yolo.convert.methods import get_recipe, list_methods
from spiking_yolo.data.video import frames_of
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.io.names import STRIDE, Size, size_name
from spiking_yolo.io.tables import columns
from spiking_yolo.models.load import Ann
from spiking_yolo.options import load_ann, versions

CALLS = {"help": ("detect", "--help"), "missing file": ("detect", "no-such-file.jpg")}


def start(repeats: int) -> dict[str, dict[str, float]]:
    """Call -> "s", the median of so many runs in a process of its own."""
    return {
        name: {"s": median(_seconds(call) for _ in range(repeats))} for name, call in CALLS.items()
    }


def _seconds(call: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "spiking_yolo.cli", *call], capture_output=True, check=False
    )
    return time.perf_counter() - began


@dataclass(frozen=True)
class Limit:
    """A bound on one ratio. of: the path to it in the results, e.g. ("steps", "msat/float32/eager",
    "ratio").
    """

    of: tuple[str, ...]
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise UserError(f"limit of {'/'.join(self.of)}: give either at_most or at_least")

    def value(self, results: Mapping[str, Any]) -> float | None:
        """The measured ratio; None where this machine did not measure it."""
        value: Any = results
        for part in self.of:
            if not isinstance(value, Mapping) or part not in value:
                return None
            value = value[part]
        return float(value)

    def violation(self, results: Mapping[str, Any]) -> str | None:
        """One line when the measured ratio breaks the limit, else None."""
        value, name = self.value(results), " / ".join(self.of)
        if value is not None and self.at_most is not None and value > self.at_most:
            return f"{name} is {value:.3f}, above its limit {self.at_most:g}"
        if value is not None and self.at_least is not None and value < self.at_least:
            return f"{name} is {value:.3f}, below its limit {self.at_least:g}"
        return None


def read_limits(path: Path) -> list[Limit]:
    """The limits of a .json file: a list of {"of": [...], "at_most" or "at_least": number}."""
    try:
        return [
            Limit(tuple(map(str, entry.pop("of"))), **entry)
            for entry in json.loads(path.read_text())
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"cannot read the limits {path}: {error}") from error


def machine_text(machine: Mapping[str, Any]) -> str:
    return (
        f"{machine['processor']}, {machine['threads']} threads, {machine['capability']}, torch"
        f" {machine['torch']}. Ratios are to one forward pass of the ANN beside each run"
    )


def _timed(title: str, rows: Mapping[str, Any]) -> str:
    table = [[title, "ratio", "from", "to", "ms per step", "steps", "s per run"]]
    for name, row in rows.items():
        ratios = row["ratio"], min(row["ratios"]), max(row["ratios"])
        times = f"{row['ms_per_step']:.1f}", str(row["steps"]), f"{row['ms_of_run'] / 1e3:.3g}"
        table.append([name, *(f"{r:.2f}" for r in ratios), *times])
    return columns(table)


def _shares(rows: Mapping[str, Any]) -> str:
    kinds = list(next(iter(rows.values()))["ms_per_step"])
    table = [["ms per step", *kinds, "sum"]]
    for name, row in rows.items():
        times = row["ms_per_step"]
        table.append(
            [name, *(f"{times[kind]:.1f}" for kind in kinds), f"{sum(times.values()):.1f}"]
        )
    return columns(table)


def _memory(peaks: Mapping[str, float | None]) -> str:
    rows = ([name, "unknown" if mb is None else f"{mb:.0f}"] for name, mb in peaks.items())
    return columns([["peak memory of the process", "MB"], *rows])


def _spikingjelly(part: Mapping[str, Any]) -> str:
    if not part:
        return "spikingjelly 2 is not installed: no comparison with it"
    table = [["the same T steps", "times faster", "s per run", "steps"]]
    for name, row in part["runs"].items():
        table.append(
            [name, f"{row['faster']:.2f}", f"{row['ms_of_run'] / 1e3:.3g}", str(row["steps"])]
        )
    return f"against {part['twin']}\n{columns(table)}"


def _video(rows: Mapping[str, Any]) -> str:
    kinds = list(next(iter(rows.values()))["ms_by_kind"])
    table = [
        ["a later frame of", "mean", "median", "10 %", "90 %", "ms", "ANN ms", "frames", "cuts"]
    ]
    times = [["ms per frame", *kinds, "sum"]]
    for name, row in rows.items():
        ratios = row["mean"], row["ratio"], *row["tenths"]
        numbers = f"{row['ms']:.1f}", f"{row['ann_ms']:.1f}", str(row["frames"]), str(row["cuts"])
        table.append([name, *(f"{r:.2f}" for r in ratios), *numbers])
        taken = row["ms_by_kind"].values()
        times.append([name, *(f"{ms:.1f}" for ms in taken), f"{sum(taken):.1f}"])
    return f"{columns(table)}\n\n{columns(times)}"


def _start(rows: Mapping[str, Any]) -> str:
    return columns(
        [
            ["from the call to its end", "s"],
            *([name, f"{row['s']:.2f}"] for name, row in rows.items()),
        ]
    )


TABLES = {
    "machine": machine_text,
    "one_step": lambda rows: _timed("one image, T=1", rows),
    "steps": lambda rows: _timed("one image", rows),
    "batch": lambda rows: _timed("eight images", rows),
    "shares": _shares,
    "memory": _memory,
    "spikingjelly": _spikingjelly,
    "growth": lambda rows: _timed("growth", rows),
    "video": _video,
    "start": _start,
}

BATCH = 8


def benchmark(
    options: BenchmarkOptions = BenchmarkOptions(),  # noqa: B008
    progress: Callable[[str], Any] = lambda name: None,
    measured: Callable[[str, Any], Any] = lambda part, figures: None,
) -> dict[str, Any]:
    """Measure the parts of the options.

    Returns the content of benchmark.json: "machine", "call", and by part milliseconds, MB, or
    multiples of one forward pass of the ANN. progress(name) is called before each run,
    measured(part, figures) after each part, first with "machine". Raises UserError for an unknown
    method, missing files, and a device that is not there.
    """
    usable_device(options.device)
    for path in options.video:
        # Refused now rather than after minutes.
        frames_of(path)
    names = list(list_methods()) if options.methods == ("all",) else options.methods
    for name in names:
        get_recipe(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads or threads)
    try:
        ann = load_ann(options)
        bench = _Bench(options, ann, tuple(map(Case, names)), progress)
        call = {
            "weights": ann.weights.name,
            "imgsz": list(ann.imgsz),
            "T": options.T,
            "repeats": options.repeats,
        }
        results: dict[str, Any] = {"machine": machine(), "call": call}
        measured("machine", results["machine"])
        for part in options.parts:
            results[part] = getattr(bench, part)()
            measured(part, results[part])
    finally:
        torch.set_num_threads(threads)
    return results


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
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@dataclass(frozen=True)
class _Bench:
    """The parts of a benchmark, one method each."""

    options: BenchmarkOptions
    ann: Ann
    methods: tuple[Case, ...]
    progress: Callable[[str], Any]

    def one_step(self) -> dict[str, Any]:
        """All that the default does for an image at T = 1, from its pixels to the output and the
        counts.
        """
        x, first = self._photographs(1), executed(ALWAYS[:1], self.options.device)
        return self._beside_ann({case.full_name: case.run(self.ann, x, 1) for case in first}, x)

    def steps(self) -> dict[str, Any]:
        """Every method, per timestep, one image; some also in bf16 and compiled, where this machine
        can.
        """
        return self._against_ann((*executed(ALWAYS, self.options.device), *self.methods), 1)

    def batch(self) -> dict[str, Any]:
        """Those of ALWAYS with several images at once, per timestep; the ANN gets the same
        batch.
        """
        return self._against_ann(executed(ALWAYS, self.options.device, compiled=False), BATCH)

    def shares(self) -> dict[str, Any]:
        """Where the time of a step goes."""
        x, rows = self._photographs(1), {}
        for case in (*ALWAYS, *self.methods):
            self.progress(case.name)
            rows[case.name] = shares(
                case.convert(self.ann), x, self.options.T, self.options.repeats
            )
        return rows

    def memory(self) -> dict[str, Any]:
        """Peak memory, which does not depend on T."""
        peaks = {}
        for batch in (1, BATCH):
            for case in (None, Case("default"), *self.methods):
                name = case.name if case else "ANN"
                self.progress(name)
                peaks[f"{name}/batch {batch}"] = peak_memory(
                    self.options, case, batch, min(self.options.T, 4)
                )
        return peaks

    def spikingjelly(self) -> dict[str, Any]:
        """T steps of ours as a multiple of T steps of its twin; empty where it is not installed."""
        x, T = self._photographs(1), self.options.T
        theirs = spikingjelly_run(self.ann.graph, x, T)
        if theirs is None:
            return {}
        what, run = theirs
        cases = {
            case.full_name: case.run(self.ann, x, T)
            for case in executed(ALWAYS, self.options.device)
        }
        twin = Ann(relu_twin(self.ann.graph), self.ann.spec, self.ann.weights, self.ann.sha256)
        cases["p-norm on the twin"] = Case("p-norm").run(twin, x, T)
        timings = self._interleaved(cases, run, calls=1)
        return {
            "twin": what,
            "runs": {name: {**_figures(t), "faster": t.faster} for name, t in timings.items()},
        }

    def growth(self) -> dict[str, Any]:
        """A run's time with T, and a step's with the image's size, as thresholds of the network's
        own size allow.
        """
        rows, T = {}, self.options.T
        x = self._photographs(1)
        for case in ALWAYS:
            times = sorted({max(T // 8, 1), max(T // 4, 1), max(T // 2, 1), T})
            rows |= self._beside_ann(
                {f"{case.name}/T={t}": case.run(self.ann, x, t) for t in times}, x
            )
        for size in sorted({scaled(self.ann.imgsz, factor) for factor in (0.5, 0.75, 1, 1.5)}):
            x = self._photographs(1, size)
            runs = {
                f"{case.name}/{size_name(size)} px": case.run(self.ann, x, T) for case in ALWAYS
            }
            rows |= self._beside_ann(runs, x)
        return rows

    def video(self) -> dict[str, Any]:
        """A later frame of videos, whose state stays."""
        return video(self.ann, self.options, self.progress)

    def start(self) -> dict[str, Any]:
        """The command's help, and a mistake."""
        return start(self.options.repeats)

    def _photographs(self, n: int, size: Size | None = None) -> Tensor:
        return photographs(self.options, self.ann.spec, n, size)

    def _against_ann(self, cases: tuple[Case, ...], batch: int) -> dict[str, Any]:
        x = self._photographs(batch)
        return self._beside_ann(
            {case.full_name: case.run(self.ann, x, self.options.T) for case in cases}, x
        )

    def _beside_ann(self, runs: dict[str, Callable[[], int]], x: Tensor) -> dict[str, Any]:
        return {
            name: _figures(t) for name, t in self._interleaved(runs, ann_pass(self.ann, x)).items()
        }

    def _interleaved(
        self, runs: Mapping[str, Callable[[], int]], reference: Any, calls: int = 3
    ) -> dict[str, Timing]:
        device = torch.device(self.options.device)
        return interleaved(runs, reference, self.options.repeats, device, calls, self.progress)


def scaled(size: Size, factor: float) -> Size:
    """The allowed size nearest to a multiple of another."""
    height, width = (STRIDE * max(1, round(side * factor / STRIDE)) for side in size)
    return height, width


def _figures(t: Timing) -> dict[str, Any]:
    ms = 1e3 * t.run
    return {
        "ratio": t.ratio,
        "ratios": t.ratios,
        "ms_per_step": ms / t.steps,
        "ms_of_run": ms,
        "steps": t.steps,
    }
