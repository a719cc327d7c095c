"""Time a spiking network against its ANN, side by side in one process: ratios that hold on a busy
machine.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from spiking_yolo.arguments import COMMAS, METHODS, OUTPUT, WORDS, at_least
from spiking_yolo.errors import UserError
from spiking_yolo.options import MethodsOptions, OutputOptions

PARTS = ("one_step", "steps", "video")
RIVALS = ("pytorch", "onnxruntime", "int8")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(MethodsOptions, OutputOptions):
    """The networks and parts to time, how often, and their limits."""

    parts: Annotated[tuple[str, ...], COMMAS] = PARTS
    """Parts to run: one_step, steps, video."""
    rivals: Annotated[tuple[str, ...], COMMAS] = ("pytorch",)
    """What runs the ANN beside them, of pytorch, onnxruntime, int8."""
    methods: Annotated[tuple[str, ...], COMMAS, METHODS] = ("signed-digits", "p-norm", "msat")
    """Methods that are timed."""
    images: Path | None = None
    """Folder of photographs (default: the samples)."""
    video: Annotated[tuple[Path, ...], WORDS] = ()
    """Videos (default: the sample clip)."""
    frames: Annotated[int, at_least(1)] = 48
    """Frames of a video, at most."""
    T: Annotated[int, at_least(1)] = 64
    """Timesteps of a run."""
    repeats: Annotated[int, at_least(1)] = 5
    """Runs of which the median counts."""
    threads: Annotated[int | None, at_least(1)] = None
    """Threads of PyTorch and onnxruntime (default: its own choice)."""
    check: Annotated[bool, Parameter(name="--assert")] = False
    """Exit with status 1 when a ratio breaks a limit."""
    project: Annotated[Path, OUTPUT] = Path("runs/benchmark")
    """Folder of all runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("parts", PARTS), ("rivals", RIVALS)):
            for value in getattr(self, name):
                if value not in known:
                    raise UserError(f"--{name}: no {value!r}; choose from {', '.join(known)}")


def main(options: BenchmarkOptions = BenchmarkOptions()) -> int:
    """Time a spiking network against its ANN, side by side in one process: ratios that hold on a
    busy machine.

    ```
    spiking-yolo benchmark                                     # photographs and a video, minutes
    spiking-yolo benchmark --parts steps --method p-norm,msat --T 64
    spiking-yolo benchmark --parts video --video clip.mp4      # later frames
    spiking-yolo benchmark --rivals onnxruntime,int8           # the ANN as people deploy it
    spiking-yolo benchmark --assert    # exit status 1 when something became too slow
    ```

    Every run is timed beside forward passes of the ANN, in turn, several times; the median of the
    ratios counts. one_step: a photograph by the first method at T = 1. steps: by each method at
    --T, per timestep. video: later frames by the first method, of which only changes are sent. The
    rivals onnxruntime and int8 need the extra `onnx`; int8 is calibrated on the photographs of
    --images. PROJECT/NAME gets benchmark.json.
    """
    from spiking_yolo.apps.benchmark.run import LIMITS, benchmark, table
    from spiking_yolo.io.files import run_directory
    from spiking_yolo.io.json import write_json

    folder = run_directory(options.project, options.name)
    results = benchmark(options)
    write_json(folder / "benchmark.json", results, indent=1)
    machine = results["machine"]
    print(f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}")
    print("Ratios are to one forward pass of the ANN beside each run")
    for part in options.parts:
        print(f"\n{table(results, part)}")
    print(f"results saved to {folder}")
    if not options.check:
        return 0
    status = 0
    for limit in LIMITS:
        ratio = limit.ratio(results)
        if ratio is None:
            print(f"not measured here: {limit}")
        elif ratio > limit.at_most:
            print(f"too slow: {limit} is {ratio:.3f}, limit {limit.at_most:g}", file=sys.stderr)
            status = 1
    return status
