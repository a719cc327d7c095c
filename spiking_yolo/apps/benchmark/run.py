"""Time the parts of a benchmark beside the ANN, print their tables, and compare the ratios with
limits.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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

from spiking_yolo.apps.benchmark import BenchmarkOptions
from spiking_yolo.convert.converted import Converted
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.data.sources import expand, is_stream
from spiking_yolo.data.video import frames_of
from spiking_yolo.errors import UserError, require
from spiking_yolo.graph import Graph, forward
from spiking_yolo.integer.stream import Stream
from spiking_yolo.io.assets import sample_clip, samples_folder
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.io.json import columns
from spiking_yolo.models.spec import Spec
from spiking_yolo.options import load_all, versions

# Seconds in which threads that wait for more work of one library stop spinning.
PAUSE = 0.05


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

    @property
    def ratio(self) -> float:
        """The median of the ratios, which a machine that is busy for a while does not move."""
        return median(self.ratios)

    def figures(self) -> dict[str, Any]:
        """As benchmark.json holds them.

        "ratio" is of medians, "mean" of all runs together, for frames that differ; "ms" are of one
        step.
        """
        return {
            "ratio": self.ratio,
            "mean": mean(self.seconds) / mean(self.reference) / self.steps,
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


# First frames of a video, which build what the later ones use.
WARM = 3
# Photographs that int8 models are calibrated on, at most.
CALIBRATION = 100


@dataclass(frozen=True)
class Limit:
    """The largest allowed ratio: its place in the results, and which one, "ratio" or "mean"."""

    part: str
    rival: str
    name: str
    figure: str
    at_most: float

    def ratio(self, results: Mapping[str, Any]) -> float | None:
        """The measured ratio; None where this machine did not measure it."""
        row = results.get(self.part, {}).get(self.rival, {}).get(self.name)
        return row and row[self.figure]

    def __str__(self) -> str:
        return f"{self.part}, {self.name} / ANN in {self.rival} ({self.figure})"


LIMITS = (
    Limit("one_step", "pytorch", "signed-digits", "ratio", 1.1),
    Limit("steps", "pytorch", "msat", "ratio", 1.3),
    Limit("one_step", "onnxruntime", "signed-digits", "ratio", 1.2),
    Limit("video", "pytorch", "sample clip", "mean", 0.8),
    Limit("video", "pytorch", "still camera", "mean", 0.16),
    Limit("video", "onnxruntime", "sample clip", "mean", 0.7),
)


def benchmark(options: BenchmarkOptions) -> dict[str, Any]:
    """Measure the parts of the options against every rival.

    Returns:
        The content of benchmark.json: "machine", "call", and part -> rival -> row -> figures, see
        Timing.figures.

    Raises:
        UserError: A method is unknown, a file, an extra or a device is missing, or a clip is too
            short.
    """
    usable_device(options.device)
    for path in options.video:
        # Refused now rather than after minutes.
        frames_of(path)
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads or threads)
    try:
        networks = load_all(options)
        first = next(iter(networks.values()))
        call = {
            "weights": (options.weights or Path("yolov3-tiny")).name,
            "imgsz": [first.spec.height, first.spec.width],
            "T": options.T,
            "repeats": options.repeats,
        }
        results: dict[str, Any] = {"machine": machine(), "call": call}
        photographs = read_photographs(options, first.spec)
        with TemporaryDirectory() as folder:
            for rival in options.rivals:
                run = _RIVALS[rival](first, photographs, Path(folder))
                pause = 0.0
                if rival != "pytorch":
                    pause = PAUSE
                case = Case(options, networks, photographs[:1], run, pause)
                for part in options.parts:
                    results.setdefault(part, {})[rival] = _PARTS[part](case)
    finally:
        torch.set_num_threads(threads)
    return results


def read_photographs(options: BenchmarkOptions, spec: Spec) -> Tensor:
    """[n, 3, H, W]: the photographs of the folder as the network takes them."""
    paths = photograph_paths(options)[:CALIBRATION]
    x = torch.stack([preprocess(read_image(path), spec)[0] for path in paths])
    return x.to(options.device)


def photograph_paths(options: BenchmarkOptions) -> list[str]:
    paths = expand([str(options.images or samples_folder())])
    return [path for path in paths if not is_stream(path)]


Reference = Callable[[Tensor], Any]
Rows = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What a part of the benchmark is measured on.

    Attributes:
        options: Settings of the benchmark.
        networks: Converted networks by method.
        x: The photograph, [1, 3, H, W].
        rival: Runs the ANN.
        pause: Seconds to wait between a run and the rival, see PAUSE.
    """

    options: BenchmarkOptions
    networks: Mapping[str, Converted]
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
    options = case.options
    first = next(iter(case.networks.values()))
    rows: Rows = {}
    for name, images in clips(options).items():
        frames = []
        for image in islice(images, options.frames):
            frames.append(preprocess(image, first.spec)[0][None].to(case.x.device))
        if len(frames) < WARM + 3:
            raise UserError(f"{name} has {len(frames)} frames: give a video of {WARM + 3} or more")
        stream = Stream(first.network(options.device))
        rows[name] = later_frames(stream, frames, case.rival, case.pause)
    return rows


