"""Explain a conversion: where the error of every layer comes from, and what to try.

    python tools/analyze.py --method p-norm --T 64
    python tools/analyze.py --data coco --limit-images 32 --method msat --T 64 --methods p-norm,msat,coarse-to-fine

The error of each layer is split, element by element, into clipping, quantisation, the spike-inherent part and what it
inherits from the layers below. --data takes photographs, folders, globs, a COCO folder or a VOCdevkit; labels are not
used. PROJECT/NAME gets layers.csv, analysis.json and the figures: error.png (error by layer), wrong-spikes.png (spikes
of inactivated neurons over time), threshold-time.png and threshold-activation.png (of sampled neurons of one layer),
and spikes.png (by layer, or by method with --methods).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli


def main() -> None:
    p = cli.parser(__doc__)
    samples = [str(cli.ROOT / "data" / "samples")]
    p.add_argument("--data", nargs="+", default=samples, help="images (default: the sample photographs)")
    p.add_argument("--split", help="of a dataset; default: val2017 of a COCO folder, val of the others")
    p.add_argument("--limit-images", type=cli.positive, default=16, metavar="N", help="at most N (default %(default)s)")
    p.add_argument("--T", type=int, default=64, help="timesteps (default %(default)s)")
    p.add_argument(
        "--limit", type=float, default=0.1, help="relative error that a layer may have (default %(default)s)"
    )
    p.add_argument("--layer", help="layer whose neurons are sampled (default: the middle one)")
    p.add_argument("--methods", help="methods with commas whose spikes are compared, as registered")
    cli.add_network(p, simulates=False)
    p.add_argument("--project", type=Path, default=Path("runs/analyze"))
    p.add_argument("--name", default="exp")
    args = p.parse_args()

    from spiking_yolo.studies.analyze.command import analyze_all

    analyze_all(args)


if __name__ == "__main__":
    cli.run(main)
