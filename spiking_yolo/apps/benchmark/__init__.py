"""Time a spiking network against its ANN, side by side in one process: ratios that hold on a busy
machine.

    spiking-yolo benchmark                                     # everything, several minutes
    spiking-yolo benchmark --parts steps,shares --method p-norm,msat
    spiking-yolo benchmark --parts video --video clip.mp4  # later frames
    spiking-yolo benchmark --parts runtimes --data coco  # beside onnxruntime and OpenVINO
    spiking-yolo benchmark --assert  # exit status 1 when something became too slow

Every run is timed beside forward passes of the ANN, in turn, several times; the median of the
ratios counts. The default method and msat-plus are also timed in bf16 where the processor has
instructions for it, and compiled where there is a C++ compiler. The part runtimes needs
the extra `onnx` and takes OpenVINO and NNCF where they are installed; it calibrates 8-bit models on
the photographs of --images. PROJECT/NAME gets benchmark.json.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.errors import UserError
from spiking_yolo.options import LimitOptions, OutputOptions, WeightsOptions
from spiking_yolo.settings import setting

PARTS = (
    "one_step",
    "steps",
    "batch",
    "shares",
    "memory",
    "spikingjelly",
    "growth",
    "video",
    "runtimes",
    "start",
)
LIMITS = Path(__file__).with_name("limits.json")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(WeightsOptions, LimitOptions, OutputOptions):
    """The networks and parts to time, how often, and their limits."""

    title = "options"

    parts: tuple[str, ...] = setting(("all",), f"of {', '.join(PARTS)}")
    methods: tuple[str, ...] = setting(
        ("coarse-to-fine", "signed-memory", "p-norm", "msat"),
        "besides the default and msat-plus; or all",
    )
    images: Path | None = setting(None, "folder of photographs (default: the samples)")
    video: tuple[Path, ...] = setting(
        (), "videos of the parts video and runtimes (default: the sample clip)"
    )
    frames: int = setting(48, "of a video, at most", 1)
    data: Path | None = setting(
        None, "dataset on which the part runtimes scores boxes too, as of the verb eval"
    )
    limit: int | None = setting(50, "photographs of --data, drawn by --seed", 1)
    T: int = setting(64, "timesteps of a run", 1)
    repeats: int = setting(5, "runs of which the median counts", 1)
    threads: int | None = setting(None, "of PyTorch (default: its own choice)", 1)
    device: str = setting("cpu", "cpu, cuda, cuda:1, ...")
    check: bool = setting(False, "exit with status 1 when a ratio breaks a limit")
    limits: Path = setting(LIMITS, "the limits, a .json file")
    project: Path = setting(Path("runs/benchmark"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parts == ("all",):
            object.__setattr__(self, "parts", PARTS)
        if unknown := [name for name in self.parts if name not in PARTS]:
            raise UserError(
                f"--parts: no part {unknown[0]!r}; choose from {', '.join(PARTS)}, or all"
            )


def main(options: BenchmarkOptions) -> int:
    from tqdm import tqdm

    from spiking_yolo.apps.benchmark.run import TABLES, benchmark, read_limits
    from spiking_yolo.io.json import write_json
    from spiking_yolo.io.run_folder import run_directory

    limits = read_limits(options.limits) if options.check else []
    folder = run_directory(options.project, options.name)

    def measured(part: str, figures: Any) -> None:
        print(f"{TABLES[part](figures)}\n")

    with tqdm(bar_format="{desc} [{elapsed}]", leave=False, disable=None) as bar:
        results = benchmark(options, bar.set_description_str, measured)
    write_json(folder / "benchmark.json", results, indent=1)
    print(f"results saved to {folder}")
    for limit in limits:
        if limit.value(results) is None:
            print(f"not measured here: {' / '.join(limit.of)}")
    status = 0
    for limit in limits:
        if line := limit.violation(results):
            print(f"too slow: {line}", file=sys.stderr)
            status = 1
    return status
