"""Take the activation statistics of a network on calibration images; conversion derives its thresholds from them.

    python tools/calibrate.py --weights W --images DIR                      # a detector: about 100 photographs
    python tools/calibrate.py --weights W --data cifar10_jpeg.tar.xz        # a classifier: of the training split

The file lies beside the weights and is found there by every tool. Methods that run the network to calibrate (balanced
thresholds, corrections, spike confidence) keep their result in a second file:

    python tools/calibrate.py --weights W --images DIR --method calibration-light

Statistics that were taken from the same images are not taken again. --method all makes every method's file.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli


def main() -> int:
    p = cli.parser(__doc__)
    g = p.add_mutually_exclusive_group(required=True)
    g.add_argument("--images", nargs="+", help="image files, folders or globs; 100 images are enough")
    g.add_argument("--data", type=Path, help="classification dataset, whose training split is drawn from")
    p.add_argument(
        "--limit", type=cli.positive, metavar="N", help="use the first N of --images; draw N of --data (1000)"
    )
    p.add_argument("--seed", type=int, default=0, help="draws the images of --data (default 0)")
    p.add_argument("-o", "--output", type=Path, help="default: beside the weights, named by the input size")
    cli.add_weights(p)
    p.add_argument("--method", help="also run the network as this method needs it, and keep the result")
    p.add_argument("--set", action="append", default=[], metavar="K=V", help="change a setting of the method")
    p.add_argument(
        "--run-images", type=cli.positive, metavar="N", help="images that --method runs on (16; 100 of --data)"
    )
    args = p.parse_args()

    from spiking_yolo.studies.calibrate import calibrate_all

    return calibrate_all(args)


if __name__ == "__main__":
    cli.run(main)
