"""A network without a calibration, converted on the photographs that it is about to see."""

import warnings
from collections.abc import Iterable

from spiking_yolo.convert.calibrate import calibrate
from spiking_yolo.convert.calibration_file import calibrate_command
from spiking_yolo.convert.converted import Converted, convert
from spiking_yolo.convert.statistics import Statistics, observe, preprocessed
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.images import Picture, read_image
from spiking_yolo.io.sizes import size_name
from spiking_yolo.models.load import Ann
from spiking_yolo.recipe import Recipe

FEW = 8  # photographs are enough for thresholds that nothing trains
# Thetas that nothing has trained must be finer: 1.2 (here 1.6 operations per MAC) found as much as the ANN on 50 COCO
# train2017 photographs with yolov5n at 640 pixels, 0.7 (0.95) three quarters of it.
OPERATIONS = 1.2


def takes(recipe: Recipe) -> bool:
    """Whether this can be done at once: methods that run the network for minutes, or more, want `calibrate`."""
    return recipe.threshold.rule == "sensitivity" or not recipe.runs_network


def convert_on(
    ann: Ann, recipe: Recipe, photographs: Iterable[Picture], finer: bool = True, weight_bits: int | None = None
) -> Converted | None:
    """The network with statistics of the first FEW of these that can be read; a Notice says so. None where there are no
    photographs.

    recipe: one that `takes` this. Where it trains the neurons this does not, and spends more operations if `finer`.
    """
    read, tried = _read(photographs)
    if not tried:
        return None
    seen = "the picture itself" if tried == 1 else f"{len(read)} of the pictures themselves"
    what = (
        f"{ann.weights.name} has no calibration at {size_name(ann.imgsz)} pixels, so thresholds are taken from {seen}"
    )
    untrained = recipe.by_gradient
    spent = ", untrained, for more operations" if untrained and finer else ", untrained" if untrained else ""
    better = f"{spent}; better: {calibrate_command(ann, recipe)}"
    warnings.warn(Notice(what + better), stacklevel=2)
    images = preprocessed(read, ann.spec)
    names = tuple(picture.name for picture in read)
    statistics = Statistics(observe(ann.graph, images), ann.sha256, ann.imgsz, names)
    neurons = None
    if untrained:
        operations = {"calibration.operations": OPERATIONS} if finer else {}
        recipe = recipe.with_settings({"calibration.kind": "none", **operations})
        neurons = calibrate(ann.graph, ann.spec, statistics, recipe, images)
    return convert(ann.graph, ann.spec, statistics, recipe, {"weights": ann.weights.name}, neurons, weight_bits)


def _read(photographs: Iterable[Picture]) -> tuple[list[Picture], int]:
    """The pixels of the first FEW that can be read, and how many were tried for that.

    Raises the UserError of the first where none can.
    """
    read: list[Picture] = []
    wrong: list[UserError] = []
    for name, source in photographs:
        try:
            read.append(Picture(name, read_image(source)))
        except UserError as error:
            wrong.append(error)
        if len(read) == FEW:
            break
    if wrong and not read:
        raise wrong[0]
    return read, len(read) + len(wrong)
