"""A network without a calibration, converted on the photographs that it is about to see."""

import warnings
from collections.abc import Sequence

from spiking_yolo.convert.calibrate import calibrate
from spiking_yolo.convert.converted import Converted, convert
from spiking_yolo.convert.registry import DEFAULT, get_recipe
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


def convert_on(ann: Ann, recipe: Recipe, photographs: Sequence[Picture], weight_bits: int | None = None) -> Converted:
    """The network with statistics of these photographs; a Notice says so. Those that cannot be read are left out.

    recipe: one that `takes` this. Where it trains the neurons this does not, and spends more operations instead.
    """
    read = _read(photographs)
    seen = "the picture itself" if len(photographs) == 1 else f"{len(read)} of the pictures themselves"
    what = (
        f"{ann.weights.name} has no calibration at {size_name(ann.imgsz)} pixels, so thresholds are taken from {seen}"
    )
    untrained = recipe.by_gradient
    better = f"{', untrained, for more operations' if untrained else ''}; better: {ann.calibrate_command}"
    warnings.warn(Notice(what + better), stacklevel=2)
    images = preprocessed(read, ann.spec)
    names = tuple(picture.name for picture in read)
    statistics = Statistics(observe(ann.graph, images), ann.sha256, ann.imgsz, names)
    neurons = None
    if untrained:
        usual = recipe.calibration.operations == get_recipe(DEFAULT).calibration.operations
        finer = {"calibration.operations": OPERATIONS} if usual else {}
        recipe = recipe.with_settings({"calibration.kind": "none", **finer})
        neurons = calibrate(ann.graph, ann.spec, statistics, recipe, images)
    return convert(ann.graph, ann.spec, statistics, recipe, {"weights": ann.weights.name}, neurons, weight_bits)


def _read(photographs: Sequence[Picture]) -> list[Picture]:
    """The pixels of those that can be read. Raises the UserError of the first where none can."""
    read: list[Picture] = []
    wrong: list[UserError] = []
    for name, source in photographs:
        try:
            read.append(Picture(name, read_image(source)))
        except UserError as error:
            wrong.append(error)
    if not read:
        raise wrong[0]
    return read
