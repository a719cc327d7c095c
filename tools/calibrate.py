"""Take the activation statistics of a network on calibration images; conversion derives its thresholds from them.

    python tools/calibrate.py --weights W --images DIR

The file lies beside the weights and is found there by every tool. The shipped ones were made with
    python tools/calibrate.py --images ../shared/data/coco/train2017
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli


def main() -> int:
    p = cli.parser(__doc__)
    p.add_argument("--images", nargs="+", required=True, help="image files, folders or globs; 100 images are enough")
    p.add_argument("--limit", type=cli.positive, help="use the first N images only")
    p.add_argument("-o", "--output", type=Path, help="default: beside the weights, named by the input size")
    p.add_argument("--weights", type=Path, default=cli.WEIGHTS, help="darknet .weights or .safetensors")
    p.add_argument("--imgsz", type=cli.positive, help="network input in pixels, a multiple of 32")
    p.add_argument("--cfg", type=Path, help="darknet cfg, if it does not lie beside the weights")
    p.add_argument("--names", type=Path, help="class names, if they do not lie beside the weights")
    args = p.parse_args()

    from tqdm import tqdm

    from spiking_yolo.convert.load import load_ann
    from spiking_yolo.convert.observe import statistics_path, take_statistics
    from spiking_yolo.sources import expand, is_stream

    paths = [path for path in expand(args.images) if not is_stream(path)]
    paths = paths[: args.limit]
    ann = load_ann(args.weights, args.cfg, args.names, args.imgsz)
    statistics, skipped = take_statistics(
        ann.graph, ann.spec, ann.sha256, tqdm(paths, "images", unit="image", disable=None)
    )
    for reason in skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    output = args.output or statistics_path(ann.weights, (ann.spec.height, ann.spec.width))
    statistics.save(output)
    print(f"{len(statistics.images)} images, {len(statistics.sites)} layers: saved to {output}")
    return 1 if skipped else 0


if __name__ == "__main__":
    cli.run(main)
