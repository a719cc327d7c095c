"""Show the networks that come with the package: where they lie, and the SHA-256 of each file.

    spiking-yolo weights

The default network is compared with the public one, and the statistics and calibrations of every
network with those that were shipped: ok, differs or missing. Exit status: 0; 1 when a file differs
or is missing.
"""

from pathlib import Path

from spiking_yolo.io.assets import (
    YOLOV3_TINY,
    default_weights,
    shipped_calibrations,
    weights_folder,
)
from spiking_yolo.io.files import sha256
from spiking_yolo.settings import Options


def is_network(path: Path) -> bool:
    """Whether it is a checkpoint; statistics and calibrations have the input size in their
    names.
    """
    return path.suffix == ".safetensors" and "." not in path.stem


def main(options: Options) -> int:
    default, folder = default_weights(), weights_folder()
    networks = [p for p in sorted(folder.iterdir()) if p.suffix == ".weights" or is_network(p)]
    calibrations = shipped_calibrations()
    status = 0
    for path in networks:
        digest, note = sha256(path), ""
        if path == default:
            damaged = digest != YOLOV3_TINY
            status |= int(damaged)
            note = (
                "  the default, damaged: install it again"
                if damaged
                else "  the default, as published"
            )
        print(f"{digest}  {path}{note}")
        for name, expected in calibrations.get(path.name, {}).items():
            state = compared(path.with_name(name), expected)
            status |= int(state != "ok")
            print(f"    {name}: {state}")
    return status


def compared(path: Path, expected: str) -> str:
    """Whether a file is the one of this SHA-256: "ok", "differs" or "missing"."""
    if not path.is_file():
        return "missing"
    return "ok" if sha256(path) == expected else "differs"
