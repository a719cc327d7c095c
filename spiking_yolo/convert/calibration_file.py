"""Calibration files: what a recipe learned by running the network, and where that lies."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from spiking_yolo.convert.methods import DEFAULT, METHODS, TUNED
from spiking_yolo.convert.statistics import statistics_path
from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.convert.weight_bits import KEYS, restored_weights
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.graph import Graph
from spiking_yolo.io.assets import command, is_shipped
from spiking_yolo.io.files import cache_folder, derived_file
from spiking_yolo.io.json import entry, json_text
from spiking_yolo.io.names import Size, label, size_name
from spiking_yolo.io.tensors import check_finite, read_format, write_safetensors
from spiking_yolo.models.load import Ann
from spiking_yolo.recipe import Readout, Recipe

THRESHOLD_KEYS = ("theta", "theta_off")
FORMAT = "spiking_yolo-calibration-1"
# Characters of a file's name that tell which settings were changed.
LONGEST = 120


def check_neurons(graph: Graph, sizes: Mapping[str, torch.Size], neurons: NeuronParameters) -> None:
    """Raise UserError, naming the node, unless the parameters of the neurons are complete and fit.

    sizes: Shape of every node's output, [1, C, ...].
    """
    for node in graph.activations:
        if not neurons.get(node.name, {}).keys() >= {"theta", "initial"}:
            raise UserError(f"node {node.name!r} has no threshold")
    check_values(neurons)
    for name, parameters in neurons.items():
        shapes = [(), (1,), tuple(sizes[name][1:2])] if name in sizes else []
        for key, value in parameters.items():
            if tuple(value.shape) not in shapes:
                raise UserError(f"{label(key)} of node {label(name)!r} is not for its channels")


def check_values(neurons: NeuronParameters) -> None:
    """Raise UserError, naming the node, for values that no neuron can have."""
    for name, parameters in neurons.items():
        where = f"node {label(name)!r}"
        check_finite(parameters, where)
        for key, value in parameters.items():
            if not value.is_floating_point():
                raise UserError(f"{where}: {label(key)} must be a number")
            if key in THRESHOLD_KEYS and not (value > 0).all():
                raise UserError(f"{where}: {label(key)} must be a number above 0")


@dataclass(frozen=True)
class CalibrationResult:
    """What one recipe learned, and from what.

    Attributes:
        neurons: The parameters of every layer of neurons.
        recipe: The method.
        weights_sha256: Of the network's weights.
        imgsz: Size of its input.
        images: Names of the calibration images.
        statistics: Fingerprint of the statistics; empty in files of before 0.3.0.
        stored: Tuned weights in 8 bits, as `stored_weights` returns them.
    """

    neurons: NeuronParameters
    recipe: Recipe
    weights_sha256: str
    imgsz: Size
    images: tuple[str, ...]
    statistics: str = ""
    stored: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The tuned weights, float32: "NODE.weight" and "NODE.bias". Empty for most methods."""
        return restored_weights(self.stored)

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
        return {**pack(self.neurons), **self.stored}, metadata

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
            stored = {k: v for k, v in tensors.items() if k.rpartition("/")[2] in KEYS}
            neurons = unpack({k: v for k, v in tensors.items() if k not in stored})
            check_values(neurons)
            result = cls(
                neurons,
                Recipe.from_json(metadata["recipe"]),
                metadata["weights_sha256"],
                (height, width),
                images,
                metadata.get("statistics", ""),
                stored,
            )
            if bool(result.weights) != result.recipe.calibration.weights:
                raise ValueError("tuned weights are missing, or are not the method's")
            return result
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is damaged or of another version ({error}): make it again with"
                f" `{command('calibrate')}`"
            ) from error

    def fits(self, recipe: Recipe, weights_sha256: str, imgsz: Size) -> bool:
        """Whether it belongs to this network, and the recipe learns the same."""
        same_network = self.weights_sha256 == weights_sha256 and self.imgsz == tuple(imgsz)
        return same_network and _learns(self.recipe) == _learns(recipe)


