"""Files of calibration results: what a recipe learned by running the network, a few kilobytes
beside the weights.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from spiking_yolo.convert.methods import DEFAULT, list_methods
from spiking_yolo.convert.statistics import statistics_path
from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.graph import Graph
from spiking_yolo.io.assets import command, is_shipped
from spiking_yolo.io.files import beside, cache_folder
from spiking_yolo.io.json import entry, json_text
from spiking_yolo.io.names import Size, label, size_name
from spiking_yolo.io.tensors import check_finite, read_format, write_safetensors
from spiking_yolo.models.load import Ann
from spiking_yolo.recipe import Readout, Recipe

THRESHOLDS = ("theta", "theta_off")


def check_neurons(graph: Graph, known: Mapping[str, torch.Size], neurons: NeuronParameters) -> None:
    """Raise UserError, naming the node, unless every activation has thresholds and all values fit
    their channels.

    known: shape of every node, [1, C, ...].
    """
    for node in graph.activations:
        if not neurons.get(node.name, {}).keys() >= {"theta", "initial"}:
            raise UserError(f"node {node.name!r} has no threshold")
    check_values(neurons)
    for name, own in neurons.items():
        shapes = [(), (1,), tuple(known[name][1:2])] if name in known else []
        if wrong := [key for key, value in own.items() if tuple(value.shape) not in shapes]:
            raise UserError(f"{label(wrong[0])} of node {label(name)!r} is not for its channels")


def check_values(neurons: NeuronParameters) -> None:
    """Raise UserError, naming the node, for thresholds that are not above 0 and for values that are
    not finite.
    """
    for name, own in neurons.items():
        where = f"node {label(name)!r}"
        check_finite(own, where)
        for key, value in own.items():
            if not value.is_floating_point() or (key in THRESHOLDS and not (value > 0).all()):
                raise UserError(
                    f"{where}: {label(key)} must be a number{' above 0' * (key in THRESHOLDS)}"
                )


FORMAT = "spiking_yolo-calibration-1"
# Characters of a file's name that tell which settings were changed.
LONGEST = 120


@dataclass(frozen=True)
class CalibrationResult:
    """Layer parameters that one recipe learned, and from which network, recipe, images and
    statistics.

    statistics: fingerprint of the statistics; empty in files of before 0.3.0.
    """

    neurons: NeuronParameters
    recipe: Recipe
    weights_sha256: str
    imgsz: Size
    images: tuple[str, ...]
    statistics: str = ""

    def contents(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and metadata of the file."""
        metadata = {
            "format": FORMAT,
            "recipe": self.recipe.to_json(),
            "weights_sha256": self.weights_sha256,
            "imgsz": json_text(self.imgsz),
            "images": json_text(self.images),
            "statistics": self.statistics,
        }
        return pack(self.neurons), metadata

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all."""
        write_safetensors(path, *self.contents())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        metadata, tensors = read_format(
            path, FORMAT, f"a calibration: make one with `{command('calibrate')} --method M`"
        )
        try:
            height, width = entry(metadata, "imgsz", list[int])
            images = tuple(entry(metadata, "images", list[str]))
            neurons, recipe = unpack(tensors), Recipe.from_json(metadata["recipe"])
            check_values(neurons)
            statistics = metadata.get("statistics", "")
            return cls(
                neurons, recipe, metadata["weights_sha256"], (height, width), images, statistics
            )
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is damaged or of another version ({error}): make it again with"
                f" `{command('calibrate')}`"
            ) from error

    def fits(self, recipe: Recipe, weights_sha256: str, imgsz: Size) -> bool:
        """Whether this belongs to this network, and the recipe learns the same."""
        return (
            _learns(self.recipe) == _learns(recipe)
            and self.weights_sha256 == weights_sha256
            and self.imgsz == tuple(imgsz)
        )


def _learns(recipe: Recipe) -> Any:
    """What decides what a recipe learns: not its readout, and of thresholds by gradient what they
    were made for.
    """
    if recipe.by_gradient:
        return recipe.threshold.rule, recipe.calibration
    return replace(recipe, readout=Readout())


def pack(neurons: NeuronParameters) -> dict[str, Tensor]:
    """{node: {name: tensor}} to {"node/name": tensor}."""
    return {f"{node}/{k}": v for node, own in neurons.items() for k, v in own.items()}


def unpack(tensors: Mapping[str, Tensor]) -> NeuronParameters:
    """The inverse of `pack`."""
    neurons: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        node, _, name = key.rpartition("/")
        neurons.setdefault(node, {})[name] = value
    return neurons


def calibrate_command(ann: Ann, recipe: Recipe) -> str:
    """The command line that makes the files which this network needs with a recipe."""
    method = list_methods().get(recipe.name)
    changes = recipe.changes(method.recipe) if method else {}
    named = (
        f" --method {recipe.name}"
        if recipe.name != DEFAULT and (method or recipe.runs_network)
        else ""
    )
    return "".join(
        (ann.calibrate_command, named, *(f" --set {key}={value}" for key, value in changes.items()))
    )


def calibration_path(weights: Path, imgsz: Size, recipe: Recipe) -> Path:
    """Path of a recipe's calibration file: `beside` the weights, named by size, method and the
    settings changed.
    """
    method = list_methods().get(recipe.name)
    changes = recipe.changes(method.recipe if method else recipe).items()
    changes = [
        (k, v)
        for k, v in changes
        if not recipe.by_gradient or k.startswith(("calibration.", "threshold.rule"))
    ]
    values = (
        f".{key}={value:g}" if isinstance(value, float) else f".{key}={value}"
        for key, value in changes
    )
    changed = re.sub(r"[^\w.=-]", "_", "".join(values))[:LONGEST]
    return beside(weights, f"{weights.stem}.{size_name(imgsz)}.{recipe.name}{changed}.safetensors")


@dataclass(frozen=True)
class Destination:
    """Where to write statistics, and in which folder what methods learn; None is beside the
    weights.
    """

    statistics: Path
    folder: Path | None

    def calibration(self, ann: Ann, recipe: Recipe) -> Path:
        """The file of what this recipe learns."""
        path = calibration_path(ann.weights, ann.imgsz, recipe)
        return path if self.folder is None else self.folder / path.name


def destination(
    ann: Ann, output: Path | None = None, overwrite_shipped: bool = False
) -> Destination:
    """Where the files of a network are written. output: a folder, or the .safetensors file of the
    statistics.
    """
    if output is not None and output.suffix == ".safetensors" and not output.is_dir():
        return Destination(output, output.parent)
    folder, path = output, statistics_path(ann.weights, ann.imgsz)
    if folder is None and is_shipped(ann.weights) and not overwrite_shipped:
        folder = user_folder(ann)
    return Destination(path if folder is None else folder / path.name, folder)


def user_folder(ann: Ann) -> Path:
    """The user's own files of a network that ships with the package."""
    return cache_folder() / "calibrations" / ann.sha256[:16]


