"""From a weights file to a spiking network: the ANN, its statistics, a recipe, neurons."""

import shlex
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spiking_yolo.convert.calibration_file import (
    CalibrationResult,
    calibrate_command,
    find_calibration,
    find_statistics,
    notify_of_own,
    tunes,
)
from spiking_yolo.convert.converted import FORMAT, Converted, convert
from spiking_yolo.convert.methods import DEFAULT, TUNED, VIDEO, get_recipe, list_methods
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.convert.uncalibrated import Uncalibrated, converts_at_once
from spiking_yolo.data.images import Picture
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.names import Size, size_name
from spiking_yolo.io.tensors import read_safetensors
from spiking_yolo.models.load import Ann, file_kind, load_ann
from spiking_yolo.models.zoo import located
from spiking_yolo.recipe import Recipe


def load(
    weights: str | Path,
    method: str | Path | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    photographs: Iterable[Picture] = (),
    **options: Any,
) -> Converted:
    """The spiking network of a weights file: converted now, or as tools/convert.py saved it.

    Args:
        weights, method, settings, options: See `prepare`.
        photographs: See `convert_ann`.

    Raises:
        UserError: Something is missing, damaged, or does not fit the rest.
    """
    network = prepare(weights, method, settings, **options)
    return network if isinstance(network, Converted) else network.convert(photographs)


def prepare(
    weights: str | Path,
    method: str | Path | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    cfg: str | Path | None = None,
    names: str | Path | None = None,
    imgsz: int | Size | None = None,
    statistics: str | Path | None = None,
    trust: bool = False,
    head: str | None = None,
    resize: str | None = None,
    weight_bits: int | None = None,
) -> Converted | Uncalibrated:
    """The spiking network of a weights file, as far as files tell it.

    Args:
        weights: A file, or the name of a network of the zoo.
        method: Name of a method, a recipe or its .json file; the default method if None.
        settings: Changes of the recipe by key, as of --set.
        cfg, names, imgsz, trust, head, resize: See load_ann.
        statistics: Their file, instead of the one that belongs to the weights.
        weight_bits: See convert.

    Raises:
        UserError: Something is missing, damaged, or does not fit the rest.
    """
    path = located(weights)
    if file_kind(path) == "safetensors" and read_safetensors(path)[0].get("format") == FORMAT:
        options = {
            "method": method,
            "set": settings or None,
            "imgsz": imgsz,
            "cfg": cfg,
            "names": names,
            "head": head,
            "resize": resize,
            "statistics": statistics,
            "weight-bits": weight_bits,
        }
        return _load_converted(path, [name for name, value in options.items() if value is not None])
    settings = settings or {}
    recipe = get_recipe(method or DEFAULT).with_settings(settings)
    ann = load_ann(path, cfg, names, imgsz, trust, head, resize)
    finer = "calibration.operations" not in settings
    return _prepare_ann(ann, recipe, statistics, weight_bits, finer)


def _load_converted(path: Path, options: Sequence[str]) -> Converted:
    network = Converted.load(path)
    if options:
        size = size_name((network.spec.height, network.spec.width))
        surplus = " and ".join(f"--{name}" for name in options)
        raise UserError(
            f"{path} is already converted (method {network.recipe.name}, {size} pixels): leave out"
            f" {surplus}, or convert the original weights again"
        )
    return network


def convert_ann(
    ann: Ann,
    recipe: Recipe,
    statistics: str | Path | None = None,
    weight_bits: int | None = None,
    photographs: Iterable[Picture] = (),
) -> Converted:
    """The spiking network by a recipe, from statistics and calibration in files.

    Args:
        ann: The network.
        recipe: The method.
        statistics: Their file, instead of the one that belongs to the weights.
        weight_bits: See convert.
        photographs: Used only where the files do not exist, see Uncalibrated.

    Raises:
        UserError: Statistics and calibration are missing or do not belong together.
    """
    network = _prepare_ann(ann, recipe, statistics, weight_bits)
    return network if isinstance(network, Converted) else network.convert(photographs)


def _prepare_ann(
    ann: Ann,
    recipe: Recipe,
    statistics: str | Path | None,
    weight_bits: int | None,
    finer: bool = True,
) -> Converted | Uncalibrated:
    """The network converted, or as it is where no files exist and pictures can replace them."""
    chosen = None if statistics is None else Path(statistics)
    calibration = find_calibration(ann, recipe, chosen) if recipe.runs_network else None
    path = chosen or find_statistics(ann, calibration)
    needed = [path] if calibration is None else [path, calibration]
    missing = chosen is None and not all(file.is_file() for file in needed)
    if missing and converts_at_once(recipe):
        return Uncalibrated(ann, recipe, weight_bits, finer)
    known = load_statistics(ann, path, recipe.name)
    neurons = weights = None
    if calibration is not None:
        result = load_calibration(ann, recipe, calibration)
        if result.statistics not in ("", known.fingerprint):
            output = "" if chosen is None else f" --output {shlex.quote(str(chosen))}"
            raise UserError(
                f"{calibration} was not made from the statistics {path}: make it again with "
                f"{calibrate_command(ann, recipe)}{output}"
            )
        neurons, weights = result.neurons, result.weights
    origin = {"weights": ann.weights.name}
    return convert(ann.graph, ann.spec, known, recipe, origin, neurons, weight_bits, weights)


def of_all(
    ann: Ann, recipes: Mapping[str, Recipe], statistics: Path | None = None
) -> dict[str, Recipe]:
    """Every method, as `--method all` means it: without those that the network was never tuned for.

    `calibrate --method all` does not make their files. A Notice says how to.
    """
    chosen: dict[str, Recipe] = {}
    for name, recipe in recipes.items():
        if tunes(recipe) and not find_calibration(ann, recipe, statistics).is_file():
            tune = calibrate_command(ann, recipe)
            warnings.warn(Notice(f"{name} is left out: make its file with {tune}"), stacklevel=2)
        else:
            chosen[name] = recipe
    return chosen


def load_calibration(ann: Ann, recipe: Recipe, path: Path | None = None) -> CalibrationResult:
    """What the recipe learned by running this network.

    path: The file, or None for the one that is found first.
    """
    path = path or find_calibration(ann, recipe)
    problem = "does not exist"
    if path.is_file():
        result = CalibrationResult.load(path)
        if result.fits(recipe, ann.sha256, ann.imgsz):
            notify_of_own(ann, path)
            return result
        problem = "is of other settings, weights or size"
    raise UserError(
        f"method {recipe.name} runs the network to calibrate, and its result {path} {problem}: make"
        f" it with {calibrate_command(ann, recipe)}"
    )


def load_statistics(ann: Ann, path: str | Path | None = None, method: str = DEFAULT) -> Statistics:
    """The statistics that belong to this network.

    path: Their file, or None for the one that is found first. method: That needs them, for the
    command that makes them.
    """
    path = Path(path) if path else find_statistics(ann)
    if not path.is_file():
        named = method not in (DEFAULT, TUNED, VIDEO) and method in list_methods()
        also = f" --method {method}" if named else ""
        raise UserError(
            f"no activation statistics at {path}: make them with {ann.calibrate_command}{also}"
        )
    statistics = Statistics.load(path)
    statistics.check(ann.sha256, ann.imgsz, ann.graph)
    notify_of_own(ann, path)
    return statistics
