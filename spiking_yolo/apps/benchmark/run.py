"""Time the parts of a benchmark beside the ANN, and the layers of a later frame."""

import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.apps.benchmark import BenchmarkOptions, Rows
from spiking_yolo.apps.console import write
from spiking_yolo.convert.load import Converted
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.data.video import frames_of
from spiking_yolo.errors import UserError
from spiking_yolo.evaluate.baselines import baseline_of
from spiking_yolo.integer.library import usable_levels
from spiking_yolo.integer.memory import Timing
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.plan import Convolution
from spiking_yolo.integer.state import State
from spiking_yolo.integer.video import Stream
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.io.files import sample_clip, samples_folder, versions
from spiking_yolo.io.text import columns

# The events of a layer take as long as computing it everywhere at the crossing.
GROWTH = ["groups", "changed_%", "ns_per_group", "ms_at_10_%", "ms_everywhere", "crossing_%"]


def layers(converted: Converted, frames: Sequence[Tensor], warm: int) -> Rows:
    """Kind of step -> its milliseconds in a later frame; kernel of convolutions by events, with
    "/ stride" -> medians of what GROWTH names.

    Call it with one thread: a program knows the time of its first thread only.

    Args:
        converted: The network.
        frames: Frames of a video, uint8 [1, 3, H, W].
        warm: First frames that do not count.

    Raises:
        UserError: The network does not run in C.
    """
    network = converted.network(frames[0].device)
    if not (isinstance(network, IntegerNetwork) and network.fast and network.recipe.keeps_frames):
        raise UserError("--parts layers is about later frames in C: choose signed-digits, on a CPU")
    stream, spent = Stream(network), list[Counter[str]]()
    seen: dict[str, list[Timing]] = {}
    for k, frame in enumerate(frames):
        start = time.thread_time_ns()
        stream(frame)
        total = time.thread_time_ns() - start
        state = stream._state
        if k < warm or not isinstance(state, State):
            continue
        spent.append(Counter())
        for one in state.memory.timings():
            spent[-1][one.kind] += one.nanoseconds
            seen.setdefault(one.name, []).append(one)
        # The rest is the noise filter, the steps that PyTorch computes, and the heads.
        spent[-1]["outside of C"] = total - spent[-1].total()
    result: Rows = {kind: {"ms": median(one[kind] for one in spent) / 1e6} for kind in spent[0]}
    kernels: dict[str, list[list[float]]] = {}
    for step in network.plan.steps:
        timings = seen.get(step.node.name, [])
        if isinstance(step, Convolution) and timings and timings[-1].rate and timings[-1].full:
            size, stride = step.whole.levels.shape[2:], step.node.attrs["stride"][0]
            name = "x".join(map(str, size)) + (f" / {stride}" if stride > 1 else "")
            kernels.setdefault(name, []).append(growth(timings))
    for name, rows in sorted(kernels.items()):
        of_kernel = dict(zip(GROWTH, np.median(rows, 0).tolist(), strict=True))
        result[name] = {"convolutions": len(rows), **of_kernel}
    return result


def growth(timings: Sequence[Timing]) -> list[float]:
    """Compute the figures that GROWTH names for a layer in some frames."""
    last = timings[-1]
    changed = median(one.entries for one in timings) / last.groups
    each, everywhere = last.groups * last.rate / 1e6, last.full / 1e6
    return [last.groups, 100 * changed, last.rate, each / 10, everywhere, 100 * everywhere / each]


# The first frames of a video do not count: they build what the later ones use.
WARM = 3
# Seconds by the clock and of the CPU, of all threads, [2].
Seconds = np.ndarray
# Figures that benchmark.json has and its table leaves out.
HIDDEN = ("steps", "ratios")


def figures(spent: Sequence[Seconds], beside: Sequence[Seconds], steps: int) -> dict[str, Any]:
    """Compute the figures of one case for benchmark.json.

    Ratios, of one step to the reference, are medians of the ratios, which a machine that is busy
    for a while does not move.

    Args:
        spent: The time of each run.
        beside: The time of one call of the reference beside each run.
        steps: Timesteps of a run.
    """
    own, others = np.array(spent) / steps, np.array(beside)
    ratios = own / others
    ratio, cpu_ratio = np.median(ratios, 0).tolist()
    result = {"ratio": ratio, "cpu_ratio": cpu_ratio, "from": ratios[:, 0].min().item()}
    result["to"] = ratios[:, 0].max().item()
    for name, times in ("", own), ("ann_", others):
        wall, cpu = (1e3 * np.median(times, 0)).tolist()
        result |= {f"{name}ms": wall, f"{name}cpu_ms": cpu}
    return {**result, "runs": len(spent), "steps": steps, "ratios": ratios[:, 0].tolist()}


def seconds(f: Callable[[], Any], device: torch.device) -> tuple[Seconds, Any]:
    """Seconds that f takes, with the work that it leaves on a GPU, and what it returns."""
    start = now(device)
    value = f()
    return now(device) - start, value


