"""From a weights file to a spiking network: the ANN, its statistics, a recipe, neurons."""

import shlex
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spiking_yolo.convert.calibrate import calibrate
from spiking_yolo.convert.calibration_file import (
    CalibrationResult,
    calibrate_command,
    find_calibration,
    find_statistics,
    notify_of_own,
)
from spiking_yolo.convert.converted import FORMAT, Converted, convert
from spiking_yolo.convert.methods import DEFAULT, get_recipe, list_methods
from spiking_yolo.convert.statistics import Statistics, observe, preprocessed
from spiking_yolo.data.images import Picture, read_image
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.names import Size, size_name
from spiking_yolo.io.tensors import read_safetensors
from spiking_yolo.models.load import Ann, file_kind, load_ann
from spiking_yolo.models.zoo import located
from spiking_yolo.recipe import Recipe

# Photographs are enough for thresholds that nothing trains.
FEW = 8
# Thetas that nothing has trained must be finer: 1.2 (here 1.6 operations per MAC) found as much as
# the ANN on 50 COCO train2017 photographs with yolov5n at 640 pixels, 0.7 (0.95) three quarters of
# it.
OPERATIONS = 1.2


def takes(recipe: Recipe) -> bool:
    """Whether this can be done at once: methods that run the network for minutes, or more, want
    `calibrate`.
    """
    return recipe.threshold.rule == "sensitivity" or not recipe.runs_network


def convert_on(
    ann: Ann,
    recipe: Recipe,
    photographs: Iterable[Picture],
    finer: bool = True,
    weight_bits: int | None = None,
) -> Converted | None:
    """The network with statistics of the first FEW of these that can be read; a Notice says so.
    None where there are no photographs.

    recipe: one that `takes` this. Where it trains the neurons this does not, and spends more
    operations if `finer`.
    """
    read, tried = _read(photographs)
    if not tried:
        return None
    seen = "the picture itself" if tried == 1 else f"{len(read)} of the pictures themselves"
    what = (
        f"{ann.weights.name} has no calibration at {size_name(ann.imgsz)} pixels, so thresholds are"
        f" taken from {seen}"
    )
    untrained = recipe.by_gradient
    spent = (
        ", untrained, for more operations"
        if untrained and finer
        else ", untrained"
        if untrained
        else ""
    )
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
    return convert(
        ann.graph, ann.spec, statistics, recipe, {"weights": ann.weights.name}, neurons, weight_bits
    )


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


def convert_ann(
    ann: Ann,
    recipe: Recipe,
    statistics: str | Path | None = None,
    weight_bits: int | None = None,
    photographs: Iterable[Picture] = (),
    finer: bool = True,
) -> Converted:
    """The spiking network by a recipe, from the files beside the weights (or the given statistics).

    photographs, finer: looked at only where these files do not exist, see uncalibrated.convert_on.
    Raises UserError when statistics and calibration do not belong together.
    """
    chosen = None if statistics is None else Path(statistics)
    calibration = find_calibration(ann, recipe, chosen) if recipe.runs_network else None
    path = chosen or find_statistics(ann, calibration)
    needed = [path] if calibration is None else [path, calibration]
    missing = chosen is None and not all(file.is_file() for file in needed)
    if missing and takes(recipe):
        network = convert_on(ann, recipe, photographs, finer, weight_bits)
        if network is not None:
            return network
    known, neurons = load_statistics(ann, path, recipe.name), None
    if calibration is not None:
        result = load_calibration(ann, recipe, calibration)
        if result.statistics not in ("", known.fingerprint):
            output = "" if chosen is None else f" --output {shlex.quote(str(chosen))}"
            raise UserError(
                f"{calibration} was not made from the statistics {path}: make it again with "
                f"{calibrate_command(ann, recipe)}{output}"
            )
        neurons = result.neurons
    return convert(
        ann.graph, ann.spec, known, recipe, {"weights": ann.weights.name}, neurons, weight_bits
    )


def load_calibration(ann: Ann, recipe: Recipe, path: Path | None = None) -> CalibrationResult:
    """What the recipe learned by running this network, from this file or the one that is found
    first.
    """
    path = path or find_calibration(ann, recipe)
    if path.is_file() and (state := CalibrationResult.load(path)).fits(
        recipe, ann.sha256, ann.imgsz
    ):
        notify_of_own(ann, path)
        return state
    what = "is of other settings, weights or size" if path.is_file() else "does not exist"
    raise UserError(
        f"method {recipe.name} runs the network to calibrate, and its result {path} {what}: make it"
        f" with {calibrate_command(ann, recipe)}"
    )


def load_statistics(ann: Ann, path: str | Path | None = None, method: str = DEFAULT) -> Statistics:
    """The statistics that belong to this network: those that are found first, or the given file.

    method: that wants them, for the command that makes them.
    """
    size = ann.imgsz
    path = Path(path) if path else find_statistics(ann)
    if not path.is_file():
        also = f" --method {method}" if method != DEFAULT and method in list_methods() else ""
        raise UserError(
            f"no activation statistics at {path}: make them with {ann.calibrate_command}{also}"
        )
    statistics = Statistics.load(path)
    statistics.check(ann.sha256, size, ann.graph)
    notify_of_own(ann, path)
    return statistics


def load(
    weights: str | Path,
    method: str | Path | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    cfg: str | Path | None = None,
    names: str | Path | None = None,
    imgsz: int | Size | None = None,
    statistics: str | Path | None = None,
    trust: bool = False,
    weight_bits: int | None = None,
    photographs: Iterable[Picture] = (),
) -> Converted:
    """The converted network of a weights file: converted by the method, or as saved by
    tools/convert.py.

    imgsz, trust: see load_ann; weight_bits: see convert; photographs: see convert_ann.
    """
    path = located(weights)
    if file_kind(path) == "safetensors" and read_safetensors(path)[0].get("format") == FORMAT:
        network = Converted.load(path)
        size = size_name((network.spec.height, network.spec.width))
        options = {"method": method, "set": settings or None, "imgsz": imgsz}
        options |= {
            "cfg": cfg,
            "names": names,
            "statistics": statistics,
            "weight-bits": weight_bits,
        }
        if given := [f"--{name}" for name, value in options.items() if value is not None]:
            raise UserError(
                f"{path} is already converted (method {network.recipe.name}, {size} pixels): leave"
                f" out {' and '.join(given)}, or convert the original weights again"
            )
        return network
    settings = settings or {}
    recipe, finer = (
        get_recipe(method or DEFAULT).with_settings(settings),
        "calibration.operations" not in settings,
    )
    return convert_ann(
        load_ann(path, cfg, names, imgsz, trust),
        recipe,
        statistics,
        weight_bits,
        photographs,
        finer,
    )
