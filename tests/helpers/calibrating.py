"""What `spiking-yolo calibrate` writes beside weights, made in a moment."""

from collections.abc import Iterable
from pathlib import Path

import torch

from spiking_yolo.convert.calibrate import CalibrationJob, calibrate
from spiking_yolo.convert.calibration_file import (
    CalibrationResult,
    calibrations_path,
    save_calibrations,
)
from spiking_yolo.convert.learn.statistics import ImageList, take_statistics
from spiking_yolo.convert.methods import DEFAULT, get_recipe
from spiking_yolo.data.images import Picture, preprocessed
from spiking_yolo.io.text import Size
from spiking_yolo.models.load import load_ann


def calibrate_on(
    weights: Path, pictures: Iterable[str | Picture], imgsz: Size | None = None
) -> None:
    """The statistics, and what the default method learns in two steps."""
    ann = load_ann(weights, imgsz=imgsz)
    pictures = [Picture.file(one) if isinstance(one, str) else one for one in pictures]
    statistics, used, _ = take_statistics(ann.graph, ann.spec, ann.sha256, pictures)
    x = torch.cat(list(preprocessed(pictures, ann.spec)))
    recipe = get_recipe(DEFAULT)
    few = recipe.with_settings({"calibration.steps": 2})
    neurons = calibrate(CalibrationJob(ann.graph, ann.spec, statistics, few, [x]))
    result = CalibrationResult(recipe, neurons, ImageList.of([one.name for one in used]))
    path = calibrations_path(weights, ann.imgsz)
    save_calibrations(path, ann.sha256, ann.imgsz, [result], statistics)
