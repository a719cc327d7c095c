"""The options of a benchmark. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.options import OutputOptions, WeightsOptions
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
    "start",
)
LIMITS = Path(__file__).with_name("limits.json")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(WeightsOptions, OutputOptions):
    """What is timed, how often, and with what it is compared."""

    title = "options"

    parts: tuple[str, ...] = setting(("all",), f"of {', '.join(PARTS)}")
    methods: tuple[str, ...] = setting(
        ("coarse-to-fine", "signed-memory", "p-norm", "msat"),
        "besides the default and msat-plus; or all",
    )
    images: Path | None = setting(None, "folder of photographs (default: the samples)")
    video: tuple[Path, ...] = setting(
        (), "videos of the part of that name (default: the sample clip)"
    )
    frames: int = setting(48, "of a video, at most", 1)
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
