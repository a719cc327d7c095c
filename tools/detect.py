"""Detect objects with a spiking network, and see what it sees at every timestep.

    python tools/detect.py image.jpg --T 64
    python tools/detect.py photos/ video.mp4 0 --T 32 --steps 4,8,16,32 --save-json --overlay

Sources: image files, a folder, a glob, a video file, or the number of a webcam. The annotated pictures and whatever
else is asked for are saved in PROJECT/NAME, PROJECT/NAME2, ... Exit status: 0; 1 when some of several inputs failed;
2 when the call is wrong or every input failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli


def parser() -> argparse.ArgumentParser:
    p = cli.parser(__doc__)
    p.add_argument("source", nargs="+", help="image, folder, glob, video or webcam number")
    p.add_argument("--T", type=int, default=64, help="timesteps (default %(default)s)")
    p.add_argument("--steps", help="also print and save what is found at these timesteps, e.g. 4,8,16")
    cli.add_thresholds(p, conf=0.25, max_det=300)
    p.add_argument("--classes", help="keep these classes only: names or numbers with commas, e.g. dog,car")
    cli.add_network(p)
    g = p.add_argument_group("output")
    g.add_argument("--save-txt", action="store_true", help="labels/IMAGE.txt: class, centre x y, width, height")
    g.add_argument("--save-conf", action="store_true", help="with --save-txt: the confidence too")
    g.add_argument("--save-json", action="store_true", help="detections.json")
    g.add_argument(
        "--overlay",
        nargs="?",
        const="auto",
        metavar="LAYERS",
        help="spike-rate heat maps over the image: auto (three layers), all, or names with commas; and their summary",
    )
    g.add_argument("--gif", action="store_true", help="animation of boxes and rates over T, for images")
    g.add_argument("--ann", action="store_true", help="draw the ANN's and the SNN's boxes side by side")
    g.add_argument("--every", type=cli.positive, default=1, metavar="N", help="of a video or webcam, every N-th frame")
    g.add_argument("--max-frames", type=cli.positive, metavar="N", help="of a video or webcam, at most N frames")
    g.add_argument("--project", type=Path, default=Path("runs/detect"))
    g.add_argument("--name", default="exp")
    g.add_argument("--exist-ok", action="store_true", help="write into PROJECT/NAME even if it exists")
    return p


def main() -> int:
    args = parser().parse_intermixed_args()
    args.steps = cli.parse_steps(args.steps, args.T)
    cli.check_thresholds(args)
    from spiking_yolo.studies.detect.run import detect_all

    return detect_all(args)


if __name__ == "__main__":
    cli.run(main)
