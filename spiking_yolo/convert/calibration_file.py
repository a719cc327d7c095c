"""Files of calibration results: what a recipe learned by running the network, a few kilobytes beside the weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from spiking_yolo.convert.check import check_values
from spiking_yolo.convert.registry import DEFAULT, list_methods
from spiking_yolo.convert.thresholds import NeuronParameters
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import command
from spiking_yolo.io.json_text import json_text
from spiking_yolo.io.places import beside
from spiking_yolo.io.sizes import Size, size_name
from spiking_yolo.io.tensors import read_format, write_safetensors
from spiking_yolo.io.typed_json import entry
from spiking_yolo.models.load import Ann
from spiking_yolo.recipe import Readout, Recipe

FORMAT = "spiking_yolo-calibration-1"
LONGEST = 120  # characters of a file's name that tell which settings were changed


@dataclass(frozen=True)
class CalibrationResult:
    """Layer parameters that one recipe learned, and from which network, recipe, images and statistics.

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
            return cls(neurons, recipe, metadata["weights_sha256"], (height, width), images, statistics)
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is damaged or of another version ({error}): make it again with `{command('calibrate')}`"
            ) from error

    def fits(self, recipe: Recipe, weights_sha256: str, imgsz: Size) -> bool:
        """Whether this belongs to this network, and the recipe learns the same."""
        return (
            _learns(self.recipe) == _learns(recipe)
            and self.weights_sha256 == weights_sha256
            and self.imgsz == tuple(imgsz)
        )


def _learns(recipe: Recipe) -> Any:
    """What decides what a recipe learns: not its readout, and of thresholds by gradient what they were made for."""
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
    named = f" --method {recipe.name}" if recipe.name != DEFAULT and (method or recipe.runs_network) else ""
    return "".join((ann.calibrate_command, named, *(f" --set {key}={value}" for key, value in changes.items())))


def calibration_path(weights: Path, imgsz: Size, recipe: Recipe) -> Path:
    """Path of a recipe's calibration file: `beside` the weights, named by size, method and the settings changed."""
    method = list_methods().get(recipe.name)
    changes = recipe.changes(method.recipe if method else recipe).items()
    changes = [(k, v) for k, v in changes if not recipe.by_gradient or k.startswith(("calibration.", "threshold.rule"))]
    values = (f".{key}={value:g}" if isinstance(value, float) else f".{key}={value}" for key, value in changes)
    changed = re.sub(r"[^\w.=-]", "_", "".join(values))[:LONGEST]
    return beside(weights, f"{weights.stem}.{size_name(imgsz)}.{recipe.name}{changed}.safetensors")