def _learns(recipe: Recipe) -> Any:
    """The settings that decide what a recipe learns.

    How long weights were tuned is a fact about a file, and not a choice of those who use it.
    """
    if tunes(recipe):
        return recipe.threshold.rule, replace(recipe.calibration, steps=1)
    if recipe.by_gradient:
        return recipe.threshold.rule, recipe.calibration
    return replace(recipe, readout=Readout())


def pack(neurons: NeuronParameters) -> dict[str, Tensor]:
    """{node: {name: tensor}} to {"node/name": tensor}."""
    tensors = {}
    for node, parameters in neurons.items():
        for name, value in parameters.items():
            tensors[f"{node}/{name}"] = value
    return tensors


def unpack(tensors: Mapping[str, Tensor]) -> NeuronParameters:
    """The inverse of `pack`."""
    neurons: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        node, _, name = key.rpartition("/")
        neurons.setdefault(node, {})[name] = value
    return neurons


def tunes(recipe: Recipe) -> bool:
    """Whether `tune` makes the file of a recipe, rather than `calibrate`."""
    return recipe.name == TUNED or recipe.calibration.tunes


def calibrate_command(ann: Ann, recipe: Recipe) -> str:
    """The command line of the verb that makes the files which this network needs with a recipe."""
    method = METHODS.get(recipe.name)
    words = [ann.command("tune" if tunes(recipe) else "calibrate")]
    if recipe.name not in (DEFAULT, TUNED) and (method or recipe.runs_network):
        words.append(f"--method {recipe.name}")
    if method:
        changes = recipe.changes(method.recipe)
        words += [f"--set {key}={value}" for key, value in changes.items()]
    return " ".join(words)


def calibration_path(weights: Path, imgsz: Size, recipe: Recipe) -> Path:
    """The calibration file of a recipe, beside the weights.

    It is named by size, method, and the changed settings that matter to what is learned.
    """
    method = METHODS.get(recipe.name)
    changes = ""
    for key, value in (recipe.changes(method.recipe) if method else {}).items():
        if tunes(recipe) and key == "calibration.steps":
            continue
        if not recipe.by_gradient or key.startswith(("calibration.", "threshold.rule")):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            changes += f".{key}={text}"
    changes = re.sub(r"[^\w.=-]", "_", changes)[:LONGEST]
    return derived_file(
        weights, f"{weights.stem}.{size_name(imgsz)}.{recipe.name}{changes}.safetensors"
    )


@dataclass(frozen=True)
class Destination:
    """Where calibration writes.

    Attributes:
        statistics: The file of the statistics.
        folder: Of the files of the methods; None is beside the weights.
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
    """Where the files of a network are written.

    output: A folder, or the .safetensors file of the statistics.
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
    """The file of what a recipe learned, as far as it exists.

    It is looked for beside `statistics`, in the user's cache, and beside the weights.
    """
    path = calibration_path(ann.weights, ann.imgsz, recipe)
    folders = [] if statistics is None else [statistics.parent]
    folders += [user_folder(ann)] if is_shipped(ann.weights) else []
    for folder in folders:
        if (folder / path.name).is_file():
            return folder / path.name
    return path


def find_statistics(ann: Ann, calibration: Path | None = None) -> Path:
    """The file of the statistics of a network.

    calibration: A file that was made from them; those in its folder come first.
    """
    path = statistics_path(ann.weights, ann.imgsz)
    own = user_folder(ann) / path.name
    if not is_shipped(ann.weights) or not own.is_file():
        return path
    of_shipped = calibration is not None and calibration.parent != own.parent
    return path if of_shipped and path.is_file() else own


def notify_of_own(ann: Ann, path: Path) -> None:
    """Say that a file of the user replaces a shipped one; Python shows the same notice once."""
    folder = user_folder(ann)
    if is_shipped(ann.weights) and path.parent == folder:
        what = f"using your calibration in {folder}, remove it to return to the shipped one"
        warnings.warn(Notice(what), stacklevel=1)
