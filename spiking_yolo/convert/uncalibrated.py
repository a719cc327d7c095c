"""A network without a calibration: thresholds from the pictures that it is about to see."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from spiking_yolo.convert.calibrate import calibrate
from spiking_yolo.convert.calibration_file import calibrate_command
from spiking_yolo.convert.converted import Converted, convert
from spiking_yolo.convert.statistics import ImageList, Statistics, collect_histograms, preprocessed
from spiking_yolo.data.images import Picture, read_image
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.graph import Graph
from spiking_yolo.io.names import size_name
from spiking_yolo.models.load import Ann
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
        weight_bits: See `convert`.
        finer: Spend more operations where the recipe would train the neurons.
    """

    ann: Ann
    recipe: Recipe
    weight_bits: int | None = None
    finer: bool = True

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

        Neurons are not trained, whatever the recipe says.

        Raises:
            UserError: There are no photographs, or none can be read.
        """
        ann, recipe = self.ann, self.recipe
        pictures, tried = _read(photographs)
        if not tried:
            raise UserError(
                f"no activation statistics of {ann.weights} at {size_name(ann.imgsz)} pixels: make"
                f" them with {calibrate_command(ann, recipe)}"
            )
        warnings.warn(Notice(self._notice(len(pictures), tried)), stacklevel=3)
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
                recipe = recipe.with_settings({"calibration.kind": "none"})
                if self.finer:
                    finer = {"calibration.operations": UNTRAINED_OPERATIONS}
                    recipe = recipe.with_settings(finer)
                neurons = calibrate(graph, ann.spec, statistics, recipe, images)
        return convert(
            ann.graph, ann.spec, statistics, recipe, self.provenance, neurons, self.weight_bits
        )

    def _notice(self, used: int, tried: int) -> str:
        ann, recipe = self.ann, self.recipe
        source = "the picture itself" if tried == 1 else f"{used} of the pictures themselves"
        spent = ""
        if recipe.by_gradient:
            spent = ", untrained, for more operations" if self.finer else ", untrained"
        return (
            f"{ann.weights.name} has no calibration at {size_name(ann.imgsz)} pixels, so"
            f" thresholds are taken from {source}{spent}; better: {calibrate_command(ann, recipe)}"
        )


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


def _read(photographs: Iterable[Picture]) -> tuple[list[Picture], int]:
    """The pixels of the first FEW that can be read, and how many were tried for that.

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
    return pictures, len(pictures) + len(errors)
