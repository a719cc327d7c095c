"""Time a spiking network against its ANN, side by side in one process: ratios that hold on a busy
machine.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from spiking_yolo.arguments import COMMAS, METHODS, OUTPUT, at_least
from spiking_yolo.options import MethodsOptions, OutputOptions

Part = Literal["one_step", "steps", "video", "layers"]
Baseline = Literal["pytorch", "onnxruntime", "onnxruntime-int8"]
# Name of a row -> its figures by name.
Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(MethodsOptions, OutputOptions):
    """The networks and parts to time, how often, and their limits."""

    parts: Annotated[tuple[Part, ...], COMMAS] = ("one_step", "steps", "video")
    """Parts to run."""
    baseline: Baseline = "pytorch"
    """What runs the ANN beside them."""
    methods: Annotated[tuple[str, ...], COMMAS, METHODS] = ("signed-digits", "p-norm", "msat")
    """Methods that are timed."""
    source: str | None = None
    """Video whose later frames are timed (default: the sample clip)."""
    frames: Annotated[int, at_least(7)] = 48
    """Frames of a video, at most."""
    T: Annotated[int, at_least(1)] = 64
    """Timesteps of a run."""
    repeats: Annotated[int, at_least(1)] = 5
    """Runs of which the median counts."""
    threads: Annotated[int | None, at_least(1)] = None
    """Threads of PyTorch and of the baseline (default: all cores)."""
    busy: Annotated[int, at_least(0)] = 0
    """Time everything beside N other programs that keep a core busy each."""
    project: Annotated[Path, OUTPUT] = Path("runs/benchmark")
    """Folder of all runs."""


def main(options: BenchmarkOptions = BenchmarkOptions()) -> None:
    """Time a spiking network against its ANN, side by side in one process: ratios that hold on a
    busy machine.

    ```
    spiking-yolo benchmark                                     # in minutes
    spiking-yolo benchmark --parts steps --method p-norm,msat --T 64
    spiking-yolo benchmark --baseline onnxruntime-int8            # the ANN as people deploy it
    spiking-yolo benchmark --parts video,layers --source clip.mp4 --threads 1
    spiking-yolo benchmark --threads 2 --busy 1                   # beside a busy core
    ```

    Every run is timed beside forward passes of the ANN, in turn, several times; medians count, of
    times and of ratios, by the clock and (cpu) of all threads. one_step: a photograph by the first
    method at T = 1. steps: by each method at --T, per timestep. video: later frames of --source,
    lossless, by default and with your calibration `video`, and of a camera that sees one
    photograph. layers: where a later frame's time goes, and how it grows with what changes, in one
    thread. Baselines in onnxruntime need the extra `onnx`. PROJECT/NAME gets benchmark.json.
    """
    from spiking_yolo.apps.benchmark.run import benchmark, busy_cores, table
    from spiking_yolo.io.files import run_directory
    from spiking_yolo.io.text import write_json

    print("timing runs beside the ANN, which takes minutes", file=sys.stderr)
    with busy_cores(options.busy):
        results = benchmark(options)
    folder = run_directory(options.project, options.name)
    write_json(folder / "benchmark.json", results, indent=1)
    print("processor: {cpu}, kernels: {kernels}, threads: {threads}".format(**results["machine"]))
    print(f"Ratios are to one forward pass of the ANN in {options.baseline} beside each run")
    for part in options.parts:
        print(f"\n{table(part, results[part])}")
    print(f"results saved to {folder}")
