"""Tune the numbers of a conversion method for one network: thresholds, also per layer, bursts, MSAT's constants.

    python tools/search.py --data coco --T 16 --budget 40
    python tools/search.py --data photographs --method msat-plus --T 16 --budget 80 --max-operations 3

Every recipe that is tried runs on --images calibration images; the error of the network's output against the ANN after
T steps is made small, within an optional limit on synaptic operations. Needs pip install optuna, and the statistics
that tools/calibrate.py takes. PROJECT/NAME gets recipe.json, which every tool takes as --method, and trials.csv;
--resume DIR, with the same arguments, goes on after an interruption, or with a larger budget.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli


def main() -> None:
    p = cli.parser(__doc__)
    samples = str(cli.ROOT / "data" / "samples")
    p.add_argument("--data", default=samples, help="a folder of images, COCO or VOCdevkit (default: the samples)")
    p.add_argument("--split", help="of a dataset; default: train2017 of a COCO folder, train of the others")
    p.add_argument("--images", type=cli.positive, default=8, metavar="N", help="images to run on (default %(default)s)")
    p.add_argument("--T", type=cli.positive, default=16, help="timesteps (default %(default)s)")
    p.add_argument("--budget", type=cli.positive, default=40, help="recipes to try (default %(default)s)")
    p.add_argument("--max-operations", type=float, metavar="R", help="synaptic operations allowed, in ANN MACs")
    p.add_argument("--seed", type=int, default=0, help="of the search (default %(default)s)")
    cli.add_network(p)
    p.add_argument("--project", type=Path, default=Path("runs/search"))
    p.add_argument("--name", default="exp")
    p.add_argument("--resume", type=Path, metavar="DIR", help="go on with an interrupted search")
    args = p.parse_args()

    from spiking_yolo.studies.search.command import search_all

    search_all(args)


if __name__ == "__main__":
    cli.run(main)
