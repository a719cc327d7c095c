"""A race of runtimes: each in a process of its own, in turn, on the same images."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from spiking_yolo.apps.benchmark import BenchmarkOptions
from spiking_yolo.apps.benchmark.cases import clips
from spiking_yolo.apps.benchmark.runtimes import (
    BASIS,
    ONNX,
    PHOTOGRAPHS_FILE,
    RUNTIMES,
    Job,
    Run,
    Runtime,
    event_driven,
    write_files,
)
from spiking_yolo.apps.benchmark.timing import Timing
from spiking_yolo.apps.evaluate.scoring import CocoScorer, DetectionTask
from spiking_yolo.data.detection import DetectionSet
from spiking_yolo.data.formats import open_detection
from spiking_yolo.data.images import preprocess
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.errors import UserError, require
from spiking_yolo.models.load import Ann
from spiking_yolo.models.spec import Spec

# Images of a turn that count; the one before them wakes threads and fills caches.
CALLS = 5
# Seconds between two turns, in which the threads of the last one stop spinning.
PAUSE = 0.05
# The runner of a video.
EVENT_DRIVEN = "spiking, event-driven"
Seconds = Mapping[str, Sequence[float]]

# What the process of a runner runs.
_run: Run | None = None


@dataclass(frozen=True)
class Runner:
    """A runtime in a process of its own. refusal: why it cannot run; empty when it can."""

    pool: ProcessPoolExecutor
    refusal: str

    @classmethod
    @contextmanager
    def started(cls, runtime: Runtime, job: Job) -> Iterator["Runner"]:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            yield cls(pool, runtime.absent() or pool.submit(_start, runtime, job).result())

    def seconds(self, images: Path, turn: range) -> list[float]:
        """Of each image of an array in a file; numbers beyond its end start again."""
        return self.pool.submit(_seconds, images, turn).result()

    def heads(self, image: np.ndarray) -> Sequence[np.ndarray]:
        """The outputs for an image [3, H, W]."""
        return self.pool.submit(_heads, image[None]).result()


def _start(runtime: Runtime, job: Job) -> str:
    """Why the runtime cannot run; empty when it can, and has run once."""
    global _run
    torch.set_num_threads(job.threads)
    try:
        # Quantisation is talkative.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            _run = runtime.load(job)
            # A compiler waits for the first image.
            _run(np.load(job.folder / PHOTOGRAPHS_FILE)[:1])
    # A runtime refuses a network with any kind of error.
    except Exception as error:
        return (str(error) or type(error).__name__).splitlines()[0]
    return ""


def _seconds(images: Path, turn: range) -> list[float]:
    """See Runner.seconds."""
    assert _run is not None
    array = np.load(images, mmap_mode="r")
    times = []
    for k in turn:
        image = np.array(array[k % len(array)])[None]
        start = time.perf_counter()
        _run(image)
        times.append(time.perf_counter() - start)
    return times


def _heads(image: np.ndarray) -> Sequence[np.ndarray]:
    assert _run is not None
    return _run(image)


def race(
    runners: Mapping[str, Runner],
    images: Path,
    turns: Iterable[range],
    progress: Callable[[str], Any],
) -> dict[str, tuple[float, ...]]:
    """Seconds of each runner for the same images, in turn.

    The first turn and the first image of every other one do not count.

    Args:
        runners: By name.
        images: A file with an array [n, 3, H, W].
        turns: Numbers of the images that a runner takes before it is the next one's turn.
        progress: Called with a name before each turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for number, turn in enumerate(turns):
        for name, runner in runners.items():
            progress(name)
            time.sleep(PAUSE)
            times = runner.seconds(images, turn)
            if number:
                seconds[name] += times[1:]
    return {name: tuple(times) for name, times in seconds.items()}


def fastest(seconds: Seconds, precision: str = "") -> str:
    """The ANN with the lowest median, of this precision or of any."""
    names = []
    for name in seconds:
        runtime = RUNTIMES.get(name)
        if runtime and not runtime.spiking and precision in ("", runtime.precision):
            names.append(name)
    return min(names, key=lambda name: median(seconds[name]))


def multiples(
    seconds: Seconds, name: str, precision: str, ratio: Callable[..., float]
) -> dict[str, float]:
    """The time of a runner as a multiple of that of onnxruntime's float32 ANN, of the fastest ANN
    of a precision, and of the fastest of all.
    """
    references = {
        "of_onnxruntime": BASIS,
        "of_fastest_alike": fastest(seconds, precision),
        "of_fastest": fastest(seconds),
    }
    return {key: ratio(seconds[name], seconds[other]) for key, other in references.items()}


def still_figures(seconds: Seconds) -> dict[str, dict[str, Any]]:
    """Milliseconds per photograph, and multiples: the median over pairs of calls of one round."""

    def ratio(times: Sequence[float], reference: Sequence[float]) -> float:
        return Timing(tuple(times), tuple(reference)).ratio

    rows = {}
    for name, times in seconds.items():
        precision = RUNTIMES[name].precision
        milliseconds = {"ms": 1e3 * median(times), "least_ms": 1e3 * min(times)}
        rows[name] = {"precision": precision, **milliseconds}
        rows[name] |= multiples(seconds, name, precision, ratio)
    return rows


