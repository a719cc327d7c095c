"""Time a spiking network against its ANN, side by side in one process: ratios that hold on a busy machine.

    python tools/benchmark.py                                  # everything, several minutes
    python tools/benchmark.py --parts steps,shares --methods p-norm,msat
    python tools/benchmark.py --assert                         # exit status 1 when something became too slow

Every run is timed beside forward passes of the ANN, in turn, several times; the median of the ratios counts. The
default method is also timed in bf16 where the processor has instructions for it, and compiled where there is a C++
compiler.
PROJECT/NAME gets benchmark.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli

LIMITS = Path(__file__).with_name("benchmark_limits.json")


def parser() -> argparse.ArgumentParser:
    p = cli.parser(__doc__)
    p.add_argument("--weights", type=Path, default=cli.WEIGHTS, help="darknet .weights or .safetensors")
    p.add_argument("--images", type=Path, default=cli.ROOT / "data" / "samples", help="folder of photographs")
    p.add_argument("--imgsz", type=cli.image_size, help=cli.IMGSZ)
    p.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parts = "steps, batch, shares, memory, spikingjelly, growth, events, with commas"
    p.add_argument("--parts", default="all", help=parts)
    p.add_argument("--methods", default="coarse-to-fine,signed-memory,p-norm,msat", help="besides the default; or all")
    p.add_argument("--T", type=cli.positive, default=64, help="timesteps of a run (default %(default)s)")
    p.add_argument("--repeats", type=cli.positive, default=5, help="runs of which the median counts (%(default)s)")
    p.add_argument("--threads", type=cli.positive, help="of PyTorch (default: its own choice)")
    p.add_argument(
        "--assert",
        dest="limits",
        type=Path,
        nargs="?",
        const=LIMITS,
        metavar="FILE",
        help=f"compare the ratios with limits (default tools/{LIMITS.name})",
    )
    p.add_argument("--project", type=Path, default=Path("runs/benchmark"))
    p.add_argument("--name", default="exp")
    return p


def main() -> int:
    args = parser().parse_args()
    from spiking_yolo.studies.benchmark.command import benchmark

    return benchmark(args)


if __name__ == "__main__":
    cli.run(main)
