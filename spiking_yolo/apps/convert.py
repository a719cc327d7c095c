"""Convert a network to a spiking one and save it as one file that needs nothing else.

    spiking-yolo convert --weights W --method M -o net.safetensors
    spiking-yolo convert best.pt -o net.safetensors  # a checkpoint of YOLOv5 or Ultralytics

The file holds graph, weights, thresholds, recipe and provenance. Every verb that simulates takes it
as --weights; loading it executes no code.
"""

import shlex
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from spiking_yolo.apps.export import check_suffix
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import command, sample_photograph
from spiking_yolo.options import MethodOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True)
class ConvertOptions(MethodOptions):
    """Which network, and where its file goes."""

    title = "options"

    network: Path | None = setting(None, "the same as --weights")
    _: KW_ONLY
    output: Path = setting(doc="file to write, ending in .safetensors")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_suffix(self.output, "safetensors")
        if self.network and self.weights:
            raise UserError("give the weights once: as the first argument or with --weights")
        object.__setattr__(self, "weights", self.network or self.weights)


def main(options: ConvertOptions) -> None:
    from spiking_yolo.apps.export.write import convert

    result = convert(options)
    print(f"{result.text()}: saved to {options.output}")
    if result.task == "detect":
        weights = ["--weights", str(options.output)]
        print(f"next: {command('detect')} {shlex.join([str(sample_photograph()), *weights])}")
