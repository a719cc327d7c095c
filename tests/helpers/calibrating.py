"""What `spiking-yolo calibrate` writes beside weights, made in a moment."""

from collections.abc import Iterable
from pathlib import Path

import torch

from helpers.networks import tuned
from spiking_yolo.convert.calibrate import CalibrationJob, calibrate
from spiking_yolo.convert.calibration_file import (
    CalibrationFile,
    CalibrationResult,
    calibrations_path,
    save_calibrations,
)
from spiking_yolo.convert.learn.statistics import ImageList, Picture, preprocessed, take_statistics
from spiking_yolo.convert.learn.weight_bits import stored_weights
from spiking_yolo.convert.methods import DEFAULT, get_recipe
from spiking_yolo.io.names import Size
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


def tune_on(weights: Path, picture: Path) -> CalibrationResult:
    """What `calibrate --calibration tuned-weights` writes beside weights that have statistics, made
    in a moment.
    """
    ann, recipe = load_ann(weights), get_recipe(DEFAULT, "tuned-weights")
    path = calibrations_path(weights, ann.imgsz)
    statistics = CalibrationFile.read(path).statistics()
    (x,) = preprocessed([Picture.file(str(picture))], ann.spec)
    neurons, moved = tuned(ann.graph, ann.spec, statistics, recipe, [x])
    thetas = {node.name: neurons[node.name]["theta"] for node in ann.graph.activations}
    stored = stored_weights(ann.graph, moved, thetas)
    result = CalibrationResult(recipe, neurons, ImageList.of([picture.name]), stored)
    save_calibrations(path, ann.sha256, ann.imgsz, [result])
    return result
