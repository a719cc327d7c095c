"""From a weights file to a spiking network: the ANN, its statistics, a recipe, neurons.

A network without a calibration takes its thresholds from the pictures that it is about to see.
"""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from spiking_yolo.convert.calibrate import calibrate
from spiking_yolo.convert.calibration_file import (
    CalibrationFile,
    CalibrationResult,
    best_calibration,
    calibrate_command,
    calibration_files,
    find_calibration,
    find_statistics,
    settings_of,
)
from spiking_yolo.convert.converted import FORMAT, Converted, convert
from spiking_yolo.convert.methods import CALIBRATIONS, DEFAULT, METHODS, get_recipe
from spiking_yolo.convert.statistics import ImageList, Statistics, collect_histograms, preprocessed
from spiking_yolo.convert.thresholds import within_bytes
from spiking_yolo.data.images import Picture, read_image
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.graph import Graph
from spiking_yolo.io.names import size_name
from spiking_yolo.io.tensors import read_safetensors
from spiking_yolo.models.index import located
from spiking_yolo.models.load import Ann, file_kind, load_ann
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import UNTRAINED_OPERATIONS, Recipe

# Photographs are enough for thresholds that are not trained.
FEW = 8


def converts_at_once(recipe: Recipe) -> bool:
    """Whether no calibration file is needed: other methods run the network for minutes.

    A calibration that was asked for by its name is needed.
    """
    if recipe.calibration.name != "default" or recipe.calibration.kind == "tuned":
        return False
    return recipe.threshold.rule == "sensitivity" or not recipe.runs_network


@dataclass(frozen=True)
class Uncalibrated:
    """A network that has no thresholds yet.

    Attributes:
        ann: The network.
        recipe: A method that `converts_at_once`.
    """

    ann: Ann
    recipe: Recipe

    @property
    def graph(self) -> Graph:
        """The ANN."""
        return self.ann.graph

    @property
    def spec(self) -> Spec:
        """Its interface."""
        return self.ann.spec

    @property
    def provenance(self) -> dict[str, str]:
        """The name of its file, as in Converted."""
        return {"weights": self.ann.weights.name}

    # The search for thresholds needs gradients.
    @torch.inference_mode(False)
    def convert(self, photographs: Iterable[Picture]) -> Converted:
        """The network with statistics of the first FEW readable photographs; a Notice says so.

        Neurons are not trained, whatever the recipe says, but spend more operations.

        Raises:
            UserError: There are no photographs, or none can be read.
        """
        ann, recipe = self.ann, self.recipe
        pictures = _read(photographs)
        if not pictures:
            raise UserError(no_statistics(ann, recipe))
        untrained = ", untrained" if recipe.by_gradient else ""
        notice = (
            f"{ann.weights.name} has no calibration at {size_name(ann.imgsz)} pixels, so"
            f" thresholds are taken from the first pictures{untrained}; better:"
            f" {calibrate_command(ann, recipe)}"
        )
        warnings.warn(Notice(notice), stacklevel=3)
        images = preprocessed(pictures, ann.spec)
        names = ImageList.of([picture.name for picture in pictures])
        # Copies: weights that were read in inference mode have no gradients.
        tensors = {key: value.clone() for key, value in ann.graph.tensors.items()}
        graph = replace(ann.graph, tensors=tensors)
        neurons = None
        with _one_thread():
            histograms = collect_histograms(graph, images)
            statistics = Statistics(histograms, ann.sha256, ann.imgsz, names)
            if recipe.by_gradient:
                settings: dict[str, Any] = {"calibration.kind": "none"}
                if "calibration.operations" not in settings_of(recipe):
                    settings["calibration.operations"] = UNTRAINED_OPERATIONS
                recipe = recipe.with_settings(settings)
                neurons = calibrate(graph, ann.spec, statistics, recipe, images)
        return convert(ann.graph, ann.spec, statistics, recipe, self.provenance, neurons)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch compute in one thread.

    Another number of threads rounds sums differently, and the search for thresholds would amplify a
    difference in the last bit.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _read(photographs: Iterable[Picture]) -> list[Picture]:
    """The pixels of the first FEW that can be read.

    Raises the UserError of the first where none can be read.
    """
    pictures: list[Picture] = []
    errors: list[UserError] = []
    for name, source in photographs:
        try:
            pictures.append(Picture(name, read_image(source)))
        except UserError as error:
            errors.append(error)
        if len(pictures) == FEW:
            break
    if errors and not pictures:
        raise errors[0]
    return pictures


def load(
    weights: str | Path | Ann | Converted,
    method: str | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    photographs: Iterable[Picture] = (),
    **options: Any,
) -> Converted:
    """The spiking network of a weights file: converted now, or as `export` saved it.

    Args:
        weights, method, settings, options: See `prepare`.
        photographs: Used only where no file has what the method needs, see Uncalibrated.

    Raises:
        UserError: Something is missing, damaged, or does not fit the rest.
    """
    network = prepare(weights, method, settings, **options)
    return network if isinstance(network, Converted) else network.convert(photographs)


def read_network(weights: str | Path | Ann | Converted, **reading: Any) -> Ann | Converted:
    """What a file holds, or the name of a network stands for. reading: see `prepare`."""
    if not isinstance(weights, str | Path):
        return weights
    path = located(weights)
    if file_kind(path) == "safetensors" and read_safetensors(path)[0].get("format") == FORMAT:
        return Converted.load(path)
    return load_ann(path, **reading)


