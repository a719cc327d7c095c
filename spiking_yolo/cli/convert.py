"""Convert a network to a spiking one and save it as one file that needs nothing else.

    spiking-yolo convert --weights W --method M -o net.safetensors
    spiking-yolo convert best.pt -o net.safetensors  # a checkpoint of YOLOv5 or Ultralytics

The file holds graph, weights, thresholds, recipe and provenance. Every verb that simulates takes it
as --weights; loading it executes no code.
"""

import shlex

from spiking_yolo.apps.export import ConvertOptions
from spiking_yolo.io.assets import command

OPTIONS = ConvertOptions
FLAGS = {"network": ("WEIGHTS",)}


def main(options: ConvertOptions) -> None:
    from spiking_yolo.apps.export.write import convert

    print(f"{convert(options).text()}: saved to {options.output}")
    print(
        f"next: {command('detect')} {shlex.join(['image.jpg', '--weights', str(options.output)])}"
    )
