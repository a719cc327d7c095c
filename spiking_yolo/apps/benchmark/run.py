"""Run the parts of a benchmark, print their tables, and compare the results with limits."""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
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
    clips,
    executed,
    photographs,
    relu_twin,
    spikingjelly_run,
)
from spiking_yolo.apps.benchmark.race import runtimes
from spiking_yolo.apps.benchmark.timing import (
    WARM,
    Timing,
    frame_shares,
    interleaved,
    peak_memory,
    shares,
    timed_frames,
)
from spiking_yolo.apps.evaluate.scoring import CocoScorer
from spiking_yolo.convert.load import of_all
from spiking_yolo.convert.methods import get_recipe, list_methods
from spiking_yolo.data.images import preprocess
from spiking_yolo.data.video import frames_of
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.io.names import STRIDE, Size, size_name
from spiking_yolo.io.tables import columns, percent
from spiking_yolo.models.load import Ann
from spiking_yolo.options import load_ann, versions
from spiking_yolo.snn.stream import Stream

BATCH = 8
CALLS = {"help": ("detect", "--help"), "missing file": ("detect", "no-such-file.jpg")}


@dataclass(frozen=True)
class Limit:
    """A bound on one ratio.

    Attributes:
        of: The path to it in the results, e.g. ("steps", "msat/float32/eager", "ratio").
        at_most: The largest value allowed, or None.
        at_least: The smallest value allowed, or None.
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
        """One line if the measured ratio breaks the limit, else None."""
        value = self.value(results)
        name = " / ".join(self.of)
        if value is not None and self.at_most is not None and value > self.at_most:
            return f"{name} is {value:.3f}, above its limit {self.at_most:g}"
        if value is not None and self.at_least is not None and value < self.at_least:
            return f"{name} is {value:.3f}, below its limit {self.at_least:g}"
        return None


def read_limits(path: Path) -> list[Limit]:
    """The limits of a .json file: a list of {"of": [...], "at_most" or "at_least": number}."""
    try:
        entries = json.loads(path.read_text())
        return [Limit(tuple(map(str, entry.pop("of"))), **entry) for entry in entries]
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
        table.append([name, *(f"{ratio:.2f}" for ratio in ratios), *times])
    return columns(table)


def _shares(title: str, by_name: Mapping[str, Mapping[str, float]]) -> str:
    """A line of milliseconds by kind of module, and their sum."""
    kinds = list(next(iter(by_name.values())))
    table = [[title, *kinds, "sum"]]
    for name, times in by_name.items():
        total = sum(times.values())
        table.append([name, *(f"{ms:.1f}" for ms in (*times.values(), total))])
    return columns(table)


def _memory(peaks: Mapping[str, float | None]) -> str:
    table = [["peak memory of the process", "MB"]]
    for name, mb in peaks.items():
        table.append([name, "unknown" if mb is None else f"{mb:.0f}"])
    return columns(table)


def _spikingjelly(part: Mapping[str, Any]) -> str:
    if not part:
        return "spikingjelly 2 is not installed: no comparison with it"
    table = [["the same T steps", "times faster", "s per run", "steps"]]
    for name, row in part["runs"].items():
        seconds = f"{row['ms_of_run'] / 1e3:.3g}"
        table.append([name, f"{row['faster']:.2f}", seconds, str(row["steps"])])
    return f"against {part['twin']}\n{columns(table)}"


def _video(rows: Mapping[str, Any]) -> str:
    table = [
        ["a later frame of", "mean", "median", "10 %", "90 %", "ms", "ANN ms", "frames", "cuts"]
    ]
    for name, row in rows.items():
        ratios = row["mean"], row["ratio"], *row["tenths"]
        numbers = f"{row['ms']:.1f}", f"{row['ann_ms']:.1f}", str(row["frames"]), str(row["cuts"])
        table.append([name, *(f"{ratio:.2f}" for ratio in ratios), *numbers])
    times = _shares("ms per frame", {name: row["ms_by_kind"] for name, row in rows.items()})
    return f"{columns(table)}\n\n{times}"


MULTIPLES = {"of_onnxruntime": "/ ORT", "of_fastest_alike": "/ alike", "of_fastest": "/ fastest"}


def _runtimes(part: Mapping[str, Any]) -> str:
    if "refusal" in part:
        return f"runtimes: {part['refusal']}"
    scores = CocoScorer.main if "photographs" in part else ()
    still = [["a photograph", "ms", "least", *MULTIPLES.values(), *scores]]
    refusals = []
    for name, row in part["still"].items():
        if "refusal" in row:
            refusals.append(f"{name}: {row['refusal']}")
            continue
        accuracy = [percent(row[score]) for score in scores]
        still.append([name, *_numbers(row, "ms", "least_ms"), *_multiples(row), *accuracy])
    video = [["a later frame of", "ms", *MULTIPLES.values(), "frames"]]
    for name, row in part["video"].items():
        video.append([name, *_numbers(row, "ms"), *_multiples(row), str(row["frames"])])
    winners = part["fastest"]
    notes = [
        "/ ORT: a multiple of the ANN in onnxruntime in float32",
        f"/ alike: of the fastest ANN of the same precision (float32: {winners['float32']})",
        f"/ fastest: of the fastest ANN ({winners['all']})",
        f"int8: calibrated on {part['calibration']} photographs",
    ]
    if scores:
        notes.append(f"mAP in percent, {part['photographs']} photographs of --data")
    return "\n".join([columns(still), *refusals, *notes, "", columns(video)])


def _numbers(row: Mapping[str, float], *keys: str) -> list[str]:
    return [f"{row[key]:.1f}" for key in keys]


def _multiples(row: Mapping[str, float]) -> list[str]:
    return [f"{row[key]:.2f}" for key in MULTIPLES]


def _start(rows: Mapping[str, Any]) -> str:
    table = [["from the call to its end", "s"]]
    for name, row in rows.items():
        table.append([name, f"{row['s']:.2f}"])
    return columns(table)


# Part of the results -> its text.
TABLES: dict[str, Callable[[Any], str]] = {
    "machine": machine_text,
    "one_step": lambda rows: _timed("one image, T=1", rows),
    "steps": lambda rows: _timed("one image", rows),
    "batch": lambda rows: _timed("eight images", rows),
    "shares": lambda rows: _shares(
        "ms per step", {name: row["ms_per_step"] for name, row in rows.items()}
    ),
    "memory": _memory,
    "spikingjelly": _spikingjelly,
    "growth": lambda rows: _timed("growth", rows),
    "video": _video,
    "runtimes": _runtimes,
    "start": _start,
}


def benchmark(
    options: BenchmarkOptions = BenchmarkOptions(),  # noqa: B008
    progress: Callable[[str], Any] = lambda name: None,
    measured: Callable[[str, Any], Any] = lambda part, figures: None,
) -> dict[str, Any]:
    """Measure the parts of the options.

    Args:
        options: What is timed, and how often.
        progress: Called with a name before each run.
        measured: Called with a part's name and figures after each part, first with "machine".

    Returns:
        The content of benchmark.json: "machine", "call", and by part milliseconds, MB, or multiples
        of one forward pass of the ANN.

    Raises:
        UserError: A method is unknown, a file is missing, or a device is.
    """
    usable_device(options.device)
    for path in options.video:
        # Refused now rather than after minutes.
        frames_of(path)
    every = options.methods == ("all",)
    recipes = {name: get_recipe(name) for name in (list_methods() if every else options.methods)}
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads or threads)
    try:
        ann = load_ann(options)
        if every:
            recipes = of_all(ann, recipes)
        bench = _Bench(options, ann, tuple(map(Case, recipes)), progress)
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
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@dataclass(frozen=True)
class _Bench:
    """The parts of a benchmark, one method each."""

    options: BenchmarkOptions
    ann: Ann
    methods: tuple[Case, ...]
    progress: Callable[[str], Any]

    def one_step(self) -> dict[str, Any]:
        """The default at T = 1, from an image's pixels to the output and the counts."""
        return self._against_ann(executed(ALWAYS[:1], self.options.device), T=1)

    def steps(self) -> dict[str, Any]:
        """Every method, per timestep; those of ALWAYS in all ways that this machine can."""
        return self._against_ann((*executed(ALWAYS, self.options.device), *self.methods))

    def batch(self) -> dict[str, Any]:
        """Those of ALWAYS with several images at once; the ANN gets the same batch."""
        return self._against_ann(executed(ALWAYS, self.options.device, compiled=False), BATCH)

    def shares(self) -> dict[str, Any]:
        """Where the time of a step goes."""
        x = self._photographs(1)
        rows = {}
        for case in (*ALWAYS, *self.methods):
            self.progress(case.name)
            converted = case.convert(self.ann)
            rows[case.name] = shares(converted, x, self.options.T, self.options.repeats)
        return rows

    def memory(self) -> dict[str, Any]:
        """Peak memory, which does not depend on T."""
        T = min(self.options.T, 4)
        peaks = {}
        for batch in (1, BATCH):
            for case in (None, Case("default"), *self.methods):
                name = case.name if case else "ANN"
                self.progress(name)
                peaks[f"{name}/batch {batch}"] = peak_memory(self.options, case, batch, T)
        return peaks

    def spikingjelly(self) -> dict[str, Any]:
        """T steps of ours as a multiple of T steps of its twin; empty if it is not installed."""
        x, T = self._photographs(1), self.options.T
        theirs = spikingjelly_run(self.ann.graph, x, T)
        if theirs is None:
            return {}
        description, run = theirs
        runs = {}
        for case in executed(ALWAYS, self.options.device):
            runs[case.full_name] = case.run(self.ann, x, T)
        twin = Ann(relu_twin(self.ann.graph), self.ann.spec, self.ann.weights, self.ann.sha256)
        runs["p-norm on the twin"] = Case("p-norm").run(twin, x, T)
        rows = {}
        for name, timing in self._interleaved(runs, run, calls=1).items():
            rows[name] = {**_figures(timing), "faster": timing.faster}
        return {"twin": description, "runs": rows}

    def growth(self) -> dict[str, Any]:
        """How a run's time grows with T, and a step's with the image's size.

        Thresholds are those of the network's own size.
        """
        T = self.options.T
        x = self._photographs(1)
        rows = {}
        for case in ALWAYS:
            times = sorted({max(T // 8, 1), max(T // 4, 1), max(T // 2, 1), T})
            runs = {f"{case.name}/T={t}": case.run(self.ann, x, t) for t in times}
            rows |= self._beside_ann(runs, x)
        for size in sorted({scaled(self.ann.imgsz, factor) for factor in (0.5, 0.75, 1, 1.5)}):
            x = self._photographs(1, size)
            name = size_name(size)
            runs = {f"{case.name}/{name} px": case.run(self.ann, x, T) for case in ALWAYS}
            rows |= self._beside_ann(runs, x)
        return rows

    def video(self) -> dict[str, Any]:
        """A later frame of videos, whose state stays and of which only changes are sent.

        The goals are at most .35 of a pass of the ANN in a room, .7 on a road, and never above 1.3,
        with a moving camera: limits.json has what the clips of the package must keep to, and
        docs/performance.md what was measured.

        Raises:
            UserError: A clip is too short.
        """
        rows = {}
        device = self.options.device
        converted = Case("default").convert(self.ann)
        for name, images in clips(self.options).items():
            x = []
            for image in islice(images, self.options.frames):
                x.append(preprocess(image, self.ann.spec)[0][None].to(device))
            if len(x) < WARM + 3:
                raise UserError(f"{name} has {len(x)} frames: give a video of {WARM + 3} or more")
            self.progress(name)
            reference = ann_pass(self.ann, x[0])
            rows[name] = timed_frames(Stream(converted.network(device)), x, reference)
            rows[name]["ms_by_kind"] = frame_shares(converted.network(device), x)
        return rows

    def runtimes(self) -> dict[str, Any]:
        """The ANN and the default in the runtimes that people use."""
        return runtimes(self.options, self.ann, self.progress)

    def start(self) -> dict[str, Any]:
        """How long the command takes to print its help, and to refuse a missing file.

        Each is the median of several runs in processes of their own.
        """
        rows = {}
        for name, call in CALLS.items():
            command = [sys.executable, "-m", "spiking_yolo.cli", *call]
            seconds = []
            for _ in range(self.options.repeats):
                began = time.perf_counter()
                subprocess.run(command, capture_output=True, check=False)
                seconds.append(time.perf_counter() - began)
            rows[name] = {"s": median(seconds)}
        return rows

    def _photographs(self, n: int, size: Size | None = None) -> Tensor:
        return photographs(self.options, self.ann.spec, n, size)

    def _against_ann(
        self, cases: tuple[Case, ...], batch: int = 1, T: int | None = None
    ) -> dict[str, Any]:
        x = self._photographs(batch)
        runs = {case.full_name: case.run(self.ann, x, T or self.options.T) for case in cases}
        return self._beside_ann(runs, x)

    def _beside_ann(self, runs: Mapping[str, Callable[[], int]], x: Tensor) -> dict[str, Any]:
        timings = self._interleaved(runs, ann_pass(self.ann, x))
        return {name: _figures(timing) for name, timing in timings.items()}

    def _interleaved(
        self, runs: Mapping[str, Callable[[], int]], reference: Any, calls: int = 3
    ) -> dict[str, Timing]:
        device = torch.device(self.options.device)
        return interleaved(runs, reference, self.options.repeats, device, calls, self.progress)


def scaled(size: Size, factor: float) -> Size:
    """The allowed size nearest to a multiple of another."""
    height, width = (STRIDE * max(1, round(side * factor / STRIDE)) for side in size)
    return height, width


def _figures(timing: Timing) -> dict[str, Any]:
    ms = 1e3 * timing.run
    return {
        "ratio": timing.ratio,
        "ratios": timing.ratios,
        "ms_per_step": ms / timing.steps,
        "ms_of_run": ms,
        "steps": timing.steps,
    }