def prepare(
    weights: str | Path | Ann | Converted,
    method: str | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    calibration: str | None = None,
    statistics: str | Path | None = None,
    video: bool = False,
    **reading: Any,
) -> Converted | Uncalibrated:
    """The spiking network of a weights file, as far as files tell it.

    Args:
        weights: A file, the name of a network that `list networks` has, a network that was read
            already, or a converted one.
        method: Name of a method, or a recipe; the default method if None.
        settings: Changes of the recipe by key, as of --set.
        calibration: Name of the method's calibration; if None the best that the user has made, or
            else "default".
        statistics: File of statistics and calibrations, instead of that which belongs to the
            weights.
        video: Whether it is for a video, for which there may be a calibration.
        reading: See load_ann: cfg, names, imgsz.

    Raises:
        UserError: Something is missing, damaged, or does not fit the rest.
    """
    network = read_network(weights, **reading)
    if isinstance(network, Ann):
        ann = network
        files = calibration_files(ann, None if statistics is None else Path(statistics))
        recipe, settings = get_recipe(method or DEFAULT, calibration), settings or {}
        learned = any(key.startswith(("calibration.", "threshold.rule")) for key in settings)
        if method in (None, DEFAULT) and calibration is None and not learned:
            own = best_calibration(files, video)
            if own is not None:
                name = own.recipe.calibration.name
                if name != "default":
                    warnings.warn(Notice(f"{ann.weights.name}: calibration {name}"), stacklevel=2)
                recipe = get_recipe(DEFAULT, name)
                if not own.fits(recipe):
                    recipe = own.recipe
        return _prepared(ann, recipe.with_settings(settings), files, statistics is None)
    if settings or any((method, calibration, statistics, *reading.values())):
        raise UserError(
            "the network is already converted: give no method, calibration, settings, statistics or"
            " size with it, or convert the original weights again"
        )
    return network


def _prepared(
    ann: Ann, recipe: Recipe, files: Sequence[CalibrationFile], or_pictures: bool
) -> Converted | Uncalibrated:
    """The network converted, or as it is where files have nothing and pictures can replace them."""
    at_once = or_pictures and converts_at_once(recipe)
    known = find_statistics(files)
    if not recipe.runs_network:
        if known is not None:
            return convert(ann.graph, ann.spec, known, recipe, {"weights": ann.weights.name})
        if at_once:
            return Uncalibrated(ann, recipe)
        raise UserError(no_statistics(ann, recipe))
    recipe, result = _calibration(files, recipe)
    if result is None and at_once:
        return Uncalibrated(ann, recipe)
    if result is None:
        listed = itertools.chain.from_iterable(file.names(recipe.name) for file in files)
        raise UserError(
            f"{ann.weights.name} has no calibration {recipe.calibration.name} of {recipe.name} with"
            f" these settings at {size_name(ann.imgsz)} pixels (found:"
            f" {', '.join(listed) or 'none'}): make it with {calibrate_command(ann, recipe)}"
        )
    origin = {
        "weights": ann.weights.name,
        "weights_sha256": ann.sha256,
        "calibration_images": str(result.images.count),
    }
    neurons = result.neurons
    if recipe.complete and known is not None:
        neurons = within_bytes(ann.graph, neurons, known.histograms)
    return convert(ann.graph, ann.spec, None, recipe, origin, neurons, result.weights)


def _calibration(
    files: Sequence[CalibrationFile], recipe: Recipe
) -> tuple[Recipe, CalibrationResult | None]:
    """What the recipe learned by running this network, if there is a calibration that fits it.

    A calibration with a name of its own brings the settings that it was made with.
    """
    result = find_calibration(files, recipe)
    method = METHODS.get(recipe.name)
    name = recipe.calibration.name
    if result is not None and method and name not in (*CALIBRATIONS, "default"):
        changes = recipe.changes(get_recipe(recipe.name, name))
        recipe = result.recipe.with_settings(changes)
    if result is not None and not result.fits(recipe):
        result = None
    return recipe, result


def load_statistics(ann: Ann, path: Path | None = None) -> Statistics:
    """The statistics that belong to this network: of this file, or the first that is found."""
    statistics = find_statistics(calibration_files(ann, path))
    if statistics is None:
        raise UserError(no_statistics(ann, get_recipe(DEFAULT)))
    return statistics


def no_statistics(ann: Ann, recipe: Recipe) -> str:
    """That a network has nothing to take thresholds from, and how to change that."""
    what = "calibration" if recipe.runs_network else "activation statistics"
    return (
        f"no {what} of {ann.weights} at {size_name(ann.imgsz)} pixels: make them with"
        f" {calibrate_command(ann, recipe)}"
    )


def of_all(
    ann: Ann, recipes: Mapping[str, Recipe], statistics: Path | None = None
) -> dict[str, Recipe]:
    """Every method that this network has what is needed for, as `--method all` means it.

    A Notice says how to calibrate for another one.
    """
    files, chosen = calibration_files(ann, statistics), dict[str, Recipe]()
    for name, recipe in recipes.items():
        if recipe.runs_network and _calibration(files, recipe)[1] is None:
            make = calibrate_command(ann, recipe)
            warnings.warn(Notice(f"{name} is left out: calibrate it with {make}"), stacklevel=2)
        else:
            chosen[name] = recipe
    return chosen
