"""How well a recipe serves: the error of the network's output, and what it costs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spiking_yolo.convert.calibrate import calibrate
from spiking_yolo.convert.calibrate_value import relative_error
from spiking_yolo.convert.converted import Converted, convert
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.graph import forward
from spiking_yolo.models.load import Ann
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.options import SimulationOptions


@dataclass(frozen=True)
class Score:
    """Means over images. error: relative error of the heads against the ANN's. operations: in ANN MACs."""

    error: float
    operations: float

    def loss(self, limit: float | None) -> float:
        """What a search makes small: the error, or more than any useful error where operations exceed the limit."""
        if limit is not None and self.operations > limit:
            return max(self.error, 1.0) + self.operations / limit
        return self.error


@dataclass(frozen=True)
class Problem:
    """A network and the images on which its conversion is judged after T steps. images: each [1, C, H, W]."""

    ann: Ann
    statistics: Statistics
    images: Sequence[Tensor]
    T: int
    device: str = "cpu"
    simulation: SimulationOptions = field(default_factory=SimulationOptions)
    weight_bits: int | None = None

    def converted(self, recipe: Recipe) -> Converted:
        """The network by a recipe; one that runs the network is calibrated on the images."""
        graph, neurons = self.ann.graph, None
        if recipe.runs_network:
            neurons = calibrate(graph, self.ann.spec, self.statistics, recipe, self.images)
        origin = {"weights": self.ann.weights.name}
        return convert(graph, self.ann.spec, self.statistics, recipe, origin, neurons, self.weight_bits)

    @torch.no_grad()
    def scores(self, recipe: Recipe) -> Iterator[Score]:
        """The score after each image, over the images so far."""
        network = self.converted(recipe).network(self.device, simulation=self.simulation)
        graph = self.ann.graph.to(self.device)
        error = operations = 0.0
        for i, x in enumerate(self.images, 1):
            x = x.to(self.device)
            result = network.run(x, self.T)
            last = result.snapshots[self.T]
            error += relative_error(last.outputs, forward(graph, x))
            operations += getattr(last.operations, recipe.counting).item() / result.macs
            yield Score(error / i, operations / i)

    def score(self, recipe: Recipe) -> Score:
        return list(self.scores(recipe))[-1]
