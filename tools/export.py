"""Write a converted network for other tools: NIR, the Neuromorphic Intermediate Representation, JSON or safetensors.

    python tools/export.py --weights W --method p-norm --format nir -o net.nir
    python tools/export.py --weights W --format json -o net.json
    python tools/export.py --weights W --format safetensors -o net.safetensors

nir: for simulators and neuromorphic chips, of networks with ReLU, average pooling, additions and no other branches, by
methods with IF neurons of one spike per step (p-norm, channel-norm, rmp, opt, fixed-fraction, spike-norm). Spikes are
ones; the file's metadata say how the input is presented and what a timestep is. Needs pip install nir.
json: graph, shapes, thresholds and provenance, to read. safetensors: the file of tools/convert.py, for our tools.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli


def main() -> None:
    p = cli.parser(__doc__)
    p.add_argument("--format", choices=("nir", "json", "safetensors"), required=True)
    p.add_argument("-o", "--output", type=Path, required=True, help="file to write, ending in the format's name")
    cli.add_network(p, simulates=False)
    args = p.parse_args()

    from spiking_yolo.errors import UserError

    if args.output.suffix != f".{args.format}":
        raise UserError(f"--output must end in .{args.format}, not {args.output.name}")
    from spiking_yolo.studies.export.write import write

    written = write(cli.load_network(args), args.format, args.output)
    print(f"{written}: saved to {args.output}")


if __name__ == "__main__":
    cli.run(main)