def clips(options: BenchmarkOptions) -> dict[str, Iterable[np.ndarray]]:
    """Name -> frames, uint8 [H, W, 3]: the videos, and a camera that sees one photograph."""
    photograph = read_image(photograph_paths(options)[0])
    clips: dict[str, Iterable[np.ndarray]] = {}
    for path in options.video:
        clips[str(path)] = frames_of(path).images
    if not clips:
        clips["sample clip"] = frames_of(sample_clip()).images
    clips["still camera"] = [photograph] * options.frames
    return clips


def later_frames(
    stream: Callable[[Tensor], Any], x: list[Tensor], rival: Reference, pause: float = 0.0
) -> Rows:
    """Figures of every frame but the first WARM + 1, each between two calls of the rival."""
    for frame in x[:WARM]:
        stream(frame)
    later: Iterator[Tensor] = iter(x[WARM:])
    cuts = 0

    def run() -> int:
        nonlocal cuts
        cuts += stream(next(later)).fresh
        return 1

    reference, repeats = partial(rival, x[0]), len(x) - WARM - 1
    timing = interleaved({"": run}, reference, repeats, x[0].device, calls=1, pause=pause)[""]
    return {**timing.figures(), "cuts": cuts}


_PARTS = {"one_step": one_step_rows, "steps": step_rows, "video": video_rows}


def pytorch(converted: Converted, photographs: Tensor, folder: Path) -> Reference:
    """The ANN in float32, as PyTorch runs it by default."""
    graph: Graph = converted.graph.to(photographs.device)

    @torch.no_grad()
    def run(x: Tensor) -> None:
        forward(graph, x)

    return run


def onnxruntime(converted: Converted, photographs: Tensor, folder: Path) -> Reference:
    """The ANN in onnxruntime, float32."""
    return _session(_ann_file(converted, folder))


def int8(converted: Converted, photographs: Tensor, folder: Path) -> Reference:
    """The ANN in onnxruntime with 8-bit weights per channel and static 8-bit activations."""
    ort = require("onnxruntime.quantization", "onnx")
    source, plain = _ann_file(converted, folder), folder / "plain.onnx"
    ort.quant_pre_process(source, plain, skip_symbolic_shape=True)
    ort.quantize_static(
        plain,
        folder / "int8.onnx",
        _Calibration(photographs.cpu().numpy()),
        # Equally fast and accurate as QOperator, and recommended.
        quant_format=ort.QuantFormat.QDQ,
        nodes_to_exclude=_padding(plain),
        per_channel=True,
        activation_type=ort.QuantType.QUInt8,
        weight_type=ort.QuantType.QInt8,
    )
    return _session(folder / "int8.onnx")


_RIVALS = {"pytorch": pytorch, "onnxruntime": onnxruntime, "int8": int8}


def _ann_file(converted: Converted, folder: Path) -> Path:
    onnx = require("onnx", "onnx")
    require("onnxscript", "onnx")
    from spiking_yolo.onnx.model import ann_model

    # Photographs come normalised.
    spec = replace(converted.spec, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    path = folder / "ann.onnx"
    onnx.save(ann_model(converted.graph, spec), path)
    return path


def _session(path: Path) -> Reference:
    ort = require("onnxruntime", "onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait by spinning slow whatever runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"images": x.cpu().numpy()})


class _Calibration:
    """Hands photographs to onnxruntime's calibration, as its CalibrationDataReader does."""

    def __init__(self, images: np.ndarray):
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        for image in self._images:
            return {"images": image[None]}
        return None


def _padding(path: Path) -> list[str]:
    """Nodes that pad for max pooling, and the pooling: -inf has no place in 8 bits."""
    nodes = require("onnx", "onnx").load(path).graph.node
    padded: set[str] = set()
    found: list[str] = []
    # They are in the order of execution.
    for node in nodes:
        if node.op_type == "Pad":
            padded.update(node.output)
        if padded.intersection((*node.input, *node.output)):
            found.append(node.name)
    return found


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    processor = platform.processor() or platform.machine()
    # Linux has its model name there.
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
    return {
        "processor": processor,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        **versions(),
    }


def table(results: Mapping[str, Any], part: str) -> str:
    """A line per row and rival."""
    lines = [[part, "ANN in", "ratio", "mean", "from", "to", "ms", "ANN ms", "steps", "runs"]]
    for rival, rows in results[part].items():
        for name, row in rows.items():
            ratios = row["ratio"], row["mean"], min(row["ratios"]), max(row["ratios"])
            cells = [f"{ratio:.2f}" for ratio in ratios]
            cells += [f"{row['ms']:.1f}", f"{row['ann_ms']:.1f}"]
            lines.append([name, rival, *cells, str(row["steps"]), str(len(row["ratios"]))])
    return columns(lines)
