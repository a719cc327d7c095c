"""Time a spiking network against its ANN, side by side in one process: ratios that hold on a busy
machine.

    spiking-yolo benchmark                                     # photographs and a video, minutes
    spiking-yolo benchmark --parts steps --method p-norm,msat --T 64
    spiking-yolo benchmark --parts video --video clip.mp4      # later frames
    spiking-yolo benchmark --rivals onnxruntime,int8           # the ANN as people deploy it
    spiking-yolo benchmark --assert    # exit status 1 when something became too slow

Every run is timed beside forward passes of the ANN, in turn, several times; the median of the
ratios counts. one_step: a photograph by the first method at T = 1. steps: by each method at --T,
per timestep. video: later frames by the first method, of which only changes are sent. The rivals
onnxruntime and int8 need the extra `onnx`; int8 is calibrated on the photographs of --images.
PROJECT/NAME gets benchmark.json.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.options import MethodsOptions, OutputOptions
from spiking_yolo.settings import setting

PARTS = ("one_step", "steps", "video")
RIVALS = ("pytorch", "onnxruntime", "int8")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(MethodsOptions, OutputOptions):
    """The networks and parts to time, how often, and their limits."""

    title = "options"

    parts: tuple[str, ...] = setting(PARTS, f"of {', '.join(PARTS)}")
    rivals: tuple[str, ...] = setting(
        ("pytorch",), f"what runs the ANN beside them, of {', '.join(RIVALS)}"
    )
    methods: tuple[str, ...] = setting(("signed-digits", "p-norm", "msat"))
    images: Path | None = setting(None, "folder of photographs (default: the samples)")
    video: tuple[Path, ...] = setting((), "videos (default: the sample clip)")
    frames: int = setting(48, "of a video, at most", 1)
    T: int = setting(64, "timesteps of a run", 1)
    repeats: int = setting(5, "runs of which the median counts", 1)
    threads: int | None = setting(None, "of PyTorch and onnxruntime (default: its own choice)", 1)
    check: bool = setting(False, "exit with status 1 when a ratio breaks a limit")
    project: Path = setting(Path("runs/benchmark"))

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("parts", PARTS), ("rivals", RIVALS)):
            for value in getattr(self, name):
                if value not in known:
                    raise UserError(f"--{name}: no {value!r}; choose from {', '.join(known)}")


def main(options: BenchmarkOptions) -> int:
    from spiking_yolo.apps.benchmark.run import LIMITS, benchmark, machine_text, table
    from spiking_yolo.io.json import write_json
    from spiking_yolo.io.run_folder import run_directory

    folder = run_directory(options.project, options.name)
    results = benchmark(options)
    write_json(folder / "benchmark.json", results, indent=1)
    print(machine_text(results["machine"]))
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
