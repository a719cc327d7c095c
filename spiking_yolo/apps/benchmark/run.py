"""Time the parts of a benchmark beside the ANN, print their tables."""

import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.apps.benchmark import BenchmarkOptions, Rival
from spiking_yolo.apps.console import write
from spiking_yolo.convert.load import Converted
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.data.video import frames_of
from spiking_yolo.errors import require
from spiking_yolo.graph import forward
from spiking_yolo.integer.stream import Stream
from spiking_yolo.io.assets import sample_clip, samples_folder
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.io.json import columns
from spiking_yolo.options import load_all, versions

# Seconds in which threads that wait for more work of one library stop spinning.
PAUSE = 0.05
# First frames of a video, which build what the later ones use.
WARM = 3
Reference = Callable[[Tensor], Any]
Rows = dict[str, dict[str, Any]]


def figures(
    spent: Sequence[float], beside: Sequence[float], steps: int, frames: bool = False
) -> dict[str, Any]:
    """What benchmark.json has of one case.

    "ratio", of one step to the reference, is the median of the ratios, which a machine that is busy
    for a while does not move; frames differ, so theirs is of all together.

    Args:
        spent: Seconds of each run.
        beside: Seconds of one call of the reference beside each run.
        steps: Timesteps of a run.
        frames: Whether runs are frames of a video.
    """
    ratios = [s / steps / r for s, r in zip(spent, beside, strict=True)]
    return {
        "ratio": sum(spent) / sum(beside) if frames else median(ratios),
        "ratios": ratios,
        "ms": 1e3 * median(spent) / steps,
        "ann_ms": 1e3 * median(beside),
        "steps": steps,
    }


def seconds(f: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Seconds that f takes, with the work that it leaves on a GPU, and what it returns."""
    gpu = device.type == "cuda"
    if gpu:
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    value = f()
    if gpu:
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, value


def interleaved(
    cases: Mapping[str, Callable[[], int]],
    reference: Callable[[], Any],
    repeats: int,
    device: torch.device,
    calls: int = 3,
    pause: float = 0.0,
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
        pause: Seconds to wait between a run and the reference, see PAUSE.
    """

    def referred() -> list[float]:
        time.sleep(pause)
        times = [seconds(reference, device)[0] for _ in range(calls)]
        time.sleep(pause)
        return times

    runs: dict[str, list[float]] = {name: [] for name in cases}
    beside: dict[str, list[float]] = {name: [] for name in cases}
    steps = dict.fromkeys(cases, 1)
    begin = time.perf_counter()
    before = referred()
    for turn in range(repeats + 1):
        if turn == 1:
            rest = repeats * (time.perf_counter() - begin)
            write(f"{', '.join(cases)}: about {rest:.0f} s", file=sys.stderr)
        for name, case in cases.items():
            times: list[float] = []
            while len(times) < calls and (not times or steps[name] == 1):
                duration, steps[name] = seconds(case, device)
                times.append(duration)
            after = referred()
            if turn:
                runs[name].append(median(times))
                beside[name].append(median(before + after))
            before = after
    return {name: figures(runs[name], beside[name], steps[name], calls == 1) for name in cases}


def benchmark(options: BenchmarkOptions) -> dict[str, Any]:
    """Measure the parts of the options.

    Returns:
        The content of benchmark.json: "machine", "call", and part -> row -> figures.

    Raises:
        UserError: A method is unknown, or an extra or a device is missing.
    """
    device = usable_device(options.device)
    networks = load_all(options)
    first = next(iter(networks.values()))
    photograph = read_image(min(samples_folder().glob("*.jpg")))
    x = preprocess(photograph, first.spec)[0][None].to(device)
    floats = first.spec.normalised(x)
    rival, pause = ann_run(first, options.rival, floats)
    imgsz = [first.spec.height, first.spec.width]
    call = {"imgsz": imgsz, "T": options.T, "repeats": options.repeats, "rival": options.rival}
    results: dict[str, Any] = {
        "machine": {"threads": torch.get_num_threads(), "cpu": platform.processor(), **versions()},
        "call": call,
    }
    for part in options.parts:
        if part == "video":
            results[part] = video_rows(first, photograph, options, rival, pause)
            continue
        runs: dict[str, Callable[[], int]] = {}
        for name, converted in networks.items():
            if part == "one_step" and converted is not first:
                continue
            network, T = converted.network(device), 1 if part == "one_step" else options.T
            # It may have settled before T steps.
            runs[name] = lambda network=network, T=T: network.run(x, T).steps
        reference = partial(rival, floats)
        results[part] = interleaved(runs, reference, options.repeats, device, pause=pause)
    return results


def video_rows(
    converted: Converted,
    photograph: np.ndarray,
    options: BenchmarkOptions,
    rival: Reference,
    pause: float,
) -> Rows:
    """Clip -> figures of a later frame, whose state stays."""
    clips: dict[str, Iterable[np.ndarray]] = {
        "sample clip": frames_of(sample_clip()).frames(),
        "still camera": [photograph] * options.frames,
    }
    rows: Rows = {}
    for name, images in clips.items():
        frames: list[Tensor] = []
        for image in islice(images, options.frames):
            frames.append(preprocess(image, converted.spec)[0][None].to(options.device))
        reference = partial(rival, converted.spec.normalised(frames[0]))
        stream = Stream(converted.network(options.device))
        rows[name] = later_frames(stream, frames, reference, pause)
    return rows


def later_frames(
    stream: Callable[[Tensor], Any],
    x: list[Tensor],
    reference: Callable[[], Any],
    pause: float = 0.0,
) -> dict[str, Any]:
    """Figures of every frame but the first WARM + 1, each between two calls of the reference."""
    for frame in x[:WARM]:
        stream(frame)
    later = iter(x[WARM:])

    def run() -> int:
        stream(next(later))
        return 1

    name, repeats = "later frames", len(x) - WARM - 1
    return interleaved({name: run}, reference, repeats, x[0].device, calls=1, pause=pause)[name]


def ann_run(converted: Converted, rival: Rival, x: Tensor) -> tuple[Reference, float]:
    """A forward pass of the ANN in float32, and the pause that it needs beside PyTorch."""
    if rival == "onnxruntime":
        return onnxruntime(converted), PAUSE
    graph = converted.graph.to(x.device)

    @torch.no_grad()
    def run(x: Tensor) -> None:
        forward(graph, x)

    return run, 0.0


def onnxruntime(converted: Converted) -> Reference:
    """The ANN in onnxruntime, float32."""
    onnx, ort = require("onnx", "onnx"), require("onnxruntime", "onnx")
    require("onnxscript", "onnx")
    from spiking_yolo.onnx.model import ann_model

    # Photographs come normalised.
    spec = replace(converted.spec, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait by spinning slow whatever runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ann.onnx"
        onnx.save(ann_model(converted.graph, spec), path)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"images": x.cpu().numpy()})


def table(results: Mapping[str, Any], part: str) -> str:
    """A line per row."""
    lines = [[part, "ratio", "from", "to", "ms", "ANN ms", "steps", "runs"]]
    for name, row in results[part].items():
        ratios = row["ratios"]
        cells = [f"{value:.2f}" for value in (row["ratio"], min(ratios), max(ratios))]
        cells += [f"{row['ms']:.1f}", f"{row['ann_ms']:.1f}"]
        lines.append([name, *cells, str(row["steps"]), str(len(ratios))])
    return columns(lines)
