"""Time the parts of a benchmark beside the ANN, print their tables, and compare the ratios with
limits.
"""

import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.apps.benchmark import BenchmarkOptions, Rival
from spiking_yolo.convert.converted import Converted
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
# (part, rival, row) -> the largest allowed ratio.
LIMITS = {
    ("one_step", "pytorch", "signed-digits"): 1.1,
    ("steps", "pytorch", "msat"): 1.3,
    ("one_step", "onnxruntime", "signed-digits"): 1.2,
    ("video", "pytorch", "sample clip"): 0.8,
    ("video", "pytorch", "still camera"): 0.16,
    ("video", "onnxruntime", "sample clip"): 0.7,
}
Reference = Callable[[Tensor], Any]
Rows = dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """Runs of one case.

    Attributes:
        seconds: Seconds of each run.
        reference: Seconds of one call of the reference beside each run.
        steps: Timesteps of a run.
    """

    seconds: tuple[float, ...]
    reference: tuple[float, ...]
    steps: int = 1

    @property
    def ratios(self) -> list[float]:
        """One step as a multiple of the reference, for each run."""
        return [s / self.steps / r for s, r in zip(self.seconds, self.reference, strict=True)]

    def figures(self) -> dict[str, Any]:
        """As benchmark.json holds them; "ms" are of one step.

        "ratio" is the median of the ratios, which a machine that is busy for a while does not move.
        """
        return {
            "ratio": median(self.ratios),
            "ratios": self.ratios,
            "ms": 1e3 * median(self.seconds) / self.steps,
            "ann_ms": 1e3 * median(self.reference),
            "steps": self.steps,
        }


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
    pause: float = 0.0,
) -> dict[str, Timing]:
    """Time the cases in turn, `repeats` rounds of them after one that does not count.

    Args:
        cases: Name -> a run, which returns its timesteps.
        reference: Called before and after each run. The median of both counts, so that a machine
            that becomes faster or slower favours neither side.
        repeats: Runs of each case.
        device: Device that the runs use.
        calls: Calls of the reference before and after a run.
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
    before = referred()
    for turn in range(repeats + 1):
        for name, case in cases.items():
            duration, steps[name] = seconds(case, device)
            after = referred()
            if turn:
                runs[name].append(duration)
                beside[name].append(median(before + after))
            before = after
    return {name: Timing(tuple(runs[name]), tuple(beside[name]), steps[name]) for name in cases}


def benchmark(options: BenchmarkOptions) -> dict[str, Any]:
    """Measure the parts of the options against every rival.

    Returns:
        The content of benchmark.json: "machine", "call", and part -> rival -> row -> figures, see
        Timing.figures.

    Raises:
        UserError: A method is unknown, or an extra or a device is missing.
    """
    usable_device(options.device)
    networks = load_all(options)
    spec = next(iter(networks.values())).spec
    photograph = read_image(min(samples_folder().glob("*.jpg")))
    x = preprocess(photograph, spec)[0][None].to(options.device)
    results: dict[str, Any] = {
        "machine": {"threads": torch.get_num_threads(), "cpu": platform.processor(), **versions()},
        "call": {"imgsz": [spec.height, spec.width], "T": options.T, "repeats": options.repeats},
    }
    for rival in options.rivals:
        case = Case(
            options, networks, photograph, x, *ann_run(next(iter(networks.values())), rival, x)
        )
        for part in options.parts:
            results.setdefault(part, {})[rival] = _PARTS[part](case)
    return results


@dataclass(frozen=True)
class Case:
    """What a part of the benchmark is measured on.

    Attributes:
        options: Settings of the benchmark.
        networks: Converted networks by method.
        photograph: uint8 [H, W, 3].
        x: The photograph as the network takes it, [1, 3, H, W].
        rival: Runs the ANN.
        pause: Seconds to wait between a run and the rival, see PAUSE.
    """

    options: BenchmarkOptions
    networks: Mapping[str, Converted]
    photograph: np.ndarray
    x: Tensor
    rival: Reference
    pause: float


def step_rows(case: Case) -> Rows:
    """Method -> figures of a timestep for one photograph."""
    options, x = case.options, case.x
    runs: dict[str, Callable[[], int]] = {}
    for name, converted in case.networks.items():
        network = converted.network(options.device)
        # It may have settled before T steps.
        runs[name] = lambda network=network: network.run(x, options.T).steps
    rival = partial(case.rival, x)
    timings = interleaved(runs, rival, options.repeats, x.device, pause=case.pause)
    return {name: timing.figures() for name, timing in timings.items()}


def one_step_rows(case: Case) -> Rows:
    """The first method at T = 1, from a photograph's pixels to the output and the counts."""
    first = dict(islice(case.networks.items(), 1))
    return step_rows(replace(case, options=replace(case.options, T=1), networks=first))


def video_rows(case: Case) -> Rows:
    """Clip -> figures of a later frame of the first network, whose state stays."""
    first = next(iter(case.networks.values()))
    still = [case.photograph] * case.options.frames
    clips: dict[str, Iterable[np.ndarray]] = {
        "sample clip": frames_of(sample_clip()).images,
        "still camera": still,
    }
    rows: Rows = {}
    for name, images in clips.items():
        frames: list[Tensor] = []
        for image in islice(images, case.options.frames):
            frames.append(preprocess(image, first.spec)[0][None].to(case.x.device))
        stream = Stream(first.network(case.options.device))
        rows[name] = later_frames(stream, frames, case.rival, case.pause)
    return rows


def later_frames(
    stream: Callable[[Tensor], Any], x: list[Tensor], rival: Reference, pause: float = 0.0
) -> Rows:
    """Figures of every frame but the first WARM + 1, each between two calls of the rival.

    Frames differ, so the ratio is of all together.
    """
    for frame in x[:WARM]:
        stream(frame)
    later = iter(x[WARM:])

    def run() -> int:
        stream(next(later))
        return 1

    reference, repeats = partial(rival, x[0]), len(x) - WARM - 1
    timing = interleaved({"": run}, reference, repeats, x[0].device, calls=1, pause=pause)[""]
    return {**timing.figures(), "ratio": mean(timing.seconds) / mean(timing.reference)}


_PARTS = {"one_step": one_step_rows, "steps": step_rows, "video": video_rows}


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


def too_slow(results: Mapping[str, Any]) -> list[str]:
    """A line for every limit that was measured and broken."""
    lines: list[str] = []
    for (part, rival, name), limit in LIMITS.items():
        row = results.get(part, {}).get(rival, {}).get(name)
        if row and row["ratio"] > limit:
            lines.append(
                f"too slow: {part}, {name} / ANN in {rival} is {row['ratio']:.3f}, limit {limit:g}"
            )
    return lines


def table(results: Mapping[str, Any], part: str) -> str:
    """A line per row and rival."""
    lines = [[part, "ANN in", "ratio", "from", "to", "ms", "ANN ms", "steps", "runs"]]
    for rival, rows in results[part].items():
        for name, row in rows.items():
            cells = [
                f"{value:.2f}" for value in (row["ratio"], min(row["ratios"]), max(row["ratios"]))
            ]
            cells += [f"{row['ms']:.1f}", f"{row['ann_ms']:.1f}"]
            lines.append([name, rival, *cells, str(row["steps"]), str(len(row["ratios"]))])
    return columns(lines)
