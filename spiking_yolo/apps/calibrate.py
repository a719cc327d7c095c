"""The options of a calibration."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiking_yolo.convert.methods import DEFAULT
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import is_shipped
from spiking_yolo.options import LimitOptions, WeightsOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(WeightsOptions, LimitOptions):
    """On which images, and for which methods."""

    title = "options"

    images: Path | None = setting(None, "folder of photographs; 100 are enough")
    data: Path | None = setting(None, "classification dataset, whose training split is drawn from")
    limit: int | None = setting(
        None, "N images, drawn by --seed (default: all of --images, 1000 of --data)", 1
    )
    output: Path | None = setting(
        None,
        "folder, or .safetensors file of the statistics (default: beside the weights; for a network"
        " of the package the user's cache, $SPIKING_YOLO_CACHE)",
    )
    overwrite_shipped: bool = setting(
        False, "let what comes with the package be replaced; for its maintainers"
    )
    methods: tuple[str, ...] = setting(
        (DEFAULT,), "also run the network as these methods need it, and keep the result; or all"
    )
    settings: Mapping[str, Any] = setting({}, "change a setting of the methods")
    run_images: int | None = setting(
        None,
        "images that --method runs on (default: 16, 100 of --data; for signed-digits 128, 1000)",
        1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.images) == bool(self.data):
            wrong = (
                "--images and --data are two: give one"
                if self.images
                else "--images is missing, or --data"
            )
            raise UserError(f"{wrong}: the images to calibrate on")
        if self.output is not None and is_shipped(self.output) and not self.overwrite_shipped:
            raise UserError(
                f"--output {self.output} is in the folder of the shipped networks: give another"
                " place, or leave it out"
            )
