"""What `spiking-yolo calibrate` writes beside weights, made in a moment."""

from collections.abc import Iterable
from pathlib import Path

import torch

from spiking_yolo.convert.calibrate import calibrate
from spiking_yolo.convert.calibration_file import CalibrationResult, calibration_path
from spiking_yolo.convert.methods import DEFAULT, get_recipe
from spiking_yolo.convert.statistics import Picture, statistics_path, take_statistics
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.io.names import Size
from spiking_yolo.models.load import load_ann


def calibrate_on(
    weights: Path, pictures: Iterable[str | Picture], imgsz: Size | None = None
) -> None:
    """The statistics, and what the default method learns in two steps."""
    ann, pictures = load_ann(weights, imgsz=imgsz), list(pictures)
    statistics, _ = take_statistics(ann.graph, ann.spec, ann.sha256, pictures)
    statistics.save(statistics_path(weights, ann.imgsz))
    files = [picture if isinstance(picture, str) else picture.source for picture in pictures]
    x = torch.stack([preprocess(read_image(file), ann.spec)[0] for file in files])
    recipe = get_recipe(DEFAULT)
    neurons = calibrate(
        ann.graph, ann.spec, statistics, recipe.with_settings({"calibration.steps": 2}), [x]
    )
    result = CalibrationResult(
        neurons, recipe, ann.sha256, ann.imgsz, statistics.images, statistics.fingerprint
    )
    result.save(calibration_path(weights, ann.imgsz, recipe))