def now(device: torch.device) -> Seconds:
    """Read both clocks once the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return np.array((time.perf_counter(), time.process_time()))


def interleaved(
    cases: Mapping[str, Callable[[], int]],
    reference: Callable[[], Any],
    repeats: int,
    device: torch.device,
    calls: int = 3,
) -> Rows:
    """Time the cases in turn, `repeats` rounds of them after one that does not count.

    Args:
        cases: Name -> a run, which returns its timesteps.
        reference: Called before and after each run. The median of both counts, so that a machine
            that becomes faster or slower favours neither side.
        repeats: Runs of each case.
        device: Device that the runs use.
        calls: Calls of the reference before and after a run, and of a run of a single step, of
            which the median counts; one beside frames of a video.
    """

    def referred() -> list[Seconds]:
        return [seconds(reference, device)[0] for _ in range(calls)]

    runs: dict[str, list[Seconds]] = {name: [] for name in cases}
    beside: dict[str, list[Seconds]] = {name: [] for name in cases}
    steps = dict.fromkeys(cases, 1)
    begin = time.perf_counter()
    before = referred()
    for turn in range(repeats + 1):
        if turn == 1:
            rest = repeats * (time.perf_counter() - begin)
            write(f"{', '.join(cases)}: about {rest:.0f} s", file=sys.stderr)
        for name, case in cases.items():
            times: list[Seconds] = []
            while len(times) < calls and (not times or steps[name] == 1):
                duration, steps[name] = seconds(case, device)
                times.append(duration)
            after = referred()
            if turn:
                runs[name].append(np.median(times, 0))
                beside[name].append(np.median(before + after, 0))
            before = after
    return {name: figures(runs[name], beside[name], steps[name]) for name in cases}


def processor() -> str:
    """The processor's name, which Python does not know on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def benchmark(options: BenchmarkOptions) -> dict[str, Any]:
    """Measure the parts of the options.

    Returns:
        The content of benchmark.json: "machine", "call", and part -> row -> figures.

    Raises:
        UserError: A method is unknown, an extra or a device is missing, or the video is too short.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = usable_device(options.device)
    if "steps" not in options.parts:
        options = replace(options, methods=options.methods[:1])
    networks = options.convert_all()
    first = next(iter(networks.values()))
    photograph = read_image(min(samples_folder().glob("*.jpg")))
    x = preprocess(photograph, first.spec)[0][None].to(device)
    clip = clip_of(first, options) if {"video", "layers"} & {*options.parts} else []
    floats = first.spec.normalised(x)
    reference = partial(baseline_of(first, options.baseline, device), floats)
    call = {
        "imgsz": [first.spec.height, first.spec.width],
        "T": options.T,
        "repeats": options.repeats,
        "baseline": options.baseline,
        "source": options.source or sample_clip().name,
        "frames": len(clip),
        "busy": options.busy,
    }
    machine = {
        "threads": torch.get_num_threads(),
        "cpu": processor(),
        "kernels": usable_levels()[-1],
    }
    results: dict[str, Any] = {"machine": {**machine, **versions()}, "call": call}
    for part in options.parts:
        if part == "video":
            cases, repeats = modes(first, clip, x, options), len(clip) - WARM - 1
            results[part] = interleaved(cases, reference, repeats, device, 1)
            continue
        if part == "layers":
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            results[part] = layers(first, clip, WARM + 1)
            torch.set_num_threads(threads)
            continue
        runs: dict[str, Callable[[], int]] = {}
        for name, converted in networks.items():
            if part == "one_step" and converted is not first:
                continue
            network, T = converted.network(device), 1 if part == "one_step" else options.T
            # A network may settle before T steps.
            runs[name] = lambda network=network, T=T: network.run(x, T).steps
        results[part] = interleaved(runs, reference, options.repeats, device)
    return results


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep so many cores busy with other programs, which end with this one."""
    loop = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
    with ExitStack() as others:
        for _ in range(count):
            other = others.enter_context(subprocess.Popen([sys.executable, "-c", loop]))
            others.callback(other.kill)
        yield


def clip_of(converted: Converted, options: BenchmarkOptions) -> list[Tensor]:
    """The first frames of the source, as the network takes them, uint8 [1, 3, H, W] each."""
    video = frames_of(options.source or sample_clip())
    frames: list[Tensor] = []
    for image in islice(video.frames(), options.frames):
        frames.append(preprocess(image, converted.spec)[0][None].to(options.device))
    if len(frames) <= WARM + 1:
        few = f"has {len(frames)} frames: --source needs {WARM + 2} or more"
        raise UserError(f"{video.name} {few}")
    return frames


def modes(
    converted: Converted, clip: list[Tensor], photograph: Tensor, options: BenchmarkOptions
) -> dict[str, Callable[[], int]]:
    """Mode of a stream -> a function that computes its next frame, after WARM frames."""
    network = converted.network(options.device)
    streams = {"default": Stream(network)}
    if converted.recipe.keeps_frames:
        streams = {"lossless": Stream(network, lossless=True), **streams}
    tuned = options.convert_by(converted.recipe.name, video=True)
    if tuned.recipe.calibration.name != converted.recipe.calibration.name:
        streams[tuned.recipe.calibration.name] = Stream(tuned.network(options.device))
    runs = {name: later_frames(stream, clip) for name, stream in streams.items()}
    return {**runs, "still camera": later_frames(Stream(network), [photograph] * len(clip))}


def later_frames(stream: Callable[[Tensor], Any], frames: list[Tensor]) -> Callable[[], int]:
    """Compute WARM frames, and return a function that computes the next one at each call."""
    for frame in frames[:WARM]:
        stream(frame)
    later = iter(frames[WARM:])

    def run() -> int:
        stream(next(later))
        return 1

    return run


def table(title: str, rows: Rows) -> str:
    """A line per row; rows with other columns are another table."""
    tables: list[str] = []
    for names, part in groupby(rows.items(), lambda row: [k for k in row[1] if k not in HIDDEN]):
        lines = [[title, *[name.replace("_", " ").replace("ann", "ANN") for name in names]]]
        for name, row in part:
            values = [row[key] for key in names]
            lines.append([name, *[str(x) if isinstance(x, int) else f"{x:.2f}" for x in values]])
        tables.append(columns(lines))
    return "\n\n".join(tables)
