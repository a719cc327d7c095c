"""A converted network as one frozen value: statistics -> thresholds -> neurons."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from spiking_yolo.convert.calibration_file import check_neurons, pack, unpack
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.convert.thresholds import (
    NeuronParameters,
    base_parameters,
    check_activations,
    rescaled,
)
from spiking_yolo.convert.weight_bits import check_weights
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.graph.graph import graph_from, graph_metadata
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.stream import Network
from spiking_yolo.io.assets import command
from spiking_yolo.io.json import entry, json_text
from spiking_yolo.io.tensors import checksum, read_format, write_safetensors
from spiking_yolo.models.spec import Spec, check_network
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.network import SpikingNetwork

# 2: thetas are large enough for events of 8 bits.
FORMAT = "spiking_yolo-network-2"


@dataclass(frozen=True)
class Converted:
    """A converted network: everything a simulation needs, and its origin.

    Attributes:
        graph: The ANN, which results are compared with.
        spec: Its interface.
        recipe: The method.
        neurons: Node -> {"theta": [C], "theta_off": [C] of an ON/OFF pair, "initial": scalar, in
            thresholds, ...}; see NeuronLayer.
        provenance: weights_sha256 and whatever else identifies the source.
        weights: Tuned weights and biases, which the spiking network has in place of the ANN's:
            "NODE.weight" and "NODE.bias", as in the graph. Empty for most methods.
    """

    graph: Graph
    spec: Spec
    recipe: Recipe
    neurons: NeuronParameters
    provenance: Mapping[str, str]
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def spiking_graph(self) -> Graph:
        """The network that is simulated: the ANN, or the ANN with the tuned weights."""
        if not self.weights:
            return self.graph
        return replace(self.graph, tensors={**self.graph.tensors, **self.weights})

    def network(self, device: torch.device | str = "cpu") -> Network:
        """What runs: whole numbers where layers send complete values, else the simulator.

        device: Where it runs.
        """
        if not self.recipe.complete:
            return self.simulator(device)
        return IntegerNetwork(self.spiking_graph, self.neurons, self.recipe, self.spec, device)

    def simulator(
        self, device: torch.device | str = "cpu", observed: bool = False
    ) -> SpikingNetwork:
        """The simulator of T steps, for methods whose values are not complete in the first."""
        graph = self.spiking_graph.to(device)
        return SpikingNetwork(graph, self.neurons, self.recipe, observed)

    def tensors(self) -> dict[str, Tensor]:
        """All its numbers, as files name them."""
        tensors = {f"graph/{k}": v for k, v in self.graph.tensors.items()}
        tensors |= {f"tuned/{k}": v for k, v in self.weights.items()}
        return tensors | {f"site/{k}": v for k, v in pack(self.neurons).items()}

    def sha256(self) -> str:
        """SHA-256 of all its numbers."""
        return checksum({}, self.tensors())

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all."""
        metadata = {
            "format": FORMAT,
            **graph_metadata(self.graph),
            "spec": self.spec.to_json(),
            "recipe": self.recipe.to_json(),
            "provenance": json_text(dict(self.provenance)),
        }
        write_safetensors(path, self.tensors(), metadata)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file written by `save`. Executes no code. Raises UserError for anything else."""
        metadata, tensors = read_format(
            path, FORMAT, f"a converted network: make one with `{command('export')}`"
        )
        folders: dict[str, dict[str, Tensor]] = {"graph": {}, "tuned": {}, "site": {}}
        for key, value in tensors.items():
            folder, _, name = key.partition("/")
            folders.setdefault(folder, {})[name] = value
        weights, neurons = folders["tuned"], unpack(folders["site"])
        try:
            graph = graph_from(metadata, folders["graph"])
            spec = Spec.from_json(metadata["spec"])
            recipe = Recipe.from_json(metadata["recipe"])
            check_neurons(graph, check_network(graph, spec), neurons)
            check_weights(graph, weights)
            provenance = entry(metadata, "provenance", dict[str, str])
            return cls(graph, spec, recipe, neurons, provenance, weights)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is damaged or of another version ({error}): convert the network again"
            ) from error


def convert(
    graph: Graph,
    spec: Spec,
    statistics: Statistics | None,
    recipe: Recipe,
    provenance: Mapping[str, str] | None = None,
    neurons: NeuronParameters | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Converted:
    """Convert an ANN: put spiking neurons in place of every activation node of `graph`.

    Args:
        statistics: None where neurons are given, and the provenance has `weights_sha256`.
        neurons: What `calibrate` returned, for recipes that run the network; other recipes need
            the statistics only.
        weights: What tuning returned, see Converted.

    Raises:
        UserError: Statistics, recipe and network do not fit together.
    """
    origin: dict[str, str] = {}
    if statistics is not None:
        statistics.check(graph, (spec.height, spec.width))
        origin["weights_sha256"] = statistics.weights_sha256
        origin["calibration_images"] = str(statistics.images.count)
    weights = dict(weights or {})
    if recipe.calibration.weights and not weights:
        raise UserError(f"method {recipe.name} tunes weights: use `{command('calibrate')} --tune`")
    check_activations(graph, recipe)
    if neurons is None:
        if recipe.runs_network:
            raise UserError(
                f"method {recipe.name} runs the network to calibrate: use `{command('calibrate')} "
                f"--method {recipe.name}`"
            )
        assert statistics is not None
        neurons = base_parameters(graph, statistics.histograms, recipe)
    elif recipe.by_gradient:
        neurons = rescaled(graph, neurons, recipe)
    check_weights(graph, weights)
    if weights:
        origin["weights_tuned"] = "without labels"
    return Converted(graph, spec, recipe, neurons, {**origin, **(provenance or {})}, weights)
