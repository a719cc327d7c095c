"""From a weights file to a spiking network: the ANN, its statistics, a recipe, neurons."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spiking_yolo.convert import uncalibrated
from spiking_yolo.convert.calibration_file import CalibrationResult, calibrate_command, calibration_path
from spiking_yolo.convert.converted import FORMAT, Converted, convert
from spiking_yolo.convert.registry import DEFAULT, get_recipe, list_methods
from spiking_yolo.convert.statistics import Statistics, statistics_path
from spiking_yolo.errors import UserError
from spiking_yolo.io.images import Picture
from spiking_yolo.io.sizes import Size, size_name
from spiking_yolo.io.tensors import read_safetensors
from spiking_yolo.models.load import Ann, file_kind, load_ann
from spiking_yolo.models.zoo import located
from spiking_yolo.recipe import Recipe


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
    """
    needed = [statistics_path(ann.weights, ann.imgsz)]
    needed += [calibration_path(ann.weights, ann.imgsz, recipe)] if recipe.runs_network else []
    missing = statistics is None and not all(path.is_file() for path in needed)
    if missing and uncalibrated.takes(recipe):
        network = uncalibrated.convert_on(ann, recipe, photographs, finer, weight_bits)
        if network is not None:
            return network
    known = load_statistics(ann, statistics, recipe.name)
    neurons = load_calibration(ann, recipe).neurons if recipe.runs_network else None
    return convert(ann.graph, ann.spec, known, recipe, {"weights": ann.weights.name}, neurons, weight_bits)


def load_calibration(ann: Ann, recipe: Recipe) -> CalibrationResult:
    """What the recipe learned by running this network, from the file beside the weights."""
    path = calibration_path(ann.weights, ann.imgsz, recipe)
    if path.is_file() and (state := CalibrationResult.load(path)).fits(recipe, ann.sha256, ann.imgsz):
        return state
    what = "is of other settings, weights or size" if path.is_file() else "does not exist"
    raise UserError(
        f"method {recipe.name} runs the network to calibrate, and its result {path} {what}: make it with "
        f"{calibrate_command(ann, recipe)}"
    )


def load_statistics(ann: Ann, path: str | Path | None = None, method: str = DEFAULT) -> Statistics:
    """The statistics that belong to this network: those beside its weights, or the given file.

    method: that wants them, for the command that makes them.
    """
    size = ann.imgsz
    path = Path(path) if path else statistics_path(ann.weights, size)
    if not path.is_file():
        also = f" --method {method}" if method != DEFAULT and method in list_methods() else ""
        raise UserError(f"no activation statistics at {path}: make them with {ann.calibrate_command}{also}")
    statistics = Statistics.load(path)
    statistics.check(ann.sha256, size, ann.graph)
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
    """The converted network of a weights file: converted by the method, or as saved by tools/convert.py.

    imgsz, trust: see load_ann; weight_bits: see convert; photographs: see convert_ann.
    """
    path = located(weights)
    if file_kind(path) == "safetensors" and read_safetensors(path)[0].get("format") == FORMAT:
        network = Converted.load(path)
        size = size_name((network.spec.height, network.spec.width))
        options = {"method": method, "set": settings or None, "imgsz": imgsz}
        options |= {"cfg": cfg, "names": names, "statistics": statistics, "weight-bits": weight_bits}
        if given := [f"--{name}" for name, value in options.items() if value is not None]:
            raise UserError(
                f"{path} is already converted (method {network.recipe.name}, {size} pixels): leave out "
                f"{' and '.join(given)}, or convert the original weights again"
            )
        return network
    settings = settings or {}
    recipe, finer = get_recipe(method or DEFAULT).with_settings(settings), "calibration.operations" not in settings
    return convert_ann(load_ann(path, cfg, names, imgsz, trust), recipe, statistics, weight_bits, photographs, finer)
