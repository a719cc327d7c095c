"""Show the networks that come with the package: where they lie, and the SHA-256 of each file."""

from pathlib import Path

from spiking_yolo.arguments import Options
from spiking_yolo.io.assets import (
    YOLOV3_TINY,
    default_weights,
    shipped_calibrations,
    weights_folder,
)
from spiking_yolo.io.files import sha256


def main(options: Options = Options()) -> int:
    """Show the networks that come with the package: where they lie, and the SHA-256 of each file.

    ```
    spiking-yolo weights
    ```

    The default network is compared with the public one, and the statistics and calibrations of
    every network with those that were shipped: ok, differs or missing. Exit status: 0; 1 when a
    file differs or is missing.
    """
    default = default_weights()
    calibrations = shipped_calibrations()
    status = 0
    for path in sorted(weights_folder().iterdir()):
        if path.suffix != ".weights" and not is_network(path):
            continue
        digest = sha256(path)
        note = ""
        if path == default:
            note = "  the default, as published"
            if digest != YOLOV3_TINY:
                note = "  the default, damaged: install it again"
                status = 1
        print(f"{digest}  {path}{note}")
        for name, expected in calibrations.get(path.name, {}).items():
            state = compare(path.with_name(name), expected)
            if state != "ok":
                status = 1
            print(f"    {name}: {state}")
    return status


def is_network(path: Path) -> bool:
    """Whether a file is a checkpoint: names of calibrations have the input size as a suffix."""
    return path.suffix == ".safetensors" and "." not in path.stem


def compare(path: Path, expected: str) -> str:
    """Whether a file has this SHA-256: "ok", "differs" or "missing"."""
    if not path.is_file():
        return "missing"
    return "ok" if sha256(path) == expected else "differs"
