"""Time a spiking network against its ANN, side by side in one process: ratios that hold on a busy
machine.

    spiking-yolo benchmark                                     # everything, several minutes
    spiking-yolo benchmark --parts steps,shares --method p-norm,msat
    spiking-yolo benchmark --parts video --video clip.mp4  # later frames
    spiking-yolo benchmark --assert  # exit status 1 when something became too slow

Every run is timed beside forward passes of the ANN, in turn, several times; the median of the
ratios counts. The default method and msat-plus are also timed in bf16 where the processor has
instructions for it, and compiled where there is a C++ compiler. PROJECT/NAME gets benchmark.json.
"""

import sys
from typing import Any

from spiking_yolo.apps.benchmark import BenchmarkOptions

OPTIONS = BenchmarkOptions
FLAGS = {"check": ("--assert",)}


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
    broken = [line for limit in limits if (line := limit.violation(results))]
    for line in broken:
        print(f"too slow: {line}", file=sys.stderr)
    return 1 if broken else 0
