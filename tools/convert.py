"""Convert a network to a spiking one and save it as one file that needs nothing else.

    python tools/convert.py --weights W --method M -o net.safetensors
    python tools/convert.py best.pt --trust-weights -o net.safetensors      # a checkpoint of Ultralytics

The file holds graph, weights, thresholds, recipe and provenance. Every tool takes it as --weights; loading it executes
no code, and needs neither --trust-weights nor Ultralytics.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli


def main() -> None:
    p = cli.parser(__doc__)
    p.add_argument("network", nargs="?", type=Path, metavar="WEIGHTS", help="the same as --weights")
    p.add_argument("-o", "--output", type=Path, required=True, help="file to write, ending in .safetensors")
    cli.add_network(p, simulates=False)
    args = p.parse_args()

    from spiking_yolo.errors import UserError

    if args.output.suffix != ".safetensors":
        raise UserError(f"--output must end in .safetensors, not {args.output.name}")
    if args.network and args.weights != cli.WEIGHTS:
        raise UserError("give the weights once: as the first argument or with --weights")
    args.weights = args.network or args.weights
    network = cli.load_network(args)
    network.save(args.output)
    print(f"{len(network.sites)} layers of neurons, method {network.recipe.name}: saved to {args.output}")


if __name__ == "__main__":
    cli.run(main)
