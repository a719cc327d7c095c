"""Show the networks that come with the package: where they lie, and the SHA-256 of each file.

    spiking-yolo weights

The default network is compared with the public one. Exit status: 0; 1 when it differs.
"""

from pathlib import Path

from spiking_yolo.io.assets import YOLOV3_TINY, default_weights, weights_folder
from spiking_yolo.io.files import sha256
from spiking_yolo.settings import Options

OPTIONS = Options


def is_network(path: Path) -> bool:
    """Whether it is a checkpoint; statistics and calibrations have the input size in their names."""
    return path.suffix == ".safetensors" and "." not in path.stem


def main(options: Options) -> int:
    default, folder = default_weights(), weights_folder()
    networks = [p for p in sorted(folder.iterdir()) if p.suffix == ".weights" or is_network(p)]
    status = 0
    for path in networks:
        digest, note = sha256(path), ""
        if path == default:
            status = int(digest != YOLOV3_TINY)
            note = "  the default, damaged: install it again" if status else "  the default, as published"
        print(f"{digest}  {path}{note}")
    return status