def video_figures(seconds: Seconds) -> dict[str, Any]:
    """Milliseconds of a later frame, and multiples: means, since frames differ."""

    def ratio(times: Sequence[float], reference: Sequence[float]) -> float:
        return mean(times) / mean(reference)

    times = seconds[EVENT_DRIVEN]
    row = {"ms": 1e3 * mean(times), "frames": len(times)}
    return row | multiples(seconds, EVENT_DRIVEN, "float32", ratio)


@dataclass(frozen=True)
class Racing:
    """The runners of a race, and what they run on.

    Attributes:
        ann: The network.
        job: Of their processes.
        runners: By name, those that this machine can run.
        progress: Called with a name before each turn.
    """

    ann: Ann
    job: Job
    runners: Mapping[str, Runner]
    progress: Callable[[str], Any]

    def stills(self) -> dict[str, tuple[float, ...]]:
        """Seconds of each runner for photographs, one at a time."""
        turns = [range(CALLS + 1)] * (self.job.options.repeats + 1)
        return race(self.runners, self.job.folder / PHOTOGRAPHS_FILE, turns, self.progress)

    def video(self, frames: Path, anns: Iterable[str]) -> dict[str, Any]:
        """Later frames of a video in order, beside the ANNs of these names."""
        n = len(np.load(frames, mmap_mode="r"))
        turns = [range(k, k + CALLS + 1) for k in range(0, n - CALLS, CALLS + 1)]
        with Runner.started(Runtime(event_driven, spiking=True), self.job) as stream:
            runners = {EVENT_DRIVEN: stream, **{name: self.runners[name] for name in anns}}
            return video_figures(race(runners, frames, turns, self.progress))

    def accuracy(self, task: DetectionTask) -> dict[str, dict[str, float]]:
        """COCO's figures of each runner on the dataset of a task."""
        predictions: dict[str, list[Detections]] = {name: [] for name in self.runners}
        for index in range(len(task.dataset)):
            photograph = task.read(index)
            assert photograph.placement is not None
            for name, runner in self.runners.items():
                self.progress(f"{name}, photograph {index + 1}")
                heads = [torch.from_numpy(head) for head in runner.heads(photograph.x.numpy())]
                (boxes,) = task.selection.boxes(heads, task.spec, [photograph.placement])
                predictions[name].append(task.relabel(boxes))
        scorer = CocoScorer(task.dataset)
        scores = {}
        for name, boxes in predictions.items():
            figures = scorer.score(boxes).figures
            scores[name] = {figure: figures[figure] for figure in scorer.main}
        return scores


def runtimes(
    options: BenchmarkOptions, ann: Ann, progress: Callable[[str], Any] = lambda name: None
) -> dict[str, Any]:
    """Photographs in every runtime, and later frames of videos beside the fastest ANNs.

    Returns:
        "still": name -> figures, or "refusal"; "video": clip -> figures; "fastest": "float32" and
        "all" -> name; "photographs": how many were scored; "calibration": how many int8 models saw.
        Without the extra onnx "refusal" alone.

    Raises:
        UserError: The dataset cannot be read, or a clip is too short.
    """
    try:
        for module in ONNX:
            require(module, "onnx")
    except UserError as error:
        return {"refusal": str(error)}
    task = DetectionTask(ann.spec, scored_dataset(options)) if options.data else None
    with TemporaryDirectory() as temporary, ExitStack() as stack:
        job = Job(options, Path(temporary), torch.get_num_threads())
        videos = video_files(options, ann.spec, job.folder)
        progress("ONNX models")
        calibration = write_files(job, ann)
        ready: dict[str, Runner] = {}
        rows: dict[str, dict[str, Any]] = {}
        for name, runtime in RUNTIMES.items():
            progress(f"loading {name}")
            runner = stack.enter_context(Runner.started(runtime, job))
            rows[name] = {"refusal": runner.refusal}
            if not runner.refusal:
                ready[name] = runner
        if BASIS not in ready:
            return rows[BASIS]
        racing = Racing(ann, job, ready, progress)
        seconds = racing.stills()
        rows |= still_figures(seconds)
        results: dict[str, Any] = {"still": rows, "calibration": calibration}
        if task:
            for name, score in racing.accuracy(task).items():
                rows[name] |= score
            results["photographs"] = len(task.dataset)
        winners = {"float32": fastest(seconds, "float32"), "all": fastest(seconds)}
        anns = dict.fromkeys([BASIS, *winners.values()])
        results["video"] = {name: racing.video(path, anns) for name, path in videos.items()}
    return {**results, "fastest": winners}


def video_files(options: BenchmarkOptions, spec: Spec, folder: Path) -> dict[str, Path]:
    """Clip -> its frames as the network takes them, an array [n, 3, H, W] in a file.

    Raises:
        UserError: A clip is too short.
    """
    least = 2 * (CALLS + 1)
    files: dict[str, Path] = {}
    for name, images in clips(options).items():
        frames: list[np.ndarray] = []
        for image in islice(images, options.frames):
            frames.append(preprocess(image, spec)[0].numpy())
        if len(frames) < least:
            raise UserError(f"{name} has {len(frames)} frames: give a video of {least} or more")
        files[name] = folder / f"video-{len(files)}.npy"
        np.save(files[name], np.stack(frames))
    return files


def scored_dataset(options: BenchmarkOptions) -> DetectionSet:
    """The photographs of --data that are scored."""
    assert options.data is not None
    dataset = open_detection(options.data)
    return dataset if options.limit is None else dataset.subset(options.limit, options.seed)
