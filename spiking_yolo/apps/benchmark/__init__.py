"""Time a spiking network against its ANN, side by side in one process: ratios that hold on a busy
machine.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from spiking_yolo.arguments import COMMAS, METHODS, OUTPUT, at_least
from spiking_yolo.options import MethodsOptions, OutputOptions

Part = Literal["one_step", "steps", "video"]
Rival = Literal["pytorch", "onnxruntime"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(MethodsOptions, OutputOptions):
    """The networks and parts to time, how often, and their limits."""

    parts: Annotated[tuple[Part, ...], COMMAS] = ("one_step", "steps", "video")
    """Parts to run."""
    rival: Rival = "pytorch"
    """What runs the ANN beside them."""
    methods: Annotated[tuple[str, ...], COMMAS, METHODS] = ("signed-digits", "p-norm", "msat")
    """Methods that are timed."""
    frames: Annotated[int, at_least(7)] = 48
    """Frames of a video, at most."""
    T: Annotated[int, at_least(1)] = 64
    """Timesteps of a run."""
    repeats: Annotated[int, at_least(1)] = 5
    """Runs of which the median counts."""
    project: Annotated[Path, OUTPUT] = Path("runs/benchmark")
    """Folder of all runs."""


def main(options: BenchmarkOptions = BenchmarkOptions()) -> None:
    """Time a spiking network against its ANN, side by side in one process: ratios that hold on a
    busy machine.

    ```
    spiking-yolo benchmark                                     # all three parts, in minutes
    spiking-yolo benchmark --parts steps --method p-norm,msat --T 64
    spiking-yolo benchmark --rival onnxruntime                 # the ANN as people deploy it
    ```

    Every run is timed beside forward passes of the ANN, in turn, several times; the median of the
    ratios counts. one_step: a photograph by the first method at T = 1. steps: by each method at
    --T, per timestep. video: later frames of the sample clip, and of a camera that sees one
    photograph, by the first method. The rival onnxruntime needs the extra `onnx`. PROJECT/NAME gets
    benchmark.json.
    """
    from spiking_yolo.apps.benchmark.run import benchmark, table
    from spiking_yolo.io.files import run_directory
    from spiking_yolo.io.json import write_json

    print("timing runs beside the ANN, which takes minutes", file=sys.stderr)
    results = benchmark(options)
    folder = run_directory(options.project, options.name)
    write_json(folder / "benchmark.json", results, indent=1)
    print(f"Ratios are to one forward pass of the ANN in {options.rival} beside each run")
    for part in options.parts:
        print(f"\n{table(results, part)}")
    print(f"results saved to {folder}")