def find_calibration(ann: Ann, recipe: Recipe, statistics: Path | None = None) -> Path:
    """What the recipe learned: beside the given statistics, in the user's cache, or beside the
    weights.
    """
    path = calibration_path(ann.weights, ann.imgsz, recipe)
    folders = [] if statistics is None else [statistics.parent]
    folders += [user_folder(ann)] if is_shipped(ann.weights) else []
    for folder in folders:
        if (folder / path.name).is_file():
            return folder / path.name
    return path


def find_statistics(ann: Ann, calibration: Path | None = None) -> Path:
    """The statistics of a network. calibration: of which they are wanted; those in its folder come
    first.
    """
    path = statistics_path(ann.weights, ann.imgsz)
    own = user_folder(ann) / path.name
    if not is_shipped(ann.weights) or not own.is_file():
        return path
    of_shipped = calibration is not None and calibration.parent != own.parent
    return path if of_shipped and path.is_file() else own


def notify_of_own(ann: Ann, path: Path) -> None:
    """Say that a file of the user's takes the place of a shipped one; Python shows the same notice
    once.
    """
    folder = user_folder(ann)
    if is_shipped(ann.weights) and path.parent == folder:
        what = f"using your calibration in {folder}, remove it to return to the shipped one"
        warnings.warn(Notice(what), stacklevel=1)
