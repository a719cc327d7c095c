"""A converted network as one frozen value: statistics -> thresholds -> neurons."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from spiking_yolo.convert.calibration_file import check_neurons, check_values, pack, unpack
from spiking_yolo.convert.statistics import Statistics
from spiking_yolo.convert.thresholds import NeuronParameters, base_parameters, rescaled
from spiking_yolo.decode.selection import is_whole
from spiking_yolo.errors import Notice, UserError, require
from spiking_yolo.graph import Graph
from spiking_yolo.graph.graph import graph_from, graph_metadata
from spiking_yolo.io.assets import command
from spiking_yolo.io.json import entry, json_text
from spiking_yolo.io.tensors import checksum, read_format, write_safetensors
from spiking_yolo.models.spec import Spec, check_network
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.plan import SimulationOptions
from spiking_yolo.snn.readout import Network
from spiking_yolo.snn.units import fold, propagate

FORMAT = "spiking_yolo-network-1"
# Bits of weights.
MIN_BITS, MAX_BITS = 2, 16


def on_grid(weight: Tensor, bits: int) -> Tensor:
    """The weight [out, ...] rounded to whole multiples k of a step s, |k| <= 2^(bits-1) - 1.

    Each output channel has its own s = max |weight| / (2^(bits-1) - 1).
    """
    levels = 2 ** (bits - 1) - 1
    step = weight.flatten(1).abs().amax(1) / levels
    step = torch.where(step > 0, step, 1.0).reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / step).round_() * step


def with_weight_bits(graph: Graph, bits: int, received: Mapping[str, Tensor]) -> Graph:
    """The graph whose weights, as a chip stores them, have so many bits.

    Args:
        bits: 2 to 16.
        received: Activation node -> what one unit of what it sends is worth, [C]: theta of its
            spikes, or the step of its integers. A chip stores the weights times that.

    Raises:
        UserError: bits is out of range.
    """
    if not is_whole(bits) or not MIN_BITS <= bits <= MAX_BITS:
        raise UserError(f"weights need {MIN_BITS} to {MAX_BITS} bits, not {bits}")
    units = propagate(graph, received)
    tensors = dict(graph.tensors)
    for node in graph.weighted:
        unit = units[node.inputs[0]]
        groups = node.attrs.get("groups", 1)
        stored = on_grid(fold(tensors[f"{node.name}.weight"], unit, groups), bits)
        tensors[f"{node.name}.weight"] = fold(stored, None if unit is None else 1 / unit, groups)
    return replace(graph, tensors=tensors)


@dataclass(frozen=True)
class Converted:
    """A converted network: everything a simulation needs, and its origin.

    Attributes:
        graph: The ANN.
        spec: Its interface.
        recipe: The method.
        neurons: Node -> {"theta": [C], "theta_off": [C] of an ON/OFF pair, "initial": scalar, in
            thresholds, ...}; see NeuronLayer.
        provenance: weights_sha256 and whatever else identifies the source.
    """

    graph: Graph
    spec: Spec
    recipe: Recipe
    neurons: NeuronParameters
    provenance: Mapping[str, str]

    def network(
        self,
        *to: torch.dtype | torch.device | str,
        simulation: SimulationOptions = SimulationOptions(),
        observed: bool = False,
    ) -> SpikingNetwork:
        """The network to simulate.

        Args:
            to: Device or dtype, as of Tensor.to.
            simulation: How it is computed.
            observed: Whether probes will look at its neurons.
        """
        graph = self.graph
        for where in to:
            graph = graph.to(where)
        return SpikingNetwork(graph, self.neurons, self.recipe, simulation, observed)

    def engine(
        self,
        device: torch.device | str = "cpu",
        simulation: SimulationOptions = SimulationOptions(),
    ) -> Network:
        """The network as `simulation` wants it run: by the simulator, or by onnxruntime.

        Raises:
            UserError: onnxruntime is missing, or cannot run this method.
        """
        if simulation.backend == "simulator":
            return self.network(device, simulation=simulation)
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, "onnx")
        from spiking_yolo.onnx.session import OnnxNetwork

        return OnnxNetwork(self)

    def tensors(self) -> dict[str, Tensor]:
        """All its numbers, as files name them."""
        tensors = {f"graph/{k}": v for k, v in self.graph.tensors.items()}
        return tensors | {f"site/{k}": v for k, v in pack(self.neurons).items()}

    def sha256(self) -> str:
        """Of all its numbers, which it identifies."""
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
            path, FORMAT, f"a converted network: make one with `{command('convert')}`"
        )
        weights: dict[str, Tensor] = {}
        sites: dict[str, Tensor] = {}
        for key, value in tensors.items():
            folder, _, name = key.partition("/")
            if folder == "graph":
                weights[name] = value
            elif folder == "site":
                sites[name] = value
        neurons = unpack(sites)
        try:
            graph = graph_from(metadata, weights)
            spec = Spec.from_json(metadata["spec"])
            recipe = Recipe.from_json(metadata["recipe"])
            check_neurons(graph, check_network(graph, spec), neurons)
            return cls(graph, spec, recipe, neurons, entry(metadata, "provenance", dict[str, str]))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is damaged or of another version ({error}): convert the network again"
            ) from error


def convert(
    graph: Graph,
    spec: Spec,
    statistics: Statistics,
    recipe: Recipe,
    provenance: Mapping[str, str] | None = None,
    neurons: NeuronParameters | None = None,
    weight_bits: int | None = None,
) -> Converted:
    """Convert an ANN: put spiking neurons in place of every activation node of `graph`.

    Args:
        neurons: What `calibrate` returned, for recipes that run the network; other recipes need
            the statistics only.
        weight_bits: Of the weights with theta in them; the thresholds stay those of the original
            weights.

    Raises:
        UserError: Statistics, recipe and network do not fit together.
    """
    statistics.check(statistics.weights_sha256, (spec.height, spec.width), graph)
    if note := _outside_its_paper(graph, recipe):
        warnings.warn(note, Notice, stacklevel=2)
    if neurons is None:
        if recipe.runs_network:
            raise UserError(
                f"method {recipe.name} runs the network to calibrate: use `{command('calibrate')} "
                f"--method {recipe.name}`"
            )
        neurons = base_parameters(graph, statistics.histograms, recipe)
    elif recipe.by_gradient:
        neurons = rescaled(graph, neurons, recipe)
    check_values(neurons)
    origin = {
        "weights_sha256": statistics.weights_sha256,
        "calibration_images": str(len(statistics.images)),
    }
    if weight_bits is not None:
        thetas = {node.name: neurons[node.name]["theta"] for node in graph.activations}
        graph = with_weight_bits(graph, weight_bits, thetas)
        origin["weight_bits"] = str(weight_bits)
    return Converted(graph, spec, recipe, neurons, {**origin, **(provenance or {})})


def _outside_its_paper(graph: Graph, recipe: Recipe) -> str:
    """A note on what this network has and those of the Spike-Norm paper lack, if anything."""
    if recipe.threshold.rule != "balance" or recipe.neuron.reset != "zero":
        return ""
    counts = {"layers with a bias": 0, "max poolings": 0, "leaky ReLUs": 0}
    for node in graph.nodes:
        _, bias = graph.parameters(node)
        counts["layers with a bias"] += bias is not None and bool(bias.any())
        counts["max poolings"] += node.op == "max_pool"
        counts["leaky ReLUs"] += node.op == "activation" and bool(node.phi.slope)
    extras = [f"{count} {what}" for what, count in counts.items() if count]
    if not extras:
        return ""
    return (
        f"{recipe.name} was published for networks with none of these, and here are"
        f" {', '.join(extras)}: biases are balanced as part of the current, the rest runs as in"
        " every method"
    )
